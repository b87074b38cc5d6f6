"""Reading results: means and intervals as a textbook has them; what is not a sound record is named
and left out.
"""

import contextlib
import copy
import csv
import dataclasses
import functools
import html
import io
import json
import operator
import re
import shutil
import warnings
from pathlib import Path

import nbformat
import pytest
from made import changed, fell, made
from nbclient import NotebookClient

import evalib
from evalib import experiments, register
from evalib.__main__ import main
from evalib.batch import manifest
from evalib.results import claims, records, tables, words
from evalib.results.records import checksum
from evalib.results.run import RunFolder
from evalib.results.words import foreign
from evalib.training.settings import COMPUTATION

ROOT = Path(__file__).parent.parent


def test_a_row_has_mean_validation_seeds_and_interval_in_every_format(tmp_path, capsys):
    """The interval is by hand, over two networks of two seeds: residuals ±0.1 and ±0.3, so s² =
    0.2 / 2, two degrees of freedom.
    """
    ours = {"resnet20-small": (8800, 8820), "sanet20-small": (8700, 8760)}
    for name, corrects in ours.items():
        for seed, correct in enumerate(corrects):
            made(tmp_path, name, seed, "paper", correct)
    low, high = 88.1 - 4.30265 * (0.1 / 2) ** 0.5, 88.1 + 4.30265 * (0.1 / 2) ** 0.5
    arguments = ["table", "--tier", "paper", "--out", str(tmp_path), "--format"]
    assert main([*arguments, "json"]) == 0
    row = json.loads(capsys.readouterr().out)[0]
    assert (row["accuracy"], row["deviation"]) == pytest.approx((88.1, 0.1**0.5)) and row[
        "seeds"
    ] == 2
    assert (row["low"], row["high"]) == pytest.approx((low, high), abs=1e-3)
    assert (row["validation"], row["validations"], row["epochs"]) == (10.0, [10.0, 10.0], 150)
    assert main([*arguments, "csv"]) == 0
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(lines) == 6
    assert float(lines[0]["low"]) == pytest.approx(low, abs=1e-3)
    assert lines[2]["accuracy"] == ""
    assert main([*arguments, "md"]) == 0
    shown = capsys.readouterr().out
    assert f"88.10 [{low:.2f}, {high:.2f}]" in shown and "full schedule: 0.32 points" in shown
    assert main(["table", "--tier", "quick", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("not run") == 6


def test_of_two_runs_that_ended_in_the_same_second_the_superseded_one_counts(tmp_path):
    first = made(tmp_path, correct=300)
    (tmp_path / "superseded" / "smoke").mkdir(parents=True)
    first.rename(tmp_path / "superseded" / "smoke" / first.name)
    made(tmp_path, correct=100)
    assert records.find_runs(records.load_records(tmp_path), "resnet20-small")[
        "test_accuracy"
    ].tolist() == [60.0]


def test_short_runs_have_a_mean_and_no_interval(tmp_path):
    for seed, correct in enumerate((200, 210, 235)):
        made(tmp_path, seed=seed, correct=correct)
    row = tables.table(tmp_path)[0]
    assert (row["accuracy"], row["low"], row["deviation"]) == (43.0, None, None)


def test_a_further_experiment_is_a_further_row(tmp_path, rows):
    register(experiments.Experiment("further", "Further", (1, 1, 1), paper_accuracy=50.0))
    made(tmp_path, "further", 4)
    *six, further = tables.table(tmp_path)
    assert [row["experiment"] for row in six] == [row.name for row in evalib.TABLE_1]
    assert (further["paper"], further["accuracy"], further["seeds"]) == (50.0, 20.0, 1)
    assert len(tables.table(tmp_path, ("quick", "paper"))) == 6


def rewrite(path, **changes):
    """Change the record at ``path`` as a run would have written it, checksum and all."""
    record = json.loads(path.read_text())
    records.write(record | changes, path)


TEST = {"accuracy": 20.0, "loss": 1.0, "correct": 100, "images": 500}
CURVE = [{"epoch": epoch, "validation_accuracy": 10.0, "seconds": 1.0} for epoch in (1, 2)]


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        (lambda path: changed(path, seconds=1.0), "changed after it was written"),
        (lambda path: changed(path, schema=2), "schema"),
        (lambda path: path.write_text(path.read_text()[:200]), "is not a run record"),
        (lambda path: path.write_text("[" * 100_000), "is not a run record"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "is not a run record"),
        (lambda path: path.unlink() or path.mkdir(), "Is a directory"),
        (lambda path: path.unlink() or path.symlink_to("nowhere"), "No such file"),
        (lambda path: rewrite(path, settings={"colour": 1}), "is not a run record"),
        (lambda path: rewrite(path, experiment="resnet18"), "experiment is 'resnet18'"),
        (
            lambda path: path.rename(path.with_name("resnet20-small-seed7.json")),
            "seed7.json is that of resnet20-small-seed1.json",
        ),
        (
            lambda path: path.with_name("seed1 (1).json").write_bytes(path.read_bytes()),
            "seed1 (1).json is that of resnet20-small-seed1.json",
        ),
    ],
)
def test_what_is_no_sound_record_is_named_and_left_out(tmp_path, capsys, harm, named):
    made(tmp_path, correct=200)
    harm(made(tmp_path, seed=1, correct=200))
    assert main(["table", "--out", str(tmp_path), "--format", "json"]) == 0
    shown = capsys.readouterr()
    row = json.loads(shown.out)[0]
    assert (row["seeds"], row["accuracy"]) == (2 if "(1)" in named else 1, 40.0)
    assert shown.err.count("\n") == 1 and named in shown.err
    assert shown.err.startswith("evalib: left out of the table: ")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"test": TEST | {"accuracy": 200.0}}, "test.accuracy: "),
        ({"test": TEST | {"accuracy": 99.0}}, "100 right are not 99.0 %"),
        ({"test": TEST | {"correct": 2000, "images": 10_000}}, "10000 test images"),
        ({"data": {"source": "subset", "sha256": "0" * 64}}, "are not CIFAR-10's"),
        ({"data": {"source": "full", "sha256": "0"}}, "not those of the smoke tier"),
        ({"curve": CURVE[:1]}, "it has 1 epochs"),
        ({"curve": [CURVE[1], CURVE[0]]}, "it has 2 epochs"),
        ({"validation_accuracy": 11.0}, "its last validation accuracy is another"),
        ({"seed": 3}, "seed is 3, in its settings 0"),
        ({"weights": "../../weights-0.safetensors"}, "weights: "),
        ({"computation": COMPUTATION + 1}, "bring this one up to date"),
        ({"finished": "<b>today</b>"}, "finished: "),
        ({"sittings": [{"after": "0", "epochs": 2}]}, "sittings.0.after: "),
        ({"curve": [CURVE[0], {"epoch": 2, "validation_accuracy": 10.0}]}, "curve.1.seconds: "),
    ],
)
def test_what_no_run_gives_is_refused(tmp_path, changes, named):
    path = made(tmp_path)
    rewrite(path, **changes)
    with pytest.raises(ValueError, match=re.escape(named)):
        records.read(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_not_written_and_not_read(tmp_path, value):
    path = made(tmp_path)
    with pytest.raises(ValueError):
        made(tmp_path, seconds=value)
    path.write_text(path.read_text().replace("60.0", json.dumps(value)))
    with pytest.raises(ValueError, match="is not a run record"):
        records.read(path)


def test_the_checksum_does_not_depend_on_order_or_layout(tmp_path):
    record = records.read(made(tmp_path))
    assert checksum(dict(reversed(record.items()))) == record["sha256"]


def test_a_run_on_two_devices_says_nothing_of_time_and_names_both(tmp_path):
    sittings = [
        {"after": after, "epochs": 2, "device": device}
        for after, device in ((0, "a GPU"), (1, "a CPU"))
    ]
    made(tmp_path, device="a CPU", sittings=sittings)
    made(tmp_path, seed=1, device="a CPU", sittings=sittings[:1])
    made(tmp_path, seed=2, shared=2)
    runs = records.load_records(tmp_path)
    assert [*runs["device_seconds"]] == [
        {"a GPU": 30.0, "a CPU": 30.0},
        {"a GPU": 60.0},  # the CPU only read the test set
        {"a machine": 60.0},
    ]
    assert [*runs["alone"]] == [False, True, False]
    assert tables.table(tmp_path)[0]["device"] == "a CPU, a GPU, a machine"


@pytest.mark.parametrize("precision", ["bf16", "float32"])
def test_a_run_whose_precision_was_asked_for_counts_and_is_not_stale(tmp_path, precision):
    settings = evalib.Settings("resnet20-small")
    path = made(
        tmp_path, settings=(settings.model_dump() | {"precision": precision}), precision=precision
    )
    assert [*records.load_records(tmp_path)["counts"]] == [True]
    assert manifest.plan_run(settings, path).state == "done"
    other = settings.model_copy(update={"precision": "float32" if precision == "bf16" else "bf16"})
    assert "precision was" in manifest.plan_run(other, path).note


@pytest.mark.parametrize(
    "other", [{"device": "a GPU"}, {"device": "a GPU", "shared": 2}, {"precision": "bf16"}]
)
def test_the_minutes_of_a_row_are_of_one_device_and_precision(tmp_path, other):
    made(tmp_path, seconds=120.0)
    assert tables.table(tmp_path)[0]["minutes"] == 2.0
    asked = evalib.Settings("resnet20-small", 1, precision=other.get("precision")).model_dump()
    made(tmp_path, seed=1, seconds=60.0, settings=asked, **other)
    row = tables.table(tmp_path)[0]
    assert (row["seeds"], row["minutes"]) == (2, None)


def test_the_minutes_of_a_row_are_of_runs_that_had_their_device_alone(tmp_path):
    for seed, seconds in enumerate((60.0, 60.0, 240.0)):
        made(tmp_path, seed=seed, seconds=seconds)
    made(tmp_path, seed=3, seconds=600.0, shared=2)
    assert tables.table(tmp_path)[0]["minutes"] == 2.0


def test_a_collapse_is_said_below_the_table_and_has_no_interval(tmp_path):
    for seed, correct in enumerate((8800, 8830)):
        made(tmp_path, "resnet20-small", seed, "paper", correct)
        made(tmp_path, "evanet20-small", seed, "paper", correct + 10 * seed)
        made(tmp_path, "sanet20-small", seed, "paper", 2000, curve=fell(150))
    text = tables.markdown(tables.table(tmp_path))
    assert "SANet-20 small, seed 1 collapsed: validation accuracy 80.0 % after epoch 1" in text
    ours = {line.split("|")[1].strip(): line.split("|")[4] for line in text.splitlines()[2:8]}
    assert "88.15 [" in ours["ResNet-20 small"] and ours["SANet-20 small"].strip() == "20.00"


def test_a_text_from_a_record_is_shown_and_does_nothing(tmp_path):
    harm = "<script>alert(1)</script> | x\n\n# [a](b) `c` **d** $e$"
    made(tmp_path, device=harm)
    lines = tables.markdown(tables.table(tmp_path)).splitlines()
    (line,) = (line for line in lines if "ResNet-20 small" in line)
    told = line.replace("&#", "").partition("smoke")[2]
    assert line.count("|") == 10 and not set("<>`*[]#$") & set(told)
    assert html.unescape(html.unescape(foreign(harm))) == harm


SCRIPT = "<script>alert(1)</script> | x [a](b) `c`"


def places(part, at=()):
    """Where in a record its values are: the keys and indices that lead to each."""
    if at:
        yield at
    inside = part.items() if isinstance(part, dict) else ()
    for key, value in enumerate(part) if isinstance(part, list) else inside:
        yield from places(value, (*at, key))


def put(record, at, value):
    """``record`` with ``value`` at a place, under its SHA-256."""
    record = copy.deepcopy(record)
    *way, last = at
    part = record
    for key in way:
        part = part[key]
    part[last] = value
    return record | {"sha256": checksum(record)}


def every_field(out, experiment="resnet20-small"):
    """The path of a record in which each field has something, the record, and its places."""
    sittings = [{"after": 0, "epochs": 2, "device": "a machine", "compiled": False}]
    origin = {"row": experiments.experiment(experiment).definition(), "module": None}
    given = {"precision": "float32", "sittings": sittings, "shared": 1, "origin": origin}
    path = made(out, experiment, **given)
    record = json.loads(path.read_text())
    return path, record, [at for at in places(record) if at != ("sha256",)]


def show(out):
    """All that is shown of the records in a folder."""
    text = tables.markdown(tables.table(out)) + tables.ablations_markdown(tables.ablations(out))
    text += claims.markdown(claims.judge_claims(out))
    for run in map(words.describe_run, records.load_records(out).itertuples()):
        line = words.table([*run], [run.values()])
        assert line.count("|") == 3 * (len(run) + 1)
        text += line
    return text


def test_no_text_of_a_record_or_a_log_becomes_a_script(tmp_path):
    """In each field of a record at once, where it may be text, and in a log and its name."""
    path, record, found = every_field(tmp_path)
    for at in found:
        records.write(put(record, at, SCRIPT), path)
        with contextlib.suppress(ValueError):
            record = records.read(path)
    records.write(record, path)
    assert json.dumps(record).count("<script>") >= 4
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / "sanet20-large-seed<script>.log").write_text(SCRIPT)
    text = show(tmp_path)
    assert "SANet-20 large, seed &" in text and "ResNet-20 small" in text
    assert not any(harm in text for harm in ("<script", "](b)", "`c`"))


SHOWN = "report", "table1", "speed", "collapse", "decide", "eva", "weights", "your_turn", "intro"
CHOOSES = {"vector", "candidate", "pass", "dtype", "experiment"}
"""What pages choose by, in files that are no records: with another text there they show nothing."""


def spoiled(part, key=""):
    """A file's content with a script behind each text."""
    if isinstance(part, dict):
        return {name: spoiled(value, name) for name, value in part.items()}
    if isinstance(part, list):
        return [spoiled(value, key) for value in part]
    return part + SCRIPT if isinstance(part, str) and key not in CHOOSES else part


def spoil(path):
    """Put a script behind each text of a record, or of a file beside the records, that may hold it."""
    content = json.loads(path.read_text("utf-8"))
    if "curve" not in content:
        content = spoiled(content)
        path.write_text(json.dumps(content | {"sha256": checksum(content)}), "utf-8")
        return
    for at in list(places(content)):
        *way, last = at
        text = functools.reduce(operator.getitem, way, content)[last]
        if isinstance(text, str):
            records.write(put(content, at, text + SCRIPT), path)
            with contextlib.suppress(ValueError):
                content = records.read(path)
    records.write(content, path)


@pytest.mark.slow
def test_no_text_of_a_record_becomes_a_script_on_a_page(tmp_path, monkeypatch):
    """The pages that show records, in one kernel over those of the repository, spoiled."""
    shutil.copytree(ROOT / "results", tmp_path / "results")
    for path in (tmp_path / "results").rglob("*.json"):
        spoil(path)
    for log in (tmp_path / "results" / "unfinished").glob("*.log"):
        log.write_text(log.read_text("utf-8") + SCRIPT, "utf-8")
    monkeypatch.setenv("EVALIB_HOME", str(tmp_path))
    pages = [nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4) for name in SHOWN]
    together = nbformat.v4.new_notebook(cells=[cell for page in pages for cell in page.cells])
    NotebookClient(together).execute()
    outputs = [
        "".join(output.data.values())
        for cell in together.cells
        for output in cell.get("outputs", ())
        if "data" in output
    ]
    assert sum("alert&#40;1" in html or "&lt;script" in html for html in outputs) > 3
    assert [text for text in outputs if "<script>alert" in text or "](b)" in text] == []


HOSTILE = [None, True, -1, 1.5, 1e308, 10**400, "x", "", [], {}, [None]]


@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
def test_no_value_in_any_field_of_a_record_stops_the_others(tmp_path, rows, value):
    register(experiments.Experiment("mine", "Mine", (1, 1, 1)))  # whose definition is compared
    path, record, found = every_field(tmp_path, "mine")
    made(tmp_path, seed=1)
    for at in found:
        path.write_text(json.dumps(put(record, at, value)))
        with warnings.catch_warnings(action="ignore"):
            runs = records.load_records(tmp_path)
        assert 1 in [*runs["seed"]], at
        assert all(map(words.describe_run, runs.itertuples()))


def test_a_log_that_is_no_text_stops_no_table(tmp_path):
    made(tmp_path)
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / "sanet20-large-seed0.log").write_bytes(b"\xff stopped")
    assert "SANet-20 large, seed 0 � stopped" in tables.markdown(tables.table(tmp_path))


LINE = "sanet20-large seed 0 epoch {}/150: loss 1.0, validation 90.0%"


@pytest.mark.parametrize(
    "harm",
    [
        Path.mkdir,
        lambda log: log.symlink_to("nowhere"),
        lambda log: log.write_text(LINE.format("9" * 5000)),
    ],
    ids=["folder", "link", "digits"],
)
def test_a_log_that_cannot_be_read_is_said_and_stops_no_table(tmp_path, harm):
    made(tmp_path)
    (tmp_path / "unfinished").mkdir()
    harm(tmp_path / "unfinished" / "sanet20-large-seed0.log")
    text = tables.markdown(tables.table(tmp_path))
    assert "SANet-20 large, seed 0 has a log that cannot be read." in text and "20.00" in text


def test_a_record_of_a_row_that_was_edited_is_named_and_not_shown_as_the_new_one(
    tmp_path, monkeypatch, rows
):
    register(experiments.Experiment("mine", "Mine", (1, 1, 1)))
    settings = evalib.Settings("mine")
    origin = {"row": experiments.experiment("mine").definition(), "module": None}
    path = made(tmp_path, "mine", origin=origin)
    assert tables.table(tmp_path)[-1]["accuracy"] == 20.0 and records.read_same(path, settings)
    rows["mine"] = dataclasses.replace(rows["mine"], blocks=(2, 1, 1))
    with pytest.warns(UserWarning, match="of another mine: its row was edited"):
        assert all(row["accuracy"] is None for row in tables.table(tmp_path))
    with pytest.raises(ValueError, match="its row was edited since that run"):
        evalib.run(settings, tmp_path, device="cpu")
    file = tmp_path / "rows.py"
    file.write_text("# edited")
    monkeypatch.setenv(experiments.MODULE, str(file))
    now = experiments.experiment("mine").definition()
    made(tmp_path, "mine", origin={"row": now, "module": "0" * 64})
    with pytest.warns(UserWarning, match="of another mine: its module was edited"):
        assert all(row["accuracy"] is None for row in tables.table(tmp_path))
    made(tmp_path, "mine")  # without the field, as all records of before
    assert tables.table(tmp_path)[-1]["accuracy"] == 20.0


def test_every_record_of_the_repository_is_sound():
    with warnings.catch_warnings(action="error"):
        runs = evalib.records()
    files = [*(ROOT / "results").glob("**/*-seed*.json")]
    assert len(runs) == len(files) > 40 and runs["standard"].all()


def test_the_minutes_of_a_run_are_its_median_epoch_times_their_number(tmp_path):
    """An epoch in which the machine slept does not count."""
    path = made(tmp_path, tier="quick", seconds=1.0)
    curve = json.loads(path.read_text())["curve"]
    for entry, seconds in zip(curve, [8.0, 4.0, 900.0] + [4.0] * 12, strict=True):
        entry["seconds"] = seconds
    made(tmp_path, tier="quick", curve=curve, seconds=960.0)
    rows = tables.table(tmp_path)
    assert rows[0]["minutes"] == 1.0
    assert "Minutes" in tables.markdown(rows) and "Minutes" not in tables.markdown(rows[1:])


def test_the_first_run_of_a_seed_counts_and_every_rerun_is_listed(tmp_path):
    """The first of the tier's own settings: an earlier one of other settings takes no seed."""
    plan = evalib.Settings("resnet20-small")
    made(tmp_path, epochs=3, finished="2025-01-01T00:00:00+00:00")
    RunFolder(plan, tmp_path).set_aside()
    made(tmp_path, correct=200, finished="2026-01-01T00:00:00+00:00")
    RunFolder(plan, tmp_path).set_aside()
    made(tmp_path, correct=300, finished="2026-02-01T00:00:00+00:00")
    row = tables.table(tmp_path)[0]
    assert (row["accuracy"], row["seeds"]) == (40.0, 1)
    all_three = records.load_records(tmp_path)
    assert [*all_three["test_accuracy"]] == [20.0, 40.0, 60.0]
    assert [*all_three["counts"]] == [False, True, False]


@pytest.mark.parametrize(
    ("values", "warns"),
    [((35.0, 35.0, 30.0), True), ((35.0, 35.0, 41.0), False), ((30.0, 70.0, 80.0), False)],
)
def test_a_collapse_is_a_fall_by_half_that_stays(values, warns):
    said = records.collapse([{"validation_accuracy": value} for value in (60.0, 80.0, *values)])
    assert bool(said) is warns
    if warns:
        assert "80.0 % after epoch 2, at most half of it from epoch 3 on" in said
        assert "30.0 % after the last" in said


def test_accuracies_near_chance_are_no_collapse():
    for values, warns in (((0.0,), False), ((30.0, 0.0), False), ((30.1, 0.0), True)):
        curve = [{"validation_accuracy": value} for value in values]
        assert bool(records.collapse(curve)) is warns


def test_a_run_lay_still_in_an_epoch_but_the_first_of_over_ten_times_the_median():
    said = "lay still in epoch 3, which took 1 minutes"
    for seconds, pause in (((900, 4, 4, 4), ""), ((4, 4, 40, 4), ""), ((4, 4, 41, 4), said)):
        curve = [{"epoch": n, "seconds": each} for n, each in enumerate(seconds, 1)]
        assert records.pause(curve) == pause


def test_a_run_is_described_by_what_made_it_and_what_it_gave(tmp_path):
    flat = {"validation_accuracy": 10.0}
    curve = [flat | {"epoch": n + 1, "seconds": each} for n, each in enumerate((9.0, 60.0, 61.0))]
    sittings = [{"after": 0, "epochs": 3, "device": "a GPU"}]
    made(
        tmp_path, epochs=3, correct=400, curve=curve, commit="0123456789", precision="bf16",
        sittings=sittings, shared=2,
    )  # fmt: skip
    sittings += [sittings[0] | {"after": 1, "device": "a CPU"}]
    made(tmp_path, seed=1, curve=curve[:2], sittings=sittings, precision="bf16")
    one, other = map(words.describe_run, records.load_records(tmp_path).itertuples())
    assert one == {
        "run": "resnet20-small", "tier": "smoke", "seed": "0", "epochs": "3", "test %": "80.00 ± 1.79",
        "device": "a GPU", "precision": "bf16", "runs at once": "2", "minutes": "3.0",
        "seconds an epoch": "60 (9 to 61)", "torch": "2.14.1", "commit": "0123456",
    }  # fmt: skip
    assert (other["device"], other["precision"], other["commit"]) == ("a GPU, a CPU", "–", "–")


def test_table_shows_the_highest_tier_and_dashes(tmp_path):
    for seed in (0, 1):
        made(tmp_path, seed=seed)
    made(tmp_path, "sanet20-small", epochs=3)  # not the tier's own settings
    rows = {row["experiment"]: row for row in tables.table(tmp_path)}
    assert (rows["resnet20-small"]["tier"], rows["resnet20-small"]["seeds"]) == ("smoke", 2)
    assert rows["sanet20-small"]["tier"] is None
    made(tmp_path, tier="quick")
    lines = tables.markdown(tables.table(tmp_path)).splitlines()[:8]
    cells = [[cell.strip() for cell in line.split("|")] for line in lines]
    assert cells[2][1:4] == ["ResNet-20 small", "172,506", "91.25"]
    assert ["quick" in line for line in cells] == [False, False, True] + 5 * [False]
    assert sum("not run" in line for line in cells) == 5


@pytest.mark.parametrize(
    ("value", "shown"),
    [(-0.004, "+0.00"), (-0.005001, "−0.01"), (0.0, "+0.00"), (1234.5, "+1,234.50")],
)
def test_what_rounds_to_zero_has_no_minus(value, shown):
    assert words.signed(value) == shown
