"""A page is named as changed when, and only when, something that it is made from has changed."""

import json
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from test_notebooks import entries

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def checkout(tmp_path):
    """A copy of the tracked files, as they are now."""
    copy = tmp_path / "copy"
    subprocess.run(["git", "clone", "--quiet", ROOT, copy], check=True)
    for name in subprocess.check_output(["git", "-C", ROOT, "ls-files", "-z"], text=True).split(
        "\0"
    ):
        if name and (ROOT / name).is_file() and not name.startswith("_extra"):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    return copy


def hashes(root):
    script = runpy.run_path(str(root / "book" / "finishing.py"))
    return {page: script["fingerprint"](script["source_of"](page)) for page in entries(root)}


def changed(root, built):
    return set(runpy.run_path(str(root / "book" / "finishing.py"))["changed"](built))


def test_a_change_names_the_pages_it_reaches_and_no_other(checkout):
    built = hashes(checkout)
    notebooks = {page for page in built if page.startswith("notebooks/")}
    assert changed(checkout, built) == set()

    def after(path, text):
        old = (checkout / path).read_bytes()
        (checkout / path).write_bytes(old + text)
        try:
            return changed(checkout, built)
        finally:
            (checkout / path).write_bytes(old)

    assert after("book/departures.md", b"\n") == {"book/departures", "notebooks/intro"}
    assert after("notebooks/attention.ipynb", b"\n") == {"notebooks/attention"}
    assert after("evalib/eva.py", b"\n") == notebooks
    record = next((checkout / "results" / "quick").glob("*.json")).relative_to(checkout)
    assert {"notebooks/table1"} <= after(record, b"\n") < notebooks
    assert after("workflow/manifest.csv", b"\n") >= {"book/running"}
    assert (
        {"book/references", "notebooks/attention"}
        <= after("book/references.bib", b"\n")
        < set(built)
    )
    assert after("book/finishing.py", b"\n") == set(built)
    assert after("README.md", b"\n") == set()


def test_a_page_is_built_anew_when_a_record_is_added(checkout):
    marks = hashes(checkout)
    book = SimpleNamespace(evalib_sources=marks | {"book/gone": "0"}, found_docs=set(marks))

    def outdated():
        return set(
            runpy.run_path(str(checkout / "book" / "finishing.py"))["outdated"](
                None, book, set(), set(), set()
            )
        )

    assert outdated() == set()
    record = next((checkout / "results" / "quick").glob("*.json"))
    (checkout / "results" / "smoke").mkdir()  # which git ignores
    (checkout / "results" / "smoke" / "another-seed9.json").write_bytes(record.read_bytes())
    assert {"notebooks/table1", "notebooks/report"} <= outdated() < set(marks)


def test_the_command_names_them_and_fails(checkout):
    built = checkout.parent / "sources.json"
    built.write_text(json.dumps(hashes(checkout) | {"book/gone": "0"}))
    done = subprocess.run(
        [sys.executable, checkout / "book" / "finishing.py", built], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.split()) == (1, ["book/gone"])
    built.unlink()
    done = subprocess.run(
        [sys.executable, checkout / "book" / "finishing.py", built], capture_output=True, text=True
    )
    assert done.returncode == 1 and "no list of built pages there" in done.stderr
