"""Equation 3 and EVA's attention again, arranged for speed: which form computes where.

On a GPU with Triton Eq. 3 is the kernels of :mod:`~evalib.fast.kernels`, elsewhere products of
whole maps (:mod:`~evalib.fast.cpu`). Each is held by tests to :mod:`evalib.equations`, at every
shape. The operator ``evalib::window_attention`` is opaque to ``torch.compile`` and
``torch.export``; its derivative is an operator too. Under ``torch.func`` it is the equation as it
is written, which has every derivative.
"""

from functools import cache

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional as F

from evalib import equations
from evalib.equations import (
    Heads,
    HeadsOut,
    Map,
    Memory,
    Out,
    Vector,
    Weights,
    check_odd,
    check_tables,
)
from evalib.fast import cpu

REMEDY = "layer.fast = False lets each RelativeSelfAttention attend by Eq. 3, which has it"


# ── Eq. 3 ────────────────────────────────────────────────────────────────────────────────────────


def relative_attention(
    q: Heads,
    k: Heads,
    v: Heads,
    rows: Float[Tensor, "h half k"],
    cols: Float[Tensor, "h half k"],
    scale: float | int | Tensor = 1.0,
    stride: int = 1,
) -> HeadsOut:
    """Eq. 3, as :func:`evalib.equations.relative_attention`."""
    check_odd(rows.shape[-1])
    return joint_attention(torch.stack([q, k, v], dim=1), rows, cols, scale, stride)


def self_attention(
    x: Map,
    W_Q: Float[Tensor, "cout cin 1 1"],
    W_K: Float[Tensor, "cout cin 1 1"],
    W_V: Float[Tensor, "cout cin 1 1"],
    rows: Float[Tensor, "h half k"],
    cols: Float[Tensor, "h half k"],
    num_heads: int,
    scale: float | int | Tensor = 1.0,
    stride: int = 1,
) -> Out:
    """Eq. 3 of ``q = W_Q x``, ``k = W_K x`` and ``v = W_V x``, by one product, for as many images
    at a time as fit.
    """
    if x.dtype != W_Q.dtype and not (
        x.is_floating_point() and torch.is_autocast_enabled(x.device.type)
    ):
        raise TypeError(
            f"the map is {x.dtype} and the layer {W_Q.dtype}: convert one of them, as by"
            f" x.to({W_Q.dtype})"
        )
    weight = torch.cat([W_Q, W_K, W_V]).flatten(1)

    def mix(images: Tensor) -> Tensor:
        if not on_a_cpu(x):  # channels last in memory, in x as in the product
            projected = F.linear(rearrange(images, "n c i j -> n i j c"), weight)
            projected = rearrange(projected, "n i j c -> n c i j")
        elif attends_over_the_map(images, rows.shape[-1]):
            projected = F.conv2d(images, rearrange(weight, "cout cin -> cout cin 1 1"))
        else:  # the batch last in memory
            projected = cpu.project(images, weight)
        qkv = rearrange(projected, "n (three h c) i j -> n three h c i j", three=3, h=num_heads)
        y = rearrange(joint_attention(qkv, rows, cols, scale, stride), "n h c i j -> n (h c) i j")
        return y.contiguous() if on_a_cpu(x) else y

    return torch.cat([mix(images) for images in cpu.chunks(x, len(W_Q))])


def joint_attention(
    qkv: Float[Tensor, "n 3 h c i j"],
    rows: Float[Tensor, "h half k"],
    cols: Float[Tensor, "h half k"],
    scale: float | int | Tensor,
    stride: int,
) -> HeadsOut:
    """Eq. 3 of q, k and v in one tensor: they are read where they lie, and so are their gradients
    written.
    """
    if stride < 1:
        raise ValueError(f"stride={stride} must be 1 or more")
    check_tables(rows, cols)
    h, c = qkv.shape[2:4]
    if rows.shape[:2] != (h, c // 2):
        raise ValueError(
            f"rows and cols {tuple(rows.shape)} must be (h, c/2, k) of {h} heads with {c} channels:"
            f" {(h, c // 2, rows.shape[-1])}"
        )
    check_scale(scale)
    if isinstance(scale, Tensor):  # learned: its gradient is here, the operator takes a number
        qkv, scale = torch.cat([scale * qkv[:, :1], qkv[:, 1:]], dim=1), 1.0
    if on_a_cpu(qkv) and attends_over_the_map(qkv, rows.shape[-1]):
        return cpu.over_the_map(qkv, rows, cols, stride, scale)
    return window_attention(qkv, rows, cols, stride, float(scale))[0]


def check_scale(scale: float | int | Tensor) -> None:
    """``ValueError`` unless the logits are multiplied by one number, for all heads and images."""
    if isinstance(scale, Tensor) and scale.numel() != 1:
        raise ValueError(
            f"scale {tuple(scale.shape)} must be one number: layer.fast = False lets a layer attend"
            " by the equation, whose logits it multiplies as any tensor"
        )


def on_a_cpu(x: Tensor) -> bool:
    """Whether the form for a CPU computes."""
    return x.device.type == "cpu"


def attends_over_the_map(x: Tensor, size: int) -> bool:
    """On a CPU: whether the window is so great a part of the map that attention over all pixels is
    faster.
    """
    return 4 * size**2 >= x.shape[-2] * x.shape[-1]


# ── Eq. 3 as an operator ────────────────────────────────────────────────────────────────────────


@torch.library.custom_op("evalib::window_attention", mutates_args=())
def window_attention(
    qkv: Tensor, rows: Tensor, cols: Tensor, stride: int, scale: float
) -> tuple[Tensor, Tensor]:
    """y of Eq. 3, ``n h c i' j'``, for qkv, ``n 3 h c i j``, at every ``stride``-th pixel; and what
    its derivative keeps.
    """
    refuse_forward_mode(qkv, rows, cols)
    if by_kernels(qkv):
        from evalib.fast import gpu

        return gpu.forward(qkv, rows, cols, stride, scale)
    return cpu.shifted(qkv, rows, cols, stride, scale)


@torch.library.custom_op("evalib::window_attention_backward", mutates_args=())
def window_attention_backward(
    dy: Tensor,
    qkv: Tensor,
    rows: Tensor,
    cols: Tensor,
    y: Tensor,
    kept: Tensor,
    stride: int,
    scale: float,
) -> tuple[Tensor, Tensor]:
    """The gradient of qkv, and in one vector those of rows and cols."""
    refuse_forward_mode(dy, qkv, rows, cols)
    if by_kernels(qkv):
        from evalib.fast import gpu

        return gpu.backward(dy, qkv, rows, cols, y, kept, stride, scale)
    dqkv, d_rows, d_cols = cpu.shifted_backward(dy, qkv, rows, cols, y, kept, stride, scale)
    return dqkv, torch.cat([d_rows.flatten(), d_cols.flatten()])


def refuse_forward_mode(*given: Tensor) -> None:
    """An operator would give no tangent, which stands for one of zeros."""
    if any(forward_ad.unpack_dual(t).tangent is not None for t in given):
        raise NotImplementedError(
            f"window attention has no derivative in forward mode here: {REMEDY}"
        )


@window_attention.register_fake
def empty_outputs(qkv, rows, cols, stride, scale):
    (n, _, h, c, height, width), k = qkv.shape, rows.shape[-1]
    high, wide = -(-height // stride), -(-width // stride)
    if by_kernels(qkv):
        y = rearrange(qkv.new_empty(n, high, wide, h, c), "n i j h c -> n h c i j")
        return y, qkv.new_empty(n, h, high, wide, dtype=torch.float32)
    dtype = torch.promote_types(qkv.dtype, torch.float32)
    weights = qkv.new_empty(k, k, h, high, wide, n, dtype=dtype)
    return qkv.new_empty(h, c, high, wide, n).movedim(-1, 0), weights.movedim(-1, 0)


@window_attention_backward.register_fake
def empty_gradients(dy, qkv, rows, cols, y, kept, stride, scale):
    if by_kernels(qkv):
        dqkv = torch.empty_like(qkv)
    else:
        dqkv = qkv.new_empty(*qkv.shape[1:], len(qkv)).movedim(-1, 0)
    return dqkv, kept.new_empty(rows.numel() + cols.numel())


def save(ctx, inputs, output) -> None:
    qkv, rows, cols, ctx.stride, ctx.scale = inputs
    ctx.save_for_backward(qkv, rows, cols, *output)


def differentiate(ctx, dy, _):
    qkv, rows, cols, y, kept = ctx.saved_tensors
    dqkv, tables = window_attention_backward(dy, qkv, rows, cols, y, kept, ctx.stride, ctx.scale)
    d_rows, d_cols = tables.to(rows.dtype).split([rows.numel(), cols.numel()])
    return dqkv, d_rows.view_as(rows), d_cols.view_as(cols), None, None


def refuse(ctx, *_):
    raise NotImplementedError(f"window attention has no second derivative: {REMEDY}")


def as_written(
    qkv: Tensor, rows: Tensor, cols: Tensor, stride: int, scale: float
) -> tuple[Tensor, Tensor]:
    """The operator under ``torch.func``, and nothing for the derivative to keep."""
    q, k, v = qkv.unbind(1)
    return equations.relative_attention(q, k, v, rows, cols, scale, stride), qkv.new_empty(0)


window_attention.register_autograd(differentiate, setup_context=save)
window_attention_backward.register_autograd(refuse, setup_context=lambda ctx, inputs, output: None)
LIBRARY = torch.library.Library("evalib", "FRAGMENT")
# this key stands for: a transform is at work
LIBRARY.impl("window_attention", as_written, "FuncTorchDynamicLayerFrontMode")


def by_kernels(x: Tensor) -> bool:
    """Whether Eq. 3 is computed by the kernels."""
    return x.device.type == "cuda" and x.dtype != torch.float64 and has_triton()


@cache
def has_triton() -> bool:
    """Whether Triton is installed."""
    try:
        import triton  # noqa: F401
    except ImportError:
        return False
    return True


# ── EVA's attention ─────────────────────────────────────────────────────────────────────────────


def single_query_attention(
    query: Vector,
    memory: Memory,
    W_Q: Float[Tensor, "d d"],
    W_K: Float[Tensor, "d cin"],
    W_V: Float[Tensor, "d cin"],
    num_heads: int,
    r_m: Float[Tensor, "h c m"] | None = None,
    scale: float | int | Tensor = 1.0,
) -> tuple[Vector, Weights]:
    """:func:`evalib.equations.single_query_attention` of ``q = W_Q query``, ``k_m = W_K x_m`` and
    ``v_m = W_V x_m``.
    """
    check_scale(scale)
    form = absorbed if on_a_cpu(query) else projected
    return form(query, memory, W_Q, W_K, W_V, num_heads, r_m, scale)


def absorbed(
    query: Vector,
    memory: Memory,
    W_Q: Float[Tensor, "d d"],
    W_K: Float[Tensor, "d cin"],
    W_V: Float[Tensor, "d cin"],
    num_heads: int,
    r_m: Float[Tensor, "h c m"] | None,
    scale: float | int | Tensor,
) -> tuple[Vector, Weights]:
    """The fewest FLOPs, for a CPU: one projection a head, not one a pixel.

    ``qᵀ(W_K x_m) = (W_Kᵀq)ᵀ x_m`` and ``Σ_m a_m W_V x_m = W_V Σ_m a_m x_m``.
    """
    q = rearrange(F.linear(query, W_Q), "n (h c) -> h n c", h=num_heads)
    q_x = rearrange(q @ rearrange(W_K, "(h c) cin -> h c cin", h=num_heads), "h n cin -> n h cin")
    logits = q_x @ rearrange(memory, "n m cin -> n cin m")
    if r_m is not None:
        logits = logits + rearrange(q @ r_m, "h n m -> n h m")
    weights = (scale * logits).softmax(dim=-1)
    seen = rearrange(weights @ memory, "n h cin -> h n cin")
    y = seen @ rearrange(W_V, "(h c) cin -> h cin c", h=num_heads)
    return rearrange(y, "h n c -> n (h c)"), weights


def projected(
    query: Vector,
    memory: Memory,
    W_Q: Float[Tensor, "d d"],
    W_K: Float[Tensor, "d cin"],
    W_V: Float[Tensor, "d cin"],
    num_heads: int,
    r_m: Float[Tensor, "h c m"] | None,
    scale: float | int | Tensor,
) -> tuple[Vector, Weights]:
    """The fewest kernels, for a GPU: two products, of the query and of the memory; the rest a
    compiler joins.

    ``qᵀk_m + qᵀr_m = qᵀ(k_m + r_m)``. A memory comes pixel by pixel, as EVA lays it out, so that
    nothing is copied.
    """
    q = rearrange(F.linear(query, W_Q), "n (h c) -> n h c", h=num_heads)
    both = F.linear(rearrange(memory, "n m cin -> m n cin"), torch.cat([W_K, W_V]))
    k_m, v_m = rearrange(both, "m n (two h c) -> m n two h c", two=2, h=num_heads).unbind(2)
    if r_m is not None:
        k_m = k_m + rearrange(r_m, "h c m -> m 1 h c")
    weights = (scale * (q * k_m).sum(dim=-1)).softmax(dim=0)
    y = (rearrange(weights, "m n h -> m n h 1") * v_m).sum(dim=0)
    return rearrange(y, "n h c -> n (h c)"), rearrange(weights, "m n h -> n h m")
