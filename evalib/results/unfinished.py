"""Runs that were stopped before their end: the lines that they printed, which say how far they came and nothing of a test."""

import re
from pathlib import Path

from evalib.results.records import results

LINE = re.compile(r"^\S+ seed \d+ epoch (\d+)/\d+: loss ([\d.]+), validation ([\d.]+)%")


def curve(name: str, out: Path | None = None) -> list[dict]:
    """Epoch, training loss and validation accuracy of ``unfinished/<name>.log``; empty if there is no such file."""
    path = Path(out or results()) / "unfinished" / f"{name}.log"
    found = (LINE.match(line) for line in path.read_text("utf-8").splitlines()) if path.is_file() else ()
    return [
        {"epoch": int(each[1]), "train_loss": float(each[2]), "validation_accuracy": float(each[3])}
        for each in found
        if each
    ]
