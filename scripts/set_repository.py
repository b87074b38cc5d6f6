"""Set the repository's address everywhere: `make set-repository REPO=owner/name`.

`_config.yml` holds it; every tracked text that names it follows, and every notebook gets the same
set-up lines, which install evalib from there. Without a name the address stays and the set-up lines
are brought in step.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HELD = re.compile(r"^  url: https://github\.com/(\S+)$", re.MULTILINE)
NAME = re.compile(r"[A-Za-z0-9-]+/[A-Za-z0-9._-]+")

IMPORTS = "import importlib.util\nimport subprocess\nimport sys\n"
SET_UP = """\
if importlib.util.find_spec("evalib") is None:  # in Colab
    address = "evalib[book] @ git+https://github.com/{repository}"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", address], check=True)
    print(importlib.import_module("evalib.pages.display").here())
"""
LINES = re.compile(
    r'^if importlib\.util\.find_spec\("evalib"\) is None:.*\n(?:    .*\n)+', re.MULTILINE
)


def repository(root: Path = ROOT) -> str:
    """``owner/name``, as `_config.yml` has it."""
    found = HELD.search((root / "_config.yml").read_text(encoding="utf-8"))
    if not found:
        raise ValueError(
            "_config.yml names no repository: give it `  url: https://github.com/owner/name`"
        )
    return found[1]


def pages_address(name: str) -> str:
    """Where GitHub Pages shows the book of ``owner/name``, without the scheme."""
    owner, _, project = name.partition("/")
    return f"{owner}.github.io/{project}"


def renamed(text: str, old: str, new: str) -> str:
    """``text`` with the addresses of the repository and of its pages changed, and the set-up lines
    renewed.
    """
    for before, after in (
        (f"github.com/{old}", f"github.com/{new}"),
        (pages_address(old), pages_address(new)),
    ):
        text = re.sub(re.escape(before) + r"(?![\w-])", after, text)
    return LINES.sub(lambda _: SET_UP.format(repository=new), text)


def sources(root: Path) -> list[Path]:
    """The tracked text files that may name the repository; a pair's .ipynb follows its .py."""
    listed = subprocess.run(
        ["git", "-C", root, "ls-files", "-z"], capture_output=True, text=True, check=True
    ).stdout
    suffixes = {
        "",
        ".md",
        ".py",
        ".sh",
        ".yml",
        ".yaml",
        ".toml",
        ".cff",
        ".html",
        ".css",
        ".js",
        ".txt",
        ".in",
    }
    paths = [
        root / name
        for name in listed.split("\0")
        if name and not name.startswith(("_extra", "scripts/set_"))
    ]
    return [path for path in paths if path.suffix in suffixes and path.is_file()]


def set_repository(new: str, root: Path = ROOT) -> list[Path]:
    """Make ``new`` the address; the files that changed."""
    if not NAME.fullmatch(new):
        raise ValueError(f"{new!r} is no repository: give owner/name")
    old, changed = repository(root), []
    for path in sources(root):
        text = path.read_text(encoding="utf-8")
        if (after := renamed(text, old, new)) != text:
            path.write_text(after, encoding="utf-8")
            changed.append(path)
    scripts = map(str, sorted((root / "notebooks").glob("*.py")))
    command = [sys.executable, "-m", "jupytext", "--quiet", "--to", "ipynb", "--update"]
    subprocess.run([*command, *scripts], check=True)
    return changed


if __name__ == "__main__":
    try:
        for path in set_repository(
            sys.argv[1] if len(sys.argv) > 1 and sys.argv[1] else repository()
        ):
            print(path.relative_to(ROOT))
    except ValueError as error:
        sys.exit(str(error))
