"""Table 1, made of the records and of nothing else."""

import csv
import io
import json
import math
import statistics
import warnings
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from scipy.special import stdtrit

from evalib.networks import ABLATIONS, TABLE_1, Experiment, experiment
from evalib.results.files import SUPERSEDED, read, record_path, results
from evalib.results.schema import collapse, settings_of
from evalib.training.settings import TIERS, Settings

FORMATS = ("md", "csv", "json")
SHARED = "shared.json"
"""In the folder of the records: how many runs shared the device, for records from before they had the field ``shared``."""


def complete(row: Experiment, tier: str, out: Path | None = None) -> list[dict]:
    """The records of a row that count at ``tier``, by seed: of each seed the first that ran the whole schedule.

    The first, because no result can bend this rule: whoever runs a seed again, for whatever reason, changes no table.
    """
    first: dict[int, dict] = {}
    for record in trusted(tier, out):
        if record["experiment"] == row.name and whole(record):
            first.setdefault(record["seed"], record)
    return [first[seed] for seed in sorted(first)]


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
    """Whether a record's settings are those of its experiment, seed and tier, from its first epoch, and nothing else."""
    settings = settings_of(record)
    longer = any(sitting["epochs"] != settings.epochs for sitting in record.get("sittings", []))
    return not longer and settings == Settings(settings.experiment, settings.seed, settings.tier)


def trusted(tier: str, out: Path | None = None) -> list[dict]:
    """All records of ``tier``, those in ``superseded/`` too, in the order in which their runs finished.

    Each file that is none, or a second copy of one, is warned of and left out.
    """
    found: list[dict] = []
    folder = Path(out or results())
    shared = json.loads(path.read_text("utf-8"))["shared"] if (path := folder / SHARED).exists() else {}
    for path in (*sorted((folder / tier).glob("*.json")), *sorted((folder / SUPERSEDED / tier).glob("*.json"))):
        try:
            record = read(path)
            settings = settings_of(record)
            if path.parent == folder / tier and path.name != (home := record_path(settings, out)).name:
                doubt = "a duplicate of" if home.exists() else "misnamed, for it is"
                raise ValueError(f"{path} is {doubt} {tier}/{home.name}: move it away or rename it")
            if settings.tier != tier or any(same_run(record, other) for other in found):
                raise ValueError(f"{path} is of the {settings.tier} tier, or a second copy: move it away")
            known = shared.get(record["sha256"], 1) if "sha256" in record else 1
            device = record["device"].replace(", 1 threads", ", 1 thread")  # as the first records had it
            found.append({"shared": known, **record, "device": device})
        except (ValueError, OSError) as error:
            warnings.warn(f"left out of the table: {error}", stacklevel=2)
    return sorted(found, key=lambda record: record["finished"])


def same_run(one: dict, other: dict) -> bool:
    """Whether two records are of one run: the same experiment and seed, finished at the same second with one curve."""
    return all(one[name] == other[name] for name in ("experiment", "seed", "finished", "curve"))


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
                "minutes": statistics.mean(map(minutes, timed(records))) if timed(records) else None,
                "warnings": [
                    f"seed {record['seed']} {said}" for record in records if (said := collapse(record["curve"]))
                ],
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


def timed(records: list[dict]) -> list[dict]:
    """The records whose seconds say something of speed: no other run shared the device."""
    return [record for record in records if record["shared"] == 1]


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
