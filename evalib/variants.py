"""What the text leaves open in EVA, taken in several ways, of which one is chosen."""

from typing import Any, NamedTuple

from torch import nn

from evalib.equations import Memory, Vector, Weights
from evalib.eva import EqualisedLinear, SingleQueryAttention
from evalib.published import PublishedEVA


class LetterAttention(SingleQueryAttention):
    """To the letter of the text: logits without a scale."""

    scaled = False


class ResidualAttention(LetterAttention):
    """``LayerNorm(query + attention)``, logits without a scale."""

    def __init__(self, memory_channels: int, model_channels: int, *how):
        super().__init__(memory_channels, model_channels, *how)
        self.norm = nn.LayerNorm(model_channels)

    def forward(self, query: Vector, memory: Memory) -> tuple[Vector, Weights]:
        y, weights = super().forward(query, memory)
        return self.norm(query + y), weights


class StandardAttention(SingleQueryAttention):
    """Scaled, and ``LayerNorm(query + W_O attention)``: the sub-layer of Vaswani et al. 2017."""

    def __init__(self, memory_channels: int, model_channels: int, *how):
        super().__init__(memory_channels, model_channels, *how)
        self.W_O = EqualisedLinear(model_channels, model_channels, bias=False)
        self.norm = nn.LayerNorm(model_channels)

    def forward(self, query: Vector, memory: Memory) -> tuple[Vector, Weights]:
        y, weights = super().forward(query, memory)
        return self.norm(query + self.W_O(y)), weights


class Variant(NamedTuple):
    """A way to take the text: what it adds, and the options of the EVANet's head that make it."""

    adds: str
    options: dict[str, Any]


VARIANTS = {
    "letter": Variant("nothing: no scale, as the text has it", {"Attention": LetterAttention}),
    "scaled": Variant("logits over √c, c the channels of a head", {}),
    "normed": Variant("the scale, and a LayerNorm of each pixel and of q0", {"normed": True}),
    "residual": Variant(
        "no scale, but LayerNorm(query + attention)", {"Attention": ResidualAttention}
    ),
    "standard": Variant(
        "the scale, W_O, residual and LayerNorm (Vaswani et al. 2017)",
        {"Attention": StandardAttention},
    ),
    "standard-normed": Variant(
        "the scale, W_O, residual and LayerNorm (Vaswani et al. 2017); a LayerNorm of each pixel"
        " and of q0",
        {"Attention": StandardAttention, "normed": True},
    ),
    "published": Variant(
        "all of that but the norms of pixels and q0; feed-forward networks, slot embeddings, a "
        "first query from the centre pixel: the author's code",
        {"layer": PublishedEVA},
    ),
}
"""Each by the name that its rows end with, from the one that adds least to that which adds most."""
