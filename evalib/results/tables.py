"""Table 1, made of the records and of nothing else."""

import csv
import io
import math
import statistics
from collections.abc import Callable
from pathlib import Path

from evalib.experiments import experiment
from evalib.results import unfinished
from evalib.results.choice import titled
from evalib.results.markdown import between, each_or_mean, foreign, number
from evalib.results.markdown import table as write
from evalib.results.runs import (
    complete,
    epoch_seconds,
    highest,
    minutes,
    mixed,
    place,
    reruns,
    rows_of,
    spent,
    timed,
    trusted,
    warned,
)
from evalib.results.schema import dumps as strict
from evalib.results.spread import spread
from evalib.training.settings import TIERS

__all__ = [
    "FORMATS", "binomial_error", "complete", "dumps", "epoch_seconds", "highest", "markdown", "minutes", "reruns",
    "rows_of", "spread", "table", "timed", "trusted",
]  # fmt: skip
FORMATS = ("md", "csv", "json")
WHY_FIRST = "Rerunning a seed changes no table."


def table(out: Path | None = None, tiers: tuple[str, ...] = tuple(TIERS)) -> list[dict]:
    """Table 1, a dictionary a row: the paper's accuracy beside ours at the highest of ``tiers`` that has records.

    ``low`` and ``high`` bound the 95 % interval of the mean accuracy over the seeds, ``deviation`` is the pooled one of the
    tier (:func:`spread`); 95 of 100 further seeds would fall within ``another`` points of the mean. None of them where a
    run collapsed, and no mean where only some did. ``minutes`` are there where all were on one device, in one precision.
    ``stopped`` says what is known of runs without a record.
    """
    rows = []
    for row in rows_of(out, tiers):
        tier, records = highest(row, out, tiers)
        accuracies = [record["test"]["accuracy"] for record in records]
        mean = statistics.mean(accuracies) if accuracies and not mixed(records) else None
        warnings, clocked = warned(records), timed(records)
        devices = sorted({device for record in records for device in spent(record)})
        alike = len(devices) == len({*map(place, clocked)}) == 1
        seeds = spread(tier, out) if tier and not warnings else None
        rows.append(
            {
                "experiment": row.name,
                "model": titled(row),
                "parameters": records[0]["parameters"] if records else None,
                "paper": (experiment(row.base) if row.base else row).paper_accuracy,
                "accuracy": mean,
                "accuracies": accuracies,
                "deviation": seeds and seeds.deviation,
                "seeds": len(records),
                "low": mean - seeds.mean(len(records)) if mean is not None and seeds else None,
                "high": mean + seeds.mean(len(records)) if mean is not None and seeds else None,
                "another": seeds and seeds.another(len(records)),
                "tier": tier,
                "epochs": TIERS[tier].epochs if tier else None,
                "device": ", ".join(devices) or None,
                "minutes": statistics.mean(map(minutes, clocked)) if alike else None,
                "warnings": warnings,
                "stopped": [] if records else unfinished.told(row.name, out),
            }
        )
    return rows


def dumps(rows: list[dict], format: str, as_markdown: Callable[[list[dict]], str] | None = None) -> str:
    """The rows of :func:`table`, or of another table that ``as_markdown`` can write, as text in one of ``FORMATS``."""
    if format == "md":
        return (as_markdown or markdown)(rows)
    if format == "json":
        return strict(rows, indent=1)
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().rstrip("\n")


def markdown(rows: list[dict]) -> str:
    """The table of :func:`table` as Markdown; a dash stands for what has no record.

    Ours is the mean over the seeds, with its 95 % interval in brackets; below the table what the interval is made of, and
    each warning.
    """
    heads = [
        "Model",
        "Parameters",
        "Paper, test %",
        "Ours, test %",
        "Seeds",
        "Tier",
        "Epochs",
        "Device",
        "Minutes a run",
    ]
    cells = [
        [
            row["model"], number(row["parameters"], 0), number(row["paper"]),
            each_or_mean(row) + between(row["low"], row["high"]), row["seeds"] or None, row["tier"] or ("stopped" if row["stopped"] else "not run"),
            row["epochs"], foreign(row["device"]), number(row["minutes"], 1),
        ]
        for row in rows
    ]  # fmt: skip
    spreads = {
        row["tier"]: f"{row['deviation']:.2f} points at `{row['tier']}`" for row in rows if row["low"] is not None
    }
    notes = [f"Ours is the mean over the seeds; of each seed its first run counts. {WHY_FIRST}"]
    if spreads:
        notes.append(
            "In brackets its 95 % interval, by one standard deviation over seeds, pooled over the networks of a tier: "
            f"{', '.join(spreads.values())}."
        )
    notes += [f"{row['model']}, {said}." for row in rows for said in (*row["warnings"], *row["stopped"])]
    return "\n\n".join([write(heads, cells), *notes])


def binomial_error(accuracy: float, images: int) -> float:
    """The standard error, in points, of an accuracy in percent measured on ``images`` test images."""
    return math.sqrt(accuracy * (100 - accuracy) / images)
