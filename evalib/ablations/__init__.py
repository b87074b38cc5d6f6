"""The rows that the paper does not have: each one of Table 1, or of those here, with one thing changed."""

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
from evalib.networks import KERNEL_SIZE, NUM_HEADS, BasicBlock, EVASummary, convolution_3x3, self_attention_3x3
from evalib.published import PublishedEVA as PublishedEVA
from evalib.published import draw_as_published
from evalib.variants import VARIANTS

KINDS = {"control": "is it only the parameters?", "part": "which part of EVA counts?", "published": "the author's code"}
"""What an ablation asks that is about no departure."""

PUBLISHED = Recipe("SGD", 0.1, (), weight_decay=2e-4)
"""The optimiser of the author's published code, which has no schedule."""

SGD = PUBLISHED._replace(milestones=ADAM.milestones)


def changed(row: Experiment, suffix: str, kind: str, change: str, **fields) -> Experiment:
    """``row`` with the one thing changed that ``fields`` say; its name gets a suffix."""
    words = {"model": f"{row.title}, {change}", "variant": "", "paper_accuracy": None}
    return replace(row, name=f"{row.name}-{suffix}", base=row.name, kind=kind, change=change, **words, **fields)


def variant(row: Experiment, name: str, **fields) -> Experiment:
    """An EVANet, or a SANet, that takes the text in another way, whose name it has."""
    kind = "published" if name == "published" else "D4"
    fields |= {"name": f"{network(row)}-{name}", "variant": name, "base": row.name, "kind": kind}
    return replace(row, paper_accuracy=None, change=VARIANTS[name].adds, **fields)


def network(row: Experiment) -> str:
    """The name of a row without that of its variant."""
    return row.name.removesuffix(f"-{row.variant}")


def eva(name: str, **options) -> Callable[[int], nn.Module]:
    """The head of an EVANet: the variant of that name, but for ``options``."""
    return partial(EVASummary, **VARIANTS[name].options | options)


def last(stage) -> tuple:
    """Another mixing layer, or block, in the third stage alone."""
    usual = BasicBlock if isinstance(stage, type) and issubclass(stage, BasicBlock) else convolution_3x3
    return usual, usual, stage


RESNET, SANET, EVANET, _, LARGE_SANET, LARGE_EVANET = TABLE_1
SCALED_3x3 = partial(self_attention_3x3, scaled=True)
ZERO_PADDED_3x3 = partial(ZeroPaddedAttention, kernel_size=KERNEL_SIZE, num_heads=NUM_HEADS)

OF_EVANET = {name: variant(EVANET, name, head=eva(name)) for name in VARIANTS if name != CHOSEN}
OF_LARGE_EVANET = {name: variant(LARGE_EVANET, name, head=eva(name)) for name in VARIANTS if name != CHOSEN}
LETTER = OF_EVANET["letter"] if CHOSEN != "letter" else EVANET
PLAIN = replace(EVANET, name=network(EVANET), variant="")
"""For what has no EVA, or one of its own, and so no variant in its name."""

parts = partial(eva, CHOSEN)
letter = partial(eva, "letter")

# fmt: off
ABLATIONS = (
    changed(RESNET, "mlp", "control", "pooling and an MLP of EVA's parameters", head=perceptron),
    replace(changed(PLAIN, "query-alone", "control", "7×7 convolution and FFN alone", head=first_query_alone), base=EVANET.name),
    *OF_EVANET.values(),
    *OF_LARGE_EVANET.values(),
    variant(SANET, "scaled", mix=last(SCALED_3x3)),
    variant(LARGE_SANET, "scaled", mix=last(SCALED_3x3)),
    changed(SANET, "zero-padded", "D7", "the zeros of the border take part", mix=last(ZERO_PADDED_3x3)),
    changed(SANET, "one-attention", "D7", "one attention a block", block=last(SecondAttends)),
    changed(EVANET, "unpadded", "D6", "7×7 by a stride without padding", block=last(UnpaddedBlock)),
    changed(RESNET, "333", "D9", "[3, 3, 3] blocks", blocks=(3, 3, 3)),
    changed(SANET, "333", "D9", "[3, 3, 3] blocks", blocks=(3, 3, 3)),
    changed(EVANET, "333", "D9", "[3, 3, 3] blocks", blocks=(3, 3, 3)),
    changed(EVANET, "centre-query", "part", "first query from the centre pixel", head=parts(layer=CentreQuery)),
    changed(EVANET, "no-recall", "part", "no 1D attention", head=parts(layer=NoRecall)),
    changed(EVANET, "reversed", "part", "rings from the border inwards", head=parts(layer=ReversedRings)),
    changed(EVANET, "one-block", "part", "one block of 49 pixels", head=parts(layer=OneBlock)),
    changed(EVANET, "no-position", "part", "no relative position", head=parts(layer=NoPosition)),
    changed(EVANET, "heads1", "part", "1 head", head=parts(num_heads=1)),
    changed(EVANET, "heads2", "part", "2 heads", head=parts(num_heads=2)),
    changed(EVANET, "heads8", "part", "8 heads", head=parts(num_heads=8)),
    changed(RESNET, "sgd", "D10", "the published optimiser", recipe=PUBLISHED),
    changed(EVANET, "sgd", "D10", "the published optimiser", recipe=PUBLISHED),
    changed(RESNET, "test-curve", "D11", "test accuracy after each epoch", test_each_epoch=True),
    changed(EVANET, "test-curve", "D11", "test accuracy after each epoch", test_each_epoch=True),
    changed(LETTER, "centre-query", "part", "first query from the centre pixel", head=letter(layer=CentreQuery)),
    changed(LETTER, "no-recall", "part", "no 1D attention", head=letter(layer=NoRecall)),
    changed(LETTER, "one-block", "part", "one block of 49 pixels", head=letter(layer=OneBlock)),
    changed(LETTER, "no-position", "part", "no relative position", head=letter(layer=NoPosition)),
    changed(LETTER, "sgd", "D10", "the published optimiser", recipe=PUBLISHED),
    changed(LETTER, "test-curve", "D11", "test accuracy after each epoch", test_each_epoch=True),
)
# fmt: on

# fmt: off
STEPS = (
    # name       on          change                              fields
    ("l2",       "",         "Adam, L2 of 1e-4",                 {"recipe": ADAM._replace(weight_decay=1e-4)}),
    ("decay",    "",         "AdamW, decay of 5e-2",             {"recipe": ADAM._replace(optimiser="AdamW", weight_decay=5e-2)}),
    ("sgd",      "decay",    "SGD at 0.1, L2 of 2e-4",           {"recipe": SGD}),
    ("option-b", "sgd",      "shortcuts of option B",            {"shortcut": projected_shortcut}),
    ("333",      "option-b", "[3, 3, 3] blocks",                 {"blocks": (3, 3, 3)}),
    ("50k",      "333",      "all 50,000 images",                {"recipe": SGD._replace(all_images=True)}),
    ("best",     "50k",      "best test accuracy of all epochs", {"test_each_epoch": True}),
)
"""The ladder from our rows to the numbers of Table 1: one change at a time, each on top of the step that it stands on."""
# fmt: on


def ladder(row: Experiment) -> list[Experiment]:
    """The steps of the ladder above ``row``."""
    made = {"": row}
    for name, on, change, fields in STEPS:
        step = changed(made[on], name, "ladder", change, **fields)
        made[name] = replace(step, name=f"{row.name}-ladder-{name}", model=f"{row.title}, ladder: {change}")
    return list(made.values())[1:]


def as_published(row: Experiment, **fields) -> Experiment:
    """``row`` by the author's code: blocks, shortcuts, first weights, a constant rate, no validation, the best epoch."""
    plain = replace(row, name=network(row), variant="")
    fields |= {"blocks": (3, 3, 3), "shortcut": projected_shortcut, "draw": draw_as_published}
    fields |= {"recipe": PUBLISHED._replace(all_images=True)}
    made = changed(plain, "as-published", "ladder", "as published", test_each_epoch=True, **fields)
    return replace(made, base=row.name, change="the author's whole configuration")


LADDER = (
    *ladder(RESNET),
    *ladder(SANET),
    *ladder(EVANET),
    as_published(RESNET),
    as_published(SANET),
    as_published(EVANET, head=eva("published", whole=True, slips=True)),
)

register(*ABLATIONS, *LADDER)
