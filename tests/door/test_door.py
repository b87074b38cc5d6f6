"""The way in from Colab: each notebook alone in an empty directory, in an environment without
evalib, to its end.

The environment has what Colab has (PyTorch, numpy, matplotlib and a kernel; the packages of this
environment are lent to it) and lacks what Colab lacks: evalib, einops, jaxtyping. The lines that
begin each notebook, the same in all, install them. They run as they are, once a worker: git itself
turns the repository's address into this checkout's. What is tested is the commit, not the files.
What is installed has the versions of this environment. With `EVALIB_DOOR_PYTHON` (`make
test-lowest`) another environment is lent: the lowest versions of pyproject.toml.
"""

import json
import os
import runpy
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from traitlets.config import Config

ROOT = Path(__file__).resolve().parents[2]
LENDER = os.environ.get("EVALIB_DOOR_PYTHON", sys.executable)
PAGES = sorted((ROOT / "notebooks").glob("*.ipynb"))
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "set_repository.py"))
REPOSITORY = SCRIPT["repository"]()
SET_UP = SCRIPT["IMPORTS"] + SCRIPT["SET_UP"].format(repository=REPOSITORY)
ABSENT = ("evalib", "__editable__", "einops", "jaxtyping", "wadler_lindig")
VERSIONS = """
from importlib.metadata import version
print(*(f"{name}=={version(name)}" for name in ("einops", "jaxtyping")), sep="\\n")
"""
LAST = """
import json as _json, importlib.metadata as _metadata, evalib as _evalib
print(_json.dumps({"door": {
    "commit": _evalib.training.environment.commit(), "file": _evalib.__file__,
    "versions": {name: _metadata.version(name) for name in ("torch", "torchvision", "numpy")},
}}))
"""


def ask(python, code):
    return subprocess.run(
        [python, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture(scope="session")
def lent(tmp_path_factory):
    """A directory of links to the lender's packages, but for those that Colab lacks."""
    if (
        ROOT / ".git" / "shallow"
    ).exists():  # pip clones in part, and git would look for the rest for ever
        pytest.fail(
            "this checkout is shallow, and pip cannot install from it: git fetch --unshallow"
        )
    library = tmp_path_factory.mktemp("lent")
    for package in Path(
        ask(LENDER, "import sysconfig; print(sysconfig.get_path('purelib'))")
    ).iterdir():
        if not package.name.lower().startswith(ABSENT) and package.suffix != ".pth":
            (library / package.name).symlink_to(package)
    return library


@pytest.fixture(scope="session")
def bare(lent, tmp_path_factory):
    """The interpreter of a new virtual environment that sees what is lent, and an environment for
    it.
    """
    tmp_path = tmp_path_factory.mktemp("bare")
    subprocess.run([LENDER, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    site = Path(ask(python, "import sysconfig; print(sysconfig.get_path('purelib'))"))
    (site / "lent.pth").write_text(f"{lent}\n")
    constraint = tmp_path / "constraint.txt"
    constraint.write_text(ask(LENDER, VERSIONS))
    kernel = tmp_path / "jupyter" / "kernels" / "door"
    kernel.mkdir(parents=True)
    argv = [str(python), "-m", "ipykernel_launcher", "--IPKernelApp.log_level=40"]
    argv += ["-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(
        json.dumps({"argv": argv, "display_name": "door", "language": "python"})
    )
    git = tmp_path / "gitconfig"  # the checkout may belong to another user
    git.write_text(
        f'[url "file://{ROOT}"]\n insteadOf = https://github.com/{REPOSITORY}\n[safe]\n directory = {ROOT}\n'
        f" directory = {ROOT}/.git\n"
    )
    inherited = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("PYTHON", "EVALIB", "VIRTUAL_ENV", "GIT_"))
    }
    return inherited | {
        "JUPYTER_PATH": str(tmp_path / "jupyter"),
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        "GIT_CONFIG_GLOBAL": str(git),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_CONSTRAINT": str(constraint),
        "PIP_NO_BUILD_ISOLATION": "0",  # which means: without; setuptools are lent too
    }


def run(notebook, place, environment):
    """``notebook`` executed in ``place``, in a kernel of ``environment``."""
    with tempfile.TemporaryDirectory(prefix="evalib-") as folder:
        sockets = {"transport": "ipc", "connection_file": f"{folder}/kernel.json"}
        client = NotebookClient(
            notebook,
            kernel_name="door",
            timeout=900,
            resources={"metadata": {"path": str(place)}},
            config=Config(KernelManager=sockets),
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("JUPYTER_PATH", environment["JUPYTER_PATH"])
            client.execute(env=environment)


@pytest.fixture(scope="session")
def set_up(bare, tmp_path_factory):
    """``bare`` after the lines that begin each notebook, what they said, and the directory in which
    they laid the records.
    """
    cells = [nbformat.v4.new_code_cell(code) for code in (SET_UP, LAST)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    place = tmp_path_factory.mktemp("empty")
    run(notebook, place, bare)
    said = "".join(output.get("text", "") for output in cells[0].outputs)
    return bare, said, json.loads(cells[1].outputs[0].text)["door"], place


def test_the_lines_that_begin_a_notebook_install_the_commit_and_leave_the_rest(set_up):
    bare, said, told, _ = set_up
    assert "evalib at commit" in said and "with the bundled subset of CIFAR-10" in said
    assert not any(word in said for word in ("ERROR", "WARNING", "Uninstalling"))
    head = subprocess.check_output(["git", "-C", ROOT, "rev-parse", "HEAD"], env=bare, text=True)
    assert told["commit"] == head.strip()
    venv = Path(bare["PATH"].split(os.pathsep)[0]).parent
    assert Path(told["file"]).is_relative_to(venv)
    names = ("torch", "torchvision", "numpy")
    lenders = json.loads(
        ask(
            LENDER,
            f"import json, importlib.metadata as m; print(json.dumps([m.version(n) for n in {names}]))",
        )
    )
    assert [told["versions"][name] for name in names] == lenders, (
        "the set-up cell touched PyTorch or numpy"
    )
    for name in names:
        assert not (venv / sysconfig.get_path("purelib", vars={"base": "."}) / name).exists(), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_notebook_alone_runs_to_its_end(page, set_up, tmp_path):
    environment, _, told, records = set_up
    shutil.copytree(records, tmp_path, dirs_exist_ok=True)
    notebook = nbformat.read(page, as_version=4)
    run(notebook, tmp_path, environment)
    for path in tmp_path.rglob(
        "smoke/*.json"
    ):  # what the page itself trained; the other tiers came with the package
        if "curve" in (record := json.loads(path.read_text())):
            assert record["commit"] == told["commit"], path
