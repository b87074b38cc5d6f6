"""Batch: parameters refused before a kernel starts; the plan; Snakemake over papermill, with kills."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import pytest
import torch
from filelock import FileLock
from test_tables import changed, made

import evalib
from evalib.__main__ import main
from evalib.batch import manifest, notebook
from evalib.batch import reproduce as reproducing
from evalib.results import records
from evalib.training import paths

NAMES = "experiment, seed, seeds, tier, epochs, precision, module, out"
PACKAGE = Path(evalib.__file__).parent
TEMPLATE = PACKAGE.parent / notebook.TEMPLATE


def test_a_job_finds_data_and_home_where_the_command_was_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, folder in (("EVALIB_DATA", "mine"), ("EVALIB_HOME", "~/home")):
        monkeypatch.setenv(name, folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    found = []
    monkeypatch.setattr(reproducing, "call", lambda command: found.append(dict(os.environ)) or 0)
    reproducing.reproduce({"tier": "smoke", "seeds": "first", "out": "~/results"}, book=False)
    assert [(each["EVALIB_DATA"], each["EVALIB_HOME"]) for each in found] == [
        (str(tmp_path / "mine"), str(tmp_path / "home"))
    ]
    assert (tmp_path / "results" / "smoke" / ".batch").is_dir()


@pytest.fixture
def no_kernel(monkeypatch):
    def refuse(*_):
        raise AssertionError("the notebook was executed")

    monkeypatch.setattr(notebook, "execute", refuse)


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ("experiment=evanet20-small sede=1", f"no parameter 'sede': allowed are {NAMES}; did you mean seed?"),
        ("experiment=evanet20-small learning_rate=1e-3", f"no parameter 'learning_rate': allowed are {NAMES}"),
        ("experiment=evanet20-small epochs=1e-3", "epochs='1e-3' must be a whole number or None"),
        ("experiment=evanet20-small seed=one", "seed='one' must be a whole number"),
        ("experiment=evanet20-small seed=1.0", "seed='1.0' must be a whole number"),
        ("experiment=evanet20-small seed=None", "seed='None' must be a whole number"),
        ("experiment=evanet20-small seeds=one", "seeds='one' must be whole numbers with spaces between, such as 0 1"),
        ("experiment=evanet20-small seeds=1,1", "seeds='1,1' must be whole numbers"),
        ("experiment=evanet20-small epochs=-1", "epochs=-1 must be a whole number, 1 or more"),
        ("experiment=resnet18", "there is no experiment 'resnet18': choose one of resnet20-small"),
        ("experiment=evanet20-small tier=huge", "there is no tier 'huge': choose one of smoke, quick, paper"),
        (
            "experiment=evanet20-small seeds=0 seeds=1",
            'seeds is there twice: give it once; several seeds are -p seeds "0 1"',
        ),
        ("seed=1", "the parameter experiment is missing: give one of resnet20-small"),
    ],
)
def test_a_wrong_parameter_is_refused_before_a_kernel_starts(tmp_path, capsys, no_kernel, parameters, named):
    given = [part for pair in parameters.split() for part in ("-p", *pair.split("="))]
    assert main(["notebook", *given, "-p", "out", str(tmp_path / "results")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("evalib: ")
    assert error.count("\n") == 1
    assert named in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [True, 1.0, "1", None, [1]])
def test_a_value_of_another_type_is_refused(value):
    with pytest.raises(ValueError, match=r"seed=.* must be a whole number"):
        notebook.checked({"experiment": "evanet20-small", "seed": value})


def test_the_parameters_are_those_of_the_template():
    import papermill

    assert list(papermill.inspect_notebook(str(TEMPLATE))) == list(notebook.KINDS)


def test_plain_papermill_is_refused_an_unknown_parameter(tmp_path):
    command = [sys.executable, "-m", "papermill", TEMPLATE, "out.ipynb", "-k", "python3", "-p", "sede", "1"]
    done = subprocess.run([*map(str, command), "-p", "out", "results"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"ValueError: there is no parameter 'sede': allowed are {NAMES}; did you mean seed?" in done.stderr
    assert not (tmp_path / "results").exists()


def test_names_of_the_notebook_itself_are_no_parameters():
    figures = object()
    names = {"figures": figures, "seed": 0, "_i3": "", "_before": {"figures": figures}}
    notebook.refuse_injected(names)
    names["network"] = "made by a later cell"
    notebook.refuse_injected(names)  # the cell is run again
    with pytest.raises(ValueError, match="'network'"):
        notebook.refuse_injected(names | {"_before": dict.fromkeys(notebook.KINDS) | {"figures": figures}})


@pytest.mark.parametrize("name", ["torch", "data", "__name__", "_x", "_before", "print"])
def test_no_name_that_the_notebook_holds_can_be_injected(name):
    before = {"torch": torch, "data": evalib, "__name__": "__main__"}
    injected = before | {"_before": dict(before)} | {name: 1}
    with pytest.raises(ValueError, match="there is no parameter"):
        notebook.refuse_injected(injected)


@pytest.mark.parametrize(
    ("given", "seeds"),
    [({}, [0]), ({"seed": 3}, [3]), ({"seeds": "0 1  4"}, [0, 1, 4]), ({"seeds": [2, 1]}, [2, 1]), ({"seeds": 5}, [5])],
)
def test_the_seeds_of_a_job_are_those_of_seeds_or_else_the_one(given, seeds):
    assert [run.seed for run in notebook.checked({"experiment": "evanet20-small"} | given)] == seeds


@pytest.mark.parametrize("seeds", ["", "0 0", [], [1, 1], [-1], [True], ["a"], 1.5])
def test_seeds_that_are_none_or_twice_there_are_refused(seeds):
    with pytest.raises(ValueError, match="seed"):
        notebook.checked({"experiment": "evanet20-small", "seeds": seeds})


def executed(tmp_path, *sources):
    """A process that executes a notebook of these cells into ran.ipynb, when it has ended."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), tmp_path / "given.ipynb")
    code = "import sys; from evalib.batch.notebook import execute; execute(*sys.argv[1:], {})"
    command = [sys.executable, "-c", code, tmp_path / "given.ipynb", tmp_path / "ran.ipynb"]
    return subprocess.run(list(map(str, command)), cwd=PACKAGE.parent, capture_output=True, text=True)


@pytest.mark.skipif(os.name != "posix", reason="elsewhere kernels talk over ports")
def test_a_kernel_needs_no_port_that_another_process_may_take(tmp_path):
    done = executed(tmp_path, "import ipykernel\nprint(ipykernel.get_connection_info())")
    assert done.returncode == 0, done.stderr
    assert '"transport": "ipc"' in done.stdout
    assert f'"ip": "{tempfile.gettempdir()}/evalib-' in done.stdout  # its own, wherever the kernel starts


def test_a_cell_that_fails_is_named_and_what_ran_is_kept(tmp_path):
    done = executed(tmp_path, "print('before')", "1 / 0")
    assert f"RuntimeError: {tmp_path}/ran.ipynb, In [2] failed: ZeroDivisionError: division by zero" in done.stderr
    assert "before" in done.stdout
    assert "division by zero" in (tmp_path / "ran.ipynb").read_text()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("name,seeds\nresnet20-small,0\n", "must begin with the line experiment,seeds"),
        ("experiment,seeds\nresnet20-small,0\nresnet18,0\n", "line 3: there is no experiment 'resnet18'"),
        ("experiment,seeds\nresnet20-small,zero\n", "line 2: seeds='zero' must be whole numbers"),
        ("experiment,seeds\nresnet20-small,\n", "line 2: seeds='' must be whole numbers"),
        ("experiment,seeds\nresnet20-small,0 1 0\n", "line 2: resnet20-small seed 0 is there twice"),
        ("experiment,seeds\nresnet20-small,0 1\nresnet20-small,1\n", "line 3: resnet20-small seed 1 is there twice"),
        ("experiment,seeds\n\nresnet20-small,0,1\n", "line 3: a row has two cells, and seeds have spaces between"),
        ("experiment,seeds\n", "has no row"),
        ("", "must begin with the line experiment,seeds"),
    ],
)
def test_a_bad_manifest_is_one_line_that_names_its_line(tmp_path, capsys, text, named):
    path = tmp_path / "manifest.csv"
    path.write_text(text)
    assert main(["reproduce", "--manifest", str(path), "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert named in error
    assert error.count("\n") == 1


SPREADSHEET = "experiment,seeds\r\nresnet20-small,0 1\r\n"


@pytest.mark.parametrize(
    "content",
    [
        SPREADSHEET.encode("utf-8-sig"),
        SPREADSHEET.replace(",", ";").encode("utf-8-sig"),
        f"{SPREADSHEET}\r\n".encode(),
        SPREADSHEET.replace("\r", ",,\r").encode() + b",,,\r\n",
        SPREADSHEET.replace("0 1", '"0 1"').encode(),
    ],
    ids=["byte order mark", "semicolons", "blank line", "blank cells", "quotes"],
)
def test_a_manifest_is_read_as_a_spreadsheet_saves_it(tmp_path, content):
    path = tmp_path / "manifest.csv"
    path.write_bytes(content)
    assert [(run.experiment, run.seed) for run in manifest.read_manifest(path)] == [
        ("resnet20-small", 0),
        ("resnet20-small", 1),
    ]


def test_a_manifest_in_another_encoding_is_told_how_to_be_saved(tmp_path):
    path = tmp_path / "manifest.csv"
    path.write_bytes(SPREADSHEET.encode("utf-16"))
    with pytest.raises(ValueError, match="not UTF-8: save it as CSV UTF-8"):
        manifest.read_manifest(path)


@pytest.mark.parametrize("command", ["plan", "reproduce", "notebook -p experiment resnet20-small"])
def test_a_package_without_its_checkout_says_so(tmp_path, monkeypatch, capsys, command):
    monkeypatch.setattr(paths, "checkout", lambda: None)
    monkeypatch.chdir(tmp_path)
    assert main(command.split()) == 2
    error = capsys.readouterr().err
    assert "evalib is installed here without it: git clone" in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_without_its_checkout_a_manifest_of_ones_own_is_planned(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paths, "checkout", lambda: None)
    (tmp_path / "mine.csv").write_text(SPREADSHEET)
    assert main(["plan", "--manifest", str(tmp_path / "mine.csv"), "--out", str(tmp_path)]) == 0
    assert "2 runs: 2 to do" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--manifest", "absent.csv"], "absent.csv cannot be read"),
        (["--tier", "huge"], "evalib: there is no tier 'huge'"),
        (["--seeds", "77"], "has seed 77"),
        (["--seeds", "one"], "--seeds='one'"),
        (["--epochs", "-1"], "evalib: epochs=-1"),
        (["--profile", "huge"], "no profile 'huge': choose one of local, slurm"),
    ],
)
def test_a_bad_option_is_one_line(tmp_path, capsys, options, named):
    assert main(["reproduce", "--out", str(tmp_path), *options]) == 2
    error = capsys.readouterr().err
    assert named in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_what_one_call_asked_for_outlives_the_next(tmp_path, monkeypatch):
    """A job on a cluster reads it when it begins, and by then another call may wait for its turn in the same folder."""
    files = []

    def call(command):
        files.append(Path(command[command.index("--configfile") + 1]))
        return 0

    monkeypatch.setattr(reproducing, "call", call)
    for seeds in ("0", "1"):
        reproducing.reproduce({"tier": "smoke", "seeds": seeds, "out": tmp_path}, book=False)
    assert [json.loads(file.read_text())["seeds"] for file in files] == ["0", "1"]


@pytest.mark.parametrize("brace", "{}")
def test_a_path_that_snakemake_would_take_for_a_pattern_is_refused(tmp_path, capsys, brace):
    out = tmp_path / f"a{brace}"
    assert main(["reproduce", "--out", str(out)]) == 2
    assert f"{out} may have no {brace} in it" in capsys.readouterr().err
    assert not out.exists()


def test_every_manifest_of_the_repository_can_be_run():
    paths = sorted((PACKAGE.parent / "workflow").glob("*.csv"))
    assert {path.stem for path in paths} >= {"manifest", "ablations", "ladder"}
    names = [{run.experiment for run in manifest.read_manifest(path)} for path in paths]
    assert sum(map(len, names)) == len(set.union(*names)), "a row is in two of them"


def test_the_manifest_is_six_rows_of_two_seeds():
    runs = manifest.read_manifest()
    assert [run.experiment for run in runs[::2]] == [row.name for row in evalib.TABLE_1]
    assert {run.seed for run in runs} == {0, 1}
    assert manifest.read_manifest(seeds="first") == manifest.read_manifest(seeds="0") == runs[::2]


def test_the_plan_tells_done_stale_begun_running_and_to_do(tmp_path, monkeypatch):
    made(tmp_path, seed=0)
    made(tmp_path, seed=1, computation=99)
    made(tmp_path, seed=2, data={"source": "subset", "sha256": "other"})
    changed(made(tmp_path, seed=3), seconds=1.0)
    made(tmp_path, seed=4, epochs=1, seconds=30.0)
    folders = [tmp_path / "smoke" / f"resnet20-small-seed{seed}" for seed in (5, 6)]
    for folder in folders:
        folder.mkdir()
        (folder / "epoch-0001-0123456789abcdef.safetensors").touch()
    with FileLock(folders[1] / ".lock"):
        planned = manifest.plan([evalib.Settings("resnet20-small", seed) for seed in range(8)], tmp_path)
        text = manifest.describe(planned, tmp_path)
    assert [run.state for run in planned] == ["done", *["stale"] * 4, "begun", "running", "to do"]
    assert [run.epochs for run in planned] == [0, 0, 0, 0, 0, 1, 1, 2]
    notes = "", "of computation 99", "data set has changed", "changed after it was", "epochs was 1, is now 2"
    assert all(note in run.note for note, run in zip(notes, planned, strict=False))
    assert (
        "8 runs: 1 done, 4 stale, 1 running, 1 begun, 1 to do; training to come: about 2 min" in text
    )  # 30 s an epoch


def test_what_is_no_record_is_named_in_the_plan_and_the_others_are_planned(tmp_path):
    made(tmp_path, seed=0)
    folder = tmp_path / "smoke"
    (folder / "resnet20-small-seed1.json").mkdir()
    (folder / "resnet20-small-seed2.json").write_text("[" * 100_000)
    (folder / "resnet20-small-seed3.json").write_bytes(b"\xff\xfe")
    (folder / "resnet20-small-seed4.json").symlink_to(folder / "nowhere")
    planned = manifest.plan([evalib.Settings("resnet20-small", seed) for seed in range(5)], tmp_path)
    assert [run.state for run in planned] == ["done", "stale", "stale", "stale", "to do"]
    assert all(f"resnet20-small-seed{run.settings.seed}.json" in run.note for run in planned[1:4])


def test_expected_time_is_scaled_by_the_images_and_unknown_without_a_record(tmp_path):
    made(tmp_path, seconds=4.0)  # 2 s an epoch of 1,000 images
    assert manifest.seconds_an_epoch(evalib.Settings("resnet20-small", 5, "paper"), tmp_path) == (100.0, "a machine")
    assert manifest.seconds_an_epoch(evalib.Settings("evanet20-small"), tmp_path) == (None, None)


def test_an_epoch_during_which_the_machine_slept_does_not_move_the_expected_time(tmp_path):
    path = made(tmp_path, tier="quick", seconds=30.0)  # 2 s an epoch
    record = records.read(path)
    record["curve"][7]["seconds"] = 3600.0
    records.write({name: value for name, value in record.items() if name != "sha256"}, path)
    assert manifest.seconds_an_epoch(evalib.Settings("resnet20-small", 5, "paper"), tmp_path) == (2.0, "a machine")


AWKWARD = 'it\'s $HOME & #1; `x` ü:y %d "q"'
"""A folder's name that no shell, no YAML and no format string may take apart."""


def reproduce(wanted, out, *options):
    command = [sys.executable, "-m", "evalib", "reproduce", "--manifest", str(wanted), "--out", str(out), *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def processes(*words):
    """The processes whose command line holds all ``words``."""
    listed = subprocess.run(["ps", "-ww", "-eo", "pid=,args="], capture_output=True, text=True, check=True).stdout
    return [
        int(line.split()[0])
        for line in listed.splitlines()
        if all(word in line for word in words) and " ps " not in line
    ]


def wait_for(found, process):
    deadline = time.monotonic() + 240
    while not found():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.slow
def test_failed_and_skipped_runs_are_named_and_the_table_is_made(tmp_path):
    wanted, out = tmp_path / "manifest.csv", tmp_path / "results"
    wanted.write_text("experiment,seeds\nresnet20-small,0 1 2\n")
    made(out, seed=0)
    made(out, seed=1, data={"source": "subset", "sha256": "other"})
    (out / "smoke" / "resnet20-small-seed2").write_text("a file where a folder should be")
    process = reproduce(wanted, out)
    shown = process.communicate(timeout=240)[0]
    assert process.returncode == 1
    assert "failed   resnet20-small-seed2: " in shown
    assert "skipped  resnet20-small-seed1: the data set has changed since" in shown
    assert "done 1, failed 1, doubtful 0, skipped 1, running 0\nto go on, give the same command again" in shown
    assert "| ResNet-20 small | 1,000 | 91.25 | 20.00 [20.00, 20.00] | 2 | smoke |" in shown
    assert (out / "smoke" / "table" / "table.json").exists()


@pytest.mark.slow
def test_the_plan_before_in_the_middle_and_after(tmp_path, capsys):
    torch.set_default_dtype(torch.float32)
    wanted, out = tmp_path / "manifest.csv", tmp_path / "results"
    wanted.write_text("experiment,seeds\nresnet20-small,0 1 2\n")

    def plan():
        assert main(["plan", "--manifest", str(wanted), "--out", str(out), "--epochs", "3"]) == 0
        *runs, counts = capsys.readouterr().out.splitlines()
        return [" ".join(run.split()[3:]) for run in runs], counts.partition(":")[2].partition(";")[0].strip()

    def train(seed):
        command = f"train --experiment resnet20-small --seed {seed} --epochs 3 --device cpu --out".split()
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.Popen([sys.executable, "-m", "evalib", *command, str(out)], env=environment)

    def send_after_the_first_epoch(notice, seed):
        process = train(seed)
        wait_for(lambda: list(out.glob(f"smoke/resnet20-small-seed{seed}/epoch-0001-*")), process)
        process.send_signal(notice)
        return process

    assert plan() == (["to do time unknown"] * 3, "3 to do")
    assert train(0).wait() == 0
    send_after_the_first_epoch(signal.SIGKILL, 1).wait()
    stopped = send_after_the_first_epoch(signal.SIGSTOP, 2)
    runs, counts = plan()
    assert runs[0] == "trained its weights are to be evaluated"
    assert [run.partition(";")[0] for run in runs[1:]] == ["begun 1 of 3 epochs", "running 1 of 3 epochs"]
    assert counts == "1 trained, 1 running, 1 begun"
    stopped.send_signal(signal.SIGCONT)
    assert (stopped.wait(), train(1).wait()) == (0, 0)
    for seed in (0, 1, 2):
        assert main(["evaluate", "--record", str(out / "smoke" / f"resnet20-small-seed{seed}.json")]) == 0
    capsys.readouterr()
    assert plan() == (["done"] * 3, "3 done")


@pytest.mark.slow
def test_an_added_row_is_trained_and_shown_without_any_other_edit(tmp_path):
    wanted, out = tmp_path / "manifest.csv", tmp_path / "results"
    made(out, seed=0)
    wanted.write_text("experiment,seeds\nresnet20-small,0\nresnet20-small,7\n")
    process = reproduce(wanted, out)
    shown = process.communicate(timeout=400)[0]
    assert process.returncode == 0, shown
    accuracies = [
        records.read(out / "smoke" / f"resnet20-small-seed{seed}.json")["test"]["accuracy"] for seed in (0, 7)
    ]
    assert f"| {sum(accuracies) / 2:.2f} [" in shown


@pytest.mark.slow
def test_kill_9_of_a_job_and_of_snakemake_lose_and_double_nothing(tmp_path):
    folder = tmp_path / AWKWARD
    wanted, out = folder / "manifest.csv", folder / "results"
    folder.mkdir()
    wanted.write_text("experiment,seeds\nresnet20-small,0\n")

    def plan():
        runs = manifest.plan(manifest.read_manifest(wanted, epochs=3), out)
        return {run.settings.seed: run.state for run in runs}

    assert plan() == {0: "to do"}
    process = reproduce(wanted, out, "--epochs", "3")
    wait_for(lambda: list(out.glob("smoke/resnet20-small-seed0/epoch-0001-*")), process)
    assert plan() == {0: "running"}
    shells = processes("evalib notebook", str(out), "set -euo")
    for job in set(processes("evalib notebook", str(out))) - set(shells):  # Snakemake tries again, and it goes on
        os.kill(job, signal.SIGKILL)
    wait_for(lambda: (out / "smoke" / "resnet20-small-seed0.json").exists(), process)
    shown = process.communicate(timeout=240)[0]
    assert process.returncode == 0, shown
    assert "Trying to restart" in shown
    first = (out / "smoke" / "resnet20-small-seed0.json").read_bytes()
    wanted.write_text("experiment,seeds\nresnet20-small,0\nresnet20-small,5\n")  # a row is added, and nothing else
    assert plan() == {0: "done", 5: "to do"}
    process = reproduce(wanted, out, "--epochs", "3")
    wait_for(lambda: list(out.glob("smoke/resnet20-small-seed5/epoch-0001-*")), process)
    for snakemake in processes("-m snakemake", str(out)):
        os.kill(snakemake, signal.SIGKILL)
    assert "to go on, give the same command again" in process.communicate(timeout=240)[0]
    assert process.returncode == 1
    again = reproduce(wanted, out, "--epochs", "3")  # the killed Snakemake's job may still be at work
    shown = again.communicate(timeout=240)[0]
    assert again.returncode == 0, shown
    assert "done 2, failed 0, doubtful 0, skipped 0, running 0" in shown
    assert plan() == {0: "done", 5: "done"}
    assert (out / "smoke" / "resnet20-small-seed0.json").read_bytes() == first
    for seed in (0, 5):
        record = records.read(out / "smoke" / f"resnet20-small-seed{seed}.json")
        assert [row["epoch"] for row in record["curve"]] == [1, 2, 3]
    assert (out / "smoke" / "resnet20-small" / "train.log").read_text().count("epoch 3/3") == 2
    assert not [path for path in out.rglob("*.tmp") if ".snakemake" not in path.parts]
    assert not processes("ipykernel_launcher", str(out))
    assert [path.name for path in tmp_path.iterdir()] == [AWKWARD]
