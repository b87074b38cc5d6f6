"""Which variant of EVA is the library's: the candidates, and the rule of LOG.md, older than the
runs that it judges.
"""

import json
import math
import statistics
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from evalib.experiments import Experiment, experiment
from evalib.results.records import find_runs, load_records, results
from evalib.results.statistics import SEEDS, TIER, Noise, noise
from evalib.variants import VARIANTS

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


class Candidate(NamedTuple):
    """What is known of a candidate; ``None`` what is not.

    ``validations`` are the validation accuracies of seeds 0, 1 and 2 after the last epoch at the
    ``paper`` tier, small, in percent; ``collapsed`` of these runs did. ``same_at_all_widths`` says
    whether it passes the width check, and ``trains_large`` whether its large network trained for 15
    epochs.
    """

    name: str
    added: str
    validations: tuple[float, ...]
    collapsed: int = 0
    same_at_all_widths: bool | None = None
    trains_large: bool | None = None

    @property
    def mean(self) -> float | None:
        return statistics.mean(self.validations) if self.validations else None

    @property
    def is_judged(self) -> bool:
        """Whether it is eligible, and has all seeds."""
        eligible = self.same_at_all_widths and self.trains_large
        return bool(eligible) and len(self.validations) == len(SEEDS)

    @property
    def missing(self) -> str:
        """Why it is not judged yet; empty if it is, or if it is not eligible."""
        if False in (self.same_at_all_widths, self.trains_large):
            return ""
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
    return experiment(f"evanet20-small-{name}")


def candidates(out: Path | None = None, names: tuple[str, ...] = CANDIDATES) -> list[Candidate]:
    """The candidates in order, each with what its records and the width check say."""
    runs = load_records(out)
    return [candidate(name, runs, passes_widths(name, out)) for name in names]


def candidate(name: str, runs: pd.DataFrame, passes: bool | None) -> Candidate:
    """A candidate by the records of its small and of its large network."""
    small = find_runs(runs, row_of(name).name, (TIER,))
    small = small[small["seed"].isin(SEEDS)]
    large = find_runs(runs, f"evanet20-large-{name}", ("quick",))
    first = large[large["seed"] == 0]
    return Candidate(
        name,
        ADDED[name],
        tuple(small["validation_accuracy"]),
        small["collapsed"].sum(),
        passes,
        None if first.empty else not falls(first["curve"].iloc[0]),
    )


def falls(curve: list[dict]) -> bool:
    """Whether validation accuracy falls, after some epoch, to half of its best until then."""
    best = 0.0
    for entry in curve:
        best = max(best, entry["validation_accuracy"])
        if entry["validation_accuracy"] <= best / 2:
            return True
    return False


def read_widths(out: Path | None = None) -> dict[str, dict[int, dict]]:
    """The last step of the width check in ``width.json``, by variant and width."""
    path = results(out) / "width.json"
    last: dict[str, dict[int, dict]] = {}
    for row in json.loads(path.read_text("utf-8"))["rows"] if path.exists() else []:
        if row["step"] == STEPS:
            last.setdefault(row["candidate"], {})[row["width"]] = row
    return last


def find_passing(of_width: dict[int, dict]) -> list[int]:
    """The widths at which a variant passes the check: the largest logit is at most :data:`LOGIT`
    times that at 64 channels, and at least :data:`EFFECTIVE` pixels of the last ring are in effect.
    Of a SANet the logits alone count.
    """
    passed = []
    for width, row in sorted(of_width.items()):
        moderate = row["largest_logit"] <= LOGIT * of_width[WIDTHS[0]]["largest_logit"]
        soft = not row["effective"] or row["effective"][-1] >= EFFECTIVE
        if moderate and soft:
            passed.append(width)
    return passed


def passes_widths(name: str, out: Path | None = None) -> bool | None:
    """Whether a variant passes at all widths; ``None`` if it was not checked at each."""
    of_width = read_widths(out).get(name, {})
    if not set(WIDTHS) <= of_width.keys():
        return None
    return find_passing(of_width) == sorted(of_width)


def choose(found: list[Candidate], by: Noise | None) -> str:
    """The highest mean validation accuracy among those that are judged; within one standard error
    ``s / √3``, the one that adds least.

    ``by`` is the deviation of the model over validation accuracies. :data:`STAYS` while fewer
    than two are judged.
    """
    judged = [each for each in found if each.is_judged]
    if len(judged) < 2 or by is None:
        return STAYS
    least = max(each.mean for each in judged) - by.deviation / math.sqrt(len(SEEDS))
    return next(each.name for each in judged if each.mean >= least)


def chosen_by_rule(out: Path | None = None) -> str:
    """What the rule takes, by the records: :data:`evalib.experiments.CHOSEN` must be it."""
    return choose(candidates(out), noise(load_records(out), "validation_accuracy"))
