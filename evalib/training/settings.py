"""What decides a run: the settings, the tiers, and the schedule of the learning rate."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from evalib.networks import experiment


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
        recipe = experiment(self.experiment).recipe
        if self.tier not in TIERS:
            raise ValueError(f"there is no tier {self.tier!r}: choose one of {', '.join(TIERS)}")
        if self.epochs is None:
            object.__setattr__(self, "epochs", TIERS[self.tier].epochs)
        if self.learning_rate is None:
            object.__setattr__(self, "learning_rate", recipe.learning_rate)
        milestones = recipe.milestones if self.milestones is None else self.milestones
        object.__setattr__(self, "milestones", tuple(milestones))
        for name, least in (("seed", 0), ("epochs", 1), ("batch_size", 2)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name}={value!r} must be a whole number, {least} or more")
        if self.precision not in (None, *PRECISIONS):
            raise ValueError(f"precision={self.precision!r} must be one of {', '.join(PRECISIONS)}, or None")
        rate = self.learning_rate
        if not isinstance(rate, float) or not 0 < rate < math.inf:
            raise ValueError(f"learning_rate={rate!r} must be a positive number, such as 0.001")


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
