"""A data set in memory: images and labels of both parts, the names of the classes; CIFAR's, or your own."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Int64, UInt8
from torch import Tensor

from evalib.training.download import fingerprint
from evalib.training.sources import Arrays

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


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


def from_arrays(arrays: Arrays, source: str, sha256: str, classes: tuple[str, ...] = CLASSES) -> Dataset:
    """Decoded arrays as tensors, channels first."""

    def images(array: UInt8[np.ndarray, "n 32 32 3"]) -> UInt8[Tensor, "n 3 32 32"]:
        return rearrange(torch.from_numpy(array), "n i j c -> n c i j").contiguous()

    def labels(array: UInt8[np.ndarray, " n"]) -> Int64[Tensor, " n"]:
        return torch.from_numpy(array).long()

    train_images, train_labels, test_images, test_labels = arrays
    parts = images(train_images), labels(train_labels), images(test_images), labels(test_labels)
    return Dataset(*parts, source, sha256, classes)


def dataset(
    images: UInt8[Tensor, "n 3 i j"],
    labels: Int64[Tensor, " n"],
    test_images: UInt8[Tensor, "m 3 i j"] | None = None,
    test_labels: Int64[Tensor, " m"] | None = None,
    classes: Sequence[str] | None = None,
) -> Dataset:
    """Your own images and labels, for ``evalib.train(settings, dataset=…)``: tensors or numpy arrays.

    ``labels`` are whole numbers 0 … k−1, each of them there. Without a test set, a fixed tenth of the images is put
    aside as one. ``classes`` names the labels; without it they are called by their numbers. ``TypeError`` or
    ``ValueError``, with the remedy, if types, shapes, counts or labels are others.
    """
    if (test_images is None) != (test_labels is None):
        raise ValueError("test_images and test_labels belong together: give both, or neither")
    names = None if classes is None else check_names(classes)
    images, labels = checked(images, labels, "images", "labels")
    number, given = len(names) if names else max(int(labels.max()) + 1, 2), labels
    if test_images is None:
        train, test = split(len(labels))
        images, labels, test_images, test_labels = images[train], labels[train], images[test], labels[test]
    if len(labels) < 10:
        raise ValueError(f"{len(labels)} images are left to train on, and none to validate: give 11 or more")
    test_images, test_labels = checked(test_images, test_labels, "test_images", "test_labels")
    if test_images.shape[1:] != images.shape[1:]:
        sizes = " and ".join(f"{part.shape[2]}×{part.shape[3]}" for part in (images, test_images))
        raise ValueError(f"images of one size are wanted, not {sizes}: resize them")
    for name, part in (("labels", labels), ("test_labels", test_labels)):
        if part.min() < 0 or part.max() >= number:
            raise ValueError(
                f"{name} are {part.min()} … {part.max()}, of {number} classes: number them 0 … {number - 1}"
            )
    if missing := sorted(set(range(number)) - set(labels.tolist())):
        remedy = f"number the labels 0 … {number - 1}, without gaps"
        if missing[0] in given:
            remedy = "all its images are in the tenth that is put aside as the test set: give more, or a test set"
        raise ValueError(f"no training image has the label {missing[0]}: {remedy}")
    arrays = [rearrange(part, "n c i j -> n i j c").numpy() for part in (images, test_images)]
    sha256 = fingerprint(arrays[0], labels.numpy(), arrays[1], test_labels.numpy())
    names = names or tuple(map(str, range(number)))
    return Dataset(images, labels, test_images, test_labels, "own", sha256, names)


def check_names(classes: Sequence[str]) -> tuple[str, ...]:
    """The names of classes in the order of their labels; ``TypeError`` or ``ValueError`` if they have none, or two are one."""
    if isinstance(classes, str | set | frozenset | dict):
        remedy = "a list of names in the order of the labels, as sorted(classes, key=classes.get) of ImageFolder's class_to_idx"
        raise TypeError(f"classes are of type {type(classes).__name__}: give {remedy}")
    names = tuple(classes)
    if len(names) < 2:
        raise ValueError(f"classes are {len(names)}: there is nothing to tell apart; give two or more")
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"two classes are called {twice[0]!r}: give each a name of its own")
    return names


def checked(images, labels, called: str, labels_called: str) -> tuple[UInt8[Tensor, "n 3 i j"], Int64[Tensor, " n"]]:
    """``images`` and ``labels`` as tensors on the CPU, labels as int64; an error says what is wrong with them."""
    images, labels = as_tensor(images, called).cpu(), as_tensor(labels, labels_called).cpu()
    check_shape(images, called)
    if images.dtype != torch.uint8:
        raise TypeError(f"{called} are {images.dtype}: give uint8, for floats in 0 … 1 (255 * {called}).round().byte()")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(f"{labels_called} are {labels.dtype}: give whole numbers, as {labels_called}.long()")
    if labels.ndim != 1 or len(labels) != len(images):
        column = labels.shape[1:] == (1,)
        remedy = f"; {labels_called}.flatten()" if column else f"; of one-hot rows {labels_called}.argmax(1)"
        remedy = remedy if labels.ndim == 2 else ""
        raise ValueError(
            f"{labels_called} of shape {tuple(labels.shape)} for {len(images)} images: give one number an image{remedy}"
        )
    if not len(labels):
        raise ValueError(f"{called} are empty: give at least one")
    return images.contiguous(), labels.long()


def as_tensor(array, called: str) -> Tensor:
    """A tensor, or a numpy array as one."""
    if isinstance(array, np.ndarray):
        if array.dtype.kind not in "buifc":
            numbers = f"whole numbers, as np.unique({called}, return_inverse=True) makes of names"
            wanted = numbers if "labels" in called else "uint8"
            raise TypeError(f"{called} are of numpy's type {array.dtype}: give {wanted}")
        # a copy: the array may be read-only, or change
        return torch.from_numpy(np.array(array, array.dtype.newbyteorder("="), order="C"))
    if not isinstance(array, Tensor):
        raise TypeError(f"{called} are of type {type(array).__name__}: give a tensor or a numpy array")
    return array


def check_shape(images: Tensor, called: str = "images") -> None:
    """``ValueError``, with the remedy, unless ``images`` are ``n 3 i j``."""
    if images.ndim == 4 and images.shape[1] == 3:
        return
    remedy = "give a batch of RGB images"
    if images.ndim == 3:
        remedy = f"for one image give {called}[None]"
    elif images.ndim == 4 and images.shape[3] == 3:
        remedy = f"channels come second, {called}.movedim(3, 1)"
    elif images.ndim == 4 and images.shape[1] == 1:
        remedy = f"grey ones as {called}.expand(-1, 3, -1, -1)"
    elif images.ndim == 4:
        remedy = "give three channels"
    raise ValueError(f"{called} of shape {tuple(images.shape)} are not n 3 i j: {remedy}")


def split(n: int, everything: bool = False) -> tuple[Int64[Tensor, " train"], Int64[Tensor, " validation"]]:
    """Indices of the training and the validation images: a fixed permutation of 0 … n−1, cut before its last tenth.

    n = 50000 gives the 45000 and 5000 of He et al. 2015, the same on every machine. With ``everything`` all images train,
    those of the validation too, which then validates nothing.
    """
    if n < 10:
        raise ValueError(f"n={n} has no tenth to validate on: give 10 images or more")
    order = torch.from_numpy(np.argsort(raw_draws(n, 45_000, 5_000), kind="stable"))
    return order if everything else order[: n - n // 10], order[n - n // 10 :]


def raw_draws(size: int | tuple[int, int], *entropy: int) -> np.ndarray:
    """Uniform 64-bit integers. Only PCG64's raw stream is used, which numpy promises never to change (NEP 19)."""
    return np.random.PCG64(np.random.SeedSequence(entropy)).random_raw(size)
