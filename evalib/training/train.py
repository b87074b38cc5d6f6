"""Training as §4.1 has it: Adam at 0.001, batches of 150, and everything random a function of
(seed, epoch, step)."""

import hashlib
import math
import os
import re
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from evalib import experiments
from evalib.ablations import ABLATIONS
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

EVALUATED = 2500
"""How many images a GPU evaluates at a time."""


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
    longer: bool = False,
    dataset: data.Dataset | None = None,
    network: nn.Module | None = None,
) -> Run:
    """Train the network of ``settings``, continuing from the newest checkpoint in ``directory`` if
    there is one.

    All :func:`steps`, one after the other; ``observe`` is called with each new entry of the curve.
    """
    return exhaust(steps(settings, directory, device, compile, longer, dataset, network), observe)


def exhaust(
    running: Generator[dict | None, None, Run], observe: Callable[[dict], None] | None
) -> Run:
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
    longer: bool = False,
    dataset: data.Dataset | None = None,
    network: nn.Module | None = None,
) -> Generator[dict | None, None, Run]:
    """The run of ``settings``, a training step a turn: gives ``None`` after each, the curve's entry
    after each epoch.

    It ends with the :class:`Run`, which is that of the last epoch; the test set is read once, after
    it (departure D11). Only the ablations that ask what a choice by the test set is worth read it
    after each epoch, and choose nothing by it either. Several may be advanced in turn, each on a
    CUDA stream of its own: on the CPU each ends bitwise as it does alone, and as it does continued
    from the newest checkpoint in ``directory``. With ``longer`` the checkpoint may be of a run of
    fewer epochs, from whose end this one goes on at its own learning rate.

    ``dataset`` is taken in place of the tier's (:func:`evalib.dataset` makes one of your own
    images), and ``network`` is trained in place of a fresh one of the experiment. Of a part whose
    parameters do not require a gradient the batch statistics stay as they are:
    ``network.stages.requires_grad_(False)`` freezes it. ``compile`` hands the network of the
    training step to ``torch.compile``, by default on a GPU above the ``smoke`` tier; the seconds of
    the first epoch hold what that takes, and a capture.

    ``ValueError`` if the checkpoint was made with other settings, data, definitions or by another
    computation, or if the network does not give a score for each class of the data;
    ``FloatingPointError`` if a loss is not finite, ``MemoryError`` if the device's memory does not
    hold a step, ``RuntimeError`` if the step cannot be compiled.
    """
    check_kinds(settings, dataset)
    foreign = dataset is not None or network is not None
    device, dataset = choose_device(device), dataset or cifar.load_data(TIERS[settings.tier].data)
    recipe = experiment(settings.experiment).recipe
    training, validation = (
        index.to(device) for index in data.split(len(dataset.train_labels), recipe.all_images)
    )
    images, labels = dataset.train_images.to(device), dataset.train_labels.to(device)
    made_of = origin(settings, network) | {"data": dataset.fingerprint}
    network, optimiser = begin(settings, device, len(dataset.classes), network)
    check_precision(network)
    # others' networks have it for something else
    if isinstance(getattr(plain(network), "image_size", ()), tuple | None):
        plain(network).image_size = tuple(images.shape[2:])
    if foreign:
        check_fits(network, dataset)
    compile = compiles(compile, settings.tier, device)
    precision = precision_of(settings.precision, device)
    curve, sittings = resume(settings, directory, network, optimiser, made_of, longer)
    if len(curve) < settings.epochs:
        how = {"computation": COMPUTATION, "compiled": compile, "precision": precision}
        by = {"commit": commit(), "torch": torch.__version__, "device": device_name(device)}
        sittings.append({"after": len(curve), "epochs": settings.epochs} | how | by)
    batches = math.ceil(len(training) / settings.batch_size)
    name = f"{settings.experiment} seed {settings.seed}"
    with remedies(settings), tqdm(desc=name, total=batches * settings.epochs, disable=None) as bar:
        bar.update(batches * len(curve))
        start = time.perf_counter()
        with drawing(device, settings.seed):
            inputs = (
                data.pad(images[training]),
                labels[training],
                settings.batch_size,
                precision,
                compile,
            )
            step = training_step(network, optimiser, *inputs)
        for epoch in range(len(curve), settings.epochs):
            rate = learning_rate(settings, epoch)
            set_rate(optimiser, rate)
            losses, correct = yield from epoch_steps(
                step, network, len(training), settings, epoch, bar
            )
            check_finite(losses, epoch, rate)
            network.eval()
            scores = evaluate(network, images[validation])
            validation_loss = F.cross_entropy(scores, labels[validation])
            check_finite(validation_loss, epoch, rate, "validation ")
            entry = {
                "epoch": epoch + 1,
                "learning_rate": rate,
                "train_loss": losses.mean().item(),
                "train_accuracy": 100 * correct.item() / len(training),
                "validation_loss": validation_loss.item(),
                "validation_accuracy": accuracy(scores, labels[validation]),
                "seconds": time.perf_counter() - start,
            }
            if experiment(settings.experiment).test_each_epoch:
                scores = evaluate(network, dataset.test_images.to(device)).cpu()
                entry["test_accuracy"] = accuracy(scores, dataset.test_labels)
            curve.append(entry)
            if directory is not None:
                saved = made_of | {
                    "settings": settings.model_dump(),
                    "curve": curve,
                    "sittings": sittings,
                }
                checkpoint.save_run(directory, epoch + 1, network, optimiser, saved)
            show(settings, entry, len(training), bar)
            yield entry
            start = time.perf_counter()
        network.eval()
        test_scores = evaluate(network, dataset.test_images.to(device)).cpu()
    test_loss, last = F.cross_entropy(test_scores, dataset.test_labels), settings.epochs - 1
    check_finite(test_loss, last, learning_rate(settings, last), "test ")
    return Run(
        settings,
        network,
        curve,
        dataset,
        test_scores,
        device,
        sum(row["seconds"] for row in curve),
        sittings,
    )


def epoch_steps(
    step: Step, network: nn.Module, images: int, settings: Settings, epoch: int, bar: tqdm
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
    for index, batch in enumerate(batches):
        with drawing(device, settings.seed, epoch, index):
            loss, right = step(batch)
        losses[index] = loss
        correct += right
        bar.update()
        yield
    return losses, correct


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


def begin(
    settings: Settings, device: torch.device, classes: int = 10, network: nn.Module | None = None
) -> tuple[nn.Module, torch.optim.Optimizer]:
    """``network``, or one as the seed draws it, on the CPU's random stream whatever the device, and
    its optimiser."""
    recipe = experiment(settings.experiment).recipe
    if recipe.optimiser not in OPTIMISERS:
        raise ValueError(
            f"there is no optimiser {recipe.optimiser!r}: choose one of {', '.join(OPTIMISERS)}"
        )
    if network is None:
        with drawing(torch.device("cpu"), settings.seed):
            network = build(settings.experiment, classes)
    network = network.to(device)
    return network, OPTIMISERS[recipe.optimiser](
        network, settings.learning_rate, recipe.weight_decay
    )


def evaluate(network: nn.Module, images: UInt8[Tensor, "n 3 i j"]) -> Float[Tensor, "n classes"]:
    """The scores for ``images`` where they lie: on a GPU, where a batch takes as long as its
    launches, in large ones.

    In smaller ones the larger the images are, so that a network which trains on them is evaluated
    in no more memory.
    """
    most, pixels = (EVALUATED if images.is_cuda else 500), images.shape[2] * images.shape[3]
    return predict(network, images, batch_size=max(1, min(most, most * 32 * 32 // pixels)))


def accuracy(scores: Float[Tensor, "n classes"], labels: Int[Tensor, " n"]) -> float:
    """The percentage of images whose highest score is their label's."""
    return 100 * (scores.argmax(dim=1) == labels).sum().item() / len(labels)


def show(settings: Settings, entry: dict, images: int, bar: tqdm) -> None:
    """Show the epoch just finished: beside the bar where there is one, else as one plain line."""
    figures = {
        "loss": f"{entry['train_loss']:.3f}",
        "validation": f"{entry['validation_accuracy']:.2f}%",
        "images/s": f"{images / entry['seconds']:.0f}",
    }
    if bar.disable:
        shown = ", ".join(f"{name} {value}" for name, value in figures.items())
        print(
            f"{settings.experiment} seed {settings.seed} epoch "
            f"{entry['epoch']}/{settings.epochs}: {shown}",
            flush=True,
        )
    else:
        bar.set_postfix(figures)


def check_kinds(settings: Settings, dataset: data.Dataset | None) -> None:
    """``TypeError`` for settings or data of another kind."""
    if not isinstance(settings, Settings):
        raise TypeError(
            f"settings are of type {type(settings).__name__}: give evalib.Settings({settings!r})"
        )
    if not isinstance(dataset, data.Dataset | None):
        raise TypeError(
            f"the data set is of type {type(dataset).__name__}: make one by "
            "evalib.dataset(images, labels)"
        )


def check_precision(network: nn.Module) -> None:
    """``ValueError`` unless the weights are in single precision, and some of them learn."""
    found = {parameter.dtype for parameter in network.parameters() if parameter.is_floating_point()}
    if other := sorted(map(str, found - {torch.float32})):
        remedy = "give network.float(), and torch.set_default_dtype(torch.float32)"
        raise ValueError(f"weights are {other[0]}, and training is in torch.float32: {remedy}")
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise ValueError(
            "no parameter of the network learns: let at least one have requires_grad_()"
        )


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


def check_finite(losses: Float[Tensor, "..."], epoch: int, rate: float, which: str = "") -> None:
    """Raise ``FloatingPointError`` naming the first loss that is NaN or infinite: of which step, or
    of which images."""
    bad = torch.argwhere(~losses.reshape(-1).isfinite())
    if not len(bad):
        return
    step = int(bad[0].item())
    when = f"after epoch {epoch + 1}" if which else f"at epoch {epoch + 1}, step {step + 1}"
    raise FloatingPointError(
        f"the {which}loss is {losses.reshape(-1)[step].item()} {when}, learning rate {rate:g}: "
        "the last good checkpoint is "
        "kept; try a lower learning rate (--learning-rate), in another --out or with --overwrite"
    )


@contextmanager
def remedies(settings: Settings) -> Iterator[None]:
    """Say what to do where the device has too little memory for a step, or where the step cannot be
    compiled."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise MemoryError(
            f"the device's memory does not hold a step of batch size {settings.batch_size}: "
            f"try {max(2, settings.batch_size // 2)}, or a smaller network"
        ) from error
    except RuntimeError as error:
        if not any(kind.__module__.startswith("torch._dynamo") for kind in type(error).__mro__):
            raise
        cause = str(getattr(error, "inner_exception", error)).partition("\n")[0]
        raise RuntimeError(
            f"the step could not be compiled ({cause}): install a C++ compiler, or train "
            "without one by --no-compile"
        ) from error


def origin(settings: Settings, network: nn.Module | None = None) -> dict[str, str | None]:
    """What a run is of, in words: the definition of its row, the module file of a row of your own,
    the given network.

    ``began`` is the SHA-256 of the weights that the given network begins with.
    """
    row = experiment(settings.experiment)
    module = os.environ.get("EVALIB_MODULE")
    own = row not in (*experiments.TABLE_1, *ABLATIONS)
    return {
        "row": row.definition(),
        "module": hashlib.sha256(Path(module).read_bytes()).hexdigest() if own and module else None,
        "network": None if network is None else description(network),
        "began": None if network is None else weights_sha256(network),
    }


def description(network: nn.Module) -> str:
    """A network in words: each module's class and options, each parameter's shape; of a wrapper's,
    the network inside."""
    lines = []
    for name, module in plain(network).named_modules():
        options = re.sub(r" at 0x[0-9a-fA-F]+", "", " ".join(module.extra_repr().split()))
        lines.append(f"{name}: {type(module).__module__}.{type(module).__qualname__}({options})")
    for name, tensor in plain(network).state_dict().items():
        lines.append(f"{name}: {tensor.dtype} {tuple(tensor.shape)}")
    return "\n".join(lines)


def weights_sha256(network: nn.Module) -> str:
    """The SHA-256 of a network's weights and statistics."""
    sha = hashlib.sha256()
    for tensor in plain(network).state_dict().values():
        sha.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return sha.hexdigest()


def resume(
    settings: Settings,
    directory: Path | None,
    network: nn.Module,
    optimiser,
    made_of: dict,
    longer: bool = False,
) -> tuple[list[dict], list[dict]]:
    """Restore the newest checkpoint of this very run; its curve and sittings, empty if there is
    none.

    With ``longer`` the checkpoint may be the last one of a run of fewer epochs.
    """
    newest = None if directory is None else checkpoint.newest(directory)
    if newest is None:
        return [], []
    tensors, saved = newest
    sittings = saved.get("sittings", [])
    check_computation(directory, sittings[-1]["computation"] if sittings else 1)
    before, epochs = Settings(**saved["settings"]), len(saved["curve"])
    finished = epochs == before.epochs < settings.epochs
    wanted = (
        settings.model_copy(update={"epochs": before.epochs}) if longer and finished else settings
    )
    check_same(wanted, before, directory)
    check_origin(made_of, saved, directory, epochs == settings.epochs)
    checkpoint.restore(tensors, network, optimiser)
    return saved["curve"], sittings


def check_computation(where: Path | None, version: int) -> None:
    """``ValueError`` unless the checkpoints of a run were made by this version of the
    computation."""
    if version != COMPUTATION:
        raise ValueError(
            f"{where} has checkpoints of computation {version}, and this evalib has "
            f"{COMPUTATION}: finish them with "
            "the evalib that made them, or begin anew with --overwrite, which keeps them"
        )


def check_origin(now: dict, saved: dict, where: Path | None, done: bool) -> None:
    """``ValueError`` naming in what a run differs from the one in ``where``; what that one does not
    say is not compared."""
    remedy = (
        "give the same to go on with it, or begin anew: in another output directory, or with "
        "--overwrite"
    )
    if saved.get("data", now["data"]) != now["data"]:
        raise ValueError(
            f"{where} belongs to a run on other data: give the same data, or another output "
            "directory"
        )
    if saved.get("row", now["row"]) != now["row"]:
        raise ValueError(
            f"{where} belongs to a run of the row as it was defined before "
            f"({difference(saved['row'], now['row'])}): {remedy}"
        )
    if saved.get("module", now["module"]) != now["module"]:
        raise ValueError(
            f"{where} belongs to a run of the row before the file that registers it changed "
            "(its SHA-256 was "
            f"{saved['module']}, is now {now['module']}): {remedy}"
        )
    if saved.get("network", now["network"]) != now["network"]:
        raise ValueError(
            f"{where} belongs to a run of another network "
            f"({difference(saved['network'], now['network'])}): {remedy}"
        )
    if saved.get("began", now["began"]) == now["began"]:
        return
    if done:
        raise ValueError(
            f"{where} holds a whole run of this network, begun from other weights than it has "
            "now, and nothing is left to "
            "train: give it the weights that it began with, or another output directory"
        )
    warnings.warn(
        f"{where} belongs to a run that began from other weights than the given network has: "
        "it goes on, and they are "
        "replaced; to train from those given, choose another output directory",
        stacklevel=2,
    )


def difference(old: str | None, new: str | None) -> str:
    """The first line in which two definitions differ."""
    if old is None or new is None:
        one, other = (
            "the row's own" if each is None else "one that was given" for each in (old, new)
        )
        return f"it was {one}, is now {other}"
    for one, other in zip_longest(old.splitlines(), new.splitlines(), fillvalue="nothing"):
        if one != other:
            return f"it was {one!r}, is now {other!r}"
    return "nothing"
