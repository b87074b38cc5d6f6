"""Equations 1 to 3 of the paper, each as the lines of einops that say it, and where the pixels of a
window or ring are.

Axis letters, here and everywhere: n batch, h heads, c channels, i row, j column of a pixel;
a row, b column inside a window; m pixel of a ring; s slot; d model channels.
"""

import torch
from einops import einsum, rearrange, repeat
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.nn import functional as F

Map = Float[Tensor, "n cin i j"]
Out = Float[Tensor, "n cout _ _"]
Heads = Float[Tensor, "n h c i j"]
HeadsOut = Float[Tensor, "n h c _ _"]
Table = Float[Tensor, "h half k"]
Vector = Float[Tensor, "n d"]
Memory = Float[Tensor, "n m cin"]
Weights = Float[Tensor, "n h m"]


def convolution(x: Map, weight: Float[Tensor, "cout cin k k"], stride: int = 1) -> Out:
    """Eq. 1: ``y_ij = Σ_ab W_ab x_ab`` over the window N_k(i, j), zero outside the image ("same"
    padding).

    The kernel is not flipped (cross-correlation, departure D1). ``ValueError`` if k is even.
    """
    x_ab = windows(x, weight.shape[-1], stride)
    return einsum(weight, x_ab, "cout cin a b, n cin i j a b -> n cout i j")


def local_attention(
    q: Heads,
    k: Heads,
    v: Heads,
    kernel_size: int,
    scale: float | int | Tensor = 1.0,
    stride: int = 1,
) -> HeadsOut:
    """Eq. 2: ``y_ij = Σ_ab softmax_ab(q_ijᵀ k_ab) v_ab`` over the window N_k(i, j).

    ``scale`` multiplies the logits; the paper has none (departure D4). Positions outside the image
    take no part (departure D7). With a ``stride`` only every stride-th query is answered.
    ``ValueError`` if ``kernel_size`` is even.
    """
    q_ij = q[..., ::stride, ::stride]
    k_ab, v_ab = windows(k, kernel_size, stride), windows(v, kernel_size, stride)
    content = einsum(q_ij, k_ab, "n h c i j, n h c i j a b -> n h i j a b")
    weights = softmax_ab(scale * content, inside(*k.shape[-2:], kernel_size, stride, k.device))
    return einsum(weights, v_ab, "n h i j a b, n h c i j a b -> n h c i j")


def relative_attention(
    q: Heads,
    k: Heads,
    v: Heads,
    rows: Table,
    cols: Table,
    scale: float | int | Tensor = 1.0,
    stride: int = 1,
    keep: list | None = None,
) -> HeadsOut:
    """Eq. 3: ``y_ij = Σ_ab softmax_ab(q_ijᵀ k_ab + q_ijᵀ r_{a−i,b−j}) v_ab``, ab in N_k(i, j).

    ``rows[..., a]`` and ``cols[..., b]``, c/2 channels each, belong to the offsets a − ⌊k/2⌋ and
    b − ⌊k/2⌋ (departure D2: k of them, not 2(k − 1) + 1). Everything else is as in
    :func:`local_attention`. A list ``keep`` gets both logits before the scale, and the weights,
    ``n h i j a b``.
    """
    kernel_size = check_odd(rows.shape[-1])
    q_ij = q[..., ::stride, ::stride]
    k_ab, v_ab = windows(k, kernel_size, stride), windows(v, kernel_size, stride)
    r_ab = relative_embedding(rows, cols)
    content = einsum(q_ij, k_ab, "n h c i j, n h c i j a b -> n h i j a b")
    position = einsum(q_ij, r_ab, "n h c i j, h c a b -> n h i j a b")
    weights = softmax_ab(
        scale * (content + position), inside(*k.shape[-2:], kernel_size, stride, k.device)
    )
    if keep is not None:
        keep.append((content, position, weights))
    return einsum(weights, v_ab, "n h i j a b, n h c i j a b -> n h c i j")


def single_query_attention(
    q: Float[Tensor, "n h c"],
    k_m: Float[Tensor, "n h m c"],
    v_m: Float[Tensor, "n h m c"],
    r_m: Float[Tensor, "h c m"] | None = None,
    scale: float | int | Tensor = 1.0,
) -> tuple[Float[Tensor, "n h c"], Weights]:
    """Eq. 2, or Eq. 3 with ``r_m``, of one query: ``y = Σ_m softmax_m(qᵀk_m [+ qᵀr_m]) v_m``, and
    its softmax.

    The memory has m vectors. ``scale`` multiplies the logits; the paper has none (departure D4).
    Source: §3.1.
    """
    logits = einsum(q, k_m, "n h c, n h m c -> n h m")
    if r_m is not None:
        logits = logits + einsum(q, r_m, "n h c, h c m -> n h m")
    weights = (scale * logits).softmax(dim=-1)
    return einsum(weights, v_m, "n h m, n h m c -> n h c"), weights


def relative_embedding(rows: Table, cols: Table) -> Float[Tensor, "h c k k"]:
    """``r_{a−i,b−j}``: the row embedding and the column embedding of an offset, concatenated on the
    channels.
    """
    check_tables(rows, cols)
    k = rows.shape[-1]
    return torch.cat(
        [repeat(rows, "h c a -> h c a b", b=k), repeat(cols, "h c b -> h c a b", a=k)], dim=1
    )


def check_tables(rows: Tensor, cols: Tensor) -> None:
    """``ValueError`` unless the tables of row and column embeddings have one shape."""
    if rows.shape != cols.shape:
        given = f"rows {tuple(rows.shape)} and cols {tuple(cols.shape)}"
        raise ValueError(f"{given} must have one shape, (h, c/2, k)")


def softmax_ab(
    logits: Float[Tensor, "n h i j a b"], inside: Bool[Tensor, "i j a b"]
) -> Float[Tensor, "n h i j a b"]:
    """A softmax over the positions ab of each window together, zero where ``inside`` is false."""
    joint = rearrange(logits.masked_fill(~inside, -torch.inf), "n h i j a b -> n h i j (a b)")
    return rearrange(joint.softmax(dim=-1), "n h i j (a b) -> n h i j a b", a=logits.shape[-2])


def windows(
    x: Shaped[Tensor, "*batch i j"], kernel_size: int, stride: int = 1
) -> Shaped[Tensor, "*batch _ _ a b"]:
    """The k×k neighbourhood N_k(i, j) of every ``stride``-th pixel, zero outside the image; a view,
    not a copy.

    Entry (a, b) of the window at (i, j) is pixel (i + a − ⌊k/2⌋, j + b − ⌊k/2⌋). Source: §2.1.
    """
    half = check_odd(kernel_size) // 2
    if stride < 1:
        raise ValueError(f"stride={stride} must be 1 or more")
    return (
        F.pad(x, (half, half, half, half))
        .unfold(-2, kernel_size, stride)
        .unfold(-2, kernel_size, stride)
    )


def inside(
    height: int, width: int, kernel_size: int, stride: int = 1, device=None
) -> Bool[Tensor, "i j a b"]:
    """True where entry (a, b) of the window at (i, j) lies inside the image."""
    return windows(torch.ones(height, width, device=device), kernel_size, stride) > 0


def ring(radius: int) -> Int[Tensor, "2 m"]:
    """Row and column offsets of the pixels at Chebyshev distance ``radius`` from a centre, in
    row-major order.

    ``radius`` 0, 1, 2, 3 gives m = 1, 8, 16, 24. Source: §3.1, the masked memory blocks.
    """
    if radius < 0:
        raise ValueError(f"radius={radius} must be 0 or more")
    offset = torch.arange(-radius, radius + 1, device="cpu")  # the meta device finds no pixels
    row, column = torch.meshgrid(offset, offset, indexing="ij")
    return torch.argwhere(torch.maximum(row.abs(), column.abs()) == radius).T - radius


def check_map(x: Tensor) -> None:
    """``ValueError`` unless ``x`` is a batch of maps."""
    if x.ndim != 4:
        raise ValueError(
            f"a map is n c i j, and this is {tuple(x.shape)}: one image is image[None]"
        )


def check_odd(extent: int, name: str = "kernel_size") -> int:
    """Return ``extent`` if a window of it has a centre pixel, else raise ``ValueError``."""
    if isinstance(extent, tuple | list) or extent < 1 or extent % 2 == 0:
        raise ValueError(
            f"{name}={extent} has no centre pixel: choose an odd, positive extent, such as 3 or 7"
        )
    return extent
