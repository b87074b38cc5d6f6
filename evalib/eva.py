"""Expanding Visual Attention (§3.1): one query, a ring of pixels at a time, a memory of what it saw."""

import warnings
from functools import wraps

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from evalib.attention import check_heads, relative_table
from evalib.equations import Map, Memory, Vector, Weights, check_odd, relative_embedding, ring, single_query_attention

EXTENT = 7
RADII = tuple(range(EXTENT // 2 + 1))
"""The map of the paper's EVA has 7 rows and columns, its rings the radii 0, 1, 2, 3: 1, 8, 16 and 24 pixels."""
UNSCALED = "{} is of an evalib before 0.3; not scaled? then Attention=evalib.ablations.variants.LetterAttention"


class SingleQueryAttention(nn.Module):
    """Multi-head attention of one query over m vectors, and its softmax.

    ``y = Σ_m softmax_m((qᵀk_m [+ qᵀr_m]) / √c) v_m``, c the channels of a head. With the ``offsets`` of m pixels from the
    centre it is the paper's *Attention 2D*, r_m the relative embedding of pixel m (Eq. 3). Without, it is *Attention 1D*
    over m slots (Eq. 2). The scale is not in the text; departure D4 has what speaks for it, and against it in wide
    networks. Heads are concatenated; there is no bias, residual or norm. ``attend`` is the equation; :mod:`evalib` puts
    a faster form there.
    """

    attend = staticmethod(single_query_attention)
    scaled = True
    _version = 2  # of its state_dict; up to evalib 0.2 there was no scale

    def __init__(self, memory_channels: int, model_channels: int, num_heads: int, offsets: Tensor | None = None):
        super().__init__()
        channels = check_heads(model_channels, num_heads)
        self.num_heads, self.scale = num_heads, channels**-0.5 if self.scaled else 1.0
        self.W_Q = nn.Linear(model_channels, model_channels, bias=False)
        self.W_K = nn.Linear(memory_channels, model_channels, bias=False)
        self.W_V = nn.Linear(memory_channels, model_channels, bias=False)
        self.offsets = offsets
        if offsets is not None:
            radius = int(offsets.abs().max())
            extent, (row, column) = 2 * radius + 1, offsets + radius
            self.rows, self.cols = (relative_table(num_heads, channels // 2, extent) for _ in range(2))
            self.register_buffer("pixels", extent * row + column, persistent=False)

    def forward(self, query: Vector, memory: Memory) -> tuple[Vector, Weights]:
        r_m = None
        if self.offsets is not None:
            r_m = relative_embedding(self.rows, self.cols).flatten(2).index_select(2, self.pixels)
        W_Q, W_K, W_V = self.W_Q.weight, self.W_K.weight, self.W_V.weight
        return self.attend(query, memory, W_Q, W_K, W_V, self.num_heads, r_m, self.scale)

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *rest):
        if type(self) is SingleQueryAttention and local_metadata.get("version") == 1:
            warnings.warn(UNSCALED.format(prefix or "the layer"), stacklevel=2)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)


class WholeMap(nn.Conv2d):
    """The convolution of a map by a kernel of its own extent, which is one linear map: ``n c i j -> n d``."""

    def forward(self, x: Map) -> Float[Tensor, "n d"]:
        weight = rearrange(self.weight, "d c i j -> d (i j c)")
        return F.linear(rearrange(x, "n c i j -> n (i j c)"), weight, self.bias)


def own_precision(forward):
    """EVA's forward pass in the precision of its parameters, under autocast too; its map must have EVA's extent."""

    @wraps(forward)
    def checked(self, x):
        if x.shape[-2:] != (self.extent, self.extent):
            raise ValueError(
                f"the map is {x.shape[-2]}×{x.shape[-1]}, EVA reads {self.extent}×{self.extent}: crop or pool it first, "
                f"as by torch.nn.AdaptiveAvgPool2d({self.extent}), or build the layer with an odd extent= of its own"
            )
        parameter = next(self.parameters(), None)  # none in a replica of nn.DataParallel
        dtype = self.first_query[0].weight.dtype if parameter is None else parameter.dtype
        with torch.autocast("cpu" if x.is_meta else x.device.type, enabled=False):
            return forward(self, x.to(dtype))

    return checked


class ExpandingVisualAttention(nn.Module):
    """The stages s = 0, 1, 2, 3 of §3.1, one a ring: ``n c 7 7 -> n out 1 1``.

    ``q0 = FFN(7×7 convolution(x))``; then, for the rings of 1, 8, 16 and 24 pixels in turn, *Attention 2D* looks at
    ring s, ``attn_s = look(q_s, ring s)``, and *Attention 1D* recalls what was seen,
    ``q_{s+1} = recall(attn_s, [q0, attn0, …, attn_s])``; the output is the FFN of the last recall. Another odd
    ``extent`` has another number of rings. Under autocast it computes in the precision of its parameters, for logits
    of some hundreds leave bf16 no digits. ``ValueError`` if the map has another extent, or ``model_channels`` is not a
    multiple of ``2 · num_heads``. An ablation puts others in place of the class attributes and of ``Attention``.
    """

    Candidate: type[nn.Module] = WholeMap
    Recall: type[nn.Module] | None = None  # as Attention
    position = True

    def __init__(
        self, in_channels: int, model_channels: int, out_channels: int, num_heads: int = 4, extent: int = EXTENT,
        Attention: type[nn.Module] = SingleQueryAttention,
    ):  # fmt: skip
        super().__init__()
        self.extent, blocks = extent, self.memory_blocks(check_odd(extent, "extent") // 2)
        self.sizes = [offsets.shape[1] for offsets in blocks]
        row, column = torch.cat(blocks, dim=1) + extent // 2
        self.register_buffer("pixels", extent * row + column, persistent=False)
        self.convolution = self.Candidate(in_channels, model_channels, extent)
        self.first_query = feed_forward(model_channels, model_channels)
        self.looks, self.recalls = nn.ModuleList(), nn.ModuleList()
        for offsets in blocks:
            self.looks.append(Attention(in_channels, model_channels, num_heads, offsets if self.position else None))
        for _ in blocks:
            self.recalls.append((self.Recall or Attention)(model_channels, model_channels, num_heads))
        self.output = feed_forward(model_channels, out_channels)

    @own_precision
    def forward(self, x: Map) -> Float[Tensor, "n out 1 1"]:
        q = self.first_query(self.convolution(x))
        slots = [q]
        for ring_pixels, look, recall in zip(self.rings(x), self.looks, self.recalls, strict=True):
            attn, _ = look(q, ring_pixels)  # Attention 2D
            slots.append(attn)
            q, _ = recall(attn, rearrange(slots, "s n d -> n s d"))  # Attention 1D
        return rearrange(self.output(q), "n out -> n out 1 1")

    def rings(self, x: Map) -> tuple[Float[Tensor, "n _ c"], ...]:
        """The memory blocks: the pixels of each ring, row by row, and in memory pixel by pixel."""
        blocks = rearrange(x, "n c i j -> (i j) n c").index_select(0, self.pixels).split(self.sizes)
        return tuple(rearrange(pixels, "m n c -> n m c") for pixels in blocks)

    @staticmethod
    def memory_blocks(radius: int) -> list[Int[Tensor, "2 _"]]:
        """The offsets of the pixels that each stage looks at: the rings of radius 0, 1, …"""
        return [ring(r) for r in range(radius + 1)]


def feed_forward(in_channels: int, out_channels: int) -> nn.Sequential:
    """The two-layer feed-forward network of §3.1; its hidden width is ``in_channels`` (departure D5)."""
    return nn.Sequential(nn.Linear(in_channels, in_channels), nn.ReLU(), nn.Linear(in_channels, out_channels))
