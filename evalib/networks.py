"""The networks of §3.3, and what they are made of: blocks, and heads that turn the last map into a
vector.
"""

from functools import partial

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from evalib.attention import RelativeSelfAttention, as_leaf
from evalib.equations import Map, Out
from evalib.eva import EXTENT, ExpandingVisualAttention

KERNEL_SIZE, NUM_HEADS = 3, 4


def convolution(
    in_channels: int, out_channels: int, stride: int = 1, kernel_size: int = 1, padding: int = 0
):
    """A convolution without bias, drawn as He et al. 2015 do (normal, fan-out; departure D13)."""
    layer = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


convolution_3x3 = partial(convolution, kernel_size=KERNEL_SIZE, padding=KERNEL_SIZE // 2)
self_attention_3x3 = partial(RelativeSelfAttention, kernel_size=KERNEL_SIZE, num_heads=NUM_HEADS)


class PaddedShortcut(nn.Module):
    """Every stride-th pixel, zeros for new channels: option A of He et al. 2015 (departure D8)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.stride, self.extra_channels = stride, out_channels - in_channels

    def forward(self, x: Map) -> Out:
        if self.stride > 1:
            # as x[:, :, ::2, ::2], whose gradient would not be channels last, and slow from there
            x = F.avg_pool2d(x, kernel_size=1, stride=self.stride)
        if self.extra_channels:
            x = F.pad(x, (0, 0, 0, 0, 0, self.extra_channels))
        return x


class BasicBlock(nn.Module):
    """Two mixing layers, batch-normalised, around a shortcut (§3.3, Figure 5; He et al. 2015).

    ``mix(in, out, stride=…)`` is a 3×3 convolution, or local relative self-attention of the same
    extent.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, mix, shortcut=PaddedShortcut
    ):
        super().__init__()
        self.mix1 = mix(in_channels, out_channels, stride=stride)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.mix2 = mix(out_channels, out_channels, stride=1)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.shortcut = shortcut(in_channels, out_channels, stride)

    def forward(self, x: Map) -> Out:
        y = self.norm1(self.mix1(x)).relu()
        return (self.norm2(self.mix2(y)) + self.shortcut(x)).relu()


class MeanOverPixels(nn.Module):
    """``n c i j -> n c``."""

    def forward(self, x: Map) -> Float[Tensor, "n c"]:
        return x.mean(dim=(2, 3))


def average_pooling(channels: int) -> nn.Module:
    """The head of a ResNet, the mean over all pixels: ``n c i j -> n c``."""
    return MeanOverPixels()


class EVASummary(nn.Module):
    """The head of an EVANet, EVA over an 8×8 map cropped to 7×7, or a 7×7 one: ``n c i j -> n c``
    (departure D6); it follows the third stage (departure D14).

    ``options`` are the layer's. ``ValueError`` for a map of another size.
    """

    def __init__(self, channels: int, layer: type[nn.Module] = ExpandingVisualAttention, **options):
        super().__init__()
        self.eva = layer(channels, channels, channels, **{"num_heads": NUM_HEADS} | options)

    def forward(self, x: Map) -> Float[Tensor, "n c"]:
        if isinstance(x, torch.fx.Proxy):
            return as_leaf(self, x)
        return rearrange(self.eva(crop(x, getattr(self.eva, "extent", EXTENT))), "n c 1 1 -> n c")


def crop(x: Map, extent: int = EXTENT) -> Float[Tensor, "n cin _ _"]:
    """The last 7 rows and columns of an 8×8 map, a 7×7 one as it is; or those of another
    ``extent``.
    """
    if x.shape[-2:] not in ((extent, extent), (extent + 1, extent + 1)):
        raise ValueError(
            f"the last map is {x.shape[-2]}×{x.shape[-1]}, an EVANet reads"
            f" {extent + 1}×{extent + 1} or {extent}×{extent}, a quarter of the image's sides:"
            " resize, or let the head pool first, as lambda c:"
            f" nn.Sequential(nn.AdaptiveAvgPool2d({extent}), EVASummary(c, extent={extent}))"
        )
    return x[:, :, -extent:, -extent:]


class Network(nn.Module):
    """Stem, stages of blocks, then a head and a linear classifier (§3.3)."""

    image_size: tuple[int, int] | None = None
    """What it was trained on, if it was: :func:`evalib.predict` refuses images of another size."""

    def __init__(self, row, num_classes: int = 10, in_channels: int = 3):
        super().__init__()
        channels = row.widths[0]
        stem = convolution_3x3(in_channels, channels)
        self.stem = nn.Sequential(stem, nn.BatchNorm2d(channels), nn.ReLU())
        self.stages = nn.Sequential()
        Blocks, mixes = each_stage(row.block, row), each_stage(row.mix, row)
        stages = zip(row.blocks, row.widths, Blocks, mixes, strict=True)
        for stage, (count, width, Block, mix) in enumerate(stages):
            for block in range(count):
                stride = 2 if stage > 0 and block == 0 else 1
                self.stages.append(Block(channels, width, stride, mix, row.shortcut))
                channels = width
        self.summary = row.head(channels)
        self.classifier = nn.Linear(channels, num_classes)
        if row.draw:
            row.draw(self)

    def features(self, x: Map) -> Float[Tensor, "n c _ _"]:
        """The map that the head reads, ``n c 8 8`` for 32×32 images."""
        return self.stages(self.stem(x))

    def forward(self, x: Map) -> Float[Tensor, "n classes"]:
        return self.classifier(self.summary(self.features(x)))


def each_stage(part, row) -> tuple:
    """A part of a row for each of its stages, where one stands for all."""
    return part if isinstance(part, tuple) else (part,) * len(row.blocks)


def count_parameters(network: nn.Module) -> int:
    """The number of learned scalars in ``network``."""
    return sum(parameter.numel() for parameter in network.parameters())
