"""A run and its folder: a record tells everything, is not overwritten, and grows only as asked."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from test_training import assert_equal, settings
from torch.nn import functional as F

import evalib
from evalib.__main__ import main
from evalib.experiments import experiment
from evalib.results import records, weights
from evalib.results import run as runs
from evalib.training import checkpoint, cifar, train

pytestmark = pytest.mark.usefixtures("float32", "few", "tiny")
TRAIN = "train --experiment tiny --epochs 2 --device cpu --out"


def test_record_tells_everything_and_is_not_overwritten(few, tmp_path, monkeypatch):
    plan = settings()
    run = evalib.run(plan, tmp_path, device="cpu")
    path = records.record_path(plan, tmp_path)
    record = records.read(path)
    correct = (run.test_scores.argmax(dim=1) == few.test_labels).sum().item()
    loss = F.cross_entropy(run.test_scores, few.test_labels).item()
    told = {
        "test": {"accuracy": 5.0 * correct, "loss": loss, "correct": correct, "images": 20},
        "data": {"source": "subset", "sha256": few.fingerprint},
        "parameters": evalib.count_parameters(run.network),
        "origin": {"row": experiment("tiny").definition(), "module": None},
        "seconds": run.seconds,
        "sittings": run.sittings,
        "curve": run.curve,
    }
    assert {name: record[name] for name in told} == told
    scores, *_ = evalib.evaluate(path.with_suffix("") / record["weights"])
    assert torch.equal(scores, run.test_scores)
    assert evalib.Settings(**record["settings"]) == plan
    assert {"commit", "device", "versions", "seconds", "finished"} <= set(record)
    kept = path.read_bytes()
    evalib.run(plan, tmp_path, device="cpu")
    assert path.read_bytes() == kept
    with pytest.raises(ValueError, match="epochs was 3, is now 4"):
        evalib.run(settings(epochs=4), tmp_path, device="cpu")
    assert path.read_bytes() == kept
    (path.with_suffix("") / "train.ipynb").touch()
    left = {each.name for each in path.with_suffix("").iterdir()} - {".lock"}
    monkeypatch.setattr(runs, "datetime", Later)
    evalib.run(settings(epochs=4), tmp_path, device="cpu", overwrite=True)
    assert len(records.read(path)["curve"]) == 4
    (earlier,) = (tmp_path / "superseded" / "smoke").glob("*.json")
    when = datetime.fromisoformat(record["finished"])
    assert earlier.stem == f"tiny-seed0-{when:%Y%m%dT%H%M%S}-{(record['commit'] or 'unknown')[:7]}"
    assert earlier.read_bytes() == kept
    assert {each.name for each in earlier.with_suffix("").iterdir()} == left
    assert record["weights"] in left and len(left) == 2 + checkpoint.KEPT
    assert not left & {each.name for each in path.with_suffix("").iterdir()}


def test_overwriting_checks_the_device_and_the_data_before_anything_moves(tmp_path, monkeypatch):
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


def test_overwriting_an_unfinished_run_keeps_its_checkpoints(tmp_path):
    path = records.record_path(settings(), tmp_path)
    evalib.train(settings(), path.with_suffix(""), device="cpu")
    names = {each.name for each in checkpoint.found(path.with_suffix(""))}
    evalib.run(settings(), tmp_path, device="cpu", overwrite=True)
    (folder,) = (tmp_path / "superseded" / "smoke").iterdir()
    assert {each.name for each in folder.iterdir()} == names


def test_overwriting_that_was_interrupted_goes_on(tmp_path, monkeypatch):
    evalib.run(settings(epochs=1), tmp_path, device="cpu")
    path, rename = records.record_path(settings(epochs=1), tmp_path), Path.rename

    def interrupted(self, target):
        if self == path:
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Path, "rename", interrupted)
        evalib.run(settings(epochs=1), tmp_path, device="cpu", overwrite=True)
    evalib.run(settings(epochs=1), tmp_path, device="cpu", overwrite=True)
    kept = tmp_path / "superseded" / "smoke"
    (record,), (weights,) = kept.glob("*.json"), kept.glob("*/weights-*")
    assert json.loads(record.read_text("utf-8"))["weights"] == weights.name


def test_what_a_killed_writer_of_this_run_left_half_done_goes(tmp_path):
    smoke = tmp_path / "smoke"
    left = [smoke / "tiny-seed0" / ".weights-0.1.tmp", smoke / ".tiny-seed0.json.1.tmp"]
    stays = smoke / ".tiny-seed01.json.1.tmp"
    left[0].parent.mkdir(parents=True)
    for path in (*left, stays):
        path.touch()
    evalib.run(settings(epochs=1), tmp_path, device="cpu")
    assert [path.exists() for path in (*left, stays)] == [False, False, True]


def test_a_record_alone_stops_at_once_and_names_what_to_do(tmp_path, monkeypatch):
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


def test_a_recorded_run_is_read_from_its_weights(tmp_path, monkeypatch):
    first = evalib.run(settings(epochs=1), tmp_path, device="cpu")
    monkeypatch.setattr(runs, "steps", lambda *_: pytest.fail("it trained"))
    again = evalib.run(settings(epochs=1), tmp_path, device="cpu")
    assert_equal(first, again)
    assert torch.equal(first.test_scores, again.test_scores)
    assert again.curve == first.curve


def test_weights_are_evaluated_in_the_batches_in_which_their_run_was(tmp_path, monkeypatch):
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


class Later(datetime):
    """A clock a day ahead."""

    @classmethod
    def now(cls, zone):
        return super().now(zone) + timedelta(days=1)


def test_weights_left_without_a_record_are_not_kept_twice(tmp_path, monkeypatch):
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
    kept = path.with_suffix("") / records.read(path)["weights"]
    assert {*path.with_suffix("").glob("weights-*")} == {foreign, kept}


def test_a_second_process_does_not_write(tmp_path):
    plan = settings()
    directory = records.record_path(plan, tmp_path).with_suffix("")
    directory.mkdir(parents=True)
    with FileLock(directory / ".lock"), pytest.raises(RuntimeError, match="another process"):
        evalib.run(plan, tmp_path, device="cpu")
    assert not records.record_path(plan, tmp_path).exists()


def test_a_collapse_is_in_the_record_and_said(tmp_path, monkeypatch, capsys):
    values = iter([80.0, 30.0, 20.0])
    monkeypatch.setattr(train, "accuracy", lambda scores, labels: next(values))
    assert main([*TRAIN.split(), str(tmp_path)]) == 0
    warning = records.read(tmp_path / "smoke" / "tiny-seed0.json")["warning"]
    assert warning.startswith("collapsed: validation accuracy 80.0 % after epoch 1")
    assert warning in capsys.readouterr().err
