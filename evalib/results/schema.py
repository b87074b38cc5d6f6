"""What a record must be: its fields, its checksum, and what is possible."""

import hashlib
import json
import re
import sys
from datetime import datetime

from evalib.experiments import experiment
from evalib.training.settings import COMPUTATION, TIERS, Settings

SCHEMA = 3

FIELDS = {
    "experiment": str, "tier": str, "seed": int, "settings": dict, "computation": int, "finished": str, "data": dict,
    "device": str, "versions": dict, "parameters": int, "curve": list, "validation_accuracy": float, "test": dict, "seconds": float,
}  # fmt: skip
IMAGES = {"subset": (1_000, 500), "full": (50_000, 10_000)}
"""Training (and validation) and test images of each data set."""


def settings_of(record: dict) -> Settings:
    """The settings of a record."""
    return Settings(**record["settings"])


def check(record: dict) -> None:
    """Raise ``ValueError`` saying in what a record breaks the schema, or that it was changed after it was written."""
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise ValueError(f"its schema is not {SCHEMA}")
    for name, kind in FIELDS.items():
        if name not in record:
            raise ValueError(f"{name} is missing")
        if not isinstance(record[name], kind):
            raise ValueError(f"{name} is {record[name]!r}, not of type {kind.__name__}")
    if record.get("sha256") != checksum(record):
        raise ValueError("it was changed after it was written: its SHA-256 is another")
    if not 1 <= record["computation"] <= COMPUTATION:
        raise ValueError(
            f"it is of computation {record['computation']}, and this evalib has {COMPUTATION}: bring it up to date"
        )
    if not isinstance(record["commit"], str | None):
        raise ValueError(f"commit is {record['commit']!r}, not a text")
    if not re.fullmatch(r"[\w-]*", record["commit"] or ""):
        raise ValueError(f"commit is {record['commit']!r}, not the name of one")
    if not isinstance(record.get("shared", 1), int) or record.get("shared", 1) < 1:
        raise ValueError(f"shared is {record['shared']!r}, not a number of runs")
    datetime.fromisoformat(record["finished"])  # its ValueError names what is no time
    if not isinstance(record["data"]["sha256"], str):
        raise ValueError(f"the SHA-256 of its data is {record['data']['sha256']!r}, not a text")
    if not all(isinstance(sitting["epochs"], int) for sitting in record.get("sittings", [])):
        raise ValueError("a sitting does not say how many epochs it was for")
    asked = record["settings"]
    for name in ("experiment", "tier", "seed"):
        if record[name] != asked[name]:
            raise ValueError(f"{name} is {record[name]!r}, in its settings {asked[name]!r}")
    check_possible(record, settings_of(record))


def check_possible(record: dict, settings: Settings) -> None:
    """Raise ``ValueError`` if a record says what no run gives."""
    test, curve, source = record["test"], record["curve"], record["data"]["source"]
    images = IMAGES[TIERS[settings.tier].data][1]
    if source != TIERS[settings.tier].data or test["images"] != images:
        raise ValueError(f"{test['images']} test images of the {source} data are not those of the {settings.tier} tier")
    if not 0 <= test["correct"] <= images or abs(test["accuracy"] - 100 * test["correct"] / images) > 1e-6:
        raise ValueError(f"accuracy {test['accuracy']} is not {test['correct']} of {images} images")
    if [row["epoch"] for row in curve] != list(range(1, len(curve) + 1)) or len(curve) != settings.epochs:
        raise ValueError(f"its curve has {len(curve)} entries, not one for each of {settings.epochs} epochs")
    if curve[-1]["validation_accuracy"] != record["validation_accuracy"]:
        raise ValueError(f"validation_accuracy {record['validation_accuracy']} is not that of the last epoch")
    measured = {"validation_accuracy", "seconds"}
    if experiment(settings.experiment).test_each_epoch:
        measured.add("test_accuracy")
    if missing := [name for row in curve for name in sorted(measured - row.keys())]:
        raise ValueError(f"{missing[0]} is missing from its curve")
    for row in (*curve, {name: test[name] for name in ("accuracy", "loss")}, {"seconds": record["seconds"]}):
        for name, value in row.items():
            if not 0 <= value <= (100 if name.endswith("accuracy") else sys.float_info.max):
                raise ValueError(f"{name} is {value!r}, which no run gives")
    if (weights := record.get("weights", "")) != weights.replace("\\", "/").rpartition("/")[2] or weights in (
        ".",
        "..",
    ):
        raise ValueError(f"weights is {weights!r}, not the name of a file")


def collapse(curve: list[dict]) -> str:
    """Of a run whose validation accuracy fell by half and stayed there, what it did; empty for any other.

    One that was never above 30 %, three times chance, has nothing to lose.
    """
    values = [row["validation_accuracy"] for row in curve]
    best = max(values)
    if best <= 30 or values[-1] > best / 2:
        return ""
    since = max(index for index, value in enumerate(values) if value > best / 2) + 2
    return (
        f"collapsed: validation accuracy {best:.1f} % after epoch {values.index(best) + 1}, at most half of it from "
        f"epoch {since} on, {values[-1]:.1f} % after the last"
    )


def dumps(content, **layout) -> str:
    """Strict JSON; ``ValueError`` if a number is NaN or infinite, which JSON has not."""
    return json.dumps(content, ensure_ascii=False, allow_nan=False, **layout)


def loads(text: str):
    """What strict JSON says; ``ValueError`` if it is none."""

    def refuse(constant: str):
        raise ValueError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def checksum(record: dict) -> str:
    """The SHA-256 of a record's canonical JSON, its own entry ``sha256`` left out."""
    rest = {name: value for name, value in record.items() if name != "sha256"}
    canonical = json.dumps(rest, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
