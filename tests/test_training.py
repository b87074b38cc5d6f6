"""Training: pure in (seed, epoch), resumable bit by bit, and honest about what it cannot do."""

import copy
import itertools
import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from filelock import FileLock
from safetensors.torch import save
from test_tables import made
from torch import nn
from torch.nn import functional as F

import evalib
from evalib import experiments
from evalib.__main__ import main
from evalib.networks import EVASummary
from evalib.results import records, tables, weights
from evalib.results import run as runs
from evalib.results.run import RunFolder
from evalib.training import checkpoint, cifar, data, train
from evalib.training.settings import learning_rate

TINY = evalib.Experiment("tiny", "Tiny", blocks=(1,), widths=(4,))
"""A row whose epochs take no time."""

COMPILED = """
import functools
import torch
from evalib.networks import EVASummary
from evalib.training import step

torch.compile = functools.partial(torch.compile, backend="aot_eager")
torch.manual_seed(0)
eva, x = EVASummary(8), torch.randn(4, 8, 7, 7)


def gradients(network):
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        y = network(x)
    return torch.autograd.grad(y.square().sum(), list(eva.parameters()))


torch.testing.assert_close(gradients(step.compiled(eva)), gradients(eva), rtol=1e-4, atol=1e-7)
"""


@pytest.fixture(autouse=True)
def float32_and_a_tiny_row(monkeypatch):
    torch.set_default_dtype(torch.float32)
    monkeypatch.setitem(experiments.ROWS, TINY.name, TINY)


@pytest.fixture
def small(monkeypatch):
    """Real images, but few: the first 60 training and 20 test images of the subset, shuffled over
    the classes.
    """
    subset = cifar.load_data("subset")
    order, test = torch.randperm(1000)[:60], torch.randperm(500)[:20]
    few = subset._replace(
        train_images=subset.train_images[order],
        train_labels=subset.train_labels[order],
        test_images=subset.test_images[test],
        test_labels=subset.test_labels[test],
    )
    monkeypatch.setattr(cifar, "load_data", lambda which: few)
    monkeypatch.setattr(records, "IMAGES", dict.fromkeys(records.IMAGES, 20))
    return few


def settings(**changes):
    return evalib.Settings(**{"experiment": "tiny", "epochs": 3, "batch_size": 25} | changes)


def state(run):
    return run.network.state_dict()


def assert_equal(one, other):
    for name, tensor in state(one).items():
        assert torch.equal(tensor, state(other)[name]), name


def without_seconds(curve):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in curve]


def stopped(after, *given, **options):
    """A run whose steps end after so many."""
    running = train.steps(*given, **options)
    for _ in range(after):
        next(running)
    running.close()


class Dropping(nn.Module):
    """A network that draws as it trains."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 3, 4), nn.Flatten(), nn.Dropout(), nn.Linear(256, 10)
        )

    def forward(self, x):
        return self.layers(x)


@pytest.mark.parametrize(("kind", "after"), [(None, 1), (None, 7), (Dropping, 3), (Dropping, 4)])
def test_a_stopped_run_ends_bitwise_as_the_run_never_stopped(small, tmp_path, kind, after):
    torch.manual_seed(7)
    networks = [kind and kind() for _ in range(2)]
    if kind:
        networks[1].load_state_dict(networks[0].state_dict())
    begun = [network and copy.deepcopy(network) for network in networks]
    whole = evalib.train(settings(), device="cpu", network=networks[0])
    stopped(after, settings(), tmp_path, device="cpu", network=begun[0])
    assert len(checkpoint.found(tmp_path)) == min(after // 4, checkpoint.KEPT)
    torch.manual_seed(99)
    resumed = evalib.train(settings(), tmp_path, device="cpu", network=begun[1])
    assert_equal(whole, resumed)
    assert torch.equal(whole.test_scores, resumed.test_scores)
    assert without_seconds(whole.curve) == without_seconds(resumed.curve)
    assert resumed.seconds == sum(row["seconds"] for row in resumed.curve)
    assert len(checkpoint.found(tmp_path)) == checkpoint.KEPT


def test_runs_advanced_in_turn_are_bitwise_what_each_is_alone(small):
    """Of several networks and seeds, one of which draws as it trains, and other programs draw
    between the turns.
    """
    torch.manual_seed(7)
    given = [
        (settings(), None),
        (settings(experiment="evanet20-small", epochs=1), None),
        (settings(batch_size=9), Dropping()),
        (settings(batch_size=9, seed=1), Dropping()),
    ]
    alone = [
        evalib.train(each, device="cpu", network=copy.deepcopy(network)) for each, network in given
    ]
    waiting = {
        which: train.steps(each, device="cpu", network=network)
        for which, (each, network) in enumerate(given)
    }
    together = {}
    while waiting:
        for which, running in list(waiting.items()):
            torch.rand(3)
            try:
                next(running)
            except StopIteration as end:
                together[which] = end.value
                del waiting[which]
    for which, run in enumerate(alone):
        assert_equal(run, together[which])
        assert without_seconds(run.curve) == without_seconds(together[which].curve)


def test_each_epoch_takes_its_own_plan_and_its_figures_are_of_what_it_trained_on(
    small, monkeypatch
):
    taken = []

    def training_step(network, optimiser, padded, labels, *rest):
        def step(plan):
            taken.append(plan)
            return torch.tensor(float(len(taken))), torch.tensor(len(plan.order))  # all right

        return step

    monkeypatch.setattr(train, "training_step", training_step)
    run = evalib.train(settings(seed=3), device="cpu")
    for epoch, row in enumerate(run.curve):
        parts = [torch.cat(part) for part in zip(*taken[3 * epoch : 3 * epoch + 3], strict=True)]
        assert all(map(torch.equal, parts, data.epoch_plan(54, 3, epoch)))
        assert (row["train_accuracy"], row["train_loss"]) == (100.0, 3 * epoch + 2)


def test_an_epochs_seconds_are_its_own_without_those_of_who_watches(small, monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(train, "time", SimpleNamespace(perf_counter=lambda: float(next(clock))))
    run = evalib.train(
        settings(), device="cpu", observe=lambda row: [next(clock) for _ in range(100)]
    )
    assert [row["seconds"] for row in run.curve] == [1.0] * 3 and run.seconds == 3.0


class Frozen(nn.Module):
    """A body of a batch norm that does not learn, and a head that does."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 4, 3, 4), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten()
        )
        self.norm, self.head = nn.BatchNorm1d(256), nn.Linear(256, 10)
        self.body.requires_grad_(False)

    def forward(self, x):
        return self.head(self.norm(self.body(x)))


def test_what_is_frozen_stays_and_the_rest_learns(small):
    network = Frozen()
    before = copy.deepcopy(network.state_dict())
    evalib.train(settings(epochs=1), device="cpu", network=network)
    moved = {
        name.partition(".")[0]
        for name, tensor in network.state_dict().items()
        if not torch.equal(tensor, before[name])
    }
    assert moved == {"norm", "head"}


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_network_keeps_the_layout_of_its_weights(small, layout):
    network = evalib.build("tiny").to(memory_format=layout)
    evalib.train(settings(epochs=1), device="cpu", network=network)
    assert all(
        each.is_contiguous(memory_format=layout) for each in network.parameters() if each.ndim == 4
    )
    if layout == torch.contiguous_format:
        assert nn.utils.parameters_to_vector(network.parameters()).shape == (
            evalib.count_parameters(network),
        )
        assert save(network.state_dict())


def test_a_network_that_views_its_images_flat_is_trained(small):
    network = nn.Linear(3072, 10)
    network.register_forward_pre_hook(lambda _, given: (given[0].view(len(given[0]), -1),))
    assert evalib.train(settings(epochs=1), device="cpu", network=network).test_scores.shape == (
        20,
        10,
    )


# What a run is of


def wrapped(network):
    return nn.DataParallel(network)


@pytest.mark.parametrize("begun", [None, wrapped])
def test_a_network_goes_on_in_a_wrapper_and_out_of_it(small, tmp_path, begun):
    torch.manual_seed(3)
    network = evalib.build("tiny")
    plain, inside, alone = (copy.deepcopy(network) for _ in range(3))
    first, second = (wrapped(inside), plain) if begun else (plain, wrapped(inside))
    whole = evalib.train(settings(), device="cpu", network=alone)
    stopped(4, settings(), tmp_path, device="cpu", network=first)
    resumed = evalib.train(settings(), tmp_path, device="cpu", network=second)
    assert len(resumed.sittings) == 2 and torch.equal(whole.test_scores, resumed.test_scores)


def test_a_run_that_goes_on_from_other_weights_than_the_given_says_so(small, tmp_path):
    stopped(4, settings(), tmp_path, device="cpu", network=evalib.build("tiny"))
    with pytest.warns(UserWarning, match="replaced by those of the run; to train from those given"):
        run = evalib.train(settings(), tmp_path, device="cpu", network=evalib.build("tiny"))
    assert len(run.curve) == 3
    given = evalib.build("tiny")
    before = copy.deepcopy(given.state_dict())
    with pytest.raises(ValueError, match="is whole: choose another output directory"):
        evalib.train(settings(), tmp_path, device="cpu", network=given)
    assert all(torch.equal(value, before[name]) for name, value in given.state_dict().items())


def test_a_run_is_not_gone_on_with_by_other_modules_of_the_same_weights(small, tmp_path):
    network = evalib.build("tiny")
    network.stem[2] = torch.nn.ReLU()
    stopped(4, settings(), tmp_path, device="cpu", network=network)
    other = copy.deepcopy(network)
    other.stem[2] = torch.nn.GELU()
    with pytest.raises(ValueError, match="a run of another network: give the same"):
        evalib.train(settings(), tmp_path, device="cpu", network=other)


@pytest.mark.parametrize(
    "change",
    [
        {"recipe": TINY.recipe._replace(optimiser="SGD")},
        {"recipe": TINY.recipe._replace(weight_decay=0.1)},
        {"head": partial(EVASummary, num_heads=1)},
        {"widths": (6,)},
    ],
)
def test_a_row_that_was_edited_is_not_gone_on_with(small, tmp_path, monkeypatch, change):
    stopped(4, settings(), tmp_path, device="cpu")
    monkeypatch.setitem(experiments.ROWS, "tiny", replace(TINY, **change))
    with pytest.raises(ValueError, match="of the row as it was defined before: give the same"):
        evalib.train(settings(), tmp_path, device="cpu")
    assert len(checkpoint.found(tmp_path)) == 1


def test_a_run_of_a_row_whose_module_changed_is_not_gone_on_with(small, tmp_path, monkeypatch):
    module = tmp_path / "rows.py"
    module.write_text("one")
    monkeypatch.setenv("EVALIB_MODULE", str(module))
    stopped(4, settings(), tmp_path, device="cpu")
    module.write_text("another")
    with pytest.raises(ValueError, match="before the file that registers it changed"):
        evalib.train(settings(), tmp_path, device="cpu")
    assert train.origin(evalib.Settings("resnet20-small"))["module"] is None  # evalib's own


def test_training_leaves_the_random_state_as_it_was(small):
    before = torch.get_rng_state()
    evalib.train(settings(epochs=1), device="cpu")
    assert torch.equal(torch.get_rng_state(), before)


def test_the_seed_decides_the_run(small):
    one, same = (evalib.train(settings(epochs=1), device="cpu") for _ in range(2))
    other = evalib.train(settings(epochs=1, seed=1), device="cpu")
    assert_equal(one, same)
    assert one.curve[0]["train_loss"] != other.curve[0]["train_loss"]


def test_whole_batches_alone_are_computed_by_the_compiled_network(small, monkeypatch):
    """Neither an epoch's last batch, which is smaller, nor an evaluation, which would compile it
    anew.
    """
    seen = []

    def compiled(part, dynamic):
        network = getattr(part, "__self__", part)  # the body is a method of the network
        return lambda x: seen.append((len(x), network.training, dynamic)) or part(x)

    monkeypatch.setattr(torch, "compile", compiled)
    batch = 7
    plain, run = (
        evalib.train(settings(batch_size=batch), device="cpu", compile=each)
        for each in (False, True)
    )
    whole, left = divmod(len(data.split(len(run.cifar.train_labels))[0]), batch)
    assert left
    assert seen == [(batch, True, False)] * 2 * whole * run.settings.epochs  # body and head
    assert_equal(plain, run)
    assert (plain.sittings[-1]["compiled"], run.sittings[-1]["compiled"]) == (False, True)
    assert plain.sittings[-1]["precision"] == "float32"


def test_gradients_of_a_compiled_eva_are_those_of_the_eager_one_under_autocast():
    """In a process of its own: the checks of shapes that pytest puts into the package cannot be
    compiled.
    """
    environment = os.environ | {
        "PYTHONPATH": str(Path(evalib.__file__).parent.parent),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", COMPILED], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_loss_falls_on_real_images(small):
    curve = evalib.train(settings(experiment="resnet20-small", epochs=24), device="cpu").curve
    assert max(row["train_loss"] for row in curve[-4:]) < 0.75 * curve[0]["train_loss"]


@pytest.mark.parametrize(
    ("tier", "epochs", "falls"),
    [("smoke", 2, [1]), ("quick", 15, [8, 12]), ("paper", 150, [75, 113])],
)
def test_the_tiers_have_their_epochs_and_their_rate_falls_at_half_and_three_quarters(
    tier, epochs, falls
):
    plan = evalib.Settings("resnet20-small", tier=tier)
    rates = [learning_rate(plan, epoch) for epoch in range(plan.epochs)]
    assert len(rates) == epochs and rates[0] == 0.001
    assert [epoch for epoch in range(1, epochs) if rates[epoch] < rates[epoch - 1]] == falls


def test_the_test_images_decide_nothing(small, monkeypatch):
    one = evalib.train(settings(epochs=1), device="cpu")
    changed = small._replace(test_images=255 - small.test_images)
    monkeypatch.setattr(cifar, "load_data", lambda which: changed)
    other = evalib.train(settings(epochs=1), device="cpu")
    assert_equal(one, other)
    assert not torch.equal(one.test_scores, other.test_scores)


@pytest.mark.parametrize(
    "harm", [lambda b: b[: len(b) // 2], lambda b: b[:-100] + bytes([b[-100] ^ 1]) + b[-99:]]
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(small, tmp_path, harm):
    whole = evalib.train(settings(), tmp_path, device="cpu")
    newest = checkpoint.found(tmp_path)[0]
    newest.write_bytes(harm(newest.read_bytes()))
    with pytest.warns(UserWarning, match=newest.name):
        again = evalib.train(settings(), tmp_path, device="cpu")
    assert_equal(whole, again)
    assert [checkpoint.epochs_of(path) for path in checkpoint.found(tmp_path)] == [3, 2]


def test_other_settings_than_the_checkpoints_are_refused_by_name(small, tmp_path):
    evalib.train(settings(), tmp_path, device="cpu")
    with pytest.raises(ValueError, match=r"learning_rate was 0\.001, is now 0\.01"):
        evalib.train(settings(learning_rate=0.01), tmp_path, device="cpu")


def test_a_loss_that_is_not_finite_stops_the_run(small, tmp_path, monkeypatch):
    monkeypatch.setattr(F, "cross_entropy", lambda scores, labels: scores.sum() * float("nan"))
    with pytest.raises(
        FloatingPointError, match=r"the train loss is nan in epoch 1, learning rate 0.001"
    ):
        evalib.train(settings(), tmp_path, device="cpu")
    assert not checkpoint.found(tmp_path)


@pytest.mark.parametrize("integer", [np.int64, np.uint8, np.int32])
def test_whole_numbers_of_numpy_are_whole_numbers(integer):
    assert settings(seed=integer(3), epochs=integer(2), batch_size=integer(25)) == settings(
        seed=3, epochs=2
    )
    assert type(settings(seed=integer(3)).seed) is int


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"experiment": "resnet18"}, "'resnet18'"),
        ({"tier": "huge"}, "'huge'.*smoke, quick, paper"),
        ({"epochs": 0}, "epochs=0: Input should be greater"),
        ({"epochs": 1.5}, "epochs=1.5"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": True}, "seed=True"),
        ({"batch_size": 1}, "batch_size=1"),
        ({"learning_rate": "1e-3"}, "learning_rate='1e-3'"),
        ({"learning_rate": float("nan")}, "learning_rate=nan"),
        ({"precision": "fp8"}, "precision='fp8': Input should be 'bf16' or 'float32'"),
        ({"milestones": (75, 112)}, r"milestones=\(75, 112\)"),
        ({"milestones": (0.75, 0.5)}, "they have to ascend"),
        ({"milestones": 0.5}, "milestones=0.5"),
    ],
)
def test_bad_settings_are_named(changes, named):
    with pytest.raises(ValueError, match=named):
        settings(**changes)


def test_a_device_that_is_not_there_is_named():
    for name in ("cuda:99", "tpu", "nonsense"):
        with pytest.raises(ValueError, match=f"no device '{name}' here"):
            train.choose_device(name)


def test_record_tells_everything_and_is_not_overwritten(small, tmp_path):
    plan = settings()
    run = evalib.run(plan, tmp_path, device="cpu")
    path = records.record_path(plan, tmp_path)
    record = records.read(path)
    assert record["test"]["correct"] == (run.test_scores.argmax(dim=1) == small.test_labels).sum()
    assert record["test"]["accuracy"] == pytest.approx(100 * record["test"]["correct"] / 20)
    assert record["data"] == {"source": "subset", "sha256": small.fingerprint}
    assert record["parameters"] == evalib.count_parameters(run.network)
    assert torch.equal(
        evalib.evaluate(path.with_suffix("") / record["weights"])[0], run.test_scores
    )
    assert evalib.Settings(**record["settings"]) == plan
    assert len(record["curve"]) == 3
    assert {"commit", "device", "versions", "seconds", "finished"} <= set(record)
    kept = path.read_bytes()
    evalib.run(plan, tmp_path, device="cpu")
    assert path.read_bytes() == kept
    with pytest.raises(ValueError, match="epochs was 3, is now 4"):
        evalib.run(settings(epochs=4), tmp_path, device="cpu")
    assert path.read_bytes() == kept
    evalib.run(settings(epochs=4), tmp_path, device="cpu", overwrite=True)
    assert len(records.read(path)["curve"]) == 4
    (earlier,) = (tmp_path / "superseded" / "smoke").glob("tiny-seed0-*.json")
    assert earlier.read_bytes() == kept
    assert (earlier.with_suffix("") / record["weights"]).exists()


def test_overwriting_checks_the_device_and_the_data_before_anything_moves(
    small, tmp_path, monkeypatch
):
    evalib.run(settings(epochs=1), tmp_path, device="cpu")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match="no device 'cuda:99'"):
        evalib.run(settings(epochs=1), tmp_path, device="cuda:99", overwrite=True)

    def no_data(which):
        raise OSError("the data are not there")

    monkeypatch.setattr(cifar, "load_data", no_data)
    with pytest.raises(OSError, match="the data are not there"):
        evalib.run(settings(epochs=1), tmp_path, device="cpu", overwrite=True)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_overwriting_an_unfinished_run_keeps_its_checkpoints(small, tmp_path):
    path = records.record_path(settings(), tmp_path)
    evalib.train(settings(), path.with_suffix(""), device="cpu")
    names = {each.name for each in checkpoint.found(path.with_suffix(""))}
    evalib.run(settings(), tmp_path, device="cpu", overwrite=True)
    (folder,) = (tmp_path / "superseded" / "smoke").iterdir()
    assert {each.name for each in folder.iterdir()} == names


def test_what_a_run_left_beside_its_record_moves_with_it(tmp_path):
    path = made(tmp_path)
    folder, left = (
        path.with_suffix(""),
        ("epoch-0002-0", "evaluation.json", "train.ipynb", "weights-0"),
    )
    folder.mkdir()
    for name in left:
        (folder / name).touch()
    RunFolder(evalib.Settings("resnet20-small"), tmp_path).set_aside()
    (earlier,) = (tmp_path / "superseded" / "smoke").glob("*.json")
    assert sorted(each.name for each in earlier.with_suffix("").iterdir()) == [*left]
    assert not path.exists() and not [*folder.iterdir()]


def test_the_first_run_of_a_seed_counts_and_every_rerun_is_listed(tmp_path):
    plan = evalib.Settings("resnet20-small")
    made(tmp_path, correct=200, finished="2026-01-01T00:00:00+00:00")
    RunFolder(plan, tmp_path).set_aside()
    made(tmp_path, correct=300, finished="2026-02-01T00:00:00+00:00")
    row = tables.table(tmp_path)[0]
    assert (row["accuracy"], row["seeds"]) == (40.0, 1)
    both = records.load_records(tmp_path)
    assert [*zip(both["test_accuracy"], both["counts"], strict=True)] == [
        (40.0, True),
        (60.0, False),
    ]


def test_a_record_alone_stops_at_once_and_names_what_to_do(small, tmp_path, monkeypatch):
    plan = settings(epochs=1)
    evalib.run(plan, tmp_path, device="cpu")
    path = records.record_path(plan, tmp_path)
    before = path.read_bytes()
    for each in path.with_suffix("").glob("*.safetensors"):
        each.unlink()
    monkeypatch.setattr(runs, "steps", lambda *_: pytest.fail("it trained"))
    with pytest.raises(
        FileExistsError, match=f"{path.name} is the record of this run .*--overwrite"
    ):
        evalib.run(plan, tmp_path, device="cpu")
    assert path.read_bytes() == before


def test_a_recorded_run_is_read_from_its_weights(small, tmp_path, monkeypatch):
    first = evalib.run(settings(epochs=1), tmp_path, device="cpu")
    monkeypatch.setattr(runs, "steps", lambda *_: pytest.fail("it trained"))
    again = evalib.run(settings(epochs=1), tmp_path, device="cpu")
    assert_equal(first, again)
    assert torch.equal(first.test_scores, again.test_scores)
    assert again.curve == first.curve


def test_weights_are_evaluated_in_the_batches_in_which_their_run_was(small, tmp_path, monkeypatch):
    """On a GPU other batches are other kernels, and there the counts of run and evaluation must be
    equal.
    """
    evalib.run(settings(epochs=1), tmp_path, device="cpu")
    path, seen = records.record_path(settings(epochs=1), tmp_path), []
    evaluate = train.evaluate
    for module in (train, runs):
        monkeypatch.setattr(
            module, "evaluate", lambda *given: seen.append(given) or evaluate(*given)
        )
    assert evalib.run(settings(epochs=1), tmp_path, device="cpu").test_scores is not None
    assert weights.verify(path, "cpu")["fault"] == ""
    assert len(seen) == 2


def test_a_run_goes_on_for_longer_and_says_where_it_came_from(small, tmp_path):
    evalib.run(settings(epochs=2), tmp_path, device="cpu")
    path = records.record_path(settings(), tmp_path)
    short = records.read(path)
    evalib.run(settings(epochs=4), tmp_path, device="cpu", longer=True)
    long = records.read(path)
    assert long["curve"][:2] == short["curve"] and len(long["curve"]) == 4
    assert [(each["after"], each["epochs"]) for each in long["sittings"]] == [(0, 2), (2, 4)]
    assert [each["learning_rate"] for each in long["curve"][2:]] == [
        learning_rate(settings(epochs=4), e) for e in (2, 3)
    ]
    (earlier,) = (tmp_path / "superseded" / "smoke").glob("*.json")
    assert records.read(earlier) == short
    with pytest.raises(ValueError, match=r"learning_rate was 0\.001, is now 0\.01"):
        evalib.run(settings(epochs=6, learning_rate=0.01), tmp_path, device="cpu", longer=True)
    last = checkpoint.found(path.with_suffix(""))[0]
    last.write_bytes(last.read_bytes()[:-1])
    with pytest.raises(ValueError, match=f"{last.name} is damaged"):
        evalib.run(settings(epochs=6), tmp_path, device="cpu", longer=True)
    assert records.read(path) == long
    for each in checkpoint.found(path.with_suffix("")):
        each.unlink()
    with pytest.raises(FileNotFoundError, match="last checkpoint"):
        evalib.run(settings(epochs=6), tmp_path, device="cpu", longer=True)
    assert records.read(path) == long


def test_a_run_of_another_computation_is_not_made_longer_and_nothing_moves(
    small, tmp_path, monkeypatch
):
    evalib.run(settings(epochs=2), tmp_path, device="cpu")
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(train, "COMPUTATION", train.COMPUTATION + 1)
    with pytest.raises(ValueError, match="finish them with the evalib that made them"):
        evalib.run(settings(epochs=4), tmp_path, device="cpu", longer=True)
    assert sorted(tmp_path.rglob("*")) == before


def test_checkpoints_of_a_name_that_is_no_more_are_of_another_computation(small, tmp_path):
    """As those of the former ablation *scaled*, whose folder has today's name."""
    said = {"settings": {"experiment": "evanet20-small-scaled"}, "curve": [{}], "sittings": []}
    checkpoint.write_tensors(tmp_path, "epoch-0001", {}, said)
    with pytest.raises(ValueError, match="checkpoints of computation 1"):
        evalib.train(settings(), tmp_path, device="cpu")


def test_a_run_made_longer_is_not_one_of_its_tier(tmp_path):
    first, whole = ({"after": 0, "epochs": epochs, "computation": 1} for epochs in (1, 2))
    path = made(tmp_path, sittings=[first, whole | {"after": 1}])
    assert not records.is_standard(records.read(path))
    path = made(tmp_path, sittings=[whole, whole | {"after": 1}])
    assert records.is_standard(records.read(path))


def test_checkpoints_of_another_computation_are_refused(small, tmp_path, monkeypatch):
    evalib.train(settings(), tmp_path, device="cpu")
    before = train.COMPUTATION
    monkeypatch.setattr(train, "COMPUTATION", before + 1)
    with pytest.raises(
        ValueError, match=f"checkpoints of computation {before}, and this evalib has {before + 1}"
    ):
        evalib.train(settings(), tmp_path, device="cpu")


def test_weights_left_without_a_record_are_not_kept_twice(small, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(runs, "write", stop)
        with pytest.raises(KeyboardInterrupt):
            evalib.run(settings(epochs=1), tmp_path, device="cpu")
    path = records.record_path(settings(), tmp_path)
    foreign = checkpoint.write_tensors(
        path.with_suffix(""), "weights", {"a": torch.zeros(1)}, {"curve": []}
    )
    monkeypatch.setattr(runs, "datetime", Later)
    evalib.run(settings(epochs=1), tmp_path, device="cpu")
    assert set(path.with_suffix("").glob("weights-*")) == {
        foreign,
        path.with_suffix("") / records.read(path)["weights"],
    }


class Later(datetime):
    """A clock a day ahead."""

    @classmethod
    def now(cls, zone):
        return super().now(zone) + timedelta(days=1)


@pytest.mark.parametrize(
    ("since", "last", "warns"),
    [(3, 30.0, True), (4, 20.0, True), (4, 41.0, False), (5, 80.0, False)],
)
def test_a_collapse_is_a_fall_by_half_that_stays(since, last, warns):
    values = [60.0, 80.0, *[35.0] * 2, last]
    curve = [
        {"validation_accuracy": value}
        for value in (values if since < 5 else [60.0, 80.0, 30.0, 70.0, last])
    ]
    said = records.collapse(curve)
    assert bool(said) is warns
    if warns:
        assert (
            "80.0 % after epoch 2, at most half of it from epoch 3 on" in said
            and f"{last:.1f} % after the last" in said
        )


def test_a_collapse_is_in_the_record_and_said(small, tmp_path, monkeypatch, capsys):
    values = iter([80.0, 30.0, 20.0])
    monkeypatch.setattr(train, "accuracy", lambda scores, labels: next(values))
    given = [
        "train",
        "--experiment",
        "resnet20-small",
        "--epochs",
        "2",
        "--device",
        "cpu",
        "--out",
        str(tmp_path),
    ]
    assert main(given) == 0
    warning = records.read(tmp_path / "smoke" / "resnet20-small-seed0.json")["warning"]
    assert warning.startswith("collapsed: validation accuracy 80.0 % after epoch 1")
    assert warning in capsys.readouterr().err


def test_accuracies_near_chance_are_no_collapse():
    assert records.collapse([{"validation_accuracy": value} for value in (22.0, 0.0)]) == ""
    assert records.collapse([{"validation_accuracy": 0.0}]) == ""


def test_a_second_process_does_not_write(small, tmp_path):
    plan = settings()
    directory = records.record_path(plan, tmp_path).with_suffix("")
    directory.mkdir(parents=True)
    with FileLock(directory / ".lock"), pytest.raises(RuntimeError, match="another process"):
        evalib.run(plan, tmp_path, device="cpu")
    assert not records.record_path(plan, tmp_path).exists()


def test_table_shows_the_highest_tier_and_dashes(small, tmp_path):
    evalib.run(evalib.Settings("resnet20-small"), tmp_path, device="cpu")
    evalib.run(evalib.Settings("resnet20-small", seed=1), tmp_path, device="cpu")
    evalib.run(
        settings(experiment="sanet20-small"), tmp_path, device="cpu"
    )  # not the tier's own settings
    rows = {row["experiment"]: row for row in tables.table(tmp_path)}
    assert (rows["resnet20-small"]["tier"], rows["resnet20-small"]["seeds"]) == ("smoke", 2)
    assert rows["sanet20-small"]["tier"] is None
    higher = json.loads(
        records.record_path(evalib.Settings("resnet20-small"), tmp_path).read_text()
    )
    higher["tier"] = "quick"
    higher["settings"] |= {"tier": "quick", "epochs": evalib.TIERS["quick"].epochs}
    higher["curve"] = [
        higher["curve"][-1] | {"epoch": epoch + 1} for epoch in range(evalib.TIERS["quick"].epochs)
    ]
    higher["sittings"] = []
    higher["data"] = {"source": "full", "sha256": cifar.FULL_SHA256}
    records.write(higher, tmp_path / "quick" / "resnet20-small-seed0.json")
    lines = tables.markdown(tables.table(tmp_path)).splitlines()[:8]
    cells = [[cell.strip() for cell in line.split("|")] for line in lines]
    assert cells[2][1:4] == ["ResNet-20 small", "172,506", "91.25"]
    assert ["quick" in line for line in cells] == [False, False, True] + 5 * [False]
    assert sum("not run" in line for line in cells) == 5


@pytest.mark.parametrize(
    ("option", "held"),
    [
        (["--learning-rate", "0.01"], {"learning_rate": 0.01}),
        (["--precision", "float32"], {"precision": "float32"}),
        (["--batch-size", "20"], {"batch_size": 20}),
    ],
)
def test_an_option_is_what_the_record_holds(small, tmp_path, capsys, option, held):
    given = [
        "train",
        "--experiment",
        "resnet20-small",
        "--epochs",
        "1",
        "--device",
        "cpu",
        "--out",
        str(tmp_path),
    ]
    assert main([*given, *option]) == 0
    record = records.read(tmp_path / "smoke" / "resnet20-small-seed0.json")
    assert held.items() <= record["settings"].items()
    assert record["precision"] == "float32"
