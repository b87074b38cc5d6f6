"""Each wrong version of the package is caught by the tests it names, and they pass on the package
as it is."""

import multiprocessing
import os
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
import torch
from mutants import MUTANTS

ROOT = Path(__file__).resolve().parent.parent
PRELOADED = [
    "einops",
    "hypothesis",
    "jaxtyping",
    "matplotlib.pyplot",
    "pytest",
    "safetensors",
    "torch",
    "torchvision",
]
OPTIONS = [
    f"--config-file={ROOT / 'pyproject.toml'}", f"--rootdir={ROOT}", "--override-ini=addopts=", "-qx",
    "-pno:cacheprovider", "-pno:unraisableexception", "-Wignore:Module already imported",
]  # fmt: skip
TESTS_FAILED = 1  # pytest's exit status; 2 to 5 say that it could not run them

each_mutant = pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)


class Raised(dict):
    """A pytest plugin: what each failed test raised, by its name."""

    def pytest_runtest_makereport(self, item, call):
        if call.excinfo:
            self[item.nodeid] = call.excinfo.type.__name__


def judge(folder, tests):
    """pytest's exit status for ``tests`` on the package in ``folder``, and what they raised; wants
    its own process.
    """
    os.chdir(folder)  # hypothesis remembers failures here
    with open("log", "w", encoding="utf-8") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    torch.set_num_threads(1)
    sys.path.insert(0, str(folder))
    import evalib

    assert Path(evalib.__file__).parent == folder / "evalib"
    raised = Raised()
    paths = [str(ROOT / test) for test in tests]
    status = pytest.main([*OPTIONS, *paths], plugins=[raised])
    return int(status), dict(raised)


def copy_package(folder, mutant=None):
    """The package in ``folder``, with the mutant's change; its data are links."""
    code = shutil.ignore_patterns("__pycache__", "cifar10", "pretrained")
    shutil.copytree(ROOT / "evalib", folder / "evalib", ignore=code)
    for part in ("evalib/training/cifar10", "evalib/results/pretrained"):
        (folder / part).symlink_to(ROOT / part)
    if mutant:
        path = folder / "evalib" / mutant.file
        path.write_text(path.read_text("utf-8").replace(mutant.old, mutant.new), "utf-8")
    return folder


@pytest.fixture(scope="module")
def pool():
    """Forks of a process that imported torch."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with ProcessPoolExecutor(2, mp_context=context, max_tasks_per_child=1) as processes:
        yield processes
        processes.shutdown(cancel_futures=True)  # those that no test asked for


@pytest.fixture(scope="module")
def verdicts(pool, tmp_path_factory):
    """What becomes of each mutant, by its name."""
    folders = {
        mutant: copy_package(tmp_path_factory.mktemp(mutant.name), mutant) for mutant in MUTANTS
    }
    return {
        m.name: pool.submit(judge, folder, [f"tests/test_{m.tests}.py"])
        for m, folder in folders.items()
    }


@each_mutant
def test_a_mutant_is_the_stated_change_of_text(mutant):
    text = (ROOT / "evalib" / mutant.file).read_text("utf-8")
    assert text.count(mutant.old) == mutant.times
    assert mutant.old != mutant.new


@each_mutant
def test_a_mutant_dies_by_wrong_values_in_the_tests_it_names(verdicts, mutant):
    status, raised = verdicts[mutant.name].result()
    assert (status, [*raised.values()]) == (TESTS_FAILED, ["AssertionError"])


def test_what_killed_a_mutant_passes_on_the_package_as_it_is(pool, verdicts, tmp_path):
    killers = {name for verdict in verdicts.values() for name in verdict.result()[1]}
    assert pool.submit(judge, copy_package(tmp_path), sorted(killers)).result() == (0, {})


def test_mutants_have_names_of_their_own():
    assert (
        len({mutant.name for mutant in MUTANTS})
        == len({(m.file, m.old, m.new) for m in MUTANTS})
        == len(MUTANTS)
    )
