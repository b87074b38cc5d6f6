"""Training as §4.1 has it: Adam at 0.001, batches of 150, and everything random a function of (seed, epoch)."""

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from evalib.experiments import build, experiment
from evalib.networks import Network
from evalib.tracing import Trace, trace
from evalib.training import checkpoints, data
from evalib.training.checks import check_fits, check_kinds, check_precision
from evalib.training.environment import choose_device, commit, device_name
from evalib.training.failures import check_finite, compilation, enough_memory, finite_loss, one_image
from evalib.training.prediction import evaluating, predict
from evalib.training.progress import announce, progress_bar
from evalib.training.settings import COMPUTATION, TIERS, Settings, check_same, learning_rate
from evalib.training.steps import CAPTURE, OPTIMISERS, compiles, precision_of, set_rate, training_step

EVALUATED = 2500
"""How many images a GPU evaluates at a time."""


class Run(NamedTuple):
    """A finished run: what it learned, how it went, and its scores on the test set, read once at the end."""

    settings: Settings
    network: Network
    curve: list[dict]  # one entry an epoch
    cifar: data.Dataset
    test_scores: Float[Tensor, "n classes"]
    device: torch.device
    seconds: float  # of training and validation, over all the sittings of the run
    sittings: list[dict]  # each time it was begun or gone on with: after how many epochs, by what code, on what


def train(
    settings: Settings,
    directory: Path | None = None,
    device: str | None = None,
    observe: Callable[[dict], None] | None = None,
    compile: bool | None = None,
    longer: bool = False,
    dataset: data.Dataset | None = None,
    network: nn.Module | None = None,
) -> Run:
    """Train the network of ``settings``, continuing from the newest checkpoint in ``directory`` if there is one.

    The result is that of the last epoch, and the test set is read once, after it (departure D11); only the ablations
    that ask what a choice by the test set is worth read it after each epoch, and choose nothing by it either.
    On the CPU a continued run ends bitwise equal to one that was never stopped. ``observe`` is called with each
    new entry of the curve. ``dataset`` is taken in place of the tier's (:func:`evalib.dataset` makes one of your own
    images), and ``network`` is trained in place of a fresh one of the experiment: ``ValueError`` if it does not give a
    score for each class of the data. ``compile`` hands the network of the training step to ``torch.compile``, by default on
    a GPU above the ``smoke`` tier; the seconds of the first epoch hold what that takes, and a capture. With ``longer`` the
    checkpoint may be of a run of fewer epochs, from whose end this one goes on at its own learning rate. Raises
    ``ValueError`` if the checkpoint was made with other settings or by another computation, ``FloatingPointError`` if a
    loss is not finite, ``MemoryError`` if the device's memory does not hold a step, and ``RuntimeError`` if the step
    cannot be compiled.
    """
    check_kinds(settings, dataset)
    device, cifar = choose_device(device), dataset or data.load(TIERS[settings.tier].data)
    everything = experiment(settings.experiment).recipe.all_images
    training, validation = (index.to(device) for index in data.split(len(cifar.train_labels), everything))
    images, labels = cifar.train_images.to(device), cifar.train_labels.to(device)
    foreign = dataset is not None or network is not None
    network, optimiser = begin(settings, device, len(cifar.classes), network)
    check_precision(network)
    if isinstance(getattr(network, "image_size", ()), tuple | None):  # others' networks have it for something else
        network.image_size = tuple(images.shape[2:])
    if foreign:
        check_fits(network, cifar)
    compile = compiles(compile, settings.tier, device)
    curve, sittings = resume(settings, directory, network, optimiser, cifar.fingerprint, longer)
    precision = precision_of(settings.precision, device)
    if len(curve) < settings.epochs:
        version = {"computation": COMPUTATION, "compiled": compile, "precision": precision}
        sittings.append({"after": len(curve), "epochs": settings.epochs} | version | made_with(device))
    with (
        progress_bar(settings, len(training), len(curve)) as bar,
        enough_memory(settings),
        one_image(settings),
        compilation(),
        checkpoints.Writer(directory) as writer,
    ):
        padded = data.pad(images[training])
        start = time.perf_counter()
        step = training_step(network, optimiser, padded, labels[training], settings.batch_size, precision, compile)
        for epoch in range(len(curve), settings.epochs):
            rate = learning_rate(settings, epoch)
            set_rate(optimiser, rate)
            losses, correct = train_epoch(step, network, len(training), settings, epoch, bar)
            check_finite(losses, epoch, rate)
            scores = evaluate(network, images[validation])
            curve.append(
                {
                    "epoch": epoch + 1,
                    "learning_rate": rate,
                    "train_loss": losses.mean().item(),
                    "train_accuracy": 100 * correct.item() / len(training),
                    "validation_loss": finite_loss(scores, labels[validation], "validation", epoch, rate),
                    "validation_accuracy": accuracy(scores, labels[validation]),
                    "seconds": time.perf_counter() - start,
                }
            )
            if experiment(settings.experiment).test_each_epoch:
                scores = evaluate(network, cifar.test_images.to(device)).cpu()
                curve[-1]["test_accuracy"] = accuracy(scores, cifar.test_labels)
            saved = {"settings": asdict(settings), "curve": curve, "sittings": sittings, "data": cifar.fingerprint}
            writer.save(epoch + 1, network, optimiser, saved)
            announce(settings, curve[-1], len(training), bar)
            if observe is not None:
                observe(curve[-1])
            start = time.perf_counter()
        test_scores = evaluate(network, cifar.test_images.to(device)).cpu()
    network.eval()
    last = settings.epochs - 1
    finite_loss(test_scores, cifar.test_labels, "test", last, learning_rate(settings, last))
    return Run(settings, network, curve, cifar, test_scores, device, sum(row["seconds"] for row in curve), sittings)


def made_with(device: torch.device) -> dict[str, str | None]:
    """The code, the torch and the device of a sitting."""
    return {"commit": commit(), "torch": torch.__version__, "device": device_name(device)}


def begin(
    settings: Settings, device: torch.device, classes: int = 10, network: nn.Module | None = None
) -> tuple[nn.Module, torch.optim.Optimizer]:
    """``network``, or one as the seed draws it, on the CPU's random stream whatever the device, and its optimiser."""
    recipe = experiment(settings.experiment).recipe
    if recipe.optimiser not in OPTIMISERS:
        raise ValueError(f"there is no optimiser {recipe.optimiser!r}: choose one of {', '.join(OPTIMISERS)}")
    with CAPTURE:
        if network is None:
            torch.manual_seed(settings.seed)
            network = build(settings.experiment, classes)
        network = network.to(device, memory_format=torch.channels_last)
        return network, OPTIMISERS[recipe.optimiser](network, settings.learning_rate, recipe.weight_decay)


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


def evaluate(network: nn.Module, images: UInt8[Tensor, "n 3 i j"]) -> Float[Tensor, "n classes"]:
    """The scores for ``images`` where they lie: on a GPU, where a batch takes as long as its launches, in large ones.

    In smaller ones the larger the images are, so that a network which trains on them is evaluated in no more memory.
    """
    most, pixels = (EVALUATED if images.is_cuda else 500), images.shape[2] * images.shape[3]
    return predict(network, images, batch_size=max(1, min(most, most * 32 * 32 // pixels)))


@torch.no_grad()
def predict_traced(network: Network, images: UInt8[Tensor, "n 3 i j"]) -> tuple[Float[Tensor, "n classes"], Trace]:
    """The scores of an EVANet for raw images, and the trace of the very pass that gave them."""
    device = next(network.parameters()).device
    with evaluating(network):
        return trace(network, data.normalise(images.to(device)))


def accuracy(scores: Float[Tensor, "n classes"], labels: Int[Tensor, " n"]) -> float:
    """The percentage of images whose highest score is their label's."""
    return 100 * (scores.argmax(dim=1) == labels).sum().item() / len(labels)


def resume(
    settings: Settings, directory: Path | None, network: nn.Module, optimiser, sha256: str, longer: bool = False
) -> tuple[list[dict], list[dict]]:
    """Restore the newest checkpoint of these very settings and data; its curve and sittings, empty if there is none.

    With ``longer`` the checkpoint may be the last one of a run of fewer epochs.
    """
    newest = None if directory is None else checkpoints.newest(directory)
    if newest is None:
        return [], []
    tensors, metadata = newest
    sittings = metadata.get("sittings", [])
    check_computation(directory, sittings[-1]["computation"] if sittings else 1)
    saved = Settings(**metadata["settings"])
    finished = len(metadata["curve"]) == saved.epochs < settings.epochs
    check_same(replace(settings, epochs=saved.epochs) if longer and finished else settings, saved, directory)
    if metadata.get("data", sha256) != sha256:
        raise ValueError(f"{directory} belongs to a run on other data: give the same data, or another output directory")
    checkpoints.restore(tensors, network, optimiser)
    return metadata["curve"], sittings


def check_computation(where: Path | None, version: int) -> None:
    """``ValueError`` unless the checkpoints of a run were made by this version of the computation."""
    if version != COMPUTATION:
        raise ValueError(
            f"{where} has checkpoints of computation {version}, and this evalib has {COMPUTATION}: finish them with "
            "the evalib that made them, or begin anew with --overwrite, which keeps them"
        )
