"""Which runs count: those that are sound and whole, and of each seed the first."""

import statistics
import warnings
from collections import defaultdict
from functools import cache
from pathlib import Path

import pandas as pd

from evalib.experiments import TABLE_1, Experiment, experiment
from evalib.results.files import SUPERSEDED, read, record_path, results
from evalib.results.schema import collapse, settings_of
from evalib.training.settings import TIERS, Settings

TO_THE_LETTER = ("evanet20-small-letter", "evanet20-large-letter")
"""EVANet as the text has it and nothing else: beside the paper's number in the table too."""


COLUMNS = ["experiment", "tier", "seed", "counts", "test_accuracy", "validation_accuracy", "collapsed", "parameters", "epochs",
           "epoch_seconds", "device", "precision", "shared", "commit", "finished", "curve"]  # fmt: skip
"""What :func:`load_records` says of a run."""


def load_records(out: Path | None = None) -> pd.DataFrame:
    """All sound records, a line a run: what made it and what it gave; ``counts`` is true of the first of each seed.

    Accuracies are percent, ``epoch_seconds`` the median of an epoch, ``curve`` one dictionary an epoch.
    """
    lines = []
    for tier in TIERS:
        counted = set()
        for record in trusted(tier, out):
            counts = whole(record) and (record["experiment"], record["seed"]) not in counted
            if counts:
                counted.add((record["experiment"], record["seed"]))
            lines.append(
                {
                    "experiment": record["experiment"],
                    "tier": tier,
                    "seed": record["seed"],
                    "counts": counts,
                    "test_accuracy": record["test"]["accuracy"],
                    "validation_accuracy": record["validation_accuracy"],
                    "collapsed": bool(collapse(record["curve"])),
                    "parameters": record["parameters"],
                    "epochs": record["settings"]["epochs"],
                    "epoch_seconds": epoch_seconds(record),
                    "device": record["device"],
                    "precision": record.get("precision"),
                    "shared": record["shared"],
                    "commit": record["commit"],
                    "finished": record["finished"],
                    "curve": record["curve"],
                }
            )
    return pd.DataFrame(lines, columns=COLUMNS)


def complete(row: Experiment, tier: str, out: Path | None = None) -> list[dict]:
    """The records of a row that count at ``tier``, by seed."""
    return [record for record in counting(tier, out) if record["experiment"] == row.name]


def counting(tier: str, out: Path | None = None) -> list[dict]:
    """The records that count at ``tier``, by seed: of each experiment and seed the first that ran the whole schedule."""
    first: dict[tuple[str, int], dict] = {}
    for record in trusted(tier, out):
        if whole(record):
            first.setdefault((record["experiment"], record["seed"]), record)
    return sorted(first.values(), key=lambda record: record["seed"])


def reruns(out: Path | None = None) -> list[dict]:
    """A dictionary a record of each seed that was run several times at one tier, in the order in which they finished."""
    rows = []
    for tier in TIERS:
        groups = defaultdict(list)
        for record in trusted(tier, out):
            if whole(record):
                groups[record["experiment"], record["seed"]].append(record)
        for (name, seed), records in sorted(groups.items()):
            for number, record in enumerate(records if len(records) > 1 else []):
                rows.append(
                    {
                        "experiment": name,
                        "tier": tier,
                        "seed": seed,
                        "finished": record["finished"],
                        "accuracy": record["test"]["accuracy"],
                        "device": record["device"],
                        "commit": (record["commit"] or "–")[:7],
                        "counts": number == 0,
                    }
                )
    return rows


def whole(record: dict) -> bool:
    """Whether a record's settings are those of its experiment, seed and tier, from its first epoch, and nothing else.

    In whatever precision: it is the device's where none is asked for, and asking for that one changes nothing.
    """
    settings = settings_of(record).model_copy(update={"precision": None})
    longer = any(sitting["epochs"] != settings.epochs for sitting in record.get("sittings", []))
    return not longer and settings == Settings(settings.experiment, settings.seed, settings.tier)


def trusted(tier: str, out: Path | None = None) -> list[dict]:
    """All records of ``tier``, those in ``superseded/`` too, in the order in which their runs finished.

    Each file that is none, or a second copy of one, is warned of and left out.
    """
    found: list[dict] = []
    folder = results(out)
    for path in (*sorted((folder / tier).glob("*.json")), *sorted((folder / SUPERSEDED / tier).glob("*.json"))):
        try:
            record = read_once(path, path.stat().st_mtime_ns)
            settings = settings_of(record)
            if path.parent == folder / tier and path.name != (home := record_path(settings, out)).name:
                doubt = "a duplicate of" if home.exists() else "misnamed, for it is"
                raise ValueError(f"{path} is {doubt} {tier}/{home.name}: move it away or rename it")
            if settings.tier != tier or any(same_run(record, other) for other in found):
                raise ValueError(f"{path} is of the {settings.tier} tier, or a second copy: move it away")
            found.append({"shared": 1} | record)
        except (ValueError, OSError) as error:
            warnings.warn(f"left out of the table: {error}", stacklevel=2)
    return sorted(found, key=lambda record: record["finished"])


@cache
def read_once(path: Path, changed: int) -> dict:
    """The record at ``path`` as it was written at the time ``changed``."""
    return read(path)


def same_run(one: dict, other: dict) -> bool:
    """Whether two records are of one run: the same experiment and seed, finished at the same second with one curve."""
    return all(one[name] == other[name] for name in ("experiment", "seed", "finished", "curve"))


def rows_of(out: Path | None = None, tiers: tuple[str, ...] = tuple(TIERS)) -> tuple[Experiment, ...]:
    """The rows of Table 1, then of what ``tiers`` have a record of: the letter of the text, and each row held against none."""
    names = {record["experiment"] for tier in tiers for record in trusted(tier, out)}
    others = (experiment(name) for name in sorted(names - {row.name for row in TABLE_1}))
    return TABLE_1 + tuple(row for row in others if row.name in TO_THE_LETTER or not row.base)


def highest(
    row: Experiment, out: Path | None = None, tiers: tuple[str, ...] = tuple(TIERS)
) -> tuple[str | None, list[dict]]:
    """The highest of ``tiers`` that has records of a row, and these; ``None`` and no records if there is none."""
    return next(((tier, found) for tier in reversed(tiers) if (found := complete(row, tier, out))), (None, []))


def epoch_seconds(record: dict) -> float:
    """The median time of an epoch: one during which the machine was busy or asleep does not move it."""
    return statistics.median(row["seconds"] for row in record["curve"])


def warned(records: list[dict]) -> list[str]:
    """A line for each record whose run collapsed."""
    return [f"seed {record['seed']} {said}" for record in records if (said := collapse(record["curve"]))]


def mixed(records: list[dict]) -> bool:
    """Whether some of the runs collapsed and some did not: their mean is the accuracy of neither."""
    return 0 < len(warned(records)) < len(records)


def timed(records: list[dict]) -> list[dict]:
    """The records whose seconds say something of speed: made on one device, which no other run shared.

    Their ``device`` is that one, also where another read the test set.
    """
    alone = [(record, [*spent(record)]) for record in records if record["shared"] == 1]
    return [record | {"device": devices[0]} for record, devices in alone if len(devices) == 1]


def stood_still(record: dict) -> str:
    """Of a run that lay still, suspended, in the middle of an epoch, which one; empty for any other.

    Such an epoch took over ten times the median. The first one is not judged: a compilation is in it.
    """
    median = epoch_seconds(record)
    for epoch in record["curve"][1:]:
        if epoch["seconds"] > 10 * median:
            return f"lay still in epoch {epoch['epoch']}, which took {epoch['seconds'] / 60:.0f} minutes"
    return ""


def spent(record: dict) -> dict[str, float]:
    """Seconds on each device that a run was made on: several where it was gone on with elsewhere."""
    seconds: dict[str, float] = defaultdict(float)
    for epoch in record["curve"]:
        begun = [sitting for sitting in record.get("sittings", []) if sitting["after"] < epoch["epoch"]]
        seconds[begun[-1]["device"] if begun else record["device"]] += epoch["seconds"]
    return dict(seconds)


def place(record: dict) -> str:
    """What the seconds of a record are of: its device, and the precision where one was asked for."""
    asked = record["settings"].get("precision")
    return f"{record['device']}, {asked}" if asked else record["device"]


def minutes(record: dict) -> float:
    """The time of a run, as its median epoch times their number."""
    return epoch_seconds(record) * len(record["curve"]) / 60
