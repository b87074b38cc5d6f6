"""A data set in memory, and what an epoch makes of it: split, plan, augmentation, normalised
pixels.

The whole data set is a few tensors, so that a batch is an index and the augmentation runs where the
tensors are.
"""

import hashlib
from collections.abc import Sequence
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


def describe(dataset: Dataset) -> str:
    """Two lines: the source and the counts, then the fingerprint."""
    name = {"cifar100": "CIFAR-100", "own": "own data"}.get(
        dataset.source, f"CIFAR-10, {dataset.source}"
    )
    shape = "×".join(map(str, dataset.train_images.shape[1:]))
    return (
        f"{name}: {len(dataset.train_images)} training and {len(dataset.test_images)} test images "
        f"of {shape} in {len(dataset.classes)} classes\nSHA-256 {dataset.fingerprint}"
    )


# Data of one's own


def dataset(images, labels, test_images=None, test_labels=None, classes=None) -> Dataset:
    """Your own images and labels, for ``evalib.train(settings, dataset=…)``: tensors or numpy
    arrays, which are copied.

    ``images`` are uint8, ``n 3 i j``, and ``labels`` whole numbers 0 … k−1, each of them there.
    Without a test set, a fixed tenth of the images is put aside as one. ``classes`` names the
    labels; without it they are called by their numbers. ``TypeError`` or ``ValueError``, with the
    remedy, if types, shapes, counts or labels are others.
    """
    if (test_images is None) != (test_labels is None):
        raise ValueError("test_images and test_labels belong together: give both, or neither")
    names = None if classes is None else check_names(classes)
    images, labels = checked(images, labels, "images", "labels", names)
    number = len(names) if names else max(int(labels.max()) + 1, 2)
    given = labels
    if test_images is None:
        train, test = split(len(labels))
        images, labels, test_images, test_labels = (
            images[train],
            labels[train],
            images[test],
            labels[test],
        )
    else:
        test_images, test_labels = checked(
            test_images, test_labels, "test_images", "test_labels", range(number)
        )
    if len(labels) < 10:
        raise ValueError(
            f"{len(labels)} images are left to train on, and none to validate: give 11 or more"
        )
    if test_images.shape[1:] != images.shape[1:]:
        sizes = " and ".join(f"{part.shape[2]}×{part.shape[3]}" for part in (images, test_images))
        raise ValueError(f"images of one size are wanted, not {sizes}: resize them")
    counts = labels.bincount(minlength=number)
    if counts.min() == 0:
        missing = int(counts.argmin())
        remedy = f"number the labels 0 … {number - 1}, without gaps"
        if missing in given:
            remedy = (
                "all its images are in the tenth that is put aside as the test set: give more, "
                "or a test set"
            )
        raise ValueError(f"no training image has the label {missing}: {remedy}")
    arrays = [rearrange(part, "n c i j -> n i j c").numpy() for part in (images, test_images)]
    sha256 = fingerprint(arrays[0], labels.numpy(), arrays[1], test_labels.numpy())
    names = names or tuple(map(str, range(number)))
    return Dataset(images, labels, test_images, test_labels, "own", sha256, names)


def check_names(classes) -> tuple[str, ...]:
    """The names of classes in the order of their labels; an error if they have none, or two are
    one."""
    if isinstance(classes, str | set | frozenset | dict):
        remedy = (
            "a list of names in the order of the labels, as sorted(classes, key=classes.get) "
            "of ImageFolder's class_to_idx"
        )
        raise TypeError(f"classes are of type {type(classes).__name__}: give {remedy}")
    names = tuple(classes)
    if len(names) < 2:
        raise ValueError(
            f"classes are {len(names)}: there is nothing to tell apart; give two or more"
        )
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"two classes are called {twice[0]!r}: give each a name of its own")
    return names


def checked(images, labels, called: str, labels_called: str, names: Sequence | None):
    """Copies of ``images`` and ``labels`` as tensors, labels as int64; an error says what is wrong
    with them.

    ``names`` are those of the classes, where they are known.
    """
    pixels, numbers = as_tensor(images, called), as_tensor(labels, labels_called)
    as_numpy = isinstance(images, np.ndarray)
    check_shape(pixels, called, as_numpy)
    if pixels.dtype != torch.uint8:
        whole = f"{called}.astype(np.uint8)" if as_numpy else f"{called}.to(torch.uint8)"
        scaled = f"(255 * {called}).round()" + (
            ".astype(np.uint8)" if as_numpy else ".to(torch.uint8)"
        )
        remedy = (
            f"for floats in 0 … 1 {scaled}"
            if pixels.is_floating_point()
            else f"for pixels in 0 … 255 {whole}"
        )
        raise TypeError(f"{called} are {pixels.dtype}: give uint8, {remedy}")
    as_numpy = isinstance(labels, np.ndarray)
    if numbers.ndim == 2 and numbers.shape[1] > 1 and len(numbers) == len(pixels):
        raise ValueError(
            f"{labels_called} of shape {tuple(numbers.shape)} for {len(pixels)} images: give "
            "one number an image; of "
            f"one-hot rows {labels_called}.argmax(1)"
        )
    if numbers.is_floating_point() or numbers.is_complex() or numbers.dtype == torch.bool:
        whole = f"{labels_called}.astype(np.int64)" if as_numpy else f"{labels_called}.long()"
        raise TypeError(f"{labels_called} are {numbers.dtype}: give whole numbers, as {whole}")
    if numbers.ndim != 1 or len(numbers) != len(pixels):
        column = f"; {labels_called}.flatten()" if numbers.shape[1:] == (1,) else ""
        raise ValueError(
            f"{labels_called} of shape {tuple(numbers.shape)} for {len(pixels)} images: give "
            f"one number an image{column}"
        )
    if not len(numbers):
        raise ValueError(f"{called} are empty: give at least one")
    numbers = numbers.to(torch.int64)
    low, high, most = int(numbers.min()), int(numbers.max()), len(names) if names else len(numbers)
    shifted = f", as {labels_called} - {low}" if low > 0 and high - low < most else ""
    if names and (low < 0 or high >= most):
        raise ValueError(
            f"{labels_called} are {low} … {high}, of {most} classes: number them 0 … "
            f"{most - 1}{shifted}"
        )
    if (
        low < 0 or high >= most
    ):  # others may be absent, and be named below; so many cannot all be there
        unique = "np.unique" if as_numpy else "torch.unique"
        remedy = shifted or f", as {unique}({labels_called}, return_inverse=True)[1]"
        raise ValueError(
            f"{labels_called} are {low} … {high}, for {most} images: number them from 0{remedy}"
        )
    if names is None and low > 0:
        raise ValueError(f"no training image has the label 0: number them from 0{shifted}")
    return pixels.contiguous(), numbers


def as_tensor(array, called: str) -> Tensor:
    """A copy of a tensor or a numpy array, on the CPU: what its owner does to it later changes
    nothing here."""
    if isinstance(array, Tensor):
        return array.detach().to("cpu", copy=True)
    if not isinstance(array, np.ndarray):
        remedy = (
            f"np.array({called})"
            if isinstance(array, list | tuple)
            else "a tensor or a numpy array"
        )
        raise TypeError(f"{called} are of type {type(array).__name__}: give {remedy}")
    if array.dtype.kind not in "buifc":
        names = f"whole numbers, as np.unique({called}, return_inverse=True)[1] makes of names"
        raise TypeError(
            f"{called} are of numpy's type {array.dtype}: give "
            f"{names if 'labels' in called else 'uint8'}"
        )
    return torch.from_numpy(np.array(array, array.dtype.newbyteorder("="), order="C"))


def check_shape(images: Tensor, called: str = "images", as_numpy: bool = False) -> None:
    """``ValueError``, with the remedy in the words of numpy or torch, unless ``images`` are ``n 3 i
    j``."""
    if images.ndim == 4 and images.shape[1] == 3:
        return
    remedy = "give a batch of RGB images"
    if images.ndim == 3 and images.shape[0] == 3:
        remedy = f"for one image give {called}[None]"
    elif images.ndim == 3 and images.shape[2] == 3:
        remedy = f"channels come first, and for one image give {called}[None]"
    elif images.ndim == 3:
        remedy = f"of grey ones give {called}[:, None]"
    elif images.ndim == 4 and images.shape[3] == 3:
        remedy = f"channels come second, {called}" + (
            ".transpose(0, 3, 1, 2)" if as_numpy else ".movedim(3, 1)"
        )
    elif images.ndim == 4 and images.shape[1] == 1:
        remedy = "grey ones as " + (
            f"{called}.repeat(3, 1)" if as_numpy else f"{called}.expand(-1, 3, -1, -1)"
        )
    elif images.ndim == 4:
        remedy = "give three channels"
    raise ValueError(f"{called} of shape {tuple(images.shape)} are not n 3 i j: {remedy}")


# Pixels


def check_pixels(images: Tensor) -> None:
    """``TypeError`` unless ``images`` are uint8 or floating, ``ValueError`` unless floating ones
    lie in 0 … 1."""
    if images.dtype == torch.uint8:
        return
    if not images.is_floating_point():
        raise TypeError(f"images are {images.dtype}: give uint8, or floats in 0 … 1")
    if not images.numel():
        return
    low, high = (value.item() for value in images.detach().aminmax())
    if low >= 0 and high <= 1:  # NaN compares false
        return
    remedy = "replace what is not a number"
    if low > -0.25 and high < 1.25:
        remedy = "resized? then images.clamp(0, 1)"
    elif low < 0:
        remedy = "normalised already? give the pixels, or call the network itself"
    elif high > 1:
        remedy = "divide them by 255" if high <= 255 else "scale them to 0 … 1"
    raise ValueError(f"floating pixels lie in 0 … 1, these in {low:g} … {high:g}: {remedy}")


def normalise(images: Shaped[Tensor, "..."]) -> Float[Tensor, "n 3 i j"]:
    """(pixel / 255 − MEAN) / STD, per channel, in single precision, of uint8 pixels; (pixel − MEAN)
    / STD of floating ones.

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
