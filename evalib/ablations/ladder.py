"""The ladder from our rows to the numbers of Table 1: one change at a time, each on top of those before it."""

from dataclasses import replace
from functools import partial

from evalib.ablations.as_published import AsPublishedEVA
from evalib.ablations.blocks import projected_shortcut
from evalib.experiments import ADAM, CHOSEN, TABLE_1, Experiment, Recipe
from evalib.networks import EVASummary

SGD = Recipe("SGD", 0.1, (0.5, 0.75), weight_decay=2e-4)

RUNGS = (
    ("l2", "Adam, L2 of 1e-4", {"recipe": ADAM._replace(weight_decay=1e-4)}),
    ("decay", "AdamW, decay of 5e-2", {"recipe": ADAM._replace(optimiser="AdamW", weight_decay=5e-2)}),
    ("sgd", "SGD at 0.1, L2 of 2e-4", {"recipe": SGD}),
    ("option-b", "shortcuts of option B", {"shortcut": projected_shortcut}),
    ("333", "[3, 3, 3] blocks", {"blocks": (3, 3, 3)}),
    ("50k", "all 50,000 images", {"recipe": SGD._replace(all_images=True)}),
    ("best", "best test accuracy of all epochs", {"test_each_epoch": True}),
)
"""The end of a rung's name, its change in words, and the fields that it sets."""


def rungs(row: Experiment) -> list[Experiment]:
    """The rungs above ``row``, each with the fields of those below it; the two of weight decay both stand on it."""
    made = [row]
    for suffix, change, fields in RUNGS:
        base = row if suffix == "decay" else made[-1]
        rung = replace(
            base, name=f"{row.name}-ladder-{suffix}", model=f"{row.title}, ladder: {change}", variant="", paper_accuracy=None,
            base=base.name, kind="ladder", change=change, **fields,
        )  # fmt: skip
        made.append(rung)
    return made[1:]


def as_published(row: Experiment, **fields) -> Experiment:
    """``row`` by the author's published code: blocks, shortcuts, a constant rate, no validation, the best test epoch."""
    return replace(
        row, name=f"{row.name.removesuffix(f'-{CHOSEN}')}-as-published", model=f"{row.model}, as published", variant="",
        paper_accuracy=None, base=row.name,
        kind="ladder", change="the author's whole configuration", blocks=(3, 3, 3), shortcut=projected_shortcut,
        recipe=SGD._replace(milestones=(), all_images=True), test_each_epoch=True, **fields,
    )  # fmt: skip


LADDER = (
    *(rung for row in TABLE_1[:3] for rung in rungs(row)),
    *(as_published(row) for row in TABLE_1[:2]),
    as_published(TABLE_1[2], head=partial(EVASummary, layer=AsPublishedEVA)),
)
