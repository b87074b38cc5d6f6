"""Where the pixels are: windows, borders and rings, as indices computed once.

Axis letters, here and everywhere: n batch, h heads, c channels, i row, j column of a pixel;
a row, b column inside a window; m pixel of a ring; s slot; d model channels.
"""

import torch
from einops import rearrange
from jaxtyping import Bool, Int, Shaped
from torch import Tensor
from torch.nn import functional as F

RADII = (0, 1, 2, 3)
"""The rings of EVA (§3.1): Chebyshev distances from the centre of a 7×7 map, 1, 8, 16 and 24 pixels."""


def check_kernel_size(kernel_size: int) -> int:
    """Return ``kernel_size`` if a window of that extent has a centre pixel, else raise ``ValueError``."""
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(
            f"kernel_size={kernel_size} has no centre pixel: choose an odd, positive extent, "
            f"such as {max(kernel_size, 0) + 1}"
        )
    return kernel_size


def check_heads(channels: int, num_heads: int) -> int:
    """Return the channels c of one head, an even number because r joins a row half and a column half (Eq. 3)."""
    if num_heads < 1 or channels % (2 * num_heads):
        raise ValueError(
            f"num_heads={num_heads} does not divide channels={channels} into heads of even width: "
            f"choose channels as a multiple of {2 * max(num_heads, 1)}, or another number of heads"
        )
    return channels // num_heads


def windows(x: Shaped[Tensor, "*batch i j"], kernel_size: int, stride: int = 1) -> Shaped[Tensor, "*batch _ _ a b"]:
    """The k×k neighbourhood N_k(i, j) of every ``stride``-th pixel, zero outside the image; a view, not a copy.

    Entry (a, b) of the window at (i, j) is pixel (i + a − ⌊k/2⌋, j + b − ⌊k/2⌋). Source: §2.1.
    """
    half = check_kernel_size(kernel_size) // 2
    if stride < 1:
        raise ValueError(f"stride={stride} must be 1 or more")
    padded = F.pad(x, (half, half, half, half))
    return padded.unfold(-2, kernel_size, stride).unfold(-2, kernel_size, stride)


def inside(height: int, width: int, kernel_size: int, stride: int = 1, device=None) -> Bool[Tensor, "i j a b"]:
    """True where entry (a, b) of the window at (i, j) lies inside the image."""
    return windows(torch.ones(height, width, device=device), kernel_size, stride) > 0


def ring(radius: int) -> Int[Tensor, "2 m"]:
    """Row and column offsets of the pixels at Chebyshev distance ``radius`` from a centre, in row-major order.

    ``radius`` 0, 1, 2, 3 gives m = 1, 8, 16, 24. Source: §3.1, the masked memory blocks.
    """
    if radius < 0:
        raise ValueError(f"radius={radius} must be 0 or more")
    offset = torch.arange(-radius, radius + 1)
    row, column = torch.meshgrid(offset, offset, indexing="ij")
    distance = torch.maximum(row.abs(), column.abs())
    return rearrange(torch.argwhere(distance == radius) - radius, "m offset -> offset m")
