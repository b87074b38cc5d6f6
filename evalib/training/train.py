"""The training loop, a step a turn, with everything random a function of (seed, epoch, step); and
what has to be equal for a run to go on from its checkpoint."""

import hashlib
import math
import os
import re
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from evalib import experiments
from evalib.ablations import PACKAGED
from evalib.experiments import build, experiment
from evalib.training import checkpoint, cifar, data
from evalib.training.checkpoint import plain
from evalib.training.environment import choose_device, commit, device_name
from evalib.training.predict import predict
from evalib.training.settings import COMPUTATION, TIERS, Settings, check_same, learning_rate
from evalib.training.step import (
    OPTIMISERS,
    Step,
    compiles,
    precision_of,
    set_rate,
    training_mode,
    training_step,
)

Result = TypeVar("Result")


class Run(NamedTuple):
    """A finished run: what it learned, how it went, and its scores on the test set, read once at
    the end."""

    settings: Settings
    network: nn.Module
    curve: list[dict]  # one entry an epoch
    cifar: data.Dataset
    test_scores: Float[Tensor, "n classes"]
    device: torch.device
    seconds: float  # of training and validation, over all the sittings of the run
    sittings: list[dict]  # each time it was begun or gone on with: from where, by what


def train(
    settings: Settings,
    directory: Path | None = None,
    device: str | None = None,
    observe: Callable[[dict], None] | None = None,
    compile: bool | None = None,
    dataset: data.Dataset | None = None,
    network: nn.Module | None = None,
) -> Run:
    """Train the network of ``settings``, continuing from the newest checkpoint in ``directory`` if
    there is one.

    All :func:`steps`, one after the other; ``observe`` is called with each new entry of the curve.
    """
    return exhaust(steps(settings, directory, device, compile, dataset, network), observe)


def exhaust(
    running: Generator[dict | None, None, Result], observe: Callable[[dict], None] | None = None
) -> Result:
    """What ``running`` returns in the end; ``observe`` is called with each entry of the curve."""
    while True:
        try:
            entry = next(running)
        except StopIteration as end:
            return end.value
        if entry is not None and observe is not None:
            observe(entry)


def steps(
    settings: Settings,
    directory: Path | None = None,
    device: str | None = None,
    compile: bool | None = None,
    dataset: data.Dataset | None = None,
    network: nn.Module | None = None,
) -> Generator[dict | None, None, Run]:
    """The run of ``settings``, a training step a turn: gives ``None`` after each, the curve's entry
    after each epoch.

    It ends with the :class:`Run`, which is that of the last epoch; the test set is read once, after
    it (departure D11). Only the ablations that ask what a choice by the test set is worth read it
    after each epoch, and choose nothing by it either. Several may be advanced in turn, each on a
    CUDA stream of its own: on the CPU each ends bitwise as it does alone, and as it does continued
    from the newest checkpoint in ``directory``.

    ``dataset`` is taken in place of the tier's (:func:`evalib.dataset` makes one of your own
    images), and ``network`` is trained in place of a fresh one of the experiment. Of a part whose
    parameters do not require a gradient the batch statistics stay as they are:
    ``network.stages.requires_grad_(False)`` freezes it. ``compile`` hands the network of the
    training step to ``torch.compile``, by default on a GPU above the ``smoke`` tier; the seconds of
    the first epoch hold what that takes, and a capture.

    ``ValueError`` if the checkpoint was made with other settings, data, definitions or by another
    computation, or if the network does not give a score for each class of the data;
    ``FloatingPointError`` if a loss is not finite.
    """
    foreign = dataset is not None or network is not None
    device, row = choose_device(device), experiment(settings.experiment)
    dataset = dataset or cifar.load_data(TIERS[settings.tier].data)
    images, labels = dataset.train_images.to(device), dataset.train_labels.to(device)
    training, validation = data.split(len(labels), row.recipe.all_images)
    training, validation = training.to(device), validation.to(device)

    made_of = origin(settings) | {"data": dataset.fingerprint}
    made_of |= {"network": describe(network), "began": weights_sha256(network)}
    network, optimiser = begin(settings, device, len(dataset.classes), network)
    remember_size(network, images)
    if foreign:
        check_fits(network, dataset)
    curve, sittings = resume(settings, directory, network, optimiser, made_of)

    compile = compiles(compile, settings.tier, device)
    precision = precision_of(settings.precision, device)
    if len(curve) < settings.epochs:
        check_precision(precision, sittings, directory)
        how = {"computation": COMPUTATION, "compiled": compile, "precision": precision}
        by = {"commit": commit(), "torch": torch.__version__, "device": device_name(device)}
        sittings.append({"after": len(curve), "epochs": settings.epochs} | how | by)
    start = time.perf_counter()
    padded = data.pad(images[training])
    with drawing(device, settings.seed):
        step = training_step(
            network, optimiser, padded, labels[training], settings.batch_size, precision, compile
        )

    for epoch in range(len(curve), settings.epochs):
        rate = learning_rate(settings, epoch)
        set_rate(optimiser, rate)
        losses, correct = yield from epoch_steps(step, network, len(training), settings, epoch)
        network.eval()
        scores = evaluate(network, images[validation])
        entry = {
            "epoch": epoch + 1,
            "learning_rate": rate,
            "train_loss": losses.mean().item(),
            "train_accuracy": 100 * correct.item() / len(training),
            "validation_loss": F.cross_entropy(scores, labels[validation]).item(),
            "validation_accuracy": accuracy(scores, labels[validation]),
            "seconds": time.perf_counter() - start,
        }
        check_finite(entry)
        if row.test_each_epoch:
            scores = evaluate(network, dataset.test_images.to(device)).cpu()
            entry["test_accuracy"] = accuracy(scores, dataset.test_labels)
        curve.append(entry)
        if directory is not None:
            saved = {"settings": settings.model_dump(), "curve": curve, "sittings": sittings}
            checkpoint.save_run(directory, epoch + 1, network, optimiser, made_of | saved)
        show(settings, entry, len(training))
        yield entry
        start = time.perf_counter()

    network.eval()
    scores = evaluate(network, dataset.test_images.to(device)).cpu()
    seconds = sum(entry["seconds"] for entry in curve)
    return Run(settings, network, curve, dataset, scores, device, seconds, sittings)


def check_precision(precision: str, sittings: list[dict], where: Path | None) -> None:
    """``ValueError`` if a run would go on in another precision than it was begun in."""
    begun = sittings[-1]["precision"] if sittings else precision
    if precision != begun:
        raise ValueError(
            f"the run in {where} was begun in {begun} and would go on here in {precision}: go on on"
            f" a device that computes in {begun} by itself, or begin anew with --overwrite, which"
            " keeps it"
        )


def origin(settings: Settings) -> dict[str, str | None]:
    """What a run is of: the definition of its row, and of a row of your own the SHA-256 of the file
    that registers it."""
    row = experiment(settings.experiment)
    module = os.environ.get(experiments.MODULE)
    own = row not in PACKAGED
    return {
        "row": row.definition(),
        "module": hashlib.sha256(Path(module).read_bytes()).hexdigest() if own and module else None,
    }


def describe(network: nn.Module | None) -> str | None:
    """The modules of a given network and their options, those that PyTorch does not print too, and
    what is frozen."""
    if network is None:
        return None
    inside = plain(network)
    frozen = [name for name, each in inside.named_parameters() if not each.requires_grad]
    said = [str(inside), f"frozen: {frozen}"]
    for module in inside.modules():
        for name, value in vars(module).items():
            kept = callable(value) or isinstance(value, int | float | str | tuple)
            if kept and not name.startswith("_") and name not in NO_OPTIONS:
                said.append(f"{name}={value}")
    return re.sub(r" at 0x\w+", "", "\n".join(said))


NO_OPTIONS = ("training", "image_size", "fast")
"""What a module has that is no option: another of these trains the same network."""


def weights_sha256(network: nn.Module | None) -> str | None:
    """The SHA-256 of the weights and statistics of a given network."""
    if network is None:
        return None
    sha = hashlib.sha256()
    for tensor in plain(network).state_dict().values():
        sha.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return sha.hexdigest()


def begin(
    settings: Settings, device: torch.device, classes: int = 10, network: nn.Module | None = None
) -> tuple[nn.Module, torch.optim.Optimizer]:
    """``network``, or one as the seed draws it, on the CPU's random stream whatever the device, and
    its optimiser."""
    recipe = experiment(settings.experiment).recipe
    if network is None:
        with drawing(torch.device("cpu"), settings.seed):
            network = build(settings.experiment, classes)
    network = network.to(device)
    optimiser = OPTIMISERS.get(recipe.optimiser)
    if optimiser is None:
        known = ", ".join(OPTIMISERS)
        raise ValueError(f"there is no optimiser {recipe.optimiser!r}: choose one of {known}")
    return network, optimiser(network, settings.learning_rate, recipe.weight_decay)


def remember_size(network: nn.Module, images: Tensor) -> None:
    """Let a network of ours know the size of its images; others' have the name for something
    else."""
    inside = plain(network)
    if isinstance(getattr(inside, "image_size", None), tuple | None):
        inside.image_size = tuple(images.shape[2:])


def check_fits(network: nn.Module, dataset: data.Dataset) -> None:
    """``ValueError`` unless ``network`` takes the images of ``dataset``, and gives a score for each
    of its classes."""
    device = next(network.parameters()).device
    scores = predict(network, dataset.train_images[:2].to(device))
    if scores.shape != (2, len(dataset.classes)):
        raise ValueError(
            f"the network gives scores of shape {tuple(scores.shape)} for 2 images, the data "
            f"have {len(dataset.classes)} "
            f"classes: build it with num_classes={len(dataset.classes)}"
        )


def resume(
    settings: Settings,
    directory: Path | None,
    network: nn.Module,
    optimiser,
    made_of: dict,
) -> tuple[list[dict], list[dict]]:
    """Restore the newest checkpoint of this very run; its curve and sittings, empty if there is
    none.
    """
    newest = None if directory is None else checkpoint.newest(directory)
    if newest is None:
        return [], []
    tensors, saved = newest
    if not {"sittings", "began", *MADE_OF} <= saved.keys():
        raise ValueError(
            f"{directory} has checkpoints of an earlier evalib: finish them with that one"
        )
    check_computation(directory, saved["sittings"][-1]["computation"])
    check_same(settings, Settings(**saved["settings"]), directory)
    for name, what in MADE_OF.items():
        if saved[name] != made_of[name]:
            raise ValueError(
                f"{directory} belongs to a run {what}: give the same to go on with it, or begin "
                "anew, in another output directory or with --overwrite"
            )
    if saved["began"] != made_of["began"]:
        said = f"{directory} belongs to a run that began from other weights than the given network"
        if len(saved["curve"]) == settings.epochs:
            raise ValueError(f"{said}, and is whole: choose another output directory")
        warnings.warn(
            f"{said} has: they are replaced by those of the run; to train from those given, choose "
            "another output directory",
            stacklevel=2,
        )
    checkpoint.restore(tensors, network, optimiser)
    return saved["curve"], saved["sittings"]


def check_computation(where: Path | None, version: int) -> None:
    """``ValueError`` unless the checkpoints of a run were made by this version of the
    computation."""
    if version != COMPUTATION:
        raise ValueError(
            f"{where} has checkpoints of computation {version}, and this evalib has "
            f"{COMPUTATION}: finish them with "
            "the evalib that made them, or begin anew with --overwrite, which keeps them"
        )


MADE_OF = {
    "data": "on other data",
    "network": "of another network",
    "row": "of the row as it was defined before",
    "module": "of the row before the file that registers it changed",
}
"""What has to be equal for a run to go on, and how it is called where it is not."""


@contextmanager
def drawing(device: torch.device, seed: int, *where: int) -> Iterator[None]:
    """Inside, torch draws what ``seed``, and in a run also epoch and step, say; outside it draws as
    if nothing had been."""
    number = int(data.raw_draws(1, seed, *where)[0] >> 1) if where else seed
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(number)
        if device.type == "cuda":
            torch.cuda.default_generators[
                torch.cuda.current_device() if device.index is None else device.index
            ].manual_seed(number)
        yield


def epoch_steps(
    step: Step, network: nn.Module, images: int, settings: Settings, epoch: int
) -> Generator[None, None, tuple[Tensor, Tensor]]:
    """One pass over the training images, a step a turn; it ends with the loss of each, and the
    number of right answers."""
    training_mode(network)
    device = next(network.parameters()).device
    plan = [
        part.to(device).split(settings.batch_size)
        for part in data.epoch_plan(images, settings.seed, epoch)
    ]
    batches = [data.Plan(*parts) for parts in zip(*plan, strict=True)]
    losses, correct = torch.empty(len(batches), device=device), torch.zeros((), device=device)
    name = f"{settings.experiment} seed {settings.seed} epoch {epoch + 1}"
    for index, batch in enumerate(tqdm(batches, name, leave=False, disable=None)):
        with drawing(device, settings.seed, epoch, index):
            loss, right = step(batch)
        losses[index] = loss
        correct += right
        yield
    return losses, correct


def evaluate(network: nn.Module, images: UInt8[Tensor, "n 3 i j"]) -> Float[Tensor, "n classes"]:
    """The scores for ``images`` where they lie: on a GPU, where a batch takes as long as its
    launches, in large ones.

    In smaller ones the larger the images are, so that a network which trains on them is evaluated
    in no more memory.
    """
    most, pixels = (2500 if images.is_cuda else 500), images.shape[2] * images.shape[3]
    return predict(network, images, batch_size=max(1, min(most, most * 32 * 32 // pixels)))


def accuracy(scores: Float[Tensor, "n classes"], labels: Int[Tensor, " n"]) -> float:
    """The percentage of images whose highest score is their label's."""
    return 100 * (scores.argmax(dim=1) == labels).sum().item() / len(labels)


def check_finite(entry: dict) -> None:
    """Raise ``FloatingPointError`` unless the losses of an epoch are finite."""
    for which in ("train", "validation"):
        loss = entry[f"{which}_loss"]
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the {which} loss is {loss} in epoch {entry['epoch']}, learning rate "
                f"{entry['learning_rate']:g}: the last good checkpoint is kept; try a lower "
                "learning rate (--learning-rate), in another --out or with --overwrite"
            )


def show(settings: Settings, entry: dict, images: int) -> None:
    """One line for the epoch just finished, above the bars of others where there are some."""
    line = (
        f"{settings.experiment} seed {settings.seed} epoch {entry['epoch']}/{settings.epochs}: "
        f"loss {entry['train_loss']:.3f}, validation {entry['validation_accuracy']:.2f}%, "
        f"images/s {images / entry['seconds']:.0f}"
    )
    with tqdm.external_write_mode():
        print(line, flush=True)
