"""Equations 1 to 3: equal to plain loops, and the properties that a wrong one would not have."""

import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import close
from torch.nn import functional as F

from evalib import RelativeSelfAttention, convolution, local_attention, relative_attention

SHAPES = [(1, 5, 7, 3), (2, 3, 3, 5), (1, 2, 4, 7), (2, 4, 4, 1)]
"""Images, rows, columns, k; the map may be the smaller."""


def qkv(n, h, c, i, j, grad=False):
    return [torch.randn(n, h, c, i, j, requires_grad=grad) for _ in range(3)]


def tables(h, c, k, grad=False):
    return [torch.randn(h, c // 2, k, requires_grad=grad) for _ in range(2)]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("n", "i", "j", "k"), SHAPES)
def test_convolution_is_the_loop(n, i, j, k, stride):
    x, weight = torch.randn(n, 2, i, j), torch.randn(3, 2, k, k)
    close(convolution(x, weight, stride), oracles.convolution(x, weight, stride))


@settings(max_examples=30, deadline=None)
@given(
    i=st.integers(1, 9),
    j=st.integers(1, 9),
    k=st.sampled_from([1, 3, 5, 7]),
    stride=st.integers(1, 3),
)
def test_convolution_is_torch_conv2d(i, j, k, stride):
    x, weight = torch.randn(2, 3, i, j), torch.randn(4, 3, k, k)
    expected = F.conv2d(x, weight, stride=stride, padding=k // 2)
    close(convolution(x, weight, stride), expected)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize(("n", "i", "j", "k"), SHAPES)
def test_local_attention_is_the_loop(n, i, j, k, scale, stride):
    q, key, v = qkv(n, 2, 3, i, j)
    expected = oracles.local_attention(q, key, v, k, scale, stride)
    close(local_attention(q, key, v, k, scale, stride), expected)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize(("n", "i", "j", "k"), SHAPES)
def test_relative_attention_is_the_loop(n, i, j, k, scale, stride):
    q, key, v = qkv(n, 2, 4, i, j)
    rows, cols = tables(2, 4, k)
    expected = oracles.relative_attention(q, key, v, rows, cols, scale, stride)
    close(relative_attention(q, key, v, rows, cols, scale, stride), expected)


def test_relative_attention_without_r_is_local_attention():
    q, k, v = qkv(2, 2, 4, 5, 6)
    zero = torch.zeros(2, 2, 3)
    torch.testing.assert_close(
        relative_attention(q, k, v, zero, zero), local_attention(q, k, v, 3), rtol=0, atol=1e-14
    )


@settings(max_examples=30, deadline=None)
@given(
    i=st.integers(1, 8), j=st.integers(1, 8), k=st.sampled_from([1, 3, 5, 7]), h=st.integers(1, 3)
)
def test_weights_are_convex_up_to_the_border(i, j, k, h):
    q, key, _ = qkv(1, h, 4, i, j)
    ones = torch.ones_like(q)
    torch.testing.assert_close(
        relative_attention(q, key, ones, *tables(h, 4, k)), ones, rtol=1e-12, atol=0
    )


def test_interior_moves_with_the_image():
    x = torch.randn(1, 3, 9, 9)
    layer = RelativeSelfAttention(3, 8, kernel_size=3, num_heads=2)
    shifted = layer(x.roll((1, 2), dims=(2, 3)))
    close(shifted[..., 2:-1, 3:-1], layer(x)[..., 1:-2, 1:-3])


def test_rows_and_columns_swap_with_the_axes():
    q, k, v = qkv(1, 2, 4, 5, 5)
    rows, cols = tables(2, 4, 3)

    def turn(t):
        swapped = torch.cat(t.chunk(2, dim=2)[::-1], dim=2)  # the halves that meet rows and cols
        return swapped.transpose(-1, -2)

    turned = relative_attention(turn(q), turn(k), turn(v), cols, rows)
    close(turn(turned), relative_attention(q, k, v, rows, cols))


def test_gradients_are_those_of_the_function():
    inputs = (*qkv(1, 2, 2, 3, 4, grad=True), *tables(2, 2, 3, grad=True))
    assert torch.autograd.gradcheck(relative_attention, inputs)
    assert torch.autograd.gradcheck(lambda q, k, v: local_attention(q, k, v, 3), inputs[:3])
    pair = [torch.randn(shape, requires_grad=True) for shape in ((1, 2, 4, 3), (2, 2, 3, 3))]
    assert torch.autograd.gradcheck(convolution, pair)


@pytest.mark.parametrize("stride", [1, 2])
def test_module_is_projections_around_the_equation(stride):
    x = torch.randn(2, 3, 6, 5)
    layer = RelativeSelfAttention(3, 8, kernel_size=3, num_heads=2, stride=stride)

    def project(weight):  # head h takes output channels 4h … 4h + 3
        return torch.einsum("oc,ncij->noij", weight[..., 0, 0], x).reshape(2, 2, 4, 6, 5)

    q, k, v = (project(W.weight) for W in (layer.W_Q, layer.W_K, layer.W_V))
    expected = oracles.relative_attention(q, k, v, layer.rows, layer.cols, stride=stride)
    close(layer(x), expected.flatten(1, 2))


def test_bad_shapes_are_named():
    q, k, v = qkv(1, 1, 4, 5, 5)
    with pytest.raises(ValueError, match=r"kernel_size=4 .* odd"):
        local_attention(q, k, v, 4)
    with pytest.raises(ValueError, match="kernel_size=2"):
        relative_attention(q, k, v, *tables(1, 4, 2))
    with pytest.raises(ValueError, match="kernel_size=2"):
        convolution(torch.randn(1, 1, 4, 4), torch.randn(1, 1, 2, 2))
    with pytest.raises(ValueError, match="stride=0"):
        convolution(torch.randn(1, 1, 4, 4), torch.randn(1, 1, 3, 3), stride=0)
    for extent in (6, 0, -3):
        with pytest.raises(ValueError, match=f"kernel_size={extent} has no centre pixel"):
            RelativeSelfAttention(4, 8, kernel_size=extent, num_heads=2)
    for heads, multiple in ((3, 6), (8, 16), (0, 2)):
        said = f"num_heads={heads} does not divide channels=8 .* choose a multiple of {multiple},"
        with pytest.raises(ValueError, match=said):
            RelativeSelfAttention(4, 8, kernel_size=3, num_heads=heads)
