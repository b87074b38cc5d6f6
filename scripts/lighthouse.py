"""Lighthouse over the built book: `make lighthouse`, every page; `make lighthouse PAGES="index.html …"`, these.

Each of the four scores must be 0.9 or more. The book is served compressed, as GitHub Pages serves it.
"""

import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LEAST = 0.9
CATEGORIES = ("performance", "accessibility", "best-practices", "seo")
NOT_PAGES = {"_static", "vendor", "_sources"}
GENERATED = {"genindex.html", "search.html"}  # lists made by Sphinx, which no search engine should rank


def scores(lighthouse: Path, address: str, chromium: str) -> dict[str, float]:
    """The score of a page in each category; of two tries the better, for a busy machine costs performance."""
    flags = "--headless=new --no-sandbox --disable-background-networking"
    command = [str(lighthouse), address, "--quiet", "--output=json", "--preset=desktop", f"--chrome-flags={flags}"]
    command.append(f"--only-categories={','.join(CATEGORIES)}")
    best = dict.fromkeys(CATEGORIES, 0.0)
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"CHROME_PATH": chromium})
        if done.returncode:
            sys.exit(f"lighthouse failed on {address}: {done.stderr.strip()}")
        found = json.loads(done.stdout)["categories"]
        best = {name: max(best[name], found[name]["score"] or 0.0) for name in CATEGORIES}
        if min(best.values()) >= LEAST:
            break
    return best


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
            found = scores(lighthouse, f"{address}/{page}", chromium)
            low += min(found.values()) < LEAST
            print(f"{page:40}", "  ".join(f"{name} {score:.2f}" for name, score in found.items()), flush=True)
    return low


if __name__ == "__main__":
    sys.exit(bool(main(Path(sys.argv[1]), sys.argv[2:])))
