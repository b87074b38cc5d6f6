"""EVA's attention of one query: with no vector of the memory projected on a CPU, in few kernels elsewhere."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch.nn import functional as F

from evalib.equations import Memory, Vector, Weights

QueryProjection = Float[torch.Tensor, "d d"]
MemoryProjection = Float[torch.Tensor, "d cin"]
Offsets = Float[torch.Tensor, "h c m"]


def single_query_attention(
    query: Vector, memory: Memory, W_Q: QueryProjection, W_K: MemoryProjection, W_V: MemoryProjection, num_heads: int,
    r_m: Offsets | None = None, scale: float | int | torch.Tensor = 1.0,
) -> tuple[Vector, Weights]:  # fmt: skip
    """As :func:`evalib.equations.single_query_attention`: :func:`absorbed` on a CPU, :func:`projected` elsewhere."""
    form = absorbed if query.device.type == "cpu" else projected
    return form(query, memory, W_Q, W_K, W_V, num_heads, r_m, scale)


def absorbed(
    query: Vector, memory: Memory, W_Q: QueryProjection, W_K: MemoryProjection, W_V: MemoryProjection, num_heads: int,
    r_m: Offsets | None = None, scale: float | int | torch.Tensor = 1.0,
) -> tuple[Vector, Weights]:  # fmt: skip
    """The fewest FLOPs: one projection a head, not one a pixel.

    ``qᵀ(W_K x_m) = (W_Kᵀq)ᵀ x_m`` and ``Σ_m a_m W_V x_m = W_V Σ_m a_m x_m``.
    """
    q = rearrange(F.linear(query, W_Q), "n (h c) -> h n c", h=num_heads)
    q_x = rearrange(q @ rearrange(W_K, "(h c) cin -> h c cin", h=num_heads), "h n cin -> n h cin")
    logits = q_x @ rearrange(memory, "n m cin -> n cin m")
    if r_m is not None:
        logits = logits + rearrange(q @ r_m, "h n m -> n h m")
    weights = (scale * logits).softmax(dim=-1)
    seen = rearrange(weights @ memory, "n h cin -> h n cin")
    y = seen @ rearrange(W_V, "(h c) cin -> h cin c", h=num_heads)
    return rearrange(y, "h n c -> n (h c)"), weights


def projected(
    query: Vector, memory: Memory, W_Q: QueryProjection, W_K: MemoryProjection, W_V: MemoryProjection, num_heads: int,
    r_m: Offsets | None = None, scale: float | int | torch.Tensor = 1.0,
) -> tuple[Vector, Weights]:  # fmt: skip
    """The fewest kernels: two products, of the query and of the memory; the rest are sums that a compiler joins.

    ``qᵀk_m + qᵀr_m = qᵀ(k_m + r_m)``. A memory comes pixel by pixel, as EVA lays it out, so that nothing is copied.
    """
    q = rearrange(F.linear(query, W_Q), "n (h c) -> n h c", h=num_heads)
    both = F.linear(rearrange(memory, "n m cin -> m n cin"), torch.cat([W_K, W_V]))
    k_m, v_m = rearrange(both, "m n (two h c) -> m n two h c", two=2, h=num_heads).unbind(2)
    if r_m is not None:
        k_m = k_m + rearrange(r_m, "h c m -> m 1 h c")
    logits = (q * k_m).sum(dim=-1)
    weights = (scale * logits).softmax(dim=0)
    y = (rearrange(weights, "m n h -> m n h 1") * v_m).sum(dim=0)
    return rearrange(y, "n h c -> n (h c)"), rearrange(weights, "m n h -> n h m")
