"""Table 1, the ablations and the gaps, made of the records; parameters are counted."""

import math
import statistics as plain
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pandas as pd
import torch

from evalib.experiments import ROWS, Experiment, build, experiment
from evalib.networks import count_parameters
from evalib.results import records, statistics
from evalib.results.records import find_runs, list_rows, load_records
from evalib.results.statistics import Difference, binomial_error
from evalib.results.words import (
    between,
    foreign,
    list_stopped,
    mean_or_each,
    number,
    p_value,
    signed,
)
from evalib.results.words import table as write
from evalib.training.cifar import IMAGES
from evalib.training.settings import TIERS

FORMATS = ("md", "csv", "json")
ALL_TIERS = tuple(TIERS)


def table(out: Path | None = None, tiers: tuple[str, ...] = ALL_TIERS) -> list[dict]:
    """Table 1, a dictionary a row: the paper's accuracy beside ours at the highest of ``tiers``
    that has records.

    ``low`` and ``high`` bound the 95 % interval of the mean test accuracy, by the deviation of
    :func:`.statistics.noise` in which the seeds' effect stays: only at the ``paper`` tier, and not
    where a run collapsed. There is no mean where only some collapsed. ``minutes`` are there where
    all were on one device, in one precision. ``stopped`` says what is known of runs without a
    record.
    """
    runs = load_records(out)
    noise = statistics.noise(runs, blocks=False)
    rows = []
    for row in list_rows(runs, tiers):
        found = find_runs(runs, row.name, tiers)
        tier, mean, collapses = tier_of(found), average(found), list_collapses(found)
        low = high = deviation = None
        judged = tier == statistics.TIER and noise and noise.deviation > 1e-9
        if judged and mean is not None and not collapses:
            reach = noise.of_mean(len(found))
            low, high, deviation = mean - reach, mean + reach, noise.deviation
        devices = sorted({device for each in found["device_seconds"] for device in each})
        alone = found[found["alone"]]
        alike = len(devices) == len(alone.groupby(["place", "asked_precision"])) == 1
        rows.append(
            {
                "experiment": row.name,
                "model": row.title,
                "parameters": parameters(row.name),
                "paper": (experiment(row.base) if row.base else row).paper_accuracy,
                "accuracy": mean,
                "accuracies": found["test_accuracy"].tolist(),
                "low": low,
                "high": high,
                "deviation": deviation,
                "validation": average(found, "validation_accuracy"),
                "validations": found["validation_accuracy"].tolist(),
                "seeds": len(found),
                "tier": tier,
                "epochs": TIERS[tier].epochs if tier else None,
                "device": ", ".join(devices) or None,
                "minutes": plain.mean(alone["minutes"]) if alike else None,
                "warnings": collapses,
                "stopped": [] if tier else list_stopped(row.name, out),
            }
        )
    return rows


def tier_of(found: pd.DataFrame) -> str | None:
    """The tier of the runs of a row; ``None`` where there are none."""
    return None if found.empty else found["tier"].iloc[0]


def average(found: pd.DataFrame, column: str = "test_accuracy") -> float | None:
    """The mean accuracy of the runs of a row; ``None`` without runs, and where only some of them
    collapsed: it would be of neither.
    """
    return plain.mean(found[column]) if found["collapsed"].nunique() == 1 else None


def list_collapses(found: pd.DataFrame) -> list[str]:
    """A line for each run that collapsed."""
    return [f"seed {run.seed} {run.warning}" for run in found.itertuples() if run.collapsed]


def of_size(size: str, out: Path | None = None) -> list[dict]:
    """The rows of :func:`table` at the ``paper`` tier that are "small", or "large"."""
    return [row for row in table(out, (statistics.TIER,)) if f"-{size}" in row["experiment"]]


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
    lines, notes = [], ["Ours is the mean over the seeds; of each seed its first run counts."]
    timed = any(row["minutes"] for row in rows)
    if timed:
        notes.append(
            "Minutes count training and validation: the median epoch, times the number of epochs."
        )
    for row in rows:
        mean = mean_or_each(row["accuracy"], row["accuracies"])
        cells = {
            "Model": row["model"],
            "Parameters": number(row["parameters"], 0),
            "Paper, test %": number(row["paper"]),
            "Ours, test %": mean + between(row["low"], row["high"]),
            "Ours, validation %": mean_or_each(row["validation"], row["validations"]),
            "Seeds": row["seeds"] or None,
            "Tier": state_of(row),
            "Device": foreign(row["device"]),
        }
        if timed:
            cells["Minutes a run"] = number(row["minutes"], 1)
        lines.append(cells)
    for deviation in {row["deviation"] for row in rows} - {None}:
        notes.append(
            "In brackets its 95 % interval, by one standard deviation over seeds for all networks"
            f" of the full schedule: {deviation:.2f} points. A difference of two networks over the"
            " same seeds is known more closely."
        )
    for row in rows:
        notes += [f"{row['model']}, {said}." for said in (*row["warnings"], *row["stopped"])]
    return "\n\n".join([write_lines(lines), *notes])


def write_lines(lines: list[dict]) -> str:
    """A table in Markdown, each line's cells by the heads of their columns."""
    return write([*lines[0]], [line.values() for line in lines])


def state_of(row: dict) -> str:
    """The tier of a row, or why it has none."""
    return row["tier"] or ("stopped" if row["stopped"] else "not run")


def ablations(out: Path | None = None, tiers: tuple[str, ...] = ALL_TIERS) -> list[dict]:
    """A dictionary an ablation: its accuracy at the highest of ``tiers`` that has records, and its
    effect, in points.

    The effect is its test accuracy minus that of the row that it changes, over the seeds that both
    have, at the highest tier that both have run at. It is shown and not tested, but for the two
    controls, whose family :mod:`.claims` judges.
    """
    runs = load_records(out)
    rows = []
    for row in ROWS.values():
        if not row.base or row.kind == "ladder":
            continue
        found = find_runs(runs, row.name, tiers)
        effect_tier, effect = measure_effect(runs, row, tiers)
        rows.append(
            {
                "experiment": row.name,
                "base": row.base,
                "kind": row.kind,
                "change": row.change,
                "parameters": parameters(row.name),
                "accuracy": average(found),
                "accuracies": found["test_accuracy"].tolist(),
                "seeds": len(found),
                "tier": tier_of(found),
                "effect": effect.mean,
                "effect_low": effect.low,
                "effect_high": effect.high,
                "effect_seeds": effect.n,
                "effect_tier": effect_tier,
                "warnings": list_collapses(found),
                "stopped": [] if len(found) else list_stopped(row.name, out),
            }
        )
    return rows


def measure_effect(
    runs: pd.DataFrame, row: Experiment, tiers: tuple[str, ...] = ALL_TIERS
) -> tuple[str | None, Difference]:
    """The tier and the difference of an ablation from its base: :func:`contrast`.

    For a row that reads the test set after each epoch it is the best of these accuracies minus the
    last one, run by run.
    """
    if not row.test_each_epoch:
        return contrast(runs, row.name, row.base, tiers)
    found = find_runs(runs, row.name, tiers)
    gains = []
    for run in found.itertuples():
        gains.append(max(entry["test_accuracy"] for entry in run.curve) - run.test_accuracy)
    if not gains:
        return None, Difference()
    return tier_of(found), Difference(len(gains), plain.mean(gains), each=tuple(gains))


def contrast(
    runs: pd.DataFrame, one: str, other: str, tiers: tuple[str, ...] = ALL_TIERS
) -> tuple[str | None, Difference]:
    """The highest of ``tiers`` that two networks have common seeds at, and their difference there.

    With an interval at the ``paper`` tier alone; without one where a run of either collapsed, and
    without a mean where some did and some did not. There is no p: what is tested, :mod:`.claims`
    judges.
    """
    one, other = experiment(one).name, experiment(other).name
    for tier in reversed(tiers):
        accuracies = statistics.by_seed(runs, tier=tier)
        found = statistics.difference(accuracies, one, other, None)
        if found.n == 0:
            continue
        both = [find_runs(runs, name, (tier,)) for name in (one, other)]
        if None in map(average, both):
            return tier, Difference(found.n)
        if tier == statistics.TIER and not any(each["collapsed"].any() for each in both):
            found = statistics.difference(accuracies, one, other, statistics.noise(runs))
        return tier, found._replace(p=None)
    return None, Difference()


def ablations_markdown(rows: list[dict]) -> str:
    """The table of :func:`ablations` as Markdown; a dash stands for what was not run."""
    lines, notes = [], []
    for row in rows:
        name, effect = f"`{row['experiment']}`", signed(row["effect"])
        cells = {
            "Experiment": name,
            "Changed": row["change"],
            "Asked by": row["kind"],
            "Parameters": number(row["parameters"], 0),
            "Test %": mean_or_each(row["accuracy"], row["accuracies"]),
            "Effect, points": effect + between(row["effect_low"], row["effect_high"], signed=True),
            "Seeds": row["seeds"] or None,
            "Tier": state_of(row),
        }
        lines.append(cells)
        notes += [f"{name}, {said}." for said in (*row["warnings"], *row["stopped"])]
    return "\n\n".join([write_lines(lines), *notes])


def gaps(out: Path | None = None) -> list[dict]:
    """The six differences of Table 1, the paper's and ours, in points and by the same ruler, and
    the rule's verdict on ours.

    The ruler is the standard error of a difference by the draw of the test images alone: from two
    accuracies on 10,000 images each, ``√(SE² + SE²)``. ``ratio`` is the paper's gap in such errors,
    ``our_ratio`` ours.
    """
    runs, images = load_records(out), IMAGES["full"][1]
    accuracies = statistics.by_seed(runs)
    rows = []
    for each in statistics.judge(statistics.PAPER, runs):
        found, ours = each.difference, None
        reported = [experiment(name).paper_accuracy for name in (each.one, each.other)]
        error = math.hypot(*(binomial_error(accuracy, images) for accuracy in reported))
        if found.n:
            both = accuracies.loc[[each.one, each.other]].dropna(axis="columns")
            means = both.mean(axis="columns")
            ours = math.hypot(*(binomial_error(accuracy, images) for accuracy in means))
        gap = reported[0] - reported[1]
        rows.append(
            {
                "one": each.one,
                "other": each.other,
                "paper": gap,
                "error": error,
                "ratio": gap / error,
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
    ruler = "in standard errors"
    heads = ["Difference", "Paper, points", ruler, "Ours, points [95 %]", ruler]
    lines = []
    for row in rows:
        decided = row["verdict"] != statistics.NOT_YET_DECIDED
        cells = [
            f"{experiment(row['one']).model} − {experiment(row['other']).model}",
            signed(row["paper"]),
            number(row["ratio"], 1),
            signed(row["ours"]) + between(row["low"], row["high"], signed=True),
            number(row["our_ratio"], 1),
            row["seeds"] or None,
            p_value(row["p_holm"]) if decided else None,
            row["verdict"],
        ]
        lines.append(cells)
    return write([*heads, "Seeds", "p, Holm", "Verdict"], lines)


def dumps(
    rows: list[dict], format: str, as_markdown: Callable[[list[dict]], str] = markdown
) -> str:
    """The rows of a table, which ``as_markdown`` can write, as text in one of ``FORMATS``."""
    if format == "md":
        return as_markdown(rows)
    if format == "json":
        return records.dumps(rows)
    return pd.DataFrame(rows, dtype=object).to_csv(index=False).rstrip("\n")
