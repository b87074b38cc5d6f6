"""The layers as others treat modules: hooks, pruning, quantisation, adapters, replicas, the meta
device.
"""

import copy
import inspect
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import evalib
from evalib import fast
from evalib.equations import ring
from evalib.eva import SingleQueryAttention
from evalib.published import PublishedEVA
from evalib.tracing import as_written

pytestmark = pytest.mark.usefixtures("float32")


def eva():
    return evalib.ExpandingVisualAttention(16, 16, 16).eval(), torch.randn(3, 16, 7, 7)


def window(size):
    return lambda: (
        evalib.RelativeSelfAttention(16, 16, size, 4, stride=2, scaled=True).eval(),
        torch.randn(3, 16, 14, 14),
    )


LAYERS = {"EVA": eva, "shifted window": window(3), "dense window": window(9)}
layers = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)


def projections(layer):
    return [
        part
        for name, part in layer.named_modules()
        if name.rpartition(".")[2] in ("W_Q", "W_K", "W_V")
    ]


class Adapted(nn.Module):
    """A linear map and a low-rank addition to it, whose ``weight`` is the map's alone, as adapters
    have it.
    """

    def __init__(self, base):
        super().__init__()
        self.base, self.bias = base, None
        self.delta = nn.Parameter(0.1 * torch.randn_like(base.weight))
        self.weight = base.weight

    def forward(self, x):
        added = copy.copy(self.base)
        added._parameters = {"weight": self.delta, "bias": None}
        return self.base(x) + added(x)


@layers
@pytest.mark.parametrize("hook", ["forward_pre", "forward", "full_backward_pre", "full_backward"])
def test_a_hook_of_one_projection_hears_what_goes_through_it(make, hook):
    layer, x = make()
    y, heard = layer(x.requires_grad_()), []
    for projection in projections(layer):
        register = getattr(projection, f"register_{hook}_hook")
        hooked = register(lambda module, *given: heard.append(module))
        found = layer(x)
        found.sum().backward()
        hooked.remove()
        torch.testing.assert_close(found, y, rtol=1e-4, atol=1e-5)
    assert heard == projections(layer)


@layers
def test_a_pruned_projection_is_pruned_again_in_each_pass(make):
    layer, x = make()
    for projection in projections(layer):
        prune.l1_unstructured(projection, "weight", 0.5)
    for _ in range(2):  # a second backward pass needs a graph of its own
        layer(x).sum().backward()
    assert all(projection.weight_orig.grad is not None for projection in projections(layer))
    with torch.no_grad():
        for projection in projections(layer):
            projection.weight_orig.add_(torch.randn_like(projection.weight_orig))
    now = layer(x)
    torch.testing.assert_close(now, as_written(layer)(x), rtol=1e-4, atol=1e-4)
    for projection in projections(layer):
        prune.remove(projection, "weight")
    torch.testing.assert_close(now, layer(x), rtol=1e-4, atol=1e-4)


@layers
def test_an_adapter_of_a_projection_takes_part_and_learns(make):
    layer, x = make()
    for parent in list(layer.modules()):
        for name, part in list(parent.named_children()):
            if name in ("W_Q", "W_K", "W_V"):
                setattr(parent, name, Adapted(part))
    adapted = layer(x)
    adapted.square().sum().backward()
    others = [part for part in layer.modules() if isinstance(part, Adapted)]
    assert all(part.delta.grad is not None for part in others) and others[-1].delta.grad.any()
    for parent in list(layer.modules()):
        for name, part in list(parent.named_children()):
            if isinstance(part, Adapted):
                part.base.weight.data += part.delta.data
                setattr(parent, name, part.base)
    torch.testing.assert_close(adapted, layer(x), rtol=1e-4, atol=1e-4)


def biased(projection):
    projection.bias = nn.Parameter(torch.randn(projection.weight.shape[0]))


def doubled_by_a_hook(projection):
    projection.register_forward_hook(lambda module, inputs, output: 2 * output)


def doubled_here(projection):
    projection.forward = lambda x, usual=projection.forward: 2 * usual(x)


def doubled_in_a_subclass(projection):
    kind = type(projection)
    double = {"forward": lambda self, x: 2 * kind.forward(self, x)}
    projection.__class__ = type("Double", (kind,), double)


@layers
@pytest.mark.parametrize("change", [biased, doubled_by_a_hook, doubled_here, doubled_in_a_subclass])
def test_what_changes_a_projection_counts(make, change):
    layer, x = make()
    y = layer(x)
    for projection in projections(layer):
        change(projection)
    changed = layer(x)
    assert not torch.allclose(changed, y, atol=0.1)
    torch.testing.assert_close(changed, as_written(layer)(x), rtol=1e-4, atol=1e-4)


@layers
def test_a_scale_that_is_learned_has_its_gradient(make):
    layer, x = make()
    attentions = [part for part in layer.modules() if hasattr(part, "scale")]
    for part in attentions:
        part.scale = nn.Parameter(torch.tensor(1.0))
    gradients = []
    for quick in (True, False):
        for part in attentions:
            part.fast = quick
        gradients.append(
            torch.autograd.grad(layer(x).square().sum(), [part.scale for part in attentions])
        )
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4)
    assert gradients[0][-1] != 0


@layers
def test_what_a_layer_cannot_take_is_refused_by_name(make):
    layer, x = make()
    with pytest.raises(ValueError, match=r"this is \(16, .*one image is image\[None\]"):
        inspect.unwrap(type(layer).forward)(layer, x[0])  # shapes are checked here, not by a user
    for part in layer.modules():
        if hasattr(part, "scale"):  # a number for each head is none for all
            part.scale = torch.ones(part.num_heads, 1)
    with pytest.raises(ValueError, match=r"scale \(4, 1\) must be one number: layer.fast = False"):
        layer(x)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float64])
@pytest.mark.parametrize("extent", [6, 16])
def test_a_map_of_another_type_than_the_weights_is_refused(dtype, extent):
    """Whole numbers were answered in whole numbers, which ran over."""
    layer, x = evalib.RelativeSelfAttention(3, 8, 3, 2), torch.ones(2, 3, extent, extent)
    W, attend = (part.weight for part in projections(layer)), inspect.unwrap(fast.self_attention)
    given = x.to(dtype), *W, layer.rows, layer.cols, layer.num_heads
    for autocast in (False, dtype != torch.float64):
        with (
            torch.autocast("cpu", enabled=autocast),
            pytest.raises(TypeError, match=f"{dtype} and"),
        ):
            attend(*given)


@layers
def test_a_copy_and_a_pickle_are_the_layer(make):
    layer, x = make()
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(other(x), layer(x))


class Packed(torch.Tensor):
    """A weight in eight bits, as torchao makes one: of all operations it knows ``F.linear``."""

    @staticmethod
    def __new__(cls, weight):
        return torch.Tensor._make_wrapper_subclass(cls, weight.shape, dtype=weight.dtype)

    def __init__(self, weight):
        self.step = weight.abs().max() / 127
        self.numbers = (weight / self.step).round().to(torch.int8)

    def __tensor_flatten__(self):
        return ["numbers"], None

    @classmethod
    def __torch_function__(cls, function, types, given=(), options=None):
        if function is F.linear:
            x, weight, *bias = given
            return F.linear(x, weight.step * weight.numbers, *bias)
        return super().__torch_function__(function, types, given, options or {})

    @classmethod
    def __torch_dispatch__(cls, function, types, given=(), options=None):
        assert function is torch.ops.aten.detach.default, function
        return given[0]


@pytest.mark.parametrize("kind", [Packed, torch.Tensor.to_sparse_csr])
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta state")
def test_an_evanet_runs_with_weights_of_a_type_of_their_own(kind):
    network, x = evalib.load_pretrained("evanet20-small"), torch.randn(8, 3, 32, 32)
    packed = copy.deepcopy(network)
    for part in packed.modules():
        if isinstance(part, nn.Linear):
            part.weight = nn.Parameter(kind(part.weight.detach()), requires_grad=False)
    with torch.no_grad():
        assert (packed(x) - network(x)).abs().max() < 0.1 * network(x).abs().max()


def replica(module):
    """What ``nn.DataParallel`` makes of a module for another GPU: its parameters are plain
    attributes.
    """
    parts = {name: part._replicate_for_data_parallel() for name, part in module.named_modules()}
    for name, part in module.named_modules():
        for child, value in part._modules.items():
            parts[name]._modules[child] = value and parts[f"{name}.{child}".lstrip(".")]
        for own, value in part._parameters.items():
            if value is None:
                parts[name]._parameters[own] = None
            else:
                setattr(parts[name], own, value.detach().clone())
    return parts[""]


@pytest.mark.parametrize("kind", [evalib.ExpandingVisualAttention, PublishedEVA])
def test_a_replica_of_data_parallel_gives_what_the_layer_gives(kind):
    layer, x = kind(16, 16, 16).eval(), torch.randn(3, 16, 7, 7)
    assert not [*replica(layer).parameters()]
    assert torch.equal(replica(layer)(x), layer(x))


@pytest.mark.parametrize(
    "name",
    [
        "evanet20-small",
        "evanet20-small-published",
        "evanet20-small-scaled-ladder-best",
        "sanet20-small",
    ],
)
@pytest.mark.parametrize("how", ["to_empty", "assign", "back"])
def test_a_network_made_without_data_is_the_network_once_it_has_its_weights(name, how):
    network, x = evalib.build(name).eval(), torch.randn(2, 3, 32, 32)
    with torch.device("meta"):
        made = evalib.build(name).eval()
    assert made(x.to("meta")).shape == (2, 10)
    if how == "back":
        made = copy.deepcopy(network).to("meta")
        assert made(x.to("meta")).shape == (2, 10)
    if how != "assign":
        made.to_empty(device="cpu")
        assert not any(tensor.is_meta for tensor in (*made.parameters(), *made.buffers()))
    made.load_state_dict(network.state_dict(), assign=how == "assign")
    assert torch.equal(made(x), network(x))


@pytest.mark.parametrize(
    "make",
    [
        lambda: evalib.RelativeSelfAttention(8, 256, 3, 2),
        lambda: SingleQueryAttention(8, 256, 2, ring(1)),
        lambda: evalib.ExpandingVisualAttention(128, 64, 64),
        lambda: PublishedEVA(64, 64, 64),
        lambda: PublishedEVA(64, 64, 64, whole=True),
    ],
)
def test_what_is_drawn_anew_has_the_scale_that_it_was_made_with(make):
    layer = make()
    made = {name: parameter.std().item() for name, parameter in layer.named_parameters()}
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    for part in layer.modules():
        if hasattr(part, "reset_parameters"):
            part.reset_parameters()
    for name, parameter in layer.named_parameters():
        assert parameter.std().item() == pytest.approx(made[name], rel=0.3), name
    for part in layer.to("meta").modules():
        if hasattr(part, "reset_parameters"):
            part.reset_parameters()
    assert all(parameter.is_meta for parameter in layer.parameters())


@pytest.mark.parametrize("name", ["evanet20-small", "evanet20-small-published"])
@pytest.mark.parametrize("decay", [0.9, 0.9995])
def test_the_average_of_equal_weights_and_buffers_is_the_network(name, decay):
    """Of whole numbers an average in floats may be the one below."""
    network, x = evalib.build(name).eval(), torch.randn(2, 3, 32, 32)
    average = get_ema_multi_avg_fn(decay)
    averaged = AveragedModel(network, multi_avg_fn=average, use_buffers=True)
    for _ in range(20):
        averaged.update_parameters(network)
    torch.testing.assert_close(averaged(x), network(x), rtol=1e-4, atol=1e-4)


def test_a_layer_whose_weights_came_in_inference_mode_still_trains():
    layer = evalib.ExpandingVisualAttention(16, 16, 16)
    with torch.inference_mode():
        layer.load_state_dict(layer.state_dict())
        layer.to("cpu")(torch.randn(2, 16, 7, 7))
    layer(torch.randn(2, 16, 7, 7)).sum().backward()
    assert all(parameter.grad is not None for parameter in layer.looks[3].parameters())
