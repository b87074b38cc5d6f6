"""The module names of version 0.1: each still imports what stands elsewhere now, and says where."""

import importlib
import importlib.abc
import importlib.util
import sys
import warnings

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
