"""A shared link shows the answer: its tags and its picture, and the root sends on to the first page."""

import runpy
from html import unescape
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from evalib.results import answer

ROOT = Path(__file__).resolve().parent.parent
SITE = "https://" + "owner.github.io/name"  # not one of this repository's addresses


@pytest.fixture
def finishing():
    return runpy.run_path(str(ROOT / "book" / "finishing.py"))


@pytest.fixture
def app(tmp_path):
    options = {"repository_url": "https://github.com/owner/name"}
    config = SimpleNamespace(
        html_theme_options=options, html_title="The title", root_doc="notebooks/intro"
    )
    return SimpleNamespace(config=config, outdir=tmp_path, builder=SimpleNamespace(format="html"))


def test_the_tags_have_absolute_addresses_and_plain_text(finishing, app):
    tags = finishing["shared"](app, "notebooks/eva", "<em>EVA</em> & rings", 'says "so"')
    assert f'<meta property="og:image" content="{SITE}/share.png" />' in tags
    assert f'<meta property="og:url" content="{SITE}/notebooks/eva.html" />' in tags
    assert 'content="EVA &amp; rings"' in tags and "says &quot;so&quot;" in tags


def test_the_root_sends_on_and_carries_the_tags(finishing, app, tmp_path):
    about = answer.text()
    page = tmp_path / "notebooks" / "intro.html"
    page.parent.mkdir()
    tags = finishing["shared"](app, "notebooks/intro", "A question?", about)
    page.write_text(f"<html><head>{tags}</head><body></body></html>", encoding="utf-8")
    finishing["front"](app, None)
    target, text = "notebooks/intro.html", (tmp_path / "index.html").read_text(encoding="utf-8")
    assert f'content="0; url={target}"' in text and f'<a href="{target}">' in text
    assert about in unescape(text) and 'lang="en"' in text and "<title>The title</title>" in text
    with Image.open(tmp_path / "share.png") as picture:
        assert picture.size == (1200, 630)


def test_a_build_that_failed_is_left_alone(finishing, app, tmp_path):
    finishing["front"](app, ValueError("no"))
    assert list(tmp_path.iterdir()) == []
