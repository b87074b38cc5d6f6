"""The claims, the ablations, the gaps and the answer: what they say of records of runs that were
not made.
"""

import csv
import io
import json
import math

import pytest
from made import fell, made
from scipy import stats

import evalib
from evalib.__main__ import main
from evalib.experiments import ROWS, experiment
from evalib.pages import machine
from evalib.results import answer, claims, statistics, tables, words
from evalib.results.records import load_records
from evalib.results.run import RunFolder

RESNET, SANET, EVANET = (row.name for row in evalib.TABLE_1[:3])
QUERY, MLP = statistics.QUERY_ALONE, statistics.MLP
TWO_EPOCHS = [
    {"epoch": n, "validation_accuracy": 10.0, "test_accuracy": 80.0, "seconds": 1.0} for n in (1, 2)
]

FELL = fell(150)

CLEAR = {RESNET: (88.0, 87.9, 88.1), EVANET: (91.0, 91.1, 90.9), SANET: (87.0, 86.9, 87.2)}
"""EVANet three points ahead of ResNet, with a tenth of noise."""


def runs(out, accuracies, tier="paper", **changes):
    """Records of seeds 0, 1, … with these accuracies on the test images of ``tier``, by network."""
    images = 500 if tier == "smoke" else 10_000
    for name, percents in accuracies.items():
        for seed, percent in enumerate(percents):
            made(out, name, seed, tier, round(images * percent / 100), **changes)


def verdict(out, statement):
    (found,) = [claim for claim in claims.judge_claims(out) if claim.claim == statement]
    return found


LEAD = "EVANet-20 small − ResNet-20 small is +1.75 points"


# ── Verdicts


def test_a_claim_is_the_verdict_of_the_rule_and_says_whether_the_size_is_the_papers(tmp_path):
    runs(tmp_path, CLEAR)
    found = verdict(tmp_path, LEAD)
    judged = statistics.judge(statistics.PAPER, load_records(tmp_path))[0]
    assert (found.verdict, found.p_holm) == ("supported", judged.p)
    assert (found.n, found.mean, found.low, found.high) == judged.difference[:4]
    beside = (found.validation, found.validation_low, found.validation_high)
    assert found.mean == pytest.approx(3.0) and beside == judged.validation[1:4]
    assert found.why == "the paper's +1.75 lies outside our interval"
    runs(tmp_path, {EVANET: (89.7, 89.8, 89.6)})
    assert verdict(tmp_path, LEAD).why == "the paper's +1.75 lies in our interval"


def test_what_has_not_run_is_not_yet_decided_and_says_what_it_needs(tmp_path):
    runs(tmp_path, CLEAR | {SANET: (87.0, 86.9)})
    found = verdict(tmp_path, "SANet-20 small − ResNet-20 small is +1.20 points")
    assert (found.verdict, found.p_holm) == ("not yet decided", None)
    assert found.why.startswith("2 of 3 seeds have run with both; the paper's +1.20 lies outside")
    large = verdict(tmp_path, "SANet-20 large − ResNet-20 large is +0.35 points")
    assert large.why.startswith("0 of 3 seeds")


def test_shorter_runs_make_no_claim(tmp_path):
    runs(tmp_path, CLEAR, "quick", curve=fell(15))
    for claim in claims.judge_claims(tmp_path):
        assert claim.verdict == "not yet decided" or claim.kind == "time"
        assert (claim.n, claim.mean, claim.p_holm) == (0, None, None)
        assert "collapsed" not in claim.why


def test_a_collapse_is_said_beside_the_verdict(tmp_path):
    runs(tmp_path, CLEAR)
    made(tmp_path, EVANET, 2, "paper", 1_000, curve=FELL)
    assert verdict(tmp_path, LEAD).why.endswith("EVANet-20 small: 1 of 3 runs collapsed")


def test_the_command_prints_every_claim_in_every_format(tmp_path, capsys):
    for seed in (0, 1, 2):
        for shift, (name, percents) in enumerate(CLEAR.items()):
            accuracy = 80.0 + shift + 0.1 * (seed == shift)
            made(tmp_path, name, seed, "paper", round(100 * percents[seed]), validation=accuracy)
    arguments = ["claims", "--out", str(tmp_path)]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 6 + 2 + 2
    judged = statistics.judge(statistics.PAPER, load_records(tmp_path))[0]
    ours, beside = map(words.difference, (judged.difference, judged.validation))
    cells = ["Table 1", LEAD, f"EVANet-20 small, scaled: {ours}", "3", "< 0.001", beside]
    said = "**supported** (the paper's +1.75 lies outside our interval)"
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == [*cells, said]
    assert main([*arguments, "--format", "json"]) == 0
    row = json.loads(capsys.readouterr().out)[0]
    assert (row["n"], row["mean"], row["verdict"]) == (3, pytest.approx(3.0), "supported")
    assert main([*arguments, "--format", "csv"]) == 0
    assert len(list(csv.DictReader(io.StringIO(capsys.readouterr().out)))) == 10


# ── Time, and what is counted

SLOWER = "EVANet trains more slowly than ResNet"


@pytest.mark.parametrize("rows", [evalib.TABLE_1[:3], evalib.TABLE_1[3:]], ids=["small", "large"])
def test_time_is_compared_by_one_commit_on_one_device_and_not_tested(tmp_path, rows):
    """By the last of the runs of a seed."""
    resnet, _, evanet = (row.name for row in rows)
    made(tmp_path, resnet, 0, "quick", seconds=1.0, finished="2025-01-01T00:00:00+00:00")
    RunFolder(evalib.Settings(resnet, 0, "quick"), tmp_path).set_aside()
    for seed, seconds in enumerate((60.0, 62.0)):
        made(tmp_path, evanet, seed, "quick", seconds=(2 + 0.01 * seed) * seconds)
        made(tmp_path, resnet, seed, "quick", seconds=seconds)
    found = verdict(tmp_path, SLOWER)
    assert (found.verdict, found.p_holm) == ("supported", None)
    ratios = [ratio for _, ratio in claims.compare_epochs("evanet20", load_records(tmp_path))]
    assert ratios == pytest.approx([2.0, 2.01])
    assert claims.judge_ratios([1.2, 0.9]) == "not distinguishable"
    assert claims.judge_ratios([0.9, 0.8]) == "not supported"


@pytest.mark.parametrize(
    "other",
    [
        {"device": "another machine"}, {"commit": "0123456"}, {"shared": 2},
        {"precision": "bf16"}, {"tier": "paper"}, {"seed": 1}, {"epochs": 16}, {"sittings": [{"after": 0, "epochs": 15, "device": "a machine", "compiled": True}]},
    ],
)  # fmt: skip
def test_times_that_cannot_be_compared_are_not(tmp_path, other):
    made(tmp_path, EVANET, 0, "quick", seconds=120.0)
    made(tmp_path, RESNET, **{"tier": "quick", "seconds": 60.0} | other)
    found = verdict(tmp_path, SLOWER)
    assert (found.verdict, found.ours) == ("not yet decided", "–")


def test_a_run_that_lay_still_is_timed_with_none(tmp_path):
    path = made(tmp_path, RESNET, 0, "quick", seconds=60.0)
    curve = json.loads(path.read_text())["curve"]
    curve[7]["seconds"] = 90.0
    made(tmp_path, RESNET, 0, "quick", curve=curve)
    made(tmp_path, EVANET, 0, "quick", seconds=120.0)
    assert claims.compare_epochs("evanet20", load_records(tmp_path)) == []


@pytest.mark.parametrize("ways", [("compiled", "captured"), ("captured",), ()], ids=str)
def test_a_step_is_compared_with_the_kept_benchmark_by_the_best_way_of_both(tmp_path, ways):
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    names = [*(f"evalib, {way}" for way in ways), "evalib"]
    steps = {
        RESNET: {name: 1.0 + place for place, name in enumerate(names)},
        EVANET: {name: 1.5 + 5 * place for place, name in enumerate(names)},
        "evanet20-large": {"evalib, compiled": 1.0, "evalib": 9.0},
    }
    (folder / "training-x.json").write_text(json.dumps({"device": "a GPU", "step_seconds": steps}))
    found = verdict(tmp_path, SLOWER)
    assert found.ours == f"1.50 (a step of {EVANET}, a GPU)" and found.verdict == "supported"


def test_costs_are_counted():
    found = {claim.claim: claim for claim in claims.count_claims()[:-1]}
    verdicts = {
        name: claim.verdict
        for name, claim in found.items()
        if "large" not in name and "256" not in name
    }
    assert verdicts == {
        "self-attention, 64 channels, k = 3, has fewer parameters and FLOPs than the convolution it replaces": "supported",
        "EVA, 64 channels, has fewer parameters and FLOPs than a 7×7 convolution": "not supported",
        "SANet-20 small has fewer parameters and FLOPs than ResNet-20 small": "supported",
        "EVANet-20 small has fewer parameters and FLOPs than ResNet-20 small": "not supported",
    }
    network = found["EVANet-20 small has fewer parameters and FLOPs than ResNet-20 small"]
    assert network.ours == "489,242 against 172,506 parameters, 54.34 against 52.79 MFLOPs"
    assert network.where == "abstract, §5, as we read it"
    attention, eva, *_ = (claim.ours for claim in found.values())
    assert f"against {9 * 64**2:,} parameters" in attention
    assert attention.endswith(f"against {2 * 9 * 64**2 * 8**2 / 1e6:.2f} MFLOPs")
    assert f"against {49 * 64**2 + 64:,} parameters" in eva
    assert eva.endswith(f"against {2 * 49 * 64**2 / 1e6:.2f} MFLOPs")


def test_costs_are_fewer_if_parameters_and_flops_both_are():
    found = [claims.compare_costs("", ours, (2, 4)) for ours in ((1, 3), (1, 4), (2, 3), (2, 4))]
    assert [each.verdict for each in found] == ["supported", *["not supported"] * 3]
    only = [f"only the {which} are fewer" for which in ("parameters", "FLOPs")]
    assert [each.why for each in found] == ["", *only, ""]


def test_the_example_is_256_templates_of_3200_entries():
    found = claims.count_example()
    flops = 2 * 256 * 5 * 5 * 128 * 32 * 32
    said = f"256 templates in 3,200 dimensions: 819,200 weights, {flops / 1e6:,.0f} MFLOPs"
    assert found.ours == said and found.verdict == "supported"


# ── Ablations and gaps


def test_an_effect_is_over_common_seeds_and_has_an_interval_at_the_full_schedule_alone(tmp_path):
    row = experiment("evanet20-small-residual")
    runs(tmp_path, {row.name: (80.0, 82.0), EVANET: (81.0, 81.5, 99.0)}, "quick")
    tier, found = tables.measure_effect(load_records(tmp_path), row)
    assert (tier, found.n, found.mean) == ("quick", 2, pytest.approx(-0.25))
    assert (found.low, found.p) == (None, None)
    made(tmp_path, row.name, 7, "paper", 9000)  # no seed of the base's
    assert tables.measure_effect(load_records(tmp_path), row)[0] == "quick"
    runs(tmp_path, CLEAR | {row.name: (90.0, 90.3)})
    tier, found = tables.measure_effect(load_records(tmp_path), row)
    by = statistics.noise(load_records(tmp_path))
    assert (tier, found.n, found.mean) == ("paper", 2, pytest.approx(-0.9))
    assert found.high - found.mean == pytest.approx(by.of_difference(2)) and found.p is None
    told = tables.ablations_markdown(tables.ablations(tmp_path))
    (line,) = (line for line in told.splitlines() if "| `evanet20-small-residual` " in line)
    assert f" {words.difference(found)} |" in line


def test_an_effect_of_runs_that_collapsed_has_no_interval(tmp_path):
    """Chance of a run that collapsed is not that of one that did not."""
    runs(tmp_path, CLEAR)
    runs(tmp_path, {"evanet20-small-residual": (10.0, 10.3)}, curve=FELL)
    row = experiment("evanet20-small-residual")
    _, found = tables.measure_effect(load_records(tmp_path), row)
    assert (found.n, found.mean, found.low) == (2, pytest.approx(-80.9), None)


def test_ablations_have_a_table_of_their_own(tmp_path, capsys):
    runs(tmp_path, {MLP: (41.0, 43.0), RESNET: (40.0, 40.0)}, "smoke")
    made(tmp_path, MLP, 0, "quick")
    assert main(["table", "--ablations", "--out", str(tmp_path), "--format", "json"]) == 0
    found = {row["experiment"]: row for row in json.loads(capsys.readouterr().out)}
    row = found[MLP]
    assert (row["effect"], row["effect_low"]) == (pytest.approx(2.0), None)
    assert (row["tier"], row["seeds"]) == ("quick", 1)
    assert (row["effect_tier"], row["effect_seeds"]) == ("smoke", 2)
    assert not any(row["kind"] == "ladder" for row in found.values())
    assert row["parameters"] == evalib.count_parameters(evalib.build(MLP))
    assert not any("p" in name.split("_") for name in row)
    assert main(["table", "--ablations", "--out", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum("not run" in line for line in lines) == len(found) - 1 == len(lines) - 3


def test_the_worth_of_choosing_by_the_test_set_is_best_minus_last(tmp_path):
    name = next(row.name for row in ROWS.values() if row.test_each_epoch and row.base == EVANET)
    for seed, (best, last) in enumerate(((44.0, 42.0), (43.0, 42.0), (42.0, 42.0), (47.0, 42.0))):
        curve = [
            entry | {"test_accuracy": each}
            for entry, each in zip(TWO_EPOCHS, (best, last), strict=True)
        ]
        made(tmp_path, name, seed, "smoke", round(5 * last), curve=curve)
    tier, found = tables.measure_effect(load_records(tmp_path), experiment(name))
    assert (tier, found.n, found.mean) == ("smoke", 4, pytest.approx(2.0))


def test_page_one_compares_a_control_over_the_seeds_that_both_have_in_full(tmp_path):
    runs(tmp_path, {EVANET: (80.0, 81.0), QUERY: (82.0,)}, "quick")
    made(tmp_path, EVANET, 2, "quick", epochs=20)
    made(tmp_path, MLP, 2, "quick")
    said = machine.reached(load_records(tmp_path), QUERY, EVANET)
    assert said.startswith(
        "82.0 % of the test pictures right after 15 epochs (1 run), EVA with the same seed 80.0 %."
    )
    assert machine.reached(load_records(tmp_path), MLP, EVANET) == "not yet trained."
    runs(tmp_path, CLEAR | {QUERY: (90.0, 90.2, 90.1)})
    said = machine.reached(load_records(tmp_path), QUERY, EVANET)
    assert (
        "after 150 epochs (3 runs), EVA with the same seeds 91.0 %: +0.90 points, 95 % from" in said
    )
    made(tmp_path, QUERY, 2, "paper", 1_000, curve=FELL)
    assert "95 %" not in machine.reached(load_records(tmp_path), QUERY, EVANET)


def test_the_gaps_of_the_paper_and_ours_have_one_ruler(tmp_path):
    runs(tmp_path, CLEAR | {SANET: (87.0, 86.9)})
    found, second = tables.gaps(tmp_path)[:2]
    paper = math.hypot(*(math.sqrt(p * (100 - p) / 10_000) for p in (93.0, 91.25)))
    ours = math.hypot(*(math.sqrt(p * (100 - p) / 10_000) for p in (91.0, 88.0)))
    assert (found["paper"], found["ratio"]) == (pytest.approx(1.75), pytest.approx(1.75 / paper))
    assert (found["ours"], found["our_ratio"]) == (pytest.approx(3.0), pytest.approx(3.0 / ours))
    assert found["verdict"] == "supported" and len(tables.gaps(tmp_path)) == 6
    theirs = math.hypot(*(math.sqrt(p * (100 - p) / 10_000) for p in (86.95, 87.95)))
    assert (second["seeds"], second["our_error"]) == (2, pytest.approx(theirs))
    lines = tables.gaps_markdown([found, second]).splitlines()
    judged = statistics.judge(statistics.PAPER, load_records(tmp_path))[0]
    first, other = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:])
    assert first[1:3] == ["+1.75", f"{1.75 / paper:.1f}"]
    assert first[3:5] == [words.difference(judged.difference), f"{3.0 / ours:.1f}"]
    assert first[5:] == ["3", words.p_value(judged.p), "supported"]
    assert other[5:] == ["2", "–", "not yet decided"]


# ── The answer

ANSWERS = {
    answer.UNDECIDED: CLEAR | {QUERY: (88.0, 88.1)},
    answer.YES: CLEAR
    | {RESNET: (90.6, 90.5, 90.5), QUERY: (90.7, 90.8, 90.5), MLP: (90.6, 90.8, 90.5)},
    answer.NO: CLEAR | {QUERY: (91.0, 91.2, 90.9), MLP: (88.2, 88.3, 88.1)},
    answer.NOT_AHEAD: CLEAR
    | {RESNET: (91.0, 90.9, 91.1), QUERY: (88.5, 88.4, 88.6), MLP: (88.2, 88.3, 88.1)},
}


@pytest.mark.parametrize("said", ANSWERS)
def test_the_answer_is_the_rules_and_its_numbers_are_the_records(tmp_path, said):
    """Worked from the records again, without the answer's code."""
    runs(tmp_path, ANSWERS[said])
    text = answer.text(tmp_path)
    assert answer.verdict(tmp_path) == said and text.startswith(f"**{said}** ")
    mean = {name: sum(each) / len(each) for name, each in ANSWERS[said].items()}
    assert f"{mean[EVANET]:.1f} %" in text and f"{mean[RESNET]:.1f} %" in text
    assert f"{489_242 / 172_506:.1f} times" in text or said in (answer.NO, answer.NOT_AHEAD)
    found = load_records(tmp_path)
    (lead, *_), over = (
        statistics.judge(each, found) for each in (statistics.PAPER, statistics.EXPLAINING)
    )
    _, points, low, high = map(words.signed, lead.difference[:4])
    assert (
        f"{points} points over 3 seeds (95 % interval {low} to {high}, uncorrected; p ="
        f" {words.p_value(lead.p)} after" in text
    )
    if said != answer.UNDECIDED:
        query, mlp = (
            f"{points} (95 % {low} to {high}; p = {words.p_value(each.p)})"
            for each in over
            for points, low, high in [map(words.signed, each.difference[1:4])]
        )
        assert (
            f" {100 * (1 - 381_594 / 489_242):.0f} % fewer parameters than EVANet and ends at"
            f" {mean[QUERY]:.1f} %. A mean with an MLP, two matrices with a ReLU between, has as"
            f" many and ends at {mean[MLP]:.1f} %. With the same seeds EVANet minus the first is"
            f" {query}, minus the second {mlp}; p is after correction for the two" in text
        )
        behind = said == answer.NO and over[1].verdict == statistics.SUPPORTED
        assert ("the MLP has as many, and is behind" in text) is behind
    else:
        gap = sum(CLEAR[EVANET][:2]) / 2 - mean[QUERY]
        reach = statistics.noise(load_records(tmp_path)).of_difference(2)
        shown, low, high = (
            f"{value:+.2f}".replace("-", "−") for value in (gap, gap - reach, gap + reach)
        )
        assert (
            f"EVANet minus the query alone is {shown} points (95 % interval {low} to {high}; the"
            " same seed of both, 2 of 3)" in text
        )
        assert "the MLP has not run" in text
        for tier, absent in (("quick", True), ("paper", False)):
            made(tmp_path, answer.LARGE, 0, tier)
            assert ("has not been trained to the end" in answer.text(tmp_path)) is absent


def test_a_difference_is_supported_from_the_size_on_that_the_answer_names(tmp_path):
    runs(tmp_path, CLEAR)
    by = statistics.noise(load_records(tmp_path))
    least = [stats.t.isf(0.025 / family, by.freedom) for family in (6, 2)]
    paper, ours = (t * by.deviation * math.sqrt(2 / 3) for t in least)
    text = answer.power(tmp_path)
    assert f"{by.deviation:.2f} points from run" in text
    assert f"from {paper:.2f} points on" in text and f"from {ours:.2f} on" in text
    for more, said in ((0.01, "supported"), (-0.01, "not distinguishable")):
        moved = [88.0 + paper + more + each - 91.0 for each in CLEAR[EVANET]]
        lead = {RESNET: CLEAR[RESNET], EVANET: moved, SANET: (88.0, 87.9, 88.2)}
        runs(tmp_path, lead)
        assert statistics.judge(statistics.PAPER, load_records(tmp_path))[0].verdict == said
    assert answer.power(tmp_path / "empty") == ""


def test_a_control_that_is_ahead_is_a_no_whatever_resnet_does(tmp_path):
    query, mlp = (94.0, 94.1, 93.9), (88.2, 88.3, 88.1)
    runs(tmp_path, CLEAR | {RESNET: CLEAR[RESNET][:2], QUERY: query, MLP: mlp})
    assert answer.verdict(tmp_path) == answer.NO


@pytest.mark.parametrize(
    ("query", "mlp", "said"),
    [
        ((90.9, 91.0, 90.9), (88.2, 88.3, 88.1), "So nothing here shows that the looks add"),
        ((88.2, 88.3, 88.1), (90.9, 91.0, 90.9), "So its parameters alone may be why."),
    ],
)
def test_a_control_that_is_behind_by_what_chance_explains_is_a_no(tmp_path, query, mlp, said):
    runs(tmp_path, CLEAR | {QUERY: query, MLP: mlp})
    assert answer.verdict(tmp_path) == answer.NO
    assert said in answer.text(tmp_path)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ((91.0, 91.0, 91.0), answer.NO),  # level: no run to come can change it
        ((90.9, 91.0, 91.0), answer.UNDECIDED),  # behind, by no more than chance explains so far
        ((94.0, 94.0), answer.UNDECIDED),
    ],
)
def test_one_control_alone_can_make_a_no_and_never_a_yes(tmp_path, query, said):
    runs(tmp_path, CLEAR | {EVANET: (91.0, 91.0, 91.0), QUERY: query, MLP: (88.2, 88.1)})
    assert answer.verdict(tmp_path) == said
    told = answer.text(tmp_path)
    by = statistics.noise(load_records(tmp_path)).of_difference(2)
    low, high = (words.signed(2.85 + each) for each in (-by, by))
    second = f"minus the second +2.85 (95 % {low} to {high}; 2 of 3 seeds, not yet decided)"
    assert (second in told) == (said == answer.NO)


def test_without_runs_the_answer_is_not_yet_decided(tmp_path):
    assert answer.verdict(tmp_path) == answer.UNDECIDED
    assert answer.text(tmp_path).startswith("**Not yet decided.**")


def test_the_letter_is_told_by_its_full_runs(tmp_path):
    name = "evanet20-small-letter"
    made(tmp_path, name, 2, "quick")
    assert answer.letter(tmp_path) == ""
    runs(tmp_path, {name: (34.3,)}, curve=FELL)
    made(tmp_path, name, 1, "paper", 8850)
    assert "collapsed in 1 of 2 recorded runs (test accuracy 34.3 % and 88.5 %)" in answer.letter(
        tmp_path
    )


def test_what_the_answer_says_in_words_holds_of_the_records():
    """While it is undecided: after 15 epochs both controls were ahead. Now: the smaller of them is
    level (*Your turn*, the limits of the report). Of the letter: one of two runs collapsed.
    """
    alone = statistics.judge(statistics.EXPLAINING, load_records())[0]
    assert alone.verdict == statistics.NOT_DISTINGUISHABLE and alone.difference.mean <= 0
    assert tables.parameters(QUERY) < tables.parameters(EVANET)
    quick = statistics.by_seed(load_records(), tier="quick")
    means = quick.mean(axis="columns")
    assert means[QUERY] > means[EVANET] < means[MLP]
    assert "in 1 of 2 recorded runs" in answer.letter()
