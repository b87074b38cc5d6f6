"""A visit of a built page: wide and light, then dark, then narrow, and all that was seen on the
way.
"""

from dataclasses import dataclass, field

from axe_playwright_python.sync_playwright import Axe
from conftest import LIMIT
from served import HTML

NOT_PAGES = ("_static", "vendor", "_sources")
STILL = "() => document.getAnimations().every(each => each.playState !== 'running')"

WIDER = """() => [...document.querySelectorAll('body *')]
  .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && getComputedStyle(e).position !== 'fixed')
  .filter(e => { for (let p = e.parentElement; p; p = p.parentElement) {
      if (getComputedStyle(p).overflowX !== 'visible' && p !== document.body) return false } return true })
  .slice(0, 5).map(e => e.outerHTML.slice(0, 160))"""
DARK_ON_DARK = """() => [...document.querySelectorAll('article img')].filter(image => {
    if (!image.offsetParent || !image.complete || !image.naturalWidth) return false
    const canvas = document.createElement('canvas'), context = canvas.getContext('2d')
    canvas.width = canvas.height = 8
    context.drawImage(image, 0, 0, 8, 8)
    const clear = context.getImageData(0, 0, 1, 1).data[3] < 255
    const [r, g, b, a] = (getComputedStyle(image).backgroundColor.match(/[\\d.]+/g) || []).map(Number)
    return clear && (a === 0 || r + g + b < 600)
}).map(image => image.src)"""


@dataclass
class Visit:
    """What one visit of a page saw."""

    name: str
    console: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    bytes: int = 0
    violations: dict[str, list[dict]] = field(default_factory=dict)
    dark_on_dark: list[str] = field(default_factory=list)
    overflow: int = 0
    wider: list[str] = field(default_factory=list)


def page_names():
    """Every page of the book that is built, by its path."""
    paths = [path.relative_to(HTML) for path in HTML.rglob("*.html")]
    return sorted(str(path) for path in paths if not set(path.parts) & set(NOT_PAGES))


def seen(browser, address: str, name: str) -> Visit:
    """Visit ``name`` in a fresh context, so that everything it needs is fetched."""
    with browser.new_context(
        viewport={"width": 1280, "height": 900}, color_scheme="light"
    ) as context:
        page = context.new_page()
        page.set_default_timeout(LIMIT)
        return look(page, address, name)


def look(page, address: str, name: str) -> Visit:
    """Look at the page called ``name`` in each of the three ways."""
    visit, finished = Visit(name), []
    page.on(
        "console", lambda said: visit.console.append(said.text) if said.type == "error" else None
    )
    page.on("pageerror", lambda error: visit.console.append(str(error)))
    page.on(
        "request",
        lambda asked: visit.foreign.append(asked.url) if foreign(asked.url, address) else None,
    )
    page.on(
        "response",
        lambda got: visit.failed.append(f"{got.status} {got.url}") if got.status >= 400 else None,
    )
    page.on("requestfinished", lambda asked: finished.append(asked))
    page.goto(f"{address}/{name}", wait_until="networkidle")  # some pages send on to another
    page.evaluate("() => window.MathJax?.startup?.promise")
    visit.bytes = sum(asked.sizes()["responseBodySize"] for asked in finished)
    visit.violations["light"] = violations(page)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    page.wait_for_function(STILL)  # colours fade
    visit.violations["dark"] = violations(page, ["color-contrast"])
    visit.dark_on_dark = page.evaluate(DARK_ON_DARK)
    page.set_viewport_size({"width": 360, "height": 740})
    visit.overflow = page.evaluate("document.documentElement.scrollWidth") - 360
    visit.wider = page.evaluate(WIDER) if visit.overflow > 0 else []
    return visit


def foreign(url: str, address: str) -> bool:
    return not url.startswith((address, "data:", "blob:"))


def violations(page, rules: list[str] | None = None) -> list[dict]:
    """What axe calls serious or critical: the rule, and the elements."""
    options = {"resultTypes": ["violations"], "preload": False}
    if rules:
        options["runOnly"] = rules
    found = Axe().run(page, options=options).response["violations"]
    return [
        {
            "rule": each["id"],
            "impact": each["impact"],
            "nodes": [node["html"][:200] for node in each["nodes"]],
        }
        for each in found
        if each["impact"] in ("serious", "critical")
    ]


def swipe(page, part):
    """A finger from the middle of a part of the page upwards, 150 pixels."""
    box, session = part.bounding_box(), page.context.new_cdp_session(page)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def touch(kind, *points):
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", {"x": x, "y": y})
    for step in range(1, 16):
        touch("touchMove", {"x": x, "y": y - 10 * step})
        page.wait_for_timeout(16)
    touch("touchEnd")
