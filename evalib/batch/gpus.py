"""One GPU a job: a machine's GPUs are handed out by locks, which the system frees however a job ends."""

import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path

import torch
from filelock import FileLock, Timeout

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""CUDA shows a process these GPUs alone; read once, when the process first uses CUDA."""


def visible() -> list[str]:
    """The GPUs this process may use: those that ``CUDA_VISIBLE_DEVICES`` names where it is set, else every index."""
    if VISIBLE not in os.environ:
        return [str(index) for index in range(torch.cuda.device_count())]
    names = (name.strip() for name in os.environ[VISIBLE].split(","))
    return list(takewhile(lambda name: name not in ("", "-1"), names))  # CUDA too stops at the first that is none


@contextmanager
def one_gpu() -> Iterator[str | None]:
    """Hold one of the visible GPUs, waiting until one is free; meanwhile this process and its children see it alone.

    ``None`` where there is none. To be entered before CUDA is used.
    """
    if not (names := visible()):
        yield None
        return
    name, lock = first_free(names)
    before = os.environ.get(VISIBLE)
    os.environ[VISIBLE] = name
    print(f"GPU {name} of {', '.join(names)}", flush=True)
    try:
        yield name
    finally:
        del os.environ[VISIBLE]
        os.environ |= {} if before is None else {VISIBLE: before}
        lock.release()


def first_free(names: list[str]) -> tuple[str, FileLock]:
    """The first GPU that no other job holds, and its lock, now held."""
    locks = {name: FileLock(lock_path(name)) for name in names}
    waiting = False
    while True:
        for name, lock in locks.items():
            try:
                lock.acquire(timeout=0)
                return name, lock
            except Timeout:
                continue
        if not waiting:
            print(f"other jobs hold every GPU ({', '.join(names)}): waiting for one", flush=True)
        waiting = True
        time.sleep(1)


def lock_path(name: str) -> Path:
    """Where the lock of a GPU lies: on this machine, of this user, and of this Slurm job, whose indices are its own."""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    folder = Path(tempfile.gettempdir()) / f"evalib-{user}"
    folder.mkdir(exist_ok=True)
    job = os.environ.get("SLURM_JOB_ID", "")
    return folder / re.sub(r"\W", "_", f"gpu {name} {job}".strip())
