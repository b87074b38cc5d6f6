"""A run's trained weights, evaluated again: they must agree with their record, and the outcome is kept beside them."""

import json
from pathlib import Path

from evalib.results import tables
from evalib.results.records import device_name, read, versions
from evalib.results.schema import dumps
from evalib.results.weights import evaluate, read_weights
from evalib.training import checkpoint, cifar
from evalib.training.environment import choose_device

EVALUATION = "evaluation.json"


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
        raise FileNotFoundError(
            f"the weights of {path} are not beside it: copy {Path(path).with_suffix('')} from where the run was made; the "
            "record stands without them"
        )
    outcome: dict = {"weights": weights.name} | here(device)
    try:
        made = read_weights(weights)[1]
        if made != {name: record[name] for name in made if name in record}:
            raise ValueError(f"{weights} holds the weights of another run")
        outcome |= counted(weights, device)
        outcome["fault"] = difference(record, outcome)
    except ValueError as error:
        outcome["fault"] = str(error)
    checkpoint.write_atomically(weights.with_name(EVALUATION), f"{dumps(outcome, indent=1)}\n".encode())
    return outcome


def here(device: str | None = None) -> dict[str, str | None]:
    """Device and torch of an evaluation."""
    return {"device": device_name(choose_device(device)), "torch": versions()["torch"]}


def counted(weights: Path, device: str | None = None) -> dict:
    """How many test images the weights in a file answer right, and on what."""
    scores, made = evaluate(weights, device=device)
    labels = cifar.load_data(made["data"]["source"]).test_labels
    return {"correct": (scores.argmax(dim=1) == labels).sum().item()} | here(device)


def difference(record: dict, outcome: dict) -> str:
    """How the count of an evaluation differs from the recorded one by more than it may; empty if it does not.

    Where device and torch are those of the record the counts are equal. Elsewhere, or from weights that were rounded, a
    count may be off by one binomial standard error.
    """
    test = record["test"]
    same = "stored" not in record and (record["device"], record["versions"].get("torch")) == (
        outcome["device"],
        outcome["torch"],
    )
    allowed = 0 if same else tables.binomial_error(test["accuracy"], test["images"]) / 100 * test["images"]
    if abs(outcome["correct"] - test["correct"]) <= allowed:
        return ""
    found = f"its weights give {outcome['correct']} of {test['images']} test images right on {outcome['device']}"
    return f"{found}, recorded are {test['correct']} on {record['device']}"


def fault(path: Path) -> str | None:
    """What the kept evaluation of the record at ``path`` found; ``None`` if there is none of these weights that can be read."""
    try:
        outcome = json.loads((Path(path).with_suffix("") / EVALUATION).read_text(encoding="utf-8"))
        found = outcome["fault"] if outcome["weights"] == read(path)["weights"] else None
        return found if isinstance(found, str) else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
