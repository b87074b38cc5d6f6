"""Window attention as an operator: its kernels in Triton's interpreter, and what PyTorch does with
it as a whole.
"""

import inspect
import itertools
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.autograd import forward_ad

import evalib
from evalib import fast
from evalib.equations import relative_attention
from evalib.fast import window_attention

pytestmark = [  # what PyTorch says of torch.func on itself
    pytest.mark.filterwarnings("ignore:.*torch.jit.script"),
    pytest.mark.filterwarnings("ignore:There is a performance drop"),
]
ROOT = Path(__file__).resolve().parent.parent


def inputs(k=3, n=2):
    shapes = (n, 3, 2, 4, 7, 6), (2, 2, k), (2, 2, k)
    return [torch.randn(shape, requires_grad=True) for shape in shapes]


def interpreted(count, seed):
    """What the interpreter says of ``count`` random shapes and a few chosen ones."""
    pytest.importorskip("triton")
    script = str(ROOT / "tests" / "interpreted.py")
    command = [sys.executable, "-W", "error::RuntimeWarning", script, str(count), str(seed)]
    package = str(Path(evalib.__file__).parent.parent)
    environment = os.environ | {
        "TRITON_INTERPRET": "1",
        "PYTHONPATH": package,
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    return done.stdout or done.stderr[-2000:]


def test_the_kernels_are_the_literal_equation_at_a_few_shapes():
    assert interpreted(8, 3) == "equal\n"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_the_kernels_are_the_literal_equation_at_many_shapes(seed):
    assert interpreted(80, seed) == "equal\n"


def test_the_kernels_compile_for_a_gpu_that_is_not_there(tmp_path):
    """For a Hopper GPU: no product reads past its operands, and what a program holds fits.
    compiled.py has others.
    """
    pytest.importorskip("triton")
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "TRITON_CACHE_DIR": str(tmp_path),
    }
    command = [sys.executable, str(ROOT / "tests" / "compiled.py"), "90"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.stdout == "compiled\n", done.stderr[-2000:]


def test_threads_launch_one_after_the_other_and_a_graph_is_told_what_is_filled(monkeypatch):
    """For the first launch of a kernel compiles it."""
    pytest.importorskip("triton")
    from evalib.fast import gpu

    held = []

    class Kernel:
        def __getitem__(self, grid):
            return lambda *inputs, **constants: held.append(gpu.LAUNCH.locked())

    monkeypatch.setattr(gpu, "forward_kernel", Kernel())
    monkeypatch.setattr(gpu, "backward_kernel", Kernel())
    given = [each.detach().bfloat16() for each in inputs()]
    y, lse = gpu.forward(*given, 2, 1.0)
    filled = y, lse, *gpu.backward(y, *given, y, lse, 2, 1.0)
    assert held == [True, True] and not gpu.LAUNCH.locked()
    monkeypatch.setattr(fast, "by_kernels", lambda x: True)
    told = *fast.empty_outputs(*given, 2, 1.0), *fast.empty_gradients(y, *given, y, lse, 2, 1.0)
    for one, other in zip(filled, told, strict=True):
        assert (one.shape, one.stride(), one.dtype) == (other.shape, other.stride(), other.dtype)


def test_the_kernels_take_what_is_on_a_gpu_and_no_double_precision(monkeypatch):
    monkeypatch.setattr(fast, "has_triton", lambda: True)
    for device in ("cuda", "cpu"):
        for dtype in (torch.float32, torch.bfloat16, torch.float64):
            given = SimpleNamespace(device=torch.device(device), dtype=dtype)
            wanted = device == "cuda" and dtype != torch.float64
            assert inspect.unwrap(fast.by_kernels)(given) == wanted


def test_a_launch_with_too_many_warps_is_refused():
    gpu = pytest.importorskip("evalib.fast.gpu")
    assert gpu.check_launch(gpu.Launch(8, 8, 256, 4)).warps == 4
    with pytest.raises(ValueError, match="8 warps for 64 pixels; take 4 warps or fewer"):
        gpu.check_launch(gpu.Launch(8, 8, 256, 8))


def test_a_rule_launches_what_fits_a_gpu():
    gpu = pytest.importorskip("evalib.fast.gpu")
    for c, size, stride, (i, j), dtype, capability in itertools.product(
        (16, 64, 128), (3, 7), (1, 2), ((1, 1), (8, 8), (16, 16), (5, 56)),
        (torch.float32, torch.bfloat16), ((7, 5), (8, 0)),
    ):  # fmt: skip
        most = 32 if dtype == torch.float32 or (c == 64 and capability == (7, 5)) else 64
        for how in gpu.launches(c, size, stride, i, j, dtype, capability):
            gpu.check_launch(how)
            assert 16 <= how.rows * how.cols <= (16 if c == 128 else most), how


@pytest.mark.parametrize(
    ("extent", "channels", "named"), [(4096, 4, "4096×4096"), (3600, 64, "2³¹")]
)
def test_a_map_beyond_what_the_kernels_count_is_refused_by_name(extent, channels, named):
    gpu = pytest.importorskip("evalib.fast.gpu")
    qkv = torch.empty(1, extent, extent, 3, 1, channels, device="meta").permute(0, 3, 4, 5, 1, 2)
    tables = torch.empty(2, 1, channels // 2, 3, device="meta")
    with pytest.raises(ValueError, match=named):
        gpu.forward(qkv, *tables, 1, 1.0)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf"
)  # of the check itself
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_operator_keeps_its_promises(stride, dtype):
    tensors = [t.detach().to(dtype).requires_grad_() for t in inputs()]
    torch.library.opcheck(window_attention, (*tensors, stride, 0.5))


def test_under_torch_func_the_operator_is_the_equation():
    """Also where a graph that was recorded holds it; so vmap, jvp, hessian … have what the equation
    has.
    """

    class Attention(torch.nn.Module):
        def forward(self, *tensors):
            return window_attention(*tensors, 1, 0.5)[0].square().sum()

    def literal(qkv, rows, cols):
        return relative_attention(*qkv.unbind(1), rows, cols, 0.5).square().sum()

    given = [t.detach() for t in inputs(n=1)]
    tangents = tuple(torch.randn_like(t) for t in given)
    samples = [torch.stack([t, 2 * t, -t]) for t in given]
    recorded = torch.export.export(Attention(), tuple(given)).module()
    for form in (Attention(), recorded):
        for transform in (
            lambda f: torch.func.jvp(f, tuple(given), tangents)[1],
            lambda f: torch.func.hessian(f, argnums=1)(*given),
            lambda f: torch.func.vmap(torch.func.grad(f, argnums=(0, 1, 2)))(*samples),
        ):
            torch.testing.assert_close(transform(form), transform(literal))


def test_a_derivative_that_the_operator_lacks_is_refused_with_the_form_that_has_it():
    qkv, rows, cols = inputs()
    y = window_attention(qkv, rows, cols, 1, 1.0)[0]
    (gradient,) = torch.autograd.grad(y.sum(), rows, create_graph=True)
    with pytest.raises(NotImplementedError, match=r"no second derivative: layer\.fast = False"):
        gradient.sum().backward(retain_graph=True)
    with forward_ad.dual_level():
        for each in range(3):
            given = [t.detach() for t in (qkv, rows, cols)]
            given[each] = forward_ad.make_dual(given[each], torch.ones_like(given[each]))
            with pytest.raises(NotImplementedError, match=r"mode here: layer\.fast = False"):
                window_attention(*given, 1, 1.0)
        dual = forward_ad.make_dual(torch.ones_like(y), torch.ones_like(y))
        with pytest.raises(NotImplementedError, match=r"forward mode here: layer\.fast = False"):
            torch.autograd.grad(y, rows, dual)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return evalib.build("sanet20-small").float().eval()


def test_a_network_is_exported_for_any_batch(network):
    x, other = (
        torch.randn(4, 3, 32, 32, dtype=torch.float32),
        torch.randn(40, 3, 32, 32, dtype=torch.float32),
    )
    exported = torch.export.export(network, (x,), dynamic_shapes={"x": {0: torch.export.Dim("n")}})
    torch.testing.assert_close(exported.module()(other), network(other), rtol=1e-4, atol=1e-4)
