"""Table 1, made of the records and of nothing else."""

import csv
import io
import json
import math
import statistics
import warnings
from collections.abc import Callable
from pathlib import Path

from scipy.special import stdtrit

from evalib.networks import ABLATIONS, TABLE_1, Experiment, experiment
from evalib.results.records import read, record_path, results
from evalib.training.settings import TIERS, Settings

FORMATS = ("md", "csv", "json")


def complete(row: Experiment, tier: str, out: Path | None = None) -> list[dict]:
    """The records of a row that ran the whole schedule of ``tier``, by seed."""
    return [record for record in trusted(tier, out) if record["experiment"] == row.name and whole(record)]


def whole(record: dict) -> bool:
    """Whether a record's settings are those of its experiment, seed and tier when nothing else is asked for."""
    return Settings(**record["settings"]) == Settings(record["experiment"], record["seed"], record["tier"])


def trusted(tier: str, out: Path | None = None) -> list[dict]:
    """The records of ``tier``, by seed; each file that is none, or a second copy of one, is warned of and left out."""
    found = []
    for path in sorted((Path(out or results()) / tier).glob("*.json")):
        try:
            record = read(path)
            home = record_path(Settings(**record["settings"]), out)
            if (home.parent.name, home.name) != (path.parent.name, path.name):
                doubt = "a duplicate of" if home.exists() else "misnamed, for it is"
                raise ValueError(f"{path} is {doubt} {home.parent.name}/{home.name}: move it away or rename it")
            found.append(record)
        except ValueError as error:
            warnings.warn(f"left out of the table: {error}", stacklevel=2)
    return sorted(found, key=lambda record: record["seed"])


def rows_of(out: Path | None = None, tiers: tuple[str, ...] = tuple(TIERS)) -> tuple[Experiment, ...]:
    """The rows of Table 1, then every other experiment but the ablations that ``tiers`` have a record of."""
    names = {record["experiment"] for tier in tiers for record in trusted(tier, out)}
    return TABLE_1 + tuple(experiment(name) for name in sorted(names - {row.name for row in (*TABLE_1, *ABLATIONS)}))


def highest(
    row: Experiment, out: Path | None = None, tiers: tuple[str, ...] = tuple(TIERS)
) -> tuple[str | None, list[dict]]:
    """The highest of ``tiers`` that has records of a row, and these; ``None`` and no records if there is none."""
    return next(((tier, found) for tier in reversed(tiers) if (found := complete(row, tier, out))), (None, []))


def table(out: Path | None = None, tiers: tuple[str, ...] = tuple(TIERS)) -> list[dict]:
    """Table 1, a dictionary a row: the paper's accuracy beside ours at the highest of ``tiers`` that has records.

    ``low`` and ``high`` bound the 95 % interval of the mean accuracy over the seeds.
    """
    rows = []
    for row in rows_of(out, tiers):
        tier, records = highest(row, out, tiers)
        accuracies = [record["test"]["accuracy"] for record in records]
        low, high = interval(accuracies)
        rows.append(
            {
                "experiment": row.name,
                "model": row.model,
                "parameters": records[0]["parameters"] if records else None,
                "paper": row.paper_accuracy,
                "accuracy": statistics.mean(accuracies) if records else None,
                "deviation": statistics.stdev(accuracies) if len(records) > 1 else None,
                "seeds": len(records),
                "low": low,
                "high": high,
                "tier": tier,
                "epochs": TIERS[tier].epochs if tier else None,
                "device": ", ".join(sorted({record["device"] for record in records})) or None,
                "minutes": statistics.mean(map(minutes, records)) if records else None,
            }
        )
    return rows


def dumps(rows: list[dict], format: str, as_markdown: Callable[[list[dict]], str] | None = None) -> str:
    """The rows of :func:`table`, or of another table that ``as_markdown`` can write, as text in one of ``FORMATS``."""
    if format == "md":
        return (as_markdown or markdown)(rows)
    if format == "json":
        return json.dumps(rows, indent=1, ensure_ascii=False)
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().rstrip("\n")


def markdown(rows: list[dict]) -> str:
    """The table of :func:`table` as Markdown; a dash stands for what was not run.

    Ours is the mean; from two seeds on with ± the standard deviation and the 95 % interval of the mean in brackets.
    """
    lines = [
        "| Model | Parameters | Paper, test % | Ours, test % | Seeds | Tier | Epochs | Device | Minutes a run |",
        "|---|---:|---:|---:|---:|---|---:|---|---:|",
    ]
    for row in rows:
        paper, ours = ("–" if row[name] is None else f"{row[name]:.2f}" for name in ("paper", "accuracy"))
        if row["deviation"] is not None:
            ours += f" ± {row['deviation']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
        parameters = "–" if row["parameters"] is None else f"{row['parameters']:,}"
        minutes = "–" if row["minutes"] is None else f"{row['minutes']:.1f}"
        lines.append(
            f"| {row['model']} | {parameters} | {paper} | {ours} | {row['seeds'] or '–'} "
            f"| {row['tier'] or 'not run'} | {row['epochs'] or '–'} | {row['device'] or '–'} | {minutes} |"
        )
    return "\n".join(lines)


def epoch_seconds(record: dict) -> float:
    """The median time of an epoch: one during which the machine was busy or asleep does not move it."""
    return statistics.median(row["seconds"] for row in record["curve"])


def minutes(record: dict) -> float:
    """The time of a run, as its median epoch times their number."""
    return epoch_seconds(record) * len(record["curve"]) / 60


def interval(values: list[float]) -> tuple[float | None, float | None]:
    """The 95 % interval of the mean, from Student's t; no bounds for fewer than two values."""
    if len(values) < 2:
        return None, None
    reach = stdtrit(len(values) - 1, 0.975) * statistics.stdev(values) / math.sqrt(len(values))
    return statistics.mean(values) - reach, statistics.mean(values) + reach


def binomial_error(accuracy: float, images: int) -> float:
    """The standard error, in points, of an accuracy in percent measured on ``images`` test images."""
    return math.sqrt(accuracy * (100 - accuracy) / images)
