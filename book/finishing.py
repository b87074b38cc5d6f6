"""The book's own Sphinx extension: mends what the theme leaves, and marks each page with the hash
of what made it.

`python book/finishing.py` names the pages that would change if the book were built now; with the
path or the address of another build's `sources.json` it names those that differ from that build.
"""

import hashlib
import json
import re
import subprocess
import sys
import urllib.request
from functools import cache
from html import escape
from pathlib import Path

from docutils import nodes
from sphinx.builders.html import StandaloneHTMLBuilder

ROOT = Path(__file__).resolve().parent.parent
BUILT = ROOT / "_build" / "html" / "sources.json"
PICTURE = "share.png"
READS_RECORDS = re.compile(r"\b(records|tables|results|load_weights)\b")
SHARED = (
    "_config.yml",
    "_toc.yml",
    "requirements.txt",
    "book/finishing.py",
    "book/slim.py",
    "_static/book.css",
    "_static/book.js",
)


@cache
def tracked() -> tuple[Path, ...]:
    """The files of the repository that git tracks, relative to its root."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return tuple(
        Path(name) for name in sorted(listed.split("\0")) if name and (ROOT / name).is_file()
    )


def inputs(source: Path) -> list[Path]:
    """The files that a page is made from: itself, evalib if it runs code, the records if it reads
    some, the references if it cites, files it names."""
    text = (ROOT / source).read_text(encoding="utf-8")
    runs, cites = source.suffix == ".ipynb", re.search(r"\{(cite|bibliography)\b", text)
    code = {"evalib", "results"} if READS_RECORDS.search(text) else {"evalib"}
    found = {source, *(Path(name) for name in SHARED if (ROOT / name).is_file())}
    recorded = (
        path.relative_to(ROOT) for path in ROOT.glob("results/*/*.json")
    )  # git does not know each of them
    for path in {*tracked(), *recorded}:
        first = path.parts[0]
        # another page is linked to, or read by code, where its name ends in an escaped quote
        name = f'{path.name}\\"' if path.suffix == ".md" else path.name
        named = first in ("workflow", "tests", "book", "_static") and name in text
        if (runs and first in code) or named or (cites and path.suffix == ".bib"):
            found.add(path)
    return sorted(found)


def fingerprint(source: Path) -> str:
    """The SHA-256 of the names and the contents of a page's inputs."""
    sha = hashlib.sha256()
    for path in inputs(source):
        sha.update(f"{path}\0".encode() + hashlib.sha256((ROOT / path).read_bytes()).digest())
    return sha.hexdigest()


def source_of(page: str) -> Path | None:
    """The notebook or text that a page is made from; ``None`` for those that Sphinx makes, such as
    the index.
    """
    return next(
        (Path(page + suffix) for suffix in (".ipynb", ".md") if (ROOT / (page + suffix)).is_file()),
        None,
    )


def changed(built: dict[str, str]) -> list[str]:
    """The pages of ``built`` (page: hash) that are made from something else now, and those that are
    gone.
    """
    return [
        page
        for page, was in built.items()
        if (path := source_of(page)) is None or fingerprint(path) != was
    ]


def description(doctree) -> str:
    """The first paragraph of a page as plain text, cut at a word, for search engines."""
    for paragraph in doctree.findall(nodes.paragraph) if doctree else ():
        text = " ".join(paragraph.astext().split())
        if len(text) > 40:
            return text if len(text) <= 160 else text[:160].rsplit(" ", 1)[0] + " …"
    return ""


class Book(StandaloneHTMLBuilder):
    """Pages whose search finds words: no code, no formula and no markup is in its index."""

    def index_page(self, pagename: str, doctree: nodes.document, title: str) -> None:
        prose = doctree.deepcopy()
        unread = nodes.literal_block, nodes.raw, nodes.math, nodes.math_block
        for node in [node for node in prose.findall() if isinstance(node, unread)]:
            node.parent.remove(node)
        super().index_page(pagename, prose, title)


def colab(app, page: str) -> str:
    """The address at which Colab opens the notebook of a page."""
    options = app.config.html_theme_options
    repository = options["repository_url"].removeprefix("https://github.com/")
    branch = options.get("repository_branch", "main")
    return f"https://colab.research.google.com/github/{repository}/blob/{branch}/{page}.ipynb"


def finish(app, page: str, template: str, context: dict, doctree) -> None:
    """Mend a page and put its description and its hash into its head."""
    scripts = context.get("script_files", [])  # the launch buttons declare the same constant twice
    context["script_files"] = [
        each for each in scripts if "THEBE_JS_URL" not in each.attributes.get("body", "")
    ]
    if "body" in context:  # docutils calls a list what has entries of another role
        context["body"] = context["body"].replace(
            '<div role="list" class="citation-list">', '<div class="citation-list">'
        )
        link = f'<a href="{colab(app, page)}">open it in Colab</a>'
        context["body"] = context["body"].replace("open it in Colab", link)
    about = (
        description(doctree)
        or f"{context.get('title', '')}: {app.config.html_title or app.config.project}"
    )
    if page == app.config.root_doc:  # the answer, not the question
        from evalib.results import answer

        about = re.sub(r"[*]", "", f"{answer.REPORTED} {answer.text()}")
    context["metatags"] = (
        context.get("metatags", "") + f'\n<meta name="description" content="{escape(about)}" />'
    )
    context["metatags"] += shared(app, page, context.get("title", ""), about)
    if path := source_of(page):
        mark = app.env.evalib_sources[page] = fingerprint(path)
        context["metatags"] += f'\n<meta name="made-from" content="sha256-{mark}" />'


def shared(app, page: str, title: str, about: str) -> str:
    """What is shown where a link to the page is shared (Open Graph): title, description, address,
    and the book's picture.
    """
    owner, _, name = (
        app.config.html_theme_options["repository_url"]
        .removeprefix("https://github.com/")
        .partition("/")
    )
    site, plain = f"https://{owner}.github.io/{name}", re.sub(r"<[^>]+>", "", title)
    told = {
        "og:type": "article",
        "og:site_name": app.config.html_title,
        "og:title": plain,
        "og:description": about,
        "og:url": f"{site}/{page}.html",
        "og:image": f"{site}/{PICTURE}",
        "og:image:alt": "Test accuracy of each network, the paper's and ours",
    }
    lines = "".join(
        f'\n<meta property="{key}" content="{escape(text)}" />' for key, text in told.items()
    )
    return lines + '\n<meta name="twitter:card" content="summary_large_image" />'


def front(app, error) -> None:
    """The picture for sharing, and a page at the root that sends on to the first page."""
    if error is not None or app.builder.format != "html":
        return
    from evalib.pages import figures
    from evalib.results import tables

    out, first, title = Path(app.outdir), app.config.root_doc, app.config.html_title
    (out / PICTURE).write_bytes(figures.share(tables.of_size("small"), title))
    head = re.search(r"<head>.*?</head>", (out / f"{first}.html").read_text(encoding="utf-8"), re.S)
    tags = "".join(
        re.findall(
            r'<meta (?:property|name="(?:description|twitter)).*?>\n?', head[0] if head else ""
        )
    )
    (out / "index.html").write_text(
        '<!doctype html>\n<html lang="en"><head><meta'
        f' charset="utf-8"><title>{escape(title)}</title>\n{tags}<meta http-equiv="refresh"'
        f' content="0; url={first}.html"></head>\n<body><main><h1>{escape(title)}</h1><p><a'
        f' href="{first}.html">Read the book</a></p></main></body></html>\n',
        encoding="utf-8",
    )


def begin(app) -> None:
    """Take up the hashes of the build before, if there was one."""
    before = Path(app.outdir) / "sources.json"
    app.env.evalib_sources = read(str(before)) if before.is_file() else {}


def outdated(app, env, *_) -> list[str]:
    """The pages to make anew: of what a page is made from, Sphinx itself looks at its own text
    alone.
    """
    return [page for page in changed(env.evalib_sources) if page in env.found_docs]


def write(app, error) -> None:
    """List the pages and their hashes in `sources.json` at the root of the site."""
    if error is None and app.builder.format == "html":
        there = {
            page: mark
            for page, mark in app.env.evalib_sources.items()
            if page in app.env.found_docs
        }
        text = json.dumps(there, indent=1, sort_keys=True)
        (Path(app.outdir) / "sources.json").write_text(text + "\n", encoding="utf-8")


def setup(app) -> dict:
    app.add_builder(Book, override=True)
    app.connect("builder-inited", begin)
    app.connect("env-get-outdated", outdated)
    app.connect("html-page-context", finish, priority=900)
    app.connect("build-finished", write)
    app.connect("build-finished", front)
    return {"parallel_read_safe": True, "parallel_write_safe": False}


def read(where: str) -> dict[str, str]:
    """The `sources.json` at a path or an address."""
    if where.startswith("https://"):
        with urllib.request.urlopen(where, timeout=30) as answer:
            return json.load(answer)
    return json.loads(Path(where).read_text(encoding="utf-8"))


if __name__ == "__main__":
    where = sys.argv[1] if len(sys.argv) > 1 else str(BUILT)
    try:
        stale = changed(read(where))
    except (OSError, ValueError) as error:
        sys.exit(f"{where}: no list of built pages there ({error})")
    print("\n".join(stale) or "every page is as it would be built now")
    sys.exit(bool(stale))
