"""What PyTorch does with a whole network: other precisions, no images, gradients of each image, one
recorded graph.
"""

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

import evalib

pytestmark = [
    pytest.mark.usefixtures("float32"),
    # what PyTorch says of torch.func on itself
    pytest.mark.filterwarnings("ignore:.*torch.jit.script"),
    pytest.mark.filterwarnings("ignore:There is a performance drop"),
]
ROOT = Path(__file__).resolve().parent.parent
each_kind = pytest.mark.parametrize("name", ["resnet20-small", "sanet20-small", "evanet20-small"])

RECORDED = """
import functools
import warnings
import torch
from torchvision.models import resnet18
from torchvision.models.feature_extraction import create_feature_extractor
import evalib
from evalib import fast
from evalib.training import step

NAMES = "resnet20-small", "sanet20-small", "evanet20-small"
close = torch.testing.assert_close


def gradients(network, x, weights):
    return torch.autograd.grad(network(x).square().sum(), weights)


def check_features(network, nodes, x):
    network, heard = network.eval(), {}
    hooks = []
    for node, key in nodes.items():
        hear = lambda m, i, o, key=key: heard.update({key: o})
        hooks.append(network.get_submodule(node).register_forward_hook(hear))
    network(x)
    for hook in hooks:
        hook.remove()
    found = create_feature_extractor(network, nodes)(x)
    for key in nodes.values():
        close(found[key], heard[key])


torch.manual_seed(0)
fast.cpu.CACHED = 1  # an eager batch in the smallest parts, a recorded one whole
x, other = torch.randn(4, 3, 32, 32), torch.randn(fast.cpu.CHUNK + 1, 3, 32, 32)
for name in NAMES:
    network = evalib.build(name).eval()
    check_features(network, {"stages": "map", "summary": "pooled"}, x)
    with warnings.catch_warnings(action="ignore"):  # tracing is deprecated, and in use
        traced = torch.jit.trace(network, x)
    close(traced(other), network(other), rtol=1e-4, atol=1e-4)
    if name == "evanet20-small":
        continue  # its EVA is compiled below, the rest as in a ResNet
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    close(compiled(x), network(x))
    weights = list(network.parameters())
    close(*(gradients(form, x, weights) for form in (compiled, network)))

backbone = resnet18(num_classes=4)
backbone.avgpool = evalib.ExpandingVisualAttention(512, 64, 512)
check_features(backbone, {"layer4": "map", "avgpool": "pooled"}, torch.randn(1, 3, 224, 224))

torch.compile = functools.partial(torch.compile, backend="aot_eager", fullgraph=True)
torch.manual_seed(0)
eva, x = evalib.networks.EVASummary(8), torch.randn(4, 8, 7, 7)


def under_autocast(network):
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        y = network(x)
    return torch.autograd.grad(y.square().sum(), list(eva.parameters()))


close(under_autocast(step.compiled(eva)), under_autocast(eva), rtol=1e-4, atol=1e-7)
"""


@each_kind
@pytest.mark.parametrize(
    ("dtype", "error"), [(torch.bfloat16, 0.05), (torch.float16, 0.01), (torch.float64, 1e-4)]
)
def test_a_network_computes_in_another_precision_on_the_cpu(name, dtype, error):
    network, x = evalib.build(name).eval(), torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        scores, other = network(x), copy.deepcopy(network).to(dtype)(x.to(dtype))
    assert other.dtype == dtype
    assert (other.double() - scores.double()).norm() < error * scores.double().norm()


@pytest.mark.parametrize(("size", "extent"), [(3, 8), (3, 5)], ids=["offsets", "whole maps"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_window_attention_trains_in_half_precision(size, extent, dtype):
    layer, x = evalib.RelativeSelfAttention(16, 16, size, 4), torch.randn(2, 16, extent, extent)
    half = copy.deepcopy(layer).to(dtype)
    for each, given in ((layer, x), (half, x.to(dtype))):
        each(given).square().sum().backward()
    for parameter, other in zip(layer.parameters(), half.parameters(), strict=True):
        assert other.grad.dtype == dtype
        assert (other.grad.float() - parameter.grad).norm() < 0.1 * parameter.grad.norm()


@each_kind
@pytest.mark.parametrize("training", [True, False])
def test_no_images_give_no_scores(name, training):
    network = evalib.build(name, num_classes=7).train(training)
    scores = network(torch.empty(0, 3, 32, 32))
    assert scores.shape == (0, 7)
    scores.sum().backward()


@pytest.mark.parametrize("extent", [3, 8])
def test_layers_take_no_images(extent):
    window = evalib.RelativeSelfAttention(8, 16, 3, 4, stride=2)
    assert window(torch.empty(0, 8, extent, extent)).shape[:2] == (0, 16)
    eva = evalib.ExpandingVisualAttention(8, 16, 4, extent=3)
    assert eva(torch.empty(0, 8, 3, 3)).shape == (0, 4, 1, 1)


@each_kind
def test_the_gradient_of_each_image_is_that_of_the_image_alone(name):
    network, x, y = evalib.build(name).eval(), torch.randn(3, 3, 32, 32), torch.tensor([1, 2, 3])
    weights = {key: parameter.detach() for key, parameter in network.named_parameters()}
    rest = dict(network.named_buffers())

    def loss(weights, image, label):
        scores = torch.func.functional_call(network, (weights, rest), (image[None],))
        return F.cross_entropy(scores, label[None])

    together = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(weights, x, y)
    for at in range(3):
        network.zero_grad()
        F.cross_entropy(network(x[at : at + 1]), y[at : at + 1]).backward()
        for key, parameter in network.named_parameters():
            alone = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            torch.testing.assert_close(together[key][at], alone, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["sanet20-small", "evanet20-small"])
def test_a_gradient_penalty_trains_the_network_or_says_how(name):
    network, y = evalib.build(name).eval(), torch.tensor([1, 2])
    x = torch.randn(2, 3, 32, 32, requires_grad=True)

    def penalise():
        (gradient,) = torch.autograd.grad(F.cross_entropy(network(x), y), x, create_graph=True)
        gradient.square().sum().backward()

    if name == "sanet20-small":
        with pytest.raises(NotImplementedError, match=r"layer\.fast = False"):
            penalise()
        for layer in network.modules():
            layer.fast = False
    penalise()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


def test_networks_are_traced_compiled_as_one_graph_and_taken_apart_for_features():
    """In a process of its own: the checks of shapes that pytest puts into the package cannot be
    recorded.
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", RECORDED], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
