"""The rows that the paper does not have, which importing this registers: ablations, each a row with
one change; the ladder to the paper's accuracies; the author's whole configuration."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from torch import nn

from evalib.ablations.layers import (
    CentreQuery,
    NoPosition,
    NoRecall,
    OneBlock,
    ReversedRings,
    SecondAttends,
    UnpaddedBlock,
    ZeroPaddedAttention,
    first_query_alone,
    perceptron,
    projected_shortcut,
)
from evalib.experiments import ADAM, CHOSEN, TABLE_1, Experiment, Recipe, register
from evalib.networks import (
    KERNEL_SIZE,
    NUM_HEADS,
    BasicBlock,
    EVASummary,
    convolution_3x3,
    self_attention_3x3,
)
from evalib.published import draw_as_published
from evalib.variants import VARIANTS

KINDS = {
    "control": "is it only the parameters?",
    "part": "which part of EVA counts?",
    "published": "the author's code",
}
"""What an ablation asks that is about no departure."""

PUBLISHED = Recipe("SGD", 0.1, (), weight_decay=2e-4)
"""The optimiser of the author's published code, which has no schedule."""

SGD = PUBLISHED._replace(milestones=ADAM.milestones)
SGD_50K = SGD._replace(all_images=True)


def changed(row: Experiment, suffix: str, kind: str, change: str, **fields) -> Experiment:
    """``row`` with the one change that ``fields`` say; its name gets a suffix."""
    words = {"name": f"{row.name}-{suffix}", "model": f"{row.title}, {change}", "variant": ""}
    made = replace(row, base=row.name, kind=kind, change=change, paper_accuracy=None, **words)
    return replace(made, **fields)


def variant(row: Experiment, name: str, **fields) -> Experiment:
    """An EVANet, or a SANet, that takes the text in another way, whose name it has."""
    kind = "published" if name == "published" else "D4"
    fields |= {"name": f"{plain(row).name}-{name}", "variant": name, "base": row.name, "kind": kind}
    return replace(row, paper_accuracy=None, change=VARIANTS[name].adds, **fields)


def plain(row: Experiment) -> Experiment:
    """``row`` without its variant, for a change that leaves nothing of it."""
    return replace(row, name=row.name.removesuffix(f"-{row.variant}"), variant="")


def eva(name: str, **options) -> Callable[[int], nn.Module]:
    """The head of an EVANet: the variant of that name, but for ``options``."""
    return partial(EVASummary, **VARIANTS[name].options | options)


RESNET, SANET, EVANET, _, LARGE_SANET, LARGE_EVANET = TABLE_1
SCALED = convolution_3x3, convolution_3x3, partial(self_attention_3x3, scaled=True)
WITH_ZEROS = partial(ZeroPaddedAttention, kernel_size=KERNEL_SIZE, num_heads=NUM_HEADS)
ZERO_PADDED = convolution_3x3, convolution_3x3, WITH_ZEROS
ONE_ATTENTION = BasicBlock, BasicBlock, SecondAttends
UNPADDED = BasicBlock, BasicBlock, UnpaddedBlock

OTHERS = [name for name in VARIANTS if name != CHOSEN]
SMALL = {CHOSEN: EVANET} | {name: variant(EVANET, name, head=eva(name)) for name in OTHERS}
LARGE = {name: variant(LARGE_EVANET, name, head=eva(name)) for name in OTHERS}
LETTER = SMALL["letter"]
WHOLE = SMALL["scaled" if "layer" in VARIANTS[CHOSEN].options else CHOSEN]
"""The EVANet whose parts are changed; the author's layer has other parts."""

# fmt: off
PARTS = {
    # name           what is changed                      options of its head
    "centre-query": ("first query from the centre pixel", {"layer": CentreQuery}),
    "no-recall":    ("no 1D attention",                   {"layer": NoRecall}),
    "one-block":    ("one block of 49 pixels",            {"layer": OneBlock}),
    "no-position":  ("no relative position",              {"layer": NoPosition}),
    "reversed":     ("rings from the border inwards",     {"layer": ReversedRings}),
    "heads1":       ("1 head",                            {"num_heads": 1}),
    "heads2":       ("2 heads",                           {"num_heads": 2}),
    "heads8":       ("8 heads",                           {"num_heads": 8}),
}
# fmt: on


def part(row: Experiment, name: str) -> Experiment:
    """An EVANet with a part of its EVA changed."""
    change, options = PARTS[name]
    return changed(row, name, "part", change, head=eva(row.variant, **options))


MLP, ALONE = "pooling and an MLP of EVA's parameters", "7×7 convolution and FFN alone"
PADDING, ZEROS = "7×7 by a stride without padding", "the zeros of the border take part"
OPTIMISER, EACH_EPOCH = "the published optimiser", "test accuracy after each epoch"

ABLATIONS = (
    changed(RESNET, "mlp", "control", MLP, head=perceptron),
    changed(
        plain(EVANET), "query-alone", "control", ALONE, head=first_query_alone, base=EVANET.name
    ),
    *(SMALL[name] for name in OTHERS),
    *(LARGE[name] for name in OTHERS),
    variant(SANET, "scaled", mix=SCALED),
    variant(LARGE_SANET, "scaled", mix=SCALED),
    changed(SANET, "zero-padded", "D7", ZEROS, mix=ZERO_PADDED),
    changed(SANET, "one-attention", "D7", "one attention a block", block=ONE_ATTENTION),
    changed(EVANET, "unpadded", "D6", PADDING, block=UNPADDED),
    changed(RESNET, "333", "D9", "[3, 3, 3] blocks", blocks=(3, 3, 3)),
    changed(SANET, "333", "D9", "[3, 3, 3] blocks", blocks=(3, 3, 3)),
    changed(EVANET, "333", "D9", "[3, 3, 3] blocks", blocks=(3, 3, 3)),
    *(part(WHOLE, name) for name in PARTS),
    changed(RESNET, "sgd", "D10", OPTIMISER, recipe=PUBLISHED),
    changed(EVANET, "sgd", "D10", OPTIMISER, recipe=PUBLISHED),
    changed(RESNET, "test-curve", "D11", EACH_EPOCH, test_each_epoch=True),
    changed(EVANET, "test-curve", "D11", EACH_EPOCH, test_each_epoch=True),
    *(part(LETTER, name) for name in ("centre-query", "no-recall", "one-block", "no-position")),
    changed(LETTER, "sgd", "D10", OPTIMISER, recipe=PUBLISHED),
    changed(LETTER, "test-curve", "D11", EACH_EPOCH, test_each_epoch=True),
)

L2, DECAY = ADAM._replace(weight_decay=1e-4), ADAM._replace(optimiser="AdamW", weight_decay=5e-2)

# fmt: off
STEPS = (
    # name       on          what is changed                    fields
    ("l2",       "",         "Adam, L2 of 1e-4",                 {"recipe": L2}),
    ("decay",    "",         "AdamW, decay of 5e-2",             {"recipe": DECAY}),
    ("sgd",      "decay",    "SGD at 0.1, L2 of 2e-4",           {"recipe": SGD}),
    ("option-b", "sgd",      "shortcuts of option B",            {"shortcut": projected_shortcut}),
    ("333",      "option-b", "[3, 3, 3] blocks",                 {"blocks": (3, 3, 3)}),
    ("50k",      "333",      "all 50,000 images",                {"recipe": SGD_50K}),
    ("best",     "50k",      "best test accuracy of all epochs", {"test_each_epoch": True}),
)
# fmt: on
"""The ladder from our rows to the numbers of Table 1: each step is one change on top of another."""


def ladder(row: Experiment) -> list[Experiment]:
    """The steps of the ladder above ``row``."""
    made = {"": row}
    for name, on, change, fields in STEPS:
        words = {"name": f"{row.name}-ladder-{name}", "model": f"{row.title}, ladder: {change}"}
        made[name] = changed(made[on], name, "ladder", change, **words, **fields)
    return list(made.values())[1:]


def as_published(row: Experiment, **fields) -> Experiment:
    """``row`` in the author's whole configuration, which picks the epoch by the test set."""
    fields |= {"blocks": (3, 3, 3), "shortcut": projected_shortcut, "draw": draw_as_published}
    fields |= {"recipe": PUBLISHED._replace(all_images=True), "test_each_epoch": True}
    fields |= {"base": row.name}
    return changed(plain(row), "as-published", "ladder", "as published", **fields)


LADDER = (
    *ladder(RESNET),
    *ladder(SANET),
    *ladder(EVANET),
    as_published(RESNET),
    as_published(SANET),
    as_published(EVANET, head=eva("published", whole=True, slips=True)),
)

register(*ABLATIONS, *LADDER)

PACKAGED = (*TABLE_1, *ABLATIONS, *LADDER)
"""The rows that come with evalib; all others are somebody's own."""
