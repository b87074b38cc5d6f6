"""The window kernels on the CPU, in Triton's interpreter, against the literal Equation 3:
test_window_kernel.py runs this.

``python interpreted.py COUNT SEED`` with TRITON_INTERPRET=1: COUNT random shapes in float32, then
some in float16, then the layer. A difference is relative to the largest entry, or to 1.
"""

import random
import sys

import torch

from evalib import RelativeSelfAttention, equations, fast
from evalib.fast import gpu


def shape():
    """n, h, c, i, j, k, stride: maps of one tile, and now and then of several."""
    channels, k, stride = (
        random.choice([2, 4, 6, 8, 16, 20]),
        random.choice([1, 3, 3, 5, 7]),
        random.choice([1, 1, 2, 3]),
    )
    longest = 18 if random.random() < 0.1 else 9
    return (
        *random.choice([(1, 1), (1, 2), (2, 1)]),
        channels,
        *random.choices(range(1, longest), k=2),
        k,
        stride,
    )


def difference(n, h, c, i, j, k, stride, dtype=torch.float32, how=None, key_how=None):
    """The largest of y and of each gradient; q, k and v lie as a projection leaves them, or in the
    order of their axes.
    """
    qkv = torch.randn(n, i, j, 3, h, c).to(dtype).permute(0, 3, 4, 5, 1, 2)
    qkv = qkv if random.random() < 0.5 else qkv.contiguous()
    rows, cols = (torch.randn(h, k, c // 2).mT for _ in range(2))  # as they may lie
    scale = random.choice([1.0, 0.5, -0.7]) * c**-0.5
    inputs = [t.double().requires_grad_() for t in (qkv, rows, cols)]
    literal = equations.relative_attention(*inputs[0].unbind(1), *inputs[1:], scale, stride)
    dy = torch.randn(literal.shape).to(dtype)
    expected = (literal, *torch.autograd.grad(literal, inputs, dy.double()))
    y, lse = gpu.forward(qkv, rows, cols, stride, scale, how)
    dqkv, tables = gpu.backward(dy, qkv, rows, cols, y, lse, stride, scale, how, key_how or how)
    d_rows, d_cols = tables.view(2, h, c // 2, k)
    pairs = zip((y, dqkv, d_rows, d_cols), expected, strict=True)
    return max(((a - b).abs().max() / b.abs().max().clamp(min=1)).item() for a, b in pairs)


def layer_difference(stride):
    """Of a whole layer's output and gradients, through the operator."""
    fast.by_kernels = lambda x: True
    fast.attends_over_the_map = lambda x, size: False
    layer = RelativeSelfAttention(5, 12, 3, num_heads=2, stride=stride)
    x = torch.randn(2, 5, 6, 7).to(memory_format=torch.channels_last).requires_grad_()
    found = []
    for layer.fast in (True, False):
        y = layer(x)
        found.append((y, *torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])))
    return max(((a - b).abs().max() / b.abs().max()).item() for a, b in zip(*found, strict=True))


def check_logits_far_below_zero():
    """All of one value, so that the weights are even."""
    qkv = torch.randn(1, 3, 1, 4, 3, 3)
    qkv[:, 0], qkv[:, 1] = -8, 8
    y, _ = gpu.forward(qkv, *torch.zeros(2, 1, 2, 3), 1, 1.0)
    torch.testing.assert_close(y[..., 1, 1], qkv[:, 2].mean(dim=(-2, -1)))


def main(count, seed):
    random.seed(seed)
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    check_logits_far_below_zero()
    for _ in range(count):
        case = shape()
        found = difference(*case)
        assert found < 1e-5, (case, found)
    for launch in (gpu.Launch(2, 8, 16, 4), gpu.Launch(8, 8, 64, 4), gpu.Launch(1, 16, 32, 4)):
        found = difference(
            1, 1, 4, 9, 13, 3, 2, how=launch
        )  # several tiles, and several blocks for each
        assert found < 1e-5, (launch, found)
    found = difference(
        1, 1, 4, 16, 16, 3, 2, how=gpu.Launch(4, 8, 32, 2), key_how=gpu.Launch(4, 8, 64, 2)
    )
    assert found < 1e-5, found
    for case in (
        (1, 2, 16, 8, 8, 3, 1),
        (2, 1, 6, 7, 5, 5, 2),
        (1, 1, 8, 16, 16, 3, 2),
        (1, 1, 8, 12, 9, 3, 1),
    ):
        found = difference(*case, dtype=torch.float16)
        assert found < 1e-2, (case, found)
    for stride in (1, 2):
        found = layer_difference(stride)
        assert found < 1e-5, (stride, found)
    print("equal")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
