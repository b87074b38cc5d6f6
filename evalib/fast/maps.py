"""Equation 3 over whole maps, for a CPU: two formulations, each with its derivative, each equal to the literal one.

``shifted``: k² products of whole maps; its work grows with k². ``dense``: one attention over all pixels of the map; its
work grows with the map, whatever k is. r joins a row half and a column half, so ``qᵀr_{a−i,b−j} = row_a + col_b``: 2k
products a query, and not k². Both keep the weights for the backward pass, batch first in the order of their axes.
"""

from collections.abc import Iterator

import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F


def batch_last(t: Float[Tensor, "n ..."]) -> Float[Tensor, "... n"]:
    """Contiguous with the batch as last axis, at least in float32; a turned matrix is what torch copies fast."""
    turned = t.flatten(1).t().contiguous().unflatten(0, t.shape[1:])
    return turned.to(torch.promote_types(t.dtype, torch.float32))


def batch_first(t: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
    """Contiguous in the order of the axes from the layout of :func:`batch_last`; as it is from another."""
    if t.device.type != "cpu":
        return t
    return t.flatten(1).contiguous().unflatten(1, t.shape[1:])


def shifted(
    qkv: Float[Tensor, "n 3 h c i j"],
    rows: Float[Tensor, "h _ k"],
    cols: Float[Tensor, "h _ k"],
    stride: int,
    scale: float,
) -> tuple[Float[Tensor, "n h c _ _"], Float[Tensor, "n k k h _ _"]]:
    """Each offset (a, b) at once for all pixels, the batch last: a shift is then a view with long runs of memory."""
    q, k, v, row, col = shifted_inputs(qkv, rows, cols, stride, scale)
    size = rows.shape[-1]
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
    dy: Tensor, qkv: Tensor, rows: Tensor, cols: Tensor, y: Tensor, weights: Tensor, stride: int, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of qkv, rows and cols from that of y."""
    q, k, v, _, _ = shifted_inputs(qkv, rows, cols, stride, scale, logits=False)
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
    d_row, d_col = (rearrange(d_logits.sum(dim=axis), "k h i j n -> h k (i j n)") for axis in (1, 0))
    pixels = q.flatten(2)
    d_rows, d_cols = pixels[:, :half] @ d_row.mT, pixels[:, half:] @ d_col.mT
    dq[:, :half] += (rows.to(q.dtype) @ d_row).view_as(dq[:, :half])
    dq[:, half:] += (cols.to(q.dtype) @ d_col).view_as(dq[:, half:])
    if scale != 1:
        dq.mul_(scale)
    if stride > 1:
        dqkv[0][:, :, ::stride, ::stride] = dq
    return dqkv.movedim(-1, 0).to(qkv.dtype), d_rows, d_cols


def shifted_inputs(qkv: Tensor, rows: Tensor, cols: Tensor, stride: int, scale: float, logits: bool = True) -> list:
    """q (scaled, strided), k and v, ``h c i j n``, and q·r, ``h k i j n``."""
    q, k, v = qkv.unbind(1)
    q, k, v = (batch_last(t) for t in (q[..., ::stride, ::stride], k, v))
    q = q if scale == 1 else scale * q
    if not logits:
        return [q, k, v, None, None]
    pairs = zip((rows, cols), q.split([rows.shape[1], cols.shape[1]], dim=1), strict=True)
    return [q, k, v, *((r.to(q.dtype).mT @ part.flatten(2)).unflatten(2, q.shape[2:]) for r, part in pairs)]


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


def dense(
    qkv: Float[Tensor, "n 3 h c i j"],
    rows: Float[Tensor, "h _ k"],
    cols: Float[Tensor, "h _ k"],
    stride: int,
    scale: float,
) -> tuple[Float[Tensor, "n h c _ _"], Float[Tensor, "n h _ _"]]:
    """Window and r as channels: ``[q, q·rows, q·cols]ᵀ[k, onehot(i), onehot(j)]``, softmax over all pixels of the map.

    q·rows is spread from k offsets to the rows of the map; a row that the window does not reach gets a logit whose
    softmax is zero, and so the columns. No mask is left; where a value is not finite, :func:`shifted` gives y.
    """
    q, k, v = dense_inputs(qkv, rows, cols, stride, scale)
    weights = (k.mT @ q).softmax(dim=-2)
    y = (v @ weights).unflatten(-1, (-1, -(-qkv.shape[-1] // stride)))
    return (shifted(qkv, rows, cols, stride, scale)[0].contiguous() if spoilt(y) else y), weights


def spoilt(t: Tensor) -> bool:
    """Whether what a CPU computed is not finite: over whole maps, zero times NaN or infinity leaves the window."""
    return t.device.type == "cpu" and not t.isfinite().all()


def dense_backward(
    dy: Tensor, qkv: Tensor, rows: Tensor, cols: Tensor, y: Tensor, weights: Tensor, stride: int, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of qkv, rows and cols from that of y."""
    (c, height, width), (i, j), (_, half, size) = qkv.shape[3:], dy.shape[-2:], rows.shape
    q, k, v = dense_inputs(qkv, rows, cols, stride, scale)
    given, dy = dy, dy.flatten(-2)
    d_logits = (v.mT @ dy).sub_((dy * y.flatten(-2)).sum(dim=-2, keepdim=True)).mul_(weights)
    dq, d_row, d_col = (k @ d_logits).split([c, height, width], dim=2)
    d_row = collect(d_row, repeat(met(height, i, size, stride, dy.device), "k i -> k (i j)", j=j))
    d_col = collect(d_col, repeat(met(width, j, size, stride, dy.device), "k j -> k (i j)", i=i))
    q = q[:, :, :c]
    d_rows, d_cols = (q[:, :, :half] @ d_row.mT).sum(dim=0), (q[:, :, half:] @ d_col.mT).sum(dim=0)
    dq = dq + torch.cat([rows.to(q.dtype).matmul(d_row), cols.to(q.dtype).matmul(d_col)], dim=2)
    dqkv = qkv.new_zeros(qkv.shape) if stride > 1 else qkv.new_empty(qkv.shape)
    dqkv[:, 0, ..., ::stride, ::stride] = scale * dq.unflatten(-1, (i, j))
    dqkv[:, 1] = (q @ d_logits.mT).unflatten(-1, (height, width))
    dqkv[:, 2] = (dy @ weights.mT).unflatten(-1, (height, width))
    if spoilt(dqkv):
        kept = shifted(qkv, rows, cols, stride, scale)[1]
        dqkv, *tables = shifted_backward(given, qkv, rows, cols, y, kept, stride, scale)
        dqkv, (d_rows, d_cols) = dqkv.contiguous(), (table.to(weights.dtype) for table in tables)
    return dqkv, d_rows, d_cols


def dense_inputs(qkv: Tensor, rows: Tensor, cols: Tensor, stride: int, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """q and k with their channels for rows and columns of the map, and v: ``n h c pixel``."""
    (height, width), (n, h), (_, half, size) = qkv.shape[-2:], (qkv.shape[0], qkv.shape[2]), rows.shape
    q, k, v = qkv.unbind(1)
    q = q[..., ::stride, ::stride]
    i, j = q.shape[-2:]
    q, k, v = (t.flatten(-2) for t in (q if scale == 1 else scale * q, k, v))
    row, col = rows.to(q.dtype).mT @ q[:, :, :half], cols.to(q.dtype).mT @ q[:, :, half:]
    row = spread(row, repeat(reach(height, i, size, stride, q.device), "m i -> m (i j)", j=j))
    col = spread(col, repeat(reach(width, j, size, stride, q.device), "m j -> m (i j)", i=i))
    eye_i, eye_j = (torch.eye(extent, dtype=k.dtype, device=k.device) for extent in (height, width))
    onehot = torch.cat([repeat(eye_i, "m i -> m (i j)", j=width), repeat(eye_j, "m j -> m (i j)", i=height)])
    return torch.cat([q, row, col], dim=2), torch.cat([k, onehot.expand(n, h, -1, -1)], dim=2), v


def reach(extent: int, queries: int, size: int, stride: int, device: torch.device) -> Int[Tensor, "m i"]:
    """The window position at which query i sees pixel m along one axis, k where it does not see it."""
    m, i = (torch.arange(length, device=device) for length in (extent, queries))
    offset = m[:, None] - stride * i + size // 2
    return torch.where((offset < 0) | (offset >= size), size, offset)


def met(extent: int, queries: int, size: int, stride: int, device: torch.device) -> Int[Tensor, "k i"]:
    """The pixel at each window position of query i along one axis, ``extent`` where that is outside the map."""
    a, i = (torch.arange(length, device=device) for length in (size, queries))
    pixel = a[:, None] + stride * i - size // 2
    return torch.where((pixel < 0) | (pixel >= extent), extent, pixel)


def spread(logits: Float[Tensor, "n h k p"], position: Int[Tensor, "m p"]) -> Float[Tensor, "n h m p"]:
    """The logit of each of m rows or columns of the map, from those of the k offsets."""
    unseen = -torch.finfo(logits.dtype).max / 8
    return F.pad(logits, (0, 0, 0, 1), value=unseen).gather(2, position.expand(*logits.shape[:2], -1, -1))


def collect(gradient: Float[Tensor, "n h m p"], pixel: Int[Tensor, "k p"]) -> Float[Tensor, "n h k p"]:
    """The gradient of each of the k offsets, from those of the rows or columns of the map: ``spread``, transposed."""
    return F.pad(gradient, (0, 0, 0, 1)).gather(2, pixel.expand(*gradient.shape[:2], -1, -1))
