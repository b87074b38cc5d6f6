"""CIFAR-10 in memory: the full set or a bundled subset, the fixed split, and the augmentation of He et al. 2015.

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

from evalib.training.download import FULL_SHA256, at_hand, download, fingerprint, read, verified
from evalib.training.sources import Arrays

__all__ = [
    "ANNOUNCEMENT", "CIFAR10", "CLASSES", "FULL_SHA256", "MEAN", "PAD", "STD", "SUBSET_SHA256", "Plan", "crop_and_flip",
    "describe", "download", "epoch_plan", "fingerprint", "load", "normalise", "pad", "split",
]  # fmt: skip

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

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


class CIFAR10(NamedTuple):
    """Images and labels 0 … 9 (``CLASSES``); ``source`` is "full" or "subset", ``fingerprint`` a SHA-256 in hex."""

    train_images: UInt8[Tensor, "n 3 32 32"]
    train_labels: Int64[Tensor, " n"]
    test_images: UInt8[Tensor, "m 3 32 32"]
    test_labels: Int64[Tensor, " m"]
    source: str
    fingerprint: str


def load(which: str = "auto", directory: str | Path | None = None) -> CIFAR10:
    """CIFAR-10 on the CPU, verified by its SHA-256.

    ``which`` is "full" (downloaded if it is not there), "subset" (bundled), or "auto": the full set if it is
    there, else the subset, which is then announced. ``directory`` holds the cached file, or the official folder
    ``cifar-10-batches-py`` or archive ``cifar-10-python.tar.gz``, which are taken as they are; it defaults to the
    environment variable ``EVALIB_DATA``, else to ``data/``.
    """
    if which not in ("auto", "full", "subset"):
        raise ValueError(f'which={which!r} is not a data set: choose "auto", "full" or "subset"')
    if which == "subset":
        return _subset()
    try:
        return _tensors(at_hand(directory), "full", FULL_SHA256)
    except (FileNotFoundError, ValueError) as reason:
        if which == "full":
            return _tensors(read(download(directory)), "full", FULL_SHA256)
        if isinstance(reason, ValueError):
            print(reason)
    print(ANNOUNCEMENT)
    return _subset()


def describe(cifar: CIFAR10) -> str:
    """Two lines: the source and the counts, then the fingerprint."""
    return (
        f"CIFAR-10, {cifar.source}: {len(cifar.train_images)} training and {len(cifar.test_images)} test images "
        f"of 3×32×32 in {len(CLASSES)} classes\nSHA-256 {cifar.fingerprint}"
    )


def _tensors(arrays: Arrays, source: str, sha256: str) -> CIFAR10:
    def images(array: UInt8[np.ndarray, "n 32 32 3"]) -> UInt8[Tensor, "n 3 32 32"]:
        return rearrange(torch.from_numpy(array), "n i j c -> n c i j").contiguous()

    def labels(array: UInt8[np.ndarray, " n"]) -> Int64[Tensor, " n"]:
        return torch.from_numpy(array).long()

    train_images, train_labels, test_images, test_labels = arrays
    return CIFAR10(images(train_images), labels(train_labels), images(test_images), labels(test_labels), source, sha256)


def _subset() -> CIFAR10:
    """The two bundled mosaics: row k of a mosaic holds the images of class k."""

    def mosaic(part: str) -> tuple[UInt8[np.ndarray, "n 32 32 3"], UInt8[np.ndarray, " n"]]:
        with Image.open(Path(__file__).parent / "cifar10" / f"{part}.png") as picture:
            images = rearrange(np.array(picture), "(k i) (n j) c -> (k n) i j c", i=32, j=32)
        return images, repeat(np.arange(10, dtype=np.uint8), "k -> (k n)", n=len(images) // 10)

    arrays = Arrays(*mosaic("train"), *mosaic("test"))
    arrays = verified("The bundled subset", arrays, SUBSET_SHA256, (1000, 500), "reinstall evalib")
    return _tensors(arrays, "subset", SUBSET_SHA256)


def split(n: int) -> tuple[Int64[Tensor, " train"], Int64[Tensor, " validation"]]:
    """Indices of the training and the validation images: a fixed permutation of 0 … n−1, cut before its last tenth.

    n = 50000 gives the 45000 and 5000 of He et al. 2015, the same on every machine.
    """
    if n < 10:
        raise ValueError(f"n={n} has no tenth to validate on: give 10 images or more")
    order = torch.from_numpy(np.argsort(_raw_draws(n, 45_000, 5_000), kind="stable"))
    return order[: n - n // 10], order[n - n // 10 :]


def normalise(images: Shaped[Tensor, "n 3 i j"]) -> Float[Tensor, "n 3 i j"]:
    """(pixel / 255 − MEAN) / STD, per channel, in single precision, of uint8 pixels; (pixel − MEAN) / STD of floating ones.

    The argument is left as it was. ``TypeError`` or ``ValueError`` as :func:`check_pixels`.
    """
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
        if low < 0:
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
    order, rows, cols, flips = _raw_draws((4, n), seed, epoch)
    corners = 2 * PAD + 1
    return Plan(
        order=torch.from_numpy(np.argsort(order, kind="stable")),
        rows=torch.from_numpy((rows % corners).astype(np.int64)),
        cols=torch.from_numpy((cols % corners).astype(np.int64)),
        flips=torch.from_numpy(flips % 2 == 1),
    )


def _raw_draws(size: int | tuple[int, int], *entropy: int) -> np.ndarray:
    """Uniform 64-bit integers. Only PCG64's raw stream is used, which numpy promises never to change (NEP 19)."""
    return np.random.PCG64(np.random.SeedSequence(entropy)).random_raw(size)


def pad(images: UInt8[Tensor, "n 3 32 32"]) -> UInt8[Tensor, "n 3 40 40"]:
    """``images`` with ``PAD`` black pixels on each side: done once, then every crop is a window of the result."""
    return F.pad(images, (PAD, PAD, PAD, PAD))


def crop_and_flip(
    padded: UInt8[Tensor, "m 3 40 40"],
    index: Int[Tensor, " n"],
    rows: Int[Tensor, " n"],
    cols: Int[Tensor, " n"],
    flips: Bool[Tensor, " n"],
) -> UInt8[Tensor, "n 3 32 32"]:
    """The 32×32 window of image ``index`` at (``rows``, ``cols``), mirrored left to right where ``flips``.

    All arguments lie on one device; nothing waits for it, so a CUDA graph can hold this.
    """
    windows = padded.unfold(2, 32, 1).unfold(3, 32, 1)
    crops = windows[index, :, rows, cols]
    return torch.where(rearrange(flips, "n -> n 1 1 1"), crops.flip(-1), crops)
