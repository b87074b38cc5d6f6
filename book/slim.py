"""Makes the built pages light: what a page does not use is not loaded, and what it uses does not
hold up its first paint.

- Icons are SVG inside the page. The theme's script, 1.5 MB for fifteen of them, is not loaded.
- Scripts and styles of extensions that no page needs are left out, and MathJax where there is no
  mathematics.
- The weights of a network that computes in a page lie beside the pages, in one file each, and are
  read when it is started.
- What a search shows of a page is its prose: no code, no tables, no formulas.
- The other scripts run after the page is read. MathJax sets one part of a page after another, so
  that it can be scrolled.
"""

import re
from pathlib import Path

UNUSED = (
    "fontawesome.js|bootstrap.js|pydata-sphinx-theme.js|sphinx-thebe|sphinx-design|design-tabs"
    "|togglebutton"
)
MATHEMATICS = re.compile(r'class="math ')
TYPESET = """<script>window.MathJax = {
  options: {processHtmlClass: "tex2jax_process|mathjax_process|math|output_area"},
  startup: {pageReady: async () => {
    for (const part of document.querySelectorAll(".bd-article > section > *")) {
      if (!part.querySelector(".math")) continue
      await MathJax.typesetPromise([part])
      await new Promise(next => setTimeout(next))
    }
  }}
}</script>"""


def slim(page: str, library: str) -> str:
    """A page without what it does not need; ``library`` is the theme's script of all icons."""
    head, body = page.split("</head>", 1)
    unused = [
        rf'<script[^>]*src="[^"]*(?:{UNUSED})[^>]*></script>',
        rf'<link[^>]*href="[^"]*(?:{UNUSED})[^>]*>',
        r"<script>(?:let|var) toggle.*?</script>",
    ]
    if not MATHEMATICS.search(body):
        unused += [r"<script>window\.MathJax = .*?</script>", r"<script[^>]*mathjax[^>]*></script>"]
    head = re.sub(rf"(?:{'|'.join(unused)})\n?", "", head)
    head = re.sub(r"<script>window\.MathJax = .*?</script>", TYPESET, head)
    head = re.sub(r'<script src="(?![^"]*documentation_options)', '<script defer src="', head)
    body = re.sub(r"<script>kernelName.*?</script>", "", body)
    body = re.sub(r'<script type="text/x-thebe-config">.*?</script>', "", body, flags=re.S)
    return head + "</head>" + icons(closed(reserved(body)), library)


def beside(page: str, up: str, folder: Path) -> str:
    """A page with the weights of its networks in files of ``folder``, which is at ``up`` from the
    page.

    They are scripts, for a page that is opened from disk may read no other file.
    """

    def moved(found: re.Match) -> str:
        digest, weights = found.groups()
        folder.mkdir(exist_ok=True)
        (folder / f"{digest}.js").write_text(
            f'(window.evaWeights ??= {{}})["{digest}"] = "{weights}"\n', encoding="ascii"
        )
        return (
            f'<script type="text/plain" data-digest="{digest}"'
            f' data-src="{up}{folder.name}/{digest}.js"></script>'
        )

    return re.sub(r'<script type="text/plain" data-digest="(\w+)">([^<]+)</script>', moved, page)


def reserved(body: str) -> str:
    """With the width (of a line's formula) or height (of one by itself) that MathJax will need,
    about, as ``--room``.
    """

    def line(found: re.Match) -> str:
        letters = re.sub(r"\\(?:mathrm|operatorname|text)\b|\\[^a-zA-Z]", "", found[2])
        letters = re.sub(r"[{}_^]", "", re.sub(r"\\[a-zA-Z]+", "x", letters))
        return f'{found[1]} style="--room: {0.62 * len(letters):.1f}em">{found[2]}'

    def display(found: re.Match) -> str:
        rows = max(part.count("\\\\") for part in found[2].split(r"\begin"))
        tall = any(word in found[2] for word in (r"\frac", r"\sum", r"\under"))
        return f'{found[1]} style="--room: {3.2 + 1.4 * rows + 1.5 * tall:.1f}rem">{found[2]}'

    body = re.sub(r'(<span class="math [^"]*")>([^<]*)', line, body)
    return re.sub(r'(<div class="math [^>]*)>(.*?</div>)', display, body, flags=re.S)


def closed(body: str) -> str:
    """With names of code that break after a dot, not within a word, and with punctuation where the
    item before it ends.
    """
    body = re.sub(
        r'(?<=<span class="pre">)[^<]*',
        lambda name: re.sub(r"([._/-])(?=\w{4})", r"\1<wbr>", name[0]),
        body,
    )
    item = (
        r'<span class="math [^>]*>[^<]*</span>|<code class="docutils literal'
        r' notranslate">(?:(?!</code>).)*</code>'
    )
    return re.sub(rf"({item})([.,:;?!)]+)", r'<span class="closed">\1\2</span>', body)


def icons(body: str, library: str) -> str:
    """With the icons drawn in place."""

    def drawn(found: re.Match) -> str:
        name = next(
            name for name in re.findall(r"fa-([\w-]+)", found[1]) if name not in ("solid", "lg")
        )
        shapes = re.findall(rf'[{{,]"?{name}"?:\[(\d+),(\d+),\[[^\]]*\],"\w+","([^"]+)"\]', library)
        width, height, shape = shapes[-1]  # the solid one comes last
        return (
            f'<svg aria-hidden="true" viewBox="0 0 {width} {height}" {found[1]}><path'
            f' fill="currentColor" d="{shape}"/></svg>'
        )

    return re.sub(r'<(?:i|span) (class="[^"]*\bfa-[^>]*)></(?:i|span)>', drawn, body)


SKIPPED = '[".headerlink", "script", "style"]'
SKIPPED_TOO = (
    '[".headerlink", "script", "style", "template", "pre", "details", "figure", "table", ".math"]'
)


def read_prose(script: str) -> str:
    """Sphinx's search, which then shows the prose of a page alone; what a build before has made of
    it stays. ``ValueError`` if it is another script.
    """
    if SKIPPED not in script and SKIPPED_TOO not in script:
        raise ValueError("searchtools.js is another than the one that slim.py was written for")
    return script.replace(SKIPPED, SKIPPED_TOO)


def slim_all(app, error) -> None:
    """Slim every page of a build, and the theme's style: it has a rule for each of 2,000 icons."""
    if error is not None or app.builder.format != "html":
        return
    static = Path(app.outdir, "_static")
    library = (static / "scripts" / "fontawesome.js").read_text(encoding="utf-8")
    for path in Path(app.outdir).rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        if "fontawesome.js" in text and static not in path.parents:
            up = "../" * (len(path.relative_to(app.outdir).parts) - 1)
            path.write_text(
                beside(slim(text, library), up, Path(app.outdir, "weights")), encoding="utf-8"
            )
    search = static / "searchtools.js"
    search.write_text(read_prose(search.read_text(encoding="utf-8")), encoding="utf-8")
    style = static / "styles" / "pydata-sphinx-theme.css"
    text = re.sub(
        r"(?:\.fa-[\w-]+:{1,2}before,?)+\{[^{}]*\}", "", style.read_text(encoding="utf-8")
    )
    style.write_text(text, encoding="utf-8")


def setup(app) -> dict:
    app.connect("build-finished", slim_all)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
