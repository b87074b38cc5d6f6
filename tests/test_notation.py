"""The symbol table follows the code: a variable that is renamed, or has another shape, is an error that names the row."""

import inspect
import sys

import pytest
import torch

from evalib import attention, equations
from evalib.eva import ExpandingVisualAttention
from evalib.pages import notation
from evalib.pages.display import symbols


def plant(monkeypatch, owner, name, old, new):
    """Give ``owner`` its function ``name`` again with ``old`` replaced by ``new``."""
    function = inspect.unwrap(getattr(owner, name))
    source = inspect.cleandoc("\n" + inspect.getsource(function))
    assert old in source
    namespace = dict(function.__globals__)
    exec(compile(source.replace(old, new), "planted", "exec"), namespace)
    monkeypatch.setattr(owner, name, namespace[name])
    planted = inspect.unwrap(namespace[name])
    planted.__code__ = planted.__code__.replace(co_qualname=function.__qualname__)


def test_every_row_is_found_with_its_shape():
    rows = notation.checked()
    assert [row for row, _ in rows] == list(notation.SYMBOLS)
    assert {row.item for row, _ in rows} == {"Eq. 1", "Eq. 2", "Eq. 3", "§3.1"}
    assert dict((row.symbol, size) for row, size in rows if row.item == "Eq. 1")["$W$"] == (12, 10, 5, 5)


@pytest.mark.parametrize(
    ("owner", "function", "old", "new"),
    [
        (equations, "convolution", "x_ab", "patches"),
        (equations, "local_attention", "content", "logits"),
        (equations, "relative_attention", "position", "bias"),
        (equations, "single_query_attention", "weights", "shares"),
        (ExpandingVisualAttention, "forward", "attn", "seen"),
        (ExpandingVisualAttention, "forward", "slots", "memory"),
        (attention, "self_attention", "W_Q", "query_weights"),
    ],
)
def test_a_renamed_variable_is_an_error_that_names_it(monkeypatch, owner, function, old, new):
    notation.checked()
    plant(monkeypatch, owner, function, old, new)
    with pytest.raises(LookupError, match=r"evalib/pages/notation\.py"):
        notation.checked()


def test_another_shape_is_an_error_that_says_both(monkeypatch):
    plant(monkeypatch, equations, "local_attention", "n h c i j a b -> n h c i j", "n h c i j a b -> n c h i j")
    with pytest.raises(ValueError, match=r"`return` is \(6, 4, 3, 14, 15\), not \(6, 3, 4, 14, 15\)"):
        notation.checked()


def test_a_row_that_names_nothing_is_an_error(monkeypatch):
    for wrong in ({"name": "W_Z"}, {"where": "attention.blend"}):
        row = next(row for row in notation.SYMBOLS if row.name == "W_Q")
        monkeypatch.setattr(notation, "SYMBOLS", (row._replace(**wrong),))
        with pytest.raises(LookupError, match=r"Eq\. 2"):
            notation.checked()
        monkeypatch.undo()


def test_looking_leaves_no_profiler_and_no_trace_in_the_random_state():
    state = torch.random.get_rng_state()
    notation.checked()
    assert sys.getprofile() is None
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_table_of_an_equation_has_its_rows_only():
    lines = symbols("Eq. 3").data.splitlines()
    assert len(lines) == 2 + sum(row.item == "Eq. 3" for row in notation.SYMBOLS)
    assert "| $q_{ij}^{\\mathsf T} r_{a-i,\\,b-j}$ | position logits | `position` | `n h i j a b` |" in lines
