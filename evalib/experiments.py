"""The rows of Table 1, and the register for others: what is built, and how it is trained."""

import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from evalib.networks import (
    BasicBlock,
    EVASummary,
    Network,
    PaddedShortcut,
    average_pooling,
    convolution_3x3,
    self_attention_3x3,
)
from evalib.variants import VARIANTS


class Recipe(NamedTuple):
    """How a network is trained; the rate falls tenfold at each of the ``milestones``."""

    optimiser: str
    learning_rate: float
    milestones: tuple[float, ...]
    weight_decay: float = 0.0
    all_images: bool = False  # those of the validation train too


ADAM = Recipe("Adam", 1e-3, (0.5, 0.75))
"""The paper's optimiser with the schedule of departure D10."""


@dataclass(frozen=True)
class Experiment:
    """A row as in Table 1; ``paper_accuracy`` is its top-1 test accuracy in percent.

    Blocks as printed, though they make 14 layers and not 20 (departure D9). ``mix`` and ``block``
    build the mixing layers and the blocks, of every stage or, in a tuple, of each;
    ``head(channels)`` turns the last map into a vector.
    """

    name: str
    model: str
    blocks: tuple[int, ...] = (2, 2, 2)
    widths: tuple[int, ...] = (16, 32, 64)
    mix: Any = convolution_3x3
    head: Callable[[int], nn.Module] = average_pooling
    paper_accuracy: float | None = None
    variant: str = ""  # of what the text leaves open, as "scaled"
    block: Any = BasicBlock
    shortcut: Callable[..., nn.Module] = PaddedShortcut
    draw: Callable[[Network], None] | None = None  # draws first weights other than the layers' own
    recipe: Recipe = ADAM
    base: str = ""  # the row that this one is held against
    change: str = ""  # what is other in this one, in words
    kind: str = ""  # a departure, as "D4", or one of evalib.ablations.KINDS
    test_each_epoch: bool = False

    @property
    def title(self) -> str:
        """What the row is called where an accuracy of it is shown."""
        return f"{self.model}, {self.variant}" if self.variant else self.model

    def definition(self) -> str:
        """All that decides what is trained, as text: rows with the same one train in the same way.

        A layer stands there by its name and its arguments, so a change in its code does not show.
        """
        lines = [f"{name}: {value}" for name, value in self.recipe._asdict().items()]
        for part in ("blocks", "widths", "mix", "block", "shortcut", "head", "draw"):
            lines.append(f"{part}: {spell(getattr(self, part))}")
        return "\n".join(lines)


def spell(part: Any) -> str:
    """A part of a row as text, functions and classes by their full names."""
    if isinstance(part, partial):
        given = [spell(each) for each in part.args]
        given += [f"{name}={spell(value)}" for name, value in sorted(part.keywords.items())]
        return f"{spell(part.func)}({', '.join(given)})" if given else spell(part.func)
    if isinstance(part, tuple | list):
        return f"({', '.join(map(spell, part))})"
    if isinstance(part, dict):
        return spell(partial(dict, **part))
    if callable(part):
        named = part if hasattr(part, "__qualname__") else type(part)
        full = f"{named.__module__}.{named.__qualname__}"
        if named.__name__ == "<lambda>":  # it has no name: what it calls stands for it
            code, by_name = named.__code__, sorted((named.__kwdefaults__ or {}).items())
            told = *code.co_consts, *(named.__defaults__ or ()), *(value for _, value in by_name)
            numbers = [str(each) for each in told if isinstance(each, int | float | str)]
            return " ".join([full, *code.co_names, *numbers])
        return full
    return repr(part)


CONV = (convolution_3x3,) * 3
SA = (convolution_3x3, convolution_3x3, self_attention_3x3)
"""The mixing layers of each stage (departure D7)."""

SMALL, LARGE = (16, 32, 64), (64, 128, 256)
"""The feature maps of each stage."""

CHOSEN = "scaled"
"""Which EVA Table 1 shows, by the rule in LOG.md: the one line of the choice.

``experiment("evanet20-small")`` is ``evanet20-small-scaled``; whatever is recorded has the full
name.
"""

EVA = partial(EVASummary, **VARIANTS[CHOSEN].options)
EVANET_SMALL, EVANET_LARGE = f"evanet20-small-{CHOSEN}", f"evanet20-large-{CHOSEN}"

# fmt: off
TABLE_1 = (
    #          name              model              blocks     maps   layers head           acc. (%)
    Experiment("resnet20-small", "ResNet-20 small", (2, 2, 2), SMALL, CONV, average_pooling, 91.25),
    Experiment("sanet20-small",  "SANet-20 small",  (2, 2, 2), SMALL, SA,   average_pooling, 92.45),
    Experiment(EVANET_SMALL,     "EVANet-20 small", (2, 2, 2), SMALL, CONV, EVA, 93.00, CHOSEN),
    Experiment("resnet20-large", "ResNet-20 large", (2, 2, 2), LARGE, CONV, average_pooling, 94.53),
    Experiment("sanet20-large",  "SANet-20 large",  (2, 2, 2), LARGE, SA,   average_pooling, 94.88),
    Experiment(EVANET_LARGE,     "EVANet-20 large", (2, 2, 2), LARGE, CONV, EVA, 95.33, CHOSEN),
)
# fmt: on

ROWS = {row.name: row for row in TABLE_1}
"""Every experiment by its name: Table 1, the ablations, and those of :func:`register`."""

SHORT = {"evanet20-small": EVANET_SMALL, "evanet20-large": EVANET_LARGE}
"""The names that stand for the chosen row."""


def register(*rows: Experiment) -> None:
    """Add rows of your own: they train, record and show in tables as any other, under their names.

    ``ValueError`` if there is a row of that name already, if the name is no file name, if a tuple
    has not an entry for each stage, or if there is no row ``base``; then none is added.
    """
    names = [row.name for row in rows]
    for row in rows:
        if row.name in (*ROWS, *SHORT) or names.count(row.name) > 1:
            raise ValueError(
                f"there is an experiment {row.name!r} already: give the row another name"
            )
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", row.name):
            raise ValueError(
                f"name {row.name!r}: records are files of that name; use a-z, 0-9, - and _"
            )
        for field in ("widths", "mix", "block"):
            value = getattr(row, field)
            if isinstance(value, tuple) and len(value) != len(row.blocks):
                raise ValueError(
                    f"{row.name}: {field} has {len(value)} entries, blocks {len(row.blocks)}: one"
                    " for each stage"
                )
        if row.base and row.base not in (*ROWS, *SHORT, *names):
            raise ValueError(
                f"{row.name}: there is no experiment {row.base!r}, its base: choose one of"
                f" {', '.join(ROWS)}"
            )
    ROWS.update(zip(names, rows, strict=True))


def experiment(name: str) -> Experiment:
    """The row of that name, or that it is short for; ``ValueError`` lists all if there is none."""
    name = SHORT.get(name, name)
    if name not in ROWS:
        raise ValueError(
            f"there is no experiment {name!r}: choose one of {', '.join(ROWS)}; or"
            " evalib.register(...) one first"
        )
    return ROWS[name]


def build(name: str, num_classes: int = 10, in_channels: int = 3) -> Network:
    """The network of a row, from torch's random state: ``n in_channels 32 32 -> n num_classes``."""
    return Network(experiment(name), num_classes, in_channels)


MODULE = "EVALIB_MODULE"
"""The environment variable that names the file for the processes of a batch."""


def load_rows(path: str | Path | None = None) -> None:
    """Run the Python file ``path``, or else the one that ``EVALIB_MODULE`` names, once.

    It calls :func:`evalib.register`; its rows are there in this process and in those that it
    starts.
    """
    named = path or os.environ.get(MODULE)
    if not named:
        return
    file = Path(named).expanduser().absolute()
    name = "evalib_rows_" + re.sub(r"\W", "_", file.stem)  # which no other module has
    os.environ[MODULE] = str(file)
    if getattr(sys.modules.get(name), "__file__", None) == str(file):
        return
    spec = spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ValueError(f"{file} is no Python file: give the one that registers your rows")
    sys.modules[name] = module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise RuntimeError(f"{file} stops with {type(error).__name__}: {error}") from error
