"""Runs that were stopped before their end: the lines that they printed, which say how far they came and nothing of a test."""

import re
import warnings
from pathlib import Path

from evalib.results.files import results

LINE = re.compile(r"^\S+ seed \d+ epoch (\d+)/\d+: loss ([\d.]+), validation ([\d.]+)%")


def text(path: Path) -> str:
    """What a run printed; a file that cannot be read is warned of, and says nothing."""
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        warnings.warn(f"left out of the table: {path} is not a text in UTF-8 ({error})", stacklevel=2)
        return ""


def curve(name: str, out: Path | None = None) -> list[dict]:
    """Epoch, training loss and validation accuracy of ``unfinished/<name>.log``; empty if there is no such file."""
    path = results(out) / "unfinished" / f"{name}.log"
    found = (LINE.match(line) for line in text(path).splitlines()) if path.exists() else ()
    return [
        {"epoch": int(each[1]), "train_loss": float(each[2]), "validation_accuracy": float(each[3])}
        for each in found
        if each
    ]


def told(experiment: str, out: Path | None = None) -> list[str]:
    """A line for each run of an experiment that was stopped at the ``paper`` tier: how far it came, or the note in its file."""
    lines = []
    for path in sorted((results(out) / "unfinished").glob(f"{experiment}-seed*.log")):
        seed, rows = path.stem.rpartition("-seed")[2], curve(path.stem, out)
        if not rows:
            note = " ".join(text(path).split()).rstrip(".")
            lines += [f"seed {seed} {note}"] if note else []
            continue
        best, last = max(row["validation_accuracy"] for row in rows), rows[-1]
        lines.append(
            f"seed {seed} was stopped after epoch {last['epoch']}, at a validation accuracy of "
            f"{last['validation_accuracy']:.1f} % and a training loss of {last['train_loss']:.2f} (best validation {best:.1f} %)"
        )
    return lines
