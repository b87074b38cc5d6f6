"""The papermill template: what it is told it trains and records, and what it leaves may be shown."""

import json
import os
import sys
import tempfile
from pathlib import Path

import nbformat
import papermill
import pytest
import torch
from made import made

import evalib
from evalib.__main__ import main
from evalib.batch import notebook
from evalib.pages import figures
from evalib.results import records
from evalib.training import data

ROOT = Path(__file__).resolve().parent.parent


pytestmark = pytest.mark.filterwarnings("ignore")  # what papermill's libraries say of each other


def find_cell(part):
    """The source of the template's cell that has this part."""
    cells = json.loads((ROOT / notebook.TEMPLATE).read_text())["cells"]
    (source,) = [text for cell in cells if part in (text := "".join(cell["source"]))]
    return source


def test_a_notebook_of_seeds_records_each_and_holds_no_path(
    tmp_path, few_elsewhere, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(notebook.OUT, "")
    command = "notebook -p experiment evanet20-small -p epochs 1 -p precision float32 -p tier smoke"
    assert main([*command.split(), "-p", "seeds", "1 2", "-p", "out", "my results"]) == 0
    shown = [Path(line) for line in capsys.readouterr().out.splitlines()[-2:]]
    for seed, path in zip((1, 2), shown, strict=True):
        settings = evalib.Settings("evanet20-small", seed, epochs=1, precision="float32")
        assert path == records.record_path(settings, Path("my results"))
        record = records.read_same(path, settings)
        assert (record["seed"], record["precision"]) == (seed, "float32")
    text = (shown[0].parent / settings.experiment / "train.ipynb").read_text()
    assert f"seed 2: **{record['test']['accuracy']:.2f} %**" in text
    for folder in (tmp_path, ROOT, Path(sys.prefix), Path(tempfile.gettempdir()) / "ipykernel"):
        assert str(folder) not in text
    outputs = [output for cell in json.loads(text)["cells"] for output in cell.get("outputs", [])]
    html = ["".join(output.get("data", {}).get("text/html", "")) for output in outputs]
    assert sum("<svg" in each for each in html) == 5  # of the network that comes with the package


def test_plain_papermill_is_refused_a_wrong_parameter_before_anything_is_trained(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    given = {"sede": 1, "experiment": "evanet20-small", "out": "results"}
    with pytest.raises(papermill.PapermillExecutionError, match="sede=1: Extra inputs are not"):
        papermill.execute_notebook(
            ROOT / notebook.TEMPLATE, "out.ipynb", given, kernel_name="python3", progress_bar=False
        )
    assert not Path("results").exists()


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


def execute(tmp_path, *sources):
    """Execute a notebook of these cells; where it lies then."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    given, ran = tmp_path / "given.ipynb", tmp_path / "out" / "smoke" / "run" / "ran.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), given)
    ran.parent.mkdir(parents=True)
    notebook.execute(given, ran, {})
    return ran


def test_a_cell_that_fails_is_named_and_what_ran_is_kept_without_paths(tmp_path, capsys):
    code = f"import os, warnings\nwarnings.warn('in {tmp_path}/x')\n1 / 0"
    named = r"ran.ipynb, In \[2\] failed: ZeroDivisionError: division by"
    with pytest.raises(RuntimeError, match=named):
        execute(tmp_path, "print('before')", code)
    assert "before" in capsys.readouterr().out
    (ran,) = tmp_path.rglob("ran.ipynb")
    outputs = json.dumps([cell.get("outputs", []) for cell in json.loads(ran.read_text())["cells"]])
    assert "division by zero" in outputs
    for folder in (tmp_path, sys.prefix, f"{tempfile.gettempdir()}/ipykernel"):
        assert str(folder) not in outputs


def test_of_a_folder_within_another_nothing_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    ran = tmp_path / "a private name" / "smoke" / "run" / "train.ipynb"
    ran.parent.mkdir(parents=True)
    ran.write_text(json.dumps([str(ran), str(tmp_path / "data")]))
    notebook.remove_folders(ran)
    assert json.loads(ran.read_text()) == ["…/smoke/run/train.ipynb", "…/data"]


@pytest.mark.skipif(os.name != "posix", reason="elsewhere kernels talk over ports")
def test_a_kernel_needs_no_port_and_sees_the_chosen_gpu_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,6")
    source = "import os, ipykernel\nprint(ipykernel.get_connection_info())\n"
    source += "print('sees', os.environ['CUDA_VISIBLE_DEVICES'])"
    with notebook.one_gpu():
        execute(tmp_path, source)
    shown = capsys.readouterr().out
    assert '"transport": "ipc"' in shown and "sees 5" in shown
