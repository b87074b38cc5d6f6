"""``pip install evalib`` alone: the layers and networks work, and what needs more says which extra
brings it.
"""

import ast
import importlib.util
import subprocess
import sys
import tomllib
from pathlib import Path

import evalib

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MORE = "filelock PIL scipy torchvision tqdm IPython matplotlib papermill snakemake".split()


def bare(code):
    """What an interpreter without the extras prints for ``code``."""
    absent = f"import sys; sys.modules.update(dict.fromkeys({MORE!r}))\n"
    return subprocess.run([sys.executable, "-c", absent + code], capture_output=True, text=True)


def test_layers_networks_and_traces_need_no_extra():
    code = """
import torch, evalib
x = torch.randn(2, 3, 32, 32)
for row in (*evalib.TABLE_1[:3], *evalib.ABLATIONS[:2]):
    assert evalib.build(row.name)(x).shape == (2, 10)
scores, seen = evalib.trace(evalib.build("evanet20-small"), x)
evalib.register(evalib.Experiment("mine", "Mine"))
print(len(seen.looks), sorted({name.split(".")[0] for name in sys.modules if name.startswith(("evalib.training", "evalib.results"))}))
"""
    done = bare(code)
    assert (done.stdout.strip(), done.stderr) == ("4 []", "")


def test_what_needs_an_extra_names_it():
    said = {
        "evalib.train": "needs filelock, which comes with: pip install 'evalib[train]'",
        "from evalib import load_pretrained": "pip install 'evalib[train]'",
        "from evalib.training import data": "pip install 'evalib[train]'",
        "from evalib.pages import figures": "needs IPython, which comes with: pip install 'evalib[book]'",
        "evalib.nothing": "module 'evalib' has no attribute 'nothing'",
    }
    code = f"""
import evalib
for code in {[*said]}:
    try:
        exec(code)
    except Exception as error:
        print(error)
"""
    lines = bare(code).stdout.splitlines()
    assert len(lines) == len(said)
    assert all(part in line for part, line in zip(said.values(), lines, strict=True))


def test_a_command_without_the_extra_is_one_line():
    done = bare(
        "import runpy; sys.argv = ['-m', 'table']; runpy.run_module('evalib', run_name='__main__', alter_sys=True)"
    )
    assert done.returncode == 2
    assert (
        done.stderr
        == "evalib: this part of evalib needs filelock, which comes with: pip install 'evalib[train]'\n"
    )


def test_every_public_name_is_there_and_no_other_comes_later():
    assert set(evalib._LATER) <= set(evalib.__all__)
    assert all(getattr(evalib, name) is not None for name in evalib.__all__)


def test_every_package_that_is_imported_at_the_top_is_asked_for():
    extras = PROJECT["optional-dependencies"]
    rooms = {"": [], "training": extras["train"], "results": extras["train"]}
    rooms |= {"pages": extras["train"] + extras["book"], "batch": extras["train"]}
    names = {"pillow": "PIL", "ipython": "IPython"}
    for path in (ROOT / "evalib").rglob("*.py"):
        room = path.relative_to(ROOT / "evalib").parts[0]
        asked = PROJECT["dependencies"] + rooms.get(room, [])
        asked = {names.get(name := line.split(">")[0], name) for line in asked}
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in tree.body:
            imported = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            imported += [node.module] if isinstance(node, ast.ImportFrom) else []
            for module in {name.partition(".")[0] for name in imported} - {"evalib", "triton"}:
                assert module in sys.stdlib_module_names or module in asked, (path, module)
                assert importlib.util.find_spec(module)
