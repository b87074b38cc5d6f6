"""Relative self-attention as a module: the learned projections around Eq. 3."""

import torch
from einops import rearrange
from torch import Tensor, nn

from evalib import equations, fast
from evalib.equations import Map, Out, check_map, check_odd
from evalib.fast import self_attention


class RelativeSelfAttention(nn.Module):
    """Eq. 3 of ``q = W_Q x``, ``k = W_K x``, ``v = W_V x``: ``n cin i j -> n cout ⌈i/stride⌉
    ⌈j/stride⌉``.

    W_Q, W_K and W_V are 1×1 convolutions without bias over all input channels (departure D3).
    ``rows`` and ``cols`` hold c/2 channels for each of the k offsets. ``scaled`` divides the logits
    by √c, c the channels of a head. ``ValueError`` if ``kernel_size`` is even or ``out_channels``
    is not a multiple of ``2 · num_heads``. Source: §2.2; Ramachandran et al. 2019, §3.
    """

    fast = True  # False: Eq. 3 as it is written
    kept: list | None = None  # evalib.trace_windows puts a list here, for what Eq. 3 computed

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        num_heads: int,
        stride: int = 1,
        scaled: bool = False,
    ):
        super().__init__()
        channels = check_heads(out_channels, num_heads)
        self.num_heads, self.stride = num_heads, stride
        self.scale = channels**-0.5 if scaled else 1.0
        self.W_Q = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.W_K = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.W_V = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.rows = relative_table(num_heads, channels // 2, check_odd(kernel_size))
        self.cols = relative_table(num_heads, channels // 2, kernel_size)

    def forward(self, x: Map) -> Out:
        if isinstance(x, torch.fx.Proxy):
            return as_leaf(self, x)
        check_map(x)
        W_Q, W_K, W_V = self.W_Q, self.W_K, self.W_V
        how = self.scale, self.stride
        quick = self.fast and self.kept is None
        bare = all(is_bare(W, nn.Conv2d) for W in (W_Q, W_K, W_V))
        if quick and bare:  # q, k and v in one product
            W = W_Q.weight, W_K.weight, W_V.weight
            return self_attention(x, *W, self.rows, self.cols, self.num_heads, *how)
        q = rearrange(W_Q(x), "n (h c) i j -> n h c i j", h=self.num_heads)
        k = rearrange(W_K(x), "n (h c) i j -> n h c i j", h=self.num_heads)
        v = rearrange(W_V(x), "n (h c) i j -> n h c i j", h=self.num_heads)
        if quick:
            y = fast.relative_attention(q, k, v, self.rows, self.cols, *how)
        else:
            y = equations.relative_attention(q, k, v, self.rows, self.cols, *how, self.kept)
        return rearrange(y, "n h c i j -> n (h c) i j")

    def reset_parameters(self) -> None:
        """Draw the tables anew, as the projections are by their own."""
        nn.init.normal_(self.rows, std=(2 * self.rows.shape[1]) ** -0.5)
        nn.init.normal_(self.cols, std=(2 * self.cols.shape[1]) ** -0.5)


def relative_table(num_heads: int, half: int, kernel_size: int) -> nn.Parameter:
    """A learned table of offset embeddings, ``h c/2 k``, drawn so that q·r starts on the scale of
    one entry of q.
    """
    return nn.Parameter(torch.randn(num_heads, half, kernel_size) * (2 * half) ** -0.5)


def check_heads(channels: int, num_heads: int) -> int:
    """Return the channels c of one head, an even number because r joins a row half and a column
    half (Eq. 3).
    """
    if num_heads < 1 or channels % (2 * num_heads):
        remedy = f"choose a multiple of {2 * max(num_heads, 1)}, or another number of heads"
        raise ValueError(
            f"num_heads={num_heads} does not divide channels={channels} into even heads: {remedy}"
        )
    return channels // num_heads


def is_bare(projection: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether a projection is a matrix of ``kind`` and nothing else, so that the matrix may stand
    for it.

    One with a bias, with hooks, pruned, normed, quantised, adapted or sharded is more: it has to be
    called.
    """
    hooks = (
        projection._forward_pre_hooks,
        projection._forward_hooks,
        projection._backward_pre_hooks,
        projection._backward_hooks,
    )
    if (
        type(projection) is not kind
        or any(hooks)
        or "forward" in vars(projection)
        or projection.bias is not None
    ):
        return False
    weight = projection.weight
    return (
        isinstance(weight, Tensor)
        and weight.layout == torch.strided
        and not hasattr(weight, "__tensor_flatten__")
    )


def as_leaf(layer: nn.Module, x: torch.fx.Proxy) -> torch.fx.Proxy:
    """To ``torch.fx`` the layer is one node, for it depends on shapes and turns autocast off."""
    tracer = x.tracer
    assert isinstance(tracer, torch.fx.Tracer)
    return tracer.create_proxy("call_module", tracer.path_of_module(layer), (x,), {})
