"""Which variant of EVA is the library's: the candidates, and the rule of LOG.md, older than the
runs that it judges.
"""

import json
import math
import statistics
import warnings
from functools import partial
from pathlib import Path
from typing import NamedTuple

from evalib.eva import ExpandingVisualAttention, SingleQueryAttention
from evalib.experiments import CHOSEN, Experiment, experiment
from evalib.networks import EVASummary
from evalib.published import PublishedEVA
from evalib.results.records import collapse, complete, load_records, results
from evalib.results.statistics import SEEDS, TIER, Noise, noise
from evalib.variants import VARIANTS, LetterAttention, ResidualAttention, StandardAttention

BASE = "evanet20-small"

ADDED = {name: variant.adds for name, variant in VARIANTS.items()}
"""All variants, from the one that adds least to the text to the one that adds most, and what they
add.
"""

CANDIDATES = ("scaled", "normed", "standard-normed", "published")
"""Those that the rule chooses among, in the same order; the others are shown as what falls."""

STAYS = "scaled"
"""The choice while fewer than two candidates can be judged."""

WIDTHS, STEPS = (64, 128, 256, 512), 150
LOGIT, EFFECTIVE = 3, 6
"""The width check: the largest logit over that at 64 channels, and the pixels of the last ring in
effect, of 24.
"""

ATTENTIONS = {
    LetterAttention: "letter",
    SingleQueryAttention: "scaled",
    ResidualAttention: "residual",
    StandardAttention: "standard",
}


class Candidate(NamedTuple):
    """What is known of a candidate; ``None`` what is not.

    ``validations`` are the validation accuracies of seeds 0, 1 and 2 after the last epoch at the
    ``paper`` tier, small, in percent; ``collapsed`` of these runs did. ``same_at_all_widths`` says
    whether it passes the width check, and ``trains_large`` whether its large network trained for 15
    epochs.
    """

    name: str
    added: str
    experiment: Experiment
    validations: tuple[float, ...]
    collapsed: int = 0
    same_at_all_widths: bool | None = None
    trains_large: bool | None = None

    @property
    def mean(self) -> float | None:
        return statistics.mean(self.validations) if self.validations else None

    @property
    def is_eligible(self) -> bool:
        return bool(self.same_at_all_widths and self.trains_large)

    @property
    def is_judged(self) -> bool:
        return self.is_eligible and len(self.validations) == len(SEEDS)

    @property
    def missing(self) -> str:
        """Why it is not judged yet; empty if it is, or if it is not eligible."""
        lacks = []
        if self.same_at_all_widths is None:
            lacks.append("the width check")
        if self.trains_large is None:
            lacks.append("15 epochs of the large network")
        if len(self.validations) < len(SEEDS):
            lacks.append(f"{len(SEEDS) - len(self.validations)} of {len(SEEDS)} seeds")
        return ", ".join(lacks)


def row_of(name: str) -> Experiment:
    """The small experiment of a variant."""
    return experiment(f"{BASE}-{name}")


def candidates(out: Path | None = None, names: tuple[str, ...] = CANDIDATES) -> list[Candidate]:
    """The candidates in order, each with what its records and the width check say."""
    return [
        candidate(
            name,
            ADDED[name],
            row_of(name),
            experiment(f"evanet20-large-{name}"),
            widths(name, out),
            out,
        )
        for name in names
    ]


def sanet_candidates(out: Path | None = None) -> list[Candidate]:
    """SANet to the letter and with a scale; its width check looks at the largest logit alone."""
    found = []
    for name, suffix, added in (("letter", "", "nothing"), ("scaled", "-scaled", "logits over √c")):
        small, large = (experiment(f"sanet20-{size}{suffix}") for size in ("small", "large"))
        passes = widths(f"sanet{suffix}", out, logit_alone=True)
        found.append(candidate(name, added, small, large, passes, out))
    return found


def candidate(
    name: str,
    added: str,
    small: Experiment,
    large: Experiment,
    passes: bool | None,
    out: Path | None,
) -> Candidate:
    """A candidate by the records of its small and of its large network."""
    records = [record for record in complete(small, TIER, out) if record["seed"] in SEEDS]
    validations = tuple(record["validation_accuracy"] for record in records)
    fallen = sum(bool(collapse(record["curve"])) for record in records)
    first = [record for record in complete(large, "quick", out) if record["seed"] == 0]
    trains = not falls(first[0]["curve"]) if first else None
    return Candidate(name, added, small, validations, fallen, passes, trains)


def falls(curve: list[dict]) -> bool:
    """Whether validation accuracy falls, after some epoch, to half of its best until then."""
    best = 0.0
    for entry in curve:
        best = max(best, entry["validation_accuracy"])
        if entry["validation_accuracy"] <= best / 2:
            return True
    return False


def widths(name: str, out: Path | None = None, logit_alone: bool = False) -> bool | None:
    """Whether a candidate passes the width check of ``width.json``, by its last step at each width;
    ``None`` if not checked.

    The largest logit at most :data:`LOGIT` times that at 64 channels, and at least
    :data:`EFFECTIVE` pixels of the last ring in effect.
    """
    path = results(out) / "width.json"
    if not path.exists():
        return None
    try:
        rows = json.loads(path.read_text("utf-8"))["rows"]
        last = {
            row["width"]: row for row in rows if row["candidate"] == name and row["step"] == STEPS
        }
        if not set(WIDTHS) <= last.keys():
            return None
        same = all(
            last[width]["largest_logit"] <= LOGIT * last[WIDTHS[0]]["largest_logit"]
            for width in WIDTHS
        )
        wide = logit_alone or all(last[width]["effective"][-1] >= EFFECTIVE for width in WIDTHS)
    except (ValueError, LookupError, TypeError) as error:
        warnings.warn(f"{path} is no width check and is left out ({error})", stacklevel=2)
        return None
    return same and wide


def choose(found: list[Candidate], by: Noise | None, stays: str = STAYS) -> str:
    """The highest mean validation accuracy among those that are judged; within one standard error
    ``s / √3``, the one that adds least.

    ``by`` is the deviation of the model over validation accuracies. ``stays`` while fewer than two
    are judged.
    """
    judged = [each for each in found if each.is_judged]
    if len(judged) < 2 or by is None:
        return stays
    least = max(each.mean for each in judged) - by.deviation / math.sqrt(len(SEEDS))
    return next(each.name for each in judged if each.mean >= least)


def chosen_by_rule(out: Path | None = None) -> str:
    """What the rule takes, by the records: :data:`evalib.experiments.CHOSEN` must be it."""
    return choose(candidates(out), noise(load_records(out), "validation_accuracy"))


def default() -> str:
    """The variant that ``evanet20-small`` is now."""
    return CHOSEN


def reading(row: Experiment) -> str | None:
    """The candidate whose EVA a row has; ``None`` without EVA, or where layer or attention are no
    candidate's.
    """
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
