"""Where the project lies and what a run is made with: folders, locks, the device, the commit, the
versions."""

import importlib.metadata
import json
import os
import platform
import re
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

REPOSITORY = "https://github.com/expanding-visual-attention/evalib"
PACKAGES = ("evalib", "torch", "torchvision", "einops", "numpy")


def checkout() -> Path | None:
    """The checkout that the package lies in (a ``pyproject.toml`` beside it names evalib); ``None``
    if installed alone."""
    project = Path(__file__).resolve().parents[2] / "pyproject.toml"
    named = project.is_file() and re.search(
        r'^name\s*=\s*"evalib"', project.read_text("utf-8"), re.MULTILINE
    )
    return project.parent if named else None


def in_checkout(name: str) -> Path:
    """A file of the repository that is no part of the package; ``FileNotFoundError`` if evalib is
    installed alone."""
    folder = checkout()
    if folder is None or not (folder / name).exists():
        raise FileNotFoundError(
            f"{name} is in the repository, and evalib is installed here without it: git clone "
            f"{REPOSITORY}, "
            "and give the command in that checkout"
        )
    return folder / name


def root() -> Path:
    """The folder that holds ``data/`` and ``results/``.

    ``EVALIB_HOME`` if it is set, else the checkout that the package lies in, else the current
    working directory.
    """
    if home := os.environ.get("EVALIB_HOME"):
        return Path(home).expanduser()
    return checkout() or Path.cwd()


@contextmanager
def lock(path: Path, saying: str | None = None, timeout: float = 0) -> Iterator[None]:
    """Hold the lock file ``path``, which the system frees however its holder ends.

    ``Timeout`` if another process holds it for longer than ``timeout`` seconds; with ``saying``
    that is printed, and the lock is waited for. On a disk without such locks (Lustre, NFS, a
    mounted Drive) a file that names its holder is one.
    """
    held: BaseFileLock = FileLock(path)
    try:
        acquire(held, saying, timeout)
    except Timeout:
        raise
    except (OSError, NotImplementedError):  # by whatever number
        held = SoftFileLock(f"{path}.held")
        acquire(held, saying, timeout)
    try:
        yield
    finally:
        held.release()


def acquire(held: BaseFileLock, saying: str | None, timeout: float) -> None:
    """Take a lock within ``timeout`` seconds, or say that it is waited for."""
    try:
        held.acquire(timeout=timeout)
    except Timeout:
        if saying is None:
            raise
        print(saying, flush=True)
        held.acquire()


def commit() -> str | None:
    """The commit of the running code, marked ``-dirty`` if the package differs from it; ``None`` if
    unknown.

    Warns where there is a repository and git does not tell, as of a checkout of another owner.
    """
    folder = checkout()
    if folder is None or not (folder / ".git").exists():
        try:
            origin = importlib.metadata.distribution("evalib").read_text("direct_url.json")
        except importlib.metadata.PackageNotFoundError:
            origin = None
        return json.loads(origin or "{}").get("vcs_info", {}).get("commit_id")
    try:
        head = git(folder, "rev-parse", "HEAD")
        changed = git(folder, "status", "--porcelain", "--", "evalib")
    except (OSError, subprocess.CalledProcessError) as error:
        said = " ".join((getattr(error, "stderr", None) or str(error)).split())
        warnings.warn(
            f"the record will have no commit, for git does not tell that of {folder}: {said}",
            stacklevel=2,
        )
        return None
    return head + ("-dirty" if changed else "")


def git(directory: Path, *arguments: str) -> str:
    """The output of a git command."""
    return subprocess.run(
        ["git", "-C", str(directory), *arguments], capture_output=True, text=True, check=True
    ).stdout.strip()


def device_name(device: torch.device) -> str:
    """The device as a reader knows it: the GPU's name, or the CPU's with the number of threads
    used."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return f"Apple {platform.machine()} GPU"
    threads = torch.get_num_threads()
    return f"{processor()}, {threads} thread{'s' * (threads > 1)}"


def processor() -> str:
    """The CPU's model where the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"CPU {models[0]}" if models else f"CPU {platform.processor() or platform.machine()}"


def versions() -> dict[str, str | None]:
    """The versions of Python, of the packages that compute, and of CUDA where it is used."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found | {"cuda": torch.version.cuda if torch.cuda.is_available() else None}


def choose_device(name: str | None = None) -> torch.device:
    """The device called ``name``, or the first there is of CUDA, MPS and CPU; ``ValueError`` if it
    is not there."""
    if name is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError):  # AssertionError: built without CUDA
        raise ValueError(
            f"there is no device {name!r} here: choose cuda, mps or cpu, or leave it out"
        ) from None
    return torch.device(name)
