"""FLOPs: pinned for the six networks, and equal to counts by hand."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import evalib
from evalib.results.costs import flops

FLOPS = {
    "resnet20-small": 52_790_528,
    "sanet20-small": 45_024_512,
    "evanet20-small": 54_344_704,
    "resnet20-large": 834_016_256,
    "sanet20-large": 699_143_168,
    "evanet20-large": 858_615_808,
}


def counted_by_torch(function):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        function()
    return counter.get_total_flops()


@pytest.mark.parametrize("name", FLOPS)
def test_flops_of_one_image(name):
    assert flops(evalib.build(name).eval(), torch.randn(1, 3, 32, 32)) == FLOPS[name]


def test_a_convolution_by_hand():
    layer = nn.Conv2d(3, 5, 3, stride=2, padding=1, bias=False)
    x = torch.randn(1, 3, 6, 8)
    assert flops(layer, x) == 2 * (3 * 4) * 5 * (3 * 3 * 3) == 3240
    assert counted_by_torch(lambda: evalib.convolution(x, layer.weight, stride=2)) == 3240


@pytest.mark.parametrize("stride", [1, 2])
def test_attention_by_hand(stride):
    layer = evalib.RelativeSelfAttention(6, 8, kernel_size=3, num_heads=2, stride=stride)
    pixels, queries = 2 * 4 * 6, 2 * 4 * 6 // stride**2
    projections, products = 3 * pixels * 6 * 8, 3 * queries * 9 * 8  # q·k, q·r and the sum over v
    assert flops(layer, torch.randn(2, 6, 4, 6)) == 2 * (projections + products)


def test_eva_by_hand():
    layer = evalib.ExpandingVisualAttention(
        in_channels=6, model_channels=8, out_channels=10, num_heads=2
    )
    first_query = 49 * 6 * 8 + 2 * 8 * 8
    looks = (
        4 * 8 * 8 + 2 * 49 * 6 * 8 + 2 * 49 * 8 + 48 * 8
    )  # queries; keys and values; q·k, q·r; the sum over v
    recalls = 4 * 8 * 8 + 2 * 14 * 8 * 8 + 2 * 14 * 8  # 2 + 3 + 4 + 5 = 14 slots
    output = 8 * 8 + 8 * 10
    assert flops(layer, torch.randn(1, 6, 7, 7)) == 2 * (first_query + looks + recalls + output)


def test_flops_grow_with_the_batch_and_leave_the_layers_as_they_were():
    network, x = evalib.build("sanet20-small").eval(), torch.randn(3, 3, 32, 32)
    assert flops(network, x) == 3 * FLOPS["sanet20-small"]
    assert all(part.fast for part in network.modules() if hasattr(part, "fast"))


def test_the_count_does_not_depend_on_the_form_that_computes(monkeypatch):
    layer, x = (
        evalib.RelativeSelfAttention(6, 8, kernel_size=3, num_heads=2),
        torch.randn(2, 6, 4, 6),
    )
    known = flops(layer, x)
    monkeypatch.setattr(evalib.RelativeSelfAttention, "fast", False)
    assert flops(layer, x) == known
