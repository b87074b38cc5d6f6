"""The stage after training: the weights give the recorded count again, or the run is named and the others go on."""

import json
import shutil

import pytest
import torch
from test_batch import reproduce

import evalib
from evalib.__main__ import main
from evalib.batch import manifest
from evalib.results import evaluation, records
from evalib.training import checkpoints

SETTINGS = [evalib.Settings("resnet20-small", seed, epochs=1) for seed in (0, 1)]
pytestmark = pytest.mark.usefixtures("float32")


@pytest.fixture
def float32():
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with two runs, trained and not evaluated."""
    torch.set_default_dtype(torch.float32)
    out = tmp_path_factory.mktemp("trained")
    for settings in SETTINGS:
        evalib.run(settings, out, device="cpu")
    return out


@pytest.fixture
def out(trained, tmp_path):
    """A copy of both runs."""
    return shutil.copytree(trained, tmp_path / "results")


def evaluate(path):
    return main(["evaluate", "--record", str(path), "--device", "cpu"])


def state(out):
    return [(run.state, run.note) for run in manifest.plan(SETTINGS, out)]


def with_weights(path, change=lambda tensors: None, **metadata):
    """Replace the weights of a record by a sound file of changed tensors or metadata."""
    record, directory = records.read(path), path.with_suffix("")
    tensors, made = checkpoints.read_tensors(directory / record["weights"])
    change(tensors)
    written = checkpoints.write_tensors(directory, "weights", tensors, made | metadata)
    records.write(record | {"weights": written.name}, path)


def test_weights_that_agree_make_a_run_done(out, capsys):
    path = records.record_path(SETTINGS[0], out)
    assert [name for name, _ in state(out)] == ["trained", "trained"]
    assert evaluate(path) == 0
    correct = records.read(path)["test"]["correct"]
    assert f"its weights give {correct} test images right, as recorded" in capsys.readouterr().out
    outcome = json.loads((path.with_suffix("") / "evaluation.json").read_text())
    assert (outcome["correct"], outcome["fault"]) == (correct, "")
    assert [name for name, _ in state(out)] == ["done", "trained"]


def worse(tensors):
    tensors["classifier.bias"] += torch.arange(10.0)


def damage(path):
    file = evaluation.recorded_weights(path)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        (lambda path: with_weights(path, worse), "of 500 test images right on CPU"),
        (lambda path: with_weights(path, seed=1), "holds the weights of another run"),
        (damage, "is damaged: its SHA-256 begins with"),
    ],
)
def test_weights_that_do_not_agree_make_a_run_doubtful(out, capsys, harm, named):
    path = records.record_path(SETTINGS[0], out)
    harm(path)
    assert evaluate(path) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"evalib: {path}: ")
    assert named in error
    name, note = state(out)[0]
    assert name == "doubtful"
    assert named in note


def test_an_evaluation_of_other_weights_does_not_count(out):
    path = records.record_path(SETTINGS[0], out)
    assert evaluate(path) == 0
    with_weights(path, worse)
    assert state(out)[0][0] == "trained"


@pytest.mark.parametrize("content", ["[]", "{", "[" * 100_000, '{"weights": "{}", "fault": 5}', None])
def test_an_evaluation_that_cannot_be_read_is_none(out, content):
    path = records.record_path(SETTINGS[0], out)
    kept = path.with_suffix("") / evaluation.EVALUATION
    kept.unlink(missing_ok=True)
    kept.mkdir() if content is None else kept.write_text(content.replace("{}", records.read(path)["weights"]))
    assert state(out)[0] == ("trained", "its weights are to be evaluated")


def test_a_record_without_weights_has_nothing_to_evaluate(out, capsys):
    path = records.record_path(SETTINGS[0], out)
    shutil.rmtree(path.with_suffix(""))
    assert state(out)[0] == ("done", "")
    assert evaluate(path) == 2
    assert "the weights of" in capsys.readouterr().err


def test_rounding_on_another_device_may_move_a_count_by_one_standard_error():
    record = {"device": "a", "versions": {"torch": "2"}, "test": {"accuracy": 90.0, "correct": 9000, "images": 10_000}}
    here, there = {"device": "a", "torch": "2"}, {"device": "b", "torch": "2"}  # √(90 · 10 / 10000) % are 30 images
    assert evaluation.difference(record, here | {"correct": 9000}) == ""
    assert "8999 of 10000" in evaluation.difference(record, here | {"correct": 8999})
    assert evaluation.difference(record, there | {"correct": 8970}) == ""
    assert "8969 of 10000" in evaluation.difference(record, there | {"correct": 8969})


@pytest.mark.slow
def test_a_doubtful_run_is_named_by_reproduce_and_stops_no_other(out, tmp_path):
    wanted = tmp_path / "manifest.csv"
    wanted.write_text("experiment,seeds\nresnet20-small,0 1\n")
    with_weights(records.record_path(SETTINGS[0], out), worse)
    process = reproduce(wanted, out, "--epochs", "1")
    shown = process.communicate(timeout=240)[0]
    assert process.returncode == 1
    assert "doubtful resnet20-small-seed0: its weights give" in shown
    assert "done 1, failed 0, doubtful 1, skipped 0, running 0\nto make a skipped or doubtful run anew: " in shown
    assert [name for name, _ in state(out)] == ["doubtful", "done"]
