"""The book's question, *does it help to look ring by ring?*, and its answer: one text, with numbers
from the records.
"""

from pathlib import Path

import pandas as pd

from evalib.experiments import CHOSEN, TABLE_1
from evalib.results.records import find_runs, load_records
from evalib.results.statistics import (
    EVANET,
    EXPLAINING,
    MLP,
    NOT_YET_DECIDED,
    PAPER,
    QUERY_ALONE,
    SEEDS,
    SUPPORTED,
    TIER,
    Judged,
    by_seed,
    judge,
    noise,
)
from evalib.results.tables import parameters
from evalib.results.words import p_value, signed

RESNET, LARGE = TABLE_1[0].name, TABLE_1[5].name

REPORTED = (
    f"The paper reports {TABLE_1[2].paper_accuracy:.2f} % on CIFAR-10 with EVA (EVANet),"
    f" {TABLE_1[1].paper_accuracy:.2f} % with local self-attention (SANet) and"
    f" {TABLE_1[0].paper_accuracy:.2f} % with neither (ResNet)."
)

UNDECIDED = "Not yet decided."
YES = "Yes, beyond what its weights alone do."
NO = "No, a network that never looks is not behind by more than chance explains."
NOT_AHEAD = "No, not by more than chance explains."


def verdict(out: Path | None = None) -> str:
    """The answer in a sentence, by the rule: yes only if EVANet is ahead of ResNet and of both
    controls. One control that has all its seeds, and has no less than EVANet, is a no: no run of
    another network puts EVANet ahead of it.
    """
    return conclude(load_records(out))


def conclude(runs: pd.DataFrame) -> str:
    """:func:`verdict` of recorded runs."""
    over_resnet, controls = judge(PAPER, runs)[0].verdict, judge(EXPLAINING, runs)
    over_controls = [each.verdict for each in controls]
    leads = [each.difference.mean for each in controls if each.verdict != NOT_YET_DECIDED]
    if any(lead is not None and lead <= 0 for lead in leads):
        return NO
    if NOT_YET_DECIDED in (over_resnet, *over_controls):
        return UNDECIDED
    if over_controls != [SUPPORTED, SUPPORTED]:
        return NO
    return YES if over_resnet == SUPPORTED else NOT_AHEAD


def text(out: Path | None = None) -> str:
    """The answer in a paragraph, as every page shows it."""
    runs = load_records(out)
    said = conclude(runs)
    means = by_seed(runs).mean(axis="columns")
    over_resnet, over_query, over_mlp = judge(PAPER, runs)[0], *judge(EXPLAINING, runs)
    lead = over_resnet.difference
    if lead.low is None:
        return (
            f"**{UNDECIDED}** EVANet-20 small and ResNet-20 small have not run often enough to be"
            " compared."
        )
    ends = (
        f"EVANet-20 small ({CHOSEN}) ends at {means[EVANET]:.1f} % of the test images right,"
        f" ResNet-20 small at {means[RESNET]:.1f} %: {signed(lead.mean)} points over {lead.n} seeds"
        f" (95 % interval {signed(lead.low)} to {signed(lead.high)}, uncorrected; p ="
        f" {p_value(over_resnet.p)}"
        " after correction for the paper's six comparisons; in validation, by seed,"
        f" {', '.join(signed(each, 1) for each in over_resnet.validation.each)})."
    )
    times = f"{parameters(EVANET) / parameters(RESNET):.1f}"
    fewer = f"{100 - 100 * parameters(QUERY_ALONE) / parameters(EVANET):.0f}"
    large = " EVANet-20 large, of 256 channels, has not been trained to the end."
    if len(find_runs(runs, LARGE, (TIER,))):
        large = ""
    if said == UNDECIDED:
        return (
            f"**{said}** {ends} Whether looking ring by ring is why is open. EVANet has {times}"
            f" times ResNet's parameters. Two networks do not look: EVA's first query alone, a 7×7"
            f" convolution and a feed-forward network, with {fewer} % fewer than EVANet, and a mean"
            " with an MLP, with as many. After 15 epochs both were ahead of EVANet; in full,"
            f" {controls([over_query, over_mlp])}.{large}"
        )
    rivals = (
        "Two networks do not look. EVA's first query alone, a 7×7 convolution and a feed-forward"
        f" network, has {fewer} % fewer parameters than EVANet and ends at"
        f" {means[QUERY_ALONE]:.1f} %. A mean with an MLP, two matrices with a ReLU between, has as"
        f" many and ends at {means[MLP]:.1f} %. With the same seeds EVANet minus the first is"
        f" {gap(over_query)}, minus the second {gap(over_mlp)}; p is after correction for the two."
    )
    no = "So nothing here shows that the looks add anything."
    if over_query.verdict == SUPPORTED:
        no = "So its parameters alone may be why."
    if over_mlp.verdict == SUPPORTED:
        no += " Nor are parameters alone why: the MLP has as many, and is behind."
    conclusions = {
        YES: f"So the looks are worth something that {times} times ResNet's parameters alone are"
        " not.",
        NO: no,
        NOT_AHEAD: "It is ahead of both, but its lead over ResNet may be chance.",
    }
    return f"**{said}** {ends} {rivals} {conclusions[said]}{large}"


def gap(each: Judged) -> str:
    """The difference to a control, and how sure it is."""
    n, mean, low, high = each.difference[:4]
    interval = "" if low is None else f"95 % {signed(low)} to {signed(high)}; "
    sure = f"p = {p_value(each.p)}"
    if each.verdict == NOT_YET_DECIDED:
        sure = f"{n} of {len(SEEDS)} seeds, not yet decided"
    return f"{signed(mean)} ({interval}{sure})"


def controls(judged: list[Judged]) -> str:
    """What the full runs of the two controls, the family ``EXPLAINING``, gave so far."""
    over_query, over_mlp = judged
    return f"{so_far('the query alone', over_query)}, and {so_far('the MLP', over_mlp)}"


def so_far(name: str, each: Judged) -> str:
    """What the runs of a control gave, as many as there are."""
    n, mean, low, high = each.difference[:4]
    if n == 0:
        return f"{name} has not run"
    interval = "" if low is None else f"95 % interval {signed(low)} to {signed(high)}; "
    seeds = f"the same seed of both, {n} of {len(SEEDS)}"
    return f"EVANet minus {name} is {signed(mean)} points ({interval}{seeds})"


def power(out: Path | None = None) -> str:
    """From what size on the rule supports a difference; empty without a noise to judge by."""
    by = noise(load_records(out))
    if by is None:
        return ""
    paper, ours = (by.least_supported(len(family)) for family in (PAPER, EXPLAINING))
    return (
        f"With {len(SEEDS)} seeds each, and a deviation of {by.deviation:.2f} points from run to"
        " run beside the effect of the seed, the rule can call the largest of the paper's six"
        f" differences supported from {paper:.2f} points on, and the larger of our two from"
        f" {ours:.2f} on."
        " A true difference of that size would be called so in about half of all trials."
    )


def letter(out: Path | None = None) -> str:
    """How EVA to the letter of the text ended; empty if it has not run in full."""
    found = find_runs(load_records(out), "evanet20-small-letter", (TIER,))
    if found.empty:
        return ""
    ends = " and ".join(f"{accuracy:.1f} %" for accuracy in found["test_accuracy"])
    return (
        f"To the letter of the text, without a scale, EVA collapsed in {found['collapsed'].sum()}"
        f" of {len(found)} recorded runs (test accuracy {ends}). The collapsed run computed EVA too"
        " in 16 bits, which was our choice. The other kept EVA's forward pass in 32, fell too and"
        " came back."
    )
