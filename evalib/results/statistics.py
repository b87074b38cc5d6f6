"""The test of the answer: a network's mean plus a seed's effect plus noise, with one deviation for
all networks.
"""

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit

from evalib.experiments import TABLE_1, experiment

TIER = "paper"
"""The tier whose runs are tested; shorter runs test nothing."""

SEEDS = (0, 1, 2)
"""The seeds of a verdict: a pair of networks gets one when both have run with all three."""

LEVEL = 0.05
"""A p-value after Holm's correction is held against this."""

SUPPORTED, NOT_SUPPORTED = "supported", "not supported"
NOT_DISTINGUISHABLE, NOT_YET_DECIDED = "not distinguishable", "not yet decided"

RULE = (
    "accuracies of seeds 0, 1, 2 at the paper tier; the difference over the seeds that both"
    " networks have, by one deviation for all networks, seeds as blocks; Student's t, two-sided,"
    " corrected by Holm over the fixed family, in which a pair without all three seeds counts as p"
    " = 1: supported if p < 0.05 and the sign is the claimed one, not supported if p < 0.05 and it"
    " is the other, else not distinguishable; not yet decided without three seeds of both"
)

EVANET = TABLE_1[2].name
QUERY_ALONE, MLP = "evanet20-small-query-alone", "resnet20-small-mlp"

PAPER = tuple(
    pair
    for resnet, sanet, evanet in (TABLE_1[:3], TABLE_1[3:])
    for pair in ((evanet.name, resnet.name), (sanet.name, resnet.name), (evanet.name, sanet.name))
)
"""The family of the paper's six differences, the network that the paper has ahead first."""

EXPLAINING = ((EVANET, QUERY_ALONE), (EVANET, MLP))
"""The family of the two differences that say whether the looks are why."""


class Noise(NamedTuple):
    """What chance does to one run: its standard deviation, in points, and the degrees of freedom of
    that.
    """

    deviation: float
    freedom: int

    @property
    def t(self) -> float:
        """Student's t for 95 %, two-sided."""
        return float(stdtrit(self.freedom, 0.975))

    def of_mean(self, n: int) -> float:
        """Half the 95 % interval of a mean over ``n`` seeds: ``t s / √n``."""
        return self.t * self.deviation / math.sqrt(n)

    def of_difference(self, n: int) -> float:
        """Half the 95 % interval of a difference over ``n`` seeds: ``t s √(2/n)``."""
        return self.t * self.deviation * math.sqrt(2 / n)

    def least_supported(self, family: int) -> float:
        """The smallest mean difference over :data:`SEEDS` that Holm's first step supports, in a
        family of so many.
        """
        t = -float(stdtrit(self.freedom, LEVEL / family / 2))
        return t * self.deviation * math.sqrt(2 / len(SEEDS))


class Difference(NamedTuple):
    """One network's accuracy minus another's over the ``n`` seeds that both have: mean, 95 %
    interval, two-sided p.

    ``each`` has the difference of each seed. The interval and p are uncorrected, ``None`` where
    there is no noise to judge by.
    """

    n: int = 0
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    each: tuple[float, ...] = ()


class Judged(NamedTuple):
    """A member of a family: the difference in test accuracy, with its p after Holm and the verdict;
    validation beside it.
    """

    one: str
    other: str
    difference: Difference
    validation: Difference
    p: float
    verdict: str


def by_seed(runs: pd.DataFrame, column: str = "test_accuracy", tier: str = TIER) -> pd.DataFrame:
    """The accuracies at ``tier`` that count, a line a network, a column a seed, NaN where there is
    none.

    At the ``paper`` tier of :data:`SEEDS` alone.
    """
    counted = runs[runs["counts"] & (runs["tier"] == tier)]
    if tier == TIER:
        counted = counted[counted["seed"].isin(SEEDS)]
    return counted.pivot(index="experiment", columns="seed", values=column)


def noise(runs: pd.DataFrame, column: str = "test_accuracy", blocks: bool = True) -> Noise | None:
    """The residual deviation of the model network + seed, by least squares; ``None`` if there is
    nothing to fit. Without ``blocks``, which the rule has, that of the network alone: for the
    mean of one network, in which the effect of its seeds stays.

    Of all networks with two seeds or more, without those of which a run collapsed and without the
    rows that read the test set in each epoch. Its degrees of freedom are runs − networks − seeds +
    1; without blocks runs − networks.
    """
    fell = runs[runs["counts"] & (runs["tier"] == TIER) & runs["collapsed"].astype(bool)]
    collapsed = set(fell["experiment"])
    accuracies = by_seed(runs, column)
    fit = [
        name not in collapsed and not experiment(name).test_each_epoch for name in accuracies.index
    ]
    accuracies = accuracies[fit].dropna(thresh=2).dropna(axis="columns", how="all")
    if accuracies.empty:
        return None
    values = accuracies.to_numpy(dtype=float)
    network, seed = np.nonzero(~np.isnan(values))
    networks, seeds = values.shape
    design = np.eye(networks)[network]
    if blocks:
        design = np.hstack([design, np.eye(seeds)[seed]])
    runs_fitted = values[network, seed]
    residuals = runs_fitted - design @ np.linalg.lstsq(design, runs_fitted, rcond=None)[0]
    freedom = len(runs_fitted) - networks - (seeds - 1 if blocks else 0)
    if freedom < 1:
        return None
    return Noise(math.sqrt((residuals @ residuals) / freedom), freedom)


def difference(accuracies: pd.DataFrame, one: str, other: str, by: Noise | None) -> Difference:
    """``one`` minus ``other`` in a :func:`by_seed`, with the standard error ``s √(2/n)``."""
    if one not in accuracies.index or other not in accuracies.index:
        return Difference()
    each = (accuracies.loc[one] - accuracies.loc[other]).dropna()
    n = len(each)
    if n == 0:
        return Difference()
    mean = float(each.mean())
    if by is None or by.deviation < 1e-9:  # a deviation of rounding is none
        return Difference(n, mean, each=tuple(each))
    t = abs(mean) / (by.deviation * math.sqrt(2 / n))
    p = 2 * float(stdtr(by.freedom, -t))
    reach = by.of_difference(n)
    return Difference(n, mean, mean - reach, mean + reach, p, tuple(each))


def holm(ps: list[float]) -> list[float]:
    """Holm's correction of the p-values of a family, in their order."""
    corrected, largest = [1.0] * len(ps), 0.0
    order = sorted(range(len(ps)), key=lambda index: ps[index])
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[index]))
        corrected[index] = largest
    return corrected


def judge(pairs: tuple[tuple[str, str], ...], runs: pd.DataFrame) -> list[Judged]:
    """Each pair of a family by the rule; one that has not all seeds counts as p = 1 and is not yet
    decided.
    """
    accuracies, by = by_seed(runs), noise(runs)
    validations, validation_by = (
        by_seed(runs, "validation_accuracy"),
        noise(runs, "validation_accuracy"),
    )
    found = [difference(accuracies, one, other, by) for one, other in pairs]
    ps = [1.0 if each.n < len(SEEDS) or each.p is None else each.p for each in found]
    tests = []
    for (one, other), each, p in zip(pairs, found, holm(ps), strict=True):
        beside = difference(validations, one, other, validation_by)
        tests.append(Judged(one, other, each, beside, p, verdict(each, p)))
    return tests


def verdict(found: Difference, p: float) -> str:
    """What the rule says of a difference that is claimed to be positive, given its p after Holm."""
    if found.n < len(SEEDS):
        return NOT_YET_DECIDED
    if p >= LEVEL:
        return NOT_DISTINGUISHABLE
    return SUPPORTED if found.mean > 0 else NOT_SUPPORTED


def binomial_error(accuracy: float, images: int) -> float:
    """The standard error, in points, of an accuracy in percent on ``images`` images."""
    return math.sqrt(accuracy * (100 - accuracy) / images)
