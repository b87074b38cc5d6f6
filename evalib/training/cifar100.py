"""CIFAR-100 through torchvision; every file is known by its SHA-256 before it is read."""

import shutil
from pathlib import Path

import numpy as np

from evalib.training.dataset import Dataset, from_arrays
from evalib.training.download import data_folder, fingerprint
from evalib.training.environment import lock
from evalib.training.sources import Arrays, patience, sha256

UNPACKED, ARCHIVE = "cifar-100-python", "cifar-100-python.tar.gz"
ARCHIVE_SHA256 = "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"
SHA256 = {
    "train": "735e79b04f092ca3d2e6d07f368c0a7d70d48c48d28865950cc24454cf45129b",
    "test": "4b67687d9933c4db8f0831104447f15b93774f4f464bd0516f0f0f2ac83b7864",
    "meta": "a5d4786345c961390f865e93b434dbd5c6904ce880667e0cb888c97d449f28b9",
}
"""Of the official files, by name."""


def load(directory: str | Path | None = None) -> Dataset:
    """CIFAR-100 with its 100 fine labels, on the CPU: 50000 training and 10000 test images of 3×32×32.

    Taken as it lies in the data folder (``cifar-100-python``, or its archive), else fetched there. ``ValueError`` if what
    lies there is not the official data, ``RuntimeError`` if it could not be fetched.
    """
    from torchvision.datasets import CIFAR100

    folder = data_folder(directory)
    if not (folder / UNPACKED).exists():
        fetch(folder)
    check_files(folder / UNPACKED)
    train, test = (CIFAR100(folder, train=part) for part in (True, False))
    labels = (np.array(part.targets, np.uint8) for part in (train, test))
    arrays = Arrays(train.data, next(labels), test.data, next(labels))
    return from_arrays(arrays, "cifar100", fingerprint(*arrays), tuple(train.classes))


def check_files(folder: Path) -> None:
    """``ValueError`` naming the first file of ``folder`` that is not the official one."""
    for name, expected in SHA256.items():
        path = folder / name
        found = sha256(path) if path.is_file() else "missing"
        if found != expected:
            raise ValueError(f"{path} is not CIFAR-100's (SHA-256 {found}, not {expected}): move {folder} away")


def fetch(folder: Path) -> None:
    """Unpack the archive that lies in ``folder``, or one that torchvision fetches; whole or not at all."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with lock(folder / ".lock", "Another process is fetching data: waiting for it."):
            if not (folder / UNPACKED).exists():
                unpack(folder, folder / ".partial" / "cifar100")
    except Exception as error:  # network, tar and file errors alike
        raise RuntimeError(
            f"CIFAR-100 could not be fetched ({type(error).__name__}: {error}): check the network, or copy {ARCHIVE} "
            f"from a machine that has it into {folder}"
        ) from error


def unpack(folder: Path, partial: Path) -> None:
    """The same by way of ``partial``, which the holder of the lock makes and removes."""
    from torchvision.datasets import CIFAR100
    from torchvision.datasets.utils import extract_archive

    partial.mkdir(parents=True, exist_ok=True)
    try:
        if (archive := folder / ARCHIVE).exists():
            if sha256(archive) != ARCHIVE_SHA256:
                raise ValueError(f"{archive} is not the official archive of SHA-256 {ARCHIVE_SHA256}")
            extract_archive(archive, partial)
        else:
            print("Fetching CIFAR-100.", flush=True)
            with patience():
                CIFAR100(partial, download=True)
        check_files(partial / UNPACKED)
        (partial / UNPACKED).replace(folder / UNPACKED)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
