"""EVA as the author's published code has it, where that differs from the paper's text."""

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import softmax

from evalib.attention import check_heads
from evalib.equations import Map, Memory, Vector, relative_embedding, ring
from evalib.eva import EXTENT, RADII, Placed, check_extent

DROPOUT = 0.15


class PublishedEVA(Placed):
    """Four looks and three recalls, ``n d 7 7 -> n d 1 1``, as published (D2, D4, D5).

    ``q0`` is a feed-forward network of the centre pixel. A look takes its query as it is, without
    W_Q; one table of 7 rows and one of 7 columns serve all four. A recall, from the second stage
    on, reads attn0, … and not q0, each with a learned embedding of its slot. Logits are divided by
    √c; :class:`Around` follows each attention.

    ``whole`` is the code with the rest of it: dropout; a look forecasts logits for the pixels of
    the next ring; keys and values are split into heads by a reshape that mixes positions and
    channels; the embedding of a slot meets the query of a recall as r meets that of a look; the
    output is one more feed-forward network; and its first weights.

    ``slips`` are three things that the code does besides. It scales the query of a look in place,
    and so the residual around that look, and attn0 as a slot, too. It reads its table of rows by
    the column. It writes the forecast for the last ring where nobody reads it.
    """

    def __init__(
        self,
        in_channels: int,
        model_channels: int,
        out_channels: int,
        num_heads: int = 4,
        whole: bool = False,
        slips: bool = False,
    ):
        super().__init__()
        if not in_channels == model_channels == out_channels:
            raise ValueError(
                f"widths {in_channels}, {model_channels}, {out_channels} must be one: the query is"
                " a pixel"
            )
        d, c = model_channels, check_heads(model_channels, num_heads)
        self.extent, self.num_heads, self.scale = EXTENT, num_heads, c**-0.5
        self.whole, self.slips = whole, slips
        self.first_query = feed_forward(d, d, d, whole, bias=not whole)
        self.rows, self.cols = (
            nn.Parameter(torch.empty(num_heads, c // 2, EXTENT)) for _ in range(2)
        )
        if whole:
            self.slots = nn.ParameterList(torch.empty(num_heads, c, s + 1) for s in RADII[1:])
        else:
            self.slots = nn.Parameter(torch.empty(len(RADII), d))
        self.draw_embeddings()
        self.looks = nn.ModuleList(projections("K V", d, whole) for _ in RADII)
        self.recalls = nn.ModuleList(projections("Q K V", d, whole) for _ in RADII[1:])
        self.around_looks = nn.ModuleList(Around(d, whole) for _ in RADII)
        self.around_recalls = nn.ModuleList(Around(d, whole) for _ in RADII[1:])
        if whole:
            self.forecasts = nn.ModuleList(
                feed_forward(d, d // 2, (2 * s + 3) ** 2, whole, bias=False) for s in RADII[:-1]
            )
            self.output = feed_forward(d, d, d, whole, bias=False)
        rings = [ring(radius) for radius in RADII]
        self.sizes = [offsets.shape[1] for offsets in rings]
        row, column = torch.cat(rings, dim=1) + EXTENT // 2
        self.place(tuple((EXTENT * row + column).tolist()))

    def forward(self, x: Map) -> Float[Tensor, "n d 1 1"]:
        check_extent(x, EXTENT)
        with torch.autocast(x.device.type if not x.is_meta else "cpu", enabled=False):
            x = x.to(self.rows.dtype)
            q = self.first_query(x[:, :, EXTENT // 2, EXTENT // 2])
            pixels = rearrange(x, "n d i j -> n (i j) d")
            memory = pixels.index_select(1, self.pixels.to(x.device)).split(self.sizes, dim=1)
            seen: list[Tensor] = []
            forecast = None
            for s, r in enumerate(self.offsets()):
                scale = self.scale
                if self.slips:  # in place, so that whoever has q has it scaled
                    q, scale = q * scale, 1.0
                    if s == 1:
                        seen[0] = q
                y = self.attend(q, self.looks[s], memory[s], r, scale, forecast)
                y = self.around_looks[s].W_O(y)
                seen.append(self.around_looks[s](q, y))
                q = self.recall(s, seen) if s else seen[0]
                forecast = self.forecast(s, y) if self.whole and s < RADII[-1] else None
            if self.whole:
                q = self.output(q)
            return rearrange(q, "n d -> n d 1 1")

    def offsets(self) -> tuple[Float[Tensor, "h c _"], ...]:
        """r of the pixels of each ring."""
        r = relative_embedding(self.rows, self.cols)
        if self.slips:
            by_column = rearrange(self.rows, "h c j -> h c 1 j").expand(-1, -1, EXTENT, -1)
            r = torch.cat([by_column, r[:, self.rows.shape[1] :]], dim=1)
        return r.flatten(2).index_select(2, self.pixels.to(r.device)).split(self.sizes, dim=2)

    def recall(self, s: int, seen: list[Vector]) -> Vector:
        """Attention of the newest look over all looks so far."""
        memory = torch.stack(seen, dim=1)
        W, around = self.recalls[s - 1], self.around_recalls[s - 1]
        if self.whole:
            y = self.attend(W["Q"](seen[-1]), W, memory, self.slots[s - 1], self.scale)
        else:
            y = self.attend(W["Q"](seen[-1]), W, memory + self.slots[: s + 1], None, self.scale)
        return around(seen[-1], around.W_O(y))

    def attend(
        self,
        q: Vector,
        W: nn.ModuleDict,
        memory: Memory,
        r: Float[Tensor, "h c m"] | None,
        scale: float,
        forecast: Float[Tensor, "n m"] | None = None,
    ) -> Vector:
        """The attention of q over m vectors, in heads."""
        q = rearrange(q, "n (h c) -> n h c", h=self.num_heads)
        k, v = W["K"](memory), W["V"](memory)
        if self.whole:
            k, v = (t.reshape(len(t), self.num_heads, -1, q.shape[2]) for t in (k, v))
        else:
            k, v = (rearrange(t, "n m (h c) -> n h m c", h=self.num_heads) for t in (k, v))
        logits = einsum(q, k, "n h c, n h m c -> n h m")
        if r is not None:
            logits = logits + einsum(q, r, "n h c, h c m -> n h m")
        logits = scale * logits
        if forecast is not None:
            logits = logits + rearrange(forecast, "n m -> n 1 m")
        y = einsum(softmax(logits, dim=-1), v, "n h m, n h m c -> n h c")
        return rearrange(y, "n h c -> n (h c)")

    def forecast(self, s: int, y: Vector) -> Float[Tensor, "n m"] | None:
        """What the look at ring s adds to the logits of the next ring, row by row."""
        if self.slips and s + 1 == RADII[-1]:
            return None
        side = 2 * s + 3
        block = rearrange(self.forecasts[s](y), "n (i j) -> n i j", i=side)
        top, between, bottom = block[:, 0], block[:, 1:-1, :: side - 1], block[:, -1]
        return torch.cat([top, between.flatten(1), bottom], dim=1)

    def draw_embeddings(self) -> None:
        """Those of offsets and slots: as ours are, or from N(0, 1)."""
        for table in (self.rows, self.cols):
            nn.init.normal_(table, std=1.0 if self.whole else self.scale)
        for slots in self.slots if self.whole else [self.slots]:
            nn.init.normal_(slots, std=1.0 if self.whole else slots.shape[1] ** -0.5)

    def reset_parameters(self) -> None:
        """Draw what is its own anew."""
        self.draw_embeddings()


class Around(nn.Module):
    """``x = LayerNorm(query + y)``, with ``y = W_O attention``, then ``LayerNorm(x + FFN(x))``."""

    def __init__(self, channels: int, whole: bool):
        super().__init__()
        self.W_O = linear(channels, channels, whole, bias=not whole)
        self.norm1 = nn.LayerNorm(channels)
        self.feed_forward = feed_forward(channels, channels, channels, whole)
        self.norm2 = nn.LayerNorm(channels)

    def forward(self, query: Vector, y: Vector) -> Vector:
        x = self.norm1(query + y)
        return self.norm2(x + self.feed_forward(x))


def projections(names: str, channels: int, whole: bool) -> nn.ModuleDict:
    """Linear maps without bias, W_K for "K" and so on."""
    return nn.ModuleDict(
        {name: linear(channels, channels, whole, bias=False) for name in names.split()}
    )


def feed_forward(
    in_channels: int, hidden: int, out_channels: int, whole: bool, bias: bool = True
) -> nn.Sequential:
    """Two linear layers with LeakyReLU, and in the whole code dropout, between them."""
    first = linear(in_channels, hidden, whole, bias)
    second = linear(hidden, out_channels, whole, bias)
    return nn.Sequential(first, nn.LeakyReLU(), *([nn.Dropout(DROPOUT)] if whole else []), second)


def linear(in_channels: int, out_channels: int, whole: bool, bias: bool = True) -> nn.Linear:
    """A linear layer, in the whole code with its first weights."""
    return (PublishedLinear if whole else nn.Linear)(in_channels, out_channels, bias)


class PublishedLinear(nn.Linear):
    """A linear layer whose weights are drawn with variance 1 / fan-in."""

    def reset_parameters(self) -> None:
        super().reset_parameters()
        nn.init.kaiming_normal_(self.weight, a=1)


def draw_as_published(network: nn.Module) -> None:
    """Draw the first weights of convolutions and classifier as the published code does."""
    for name, part in network.named_modules():
        if isinstance(part, nn.Conv2d):
            projects = name.rpartition(".")[2].startswith("W_")
            nn.init.kaiming_normal_(part.weight, a=1 if projects else 0)
    nn.init.kaiming_normal_(network.classifier.weight)
