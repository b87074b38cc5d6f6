"""FLOPs: what the equations cost as they are written, whatever form of them computes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from evalib.attention import RelativeSelfAttention, self_attention
from evalib.equations import single_query_attention
from evalib.eva import SingleQueryAttention


def flops(module: nn.Module, x: Tensor) -> int:
    """FLOPs of ``module(x)`` with its attentions in their literal form, as :mod:`torch.utils.flop_counter` counts them.

    A multiply-add is two. Counted are matrix products and convolutions: those of Eq. 1, projections, logits and weighted
    sums, and linear layers. A window has k² positions everywhere, the padding of a border included, and a query is projected
    at every pixel, also where a stride passes over it. Not counted are softmax, normalisation, ReLU and sums, nor the
    weighted "sum" over EVA's first ring of one pixel.
    """
    with literal(), FlopCounterMode(display=False) as counter, torch.no_grad():
        module(x)
    return counter.get_total_flops()


@contextmanager
def literal() -> Iterator[None]:
    """Attention as :mod:`evalib.equations` has it, for as long as this lasts."""
    forms: dict[Any, Callable] = {
        RelativeSelfAttention: self_attention,
        SingleQueryAttention: single_query_attention,
    }
    before = {layer: layer.__dict__["attend"] for layer in forms}
    for layer, form in forms.items():
        layer.attend = staticmethod(form)
    try:
        yield
    finally:
        for layer, kept in before.items():
            layer.attend = kept
