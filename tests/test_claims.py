"""Comparisons and verdicts: worked by hand or by scipy from records of runs that were not made."""

import csv
import io
import json
import statistics

import numpy as np
import pytest
from scipy import stats
from test_tables import made

import evalib
from evalib.__main__ import main
from evalib.ablations import ABLATIONS
from evalib.experiments import experiment
from evalib.results import arithmetic, claims, comparisons, tables
from evalib.results.comparisons import Comparison, compare, effect, holm, shown
from evalib.results.spread import Spread, spread

RESNET, SANET, EVANET = (row.name for row in evalib.TABLE_1[:3])


TWO_EPOCHS = [{"epoch": n, "validation_accuracy": 10.0, "test_accuracy": 80.0, "seconds": 1.0} for n in (1, 2)]


def runs(out, experiment, percents, tier="paper", **changes):
    """Records of seeds 0, 1, … with these accuracies on the test images of ``tier``."""
    images = 500 if tier == "smoke" else 10_000
    for seed, percent in enumerate(percents):
        made(out, experiment, seed, tier, round(images * percent / 100), **changes)


def verdict(out, statement):
    (found,) = [claim for claim in claims.claims(out) if claim.paper == statement]
    return found


def gap(out):
    return verdict(out, "EVANet-20 small − ResNet-20 small is +1.75 points")


# ── Comparisons ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_comparison_is_the_paired_t_test_of_scipy_and_the_interval_by_hand(tmp_path):
    ours, theirs = [93.0, 93.4, 92.6, 93.2, 92.8], [91.2, 91.5, 91.0, 91.6, 90.7]
    runs(tmp_path, EVANET, ours)
    runs(tmp_path, RESNET, theirs)
    found = compare(EVANET, RESNET, tmp_path)
    # differences 1.8 1.9 1.6 1.6 2.1: mean 1.8, deviation √(0.18/4) = 0.2121; t 2.7764 · 0.2121/√5 = 0.2634
    assert (found.tier, found.n) == ("paper", 5)
    assert (found.mean, found.deviation) == pytest.approx((1.8, 0.212132), abs=1e-6)
    assert (found.low, found.high) == pytest.approx((1.5366, 2.0634), abs=1e-4)
    assert found.p == pytest.approx(stats.ttest_rel(ours, theirs).pvalue)
    assert found.p == pytest.approx(2 * stats.t.sf(1.8 / (0.212132 / 5**0.5), 4), rel=1e-4)
    assert shown(found) == "+1.80 ± 0.21 [+1.54, +2.06]"


def test_only_seeds_that_both_have_are_compared(tmp_path):
    runs(tmp_path, EVANET, [93.0, 94.0, 95.0])
    made(tmp_path, RESNET, 1, "paper", 9_100)
    made(tmp_path, RESNET, 7, "paper", 9_900)
    found = compare(EVANET, RESNET, tmp_path)
    assert found == Comparison("paper", 1, pytest.approx(3.0))
    assert shown(found) == "+3.00"
    assert compare(EVANET, SANET, tmp_path) == Comparison()
    assert shown(Comparison()) == "–"


def test_the_tier_is_the_highest_that_both_have(tmp_path):
    runs(tmp_path, EVANET, [93.0])
    for name, percent in ((EVANET, 80.0), (RESNET, 82.0)):
        runs(tmp_path, name, [percent], tier="quick")
    assert compare(EVANET, RESNET, tmp_path) == Comparison("quick", 1, pytest.approx(-2.0))


def test_differences_without_spread_are_not_tested(tmp_path):
    """Also where they differ by rounding: 79.41 − 77.86 and 80.41 − 78.86."""
    for ones, others in (([2.0, 3.0], [1.0, 2.0]), ([79.41, 80.41], [77.86, 78.86])):
        found = comparisons.paired("paper", ones, others)
        assert (found.n, found.p, found.low, found.high) == (2, None, None, None)
    runs(tmp_path, EVANET, [93.0, 93.4])
    runs(tmp_path, RESNET, [91.0, 91.4])
    assert (gap(tmp_path).verdict, gap(tmp_path).why) == (
        "not tested",
        "the differences are equal, so they have no spread",
    )


@pytest.mark.parametrize(
    ("ps", "corrected"),
    [
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),  # 3·0.01; then 2·0.03 = 0.06; then max(0.06, 0.04)
        ([0.01, None, 0.04], [0.02, None, 0.04]),
        ([0.6, 0.9], [1.0, 1.0]),
        ([None, None], [None, None]),
        ([0.02, 0.02], [0.04, 0.04]),
    ],
)
def test_holm_by_hand(ps, corrected):
    assert holm(ps) == [None if p is None else pytest.approx(p) for p in corrected]


def test_the_spread_is_the_pooled_deviation_over_seeds_by_hand(tmp_path):
    assert spread("quick", tmp_path) is None
    runs(tmp_path, RESNET, [80.0, 82.0, 84.0], tier="quick")  # squares 4 + 0 + 4, freedom 2
    runs(tmp_path, EVANET, [79.0, 79.4], tier="quick")  # squares 0.04 + 0.04, freedom 1
    runs(tmp_path, SANET, [70.0], tier="quick")  # one seed says nothing
    runs(tmp_path, "resnet20-small-test-curve", [10.0, 90.0], tier="quick")  # its base again
    fell = [{"epoch": epoch + 1, "validation_accuracy": 80.0 - 5 * epoch, "seconds": 1.0} for epoch in range(15)]
    runs(tmp_path, "resnet20-small-mlp", [10.0, 90.0], tier="quick", curve=fell, validation_accuracy=10.0)
    deviation = (8.08 / 3) ** 0.5
    found = spread("quick", tmp_path)
    assert found == pytest.approx((deviation, 3), rel=1e-6)
    assert found.mean(1) == pytest.approx(3.18245 * deviation, rel=1e-5)
    assert found.mean(4) == pytest.approx(found.mean(1) / 2)
    assert found.difference(1, 1) == pytest.approx(found.mean(1) * 2**0.5)
    assert found.difference(2, 4) == pytest.approx(found.mean(1) * 0.75**0.5)
    assert found.another(1) == pytest.approx(found.difference(1, 1))
    assert found.another(4) == pytest.approx(found.mean(1) * 1.25**0.5)
    assert spread("paper", tmp_path) is None


def test_with_one_group_the_pooled_test_is_the_two_sample_test_of_scipy(tmp_path):
    ours, theirs = [93.0, 93.4, 92.6], [91.2, 91.5, 91.0, 91.6]
    runs(tmp_path, "evanet20-small-standard", ours)
    runs(tmp_path, EVANET, theirs)
    found, test = effect(experiment("evanet20-small-standard"), tmp_path), stats.ttest_ind(ours, theirs)
    assert found.p == pytest.approx(test.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(test.confidence_interval()))
    assert (found.n, found.mean) == (3, pytest.approx(93.0 - 91.325))


def test_a_prediction_interval_holds_another_seed_in_95_of_100_cases():
    """The interval of the mean holds it far more rarely."""
    random = np.random.default_rng(0)
    values = random.normal(90.0, 1.0, (4000, 6))
    held = {"mean": 0, "another": 0}
    for *known, further in values:
        found = Spread(statistics.stdev(known), 4)
        held["mean"] += abs(further - statistics.mean(known)) <= found.mean(5)
        held["another"] += abs(further - statistics.mean(known)) <= found.another(5)
    assert 0.94 < held["another"] / 4000 < 0.96 and held["mean"] / 4000 < 0.75


def test_holm_spans_the_effects_of_a_tier(tmp_path):
    for name, percents in ((RESNET, [80.0, 80.4]), (EVANET, [80.0, 80.4]), ("evanet20-small-standard", [82.0])):
        runs(tmp_path, name, percents, tier="quick")

    def corrected():
        rows = {row["experiment"]: row for row in comparisons.ablations(tmp_path)}
        return rows["evanet20-small-standard"]["p_holm"], rows["evanet20-small-standard"]["effect_p"]

    alone, p = corrected()
    assert alone == pytest.approx(p) and 0.01 < p < 0.04
    runs(tmp_path, "resnet20-small-mlp", [80.2], tier="quick")
    runs(tmp_path, "evanet20-small-scaled-test-curve", [80.0], tier="smoke", curve=TWO_EPOCHS)  # is of no family
    assert corrected() == (pytest.approx(2 * p), pytest.approx(p))


# ── Verdicts ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_clear_lead_over_seeds_is_supported(tmp_path):
    runs(tmp_path, EVANET, [93.0, 93.4, 92.6, 93.2, 92.8])
    runs(tmp_path, RESNET, [91.2, 91.5, 91.0, 91.6, 90.7])
    found = gap(tmp_path)
    assert (found.verdict, found.why) == ("supported", "the paper's +1.75 lies in our interval")  # [1.54, 2.06]


def test_the_opposite_order_is_not_supported(tmp_path):
    runs(tmp_path, EVANET, [91.2, 91.5, 91.0, 91.6, 90.7])
    runs(tmp_path, RESNET, [93.0, 93.4, 92.6, 93.2, 92.8])
    assert gap(tmp_path).verdict == "not supported"


def test_a_difference_within_the_noise_is_not_distinguishable(tmp_path):
    runs(tmp_path, EVANET, [93.0, 90.0, 92.0])
    runs(tmp_path, RESNET, [91.0, 91.0, 91.0])
    assert gap(tmp_path).verdict == "not distinguishable"


def test_a_lead_of_another_size_is_supported_and_said_to_be_of_another_size(tmp_path):
    runs(tmp_path, EVANET, [91.5, 91.61, 91.4, 91.5])
    runs(tmp_path, RESNET, [91.0, 91.0, 91.0, 91.0])
    assert (gap(tmp_path).verdict, gap(tmp_path).why) == ("supported", "the paper's +1.75 lies outside our interval")


def test_holm_spans_the_six_differences(tmp_path):
    """p = 0.030 of one test alone is enough; beside two more it is not."""
    runs(tmp_path, EVANET, [92.0, 92.5, 91.9])
    runs(tmp_path, RESNET, [91.0, 91.0, 91.0])
    alone = gap(tmp_path)
    assert alone.p == pytest.approx(stats.ttest_1samp([1.0, 1.5, 0.9], 0).pvalue)
    assert 0.02 < alone.p < 0.05 and alone.verdict == "supported"
    runs(tmp_path, SANET, [91.9, 92.3, 91.2])
    beside = gap(tmp_path)
    assert beside.p == pytest.approx(3 * alone.p) and beside.verdict == "not distinguishable"


def test_one_seed_or_another_tier_is_not_tested_and_says_why(tmp_path):
    for name, percents in ((EVANET, [78.0, 78.1]), (RESNET, [80.0, 80.2])):
        runs(tmp_path, name, percents, tier="quick")
    found = gap(tmp_path)
    assert (found.verdict, found.p, found.why) == ("not tested", None, "quick tier: not the full schedule")
    assert (found.ours, found.found.n) == ("EVANet-20 small, scaled: −2.05 points", 2)
    for name in (EVANET, RESNET):
        runs(tmp_path, name, [90.0])
    found = gap(tmp_path)
    assert (found.verdict, found.why) == ("not tested", "n = 1: one seed has no spread")
    assert verdict(tmp_path, "SANet-20 large − ResNet-20 large is +0.35 points").why == "no seed was run with both"


SLOWER = "EVANet trains more slowly than ResNet"


def test_time_is_compared_by_one_commit_on_one_device_at_any_tier(tmp_path):
    for seed, seconds in enumerate((60.0, 62.0, 61.0)):
        made(tmp_path, EVANET, seed, "quick", seconds=(2 + 0.01 * seed) * seconds)
        made(tmp_path, RESNET, seed, "quick", seconds=seconds)
    found = verdict(tmp_path, SLOWER)
    assert (found.verdict, found.found.n) == ("supported", 3)
    assert found.found.mean == pytest.approx(sum(np.log([2, 2.01, 2.02])) / 3)
    assert found.ours == "2.01 times the seconds of an epoch"
    assert "× [1.99, 2.03] | < 0.001" in claims.markdown([found])


@pytest.mark.parametrize(
    "other",
    [
        {"device": "another machine"},
        {"device": "a machine, 2 threads"},
        {"commit": "0123456"},
        {"shared": 2},
        {"precision": "bf16"},
        {"sittings": [{"after": 0, "epochs": 15, "device": "a machine", "compiled": True}]},
    ],
)
def test_times_that_cannot_be_compared_are_not(tmp_path, other):
    for seed, seconds in enumerate((60.0, 62.0, 61.0)):
        made(tmp_path, EVANET, seed, "quick", seconds=(2 + 0.01 * seed) * seconds)
        made(tmp_path, RESNET, seed, "quick", seconds=seconds, **other)
    found = verdict(tmp_path, SLOWER)
    assert (found.verdict, found.found.n) == ("not tested", 0)
    assert found.why.startswith("pairs by one commit on one device that no other run shared: 0")


def test_costs_are_counted(tmp_path):
    found = {claim.paper: claim for claim in arithmetic.costs()}
    verdicts = {name: claim.verdict for name, claim in found.items() if "large" not in name and "256" not in name}
    assert verdicts == {
        "self-attention, 64 channels, k = 3, has fewer parameters and FLOPs than the convolution it replaces": "supported",
        "EVA, 64 channels, has fewer parameters and FLOPs than a 7×7 convolution": "not supported",
        "SANet-20 small has fewer parameters and FLOPs than ResNet-20 small": "supported",
        "EVANet-20 small has fewer parameters and FLOPs than ResNet-20 small": "not supported",
    }
    network = found["EVANet-20 small has fewer parameters and FLOPs than ResNet-20 small"]
    assert network.ours == "489,242 against 172,506 parameters, 54.34 against 52.79 MFLOPs"
    mixed = arithmetic.cheaper("", (1, 5), (2, 4))
    assert (mixed.verdict, mixed.why) == ("not supported", "only the parameters are fewer")


def test_the_example_is_256_templates_of_3200_entries():
    found = arithmetic.example()
    flops = 2 * 256 * 5 * 5 * 128 * 32 * 32
    assert found.ours == f"256 templates in 3,200 dimensions: 819,200 weights, {flops / 1e6:,.0f} MFLOPs"
    assert found.verdict == "supported"


def test_the_command_prints_every_claim_in_every_format(tmp_path, capsys):
    runs(tmp_path, EVANET, [93.0, 93.4])
    runs(tmp_path, RESNET, [91.2, 91.5])
    assert main(["claims", "--out", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 6 + 2
    assert any("+1.85 points | 2 | +1.85 ± 0.07 [+1.21, +2.49]" in line for line in lines)
    assert main(["claims", "--out", str(tmp_path), "--format", "json"]) == 0
    row = json.loads(capsys.readouterr().out)[2]
    assert (row["n"], row["mean"], row["verdict"]) == (2, pytest.approx(1.85), "supported")
    assert main(["claims", "--out", str(tmp_path), "--format", "csv"]) == 0
    assert len(list(csv.DictReader(io.StringIO(capsys.readouterr().out)))) == 8


# ── Ablations ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_ablations_have_a_table_of_their_own(tmp_path, capsys):
    runs(tmp_path, "resnet20-small-mlp", [41.0, 43.0], tier="smoke")
    runs(tmp_path, RESNET, [40.0, 40.0], tier="smoke")
    assert [row["experiment"] for row in tables.table(tmp_path)] == [row.name for row in evalib.TABLE_1]
    assert main(["table", "--ablations", "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert shown.count("\n") == 2 + len(ABLATIONS)
    assert (
        "| `resnet20-small-mlp` | pooling and an MLP of EVA's parameters | control | 1,000 | 42.00 "
        "| +2.00 [−2.30, +6.30] | 0.184 | 2 | smoke |"
    ) in shown
    assert shown.count("| not run |") == len(ABLATIONS) - 1
    assert main(["table", "--ablations", "--out", str(tmp_path), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["effect_mean"] == pytest.approx(2.0)


def test_an_ablation_that_was_stopped_is_not_called_not_run(tmp_path):
    log = tmp_path / "unfinished" / "evanet20-large-residual-seed0.log"
    log.parent.mkdir()
    log.write_text("evanet20-large-residual seed 0 epoch 1/150: loss 1.818, validation 42.94%, images/s 10747\n")
    shown = comparisons.markdown(comparisons.ablations(tmp_path))
    assert (shown.count("| stopped |"), shown.count("| not run |")) == (1, len(ABLATIONS) - 1)
    assert "`evanet20-large-residual`, seed 0 was stopped after epoch 1, at a validation accuracy of 42.9 %" in shown


def test_the_worth_of_choosing_by_the_test_set_is_best_minus_last(tmp_path):
    name = "evanet20-small-scaled-test-curve"
    for seed, (best, last) in enumerate(((44.0, 42.0), (43.0, 42.0))):
        curve = [entry | {"test_accuracy": each} for entry, each in zip(TWO_EPOCHS, (best, last), strict=True)]
        made(tmp_path, name, seed, "smoke", round(5 * last), curve=curve)
    found = effect(experiment(name), tmp_path)
    assert (found.n, found.mean) == (2, pytest.approx(1.5))
