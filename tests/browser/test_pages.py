"""Every page of the built book, as a reader meets it. Pages are those that were built, not a list."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from served import HTML, served
from visits import page_names, seen

import evalib
from evalib.results import choice

MEGABYTES = {"notebooks/intro.html": 1.5}  # page one has a network in it
USUAL = 0.75
ALLOWED: dict[
    str, str
] = {}  # axe's rules that the theme breaks and that neither CSS nor a template can mend


@pytest.fixture(scope="module")
def address(built):
    with served(built) as where:
        yield where


@pytest.fixture(scope="module", params=page_names() or ["index.html"])
def visit(request, browser, address):
    return seen(browser, address, request.param)


def test_a_page_asks_no_other_host_for_anything(visit):
    assert not visit.foreign
    assert not visit.failed


def test_a_page_has_no_error_in_the_console(visit):
    assert not visit.console


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_a_page_is_accessible(visit, mode):
    """Axe finds nothing serious or critical; among its rules is the contrast of all text."""
    assert not [each for each in visit.violations[mode] if each["rule"] not in ALLOWED]


def test_figures_are_legible_in_the_dark(visit):
    assert not visit.dark_on_dark


def test_a_page_does_not_scroll_sideways_on_a_phone(visit):
    assert visit.overflow <= 0, visit.wider


def test_a_page_is_light(visit):
    assert visit.bytes <= MEGABYTES.get(visit.name, USUAL) * 2**20


def test_the_book_has_a_page_for_every_notebook(built):
    sources = {path.stem for path in (HTML.parents[1] / "notebooks").glob("*.ipynb")}
    assert sources <= {Path(name).stem for name in page_names()}


def test_an_accuracy_of_an_evanet_stands_beside_its_reading(built):
    """In every row of every table, but for the paper's own numbers, and for counts and times."""
    papers = {f"{row.paper_accuracy:.2f}" for row in evalib.TABLE_1}
    found = []
    for name in page_names():
        for row in re.findall(r"<tr\b.*?</tr>", (HTML / name).read_text("utf-8"), re.S):
            text = re.sub(r"<[^>]+>", " ", row.replace("<wbr>", ""))
            if (
                re.search("EVANet-20|evanet20", text)
                and set(re.findall(r"\b\d\d\.\d\d\b", text)) - papers
            ):
                found.append(f"{name}: {' '.join(text.split())}")
    found = [row for row in found if not re.search("FLOPs|speed.html|query-alone", row)]
    assert len(found) > 20
    assert not [row for row in found if not re.search("|".join(choice.ADDED), row)]


def test_every_link_and_anchor_within_the_book_resolves(built):
    command = [Path(sys.executable).with_name("lychee"), "--offline", "--include-fragments"]
    command += ["--no-progress", "--exclude-path", r"macros\.html$"]
    command += ["--root-dir", HTML, f"{HTML}/**/*.html"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_search_finds_words_and_no_code(browser, address):
    page = browser.new_context().new_page()
    page.goto(f"{address}/search.html?q=importlib")
    page.wait_for_selector("#search-results .search-summary:not(:empty)")
    assert page.locator("#search-results li").count() == 0
    page.goto(f"{address}/search.html?q=softmax")
    page.wait_for_selector("#search-results li p.context")
    shown = "\n".join(page.locator("#search-results p.context").all_inner_texts())
    assert not re.search(r"import |def |\\\(|<div|\$\$", shown), shown


def test_one_switch_shows_the_code_of_a_page(page, built):
    page.goto((built / "notebooks" / "attention.html").as_uri())
    cells = page.locator("details.above-input")
    assert cells.count() > 5 and not cells.first.locator("pre").is_visible()
    page.get_by_role("button", name="Show the code").click()
    assert all(cell.locator("pre").first.is_visible() for cell in cells.all())
    page.get_by_role("button", name="Hide the code").click()
    assert not cells.first.locator("pre").is_visible()


def test_an_exercise_that_is_not_solved_opens_in_colab(page, built):
    page.goto((built / "notebooks" / "attention.html").as_uri())
    links = page.get_by_role("link", name="open it in Colab")
    assert links.count() == 3
    assert links.first.get_attribute("href").endswith("/blob/main/notebooks/attention.ipynb")
