"""Window attention by the kernels: what they are compiled for, how they are launched, and the tensors that they fill."""

from typing import NamedTuple

import torch
import triton
from torch import Tensor

from evalib.fast.kernels import backward_kernel, forward_kernel


class Launch(NamedTuple):
    """How a kernel is run: rows and columns of a tile, the most pixels met at a time, warps a program."""

    rows: int
    cols: int
    block: int
    warps: int


def launch(channels: int, high: int, wide: int) -> Launch:
    """A tile of up to 64 pixels, whole rows of them where they are short, and 64 pixels at a time."""
    cols = min(triton.next_power_of_2(wide), 16 if high > 8 else 64)
    rows = max(min(64 // cols, triton.next_power_of_2(high)), 16 // cols, 1)
    return Launch(rows, cols, 64, 4)


def block(most: int, rows: int, cols: int) -> int:
    """How many of rows × cols pixels are met at a time: a power of two, 16 at least as a matrix product asks for."""
    return max(16, min(most, triton.next_power_of_2(rows * cols)))


def query_constants(c: int, rows: Tensor, stride: int, height: int, width: int, how: Launch) -> dict:
    """What a kernel is compiled for: the widths of a head, and a tile of queries with the pixels that it sees."""
    size = rows.shape[2]
    reach_rows, reach_cols = (
        min(extent, (tile - 1) * stride + size) for extent, tile in ((height, how.rows), (width, how.cols))
    )
    return {
        "CHANNELS": c,
        "HALF": rows.shape[1],
        "SIZE": size,
        "STRIDE": stride,
        "LANES": max(16, triton.next_power_of_2(c)),
        "OFFSETS": max(16, triton.next_power_of_2(size)),
        "TILE_I": how.rows,
        "TILE_J": how.cols,
        "ROWS": reach_rows,
        "COLS": reach_cols,
        "KEYS": block(how.block, reach_rows, reach_cols),
    }


def key_constants(size: int, stride: int, high: int, wide: int, how: Launch) -> dict:
    """The same for a tile of pixels with the queries that see it."""
    reach_high, reach_wide = (
        min(extent, (tile + size - 2) // stride + 1) for extent, tile in ((high, how.rows), (wide, how.cols))
    )
    return {
        "TILE_ROWS": how.rows,
        "TILE_COLS": how.cols,
        "HIGH": reach_high,
        "WIDE": reach_wide,
        "QUERIES": block(how.block, reach_high, reach_wide),
    }


def tiles(high: int, wide: int, how: Launch) -> int:
    return triton.cdiv(high, how.rows) * triton.cdiv(wide, how.cols)


def forward(
    qkv: Tensor, rows: Tensor, cols: Tensor, stride: int, scale: float, how: Launch | None = None
) -> tuple[Tensor, Tensor]:
    """y, ``n h c i' j'`` in the memory layout ``n i' j' h c``, and lse, ``n h i' j'``, of qkv, ``n 3 h c i j``."""
    n, _, h, c, height, width = qkv.shape
    high, wide = -(-height // stride), -(-width // stride)
    y = qkv.new_empty(n, high, wide, h, c).permute(0, 3, 4, 1, 2)
    lse = qkv.new_empty(n, h, high, wide, dtype=torch.float32)
    how = how or launch(c, high, wide)
    q, k, v = qkv.unbind(1)
    forward_kernel[n * h, tiles(high, wide, how)](
        q, k, v, rows.contiguous(), cols.contiguous(), y, lse, scale, h, height, width, high, wide,
        *q.stride(), *y.stride(),
        **query_constants(c, rows, stride, height, width, how), num_warps=how.warps,
    )  # fmt: skip
    return y, lse


def backward(
    dy: Tensor, qkv: Tensor, rows: Tensor, cols: Tensor, y: Tensor, lse: Tensor, stride: int, scale: float,
    how: Launch | None = None, key_how: Launch | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The gradient of qkv, and those of rows and cols, one after the other, summed in float32."""
    n, _, h, c, height, width = qkv.shape
    high, wide = y.shape[-2:]
    how, key_how = how or launch(c, high, wide), key_how or launch(c, height, width)
    key_how = key_how._replace(warps=how.warps)
    query_tiles = tiles(high, wide, how)
    dqkv = torch.empty_like(qkv)
    parts = qkv.new_empty(n * query_tiles, rows.numel() + cols.numel(), dtype=torch.float32)
    (q, k, v), (dq, dk, dv) = qkv.unbind(1), dqkv.unbind(1)
    backward_kernel[n * h, query_tiles + tiles(height, width, key_how)](
        q, k, v, rows.contiguous(), cols.contiguous(), y, lse, dy, dq, dk, dv, parts, scale,
        h, height, width, high, wide, query_tiles, *q.stride(), *y.stride(), *dy.stride(),
        **query_constants(c, rows, stride, height, width, how),
        **key_constants(rows.shape[2], stride, high, wide, key_how), num_warps=how.warps,
    )  # fmt: skip
    return dqkv, parts.sum(dim=0)
