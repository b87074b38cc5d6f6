"""Equations 2 and 3 and EVA's attention again: the functions of equations.py, arranged for speed.

``window`` has the operator that window attention is, and the rule that chooses how: ``kernels`` on a GPU, ``maps`` on a
CPU. Each is tested equal to the literal form, at every shape.
"""

from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from evalib.fast.window import local_attention, relative_attention, self_attention

__all__ = ["local_attention", "relative_attention", "self_attention", "single_query_attention"]


def single_query_attention(
    query: Float[Tensor, "n d"],
    memory: Float[Tensor, "n m cin"],
    W_Q: Float[Tensor, "d d"],
    W_K: Float[Tensor, "d cin"],
    W_V: Float[Tensor, "d cin"],
    num_heads: int,
    r_m: Float[Tensor, "h c m"] | None = None,
    scale: float | int = 1.0,
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n h m"]]:
    """EVA's attention, as :func:`evalib.equations.single_query_attention`, with no vector of the memory projected.

    ``qᵀ(W_K x_m) = (W_Kᵀq)ᵀ x_m`` and ``Σ_m a_m W_V x_m = W_V Σ_m a_m x_m``: one projection a head, not one a pixel.
    """
    q = rearrange(F.linear(query, W_Q), "n (h c) -> h n c", h=num_heads)
    absorbed = rearrange(q @ rearrange(W_K, "(h c) cin -> h c cin", h=num_heads), "h n cin -> n h cin")
    logits = absorbed @ rearrange(memory, "n m cin -> n cin m")
    if r_m is not None:
        logits = logits + rearrange(q @ r_m, "h n m -> n h m")
    weights = (logits if scale == 1 else scale * logits).softmax(dim=-1)
    seen = rearrange(weights @ memory, "n h cin -> h n cin")
    y = seen @ rearrange(W_V, "(h c) cin -> h cin c", h=num_heads)
    return rearrange(y, "h n c -> n (h c)"), weights
