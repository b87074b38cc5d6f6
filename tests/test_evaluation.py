"""The stage after training: the weights give the recorded count again, or the run is named and the
others go on.
"""

import json
import shutil

import pytest
import torch

import evalib
from evalib.__main__ import main
from evalib.results import records, weights
from evalib.training import checkpoint

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


def with_weights(path, change=lambda tensors: None, **metadata):
    """Replace the weights of a record by a sound file of changed tensors or metadata."""
    record, directory = records.read(path), path.with_suffix("")
    tensors, made = checkpoint.read_tensors(directory / record["weights"])
    change(tensors)
    written = checkpoint.write_tensors(directory, "weights", tensors, made | metadata)
    records.write(record | {"weights": written.name}, path)


def test_weights_that_agree_are_said_to(out, capsys):
    path = records.record_path(SETTINGS[0], out)
    assert evaluate(path) == 0
    correct = records.read(path)["test"]["correct"]
    assert f"its weights give {correct} test images right, as recorded" in capsys.readouterr().out
    outcome = json.loads((path.with_suffix("") / "evaluation.json").read_text())
    assert (outcome["correct"], outcome["fault"]) == (correct, "")


def worse(tensors):
    tensors["classifier.bias"] += torch.arange(10.0)


def damage(path):
    file = weights.find_recorded(path)
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
def test_weights_that_do_not_agree_are_named(out, capsys, harm, named):
    path = records.record_path(SETTINGS[0], out)
    harm(path)
    assert evaluate(path) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"evalib: {path}: ")
    assert named in error


def test_a_record_without_weights_has_nothing_to_evaluate(out, capsys):
    path = records.record_path(SETTINGS[0], out)
    shutil.rmtree(path.with_suffix(""))
    assert evaluate(path) == 2
    assert "the weights of" in capsys.readouterr().err


def test_rounding_on_another_device_may_move_a_count_by_one_standard_error():
    record = {
        "device": "a",
        "versions": {"torch": "2"},
        "test": {"accuracy": 90.0, "correct": 9000, "images": 10_000},
    }
    here, there = (
        {"device": "a", "torch": "2"},
        {"device": "b", "torch": "2"},
    )  # √(90 · 10 / 10000) % are 30 images
    assert weights.compare_counts(record, here | {"correct": 9000}) == ""
    assert "8999 of 10000" in weights.compare_counts(record, here | {"correct": 8999})
    assert weights.compare_counts(record, there | {"correct": 8970}) == ""
    assert "8969 of 10000" in weights.compare_counts(record, there | {"correct": 8969})
