"""Locks that the system frees however their holder ends: to hold one, and to see whether another process does."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def waited(path: Path, saying: str) -> Iterator[None]:
    """Hold the lock file ``path``; print ``saying`` if it has to be waited for."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(saying, flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def held(path: Path) -> bool:
    """Whether a process holds the lock file ``path``; of one that we may not open nothing is known, so no."""
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False
