"""One address of the repository, everywhere, and one command that changes it."""

import re
import runpy
import subprocess
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "set_repository.py"))
HERE = SCRIPT["repository"]()
ELSEWHERE = f"{HERE}.else-where"  # a dot and a dash, and the name that it is now at the front
OWN = (  # how a text points at this repository or at its pages, and at no other
    r"git\+https://github\.com/([\w.-]+/[\w.-]+)",
    r"git clone https://github\.com/([\w.-]+/[\w.-]+)",
    r"(?:Repository = |repository-code: )\"https://github\.com/([\w.-]+/[\w.-]+)\"",
    r"https://github\.com/([\w.-]+/[\w.-]+)/actions/",
    r"colab\.research\.google\.com/github/([\w.-]+/[\w.-]+)/",
    r"https://([\w-]+\.github\.io/[\w.-]+)",
)
NAMED_IN = ("_config.yml", "README.md", "CITATION.cff", "pyproject.toml", "book/running.md")


def addresses(text):
    """Every mention of the repository as owner/name or owner.github.io/name."""
    return {found for pattern in OWN for found in re.findall(pattern, text)}


def test_every_file_has_the_one_address():
    for path in SCRIPT["sources"](ROOT):
        if path != Path(__file__).resolve():
            assert addresses(path.read_text()) <= {HERE, SCRIPT["pages_address"](HERE)}, path
    for name in NAMED_IN:
        assert HERE in (ROOT / name).read_text(), name


def test_one_command_sets_another_address_everywhere(tmp_path):
    copy = tmp_path / "copy"
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", ROOT, copy], check=True)
    for path in SCRIPT["sources"](ROOT):  # as they are now, committed or not
        target = copy / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    assert SCRIPT["set_repository"](ELSEWHERE, copy)
    assert SCRIPT["repository"](copy) == ELSEWHERE
    old = [
        re.compile(re.escape(name) + r"(?!\.?[\w-])")
        for name in (HERE, SCRIPT["pages_address"](HERE))
    ]
    for path in [*SCRIPT["sources"](copy), *copy.glob("notebooks/*.ipynb")]:
        assert not any(name.search(path.read_text()) for name in old), path
    for page in copy.glob("notebooks/*.ipynb"):
        code = next(
            cell for cell in nbformat.read(page, as_version=4).cells if cell.cell_type == "code"
        )
        assert SCRIPT["SET_UP"].format(repository=ELSEWHERE) in code.source + "\n", page


@pytest.mark.parametrize(
    "name", ["", "owner", "https://github.com/owner/name", "owner/name/more", "own er/name"]
)
def test_what_is_no_repository_is_refused(name):
    with pytest.raises(ValueError, match="give owner/name"):
        SCRIPT["set_repository"](name, ROOT)
