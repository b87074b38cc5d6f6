"""Equations 2 and 3 and EVA's attention again: the functions of equations.py, arranged for speed.

A window's attention has three formulations here, each tested equal to the literal one, at every shape:
``shifted``, k² products of whole maps: its work grows with k²; ``dense``, one attention over all pixels: its work
grows with the map, whatever k is; ``fused``, the same through ``F.scaled_dot_product_attention``, for GPUs (it has not
been timed on one yet).
:func:`formulation` is the rule that chooses. All take q already scaled and strided, and q·r as ``row`` and ``col``:
r joins a row half and a column half, so ``qᵀr_{a−i,b−j} = row_a + col_b``, 2k products and not k².
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from evalib.equations import Heads, HeadsOut, check_odd

CACHED, CHUNK = 2**19, 16
"""What a CPU takes at a time: entries of q for each thread, so that they stay in its cache, but no fewer images."""


def local_attention(
    q: Heads, k: Heads, v: Heads, kernel_size: int, scale: float | int = 1.0, stride: int = 1
) -> HeadsOut:
    """Eq. 2, as :func:`evalib.equations.local_attention`: Eq. 3 with r = 0."""
    h, c = q.shape[1:3]
    rows, cols = q.new_zeros(h, c // 2, kernel_size), q.new_zeros(h, c - c // 2, kernel_size)
    return relative_attention(q, k, v, rows, cols, scale, stride)


def relative_attention(
    q: Heads,
    k: Heads,
    v: Heads,
    rows: Float[Tensor, "h _ k"],
    cols: Float[Tensor, "h _ k"],
    scale: float | int = 1.0,
    stride: int = 1,
) -> HeadsOut:
    """Eq. 3, as :func:`evalib.equations.relative_attention`."""
    kernel_size = check_odd(rows.shape[-1])
    if stride < 1:
        raise ValueError(f"stride={stride} must be 1 or more")
    query = q[..., ::stride, ::stride]
    return formulation(kernel_size, k)(query if scale == 1 else scale * query, k, v, rows, cols, stride)


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


def self_attention(
    x: Float[Tensor, "n cin i j"],
    W_Q: Float[Tensor, "cout cin 1 1"],
    W_K: Float[Tensor, "cout cin 1 1"],
    W_V: Float[Tensor, "cout cin 1 1"],
    rows: Float[Tensor, "h half k"],
    cols: Float[Tensor, "h half k"],
    num_heads: int,
    stride: int = 1,
    scale: float | int = 1.0,
) -> Float[Tensor, "n cout _ _"]:
    """Eq. 3 with its projections, as :func:`evalib.attention.self_attention`, for as many images at a time as fit."""

    def mix(images: Tensor) -> Tensor:
        projected = project(images, [W_Q, W_K, W_V], rows.shape[-1])
        q, k, v = (rearrange(t, "n (h c) i j -> n h c i j", h=num_heads) for t in projected)
        y = relative_attention(q, k, v, rows, cols, scale, stride)
        return batch_first(rearrange(y, "n h c i j -> n (h c) i j"))

    return torch.cat([mix(images) for images in chunks(x, len(W_Q))])


def chunks(x: Float[Tensor, "n cin i j"], channels: int) -> tuple[Tensor, ...]:
    """The batch in parts computed one after the other: what the caches of a CPU hold, all of it elsewhere."""
    if x.device.type != "cpu":
        return (x,)
    return x.split(max(CHUNK, torch.get_num_threads() * CACHED // (channels * x[0, 0].numel())))


def project(x: Float[Tensor, "n cin i j"], weights: list[Tensor], kernel_size: int) -> tuple[Tensor, ...]:
    """``W x``, ``n cout i j``, for each 1×1 kernel W, as one product, laid out as the formulation will read it."""
    weight = torch.cat(weights)
    if formulation(kernel_size, x) is not shifted:
        return F.conv2d(x, weight).chunk(len(weights), dim=1)
    pixels = rearrange(batch_last(x), "cin i j n -> cin (i j n)")
    y = (weight.flatten(1) @ pixels).view(-1, *x.shape[2:], len(x))
    return tuple(rearrange(part, "c i j n -> n c i j") for part in y.chunk(len(weights)))


def formulation(kernel_size: int, k: Float[Tensor, "*batch i j"]) -> Callable[..., Tensor]:
    """The rule: ``fused`` on a GPU; on a CPU ``shifted``, or ``dense`` where the window is a good part of the map."""
    if k.device.type != "cpu":
        return fused
    return shifted if 4 * kernel_size**2 < k.shape[-2] * k.shape[-1] else dense


def dense(q: Tensor, k: Tensor, v: Tensor, rows: Tensor, cols: Tensor, stride: int = 1, fused: bool = False) -> Tensor:
    """Window and r as channels: ``[q, q·rows, q·cols]ᵀ[k, onehot(i), onehot(j)]``, softmax over all pixels of the map.

    q·rows is spread from k offsets to the rows of the map; a row that the window does not reach gets a logit whose
    softmax is zero, and so the columns. No mask is left: any attention over a sequence computes Eq. 3 exactly.
    """
    (height, width), (i, j) = k.shape[-2:], q.shape[-2:]
    q, k, v = (rearrange(t, "n h c i j -> n h c (i j)") for t in (q, k, v))
    q_row, q_col = q.split([rows.shape[1], cols.shape[1]], dim=2)
    row = spread(rows.mT @ q_row, repeat(reach(height, i, rows.shape[-1], stride, q.device), "m i -> m (i j)", j=j))
    col = spread(cols.mT @ q_col, repeat(reach(width, j, cols.shape[-1], stride, q.device), "m j -> m (i j)", i=i))
    eye_i, eye_j = (torch.eye(extent, dtype=k.dtype, device=k.device) for extent in (height, width))
    onehot = torch.cat([repeat(eye_i, "m i -> m (i j)", j=width), repeat(eye_j, "m j -> m (i j)", i=height)])
    q, k = torch.cat([q, row, col], dim=2), torch.cat([k, onehot.expand(*k.shape[:2], -1, -1)], dim=2)
    if fused:
        c, width = v.shape[2], -(-q.shape[2] // 8) * 8  # kernels want one head width, a multiple of 8
        q, k, v = (rearrange(F.pad(t, (0, 0, 0, width - t.shape[2])), "n h c m -> n h m c") for t in (q, k, v))
        y = rearrange(F.scaled_dot_product_attention(q, k, v, scale=1.0)[..., :c], "n h m c -> n h c m")
    else:
        y = v @ (k.mT @ q).softmax(dim=-2)
    return rearrange(y, "n h c (i j) -> n h c i j", i=i)


fused = partial(dense, fused=True)


def reach(extent: int, queries: int, size: int, stride: int, device: torch.device) -> Int[Tensor, "m i"]:
    """The window position at which query i sees pixel m along one axis, k where it does not see it."""
    m, i = (torch.arange(length, device=device) for length in (extent, queries))
    offset = m[:, None] - stride * i + size // 2
    return torch.where((offset < 0) | (offset >= size), size, offset)


def spread(logits: Float[Tensor, "n h k p"], position: Int[Tensor, "m p"]) -> Float[Tensor, "n h m p"]:
    """The logit of each of m rows or columns of the map, from those of the k offsets."""
    unseen = -min(1e9, torch.finfo(logits.dtype).max / 8)
    return F.pad(logits, (0, 0, 0, 1), value=unseen).gather(2, position.expand(*logits.shape[:2], -1, -1))


def shifted(q: Tensor, k: Tensor, v: Tensor, rows: Tensor, cols: Tensor, stride: int = 1) -> Tensor:
    """Each offset (a, b) at once for all pixels, the batch last: a shift is then a view with long runs of memory."""
    dtype, (q, k, v) = q.dtype, map(batch_last, (q, k, v))
    row, col = (
        (table.to(q.dtype).mT @ half.flatten(2)).unflatten(2, q.shape[2:])
        for table, half in zip((rows, cols), q.split([rows.shape[1], cols.shape[1]], dim=1), strict=True)
    )
    return rearrange(Shifted.apply(q, k, v, row, col, stride), "h c i j n -> n h c i j").to(dtype)


def batch_last(t: Float[Tensor, "n ..."]) -> Float[Tensor, "... n"]:
    """Contiguous with the batch as last axis, at least in float32; a turned matrix is what torch copies fast."""
    turned = t.flatten(1).t().contiguous().unflatten(0, t.shape[1:])
    return turned.to(torch.promote_types(t.dtype, torch.float32))


def batch_first(t: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
    """Contiguous in the order of the axes, from the layout of :func:`batch_last` too."""
    return t.flatten(1).contiguous().unflatten(1, t.shape[1:])


class Shifted(torch.autograd.Function):
    """Eq. 3 as a loop over offsets with its derivative: ``h c i j n``, row and col ``h k i j n``."""

    @staticmethod
    def forward(ctx, q, k, v, row, col, stride):
        size = row.shape[1]
        ctx.shifts = list(shifts(size, stride, k.shape[2:4], q.shape[2:4]))
        weights = q.new_full((size, size, len(q), *q.shape[2:]), -torch.inf)
        for a, b, here, there in ctx.shifts:
            logits = torch.mul(q[here], k[there]).sum(dim=1)
            weights[a, b][here] = logits.add_(row[:, a][here]).add_(col[:, b][here])
        weights.sub_(weights.amax(dim=(0, 1))).exp_()
        weights.div_(weights.sum(dim=(0, 1)))
        y = torch.zeros_like(q)
        for a, b, here, there in ctx.shifts:
            y[here].addcmul_(weights[a, b, :, None][here], v[there])
        ctx.save_for_backward(q, k, v, weights)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        q, k, v, weights = ctx.saved_tensors
        dy, d_logits = dy.flatten(0, 3).contiguous().view_as(q), torch.zeros_like(weights)
        dq, dk, dv = torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(v)
        for a, b, here, there in ctx.shifts:
            d_logits[a, b][here] = torch.mul(dy[here], v[there]).sum(dim=1)
            dv[there].addcmul_(weights[a, b, :, None][here], dy[here])
        d_logits.mul_(weights)
        d_logits.addcmul_(weights, d_logits.sum(dim=(0, 1)), value=-1)
        for a, b, here, there in ctx.shifts:
            d = d_logits[a, b, :, None][here]
            dq[here].addcmul_(d, k[there])
            dk[there].addcmul_(d, q[here])
        d_row, d_col = (rearrange(d_logits.sum(dim=axis), "k h i j n -> h k i j n") for axis in (1, 0))
        return dq, dk, dv, d_row, d_col, None


def shifts(size: int, stride: int, extent: torch.Size, queries: torch.Size) -> Iterator[tuple]:
    """For each (a, b): the queries whose window position (a, b) is inside the image, and the pixels there."""
    for a in range(size):
        for b in range(size):
            spans = [span(o - size // 2, stride, m, i) for o, m, i in zip((a, b), extent, queries, strict=True)]
            here, there = ((..., *axes, slice(None)) for axes in zip(*spans, strict=True))
            yield a, b, here, there


def span(offset: int, stride: int, extent: int, queries: int) -> tuple[slice, slice]:
    """Along one axis: the queries i with ``0 ≤ i·stride + offset < extent``, and those pixels."""
    first = max(0, -(offset // stride))
    last = min(queries, (extent - 1 - offset) // stride + 1)
    if first >= last:
        return slice(0), slice(0)
    return slice(first, last), slice(first * stride + offset, (last - 1) * stride + offset + 1, stride)
