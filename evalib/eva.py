"""Expanding Visual Attention (§3.1): one query, a ring of pixels at a time, a memory of what it
saw; and the width rule by which its matrices learn (departure D15).
"""

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from evalib import fast
from evalib.attention import as_leaf, check_heads, is_bare, relative_table
from evalib.equations import (
    Map,
    Memory,
    Vector,
    Weights,
    check_map,
    check_odd,
    relative_embedding,
    ring,
    single_query_attention,
)

EXTENT = 7
RADII = tuple(range(EXTENT // 2 + 1))
"""The map of the paper's EVA has 7 rows and columns, its rings the radii 0, 1, 2, 3: 1, 8, 16 and
24 pixels.
"""
WIDTH = 64
"""The channels at which a matrix of EVA learns at the rate itself: those of the small networks
(departure D15).
"""


class EqualisedLinear(nn.Linear):
    """``y = (64/d) W x + b`` for an x of d channels, W drawn d/64 times as large as ``nn.Linear``
    has it.

    So it begins as ``nn.Linear`` does, and Adam, which moves each entry of W by about the rate,
    moves y no further than with 64 channels (an equalised learning rate, Karras et al. 2018; for
    Adam what maximal update parametrisation asks of a hidden matrix, Yang et al. 2022; departure
    D15). Weight decay, which shrinks W by a share of itself, acts as on any other matrix; SGD moves
    y (64/d)² times as far as it would. An adapter whose output is added to W x, as LoRA's, is to be
    merged into W divided by ``gain``: what is added to W is used with the factor.
    """

    gain: float

    def reset_parameters(self) -> None:
        super().reset_parameters()
        equalise(self, self.in_features)

    def forward(self, x: Float[Tensor, "*n cin"]) -> Float[Tensor, "*n cout"]:
        return super().forward(x if self.gain == 1 else self.gain * x)

    def matrix(self) -> Float[Tensor, "cout cin"]:
        """What x is multiplied by."""
        return self.weight if self.gain == 1 else self.gain * self.weight


class WholeMap(nn.Conv2d):
    """The convolution of a map by a kernel of its own extent, which is one linear map: ``n c i j ->
    n d``.

    Its matrix is used 64/c times its weight, as in :class:`EqualisedLinear`.
    """

    gain: float

    def reset_parameters(self) -> None:
        super().reset_parameters()
        equalise(self, self.in_channels)

    def forward(self, x: Map) -> Float[Tensor, "n d"]:
        weight = rearrange(self.weight, "d c i j -> d (i j c)")
        x = rearrange(x, "n c i j -> n (i j c)")
        return F.linear(x if self.gain == 1 else self.gain * x, weight, self.bias)


def equalise(layer: EqualisedLinear | WholeMap, channels: int) -> None:
    """Store the weight of a layer, as it was drawn, for the factor that it is used with."""
    layer.gain = WIDTH / channels
    with torch.no_grad():
        layer.weight /= layer.gain


class Placed(nn.Module):
    """A layer that reads m pixels of a map; ``pixels`` has their places, where its parameters are.

    No buffer: whoever averages the weights of several steps may average buffers too, and a place
    would be rounded to the one before it.
    """

    places: tuple[int, ...] = ()

    def place(self, places: tuple[int, ...], device: torch.device | None = None) -> None:
        """Set the places; on the meta device, which keeps no numbers, they are on the CPU."""
        with torch.inference_mode(False):  # a move in inference mode must not end training
            pixels = torch.tensor(places, device=device)
            self.pixels = torch.tensor(places, device="cpu") if pixels.is_meta else pixels
        self.places = places

    def _apply(self, fn, recurse=True):  # whatever moves parameters comes through here
        super()._apply(fn, recurse)
        if self.places:
            self.place(self.places, next(self.parameters()).device)
        return self


class SingleQueryAttention(Placed):
    """Multi-head attention of one query over m vectors, and its softmax.

    ``y = Σ_m softmax_m((qᵀk_m [+ qᵀr_m]) / √c) v_m``, c the channels of a head. With the
    ``offsets`` of m pixels from the centre it is the paper's *Attention 2D*, r_m the relative
    embedding of pixel m (Eq. 3, where the text leaves open whether Eq. 2 or 3 is meant). Without,
    it is *Attention 1D* over m slots (Eq. 2). The scale is not in the text. Departure D4 has what
    speaks for both. Heads are concatenated; there is no bias,
    residual or norm.
    """

    fast = True  # False: the equation as it is written
    scaled = True

    def __init__(
        self,
        memory_channels: int,
        model_channels: int,
        num_heads: int,
        offsets: Int[Tensor, "2 m"] | None = None,
    ):
        super().__init__()
        channels = check_heads(model_channels, num_heads)
        self.num_heads, self.scale = num_heads, channels**-0.5 if self.scaled else 1.0
        self.W_Q = EqualisedLinear(model_channels, model_channels, bias=False)
        self.W_K = EqualisedLinear(memory_channels, model_channels, bias=False)
        self.W_V = EqualisedLinear(memory_channels, model_channels, bias=False)
        self.offsets = offsets
        if offsets is not None:
            radius = int(offsets.abs().max())
            extent, (row, column) = 2 * radius + 1, offsets + radius
            self.rows = relative_table(num_heads, channels // 2, extent)
            self.cols = relative_table(num_heads, channels // 2, extent)
            self.place(tuple((extent * row + column).tolist()))

    def forward(self, query: Vector, memory: Memory) -> tuple[Vector, Weights]:
        W_Q, W_K, W_V, r_m = self.W_Q, self.W_K, self.W_V, self.embedding()
        bare = all(is_bare(W, EqualisedLinear) for W in (W_Q, W_K, W_V))
        if self.fast and bare:  # not every pixel is projected
            W = W_Q.matrix(), W_K.matrix(), W_V.matrix()
            return fast.single_query_attention(query, memory, *W, self.num_heads, r_m, self.scale)
        q = rearrange(W_Q(query), "n (h c) -> n h c", h=self.num_heads)
        memory = memory.contiguous()  # a sparse weight multiplies no other
        k_m = rearrange(W_K(memory), "n m (h c) -> n h m c", h=self.num_heads)
        v_m = rearrange(W_V(memory), "n m (h c) -> n h m c", h=self.num_heads)
        y, weights = single_query_attention(q, k_m, v_m, r_m, self.scale)
        return rearrange(y, "n h c -> n (h c)"), weights

    def embedding(self) -> Float[Tensor, "h c m"] | None:
        """r_m of each pixel of the ring; none for slots."""
        if self.offsets is None:
            return None
        r = relative_embedding(self.rows, self.cols).flatten(2)
        return r.index_select(2, self.pixels.to(r.device))

    def reset_parameters(self) -> None:
        """Draw the tables anew, as the projections are by their own."""
        if self.offsets is not None:
            nn.init.normal_(self.rows, std=(2 * self.rows.shape[1]) ** -0.5)
            nn.init.normal_(self.cols, std=(2 * self.cols.shape[1]) ** -0.5)


class ExpandingVisualAttention(Placed):
    """The stages s = 0, 1, 2, 3 of §3.1, one a ring: ``n c 7 7 -> n out 1 1``.

    ``q0 = FFN(7×7 convolution(x))``; then, for the rings of 1, 8, 16 and 24 pixels in turn,
    *Attention 2D* looks at ring s, ``attn_s = look(q_s, ring s)``, and *Attention 1D* recalls what
    was seen, ``q_{s+1} = recall(attn_s, [q0, attn0, …, attn_s])``; the output is the FFN of the
    last recall. Another odd ``extent`` has another number of rings. With ``normed`` there is a
    LayerNorm of each pixel of the map, and one of q0. Each matrix learns as one of 64 channels does
    (:class:`EqualisedLinear`), so that one rate serves every width. Under autocast it computes in
    the precision of its parameters, for logits of some hundreds leave bf16 no digits.
    ``ValueError`` if the map has another extent, or ``model_channels`` is not a multiple of ``2 ·
    num_heads``. An ablation puts others in place of the class attributes and of ``Attention``.
    """

    Candidate: type[nn.Module] = WholeMap
    Recall: type[nn.Module] | None = None  # as Attention
    position = True

    def __init__(
        self,
        in_channels: int,
        model_channels: int,
        out_channels: int,
        num_heads: int = 4,
        extent: int = EXTENT,
        Attention: type[nn.Module] = SingleQueryAttention,
        normed: bool = False,
    ):
        super().__init__()
        self.extent, blocks = extent, self.memory_blocks(check_odd(extent, "extent") // 2)
        self.sizes = [offsets.shape[1] for offsets in blocks]
        row, column = torch.cat(blocks, dim=1) + extent // 2
        self.place(tuple((extent * row + column).tolist()))
        self.convolution = self.Candidate(in_channels, model_channels, extent)
        self.first_query = feed_forward(model_channels, model_channels)
        self.normed = normed
        if normed:
            self.pixel_norm = nn.LayerNorm(in_channels)
            self.query_norm = nn.LayerNorm(model_channels)
        self.looks, self.recalls = nn.ModuleList(), nn.ModuleList()
        for offsets in blocks:
            placed = offsets if self.position else None
            self.looks.append(Attention(in_channels, model_channels, num_heads, placed))
        Recall = self.Recall or Attention
        for _ in blocks:
            self.recalls.append(Recall(model_channels, model_channels, num_heads))
        self.output = feed_forward(model_channels, out_channels)

    def forward(self, x: Map) -> Float[Tensor, "n out 1 1"]:
        if isinstance(x, torch.fx.Proxy):
            return as_leaf(self, x)
        check_extent(x, self.extent)
        with torch.autocast(x.device.type if not x.is_meta else "cpu", enabled=False):
            x = x.to(self.first_query[0].bias.dtype)
            if self.normed:
                x = self.pixel_norm(rearrange(x, "n c i j -> n i j c"))
                x = rearrange(x, "n i j c -> n c i j")
            q = self.first_query(self.convolution(x))
            if self.normed:
                q = self.query_norm(q)
            slots = [q]
            stages = zip(self.rings(x), self.looks, self.recalls, strict=True)
            for ring_pixels, look, recall in stages:
                attn, _ = look(q, ring_pixels)  # Attention 2D
                slots.append(attn)
                q, _ = recall(attn, rearrange(slots, "s n d -> n s d"))  # Attention 1D
            return rearrange(self.output(q), "n out -> n out 1 1")

    def rings(self, x: Map) -> tuple[Float[Tensor, "n _ c"], ...]:
        """The memory blocks: the pixels of each ring, row by row, and in memory pixel by pixel."""
        pixels = rearrange(x, "n c i j -> (i j) n c").index_select(0, self.pixels.to(x.device))
        return tuple(rearrange(block, "m n c -> n m c") for block in pixels.split(self.sizes))

    @staticmethod
    def memory_blocks(radius: int) -> list[Int[Tensor, "2 _"]]:
        """The offsets of the pixels that each stage looks at: the rings of radius 0, 1, …"""
        return [ring(r) for r in range(radius + 1)]


def feed_forward(in_channels: int, out_channels: int) -> nn.Sequential:
    """The two-layer feed-forward network of §3.1, as wide inside as its input (departure D5)."""
    return nn.Sequential(
        EqualisedLinear(in_channels, in_channels),
        nn.ReLU(),
        EqualisedLinear(in_channels, out_channels),
    )


def check_extent(x: Tensor, extent: int) -> None:
    """``ValueError`` unless the map has the rows and columns that EVA reads."""
    check_map(x)
    if x.shape[-2:] != (extent, extent):
        raise ValueError(
            f"the map is {x.shape[-2]}×{x.shape[-1]}, EVA reads {extent}×{extent}: crop or pool it "
            f"first, as by torch.nn.AdaptiveAvgPool2d({extent}), or build the layer with an odd "
            "extent= of its own"
        )
