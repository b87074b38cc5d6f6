"""Properties of the layer and the networks that a wrong one would not have; rows and blocks of
one's own.
"""

import copy
from dataclasses import replace

import pytest
import torch
from oracles import close
from torch import nn
from torch.nn import functional as F

import evalib
from evalib import (
    Bottleneck,
    ExpandingVisualAttention,
    Experiment,
    RelativeSelfAttention,
)
from evalib.equations import ring
from evalib.eva import SingleQueryAttention
from evalib.experiments import Recipe
from evalib.networks import EVASummary, convolution_3x3, self_attention_3x3
from evalib.published import PublishedEVA

HEADS = 2


@pytest.fixture
def eva():
    return ExpandingVisualAttention(3, 8, 5, num_heads=HEADS)


# ── Symmetries ──────────────────────────────────────────────────────────────────────────────────


def flipped(eva):
    """The EVA that sees in a map, its columns reversed, what ``eva`` sees in the map."""
    other = copy.deepcopy(eva)
    other.convolution.weight.data = eva.convolution.weight.data.flip(-1)
    for new, old in zip(other.looks, eva.looks, strict=True):
        new.cols.data = old.cols.data.flip(-1)
    return other


def transposed(eva):
    """The EVA that sees in a map, rows and columns exchanged, what ``eva`` sees in the map.

    The half of a head's channels that met the rows meets the columns, so q and k exchange their
    halves.
    """
    other = copy.deepcopy(eva)
    other.convolution.weight.data = eva.convolution.weight.data.mT.contiguous()
    for new, old in zip(other.looks, eva.looks, strict=True):
        new.rows.data, new.cols.data = old.cols.data, old.rows.data
        for name in ("W_Q", "W_K"):
            halves = getattr(old, name).weight.data.unflatten(0, (HEADS, 2, -1))
            getattr(new, name).weight.data = halves.flip(1).flatten(0, 2)
    return other


@pytest.mark.parametrize("symmetry", ["", "f", "t", "ft", "tf", "ftf", "tft", "ftft"])
def test_eva_turns_with_the_square_when_its_parameters_do(eva, symmetry):
    x = turned = torch.randn(2, 3, 7, 7)
    other = eva
    for each in symmetry:
        other, turned = (
            (flipped(other), turned.flip(-1)) if each == "f" else (transposed(other), turned.mT)
        )
    close(other(turned), eva(x))
    if symmetry:
        assert not torch.allclose(eva(turned), eva(x))


def with_heads(layer, order):
    """``layer`` with its heads in another order."""
    other = copy.deepcopy(layer)
    for name in ("W_Q", "W_K", "W_V"):
        weight = getattr(layer, name).weight.data
        getattr(other, name).weight.data = weight.unflatten(0, (len(order), -1))[order].flatten(
            0, 1
        )
    other.rows.data, other.cols.data = layer.rows.data[order], layer.cols.data[order]
    return other


def test_heads_in_another_order_give_their_channels_in_that_order():
    order = torch.tensor([2, 0, 1])
    look, query, memory = (
        SingleQueryAttention(5, 12, 3, ring(2)),
        torch.randn(2, 12),
        torch.randn(2, 16, 5),
    )
    (y, weights), (moved, moved_weights) = (
        each(query, memory) for each in (look, with_heads(look, order))
    )
    close(moved, y.unflatten(1, (3, 4))[:, order].flatten(1))
    close(moved_weights, weights[:, order])
    layer, x = RelativeSelfAttention(5, 12, 3, 3), torch.randn(2, 5, 6, 4)
    close(with_heads(layer, order)(x), layer(x).unflatten(1, (3, 4))[:, order].flatten(1, 2))


@pytest.mark.parametrize(
    "build",
    [
        lambda: ExpandingVisualAttention(4, 8, 5, 2),
        lambda: ExpandingVisualAttention(4, 8, 5, 2, normed=True),
        lambda: RelativeSelfAttention(4, 8, 3, 2),
    ],
)
def test_an_image_is_independent_of_the_others_in_its_batch(build):
    layer, x = build(), torch.randn(3, 4, 7, 7)
    y, x[1] = layer(x), torch.nan
    spoilt = layer(x)
    assert spoilt[1].isnan().all()
    for n in (0, 2):
        close(spoilt[n], y[n])
        close(layer(x[n : n + 1]), y[n : n + 1])


@pytest.mark.parametrize("extent", [1, 5, 7, 9])
def test_each_extent_has_its_own_rings(extent):
    eva, x = (
        ExpandingVisualAttention(4, 8, 5, 2, extent=extent),
        torch.randn(2, 4, extent, extent, requires_grad=True),
    )
    y, seen = evalib.trace(eva, x)
    assert y.shape == (2, 5, 1, 1)
    pixels = [weights.shape[-1] for weights in seen.look_weights]
    assert pixels == [1, 8, 16, 24, 32][: extent // 2 + 1]
    y.square().sum().backward()
    assert (x.grad.abs().sum(dim=1) > 0).all()
    with pytest.raises(
        ValueError, match=rf"the map is 3×4, EVA reads {extent}×{extent}: .*AvgPool2d\({extent}\)"
    ):
        eva(torch.randn(2, 4, 3, 4))


def test_an_even_extent_is_refused():
    with pytest.raises(ValueError, match="extent=8 has no centre pixel"):
        ExpandingVisualAttention(4, 8, 5, 2, extent=8)


@pytest.mark.parametrize("kind", [ExpandingVisualAttention, PublishedEVA])
def test_under_autocast_eva_computes_in_the_precision_of_its_parameters(kind):
    network = nn.Sequential(nn.Conv2d(3, 8, 1), kind(8, 8, 8, 2))
    for dtype in (torch.float32, torch.float64):
        network, x = network.to(dtype), torch.randn(2, 3, 7, 7, dtype=dtype)
        for parameter in network[1].looks[1].parameters():  # logits that bf16 cannot tell apart
            parameter.data *= 20
        with torch.autocast("cpu", torch.bfloat16):
            hidden = network[0](x)
            y = network(x)
        assert y.dtype == dtype
        assert torch.equal(y, network[1](hidden.to(dtype)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_eva_computes_in_half_precision_on_a_cpu(dtype):
    eva, x = ExpandingVisualAttention(8, 8, 5, 2), torch.randn(2, 8, 7, 7)
    y = copy.deepcopy(eva).to(dtype)(x.to(dtype))
    assert y.dtype == dtype
    torch.testing.assert_close(y.double(), eva(x), rtol=0.1, atol=0.05)


def test_a_module_without_one_eva_has_no_trace(eva):
    with pytest.raises(
        ValueError, match=r"Network has no layers of Expanding Visual Attention.*give an EVANet"
    ):
        evalib.trace(evalib.build("resnet20-small"), torch.randn(1, 3, 32, 32))
    with pytest.raises(ValueError, match="Sequential has 2 layers"):
        evalib.trace(nn.Sequential(eva, eva.__class__(5, 8, 5, 2)), torch.randn(1, 3, 7, 7))
    with pytest.raises(ValueError, match="trace one eager pass"):
        evalib.trace(TwiceRun(eva), torch.randn(1, 3, 7, 7))
    assert not any(part._forward_hooks for part in eva.modules())


class TwiceRun(nn.Module):
    def __init__(self, eva):
        super().__init__()
        self.eva = eva

    def forward(self, x):
        return self.eva(x) + self.eva(-x)


# ── Rows and blocks of one's own ────────────────────────────────────────────────────────────────


def test_other_classes_and_channels():
    for name in ("resnet20-small", "sanet20-small", "evanet20-small"):
        network = evalib.build(name, num_classes=100, in_channels=1)
        assert network(torch.randn(2, 1, 32, 32)).shape == (2, 100)


def test_a_row_is_registered_once_under_the_name_of_a_file(rows):
    mine = Experiment(
        "mine", "Mine", head=lambda channels: nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten())
    )
    evalib.register(mine)
    assert evalib.build("mine")(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    twice = [replace(mine, name="twice")] * 2
    for given in ([mine], [evalib.TABLE_1[0]], twice):
        with pytest.raises(ValueError, match=f"{given[0].name!r} already"):
            evalib.register(*given)
    for name in ("../mine", "", "Mine", "a b"):
        with pytest.raises(ValueError, match="files of that name"):
            evalib.register(Experiment(name, "Mine"))


def test_lambdas_that_call_other_things_are_other_rows():
    heads = [
        lambda c: nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten()),
        lambda c: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        lambda c: nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten()),
        lambda c, p=0.1: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(p)),
        lambda c, p=0.5: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(p)),
    ]
    for p in (0.1, 0.5):
        heads.append(lambda c, *, p=p: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Dropout(p)))
    told = [Experiment("mine", "Mine", head=head).definition() for head in heads]
    assert len({*told}) == len(heads)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"widths": (16, 32)}, "wrong: widths has 2 entries, blocks 3: one for each stage"),
        ({"mix": (convolution_3x3,)}, "wrong: mix has 1 entries, blocks 3"),
        ({"block": (Bottleneck,) * 4}, "wrong: block has 4 entries, blocks 3"),
        ({"base": "resnet20-smal"}, "there is no experiment 'resnet20-smal', its base"),
    ],
)
def test_a_row_that_cannot_be_built_or_held_against_another_is_named_and_none_is_added(
    rows, fields, named
):
    with pytest.raises(ValueError, match=named):
        evalib.register(Experiment("sound", "Sound"), Experiment("wrong", "Wrong", **fields))
    evalib.register(Experiment("sound", "Sound"), Experiment("upon", "Upon", base="sound"))
    evalib.register(Experiment("short", "Short", base="evanet20-small"))


def test_an_optimiser_that_is_none_is_named(rows):
    evalib.register(Experiment("mine", "Mine", recipe=Recipe("RMSprop", 1e-3, ())))
    torch.set_default_dtype(torch.float32)
    with pytest.raises(ValueError, match="no optimiser 'RMSprop': choose one of Adam, AdamW, SGD"):
        evalib.train(evalib.Settings("mine"), device="cpu")


@pytest.mark.parametrize("extent", [5, 7, 9])
def test_a_summary_reads_the_last_pixels_of_the_extent_of_its_layer(extent):
    summary, x = EVASummary(8, extent=extent).eval(), torch.randn(2, 8, extent + 1, extent + 1)
    for given in (x, x[:, :, 1:, 1:]):
        alone = summary.eva(x[:, :, 1:, 1:])[:, :, 0, 0]
        torch.testing.assert_close(summary(given), alone)
    for i, j in ((12, 12), (extent + 1, 12), (extent - 1, extent - 1)):
        x = torch.randn(1, 8, i, j)
        said = f"map is {i}×{j}, an EVANet reads {extent + 1}×{extent + 1} or {extent}×{extent}"
        with pytest.raises(ValueError, match=said) as refused:
            summary(x)
        head = eval(str(refused.value).rpartition(" as ")[2])  # the remedy, to the letter
        assert head(8)(x).shape == (1, 8) and head(8)[1].eva.extent == extent


@pytest.mark.parametrize(
    "mix", [convolution_3x3, self_attention_3x3], ids=["plain", "self-attentional"]
)
@pytest.mark.parametrize("stride", [1, 2])
def test_a_bottleneck_is_its_three_layers_around_the_shortcut(mix, stride):
    block, x = Bottleneck(32, 64, stride, mix).eval(), torch.randn(2, 32, 6, 6)
    norms = (1 + 1e-5) ** -0.5  # each in evaluation mode, as drawn
    inner = (norms * torch.einsum("oc,ncij->noij", block.reduce.weight[..., 0, 0], x)).relu()
    mixed = (norms * block.mix(inner)).relu()
    wide = norms * torch.einsum("oc,ncij->noij", block.expand.weight[..., 0, 0], mixed)
    shortcut = torch.cat([x[:, :, ::stride, ::stride], torch.zeros_like(wide[:, 32:])], dim=1)
    close(block(x), (wide + shortcut).relu())
    assert (block.mix.in_channels if mix is convolution_3x3 else block.mix.W_Q.in_channels) == 16
    layers, norms = evalib.count_parameters(block.mix), 2 * (16 + 16 + 64)
    assert evalib.count_parameters(block) == 32 * 16 + 16 * 64 + layers + norms


def test_bottlenecks_make_a_network(rows):
    mix = (convolution_3x3, convolution_3x3, self_attention_3x3)
    evalib.register(
        Experiment("bottlenecks", "Bottlenecks", mix=mix, block=Bottleneck, widths=(32, 64, 64))
    )
    network = evalib.build("bottlenecks")
    kinds = [[type(block).__name__, type(block.mix).__name__] for block in network.stages]
    assert kinds == [["Bottleneck", "Conv2d"]] * 4 + [["Bottleneck", "RelativeSelfAttention"]] * 2
    assert network.features(torch.randn(1, 3, 32, 32)).shape == (1, 64, 8, 8)
    F.cross_entropy(network(torch.randn(3, 3, 32, 32)), torch.tensor([1, 2, 3])).backward()
    assert network.stem[0].weight.grad.abs().max() > 0
