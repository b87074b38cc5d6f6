"""What the tree holds of the runs: the weights that the package ships, one notebook a row, and
where the rest is.
"""

import csv
import hashlib
import subprocess
from pathlib import Path

import pytest

from evalib.results import records, weights

ROOT = Path(__file__).resolve().parent.parent
RECORDS = sorted((ROOT / "results" / "paper").glob("*-seed*.json"))


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_every_record_says_where_its_weights_are(path):
    found = weights.find_recorded(path)
    if found is not None:
        assert hashlib.sha256(found.read_bytes()).hexdigest().startswith(found.stem[-16:])
    else:
        assert weights.tell_where(path).startswith("mkdir -p results/paper/")


def test_the_history_has_the_weights_that_left_the_tree():
    lines = list(
        csv.DictReader((ROOT / "results" / weights.HISTORY).read_text("utf-8").splitlines())
    )
    assert lines and all(line["sha256"].startswith(line["file"][-28:-12]) for line in lines)
    shallow = subprocess.run(
        ["git", "-C", ROOT, "cat-file", "-e", lines[0]["commit"]], capture_output=True, check=False
    )
    if shallow.returncode:
        pytest.skip("a checkout without its history")
    for line in lines:
        spot = f"{line['commit']}:{line['file']}"
        content = subprocess.run(
            ["git", "-C", ROOT, "show", spot], capture_output=True, check=True
        ).stdout
        assert hashlib.sha256(content).hexdigest() == line["sha256"]


def test_a_record_without_weights_names_the_command(tmp_path):
    path = next(path for path in RECORDS if weights.find_recorded(path) is None)
    with pytest.raises(FileNotFoundError, match=r"git show \w+:results/paper/"):
        weights.verify(path)
    assert records.read(path)["weights"]


def test_the_checkout_is_light():
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("no checkout")
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    assert sum(file.stat().st_size for file in files if file.is_file()) <= 25 * 2**20
