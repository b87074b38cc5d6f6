"""A browser for tests: pages opened from disk, with an eye on the console and on requests to other
hosts.

Chromium is Debian's (``apt-get install chromium``), or the one that ``EVALIB_CHROMIUM`` names.
Without it these tests are skipped, unless ``EVALIB_BROWSER=required``, which ``make test-browser``
sets.
"""

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = os.environ.get("EVALIB_CHROMIUM") or shutil.which("chromium")
ARGUMENTS = ["--no-sandbox", "--disable-background-networking"]
LOCAL = ("file:", "data:", "blob:", "about:")
LIMIT = float(os.environ.get("EVALIB_PAGE_TIMEOUT", "60")) * 1000  # ms; a busy machine is slow


def absent(reason: str):
    """Skip for ``reason``, or fail where a browser is required."""
    if os.environ.get("EVALIB_BROWSER") == "required":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(autouse=True)
def float64_and_seed():
    """In place of the suite's fixture of this name: networks compute in single precision here, as
    on the pages.
    """
    import torch

    torch.manual_seed(0)


@pytest.fixture(scope="module")
def browser():
    """Chromium, one a module: its event loop must not outlive the module."""
    if not CHROMIUM:
        absent(
            "no chromium on this machine: apt-get install chromium, or set EVALIB_CHROMIUM to its path"
        )
    api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


def watched(context):
    """A page of a context, with all that it logs as an error and all that it asks other hosts."""
    context.set_default_timeout(LIMIT)
    page = context.new_page()
    page.console_errors, page.foreign_requests = [], []

    def refuse(route):
        page.foreign_requests.append(route.request.url)
        route.abort()

    def hear(line):
        if line.type == "error":
            page.console_errors.append(line.text)

    context.route(lambda url: not url.startswith(LOCAL), refuse)
    page.on("console", hear)
    page.on("pageerror", lambda error: page.console_errors.append(str(error)))
    return page


@pytest.fixture
def new_page(browser):
    """``new_page(**options)``: an empty page of its own context (``viewport``, ``color_scheme``,
    ``has_touch``, …).

    When the test is over, the console must hold no error and no request may have gone to another
    host. A test that expects some takes them out of ``page.console_errors`` or
    ``page.foreign_requests``.
    """
    pages = []

    def make(**options):
        pages.append(watched(browser.new_context(**options)))
        return pages[-1]

    yield make
    for page in pages:
        page.context.close()
    assert [page.console_errors for page in pages if page.console_errors] == []
    assert [page.foreign_requests for page in pages if page.foreign_requests] == []


@pytest.fixture(scope="module")
def page_of_module(browser):
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        yield watched(context)


@pytest.fixture
def page(page_of_module):
    """The page that the tests of a module share, 1280 × 900 pixels, light:
    ``page.goto(path.as_uri())``. It is held to what ``new_page`` says.
    """
    yield page_of_module
    errors, asked = page_of_module.console_errors[:], page_of_module.foreign_requests[:]
    page_of_module.console_errors.clear()
    page_of_module.foreign_requests.clear()
    assert (errors, asked) == ([], [])


@pytest.fixture(scope="session")
def built() -> Path:
    """The folder of the built book."""
    folder = ROOT / "_build" / "html"
    if not (folder / "index.html").exists():
        absent(f"the book is not built: {folder} has no index.html; make book")
    return folder
