"""Expanding Visual Attention, reproduced: the equations, the layer, the six networks of Table 1 and
their training.
"""

import importlib as _importlib
from typing import TYPE_CHECKING as _TYPE_CHECKING

from evalib.ablations import ABLATIONS
from evalib.ablations.layers import Bottleneck
from evalib.attention import RelativeSelfAttention
from evalib.equations import convolution, local_attention, relative_attention
from evalib.eva import ExpandingVisualAttention
from evalib.experiments import TABLE_1, Experiment, build, register
from evalib.networks import count_parameters
from evalib.tracing import Trace, check_attention, trace, trace_windows

if _TYPE_CHECKING:
    from evalib.results.export import export
    from evalib.results.records import load_records as records
    from evalib.results.run import run
    from evalib.results.weights import evaluate, load_pretrained, load_weights
    from evalib.training.cifar import load_data
    from evalib.training.data import CLASSES, dataset
    from evalib.training.predict import predict
    from evalib.training.settings import TIERS, Settings
    from evalib.training.train import train

__all__ = [
    "ABLATIONS",
    "CLASSES",
    "TABLE_1",
    "TIERS",
    "Bottleneck",
    "ExpandingVisualAttention",
    "Experiment",
    "RelativeSelfAttention",
    "Settings",
    "Trace",
    "build",
    "check_attention",
    "convolution",
    "count_parameters",
    "dataset",
    "evaluate",
    "export",
    "load_data",
    "load_pretrained",
    "load_weights",
    "local_attention",
    "predict",
    "records",
    "register",
    "relative_attention",
    "run",
    "trace",
    "trace_windows",
    "train",
]

_LATER = {
    "export": "results.export",
    "records": "results.records",
    "run": "results.run",
    **dict.fromkeys(("evaluate", "load_pretrained", "load_weights"), "results.weights"),
    "load_data": "training.cifar",
    **dict.fromkeys(("CLASSES", "dataset"), "training.data"),
    "train": "training.train",
    "predict": "training.predict",
    **dict.fromkeys(("TIERS", "Settings"), "training.settings"),
}
"""What is imported when it is asked for: it needs more than ``pip install evalib`` brings,
`evalib[train]`.
"""


def __getattr__(name: str):
    if name not in _LATER:
        raise AttributeError(f"module 'evalib' has no attribute {name!r}")
    module = _importlib.import_module(f"evalib.{_LATER[name]}")
    return getattr(module, "load_records" if name == "records" else name)
