"""How the first query of an EVANet grows in the first steps of training, small and large, and with
one thing changed.

python scripts/first_steps.py [--courses NAME …] [--steps 300] [--precision bf16] [--out FILE]

Each of ``COURSES`` trains from seed 0 as every run does, but without the width rule. After each
step: the loss, the share of right answers of its batch, the mean length of q0, and the share of the
hidden units of the network that makes q0 which no image of the batch switches on. At the end the
validation accuracy. A course is added to the file once it is whole; one that is there, made by the
same commit, is not made again.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from evalib.ablations.layers import without_gain
from evalib.networks import Network
from evalib.results import records
from evalib.results.records import checksum
from evalib.training import checkpoint, data, environment
from evalib.training.cifar import load_data
from evalib.training.environment import choose_device
from evalib.training.settings import PRECISIONS, Settings
from evalib.training.step import precision_of, training_step
from evalib.training.train import accuracy, begin, evaluate

QUARTER = 0.25
"""The small network has a quarter of the large one's channels, so each sum over them has a quarter
of the inputs.
"""

Change = Callable[[Network, torch.optim.Optimizer], None]


def unchanged(network: Network, optimiser) -> None:
    """The network and the optimiser as they are."""


def slower(part: Callable[[Network], nn.Module]) -> Change:
    """A quarter of the learning rate for a part of the network."""

    def change(network: Network, optimiser) -> None:
        weights, before = list(part(network).parameters()), []

        def keep(*_) -> None:
            before[:] = [weight.detach().clone() for weight in weights]

        @torch.no_grad()
        def shorten(*_) -> None:
            for weight, old in zip(weights, before, strict=True):
                weight.copy_(torch.lerp(old, weight, QUARTER))

        optimiser.register_step_pre_hook(keep)
        optimiser.register_step_post_hook(shorten)

    return change


COURSES: dict[str, tuple[str, Change]] = {
    "small": ("evanet20-small-scaled", unchanged),
    "large": ("evanet20-large-scaled", unchanged),
    "large, convolution at a quarter of the rate": (
        "evanet20-large-scaled",
        slower(lambda network: network.summary.eva.convolution),
    ),
    "large, EVA at a quarter of the rate": (
        "evanet20-large-scaled",
        slower(lambda network: network.summary),
    ),
}
"""An experiment each, and what is done to it."""


def course(name: str, steps: int, asked: str | None, device: torch.device) -> dict:
    """The first ``steps`` steps, and where they lead."""
    experiment, change = COURSES[name]
    settings, cifar = Settings(experiment, 0, "paper", precision=asked), load_data("full")
    train, validation = (index.to(device) for index in data.split(len(cifar.train_labels)))
    images, labels = cifar.train_images.to(device), cifar.train_labels.to(device)
    network, optimiser = begin(settings, device)
    change(without_gain(network), optimiser)
    inputs = (
        data.pad(images[train]),
        labels[train],
        settings.batch_size,
        precision_of(asked, device),
    )
    step, eva, seen, entries = (
        training_step(network.train(), optimiser, *inputs),
        network.summary.eva,
        {},
        [],
    )
    eva.first_query.register_forward_hook(lambda layer, x, q0: seen.update(q0=q0.detach()))
    eva.first_query.get_submodule("1").register_forward_hook(
        lambda layer, x, hidden: seen.update(hidden=hidden.detach())
    )
    plan = (
        part.to(device).split(settings.batch_size)
        for part in data.epoch_plan(len(train), settings.seed, 0)
    )
    for batch in [data.Plan(*parts) for parts in zip(*plan, strict=True)][:steps]:
        loss, right = step(batch)
        entries.append(
            {
                "loss": round(loss.item(), 4),
                "right": round(100 * right.item() / len(batch.order), 2),
                "q0": round(seen["q0"].float().norm(dim=-1).mean().item(), 3),
                "off": round(100 * (seen["hidden"] <= 0).all(dim=0).float().mean().item(), 2),
            }
        )
    scores = evaluate(network, images[validation])
    return {
        "experiment": experiment,
        "seed": 0,
        "precision": precision_of(asked, device),
        "commit": environment.commit(),
        "device": environment.device_name(device),
        "versions": environment.versions(),
        "steps": entries,
        "validation_accuracy": accuracy(scores, labels[validation]),
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--courses", nargs="+", choices=COURSES, default=list(COURSES), metavar="NAME"
    )
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--precision", choices=PRECISIONS)
    parser.add_argument("--out", type=Path, default=records.results() / "first_steps.json")
    asked = parser.parse_args()
    found = json.loads(asked.out.read_text("utf-8")) if asked.out.exists() else {"courses": {}}
    for name in asked.courses:
        there = found["courses"].get(name)
        if there and len(there["steps"]) == asked.steps and there["commit"] == environment.commit():
            continue
        made = found["courses"][name] = course(name, asked.steps, asked.precision, choose_device())
        found["courses"] = {
            each: found["courses"][each] for each in COURSES if each in found["courses"]
        }
        found["sha256"] = checksum(found)
        checkpoint.write_atomically(asked.out, (json.dumps(found) + "\n").encode())
        last = made["steps"][-1]
        print(
            f"{name}: loss {last['loss']:.3f}, q0 {last['q0']:.1f}, validation"
            f" {made['validation_accuracy']:.1f} %"
        )


if __name__ == "__main__":
    main()
