"""The symbols of the paper, each with the variable that holds it in the code, looked up while the code runs."""

import re
import sys
from typing import NamedTuple

import torch
from torch import Tensor

from evalib import attention, equations
from evalib.attention import RelativeSelfAttention
from evalib.eva import ExpandingVisualAttention, SingleQueryAttention

SIZES = {
    "n": 6, "h": 3, "c": 4, "half": 2, "cin": 10, "cout": 12, "d": 12, "out": 11, "i": 14, "j": 15, "k": 5, "a": 5,
    "b": 5, "m": 8,
}  # fmt: skip
"""How long each axis is in the pass that the table is checked with: as far as they can be, all different."""


class Symbol(NamedTuple):
    """``symbol`` of ``item`` is ``name``, a variable of the function ``where`` or an attribute of one; "return" is
    what the function returns. ``shape`` has axis letters, or for a whole number ``=`` and the axis that it counts."""

    item: str
    symbol: str
    meaning: str
    where: str
    name: str
    shape: str


# fmt: off
SYMBOLS = (
    Symbol("Eq. 1", r"$x$", "input", "equations.convolution", "x", "n cin i j"),
    Symbol("Eq. 1", r"$N_k(i,j)$", "the window of a pixel, for every pixel at once", "equations.windows", "return", "n cin i j a b"),
    Symbol("Eq. 1", r"$x_{ab}$", "the pixels of the window", "equations.convolution", "x_ab", "n cin i j a b"),
    Symbol("Eq. 1", r"$W$", "learned weights, one matrix for each place in the window", "equations.convolution", "weight", "cout cin k k"),
    Symbol("Eq. 1", r"$k$", "extent of the window", "equations.windows", "kernel_size", "= k"),
    Symbol("Eq. 1", r"$y_{ij}$", "output", "equations.convolution", "return", "n cout i j"),
    Symbol("Eq. 2", r"$W_Q$", "learned, turns a pixel into its query", "attention.self_attention", "W_Q", "cout cin 1 1"),
    Symbol("Eq. 2", r"$W_K$", "learned, turns a pixel into its key", "attention.self_attention", "W_K", "cout cin 1 1"),
    Symbol("Eq. 2", r"$W_V$", "learned, turns a pixel into its value", "attention.self_attention", "W_V", "cout cin 1 1"),
    Symbol("Eq. 2", r"$N$", "number of heads", "attention.self_attention", "num_heads", "= h"),
    Symbol("Eq. 2", r"$q_{ij}$", "query of the pixel that asks", "equations.local_attention", "q_ij", "n h c i j"),
    Symbol("Eq. 2", r"$k_{ab}$", "keys of its window", "equations.local_attention", "k_ab", "n h c i j a b"),
    Symbol("Eq. 2", r"$v_{ab}$", "values of its window", "equations.local_attention", "v_ab", "n h c i j a b"),
    Symbol("Eq. 2", r"$q_{ij}^{\mathsf T} k_{ab}$", "content logits", "equations.local_attention", "content", "n h i j a b"),
    Symbol("Eq. 2", r"$\operatorname{softmax}_{ab}$", "weights of the window's positions", "equations.local_attention", "weights", "n h i j a b"),
    Symbol("Eq. 2", r"$y_{ij}$", "output", "equations.local_attention", "return", "n h c i j"),
    Symbol("Eq. 3", r"$R_{height}$, $r_{a-i}$", "row embeddings, one an offset", "equations.relative_attention", "rows", "h half k"),
    Symbol("Eq. 3", r"$R_{width}$, $r_{b-j}$", "column embeddings, one an offset", "equations.relative_attention", "cols", "h half k"),
    Symbol("Eq. 3", r"$r_{a-i,\,b-j}$", "both, joined on the channels", "equations.relative_attention", "r_ab", "h c a b"),
    Symbol("Eq. 3", r"$q_{ij}^{\mathsf T} k_{ab}$", "content logits", "equations.relative_attention", "content", "n h i j a b"),
    Symbol("Eq. 3", r"$q_{ij}^{\mathsf T} r_{a-i,\,b-j}$", "position logits", "equations.relative_attention", "position", "n h i j a b"),
    Symbol("Eq. 3", r"$y_{ij}$", "output", "equations.relative_attention", "return", "n h c i j"),
    Symbol("§3.1", "memory block", "the pixels of one ring (here the 3×3 block without its centre)", "eva.SingleQueryAttention.forward", "memory", "n m cin"),
    Symbol("§3.1", "query", "the vector that asks", "eva.SingleQueryAttention.forward", "query", "n d"),
    Symbol("§3.1", r"$r_m$", "offset embedding of pixel $m$ of the ring", "equations.single_query_attention", "r_m", "h c m"),
    Symbol("§3.1", r"$\operatorname{softmax}_m$", "weights of the pixels, or of the slots", "equations.single_query_attention", "weights", "n h m"),
    Symbol("§3.1", "q0, q1 …", "queries; after the last stage attn_out", "eva.ExpandingVisualAttention.forward", "q", "n d"),
    Symbol("§3.1", "attn0, attn1 …", "what the looks saw (here the last)", "eva.ExpandingVisualAttention.forward", "attn", "n d"),
    Symbol("§3.1", "q0, attn0, attn1 …", "the slots (here the last)", "eva.ExpandingVisualAttention.forward", "slots[4]", "n d"),
    Symbol("§3.1", "module output", "the summary of the map", "eva.ExpandingVisualAttention.forward", "return", "n out 1 1"),
)
# fmt: on


def observe() -> dict[str, dict]:
    """The variables of each function of :data:`SYMBOLS`, as they stand when its first call in a small pass returns."""
    seen: dict[str, dict] = {}
    wanted = {f"evalib.{row.where}" for row in SYMBOLS}

    def listen(frame, event, returned):
        where = f"{frame.f_globals.get('__name__')}.{frame.f_code.co_qualname}"
        if event == "return" and where in wanted:
            seen.setdefault(where, {**frame.f_locals, "return": returned})

    before = sys.getprofile()
    sys.setprofile(listen)
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            one_pass(**SIZES)
    finally:
        sys.setprofile(before)
    return seen


def one_pass(n, h, c, half, cin, cout, d, out, i, j, k, m, **_) -> None:
    """Each equation once, as it is written, on random numbers, and the modules around them."""
    x, q = torch.randn(n, cin, i, j), torch.randn(n, h, c, i, j)
    equations.convolution(x, torch.randn(cout, cin, k, k))
    equations.local_attention(q, q, q, k)
    equations.relative_attention(q, q, q, *torch.randn(2, h, half, k))
    layer = RelativeSelfAttention(cin, cout, k, h)
    layer.attend = attention.self_attention
    layer(x)
    look = SingleQueryAttention(cin, d, h, equations.ring(1))
    look.attend = equations.single_query_attention
    look(torch.randn(n, d), torch.randn(n, m, cin))
    ExpandingVisualAttention(cin, d, out, h)(torch.randn(n, cin, 7, 7))


def found(row: Symbol, seen: dict[str, dict]) -> Tensor | int:
    """What ``row`` names. ``LookupError`` if the code has no such function or variable."""
    where = f"evalib.{row.where}"
    if where not in seen:
        raise LookupError(
            f"{row.item}, {row.symbol}: no function {where} ran; correct the row in evalib/pages/notation.py"
        )
    name, *attributes = re.findall(r"\w+", row.name)
    value = seen[where].get(name)
    for attribute in attributes:
        if value is not None:
            value = value[int(attribute)] if attribute.isdigit() else getattr(value, attribute, None)
    if value is None:
        raise LookupError(
            f"{row.item}, {row.symbol}: {where} has no `{row.name}`, its variables are "
            f"{', '.join(sorted(seen[where]))}; correct the row in evalib/pages/notation.py"
        )
    return value


def checked(item: str | None = None) -> list[tuple[Symbol, tuple[int, ...] | int]]:
    """The rows of an item of the paper, or all, each with the shape or the number found. Raises where a row is wrong.

    ``LookupError`` for a name that the code does not have, ``ValueError`` for another shape than the row says.
    """
    seen, rows = observe(), []
    for row in SYMBOLS:
        value = found(row, seen)
        sizes = tuple(SIZES[axis] if axis in SIZES else int(axis) for axis in re.findall(r"\w+", row.shape))
        size, expected = (tuple(value.shape), sizes) if isinstance(value, Tensor) else (value, sizes[0])
        if size != expected:
            raise ValueError(f"{row.item}, {row.symbol}: `{row.name}` is {size}, not {expected} ({row.shape})")
        if item in (None, row.item):
            rows.append((row, size))
    return rows
