"""The README's table, the effects of the departures and the costs of a run are those that the
records give.
"""

import runpy
from pathlib import Path

from evalib.ablations import ABLATIONS

ROOT = Path(__file__).resolve().parent.parent


def test_readme_shows_the_table_of_the_records():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert runpy.run_path(str(ROOT / "scripts" / "update_readme.py"))["updated"](text) == text
    assert text.count("| EVANet-20 large, scaled |") == 1


def test_departures_show_the_effects_of_the_records():
    text = (ROOT / "book" / "departures.md").read_text(encoding="utf-8")
    script = runpy.run_path(str(ROOT / "scripts" / "update_readme.py"))
    assert script["with_effects"](text) == text
    lines = {
        departure: line
        for line in text.splitlines()
        for departure in script["EFFECT"].findall(line)[:1]
    }
    assert len(lines) == text.count("\n## D")
    for row in ABLATIONS:
        assert sum(f"{row.title}: " in line for line in lines.values()) == row.kind.startswith(
            "D"
        ), row.name


def test_running_shows_the_times_of_the_records():
    text = (ROOT / "book" / "running.md").read_text(encoding="utf-8")
    assert runpy.run_path(str(ROOT / "scripts" / "update_readme.py"))["with_costs"](text) == text
    assert text.count("| ResNet-20 small |") >= 1 and text.count("| EVANet-20 large |") >= 1


def test_the_picture_is_the_one_that_the_rings_give():
    picture = ROOT / "_static" / "rings.svg"
    assert (
        picture.read_text(encoding="utf-8")
        == runpy.run_path(str(ROOT / "scripts" / "picture.py"))["drawing"]()
    )
    assert picture.stat().st_size < 50_000
