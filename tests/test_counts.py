"""FLOPs: pinned for the six networks, equal to torch's own count and to counts by hand."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import evalib
from evalib.results.counts import flops

FLOPS = {
    "resnet20-small": 52_790_528,
    "sanet20-small": 44_238_080,
    "evanet20-small": 54_344_832,
    "resnet20-large": 834_016_256,
    "sanet20-large": 686_560_256,
    "evanet20-large": 858_616_320,
}


def counted_by_torch(function):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        function()
    return counter.get_total_flops()


@pytest.mark.parametrize("name", FLOPS)
def test_flops_of_one_image(name):
    network, x = evalib.build(name).eval(), torch.randn(1, 3, 32, 32)
    assert flops(network, x) == FLOPS[name]
    if name.startswith("resnet"):
        assert counted_by_torch(lambda: network(x)) == FLOPS[name]


def test_a_convolution_by_hand():
    layer = nn.Conv2d(3, 5, 3, stride=2, padding=1, bias=False)
    x = torch.randn(1, 3, 6, 8)
    assert flops(layer, x) == 2 * (3 * 4) * 5 * (3 * 3 * 3) == 3240
    assert counted_by_torch(lambda: evalib.convolution(x, layer.weight, stride=2)) == 3240


@pytest.mark.parametrize("stride", [1, 2])
def test_attention_is_what_torch_counts_in_the_literal_equation(stride):
    layer = evalib.RelativeSelfAttention(6, 8, kernel_size=3, num_heads=2, stride=stride)
    x, heads = torch.randn(2, 6, 4, 6), torch.randn(2, 2, 4, 4, 6)

    def literal():
        layer.W_Q(x[..., ::stride, ::stride]), layer.W_K(x), layer.W_V(x)
        evalib.relative_attention(heads, heads, heads, layer.rows, layer.cols, stride=stride)

    assert flops(layer, x) == counted_by_torch(literal)


def test_eva_by_hand():
    layer = evalib.ExpandingVisualAttention(in_channels=6, model_channels=8, out_channels=10, num_heads=2)
    first_query = 49 * 6 * 8 + 2 * 8 * 8
    looks = 4 * 8 * 8 + 2 * 49 * 6 * 8 + 3 * 49 * 8  # queries; keys and values; q·k, q·r and the sum over v
    recalls = 4 * 8 * 8 + 2 * 14 * 8 * 8 + 2 * 14 * 8  # 2 + 3 + 4 + 5 = 14 slots
    output = 8 * 8 + 8 * 10
    assert flops(layer, torch.randn(1, 6, 7, 7)) == 2 * (first_query + looks + recalls + output)


def test_flops_grow_with_the_batch_and_leave_no_hook():
    network = evalib.build("evanet20-small").eval()
    assert flops(network, torch.randn(3, 3, 32, 32)) == 3 * FLOPS["evanet20-small"]
    assert not any(module._forward_hooks for module in network.modules())
