"""Table 1, the ablations, the gaps and the ladder, made of the records and of nothing else."""

import csv
import io
import math
import statistics as plain
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch

from evalib.experiments import ROWS, Experiment, build, experiment
from evalib.networks import count_parameters
from evalib.results import statistics
from evalib.results.choice import coded, titled
from evalib.results.records import (
    complete,
    highest,
    load_records,
    minutes,
    mixed,
    place,
    rows_of,
    spent,
    timed,
    warned,
)
from evalib.results.records import dumps as strict
from evalib.results.statistics import Difference, binomial_error
from evalib.results.words import between, foreign, mean_or_each, number, p_value, signed, stopped
from evalib.results.words import table as write
from evalib.training.settings import TIERS

FORMATS = ("md", "csv", "json")


def table(out: Path | None = None, tiers: tuple[str, ...] = tuple(TIERS)) -> list[dict]:
    """Table 1, a dictionary a row: the paper's accuracy beside ours at the highest of ``tiers``
    that has records.

    ``low`` and ``high`` bound the 95 % interval of the mean test accuracy, by the deviation of
    :func:`.statistics.noise`: only at the ``paper`` tier, and not where a run collapsed. There is
    no mean where only some collapsed. ``minutes`` are there where all were on one device, in one
    precision. ``stopped`` says what is known of runs without a record.
    """
    by = statistics.noise(load_records(out))
    rows = []
    for row in rows_of(out, tiers):
        tier, records = highest(row, out, tiers)
        accuracies = [record["test"]["accuracy"] for record in records]
        validations = [record["validation_accuracy"] for record in records]
        warnings, clocked = warned(records), timed(records)
        whole = bool(records) and not mixed(records)
        mean = plain.mean(accuracies) if whole else None
        judged = tier == statistics.TIER and by is not None and mean is not None and not warnings
        reach = by.of_mean(len(records)) if judged else None
        devices = sorted({device for record in records for device in spent(record)})
        alike = len(devices) == len({*map(place, clocked)}) == 1
        rows.append(
            {
                "experiment": row.name,
                "model": titled(row),
                "parameters": parameters(row.name),
                "paper": (experiment(row.base) if row.base else row).paper_accuracy,
                "accuracy": mean,
                "accuracies": accuracies,
                "low": mean - reach if judged else None,
                "high": mean + reach if judged else None,
                "deviation": by.deviation if judged else None,
                "validation": plain.mean(validations) if whole else None,
                "validations": validations,
                "seeds": len(records),
                "tier": tier,
                "epochs": TIERS[tier].epochs if tier else None,
                "device": ", ".join(devices) or None,
                "minutes": plain.mean(map(minutes, clocked)) if alike else None,
                "warnings": warnings,
                "stopped": [] if records else stopped(row.name, out),
            }
        )
    return rows


class Row(NamedTuple):
    """A row as a figure has it: the paper's accuracy and ours, one a seed, with the interval of
    their mean.

    ``absent`` says why there is no accuracy.
    """

    model: str
    paper: float | None
    accuracies: tuple[float, ...]
    low: float | None
    high: float | None
    absent: str = "not run"


def drawn(rows: list[dict]) -> list[Row]:
    """The rows of :func:`table` as a figure has them."""
    found = []
    for row in rows:
        accuracies = tuple(row["accuracies"])
        found.append(
            Row(row["model"], row["paper"], accuracies, row["low"], row["high"], tier_of(row))
        )
    return found


def of_size(size: str, out: Path | None = None) -> list[Row]:
    """The rows at the ``paper`` tier that are "small", or "large", as a figure has them."""
    return drawn([row for row in table(out, (statistics.TIER,)) if f"-{size}" in row["experiment"]])


@cache
def parameters(name: str) -> int:
    """How many parameters the network of a row has, whether it has run or not."""
    with torch.random.fork_rng(devices=[]):  # what is drawn here is not kept
        return count_parameters(build(name))


def markdown(rows: list[dict]) -> str:
    """The table of :func:`table` as Markdown; a dash stands for what has no record.

    Ours is the mean over the seeds, with its 95 % interval in brackets; below the table what the
    interval is made of, and each warning.
    """
    heads = [
        "Model",
        "Parameters",
        "Paper, test %",
        "Ours, test %",
        "Ours, validation %",
        "Seeds",
        "Tier",
        "Device",
        "Minutes a run",
    ]
    cells = [
        [
            row["model"],
            number(row["parameters"], 0),
            number(row["paper"]),
            mean_or_each(row["accuracy"], row["accuracies"]) + between(row["low"], row["high"]),
            mean_or_each(row["validation"], row["validations"]),
            row["seeds"] or None,
            tier_of(row),
            foreign(row["device"]),
            number(row["minutes"], 1),
        ]
        for row in rows
    ]
    notes = ["Ours is the mean over the seeds; of each seed its first run counts."]
    if deviations := {row["deviation"] for row in rows if row["deviation"] is not None}:
        notes.append(
            "In brackets its 95 % interval, by one standard deviation for all networks of the full"
            f" schedule, seeds as blocks: {deviations.pop():.2f} points."
        )
    notes += [
        f"{row['model']}, {said}." for row in rows for said in (*row["warnings"], *row["stopped"])
    ]
    return "\n\n".join([write(heads, cells), *notes])


def tier_of(row: dict) -> str:
    """The tier of a row, or why it has none."""
    return row["tier"] or ("stopped" if row["stopped"] else "not run")


def ablations(out: Path | None = None, tiers: tuple[str, ...] = tuple(TIERS)) -> list[dict]:
    """A dictionary an ablation: its accuracy at the highest of ``tiers`` that has records, and its
    effect, in points.

    The effect is its test accuracy minus that of the row that it changes, over the seeds that both
    have, at the highest tier that both have run at. It is shown and not tested, but for the two
    controls, whose family :mod:`.claims` judges.
    """
    rows = []
    for row in ROWS.values():
        if not row.base or row.kind == "ladder":
            continue
        tier, records = highest(row, out, tiers)
        effect_tier, found = effect(row, out, tiers)
        accuracies = [record["test"]["accuracy"] for record in records]
        rows.append(
            {
                "experiment": row.name,
                "base": row.base,
                "kind": row.kind,
                "change": row.change,
                "parameters": parameters(row.name),
                "accuracy": plain.mean(accuracies) if records and not mixed(records) else None,
                "accuracies": accuracies,
                "seeds": len(records),
                "tier": tier,
                "effect": found.mean,
                "effect_low": found.low,
                "effect_high": found.high,
                "effect_seeds": found.n,
                "effect_tier": effect_tier,
                "warnings": warned(records),
                "stopped": [] if records else stopped(row.name, out),
            }
        )
    return rows


def effect(
    row: Experiment, out: Path | None = None, tiers: tuple[str, ...] = tuple(TIERS)
) -> tuple[str | None, Difference]:
    """The tier and the difference of an ablation from its base: :func:`contrast`.

    For a row that reads the test set after each epoch it is the best of these accuracies minus the
    last one, run by run.
    """
    if not row.test_each_epoch:
        return contrast(row.name, row.base, out, tiers)
    tier, records = highest(row, out, tiers)
    gains = [
        max(entry["test_accuracy"] for entry in each["curve"]) - each["test"]["accuracy"]
        for each in records
    ]
    return tier, (
        Difference(len(gains), plain.mean(gains), each=tuple(gains)) if gains else Difference()
    )


def contrast(
    one: str, other: str, out: Path | None = None, tiers: tuple[str, ...] = tuple(TIERS)
) -> tuple[str | None, Difference]:
    """The highest of ``tiers`` that two networks have common seeds at, and their difference there.

    With an interval at the ``paper`` tier alone; without one where a run of either collapsed, and
    without a mean where some did and some did not. There is no p: what is tested, :mod:`.claims`
    judges.
    """
    runs, one, other = load_records(out), experiment(one).name, experiment(other).name
    for tier in reversed(tiers):
        accuracies = statistics.by_seed(runs, tier=tier)
        found = statistics.difference(accuracies, one, other, None)
        if found.n == 0:
            continue
        ours, theirs = (complete(experiment(name), tier, out) for name in (one, other))
        if mixed(ours) or mixed(theirs):
            return tier, Difference(found.n)
        if tier == statistics.TIER and not warned(ours + theirs):
            found = statistics.difference(accuracies, one, other, statistics.noise(runs))
        return tier, found._replace(p=None)
    return None, Difference()


def ablations_markdown(rows: list[dict]) -> str:
    """The table of :func:`ablations` as Markdown; a dash stands for what was not run."""
    heads = [
        "Experiment",
        "Changed",
        "Asked by",
        "Parameters",
        "Test %",
        "Effect, points",
        "Seeds",
        "Tier",
    ]
    cells = [
        [
            coded(row["experiment"]),
            row["change"],
            row["kind"],
            number(row["parameters"], 0),
            mean_or_each(row["accuracy"], row["accuracies"]),
            signed(row["effect"]) + between(row["effect_low"], row["effect_high"], signed=True),
            row["seeds"] or None,
            tier_of(row),
        ]
        for row in rows
    ]
    notes = [
        f"{coded(row['experiment'])}, {said}."
        for row in rows
        for said in (*row["warnings"], *row["stopped"])
    ]
    return "\n\n".join([write(heads, cells), *notes])


def gaps(out: Path | None = None, images: int = 10_000) -> list[dict]:
    """The six differences of Table 1, the paper's and ours, in points and by the same ruler, and
    the rule's verdict on ours.

    The ruler is the standard error of a difference by the draw of the test images alone: from two
    accuracies on ``images`` each, ``√(SE² + SE²)``. ``ratio`` is the paper's gap in such errors,
    ``our_ratio`` ours.
    """
    rows = []
    accuracies = statistics.by_seed(load_records(out))
    for each in statistics.judge(statistics.PAPER, load_records(out)):
        one, other = experiment(each.one), experiment(each.other)
        error = math.hypot(
            binomial_error(one.paper_accuracy, images), binomial_error(other.paper_accuracy, images)
        )
        found, ours = each.difference, None
        if found.n:
            both = (
                accuracies.loc[[each.one, each.other]].dropna(axis="columns").mean(axis="columns")
            )
            ours = math.hypot(*(binomial_error(accuracy, images) for accuracy in both))
        rows.append(
            {
                "one": each.one,
                "other": each.other,
                "paper": one.paper_accuracy - other.paper_accuracy,
                "error": error,
                "ratio": (one.paper_accuracy - other.paper_accuracy) / error,
                "ours": found.mean,
                "our_error": ours,
                "our_ratio": found.mean / ours if ours else None,
                "low": found.low,
                "high": found.high,
                "seeds": found.n,
                "p_holm": each.p,
                "verdict": each.verdict,
            }
        )
    return rows


def gaps_markdown(rows: list[dict]) -> str:
    """The table of :func:`gaps` as Markdown."""
    heads = [
        "Difference",
        "Paper, points",
        "in standard errors",
        "Ours, points [95 %]",
        "in standard errors",
        "Seeds",
        "p, Holm",
        "Verdict",
    ]
    cells = [
        [
            f"{experiment(row['one']).model} − {experiment(row['other']).model}",
            signed(row["paper"]),
            number(row["ratio"], 1),
            signed(row["ours"]) + between(row["low"], row["high"], signed=True),
            number(row["our_ratio"], 1),
            row["seeds"] or None,
            None if row["verdict"] == statistics.NOT_YET_DECIDED else p_value(row["p_holm"]),
            row["verdict"],
        ]
        for row in rows
    ]
    return write(heads, cells)


def dumps(
    rows: list[dict], format: str, as_markdown: Callable[[list[dict]], str] = markdown
) -> str:
    """The rows of a table, which ``as_markdown`` can write, as text in one of ``FORMATS``."""
    if format == "md":
        return as_markdown(rows)
    if format == "json":
        return strict(rows, indent=1)
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().rstrip("\n")
