"""Write Table 1 into README.md and the measured effects into book/departures.md, from the records of the repository."""

import re
from pathlib import Path

from evalib import comparisons, tables
from evalib.networks import ABLATIONS

ROOT = Path(__file__).parent.parent
TIERS = ("quick", "paper")
BLOCK = re.compile(r"(<!-- table: .*? -->\n).*?(<!-- end of table -->)", re.DOTALL)
EFFECT = re.compile(r"^(\| \[(D\d+)\]\(#d\d+\) \|.*?\|.*?\|).*\|$", re.MULTILINE)


def updated(text: str) -> str:
    """The README with the table between its two marks."""
    rows = tables.table(ROOT / "results", TIERS)
    return BLOCK.sub(lambda found: f"{found[1]}{tables.markdown(rows)}\n{found[2]}", text)


def with_effects(text: str) -> str:
    """The list of departures with what another choice did to the accuracy: the last cell of each line."""
    return EFFECT.sub(lambda found: f"{found[1]} {effects(found[2])} |", text)


def effects(departure: str) -> str:
    """The effect of each ablation of a departure, in points; a dash if there is none."""
    lines = []
    for row in (row for row in ABLATIONS if row.kind == departure):
        found = comparisons.effect(row, ROOT / "results", TIERS)
        shown = f"{comparisons.shown(found)} (n = {found.n}, {found.tier})" if found.n else "not run"
        lines.append(f"{row.model}: {shown}")
    return "<br>".join(lines) or "–"


if __name__ == "__main__":
    for path, made in ((ROOT / "README.md", updated), (ROOT / "book" / "departures.md", with_effects)):
        path.write_text(made(path.read_text(encoding="utf-8")), encoding="utf-8")
