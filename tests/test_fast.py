"""The fast forms are the literal ones: outputs and every gradient, for each formulation at every
shape.
"""

import inspect
from collections import Counter

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from evalib import ExpandingVisualAttention, RelativeSelfAttention, equations, fast, trace
from evalib.fast import cpu
from evalib.tracing import as_written
from evalib.training import data
from evalib.training.settings import Settings
from evalib.training.step import eager_step
from evalib.training.train import begin

MAPS = [(1, 1), (2, 5), (5, 4), (7, 7), (8, 8)]

each_formulation = pytest.mark.usefixtures("formulation")


@pytest.fixture(params=[False, True], ids=["offsets", "whole map"])
def formulation(request, monkeypatch):
    """Window attention by one formulation, whatever the rule would choose."""
    monkeypatch.setattr(fast, "attends_over_the_map", lambda x, size: request.param)


def leaves(*shapes):
    return [torch.randn(shape, requires_grad=True) for shape in shapes]


def assert_same(literal, quick, inputs, tolerance=1e-12):
    """Equal outputs, and equal gradients of one random sum of them, relative to the largest entry
    of each.
    """
    literal, quick = (y if isinstance(y, tuple) else (y,) for y in (literal, quick))
    weights = [torch.randn_like(y) for y in literal]
    grads = [
        torch.autograd.grad(
            sum((w * y).sum() for w, y in zip(weights, ys, strict=True)),
            inputs,
            materialize_grads=True,
        )
        for ys in (literal, quick)
    ]
    for expected, actual in zip((*literal, *grads[0]), (*quick, *grads[1]), strict=True):
        atol = tolerance * max(1.0, expected.detach().abs().max().item())
        torch.testing.assert_close(actual, expected, rtol=0, atol=atol)


def compare(n, h, half, i, j, k, stride, scale=1.0):
    inputs = leaves(*[(n, h, 2 * half, i, j)] * 3, *[(h, half, k)] * 2)
    literal = equations.relative_attention(*inputs, scale, stride)
    assert_same(literal, fast.relative_attention(*inputs, scale, stride), inputs)


@each_formulation
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("k", [1, 3, 5, 7])
@pytest.mark.parametrize("heads", [1, 2, 4, 8])
def test_each_formulation_is_the_literal_equation(heads, k, stride):
    for i, j in MAPS:
        compare(2, heads, 2, i, j, k, stride)


@each_formulation
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    n=st.integers(1, 3), h=st.integers(1, 3), half=st.integers(1, 3), i=st.integers(1, 9), j=st.integers(1, 9),
    k=st.sampled_from([1, 3, 5, 7, 9]), stride=st.integers(1, 4), scale=st.sampled_from([1.0, 0.5, 3.0, -2.0, 0.0]),
)  # fmt: skip
@example(n=2, h=2, half=2, i=5, j=6, k=3, stride=1, scale=3.0)  # whatever else is drawn
@example(n=2, h=2, half=2, i=5, j=6, k=3, stride=2, scale=-2.0)
def test_each_formulation_at_any_shape(n, h, half, i, j, k, stride, scale):
    compare(n, h, half, i, j, k, stride, scale)


@each_formulation
@pytest.mark.parametrize("size", [-1e5, 1e5, 1e10, 1e20])
def test_logits_of_any_size_stay_in_the_window(size):
    q, k, v = (torch.rand(1, 2, 4, 6, 6) for _ in range(3))
    inputs = -size * q, k, v, *torch.rand(2, 2, 2, 3)
    literal = equations.relative_attention(*inputs)
    torch.testing.assert_close(fast.relative_attention(*inputs), literal)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_value_that_is_not_finite_reaches_the_queries_that_see_it(bad, which, stride):
    qkv, tables = torch.randn(3, 1, 2, 4, 7, 7), torch.randn(2, 2, 2, 3)
    qkv[which, 0, 0, 0, 6, 6] = bad
    found = []
    for module in (equations, fast):
        inputs = qkv.clone().requires_grad_()
        y = module.relative_attention(*inputs, *tables, stride=stride)
        found.append((y.detach(), *torch.autograd.grad(y.sum(), inputs)))
    (y, literal), (quick, gradient) = found
    torch.testing.assert_close(quick, y, equal_nan=True)
    torch.testing.assert_close(
        gradient[..., :4, :], literal[..., :4, :]
    )  # no query there sees the pixel
    assert literal[..., :4, :].isfinite().all()


@each_formulation
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 5e-2)])
def test_other_precisions(dtype, tolerance):
    inputs = leaves(*[(2, 2, 4, 6, 5)] * 3, *[(2, 2, 3)] * 2)
    literal = equations.relative_attention(*inputs)
    y = fast.relative_attention(*(t.detach().to(dtype) for t in inputs))
    assert y.dtype == dtype
    torch.testing.assert_close(y.to(literal.dtype), literal, rtol=tolerance, atol=tolerance)


def test_offsets_of_half_precision_are_summed_in_single_precision():
    inputs = [torch.randn(shape).bfloat16() for shape in [*[(2, 2, 4, 8, 8)] * 3, *[(2, 2, 3)] * 2]]
    assert not fast.attends_over_the_map(inputs[0], 3)
    exact = equations.relative_attention(*(t.double() for t in inputs))
    torch.testing.assert_close(
        fast.relative_attention(*inputs).double(), exact, rtol=2**-8, atol=1e-6
    )


def test_the_rule_looks_at_window_and_map():
    small, large = torch.empty(1, 1, 8, 8), torch.empty(1, 1, 16, 16)
    assert [fast.attends_over_the_map(small, k) for k in (1, 3, 5, 7)] == [False, False, True, True]
    assert [fast.attends_over_the_map(large, k) for k in (3, 7, 9)] == [False, False, True]


def test_wrong_extents_are_named():
    q, k, v = leaves(*[(1, 1, 2, 4, 4)] * 3)
    with pytest.raises(ValueError, match="kernel_size=4"):
        fast.relative_attention(q, k, v, *leaves((1, 1, 4), (1, 1, 4)))
    with pytest.raises(ValueError, match="stride=0"):
        fast.relative_attention(q, k, v, *leaves((1, 1, 3), (1, 1, 3)), stride=0)
    tables = leaves((1, 1, 3), (1, 2, 3))  # whose shapes are checked here only, not by a user
    for function, inputs in (
        (equations.relative_embedding, tables),
        (fast.joint_attention, (torch.stack([q, k, v], dim=1), *tables, 1.0, 1)),
    ):
        with pytest.raises(
            ValueError, match=r"rows \(1, 1, 3\) and cols \(1, 2, 3\) must have one"
        ):
            inspect.unwrap(function)(*inputs)
    one_head, of_three = leaves((1, 1, 3), (1, 1, 3)), torch.randn(1, 3, 3, 2, 4, 4)
    for k in (3, 1):  # over the map, and shifted
        with pytest.raises(ValueError, match=r"of 3 heads with 2 channels: \(3, 1, "):
            attend = inspect.unwrap(fast.joint_attention)
            attend(of_three, *(table[..., :k] for table in one_head), 1.0, 1)
    with pytest.raises(ValueError, match=r"kernel_size=\(3, 3\) has no centre"):
        inspect.unwrap(equations.check_odd)((3, 3))


def literal_single_query(query, memory, W_Q, W_K, W_V, heads, r_m, scale):
    """The equation around its projections, each in heads."""
    q = (query @ W_Q.T).unflatten(1, (heads, -1))
    k, v = ((memory @ W.T).unflatten(2, (heads, -1)).transpose(1, 2) for W in (W_K, W_V))
    y, weights = equations.single_query_attention(q, k, v, r_m, scale)
    return y.flatten(1), weights


each_form = pytest.mark.parametrize("form", [fast.absorbed, fast.projected])


@each_form
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize(
    ("m", "with_r", "scale"), [(1, True, 1.0), (8, True, 0.5), (3, False, 3.0)]
)
def test_single_query_attention_is_the_literal_one(heads, m, with_r, scale, dtype, tolerance, form):
    shapes = (3, 8), (3, m, 6), (8, 8), (8, 6), (8, 6), (heads, 8 // heads, m)
    *inputs, r = (torch.randn(shape, dtype=dtype).div(2).requires_grad_() for shape in shapes)
    r = [r] if with_r else []
    pair = (each(*inputs, heads, *(r or [None]), scale) for each in (literal_single_query, form))
    assert_same(*pair, [*inputs, *r], tolerance)


def test_a_cpu_projects_a_head_and_any_other_device_the_memory(monkeypatch):
    monkeypatch.setattr(fast, "projected", lambda *_: "projected")
    monkeypatch.setattr(fast, "absorbed", lambda *_: "absorbed")
    shapes = (3, 8), (3, 5, 6), (8, 8), (8, 6), (8, 6)
    for device, form in (("cpu", "absorbed"), ("meta", "projected")):
        assert (
            inspect.unwrap(fast.single_query_attention)(
                *(torch.empty(s, device=device) for s in shapes), 2
            )
            == form
        )


@pytest.mark.parametrize("on_a_cpu", [True, False])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("n", "size", "k"), [(1, 8, 3), (cpu.CHUNK + 2, 7, 3), (3, 8, 7), (2, 4, 5)]
)
def test_self_attention_is_the_literal_module(monkeypatch, n, size, k, stride, layout, on_a_cpu):
    monkeypatch.setattr(fast, "on_a_cpu", lambda x: on_a_cpu)
    layer = RelativeSelfAttention(6, 8, k, num_heads=2, stride=stride)
    x = torch.randn(n, 6, size, size).to(memory_format=layout).requires_grad_()
    monkeypatch.setattr(cpu, "CACHED", 1)  # the fewest images a time
    quick = layer(x)
    layer.fast = False
    assert_same(layer(x), quick, [x, *layer.parameters()])


@each_form
def test_eva_is_the_literal_module(form, monkeypatch):
    monkeypatch.setattr(fast, "single_query_attention", form)
    module = ExpandingVisualAttention(6, 8, 5, num_heads=2)
    (x,) = leaves((3, 6, 7, 7))
    quick, passed = trace(module, x)
    literal, seen = trace(as_written(module), x)
    flat = [
        (y, *(t for group in each for t in group)) for y, each in ((literal, seen), (quick, passed))
    ]
    assert_same(*flat, [x, *module.parameters()])


class Operations(TorchDispatchMode):
    """Counts what computes: every operation that is no view."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, operation, types, arguments=(), options=None):
        aliases = [result.alias_info for result in operation._schema.returns]
        if not any(alias and not alias.is_write for alias in aliases) and "_unsafe_view" not in str(
            operation
        ):
            self.counts[operation.overloadpacket] += 1
        return operation(*arguments, **(options or {}))


def operations_of_a_step(name):
    """What a training step of the network called ``name`` computes under bf16 autocast."""
    torch.set_default_dtype(torch.float32)
    network, optimiser = begin(Settings(name), torch.device("cpu"))
    images, plan = torch.zeros(4, 3, 40, 40, dtype=torch.uint8), data.epoch_plan(4, 0, 0)
    step = eager_step(network.train(), optimiser, images, torch.zeros(4, dtype=int), "bf16")
    with Operations() as operations:
        step(plan)
    return operations.counts


def test_an_evanet_on_a_gpu_has_few_operations_more_than_a_resnet(monkeypatch):
    monkeypatch.setattr(fast, "single_query_attention", fast.projected)
    evanet, resnet = (operations_of_a_step(name) for name in ("evanet20-small", "resnet20-small"))
    more, aten = evanet - resnet, torch.ops.aten
    assert more[aten.mm] + more[aten.addmm] == 3 * (
        2 * 8 + 5
    )  # a query and a memory each, and the layers around them
    assert not {aten.bmm, aten.index, aten.index_put} & (+more).keys()
