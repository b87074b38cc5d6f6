"""A step on a GPU waits for nothing, so that one CUDA graph can hold it: seen without a GPU, on
tensors without data.
"""

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from evalib import ABLATIONS, TABLE_1, build, local_attention, relative_attention
from evalib.training import data
from evalib.training.step import PLAN_DTYPES, eager_step

pytestmark = [
    pytest.mark.skipif(torch.version.cuda is None, reason="this PyTorch was built without CUDA"),
    pytest.mark.filterwarnings("ignore:CUDA is not available"),  # autocast says so
]


class OnTheDevice(TorchDispatchMode):
    """Every operation reads and writes tensors of the GPU alone; an operation that reads a number
    back raises.
    """

    def __torch_dispatch__(self, operation, types, arguments=(), options=None):
        result = operation(*arguments, **(options or {}))
        tensors = [
            leaf for leaf in tree_leaves((arguments, options, result)) if isinstance(leaf, Tensor)
        ]
        assert {tensor.device.type for tensor in tensors} <= {"cuda"}, operation
        return result


class NoUpdate:
    """In an optimiser's place."""

    def zero_grad(self):
        pass

    step = zero_grad


def moved(network: nn.Module) -> nn.Module:
    """``network`` with parameters and buffers of a GPU that is not there."""
    return network._apply(lambda tensor: torch.empty_like(tensor, device="cuda"))


def forward(step_of, name):
    """The forward half of a training step of the network called ``name``, and its augmentation."""
    network = build(name)
    with FakeTensorMode(allow_non_fake_inputs=True):
        images = torch.empty(300, 3, 40, 40, dtype=torch.uint8, device="cuda")
        labels = torch.empty(300, dtype=torch.int64, device="cuda")
        plan = data.Plan(*(torch.empty(150, dtype=dtype, device="cuda") for dtype in PLAN_DTYPES))
        step = step_of(moved(network), NoUpdate(), images, labels)
        with OnTheDevice():
            step(plan)


@pytest.fixture(autouse=True)
def forward_alone_in_float32(monkeypatch):
    """Autograd wants a real device; a derivative works where its function did."""
    torch.set_default_dtype(torch.float32)
    monkeypatch.setattr(Tensor, "backward", lambda loss: None)


PARTS = {
    repr((row.mix, row.head, row.block, row.shortcut)): row.name for row in (*ABLATIONS, *TABLE_1)
}
"""A row of each network that has other parts, of whatever width and number."""


@pytest.mark.parametrize("name", PARTS.values())
def test_a_step_stays_on_the_gpu(name):
    forward(eager_step, name)


def test_the_equations_stay_on_the_gpu():
    with FakeTensorMode():
        q, r = torch.empty(1, 1, 2, 5, 5, device="cuda"), torch.empty(1, 1, 3, device="cuda")
        with OnTheDevice():
            relative_attention(q, q, q, r, r)
            local_attention(q, q, q, 3)
