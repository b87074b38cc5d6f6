"""What stops a run of its own: a loss that is no number, a device without memory for a step; and what to do."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from evalib.training.settings import Settings


def check_finite(losses: Float[Tensor, " steps"], epoch: int, rate: float) -> None:
    """Raise ``FloatingPointError`` naming the first step of the epoch whose loss is NaN or infinite."""
    bad = torch.argwhere(~losses.isfinite())
    if len(bad):
        step = int(bad[0].item())
        raise diverged("", losses[step].item(), f"at epoch {epoch + 1}, step {step + 1}", rate)


def finite_loss(
    scores: Float[Tensor, "n classes"], labels: Int[Tensor, " n"], which: str, epoch: int, rate: float
) -> float:
    """The mean cross-entropy; ``FloatingPointError`` if it is NaN or infinite."""
    loss = F.cross_entropy(scores, labels).item()
    if not math.isfinite(loss):
        raise diverged(f"{which} ", loss, f"after epoch {epoch + 1}", rate)
    return loss


def diverged(which: str, loss: float, when: str, rate: float) -> FloatingPointError:
    """The error of a loss that is no number, with what to do."""
    return FloatingPointError(
        f"the {which}loss is {loss} {when}, learning rate {rate:g}: the last good checkpoint is kept; "
        "try a lower learning rate (--learning-rate), in another --out or with --overwrite"
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


@contextmanager
def one_image(settings: Settings) -> Iterator[None]:
    """Name the remedy where the last batch of an epoch is one image, of whose single pixel no batch norm is made."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise ValueError(
            "the last batch of an epoch is one image, and its map one pixel, of which batch normalisation has no variance: "
            f"choose another batch_size than {settings.batch_size}"
        ) from error


@contextmanager
def compilation() -> Iterator[None]:
    """Turn the error of torch.compile into one line that says what it needs, and how to train without it."""
    try:
        yield
    except RuntimeError as error:
        if not any(kind.__module__.startswith("torch._dynamo") for kind in type(error).__mro__):
            raise
        cause = getattr(error, "inner_exception", error)
        raise RuntimeError(
            f"the step could not be compiled ({(str(cause).splitlines() or [''])[0]}): "
            "install a C++ compiler, or train without one by --no-compile"
        ) from error
