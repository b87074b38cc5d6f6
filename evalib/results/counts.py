"""FLOPs: what the equations cost as they are written, whatever code computes them.

A multiply-add is two floating-point operations. Counted are the products of the sums in Eq. 1 to 3: convolutions,
linear layers, projections, logits and weighted sums of values. A window has k² positions everywhere, the padding of a
border included. A query is projected where it is asked. Not counted are softmax, normalisation, ReLU, sums, pooling.
"""

from collections.abc import Callable, Iterator
from math import prod

import torch
from torch import Tensor, nn

from evalib.attention import RelativeSelfAttention
from evalib.eva import ExpandingVisualAttention, SingleQueryAttention


def flops(module: nn.Module, x: Tensor) -> int:
    """FLOPs of ``module(x)``: twice the multiply-adds of its convolutions, linear layers and attentions."""
    total = 0

    def add(layer: nn.Module, inputs: tuple[Tensor], y: Tensor) -> None:
        nonlocal total
        total += 2 * MULTIPLY_ADDS[type(layer)](layer, inputs[0].shape, y.shape)

    hooks = [layer.register_forward_hook(add) for layer in counted(module)]
    try:
        with torch.no_grad():
            module(x)
    finally:
        for hook in hooks:
            hook.remove()
    return total


def counted(module: nn.Module) -> Iterator[nn.Module]:
    """The outermost layers within ``module`` that have a formula."""
    if type(module) in MULTIPLY_ADDS:
        yield module
    else:
        for child in module.children():
            yield from counted(child)


def convolution(layer: nn.Conv2d, x_shape: torch.Size, y_shape: torch.Size) -> int:
    """Eq. 1: k²·c_in for each entry of y."""
    return prod(y_shape) * layer.weight[0].numel()


def linear(layer: nn.Linear, x_shape: torch.Size, y_shape: torch.Size) -> int:
    """c_in for each entry of y."""
    return prod(y_shape) * layer.in_features


def relative_self_attention(layer: RelativeSelfAttention, x_shape: torch.Size, y_shape: torch.Size) -> int:
    """Eq. 3: q for each pixel of y, k and v for each of x; then q·k, q·r and the sum over v, k² each an entry of y."""
    n, in_channels, *pixels = x_shape
    out_channels, kernel_size = y_shape[1], layer.rows.shape[-1]
    queries, keys = prod(y_shape) * in_channels, n * out_channels * prod(pixels) * in_channels
    return queries + 2 * keys + 3 * kernel_size**2 * prod(y_shape)


def expanding_visual_attention(layer: ExpandingVisualAttention, x_shape: torch.Size, y_shape: torch.Size) -> int:
    """§3.1: the first query, a look at each ring, a recall over 2, 3, 4 and 5 slots, the output."""
    dense = (layer.convolution, *layer.first_query, *layer.output)
    total = sum(part.weight.numel() for part in dense if hasattr(part, "weight"))  # each is applied to one vector
    for stage, (m, look, recall) in enumerate(zip(layer.sizes, layer.looks, layer.recalls, strict=True)):
        assert isinstance(look, SingleQueryAttention) and isinstance(recall, SingleQueryAttention)
        total += single_query(look, m) + single_query(recall, stage + 2)
    return x_shape[0] * total


def single_query(layer: SingleQueryAttention, m: int) -> int:
    """One query and m keys and values: the projections, then q·k, the sum over v and, in a ring, q·r."""
    projections = layer.W_Q.weight.numel() + m * (layer.W_K.weight.numel() + layer.W_V.weight.numel())
    return projections + (2 if layer.offsets is None else 3) * m * layer.W_Q.out_features


MULTIPLY_ADDS: dict[type[nn.Module], Callable[..., int]] = {
    nn.Conv2d: convolution,
    nn.Linear: linear,
    RelativeSelfAttention: relative_self_attention,
    ExpandingVisualAttention: expanding_visual_attention,
}
