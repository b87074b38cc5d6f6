"""What notebooks show: the package's own source, never a copy; tables; figures; answers to exercises. Needs IPython."""

import hashlib
import inspect
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from html import escape
from io import StringIO
from pathlib import Path
from textwrap import dedent, fill

import matplotlib.pyplot as plt
import torch
from IPython.display import HTML, Markdown
from matplotlib.figure import Figure

from evalib.pages import notation
from evalib.pages.figures import INK, styled
from evalib.results import markdown
from evalib.results.records import commit, device_name, results
from evalib.training.download import is_there
from evalib.training.loop import choose_device

RECORDED = Path(__file__).parent.parent / "recorded"
"""The records of the repository, in an installed package."""

WIDTH = 88
"""How wide a line of code may be on a page."""


def source(*objects) -> Markdown:
    """The source of each function or class, as it stands in the package, in lines of at most ``WIDTH`` characters."""
    code = "\n\n\n".join(dedent(inspect.getsource(each)).rstrip() for each in objects)
    return Markdown(f"```python\n{narrow(code)}\n```")


def narrow(code: str) -> str:
    """``code`` with its long lines broken: statements by ruff where it is installed, docstrings and comments in any case."""
    code = re.sub(r"  # fmt: skip$", "", code, flags=re.M)
    if ruff := shutil.which("ruff", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"):
        command = [ruff, "format", "--isolated", f"--line-length={WIDTH}", "--stdin-filename=source.py", "-"]
        code = subprocess.run(command, input=code, capture_output=True, encoding="utf-8", check=True).stdout
    code = re.sub(rf"^(?=.{{{WIDTH + 1}}})( *)(\S.*?)  (# .*)$", r"\1\3\n\1\2", code.rstrip(), flags=re.M)
    code = re.sub(
        rf"^(?=.{{{WIDTH + 1}}})( *)# (.*)$",
        lambda found: fill(found[2], WIDTH, initial_indent=f"{found[1]}# ", subsequent_indent=f"{found[1]}# "),
        code,
        flags=re.M,
    )
    return re.sub(r'"""(?:[^"]|"(?!""))*"""', lambda found: filled(found[0], code[: found.start()]), code)


def filled(docstring: str, before: str) -> str:
    """A docstring whose paragraphs fill the width, where one of their lines is wider; ``before`` it stands this code."""
    indent = " " * (len(before) - before.rfind("\n") - 1)
    paragraphs = re.split(r'(\n\s*\n|\n(?=\s*(?:- |""")))', indent + docstring)
    for at, paragraph in enumerate(paragraphs[::2]):
        if max(map(len, paragraph.splitlines() or [""])) > WIDTH:
            words = " ".join(paragraph.split())
            paragraphs[2 * at] = fill(
                words, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
            )
    return "".join(paragraphs)[len(indent) :]


def table(heads: list[str], rows: Iterable[list]) -> Markdown:
    """A Markdown table, one list of cells a row; columns of numbers stand at the right."""
    return Markdown(markdown.table(heads, rows))


def symbols(item: str) -> Markdown:
    """The symbols of an equation and their variables (:mod:`evalib.pages.notation`)."""
    rows = []
    for row in notation.rows(item):
        name = "returned" if row.name == "return" else f"`{row.name}`"
        rows.append([row.symbol, row.meaning, name, "a number" if row.shape.startswith("=") else f"`{row.shape}`"])
    return table(["Symbol", "Meaning", "In the code", "Axes"], rows)


def picture(*drawings: Figure, caption: str = "", alt: str = "") -> HTML:
    """Drawings side by side, as far as the page is wide, over a caption in HTML, which the book numbers.

    A screen reader reads them as one image, by what each says of itself (:func:`evalib.pages.figures.described`) or by
    ``alt``. They are SVG inside the page. What they draw in ``figures.INK`` takes the colour of the page's text, so one
    picture serves light and dark pages. ``ValueError`` where nothing says what a drawing shows.
    """
    alt = alt or " ".join(str(drawing.get_label() or "") for drawing in drawings)
    if not alt.strip():
        raise ValueError("alt is empty: say in words what the figure shows")
    style = "display: flex; flex-wrap: wrap; align-items: flex-start; gap: 0.8rem 1.2rem"
    parts = [svg(drawing) for drawing in drawings]
    if len(parts) >= 4 and len(parts) % 2 == 0:  # pairs break together: two rows of two, never three and one
        parts = [f'<div style="{style}">{one}{other}</div>' for one, other in zip(parts[::2], parts[1::2], strict=True)]
    shown = "".join(parts)
    return captioned(HTML(f'<div role="img" aria-label="{escape(alt)}" style="{style}">{shown}</div>'), caption)


def captioned(shown: HTML, caption: str) -> HTML:
    """An element with a caption in HTML, which the book numbers."""
    below = f"<figcaption>{caption}</figcaption>" if caption else ""
    return HTML(f'<figure class="drawn" style="margin: 0">{shown.data}{below}</figure>')


@styled
def svg(drawing: Figure) -> str:
    """A drawing as one ``<svg>`` element: no styles that reach the page, and ids that no other drawing has."""
    buffer = StringIO()
    drawing.savefig(buffer, format="svg", bbox_inches="tight", pad_inches=0.02, transparent=True)
    plt.close(drawing)
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text[text.index("<svg") :], flags=re.S)
    text = re.sub(r' id="(figure|axes|patch|text|line2d|matplotlib\.axis|[xy]tick|legend)_\d+"', "", text)
    prefix = hashlib.sha256(text.encode()).hexdigest()[:8]
    text = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>f{prefix}-", text)
    text = text.replace("<svg ", '<svg style="max-width: 100%; height: auto; stroke-linejoin: round" ', 1)
    return text.replace(INK, "currentColor")


def check(answer, expected) -> Markdown:
    """What to say of the answer to an exercise: not solved yet, while it is or holds a ``...``, or right.

    A wrong answer raises an ``AssertionError`` that says how it differs from ``expected``; whole numbers are met to 1e-5.
    """
    if any(part is ... or part is None for part in (answer if isinstance(answer, list) else [answer])):
        return Markdown(
            "**Not solved yet.** A built page runs nothing: open it in Colab or Jupyter, put your answer in place of `...`, "
            "and run both cells again."
        )
    expected = torch.as_tensor(expected)
    if expected.is_floating_point():
        torch.testing.assert_close(torch.as_tensor(answer).to(expected.dtype), expected)
    else:
        torch.testing.assert_close(torch.as_tensor(answer).double(), expected.double(), rtol=0, atol=1e-5)
    return Markdown("**Right.**")


def here() -> str:
    """One line on what runs: the commit of evalib, the device, and the data set that is at hand.

    Where there is neither a checkout nor a ``results/`` yet, as in Colab, the records that come with the package are laid
    there first, so that no page is empty.
    """
    if RECORDED.is_dir() and not results().exists():
        shutil.copytree(RECORDED, results())
    data = "full CIFAR-10" if is_there() else "the bundled subset of CIFAR-10"
    return f"evalib at commit {(commit() or 'unknown')[:7]} on {device_name(choose_device())}, with {data}"
