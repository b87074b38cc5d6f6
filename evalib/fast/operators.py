"""Window attention, Equation 3, as one operator of PyTorch: ``evalib::window_attention``.

Its derivative is an operator too, so that torch.compile, torch.export and torch.func see two opaque nodes. Each has the
implementation that its device and shape ask for: the kernels on a GPU, one of two formulations over whole maps elsewhere.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from evalib.equations import relative_attention
from evalib.fast import maps

Extent = int | torch.SymInt
"""Of an axis; not yet known where a graph is recorded for any shape."""


class Implementation(NamedTuple):
    """Forward pass and derivative, and the tensors that each fills, as they lie in memory."""

    forward: Callable[..., tuple[Tensor, Tensor]]
    backward: Callable[..., tuple[Tensor, Tensor]]
    empty: Callable[..., tuple[Tensor, Tensor]]
    empty_gradient: Callable[[Tensor], Tensor]


@torch.library.custom_op("evalib::window_attention", mutates_args=())
def window_attention(qkv: Tensor, rows: Tensor, cols: Tensor, stride: int, scale: float) -> tuple[Tensor, Tensor]:
    """y of Eq. 3, ``n h c i' j'``, for qkv, ``n 3 h c i j``, at every ``stride``-th pixel; and what its derivative keeps.

    ``rows`` and ``cols`` are the tables ``h c/2 k``; ``scale`` multiplies the logits.
    """
    return implementation(qkv, rows.shape[-1]).forward(qkv, rows, cols, stride, scale)


@torch.library.custom_op("evalib::window_attention_backward", mutates_args=())
def window_attention_backward(
    dy: Tensor, qkv: Tensor, rows: Tensor, cols: Tensor, y: Tensor, kept: Tensor, stride: int, scale: float
) -> tuple[Tensor, Tensor]:
    """The gradient of qkv, and in one vector those of rows and cols."""
    return implementation(qkv, rows.shape[-1]).backward(dy, qkv, rows, cols, y, kept, stride, scale)


@window_attention.register_fake
def _(qkv, rows, cols, stride, scale):
    high, wide = (-(-extent // stride) for extent in qkv.shape[-2:])
    return implementation(qkv, rows.shape[-1]).empty(qkv, rows.shape[-1], (high, wide))


@window_attention_backward.register_fake
def _(dy, qkv, rows, cols, y, kept, stride, scale):
    dqkv = implementation(qkv, rows.shape[-1]).empty_gradient(qkv)
    return dqkv, kept.new_empty(rows.numel() + cols.numel())


def keep(ctx, inputs, output) -> None:
    qkv, rows, cols, ctx.stride, ctx.scale = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(qkv, rows, cols, *output)


def differentiate(ctx, dy, _):
    if dy is None:
        return None, None, None, None, None
    qkv, rows, cols, y, kept = ctx.saved_tensors
    dqkv, tables = WindowAttentionBackward.apply(dy, qkv, rows, cols, y, kept, ctx.stride, ctx.scale)
    d_rows, d_cols = tables.split([rows.numel(), cols.numel()])
    return dqkv, d_rows.view_as(rows).to(rows.dtype), d_cols.view_as(cols).to(cols.dtype), None, None


def keep_inputs(ctx, inputs, output) -> None:
    *tensors, _y, _kept, ctx.stride, ctx.scale = inputs
    ctx.save_for_backward(*tensors)


def differentiate_again(ctx, d_dqkv, d_tables):
    """The second derivative, and those of any order after it, by Eq. 3 as it is written."""

    def gradient(dy, qkv, rows, cols):
        def y(qkv, rows, cols):
            q, k, v = qkv.unbind(1)
            return relative_attention(q, k, v, rows, cols, ctx.scale, ctx.stride)

        dqkv, *tables = torch.func.vjp(y, qkv, rows, cols)[1](dy)
        return dqkv, torch.cat([each.flatten() for each in tables]).to(d_tables.dtype)

    gradients = torch.func.vjp(gradient, *ctx.saved_tensors)[1]((d_dqkv, d_tables))
    return *gradients, None, None, None, None


window_attention.register_autograd(differentiate, setup_context=keep)
window_attention_backward.register_autograd(differentiate_again, setup_context=keep_inputs)


def forward_mode(ctx, *tangents):
    raise NotImplementedError(
        "window attention has no derivative in forward mode (jvp, jacfwd, hessian); Eq. 3 as it is written has: "
        "layer.fast = False in each RelativeSelfAttention"
    )


class WindowAttention(torch.autograd.Function):
    """The operator for torch.func too, which does not take the derivative that is registered with an operator."""

    generate_vmap_rule = True
    jvp = staticmethod(forward_mode)
    setup_context, backward = staticmethod(keep), staticmethod(differentiate)

    @staticmethod
    def forward(*inputs):
        return window_attention(*inputs)


class WindowAttentionBackward(torch.autograd.Function):
    """Its derivative, likewise."""

    generate_vmap_rule = True
    jvp = staticmethod(forward_mode)
    setup_context, backward = staticmethod(keep_inputs), staticmethod(differentiate_again)

    @staticmethod
    def forward(*inputs):
        return window_attention_backward(*inputs)


@window_attention.register_vmap
def _(info, dims, qkv, rows, cols, stride, scale):
    if dims[1] is None and dims[2] is None:  # one batch of all
        outputs = window_attention(qkv.movedim(dims[0], 0).flatten(0, 1), rows, cols, stride, scale)
        return tuple(t.unflatten(0, (info.batch_size, -1)) for t in outputs), (0, 0)
    return one_by_one(window_attention, info, dims, qkv, rows, cols, stride, scale)


@window_attention_backward.register_vmap
def _(info, dims, *inputs):  # one by one, for each has its own gradient of the tables
    return one_by_one(window_attention_backward, info, dims, *inputs)


def one_by_one(operator: Callable, info, dims: tuple, *inputs) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    """The operator on each entry of the mapped axes."""
    each = [
        operator(*(t if dim is None else t.select(dim, entry) for t, dim in zip(inputs, dims, strict=True)))
        for entry in range(info.batch_size)
    ]
    return tuple(torch.stack(outputs) for outputs in zip(*each, strict=True)), (0, 0)


def implementation(x: Tensor, size: Extent) -> Implementation:
    """The rule: the kernels on a GPU; elsewhere offsets, or whole maps where the window is a good part of the map."""
    if x.device.type == "cuda" and x.dtype != torch.float64 and has_triton():
        return KERNELS
    return SHIFTED if x.device.type == "cpu" and 4 * size**2 < x.shape[-2] * x.shape[-1] else DENSE


@cache
def has_triton() -> bool:
    try:
        import triton  # noqa: F401
    except ImportError:
        return False
    return True


def kernel_forward(*inputs):
    from evalib.fast import gpu

    return gpu.forward(*inputs)


def kernel_backward(*inputs):
    from evalib.fast import gpu

    return gpu.backward(*inputs)


def joined(backward: Callable) -> Callable:
    """The gradients of rows and cols in one vector."""

    def joint(*inputs):
        dqkv, d_rows, d_cols = backward(*inputs)
        return dqkv, torch.cat([d_rows.flatten(), d_cols.flatten()])

    return joint


def empty_lse(qkv: Tensor, size: Extent, queries: tuple[Extent, Extent]) -> tuple[Tensor, Tensor]:
    n, _, h, c, *_ = qkv.shape
    y = qkv.new_empty(n, *queries, h, c).permute(0, 3, 4, 1, 2)
    return y, qkv.new_empty(n, h, *queries, dtype=torch.float32)


def empty_offsets(qkv: Tensor, size: Extent, queries: tuple[Extent, Extent]) -> tuple[Tensor, Tensor]:
    n, _, h, c, *_ = qkv.shape
    weights = qkv.new_empty(size, size, h, *queries, n, dtype=torch.promote_types(qkv.dtype, torch.float32))
    return qkv.new_empty(h, c, *queries, n).movedim(-1, 0), weights.movedim(-1, 0)


def empty_map(qkv: Tensor, size: Extent, queries: tuple[Extent, Extent]) -> tuple[Tensor, Tensor]:
    n, _, h, c, height, width = qkv.shape
    return qkv.new_empty(n, h, c, *queries), qkv.new_empty(n, h, height * width, queries[0] * queries[1])


def empty_batch_last(qkv: Tensor) -> Tensor:
    return qkv.new_empty(*qkv.shape[1:], len(qkv)).movedim(-1, 0)


KERNELS = Implementation(kernel_forward, kernel_backward, empty_lse, torch.empty_like)
SHIFTED = Implementation(maps.shifted, joined(maps.shifted_backward), empty_offsets, empty_batch_last)
DENSE = Implementation(maps.dense, joined(maps.dense_backward), empty_map, lambda qkv: qkv.new_empty(qkv.shape))
