"""Window attention by the kernels: what they are compiled for, how they are launched, and the
tensors that they fill.
"""

import threading
from typing import NamedTuple

import torch
import triton
from einops import rearrange
from torch import Tensor

from evalib.fast.kernels import backward_kernel, forward_kernel

GRID, SMALLER = 65535, "crop or pool the map first, or attend in parts"
LAUNCH = threading.Lock()
"""Held while a kernel is launched: the first launch compiles it, which Triton does not do safely in
several threads at once.
"""


class Launch(NamedTuple):
    """How a kernel is run: rows and columns of a tile, the most pixels met at a time, warps a
    program.
    """

    rows: int
    cols: int
    block: int
    warps: int


class Launches(NamedTuple):
    """Of the forward pass, and of the backward pass for queries and for keys."""

    forward: Launch
    queries: Launch
    keys: Launch


def launches(
    c: int,
    size: int,
    stride: int,
    height: int,
    width: int,
    dtype: torch.dtype,
    capability: tuple[int, int] = (9, 0),
) -> Launches:
    """The fastest of those timed on an H200 in bfloat16, with 150 images and heads of 16 and of 64
    channels.

    Where a tile of 64 queries meets many more pixels than one of them sees, 16 queries a warp are
    faster. Not timed: in float32, where products are unrolled, tiles are small for the compiler's
    sake (16 seconds for 58, 64 channels), and for wider heads so that what a program holds fits the
    64 KiB of a T4, on which those of 64 channels take half as much.
    """
    high, wide = -(-height // stride), -(-width // stride)
    if dtype != torch.float32 and c <= 32 and size <= 3:
        if stride > 1 and high * wide > 16:
            return Launches(Launch(2, 8, 32, 1), Launch(4, 8, 32, 2), Launch(4, 8, 64, 2))
        if high * wide > 64:
            small = tile(high, wide, 32, 64)._replace(warps=2)
            return Launches(small, small, small)
    most = 64
    if dtype == torch.float32 or (c > 32 and capability < (8, 0)):
        most = 32
    if c > 64:
        most = 16
    query_tile = tile(high, wide, most, most)
    return Launches(query_tile, query_tile, tile(height, width, most, most))


def capability(device: torch.device) -> tuple[int, int]:
    """What a GPU can compute, as its maker counts; the interpreter on a CPU can all."""
    return torch.cuda.get_device_capability(device) if device.type == "cuda" else (9, 0)


def tile(high: int, wide: int, most: int, block: int) -> Launch:
    """A tile of up to ``most`` pixels of a map, 16 at least, whole rows of them where they are
    short.
    """
    cols = min(triton.next_power_of_2(wide), 16 if high > 8 else most)
    rows = max(min(most // cols, triton.next_power_of_2(high)), 16 // cols, 1)
    return Launch(rows, cols, block, 4)


def check_launch(how: Launch) -> Launch:
    """Refuse a tile of 64 pixels or more with a warp for fewer than 16.

    For a Hopper GPU Triton 3.6 gives each warp 16 rows of a matrix product of 64 rows or more: with
    more warps than that they read past the tile, which ended in an illegal memory access on an
    H200.
    """
    pixels = how.rows * how.cols
    if pixels >= 64 and 16 * how.warps > pixels:
        raise ValueError(
            f"{how}: {how.warps} warps for {pixels} pixels; take {pixels // 16} warps or fewer"
        )
    return how


def block(most: int, rows: int, cols: int) -> int:
    """How many of rows × cols pixels are met at a time: a power of two, 16 at least as a matrix
    product asks for.
    """
    return max(16, min(most, triton.next_power_of_2(rows * cols)))


def query_constants(
    c: int, rows: Tensor, stride: int, height: int, width: int, how: Launch
) -> dict:
    """What a kernel is compiled for: the widths of a head, and a tile of queries with the pixels
    that it sees.
    """
    size = rows.shape[2]
    reach_rows = min(height, (how.rows - 1) * stride + size)
    reach_cols = min(width, (how.cols - 1) * stride + size)
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
    reach_high = min(high, (how.rows + size - 2) // stride + 1)
    reach_wide = min(wide, (how.cols + size - 2) // stride + 1)
    return {
        "TILE_ROWS": how.rows,
        "TILE_COLS": how.cols,
        "HIGH": reach_high,
        "WIDE": reach_wide,
        "QUERIES": block(how.block, reach_high, reach_wide),
    }


def tiles(high: int, wide: int, how: Launch) -> int:
    """How many tiles cover the map; ``ValueError`` beyond what one axis of a grid holds."""
    count = triton.cdiv(high, how.rows) * triton.cdiv(wide, how.cols)
    if count > GRID:
        most = f"{GRID} tiles of {how.rows}×{how.cols}"
        raise ValueError(f"the map is {high}×{wide}, the kernels take {most}: {SMALLER}")
    return count


def check_offsets(t: Tensor) -> None:
    """``ValueError`` if the entries of one image lie further apart than 32 bits count, as the
    kernels do.
    """
    axes = zip(t.shape[1:], t.stride()[1:], strict=True)
    reach = sum((extent - 1) * stride for extent, stride in axes)
    if reach >= 2**31:
        raise ValueError(
            f"one image has {tuple(t.shape[1:])} entries of q, k and v, the kernels reach 2³¹:"
            f" {SMALLER}"
        )


def forward(
    qkv: Tensor,
    rows: Tensor,
    cols: Tensor,
    stride: int,
    scale: float | int,
    how: Launch | None = None,
) -> tuple[Tensor, Tensor]:
    """y, ``n h c i' j'`` in the memory layout ``n i' j' h c``, and lse, ``n h i' j'``, of qkv, ``n
    3 h c i j``.
    """
    check_offsets(qkv)
    n, _, h, c, height, width = qkv.shape
    high, wide = -(-height // stride), -(-width // stride)
    y = rearrange(qkv.new_empty(n, high, wide, h, c), "n i j h c -> n h c i j")
    lse = qkv.new_empty(n, h, high, wide, dtype=torch.float32)
    rule = launches(c, rows.shape[2], stride, height, width, qkv.dtype, capability(qkv.device))
    how = check_launch(how or rule.forward)
    q, k, v = qkv.unbind(1)
    with LAUNCH, torch.cuda.device_of(qkv):
        forward_kernel[n * h, tiles(high, wide, how)](
            q, k, v, rows.contiguous(), cols.contiguous(), y, lse, scale, h, height, width, high,
            wide,
            *q.stride(), *y.stride(),
            **query_constants(c, rows, stride, height, width, how), num_warps=how.warps,
        )  # fmt: skip
    return y, lse


def backward(
    dy: Tensor, qkv: Tensor, rows: Tensor, cols: Tensor, y: Tensor, lse: Tensor, stride: int,
    scale: float | int,
    how: Launch | None = None, key_how: Launch | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The gradient of qkv, and those of rows and cols, one after the other, summed in float32."""
    n, _, h, c, height, width = qkv.shape
    high, wide = y.shape[-2:]
    rule = launches(c, rows.shape[2], stride, height, width, qkv.dtype, capability(qkv.device))
    how = check_launch(how or rule.queries)
    key_how = check_launch((key_how or rule.keys)._replace(warps=how.warps))
    query_tiles = tiles(high, wide, how)
    dqkv = torch.empty_like(qkv)
    parts = qkv.new_empty(n * query_tiles, rows.numel() + cols.numel(), dtype=torch.float32)
    (q, k, v), (dq, dk, dv) = qkv.unbind(1), dqkv.unbind(1)
    with LAUNCH, torch.cuda.device_of(qkv):
        backward_kernel[n * h, query_tiles + tiles(height, width, key_how)](
            q, k, v, rows.contiguous(), cols.contiguous(), y, lse, dy, dq, dk, dv, parts, scale,
            h, height, width, high, wide, query_tiles, *q.stride(), *y.stride(), *dy.stride(),
            **query_constants(c, rows, stride, height, width, how),
            **key_constants(rows.shape[2], stride, high, wide, key_how), num_warps=how.warps,
        )  # fmt: skip
    return dqkv, parts.sum(dim=0)
