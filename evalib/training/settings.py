"""What decides a run: the version of the computation, the settings, the tiers, the schedule of the learning rate."""

import operator
from dataclasses import asdict, dataclass
from itertools import pairwise
from math import inf
from numbers import Real
from pathlib import Path
from typing import NamedTuple

from evalib.experiments import experiment

COMPUTATION = 2
"""The version of the computation, which each record holds: raised whenever the same settings begin to mean other numbers.

``tests/test_computation.py`` pins the first losses of every experiment and fails at such a change; a refactoring keeps
them.
"""


class Tier(NamedTuple):
    """How much of the experiment is run: which data, and for how many epochs."""

    data: str
    epochs: int


TIERS = {"smoke": Tier("subset", 2), "quick": Tier("full", 15), "paper": Tier("full", 150)}

PRECISIONS = ("bf16", "float32")


@dataclass(frozen=True)
class Settings:
    """Everything that decides a run's result. ``epochs=None`` takes the tier's; a bad value is a ``ValueError``.

    The learning rate is divided by ten after each fraction ``milestones`` of the epochs. ``None`` takes those of the
    experiment's recipe: 0.001, after 1/2 and 3/4, the schedule of He et al. 2015 (32k and 48k of 64k steps;
    departure D10). ``precision`` is "bf16" (convolutions and window attention in bf16 autocast; EVA, loss and weights
    in float32), or "float32"; ``None`` takes bf16 on a GPU that computes in it, elsewhere float32.
    """

    experiment: str
    seed: int = 0
    tier: str = "smoke"
    epochs: int | None = None
    batch_size: int = 150
    learning_rate: float | None = None
    milestones: tuple[float, ...] | None = None
    precision: str | None = None

    def __post_init__(self):
        row = experiment(self.experiment)
        recipe = row.recipe
        if self.tier not in TIERS:
            raise ValueError(f"there is no tier {self.tier!r}: choose one of {', '.join(TIERS)}")
        if self.precision not in (None, *PRECISIONS):
            raise ValueError(f"precision={self.precision!r} must be one of {', '.join(PRECISIONS)}, or None")
        epochs = TIERS[self.tier].epochs if self.epochs is None else self.epochs
        rate = recipe.learning_rate if self.learning_rate is None else self.learning_rate
        milestones = recipe.milestones if self.milestones is None else self.milestones
        checked = {
            "experiment": row.name,
            "seed": whole_number("seed", self.seed, 0),
            "epochs": whole_number("epochs", epochs, 1),
            "batch_size": whole_number("batch_size", self.batch_size, 2),
            "learning_rate": positive(rate),
            "milestones": fractions(milestones),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)


def whole_number(name: str, value, least: int) -> int:
    """``value``, an int of Python or NumPy from ``least`` to 2⁶³ − 1; ``ValueError`` names what is none."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or not least <= number < 2**63:
        raise ValueError(f"{name}={value!r} must be a whole number, {least} or more")
    return number


def positive(rate) -> float:
    """A learning rate; ``ValueError`` if it is none."""
    if not isinstance(rate, Real) or isinstance(rate, bool) or not 0 < rate < inf:
        raise ValueError(f"learning_rate={rate!r} must be a positive number, such as 0.001")
    return float(rate)


def fractions(milestones) -> tuple[float, ...]:
    """Milestones as fractions of the epochs, in their order; ``ValueError`` if they are epochs, or nothing of the kind."""
    try:
        found = tuple(milestones)
        numbers = all(isinstance(each, Real) and 0 < each < 1 for each in found)
    except TypeError:
        found, numbers = (), False
    if not numbers or any(one >= other for one, other in pairwise(found)):
        raise ValueError(
            f"milestones={milestones!r} must be fractions of the epochs, between 0 and 1 and ascending: "
            "(0.5, 0.75) for 75 and 112 of 150"
        )
    return tuple(map(float, found))


def learning_rate(settings: Settings, epoch: int) -> float:
    """The learning rate of ``epoch`` (counted from 0): divided by ten at each milestone that it has passed."""
    assert settings.milestones is not None  # the recipe's, once the settings are made
    return settings.learning_rate * 0.1 ** sum(epoch >= fraction * settings.epochs for fraction in settings.milestones)


def check_same(settings: Settings, saved: Settings, where: Path) -> None:
    """Raise ``ValueError`` naming each setting in which a run differs from what is already in ``where``."""
    differing = [
        f"{name} was {old!r}, is now {new!r}"
        for (name, old), new in zip(asdict(saved).items(), asdict(settings).values(), strict=True)
        if old != new
    ]
    if differing:
        raise ValueError(
            f"{where} belongs to a run with other settings ({'; '.join(differing)}): "
            "give the same settings to continue it, or another output directory"
        )
