import os
import shutil
import sys
from contextlib import contextmanager
from functools import cache

import pytest
import torch

LONGEST = (
    "mutants slurm batch window_kernel export computation transforms template faults ablations"
    " exercises freshness"
).split()
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


@pytest.fixture
def float32():
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="session")
def subset():
    from evalib.training.cifar import load_data

    return load_data("subset")


@pytest.fixture(scope="session")
def images(subset):
    """Twenty test images, two of each class."""
    return subset.test_images[::25]


@pytest.fixture(scope="session")
def photographs(subset):
    """Four test images, and their labels."""
    return subset.test_images[::125], subset.test_labels[::125]


@pytest.fixture
def rows(monkeypatch):
    """The register, put back after the test."""
    from evalib import experiments

    monkeypatch.setattr(experiments, "ROWS", dict(experiments.ROWS))
    return experiments.ROWS


@cache
def choose_few():
    """Six training and two test images of each class of the subset."""
    from evalib.training import cifar

    subset = cifar.load_data("subset")
    train, test = (
        labels.argsort(stable=True).view(10, -1)[:, :each].T.flatten()
        for labels, each in ((subset.train_labels, 6), (subset.test_labels, 2))
    )
    return subset._replace(
        train_images=subset.train_images[train], train_labels=subset.train_labels[train],
        test_images=subset.test_images[test], test_labels=subset.test_labels[test],
    )  # fmt: skip


@contextmanager
def reduce_data():
    """A few images in place of the data of every tier."""
    from evalib.results import records
    from evalib.training import cifar

    chosen = choose_few()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cifar, "load_data", lambda which: chosen)
        patch.setattr(records, "IMAGES", dict.fromkeys(records.IMAGES, (100, 20)))
        yield chosen


@pytest.fixture
def few():
    with reduce_data() as chosen:
        yield chosen


@pytest.fixture
def tiny(monkeypatch):
    """A row whose epochs take no time."""
    from evalib import Experiment, experiments

    row = Experiment("tiny", "Tiny", blocks=(1,), widths=(4,))
    monkeypatch.setitem(experiments.ROWS, row.name, row)
    return row


ELSEWHERE = f"""
import sys
if "pytest" not in sys.modules:
    sys.path.insert(0, {os.path.dirname(__file__)!r})
    import evalib
    from conftest import reduce_data
    reduced = reduce_data()
    reduced.__enter__()
    evalib.register(evalib.Experiment("tiny", "Tiny", blocks=(1,), widths=(4,)))
"""


@pytest.fixture
def few_elsewhere(few, tiny, tmp_path_factory, monkeypatch):
    """A few images and the tiny row here, and in the processes that are started from here."""
    path = tmp_path_factory.mktemp("rows") / "few_elsewhere.py"
    path.write_text(ELSEWHERE, encoding="utf-8")
    monkeypatch.setenv("EVALIB_MODULE", str(path))
    yield
    sys.modules.pop("evalib_rows_few_elsewhere", None)


@pytest.fixture
def one_line(capsys):
    """What a command that is refused says: one line, and nothing on stdout."""

    def refused(*arguments):
        from evalib.batch.cli import main

        assert main([str(argument) for argument in arguments]) == 2
        shown = capsys.readouterr()
        assert shown.out == "" and shown.err.count("\n") == 1
        assert shown.err.startswith("evalib: ")
        return shown.err

    return refused


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """The results of two seeds of a ResNet at the smoke tier, trained on few images."""
    import evalib

    torch.set_default_dtype(torch.float32)
    folder = tmp_path_factory.mktemp("trained")
    with reduce_data():
        for seed in (0, 1):
            evalib.run(evalib.Settings("resnet20-small", seed), folder, device="cpu")
    return folder


@pytest.fixture
def out(trained, tmp_path, float32, few):
    """A copy of them, beside few images."""
    return shutil.copytree(trained, tmp_path / "results")
