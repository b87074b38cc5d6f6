"""The rooms import one way, the paper's four files need no other and fit ten minutes, and every file stays short."""

import ast
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
"""Each may import those before it, and pages not batch; ``__init__`` and ``__main__`` may import all."""
PACKAGE = Path(evalib.__file__).parent
FILES = [path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or not path.stem.startswith("__")]


def imported(path):
    """The floors of evalib that a file imports, and every other package at its first level."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = [name.name for name in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [f"evalib.{name.name}" for name in node.names] if node.module == "evalib" else [node.module]
        yield from (name.split(".")[1] if name.startswith("evalib.") else name.split(".")[0] for name in names)


def test_imports_run_one_way():
    for path in FILES:
        floor = path.relative_to(PACKAGE).with_suffix("").parts[0]
        allowed = {*FLOORS[: FLOORS.index(floor) + 1]} - ({"batch"} if floor == "pages" else set())
        assert set(imported(path)) & set(FLOORS) <= allowed, path


def test_the_papers_four_files_need_torch_einops_and_jaxtyping_alone():
    standard = {"functools", "typing"}
    for name in {*CORE} - {"fast"}:
        assert set(imported(PACKAGE / f"{name}.py")) <= {"torch", "einops", "jaxtyping", *CORE, *standard}


def test_public_names_are_documented_and_there():
    for name in evalib.__all__:
        assert getattr(evalib, name).__doc__ or isinstance(getattr(evalib, name), tuple | dict), name
