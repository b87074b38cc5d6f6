"""The rule of the choice, and the sentences that records write."""

import json
import re
import shutil

import pytest

from evalib import TABLE_1
from evalib.pages import answer, plots
from evalib.results import choice, ladder, records, unfinished
from evalib.results.schema import checksum
from evalib.training.settings import COMPUTATION


def candidate(name, *validations):
    return choice.Candidate(name, choice.ADDED[name], choice.row_of(name), validations)


def test_the_highest_mean_is_taken():
    found = [candidate("letter", 30.0, 31.0), candidate("scaled", 90.0, 90.2), candidate("residual", 88.0, 88.1)]
    assert choice.choose(found).name == "scaled"


def test_within_one_standard_error_the_one_that_adds_least_is_taken():
    found = [candidate("scaled", 90.0, 90.2), candidate("residual", 89.0, 91.4), candidate("standard", 80.0, 80.0)]
    assert found[1].error == pytest.approx(1.2)
    assert choice.choose(found).name == "scaled"
    assert choice.choose([candidate("scaled", 89.0, 88.9), found[1]]).name == "residual"


def test_single_runs_count_only_where_there_is_nothing_else():
    assert choice.choose([candidate("letter", 34.0), candidate("residual", 89.0)]).name == "residual"
    assert choice.choose([candidate("scaled", 99.0), candidate("residual", 89.0, 89.2)]).name == "residual"
    assert choice.choose([candidate(name) for name in choice.ADDED]) is None


def test_exactly_one_candidate_is_the_row_of_table_1():
    assert [choice.row_of(name).name for name in choice.ADDED].count(choice.BASE) == 1
    assert choice.row_of(choice.default()).name == choice.BASE


@pytest.fixture
def paper(tmp_path):
    """``paper(experiment, accuracy, seed)`` puts a record at the paper tier into an empty folder of records."""
    source = next(records.results().glob("quick/resnet20-small-seed0.json"))

    def make(name, accuracy, seed=0, best=None):
        record = json.loads(source.read_text("utf-8"))
        record |= {"experiment": name, "tier": "paper", "seed": seed, "validation_accuracy": accuracy}
        record["computation"] = COMPUTATION
        record["settings"] |= {"experiment": name, "tier": "paper", "seed": seed, "epochs": 150}
        entry = record["curve"][-1] | {"validation_accuracy": accuracy}
        record["curve"] = [entry | {"epoch": epoch} for epoch in range(1, 151)]
        record["curve"][24]["validation_accuracy"] = best or accuracy
        record["test"] |= {"accuracy": accuracy, "correct": round(100 * accuracy)}
        record["sha256"] = checksum(record)
        path = tmp_path / "paper" / f"{name}-seed{seed}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(record), "utf-8")
        return tmp_path

    return make


def test_without_a_run_the_answer_says_so(tmp_path):
    assert "cannot say" in answer.found(tmp_path) or "not been run" in answer.found(tmp_path)
    assert all(row.accuracies == () for row in answer.rows(out=tmp_path))
    assert "not run" in plots.against_paper(answer.rows(out=tmp_path)).get_label()


def test_a_collapse_is_told_with_its_number(paper):
    out = paper(choice.row_of("letter").name, 34.33, best=76.3)
    assert answer.collapsed(choice.row_of("letter"), out) == 1
    assert re.search(r"collapses in training and ends at \*\*34\.3\s%\*\* \(one seed\)", answer.found(out))


def test_the_first_rung_of_the_ladder_is_the_row_itself(paper):
    out = paper(TABLE_1[0].name, 88.24)
    rungs = ladder.rungs(out)
    assert rungs[TABLE_1[0].model][0] == [88.24] and not any(rungs[TABLE_1[1].model])
    shown = plots.ladder(list(ladder.RUNGS), rungs, {row.model: row.paper_accuracy for row in TABLE_1[:3]})
    assert "the text 88.24" in shown.get_label() and "SANet-20 small: paper 92.45; ours not run" in shown.get_label()


def test_an_unfinished_run_is_read_line_by_line(tmp_path):
    folder = tmp_path / "unfinished"
    shutil.copytree(records.results() / "unfinished", folder)
    curve = unfinished.curve("evanet20-small-seed0", tmp_path)
    assert [row["epoch"] for row in curve] == list(range(1, len(curve) + 1))
    assert curve[0] == {"epoch": 1, "train_loss": 1.699, "validation_accuracy": 47.52}
    assert unfinished.curve("nothing", tmp_path) == []


def test_the_verdict_says_no_more_than_the_runs_allow(paper, tmp_path):
    assert answer.verdict(tmp_path) == "We cannot say yet."
    evanet, resnet = TABLE_1[2].name, TABLE_1[0].name
    for seed, (ours, theirs) in enumerate([(90.0, 88.0), (90.3, 88.2)]):
        paper(evanet, ours, seed)
        out = paper(resnet, theirs, seed)
        assert answer.verdict(out) == ("Yes, over ResNet." if seed else "That cannot be told from our runs.")
    paper(evanet, 30.0, 2, best=80.0)
    assert answer.verdict(out).startswith("No")


def test_the_mechanism_is_as_the_page_says():
    """*What the text leaves out* draws conclusions in words: they hold of the record that it shows."""
    found = json.loads((records.results() / "mechanism.json").read_text("utf-8"))
    mean = {
        change: sum(entry["validation_accuracy"] for entry in entries) / len(entries)
        for change, entries in found["courses"].items()
    }
    assert mean["larger epsilon"] < mean["nothing"]
    assert all(mean[cure] > mean["nothing"] + 5 for cure in ("logits scaled", "queries normed", "gradient clipped"))
    assert mean["nothing"] < mean["all in float32"] < min(mean["logits scaled"], mean["queries normed"])
    parts = [part for entries in found["courses"].values() for entry in entries for part in entry["parts"].values()]
    assert max(part["step"] for part in parts) < 1
    logits = {
        change: max(each["logit"] for entry in entries for each in entry["attentions"].values())
        for change, entries in found["courses"].items()
    }
    assert max(logits["logits scaled"], logits["queries normed"]) < min(logits["nothing"], logits["all in float32"]) / 5
