"""What an attention computed on its way in one forward pass."""

import copy
from typing import NamedTuple

from torch import Tensor, nn

from evalib.attention import RelativeSelfAttention
from evalib.eva import ExpandingVisualAttention


class Trace(NamedTuple):
    """The stages s = 0, 1, 2, 3 of one pass of EVA, an entry a stage."""

    queries: tuple[Tensor, ...]  # q0 … q3, each n d
    looks: tuple[Tensor, ...]  # attn0 … attn3, what Attention 2D gave, each n d
    look_weights: tuple[Tensor, ...]  # n h m, m = 1, 8, 16, 24, row-major in the ring
    recall_weights: tuple[Tensor, ...]  # of Attention 1D: n h s, s = 2, 3, 4, 5: q0, attn0, attn1, …


class Windows(NamedTuple):
    """What Eq. 3 computed for the windows of one layer, ``n h i j a b`` each: both logits, unscaled, and the softmax."""

    content: Tensor
    position: Tensor
    weights: Tensor


def trace(module: nn.Module, x: Tensor) -> tuple[Tensor, Trace]:
    """``module(x)``, and the :class:`Trace` of the EVA within it, of that very pass.

    ``module`` is an :class:`~evalib.ExpandingVisualAttention` or a network that holds one and runs it once;
    ``ValueError`` if it holds none or several.
    """
    traced = twin(module)
    evas = [part for part in traced.modules() if isinstance(part, ExpandingVisualAttention)]
    if len(evas) != 1:
        raise ValueError(
            f"{type(module).__name__} has {len(evas) or 'no'} layers of Expanding Visual Attention, not one: "
            "give an EVANet, or the layer itself"
        )
    passed: list[tuple[Tensor, ...]] = []  # query, attention and weights, look and recall in turn
    for part in (*evas[0].looks, *evas[0].recalls):
        part.register_forward_hook(lambda _, inputs, outputs: passed.append((inputs[0], *outputs)))
    y = traced(x)
    if len(passed) != 2 * len(evas[0].looks):
        raise ValueError("EVA ran more than once, or compiled, where hooks do not listen: trace one eager pass")
    queries, looks, look_weights = zip(*passed[::2], strict=True)
    return y, Trace(queries, looks, look_weights, tuple(weights for *_, weights in passed[1::2]))


def trace_windows(module: nn.Module, x: Tensor) -> tuple[Tensor, list[Windows]]:
    """``module(x)``, and the :class:`Windows` of each relative self-attention within it, in the order of the pass.

    Those layers compute this pass by Eq. 3 as it is written. ``ValueError`` if there is none.
    """
    traced = twin(module)
    layers = [part for part in traced.modules() if isinstance(part, RelativeSelfAttention)]
    if not layers:
        raise ValueError(f"{type(module).__name__} has no relative self-attention: give a SANet, or the layer itself")
    kept: list[tuple[Tensor, Tensor, Tensor]] = []
    for layer in layers:
        layer.kept = kept
    y = traced(x)
    return y, [Windows(*each) for each in kept]


def as_written(module: nn.Module) -> nn.Module:
    """``module`` with the same tensors, its attentions by the equations as they are written."""
    literal = twin(module)
    for part in literal.modules():
        if hasattr(part, "fast"):
            part.fast = False
    return literal


def twin(module: nn.Module) -> nn.Module:
    """The modules again with the same tensors: nobody else who uses the network sees what is changed in them."""
    same = {}
    for part in module.modules():
        for tensor in (*vars(part).values(), *part._parameters.values(), *part._buffers.values()):
            if isinstance(tensor, Tensor):
                same[id(tensor)] = tensor
    return copy.deepcopy(module, same)
