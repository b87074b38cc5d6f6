"""Relative self-attention as a module: the learned projections around Eq. 3."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from evalib.fast import relative_attention, self_attention
from evalib.geometry import check_heads, check_kernel_size


class RelativeSelfAttention(nn.Module):
    """Eq. 3 with ``q = W_Q x``, ``k = W_K x``, ``v = W_V x`` in ``num_heads`` heads, concatenated.

    W_Q, W_K and W_V are 1×1 convolutions without bias over all input channels (departure D3). ``rows`` and
    ``cols`` hold c/2 channels for each of the k offsets. ``n cin i j -> n cout ⌈i/stride⌉ ⌈j/stride⌉``.
    ``ValueError`` if ``kernel_size`` is even or ``out_channels`` is not a multiple of ``2 · num_heads``.
    Source: §2.2; Ramachandran et al. 2019, §3. ``attend`` is the equation: the fast form unless another is assigned.
    """

    attend = staticmethod(relative_attention)

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, num_heads: int, stride: int = 1):
        super().__init__()
        half = check_heads(out_channels, num_heads) // 2
        check_kernel_size(kernel_size)
        self.num_heads, self.stride = num_heads, stride
        self.W_Q = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.W_K = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.W_V = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.rows = relative_table(num_heads, half, kernel_size)
        self.cols = relative_table(num_heads, half, kernel_size)

    def forward(self, x: Float[Tensor, "n cin i j"]) -> Float[Tensor, "n cout _ _"]:
        weights = self.W_Q.weight, self.W_K.weight, self.W_V.weight
        if self.attend is relative_attention:
            return self_attention(x, *weights, self.rows, self.cols, self.num_heads, self.stride)
        q, k, v = (rearrange(F.conv2d(x, W), "n (h c) i j -> n h c i j", h=self.num_heads) for W in weights)
        y = self.attend(q, k, v, self.rows, self.cols, stride=self.stride)
        return rearrange(y, "n h c i j -> n (h c) i j")


def relative_table(num_heads: int, half: int, kernel_size: int) -> nn.Parameter:
    """A learned table of offset embeddings, ``h c/2 k``, drawn so that q·r starts on the scale of one entry of q."""
    return nn.Parameter(torch.randn(num_heads, half, kernel_size) * (2 * half) ** -0.5)
