"""The symbols of the paper, each with the variable that holds it; a test finds every one there."""

from typing import NamedTuple


class Symbol(NamedTuple):
    """``symbol`` of ``item`` is ``name``, a variable of the function ``where``, or its result.

    ``shape`` has axis letters, or for a whole number ``=`` and the axis that it counts.
    """

    item: str
    where: str
    symbol: str
    meaning: str
    name: str
    shape: str


TABLE = {
    ("Eq. 1", "equations.convolution"): [
        (r"$x$", "input", "x", "n cin i j"),
        (r"$x_{ab}$", "the pixels of the window", "x_ab", "n cin i j a b"),
        (
            r"$W$",
            "learned weights, a matrix for each place in the window",
            "weight",
            "cout cin k k",
        ),
        (r"$y_{ij}$", "output", "return", "n cout i j"),
    ],
    ("Eq. 1", "equations.windows"): [
        (r"$N_k(i,j)$", "the window of a pixel, of every pixel at once", "return", "n cin i j a b"),
        (r"$k$", "extent of the window", "kernel_size", "= k"),
    ],
    ("Eq. 2", "attention.RelativeSelfAttention.forward"): [
        (r"$W_Q$", "learned, turns a pixel into its query", "W_Q", "cout cin 1 1"),
        (r"$W_K$", "learned, turns a pixel into its key", "W_K", "cout cin 1 1"),
        (r"$W_V$", "learned, turns a pixel into its value", "W_V", "cout cin 1 1"),
    ],
    ("Eq. 2", "attention.RelativeSelfAttention.__init__"): [
        (r"$N$", "number of heads", "num_heads", "= h")
    ],
    ("Eq. 2", "equations.local_attention"): [
        (r"$q_{ij}$", "query of the pixel that asks", "q_ij", "n h c i j"),
        (r"$k_{ab}$", "keys of its window", "k_ab", "n h c i j a b"),
        (r"$v_{ab}$", "values of its window", "v_ab", "n h c i j a b"),
        (r"$q_{ij}^{\mathsf T} k_{ab}$", "content logits", "content", "n h i j a b"),
        (r"$\operatorname{softmax}_{ab}$", "weights of the window", "weights", "n h i j a b"),
        (r"$y_{ij}$", "output", "return", "n h c i j"),
    ],
    ("Eq. 3", "equations.relative_attention"): [
        (r"$R_{height}$, $r_{a-i}$", "row embeddings, one an offset", "rows", "h half k"),
        (r"$R_{width}$, $r_{b-j}$", "column embeddings, one an offset", "cols", "h half k"),
        (r"$r_{a-i,\,b-j}$", "both, joined on the channels", "r_ab", "h c a b"),
        (r"$q_{ij}^{\mathsf T} k_{ab}$", "content logits", "content", "n h i j a b"),
        (r"$q_{ij}^{\mathsf T} r_{a-i,\,b-j}$", "position logits", "position", "n h i j a b"),
        (r"$y_{ij}$", "output", "return", "n h c i j"),
    ],
    ("§3.1", "eva.SingleQueryAttention.forward"): [
        ("memory block", "the pixels of one ring", "memory", "n m cin"),
        ("query", "the vector that asks", "query", "n d"),
    ],
    ("§3.1", "equations.single_query_attention"): [
        (r"$r_m$", "offset embedding of pixel $m$ of the ring", "r_m", "h c m"),
        (r"$1 / \sqrt c$", "scale of the logits, not in the text (D4)", "scale", "a number"),
        (r"$\operatorname{softmax}_m$", "weights of the pixels or slots", "weights", "n h m"),
    ],
    ("§3.1", "eva.ExpandingVisualAttention.forward"): [
        ("q0, q1 …", "queries; after the last stage attn_out", "q", "n d"),
        ("attn0, attn1 …", "what the looks saw (here the last)", "attn", "n d"),
        ("q0, attn0, attn1 …", "the slots (here the last)", "slots[4]", "n d"),
        ("module output", "the summary of the map", "return", "n out 1 1"),
    ],
}
"""By item of the paper and function of the package: symbol, meaning, variable, axes."""

SYMBOLS = [Symbol(*place, *row) for place, rows in TABLE.items() for row in rows]


def rows(item: str) -> list[Symbol]:
    """The symbols of an item of the paper."""
    return [symbol for symbol in SYMBOLS if symbol.item == item]
