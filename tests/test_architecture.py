"""The modules import one way, in the order of the book, and stay short."""

import ast
from pathlib import Path

import evalib

ORDER = """
    paths locks geometry equations fast attention eva variants published blocks networks counts download data
    checkpoints settings progress steps training schema records tables comparisons weights reading evaluation claims manifest
    gpus batch reproduce figures diagrams notation pages stills explorer ledger
""".split()
PACKAGE = Path(evalib.__file__).parent


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "evalib":
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("evalib."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (name.name.split(".")[1] for name in node.names if name.name.startswith("evalib."))


def test_imports_run_one_way():
    modules = {path.stem: path for path in PACKAGE.glob("*.py") if not path.stem.startswith("__")}
    assert set(modules) == set(ORDER)
    for name, path in modules.items():
        assert set(imported(path)) <= set(ORDER[: ORDER.index(name)]), name


def test_a_module_is_short():
    for path in PACKAGE.glob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 240, (
            f"{path.name} is long: CONTRIBUTING.md says about 200"
        )


def test_public_names_are_documented_and_there():
    for name in evalib.__all__:
        assert getattr(evalib, name).__doc__ or isinstance(getattr(evalib, name), tuple | dict), name
