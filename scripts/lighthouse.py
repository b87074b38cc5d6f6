"""Lighthouse over the built book: `make lighthouse`, every page; `make lighthouse PAGES="index.html …"`, these.

Performance must be 0.9 or more and the other scores 0.98, of three tries the best. The book is served compressed, as GitHub
Pages serves it; network and screen are those of Lighthouse's desktop preset. Blocking time is part of the performance score
and measures the machine as much as the page. So the score without it (steady) has to be 0.9 too, which hardly depends on the
machine, and scripts have a limit of their own; on a busy machine these two stand in for the score.
"""

import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LEAST = {"performance": 0.9, "steady": 0.9, "accessibility": 0.98, "best-practices": 0.98, "seo": 0.98}
TRIES = 3
KILOBYTES = 350
"""Of scripts, compressed: MathJax has 266 of them."""
CATEGORIES = ("performance", "accessibility", "best-practices", "seo")
SLOW = 1000
"""The benchmark index below which Lighthouse itself warns that the machine is too slow for its scores."""
NOT_PAGES = {"_static", "vendor", "_sources"}
GENERATED = {"genindex.html", "search.html"}  # lists made by Sphinx, which no search engine should rank


def report(lighthouse: Path, address: str, chromium: str) -> dict:
    """One run of Lighthouse."""
    flags = "--headless=new --no-sandbox --disable-background-networking"
    command = [str(lighthouse), address, "--quiet", "--output=json", "--preset=desktop", f"--chrome-flags={flags}"]
    command.append(f"--only-categories={','.join(CATEGORIES)}")
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"CHROME_PATH": chromium})
    if done.returncode:
        sys.exit(f"lighthouse failed on {address}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def scores(found: dict) -> dict[str, float]:
    """The four scores of a report, and ``steady``: performance without the blocking time."""
    categories, audits = found["categories"], found["audits"]
    parts = [(each["weight"], audits[each["id"]]["score"] or 0.0) for each in categories["performance"]["auditRefs"]
             if each["weight"] and each["id"] != "total-blocking-time"]  # fmt: skip
    steady = sum(weight * score for weight, score in parts) / sum(weight for weight, _ in parts)
    return {name: categories[name]["score"] or 0.0 for name in CATEGORIES} | {"steady": steady}


def scripts(found: dict) -> float:
    """The kilobytes of scripts that the page fetched."""
    items = found["audits"]["resource-summary"]["details"]["items"]
    return sum(item["transferSize"] for item in items if item["resourceType"] == "script") / 1000


def judged(lighthouse: Path, address: str, chromium: str) -> tuple[bool, str]:
    """Whether a page passes, and its scores in a line."""
    best: dict[str, float] = {}
    for _ in range(TRIES):
        found = report(lighthouse, address, chromium)
        best = {name: max(score, best.get(name, 0.0)) for name, score in scores(found).items()}
        low = {name for name, score in best.items() if score < LEAST[name]}
        if not low:
            break
    index, size = found["environment"]["benchmarkIndex"], scripts(found)
    busy = index < SLOW or os.getloadavg()[0] > 2 * (os.cpu_count() or 1)
    low -= {"performance"} if busy else set()
    said = "  ".join(f"{name} {score:.2f}" for name, score in best.items())
    said += f"  scripts {size:.0f} kB  index {index:.0f}{' (busy)' if busy else ''}"
    return not low and size <= KILOBYTES, said


def main(lighthouse: Path, wanted: list[str]) -> int:
    served = runpy.run_path(str(ROOT / "tests" / "browser" / "served.py"))
    html = served["HTML"]
    chromium = os.environ.get("EVALIB_CHROMIUM") or shutil.which("chromium")
    if not chromium:
        sys.exit("there is no chromium: apt-get install chromium, or set EVALIB_CHROMIUM to its path")
    pages = [str(path.relative_to(html)) for path in sorted(html.rglob("*.html"))]
    pages = wanted or [page for page in pages if not {*Path(page).parts} & NOT_PAGES and page not in GENERATED]
    low = 0
    with served["served"]() as address:
        for page in pages:
            passed, said = judged(lighthouse, f"{address}/{page}", chromium)
            low += not passed
            print(f"{page:36} {said}{'' if passed else '  LOW'}", flush=True)
    return low


if __name__ == "__main__":
    sys.exit(bool(main(Path(sys.argv[1]), sys.argv[2:])))
