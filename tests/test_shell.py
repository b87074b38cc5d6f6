"""The commands in a shell: whatever its code page, folders and faults, each says in one line what
it has to.
"""

import importlib
import io
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from made import made

import evalib
from evalib import experiments
from evalib.batch import cli, notebook
from evalib.batch.cli import main
from evalib.results import records

COMMANDS = "train evaluate table claims export data plan reproduce notebook".split()


def printed(monkeypatch, encoding, *arguments):
    """What a command writes into a pipe that has this code page."""
    pipe = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", pipe)
    assert main(list(arguments)) == 0
    return pipe.buffer.getvalue().decode("utf-8")


@pytest.mark.parametrize("command", ["table", "claims"])
def test_the_code_page_of_a_terminal_stops_no_command(tmp_path, monkeypatch, command):
    for seed in (0, 1):
        made(tmp_path, seed=seed)
    arguments = [command, "--out", str(tmp_path)]
    pages = [printed(monkeypatch, encoding, *arguments) for encoding in ("utf-8", "cp437")]
    assert pages[0] == pages[1] and not pages[0].isascii()


ROW, HERE = "resnet20-small", Path()
TRAIN = f"train --experiment {ROW} --tier quick --epochs 4 --batch-size 50 --learning-rate 0.01"
TRAIN += " --precision bf16 --seeds 3 1 3 --device cpu --compile --overwrite --out ."
SEEDS = [evalib.Settings(ROW, seed, "quick", 4, 50, 0.01, precision="bf16") for seed in (3, 1)]


@pytest.mark.parametrize(
    ("command", "called", "given", "named"),
    [
        (TRAIN, "results.run.run_in_turn", (SEEDS, HERE, "cpu"), {"overwrite": True, "compile": True}),
        ("evaluate --weights x --out . --device cpu", "results.weights.count_right", (Path("x"), "cpu"), {}),
        ("table --tier quick --out .", "results.tables.table", (HERE, ("quick",)), {}),
        ("table --ablations", "results.tables.ablations", (None, ("smoke", "quick", "paper")), {}),
        ("claims --out .", "results.claims.judge_claims", (HERE,), {}),
        ("export x --to y --format pt2 --out . --overwrite", "results.weights.find_weights", ("x", HERE), {}),
        ("data cifar100 --directory .", "training.cifar.load_data", ("cifar100", HERE), {}),
    ],
)  # fmt: skip
def test_a_command_hands_on_what_it_is_given(monkeypatch, one_line, command, called, given, named):
    def stop(*positional, **by_name):
        assert (positional, by_name) == (given, named)
        raise ValueError("it was called")

    monkeypatch.setattr("evalib.results.weights.find_weights", lambda name, out: Path(name))
    monkeypatch.setattr(f"evalib.{called}", stop)
    assert one_line(*command.split()) == "evalib: it was called\n"


def test_a_reader_that_has_seen_enough_is_no_fault():
    command = [sys.executable, "-m", "evalib", "table", "--format", "csv"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait() == 141


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_says_where_data_and_results_lie(capsys, command):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert cli.FOLDERS in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    "command",
    ["table", "claims", "evaluate --weights resnet20-small", "export resnet20-small"],
)
def test_a_folder_without_records_of_its_own_is_no_empty_table(tmp_path, one_line, command):
    absent = tmp_path / "resluts"
    said = one_line(*command.split(), "--out", absent)
    assert f"there is no folder {absent}" in said
    shutil.copytree(Path(__file__).parent.parent / "results" / "quick", tmp_path / "quick")
    said = one_line(*command.split(), "--out", tmp_path / "quick")
    assert f"name the one that it lies in, {tmp_path}" in said


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    path = records.record_path(evalib.Settings("resnet20-small"), "~/out")
    assert path.parent == tmp_path / "home" / "out" / "smoke"
    assert records.load_records("~/out").empty and not list(tmp_path.iterdir())


# Rows of one's own


MINE = """
import evalib
from torch import nn


class Maximum(nn.Module):
    def __init__(self, channels):
        super().__init__()

    def forward(self, x):
        return x.amax(dim=(2, 3))


evalib.register(evalib.Experiment("resnet20-mine", "ResNet-20, mine", head=Maximum))
"""


@pytest.fixture
def mine(tmp_path, monkeypatch, rows):
    """A file that registers a row, and no trace of it after the test."""
    monkeypatch.setenv(experiments.MODULE, "")
    path = tmp_path / "my_head.py"
    path.write_text(MINE)
    yield path
    sys.modules.pop("evalib_rows_my_head", None)


def test_a_row_of_ones_own_trains_and_stands_in_the_table_and_the_plan(
    mine, tmp_path, capsys, few, float32
):
    module = ["--module", str(mine), "--out", str(tmp_path)]
    train = "train --experiment resnet20-mine --epochs 2 --device cpu".split()
    assert main([*train, *module]) == 0
    assert main(["table", *module]) == 0
    assert main(["table", *module]) == 0  # the file is run once
    lines = capsys.readouterr().out.splitlines()
    row = next(line for line in lines if "ResNet-20, mine" in line)
    assert "smoke" in [cell.strip() for cell in row.split("|")]
    wanted = tmp_path / "mine.csv"
    wanted.write_text("experiment,seeds\nresnet20-mine,0 1\n")
    assert main(["plan", "--manifest", str(wanted), *module]) == 0
    assert "2 runs: 1 done, 1 to do" in capsys.readouterr().out


def test_the_processes_of_a_batch_and_a_notebook_know_the_row(mine, monkeypatch):
    before = dict(experiments.ROWS)
    monkeypatch.chdir(mine.parent)
    experiments.load_rows(mine.name)
    monkeypatch.chdir("/")  # a job begins elsewhere
    for told in ({}, {"module": str(mine)}):  # by the environment, and by a parameter
        monkeypatch.setattr(experiments, "ROWS", before.copy())  # as in another process
        del sys.modules["evalib_rows_my_head"]
        (run,) = notebook.Parameters(experiment="resnet20-mine", seed=3, **told).runs()
        assert (run.experiment, run.seed) == ("resnet20-mine", 3)
        monkeypatch.setenv(experiments.MODULE, "")


def test_a_file_of_rows_takes_the_name_of_no_module(mine):
    before = sys.modules["colorsys"] = importlib.import_module("colorsys")
    experiments.load_rows(mine.rename(mine.with_name("colorsys.py")))
    assert sys.modules["colorsys"] is before and "resnet20-mine" in experiments.ROWS
    other = mine.parent / "other" / "colorsys.py"
    other.parent.mkdir()
    other.write_text(MINE.replace("-mine", "-other"))
    experiments.load_rows(other)
    assert "resnet20-other" in experiments.ROWS


@pytest.mark.parametrize(
    ("name", "text", "named"),
    [
        ("absent.py", MINE, "No such file or directory: "),
        ("my_head.py", "1 / 0", "my_head.py stops with ZeroDivisionError"),
        ("my_head.txt", MINE, "my_head.txt is no Python file"),
    ],
)
def test_a_file_of_rows_that_fails_is_one_line_each_time(
    mine, tmp_path, monkeypatch, one_line, name, text, named
):
    monkeypatch.setenv("HOME", str(tmp_path))
    if name != "absent.py":
        mine.rename(tmp_path / name).write_text(text)
    for _ in range(2):
        said = one_line("table", "--module", f"~/{name}", "--out", tmp_path)
        assert named in said and str(tmp_path / name) in said
