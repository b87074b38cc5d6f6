"""What notebooks show: the package's own source; tables; figures; answers to exercises. And the
records that come with the package, laid where a reader has none."""

import hashlib
import inspect
import re
import shutil
from collections.abc import Iterable
from html import escape
from io import StringIO
from pathlib import Path
from textwrap import dedent

import torch
from IPython.display import HTML, Markdown
from matplotlib.figure import Figure

from evalib.pages import notation
from evalib.pages.figures import INK, styled
from evalib.results import words
from evalib.results.records import results
from evalib.training.cifar import is_there
from evalib.training.environment import choose_device, commit, device_name

SIDE_BY_SIDE = 'style="display: flex; flex-wrap: wrap; align-items: flex-start; gap: 0.8rem"'

RECORDED = Path(__file__).parent.parent / "recorded"
"""The records of the repository, in an installed package."""


def source(*objects) -> Markdown:
    """The source of each function or class, as it stands in the package."""
    code = "\n\n\n".join(dedent(inspect.getsource(each)).rstrip() for each in objects)
    return Markdown(f"```python\n{code}\n```")


def table(heads: list[str], rows: Iterable[list]) -> Markdown:
    """A Markdown table, one list of cells a row; columns of numbers stand at the right."""
    return Markdown(words.table(heads, rows))


def folded(summary: str, shown: Markdown) -> Markdown:
    """``shown`` under a line that a reader opens."""
    return Markdown(f"<details><summary>{summary}</summary>\n\n{shown.data}\n\n</details>")


def symbols(item: str) -> Markdown:
    """The symbols of an equation and their variables (:mod:`evalib.pages.notation`)."""
    rows = []
    for row in notation.rows(item):
        name = "returned" if row.name == "return" else f"`{row.name}`"
        axes = "a number" if row.shape.startswith("=") else f"`{row.shape}`"
        rows.append([row.symbol, row.meaning, name, axes])
    return table(["Symbol", "Meaning", "In the code", "Axes"], rows)


def picture(*drawings: Figure, caption: str = "", alt: str = "") -> HTML:
    """Drawings side by side, as far as the page is wide, over a caption, which the book numbers.

    A screen reader reads them as one image, by what each says of itself
    (:func:`evalib.pages.figures.described`) or by ``alt``. They are SVG inside the page. What they
    draw in ``figures.INK`` takes the colour of the page's text, so one picture serves light and
    dark pages. ``ValueError`` where nothing says what a drawing shows.
    """
    alt = alt or " ".join(str(drawing.get_label() or "") for drawing in drawings)
    if not alt.strip():
        raise ValueError("alt is empty: say in words what the figure shows")
    parts = [svg(drawing) for drawing in drawings]
    if len(parts) >= 4 and len(parts) % 2 == 0:  # two rows of two, never three and one
        pairs = zip(parts[::2], parts[1::2], strict=True)
        parts = [f"<div {SIDE_BY_SIDE}>{one}{other}</div>" for one, other in pairs]
    label = f'role="img" aria-label="{escape(alt)}"'
    return captioned(HTML(f"<div {label} {SIDE_BY_SIDE}>{''.join(parts)}</div>"), caption)


def captioned(shown: HTML, caption: str) -> HTML:
    """An element with a caption in HTML, which the book numbers."""
    below = f"<figcaption>{caption}</figcaption>" if caption else ""
    return HTML(f'<figure class="drawn" style="margin: 0">{shown.data}{below}</figure>')


@styled
def svg(drawing: Figure) -> str:
    """A drawing as one ``<svg>`` element: no styles that reach the page, and ids of its own."""
    buffer = StringIO()
    drawing.savefig(buffer, format="svg", bbox_inches="tight", pad_inches=0.02, transparent=True)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.S)
    parts = "figure|axes|patch|text|line2d|matplotlib\\.axis|[xy]tick|legend"
    text = re.sub(rf' id="({parts})_\d+"', "", text)
    prefix = hashlib.sha256(text.encode()).hexdigest()[:8]
    text = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>f{prefix}-", text)
    fits = "max-width: 100%; height: auto; stroke-linejoin: round"
    text = text.replace("<svg ", f'<svg style="{fits}" ', 1)
    return text.replace(INK, "currentColor")


def check(answer, expected) -> Markdown:
    """What to say of the answer to an exercise: not solved yet, while it holds a ``...``, or right.

    A wrong answer raises an ``AssertionError`` that says how it differs from ``expected``; whole
    numbers are met to 1e-5. In the built book ``book/finishing.py`` makes a link of "open it in
    Colab".
    """
    parts = answer if isinstance(answer, list) else [answer]
    if any(part is ... or part is None for part in parts):
        return Markdown(
            "**Not solved yet.** Put your answer in place of `...` and run both cells again; "
            "this page runs nothing by itself: open it in Colab."
        )
    expected = torch.as_tensor(expected)
    answer = torch.as_tensor(answer)
    if expected.is_floating_point():
        torch.testing.assert_close(answer.to(expected.dtype), expected)
    else:
        torch.testing.assert_close(answer.double(), expected.double(), rtol=0, atol=1e-5)
    return Markdown("**Right.**")


def here() -> str:
    """One line on what runs: the commit of evalib, the device, and the data set that is at hand.

    Where there is neither a checkout nor a ``results/`` yet, as in Colab, the records that come
    with the package are laid there first, so that no page is empty.
    """
    if RECORDED.is_dir() and not results().exists():
        shutil.copytree(RECORDED, results())
    data = "full CIFAR-10" if is_there() else "the bundled subset of CIFAR-10"
    version = (commit() or "unknown")[:7]
    return f"evalib at commit {version} on {device_name(choose_device())}, with {data}"
