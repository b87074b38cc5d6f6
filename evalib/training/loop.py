"""Training as §4.1 has it: Adam at 0.001, batches of 150, and everything random a function of (seed, epoch)."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from evalib.eva import Trace
from evalib.networks import Network, build, experiment
from evalib.training import checkpoints, data
from evalib.training.prediction import evaluating, predict
from evalib.training.progress import announce, progress_bar
from evalib.training.settings import TIERS, Settings, check_same, learning_rate
from evalib.training.steps import OPTIMISERS, precision_of, set_rate, training_step

SEEDED = threading.Lock()
"""Held while a network is drawn: torch has one random stream for all threads."""


class Run(NamedTuple):
    """A finished run: what it learned, how it went, and its scores on the test set, read once at the end."""

    settings: Settings
    network: Network
    curve: list[dict]  # one entry an epoch
    cifar: data.CIFAR10
    test_scores: Float[Tensor, "n 10"]
    device: torch.device
    seconds: float  # of training and validation, over all the sittings of the run


def train(
    settings: Settings,
    directory: Path | None = None,
    device: str | None = None,
    observe: Callable[[dict], None] | None = None,
    compile: bool = False,
) -> Run:
    """Train the network of ``settings``, continuing from the newest checkpoint in ``directory`` if there is one.

    The result is that of the last epoch, and the test set is read once, after it (departure D11); only the ablations
    that ask what a choice by the test set is worth read it after each epoch, and choose nothing by it either.
    On the CPU a continued run ends bitwise equal to one that was never stopped. ``observe`` is called with each
    new entry of the curve. ``compile`` hands the network to ``torch.compile``. Raises ``ValueError`` if the
    checkpoint was made with other settings, ``FloatingPointError`` if the loss is not finite, and
    ``MemoryError`` if the device's memory does not hold a step.
    """
    device, cifar = choose_device(device), data.load(TIERS[settings.tier].data)
    training, validation = (index.to(device) for index in data.split(len(cifar.train_labels)))
    images, labels = cifar.train_images.to(device), cifar.train_labels.to(device)
    network, optimiser = begin(settings, device, compile)
    curve = resume(settings, directory, network, optimiser)
    with progress_bar(settings, len(training), len(curve)) as bar, enough_memory(settings):
        padded, precision = data.pad(images[training]), precision_of(settings.precision, device)
        step = training_step(network, optimiser, padded, labels[training], settings.batch_size, precision)
        for epoch in range(len(curve), settings.epochs):
            start = time.perf_counter()
            rate = learning_rate(settings, epoch)
            set_rate(optimiser, rate)
            losses, correct = train_epoch(step, network, len(training), settings, epoch, bar)
            check_finite(losses, epoch, rate)
            scores = predict(network, images[validation])
            curve.append(
                {
                    "epoch": epoch + 1,
                    "learning_rate": rate,
                    "train_loss": losses.mean().item(),
                    "train_accuracy": 100 * correct.item() / len(training),
                    "validation_loss": F.cross_entropy(scores, labels[validation]).item(),
                    "validation_accuracy": accuracy(scores, labels[validation]),
                    "seconds": time.perf_counter() - start,
                }
            )
            if experiment(settings.experiment).test_each_epoch:
                scores = predict(network, cifar.test_images.to(device)).cpu()
                curve[-1]["test_accuracy"] = accuracy(scores, cifar.test_labels)
            if directory is not None:
                metadata = {"settings": asdict(settings), "curve": curve}
                checkpoints.save_run(directory, epoch + 1, network, optimiser, metadata)
            announce(settings, curve[-1], len(training), bar)
            if observe is not None:
                observe(curve[-1])
        test_scores = predict(network, cifar.test_images.to(device)).cpu()
    network.eval()
    return Run(settings, network, curve, cifar, test_scores, device, sum(row["seconds"] for row in curve))


def begin(settings: Settings, device: torch.device, compile: bool = False) -> tuple[Network, torch.optim.Optimizer]:
    """The network as the seed draws it, on the CPU's random stream whatever the device, and its optimiser."""
    with SEEDED:
        torch.manual_seed(settings.seed)
        network = build(settings.experiment)
    network = network.to(device, memory_format=torch.channels_last)
    if compile:
        network.compile()
    optimiser = OPTIMISERS[experiment(settings.experiment).recipe.optimiser]
    return network, optimiser(network, settings.learning_rate)


def train_epoch(step, network: nn.Module, images: int, settings: Settings, epoch: int, bar) -> tuple[Tensor, Tensor]:
    """One pass over the training images: the loss of each step, and the number of right answers."""
    network.train()
    device = next(network.parameters()).device
    plan = [part.to(device).split(settings.batch_size) for part in data.epoch_plan(images, settings.seed, epoch)]
    batches = [data.Plan(*parts) for parts in zip(*plan, strict=True)]
    losses, correct = torch.empty(len(batches), device=device), torch.zeros((), device=device)
    for index, batch in enumerate(batches):
        loss, right = step(batch)
        losses[index] = loss
        correct += right
        bar.update()
    return losses, correct


@torch.no_grad()
def predict_traced(network: Network, images: UInt8[Tensor, "n 3 32 32"]) -> tuple[Float[Tensor, "n 10"], Trace]:
    """The scores of an EVANet for raw images, and the trace of the very pass that gave them."""
    device = next(network.parameters()).device
    with evaluating(network):
        return network(data.normalise(images.to(device)), trace=True)


def accuracy(scores: Float[Tensor, "n 10"], labels: Int[Tensor, " n"]) -> float:
    """The percentage of images whose highest score is their label's."""
    return 100 * (scores.argmax(dim=1) == labels).sum().item() / len(labels)


def resume(settings: Settings, directory: Path | None, network, optimiser) -> list[dict]:
    """Restore the newest checkpoint of these very settings; the curve so far, empty if there is none."""
    metadata = None if directory is None else checkpoints.restore_run(directory, network, optimiser)
    if metadata is None:
        return []
    saved = Settings(**metadata["settings"])
    check_same(settings, saved, directory)
    return metadata["curve"]


def check_finite(losses: Float[Tensor, " steps"], epoch: int, rate: float) -> None:
    """Raise ``FloatingPointError`` naming the first step of the epoch whose loss is NaN or infinite."""
    bad = torch.argwhere(~losses.isfinite())
    if len(bad):
        step = bad[0].item()
        raise FloatingPointError(
            f"the loss is {losses[step].item()} at epoch {epoch + 1}, step {step + 1}, learning rate {rate:g}: "
            "the last good checkpoint is kept; try a lower learning rate"
        )


@contextmanager
def enough_memory(settings: Settings) -> Iterator[None]:
    """Turn a device's out-of-memory error into one that names the batch size to try."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise MemoryError(
            f"the device's memory does not hold a step of batch size {settings.batch_size}: "
            f"try {max(2, settings.batch_size // 2)}, or a smaller network"
        ) from error


def choose_device(name: str | None = None) -> torch.device:
    """The device called ``name``, or the first there is of CUDA, MPS and CPU; ``ValueError`` if it is not there."""
    there = [kind for kind, yes in available().items() if yes]
    if name is None or name == "auto":
        return torch.device(there[0])
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if (
        device is None
        or device.type not in there
        or (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count())
    ):
        raise ValueError(f"there is no device {name!r} here: choose one of {', '.join(there)}, or leave it out")
    return device


def available() -> dict[str, bool]:
    """Which kinds of device this machine has, best first."""
    return {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
