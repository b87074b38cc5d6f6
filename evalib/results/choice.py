"""Which reading of EVA is the library's: the candidates, and a rule that was written down before the runs that it judges."""

import math
import statistics
from functools import partial
from pathlib import Path
from typing import NamedTuple

from evalib.eva import ExpandingVisualAttention, SingleQueryAttention
from evalib.experiments import CHOSEN, Experiment, experiment
from evalib.networks import EVASummary
from evalib.published import PublishedEVA
from evalib.results.records import collapse, complete
from evalib.variants import LetterAttention, ResidualAttention, StandardAttention

TIER, BASE = "paper", "evanet20-small"

ADDED = {
    "letter": "nothing",
    "scaled": "logits over √c, c the channels of a head",
    "residual": "LayerNorm(query + attention)",
    "standard": "scale, output projection, residual and LayerNorm: the attention sub-layer of Vaswani et al. (2017)",
    "published": "the above, feed-forward networks, slot embeddings, and a first query from the centre pixel: the author's code",
}
"""The candidates, from the one that adds least to the text to the one that adds most, and what they add."""

ATTENTIONS = {
    LetterAttention: "letter",
    SingleQueryAttention: "scaled",
    ResidualAttention: "residual",
    StandardAttention: "standard",
}


class Candidate(NamedTuple):
    """``validations`` are the validation accuracies after the last epoch at the ``paper`` tier, one a seed, in percent.

    ``further`` are those of seeds that not all candidates have, which judge nothing. ``collapsed`` of all these runs did.
    """

    name: str
    added: str
    experiment: Experiment
    validations: tuple[float, ...]
    collapsed: int = 0
    further: tuple[float, ...] = ()

    @property
    def mean(self) -> float | None:
        return statistics.mean(self.validations) if self.validations else None

    @property
    def error(self) -> float | None:
        """The standard error of the mean; ``None`` below two seeds."""
        n = len(self.validations)
        return statistics.stdev(self.validations) / math.sqrt(n) if n > 1 else None


def row_of(name: str) -> Experiment:
    """The experiment of a candidate."""
    return experiment(f"{BASE}-{name}")


def candidates(out: Path | None = None) -> list[Candidate]:
    """The candidates in order, each with what its records say; those with several seeds are held to the seeds that all of them have."""
    records = {name: complete(row_of(name), TIER, out) for name in ADDED}
    several = [{record["seed"] for record in each} for each in records.values() if len(each) > 1]
    common = set.intersection(*several) if several else set()
    found = []
    for name, each in records.items():
        judged = [record["seed"] in common or len(common) < 2 for record in each]
        pairs = [(record["validation_accuracy"], counts) for record, counts in zip(each, judged, strict=True)]
        validations, further = (tuple(value for value, counts in pairs if counts is which) for which in (True, False))
        falls = sum(bool(collapse(record["curve"])) for record in each)
        found.append(Candidate(name, ADDED[name], row_of(name), validations, falls, further))
    return found


def with_further(found: list[Candidate]) -> list[Candidate]:
    """The candidates as they would be if their further seeds counted."""
    return [each._replace(validations=each.validations + each.further, further=()) for each in found]


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
    return CHOSEN


def reading(row: Experiment) -> str | None:
    """The candidate whose EVA a row has; ``None`` without EVA, or where layer or attention are no candidate's."""
    head = row.head if isinstance(row.head, partial) else partial(row.head)
    if head.func is not EVASummary:
        return None
    options = head.keywords
    layer = options.get("layer", ExpandingVisualAttention)
    if not isinstance(layer, type):
        return None
    if issubclass(layer, PublishedEVA):
        return "published"
    if not issubclass(layer, ExpandingVisualAttention):
        return None
    name = ATTENTIONS.get(options.get("Attention", SingleQueryAttention))
    if options.get("normed"):
        return {"scaled": "normed", "standard": "standard-normed"}.get(name or "")
    return name


def titled(row: Experiment) -> str:
    """What a row is called where an accuracy of it is shown."""
    return row.title


def coded(name: str) -> str:
    """An experiment's name as code."""
    return f"`{name}`"
