"""Two networks compared, paired by seed; and the ablations, each beside the row of Table 1 that it changes."""

import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from scipy.special import stdtrit

from evalib.networks import ABLATIONS, TABLE_1, Experiment, experiment
from evalib.results.tables import complete, highest, interval
from evalib.training.settings import TIERS

ALL_TIERS = tuple(TIERS)


class Comparison(NamedTuple):
    """Differences over ``n`` seeds at one tier: mean, standard deviation, 95 % interval, two-sided paired p.

    What ``n`` seeds do not give is ``None``: all but ``n`` for none, all but the mean for one.
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
    measure: Callable[[dict], float] = accuracy,
    same: Callable[[dict], str] = lambda record: "",
) -> Comparison:
    """``measure`` of the experiment ``one`` minus that of ``other``, over the seeds that both have.

    The tier is the highest that has such a seed. A pair counts only if ``same`` is equal in both records.
    """
    for tier in reversed(tiers):
        ones, others = ({r["seed"]: r for r in complete(experiment(name), tier, out)} for name in (one, other))
        seeds = [seed for seed in ones if seed in others and same(ones[seed]) == same(others[seed])]
        if seeds:
            return paired(tier, [measure(ones[seed]) for seed in seeds], [measure(others[seed]) for seed in seeds])
    return Comparison()


def paired(tier: str, ones: list[float], others: list[float]) -> Comparison:
    """The comparison of values in pairs. Differences without any spread have p = 0, or 1 if they are all zero."""
    differences = [one - other for one, other in zip(ones, others, strict=True)]
    n, mean = len(differences), statistics.mean(differences)
    if n == 1:
        return Comparison(tier, n, mean)
    from scipy.stats import ttest_rel  # a quarter of the start of every command, and few come here

    deviation = statistics.stdev(differences)
    p = float(ttest_rel(ones, others).pvalue) if deviation > 0 else float(mean == 0)
    return Comparison(tier, n, mean, deviation, *interval(differences), p)


class Chance(NamedTuple):
    """What seeds alone do at one tier: the standard deviation over them, in points, and its degrees of freedom.

    A network run twice, with two seeds, differs from itself by less than ``reach`` points in 95 of 100 cases.
    """

    deviation: float
    freedom: int
    reach: float


def chance(tier: str, out: Path | None = None) -> Chance | None:
    """The deviation over seeds, pooled over all networks that have several at ``tier``; ``None`` if none has.

    ``deviation² = Σ (accuracy − mean of its network)² / freedom``, ``freedom`` the runs less the networks, and ``reach`` is
    Student's t for 95 %, two-sided, times ``√2 · deviation``. A row that reads the test set after each epoch trains as
    its base does with the same seeds, so it is left out.
    """
    rows = [row for row in (*TABLE_1, *ABLATIONS) if not row.test_each_epoch]
    groups = [values for row in rows if len(values := [accuracy(record) for record in complete(row, tier, out)]) > 1]
    freedom = sum(len(values) - 1 for values in groups)
    if not freedom:
        return None
    deviation = math.sqrt(sum((len(values) - 1) * statistics.variance(values) for values in groups) / freedom)
    return Chance(deviation, freedom, float(stdtrit(freedom, 0.975)) * math.sqrt(2) * deviation)


def beyond_chance(found: Comparison, out: Path | None = None) -> bool:
    """Whether the mean of ``n`` differences is larger than seeds alone make it, ``reach / √n``; never without a ``reach``."""
    alone = chance(found.tier, out) if found.tier else None
    return alone is not None and found.mean is not None and abs(found.mean) > alone.reach / math.sqrt(found.n)


def holm(ps: list[float | None]) -> list[float | None]:
    """Holm's correction of a family of p-values, in their order; ``None``, a test not made, is not of the family."""
    order = sorted((p, index) for index, p in enumerate(ps) if p is not None)
    corrected, largest = list(ps), 0.0
    for rank, (p, index) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p))
        corrected[index] = largest
    return corrected


def effect(row: Experiment, out: Path | None = None, tiers: tuple[str, ...] = ALL_TIERS) -> Comparison:
    """What an ablation does to the test accuracy, in points: its own minus that of the row it changes.

    For a row that reads the test set after each epoch it is the best of these accuracies minus the last one.
    """
    if not row.test_each_epoch:
        return compare(row.name, row.base, out, tiers)
    tier, records = highest(row, out, tiers)
    if tier is None:
        return Comparison()
    best = [max(entry["test_accuracy"] for entry in record["curve"]) for record in records]
    return paired(tier, best, [accuracy(record) for record in records])


def ablations(out: Path | None = None, tiers: tuple[str, ...] = ALL_TIERS) -> list[dict]:
    """A dictionary an ablation: its accuracy at the highest of ``tiers`` that has records, and its effect."""
    rows = []
    for row in ABLATIONS:
        tier, records = highest(row, out, tiers)
        rows.append(
            {
                "experiment": row.name,
                "base": row.base,
                "kind": row.kind,
                "change": row.change,
                "parameters": records[0]["parameters"] if records else None,
                "accuracy": statistics.mean(map(accuracy, records)) if records else None,
                "seeds": len(records),
                "tier": tier,
                **{f"effect_{name}": value for name, value in effect(row, out, tiers)._asdict().items()},
            }
        )
    return rows


def markdown(rows: list[dict]) -> str:
    """The table of :func:`ablations` as Markdown; a dash stands for what was not run."""
    lines = [
        "| Experiment | Changed | Asked by | Parameters | Test % | Effect, points | Seeds | Tier |",
        "|---|---|---|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        found = Comparison(**{name: row[f"effect_{name}"] for name in Comparison._fields})
        parameters = "–" if row["parameters"] is None else f"{row['parameters']:,}"
        accuracy = "–" if row["accuracy"] is None else f"{row['accuracy']:.2f}"
        lines.append(
            f"| `{row['experiment']}` | {row['change']} | {row['kind']} | {parameters} | {accuracy} | {shown(found)} "
            f"| {row['seeds'] or '–'} | {row['tier'] or 'not run'} |"
        )
    return "\n".join(lines)


def shown(found: Comparison) -> str:
    """A difference as text: ``+0.31``, from two seeds on ``+0.31 ± 0.12 [−0.77, +1.39]``; a dash for none."""
    if found.mean is None:
        return "–"
    if found.low is None or found.high is None:
        return signed(found.mean)
    return f"{signed(found.mean)} ± {found.deviation:.2f} [{signed(found.low)}, {signed(found.high)}]"


def signed(value: float) -> str:
    """Two decimals behind a plus or a true minus."""
    return f"{value:+.2f}".replace("-", "−")
