"""What seeds alone do to an accuracy: one standard deviation for all networks of a tier."""

import math
import statistics
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from scipy.special import stdtrit

from evalib.experiments import experiment
from evalib.results.runs import counting
from evalib.results.schema import collapse


class Spread(NamedTuple):
    """What seeds alone do at one tier: the standard deviation over them, in points, and its degrees of freedom."""

    deviation: float
    freedom: int

    @property
    def t(self) -> float:
        """Student's t for 95 %, two-sided."""
        return float(stdtrit(self.freedom, 0.975))

    def mean(self, n: int) -> float:
        """Half the 95 % interval of a mean over ``n`` seeds: ``t s / √n``."""
        return self.t * self.deviation / math.sqrt(n)

    def difference(self, n: int, m: int) -> float:
        """Half the 95 % interval of a difference of means over ``n`` and ``m`` seeds: ``t s √(1/n + 1/m)``."""
        return self.t * self.deviation * math.sqrt(1 / n + 1 / m)

    def another(self, n: int) -> float:
        """Half the interval in which 95 of 100 further seeds fall, around a mean over ``n``: ``t s √(1 + 1/n)``."""
        return self.t * self.deviation * math.sqrt(1 + 1 / n)


def spread(tier: str, out: Path | None = None) -> Spread | None:
    """The deviation over seeds, pooled over all networks that have several at ``tier``; ``None`` if none has.

    ``s² = Σ (accuracy − mean of its network)² / freedom``, ``freedom`` the runs less the networks. One deviation for all,
    for two or three seeds of one network give a bar that is long or short by luck. A network of which a run collapsed is
    left out, and a row that reads the test set after each epoch, which trains as its base does.
    """
    groups = defaultdict(list)
    for record in counting(tier, out):
        groups[record["experiment"]].append(record)
    several = [
        [record["test"]["accuracy"] for record in records]
        for name, records in groups.items()
        if len(records) > 1 and not experiment(name).test_each_epoch and not any(collapse(r["curve"]) for r in records)
    ]
    freedom = sum(len(values) - 1 for values in several)
    if not freedom:
        return None
    return Spread(math.sqrt(sum((len(v) - 1) * statistics.variance(v) for v in several) / freedom), freedom)
