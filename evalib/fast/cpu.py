"""Equation 3 over whole maps, for a CPU.

``shifted`` makes k² products of whole maps, with its derivative; its work grows with k².
``over_the_map`` is attention over all pixels, which is faster where the window is a good part of
the map. r joins a row half and a column half, so ``qᵀr_{a−i,b−j} = row_a + col_b``: 2k products a
query, and not k².
"""

from collections.abc import Iterator

import torch
from einops import einsum, rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

CACHED, CHUNK = 2**19, 16
"""What is taken at a time: entries of q for each thread, so that they stay in its cache, but no
fewer images.
"""


def chunks(x: Float[Tensor, "n cin i j"], channels: int) -> tuple[Tensor, ...]:
    """The batch in parts computed one after the other: what the caches of a CPU hold, all of it
    elsewhere.

    A graph that is recorded, for any batch, holds it as one.
    """
    if x.device.type != "cpu" or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return (x,)
    return x.split(
        max(CHUNK, torch.get_num_threads() * CACHED // (channels * x.shape[-2] * x.shape[-1]))
    )


def project(
    x: Float[Tensor, "n cin i j"], weight: Float[Tensor, "cout cin"]
) -> Float[Tensor, "n cout i j"]:
    """``W x`` with the batch last in memory."""
    pixels = batch_last(x)
    product = weight.to(pixels.dtype) @ pixels.flatten(1)
    return product.unflatten(1, pixels.shape[1:]).movedim(-1, 0).to(x.dtype)


def batch_last(t: Float[Tensor, "n ..."]) -> Float[Tensor, "... n"]:
    """Contiguous with the batch as last axis, at least in float32; a turned matrix is what torch
    copies fast.
    """
    turned = t.flatten(1).t().contiguous().unflatten(0, t.shape[1:])
    return turned.to(torch.promote_types(t.dtype, torch.float32))


def shifted(
    qkv: Float[Tensor, "n 3 h c i j"],
    rows: Float[Tensor, "h _ k"],
    cols: Float[Tensor, "h _ k"],
    stride: int,
    scale: float | int,
) -> tuple[Float[Tensor, "n h c _ _"], Float[Tensor, "n k k h _ _"]]:
    """Each offset (a, b) at once for all pixels, the batch last: a shift is then a view with long
    runs of memory.
    """
    q, k, v = shifted_inputs(qkv, stride, scale)
    size, half = rows.shape[-1], rows.shape[1]
    row, col = by_offset(q[:, :half], rows), by_offset(q[:, half:], cols)
    weights = q.new_full((size, size, len(q), *q.shape[2:]), -torch.inf)
    for a, b, here, there in shifts(size, stride, k.shape[2:4], q.shape[2:4]):
        logits = torch.mul(q[here], k[there]).sum(dim=1)
        weights[a, b][here] = logits.add_(row[:, a][here]).add_(col[:, b][here])
    weights.sub_(weights.amax(dim=(0, 1))).exp_()
    weights.div_(weights.sum(dim=(0, 1)))
    y = torch.zeros_like(q)
    for a, b, here, there in shifts(size, stride, k.shape[2:4], q.shape[2:4]):
        y[here].addcmul_(weights[a, b, :, None][here], v[there])
    return y.movedim(-1, 0).to(qkv.dtype), weights.movedim(-1, 0)


def shifted_backward(
    dy: Tensor,
    qkv: Tensor,
    rows: Tensor,
    cols: Tensor,
    y: Tensor,
    weights: Tensor,
    stride: int,
    scale: float | int,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of qkv, rows and cols from that of y."""
    q, k, v = shifted_inputs(qkv, stride, scale)
    weights, dy = weights.movedim(0, -1), batch_last(dy)
    size, half = rows.shape[-1], rows.shape[1]
    d_logits, dqkv = torch.zeros_like(weights), q.new_zeros(3, *k.shape)
    dq, dk, dv = (torch.zeros_like(q) if stride > 1 else dqkv[0]), dqkv[1], dqkv[2]
    for a, b, here, there in shifts(size, stride, k.shape[2:4], q.shape[2:4]):
        d_logits[a, b][here] = torch.mul(dy[here], v[there]).sum(dim=1)
        dv[there].addcmul_(weights[a, b, :, None][here], dy[here])
    d_logits.mul_(weights)
    d_logits.addcmul_(weights, d_logits.sum(dim=(0, 1)), value=-1)
    for a, b, here, there in shifts(size, stride, k.shape[2:4], q.shape[2:4]):
        d = d_logits[a, b, :, None][here]
        dq[here].addcmul_(d, k[there])
        dk[there].addcmul_(d, q[here])
    d_row = rearrange(d_logits.sum(dim=1), "a h i j n -> h a (i j n)")
    d_col = rearrange(d_logits.sum(dim=0), "b h i j n -> h b (i j n)")
    pixels = q.flatten(2)
    d_rows, d_cols = pixels[:, :half] @ d_row.mT, pixels[:, half:] @ d_col.mT
    dq[:, :half] += (rows.to(q.dtype) @ d_row).view_as(dq[:, :half])
    dq[:, half:] += (cols.to(q.dtype) @ d_col).view_as(dq[:, half:])
    if scale != 1:
        dq.mul_(scale)
    if stride > 1:
        dqkv[0][:, :, ::stride, ::stride] = dq
    return dqkv.movedim(-1, 0).to(qkv.dtype), d_rows, d_cols


def shifted_inputs(qkv: Tensor, stride: int, scale: float | int) -> tuple[Tensor, Tensor, Tensor]:
    """q (scaled, strided), k and v, ``h c i j n``."""
    q, k, v = qkv.unbind(1)
    q, k, v = (batch_last(t) for t in (q[..., ::stride, ::stride], k, v))
    return (q if scale == 1 else scale * q), k, v


def by_offset(q: Tensor, table: Tensor) -> Tensor:
    """q·r of the channels that a table has, for each of its offsets: ``h k i j n``."""
    return (table.to(q.dtype).mT @ q.flatten(2)).unflatten(2, q.shape[2:])


def shifts(size: int, stride: int, extent: torch.Size, queries: torch.Size) -> Iterator[tuple]:
    """For each (a, b): the queries whose window position (a, b) is inside the image, and the pixels
    there.
    """
    for a in range(size):
        for b in range(size):
            rows_here, rows_there = span(a - size // 2, stride, extent[0], queries[0])
            cols_here, cols_there = span(b - size // 2, stride, extent[1], queries[1])
            here = ..., rows_here, cols_here, slice(None)
            there = ..., rows_there, cols_there, slice(None)
            yield a, b, here, there


def span(offset: int, stride: int, extent: int, queries: int) -> tuple[slice, slice]:
    """Along one axis: the queries i with ``0 ≤ i·stride + offset < extent``, and those pixels."""
    first = max(0, -(offset // stride))
    last = min(queries, (extent - 1 - offset) // stride + 1)
    if first >= last:
        return slice(0), slice(0)
    pixels = slice(first * stride + offset, (last - 1) * stride + offset + 1, stride)
    return slice(first, last), pixels


def over_the_map(
    qkv: Float[Tensor, "n 3 h c i j"],
    rows: Float[Tensor, "h _ k"],
    cols: Float[Tensor, "h _ k"],
    stride: int,
    scale: float | int,
) -> Float[Tensor, "n h c _ _"]:
    """Attention of each query over all pixels, qᵀr added to the logits, −∞ where a pixel is outside
    the window.
    """
    q, k, v = qkv.unbind(1)
    q = q[..., ::stride, ::stride]
    row, col = q.split([rows.shape[1], cols.shape[1]], dim=2)
    row = scale * einsum(row, rows.to(q.dtype), "n h c i j, h c a -> n h i j a")
    col = scale * einsum(col, cols.to(q.dtype), "n h c i j, h c b -> n h i j b")
    above, beside = (position(k.shape[axis], rows.shape[-1], stride, q) for axis in (-2, -1))
    row = at_pixels(row, repeat(above, "i m -> i j m", j=q.shape[-1]))
    col = at_pixels(col, repeat(beside, "j m -> i j m", i=q.shape[-2]))
    logits = rearrange(row, "n h i j a -> n h i j a 1") + rearrange(col, "n h i j b -> n h i j 1 b")
    q, k, v = (rearrange(t, "n h c i j -> n h (i j) c") for t in (q, k, v))
    logits = rearrange(logits, "n h i j a b -> n h (i j) (a b)")
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=logits, scale=scale)
    return rearrange(y, "n h (i j) c -> n h c i j", j=-(-qkv.shape[-1] // stride))


def position(extent: int, size: int, stride: int, like: Tensor) -> Int[Tensor, "i m"]:
    """Along one axis: at which of the ``size`` offsets query i sees pixel m, ``size`` where it does
    not.
    """
    pixel = torch.arange(extent, device=like.device)
    offset = pixel - pixel[::stride, None] + size // 2
    return torch.where((offset < 0) | (offset >= size), size, offset)


def at_pixels(
    logits: Float[Tensor, "n h i j k"], position: Int[Tensor, "i j m"]
) -> Float[Tensor, "n h i j m"]:
    """The logit of each pixel of the axis from those of the offsets, −∞ outside the window."""
    unseen = F.pad(logits, (0, 1), value=-torch.inf)
    return unseen.gather(-1, position.expand(*logits.shape[:2], -1, -1, -1))
