"""The symbols of the paper, each with the variable that holds it in the code; a test finds every one there."""

from typing import NamedTuple


class Symbol(NamedTuple):
    """``symbol`` of ``item`` is ``name``, a variable of the function ``where``; "return" is what the function returns.

    ``shape`` has axis letters, or for a whole number ``=`` and the axis that it counts.
    """

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
    Symbol("Eq. 2", r"$W_Q$", "learned, turns a pixel into its query", "attention.RelativeSelfAttention.forward", "W_Q", "cout cin 1 1"),
    Symbol("Eq. 2", r"$W_K$", "learned, turns a pixel into its key", "attention.RelativeSelfAttention.forward", "W_K", "cout cin 1 1"),
    Symbol("Eq. 2", r"$W_V$", "learned, turns a pixel into its value", "attention.RelativeSelfAttention.forward", "W_V", "cout cin 1 1"),
    Symbol("Eq. 2", r"$N$", "number of heads", "attention.RelativeSelfAttention.__init__", "num_heads", "= h"),
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
    Symbol("§3.1", r"$1 / \sqrt c$", "scale of the logits, which the text does not have (D4)", "equations.single_query_attention", "scale", "a number"),
    Symbol("§3.1", r"$\operatorname{softmax}_m$", "weights of the pixels, or of the slots", "equations.single_query_attention", "weights", "n h m"),
    Symbol("§3.1", "q0, q1 …", "queries; after the last stage attn_out", "eva.ExpandingVisualAttention.forward", "q", "n d"),
    Symbol("§3.1", "attn0, attn1 …", "what the looks saw (here the last)", "eva.ExpandingVisualAttention.forward", "attn", "n d"),
    Symbol("§3.1", "q0, attn0, attn1 …", "the slots (here the last)", "eva.ExpandingVisualAttention.forward", "slots[4]", "n d"),
    Symbol("§3.1", "module output", "the summary of the map", "eva.ExpandingVisualAttention.forward", "return", "n out 1 1"),
)
# fmt: on


def rows(item: str) -> list[Symbol]:
    """The symbols of an item of the paper."""
    return [row for row in SYMBOLS if row.item == item]
