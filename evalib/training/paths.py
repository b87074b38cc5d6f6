"""Where the project keeps what it fetches and what it makes: ``data/`` and ``results/`` lie under one root."""

import os
import re
from pathlib import Path

REPOSITORY = "https://github.com/expanding-visual-attention/evalib"


def checkout() -> Path | None:
    """The checkout that the package lies in (a ``pyproject.toml`` beside it names evalib); ``None`` if installed alone."""
    project = Path(__file__).resolve().parents[2] / "pyproject.toml"
    named = project.is_file() and re.search(r'^name\s*=\s*"evalib"', project.read_text("utf-8"), re.MULTILINE)
    return project.parent if named else None


def in_checkout(name: str) -> Path:
    """A file of the repository that is no part of the package; ``FileNotFoundError`` if evalib is installed alone."""
    folder = checkout()
    if folder is None or not (folder / name).exists():
        raise FileNotFoundError(
            f"{name} is in the repository, and evalib is installed here without it: git clone {REPOSITORY}, "
            "and give the command in that checkout"
        )
    return folder / name


def root() -> Path:
    """The folder that holds ``data/`` and ``results/``.

    ``EVALIB_HOME`` if it is set, else the checkout that the package lies in, else the current working directory.
    """
    if home := os.environ.get("EVALIB_HOME"):
        return Path(home).expanduser()
    return checkout() or Path.cwd()
