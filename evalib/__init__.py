"""Expanding Visual Attention, reproduced: the equations, the layer, the six networks of Table 1 and their training."""

import importlib as _importlib
import signal as _signal
import sys as _sys
from typing import TYPE_CHECKING as _TYPE_CHECKING

if _sys.argv[:1] == ["-m"] and "evalib" in _sys.orig_argv and _signal.getsignal(_signal.SIGINT) != _signal.SIG_IGN:
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)  # a command: no traceback from Ctrl-C while PyTorch is imported

from evalib import fast
from evalib import moved as moved
from evalib import wrapped as wrapped
from evalib.ablations import ABLATIONS
from evalib.ablations.blocks import Bottleneck
from evalib.attention import RelativeSelfAttention
from evalib.equations import convolution, local_attention, relative_attention
from evalib.eva import ExpandingVisualAttention, SingleQueryAttention
from evalib.experiments import TABLE_1, Experiment, build, register
from evalib.networks import count_parameters
from evalib.tracing import Trace, trace, trace_windows

if _TYPE_CHECKING:
    from evalib.results.export import export
    from evalib.results.records import run
    from evalib.results.weights import evaluate, load_pretrained, load_weights
    from evalib.training.data import CLASSES, dataset
    from evalib.training.data import load as load_data
    from evalib.training.loop import train
    from evalib.training.prediction import predict
    from evalib.training.settings import TIERS, Settings

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
    "register",
    "relative_attention",
    "run",
    "trace",
    "trace_windows",
    "train",
]

RelativeSelfAttention.attend = staticmethod(fast.self_attention)  # type: ignore[arg-type]
SingleQueryAttention.attend = staticmethod(fast.single_query_attention)

_LATER = {
    "export": "results.export",
    "run": "results.records",
    **dict.fromkeys(("evaluate", "load_pretrained", "load_weights"), "results.weights"),
    **dict.fromkeys(("CLASSES", "dataset", "load_data"), "training.data"),
    "train": "training.loop",
    "predict": "training.prediction",
    **dict.fromkeys(("TIERS", "Settings"), "training.settings"),
}
"""What is imported when it is asked for: it needs more than ``pip install evalib`` brings, `evalib[train]`."""


def __getattr__(name: str):
    if name in moved.ROOMS or f"evalib.{name}" in moved.MOVED:
        return _importlib.import_module(f"evalib.{name}")
    if name not in _LATER:
        raise AttributeError(f"module 'evalib' has no attribute {name!r}")
    module = _importlib.import_module(f"evalib.{_LATER[name]}")
    return getattr(module, "load" if name == "load_data" else name)
