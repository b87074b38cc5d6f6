"""Layers and blocks that no network of Table 1 has: what the ablations put in their place;
and the bottleneck of Figure 5."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from evalib.attention import RelativeSelfAttention
from evalib.equations import Map, Out, ring
from evalib.eva import (
    EXTENT,
    EqualisedLinear,
    ExpandingVisualAttention,
    WholeMap,
    feed_forward,
)
from evalib.networks import (
    BasicBlock,
    PaddedShortcut,
    convolution,
    convolution_3x3,
    count_parameters,
    crop,
)


class CentrePixel(nn.Module):
    """In place of the 7×7 convolution: the centre pixel of the map, as wide as the model.

    A convolution is drawn and dropped, so that all other layers begin as in the paper's EVA of the
    same seed.
    """

    def __init__(self, in_channels: int, model_channels: int, extent: int):
        super().__init__()
        nn.Conv2d(in_channels, model_channels, extent)
        self.centre = extent // 2

    def forward(self, x: Float[Tensor, "n d i j"]) -> Float[Tensor, "n d"]:
        return x[:, :, self.centre, self.centre]


class CentreQuery(ExpandingVisualAttention):
    """EVA without the 7×7 convolution: ``q0 = FFN(centre pixel)``."""

    Candidate = CentrePixel


class Newest(nn.Module):
    """In place of a recall: ignores the memory and returns the newest look."""

    def __init__(self, memory_channels: int, model_channels: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads

    def forward(
        self, query: Float[Tensor, "n d"], memory: Float[Tensor, "n s d"]
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n h s"]]:
        weights = memory.new_zeros(len(memory), self.num_heads, memory.shape[1])
        weights[..., -1].fill_(1)
        return query, weights


class NoRecall(ExpandingVisualAttention):
    """EVA without 1D attentions: ``q_{s+1} = attn_s``, and the output reads attn3."""

    Recall = Newest


class ReversedRings(ExpandingVisualAttention):
    """EVA from the border inwards: 24, 16, 8 pixels, 1 pixel."""

    @staticmethod
    def memory_blocks(radius: int) -> list[Int[Tensor, "2 _"]]:
        return [ring(r) for r in reversed(range(radius + 1))]


class OneBlock(ExpandingVisualAttention):
    """EVA with the four rings as one memory block of 49 pixels: a single stage."""

    @staticmethod
    def memory_blocks(radius: int) -> list[Int[Tensor, "2 _"]]:
        return [torch.cat([ring(r) for r in range(radius + 1)], dim=1)]


class NoPosition(ExpandingVisualAttention):
    """EVA without relative position: a look at a ring is Eq. 2, and not Eq. 3."""

    position = False


class ZeroPaddedAttention(RelativeSelfAttention):
    """Relative self-attention in which the zeros around the map are keys and values like any other.

    The map is padded so far that no answered window ends outside, and the queries of the padding
    are dropped.
    """

    def forward(self, x: Float[Tensor, "n cin i j"]) -> Float[Tensor, "n cout _ _"]:
        half = self.rows.shape[-1] // 2
        y = super().forward(F.pad(x, (self.stride * half,) * 4))
        height, width = (-(-extent // self.stride) for extent in x.shape[-2:])
        return y[:, :, half : half + height, half : half + width]


class Crop(nn.Module):
    """The last 7 rows and columns of a map, those that EVA reads."""

    def forward(self, x: Float[Tensor, "n c i j"]) -> Float[Tensor, "n c _ _"]:
        return crop(x)


def first_query_alone(channels: int) -> nn.Sequential:
    """EVA's first query as the head, ``FFN(7×7 convolution(x))``: ``n c 8 8 -> n c``.

    Of 64 channels alone it is that of EVA, for its convolution has no width rule (departure D15).
    """
    convolution = nn.Conv2d(channels, channels, EXTENT)
    return nn.Sequential(Crop(), convolution, nn.Flatten(), feed_forward(channels, channels))


def perceptron(channels: int) -> nn.Sequential:
    """Average pooling, then two layers with a hidden width that gives as many parameters as EVA."""
    layer = ExpandingVisualAttention(channels, channels, channels)
    budget = count_parameters(layer)
    hidden = round((budget - channels) / (2 * channels + 1))
    layers = nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels)
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), *layers)


class Bottleneck(nn.Module):
    """A 1×1 convolution to a quarter of the channels, the mixing layer, a 1×1 back (Figure 5)."""

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, mix, shortcut=PaddedShortcut
    ):
        super().__init__()
        inner = out_channels // 4
        self.reduce, self.norm1 = convolution(in_channels, inner), nn.BatchNorm2d(inner)
        self.mix, self.norm2 = mix(inner, inner, stride=stride), nn.BatchNorm2d(inner)
        self.expand, self.norm3 = convolution(inner, out_channels), nn.BatchNorm2d(out_channels)
        self.shortcut = shortcut(in_channels, out_channels, stride)

    def forward(self, x: Map) -> Out:
        y = self.norm2(self.mix(self.norm1(self.reduce(x)).relu())).relu()
        return (self.norm3(self.expand(y)) + self.shortcut(x)).relu()


def projected_shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """Option B: where the shape changes a 1×1 convolution and a batch norm, else the identity."""
    if (in_channels, stride) == (out_channels, 1):
        return nn.Identity()
    projection = convolution(in_channels, out_channels, stride)
    return nn.Sequential(projection, nn.BatchNorm2d(out_channels))


class CroppedShortcut(PaddedShortcut):
    """At stride 2 without the border: the pixels around which an unpadded 3×3 window lies whole."""

    def forward(self, x: Map) -> Out:
        return super().forward(F.pad(x, (1 - self.stride,) * 4))


class UnpaddedBlock(BasicBlock):
    """At stride 2 its first convolution is not padded: ``n cin 16 16 -> n cout 7 7`` (D6)."""

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, mix, shortcut=PaddedShortcut
    ):
        if shortcut is not PaddedShortcut:
            raise ValueError(
                f"shortcut={shortcut}: an unpadded block has one of its own, so leave it out"
            )

        def unpadded(in_channels: int, out_channels: int, stride: int) -> nn.Module:
            return mix(in_channels, out_channels, stride=stride, padding=2 - stride)

        super().__init__(in_channels, out_channels, stride, unpadded, CroppedShortcut)


class SecondAttends(BasicBlock):
    """One attention a block: the first mixing layer, with the stride, is a convolution (D7)."""

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, mix, shortcut=PaddedShortcut
    ):
        super().__init__(in_channels, out_channels, stride, convolution_3x3, shortcut)
        self.mix2 = mix(out_channels, out_channels, stride=1)


def without_gain(module: nn.Module) -> nn.Module:
    """``module``, which computes the same and learns without the width rule from now on: all its
    gains are 1.
    """
    for part in module.modules():
        if isinstance(part, EqualisedLinear | WholeMap):
            with torch.no_grad():
                part.weight *= part.gain
            part.gain = 1.0
    return module
