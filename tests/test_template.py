"""The papermill template: what it is told it trains and records, and what it leaves may be shown."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import pytest
import torch
from test_tables import made

import evalib
from evalib.batch import notebook
from evalib.pages import figures
from evalib.results import records
from evalib.training import data

ROOT = Path(__file__).resolve().parent.parent


def papermill(directory, *arguments):
    command = [sys.executable, "-m", "papermill", ROOT / notebook.TEMPLATE, "out.ipynb"]
    command += ["-k", "python3", "--no-progress-bar", *arguments]
    return subprocess.run(
        [str(word) for word in command], cwd=directory, capture_output=True, text=True
    )


def find_cell(part):
    """The source of the template's cell that has this part."""
    cells = json.loads((ROOT / notebook.TEMPLATE).read_text())["cells"]
    (source,) = [text for cell in cells if part in (text := "".join(cell["source"]))]
    return source


def test_a_notebook_of_seeds_records_each_and_holds_no_path(tmp_path):
    command = "notebook -p experiment evanet20-small -p epochs 1 -p precision float32 -p tier smoke"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "evalib",
            *command.split(),
            "-p",
            "seeds",
            "1 2",
            "-p",
            "out",
            "my results",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    shown = [Path(line) for line in done.stdout.splitlines()[-2:]]
    for seed, path in zip((1, 2), shown, strict=True):
        settings = evalib.Settings("evanet20-small", seed, epochs=1, precision="float32")
        assert path == records.record_path(settings, Path("my results"))
        record = records.read_same(tmp_path / path, settings)
        assert (record["seed"], record["precision"]) == (seed, "float32")
        assert (tmp_path / path.with_suffix("") / "evaluation.json").is_file()
    page = tmp_path / shown[0].parent / settings.experiment / "train.ipynb"
    text = page.read_text()
    assert f"seed 2: **{record['test']['accuracy']:.2f} %**" in text
    for folder in (tmp_path, ROOT, Path(sys.prefix), Path(tempfile.gettempdir()) / "ipykernel"):
        assert str(folder) not in text
    outputs = [output for cell in json.loads(text)["cells"] for output in cell.get("outputs", [])]
    html = ["".join(output.get("data", {}).get("text/html", "")) for output in outputs]
    assert sum("<svg" in each for each in html) == 5  # of the network that comes with the package


def test_plain_papermill_is_refused_a_wrong_parameter_before_anything_is_trained(tmp_path):
    for given, named in (
        (("-p", "sede", "1"), "sede=1: Extra inputs are not permitted"),
        (("-p", "experiment", "resnet18"), "there is no experiment 'resnet18'"),
    ):
        done = papermill(tmp_path, *given, "-p", "out", "results")
        assert done.returncode == 1
        assert named in done.stderr
        assert not (tmp_path / "results").exists()


def test_the_template_shows_no_record_of_other_settings(tmp_path):
    """As where the record of a seed is of more epochs: that seed was not run, and the others were."""
    made(tmp_path, epochs=5)
    made(tmp_path, seed=1)
    source = find_cell("= run_in_turn(")
    runs = [evalib.Settings("resnet20-small", seed) for seed in (0, 1)]
    refused = [ValueError("other settings"), None]
    names = {"Path": Path, "os": os, "records": records, "run_in_turn": lambda runs, out: refused}
    with pytest.raises(ValueError, match="epochs was 5, is now 2"):
        exec(source, names | {"runs": runs, "out": tmp_path})


def test_a_confusion_counts_every_image_in_the_row_of_its_class():
    drawn = []
    names = vars(figures) | {
        "data": data,
        "truth": torch.tensor([0, 0, 0, 0, 3, 3, *range(10)]),
        "guess": torch.tensor([0, 0, 5, 5, 5, 3, *range(10)]),
        "picture": lambda figure, caption: drawn.append(figure),
    }
    exec(find_cell("def confusion("), names)
    (axis,) = drawn[0].axes
    shown = {text.get_position(): text.get_text() for text in axis.texts}
    assert (shown[0, 0], shown[5, 0], shown[5, 3], shown[3, 3]) == ("60", "40", "33", "67")
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("predicted", "class")


# The kernel


def executed(tmp_path, *sources):
    """A process that executes a notebook of these cells into ran.ipynb, when it has ended."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    given, ran = tmp_path / "given.ipynb", tmp_path / "out" / "smoke" / "run" / "ran.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), given)
    ran.parent.mkdir(parents=True)
    code = "import sys; from pathlib import Path; from evalib.batch.notebook import execute\n"
    code += "execute(Path(sys.argv[1]), Path(sys.argv[2]), {})"
    command = [sys.executable, "-c", code, str(given), str(ran)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True), ran


def test_a_cell_that_fails_is_named_and_what_ran_is_kept_without_paths(tmp_path):
    code = f"import os, warnings\nwarnings.warn('in {tmp_path}/x')\n1 / 0"
    done, ran = executed(tmp_path, "print('before')", code)
    assert f"RuntimeError: {ran}, In [2] failed: ZeroDivisionError: division by" in done.stderr
    assert "before" in done.stdout
    outputs = json.dumps([cell.get("outputs", []) for cell in json.loads(ran.read_text())["cells"]])
    assert "division by zero" in outputs
    for folder in (tmp_path, sys.prefix, f"{tempfile.gettempdir()}/ipykernel"):
        assert str(folder) not in outputs


@pytest.mark.skipif(os.name != "posix", reason="elsewhere kernels talk over ports")
def test_a_kernel_needs_no_port_and_sees_the_chosen_gpu_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,6")
    source = "import os, ipykernel\nprint(ipykernel.get_connection_info())\n"
    source += "print('sees', os.environ['CUDA_VISIBLE_DEVICES'])"
    with notebook.one_gpu():
        done, _ = executed(tmp_path, source)
    assert done.returncode == 0, done.stderr
    assert '"transport": "ipc"' in done.stdout and "sees 5" in done.stdout
