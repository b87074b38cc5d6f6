"""Why EVA to the letter of the text collapses: one run followed epoch by epoch, then again with one thing changed.

python scripts/mechanism.py [--start 24] [--until 40] [--tier paper] [--out results/mechanism.json]

EVANet-20 small, seed 0, trains in bf16, EVA too, up to epoch START, before the event. From there on each of ``CHANGES``
goes to epoch UNTIL, the first with nothing changed. After each epoch, on 1,000 validation images: the length of each
query, the largest logit and the effective number of positions of each attention; for each part of the network the norm of the
last gradient, Adam's root mean second moment, and the size of its step in learning rates.
"""

import argparse
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import torch
from einops import einsum, rearrange
from torch import Tensor, nn

from evalib.equations import relative_embedding
from evalib.eva import EXTENT, SingleQueryAttention
from evalib.networks import Network
from evalib.results import records
from evalib.results.schema import checksum
from evalib.training import checkpoints, data, loop
from evalib.training.settings import TIERS, Settings, learning_rate
from evalib.training.steps import set_rate, training_step

IMAGES = 1_000


def bf16_everywhere(network: Network, optimiser) -> None:
    """EVA in autocast like the rest, its logits in bf16."""
    summary = network.summary
    summary.forward = lambda x: rearrange(summary.eva(x[:, :, -EXTENT:, -EXTENT:]), "n c 1 1 -> n c").float()


def unchanged(network: Network, optimiser) -> None:
    """The network and the optimiser as they are."""


def clipped(network: Network, optimiser) -> None:
    """The norm of the gradient at most 1."""
    bf16_everywhere(network, optimiser)
    parameters = list(network.parameters())

    def clip(*_) -> None:
        nn.utils.clip_grad_norm_(parameters, 1.0, foreach=True)

    optimiser.register_step_pre_hook(clip)


def larger_epsilon(network: Network, optimiser) -> None:
    """Adam's epsilon 1e-4 in place of 1e-8: a small second moment gives no large step."""
    bf16_everywhere(network, optimiser)
    optimiser.param_groups[0]["eps"] = 1e-4


def with_query(network: Network, change: Callable[[Tensor], Tensor]) -> None:
    """Every attention of EVA given ``change(query)``."""
    for layer in attentions(network).values():
        layer.register_forward_pre_hook(lambda _, inputs: (change(inputs[0]), *inputs[1:]))


def normed_query(network: Network, optimiser) -> None:
    """Each query at the length √d."""
    bf16_everywhere(network, optimiser)
    with_query(
        network, lambda q: q * (q.shape[-1] ** 0.5 / q.float().norm(dim=-1, keepdim=True).clamp(min=1e-6)).to(q.dtype)
    )


def scaled_logits(network: Network, optimiser) -> None:
    """Logits over √c, c the channels of a head."""
    bf16_everywhere(network, optimiser)
    with_query(network, lambda q: q * (q.shape[-1] // 4) ** -0.5)


CHANGES: dict[str, tuple[str, Callable]] = {
    "nothing": ("bf16", bf16_everywhere),
    "EVA in float32": ("bf16", unchanged),
    "all in float32": ("float32", unchanged),
    "gradient clipped": ("bf16", clipped),
    "larger epsilon": ("bf16", larger_epsilon),
    "queries normed": ("bf16", normed_query),
    "logits scaled": ("bf16", scaled_logits),
}
"""By its name, the precision of a course and what is done to its network and optimiser."""


def attentions(network: Network) -> dict[str, SingleQueryAttention]:
    """The eight attentions of an EVANet by name."""
    eva = network.summary.eva
    return {f"{kind} {s}": layer for kind in ("look", "recall") for s, layer in enumerate(getattr(eva, f"{kind}s"))}


def parts(network: Network) -> dict[str, list[nn.Parameter]]:
    """The parameters of an EVANet, part by part."""
    eva = network.summary.eva
    modules = {
        "stages": (network.stem, network.stages),
        "first query": (eva.convolution, eva.first_query),
        **{name: (layer,) for name, layer in attentions(network).items()},
        "output": (eva.output,),
        "classifier": (network.classifier,),
    }
    return {name: [p for module in group for p in module.parameters()] for name, group in modules.items()}


@torch.no_grad()
def attention_figures(network: Network, images: Tensor) -> dict[str, dict[str, float]]:
    """For each attention, in float32: mean length of the query, largest logit, mean effective number of positions."""
    found: dict[str, dict[str, float]] = {}

    def look(name: str) -> Callable:
        def hook(layer, inputs, outputs) -> None:
            query, memory = inputs
            q = rearrange(query @ layer.W_Q.weight.T, "n (h c) -> n h c", h=layer.num_heads)
            k = rearrange(memory @ layer.W_K.weight.T, "n m (h c) -> n h m c", h=layer.num_heads)
            logits = einsum(q, k, "n h c, n h m c -> n h m")
            if layer.radius is not None:
                row, column = layer.offsets + layer.radius
                r = relative_embedding(layer.rows, layer.cols)[:, :, row, column]
                logits = logits + einsum(q, r, "n h c, h c m -> n h m")
            effective = torch.special.entr(outputs[1]).sum(dim=-1).exp().mean()
            figures = query.norm(dim=-1).mean(), logits.abs().amax(), effective
            found[name] = dict(zip(("query", "logit", "effective"), torch.stack(figures).tolist(), strict=True))

        return hook

    hooks = [layer.register_forward_hook(look(name)) for name, layer in attentions(network).items()]
    network.eval()
    network(data.normalise(images))
    for hook in hooks:
        hook.remove()
    return found


@torch.no_grad()
def step_figures(network: Network, optimiser) -> dict[str, dict[str, float]]:
    """For each part: norm of the last gradient, root mean second moment, root mean square step over the rate."""
    eps, found = optimiser.param_groups[0]["eps"], {}
    for name, parameters in parts(network).items():
        gradient = torch.cat([p.grad.flatten() if p.grad is not None else p.new_zeros(p.numel()) for p in parameters])
        m, v = (torch.cat([optimiser.state[p][key].flatten() for p in parameters]) for key in ("exp_avg", "exp_avg_sq"))
        step = m / (v.sqrt() + eps)
        figures = gradient.norm(), v.mean().sqrt(), step.square().mean().sqrt()
        found[name] = dict(zip(("gradient", "second_moment", "step"), torch.stack(figures).tolist(), strict=True))
    return found


def state_of(network: Network, optimiser) -> dict[str, Tensor]:
    """A copy of all that training changes."""
    tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": tensor for name, tensor in state.items()}
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def course(
    settings: Settings, change: str, first: int, last: int, state: dict | None, device: torch.device, say=print
) -> tuple[list[dict], dict[str, Tensor]]:
    """Epochs ``first`` to ``last`` − 1 from ``state``: the figures after each, and the state at the end."""
    precision, alter = CHANGES[change]
    cifar = data.load(TIERS[settings.tier].data)
    train, validation = (index.to(device) for index in data.split(len(cifar.train_labels)))
    images, labels = cifar.train_images.to(device), cifar.train_labels.to(device)
    network, optimiser = loop.begin(settings, device)
    if state is not None:
        network.load_state_dict(checkpoints.part(state, "network."))
        for index, parameter in enumerate(network.parameters()):
            for name, tensor in checkpoints.part(state, f"optimiser.{index}.").items():
                optimiser.state[parameter][name].copy_(tensor)
    alter(network, optimiser)
    step = training_step(network, optimiser, data.pad(images[train]), labels[train], settings.batch_size, precision)
    entries = []
    with loop.progress_bar(settings, len(train), first) as bar:
        for epoch in range(first, last):
            set_rate(optimiser, learning_rate(settings, epoch))
            losses, _ = loop.train_epoch(step, network, len(train), settings, epoch, bar)
            scores = loop.predict(network, images[validation])
            entries.append(
                {
                    "epoch": epoch + 1,
                    "train_loss": losses.mean().item(),
                    "losses": [round(loss, 4) for loss in losses.tolist()],
                    "validation_accuracy": loop.accuracy(scores, labels[validation]),
                    "attentions": attention_figures(network, images[validation][:IMAGES]),
                    "parts": step_figures(network, optimiser),
                }
            )
            say(
                f"{change}: epoch {epoch + 1} loss {entries[-1]['train_loss']:.3f} {entries[-1]['validation_accuracy']:.1f} %"
            )
    return entries, state_of(network, optimiser)


def mechanism(tier: str, start: int, until: int, say=print) -> dict:
    """The common beginning, and each change's course from there on; on CUDA side by side."""
    device, settings = loop.choose_device(), Settings("evanet20-small", 0, tier)

    def one(change: str, first: int, last: int, state: dict | None):
        with torch.cuda.stream(torch.cuda.Stream(device)) if device.type == "cuda" else nullcontext():
            if state is not None and device.type == "cuda":
                torch.cuda.synchronize()
            return course(settings, change, first, last, state, device, say)

    before, state = one("nothing", 0, start, None)
    with ThreadPoolExecutor(len(CHANGES) if device.type == "cuda" else 1) as pool:
        futures = {change: pool.submit(one, change, start, until, state) for change in CHANGES}
    found = {
        "experiment": settings.experiment, "tier": tier, "seed": 0, "commit": records.commit(),
        "device": records.device_name(device), "versions": records.versions(), "images": IMAGES, "before": before,
        "courses": {change: future.result()[0] for change, future in futures.items()},
    }  # fmt: skip
    return found | {"sha256": checksum(found)}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tier", default="paper", choices=TIERS)
    parser.add_argument("--start", type=int, default=24)
    parser.add_argument("--until", type=int, default=40)
    parser.add_argument("--out", type=Path, default=records.results() / "mechanism.json")
    arguments = parser.parse_args()
    found = mechanism(arguments.tier, arguments.start, arguments.until, lambda line: print(line, flush=True))
    checkpoints.write_atomically(arguments.out, (json.dumps(found, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
