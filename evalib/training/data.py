"""CIFAR in memory: CIFAR-10, whole or a bundled subset, CIFAR-100; and the augmentation of He et al. 2015.

The whole data set is a few tensors, so that a batch is an index and the augmentation runs where the tensors are.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float, Int, Int64, Shaped, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from evalib.training import cifar100
from evalib.training.dataset import CLASSES, Dataset, check_shape, dataset, from_arrays, raw_draws, split
from evalib.training.download import FULL_SHA256, at_hand, download, fingerprint, read, verified
from evalib.training.sources import Arrays

__all__ = [
    "ANNOUNCEMENT", "CLASSES", "FULL_SHA256", "MEAN", "PAD", "STD", "SUBSET_SHA256", "Dataset", "Plan", "check_pixels",
    "check_shape", "crop_and_flip", "dataset", "describe", "download", "epoch_plan", "fingerprint", "load", "normalise",
    "pad", "split",
]  # fmt: skip

MEAN = (0.49139968, 0.48215841, 0.44653091)
STD = (0.24703223, 0.24348513, 0.26158784)
"""Per channel R, G, B over the pixels of the full training set, with a pixel in 0 … 1."""

PAD = 4
"""Black pixels added on each side before the crop (He et al. 2015, §4.2)."""

SUBSET_SHA256 = "0fa74172662c77cbdf15645e28598595e5bec78692cee0098dea15a890501d38"
"""``fingerprint`` of the bundled subset: the first 100 and 50 images of each class, class by class."""

ANNOUNCEMENT = (
    "The bundled CIFAR-10 subset (1000 training and 500 test images) stands in for the full data set; "
    "to fetch the full one (about 150 MB), run: python -m evalib data"
)


def load(which: str = "auto", directory: str | Path | None = None) -> Dataset:
    """CIFAR-10 or CIFAR-100 on the CPU, verified by its SHA-256.

    ``which`` is "full" (CIFAR-10, downloaded if it is not there), "subset" (bundled), "auto" (the full set if it is
    there, else the subset, which is then announced), or "cifar100". ``directory`` holds the cached file, or the official folder
    ``cifar-10-batches-py`` or archive ``cifar-10-python.tar.gz``, which are taken as they are; it defaults to the
    environment variable ``EVALIB_DATA``, else to ``data/``.
    """
    if which not in ("auto", "full", "subset", "cifar100"):
        raise ValueError(f'which={which!r} is not a data set: choose "auto", "full", "subset" or "cifar100"')
    if which == "subset":
        return _subset()
    if which == "cifar100":
        return cifar100.load(directory)
    try:
        return from_arrays(at_hand(directory), "full", FULL_SHA256)
    except (FileNotFoundError, ValueError) as reason:
        if which == "full":
            return from_arrays(read(download(directory)), "full", FULL_SHA256)
        if isinstance(reason, ValueError):
            print(reason)
    print(ANNOUNCEMENT)
    return _subset()


def describe(dataset: Dataset) -> str:
    """Two lines: the source and the counts, then the fingerprint."""
    name = {"cifar100": "CIFAR-100", "own": "own data"}.get(dataset.source, f"CIFAR-10, {dataset.source}")
    shape = "×".join(map(str, dataset.train_images.shape[1:]))
    return (
        f"{name}: {len(dataset.train_images)} training and {len(dataset.test_images)} test images "
        f"of {shape} in {len(dataset.classes)} classes\nSHA-256 {dataset.fingerprint}"
    )


def _subset() -> Dataset:
    """The two bundled mosaics: row k of a mosaic holds the images of class k."""

    def mosaic(part: str) -> tuple[UInt8[np.ndarray, "n 32 32 3"], UInt8[np.ndarray, " n"]]:
        with Image.open(Path(__file__).parent / "cifar10" / f"{part}.png") as picture:
            images = rearrange(np.array(picture), "(k i) (n j) c -> (k n) i j c", i=32, j=32)
        return images, repeat(np.arange(10, dtype=np.uint8), "k -> (k n)", n=len(images) // 10)

    arrays = Arrays(*mosaic("train"), *mosaic("test"))
    arrays = verified("The bundled subset", arrays, SUBSET_SHA256, (1000, 500), "reinstall evalib")
    return from_arrays(arrays, "subset", SUBSET_SHA256)


def normalise(images: Shaped[Tensor, "..."]) -> Float[Tensor, "n 3 i j"]:
    """(pixel / 255 − MEAN) / STD, per channel, in single precision, of uint8 pixels; (pixel − MEAN) / STD of floating ones.

    The argument is left as it was. ``TypeError`` or ``ValueError`` as :func:`check_shape` and :func:`check_pixels`.
    """
    check_shape(images)
    check_pixels(images)
    scaled = images.float() if images.dtype == torch.uint8 else 255 * images.float()
    for c in range(3):
        scaled[:, c].sub_(255 * MEAN[c]).div_(255 * STD[c])
    return scaled


def check_pixels(images: Tensor) -> None:
    """``TypeError`` unless ``images`` are uint8 or floating, ``ValueError`` unless floating ones lie in 0 … 1."""
    if images.dtype == torch.uint8:
        return
    if not images.is_floating_point():
        raise TypeError(f"images are {images.dtype}: give uint8, or floats in 0 … 1")
    if not images.numel():
        return
    low, high = (value.item() for value in images.detach().aminmax())
    if not (low >= 0 and high <= 1):  # NaN compares false
        remedy = "replace what is not a number"
        if low > -0.25 and high < 1.25:
            remedy = "resized? then images.clamp(0, 1)"
        elif low < 0:
            remedy = "normalised already? give the pixels, or call the network itself"
        elif high > 1:
            remedy = "divide them by 255" if high <= 255 else "scale them to 0 … 1"
        raise ValueError(f"floating pixels lie in 0 … 1, these in {low:g} … {high:g}: {remedy}")


class Plan(NamedTuple):
    """What one epoch draws. Entry t of each belongs to the t-th image visited, which is image ``order[t]``."""

    order: Int64[Tensor, " n"]
    rows: Int64[Tensor, " n"]
    cols: Int64[Tensor, " n"]
    flips: Bool[Tensor, " n"]


def epoch_plan(n: int, seed: int, epoch: int) -> Plan:
    """A permutation of n images, a corner 0 … 8 of each crop and a fair coin for each flip, on the CPU.

    A pure function of its arguments, equal on every machine, device and version.
    """
    if seed < 0 or epoch < 0:
        raise ValueError(f"seed={seed} and epoch={epoch} must both be 0 or more")
    order, rows, cols, flips = raw_draws((4, n), seed, epoch)
    corners = 2 * PAD + 1
    return Plan(
        order=torch.from_numpy(np.argsort(order, kind="stable")),
        rows=torch.from_numpy((rows % corners).astype(np.int64)),
        cols=torch.from_numpy((cols % corners).astype(np.int64)),
        flips=torch.from_numpy(flips % 2 == 1),
    )


def pad(images: UInt8[Tensor, "n 3 i j"]) -> UInt8[Tensor, "n 3 i+8 j+8"]:
    """``images`` with ``PAD`` black pixels on each side: done once, then every crop is a window of the result."""
    return F.pad(images, (PAD, PAD, PAD, PAD))


def crop_and_flip(
    padded: UInt8[Tensor, "m 3 _ _"],
    index: Int[Tensor, " n"],
    rows: Int[Tensor, " n"],
    cols: Int[Tensor, " n"],
    flips: Bool[Tensor, " n"],
) -> UInt8[Tensor, "n 3 i j"]:
    """The window of image ``index``, of its size before :func:`pad`, at (``rows``, ``cols``), mirrored left to right where ``flips``.

    All arguments lie on one device; nothing waits for it, so a CUDA graph can hold this.
    """
    height, width = (extent - 2 * PAD for extent in padded.shape[2:])
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    crops = windows[index, :, rows, cols]
    return torch.where(rearrange(flips, "n -> n 1 1 1"), crops.flip(-1), crops)
