"""What decides a run: the version of the computation, the settings, the tiers, the learning rate of
each epoch."""

from pathlib import Path
from typing import Annotated, Literal, NamedTuple, get_args

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from evalib import experiments

COMPUTATION = 2
"""The version of the computation, which each record holds: raised whenever the same settings begin
to mean other numbers.

``tests/test_computation.py`` pins the first losses of every experiment and fails at such a change;
a refactoring keeps them.
"""


class Tier(NamedTuple):
    """How much of the experiment is run: which data, and for how many epochs."""

    data: str
    epochs: int


TIERS = {"smoke": Tier("subset", 2), "quick": Tier("full", 15), "paper": Tier("full", 150)}

Precision = Literal["bf16", "float32"]
PRECISIONS: tuple[str, ...] = get_args(Precision)


def as_python(value):
    """A number of NumPy as Python's own; anything else as it is."""
    return value.item() if isinstance(value, np.generic) else value


Whole = Annotated[int, BeforeValidator(as_python), Field(strict=True)]
Number = Annotated[float, BeforeValidator(as_python), Field(strict=True)]
Fraction = Annotated[Number, Field(gt=0, lt=1)]


class Settings(BaseModel):
    """Everything that decides a run's result; a bad value is a ``ValueError`` that says what is
    wanted.

    ``epochs=None`` takes the tier's. The learning rate is divided by ten after each fraction
    ``milestones`` of the epochs. ``None`` takes those of the experiment's recipe: 0.001, after 1/2
    and 3/4, the schedule of He et al. 2015 (32k and 48k of 64k steps; departure D10). ``precision``
    is "bf16" (convolutions and window attention in bf16 autocast; EVA, loss and weights in
    float32), or "float32"; ``None`` takes bf16 on a GPU that computes in it, elsewhere float32. On
    a CPU without AVX-512 a step in bf16 takes ten times as long as in float32.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    experiment: str
    seed: Annotated[Whole, Field(ge=0, lt=2**64)]
    tier: str
    epochs: Annotated[Whole, Field(ge=1)]
    batch_size: Annotated[Whole, Field(ge=2)]
    learning_rate: Annotated[Number, Field(gt=0, allow_inf_nan=False)]
    milestones: tuple[Fraction, ...]
    precision: Precision | None

    def __init__(
        self,
        experiment: str,
        seed: int = 0,
        tier: str = "smoke",
        epochs: int | None = None,
        batch_size: int = 150,
        learning_rate: float | None = None,
        milestones: tuple[float, ...] | None = None,
        precision: str | None = None,
    ):
        row = experiments.experiment(experiment)
        if tier not in TIERS:
            raise ValueError(f"there is no tier {tier!r}: choose one of {', '.join(TIERS)}")
        given = {
            "experiment": row.name,
            "seed": seed,
            "tier": tier,
            "epochs": TIERS[tier].epochs if epochs is None else epochs,
            "batch_size": batch_size,
            "learning_rate": row.recipe.learning_rate if learning_rate is None else learning_rate,
            "milestones": row.recipe.milestones if milestones is None else milestones,
            "precision": precision,
        }
        try:
            super().__init__(**given)
        except ValidationError as error:
            first = error.errors()[0]
            name = first["loc"][0]
            raise ValueError(f"{name}={given[name]!r}: {first['msg']}") from None


def learning_rate(settings: Settings, epoch: int) -> float:
    """The learning rate of ``epoch`` (counted from 0): divided by ten at each milestone that it has
    passed."""
    ends = [
        round(fraction * settings.epochs, 6) for fraction in settings.milestones
    ]  # 0.28 of 25 is 7
    return settings.learning_rate * 0.1 ** sum(epoch >= end for end in ends)


def check_same(settings: Settings, saved: Settings, where: Path) -> None:
    """Raise ``ValueError`` naming each setting in which a run differs from what is already in
    ``where``."""
    differing = [
        f"{name} was {old!r}, is now {new!r}"
        for (name, old), new in zip(
            saved.model_dump().items(), settings.model_dump().values(), strict=True
        )
        if old != new
    ]
    if differing:
        raise ValueError(
            f"{where} belongs to a run with other settings ({'; '.join(differing)}): "
            "give the same settings to continue it, or another output directory"
        )
