"""A data set in memory, one's own too, and what an epoch makes of it: split, plan, augmentation,
normalised pixels.

The whole data set is a few tensors, so that a batch is an index and the augmentation runs where the
tensors are.
"""

import hashlib
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int, Int64, Shaped, UInt8
from torch import Tensor
from torch.nn import functional as F

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

MEAN = (0.49139968, 0.48215841, 0.44653091)
STD = (0.24703223, 0.24348513, 0.26158784)
"""Per channel R, G, B over the pixels of CIFAR-10's full training set, with a pixel in 0 … 1."""

PAD = 4
"""Black pixels added on each side before the crop (He et al. 2015, §4.2)."""


class Dataset(NamedTuple):
    """Images and labels 0 … k−1, which ``classes`` names; ``fingerprint`` is a SHA-256 in hex.

    ``source`` is "full" or "subset" (of CIFAR-10), "cifar100" or "own".
    """

    train_images: UInt8[Tensor, "n 3 i j"]
    train_labels: Int64[Tensor, " n"]
    test_images: UInt8[Tensor, "m 3 i j"]
    test_labels: Int64[Tensor, " m"]
    source: str
    fingerprint: str
    classes: tuple[str, ...] = CLASSES


def fingerprint(*arrays: np.ndarray) -> str:
    """SHA-256, in hex, of the bytes of training images, labels, test images and labels, channels
    last, in row-major order."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(np.ascontiguousarray(array).data)
    return sha.hexdigest()


# Data of one's own


def dataset(images, labels, test_images=None, test_labels=None, classes=None) -> Dataset:
    """Your own images and labels, for ``evalib.train(settings, dataset=…)``: tensors or numpy
    arrays, which are copied.

    ``images`` are uint8, ``n 3 i j``, and ``labels`` whole numbers 0 … k−1, each of them there.
    Without a test set, a fixed tenth of the images is put aside as one. ``classes`` names the
    labels in their order; without it they are called by their numbers. ``TypeError`` or
    ``ValueError``, with the remedy, if types, shapes or labels are others.
    """
    if (test_images is None) != (test_labels is None):
        raise ValueError("a test set is images with labels: give test_images and test_labels both")
    names = () if classes is None else check_names(classes)
    images = own_images(images, "images")
    labels = own_labels(labels, "labels", len(images), len(names or images))
    number = len(names) or max(int(labels.max()) + 1, 2)
    names = names or tuple(map(str, range(number)))
    if test_images is None:
        train, test = split(len(labels))
        test_images, test_labels = images[test], labels[test]
        images, labels = images[train], labels[train]
    else:
        test_images = own_images(test_images, "test_images")
        test_labels = own_labels(test_labels, "test_labels", len(test_images), number)
    if test_images.shape[1:] != images.shape[1:]:
        sizes = " and ".join(f"{part.shape[2]}×{part.shape[3]}" for part in (images, test_images))
        raise ValueError(f"images of one size are wanted, not {sizes}: resize them")
    absent = (labels.bincount(minlength=number) == 0).nonzero()
    if len(absent):
        raise ValueError(
            f"no training image has the label {int(absent[0])}: number the labels from 0, without "
            "gaps, and give images of each"
        )
    arrays = [rearrange(part, "n c i j -> n i j c").numpy() for part in (images, test_images)]
    sha256 = fingerprint(arrays[0], labels.numpy(), arrays[1], test_labels.numpy())
    return Dataset(images, labels, test_images, test_labels, "own", sha256, names)


def own_images(images, called: str) -> Tensor:
    """A copy of ``images`` as a tensor on the CPU; an error if they are not uint8, ``n 3 i j``."""
    pixels = copied(images, called)
    check_shape(pixels, called)
    if not len(pixels):
        raise ValueError(f"{called} hold no image: give some")
    if pixels.dtype != torch.uint8:
        cast = "to(torch.uint8)" if isinstance(images, Tensor) else "astype(np.uint8)"
        floats = pixels.is_floating_point()
        remedy = f"(255 * {called}).round().{cast}" if floats else f"{called}.{cast}"
        span = "0 … 1" if floats else "0 … 255"
        raise TypeError(f"{called} are {pixels.dtype}: give uint8, of pixels in {span} {remedy}")
    return pixels


def check_names(classes) -> tuple[str, ...]:
    """The names of classes; ``TypeError`` where they have no order."""
    if not isinstance(classes, list | tuple | np.ndarray):
        raise TypeError(
            f"classes are of type {type(classes).__name__}: give a list of names in the order of "
            "the labels"
        )
    return tuple(classes)


def own_labels(labels, called: str, n: int, classes: int) -> Tensor:
    """A copy of ``labels`` as int64 on the CPU; an error unless they are ``n`` whole numbers from 0
    to below ``classes``."""
    numbers = copied(labels, called)
    whole = not (numbers.is_floating_point() or numbers.is_complex() or numbers.dtype == torch.bool)
    if numbers.shape != (n,) or not whole:
        remedy = "give one whole number an image"
        if numbers.shape == (n, 1):
            remedy += f", {called}.flatten()"
        elif numbers.ndim == 2:
            remedy += f", of one-hot rows {called}.argmax(1)"
        raise ValueError(
            f"{called} are {numbers.dtype} of shape {tuple(numbers.shape)} for {n} images: {remedy}"
        )
    numbers = numbers.long()  # of unsigned ones PyTorch knows no minimum
    low, high = int(numbers.min()), int(numbers.max())
    if low < 0 or high >= classes:
        raise ValueError(f"{called} are {low} … {high}: number the classes from 0, without gaps")
    return numbers


def copied(array, called: str) -> Tensor:
    """A copy on the CPU: what its owner does to it later changes nothing here."""
    if isinstance(array, Tensor):
        return array.detach().to("cpu", copy=True).contiguous()
    try:
        return torch.tensor(array.copy() if isinstance(array, np.ndarray) else array)
    except (TypeError, ValueError, RuntimeError) as error:
        remedy = "give a tensor or a numpy array of whole numbers"
        raise TypeError(f"{called} are no numbers ({error}): {remedy}") from None


def check_shape(images: Tensor, called: str = "images") -> None:
    """``ValueError``, with the remedy by einops, unless ``images`` are ``n 3 i j``."""
    if images.ndim == 4 and images.shape[1] == 3:
        return
    remedy = "give a batch of RGB images"
    if images.ndim == 3 and 3 in (images.shape[0], images.shape[2]):
        remedy = f"for one image give {called}[None]"
    elif images.ndim == 3:
        remedy = f"of grey ones give {called}[:, None]"
    elif images.ndim == 4 and images.shape[3] == 3:
        remedy = f'channels come second, rearrange({called}, "n i j c -> n c i j")'
    elif images.ndim == 4 and images.shape[1] == 1:
        remedy = f'grey ones as repeat({called}, "n 1 i j -> n 3 i j")'
    raise ValueError(f"{called} of shape {tuple(images.shape)} are not n 3 i j: {remedy}")


# Pixels


def check_pixels(images: Tensor) -> None:
    """An error unless ``images`` are uint8, or floating in 0 … 1."""
    if images.dtype == torch.uint8:
        return
    if not images.is_floating_point():
        raise TypeError(f"images are {images.dtype}: give uint8, or floats in 0 … 1")
    if images.numel() and not (images.min() >= 0 and images.max() <= 1):  # NaN compares false
        low, high = images.min().item(), images.max().item()
        raise ValueError(
            f"floating pixels lie in 0 … 1, these in {low:g} … {high:g}: divide those in 0 … 255 "
            "by 255, clamp(0, 1) what a resize has made; normalised already? call the network "
            "itself"
        )


def normalise(images: Shaped[Tensor, "..."]) -> Float[Tensor, "n 3 i j"]:
    """(pixel / 255 − MEAN) / STD, per channel, in single precision, of uint8 pixels; (pixel − MEAN)
    / STD of floating ones (departure D12).

    The argument is left as it was. ``TypeError`` or ``ValueError`` as :func:`check_shape` and
    :func:`check_pixels`.
    """
    check_shape(images)
    check_pixels(images)
    scaled = images.float() if images.dtype == torch.uint8 else 255 * images.float()
    for c in range(3):
        scaled[:, c].sub_(255 * MEAN[c]).div_(255 * STD[c])
    return scaled


# What an epoch draws


def split(
    n: int, everything: bool = False
) -> tuple[Int64[Tensor, " train"], Int64[Tensor, " validation"]]:
    """Indices of the training and the validation images: a fixed permutation of 0 … n−1, cut before
    its last tenth.

    n = 50000 gives the 45000 and 5000 of He et al. 2015, the same on every machine. With
    ``everything`` all images train, those of the validation too, which then validates nothing.
    """
    if n < 10:
        raise ValueError(f"n={n} has no tenth to validate on: give 10 images or more")
    order = torch.from_numpy(np.argsort(raw_draws(n, 45_000, 5_000), kind="stable"))
    return order if everything else order[: n - n // 10], order[n - n // 10 :]


def raw_draws(size: int | tuple[int, int], *entropy: int) -> np.ndarray:
    """Uniform 64-bit integers. Only PCG64's raw stream is used, which numpy promises never to
    change (NEP 19)."""
    return np.random.PCG64(np.random.SeedSequence(entropy)).random_raw(size)


class Plan(NamedTuple):
    """What one epoch draws. Entry t of each belongs to the t-th image visited, which is image
    ``order[t]``."""

    order: Int64[Tensor, " n"]
    rows: Int64[Tensor, " n"]
    cols: Int64[Tensor, " n"]
    flips: Bool[Tensor, " n"]


def epoch_plan(n: int, seed: int, epoch: int) -> Plan:
    """A permutation of n images, a corner 0 … 8 of each crop and a fair coin for each flip, on the
    CPU.

    A pure function of its arguments, equal on every machine, device and version.
    """
    order, rows, cols, flips = raw_draws((4, n), seed, epoch)
    corners = 2 * PAD + 1
    return Plan(
        order=torch.from_numpy(np.argsort(order, kind="stable")),
        rows=torch.from_numpy((rows % corners).astype(np.int64)),
        cols=torch.from_numpy((cols % corners).astype(np.int64)),
        flips=torch.from_numpy(flips % 2 == 1),
    )


def pad(images: UInt8[Tensor, "n 3 i j"]) -> UInt8[Tensor, "n 3 i+8 j+8"]:
    """``images`` with ``PAD`` black pixels on each side: done once, then every crop is a window of
    the result."""
    return F.pad(images, (PAD, PAD, PAD, PAD))


def crop_and_flip(
    padded: UInt8[Tensor, "m 3 _ _"],
    index: Int[Tensor, " n"],
    rows: Int[Tensor, " n"],
    cols: Int[Tensor, " n"],
    flips: Bool[Tensor, " n"],
) -> UInt8[Tensor, "n 3 i j"]:
    """The window of image ``index``, of its size before :func:`pad`, at (``rows``, ``cols``),
    mirrored where ``flips``.

    All arguments lie on one device; nothing waits for it, so a CUDA graph can hold this.
    """
    height, width = (extent - 2 * PAD for extent in padded.shape[2:])
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    crops = windows[index, :, rows, cols]
    return torch.where(rearrange(flips, "n -> n 1 1 1"), crops.flip(-1), crops)
