"""Which reading of EVA is the library's: the candidates, and a rule that was written down before the runs that it judges."""

import math
import statistics
from pathlib import Path
from typing import NamedTuple

from evalib.ablations import ABLATIONS
from evalib.experiments import TABLE_1, Experiment
from evalib.results.tables import complete

TIER, BASE = "paper", "evanet20-small"

ADDED = {
    "letter": "nothing",
    "scaled": "logits over √c, c the channels of a head",
    "residual": "LayerNorm(query + attention)",
    "standard": "scale, output projection, residual and LayerNorm: the attention sub-layer of Vaswani et al. (2017)",
    "published": "the above, feed-forward networks, slot embeddings, and a first query from the centre pixel: the author's code",
}
"""The candidates, from the one that adds least to the text to the one that adds most, and what they add."""


class Candidate(NamedTuple):
    """``validations`` are the validation accuracies after the last epoch at the ``paper`` tier, one a seed, in percent."""

    name: str
    added: str
    experiment: Experiment
    validations: tuple[float, ...]

    @property
    def mean(self) -> float | None:
        return statistics.mean(self.validations) if self.validations else None

    @property
    def error(self) -> float | None:
        """The standard error of the mean; ``None`` below two seeds."""
        n = len(self.validations)
        return statistics.stdev(self.validations) / math.sqrt(n) if n > 1 else None


def row_of(name: str) -> Experiment:
    """The experiment of a candidate: the row of Table 1 is the one that has no row of its own."""
    rows = {row.name: row for row in (*TABLE_1, *ABLATIONS)}
    return rows.get(f"{BASE}-{name}", rows[BASE])


def candidates(out: Path | None = None) -> list[Candidate]:
    """The candidates in order, each with what its records say."""
    found = []
    for name, added in ADDED.items():
        records = complete(row_of(name), TIER, out)
        found.append(Candidate(name, added, row_of(name), tuple(each["validation_accuracy"] for each in records)))
    return found


def choose(found: list[Candidate]) -> Candidate | None:
    """The highest mean; within one standard error of it, the one that adds least. ``None`` if nothing was run.

    Candidates with two seeds or more are judged among themselves; only where there is none do single runs count.
    """
    several = [each for each in found if len(each.validations) > 1] or [each for each in found if each.validations]
    if not several:
        return None
    best = max(several, key=lambda each: each.mean or 0.0)
    least = (best.mean or 0.0) - (best.error or 0.0)
    return next(each for each in several if (each.mean or 0.0) >= least)


def default() -> str:
    """The candidate that ``evanet20-small`` is now."""
    return next(name for name in ADDED if row_of(name).name == BASE)
