"""Write LICENCES.md: the licence of each package of requirements.txt that is installed here, as it
states it itself.

pip-licenses says UNKNOWN of eight of them, whose licence stands in a file alone; here its title is
read.
"""

import importlib.metadata
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PIN = re.compile(r"^([\w.-]+)==([^\s;]+)", re.MULTILINE)
HEAD = """# Licences of the dependencies

What `requirements.txt` pins, as each package states it. Written by `make lock`. PyTorch for CUDA also brings
NVIDIA's libraries, under NVIDIA's own terms. MathJax, in `_extra/vendor`, is under Apache-2.0.

| Package | Version | Licence |
|---|---|---|
"""


def licence(package: str) -> str:
    """The SPDX expression, else the trove classifiers, else the first line of the licence field;
    else the title of its file.
    """
    about: Any = importlib.metadata.metadata(package)
    classified = [
        line.split(" :: ")[-1]
        for line in about.get_all("Classifier") or []
        if line.startswith("License ::")
    ]
    classified = [name for name in classified if name != "OSI Approved"]
    field = (about.get("License") or "").strip().splitlines()
    first = field[0] if field and len(field[0]) < 60 else ""
    return (
        about.get("License-Expression")
        or ", ".join(classified)
        or first
        or title(package)
        or "not stated"
    )


def title(package: str) -> str:
    """The first line of the licence file that the package brings."""
    files = [
        file
        for file in importlib.metadata.files(package) or []
        if file.name.upper().startswith("LICEN")
    ]
    lines = files[0].read_text(encoding="utf-8").split("\n") if files else []
    return next((line.strip() for line in lines if line.strip()), "")


def listing() -> str:
    """LICENCES.md as it should be."""
    rows = []
    for name, version in PIN.findall((ROOT / "requirements.txt").read_text(encoding="utf-8")):
        with suppress(importlib.metadata.PackageNotFoundError):  # what another system needs
            if not name.startswith(("nvidia", "cuda")):
                rows.append(f"| {name} | {version} | {re.sub(r'[|]', '/', licence(name))} |\n")
    return HEAD + "".join(rows)


if __name__ == "__main__":
    (ROOT / "LICENCES.md").write_text(listing(), encoding="utf-8")
