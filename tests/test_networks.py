"""The six networks: as Table 1 has them, with their parameter counts pinned."""

import pytest
import torch

import evalib
from evalib.experiments import experiment
from evalib.networks import BasicBlock, PaddedShortcut, convolution_3x3

PARAMETERS = {
    "resnet20-small": 172_506,
    "sanet20-small": 87_258,
    "evanet20-small-scaled": 489_242,
    "resnet20-large": 2_735_946,
    "sanet20-large": 1_362_762,
    "evanet20-large-scaled": 7_787_594,
}


def test_table_1_is_the_papers():
    assert {row.name: row.paper_accuracy for row in evalib.TABLE_1} == {
        "resnet20-small": 91.25,
        "sanet20-small": 92.45,
        "evanet20-small-scaled": 93.00,
        "resnet20-large": 94.53,
        "sanet20-large": 94.88,
        "evanet20-large-scaled": 95.33,
    }
    for row in evalib.TABLE_1:
        assert row.blocks == (2, 2, 2)
        assert row.widths == ((16, 32, 64) if "small" in row.name else (64, 128, 256))
        kinds = {type(module) for module in evalib.build(row.name).modules()}
        attends = (evalib.ExpandingVisualAttention in kinds, evalib.RelativeSelfAttention in kinds)
        assert attends == ("EVA" in row.model, "SA" in row.model)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_and_shapes(name):
    network = evalib.build(name).eval().requires_grad_(False)
    assert evalib.count_parameters(network) == PARAMETERS[name]
    x = torch.randn(2, 3, 32, 32)
    assert network.features(x).shape == (2, experiment(name).widths[-1], 8, 8)
    assert network(x).shape == (2, 10)


def test_self_attention_stands_in_both_layers_of_the_third_stage_only():
    kinds = [
        [type(b.mix1).__name__, type(b.mix2).__name__] for b in evalib.build("sanet20-small").stages
    ]
    assert kinds == [["Conv2d"] * 2] * 4 + [["RelativeSelfAttention"] * 2] * 2


def test_shortcut_halves_the_map_and_pads_channels():
    block = BasicBlock(4, 8, stride=2, mix=convolution_3x3).eval()
    torch.nn.init.zeros_(block.norm2.weight)  # leaves the shortcut alone
    x = torch.randn(1, 4, 6, 6)
    expected = torch.cat([x[:, :, ::2, ::2], torch.zeros(1, 4, 3, 3)], dim=1).relu()
    assert torch.equal(block(x), expected)


@pytest.mark.parametrize("stride, out_channels", [(1, 6), (2, 6), (2, 12), (3, 12)])
def test_shortcut_gives_every_stride_th_pixel_and_zeros_and_keeps_channels_last(
    stride, out_channels
):
    x = torch.randn(2, 6, 9, 8).to(memory_format=torch.channels_last).requires_grad_()
    y = PaddedShortcut(6, out_channels, stride)(x)
    assert torch.equal(y[:, :6], x[:, :, ::stride, ::stride])
    assert not y[:, 6:].any()
    (gradient,) = torch.autograd.grad(y, x, torch.ones_like(y))
    assert gradient.sum() == y[:, :6].numel()
    assert gradient.is_contiguous(memory_format=torch.channels_last)
