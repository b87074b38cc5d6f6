"""What slimming leaves of a page: the same words, without what holds up its first paint."""

import re
import runpy
from pathlib import Path

import pytest

SLIM = runpy.run_path(str(Path(__file__).resolve().parent.parent / "book" / "slim.py"))
LIBRARY = 'a={"sun":[512,512,[],"f185","M1 1h2"],moon:[384,512,[1],"f186","M3 3h4"]};b={"sun":[512,512,[],"f185","M5 5h6"]}'
PAGE = """<html><head>
<link href="_static/styles/pydata-sphinx-theme.css?digest=1" rel="stylesheet" />
<link rel="stylesheet" href="_static/sphinx-design.min.css?v=1" />
<script src="_static/scripts/fontawesome.js?digest=1"></script>
<link rel="preload" as="script" href="_static/scripts/bootstrap.js?digest=1" />
<script src="_static/documentation_options.js?v=1"></script>
<script src="_static/doctools.js?v=1"></script>
<script>window.MathJax = {"options": {}}</script>
<script defer="defer" src="vendor/mathjax/tex-mml-chtml.js?v=1"></script>
</head><body><i class="theme-switch fa-solid fa-sun fa-lg" data-mode="light"></i> BODY
<script defer src="_static/scripts/bootstrap.js?digest=1"></script></body></html>"""
FORMULA = '<span class="math notranslate nohighlight">\\(q_0\\)</span>'


def slim(body):
    return SLIM["slim"](PAGE.replace("BODY", body), LIBRARY)


@pytest.mark.parametrize("body", ["", FORMULA])
def test_what_a_page_does_not_use_is_not_loaded(body):
    head, rest = slim(body).split("</head>")
    assert "fontawesome" not in head and "sphinx-design" not in head and "preload" not in head
    assert "pydata-sphinx-theme.css" in head and "bootstrap.js" in rest
    assert ("MathJax" in head) == ("mathjax" in head) == bool(body)


def test_no_script_but_the_options_holds_up_the_page():
    blocking = re.findall(r'<script src="([^"?]*)', slim(FORMULA))
    assert blocking == ["_static/documentation_options.js"]


def test_an_icon_is_drawn_solid_and_keeps_its_class():
    assert (
        '<svg aria-hidden="true" viewBox="0 0 512 512" class="theme-switch fa-solid fa-sun fa-lg"'
        in slim("")
    )
    assert 'd="M5 5h6"' in slim("")


def test_an_icon_that_the_library_lacks_stops_the_build():
    with pytest.raises(IndexError):
        slim('<i class="fas fa-unheard-of"></i>')


def test_punctuation_stays_with_the_formula_before_it():
    assert re.search(
        r'<span class="closed"><span class="math [^>]*>\\\(q_0\\\)</span>,</span> so',
        slim(f"{FORMULA}, so"),
    )


def test_a_formula_reserves_its_room():
    rows = r'<div class="math notranslate nohighlight">\[\begin{aligned} a &amp;= b \\ c &amp;= d \end{aligned}\]</div>'
    assert '--room: 1.2em">' in slim(FORMULA)
    assert '--room: 4.6rem">' in slim(rows)


def test_a_name_of_code_breaks_after_its_dots():
    code = '<code class="docutils literal notranslate"><span class="pre">eva.feed_forward</span></code>'
    assert "eva.<wbr>feed_<wbr>forward" in slim(code)


def test_a_search_shows_prose_and_a_book_can_be_built_again():
    made = SLIM["read_prose"]('for (const skipped of [".headerlink", "script", "style"]) remove();')
    assert '"pre", "details"' in made and SLIM["read_prose"](made) == made
    with pytest.raises(ValueError, match="another than the one"):
        SLIM["read_prose"]("const search = 1;")
