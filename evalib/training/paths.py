"""Where the project keeps what it fetches and what it makes: ``data/`` and ``results/`` lie under one root."""

import os
import re
from pathlib import Path


def root() -> Path:
    """The folder that holds ``data/`` and ``results/``.

    ``EVALIB_HOME`` if it is set, else the checkout that the package lies in (a ``pyproject.toml`` beside
    the package names evalib), else the current working directory.
    """
    if home := os.environ.get("EVALIB_HOME"):
        return Path(home).expanduser()
    project = Path(__file__).resolve().parents[2] / "pyproject.toml"
    if project.is_file() and re.search(r'^name\s*=\s*"evalib"', project.read_text("utf-8"), re.MULTILINE):
        return project.parent
    return Path.cwd()
