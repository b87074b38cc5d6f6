"""Expanding Visual Attention, reproduced: the equations, the layer, the six networks of Table 1 and their training."""

from evalib.attention import RelativeSelfAttention
from evalib.equations import convolution, local_attention, relative_attention
from evalib.eva import ExpandingVisualAttention, Trace
from evalib.networks import TABLE_1, Experiment, build, count_parameters
from evalib.records import run
from evalib.training import TIERS, Settings, train

__all__ = [
    "TABLE_1",
    "TIERS",
    "Experiment",
    "ExpandingVisualAttention",
    "RelativeSelfAttention",
    "Settings",
    "Trace",
    "build",
    "convolution",
    "count_parameters",
    "local_attention",
    "relative_attention",
    "run",
    "train",
]
