"""Numbers, and what records say, as text: the one place where they become Markdown, and where it is
escaped.
"""

import html
import json
import re
from collections.abc import Iterable
from pathlib import Path

from tabulate import tabulate

from evalib.results.records import results, unfinished_curve
from evalib.results.statistics import binomial_error

NUMBER = re.compile(
    r"(< )?[+−-]?[\d.,]+(e[+-]\d+)?(; [\d.]+| ± [\d.]+| of [\d,]+| \[[^]]*\]| \([\d. to]+\))*|–"
)
"""A cell of numbers alone: with an interval, an error, a range, or one after the other."""


def table(heads: list[str], rows: Iterable[Iterable]) -> str:
    """A table in Markdown, one list of cells a row, ``None`` a dash; columns of numbers stand at
    the right.
    """
    cells = [["–" if cell is None else one_cell(str(cell)) for cell in row] for row in rows]
    if not cells:
        return f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}"
    sides = []
    for column in zip(*cells, strict=True):
        sides.append("right" if all(map(NUMBER.fullmatch, column)) else "left")
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


def read_foreign(path: Path):
    """The JSON at ``path``, its texts and the names of its fields as :func:`foreign` shows them,
    but for those that are names in Python too.
    """

    def harmless(part):
        if isinstance(part, dict):
            return {harmless(name): harmless(value) for name, value in part.items()}
        if isinstance(part, list):
            return [harmless(each) for each in part]
        return foreign(part) if isinstance(part, str) and not part.isidentifier() else part

    return harmless(json.loads(path.read_text("utf-8")))


def number(value: float | None, decimals: int = 2, signed: bool = False) -> str:
    """A number, its minus a true one; a dash for none."""
    if value is None:
        return "–"
    rounded = round(value, decimals) + 0.0  # what rounds to zero has no minus
    return f"{rounded:{'+' if signed else ''},.{decimals}f}".replace("-", "−")


def signed(value: float | None, decimals: int = 2) -> str:
    """A number behind a plus or a true minus; a dash for none."""
    return number(value, decimals, signed=True)


def between(low: float | None, high: float | None, signed: bool = False) -> str:
    """An interval behind a number; nothing where there is none."""
    if low is None or high is None:
        return ""
    return f" [{number(low, signed=signed)}, {number(high, signed=signed)}]"


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


def list_stopped(experiment: str, out: Path | None = None) -> list[str]:
    """A line for each run of an experiment that was stopped at the ``paper`` tier: how far it came,
    or the note in its file.
    """
    lines = []
    for path in sorted((results(out) / "unfinished").glob(f"{experiment}-seed*.log")):
        seed = foreign(path.stem.rpartition("-seed")[2])
        try:
            curve = unfinished_curve(path.stem, out)
            note = " ".join(path.read_text("utf-8", errors="replace").split()).rstrip(".")
        except (OSError, ValueError):  # a folder, a link to nothing; a number of 5000 digits
            lines.append(f"seed {seed} has a log that cannot be read")
            continue
        if not curve:
            lines += [f"seed {seed} {foreign(note)}"]
            continue
        best, last = max(entry["validation_accuracy"] for entry in curve), curve[-1]
        lines.append(
            f"seed {seed} was stopped after epoch {last['epoch']}, at a validation accuracy of"
            f" {last['validation_accuracy']:.1f} % and a training loss of {last['train_loss']:.2f}"
            f" (best validation {best:.1f} %)"
        )
    return lines


def describe_run(run) -> dict[str, str]:
    """What made a run of :func:`.records.load_records` and what it gave, by the heads of a table;
    what is text in it is escaped.
    """
    seconds = [entry["seconds"] for entry in run.curve]
    error = binomial_error(run.test_accuracy, run.test_images)
    cells = {
        "run": run.experiment,
        "tier": run.tier,
        "seed": run.seed,
        "epochs": run.epochs,
        "test %": f"{run.test_accuracy:.2f} ± {error:.2f}",
        "device": run.place,
        "precision": run.precision if len(run.device_seconds) == 1 else "",
        "runs at once": run.shared,
        "minutes": f"{run.minutes:.1f}",
        "seconds an epoch": f"{run.epoch_seconds:.0f} ({min(seconds):.0f} to {max(seconds):.0f})",
        "torch": run.torch,
        "commit": run.commit[:7],
    }
    return {head: "–" if cell == "" else foreign(str(cell)) for head, cell in cells.items()}
