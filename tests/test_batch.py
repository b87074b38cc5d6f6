"""Batch: parameters refused before a kernel starts; the plan; Snakemake over papermill, with kills."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
from made import changed, made

import evalib
from evalib import TABLE_1
from evalib.ablations import ABLATIONS, LADDER
from evalib.batch import manifest, notebook
from evalib.batch import reproduce as reproducing
from evalib.batch.cli import main
from evalib.results import records
from evalib.training import cifar, environment

ROOT = Path(__file__).resolve().parent.parent
NAMES = "experiment, seed, seeds, tier, epochs, precision, module, out"
RUN = evalib.Settings("resnet20-small")


# Parameters


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("sede=1", f"sede='1': Extra inputs are not permitted (the parameters are {NAMES})"),
        ("epochs=1e-3", "epochs='1e-3'"),
        ("seed=one", "seed='one'"),
        ("seeds=one", "seeds='one' must be whole numbers with spaces between, such as 0 1"),
        ("seed=-1", "seed=-1"),
        ("epochs=-1", "epochs=-1: Input should be greater than or equal to 1"),
        ("experiment=resnet18", "there is no experiment 'resnet18'"),
        ("tier=huge", "there is no tier 'huge': choose one of smoke, quick, paper"),
        ("precision=half", "precision='half'"),
        ("seeds=0 seeds=1", 'a parameter is there twice: several seeds are -p seeds "0 1"'),
    ],
)
def test_a_wrong_parameter_is_refused_before_a_kernel_starts(
    tmp_path, one_line, monkeypatch, given, named
):
    monkeypatch.setattr(notebook, "execute", lambda *_: pytest.fail("a kernel was started"))
    pairs = [pair.split("=") for pair in given.split()]
    if "experiment" not in given:
        pairs.append(["experiment", "evanet20-small"])
    words = [word for pair in pairs for word in ("-p", *pair)]
    assert named in one_line("notebook", *words, "-p", "out", tmp_path / "results")
    assert not list(tmp_path.iterdir())


def test_the_experiment_has_to_be_given(one_line):
    assert "experiment=None: Field required" in one_line("notebook", "-p", "seed", "1")


def template(**values):
    """The globals of the template after its parameters, as papermill has set them."""
    names = {name: field.default for name, field in notebook.Parameters.model_fields.items()}
    before = {"torch": object(), "__name__": "__main__"}
    names |= {"experiment": "resnet20-small"} | before | {"_i3": "a line", "_before": before}
    return names | values


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", True),
        ("seed", "1"),
        ("seeds", ["a"]),
        ("seeds", 1.5),
        ("epochs", 2.0),
        ("precision", "half"),
        ("sede", 1),
    ],
)
def test_what_is_no_parameter_or_of_another_type_is_refused_in_the_kernel(name, value):
    with pytest.raises(ValueError, match=f"^{name}=") as refused:
        notebook.read_parameters(template(**{name: value}))
    assert "\n" not in str(refused.value)


def test_the_cells_that_the_page_gives_for_colab_are_taken():
    """A module is imported, then the parameters' cell is replaced."""
    *_, drive, cell = re.findall(
        r"```python\n(.*?)```", (ROOT / "book" / "running.md").read_text("utf-8"), re.S
    )
    assert "from google.colab import drive" in drive
    names = {"_before": {}, "drive": re}
    exec(cell, names)
    (run,) = notebook.read_parameters(names)
    assert run == evalib.Settings("evanet20-small", tier="quick")


def test_the_cell_of_the_parameters_can_be_run_again():
    names = template()
    notebook.read_parameters(names)
    names |= {"network": "made by a later cell", "seed": 2}
    assert notebook.read_parameters(names) == [evalib.Settings("resnet20-small", 2)]


@pytest.mark.parametrize(
    ("given", "seeds"),
    [({}, [0]), ({"seed": 3}, [3]), ({"seeds": "0 1  4"}, [0, 1, 4]), ({"seeds": [2, 1]}, [2, 1])],
)
def test_the_seeds_are_those_of_seeds_or_else_the_one(given, seeds):
    assert [run.seed for run in notebook.read_parameters(template(**given))] == seeds


def test_every_parameter_reaches_the_run():
    words = {"experiment": "sanet20-small", "seed": "3", "tier": "quick", "epochs": "4"}
    words |= {"precision": "bf16"}
    asked = evalib.Settings("sanet20-small", 3, "quick", 4, precision="bf16")
    assert notebook.parse(list(words.items())).runs() == [asked]
    typed = words | {"seed": 3, "epochs": 4}
    assert notebook.read_parameters(template(**typed)) == [asked]


def test_the_parameters_are_those_of_the_template():
    import papermill

    inferred = papermill.inspect_notebook(str(ROOT / notebook.TEMPLATE))
    assert list(inferred) == list(notebook.Parameters.model_fields)


# The manifest and the plan


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("name,seeds\nresnet20-small,0\n", "line 1: seeds='seeds' must be whole"),
        ("experiment,seeds\nresnet20-small,0\nresnet18,0\n", "line 3: there is no experiment"),
        ("experiment,seeds\nresnet20-small,zero\n", "line 2: seeds='zero' must be whole numbers"),
        ("experiment,seeds\nresnet20-small,\n", "line 2: a line has an experiment and its seeds"),
        ("experiment,seeds\n\nresnet20-small,0,1\n", "line 3: a line has an experiment"),
        ("experiment,seeds\n", "no run in"),
    ],
)
def test_a_bad_manifest_is_one_line_that_names_its_line(tmp_path, one_line, text, named):
    path = tmp_path / "manifest.csv"
    path.write_text(text)
    assert named in one_line("reproduce", "--manifest", path, "--out", tmp_path)


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
    runs = [evalib.Settings("resnet20-small", seed) for seed in (0, 1)]
    assert manifest.read_manifest(path) == runs


def test_seeds_are_all_the_first_of_each_row_or_those_wanted(tmp_path):
    path = tmp_path / "manifest.csv"
    path.write_text("experiment,seeds\nresnet20-small,3 0 3\nsanet20-small,1 0\n")

    def seeds(wanted):
        return [run.seed for run in manifest.read_manifest(path, seeds=wanted)]

    assert seeds("all") == [3, 0, 1, 0]
    assert seeds("first") == [3, 1]
    assert seeds("0") == [0, 0]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--manifest", "absent.csv"], "absent.csv'"),
        (["--tier", "huge"], "evalib: there is no tier 'huge'"),
        (["--seeds", "77"], "is of --seeds '77'"),
        (["--seeds", "one"], "seeds='one'"),
        (["--epochs", "-1"], "evalib: epochs=-1"),
    ],
)
def test_a_bad_option_is_one_line_and_leaves_nothing(
    tmp_path, one_line, monkeypatch, options, named
):
    monkeypatch.chdir(tmp_path)
    assert named in one_line("reproduce", "--out", tmp_path, *options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["plan", "reproduce", "notebook -p experiment resnet20-small"])
def test_a_package_without_its_checkout_says_so(tmp_path, monkeypatch, one_line, command):
    monkeypatch.setattr(environment, "checkout", lambda: None)
    monkeypatch.chdir(tmp_path)
    assert "installed here without it: git clone" in one_line(*command.split())
    assert not list(tmp_path.iterdir())


def test_a_run_is_done_begun_or_to_do(tmp_path):
    made(tmp_path, seed=0)
    made(tmp_path, seed=1, epochs=1)
    changed(made(tmp_path, seed=2), seconds=1.0)
    made(tmp_path, seed=3, data={"source": "subset", "sha256": "other"})
    folder = tmp_path / "smoke"
    (folder / "resnet20-small-seed4.json").mkdir()
    for seed, epochs in ((5, (0, 1)), (6, (3,))):  # with more epochs than are wanted now
        begun = folder / f"resnet20-small-seed{seed}"
        begun.mkdir()
        for epoch in epochs:
            (begun / f"epoch-{epoch:04d}-0123456789abcdef.safetensors").touch()
    (folder / "resnet20-small-seed5" / "train.log").write_text("first\nlast\n\n")
    planned = manifest.plan([evalib.Settings("resnet20-small", n) for n in range(7)], tmp_path)
    assert [run.state for run in planned] == ["done", *["to do"] * 4, "begun", "begun"]
    assert [run.epochs for run in planned] == [0, 2, 2, 2, 2, 1, 0]
    notes = (
        "",
        "epochs was 1, is now 2",
        "changed after it was",
        "not CIFAR-10's",
        "seed4.json",
        "1 of 2 epochs; last",
        "3 of 2 epochs",
    )
    assert all(note in run.note for note, run in zip(notes, planned, strict=True))
    assert planned[5].note == notes[5]
    assert "7 runs: 1 done, 2 begun, 4 to do" in manifest.describe(planned, tmp_path)


def test_expected_time_is_that_of_records_by_their_images_or_unknown(tmp_path):
    made(tmp_path, seconds=4.0)  # 2 s an epoch of 1,000 images
    made(tmp_path, seed=1, seconds=40.0, shared=2)  # says nothing of time
    paper, runs = evalib.Settings("resnet20-small", 5, "paper"), records.load_records(tmp_path)
    assert manifest.seconds_an_epoch(paper, runs) == (100.0, "a machine")
    assert manifest.seconds_an_epoch(evalib.Settings("evanet20-small"), runs) == (None, None)
    text = manifest.describe(manifest.plan([paper], tmp_path), tmp_path)
    assert "1 to do; training to come: about 4.2 h by the records of a machine" in text


def test_expected_time_is_that_of_this_device_and_tier_where_there_are_such_records(tmp_path):
    """Else of this device; the mean of all that there are."""
    here = environment.device_name(environment.choose_device())
    made(tmp_path, tier="quick", seconds=15.0)
    for seed, seconds in enumerate((2.0, 4.0, 24.0)):
        made(tmp_path, seed=seed, seconds=2 * seconds, device=here)
    paper, quick = (evalib.Settings("resnet20-small", 5, tier) for tier in ("paper", "quick"))
    for settings in (paper, quick):
        assert manifest.seconds_an_epoch(settings, records.load_records(tmp_path)) == (500.0, here)
    made(tmp_path, seed=1, tier="quick", seconds=15 * 400.0, device=here)
    assert manifest.seconds_an_epoch(quick, records.load_records(tmp_path)) == (400.0, here)
    unknown = manifest.plan([evalib.Settings("sanet20-small", seed) for seed in (0, 1)], tmp_path)
    text = manifest.describe([manifest.Planned(quick, "begun", "", 2), *unknown], tmp_path)
    said = f"about 13 min by the records of {here}; 2 without a record to judge the time by"
    assert text.endswith(f"3 runs: 1 begun, 2 to do; training to come: {said}")


def test_a_time_is_said_in_seconds_minutes_or_hours():
    said = ["about 89 s", "about 2 min", "about 90 min", "about 1.5 h"]
    assert [*map(manifest.duration, (89, 90, 5399, 5400))] == said


def test_the_plan_is_of_the_options_that_are_given(tmp_path, capsys):
    wanted = tmp_path / "manifest.csv"
    wanted.write_text("experiment,seeds\nresnet20-small,0 1 2\n")
    made(tmp_path, seed=1, epochs=5)
    options = ["--manifest", str(wanted), "--out", str(tmp_path), "--seeds", "1 2", "--epochs", "5"]
    assert main(["plan", *options]) == 0
    said = "2 runs: 1 done, 1 to do; training to come: about 60 s by the records of a machine\n"
    assert capsys.readouterr().out.endswith(said)


def test_a_notebook_trains_what_is_not_there_and_its_weights_are_tested(
    tmp_path, monkeypatch, capsys
):
    executed, tested, faults = [], [], iter(["", "other counts"])
    monkeypatch.setenv(notebook.OUT, "")
    monkeypatch.setattr(notebook, "execute", lambda *given: executed.append(given[1:]))
    monkeypatch.setattr(
        notebook.weights, "verify", lambda path: tested.append(path) or {"fault": next(faults)}
    )
    given = {"experiment": RUN.experiment, "seeds": [0, 1]}
    parameters = notebook.Parameters(**given, out=str(tmp_path))
    paths = [made(tmp_path), tmp_path / "smoke" / "resnet20-small-seed1.json"]
    assert notebook.run_notebook(parameters) == paths
    assert executed == [(tmp_path / "smoke" / RUN.experiment / "train.ipynb", given)]
    assert (tested, os.environ[notebook.OUT]) == (paths[1:], str(tmp_path))
    assert capsys.readouterr().out == f"{paths[0]}: there already\n"
    monkeypatch.setattr(
        notebook, "execute", lambda *given: executed.append(given[1:]) or made(tmp_path, seed=1)
    )
    with pytest.raises(RuntimeError, match=r"other counts; its record is .*seed1.json.fault now"):
        notebook.run_notebook(parameters)
    assert not paths[1].exists()  # the same command goes on, and tests again
    made(tmp_path, epochs=5)
    with pytest.raises(ValueError, match="epochs was 5, is now 2"):
        notebook.run_notebook(parameters)
    made(tmp_path)
    paths[1].with_suffix("").mkdir()  # where another process trains, and ends while we wait
    ends = lambda *_: made(tmp_path, seed=1) and nullcontext()  # noqa: E731
    monkeypatch.setattr(notebook, "lock", ends)
    assert notebook.run_notebook(parameters) == paths and len(executed) == 2


# Snakemake


@pytest.fixture
def snakemake(monkeypatch):
    """The commands that would have been called."""
    commands = []
    monkeypatch.setattr(reproducing, "call", lambda command: commands.append(command) or 0)
    return commands


def test_what_a_job_is_told_outlives_the_next_call_and_another_folder(
    tmp_path, monkeypatch, snakemake
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("EVALIB_DATA", "mine")
    monkeypatch.setenv("EVALIB_HOME", "~/home")
    for seeds in ("0", "1"):
        reproducing.reproduce({"tier": "smoke", "seeds": seeds, "out": "~/results"}, book=False)
    assert os.environ["EVALIB_DATA"] == str(tmp_path / "mine")
    assert os.environ["EVALIB_HOME"] == str(tmp_path / "home")
    state = tmp_path / "results" / "smoke" / ".batch"
    assert [command[command.index("--directory") + 1] for command in snakemake] == [state] * 2
    files = [Path(command[command.index("--configfile") + 1]) for command in snakemake]
    assert [json.loads(file.read_text())["seeds"] for file in files] == ["0", "1"]


def test_as_many_jobs_run_at_once_as_there_are_gpus_and_share_the_cores(
    tmp_path, monkeypatch, snakemake
):
    monkeypatch.setattr(reproducing, "count_cores", lambda: 6)
    for visible in ("2,3", "7", ""):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        reproducing.reproduce({"tier": "smoke", "seeds": "0", "out": tmp_path}, book=False)
    for command, jobs, threads in zip(snakemake, (2, 1, 1), (3, 6, 6), strict=True):
        assert f"gpu={jobs}" in command and f"train={threads}" in command


@pytest.mark.parametrize(
    ("there", "options", "status", "target", "ended"),
    [
        (2, [], 0, "book", 0),
        (2, ["--no-book"], 0, "table", 0),
        (2, ["--out", "elsewhere"], 0, "table", 1),
        (2, ["--profile", "mine"], 1, "book", 1),
        (1, [], 0, "book", 1),
    ],
)
def test_reproduce_makes_runs_and_book_or_table_and_ends_by_what_is_done(
    tmp_path, monkeypatch, capsys, there, options, status, target, ended
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "workflow").symlink_to(ROOT / "workflow")
    monkeypatch.setattr(reproducing, "in_checkout", lambda name: tmp_path / name)
    commands, loaded = [], []
    monkeypatch.setattr(reproducing, "call", lambda command: commands.append(command) or status)
    monkeypatch.setattr(cifar, "load_data", loaded.append)
    Path("manifest.csv").write_text("experiment,seeds\nresnet20-small,0 1\n", "utf-8")
    for seed in range(there):
        made(tmp_path / "results", seed=seed)
    made(tmp_path / "results", tier="quick")
    words = ["--manifest", "manifest.csv", "--out", "results", *options, "--", "--dry-run"]
    assert main(["reproduce", *words]) == ended
    (command,), shown = commands, capsys.readouterr().out
    assert command[-4:] == ["--dry-run", "--", "runs", target]
    assert command[command.index("--rerun-triggers") + 1] == "mtime"
    profile = tmp_path / ("mine" if "mine" in options else "workflow/profiles/local")
    assert command[command.index("--profile") + 1] == profile
    assert loaded == ["subset"] * (there < 2 or "elsewhere" in options)
    assert ("to go on, give the same command again" in shown) == ended
    assert ("index.html" in shown) == (target == "book" and status == 0)
    assert "| quick" not in shown


def test_a_run_that_is_added_leaves_the_records_that_are_there(tmp_path):
    """Snakemake deletes the output of each job that it begins."""
    wanted, out = tmp_path / "manifest.csv", tmp_path / "results"
    wanted.write_text("experiment,seeds\nresnet20-small,0 1 2\n")
    made(out, seed=0)
    made(out, seed=1, epochs=5)
    (out / "smoke" / "table.md").write_text("an old table")
    config = {"tier": "smoke", "epochs": 2, "out": str(out), "manifest": str(wanted)}
    (tmp_path / "config.json").write_text(json.dumps(config))
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "workflow" / "Snakefile"]
    command += ["--directory", tmp_path, "--configfile", tmp_path / "config.json"]
    command += "--rerun-triggers mtime --cores 1 --dry-run -p -- runs book".split()
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = done.stdout + done.stderr
    assert "resnet20-small-seed2.json" in text
    assert "wildcards: experiment=resnet20-small, seed=2" in text
    assert "seed=0" not in text and "seed=1" not in text
    folder = out / "smoke"
    for shell in (
        f"evalib notebook -p experiment resnet20-small -p seed 2 -p tier smoke -p out {out} -p epochs 2 2>&1",
        f"| tee -a {folder}/resnet20-small-seed2/train.log",
        f"evalib table --tier smoke --out {out} > {folder}/table.md",
        f"build . -n -W --keep-going > {folder}/.batch/book.log 2>&1",
    ):
        assert shell in text


AWKWARD = 'it\'s $HOME & #1; `x` ü:y %d "q"'
"""A folder's name that no shell, no YAML and no format string may take apart."""


def reproduce(wanted, out, *options, **environment):
    command = [sys.executable, "-m", "evalib", "reproduce", "--manifest", wanted, "--out", out]
    return subprocess.Popen(
        [str(word) for word in (*command, *options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
    )


def processes(*words):
    """The processes whose command line holds all ``words``, with their command lines."""
    command = ["ps", "-ww", "-eo", "pid=,args="]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = [line.split(maxsplit=1) for line in listed.splitlines()]
    return {int(pid): line for pid, line in lines if all(word in line for word in words)}


def wait_for(found, process):
    deadline = time.monotonic() + 400
    while not found():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.slow
def test_a_failed_run_is_named_and_stops_no_other(tmp_path):
    """Where, as on a Mac, there is no sched_getaffinity, and, as on some clusters, no home to write
    to.
    """
    wanted, out = tmp_path / "manifest.csv", tmp_path / "results"
    wanted.write_text("experiment,seeds\nresnet20-small,0 1 2 3\n")
    there = {path: path.read_bytes() for path in (made(out, epochs=1), made(out, seed=1, epochs=5))}
    (out / "smoke" / "resnet20-small-seed2").write_text("a file where a folder should be")
    (tmp_path / "sitecustomize.py").write_text("import os\ndel os.sched_getaffinity\n")
    path = f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"
    process = reproduce(wanted, out, "--epochs", "1", PYTHONPATH=path, HOME="/proc/read-only")
    shown = process.communicate(timeout=600)[0]
    assert process.returncode == 1
    assert "resnet20-small  seed 1  to do  " in shown and "epochs was 5, is now 1" in shown
    assert "resnet20-small  seed 2  to do  " in shown
    assert "4 runs: 2 done, 2 to do" in shown
    assert there == {path: path.read_bytes() for path in there}
    assert records.read(out / "smoke" / "resnet20-small-seed3.json")["settings"]["epochs"] == 1
    assert not (out / "smoke" / "resnet20-small-seed2.json").exists()
    assert "| ResNet-20 small " in shown


@pytest.mark.slow
def test_kill_9_of_a_job_and_of_snakemake_lose_and_double_nothing(tmp_path):
    folder = tmp_path / AWKWARD
    wanted, out = folder / "manifest.csv", folder / "results"
    folder.mkdir()
    wanted.write_text("experiment,seeds\nresnet20-small,0\n")
    path = out / "smoke" / "resnet20-small-seed0.json"

    process = reproduce(wanted, out, "--epochs", "2")
    wait_for(lambda: list(path.with_suffix("").glob("epoch-0001-*")), process)
    (planned,) = manifest.plan(manifest.read_manifest(wanted, epochs=2), out)
    assert planned.state == "begun"
    for job, line in processes("evalib notebook", str(out)).items():
        if "set -euo" not in line:  # not Snakemake's shell: it tries again, and the run goes on
            os.kill(job, signal.SIGKILL)
    shown = process.communicate(timeout=600)[0]
    assert process.returncode == 0, shown
    assert "Trying to restart" in shown
    first = path.read_bytes()

    wanted.write_text("experiment,seeds\nresnet20-small,0 5\n")  # a run is added, nothing else
    added = out / "smoke" / "resnet20-small-seed5.json"
    process = reproduce(wanted, out, "--epochs", "2")
    wait_for(lambda: list(added.with_suffix("").glob("epoch-0001-*")), process)
    for killed in processes("-m snakemake", str(out)):
        os.kill(killed, signal.SIGKILL)
    assert "to go on, give the same command again" in process.communicate(timeout=600)[0]
    assert process.returncode == 1
    unlocking = reproduce(wanted, out, "--epochs", "2", "--", "--unlock")
    assert "to go on" not in unlocking.communicate(timeout=600)[0] and unlocking.returncode == 0
    again = reproduce(wanted, out, "--epochs", "2")  # the killed one's job may still be at work
    shown = again.communicate(timeout=600)[0]
    assert again.returncode == 0, shown
    assert "2 runs: 2 done" in shown
    assert path.read_bytes() == first
    for record in map(records.read, (path, added)):
        assert [row["epoch"] for row in record["curve"]] == [1, 2]
    logs = [file.with_suffix("") / "train.log" for file in (path, added)]
    assert [log.read_text().count("epoch 2/2") for log in logs] == [1, 1]
    assert not [file for file in out.rglob("*.tmp") if ".snakemake" not in file.parts]
    assert [file.name for file in tmp_path.iterdir()] == [AWKWARD]


def test_the_manifests_name_each_row_once_and_table_1_has_three_seeds_where_it_is_small():
    paths = sorted((ROOT / "workflow").glob("*.csv"))
    assert [path.stem for path in paths] == ["ablations", "ladder", "manifest"]
    others, ladder, table = map(manifest.read_manifest, paths)
    on_the_letter = {row.name for row in ABLATIONS if row.base == "evanet20-small-letter"}
    assert {run.experiment for run in table} == {row.name for row in TABLE_1}
    assert {run.experiment for run in others} == {row.name for row in ABLATIONS} - on_the_letter
    assert {run.experiment for run in ladder} == {row.name for row in LADDER}
    judged = {row.name for row in TABLE_1[:3]} | {"resnet20-small-mlp"}
    names = "query-alone", "scaled", "normed", "standard-normed", "published"
    judged |= {f"evanet20-small-{name}" for name in names}
    seeds = {
        name: {run.seed for run in (*table, *others) if run.experiment == name} for name in judged
    }
    assert seeds == {name: {0, 1, 2} for name in judged}
