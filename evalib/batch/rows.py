"""Rows of your own in every process of a batch: the Python file that registers them."""

import os
import re
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

VARIABLE = "EVALIB_MODULE"
"""The environment variable that names the file for the processes of a batch."""


def load(path: str | Path | None = None) -> None:
    """Import the file ``path``, or else the one that ``EVALIB_MODULE`` names, once: it calls :func:`evalib.register`.

    Its rows are then there in this process and in those that it starts. ``FileNotFoundError`` if there is no such file,
    ``RuntimeError`` with what it raises.
    """
    if not (named := path or os.environ.get(VARIABLE)):
        return
    file = Path(named).expanduser().absolute()
    spec = spec_from_file_location("evalib_rows_" + re.sub(r"\W", "_", file.stem), file)  # takes no other module's name
    if not file.is_file() or spec is None or spec.loader is None:
        raise FileNotFoundError(f"{file} is no Python file: give the one that registers your rows")
    os.environ[VARIABLE] = str(file)
    if any(getattr(module, "__file__", None) == str(file) for module in [*sys.modules.values()]):
        return
    sys.modules[spec.name] = module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[spec.name]
        raise RuntimeError(f"{file} stops with {type(error).__name__}: {error}") from error
