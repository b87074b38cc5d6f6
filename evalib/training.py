"""Training as §4.1 has it: Adam at 0.001, batches of 150, and everything random a function of (seed, epoch)."""

import math
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from evalib import checkpoints, data
from evalib.eva import Trace
from evalib.networks import Network, build, experiment


class Tier(NamedTuple):
    """How much of the experiment is run: which data, and for how many epochs."""

    data: str
    epochs: int


TIERS = {"smoke": Tier("subset", 2), "quick": Tier("full", 15), "paper": Tier("full", 150)}


@dataclass(frozen=True)
class Settings:
    """Everything that decides a run's result. ``epochs=None`` takes the tier's; a bad value is a ``ValueError``.

    The learning rate is divided by ten after each fraction ``milestones`` of the epochs: 1/2 and 3/4, the
    schedule of He et al. 2015 (32k and 48k of 64k steps).
    """

    experiment: str
    seed: int = 0
    tier: str = "smoke"
    epochs: int | None = None
    batch_size: int = 150
    learning_rate: float = 1e-3
    milestones: tuple[float, ...] = field(default=(0.5, 0.75))

    def __post_init__(self):
        experiment(self.experiment)
        if self.tier not in TIERS:
            raise ValueError(f"there is no tier {self.tier!r}: choose one of {', '.join(TIERS)}")
        if self.epochs is None:
            object.__setattr__(self, "epochs", TIERS[self.tier].epochs)
        object.__setattr__(self, "milestones", tuple(self.milestones))
        for name, least in (("seed", 0), ("epochs", 1), ("batch_size", 2)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name}={value!r} must be a whole number, {least} or more")
        rate = self.learning_rate
        if not isinstance(rate, float) or not 0 < rate < math.inf:
            raise ValueError(f"learning_rate={rate!r} must be a positive number, such as 0.001")


class Run(NamedTuple):
    """A finished run: what it learned, how it went, and its scores on the test set, read once at the end."""

    settings: Settings
    network: Network
    curve: list[dict]  # one entry an epoch
    cifar: data.CIFAR10
    test_scores: Float[Tensor, "n 10"]
    device: torch.device
    seconds: float  # of training and validation, over all the sittings of the run


def train(settings: Settings, directory: Path | None = None, device: str | None = None) -> Run:
    """Train the network of ``settings``, continuing from the newest checkpoint in ``directory`` if there is one.

    On the CPU a continued run ends bitwise equal to one that was never stopped. Raises ``ValueError`` if the
    checkpoint was made with other settings, ``FloatingPointError`` if the loss is not finite.
    """
    device, cifar = choose_device(device), data.load(TIERS[settings.tier].data)
    training, validation = (index.to(device) for index in data.split(len(cifar.train_labels)))
    images, labels = cifar.train_images.to(device), cifar.train_labels.to(device)
    padded = data.pad(images[training])
    torch.manual_seed(settings.seed)
    network = build(settings.experiment).to(device, memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate, fused=True)
    curve = resume(settings, directory, network, optimiser)
    steps = math.ceil(len(training) / settings.batch_size)
    with progress_bar(settings, steps, len(curve)) as bar:
        for epoch in range(len(curve), settings.epochs):
            start = time.perf_counter()
            rate = learning_rate(settings, epoch)
            optimiser.param_groups[0]["lr"] = rate
            losses, correct = train_epoch(network, optimiser, padded, labels[training], settings, epoch, bar)
            check_finite(losses, epoch, rate)
            scores = predict(network, images[validation])
            curve.append(
                {
                    "epoch": epoch + 1,
                    "learning_rate": rate,
                    "train_loss": losses.mean().item(),
                    "train_accuracy": 100 * correct / len(training),
                    "validation_loss": F.cross_entropy(scores, labels[validation]).item(),
                    "validation_accuracy": accuracy(scores, labels[validation]),
                    "seconds": time.perf_counter() - start,
                }
            )
            if directory is not None:
                checkpoints.save(directory, epoch + 1, network, optimiser, {"settings": asdict(settings), "curve": curve})
            announce(settings, curve[-1], len(training), bar)
    test_scores = predict(network, cifar.test_images.to(device)).cpu()
    return Run(settings, network, curve, cifar, test_scores, device, sum(row["seconds"] for row in curve))


def train_epoch(network, optimiser, padded, labels, settings: Settings, epoch: int, bar):
    """One pass over the training images; the loss of each step and the number of right answers."""
    network.train()
    device = padded.device
    plan = [part.to(device) for part in data.epoch_plan(len(padded), settings.seed, epoch)]
    losses, correct = [], torch.zeros((), dtype=torch.int64, device=device)
    for order, rows, cols, flips in zip(*(part.split(settings.batch_size) for part in plan), strict=True):
        images = data.normalise(data.crop_and_flip(padded, order, rows, cols, flips))
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            scores = network(images.contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(scores.float(), labels[order])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.detach())
        correct += (scores.argmax(dim=1) == labels[order]).sum()
        bar.update()
    return torch.stack(losses), correct.item()


def learning_rate(settings: Settings, epoch: int) -> float:
    """The learning rate of ``epoch`` (counted from 0): divided by ten at each milestone that it has passed."""
    return settings.learning_rate * 0.1 ** sum(epoch >= fraction * settings.epochs for fraction in settings.milestones)


@torch.inference_mode()
def predict(network: nn.Module, images: UInt8[Tensor, "n 3 32 32"], batch_size: int = 500) -> Float[Tensor, "n 10"]:
    """The scores of ``network`` for raw images, without augmentation, in evaluation mode and float32."""
    network.eval()
    return torch.cat([network(data.normalise(batch)) for batch in images.split(batch_size)])


@torch.inference_mode()
def predict_traced(network: Network, images: UInt8[Tensor, "n 3 32 32"]) -> tuple[Float[Tensor, "n 10"], Trace]:
    """The scores of an EVANet for raw images, and the trace of the very pass that gave them."""
    network.eval()
    device = next(network.parameters()).device
    return network(data.normalise(images.to(device)), trace=True)


def accuracy(scores: Float[Tensor, "n 10"], labels: Int[Tensor, " n"]) -> float:
    """The percentage of images whose highest score is their label's."""
    return 100 * (scores.argmax(dim=1) == labels).double().mean().item()


def resume(settings: Settings, directory: Path | None, network, optimiser) -> list[dict]:
    """Restore the newest checkpoint of these very settings; the curve so far, empty if there is none."""
    metadata = None if directory is None else checkpoints.restore(directory, network, optimiser)
    if metadata is None:
        return []
    saved = Settings(**metadata["settings"])
    check_same(settings, saved, directory)
    return metadata["curve"]


def check_same(settings: Settings, saved: Settings, where: Path) -> None:
    """Raise ``ValueError`` naming each setting in which a run differs from what is already in ``where``."""
    differing = [
        f"{name} was {old!r}, is now {new!r}"
        for (name, old), new in zip(asdict(saved).items(), asdict(settings).values(), strict=True)
        if old != new
    ]
    if differing:
        raise ValueError(
            f"{where} belongs to a run with other settings ({'; '.join(differing)}): "
            "give the same settings to continue it, or another output directory"
        )


def check_finite(losses: Float[Tensor, " steps"], epoch: int, rate: float) -> None:
    """Raise ``FloatingPointError`` naming the first step of the epoch whose loss is NaN or infinite."""
    bad = torch.argwhere(~losses.isfinite())
    if len(bad):
        step = bad[0].item()
        raise FloatingPointError(
            f"the loss is {losses[step].item()} at epoch {epoch + 1}, step {step + 1}, learning rate {rate:g}: "
            "the last good checkpoint is kept; try a lower learning rate"
        )


def choose_device(name: str | None = None) -> torch.device:
    """The device called ``name``, or the first there is of CUDA, MPS and CPU; ``ValueError`` if it is not there."""
    there = [kind for kind, yes in available().items() if yes]
    if name is None or name == "auto":
        return torch.device(there[0])
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in there or (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()):
        raise ValueError(f"there is no device {name!r} here: choose one of {', '.join(there)}, or leave it out")
    return device


def available() -> dict[str, bool]:
    """Which kinds of device this machine has, best first."""
    return {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}


def watched() -> bool:
    """Whether a person is looking: a terminal, or a notebook that may ask for input (batch runners forbid it)."""
    if "IPython" in sys.modules:
        shell = sys.modules["IPython"].get_ipython()
        if getattr(shell, "kernel", None) is not None:
            return bool(getattr(shell.kernel, "_allow_stdin", False))
    return sys.stderr.isatty()


def progress_bar(settings: Settings, steps: int, epochs_done: int) -> tqdm:
    """A bar over all the steps of the run, silent where nobody watches."""
    return tqdm(
        total=steps * settings.epochs,
        initial=steps * epochs_done,
        desc=f"{settings.experiment} seed {settings.seed}",
        unit="step",
        disable=not watched(),
    )


def announce(settings: Settings, row: dict, images: int, bar: tqdm) -> None:
    """Show the epoch just finished: beside the bar where there is one, else as one plain line."""
    figures = {
        "loss": f"{row['train_loss']:.3f}",
        "validation": f"{row['validation_accuracy']:.2f}%",
        "images/s": f"{images / row['seconds']:.0f}",
    }
    if bar.disable:
        shown = ", ".join(f"{name} {value}" for name, value in figures.items())
        print(f"{settings.experiment} seed {settings.seed} epoch {row['epoch']}/{settings.epochs}: {shown}", flush=True)
    else:
        bar.set_postfix(figures)
