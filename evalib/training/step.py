"""One training step, from the uint8 images to the updated weights: run eagerly, or captured as one
CUDA graph; the optimisers, and what a device is able to."""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor, nn
from torch._functorch import config as functorch
from torch.nn import functional as F

from evalib.fast import has_triton
from evalib.networks import Network
from evalib.training import data
from evalib.training.predict import layout_of

WARM_UP = 3
"""Eager steps on a side stream before a capture, as PyTorch asks for; what they change is put
back."""

Step = Callable[[data.Plan], tuple[Tensor, Tensor]]
PLAN_DTYPES = data.Plan(order=torch.int64, rows=torch.int64, cols=torch.int64, flips=torch.bool)


def adam(
    network: nn.Module,
    rate: float,
    weight_decay: float = 0.0,
    kind: type[torch.optim.Adam] = torch.optim.Adam,
) -> torch.optim.Adam:
    """Fused Adam whose state is there from the start, so that it can be restored and captured in
    place.

    On CUDA the learning rate is a tensor: a captured step reads it anew at each replay.
    ``weight_decay`` is an L2 term in the gradient; of the ``kind`` AdamW it shrinks the weights
    themselves.
    """
    device = next(network.parameters()).device
    captures = device.type == "cuda"
    optimiser = kind(
        network.parameters(),
        lr=torch.tensor(rate, device=device) if captures else rate,
        weight_decay=weight_decay,
        fused=True,
        capturable=captures,
    )
    for parameter in network.parameters():
        optimiser.state[parameter] = {
            "step": torch.zeros((), device=device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
    return optimiser


def sgd(network: nn.Module, rate: float, weight_decay: float = 0.0) -> torch.optim.SGD:
    """SGD with Nesterov momentum 0.9, as the published code has it; state and rate as in
    :func:`adam`.

    A momentum of zeros gives the first step that PyTorch makes of no momentum.
    """
    device = next(network.parameters()).device
    optimiser = torch.optim.SGD(
        network.parameters(),
        lr=torch.tensor(rate, device=device) if device.type == "cuda" else rate,
        momentum=0.9,
        nesterov=True,
        weight_decay=weight_decay,
        fused=True,
    )
    for parameter in network.parameters():
        optimiser.state[parameter] = {"momentum_buffer": torch.zeros_like(parameter)}
    return optimiser


OPTIMISERS: dict[str, Callable[[nn.Module, float, float], torch.optim.Optimizer]] = {
    "Adam": adam,
    "AdamW": partial(adam, kind=torch.optim.AdamW),
    "SGD": sgd,
}
"""By the name that a recipe gives."""


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Let the next steps take the learning rate ``rate``."""
    group = optimiser.param_groups[0]
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate


def training_step(
    network: nn.Module,
    optimiser,
    padded: Tensor,
    labels: Tensor,
    batch_size: int,
    precision: str = "float32",
    compile: bool = False,
) -> Step:
    """:func:`eager_step`, captured as one graph on CUDA.

    With ``compile`` whole batches go through the :func:`compiled` network, which is compiled during
    the capture; an epoch's last batch, where it is smaller, and every evaluation go through
    ``network`` itself.
    """
    inputs = optimiser, padded, labels, precision, layout_of(network)
    part = eager_step(network, *inputs)
    whole = eager_step(compiled(network), *inputs) if compile else part
    if padded.is_cuda:
        return captured(whole, part, network, optimiser, batch_size)

    def step(plan: data.Plan) -> tuple[Tensor, Tensor]:
        return whole(plan) if len(plan.order) == batch_size else part(plan)

    return step


def training_mode(network: nn.Module) -> None:
    """Training mode for all but what is frozen: where no parameter of a module learns, its batch
    statistics stay too."""
    network.train()
    for module in network.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()


def compiled(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """``network`` by torch.compile, body and head apart: what one run has compiled, others in the
    process with it share.

    Its derivative is computed in the precision of an eager one: torch.compile by itself would have
    the autocast around the forward pass around the backward pass too, inside EVA as well, whose
    gradients would be bf16. That needs torch 2.9 or later.
    """
    parts = (network.features, network.summary) if isinstance(network, Network) else (network,)
    functions = [torch.compile(part, dynamic=False) for part in parts]

    def forward(images: Tensor) -> Tensor:
        with functorch.patch(backward_pass_autocast="off"):
            for function in functions:
                images = function(images)
        return network.classifier(images) if isinstance(network, Network) else images

    return forward


def compiles(asked: bool | None, tier: str, device: torch.device) -> bool:
    """Whether a run compiles: as asked, or on a GPU above the ``smoke`` tier, which is over before
    it would pay."""
    if asked is not None:
        return asked
    able = has_triton() and hasattr(functorch, "backward_pass_autocast")
    return able and device.type == "cuda" and tier != "smoke"


def precision_of(asked: str | None, device: torch.device) -> str:
    """The precision of a run on ``device``: as asked, or bf16 on a GPU that computes in it, else
    float32."""
    bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return asked or ("bf16" if bf16 else "float32")


def eager_step(
    network: Callable[[Tensor], Tensor],
    optimiser,
    padded: UInt8[Tensor, "n 3 i j"],
    labels: Int64[Tensor, " n"],
    precision: str = "float32",
    layout: torch.memory_format = torch.channels_last,
) -> Step:
    """The function of a batch's plan that does the whole step and gives its mean loss and number of
    right answers.

    Augmentation, forward, loss, backward and optimiser run where ``padded`` lies, without waiting
    for the device: with ``precision="bf16"`` in bf16 autocast over float32 weights.
    """
    device, bf16 = padded.device, precision == "bf16"

    def step(plan: data.Plan) -> tuple[Tensor, Tensor]:
        images, label = data.normalise(data.crop_and_flip(padded, *plan)), labels[plan.order]
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16, cache_enabled=False):
            scores = network(images.contiguous(memory_format=layout))
        loss = F.cross_entropy(scores.to(torch.promote_types(scores.dtype, torch.float32)), label)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.detach(), (scores.argmax(dim=1) == label).sum()

    return step


def captured(step: Step, rest: Step, network: nn.Module, optimiser, batch_size: int) -> Step:
    """``step`` as one CUDA graph for batches of ``batch_size``; a smaller one, an epoch's last,
    runs ``rest``.

    The outputs are overwritten by the next call. The warm-up leaves weights, statistics and
    optimiser as they were. Warm-up and capture take the current stream where it is not the default
    one, as each run's own among several: cuBLAS has a workspace for each stream, and graphs
    captured on one stream share it, so that replayed side by side they overwrite each other's
    products.
    """
    state = [*network.parameters(), *network.buffers()]
    for each in optimiser.state.values():
        state += each.values()
    before = [tensor.detach().clone() for tensor in state]
    device = next(network.parameters()).device
    inputs = data.Plan(
        *(torch.zeros(batch_size, dtype=dtype, device=device) for dtype in PLAN_DTYPES)
    )
    training_mode(network)
    current = torch.cuda.current_stream(device)
    side = torch.cuda.Stream(device) if current == torch.cuda.default_stream(device) else current
    side.wait_stream(current)
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            step(inputs)
    current.wait_stream(side)
    optimiser.zero_grad()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
        outputs = step(inputs)
    with torch.no_grad():
        for tensor, old in zip(state, before, strict=True):
            tensor.copy_(old)

    def replay(plan: data.Plan) -> tuple[Tensor, Tensor]:
        if len(plan.order) != batch_size:
            # lets go of the graph's own gradients, which the next replay writes again
            optimiser.zero_grad()
            return rest(plan)
        for static, part in zip(inputs, plan, strict=True):
            static.copy_(part)
        graph.replay()
        return outputs

    return replay
