"""Two networks compared, paired by seed; and the ablations, each beside the row of Table 1 that it changes."""

import statistics
from pathlib import Path
from typing import NamedTuple

from scipy.special import stdtr

from evalib.experiments import ROWS, Experiment, experiment
from evalib.results import unfinished
from evalib.results.choice import coded
from evalib.results.markdown import between, each_or_mean, number, p_value
from evalib.results.markdown import table as write
from evalib.results.runs import complete, highest, mixed, warned
from evalib.results.spread import Spread, spread
from evalib.training.settings import TIERS

ALL_TIERS = tuple(TIERS)
SAME = 1e-9
"""A standard deviation under this is that of rounding."""


class Comparison(NamedTuple):
    """A difference over ``n`` seeds at one tier: mean, standard deviation, 95 % interval, two-sided p.

    What ``n`` seeds do not give is ``None``; without any seed all but ``n`` is.
    """

    tier: str | None = None
    n: int = 0
    mean: float | None = None
    deviation: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None


def accuracy(record: dict) -> float:
    """The test accuracy of a record, in percent."""
    return record["test"]["accuracy"]


def compare(
    one: str,
    other: str,
    out: Path | None = None,
    tiers: tuple[str, ...] = ALL_TIERS,
) -> Comparison:
    """Test accuracy of the experiment ``one`` minus that of ``other``, over the seeds that both have.

    The tier is the highest that has such a seed.
    """
    for tier in reversed(tiers):
        ones, others = ({r["seed"]: r for r in complete(experiment(name), tier, out)} for name in (one, other))
        if seeds := [seed for seed in ones if seed in others]:
            return paired(tier, [accuracy(ones[seed]) for seed in seeds], [accuracy(others[seed]) for seed in seeds])
    return Comparison()


def paired(tier: str, ones: list[float], others: list[float]) -> Comparison:
    """The comparison of values in pairs: the paired t-test, its interval by the differences' own deviation.

    Differences that are all the same have no deviation to judge by, so neither interval nor p.
    """
    differences = [one - other for one, other in zip(ones, others, strict=True)]
    n, mean = len(differences), statistics.mean(differences)
    deviation = statistics.stdev(differences) if n > 1 else None
    if deviation is None or deviation < SAME:
        return Comparison(tier, n, mean, deviation)
    from scipy.stats import ttest_rel  # a quarter of the start of every command, and few come here

    test = ttest_rel(ones, others)
    low, high = map(float, test.confidence_interval())
    return Comparison(tier, n, mean, deviation, low, high, float(test.pvalue))


def unpaired(tier: str, ones: list[float], others: list[float], seeds: Spread | None) -> Comparison:
    """The difference of two means over seeds, interval and p by the deviation that is pooled over all networks.

    ``(mean − mean) / (s √(1/n + 1/m))`` has Student's t distribution with the degrees of freedom of ``s``. It serves from
    one run each on, where the deviation of one difference by itself is not known.
    """
    n, m, mean = len(ones), len(others), statistics.mean(ones) - statistics.mean(others)
    if seeds is None or seeds.deviation < SAME:
        return Comparison(tier, n, mean)
    reach = seeds.difference(n, m)
    p = 2 * float(stdtr(seeds.freedom, -abs(mean) / reach * seeds.t))
    return Comparison(tier, n, mean, None, mean - reach, mean + reach, p)


def holm(ps: list[float | None]) -> list[float | None]:
    """Holm's correction of a family of p-values, in their order; ``None``, a test not made, is not of the family."""
    order = sorted((p, index) for index, p in enumerate(ps) if p is not None)
    corrected, largest = list(ps), 0.0
    for rank, (p, index) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p))
        corrected[index] = largest
    return corrected


def effect(row: Experiment, out: Path | None = None, tiers: tuple[str, ...] = ALL_TIERS) -> Comparison:
    """What an ablation does to the test accuracy, in points: its mean over seeds minus that of the row it changes.

    At the highest tier that both have, by the pooled deviation (:func:`unpaired`); without interval and p where a run
    collapsed. For a row that reads the test set after each epoch it is the best of these accuracies minus the last one,
    run by run.
    """
    if row.test_each_epoch:
        tier, records = highest(row, out, tiers)
        best = [max(entry["test_accuracy"] for entry in record["curve"]) for record in records]
        return paired(tier, best, [accuracy(record) for record in records]) if tier else Comparison()
    return contrast(row.name, row.base, out, tiers)


def contrast(one: str, other: str, out: Path | None = None, tiers: tuple[str, ...] = ALL_TIERS) -> Comparison:
    """Mean accuracy of the experiment ``one`` minus that of ``other``, at the highest tier that both have (:func:`unpaired`).

    The number of runs alone where some of either collapsed and some did not.
    """
    for tier in reversed(tiers):
        ones, others = (complete(experiment(name), tier, out) for name in (one, other))
        if ones and others:
            if mixed(ones) or mixed(others):
                return Comparison(tier, len(ones))
            seeds = None if warned(ones + others) else spread(tier, out)
            return unpaired(tier, [*map(accuracy, ones)], [*map(accuracy, others)], seeds)
    return Comparison()


def ablations(out: Path | None = None, tiers: tuple[str, ...] = ALL_TIERS) -> list[dict]:
    """A dictionary an ablation: its accuracy at the highest of ``tiers`` that has records, and its effect.

    ``p_holm`` corrects for all effects of a tier, whatever their base: they are one family of tests.
    """
    changed = [row for row in ROWS.values() if row.base and row.kind != "ladder"]
    effects = {row.name: effect(row, out, tiers) for row in changed}
    corrected: dict[str, float | None] = dict.fromkeys(effects)
    for each in tiers:
        family = [row.name for row in changed if effects[row.name].tier == each and not row.test_each_epoch]
        corrected |= zip(family, holm([effects[name].p for name in family]), strict=True)
    rows = []
    for row in changed:
        tier, records = highest(row, out, tiers)
        rows.append(
            {
                "experiment": row.name,
                "base": row.base,
                "kind": row.kind,
                "change": row.change,
                "parameters": records[0]["parameters"] if records else None,
                "accuracy": statistics.mean(map(accuracy, records)) if records and not mixed(records) else None,
                "accuracies": [*map(accuracy, records)],
                "seeds": len(records),
                "tier": tier,
                **{f"effect_{name}": value for name, value in effects[row.name]._asdict().items()},
                "p_holm": corrected[row.name],
                "warnings": warned(records),
                "stopped": [] if records else unfinished.told(row.name, out),
            }
        )
    return rows


def markdown(rows: list[dict]) -> str:
    """The table of :func:`ablations` as Markdown; a dash stands for what was not run."""
    heads = ["Experiment", "Changed", "Asked by", "Parameters", "Test %", "Effect, points", "p, Holm", "Seeds", "Tier"]
    cells = [
        [
            coded(row["experiment"]), row["change"], row["kind"], number(row["parameters"], 0), each_or_mean(row),
            shown(Comparison(**{name: row[f"effect_{name}"] for name in Comparison._fields})), p_value(row["p_holm"]),
            row["seeds"] or None, row["tier"] or ("stopped" if row["stopped"] else "not run"),
        ]
        for row in rows
    ]  # fmt: skip
    notes = [f"{coded(row['experiment'])}, {said}." for row in rows for said in (*row["warnings"], *row["stopped"])]
    return "\n\n".join([write(heads, cells), *notes])


def shown(found: Comparison) -> str:
    """A difference as text: ``+0.31``, where it is known ``± 0.12`` and ``[−0.77, +1.39]`` behind it; a dash for none."""
    spread = "" if found.deviation is None else f" ± {number(found.deviation)}"
    return number(found.mean, signed=True) + spread + between(found.low, found.high, signed=True)


def signed(value: float) -> str:
    """Two decimals behind a plus or a true minus."""
    return number(value, signed=True)
