"""The book's sources: notebooks paired, without outputs, reachable in Colab; the departures listed
where they are named.
"""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

from evalib import TIERS

ROOT = Path(__file__).resolve().parent.parent
REPOSITORY = runpy.run_path(str(ROOT / "scripts" / "set_repository.py"))
SET_UP = REPOSITORY["SET_UP"].format(repository=REPOSITORY["repository"]())
PAGES = sorted((ROOT / "notebooks").glob("*.ipynb"))
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def entries(root=ROOT):
    """The files that the table of contents names, without suffix."""
    toc = yaml.safe_load((root / "_toc.yml").read_text("utf-8"))
    chapters = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    return [toc["root"], *chapters]


def test_every_notebook_is_one_of_a_pair_and_in_the_book():
    scripts = {page.stem for page in (ROOT / "notebooks").glob("*.py")}
    assert scripts == {page.stem for page in PAGES}
    assert {f"notebooks/{name}" for name in scripts} <= set(entries())


@each_page
def test_a_page_hides_no_module_of_python(page):
    """A kernel starts beside its notebook, where ``import x`` finds x.py first."""
    assert page.stem not in sys.stdlib_module_names


def test_syncing_the_pairs_changes_nothing(tmp_path):
    """Neither the headers of the scripts nor the notebooks, whichever of jupytext's commands one
    uses.
    """
    for path in [ROOT / "jupytext.toml", *(ROOT / "notebooks").glob("*.py"), *PAGES]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    for script in sorted(tmp_path.glob("*.py")):
        os.utime(script)  # newer than its notebook
    subprocess.run(
        [sys.executable, "-m", "jupytext", "--quiet", "--sync", *tmp_path.glob("*.ipynb")],
        check=True,
    )
    changed = [each.name for page in PAGES for each in (page, page.with_suffix(".py"))
               if (tmp_path / each.name).read_bytes() != each.read_bytes()]  # fmt: skip
    assert not changed, "make pair"


@each_page
def test_a_notebook_is_valid_and_holds_no_output(page):
    notebook = nbformat.read(page, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in notebook.cells:
        assert not cell.get("outputs") and not cell.get("execution_count"), cell.id
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)


@each_page
def test_a_notebook_sets_itself_up_in_colab(page):
    code = [cell for cell in nbformat.read(page, as_version=4).cells if cell.cell_type == "code"]
    before, found, _ = f"{code[0].source}\n".partition(SET_UP)
    assert found, "make set-repository"
    assert set(REPOSITORY["IMPORTS"].splitlines()) <= set(before.splitlines())


def test_every_entry_of_the_table_of_contents_is_a_file():
    for entry in entries():
        assert any((ROOT / entry).with_suffix(suffix).is_file() for suffix in (".ipynb", ".md")), (
            entry
        )
    assert len(set(entries())) == len(entries())


def test_every_colab_address_is_a_file_of_the_repository():
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    assert config["launch_buttons"]["colab_url"] == "https://colab.research.google.com"
    for entry in entries():
        if entry.startswith(
            "notebooks/"
        ):  # the button opens /github/<repository>/blob/<branch>/<path_to_book>/<entry>.ipynb
            assert (ROOT / config["repository"]["path_to_book"] / f"{entry}.ipynb").is_file(), entry


def test_every_departure_is_named_in_the_code_and_listed_in_the_book():
    named = {
        number
        for path in (ROOT / "evalib").rglob("*.py")
        for number in re.findall(r"departures? (D\d+)", path.read_text())
    }
    listed = re.findall(
        r"^\(d(\d+)\)=\n## D(\d+)", (ROOT / "book" / "departures.md").read_text(), re.MULTILINE
    )
    assert listed == [(str(number), str(number)) for number in range(1, len(listed) + 1)]
    assert named == {f"D{number}" for number, _ in listed}


def test_every_departure_that_a_page_links_to_is_listed():
    listed = set(
        re.findall(r"^\((d\d+)\)=", (ROOT / "book" / "departures.md").read_text(), re.MULTILINE)
    )
    for path in (*(ROOT / "notebooks").glob("*.py"), *(ROOT / "book").glob("*.md")):
        for number, target in re.findall(r"\[(D\d+)\]\(#(\w+)\)", path.read_text()):
            assert target == number.lower() and target in listed, (path.name, number)


def test_the_tiers_in_the_book_are_those_of_the_code():
    text = (ROOT / "book" / "running.md").read_text()
    for name, tier in TIERS.items():
        assert f"| `{name}` | {tier.data} | {tier.epochs} |" in text
