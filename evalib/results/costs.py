"""FLOPs of a module, its attentions as the equations are written."""

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from evalib.tracing import as_written


def flops(module: nn.Module, x: Tensor) -> int:
    """FLOPs of ``module(x)`` with its attentions in their literal form, as
    :mod:`torch.utils.flop_counter` counts them.

    A multiply-add is two. Counted are matrix products and convolutions: those of Eq. 1,
    projections, logits and weighted sums, and linear layers. A window has k² positions everywhere,
    the padding of a border included, and a query is projected at every pixel, also where a stride
    passes over it. Not counted are softmax, normalisation, ReLU and sums, nor the weighted "sum"
    over EVA's first ring of one pixel.
    """
    literal = as_written(module)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        literal(x)
    return counter.get_total_flops()
