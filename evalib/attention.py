"""Relative self-attention as a module: the learned projections around Eq. 3."""

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from evalib.equations import Map, Out, Table, check_odd, relative_attention


def self_attention(
    x: Map, W_Q: Tensor, W_K: Tensor, W_V: Tensor, rows: Table, cols: Table,
    num_heads: int, stride: int = 1, scale: float | int = 1.0, keep: list | None = None,
) -> Out:  # fmt: skip
    """Eq. 3 with ``q = W_Q x``, ``k = W_K x``, ``v = W_V x``, each W ``cout cin 1 1``, in heads, concatenated."""
    q, k, v = (rearrange(F.conv2d(x, W), "n (h c) i j -> n h c i j", h=num_heads) for W in (W_Q, W_K, W_V))
    y = relative_attention(q, k, v, rows, cols, scale, stride, keep)
    return rearrange(y, "n h c i j -> n (h c) i j")


class RelativeSelfAttention(nn.Module):
    """:func:`self_attention` with its parameters: ``n cin i j -> n cout ⌈i/stride⌉ ⌈j/stride⌉``.

    W_Q, W_K and W_V are 1×1 convolutions without bias over all input channels (departure D3). ``rows`` and
    ``cols`` hold c/2 channels for each of the k offsets. ``scaled`` divides the logits by √c, c the channels of a
    head. ``ValueError`` if ``kernel_size`` is even or ``out_channels`` is not a multiple of ``2 · num_heads``.
    Source: §2.2; Ramachandran et al. 2019, §3. ``attend`` is the equation; :mod:`evalib` puts its faster form there.
    """

    attend = staticmethod(self_attention)

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, num_heads: int, stride: int = 1, scaled=False
    ):
        super().__init__()
        channels = check_heads(out_channels, num_heads)
        self.num_heads, self.stride, self.scale = num_heads, stride, channels**-0.5 if scaled else 1.0
        self.W_Q = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.W_K = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.W_V = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.rows = relative_table(num_heads, channels // 2, check_odd(kernel_size))
        self.cols = relative_table(num_heads, channels // 2, kernel_size)

    def forward(self, x: Map) -> Out:
        W_Q, W_K, W_V = self.W_Q.weight, self.W_K.weight, self.W_V.weight
        return self.attend(x, W_Q, W_K, W_V, self.rows, self.cols, self.num_heads, self.stride, self.scale)


def relative_table(num_heads: int, half: int, kernel_size: int) -> nn.Parameter:
    """A learned table of offset embeddings, ``h c/2 k``, drawn so that q·r starts on the scale of one entry of q."""
    return nn.Parameter(torch.randn(num_heads, half, kernel_size) * (2 * half) ** -0.5)


def check_heads(channels: int, num_heads: int) -> int:
    """Return the channels c of one head, an even number because r joins a row half and a column half (Eq. 3)."""
    if num_heads < 1 or channels % (2 * num_heads):
        remedy = f"choose a multiple of {2 * max(num_heads, 1)}, or another number of heads"
        raise ValueError(f"num_heads={num_heads} does not divide channels={channels} into even heads: {remedy}")
    return channels // num_heads
