"""The commands in a shell: whatever its code page, folders and faults, each says in one line what it has to."""

import errno
import importlib
import io
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from test_tables import made

import evalib
from evalib import experiments
from evalib.batch import cli, notebook
from evalib.batch.cli import main
from evalib.results import records, runs
from evalib.training import environment

COMMANDS = ("train", "evaluate", "table", "claims", "data", "plan", "reproduce", "notebook")


def printed(monkeypatch, encoding, *arguments):
    """What a command writes into a pipe of this code page."""
    pipe = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", pipe)
    assert main(list(arguments)) == 0
    return pipe.buffer.getvalue().decode(encoding)


@pytest.mark.parametrize("encoding", ["cp1252", "cp437", "ascii"])
@pytest.mark.parametrize("command", ["table", "table --ablations", "claims"])
def test_what_a_code_page_lacks_has_a_stand_in(tmp_path, monkeypatch, encoding, command):
    for seed in (0, 1):
        made(tmp_path, seed=seed)
    arguments = [*command.split(), "--out", str(tmp_path)]
    whole, page = (printed(monkeypatch, each, *arguments) for each in ("utf-8", encoding))
    assert not whole.isascii()
    assert page == whole.encode(encoding, "stand-in").decode(encoding)


def test_a_minus_stays_one():
    cli.serve_any_code_page()
    assert "0.63 − 1 ± 2".encode("ascii", "stand-in") == b"0.63 - 1 +/- 2"
    assert "Δ".encode("ascii", "stand-in") == b"?"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_says_where_data_and_results_lie(capsys, command):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    assert cli.FOLDERS in said
    assert "EVALIB_DATA" in said


@pytest.mark.parametrize(
    "command",
    [
        "table",
        "table --ablations",
        "claims",
        "evaluate --weights resnet20-small",
        "export resnet20-small",
    ],
)
def test_a_folder_of_records_that_is_not_there_is_no_empty_table(tmp_path, capsys, command):
    assert main([*command.split(), "--out", str(tmp_path / "resluts")]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert f"there is no folder {tmp_path / 'resluts'}" in shown.err


@pytest.mark.parametrize("call", [evalib.evaluate, evalib.load_weights])
def test_weights_of_a_folder_that_is_not_there_are_not_those_of_the_package(tmp_path, call):
    with pytest.raises(ValueError, match=f"there is no folder {tmp_path / 'resluts'}"):
        call("resnet20-small", out=tmp_path / "resluts")


@pytest.mark.parametrize("command", ["table", "claims", "evaluate --weights resnet20-small"])
def test_the_folder_of_one_tier_is_not_the_folder_of_records(tmp_path, capsys, command):
    shutil.copytree(Path(__file__).parent.parent / "results" / "quick", tmp_path / "quick")
    assert main([*command.split(), "--out", str(tmp_path / "quick")]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and f"name the one that it lies in, {tmp_path}" in shown.err


def test_what_a_stopped_run_printed_in_another_encoding_stops_no_table(tmp_path, capsys):
    folder = tmp_path / "unfinished"
    (folder / "sanet20-small-seed0.log").mkdir(parents=True)
    path = folder / "resnet20-small-seed0.log"
    path.write_text(
        "resnet20-small seed 0 epoch 1/150: loss 2.000, validation 30.00%", encoding="utf-16"
    )
    assert main(["table", "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert (
        "ResNet-20 small" in shown.out
        and shown.err.count("is not a text in UTF-8") == 2
        and str(path) in shown.err
    )


def test_a_lock_that_may_not_be_opened_stops_no_plan(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    (tmp_path / ".lock").touch()
    monkeypatch.setattr(environment, "FileLock", refuse)
    assert not environment.is_locked(tmp_path / ".lock")


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    settings = evalib.Settings("resnet20-small")
    assert records.record_path(settings, "~/out").parent == tmp_path / "home" / "out" / "smoke"
    assert not runs.trusted("smoke", "~/out") and not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", cli.REMEDIES)
def test_what_the_system_refuses_has_a_file_a_reason_and_a_remedy(number):
    said = cli.in_one_line(OSError(number, os.strerror(number), "some/file"))
    assert said == f"some/file: {os.strerror(number)}: {cli.REMEDIES[number]}"


def test_a_folder_that_may_not_be_written_to_is_one_line_with_a_remedy(
    tmp_path, capsys, monkeypatch
):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "smoke"))

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    wanted = tmp_path / "mine.csv"
    wanted.write_text("experiment,seeds\nresnet20-small,0\n")
    assert main(["reproduce", "--manifest", str(wanted), "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "Permission denied" in error and "choose another" in error
    assert error.count("\n") == 1 and "Errno" not in error


def test_a_reader_that_has_seen_enough_is_no_fault():
    command = [sys.executable, "-m", "evalib", "table", "--format", "csv"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""


def test_the_import_in_a_notebook_without_widgets_is_silent():
    """Like a kernel of Colab's, or any after ``pip install evalib`` alone: tqdm would warn."""
    code = (
        "import sys, types\n"
        "shell = type('ZMQInteractiveShell', (), {'config': {'IPKernelApp': {}}, 'kernel': None})()\n"
        "sys.modules['IPython'] = types.ModuleType('IPython')\n"
        "sys.modules['IPython'].get_ipython = lambda: shell\n"
        "sys.modules['IPython'].version_info = (8, 0)\n"
        "sys.modules['ipywidgets'] = None\n"
        "import evalib\n"
        "from evalib.training.train import tqdm\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", code], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "IProgress" not in done.stderr


def test_seeds_that_are_twice_there_are_refused(tmp_path, capsys):
    command = "train --experiment resnet20-small --seeds 0 1 1 --out"
    assert main([*command.split(), str(tmp_path)]) == 2
    assert "a seed is there twice in --seeds 0 1 1" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


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
def mine(tmp_path, monkeypatch):
    """A file that registers a row, and no trace of it after the test."""
    monkeypatch.setenv(cli.MODULE, "")
    monkeypatch.setattr(experiments, "ROWS", dict(experiments.ROWS))
    path = tmp_path / "my_head.py"
    path.write_text(MINE)
    yield path
    sys.modules.pop("evalib_rows_my_head", None)


def test_a_row_of_ones_own_trains_and_stands_in_the_table(mine, tmp_path, capsys):
    torch.set_default_dtype(torch.float32)
    module = ["--module", str(mine), "--out", str(tmp_path)]
    assert main(["train", "--experiment", "resnet20-mine", "--device", "cpu", *module]) == 0
    assert main(["table", *module]) == 0
    assert main(["table", *module]) == 0  # the file is run once
    line = next(line for line in capsys.readouterr().out.splitlines() if "ResNet-20, mine" in line)
    assert "| smoke |" in line
    wanted = tmp_path / "mine.csv"
    wanted.write_text("experiment,seeds\nresnet20-mine,0 1\n")
    assert main(["plan", "--manifest", str(wanted), *module]) == 0
    assert "2 runs: 1 done, 1 to do" in capsys.readouterr().out


def test_the_processes_of_a_batch_know_the_row(mine):
    cli.load_rows(mine)
    code = "from evalib.batch import notebook; print(notebook.Parameters(experiment='resnet20-mine', seed=3).runs())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "seed=3" in done.stdout, done.stderr
    told = notebook.Parameters(experiment="resnet20-mine", module=str(mine))
    assert told.runs()[0].experiment == "resnet20-mine"


def test_a_file_of_rows_takes_the_name_of_no_module(mine):
    before = sys.modules["colorsys"] = importlib.import_module("colorsys")
    cli.load_rows(mine.rename(mine.with_name("colorsys.py")))
    assert sys.modules["colorsys"] is before and "resnet20-mine" in experiments.ROWS


@pytest.mark.parametrize(
    ("text", "named"),
    [(None, "is no Python file"), ("1 / 0", "my_head.py stops with ZeroDivisionError")],
)
def test_a_file_of_rows_that_fails_is_one_line(mine, tmp_path, capsys, text, named):
    mine.unlink() if text is None else mine.write_text(text)
    assert main(["table", "--module", str(mine), "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert named in error
    assert error.count("\n") == 1


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
@pytest.mark.parametrize("wait", [0.4, 1.5])
def test_ctrl_c_twice_as_the_command_starts_gives_no_traceback(wait):
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a suite started with & ignores it, and so would the command
    with subprocess.Popen(
        [sys.executable, "-m", "evalib", "claims"], stderr=subprocess.PIPE
    ) as process:
        for _ in range(2):
            time.sleep(wait)
            process.send_signal(signal.SIGINT)
        assert b"Traceback" not in process.stderr.read()
