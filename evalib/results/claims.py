"""The paper's claims, one by one: its statement, what we measured, and a verdict that the rule of
its kind gives.
"""

import json
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn

from evalib.attention import RelativeSelfAttention
from evalib.eva import EXTENT, ExpandingVisualAttention
from evalib.experiments import TABLE_1, build, experiment
from evalib.networks import KERNEL_SIZE, NUM_HEADS, count_parameters
from evalib.results import statistics
from evalib.results.costs import flops
from evalib.results.records import find_runs, load_records, results
from evalib.results.statistics import (
    NOT_DISTINGUISHABLE,
    NOT_SUPPORTED,
    NOT_YET_DECIDED,
    SUPPORTED,
    Judged,
)
from evalib.results.words import between, difference, foreign, number, p_value, signed, table

RULES = {
    "accuracy": statistics.RULE,
    "control": "as for an accuracy, in a family of its own, of two",
    "time": (
        "measured, not tested: a training step's seconds in the benchmarks, or an epoch's by one"
        " commit on one device that no other run shared, over ResNet's: supported if every ratio is"
        " above 1, not supported if none is"
    ),
    "arithmetic": "counted, not run: supported if parameters and FLOPs are both fewer",
    "construction": "follows from how the parts are made, whatever is counted or run",
}
"""How a verdict is found, by the kind of claim."""


class Claim(NamedTuple):
    """A line of the table of claims; ``kind`` is one of ``RULES``.

    ``mean`` is the difference in test accuracy over ``n`` seeds and ``validation`` that beside it,
    both empty where nothing is run. ``p_holm`` is after Holm's correction.
    """

    kind: str
    where: str
    claim: str
    ours: str
    n: int = 0
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    p_holm: float | None = None
    validation: float | None = None
    validation_low: float | None = None
    validation_high: float | None = None
    verdict: str = NOT_YET_DECIDED
    why: str = ""


def judge_claims(out: Path | None = None) -> list[Claim]:
    """The claims that runs judge: the paper's six differences, our two controls, and the time of
    either attention.
    """
    runs = load_records(out)
    made = []
    for each in statistics.judge(statistics.PAPER, runs):
        one, other = experiment(each.one), experiment(each.other)
        gap = one.paper_accuracy - other.paper_accuracy
        claim = f"{one.model} − {other.model} is {signed(gap)} points"
        made.append(judged_claim("accuracy", "Table 1", claim, each, runs, gap))
    for each in statistics.judge(statistics.EXPLAINING, runs):
        claim = f"{experiment(each.one).model} is ahead of {experiment(each.other).model}"
        made.append(judged_claim("control", "ours", claim, each, runs))
    return [*made, *times(runs, out)]


def judged_claim(
    kind: str, where: str, claim: str, each: Judged, runs: pd.DataFrame, gap: float | None = None
) -> Claim:
    """The claim of a member of a family; ``why`` says what the verdict still needs, whether our
    interval holds the paper's ``gap``, and which runs collapsed.
    """
    found, beside, why = each.difference, each.validation, []
    if found.n < len(statistics.SEEDS):
        why.append(f"{found.n} of {len(statistics.SEEDS)} seeds have run with both")
    if gap is not None and found.low is not None:
        side = "in" if found.low <= gap <= found.high else "outside"
        why.append(f"the paper's {signed(gap)} lies {side} our interval")
    for row in (experiment(each.one), experiment(each.other)):
        fell = find_runs(runs, row.name, (statistics.TIER,))["collapsed"]
        if fell.any():
            why.append(f"{row.model}: {fell.sum()} of {len(fell)} runs collapsed")
    row = experiment(each.one)
    named = f"{row.title}: " if row.variant and found.n else ""
    return Claim(
        kind,
        where,
        claim,
        ours=named + difference(found),
        n=found.n,
        mean=found.mean,
        low=found.low,
        high=found.high,
        p_holm=None if each.verdict == NOT_YET_DECIDED else each.p,
        validation=beside.mean,
        validation_low=beside.low,
        validation_high=beside.high,
        verdict=each.verdict,
        why="; ".join(why),
    )


def times(runs: pd.DataFrame, out: Path | None = None) -> list[Claim]:
    """Slower in wall-clock time (§4.1, §5): either attention against the convolutions, wherever
    both were timed.
    """
    made = []
    for network, name in (("sanet20", "SANet"), ("evanet20", "EVANet")):
        ratios = [*compare_steps(network, out), *compare_epochs(network, runs)]
        shown = [f"{number(ratio)} ({of_what})" for of_what, ratio in ratios]
        made.append(
            Claim(
                "time",
                "§4.1, §5",
                f"{name} trains more slowly than ResNet",
                "; ".join(shown) or "–",
                verdict=judge_ratios([ratio for _, ratio in ratios]),
                why="§5 says “much”, and not how much",
            )
        )
    return made


def judge_ratios(ratios: list[float]) -> str:
    """The verdict on measured ratios of time."""
    if not ratios:
        return NOT_YET_DECIDED
    above = [ratio > 1 for ratio in ratios]
    return SUPPORTED if all(above) else NOT_DISTINGUISHABLE if any(above) else NOT_SUPPORTED


def compare_steps(network: str, out: Path | None = None) -> list[tuple[str, float]]:
    """The ratio of a training step's seconds, of "sanet20" or "evanet20" over ResNet's, in each
    kept benchmark, by size: compiled where both were, else as they are.
    """
    found = []
    for path in sorted((results(out) / "benchmarks").glob("training-*.json")):
        benchmark = json.loads(path.read_text("utf-8"))
        seconds = benchmark["step_seconds"]
        for size in ("small", "large"):
            resnet = seconds.get(f"resnet20-{size}", {})
            for name, ours in seconds.items():
                if not name.startswith(f"{network}-{size}") or name == statistics.QUERY_ALONE:
                    continue
                for way in ("evalib, compiled", "evalib, captured", "evalib"):
                    if way in ours and way in resnet:
                        of_what = f"a step of {name}, {benchmark['device']}"
                        found.append((of_what, ours[way] / resnet[way]))
                        break
    return found


def compare_epochs(network: str, runs: pd.DataFrame) -> list[tuple[str, float]]:
    """The ratio of an epoch's median seconds, of "sanet20" or "evanet20" over ResNet's, over pairs
    of one tier, seed, commit, device and precision.
    """
    timed = runs[runs["standard"] & runs["alone"] & (runs["pause"] == "")]
    alike = ["tier", "seed", "place", "commit", "precision", "compiled"]
    timed = timed.drop_duplicates([*alike, "experiment"], keep="last")
    found = []
    for resnet, *others in (TABLE_1[:3], TABLE_1[3:]):
        (row,) = (each for each in others if each.name.startswith(network))
        ours, theirs = (timed[timed["experiment"] == each.name] for each in (row, resnet))
        for pair in ours.merge(theirs, on=alike).itertuples():
            ratio = pair.epoch_seconds_x / pair.epoch_seconds_y
            found.append((f"an epoch of {row.name}, {pair.place}", ratio))
    return found


def count_claims() -> list[Claim]:
    """The claims that need no run: fewer parameters and FLOPs (§5), of each attention layer beside
    a convolution of its extent, then of the networks; and the example of the introduction.
    """
    made = []
    for resnet, *attentional in (TABLE_1[:3], TABLE_1[3:]):
        d = resnet.widths[-1]
        claim = (
            f"self-attention, {d} channels, k = {KERNEL_SIZE}, has fewer parameters and FLOPs than"
            " the convolution it replaces"
        )
        attention = RelativeSelfAttention(d, d, KERNEL_SIZE, NUM_HEADS)
        convolution = nn.Conv2d(d, d, KERNEL_SIZE, padding=1, bias=False)
        x = torch.zeros(1, d, 8, 8)
        made.append(compare_costs(claim, cost(attention, x), cost(convolution, x)))
        claim = (
            f"EVA, {d} channels, has fewer parameters and FLOPs than a {EXTENT}×{EXTENT}"
            " convolution"
        )
        eva = ExpandingVisualAttention(d, d, d, NUM_HEADS)
        x = torch.zeros(1, d, EXTENT, EXTENT)
        of_eva = compare_costs(claim, cost(eva, x), cost(nn.Conv2d(d, d, EXTENT), x))
        made.append(of_eva._replace(kind="construction", why="it contains that convolution"))
        for row in attentional:
            claim = f"{row.model} has fewer parameters and FLOPs than {resnet.model}"
            ours, theirs = (
                cost(build(each.name).eval(), torch.zeros(1, 3, 32, 32)) for each in (row, resnet)
            )
            where = "abstract, §5, as we read it" if row.variant else "§5, as we read it"
            made.append(compare_costs(claim, ours, theirs, where))
    return [*made, count_example()]


def cost(module: nn.Module, x: Tensor) -> tuple[int, int]:
    """Parameters and FLOPs of ``module(x)``."""
    return count_parameters(module), flops(module, x)


def compare_costs(
    claim: str, ours: tuple[int, int], theirs: tuple[int, int], where: str = "§5"
) -> Claim:
    """A claim on parameters and FLOPs: supported if both are fewer."""
    text = (
        f"{ours[0]:,} against {theirs[0]:,} parameters, {ours[1] / 1e6:,.2f} against"
        f" {theirs[1] / 1e6:,.2f} MFLOPs"
    )
    parameters, operations = ours[0] < theirs[0], ours[1] < theirs[1]
    why = ""
    if parameters != operations:
        why = f"only the {'parameters' if parameters else 'FLOPs'} are fewer"
    verdict = SUPPORTED if parameters and operations else NOT_SUPPORTED
    return Claim("arithmetic", where, claim, text, verdict=verdict, why=why)


def count_example() -> Claim:
    """The introduction's layer [128, 256, 5, 5] on 128×32×32: what it says of it is arithmetic."""
    layer = nn.Conv2d(128, 256, 5, padding=2, bias=False)
    templates, dimensions = len(layer.weight), layer.weight[0].numel()
    weights, operations = cost(layer, torch.zeros(1, 128, 32, 32))
    return Claim(
        "construction",
        "§1",
        "a convolution [128, 256, 5, 5] on 128×32×32 matches 256 templates in 5 × 5 × 128"
        " dimensions",
        f"{templates} templates in {dimensions:,} dimensions: {weights:,} weights,"
        f" {operations / 1e6:,.0f} MFLOPs",
        verdict=SUPPORTED if (templates, dimensions) == (256, 5 * 5 * 128) else NOT_SUPPORTED,
        why="as arithmetic; that this limits what deep convolutions express is not tested",
    )


def markdown(found: list[Claim]) -> str:
    """The claims as a table in Markdown, with the columns of tests where there are any; a dash
    stands for what was not run.
    """
    run = any(claim.kind in ("accuracy", "control", "time") for claim in found)
    tests = ["Seeds", "p, Holm", "Validation"] if run else ["Kind"]
    cells = []
    for claim in found:
        beside = [claim.kind]
        if run:
            interval = between(claim.validation_low, claim.validation_high, signed=True)
            beside = [claim.n or None, p_value(claim.p_holm), signed(claim.validation) + interval]
        ours = foreign(claim.ours) if claim.kind == "time" else claim.ours  # has a record's device
        verdict = f"**{claim.verdict}**" + (f" ({claim.why})" if claim.why else "")
        cells.append([claim.where, claim.claim, ours, *beside, verdict])
    return table(["Where", "Claim", "Ours", *tests, "Verdict"], cells)
