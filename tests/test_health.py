"""The health of an attention: what a user is told, and that the layer keeps it in a network of
another's making.
"""

import runpy
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models import resnet18

import evalib
from evalib.ablations.layers import CentreQuery
from evalib.eva import EqualisedLinear, WholeMap
from evalib.tracing import LARGE, SAME, AttentionHealth
from evalib.training import data
from evalib.training.cifar import load_data

WIDTHS = (16, 64, 256)
SCRIPT = runpy.run_path(str(Path(__file__).resolve().parent.parent / "scripts" / "width.py"))
without_gain = SCRIPT["without_gain"]

pytestmark = pytest.mark.usefixtures("float32")


def eva(width=64):
    return evalib.ExpandingVisualAttention(width, width, width)


def test_a_layer_as_it_is_drawn_is_healthy():
    found = evalib.check_attention(eva(), torch.randn(16, 64, 7, 7))
    assert found.largest_logit < 20 and found.sizes == (1, 8, 16, 24)
    assert all(effect > 0.9 * size for effect, size in zip(found.pixels, found.sizes, strict=True))
    said = [line.rpartition(": ")[2] for line in str(found).splitlines()]
    assert said == ["moderate", "soft", "it tells images apart"]


def test_what_is_ill_is_said_with_a_remedy():
    layer, x = eva(), torch.randn(16, 64, 7, 7)
    layer.looks[3].W_Q.weight.data *= 1e5
    nn.init.zeros_(layer.convolution.weight)
    logit, looks, query = str(evalib.check_attention(layer, x)).splitlines()
    assert "above" in logit and "lower EVA's learning rate" in logit
    assert "less than a quarter" in looks and "1.0 of 24" in looks and " of 1," not in looks
    assert query.startswith("sameness of q0 1.000: one vector for all images")


@pytest.mark.parametrize("factor", [-30, 30])
@pytest.mark.parametrize("kind", ["looks", "recalls"])
def test_the_figures_are_those_of_the_weights_and_logits(kind, factor):
    layer, x = CentreQuery(8, 8, 8, num_heads=2), 3 * torch.randn(3, 8, 7, 7)
    part, heard = getattr(layer, kind)[2], []
    part.W_Q.weight.data *= factor  # its logits are the largest, of either sign
    part.register_forward_hook(lambda _, inputs, outputs: heard.append((*inputs, outputs[1])))
    found, (_, seen) = evalib.check_attention(layer, x), evalib.trace(layer, x)
    for effect, weights in zip(found.pixels, seen.look_weights, strict=True):
        expected = (weights * -weights.log()).sum(-1).exp().mean().item()
        assert effect == pytest.approx(expected, rel=1e-4)
    query, memory, weights = heard[0]
    assert not weights.requires_grad
    keys = part.W_K(memory)  # n m d
    if kind == "looks":
        row, column = part.offsets + 2
        keys = keys + torch.cat([part.rows[:, :, row], part.cols[:, :, column]], 1).flatten(0, 1).T
    logits = (part.W_Q(query)[:, None] * keys).unflatten(2, (2, 4)).sum(-1) / 2
    torch.testing.assert_close(logits.softmax(dim=1).mT, weights)
    assert found.largest_logit == pytest.approx(logits.abs().max().item())


def test_what_is_said_turns_at_the_bounds():
    healthy = AttentionHealth(LARGE, (1.0, 2.0, 4.0), (1, 8, 16), SAME)
    ill = AttentionHealth(LARGE + 1, (1.0, 1.9, 4.0), (1, 8, 16), SAME + 0.001)
    ills = ["lower" in line for line in f"{healthy}\n{ill}".splitlines()]
    assert ills == [False] * 3 + [True] * 3


def test_the_network_is_left_as_it_was_and_one_image_is_refused():
    network = evalib.build("evanet20-small").train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    evalib.check_attention(network, torch.randn(4, 3, 32, 32))
    assert network.training and not any(part._forward_hooks for part in network.modules())
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
    with pytest.raises(ValueError, match="give a batch of 16"):
        evalib.check_attention(network, torch.randn(1, 3, 32, 32))
    with pytest.raises(ValueError, match="no layers of Expanding Visual Attention"):
        evalib.check_attention(evalib.build("resnet20-small"), torch.randn(4, 3, 32, 32))


def test_a_candidate_of_the_width_check_that_is_none_is_refused(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["width.py", "scaled", "scled"])
    with pytest.raises(SystemExit):
        SCRIPT["main"]()
    assert "no candidate scled: choose of scaled, " in capsys.readouterr().err


# ── The width rule ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("width", WIDTHS)
def test_a_layer_is_drawn_as_torch_draws_it_at_every_width(width):
    torch.manual_seed(0)
    layer, x = EqualisedLinear(width, 8), torch.randn(3, width)
    torch.manual_seed(0)
    plain = nn.Linear(width, 8)
    torch.testing.assert_close(layer(x), plain(x))
    torch.testing.assert_close(F.linear(x, layer.matrix(), layer.bias), plain(x))
    layer.reset_parameters()
    torch.testing.assert_close(layer.matrix().abs().max().item(), width**-0.5, rtol=0.2, atol=0)
    torch.manual_seed(0)
    whole, y = WholeMap(width, 8, 3), torch.randn(3, width, 3, 3)
    torch.manual_seed(0)
    torch.testing.assert_close(whole(y), nn.Conv2d(width, 8, 3)(y).flatten(1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_step_of_adam_moves_every_matrix_as_far_as_with_64_channels(width):
    """And without the rule by the whole rate; tables and biases are moved by the rate."""
    for module, gain in ((eva(width), 64 / width), (without_gain(eva(width)), 1.0)):
        before = {name: value.clone() for name, value in module.state_dict().items()}
        optimiser = torch.optim.Adam(module.parameters(), lr=1e-3)
        module(torch.randn(4, width, 7, 7)).square().sum().backward()
        optimiser.step()
        matrices = 0
        for name, part in module.named_modules():
            if isinstance(part, EqualisedLinear | WholeMap) and part.weight.grad.any():
                moved = part.gain * (part.weight - before[f"{name}.weight"])
                assert moved.abs().max().item() == pytest.approx(1e-3 * gain, rel=0.01), name
                matrices += 1
        assert matrices == 1 + 4 + 7 * 3 + 1  # without W_Q and W_K of the look at one pixel
        moved = module.looks[3].rows - before["looks.3.rows"]
        assert moved.abs().max().item() == pytest.approx(1e-3, rel=0.01)


def test_the_rule_counts_what_a_sum_runs_over():
    layer = evalib.ExpandingVisualAttention(32, 128, 16)
    look, recall = layer.looks[1], layer.recalls[1]
    parts = layer.convolution, look.W_Q, look.W_K, look.W_V, recall.W_K, layer.output[2]
    assert [part.gain for part in parts] == [2, 0.5, 2, 2, 0.5, 0.5]


def test_without_the_rule_a_layer_computes_what_it_did():
    layer, x = eva(128), torch.randn(2, 128, 7, 7)
    y = layer(x)
    assert layer.convolution.gain == layer.looks[0].W_K.gain == layer.output[0].gain == 0.5
    torch.testing.assert_close(without_gain(layer)(x), y)
    assert {part.gain for part in layer.modules() if hasattr(part, "gain")} == {1.0}


def backbone(seed=0):
    """torchvision's ResNet-18 with EVA in place of its mean, and strides for images of 28×28
    pixels.
    """
    torch.manual_seed(seed)
    network = resnet18(weights=None, num_classes=10)
    for stage in (network.layer2, network.layer3, network.layer4):
        stage[0].conv1.stride = stage[0].downsample[0].stride = 1
    network.avgpool = evalib.ExpandingVisualAttention(512, 512, 512)
    return network


OPTIMISERS = {"Adam": torch.optim.Adam, "AdamW": torch.optim.AdamW}


slow_in_bf16 = pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() == "AVX2",
    reason="without AVX-512 a step in bf16 takes ten times as long",
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "precision", [torch.float32, pytest.param(torch.bfloat16, marks=slow_in_bf16)], ids=str
)
@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_a_resnet_18_with_eva_trains_by_the_usual_rate_and_its_attention_stays_soft(
    optimiser, precision, steps=40
):
    cifar, network = load_data("subset"), backbone()
    images, labels = data.normalise(cifar.train_images)[:, :, 2:30, 2:30], cifar.train_labels.long()
    optimise = OPTIMISERS[optimiser](network.parameters(), lr=1e-3)
    losses = []
    for batch in torch.randperm(len(images))[: 16 * steps].split(16):
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            loss = F.cross_entropy(network(images[batch]), labels[batch])
        optimise.zero_grad()
        loss.backward()
        optimise.step()
        losses.append(loss.item())
    found = evalib.check_attention(network, images[:64])
    assert sum(losses[-10:]) < sum(losses[:10]) and sum(losses[-10:]) < 10 * 2.3
    assert found.largest_logit < LARGE and found.sameness < SAME  # without the rule 20,000
    assert all(effect > size / 4 for effect, size in zip(found.pixels, found.sizes, strict=True)), (
        found
    )
