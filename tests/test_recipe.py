"""What the text and the departures say of schedule, optimiser, validation, selection and record is
what a run does.
"""

import copy
import json
import os
import subprocess
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from hypothesis import example, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st
from torch import nn

import evalib
from evalib.results import records
from evalib.results.run import make_record
from evalib.training import checkpoint, cifar, data, environment, train
from evalib.training.predict import predict
from evalib.training.settings import learning_rate
from evalib.training.step import adam, captured, eager_step, set_rate, training_step

pytestmark = pytest.mark.usefixtures("float32")


@pytest.fixture
def plan(tiny):
    return evalib.Settings("tiny", epochs=4, batch_size=27)


def weights_of(run):
    return torch.cat([parameter.detach().flatten() for parameter in run.network.parameters()])


# ── Schedule and optimiser


def test_a_rate_that_a_captured_step_reads_is_set_in_place():
    made = adam(nn.Linear(3, 1), 1.0)
    group = made.param_groups[0]
    group["lr"] = rate = torch.tensor(1.0)
    set_rate(made, 0.5)
    assert group["lr"] is rate and rate == 0.5


@hypothesis(deadline=None)
@given(st.integers(1, 200), st.sets(st.integers(1, 99), max_size=4))
@example(25, {28})  # 0.28 * 25 is more than 7
def test_the_rate_falls_tenfold_at_each_milestone_of_any_schedule(epochs, hundredths):
    """In whole numbers: at epoch e of E a milestone of p per cent is passed if 100 e ≥ p E."""
    chosen = tuple(each / 100 for each in sorted(hundredths))
    settings = evalib.Settings(
        "resnet20-small", epochs=epochs, milestones=chosen, learning_rate=1.0
    )
    for epoch in range(epochs):
        passed = sum(100 * epoch >= each * epochs for each in hundredths)
        assert learning_rate(settings, epoch) == pytest.approx(10.0**-passed)


def test_every_step_of_an_epoch_is_made_at_its_learning_rate(few, plan, monkeypatch):
    taken = []

    def watched(network, optimiser, *arguments):
        step = training_step(network, optimiser, *arguments)

        def one(plan):
            taken.append(float(optimiser.param_groups[0]["lr"]))
            return step(plan)

        return one

    monkeypatch.setattr(train, "training_step", watched)
    run = evalib.train(plan, device="cpu")
    rates = [learning_rate(plan, epoch) for epoch in range(4)]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-5])
    assert taken == pytest.approx([rate for rate in rates for _ in range(2)])  # of 54 images
    assert [row["learning_rate"] for row in run.curve] == pytest.approx(rates)


def test_adam_is_its_equations_without_weight_decay():
    """Kingma & Ba 2014, algorithm 1, with their defaults, on weights large enough for a decay to
    show.
    """
    torch.set_default_dtype(torch.float64)
    layer = nn.Linear(4, 1, bias=False)
    nn.init.constant_(layer.weight, 100.0)
    made, w, m, v = adam(layer, 1e-3), layer.weight.detach().clone(), 0.0, 0.0
    for t in range(1, 6):
        x = torch.randn(1, 4)
        made.zero_grad()
        layer(x).sum().backward()
        made.step()
        m, v = 0.9 * m + 0.1 * x, 0.999 * v + 0.001 * x**2
        w = w - 1e-3 * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
        torch.testing.assert_close(layer.weight.detach(), w, rtol=0, atol=1e-9)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_step_goes_down_the_mean_cross_entropy_of_its_batch(precision):
    """In single precision, of scores in either; each step by its own gradient alone."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
    padded, labels = torch.randint(256, (6, 3, 40, 40), dtype=torch.uint8), torch.arange(6)
    plan = data.Plan(
        torch.tensor([5, 0, 3]),
        *torch.tensor([[4, 0, 8], [4, 8, 1]]),
        torch.tensor([False, True, False]),
    )
    other = copy.deepcopy(network)
    step = eager_step(network, adam(network, 1e-3), padded, labels, precision)
    optimiser = torch.optim.Adam(other.parameters(), 1e-3)
    for _ in range(3):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            scores = other(data.normalise(data.crop_and_flip(padded, *plan))).float()
        loss, right = step(plan)
        by_hand = -scores.log_softmax(1)[range(3), labels[plan.order]].mean()
        optimiser.zero_grad()
        by_hand.backward()
        optimiser.step()
        torch.testing.assert_close(loss, by_hand.detach())
        assert right == (scores.argmax(1) == labels[plan.order]).sum()
    torch.testing.assert_close(network.state_dict(), other.state_dict())


class Graph:
    """In a CUDA graph's place: a replay is the captured step again, on the tensors it was given."""

    def capture(self, step):
        def captured(plan):
            self.again, self.outputs = partial(step, plan), step(plan)
            return self.outputs

        return captured

    def replay(self):
        for output, new in zip(self.outputs, self.again(), strict=True):
            output.copy_(new)


def test_a_captured_step_is_the_eager_step_and_its_warm_up_leaves_no_trace(monkeypatch):
    graph, stream = Graph(), SimpleNamespace(wait_stream=lambda other: None)
    for name in ("current_stream", "default_stream", "Stream"):
        monkeypatch.setattr(torch.cuda, name, lambda device: stream)
    for name in ("stream", "graph"):
        monkeypatch.setattr(torch.cuda, name, lambda *_, **__: nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: graph)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10), nn.BatchNorm1d(10))
    padded, labels = torch.randint(256, (8, 3, 40, 40), dtype=torch.uint8), torch.arange(8)
    trained = []
    for each in (network, copy.deepcopy(network)):
        optimiser, losses = adam(each, 1e-3), []
        step = eager_step(each, optimiser, padded, labels)
        if each is network:
            step = captured(graph.capture(step), step, each, optimiser, batch_size=3)
        for parts in zip(*(part.split(3) for part in data.epoch_plan(8, 0, 0)), strict=True):
            losses.append([out.item() for out in step(data.Plan(*parts))])
        trained.append((losses, each.state_dict()))
    torch.testing.assert_close(*trained)


# ── Validation, test and selection


def test_validation_is_on_the_held_out_tenth(few, plan):
    run = evalib.train(plan, device="cpu")
    held_out = data.split(60)[1]
    scores, labels = predict(run.network, few.train_images[held_out]), few.train_labels[held_out]
    last = run.curve[-1]
    assert last["validation_loss"] == pytest.approx(
        nn.functional.cross_entropy(scores, labels).item(), rel=1e-5
    )
    assert last["validation_accuracy"] == pytest.approx(
        100 * (scores.argmax(1) == labels).sum().item() / 6
    )


def test_nothing_is_learned_from_the_held_out_tenth(few, plan, monkeypatch):
    one = evalib.train(plan, device="cpu")
    images, labels = few.train_images.clone(), few.train_labels.clone()
    held_out = data.split(60)[1]
    images[held_out], labels[held_out] = 255 - images[held_out], 9 - labels[held_out]
    monkeypatch.setattr(
        cifar, "load_data", lambda which: few._replace(train_images=images, train_labels=labels)
    )
    other = evalib.train(plan, device="cpu")
    assert torch.equal(weights_of(one), weights_of(other))
    assert one.curve[-1]["validation_loss"] != other.curve[-1]["validation_loss"]


def test_the_last_epoch_counts_whatever_the_best_was(few, plan, tmp_path):
    run = evalib.train(plan, tmp_path, device="cpu")
    curve = [
        row | {"validation_accuracy": each}
        for row, each in zip(run.curve, (50.0, 75.0, 25.0, 12.5), strict=True)
    ]
    record = make_record(run._replace(curve=curve))
    assert record["validation_accuracy"] == 12.5
    assert (
        record["test"]["correct"]
        == (predict(run.network, few.test_images).argmax(1) == few.test_labels).sum()
    )
    last = checkpoint.part(checkpoint.newest(tmp_path)[0], "network.")
    assert all(torch.equal(tensor, last[name]) for name, tensor in run.network.state_dict().items())


# ── Checkpoints and record


def test_the_newest_checkpoints_are_kept_and_the_newest_is_read(tmp_path):
    for epoch in (1, 2, 9, 10, 9_999, 10_000):
        layer = nn.Linear(1, 1)
        nn.init.constant_(layer.weight, epoch)
        path = checkpoint.save_run(tmp_path, epoch, layer, adam(layer, 0.1), {"epoch": epoch})
        os.utime(path, (20_000 - epoch, 20_000 - epoch))  # as a copy may leave them
        tensors, metadata = checkpoint.newest(tmp_path)
        assert metadata["epoch"] == tensors["network.weight"] == epoch
    assert [checkpoint.epochs_of(path) for path in checkpoint.found(tmp_path)] == [10_000, 9_999]


@pytest.mark.parametrize(("status", "mark"), [("", ""), (" M evalib/eva.py", "-dirty")])
def test_a_commit_says_whether_the_package_was_as_committed(tmp_path, monkeypatch, status, mark):
    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(environment, "checkout", lambda: tmp_path)
    answers = {"rev-parse HEAD": "0123456", "status --porcelain -- evalib": status}
    monkeypatch.setattr(environment, "git", lambda directory, *given: answers[" ".join(given)])
    assert environment.commit() == "0123456" + mark


def test_the_commit_of_another_repository_around_an_installed_package_is_not_its_own(
    tmp_path, monkeypatch
):
    package = tmp_path / ".venv" / "evalib"
    (package / "training").mkdir(parents=True)
    (package / "__init__.py").touch()
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "another's"]):
        identity = ["-c", "user.name=another", "-c", "user.email=another@example.org"]
        subprocess.run(["git", "-C", tmp_path, *identity, *command], check=True)
    assert environment.git(package, "rev-parse", "HEAD")
    monkeypatch.setattr(environment, "__file__", str(package / "training" / "environment.py"))
    for said, commit in ((None, None), ('{"vcs_info": {"commit_id": "0123456"}}', "0123456")):
        installed = {"evalib": SimpleNamespace(read_text={"direct_url.json": said}.get)}
        monkeypatch.setattr(environment.importlib.metadata, "distribution", installed.get)
        assert environment.commit() == commit


def test_a_record_says_by_what_each_sitting_was_made(few, plan, tmp_path, monkeypatch):
    def stop(row):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evalib.run(plan, tmp_path, device="cpu", observe=stop)
    monkeypatch.setattr(train, "commit", lambda: "another")
    evalib.run(plan, tmp_path, device="cpu")
    record = json.loads(records.record_path(plan, tmp_path).read_text())
    first, second = record["sittings"]
    assert (first["after"], second["after"], second["commit"]) == (0, 1, "another") and first[
        "commit"
    ] != "another"
    assert {"device", "torch", "computation"} <= set(first)
