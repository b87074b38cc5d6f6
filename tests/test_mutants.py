"""Each wrong version of the package is caught by the test it names, and that test passes on the
package as it is.
"""

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
KILLERS = sorted({mutant.kills for mutant in MUTANTS})
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
    """A pytest plugin: what each failed test raised, by its name without parameters."""

    def pytest_runtest_makereport(self, item, call):
        if call.excinfo:
            self[item.nodeid.partition("[")[0]] = call.excinfo.type.__name__


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
    """The package's modules in ``folder``, with the mutant's change."""
    shutil.copytree(
        ROOT / "evalib",
        folder / "evalib",
        ignore=shutil.ignore_patterns("__pycache__", "cifar10", "pretrained"),
    )
    if mutant:
        path = folder / "evalib" / mutant.file
        path.write_text(path.read_text("utf-8").replace(mutant.old, mutant.new), "utf-8")
    return folder


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory):
    """By name, what becomes of each mutant and of the package ``as it is``: forks of a process that
    imported torch.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    whole = copy_package(tmp_path_factory.mktemp("whole"))
    with ProcessPoolExecutor(2, mp_context=context, max_tasks_per_child=1) as pool:
        pending = {"as it is": pool.submit(judge, whole, KILLERS)}
        for mutant in MUTANTS:
            folder = copy_package(tmp_path_factory.mktemp(mutant.name), mutant)
            pending[mutant.name] = pool.submit(judge, folder, [mutant.kills])
        yield pending
        pool.shutdown(cancel_futures=True)  # those that no test asked for


def test_every_killer_passes_on_the_package_as_it_is(verdicts):
    assert verdicts["as it is"].result() == (0, {})


@each_mutant
def test_a_mutant_is_the_stated_change_of_text(mutant):
    text = (ROOT / "evalib" / mutant.file).read_text("utf-8")
    assert text.count(mutant.old) == mutant.times
    assert mutant.old != mutant.new


@each_mutant
def test_a_mutant_dies_by_wrong_values_in_the_test_it_names(verdicts, mutant):
    assert verdicts[mutant.name].result() == (TESTS_FAILED, {mutant.kills: "AssertionError"})


def test_mutants_have_names_of_their_own():
    assert (
        len({mutant.name for mutant in MUTANTS})
        == len({(m.file, m.old, m.new) for m in MUTANTS})
        == len(MUTANTS)
    )
