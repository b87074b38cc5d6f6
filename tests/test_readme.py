"""The README's table is the one that the records give."""

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_readme_shows_the_table_of_the_records():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert runpy.run_path(str(ROOT / "scripts" / "update_readme.py"))["updated"](text) == text
    assert text.count("| EVANet-20 large |") == 1
    assert len(text.splitlines()) <= 120


def test_the_picture_is_the_one_that_the_rings_give():
    picture = ROOT / "_static" / "rings.svg"
    assert picture.read_text(encoding="utf-8") == runpy.run_path(str(ROOT / "scripts" / "picture.py"))["drawing"]()
    assert picture.stat().st_size < 50_000


def test_contributing_is_one_page():
    assert len((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()) <= 60
