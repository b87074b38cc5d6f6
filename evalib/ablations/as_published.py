"""EVA and its head as the author's published code has them, nothing left out."""

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import softmax

from evalib.attention import check_heads
from evalib.equations import Map, Memory, Vector, relative_embedding, ring
from evalib.eva import EXTENT, RADII, check_extent, place_pixels, register_places

DROPOUT = 0.15
STAGES = RADII


class AsPublishedEVA(nn.Module):
    """Four 2D attentions and three 1D attentions, ``n d 7 7 -> n d 1 1``, with all in which they differ from §3.1.

    ``q0`` is a feed-forward network of the centre pixel; a 2D attention takes its query as it is. One table of 7 rows
    and one of 7 columns serve all stages. Each 2D attention predicts logits for the pixels of the next ring. From the
    second stage on a 1D attention reads attn0, …, its logits with a learned embedding of each slot. Keys and values
    are split into heads by a reshape that mixes positions and channels. The output is a feed-forward network again.
    """

    def __init__(self, in_channels: int, model_channels: int, out_channels: int, num_heads: int = 4):
        super().__init__()
        if in_channels != model_channels:
            raise ValueError(f"widths {in_channels} and {model_channels} must be one: the first query is a pixel")
        d, c = model_channels, check_heads(model_channels, num_heads)
        self.extent, self.num_heads = EXTENT, num_heads
        self.rows, self.cols = (nn.Parameter(torch.randn(num_heads, c // 2, EXTENT)) for _ in range(2))
        self.first_query = feed_forward(d, d, d, bias=False)
        self.looks = nn.ModuleList(PublishedAttention(d, num_heads, own_query=False) for _ in STAGES)
        self.forecasts = nn.ModuleList(feed_forward(d, d // 2, (2 * s + 3) ** 2, bias=False) for s in STAGES[:-1])
        self.recalls = nn.ModuleList(PublishedAttention(d, num_heads, own_query=True) for _ in STAGES[1:])
        self.slots = nn.ParameterList(torch.randn(num_heads, c, s + 1) for s in STAGES[1:])
        self.output = feed_forward(d, out_channels, out_channels, bias=False)
        rings = [ring(s) + EXTENT // 2 for s in STAGES]
        self.sizes = [places.shape[1] for places in rings]
        row, column = torch.cat(rings, dim=1)
        register_places(self, EXTENT * row + column)
        for salt, part in enumerate(part for part in self.modules() if isinstance(part, Dropout)):
            part.salt = salt

    def forward(self, x: Map) -> Float[Tensor, "n out 1 1"]:
        check_extent(x, EXTENT)
        with torch.autocast(x.device.type if not x.is_meta else "cpu", enabled=False):
            x = x.to(self.rows.dtype)
            q = self.first_query(x[:, :, EXTENT // 2, EXTENT // 2])
            memory = rearrange(x, "n d i j -> n (i j) d").index_select(1, self.pixels).split(self.sizes, dim=1)
            r = relative_embedding(self.rows, self.cols).flatten(2).index_select(2, self.pixels)
            r, seen, forecast = r.split(self.sizes, dim=2), [], None
            for s, look in enumerate(self.looks):
                attn, y = look(q, memory[s], r[s], forecast)
                seen.append(attn)
                q = attn if s == 0 else self.recalls[s - 1](attn, torch.stack(seen, dim=1), self.slots[s - 1])[0]
                if s < STAGES[-1]:
                    block = self.forecasts[s](y).unflatten(1, (2 * s + 3, 2 * s + 3))
                    border = [block[:, 0], block[:, 1:-1, :: 2 * s + 2].flatten(1), block[:, -1]]
                    forecast = torch.cat(border, dim=1)  # the next ring, row by row
            return rearrange(self.output(q), "n out -> n out 1 1")

    def reset_parameters(self) -> None:
        """Draw what is its own anew, and place the pixels."""
        for own in (self.rows, self.cols, *self.slots):
            nn.init.normal_(own)
        place_pixels(self)


class PublishedAttention(nn.Module):
    """Attention of one query, logits over √c, then ``x = LayerNorm(query + W_O y)`` and ``LayerNorm(x + FFN(x))``.

    It gives that, and ``W_O y``.
    """

    def __init__(self, channels: int, num_heads: int, own_query: bool):
        super().__init__()
        self.num_heads, self.scale = num_heads, (channels // num_heads) ** -0.5
        self.W_Q = linear(channels, channels) if own_query else nn.Identity()
        self.W_K, self.W_V, self.W_O = (linear(channels, channels) for _ in range(3))
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.feed_forward = feed_forward(channels, channels, channels)

    def forward(
        self, query: Vector, memory: Memory, r: Float[Tensor, "h c m"], forecast: Float[Tensor, "n m"] | None = None
    ) -> tuple[Vector, Vector]:
        q = rearrange(self.W_Q(query), "n (h c) -> n h c", h=self.num_heads)
        k, v = (W(memory).reshape(len(memory), self.num_heads, -1, q.shape[2]) for W in (self.W_K, self.W_V))
        content = einsum(q, k, "n h c, n h m c -> n h m")
        logits = self.scale * (content + einsum(q, r, "n h c, h c m -> n h m"))
        weights = softmax(logits if forecast is None else logits + forecast[:, None], dim=-1)
        y = self.W_O(rearrange(einsum(weights, v, "n h m, n h m c -> n h c"), "n h c -> n (h c)"))
        x = self.norm1(query + y)
        return self.norm2(x + self.feed_forward(x)), y


class Dropout(nn.Module):
    """Dropout by a hash of the number of the step and of the place, so that a resumed run is bitwise the run never stopped."""

    steps: Tensor
    salt = 0

    def __init__(self):
        super().__init__()
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        self.steps.add_(1)
        bits = torch.arange(x.numel(), device=x.device) + (self.steps * 1_000_003 + self.salt) * 0x5851F42D4C957F2D
        for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):  # the mixing of splitmix64
            bits = (bits ^ (bits >> shift)) * factor
        share = ((bits >> 31) & 0xFFFFFF).to(x.dtype).reshape(x.shape) / 2**24
        return x * (share >= DROPOUT) / (1 - DROPOUT)


def feed_forward(in_channels: int, hidden: int, out_channels: int, bias: bool = True) -> nn.Sequential:
    """Two linear layers with LeakyReLU and dropout between them."""
    return nn.Sequential(
        linear(in_channels, hidden, bias), nn.LeakyReLU(), Dropout(), linear(hidden, out_channels, bias)
    )


def linear(in_channels: int, out_channels: int, bias: bool = False) -> nn.Linear:
    """A linear map drawn from a normal distribution of variance 1 / ``in_channels``."""
    layer = nn.Linear(in_channels, out_channels, bias)
    nn.init.normal_(layer.weight, std=in_channels**-0.5)
    return layer
