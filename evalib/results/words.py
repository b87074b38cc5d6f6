"""Numbers, and what records say, as text: the one place where they become Markdown, and where it is
escaped.
"""

import html
import re
import statistics
from collections.abc import Iterable
from pathlib import Path

from tabulate import tabulate

from evalib.results.records import results, spent, unfinished_curve, unfinished_text
from evalib.results.statistics import binomial_error

NUMBER = re.compile(r"(< )?[+−-]?[\d.,]+(e[+-]\d+)?( \[[^]]*\])?|–")


def table(heads: list[str], rows: Iterable[Iterable]) -> str:
    """A table in Markdown, one list of cells a row, ``None`` a dash; columns of numbers stand at
    the right.
    """
    cells = [["–" if cell is None else one_cell(str(cell)) for cell in row] for row in rows]
    sides = ["left"] * len(heads)
    for column in range(len(heads) if cells else 0):
        if all(NUMBER.fullmatch(row[column]) for row in cells):
            sides[column] = "right"
    if not cells:
        return f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}"
    return tabulate(cells, heads, tablefmt="pipe", disable_numparse=True, colalign=sides)


def one_cell(text: str) -> str:
    """``text`` without what would end a cell or a line."""
    return " ".join(text.replace("|", "&#124;").split())


def foreign(text: str | None) -> str | None:
    """A text from a record or a parameter, shown letter by letter: no HTML, no Markdown."""
    if text is None:
        return None
    return re.sub(
        r"[\\`*_{}\[\]<>#+!|~$]", lambda found: f"&#{ord(found[0])};", html.escape(str(text))
    )


def number(value: float | None, decimals: int = 2, signed: bool = False) -> str:
    """A number, its minus a true one; a dash for none."""
    if value is None:
        return "–"
    return f"{value:{'+' if signed else ''},.{decimals}f}".replace("-", "−")


def signed(value: float | None, decimals: int = 2) -> str:
    """A number behind a plus or a true minus; a dash for none."""
    return number(value, decimals, signed=True)


def between(low: float | None, high: float | None, signed: bool = False) -> str:
    """An interval behind a number; nothing where there is none."""
    return (
        ""
        if low is None or high is None
        else f" [{number(low, signed=signed)}, {number(high, signed=signed)}]"
    )


def difference(found) -> str:
    """A :class:`~evalib.results.statistics.Difference`: ``+0.31``, where it is known ``[−0.77,
    +1.39]`` behind it.
    """
    return signed(found.mean) + between(found.low, found.high, signed=True)


def p_value(p: float | None) -> str:
    """A p-value to three decimals."""
    return "< 0.001" if p is not None and p < 0.0005 else number(p, 3)


def mean_or_each(mean: float | None, values: list[float]) -> str:
    """The mean accuracy of a row; that of each seed where there is no mean, because only some of
    its runs collapsed.
    """
    if mean is None and values:
        return "; ".join(map(number, values))
    return number(mean)


def stopped(experiment: str, out: Path | None = None) -> list[str]:
    """A line for each run of an experiment that was stopped at the ``paper`` tier: how far it came,
    or the note in its file.
    """
    lines = []
    for path in sorted((results(out) / "unfinished").glob(f"{experiment}-seed*.log")):
        seed, rows = foreign(path.stem.rpartition("-seed")[2]), unfinished_curve(path.stem, out)
        if not rows:
            note = foreign(" ".join(unfinished_text(path).split()).rstrip("."))
            lines += [f"seed {seed} {note}"] if note else []
            continue
        best, last = max(row["validation_accuracy"] for row in rows), rows[-1]
        lines.append(
            f"seed {seed} was stopped after epoch {last['epoch']}, at a validation accuracy of"
            f" {last['validation_accuracy']:.1f} % and a training loss of {last['train_loss']:.2f}"
            f" (best validation {best:.1f} %)"
        )
    return lines


RUN = [
    "run",
    "tier",
    "seed",
    "epochs",
    "test %",
    "device",
    "precision",
    "runs at once",
    "minutes",
    "seconds an epoch",
    "torch",
    "commit",
]
"""The heads of :func:`run_cells`."""


def run_cells(record: dict) -> list[str]:
    """What made a record and what it gave, as a line of a table; what is text in it is escaped."""
    test, devices = record["test"], list(spent(record))
    seconds = sorted(entry["seconds"] for entry in record["curve"])
    precision = record.get("precision") if len(devices) == 1 else None
    versions = record["versions"]
    cells = [
        record["experiment"],
        record["tier"],
        record["seed"],
        record["settings"]["epochs"],
        f"{test['accuracy']:.2f} ± {binomial_error(test['accuracy'], test['images']):.2f}",
        ", ".join(devices),
        precision or "–",
        record["shared"],
        f"{statistics.median(seconds) * len(seconds) / 60:.1f}",
        f"{statistics.median(seconds):.0f} ({seconds[0]:.0f} to {seconds[-1]:.0f})",
        versions.get("torch") or "–",
        (record["commit"] or "–")[:7],
    ]
    return [foreign(str(cell)) for cell in cells]
