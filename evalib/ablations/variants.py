"""Layers that differ from the paper's in one thing: what the ablations put in their place."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrize import register_parametrization

from evalib.attention import RelativeSelfAttention
from evalib.eva import EXTENT, ExpandingVisualAttention, SingleQueryAttention, feed_forward
from evalib.geometry import RADII, ring

CENTRE = EXTENT**2 // 2
"""The index of the centre pixel in a 7×7 map, row by row."""


class CentreQuery(ExpandingVisualAttention):
    """EVA without the 7×7 convolution: ``q0 = FFN(centre pixel)``; the map has as many channels as the model."""

    def __init__(self, in_channels: int, model_channels: int, out_channels: int, num_heads: int = 4):
        super().__init__(in_channels, model_channels, out_channels, num_heads)
        del self.convolution

    def convolve(self, pixels: Float[Tensor, "n m d"]) -> Float[Tensor, "n d"]:
        return pixels[:, CENTRE]


class Newest(nn.Module):
    """In place of a recall: what was just seen, whatever came before."""

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

    radii = RADII[::-1]


class LookEverywhere(SingleQueryAttention):
    """A look at all pixels up to ``radius``, not at the ring alone."""

    def __init__(self, memory_channels: int, model_channels: int, num_heads: int, radius: int):
        super().__init__(memory_channels, model_channels, num_heads, radius)
        self.offsets = torch.cat([ring(r) for r in range(radius + 1)], dim=1)


class OneBlock(ExpandingVisualAttention):
    """EVA with the four rings as one memory block of 49 pixels: a single stage."""

    radii, Look = RADII[-1:], LookEverywhere


class LookAnywhere(SingleQueryAttention):
    """A look at a ring without r: Eq. 2, and not Eq. 3."""

    def __init__(self, memory_channels: int, model_channels: int, num_heads: int, radius: int):
        super().__init__(memory_channels, model_channels, num_heads)
        self.register_buffer("offsets", ring(radius), persistent=False)


class NoPosition(ExpandingVisualAttention):
    """EVA without relative position."""

    Look = LookAnywhere


class NormalisedAttention(SingleQueryAttention):
    """``LayerNorm(query + attention)``."""

    def __init__(self, memory_channels: int, model_channels: int, num_heads: int, radius: int | None = None):
        super().__init__(memory_channels, model_channels, num_heads, radius)
        self.norm = nn.LayerNorm(model_channels)

    def forward(
        self, query: Float[Tensor, "n d"], memory: Float[Tensor, "n m cin"]
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n h m"]]:
        y, weights = super().forward(query, memory)
        return self.norm(query + y), weights


class Residual(ExpandingVisualAttention):
    """EVA with a residual and a LayerNorm around each of its eight attentions."""

    Look = Recall = NormalisedAttention


class StandardAttention(SingleQueryAttention):
    """The attention sub-layer of Vaswani et al. 2017: ``LayerNorm(query + W_O attention)``, logits over √c."""

    def __init__(self, memory_channels: int, model_channels: int, num_heads: int, radius: int | None = None):
        super().__init__(memory_channels, model_channels, num_heads, radius)
        self.scale = (model_channels // num_heads) ** -0.5
        self.W_O = nn.Linear(model_channels, model_channels, bias=False)
        self.norm = nn.LayerNorm(model_channels)

    def forward(
        self, query: Float[Tensor, "n d"], memory: Float[Tensor, "n m cin"]
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n h m"]]:
        y, weights = super().forward(self.scale * query, memory)
        return self.norm(query + self.W_O(y)), weights


class Standard(ExpandingVisualAttention):
    """EVA whose eight attentions are each the sub-layer of Vaswani et al. 2017."""

    Look = Recall = StandardAttention


class ZeroPaddedAttention(RelativeSelfAttention):
    """Relative self-attention in which the zeros around the map are keys and values like any other.

    The map is padded so far that no answered window ends outside, and the queries of the padding are dropped.
    """

    def forward(self, x: Float[Tensor, "n cin i j"]) -> Float[Tensor, "n cout _ _"]:
        half = self.rows.shape[-1] // 2
        y = super().forward(F.pad(x, (self.stride * half,) * 4))
        height, width = (-(-extent // self.stride) for extent in x.shape[-2:])
        return y[:, :, half : half + height, half : half + width]


class Factor(nn.Module):
    """A weight times a constant."""

    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, weight: Tensor) -> Tensor:
        return self.factor * weight


def scale_logits(network: nn.Module) -> None:
    """Divide all logits of all attentions of ``network`` by √c, c the channels of a head: q carries the factor."""
    for layer in list(network.modules()):
        if isinstance(layer, RelativeSelfAttention | SingleQueryAttention):
            channels = len(layer.W_Q.weight) // layer.num_heads
            register_parametrization(layer.W_Q, "weight", Factor(channels**-0.5))


class Crop(nn.Module):
    """The last 7 rows and columns of a map, those that EVA reads."""

    def forward(self, x: Float[Tensor, "n c i j"]) -> Float[Tensor, "n c _ _"]:
        return x[:, :, -EXTENT:, -EXTENT:]


def first_query_alone(channels: int) -> nn.Sequential:
    """EVA's first query as the summary: ``FFN(7×7 convolution(x))``, and no attention: ``n c 8 8 -> n c``."""
    return nn.Sequential(Crop(), nn.Conv2d(channels, channels, EXTENT), nn.Flatten(), feed_forward(channels, channels))


def perceptron(channels: int) -> nn.Sequential:
    """Global average pooling, then two layers with the hidden width that gives EVA's number of parameters."""
    layer = ExpandingVisualAttention(channels, channels, channels)
    budget = sum(parameter.numel() for parameter in layer.parameters())
    hidden = round((budget - channels) / (2 * channels + 1))
    layers = nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels)
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), *layers)
