"""Table 1, made of the records and of nothing else."""

import math
import statistics
from pathlib import Path

from evalib.networks import TABLE_1, Experiment
from evalib.records import read, results
from evalib.settings import TIERS, Settings


def complete(row: Experiment, tier: str, out: Path | None = None) -> list[dict]:
    """The records of a row that ran the whole schedule of ``tier``, by seed."""
    paths = sorted((Path(out or results()) / tier).glob(f"{row.name}-seed*.json"))
    records = [record for record in map(read, paths) if Settings(**record["settings"]) == standard(record)]
    return sorted(records, key=lambda record: record["seed"])


def highest(row: Experiment, out: Path | None = None, tiers: tuple[str, ...] = tuple(TIERS)) -> tuple[str | None, list[dict]]:
    """The highest of ``tiers`` that has records of a row, and these; ``None`` and no records if there is none."""
    return next(((tier, found) for tier in reversed(tiers) if (found := complete(row, tier, out))), (None, []))


def standard(record: dict) -> Settings:
    """The settings that the record's experiment, seed and tier have when nothing else is asked for."""
    return Settings(record["experiment"], record["seed"], record["tier"])


def table(out: Path | None = None, tiers: tuple[str, ...] = tuple(TIERS)) -> list[dict]:
    """Table 1, a dictionary a row: the paper's accuracy beside ours at the highest of ``tiers`` that has records."""
    rows = []
    for row in TABLE_1:
        tier, records = highest(row, out, tiers)
        accuracies = [record["test"]["accuracy"] for record in records]
        rows.append(
            {
                "experiment": row.name,
                "model": row.model,
                "parameters": records[0]["parameters"] if records else None,
                "paper": row.paper_accuracy,
                "accuracy": statistics.mean(accuracies) if records else None,
                "deviation": statistics.stdev(accuracies) if len(records) > 1 else None,
                "seeds": len(records),
                "tier": tier,
                "epochs": TIERS[tier].epochs if tier else None,
                "device": ", ".join(sorted({record["device"] for record in records})) or None,
                "minutes": statistics.mean(record["seconds"] for record in records) / 60 if records else None,
            }
        )
    return rows


def markdown(rows: list[dict]) -> str:
    """The table of :func:`table` as Markdown; a dash stands for what was not run."""
    lines = [
        "| Model | Parameters | Paper, test % | Ours, test % | Seeds | Tier | Epochs | Device | Minutes a run |",
        "|---|---:|---:|---:|---:|---|---:|---|---:|",
    ]
    for row in rows:
        ours = "–" if row["accuracy"] is None else f"{row['accuracy']:.2f}"
        if row["deviation"] is not None:
            ours += f" ± {row['deviation']:.2f}"
        parameters = "–" if row["parameters"] is None else f"{row['parameters']:,}"
        minutes = "–" if row["minutes"] is None else f"{row['minutes']:.1f}"
        lines.append(
            f"| {row['model']} | {parameters} | {row['paper']:.2f} | {ours} | {row['seeds'] or '–'} "
            f"| {row['tier'] or 'not run'} | {row['epochs'] or '–'} | {row['device'] or '–'} | {minutes} |"
        )
    return "\n".join(lines)


def binomial_error(accuracy: float, images: int) -> float:
    """The standard error, in points, of an accuracy in percent measured on ``images`` test images."""
    return math.sqrt(accuracy * (100 - accuracy) / images)
