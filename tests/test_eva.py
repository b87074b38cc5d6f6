"""EVA: equal to §3.1 in plain loops, and causal from ring to ring."""

import oracles
import pytest
import torch
from oracles import close

from evalib import ExpandingVisualAttention, trace
from evalib.equations import ring
from evalib.eva import RADII

HEADS = 2


@pytest.fixture
def module():
    return ExpandingVisualAttention(
        in_channels=3, model_channels=8, out_channels=5, num_heads=HEADS
    )


def pixels_of(radius):
    return [(i, j) for i in range(7) for j in range(7) if max(abs(i - 3), abs(j - 3)) == radius]


def test_rings_have_1_8_16_24_pixels_in_row_major_order_and_cover_the_map():
    found = [[(i + 3, j + 3) for i, j in ring(radius).T.tolist()] for radius in RADII]
    assert [len(pixels) for pixels in found] == [1, 8, 16, 24]
    assert found == [pixels_of(radius) for radius in RADII]
    assert len({pixel for pixels in found for pixel in pixels}) == 49


def test_output_and_weights_are_the_loops(module):
    x = torch.randn(2, 3, 7, 7)
    expected, traces = oracles.eva(module, x, HEADS)
    y = module(x)
    close(y[..., 0, 0], expected)
    traced, seen = trace(module, x)
    assert torch.equal(y, traced)
    for n, (looks, recalls) in enumerate(traces):
        for s in range(4):
            close(seen.look_weights[s][n], looks[s])
            close(seen.recall_weights[s][n], recalls[s])


def test_recall_reads_q0_and_every_look_so_far(module):
    _, seen = trace(module, torch.randn(1, 3, 7, 7))
    for s, recall in enumerate(module.recalls):
        memory = torch.stack([seen.queries[0], *seen.looks[: s + 1]], dim=1)
        q, weights = recall(seen.looks[s], memory)
        assert torch.equal(weights, seen.recall_weights[s])
        if s < 3:
            assert torch.equal(q, seen.queries[s + 1])


@pytest.mark.parametrize("radius", RADII)
def test_a_ring_reaches_no_look_before_its_own(module, radius):
    torch.nn.init.zeros_(module.convolution.weight)  # holds q0 fixed
    x = torch.randn(1, 3, 7, 7)
    _, before = trace(module, x)
    for i, j in pixels_of(radius):
        nudged = x.clone()
        nudged[..., i, j] += 1
        _, after = trace(module, nudged)
        assert [torch.equal(a, b) for a, b in zip(before.looks, after.looks, strict=True)] == [
            s < radius for s in RADII
        ]


def test_every_parameter_but_those_of_the_lone_key_gets_a_gradient(module):
    module(torch.randn(2, 3, 7, 7)).square().sum().backward()
    still = {name for name, p in module.named_parameters() if not p.grad.abs().max() > 0}
    assert still == {f"looks.0.{name}" for name in ("W_Q.weight", "W_K.weight", "rows", "cols")}


def test_bad_input_is_named(module):
    with pytest.raises(ValueError, match="num_heads=3 does not divide channels=8"):
        ExpandingVisualAttention(3, 8, 5, num_heads=3)
    with pytest.raises(ValueError, match="radius=-1"):
        ring(-1)
