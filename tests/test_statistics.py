"""The test of the answer, against an independent computation: the model, the difference, Holm over
a fixed family.
"""

import itertools
import random

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import evalib
from evalib.results import statistics
from evalib.results.statistics import Difference, by_seed, difference, holm, judge, noise

RESNET, SANET, EVANET, LARGE_RESNET, LARGE_SANET, LARGE_EVANET = (
    row.name for row in evalib.TABLE_1
)
CONTROLS = (statistics.QUERY_ALONE, statistics.MLP)


def frame(accuracies, tier="paper", collapsed=(), validations=None):
    """The runs of ``accuracies``, by network and by seed, as
    :func:`evalib.results.records.load_records` gives them.
    """
    lines = []
    for name, seeds in accuracies.items():
        for seed, value in dict(seeds).items():
            beside = (validations or accuracies)[name][seed]
            lines.append((name, tier, seed, True, value, beside, (name, seed) in collapsed))
    columns = "experiment tier seed counts test_accuracy validation_accuracy collapsed".split()
    return pd.DataFrame(lines, columns=columns)


def seeds(*values):
    return dict(enumerate(values))


SOME = {
    RESNET: seeds(88.2, 87.7, 88.0),
    EVANET: seeds(89.0, 88.5, 88.6),
    SANET: {0: 86.9, 1: 87.2},
    "evanet20-small-residual": {0: 89.0, 2: 88.2},
    LARGE_RESNET: {0: 92.7},
}


def anova(accuracies):
    """Sum of squares and degrees of freedom of network + seed for complete tables, by the
    textbook's formula.
    """
    table = np.array([[each[seed] for seed in (0, 1, 2)] for each in accuracies.values()])
    residuals = (
        table - table.mean(axis=1, keepdims=True) - table.mean(axis=0, keepdims=True) + table.mean()
    )
    return (residuals**2).sum(), (len(table) - 1) * 2


accuracy = st.floats(10, 100, allow_nan=False).map(lambda value: round(value, 2))
complete = st.lists(st.tuples(accuracy, accuracy, accuracy), min_size=2, max_size=6)


@given(complete)
@settings(deadline=None, max_examples=60)
def test_of_complete_tables_the_deviation_is_that_of_the_two_way_analysis_of_variance(values):
    names = [RESNET, EVANET, SANET, *CONTROLS, LARGE_RESNET]
    accuracies = {name: seeds(*each) for name, each in zip(names, values, strict=False)}
    squares, freedom = anova(accuracies)
    found = noise(frame(accuracies))
    assert found.freedom == freedom
    assert found.deviation**2 == pytest.approx(squares / freedom, abs=1e-9, rel=1e-9)


def test_of_unequal_seeds_the_deviation_is_that_of_least_squares():
    """One network's indicator is left out, as a text on regression has it; the networks of one seed
    take no part.
    """
    runs = [
        (name, seed, value)
        for name, each in SOME.items()
        if len(each) > 1
        for seed, value in each.items()
    ]
    names = sorted({name for name, _, _ in runs})
    design = [
        [1.0, *(name == other for other in names[1:]), *(seed == each for each in (1, 2))]
        for name, seed, _ in runs
    ]
    values = np.array([value for _, _, value in runs])
    _, squares, rank, _ = np.linalg.lstsq(np.array(design, float), values, rcond=None)
    found = noise(frame(SOME))
    assert found.freedom == len(runs) - rank == len(runs) - len(names) - 3 + 1
    assert found.deviation == pytest.approx((squares[0] / found.freedom) ** 0.5)


def test_a_shift_of_a_network_or_of_a_seed_is_no_noise():
    moved = {
        name: {seed: value - 5 * (name == EVANET) + 3 * seed for seed, value in each.items()}
        for name, each in SOME.items()
    }
    assert noise(frame(moved)) == pytest.approx(noise(frame(SOME)))


def test_collapsed_networks_rows_that_read_the_test_set_other_tiers_and_further_seeds_make_no_noise():
    curve, scaled = EVANET + "-test-curve", SANET + "-scaled"
    other = {curve: seeds(1.0, 50.0, 90.0), scaled: seeds(30.0, 90.0, 88.0)}
    runs = frame(SOME | other | {RESNET: SOME[RESNET] | {3: 10.0}}, collapsed={(scaled, 0)})
    fell = {(RESNET, 0)}  # in these, and in none that counts
    quick = frame({RESNET: seeds(1.0, 2.0, 9.0)}, tier="quick", collapsed=fell)
    rerun = frame({RESNET: seeds(1.0)}, collapsed=fell).assign(counts=False)
    assert noise(pd.concat([runs, quick, rerun])) == noise(frame(SOME))


def test_there_is_no_noise_without_runs_enough():
    assert noise(frame({})) is None
    assert noise(frame({RESNET: seeds(88.0, 87.0, 89.0)})) is None
    assert noise(frame({RESNET: seeds(88.0, 87.0), EVANET: seeds(88.0)})) is None
    assert noise(frame(SOME, tier="quick")) is None


@pytest.mark.parametrize(("degrees", "quantile"), [(1, 12.7062), (9, 2.2622)])
def test_the_interval_has_the_quantile_of_the_tables(degrees, quantile):
    one = statistics.Noise(1.0, degrees)
    assert one.of_mean(1) == pytest.approx(quantile, abs=5e-5)
    assert one.of_mean(4) == pytest.approx(quantile / 2, abs=5e-5)
    assert one.of_difference(2) == pytest.approx(quantile, abs=5e-5)


def test_with_two_networks_alone_the_test_is_the_paired_one_of_scipy():
    """There the model has nothing else to pool, and least squares with blocks is the paired t-test."""
    ours, theirs = [93.0, 93.4, 92.6], [91.2, 91.5, 91.0]
    runs = frame({EVANET: seeds(*ours), RESNET: seeds(*theirs)})
    found = difference(by_seed(runs), EVANET, RESNET, noise(runs))
    test = stats.ttest_rel(ours, theirs)
    assert (found.n, found.mean, found.p) == (3, pytest.approx(5.3 / 3), pytest.approx(test.pvalue))
    assert (found.low, found.high) == pytest.approx(tuple(test.confidence_interval()))


def test_a_difference_is_over_common_seeds_by_the_deviation_of_all():
    runs = frame(SOME)
    by = noise(runs)
    found = difference(by_seed(runs), "evanet20-small-residual", EVANET, by)
    assert found.each == pytest.approx((0.0, -0.4)) and found.mean == pytest.approx(-0.2)
    error = by.deviation * (2 / 2) ** 0.5
    assert found.p == pytest.approx(2 * stats.t.sf(0.2 / error, by.freedom))
    assert (found.low, found.high) == pytest.approx(stats.t.interval(0.95, by.freedom, -0.2, error))
    assert difference(by_seed(runs), EVANET, LARGE_EVANET, by) == Difference()
    turned = difference(by_seed(runs), EVANET, "evanet20-small-residual", by)
    assert turned.p == pytest.approx(found.p)


@pytest.mark.parametrize(
    ("ps", "corrected"),
    [
        # 3·0.01; then 2·0.03 = 0.06; then max(0.06, 0.04)
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),
        ([0.01, 1.0, 0.04], [0.03, 1.0, 0.08]),
        ([0.6, 0.9], [1.0, 1.0]),
        ([0.02, 0.02], [0.04, 0.04]),
    ],
)
def test_holm_by_hand(ps, corrected):
    assert holm(ps) == pytest.approx(corrected)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.randoms())
def test_holm_does_not_depend_on_the_order_and_lies_between_no_correction_and_bonferronis(
    ps, randomness
):
    corrected = holm(ps)
    order = list(range(len(ps)))
    randomness.shuffle(order)
    assert holm([ps[index] for index in order]) == [corrected[index] for index in order]
    for p, after in zip(ps, corrected, strict=True):
        assert p <= after <= min(1.0, len(ps) * p)
    assert all(
        (one <= other)
        for (p, one), (q, other) in itertools.permutations(zip(ps, corrected, strict=True), 2)
        if p < q
    )


def test_the_families_are_the_papers_six_and_our_two():
    six = {(LARGE_EVANET, LARGE_RESNET), (LARGE_SANET, LARGE_RESNET), (LARGE_EVANET, LARGE_SANET)}
    six |= {(EVANET, RESNET), (SANET, RESNET), (EVANET, SANET)}
    assert set(statistics.PAPER) == six and len(statistics.PAPER) == 6
    assert statistics.EXPLAINING == (
        (EVANET, "evanet20-small-query-alone"),
        (EVANET, "resnet20-small-mlp"),
    )


def test_a_family_never_shrinks():
    """With one pair of six, and with none but two seeds in another, its p is six times the
    uncorrected one.
    """
    only = {
        EVANET: SOME[EVANET],
        RESNET: SOME[RESNET],
        "evanet20-small-residual": seeds(89.0, 88.4, 88.2),
    }
    alone = judge(statistics.PAPER, frame(only))[0]
    assert alone.p == pytest.approx(min(1, 6 * alone.difference.p))
    beside = frame(only | {SANET: {0: 86.9, 1: 87.2}})
    found = {(each.one, each.other): each for each in judge(statistics.PAPER, beside)}
    assert found[EVANET, RESNET].p == pytest.approx(min(1, 6 * found[EVANET, RESNET].difference.p))
    assert found[EVANET, SANET].p == 1 and found[EVANET, SANET].verdict == "not yet decided"


def test_a_p_of_the_level_itself_supports_nothing():
    assert statistics.verdict(Difference(3, 1.0), statistics.LEVEL) == "not distinguishable"


@pytest.mark.parametrize(
    ("lead", "spread", "verdict"),
    [(2.0, 0.1, "supported"), (-2.0, 0.1, "not supported"), (0.3, 1.0, "not distinguishable")],
)
def test_the_verdict_is_the_rules(lead, spread, verdict):
    generator = random.Random(0)
    accuracies = {
        name: seeds(
            *(90 + lead * (name == EVANET) + generator.uniform(-spread, spread) for _ in range(3))
        )
        for name in (EVANET, RESNET, SANET, *CONTROLS)
    }
    for family in (statistics.PAPER, statistics.EXPLAINING):
        assert judge(family, frame(accuracies))[0].verdict == verdict
    del accuracies[EVANET][2]
    for family in (statistics.PAPER, statistics.EXPLAINING):
        found = judge(family, frame(accuracies))[0]
        assert (found.verdict, found.p, found.difference.n) == ("not yet decided", 1.0, 2)


def test_shorter_runs_test_nothing():
    accuracies = {
        name: seeds(value, value + 0.1, value - 0.2)
        for name, value in ((EVANET, 90.0), (RESNET, 80.0), (SANET, 70.0))
    }
    quick = frame(accuracies | {LARGE_SANET: {7: 80.0}}, tier="quick")
    assert by_seed(quick, tier="quick").loc[LARGE_SANET, 7] == 80.0  # shown as it is
    for each in judge(statistics.PAPER, quick):
        assert (each.difference, each.p, each.verdict) == (Difference(), 1.0, "not yet decided")


def test_validation_stands_beside_and_decides_nothing():
    validations = {
        name: {seed: 300 - 2 * value for seed, value in each.items()} for name, each in SOME.items()
    }
    plain, turned = (
        judge(statistics.PAPER, frame(SOME, validations=each)) for each in (None, validations)
    )
    for one, other in zip(plain, turned, strict=True):
        assert (one.verdict, one.p, one.difference) == (other.verdict, other.p, other.difference)
    (_, mean, low, high, *_), (_, doubled, *ends, _, _) = (
        each[0].validation for each in (plain, turned)
    )
    assert (doubled, *ends) == pytest.approx((-2 * mean, -2 * high, -2 * low))


def test_a_level_is_held_in_repetitions():
    """Where nothing is ahead, one of six tests is below 0.05 after Holm in at most 5 of 100
    families, up to luck.
    """
    generator = np.random.default_rng(0)
    names = [row.name for row in evalib.TABLE_1]
    wrong = 0
    for _ in range(200):
        seed = generator.normal(0, 0.5, 3)
        accuracies = {name: seeds(*(90 + seed + generator.normal(0, 0.3, 3))) for name in names}
        wrong += any(each.p < 0.05 for each in judge(statistics.PAPER, frame(accuracies)))
    assert wrong <= 20


@pytest.mark.parametrize("percent", [0, 20, 88])
def test_the_error_of_one_accuracy_is_the_binomials(percent):
    expected = 100 * stats.binom(400, percent / 100).std() / 400
    assert statistics.binomial_error(percent, 400) == pytest.approx(expected)
