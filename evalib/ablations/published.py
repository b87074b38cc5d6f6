"""EVA as the author's published code has it, where that differs from the paper's text."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from evalib.attention import check_heads, relative_table
from evalib.equations import relative_embedding, ring
from evalib.eva import EXTENT, SingleQueryAttention, own_precision
from evalib.wrapped import keeps_its_places

STAGES = range(EXTENT // 2 + 1)


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

    identity: Tensor
    pixels: Tensor

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
        self.register_buffer("identity", torch.eye(d, device="cpu"), persistent=False)
        rings = [ring(radius) for radius in STAGES]
        self.sizes = [offsets.shape[1] for offsets in rings]
        row, column = torch.cat(rings, dim=1) + EXTENT // 2
        self.register_buffer("pixels", EXTENT * row + column, persistent=False)

    @own_precision
    def forward(self, x: Float[Tensor, "n d 7 7"]) -> Float[Tensor, "n d 1 1"]:
        q = self.first_query(x[:, :, EXTENT // 2, EXTENT // 2])
        memory = rearrange(x, "n d i j -> (i j) n d").index_select(0, self.pixels).split(self.sizes)
        r = relative_embedding(self.rows, self.cols).flatten(2).index_select(2, self.pixels).split(self.sizes, dim=2)
        seen: list[Tensor] = []
        for stage in STAGES:
            seen.append(self.look(stage, q, rearrange(memory[stage], "m n d -> n m d"), r[stage]))
            q = self.recall(stage, seen) if stage else seen[0]
        return rearrange(q, "n d -> n d 1 1")

    def look(
        self, stage: int, q: Float[Tensor, "n d"], memory: Float[Tensor, "n m d"], r: Float[Tensor, "h c m"]
    ) -> Float[Tensor, "n d"]:
        """Attention of q over the pixels of a ring, r their relative embedding."""
        W_K, W_V = (W.weight for W in self.looks[stage].values())
        y, _ = SingleQueryAttention.attend(q, memory, self.identity, W_K, W_V, self.num_heads, r, self.scale)
        return self.around_looks[stage](q, y)

    def recall(self, stage: int, seen: list[Float[Tensor, "n d"]]) -> Float[Tensor, "n d"]:
        """Attention of the newest look over all looks so far."""
        memory = rearrange(seen, "s n d -> n s d") + self.slots[: stage + 1]
        W_Q, W_K, W_V = (W.weight for W in self.recalls[stage - 1].values())
        y, _ = SingleQueryAttention.attend(seen[-1], memory, W_Q, W_K, W_V, self.num_heads, None, self.scale)
        return self.around_recalls[stage - 1](seen[-1], y)


keeps_its_places(PublishedEVA, "identity", "pixels")


def projections(names: str, channels: int) -> nn.ModuleDict:
    """Linear maps without bias, W_K for "K" and so on."""
    return nn.ModuleDict({name: nn.Linear(channels, channels, bias=False) for name in names.split()})


def leaky_feed_forward(channels: int) -> nn.Sequential:
    """The two-layer feed-forward network of the published code."""
    return nn.Sequential(nn.Linear(channels, channels), nn.LeakyReLU(), nn.Linear(channels, channels))
