import os

import pytest
import torch

LONGEST = "mutants slurm batch seeds faults evaluation template shell gpus repository".split()
"""The files of the long tests begin first, so that no worker is left with one at the end."""


def pytest_xdist_auto_num_workers():
    """One worker for each core that this process may use; eight at most, for each imports PyTorch."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(cores, 8)


def pytest_collection_modifyitems(items):
    names = [f"test_{name}" for name in LONGEST]
    items.sort(
        key=lambda item: names.index(item.path.stem) if item.path.stem in names else len(names)
    )


@pytest.fixture(autouse=True)
def float64_and_seed():
    """Every test computes in float64 from the same random state, and leaves torch as it found it."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
