"""Write Table 1 into README.md, from the records of the tiers that are kept in the repository."""

import re
from pathlib import Path

from evalib import tables

README = Path(__file__).parent.parent / "README.md"
BLOCK = re.compile(r"(<!-- table: .*? -->\n).*?(<!-- end of table -->)", re.DOTALL)


def updated(text: str) -> str:
    """``text`` with the table between its two marks."""
    rows = tables.table(README.parent / "results", tiers=("quick", "paper"))
    return BLOCK.sub(lambda found: f"{found[1]}{tables.markdown(rows)}\n{found[2]}", text)


if __name__ == "__main__":
    README.write_text(updated(README.read_text(encoding="utf-8")), encoding="utf-8")
