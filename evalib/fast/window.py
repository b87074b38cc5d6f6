"""Equations 2 and 3 by the operator, and the projections before it, laid out so that nothing is copied between them."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from evalib.equations import Heads, HeadsOut, check_odd
from evalib.fast import maps, operators

CACHED, CHUNK = 2**19, 16
"""What a CPU takes at a time: entries of q for each thread, so that they stay in its cache, but no fewer images."""


def local_attention(
    q: Heads, k: Heads, v: Heads, kernel_size: int, scale: float | int | Tensor = 1.0, stride: int = 1
) -> HeadsOut:
    """Eq. 2, as :func:`evalib.equations.local_attention`: Eq. 3 with r = 0."""
    check(kernel_size, stride)
    if isinstance(scale, Tensor):
        q, scale = scale * q, 1.0
    h, c = q.shape[1:3]
    rows, cols = q.new_zeros(h, c // 2, kernel_size), q.new_zeros(h, c - c // 2, kernel_size)
    return joint_attention(torch.stack([q, k, v], dim=1), rows, cols, scale, stride)


def relative_attention(
    q: Heads,
    k: Heads,
    v: Heads,
    rows: Float[Tensor, "h _ k"],
    cols: Float[Tensor, "h _ k"],
    scale: float | int | Tensor = 1.0,
    stride: int = 1,
) -> HeadsOut:
    """Eq. 3, as :func:`evalib.equations.relative_attention`."""
    check(rows.shape[-1], stride)
    if isinstance(scale, Tensor):  # the operator takes a number: one that is learned has its gradient here
        q, scale = scale * q, 1.0
    if rows.shape != cols.shape:
        raise ValueError(f"rows {tuple(rows.shape)} and cols {tuple(cols.shape)} must have one shape, (h, c/2, k)")
    return joint_attention(torch.stack([q, k, v], dim=1), rows, cols, scale, stride)


def check(kernel_size: int, stride: int) -> None:
    """``ValueError`` unless the kernel is odd and the stride positive."""
    check_odd(kernel_size)
    if stride < 1:
        raise ValueError(f"stride={stride} must be 1 or more")


def joint_attention(
    qkv: Float[Tensor, "n 3 h c i j"],
    rows: Float[Tensor, "h _ k"],
    cols: Float[Tensor, "h _ k"],
    scale: float | int = 1.0,
    stride: int = 1,
) -> HeadsOut:
    """The same for q, k and v in one tensor: they are read where they lie, and so are their gradients written."""
    recorded = torch.compiler.is_compiling()
    operator = operators.window_attention if recorded else operators.WindowAttention.apply
    return operator(qkv, rows, cols, stride, float(scale))[0]


def self_attention(
    x: Float[Tensor, "n cin i j"],
    W_Q: Float[Tensor, "cout cin 1 1"],
    W_K: Float[Tensor, "cout cin 1 1"],
    W_V: Float[Tensor, "cout cin 1 1"],
    rows: Float[Tensor, "h half k"],
    cols: Float[Tensor, "h half k"],
    num_heads: int,
    stride: int = 1,
    scale: float | int | Tensor = 1.0,
) -> Float[Tensor, "n cout _ _"]:
    """Eq. 3 with its projections, as :class:`evalib.RelativeSelfAttention` has it, for as many images at a time as fit."""
    if isinstance(scale, Tensor):
        W_Q, scale = scale * W_Q, 1.0

    def mix(images: Tensor) -> Tensor:
        projected = project(images, [W_Q, W_K, W_V], rows.shape[-1])
        qkv = rearrange(projected, "n (three h c) i j -> n three h c i j", three=3, h=num_heads)
        y = joint_attention(qkv, rows, cols, scale, stride)
        return maps.batch_first(rearrange(y, "n h c i j -> n (h c) i j"))

    return torch.cat([mix(images) for images in chunks(x, len(W_Q))])


def project(
    x: Float[Tensor, "n cin i j"], weights: list[Float[Tensor, "cout cin 1 1"]], kernel_size: int
) -> Float[Tensor, "n _ i j"]:
    """``W x`` for each 1×1 kernel W, one after the other, as one product, laid out as :func:`joint_attention` reads it.

    On a GPU the channels come last in memory, in x as in the product; on a CPU the batch where offsets are walked over.
    """
    weight = torch.cat(weights)
    if x.device.type != "cpu":
        return F.linear(x.permute(0, 2, 3, 1), weight.flatten(1)).permute(0, 3, 1, 2)
    if operators.implementation(x, kernel_size) is not operators.SHIFTED:
        return F.conv2d(x, weight)
    pixels = maps.batch_last(x)
    product = weight.flatten(1).to(pixels.dtype) @ pixels.flatten(1)
    return product.unflatten(1, pixels.shape[1:]).movedim(-1, 0).to(x.dtype)


def chunks(x: Float[Tensor, "n cin i j"], channels: int) -> tuple[Tensor, ...]:
    """The batch in parts computed one after the other: what the caches of a CPU hold, all of it elsewhere.

    A graph that is recorded, for any batch, holds it as one.
    """
    if x.device.type != "cpu" or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return (x,)
    return x.split(max(CHUNK, torch.get_num_threads() * CACHED // (channels * x.shape[-2] * x.shape[-1])))
