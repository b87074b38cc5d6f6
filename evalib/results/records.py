"""A result is a file that nobody edits: one JSON record a run."""

import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from torch.nn import functional as F

from evalib.networks import count_parameters
from evalib.results.schema import SCHEMA, check, checksum, code
from evalib.training import checkpoints
from evalib.training.loop import Run, accuracy, choose_device, train
from evalib.training.paths import root
from evalib.training.settings import Settings, check_same
from evalib.training.steps import precision_of

PACKAGES = ("evalib", "torch", "torchvision", "einops", "numpy")


def results() -> Path:
    """Where records are kept unless another directory is named: ``results/`` of the checkout, or of here."""
    return root() / "results"


def record_path(settings: Settings, out: Path | None = None) -> Path:
    """``<out>/<tier>/<experiment>-seed<seed>.json``."""
    return Path(out or results()) / settings.tier / f"{settings.experiment}-seed{settings.seed}.json"


def run(
    settings: Settings,
    out: Path | None = None,
    device: str | None = None,
    overwrite: bool = False,
    observe: Callable[[dict], None] | None = None,
    compile: bool = False,
    shared: int = 1,
) -> Run:
    """Train, or go on training, and write the record; checkpoints and weights lie in a folder beside it.

    A record that is already there is kept when its settings are these, and replaced only with ``overwrite``:
    ``ValueError`` names each setting that differs. ``RuntimeError`` if another process has the run in hand.
    ``shared`` is how many runs share the device, this one included: the record says so beside its seconds.
    """
    path = record_path(settings, out)
    directory = path.with_suffix("")
    code()  # as it is now, before a long run
    with only_writer(directory, path):
        if overwrite:
            for old in (path, *checkpoints.found(directory), *directory.glob("weights-*")):
                old.unlink(missing_ok=True)
        elif path.exists():
            check_same(settings, Settings(**read(path)["settings"]), path)
        finished = train(settings, directory, device, observe, compile)
        if not path.exists():
            made = record(finished) | {"shared": shared}
            weights = checkpoints.write_tensors(directory, "weights", finished.network.state_dict(), made)
            write(made | {"weights": weights.name}, path)
        return finished


def run_side_by_side(
    settings: Sequence[Settings],
    out: Path | None = None,
    device: str | None = None,
    observe: Callable[[dict], None] | None = None,
    workers: int | None = None,
) -> list[Future[Run]]:
    """Each of several runs as :func:`run` makes it alone; on CUDA ``workers`` at a time, a thread and a stream each.

    One GPU holds many small runs at once in less time than one after the other. What one run raises stops it alone.
    """
    where = choose_device(device)
    workers = (workers or len(settings)) if where.type == "cuda" else 1

    def one(each: Settings) -> Run:
        with torch.cuda.stream(torch.cuda.Stream(where)) if where.type == "cuda" else nullcontext():
            return run(each, out, device, observe=observe, shared=min(workers, len(settings)))

    with ThreadPoolExecutor(workers) as pool:
        return [pool.submit(one, each) for each in settings]


@contextmanager
def only_writer(directory: Path, path: Path) -> Iterator[None]:
    """Hold the run's lock, rid of what a killed writer left half done.

    ``RuntimeError`` if another process holds it, ``OSError`` if the directory cannot be made.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"{directory} cannot be made ({error.strerror}): choose another --out") from None
    lock = FileLock(directory / ".lock", timeout=0.2)  # one that only looks holds it for less
    try:
        lock.acquire()
    except Timeout:
        raise RuntimeError(f"another process is making {path}: wait for it, or choose another seed or --out") from None
    try:
        for left in (*directory.glob(".*.tmp"), *path.parent.glob(f".{path.name}.*.tmp")):
            left.unlink()
        yield
    finally:
        lock.release()


def record(finished: Run) -> dict:
    """The record of a finished run: everything that made it, everything that it gave."""
    settings, cifar = finished.settings, finished.cifar
    return {
        "schema": SCHEMA,
        "experiment": settings.experiment,
        "tier": settings.tier,
        "seed": settings.seed,
        "settings": asdict(settings),
        "commit": commit(),
        "code": code(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": {"source": cifar.source, "sha256": cifar.fingerprint},
        "device": device_name(finished.device),
        "precision": precision_of(settings.precision, finished.device),
        "versions": versions(),
        "parameters": count_parameters(finished.network),
        "curve": finished.curve,
        "validation_accuracy": finished.curve[-1]["validation_accuracy"],
        "test": {
            "accuracy": accuracy(finished.test_scores, cifar.test_labels),
            "loss": F.cross_entropy(finished.test_scores, cifar.test_labels).item(),
            "correct": (finished.test_scores.argmax(dim=1) == cifar.test_labels).sum().item(),
            "images": len(cifar.test_labels),
        },
        "seconds": finished.seconds,
    }


def write(record: dict, path: Path) -> Path:
    """Write a record atomically, with the SHA-256 of what it says."""
    text = json.dumps(record | {"sha256": checksum(record)}, indent=1, ensure_ascii=False) + "\n"
    return checkpoints.write_atomically(path, text.encode())


def read(path: Path) -> dict:
    """The record at ``path``; ``ValueError`` naming the file, and why, if it is not one or was changed."""
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
        check(record)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is not a run record ({type(error).__name__}: {error}): move it away or run again"
        ) from None
    return record


def commit() -> str | None:
    """The commit of the running code, marked ``-dirty`` if the package differs from it; ``None`` if unknown."""
    package = Path(__file__).parent.parent
    try:
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
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
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
