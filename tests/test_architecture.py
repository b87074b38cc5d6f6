"""The rooms import one way, the paper's files need no other, and what is read is what runs."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import evalib

CORE = ("equations", "fast", "attention", "eva", "networks")
FLOORS = (
    *CORE,
    "extras",
    "tracing",
    "published",
    "variants",
    "experiments",
    "ablations",
    "training",
    "results",
    "batch",
    "pages",
)
"""Each may import those before it, and pages not batch; ``__init__`` and ``__main__`` may import
all.
"""
PACKAGE = Path(evalib.__file__).parent
FILES = [
    path
    for path in PACKAGE.rglob("*.py")
    if path.parent != PACKAGE or not path.stem.startswith("__")
]


def imported(path):
    """The floors of evalib that a file imports, and every other package at its first level."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = [name.name for name in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = (
                [f"evalib.{name.name}" for name in node.names]
                if node.module == "evalib"
                else [node.module]
            )
        yield from (
            name.split(".")[1] if name.startswith("evalib.") else name.split(".")[0]
            for name in names
        )


def test_imports_run_one_way():
    for path in FILES:
        floor = path.relative_to(PACKAGE).with_suffix("").parts[0]
        allowed = {*FLOORS[: FLOORS.index(floor) + 1]} - ({"batch"} if floor == "pages" else set())
        assert set(imported(path)) & set(FLOORS) <= allowed, path


def test_the_papers_four_files_need_torch_einops_and_jaxtyping_alone():
    standard = {"functools", "typing"}
    for name in {*CORE} - {"fast"}:
        assert set(imported(PACKAGE / f"{name}.py")) <= {
            "torch",
            "einops",
            "jaxtyping",
            *CORE,
            *standard,
        }


def test_public_names_are_documented_and_there():
    for name in evalib.__all__:
        assert getattr(evalib, name).__doc__ or isinstance(getattr(evalib, name), tuple | dict), (
            name
        )


READ = """
import contextlib, importlib, inspect, pkgutil, sys
import evalib

for found in pkgutil.walk_packages(evalib.__path__, "evalib."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)

seen = 0
for name, module in list(sys.modules.items()):
    if name.partition(".")[0] != "evalib":
        continue
    for kind in vars(module).values():
        if not inspect.isclass(kind) or kind.__module__ != name:
            continue
        lines, start = inspect.getsourcelines(kind)
        for attribute, value in vars(kind).items():
            function = getattr(value, "__func__", value)  # of a static or a class method
            own = not attribute.startswith("_") or attribute in ("__init__", "__call__")
            if not own or not inspect.isfunction(function):
                continue
            fields = getattr(kind, "__dataclass_fields__", {})
            if fields and (attribute == "__init__" or attribute in fields):
                continue
            if function.__code__.co_filename == contextlib.__file__:  # a context, by the library
                function = function.__wrapped__
            code, where = function.__code__, f"{name}.{kind.__name__}.{attribute}"
            assert code.co_filename == module.__file__, f"{where} is in {code.co_filename}"
            assert start <= code.co_firstlineno < start + len(lines), f"{where} is elsewhere"
            assert not hasattr(function, "__wrapped__"), f"{where} is wrapped"
            seen += 1
assert seen > 50, seen
for finder in sys.meta_path:
    assert not type(finder).__module__.startswith("evalib"), finder
print("what is read is what runs")
"""


def test_what_is_read_is_what_runs():
    """For every class the code of its methods is where the class is; in a process of its own, where
    pytest wraps nothing.
    """
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run(
        [sys.executable, "-c", READ], capture_output=True, text=True, env=environment
    )
    assert done.stdout == "what is read is what runs\n", done.stderr[-2000:]
