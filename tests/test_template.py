"""The papermill template: runs from any directory, and what it writes is the record of what it was told."""

import json
import os
import subprocess
import sys
from concurrent.futures import Future
from pathlib import Path

import pytest
from test_tables import made

import evalib
from evalib.results import records

ROOT = Path(__file__).resolve().parent.parent


def papermill(directory, *arguments):
    command = [sys.executable, "-m", "papermill", ROOT / "notebooks" / "train.ipynb", "out.ipynb", "-k", "python3"]
    return subprocess.run(
        [*map(str, command), "--no-progress-bar", *arguments], cwd=directory, capture_output=True, text=True
    )


def test_the_template_trains_what_its_parameters_say(tmp_path):
    given = {"experiment": "evanet20-small", "seeds": "1 2", "epochs": "1", "out": "results"}
    done = papermill(tmp_path, *(word for pair in given.items() for word in ("-p", *pair)))
    assert done.returncode == 0, done.stderr
    for seed in (1, 2):
        settings = evalib.Settings("evanet20-small", seed, epochs=1)
        record = records.read(records.record_path(settings, tmp_path / "results"))
        assert (record["experiment"], record["seed"], record["tier"]) == ("evanet20-small", seed, "smoke")
        assert (
            f"EVANet-20 small, scaled, seed {seed}: **{record['test']['accuracy']:.2f} %**"
            in (tmp_path / "out.ipynb").read_text()
        )
    cells = json.loads((tmp_path / "out.ipynb").read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    pictures = [output for output in outputs if "<svg" in "".join(output.get("data", {}).get("text/html", ""))]
    assert len(pictures) == 8  # curve, confusion, predictions, rings, slots; three of a network that trained for longer


def test_the_template_shows_no_record_of_other_settings(tmp_path, monkeypatch):
    """As where the record of a seed is of more epochs: that seed was not run, and the others were."""
    refused, done = Future(), Future()
    refused.set_exception(ValueError("other settings"))
    done.set_result(None)
    monkeypatch.setattr(records, "run_side_by_side", lambda runs, out: [refused, done])
    made(tmp_path, epochs=5)
    made(tmp_path, seed=1)
    cells = json.loads((ROOT / "notebooks" / "train.ipynb").read_text())["cells"]
    (source,) = ["".join(cell["source"]) for cell in cells if "run_side_by_side" in "".join(cell["source"])]
    runs = [evalib.Settings("resnet20-small", seed) for seed in (0, 1)]
    with pytest.raises(ValueError, match="epochs was 5, is now 2"):
        exec(source, {"Path": Path, "os": os, "records": records, "runs": runs, "out": tmp_path})


def test_a_bad_parameter_stops_the_template(tmp_path):
    done = papermill(tmp_path, "-p", "experiment", "resnet18", "-p", "out", "results")
    assert done.returncode != 0
    assert "there is no experiment 'resnet18'" in done.stderr
    assert not (tmp_path / "results").exists()
