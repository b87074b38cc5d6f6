"""The six networks of Table 1: ResNet-20, SANet-20 and EVANet-20, small and large."""

from dataclasses import dataclass
from functools import partial

from einops import rearrange, reduce
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from evalib.attention import RelativeSelfAttention
from evalib.eva import EXTENT, ExpandingVisualAttention

KERNEL_SIZE, NUM_HEADS, NUM_CLASSES = 3, 4, 10


@dataclass(frozen=True)
class Experiment:
    """One row of Table 1; ``paper_accuracy`` is its top-1 test accuracy in percent.

    Blocks as printed, though they make 14 layers and not 20 (departure D9).
    """

    name: str
    model: str
    blocks: tuple[int, int, int]
    widths: tuple[int, int, int]
    eva: bool
    self_attention: bool
    paper_accuracy: float


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


def experiment(name: str) -> Experiment:
    """The row of Table 1 called ``name``; ``ValueError`` listing the names if there is none."""
    for row in TABLE_1:
        if row.name == name:
            return row
    raise ValueError(f"there is no experiment {name!r}: choose one of {', '.join(row.name for row in TABLE_1)}")


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
            attends = row.self_attention and stage == len(row.blocks) - 1
            mix = (
                partial(RelativeSelfAttention, kernel_size=KERNEL_SIZE, num_heads=NUM_HEADS)
                if attends
                else convolution_3x3
            )
            for block in range(blocks):
                self.stages.append(BasicBlock(channels, width, stride=2 if stage and not block else 1, mix=mix))
                channels = width
        self.summary = EVASummary(channels) if row.eva else AverageSummary()
        self.classifier = nn.Linear(channels, NUM_CLASSES)

    def features(self, x: Float[Tensor, "n 3 i j"]) -> Float[Tensor, "n c _ _"]:
        """The map that the summary reads, ``n c 8 8`` for 32×32 images."""
        return self.stages(self.stem(x))

    def forward(self, x: Float[Tensor, "n 3 i j"], trace: bool = False):
        """Class scores ``n 10``; with ``trace=True`` (EVANets) the pair of them and EVA's trace of the same pass."""
        if trace:
            summary, seen = self.summary(self.features(x), trace=True)
            return self.classifier(summary), seen
        return self.classifier(self.summary(self.features(x)))


class BasicBlock(nn.Module):
    """Two mixing layers, batch-normalised, around a parameter-free shortcut (He et al. 2015, option A; departure D8).

    ``mix(in, out, stride=…)`` is a 3×3 convolution, or local relative self-attention of the same extent.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, mix):
        super().__init__()
        self.stride, self.extra_channels = stride, out_channels - in_channels
        self.mix1, self.norm1 = mix(in_channels, out_channels, stride=stride), nn.BatchNorm2d(out_channels)
        self.mix2, self.norm2 = mix(out_channels, out_channels, stride=1), nn.BatchNorm2d(out_channels)

    def forward(self, x: Float[Tensor, "n cin i j"]) -> Float[Tensor, "n cout _ _"]:
        shortcut = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra_channels))
        y = self.norm1(self.mix1(x)).relu()
        return (self.norm2(self.mix2(y)) + shortcut).relu()


class AverageSummary(nn.Module):
    """Global average pooling, the summary of a ResNet: ``n c i j -> n c``."""

    def forward(self, x: Float[Tensor, "n c i j"]) -> Float[Tensor, "n c"]:
        return reduce(x, "n c i j -> n c", "mean")


class EVASummary(nn.Module):
    """EVA over the last 7 rows and columns of the 8×8 map: ``n c 8 8 -> n c`` (departure D6)."""

    def __init__(self, channels: int):
        super().__init__()
        self.eva = ExpandingVisualAttention(channels, channels, channels, NUM_HEADS)

    def forward(self, x: Float[Tensor, "n c i j"], trace: bool = False):
        crop = x[:, :, -EXTENT:, -EXTENT:]
        if trace:
            y, seen = self.eva(crop, trace=True)
            return rearrange(y, "n c 1 1 -> n c"), seen
        return rearrange(self.eva(crop), "n c 1 1 -> n c")


def convolution_3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """A 3×3 convolution without bias, initialised as He et al. 2015 do (normal, fan-out)."""
    layer = nn.Conv2d(in_channels, out_channels, KERNEL_SIZE, stride, padding=KERNEL_SIZE // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


def count_parameters(network: nn.Module) -> int:
    """The number of learned scalars in ``network``."""
    return sum(parameter.numel() for parameter in network.parameters())
