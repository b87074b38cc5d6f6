"""Equations 2 and 3 and EVA's attention again: the functions of equations.py, arranged for speed.

``window`` has the operator that window attention is, and the rule that chooses how: ``kernels`` on a GPU, ``maps`` on a
CPU. ``single_query`` has EVA's attention and its rule. Each is tested equal to the literal form, at every shape.
"""

from evalib.fast.single_query import single_query_attention
from evalib.fast.window import local_attention, relative_attention, self_attention

__all__ = ["local_attention", "relative_attention", "self_attention", "single_query_attention"]
