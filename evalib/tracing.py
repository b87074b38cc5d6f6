"""What an attention computed on its way in one forward pass: its trace and its health. And networks
of the same tensors: a twin, the equations as they are written."""

import copy
from typing import NamedTuple

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor, nn

from evalib.attention import RelativeSelfAttention
from evalib.equations import Memory, Vector
from evalib.eva import ExpandingVisualAttention, SingleQueryAttention


class Trace(NamedTuple):
    """The stages s = 0, 1, 2, 3 of one pass of EVA, an entry a stage."""

    queries: tuple[Tensor, ...]  # q0 … q3, each n d
    looks: tuple[Tensor, ...]  # attn0 … attn3, what Attention 2D gave, each n d
    look_weights: tuple[Tensor, ...]  # n h m, m = 1, 8, 16, 24, row-major in the ring
    recall_weights: tuple[Tensor, ...]  # n h s, s = 2, 3, 4, 5: of q0, attn0, attn1, …


class Windows(NamedTuple):
    """What Eq. 3 computed for the windows of one layer, ``n h i j a b`` each: both logits,
    unscaled, and the softmax.
    """

    content: Tensor
    position: Tensor
    weights: Tensor


def trace(module: nn.Module, x: Tensor) -> tuple[Tensor, Trace]:
    """``module(x)``, and the :class:`Trace` of the EVA within it, of that very pass.

    ``module`` is an :class:`~evalib.ExpandingVisualAttention` or a network that holds one and runs
    it once; ``ValueError`` if it holds none or several.
    """
    traced = twin(module)
    evas = [part for part in traced.modules() if isinstance(part, ExpandingVisualAttention)]
    if len(evas) != 1:
        raise ValueError(
            f"{type(module).__name__} has {len(evas) or 'no'} layers of Expanding Visual "
            "Attention, not one: give an EVANet, or the layer itself"
        )
    passed: list[tuple[Tensor, ...]] = []  # query, attention and weights, look and recall in turn
    for part in (*evas[0].looks, *evas[0].recalls):
        part.register_forward_hook(lambda _, inputs, outputs: passed.append((inputs[0], *outputs)))
    y = traced(x)
    if len(passed) != 2 * len(evas[0].looks):
        raise ValueError(
            "EVA ran more than once, or compiled, where hooks do not listen: trace one eager pass"
        )
    queries, looks, look_weights = zip(*passed[::2], strict=True)
    return y, Trace(queries, looks, look_weights, tuple(weights for *_, weights in passed[1::2]))


def trace_windows(module: nn.Module, x: Tensor) -> tuple[Tensor, list[Windows]]:
    """``module(x)``, and the :class:`Windows` of each relative self-attention within it, in the
    order of the pass.

    Those layers compute this pass by Eq. 3 as it is written. ``ValueError`` if there is none.
    """
    traced = twin(module)
    layers = [part for part in traced.modules() if isinstance(part, RelativeSelfAttention)]
    if not layers:
        raise ValueError(
            f"{type(module).__name__} has no relative self-attention: give a SANet or the layer"
        )
    kept: list[tuple[Tensor, Tensor, Tensor]] = []
    for layer in layers:
        layer.kept = kept
    y = traced(x)
    return y, [Windows(*each) for each in kept]


class AttentionHealth(NamedTuple):
    """Whether the attention of an EVA is alive; ``print`` it for a line on each figure and what to
    do.
    """

    largest_logit: float  # of all looks and recalls
    pixels: tuple[float, ...]  # in effect, of each look: e to the entropy of its weights, the mean
    sizes: tuple[int, ...]  # the pixels that each look may choose from
    sameness: float  # of q0 over the images: 1 if it has one direction, near 0 if each has its own

    def __str__(self) -> str:
        logit = f"largest logit {self.largest_logit:.0f}: "
        if self.largest_logit <= LARGE:
            logit += "moderate"
        else:
            logit += (
                f"above {LARGE}, it picks one pixel; lower EVA's learning rate, or norm its map"
            )
        shares = [(e, m) for e, m in zip(self.pixels, self.sizes, strict=True) if m > 1]
        looks = "pixels in effect " + ", ".join(f"{e:.1f} of {m}" for e, m in shares) + ": "
        if all(e >= m / 4 for e, m in shares):
            looks += "soft"
        else:
            looks += "less than a quarter of a ring; lower EVA's learning rate, or norm its map"
        query = f"sameness of q0 {self.sameness:.3f}: "
        if self.sameness <= SAME:
            query += "it tells images apart"
        else:
            query += "one vector for all images; lower EVA's learning rate, or norm q0"
        return "\n".join([logit, looks, query])


LARGE, SAME = 500, 0.99
"""Beyond these an attention is not healthy: two and a half times the logits of a small network
at the end of its schedule (191), and q0 without an image in it (0.95 when it is drawn).
"""


def check_attention(module: nn.Module, x: Tensor) -> AttentionHealth:
    """The :class:`AttentionHealth` of the EVA within ``module`` on a batch x of several images, as
    ``module`` takes them.

    It is read in the mode that it is in, and left as it was. ``ValueError`` as for :func:`trace`,
    or for one image. In evaluation mode a network of few training steps is read by running
    averages that lag behind: give it in training mode.
    """
    if len(x) < 2:
        raise ValueError(
            f"{len(x)} image tells nothing of q0 over images: give a batch of 16 or more"
        )
    traced = twin(module)
    for part in traced.modules():  # in training mode running averages move
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = buffer.clone()
    heard: list[float] = []

    def hear(layer: SingleQueryAttention, inputs, _) -> None:
        heard.append(logits(layer, *inputs).abs().amax().item())

    for part in traced.modules():
        if isinstance(part, SingleQueryAttention):
            part.register_forward_hook(hear)
    with torch.no_grad():
        _, seen = trace(traced, x)
    effect = [count_in_effect(weights).mean().item() for weights in seen.look_weights]
    sizes = [weights.shape[-1] for weights in seen.look_weights]
    directions = nn.functional.normalize(seen.queries[0].float(), dim=-1)
    return AttentionHealth(
        max(heard, default=0.0), tuple(effect), tuple(sizes), directions.mean(dim=0).norm().item()
    )


def logits(layer: SingleQueryAttention, query: Vector, memory: Memory) -> Float[Tensor, "n h m"]:
    """What the softmax of ``layer`` is given."""
    q = rearrange(layer.W_Q(query), "n (h c) -> n h c", h=layer.num_heads)
    k_m = rearrange(layer.W_K(memory), "n m (h c) -> n h m c", h=layer.num_heads)
    found, r_m = einsum(q, k_m, "n h c, n h m c -> n h m"), layer.embedding()
    if r_m is not None:
        found = found + einsum(q, r_m, "n h c, h c m -> n h m")
    return layer.scale * found


def count_in_effect(weights: Float[Tensor, "*batch m"]) -> Float[Tensor, "*batch"]:
    """The pixels in effect of each look: ``e^H``, ``H = −Σ_m w_m ln w_m``."""
    return torch.special.entr(weights.float()).sum(dim=-1).exp()


def as_written(module: nn.Module) -> nn.Module:
    """``module`` with the same tensors, its attentions by the equations as they are written."""
    literal = twin(module)
    for part in literal.modules():
        if hasattr(part, "fast"):
            part.fast = False
    return literal


def twin(module: nn.Module) -> nn.Module:
    """The modules again with the same tensors: nobody else who uses the network sees what is
    changed in them.
    """
    same = {}
    for part in module.modules():
        for tensor in (*vars(part).values(), *part._parameters.values(), *part._buffers.values()):
            if isinstance(tensor, Tensor):
                same[id(tensor)] = tensor
    return copy.deepcopy(module, same)
