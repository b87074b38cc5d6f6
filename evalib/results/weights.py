"""Trained weights, read back: the file's checksum is checked, and the test set gives the recorded
count again.
"""

import csv
from pathlib import Path

import torch
from jaxtyping import Float
from pydantic import ValidationError
from torch import Tensor, nn

from evalib.experiments import build, experiment
from evalib.networks import Network
from evalib.results.records import (
    Data,
    Part,
    Test,
    check_folder,
    check_origin,
    find_runs,
    load_records,
    read,
)
from evalib.results.statistics import binomial_error
from evalib.training import checkpoint, cifar, train
from evalib.training.environment import choose_device, device_name, versions
from evalib.training.settings import COMPUTATION

PRETRAINED = Path(__file__).with_name("pretrained")
"""The weights that come with the package, each ``<experiment>-<16 digits of its
SHA-256>.safetensors``.
"""

HISTORY = "weights.csv"
"""In the folder of the records: of each weights file that is no longer in the tree, its SHA-256 and
the commit that has it.
"""


def packaged(name: str) -> Path | None:
    """The weights of an experiment that come with the package; ``None`` if none do, ``ValueError``
    if it is none.
    """
    found = sorted(PRETRAINED.glob(f"{experiment(name).name}-{'[0-9a-f]' * 16}.safetensors"))
    return found[0] if found else None


def load_pretrained(name: str, num_classes: int | None = None) -> Network:
    """The trained network of an experiment that comes with the package, in evaluation mode on the
    CPU.

    It is that of seed 0 after its last epoch. With ``num_classes`` its classifier is a fresh one
    for so many classes, drawn from torch's random state, and all else as trained.
    ``FileNotFoundError`` if the package has no weights of it.
    """
    path = packaged(name)
    if path is None:
        there = sorted(file.stem[: -len("-0123456789abcdef")] for file in PRETRAINED.glob("*-*"))
        raise FileNotFoundError(
            f"no weights of {name} come with evalib (there are: {', '.join(there) or 'none'}): "
            f"train it, with evalib.run(evalib.Settings({name!r}, tier='quick'))"
        )
    network = load_weights(path)
    if num_classes is not None:
        if type(num_classes) is not int or num_classes < 1:
            raise ValueError(f"num_classes={num_classes!r} must be a whole number, 1 or more")
        network.classifier = nn.Linear(network.classifier.in_features, num_classes)
    return network


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict]:
    """The tensors of a weights file and what its record says.

    ``ValueError`` if it is a checkpoint, which has no record yet, or of a later computation.
    """
    tensors, record = checkpoint.read_tensors(path)
    if "experiment" not in record:
        raise ValueError(
            f"{path} is a checkpoint, not the weights of a finished run: name the weights-… file"
            " beside it, or go on with the run"
        )
    version = record.get("computation", 1)
    if not isinstance(version, int) or version > COMPUTATION:
        raise ValueError(
            f"{path} is of computation {version!r}, and this evalib has {COMPUTATION}: bring it up"
            " to date"
        )
    return tensors, record


def find_weights(name_or_path: str | Path, out: Path | None = None) -> Path:
    """The weights file at a path, or that of an experiment: of its first recorded seed at its
    highest tier.

    Where a run left none, the weights that come with the package. ``ValueError`` if it is neither a
    path nor an experiment, or if ``out`` is no folder or has only runs of it with other settings;
    ``FileNotFoundError`` if there is no file.
    """
    path = Path(name_or_path).expanduser()
    if path.suffix == ".safetensors":
        return path
    name, folder = experiment(str(name_or_path)).name, check_folder(out)
    runs = find_runs(load_records(out), name)
    if runs.empty and (other := sorted(folder.glob(f"*/{name}-seed*.json"))):
        raise ValueError(
            f"{other[0]} is not a run of a whole tier: name its weights,"
            f" {other[0].with_suffix('')}/weights-…"
        )
    for first in runs[:1].itertuples():
        kept = first.path.with_suffix("") / first.weights
        if first.weights and kept.is_file():
            return kept
    given = packaged(name)
    if given is None:
        raise FileNotFoundError(f"no weights of {name} are in {folder}: train it first")
    return given


def load_weights(name_or_path: str | Path, out: Path | None = None) -> Network:
    """The trained network of a weights file, or of an experiment, in evaluation mode on the CPU.

    Nothing is unpickled. ``ValueError`` if the bytes do not have the SHA-256 that the file's name
    gives, are not those of its network, or if its row was edited since.
    """
    path = find_weights(name_or_path, out)
    tensors, record = read_weights(path)
    try:
        with torch.random.fork_rng(devices=[]):  # what is drawn here is not kept
            network = build(record["experiment"])
        network.load_state_dict(tensors)
        check_origin(record, path)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"{path} has no weights of {record['experiment']!r}: {error}") from None
    network.image_size = (32, 32)
    return network.eval()


class Tested(Part):
    """What has to be in a record for its weights to be tested again."""

    seed: int
    data: Data
    test: Test


def evaluate(
    name_or_path: str | Path, out: Path | None = None, device: str | None = None
) -> tuple[Float[Tensor, "n 10"], dict]:
    """The scores of trained weights for the test images they were recorded with, and that record.

    In batches as the run's own: where a GPU computes other ones, another of its kernels may round
    otherwise.
    """
    path, chosen = find_weights(name_or_path, out), choose_device(device)
    _, record = read_weights(path)
    try:
        source = Tested.model_validate(record).data.source
    except ValidationError:
        raise ValueError(f"{path} does not say what its test gave: give a file of a run") from None
    test_images = cifar.load_data(source).test_images
    return train.evaluate(load_weights(path).to(chosen), test_images.to(chosen)).cpu(), record


def find_recorded(path: Path) -> Path | None:
    """The weights file of the record at ``path``: beside it, or the same one in the package;
    ``None`` where there is neither.
    """
    name = read(path).get("weights") or ""
    same = PRETRAINED.glob(f"*-{name.removeprefix('weights-')}")
    there = [file for file in (path.with_suffix("") / name, *same) if file.is_file()]
    return there[0] if there else None


def tell_where(path: Path) -> str:
    """Where the weights of the record at ``path`` are, if not here: the command that brings them
    from the history.
    """
    file = f"results/{path.parent.name}/{path.stem}/{read(path).get('weights')}"
    history = path.parents[1] / HISTORY
    lines = history.read_text("utf-8").splitlines() if history.is_file() else []
    for line in csv.DictReader(lines):
        if line["file"] == file:
            folder = file.rpartition("/")[0]
            return f"mkdir -p {folder} && git show {line['commit'][:12]}:{file} > {file}"
    return f"copy {path.with_suffix('')} from where the run was made"


def verify(path: Path, device: str | None = None) -> dict:
    """Evaluate the weights of the record at ``path`` again.

    ``fault`` says in what they do not agree with the record, and is empty if they do.
    ``FileNotFoundError`` if the weights are not there.
    """
    path = Path(path)
    record, weights = read(path), find_recorded(path)
    if weights is None:
        raise FileNotFoundError(
            f"the weights of {path} are not here: {tell_where(path)}; the record stands without"
            " them"
        )
    outcome: dict = {"weights": weights.name}
    try:
        _, made = read_weights(weights)
        if made != {name: record[name] for name in made if name in record}:
            raise ValueError(f"{weights} holds the weights of another run")
        outcome |= count_right(weights, device)
        outcome["fault"] = compare_counts(record, outcome)
    except ValueError as error:
        outcome["fault"] = str(error)
    return outcome


def count_right(weights: Path, device: str | None = None) -> dict:
    """How many test images the weights in a file answer right, and on what."""
    scores, made = evaluate(weights, device=device)
    labels = cifar.load_data(made["data"]["source"]).test_labels
    return {
        "correct": (scores.argmax(dim=1) == labels).sum().item(),
        "device": device_name(choose_device(device)),
        "torch": versions()["torch"],
    }


def compare_counts(record: dict, outcome: dict) -> str:
    """How the count of an evaluation differs from the recorded one by more than it may; empty if it
    does not.

    Where device and torch are those of the record the counts are equal. Elsewhere, or from weights
    that were rounded, a count may be off by one binomial standard error.
    """
    test, allowed = record["test"], 0.0
    made_on = (record["device"], record["versions"].get("torch"))
    if made_on != (outcome["device"], outcome["torch"]) or "stored" in record:
        allowed = binomial_error(test["accuracy"], test["images"]) / 100 * test["images"]
    if abs(outcome["correct"] - test["correct"]) <= allowed:
        return ""
    return (
        f"its weights give {outcome['correct']} of {test['images']} test images right on"
        f" {outcome['device']}, recorded are {test['correct']} on {record['device']}"
    )
