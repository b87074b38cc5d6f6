"""The built book as one PDF, `_build/evalib.pdf`: `make pdf`, after `make book`. Chromium prints
it, as it shows the pages.

Jupyter Book's own ``--builder pdfhtml`` runs every notebook again, into ``_build/html`` in place of
the book.
"""

import os
import re
import shutil
import sys
from pathlib import Path

import yaml
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
HTML = ROOT / "_build" / "html"
DRAWN = "f[0-9a-f]{8}-"
"""How the ids within a drawing begin (:func:`evalib.pages.display.svg`)."""
STYLE = """<style>
  @page { size: A4; margin: 18mm 16mm; }
  html { font-size: 13px; }
  :is(.bd-main, .bd-content, article, h1) { display: block !important; }
  article ~ article { break-before: page; }
  :is(h1, h2, h3, .cell_input, figure, table, eva-explorer, mjx-container) { break-inside: avoid; }
  :is(h1, h2, h3) { break-after: avoid; }
  .headerlink, .copybtn, summary { display: none !important; }
  .bd-article pre { font-size: 9.5px; }
</style>"""


def pages() -> list[str]:
    """The pages of the book in their order, as paths without a suffix."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    return [
        toc["root"],
        *(chapter["file"] for part in toc["parts"] for chapter in part["chapters"]),
    ]


def article(page: str) -> str:
    """The text of a page, its anchors and links made anchors of one document."""
    text = (HTML / f"{page}.html").read_text(encoding="utf-8")
    body = text[
        text.index('<article class="bd-article">') : text.index("</article>") + len("</article>")
    ]
    name = Path(page).name

    def link(found: re.Match) -> str:
        return f'href="#{found[1] or name}-{found[2] or ""}"'

    text = re.sub(rf'\bid="(?!{DRAWN})([^"]*)"', rf'id="{name}-\1"', body)
    text = re.sub(
        rf'(?<!:)href="(?!https?:|#{DRAWN})(?:[./\w]*?(\w+)\.html)?(?:#([^"]*))?"', link, text
    )
    return f'<a id="{name}-"></a>{text}'


def main() -> None:
    """Put all pages into one, beside the others, print it, and take it away again."""
    chromium = os.environ.get("EVALIB_CHROMIUM") or shutil.which("chromium")
    if not chromium:
        sys.exit(
            "there is no chromium: apt-get install chromium, or set EVALIB_CHROMIUM to its path"
        )
    head = (HTML / "notebooks" / "eva.html").read_text(encoding="utf-8").split("</head>")[0]
    whole = HTML / "notebooks" / "whole.html"
    body = "".join(map(article, pages()))
    whole.write_text(
        f'{head}{STYLE}</head><body><main class="bd-main"><div'
        f' class="bd-content">{body}</div></main></body></html>',
        encoding="utf-8",
    )
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page(color_scheme="light", viewport={"width": 900, "height": 1200})
            page.set_default_timeout(300_000)
            page.goto(whole.as_uri())
            page.evaluate("() => window.MathJax?.startup?.promise")
            page.pdf(
                path=ROOT / "_build" / "evalib.pdf",
                prefer_css_page_size=True,
                print_background=True,
                outline=True,
                tagged=True,
            )
            browser.close()
    finally:
        whole.unlink()


if __name__ == "__main__":
    main()
