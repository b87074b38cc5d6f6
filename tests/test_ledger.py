"""The ledger names what is there: objects of the code, tests, chapters of the book; and leaves no
equation out.
"""

import ast
import pkgutil
from pathlib import Path

import pytest
from test_notebooks import entries

from evalib.pages.ledger import LEDGER

ROOT = Path(__file__).resolve().parent.parent

each_entry = pytest.mark.parametrize("entry", LEDGER, ids=lambda entry: entry.item)


def named_in(path):
    """The node ids of the test functions in a file."""
    nodes = ast.parse((ROOT / path).read_text("utf-8")).body
    names = (node.name for node in nodes if isinstance(node, ast.FunctionDef))
    return {f"{path}::{name}" for name in names if name.startswith("test_")}


def test_every_equation_and_every_stage_is_listed_once():
    items = [entry.item for entry in LEDGER]
    assert len(set(items)) == len(items)
    assert [item for item in items if item.startswith("Eq.")] == ["Eq. 1", "Eq. 2", "Eq. 3"]
    stages = [f"§3.1 stage {stage}" for stage in range(1, 5)]
    assert [item for item in items if "stage" in item] == stages
    parts = "§3.1 first query", "§3.1 memory blocks", "§3.1 output", "§3.3 backbone"
    assert {*parts, "§4.1 training"} <= {*items}


@each_entry
def test_an_entry_names_code_a_test_and_a_chapter(entry):
    assert pkgutil.resolve_name(entry.name) is not None
    assert entry.fast is None or callable(pkgutil.resolve_name(entry.fast))
    for test in entry.tests:
        assert test in named_in(test.partition("::")[0])
    assert len(entry.tests) >= (1 if entry.fast is None else 2)
    assert entry.chapter in entries()
