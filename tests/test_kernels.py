"""What the book sets for the kernels of its pages: no record goes into ``results/``, no warning
into the log.
"""

import os
import subprocess
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
CELL = """
import os
from pathlib import Path

out = Path(os.environ["EVALIB_OUT"])
out.mkdir()
print("kept in", out)
"""


def built(folder, *extensions):
    """Build a book of one page, and what it said; the page is in ``folder``/html/page.html."""
    folder.mkdir()
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell("# Page"), nbformat.v4.new_code_cell(CELL)],
        metadata={
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
        },
    )
    nbformat.write(notebook, folder / "page.ipynb")
    (folder / "conf.py").write_text(f"extensions = {['myst_nb', *extensions]}\nroot_doc = 'page'\n")
    command = [sys.executable, "-m", "sphinx", "-b", "html", str(folder), str(folder / "html")]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "book")}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)


def test_a_page_of_the_book_keeps_nothing_and_its_kernel_is_quiet(tmp_path):
    done = built(tmp_path / "with", "kernels")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    page = (tmp_path / "with" / "html" / "page.html").read_text()
    kept = Path(page.partition("kept in ")[2].partition("\n")[0])
    assert kept.name == "results"
    assert not kept.parent.exists()
