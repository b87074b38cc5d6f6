"""Weights: those of a recorded run give its count again, and come with the package; others are
refused.
"""

import json
import runpy
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from made import made
from torch import nn
from torch.nn.utils import parametrizations

import evalib
from evalib.__main__ import main
from evalib.experiments import experiment
from evalib.results import records, weights
from evalib.results.run import RunFolder
from evalib.training import checkpoint, cifar

ROOT = Path(__file__).resolve().parent.parent
ROW = experiment("resnet20-small")
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "publish_weights.py"))
publish, rounded = SCRIPT["publish"], SCRIPT["rounded"]


@pytest.fixture
def out(out, tmp_path, monkeypatch):
    """Two runs, and an empty folder in place of the package's weights."""
    monkeypatch.setattr(weights, "PRETRAINED", tmp_path / "pretrained")
    return out


def find_first(out):
    """The record of seed 0."""
    return out / "smoke" / "resnet20-small-seed0.json"


def put(out):
    return publish(ROW, out, ("smoke",), weights.PRETRAINED)


def test_published_weights_load_by_name_and_give_the_recorded_count(out, few, capsys):
    path = put(out)
    assert checkpoint.CHECKED.fullmatch(path.name) and path.name.startswith("resnet20-small-")
    count = records.read(find_first(out))["test"]["correct"]
    network = evalib.load_pretrained(ROW.name)
    assert not network.training
    correct = evalib.predict(network, few.test_images).argmax(dim=1) == few.test_labels
    assert correct.sum().item() == count
    shutil.rmtree(out / "smoke")
    assert main(["evaluate", "--weights", ROW.name, "--out", str(out)]) == 0
    said = f"{count} of 20 test images right ({5 * count:.2f} %), recorded: {count}"
    assert capsys.readouterr().out == f"resnet20-small seed 0: {said}\n"


def test_the_weights_of_a_row_are_of_its_first_seed_at_its_highest_tier(tmp_path):
    """In whatever order they ran, and if another has taken the record's place."""
    for seed, tier in ((0, "smoke"), (2, "quick"), (1, "quick")):
        name = f"weights-{seed}.safetensors"
        finished = f"2026-01-01T00:00:0{3 - seed}+00:00"
        path = made(tmp_path, seed=seed, tier=tier, weights=name, finished=finished)
        file = path.with_suffix("") / name
        file.parent.mkdir()
        file.touch()
    assert weights.find_weights(ROW.name, tmp_path) == file
    RunFolder(evalib.Settings(ROW.name, 1, "quick"), tmp_path).set_aside()
    (aside,) = (tmp_path / "superseded").rglob(name)
    assert weights.find_weights(ROW.name, tmp_path) == aside
    aside.unlink()  # as of a run whose weights are in the history: no other seed stands in for it
    assert weights.find_weights(ROW.name, tmp_path) == weights.packaged(ROW.name)


def test_a_record_without_weights_has_those_of_the_package(tmp_path):
    made(tmp_path, weights=None).with_suffix("").mkdir()
    assert weights.find_weights(ROW.name, tmp_path) == weights.packaged(ROW.name)


def test_of_a_run_that_is_none_of_a_whole_tier_the_weights_are_to_be_named(tmp_path):
    path = made(tmp_path, epochs=5)
    with pytest.raises(ValueError, match=f"{path} is not a run of a whole tier: name its weights"):
        weights.find_weights(ROW.name, tmp_path)


def test_the_weights_of_a_record_are_those_beside_it_else_the_packages(out):
    path = find_first(out)
    published = put(out)
    beside = path.with_suffix("") / records.read(path)["weights"]
    assert weights.find_recorded(path) == beside
    beside.unlink()
    assert weights.find_recorded(path) == published


def test_weights_that_are_there_already_stay(out):
    path = put(out)
    shutil.rmtree(find_first(out).with_suffix(""))
    assert put(out) == path and path.exists()


def test_of_a_run_that_was_made_again_the_first_is_published(out, few):
    settings = evalib.Settings(**records.read(find_first(out))["settings"])
    first = records.read(find_first(out))["weights"]
    evalib.run(settings, out, device="cpu", overwrite=True)
    assert put(out).stem[-16:] == Path(first).stem[-16:]


def test_weights_take_the_place_of_older_ones(out):
    weights.PRETRAINED.mkdir()
    for old in ("resnet20-small-0123456789abcdef", "resnet20-small-mlp-0123456789abcdef"):
        (weights.PRETRAINED / f"{old}.safetensors").touch()
    names = {
        path.name
        for path in (
            put(out),
            weights.PRETRAINED / "resnet20-small-mlp-0123456789abcdef.safetensors",
        )
    }
    assert {path.name for path in weights.PRETRAINED.iterdir()} == names


def test_damaged_weights_are_not_loaded(out):
    path = put(out)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(ValueError, match="is damaged"):
        evalib.load_pretrained(ROW.name)
    with pytest.raises(ValueError, match="no checksum in its name"):
        evalib.load_weights(path.rename(path.with_name("mine.safetensors")))


def test_what_has_no_weights_is_named(out):
    put(out)
    with pytest.raises(
        FileNotFoundError,
        match=r"no weights of evanet20-small .*there are: resnet20-small\): train",
    ):
        evalib.load_pretrained("evanet20-small")
    with pytest.raises(ValueError, match="there is no experiment 'resnet18'"):
        evalib.load_pretrained("resnet18")
    with pytest.raises(
        FileNotFoundError, match=r"no weights of evanet20-large-scaled .*train it first"
    ):
        evalib.load_weights("evanet20-large", out)


def write_seconds(path):
    record = json.loads(path.read_text())
    records.write(record | {"seconds": record["seconds"] + 1}, path)


def write_weights(path, kind=torch.float32, **metadata):
    """Weights beside a record that are of another kind, or say something else of their run."""
    record = json.loads(path.read_text())
    tensors, inside = checkpoint.read_tensors(path.with_suffix("") / record["weights"])
    tensors = {name: t.to(kind) if t.is_floating_point() else t for name, t in tensors.items()}
    made = checkpoint.write_tensors(path.with_suffix(""), "weights", tensors, inside | metadata)
    records.write(record | {"weights": made.name}, path)


def write_count(path):
    """A record and weights that agree on a count which the weights do not give."""
    record = json.loads(path.read_text())
    correct = record["test"]["correct"] + 1
    test = record["test"] | {"correct": correct, "accuracy": 5.0 * correct}
    records.write(record | {"test": test}, path)
    write_weights(path, test=test)


def damage(path):
    file = weights.find_recorded(path)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        (Path.unlink, "seed 0 has no record of the smoke tier"),
        (lambda path: shutil.rmtree(path.with_suffix("")), "is not there"),
        (write_seconds, "holds the weights of another run"),
        (lambda path: write_weights(path, torch.bfloat16), "only float32 is taken"),
        (write_count, "of 20 test images right on CPU"),
    ],
)
def test_other_weights_are_refused(out, harm, named):
    harm(find_first(out))
    with pytest.raises(ValueError, match=named):
        put(out)
    assert not weights.PRETRAINED.exists()


def test_weights_that_are_too_large_are_refused(out, monkeypatch):
    size = weights.find_recorded(find_first(out)).stat().st_size
    monkeypatch.setitem(publish.__globals__, "LIMIT", size - 1)
    with pytest.raises(ValueError, match=f"has {size:,} bytes, more than {size - 1:,}"):
        put(out)


def test_what_is_refused_is_said_on_stderr_and_stops_no_other(monkeypatch, capsys):
    def refuse(row, out):
        if row is ROW:
            raise ValueError("refused")
        return row.name

    monkeypatch.setitem(publish.__globals__, "publish", refuse)
    monkeypatch.setattr("sys.argv", ["publish"])
    assert SCRIPT["main"]() == 1
    shown = capsys.readouterr()
    assert shown.err == "refused\n" and len(shown.out.split()) == len(SCRIPT["ROWS"]) - 1


def test_weights_of_a_large_row_are_rounded_to_bfloat16_and_say_so(out, tmp_path, monkeypatch):
    source = weights.find_recorded(find_first(out))
    (before, record), target = checkpoint.read_tensors(source), rounded(ROW, source, tmp_path)
    _, inside = checkpoint.read_tensors(target)
    assert inside == record | {"stored": "bfloat16"}
    assert target.stat().st_size < 0.6 * source.stat().st_size
    for name, value in weights.load_weights(target).state_dict().items():
        assert value.dtype == before[name].dtype
        torch.testing.assert_close(value, before[name], rtol=2**-8, atol=0)
    monkeypatch.setattr(weights, "compare_counts", lambda *_: "other counts")
    with pytest.raises(ValueError, match="in bfloat16: other counts"):
        rounded(ROW, source, tmp_path)
    assert not target.exists()


def test_the_smoke_tier_is_refused(out):
    with pytest.raises(ValueError, match="no record of the quick or paper tier"):
        publish(ROW, out, into=weights.PRETRAINED)


@pytest.mark.parametrize("path", sorted(weights.PRETRAINED.glob("*")), ids=lambda path: path.name)
def test_the_weights_in_the_package_are_whole_small_and_of_a_full_run(path):
    tensors, record = weights.read_weights(path)
    assert path.name.startswith(f"{record['experiment']}-") and path.stat().st_size < 12_000_000
    assert (record["seed"], record["data"]["source"]) == (0, "full")
    assert record["tier"] in ("quick", "paper") and evalib.Settings(
        **record["settings"]
    ).epochs == len(record["curve"])
    network = evalib.build(record["experiment"])
    assert set(network.state_dict()) == set(tensors)
    assert evalib.count_parameters(network) == record["parameters"]


@pytest.mark.parametrize("path", sorted(weights.PRETRAINED.glob("*")), ids=lambda path: path.name)
def test_the_weights_in_the_package_give_their_count(path):
    torch.set_default_dtype(torch.float32)
    if not cifar.is_there():
        pytest.skip("the full CIFAR-10 is not here: python -m evalib data")
    assert (
        weights.compare_counts(weights.read_weights(path)[1], weights.count_right(path, "cpu"))
        == ""
    )


# ── The stage after training


def test_weights_that_agree_are_said_to(out, capsys):
    path = find_first(out)
    test, file = records.read(path)["test"], weights.find_recorded(path)
    assert main(["evaluate", "--weights", str(file), "--device", "cpu"]) == 0
    said = f"{test['correct']} of {test['images']} test images right ({test['accuracy']:.2f} %)"
    assert f"{said}, recorded: {test['correct']}" in capsys.readouterr().out
    assert weights.verify(path, "cpu")["fault"] == ""
    write_count(path)
    file = weights.find_recorded(path)
    assert main(["evaluate", "--weights", str(file), "--device", "cpu"]) == 2
    assert f"recorded are {test['correct'] + 1} on CPU" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        (write_count, "of 20 test images right on CPU"),
        (lambda path: write_weights(path, seed=1), "holds the weights of another run"),
        (damage, "is damaged: its SHA-256 begins with"),
    ],
)
def test_weights_that_do_not_agree_are_named(out, harm, named):
    harm(find_first(out))
    assert named in weights.verify(find_first(out), "cpu")["fault"]


def test_rounding_on_another_device_may_move_a_count_by_one_standard_error():
    record = {
        "device": "a",
        "versions": {"torch": "2"},
        "test": {"accuracy": 90.0, "correct": 9000, "images": 10_000},
    }
    here = {"device": "a", "torch": "2"}
    assert weights.compare_counts(record, here | {"correct": 9000}) == ""
    assert "8999 of 10000" in weights.compare_counts(record, here | {"correct": 8999})
    # √(90 · 10 / 10000) % are 30 images
    rounded, there = (
        record | {"stored": "bfloat16"},
        (here | {"device": "b"}, here | {"torch": "3"}),
    )
    for made_by, tested in ((record, there[0]), (record, there[1]), (rounded, here)):
        assert weights.compare_counts(made_by, tested | {"correct": 8970}) == ""
        assert "8969 of 10000" in weights.compare_counts(made_by, tested | {"correct": 8969})


# ── Weights of a row of one's own


class Head(nn.Module):
    """Two layers with one weight, and two whose weights are computed."""

    def __init__(self, channels):
        super().__init__()
        self.one, self.other = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.other.weight = self.one.weight
        self.normed = parametrizations.weight_norm(nn.Linear(channels, channels))
        self.bounded = parametrizations.spectral_norm(nn.Linear(channels, channels))

    def forward(self, x):
        return self.bounded(self.normed(self.other(self.one(x.mean(dim=(2, 3))))))


def test_tied_and_computed_weights_are_written_and_read_back(tmp_path, rows):
    torch.set_default_dtype(torch.float32)
    evalib.register(evalib.Experiment("mine", "Mine", head=Head))
    network, x = evalib.build("mine").eval(), torch.randn(2, 3, 32, 32)
    made = {"experiment": "mine", "computation": 2, "settings": {}}
    path = checkpoint.write_tensors(tmp_path, "weights", network.state_dict(), made)
    torch.testing.assert_close(evalib.load_weights(path)(x), network(x))


def largest(channels):
    return nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten())


def test_weights_of_a_row_that_was_edited_are_no_weights_of_the_new_one(tmp_path, rows):
    evalib.register(evalib.Experiment("mine", "Mine"))
    origin = {"row": experiment("mine").definition(), "module": None}
    said = {"experiment": "mine", "settings": {"experiment": "mine"}, "origin": origin}
    state = evalib.build("mine").state_dict()
    path = checkpoint.write_tensors(tmp_path, "weights", state, said)
    assert evalib.load_weights(path)
    rows["mine"] = replace(rows["mine"], head=largest)
    with pytest.raises(ValueError, match="its row was edited since that run"):
        evalib.load_weights(path)


def test_a_checkpoint_is_no_weights(tmp_path):
    settings = {"settings": {"experiment": ROW.name}, "curve": []}
    path = checkpoint.write_tensors(tmp_path, "epoch-0001", {"network.a": torch.ones(2)}, settings)
    with pytest.raises(
        ValueError,
        match=r"epoch-0001-\w+.safetensors is a checkpoint.*name the weights-… file beside it",
    ):
        evalib.load_weights(path)


@pytest.mark.parametrize(
    "change",
    [
        {"experiment": "sanet20-small"},
        {"experiment": "another"},
        {"experiment": []},
        {"computation": "2"},
        {"computation": 99},
        {},  # but a tensor more
    ],
    ids=str,
)
def test_weights_that_are_not_those_of_their_network_are_named(tmp_path, change):
    torch.set_default_dtype(torch.float32)
    tensors, record = checkpoint.read_tensors(weights.packaged(ROW.name))
    more = {} if change else {"more": torch.ones(2)}
    path = checkpoint.write_tensors(tmp_path, "weights", tensors | more, record | change)
    with pytest.raises(ValueError, match=path.name):
        evalib.load_weights(path)


@pytest.mark.parametrize(
    ("part", "harm"),
    [("seed", None), ("data", []), ("data", {"source": "own"}), ("test", None)],
    ids=str,
)
def test_weights_that_do_not_say_what_their_test_gave_are_not_tested(tmp_path, capsys, part, harm):
    torch.set_default_dtype(torch.float32)
    tensors, record = checkpoint.read_tensors(weights.packaged(ROW.name))
    path = checkpoint.write_tensors(tmp_path, "weights", tensors, record | {part: harm})
    assert main(["evaluate", "--weights", str(path)]) == 2
    assert f"{path.name} does not say what its test gave" in capsys.readouterr().err
