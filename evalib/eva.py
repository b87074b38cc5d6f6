"""Expanding Visual Attention (§3.1): one query, four rings, a memory of what it saw."""

from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from evalib.attention import relative_table
from evalib.equations import relative_embedding
from evalib.fast import single_query_attention
from evalib.geometry import RADII, check_heads, ring

EXTENT = 2 * max(RADII) + 1
"""Rows and columns of the map that EVA reads: 7."""


class Trace(NamedTuple):
    """What one forward pass of EVA computed on its way, one entry a stage."""

    queries: tuple[Tensor, ...]  # q0 … q3, each n d
    looks: tuple[Tensor, ...]  # attn0 … attn3, each n d
    look_weights: tuple[Tensor, ...]  # n h m, m = 1, 8, 16, 24, row-major in the ring
    recall_weights: tuple[Tensor, ...]  # n h s, s = 2, 3, 4, 5: q0, attn0, attn1, …


class SingleQueryAttention(nn.Module):
    """Multi-head attention of one query over m vectors: ``y = Σ_m softmax_m(qᵀk_m [+ qᵀr_m]) v_m``.

    With a ``radius`` it is the paper's "Attention 2D": the m vectors are the pixels of that ring and r_m is the
    relative embedding of pixel m (Eq. 3). Without, it is "Attention 1D" over m slots (Eq. 2). Heads are
    concatenated; there is no scale, bias, residual or norm (departure D4). ``attend`` is the equation: the fast form
    unless another is assigned.
    """

    attend = staticmethod(single_query_attention)

    def __init__(self, memory_channels: int, model_channels: int, num_heads: int, radius: int | None = None):
        super().__init__()
        half = check_heads(model_channels, num_heads) // 2
        self.num_heads, self.radius = num_heads, radius
        self.W_Q = nn.Linear(model_channels, model_channels, bias=False)
        self.W_K = nn.Linear(memory_channels, model_channels, bias=False)
        self.W_V = nn.Linear(memory_channels, model_channels, bias=False)
        if radius is not None:
            self.rows = relative_table(num_heads, half, 2 * radius + 1)
            self.cols = relative_table(num_heads, half, 2 * radius + 1)
            self.register_buffer("offsets", ring(radius), persistent=False)

    def forward(
        self, query: Float[Tensor, "n d"], memory: Float[Tensor, "n m cin"]
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n h m"]]:
        r = None
        if self.radius is not None:
            row, column = self.offsets + self.radius
            r = relative_embedding(self.rows, self.cols)[:, :, row, column]
        return self.attend(query, memory, self.W_Q.weight, self.W_K.weight, self.W_V.weight, self.num_heads, r)


class ExpandingVisualAttention(nn.Module):
    """The four stages of §3.1: ``n c 7 7 -> n out 1 1``.

    ``q0 = FFN(7×7 convolution(x))``; then, for the rings of 1, 8, 16 and 24 pixels in turn,
    ``attn_s = look(q_s, ring s)`` and ``q_{s+1} = recall(attn_s, [q0, attn0, …, attn_s])``;
    the output is the FFN of the fourth recall. ``ValueError`` if the map is not 7×7 or
    ``model_channels`` is not a multiple of ``2 · num_heads``. ``radii``, ``Look`` and ``Recall`` are the paper's;
    the variants of :mod:`evalib.ablations.variants` put others in their place.
    """

    radii: tuple[int, ...] = RADII
    Look: type[nn.Module] = SingleQueryAttention
    Recall: type[nn.Module] = SingleQueryAttention

    def __init__(self, in_channels: int, model_channels: int, out_channels: int, num_heads: int = 4):
        super().__init__()
        self.convolution = nn.Conv2d(in_channels, model_channels, EXTENT)
        self.first_query = feed_forward(model_channels, model_channels)
        self.looks = nn.ModuleList(self.Look(in_channels, model_channels, num_heads, radius) for radius in self.radii)
        self.recalls = nn.ModuleList(self.Recall(model_channels, model_channels, num_heads) for _ in self.radii)
        self.output = feed_forward(model_channels, out_channels)
        rings = []
        for look in self.looks:
            row, column = look.offsets + EXTENT // 2
            rings.append(EXTENT * row + column)
        self.sizes = [len(ring) for ring in rings]
        self.register_buffer("order", torch.cat(rings), persistent=False)

    def forward(self, x: Float[Tensor, "n c i j"], trace: bool = False):
        """``n c 7 7 -> n out 1 1``; with ``trace=True`` the pair of it and a :class:`Trace` of the same pass."""
        if x.shape[-2:] != (EXTENT, EXTENT):
            raise ValueError(
                f"the map is {x.shape[-2]}×{x.shape[-1]}, EVA reads {EXTENT}×{EXTENT}: crop or pool it first"
            )
        pixels = rearrange(x, "n c i j -> n (i j) c").contiguous()
        q = self.first_query(self.convolve(pixels))
        queries, slots, looks, recalls = [], [q], [], []
        rings = pixels.index_select(1, self.order).split(self.sizes, dim=1)
        for ring_pixels, look, recall in zip(rings, self.looks, self.recalls, strict=True):
            queries.append(q)
            attn, look_weights = look(q, ring_pixels)
            slots.append(attn)
            q, recall_weights = recall(attn, torch.stack(slots, dim=1))
            looks.append(look_weights)
            recalls.append(recall_weights)
        y = rearrange(self.output(q), "n out -> n out 1 1")
        return (y, Trace(tuple(queries), tuple(slots[1:]), tuple(looks), tuple(recalls))) if trace else y

    def convolve(self, pixels: Float[Tensor, "n m c"]) -> Float[Tensor, "n d"]:
        """The 7×7 convolution of a 7×7 map, which is one linear map."""
        weight = rearrange(self.convolution.weight, "d c i j -> d (i j c)")
        return linear(rearrange(pixels, "n m c -> n (m c)"), weight, self.convolution.bias)


def feed_forward(in_channels: int, out_channels: int) -> nn.Sequential:
    """The two-layer feed-forward network of §3.1; its hidden width is ``in_channels`` (departure D5)."""
    return nn.Sequential(nn.Linear(in_channels, in_channels), nn.ReLU(), nn.Linear(in_channels, out_channels))
