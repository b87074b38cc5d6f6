"""Trained weights, read back: the file's checksum is checked, and the test set gives the recorded count again."""

import json
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from evalib import checkpoints, data, tables
from evalib.networks import Network, build, experiment
from evalib.records import device_name, read, results, versions
from evalib.training import choose_device, predict

EVALUATION = "evaluation.json"


def find_weights(name_or_path: str | Path, out: Path | None = None) -> Path:
    """The weights file at a path, or that of the first recorded seed of a row of Table 1 at its highest tier.

    ``ValueError`` if it is neither, ``FileNotFoundError`` if the file is not there.
    """
    path = Path(name_or_path)
    if path.suffix != ".safetensors":
        tier, records = tables.highest(experiment(str(name_or_path)), out)
        if not records:
            raise FileNotFoundError(f"no run of {name_or_path} is recorded in {out or results()}: train it first")
        run = f"{name_or_path}-seed{records[0]['seed']}"
        path = Path(out or results()) / tier / run / records[0]["weights"]
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there: train the run again, or name another file")
    return path


def load_weights(name_or_path: str | Path, out: Path | None = None) -> Network:
    """The trained network of a weights file, or of a row of Table 1, in evaluation mode on the CPU.

    Nothing is unpickled. ``ValueError`` if the bytes do not have the SHA-256 that the file's name gives.
    """
    tensors, record = checkpoints.read_tensors(find_weights(name_or_path, out))
    network = build(record["experiment"])
    network.load_state_dict(tensors)
    return network.to(memory_format=torch.channels_last).eval()


def evaluate(
    name_or_path: str | Path, out: Path | None = None, device: str | None = None
) -> tuple[Float[Tensor, "n 10"], dict]:
    """The scores of trained weights for the test images they were recorded with, and that record."""
    path, device = find_weights(name_or_path, out), choose_device(device)
    _, record = checkpoints.read_tensors(path)
    cifar = data.load(record["data"]["source"])
    return predict(load_weights(path).to(device), cifar.test_images.to(device)).cpu(), record


def recorded_weights(path: Path) -> Path | None:
    """The weights file of the record at ``path``; ``None`` where it is not kept, as beside a record copied from elsewhere."""
    weights = Path(path).with_suffix("") / read(path).get("weights", "")
    return weights if weights.is_file() else None


def verify(path: Path, device: str | None = None) -> dict:
    """Evaluate the weights of the record at ``path`` again, and keep the outcome beside them, in ``evaluation.json``.

    Its ``fault`` says in what they do not agree with the record, and is empty if they do. ``FileNotFoundError`` if the
    weights are not there.
    """
    record, weights = read(path), recorded_weights(path)
    if weights is None:
        raise FileNotFoundError(f"the weights of {path} are not beside it: copy them there, or train the run again")
    outcome = {"weights": weights.name, "device": device_name(choose_device(device)), "torch": versions()["torch"]}
    try:
        scores, made = evaluate(weights, device=device)
        if made != {name: record[name] for name in made if name in record}:
            raise ValueError(f"{weights} holds the weights of another run")
        labels = data.load(record["data"]["source"]).test_labels
        outcome["correct"] = (scores.argmax(dim=1) == labels).sum().item()
        outcome["fault"] = difference(record, outcome)
    except ValueError as error:
        outcome["fault"] = str(error)
    checkpoints.write_atomically(weights.with_name(EVALUATION), f"{json.dumps(outcome, indent=1)}\n".encode())
    return outcome


def difference(record: dict, outcome: dict) -> str:
    """How the count of an evaluation differs from the recorded one by more than it may; empty if it does not.

    Where device and torch are those of the record the counts are equal. Elsewhere rounding differs, and a count may
    be off by one binomial standard error.
    """
    test = record["test"]
    same = (record["device"], record["versions"].get("torch")) == (outcome["device"], outcome["torch"])
    allowed = 0 if same else tables.binomial_error(test["accuracy"], test["images"]) / 100 * test["images"]
    if abs(outcome["correct"] - test["correct"]) <= allowed:
        return ""
    found = f"its weights give {outcome['correct']} of {test['images']} test images right on {outcome['device']}"
    return f"{found}, recorded are {test['correct']} on {record['device']}"


def fault(path: Path) -> str | None:
    """What the kept evaluation of the record at ``path`` found; ``None`` if there is none of these weights."""
    try:
        outcome = json.loads((Path(path).with_suffix("") / EVALUATION).read_text(encoding="utf-8"))
        return outcome["fault"] if outcome["weights"] == read(path)["weights"] else None
    except (FileNotFoundError, ValueError, KeyError):
        return None
