"""The networks that the paper does not have: a row of Table 1 with one thing changed, each."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from torch import nn

from evalib.ablations.blocks import SecondAttends, UnpaddedBlock
from evalib.ablations.ladder import LADDER
from evalib.ablations.published import PublishedEVA
from evalib.ablations.variants import (
    CentreQuery,
    LetterAttention,
    NoPosition,
    NoRecall,
    OneBlock,
    ResidualAttention,
    ReversedRings,
    StandardAttention,
    ZeroPaddedAttention,
    first_query_alone,
    perceptron,
)
from evalib.eva import ExpandingVisualAttention
from evalib.experiments import CHOSEN, TABLE_1, Experiment, Recipe, register
from evalib.networks import KERNEL_SIZE, NUM_HEADS, BasicBlock, EVASummary, convolution_3x3, self_attention_3x3

KINDS = {"control": "is it only the parameters?", "part": "which part of EVA counts?", "published": "the author's code"}
"""What an ablation asks that is about no departure."""

PUBLISHED = Recipe("SGD", 0.1, (), weight_decay=2e-4)
"""The optimiser of the author's published code."""


def changed(row: Experiment, suffix: str, kind: str, change: str, **fields) -> Experiment:
    """``row`` with the one thing changed that ``fields`` say; its name gets a suffix."""
    words = {"model": f"{row.title}, {change}", "variant": "", "paper_accuracy": None}
    return replace(row, name=f"{row.name}-{suffix}", base=row.name, kind=kind, change=change, **words, **fields)


def variant(row: Experiment, name: str, kind: str, change: str, **options) -> Experiment:
    """An EVANet by another reading of the text, whose name it has."""
    renamed = {"name": row.name.replace(f"-{CHOSEN}", f"-{name}"), "variant": name, "base": row.name}
    return replace(row, paper_accuracy=None, kind=kind, change=change, head=eva(**options), **renamed)


def alone(row: Experiment, suffix: str, kind: str, change: str, **fields) -> Experiment:
    """``row`` changed so far that nothing is left of how its EVA reads the text."""
    plain = replace(row, name=row.name.removesuffix(f"-{CHOSEN}"), variant="")
    return replace(changed(plain, suffix, kind, change, **fields), base=row.name)


def eva(**options) -> Callable[[int], nn.Module]:
    """The head of an EVANet by another layer, or with other options of the layer."""
    return partial(EVASummary, **options)


def last(stage) -> tuple:
    """Another mixing layer, or block, in the third stage alone."""
    usual = BasicBlock if isinstance(stage, type) and issubclass(stage, BasicBlock) else convolution_3x3
    return usual, usual, stage


RESNET, SANET, EVANET, *_, LARGE_EVANET = TABLE_1
SCALED_3x3 = partial(self_attention_3x3, scaled=True)
ZERO_PADDED_3x3 = partial(ZeroPaddedAttention, kernel_size=KERNEL_SIZE, num_heads=NUM_HEADS)

LETTER = variant(EVANET, "letter", "D4", "no scale, as the text has it", Attention=LetterAttention)
LETTER_LARGE = variant(LARGE_EVANET, "letter", "D4", "no scale, as the text has it", Attention=LetterAttention)
"""EVANet as the text has it and nothing else."""


def letter(layer: type[nn.Module] = ExpandingVisualAttention) -> Callable[[int], nn.Module]:
    """The head of an EVANet to the letter, by another layer."""
    return eva(layer=layer, Attention=LetterAttention)


# fmt: off
ABLATIONS = (
    changed(RESNET, "mlp", "control", "pooling and an MLP of EVA's parameters", head=perceptron),
    alone(EVANET, "query-alone", "control", "7×7 convolution and FFN alone", head=first_query_alone),
    LETTER,
    LETTER_LARGE,
    changed(SANET, "scaled", "D4", "logits scaled by 1/√c", mix=last(SCALED_3x3)),
    variant(EVANET, "residual", "D4", "no scale, but residual and LayerNorm around each attention", Attention=ResidualAttention),
    variant(EVANET, "standard", "D4", "W_O, residual and LayerNorm around each attention too", Attention=StandardAttention),
    variant(LARGE_EVANET, "residual", "D4", "no scale, but residual and LayerNorm around each attention", Attention=ResidualAttention),
    variant(LARGE_EVANET, "standard", "D4", "W_O, residual and LayerNorm around each attention too", Attention=StandardAttention),
    changed(SANET, "zero-padded", "D7", "the zeros of the border take part", mix=last(ZERO_PADDED_3x3)),
    changed(EVANET, "unpadded", "D6", "7×7 by a stride without padding", block=last(UnpaddedBlock)),
    changed(SANET, "one-attention", "D7", "one attention a block", block=last(SecondAttends)),
    changed(RESNET, "333", "D9", "[3, 3, 3] blocks", blocks=(3, 3, 3)),
    changed(SANET, "333", "D9", "[3, 3, 3] blocks", blocks=(3, 3, 3)),
    changed(EVANET, "333", "D9", "[3, 3, 3] blocks", blocks=(3, 3, 3)),
    changed(EVANET, "centre-query", "part", "first query from the centre pixel", head=eva(layer=CentreQuery)),
    changed(EVANET, "no-recall", "part", "no 1D attention", head=eva(layer=NoRecall)),
    changed(EVANET, "reversed", "part", "rings from the border inwards", head=eva(layer=ReversedRings)),
    changed(EVANET, "one-block", "part", "one block of 49 pixels", head=eva(layer=OneBlock)),
    changed(EVANET, "no-position", "part", "no relative position", head=eva(layer=NoPosition)),
    changed(EVANET, "heads1", "part", "1 head", head=eva(num_heads=1)),
    changed(EVANET, "heads2", "part", "2 heads", head=eva(num_heads=2)),
    changed(EVANET, "heads8", "part", "8 heads", head=eva(num_heads=8)),
    variant(EVANET, "published", "published", "EVA as the published code has it", layer=PublishedEVA),
    changed(RESNET, "sgd", "D10", "the published optimiser", recipe=PUBLISHED),
    changed(EVANET, "sgd", "D10", "the published optimiser", recipe=PUBLISHED),
    changed(RESNET, "test-curve", "D11", "test accuracy after each epoch", test_each_epoch=True),
    changed(EVANET, "test-curve", "D11", "test accuracy after each epoch", test_each_epoch=True),
    changed(LETTER, "centre-query", "part", "first query from the centre pixel", head=letter(CentreQuery)),
    changed(LETTER, "no-recall", "part", "no 1D attention", head=letter(NoRecall)),
    changed(LETTER, "one-block", "part", "one block of 49 pixels", head=letter(OneBlock)),
    changed(LETTER, "no-position", "part", "no relative position", head=letter(NoPosition)),
    changed(LETTER, "sgd", "D10", "the published optimiser", recipe=PUBLISHED),
    changed(LETTER, "test-curve", "D11", "test accuracy after each epoch", test_each_epoch=True),
)
# fmt: on

register(*ABLATIONS, *LADDER)
