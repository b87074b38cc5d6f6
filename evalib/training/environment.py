"""What a run is made with: the device, the commit of the code, the versions of what computes."""

import importlib.metadata
import json
import platform
import subprocess
from pathlib import Path

import torch

PACKAGES = ("evalib", "torch", "torchvision", "einops", "numpy")


def commit() -> str | None:
    """The commit of the running code, marked ``-dirty`` if the package differs from it; ``None`` if unknown."""
    package = Path(__file__).parent.parent
    try:
        git(package, "ls-files", "--error-unmatch", "__init__.py")  # or the repository around it is another's
        head = git(package, "rev-parse", "HEAD")
        return head + ("-dirty" if git(package, "status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        try:
            origin = importlib.metadata.distribution("evalib").read_text("direct_url.json")
        except importlib.metadata.PackageNotFoundError:
            origin = None
        return json.loads(origin or "{}").get("vcs_info", {}).get("commit_id")


def git(directory: Path, *arguments: str) -> str:
    """The output of a git command."""
    return subprocess.run(
        ["git", "-C", str(directory), *arguments], capture_output=True, text=True, check=True
    ).stdout.strip()


def device_name(device: torch.device) -> str:
    """The device as a reader knows it: the GPU's name, or the CPU's with the number of threads used."""
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
    """The device called ``name``, or the first there is of CUDA, MPS and CPU; ``ValueError`` if it is not there."""
    there = [kind for kind, yes in available().items() if yes]
    if name is None or name == "auto":
        return torch.device(there[0])
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if (
        device is None
        or device.type not in there
        or (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count())
    ):
        raise ValueError(f"there is no device {name!r} here: choose one of {', '.join(there)}, or leave it out")
    return device


def available() -> dict[str, bool]:
    """Which kinds of device this machine has, best first."""
    return {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
