"""The six networks of Table 1, small and large, and the ablations: one of them with one thing changed."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from evalib.ablations.published import PublishedEVA
from evalib.ablations.variants import (
    CentreQuery,
    NoPosition,
    NoRecall,
    OneBlock,
    Residual,
    ReversedRings,
    Standard,
    ZeroPaddedAttention,
    first_query_alone,
    perceptron,
    scale_logits,
)
from evalib.attention import RelativeSelfAttention
from evalib.blocks import (
    KERNEL_SIZE,
    NUM_HEADS,
    AverageSummary,
    BasicBlock,
    EVASummary,
    SecondAttends,
    UnpaddedBlock,
    convolution_3x3,
)

NUM_CLASSES = 10


class Recipe(NamedTuple):
    """How a network is trained: the optimiser, "Adam" or "SGD", its learning rate, and when that falls tenfold."""

    optimiser: str
    learning_rate: float
    milestones: tuple[float, ...]


OURS, PUBLISHED = Recipe("Adam", 1e-3, (0.5, 0.75)), Recipe("SGD", 0.1, ())
"""The paper's optimiser with the schedule of departure D10; that of the author's published code."""


@dataclass(frozen=True)
class Experiment:
    """One row of Table 1; ``paper_accuracy`` is its top-1 test accuracy in percent.

    Blocks as printed, though they make 14 layers and not 20 (departure D9). The fields with a default are what an
    ablation may change; ``summary``, ``attention`` and ``block`` build a layer in place of the paper's.
    """

    name: str
    model: str
    blocks: tuple[int, int, int]
    widths: tuple[int, int, int]
    eva: bool
    self_attention: bool
    paper_accuracy: float | None
    change: str = ""  # in words
    base: str = ""  # the row of Table 1 that it is held against
    kind: str = ""  # a departure, as "D4", or one of KINDS
    summary: Callable[[int], nn.Module] | None = None
    attention: Callable[..., nn.Module] = RelativeSelfAttention
    block: Callable[..., nn.Module] = BasicBlock  # of the third stage
    scaled: bool = False  # logits over the root of a head's channels
    recipe: Recipe = OURS
    test_each_epoch: bool = False


# fmt: off
TABLE_1 = (
    #          name              model              blocks     feature maps    EVA    self-attn.  test acc. (%)
    Experiment("resnet20-small", "ResNet-20 small", (2, 2, 2), (16, 32, 64),   False, False,      91.25),
    Experiment("sanet20-small",  "SANet-20 small",  (2, 2, 2), (16, 32, 64),   False, True,       92.45),
    Experiment("evanet20-small", "EVANet-20 small", (2, 2, 2), (16, 32, 64),   True,  False,      93.00),
    Experiment("resnet20-large", "ResNet-20 large", (2, 2, 2), (64, 128, 256), False, False,      94.53),
    Experiment("sanet20-large",  "SANet-20 large",  (2, 2, 2), (64, 128, 256), False, True,       94.88),
    Experiment("evanet20-large", "EVANet-20 large", (2, 2, 2), (64, 128, 256), True,  False,      95.33),
)
# fmt: on


KINDS = {"control": "is it only the parameters?", "part": "which part of EVA counts?", "published": "the author's code"}
"""What an ablation asks that is about no departure."""


def changed(row: Experiment, suffix: str, kind: str, change: str, **fields) -> Experiment:
    """``row`` with the one thing changed that ``fields`` say; its name gets a suffix."""
    name, model = f"{row.name}-{suffix}", f"{row.model}, {change}"
    return replace(row, name=name, model=model, paper_accuracy=None, base=row.name, kind=kind, change=change, **fields)


def eva(layer: type[nn.Module]) -> Callable[[int], nn.Module]:
    """The summary by another layer in EVA's place."""
    return partial(EVASummary, layer=layer)


def heads(number: int) -> Callable[[int], nn.Module]:
    """The summary by EVA with another number of heads."""
    return partial(EVASummary, num_heads=number)


RESNET, SANET, EVANET = TABLE_1[:3]

# fmt: off
ABLATIONS = (
    changed(RESNET, "mlp", "control", "pooling and an MLP of EVA's parameters", summary=perceptron),
    changed(EVANET, "query-alone", "control", "7×7 convolution and FFN alone", summary=first_query_alone),
    changed(EVANET, "scaled", "D4", "logits scaled by 1/√c", scaled=True),
    changed(SANET, "scaled", "D4", "logits scaled by 1/√c", scaled=True),
    changed(EVANET, "residual", "D4", "residual and LayerNorm around each attention", summary=eva(Residual)),
    changed(EVANET, "standard", "D4", "scale, W_O, residual and LayerNorm around each attention", summary=eva(Standard)),
    changed(SANET, "zero-padded", "D7", "the zeros of the border take part", attention=ZeroPaddedAttention),
    changed(EVANET, "unpadded", "D6", "7×7 by a stride without padding", block=UnpaddedBlock),
    changed(SANET, "one-attention", "D7", "one attention a block", block=SecondAttends),
    changed(RESNET, "333", "D9", "[3, 3, 3] blocks", blocks=(3, 3, 3)),
    changed(SANET, "333", "D9", "[3, 3, 3] blocks", blocks=(3, 3, 3)),
    changed(EVANET, "333", "D9", "[3, 3, 3] blocks", blocks=(3, 3, 3)),
    changed(EVANET, "centre-query", "part", "first query from the centre pixel", summary=eva(CentreQuery)),
    changed(EVANET, "no-recall", "part", "no 1D attention", summary=eva(NoRecall)),
    changed(EVANET, "reversed", "part", "rings from the border inwards", summary=eva(ReversedRings)),
    changed(EVANET, "one-block", "part", "one block of 49 pixels", summary=eva(OneBlock)),
    changed(EVANET, "no-position", "part", "no relative position", summary=eva(NoPosition)),
    changed(EVANET, "heads1", "part", "1 head", summary=heads(1)),
    changed(EVANET, "heads2", "part", "2 heads", summary=heads(2)),
    changed(EVANET, "heads8", "part", "8 heads", summary=heads(8)),
    changed(EVANET, "published", "published", "EVA as the published code has it", summary=eva(PublishedEVA)),
    changed(RESNET, "sgd", "D10", "the published optimiser", recipe=PUBLISHED),
    changed(EVANET, "sgd", "D10", "the published optimiser", recipe=PUBLISHED),
    changed(RESNET, "test-curve", "D11", "test accuracy after each epoch", test_each_epoch=True),
    changed(EVANET, "test-curve", "D11", "test accuracy after each epoch", test_each_epoch=True),
)
# fmt: on


def experiment(name: str) -> Experiment:
    """The row of Table 1, or the ablation, called ``name``; ``ValueError`` listing the names if there is none."""
    for row in (*TABLE_1, *ABLATIONS):
        if row.name == name:
            return row
    raise ValueError(
        f"there is no experiment {name!r}: choose one of {', '.join(row.name for row in TABLE_1)}; "
        f"or an ablation: {', '.join(row.name for row in ABLATIONS)}"
    )


def build(name: str) -> "Network":
    """The network of the row ``name``, freshly initialised from torch's random state: ``n 3 32 32 -> n 10``."""
    return Network(experiment(name))


class Network(nn.Module):
    """Stem, three stages of BasicBlocks, then global average pooling or EVA, then a linear classifier (§3.3).

    A SANet's third stage has relative self-attention in place of each convolution (departure D7).
    """

    def __init__(self, row: Experiment):
        super().__init__()
        channels = row.widths[0]
        self.stem = nn.Sequential(convolution_3x3(3, channels), nn.BatchNorm2d(channels), nn.ReLU())
        self.stages = nn.Sequential()
        for stage, (blocks, width) in enumerate(zip(row.blocks, row.widths, strict=True)):
            last = stage == len(row.blocks) - 1
            attention = partial(row.attention, kernel_size=KERNEL_SIZE, num_heads=NUM_HEADS)
            mix = attention if row.self_attention and last else convolution_3x3
            Block = row.block if last else BasicBlock
            for block in range(blocks):
                self.stages.append(Block(channels, width, stride=2 if stage and not block else 1, mix=mix))
                channels = width
        if row.summary:
            self.summary = row.summary(channels)
        else:
            self.summary = EVASummary(channels) if row.eva else AverageSummary()
        self.classifier = nn.Linear(channels, NUM_CLASSES)
        if row.scaled:
            scale_logits(self)

    def features(self, x: Float[Tensor, "n 3 i j"]) -> Float[Tensor, "n c _ _"]:
        """The map that the summary reads, ``n c 8 8`` for 32×32 images."""
        return self.stages(self.stem(x))

    def forward(self, x: Float[Tensor, "n 3 i j"], trace: bool = False):
        """Class scores ``n 10``; with ``trace=True`` (EVANets) the pair of them and EVA's trace of the same pass."""
        if trace:
            summary, seen = self.summary(self.features(x), trace=True)
            return self.classifier(summary), seen
        return self.classifier(self.summary(self.features(x)))


def count_parameters(network: nn.Module) -> int:
    """The number of learned scalars in ``network``."""
    return sum(parameter.numel() for parameter in network.parameters())
