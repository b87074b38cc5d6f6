"""Expanding Visual Attention, reproduced: the equations, the layer, the six networks of Table 1 and their training."""

from evalib.attention import RelativeSelfAttention
from evalib.equations import convolution, local_attention, relative_attention
from evalib.eva import ExpandingVisualAttention, Trace
from evalib.networks import ABLATIONS, TABLE_1, Experiment, build, count_parameters
from evalib.results.records import run
from evalib.results.weights import evaluate, load_pretrained, load_weights
from evalib.training.data import CLASSES
from evalib.training.loop import train
from evalib.training.prediction import predict
from evalib.training.settings import TIERS, Settings

__all__ = [
    "ABLATIONS",
    "CLASSES",
    "TABLE_1",
    "TIERS",
    "ExpandingVisualAttention",
    "Experiment",
    "RelativeSelfAttention",
    "Settings",
    "Trace",
    "build",
    "convolution",
    "count_parameters",
    "evaluate",
    "load_pretrained",
    "load_weights",
    "local_attention",
    "predict",
    "relative_attention",
    "run",
    "train",
]
