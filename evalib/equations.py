"""Equations 1 to 3 of the paper, each as the lines of einops that say it."""

import torch
from einops import einsum, rearrange, repeat
from jaxtyping import Bool, Float
from torch import Tensor

from evalib.geometry import check_kernel_size, inside, windows


def convolution(
    x: Float[Tensor, "n cin i j"], weight: Float[Tensor, "cout cin k k"], stride: int = 1
) -> Float[Tensor, "n cout _ _"]:
    """Eq. 1: ``y_ij = Σ_ab W_ab x_ab`` over the window N_k(i, j), zero outside the image ("same" padding).

    The kernel is not flipped (cross-correlation, departure D1). ``ValueError`` if k is even.
    """
    x_window = windows(x, weight.shape[-1], stride)
    return einsum(x_window, weight, "n cin i j a b, cout cin a b -> n cout i j")


def local_attention(
    q: Float[Tensor, "n h c i j"],
    k: Float[Tensor, "n h c i j"],
    v: Float[Tensor, "n h c i j"],
    kernel_size: int,
    scale: float | int = 1.0,
    stride: int = 1,
) -> Float[Tensor, "n h c _ _"]:
    """Eq. 2: ``y_ij = Σ_ab softmax_ab(q_ijᵀ k_ab) v_ab`` over the window N_k(i, j).

    ``scale`` multiplies the logits; the paper has none. Positions outside the image take no part. With a
    ``stride`` only every stride-th query is answered. ``ValueError`` if ``kernel_size`` is even.
    """
    key, value = windows(k, kernel_size, stride), windows(v, kernel_size, stride)
    query = q[..., ::stride, ::stride]
    content = einsum(query, key, "n h c i j, n h c i j a b -> n h i j a b")
    weights = softmax_ab(scale * content, inside(*k.shape[-2:], kernel_size, stride, k.device))
    return einsum(weights, value, "n h i j a b, n h c i j a b -> n h c i j")


def relative_attention(
    q: Float[Tensor, "n h c i j"],
    k: Float[Tensor, "n h c i j"],
    v: Float[Tensor, "n h c i j"],
    rows: Float[Tensor, "h half k"],
    cols: Float[Tensor, "h half k"],
    scale: float | int = 1.0,
    stride: int = 1,
) -> Float[Tensor, "n h c _ _"]:
    """Eq. 3: ``y_ij = Σ_ab softmax_ab(q_ijᵀ k_ab + q_ijᵀ r_{a−i,b−j}) v_ab`` over the window N_k(i, j).

    ``rows[..., a]`` and ``cols[..., b]``, c/2 channels each, belong to the offsets a − ⌊k/2⌋ and b − ⌊k/2⌋
    (departure D2: k of them, not 2(k − 1) + 1). Everything else is as in :func:`local_attention`.
    """
    kernel_size = check_kernel_size(rows.shape[-1])
    key, value = windows(k, kernel_size, stride), windows(v, kernel_size, stride)
    query, r = q[..., ::stride, ::stride], relative_embedding(rows, cols)
    content = einsum(query, key, "n h c i j, n h c i j a b -> n h i j a b")
    position = einsum(query, r, "n h c i j, h c a b -> n h i j a b")
    weights = softmax_ab(scale * (content + position), inside(*k.shape[-2:], kernel_size, stride, k.device))
    return einsum(weights, value, "n h i j a b, n h c i j a b -> n h c i j")


def single_query_attention(
    query: Float[Tensor, "n d"],
    memory: Float[Tensor, "n m cin"],
    W_Q: Float[Tensor, "d d"],
    W_K: Float[Tensor, "d cin"],
    W_V: Float[Tensor, "d cin"],
    num_heads: int,
    r: Float[Tensor, "h c m"] | None = None,
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n h m"]]:
    """Eq. 2, or Eq. 3 with ``r``, for one query: ``y = Σ_m softmax_m(qᵀk_m [+ qᵀr_m]) v_m``, and its softmax.

    ``q = W_Q query``, ``k_m = W_K x_m`` and ``v_m = W_V x_m`` for the vectors x_m of the memory. Source: §3.1.
    """
    q = rearrange(query @ W_Q.T, "n (h c) -> n h c", h=num_heads)
    k = rearrange(memory @ W_K.T, "n m (h c) -> n h m c", h=num_heads)
    v = rearrange(memory @ W_V.T, "n m (h c) -> n h m c", h=num_heads)
    logits = einsum(q, k, "n h c, n h m c -> n h m")
    if r is not None:
        logits = logits + einsum(q, r, "n h c, h c m -> n h m")
    weights = logits.softmax(dim=-1)
    y = einsum(weights, v, "n h m, n h m c -> n h c")
    return rearrange(y, "n h c -> n (h c)"), weights


def relative_embedding(rows: Float[Tensor, "h half k"], cols: Float[Tensor, "h half k"]) -> Float[Tensor, "h c k k"]:
    """``r_{a−i,b−j}``: the row embedding and the column embedding of an offset, concatenated on the channels."""
    if rows.shape != cols.shape:
        raise ValueError(f"rows {tuple(rows.shape)} and cols {tuple(cols.shape)} must have one shape, (h, c/2, k)")
    k = rows.shape[-1]
    return torch.cat([repeat(rows, "h c a -> h c a b", b=k), repeat(cols, "h c b -> h c a b", a=k)], dim=1)


def softmax_ab(logits: Float[Tensor, "n h i j a b"], inside: Bool[Tensor, "i j a b"]) -> Float[Tensor, "n h i j a b"]:
    """A softmax over the positions ab of each window together, zero where ``inside`` is false."""
    a, b = logits.shape[-2:]
    joint = rearrange(logits.masked_fill(~inside, -torch.inf), "n h i j a b -> n h i j (a b)")
    return rearrange(joint.softmax(dim=-1), "n h i j (a b) -> n h i j a b", a=a, b=b)
