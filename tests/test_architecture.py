"""The modules import one way, in the order of the book, and stay short."""

import ast
from pathlib import Path

import evalib

ORDER = """
    geometry equations fast.kernels fast.gpu fast.maps fast.operators fast.window fast attention eva ablations.variants ablations.published blocks networks
    training.paths training.locks training.sources training.download training.data training.prediction training.environment training.checkpoints training.settings
    training.progress training.steps training.loop
    results.counts results.schema results.files results.records results.runs results.spread results.markdown results.tables results.comparisons results.weights results.reading
    results.evaluation results.claims results.ledger results.choice results.ladder results.unfinished
    batch.faults batch.manifest batch.gpus batch.notebook batch.reproduce batch.commands
    pages.figures pages.diagrams pages.graphs pages.answer pages.plots pages.notation pages.display pages.stills pages.explorer
    pages.export pages.live
""".split()
PACKAGE = Path(evalib.__file__).parent


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "evalib":
            within = node.module.removeprefix("evalib").removeprefix(".")
            names = [f"{within}.{name.name}".lstrip(".") for name in node.names]
            yield from (name if name in ORDER or within not in ORDER else within for name in names)
        elif isinstance(node, ast.Import):
            yield from (name.name.partition(".")[2] for name in node.names if name.name.startswith("evalib."))


def named(path):
    """``fast`` for ``fast/__init__.py`` and ``training.loop`` for ``training/loop.py``."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def test_imports_run_one_way():
    rooms = {name.partition(".")[0] for name in ORDER if "." in name} - set(ORDER)
    modules = {named(path): path for path in PACKAGE.rglob("*.py") if not named(path).startswith("__")}
    assert set(modules) == set(ORDER) | rooms
    assert not [room for room in rooms if list(imported(modules.pop(room)))]
    for name, path in modules.items():
        assert set(imported(path)) <= set(ORDER[: ORDER.index(name)]), name


def test_a_module_is_short():
    for path in PACKAGE.rglob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 240, (
            f"{path.name} is long: CONTRIBUTING.md says about 200"
        )


def test_public_names_are_documented_and_there():
    for name in evalib.__all__:
        assert getattr(evalib, name).__doc__ or isinstance(getattr(evalib, name), tuple | dict), name
