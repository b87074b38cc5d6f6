"""What version 0.1 had in other words: the names of its modules, and ``trace=True``. Each still works, and says the new way."""

import importlib
import importlib.abc
import importlib.util
import sys
import warnings
from functools import wraps

from evalib.attention import RelativeSelfAttention
from evalib.eva import ExpandingVisualAttention
from evalib.networks import Network
from evalib.tracing import trace, trace_windows

ROOMS = {
    "training": "checkpoints data download locks paths progress settings steps",
    "results": "claims comparisons counts evaluation ledger reading records schema tables weights",
    "batch": "gpus manifest reproduce",
    "pages": "diagrams explorer figures notation stills",
    "ablations": "published variants",
}
MOVED = {f"evalib.{name}": f"evalib.{room}.{name}" for room, names in ROOMS.items() for name in names.split()}
"""Old name → new name."""


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a module under the name that it had, with a ``DeprecationWarning``."""

    def find_spec(self, fullname, path=None, target=None):
        return importlib.util.spec_from_loader(fullname, self) if fullname in MOVED else None

    def exec_module(self, module):
        new = MOVED[module.__name__]
        warnings.warn(f"{module.__name__} is {new} since version 0.2", DeprecationWarning, stacklevel=2)
        sys.modules[module.__name__] = importlib.import_module(new)


sys.meta_path.append(Finder())


def takes_trace(kind, tracer) -> None:
    """Let ``module(x, trace=True)`` of a ``kind`` give what ``tracer(module, x)`` gives."""
    plain = kind.__call__

    @wraps(plain)
    def call(self, *inputs, **options):
        if not options.pop("trace", False):
            return plain(self, *inputs, **options)
        warnings.warn(f"trace=True is evalib.{tracer.__name__} since version 0.2", DeprecationWarning, stacklevel=2)
        return tracer(self, *inputs)

    kind.__call__ = call


def one_window(layer: RelativeSelfAttention, x):
    """The output of one layer and the weights of its windows."""
    y, (windows,) = trace_windows(layer, x)
    return y, windows.weights


one_window.__name__ = "trace_windows"
for _kind, _tracer in ((Network, trace), (ExpandingVisualAttention, trace), (RelativeSelfAttention, one_window)):
    takes_trace(_kind, _tracer)
