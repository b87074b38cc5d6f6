"""A check that an extra is installed, which names it where it is not."""

import importlib.util


def need(extra: str, *modules: str) -> None:
    """Raise ``ModuleNotFoundError``, naming the extra, unless all ``modules`` are there."""
    for name in modules:
        try:
            there = importlib.util.find_spec(name) is not None
        except ValueError:  # a module that a program has made itself has no spec
            there = True
        if not there:
            raise ModuleNotFoundError(
                f"this part of evalib needs {name}, which comes with: pip install"
                f" 'evalib[{extra}]'",
                name=name,
            )
