"""Tables in Markdown, and what may stand in them."""

import html
import re
from collections.abc import Iterable

NUMBER = re.compile(r"(< )?[+−-]?[\d.,]+(e[+-]\d+)?( ± [\d.]+)?( \[[^]]*\])?|–")


def table(heads: list[str], rows: Iterable[Iterable]) -> str:
    """A table, one list of cells a row, ``None`` a dash; columns of numbers stand at the right."""
    cells = [["–" if cell is None else one_cell(str(cell)) for cell in row] for row in rows]
    columns: Iterable = zip(*cells, strict=True) if cells else [()] * len(heads)
    rules = ["---:" if column and all(map(NUMBER.fullmatch, column)) else "---" for column in columns]
    return "\n".join(f"| {' | '.join(line)} |" for line in (heads, rules, *cells))


def one_cell(text: str) -> str:
    """``text`` without what would end a cell or a line."""
    return " ".join(text.replace("|", "&#124;").split())


def foreign(text: str | None) -> str | None:
    """A text from a record or a parameter, shown letter by letter: no HTML, no Markdown."""
    return (
        None
        if text is None
        else re.sub(r"[\\`*_{}\[\]<>#+!|~$]", lambda found: f"&#{ord(found[0])};", html.escape(text))
    )


def number(value: float | None, decimals: int = 2, signed: bool = False) -> str:
    """A number, its minus a true one; a dash for none."""
    return "–" if value is None else f"{value:{'+' if signed else ''},.{decimals}f}".replace("-", "−")


def each_or_mean(row: dict) -> str:
    """The mean accuracy of a row; that of each seed where there is no mean, because only some of its runs collapsed."""
    if row["accuracy"] is None and row["accuracies"]:
        return "; ".join(map(number, row["accuracies"]))
    return number(row["accuracy"])


def p_value(p: float | None) -> str:
    """A p-value to three decimals."""
    return "< 0.001" if p is not None and p < 0.0005 else number(p, 3)


def between(low: float | None, high: float | None, signed: bool = False) -> str:
    """An interval behind a number; nothing where there is none."""
    return "" if low is None or high is None else f" [{number(low, signed=signed)}, {number(high, signed=signed)}]"
