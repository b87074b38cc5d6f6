"""The symbol table follows the code: each row names a variable that is there, and an argument of
the shape it says.
"""

import inspect
import pkgutil

import pytest

from evalib.pages import notation
from evalib.pages.display import symbols


def variables(where):
    """The arguments and local variables of a function of the package, and the annotations of the
    arguments.
    """
    function = inspect.unwrap(pkgutil.resolve_name(f"evalib.{where}"))
    return {
        *function.__code__.co_varnames,
        *function.__code__.co_cellvars,
    }, function.__annotations__


@pytest.mark.parametrize(
    "row", notation.SYMBOLS, ids=lambda row: f"{row.where} {row.name} {row.symbol}"
)
def test_each_symbol_is_a_variable_of_its_function_with_its_axes(row):
    names, annotations = variables(row.where)
    name = row.name.partition("[")[0]
    assert name == "return" or name in names
    annotation = annotations.get(name)
    if row.shape.startswith("="):
        assert annotation is int
    elif hasattr(
        annotation, "dim_str"
    ):  # of a tensor; "_" is an axis without a letter, "*batch" any number of them
        axes = annotation.dim_str.split()
        for axis, letter in zip(axes, row.shape.split()[-len(axes) :], strict=True):
            assert axis in ("_", "*batch", letter) or axis.partition("=")[2] == letter


def test_every_item_has_its_symbols():
    assert {row.item for row in notation.SYMBOLS} == {"Eq. 1", "Eq. 2", "Eq. 3", "§3.1"}
    assert notation.rows("Eq. 1")[0].symbol == "$x$"


def test_the_table_of_an_equation_has_its_rows_only():
    lines = [" ".join(line.split()) for line in symbols("Eq. 3").data.splitlines()]
    assert len(lines) == 2 + sum(row.item == "Eq. 3" for row in notation.SYMBOLS)
    assert (
        "| $q_{ij}^{\\mathsf T} r_{a-i,\\,b-j}$ | position logits | `position` | `n h i j a b` |"
        in lines
    )
