"""Why EVA to the letter of the text collapses: one run followed epoch by epoch, then again with one
thing changed.

    python scripts/mechanism.py [--precision bf16] [--checkpoint FILE] [--start 24] [--until 38]
        [--tier paper] [--out FILE]

EVANet-20 small, seed 0, trains up to epoch START, before the event, or is taken from a checkpoint
of that epoch. From there on each of ``CHANGES`` goes to epoch UNTIL, the first with nothing
changed. In bf16 EVA computes in bf16 too, but where a change says otherwise. After each epoch, on
1,000 validation images: the length of each query, the largest logit and the effective number of
positions of each attention; for each part of the network the norm of the last gradient, Adam's root
mean second moment, and the size of its step in learning rates. On a CPU each step's gradient norm
and largest step too.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from types import MethodType

import torch
from einops import rearrange
from torch import Tensor, nn

from evalib.eva import SingleQueryAttention
from evalib.networks import EVASummary, Network, crop
from evalib.results import records
from evalib.results.records import checksum
from evalib.tracing import count_in_effect, logits
from evalib.training import data, environment
from evalib.training.checkpoint import read_tensors, restore, state_of, write_atomically
from evalib.training.cifar import load_data
from evalib.training.environment import choose_device
from evalib.training.settings import PRECISIONS, TIERS, Settings, learning_rate
from evalib.training.step import precision_of, set_rate, training_step
from evalib.training.train import accuracy, begin, epoch_steps, evaluate, exhaust

EXPERIMENT, IMAGES = "evanet20-small-letter", 1_000


def bf16_everywhere(network: Network, optimiser) -> None:
    """EVA in autocast like the rest, its logits in bf16."""
    network.summary.forward = MethodType(in_autocast, network.summary)


def in_autocast(summary: EVASummary, x: Tensor) -> Tensor:
    """The head's forward pass where autocast stays on."""
    eva, x = summary.eva, crop(x)
    q = eva.first_query(eva.convolution(x))
    slots = [q]
    for ring_pixels, look, recall in zip(eva.rings(x), eva.looks, eva.recalls, strict=True):
        attn, _ = look(q, ring_pixels)
        slots.append(attn)
        q, _ = recall(attn, rearrange(slots, "s n d -> n s d"))
    return eva.output(q).float()


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
        network,
        lambda q: (
            q
            * (q.shape[-1] ** 0.5 / q.float().norm(dim=-1, keepdim=True).clamp(min=1e-6)).to(
                q.dtype
            )
        ),
    )


def scaled_logits(network: Network, optimiser) -> None:
    """Logits over √c, c the channels of a head."""
    bf16_everywhere(network, optimiser)
    with_query(network, lambda q: q * (q.shape[-1] // 4) ** -0.5)


CHANGES: dict[str, Callable[[Network, torch.optim.Optimizer], None]] = {
    "nothing": bf16_everywhere,
    "gradient clipped": clipped,
    "larger epsilon": larger_epsilon,
    "queries normed": normed_query,
    "logits scaled": scaled_logits,
}
"""What is done to the network and its optimiser in each course."""

PRECISION = {"EVA in float32": "bf16", "all in float32": "float32"}
"""Courses of a run in bf16 that differ in the precision alone."""


def attentions(network: Network) -> dict[str, SingleQueryAttention]:
    """The eight attentions of an EVANet by name."""
    eva = network.summary.eva
    return {
        f"{kind} {s}": layer
        for kind in ("look", "recall")
        for s, layer in enumerate(getattr(eva, f"{kind}s"))
    }


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
    return {
        name: [p for module in group for p in module.parameters()]
        for name, group in modules.items()
    }


@torch.no_grad()
def attention_figures(network: Network, images: Tensor) -> dict[str, dict[str, float]]:
    """For each attention, in float32: mean length of the query, largest logit, mean effective
    number of positions.
    """
    found: dict[str, dict[str, float]] = {}

    def look(name: str) -> Callable:
        def hook(layer, inputs, outputs) -> None:
            query, memory = inputs
            largest = logits(layer, query, memory).abs().amax()
            effective = count_in_effect(outputs[1]).mean()
            figures = query.norm(dim=-1).mean(), largest, effective
            found[name] = dict(
                zip(("query", "logit", "effective"), torch.stack(figures).tolist(), strict=True)
            )

        return hook

    hooks = [layer.register_forward_hook(look(name)) for name, layer in attentions(network).items()]
    network.eval()
    network(data.normalise(images))
    for hook in hooks:
        hook.remove()
    return found


@torch.no_grad()
def step_figures(network: Network, optimiser) -> dict[str, dict[str, float]]:
    """For each part: norm of the last gradient, root mean second moment, root mean square step over
    the rate.
    """
    eps, found = optimiser.param_groups[0]["eps"], {}
    for name, parameters in parts(network).items():
        gradient = torch.cat(
            [p.grad.flatten() if p.grad is not None else p.new_zeros(p.numel()) for p in parameters]
        )
        m, v = (
            torch.cat([optimiser.state[p][key].flatten() for p in parameters])
            for key in ("exp_avg", "exp_avg_sq")
        )
        step = m / (v.sqrt() + eps)
        figures = gradient.norm(), v.mean().sqrt(), step.square().mean().sqrt()
        found[name] = dict(
            zip(("gradient", "second_moment", "step"), torch.stack(figures).tolist(), strict=True)
        )
    return found


def watched(step: Callable, network: Network, optimiser, seen: list[list[float]]) -> Callable:
    """``step``, with the gradient's norm and the largest part's step, in learning rates, appended
    to ``seen``.
    """

    def watching(plan: data.Plan) -> tuple[Tensor, Tensor]:
        outputs = step(plan)
        gradient = torch.nn.utils.get_total_norm(
            [p.grad for p in network.parameters() if p.grad is not None]
        )
        largest = max(figures["step"] for figures in step_figures(network, optimiser).values())
        seen.append([round(gradient.item(), 4), round(largest, 4)])
        return outputs

    return watching


def course(
    settings: Settings,
    change: str,
    epochs: range,
    state: dict | None,
    device: torch.device,
    say=print,
) -> tuple[list[dict], dict[str, Tensor]]:
    """``epochs`` from ``state``, or from the seed: the figures after each, and the state at the
    end.
    """
    precision = PRECISION.get(change, precision_of(settings.precision, device))
    cifar = load_data(TIERS[settings.tier].data)
    train, validation = (index.to(device) for index in data.split(len(cifar.train_labels)))
    images, labels = cifar.train_images.to(device), cifar.train_labels.to(device)
    network, optimiser = begin(settings, device)
    if state is not None:
        restore(state, network, optimiser)
    CHANGES.get(change, unchanged)(network, optimiser)
    step = training_step(
        network, optimiser, data.pad(images[train]), labels[train], settings.batch_size, precision
    )
    entries, seen = [], []
    step = watched(step, network, optimiser, seen) if device.type == "cpu" else step
    for epoch in epochs:
        set_rate(optimiser, learning_rate(settings, epoch))
        seen.clear()
        losses, _ = exhaust(epoch_steps(step, network, len(train), settings, epoch))
        scores = evaluate(network, images[validation])
        entries.append(
            {
                "epoch": epoch + 1,
                "train_loss": losses.mean().item(),
                "losses": [round(loss, 4) for loss in losses.tolist()],
                "steps": list(seen),
                "validation_accuracy": accuracy(scores, labels[validation]),
                "attentions": attention_figures(network, images[validation][:IMAGES]),
                "parts": step_figures(network, optimiser),
            }
        )
        say(
            f"{change}: epoch {epoch + 1} loss {entries[-1]['train_loss']:.3f} "
            f"{entries[-1]['validation_accuracy']:.1f} %"
        )
    return entries, {name: t.detach().clone() for name, t in state_of(network, optimiser).items()}


def begun(path: Path, settings: Settings, start: int) -> dict[str, Tensor]:
    """The state in a checkpoint; ``ValueError`` unless it is the one of this very run after
    ``start`` epochs.
    """
    state, said = read_tensors(path)
    of = said["settings"]
    found = of["experiment"], of["tier"], of["seed"], len(said["curve"])
    if found != (settings.experiment, settings.tier, settings.seed, start):
        raise ValueError(
            f"{path} is of {of['experiment']}, {of['tier']} tier, seed {of['seed']}, after"
            f" {len(said['curve'])} epochs: give the one of {settings.experiment}, {settings.tier}"
            f" tier, seed {settings.seed}, after --start {start}"
        )
    return state


def mechanism(
    settings: Settings, start: int, until: int, path: Path | None, keep: Callable, say=print
) -> dict:
    """The beginning, and each change's course from there; ``keep`` is given all so far."""
    device = choose_device()
    precision = precision_of(settings.precision, device)
    changes = [*CHANGES, *(PRECISION if precision == "bf16" else ())]
    if path is None:
        before, state = course(settings, "nothing", range(start), None, device, say)
    else:
        before, state = [], begun(path, settings, start)
    found = {
        "experiment": settings.experiment,
        "tier": settings.tier,
        "seed": settings.seed,
        "precision": precision,
        "start": start,
        "commit": environment.commit(),
        "device": environment.device_name(device),
        "versions": environment.versions(),
        "images": IMAGES,
        "before": before,
        "courses": {},
    }
    for change in changes:
        found["courses"][change] = course(
            settings, change, range(start, until), state, device, say
        )[0]
        keep(found | {"sha256": checksum(found)})
    return found


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tier", default="paper", choices=TIERS)
    parser.add_argument("--precision", choices=PRECISIONS)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--start", type=int, default=24)
    parser.add_argument("--until", type=int, default=38)
    parser.add_argument("--out", type=Path, default=records.results() / "mechanism.json")
    asked = parser.parse_args()

    def keep(found: dict) -> None:
        write_atomically(asked.out, (json.dumps(found, indent=1) + "\n").encode())

    settings = Settings(EXPERIMENT, 0, asked.tier, precision=asked.precision)
    mechanism(
        settings,
        asked.start,
        asked.until,
        asked.checkpoint,
        keep,
        lambda line: print(line, flush=True),
    )


if __name__ == "__main__":
    main()
