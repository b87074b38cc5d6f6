"""EVA as the author's published code has it, where that differs from the paper's text."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from evalib.attention import check_heads, relative_table
from evalib.equations import relative_embedding, ring, single_query_attention
from evalib.eva import EXTENT, RADII, check_extent, place_pixels, register_places

STAGES = RADII


class Around(nn.Module):
    """What follows each attention: ``x = LayerNorm(query + W_O y)``, then ``LayerNorm(x + FFN(x))``."""

    def __init__(self, channels: int):
        super().__init__()
        self.W_O, self.norm1 = nn.Linear(channels, channels), nn.LayerNorm(channels)
        self.feed_forward, self.norm2 = leaky_feed_forward(channels), nn.LayerNorm(channels)

    def forward(self, query: Float[Tensor, "n d"], y: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        x = self.norm1(query + self.W_O(y))
        return self.norm2(x + self.feed_forward(x))


class PublishedEVA(nn.Module):
    """Four looks and three recalls, ``n d 7 7 -> n d 1 1``: departures D2, D4 and D5 as the published code takes them.

    ``q0`` is a feed-forward network of the centre pixel. A look takes its query as it is, without W_Q; one table of 7
    rows and one of 7 columns serve all four. A recall, from the second stage on, reads attn0, … and not q0, each with
    a learned embedding of its slot. Logits are divided by √c; :class:`Around` follows each attention.

    Left out: dropout, the logits that a stage predicts for the next ring, the reshape that mixes positions and channels
    of a head; :mod:`evalib.ablations.as_published` has them. Blocks, shortcuts and training are the network's.
    """

    def __init__(self, in_channels: int, model_channels: int, out_channels: int, num_heads: int = 4):
        super().__init__()
        if not in_channels == model_channels == out_channels:
            raise ValueError(
                f"widths {in_channels}, {model_channels}, {out_channels} must be one: the query is a pixel"
            )
        d, c = model_channels, check_heads(model_channels, num_heads)
        self.extent, self.num_heads, self.scale = EXTENT, num_heads, c**-0.5
        self.first_query = leaky_feed_forward(d)
        self.rows, self.cols = (relative_table(num_heads, c // 2, EXTENT) for _ in range(2))
        self.slots = nn.Parameter(torch.randn(len(STAGES), d) * d**-0.5)
        self.looks = nn.ModuleList(projections("K V", d) for _ in STAGES)
        self.recalls = nn.ModuleList(projections("Q K V", d) for _ in STAGES[1:])
        self.around_looks = nn.ModuleList(Around(d) for _ in STAGES)
        self.around_recalls = nn.ModuleList(Around(d) for _ in STAGES[1:])
        rings = [ring(radius) for radius in STAGES]
        self.sizes = [offsets.shape[1] for offsets in rings]
        row, column = torch.cat(rings, dim=1) + EXTENT // 2
        register_places(self, EXTENT * row + column)

    def forward(self, x: Float[Tensor, "n d 7 7"]) -> Float[Tensor, "n d 1 1"]:
        check_extent(x, EXTENT)
        with torch.autocast(x.device.type if not x.is_meta else "cpu", enabled=False):
            x = x.to(self.rows.dtype)
            q = self.first_query(x[:, :, EXTENT // 2, EXTENT // 2])
            memory = rearrange(x, "n d i j -> (i j) n d").index_select(0, self.pixels).split(self.sizes)
            r = relative_embedding(self.rows, self.cols).flatten(2).index_select(2, self.pixels)
            r = r.split(self.sizes, dim=2)
            seen: list[Tensor] = []
            for stage in STAGES:
                seen.append(self.look(stage, q, rearrange(memory[stage], "m n d -> n m d"), r[stage]))
                q = self.recall(stage, seen) if stage else seen[0]
            return rearrange(q, "n d -> n d 1 1")

    def look(
        self, stage: int, q: Float[Tensor, "n d"], memory: Float[Tensor, "n m d"], r: Float[Tensor, "h c m"]
    ) -> Float[Tensor, "n d"]:
        """Attention of q over the pixels of a ring, r their relative embedding."""
        W = self.looks[stage]
        return self.around_looks[stage](q, self.attend(q, W["K"](memory), W["V"](memory), r))

    def recall(self, stage: int, seen: list[Float[Tensor, "n d"]]) -> Float[Tensor, "n d"]:
        """Attention of the newest look over all looks so far."""
        memory = rearrange(seen, "s n d -> n s d") + self.slots[: stage + 1]
        W = self.recalls[stage - 1]
        y = self.attend(W["Q"](seen[-1]), W["K"](memory), W["V"](memory))
        return self.around_recalls[stage - 1](seen[-1], y)

    def attend(
        self,
        q: Float[Tensor, "n d"],
        k: Float[Tensor, "n m d"],
        v: Float[Tensor, "n m d"],
        r: Float[Tensor, "h c m"] | None = None,
    ) -> Float[Tensor, "n d"]:
        """The attention of q over m vectors, in heads."""
        q = rearrange(q, "n (h c) -> n h c", h=self.num_heads)
        k, v = (rearrange(t, "n m (h c) -> n h m c", h=self.num_heads) for t in (k, v))
        y, _ = single_query_attention(q, k, v, r, self.scale)
        return rearrange(y, "n h c -> n (h c)")

    def reset_parameters(self) -> None:
        """Draw what is its own anew, and place the pixels."""
        nn.init.normal_(self.rows, std=(2 * self.rows.shape[1]) ** -0.5)
        nn.init.normal_(self.cols, std=(2 * self.cols.shape[1]) ** -0.5)
        nn.init.normal_(self.slots, std=self.slots.shape[1] ** -0.5)
        place_pixels(self)


def projections(names: str, channels: int) -> nn.ModuleDict:
    """Linear maps without bias, W_K for "K" and so on."""
    return nn.ModuleDict({name: nn.Linear(channels, channels, bias=False) for name in names.split()})


def leaky_feed_forward(channels: int) -> nn.Sequential:
    """The two-layer feed-forward network of the published code."""
    return nn.Sequential(nn.Linear(channels, channels), nn.LeakyReLU(), nn.Linear(channels, channels))
