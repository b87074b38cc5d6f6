"""The paper's claims, one by one: its statement, what we measured, and a verdict that the rule of its kind gives."""

import math
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from evalib.attention import RelativeSelfAttention
from evalib.eva import EXTENT, ExpandingVisualAttention
from evalib.networks import KERNEL_SIZE, NUM_HEADS, TABLE_1, EVASummary, Experiment, build, count_parameters
from evalib.results.comparisons import Comparison, compare, holm, paired, shown, signed
from evalib.results.counts import flops
from evalib.results.markdown import p_value
from evalib.results.markdown import table as write
from evalib.results.runs import epoch_seconds, timed, trusted, whole
from evalib.training.settings import TIERS

SUPPORTED, NOT_SUPPORTED = "supported", "not supported"
NOT_DISTINGUISHABLE, NOT_TESTED = "not distinguishable", "not tested"
LEVEL, TIER = 0.05, "paper"
"""A test is made at this level, after Holm's correction; an accuracy is held against the paper's at this tier alone."""

RULES = {
    "accuracy": "paired t-test over the seeds that both networks have, at the paper tier; six tests, corrected by Holm: supported "
    "if p < 0.05 and the sign is the paper's, not supported if p < 0.05 and it is the other, else not distinguishable",
    "time": "t-test of the logarithm of the ratio of an epoch's median seconds, over pairs of one seed and size, by one "
    "commit on one device with as many threads, which no other run shared; two tests, corrected by Holm; verdicts as for an accuracy",
    "arithmetic": "counted, not run: supported if parameters and FLOPs are both fewer",
    "construction": "follows from how the parts are made, whatever is counted or run",
}
"""How a verdict is found, by the kind of claim."""


class Claim(NamedTuple):
    """``found`` is a comparison over seeds, empty where nothing is run; ``p`` is after Holm; ``kind`` one of ``RULES``."""

    kind: str
    where: str
    paper: str
    ours: str
    found: Comparison
    p: float | None
    verdict: str
    why: str


def claims(out: Path | None = None, tiers: tuple[str, ...] = tuple(TIERS)) -> list[Claim]:
    """The eight claims that runs of ``tiers`` judge: each difference of accuracy once, and the time of either attention."""
    return [*accuracies(out, tiers), *times(out, tiers)]


def arithmetic() -> list[Claim]:
    """The claims that need no run: costs, and the example of the introduction."""
    return [*costs(), example()]


def pairs() -> list[tuple[Experiment, Experiment]]:
    """The rows of Table 1, the one that the paper has ahead first: three pairs a size."""
    found = []
    for size in (TABLE_1[:3], TABLE_1[3:]):
        resnet, sanet, evanet = size
        found += [(evanet, sanet), (sanet, resnet), (evanet, resnet)]
    return found


def accuracies(out: Path | None = None, tiers: tuple[str, ...] = tuple(TIERS)) -> list[Claim]:
    """Each difference of Table 1: six paired tests, one family; of its size only whether our interval holds the paper's."""
    found = [compare(one.name, other.name, out, tiers) for one, other in pairs()]
    corrected = holm([each.p if each.tier == TIER else None for each in found])
    made = []
    for (one, other), each, p in zip(pairs(), found, corrected, strict=True):
        assert one.paper_accuracy is not None and other.paper_accuracy is not None  # they are rows of Table 1
        gap = one.paper_accuracy - other.paper_accuracy
        statement = f"{one.model} − {other.model} is {signed(gap)} points"
        why = missing(each) if p is None else size(gap, each)
        made.append(Claim("accuracy", "Table 1", statement, points(each), each, p, judged(p, each.mean), why))
    return made


def judged(p: float | None, mean: float | None) -> str:
    """The verdict of a two-sided test, if one was made, on a difference that is claimed to be positive."""
    if p is None or mean is None:
        return NOT_TESTED
    if p >= LEVEL:
        return NOT_DISTINGUISHABLE
    return SUPPORTED if mean > 0 else NOT_SUPPORTED


def size(gap: float, found: Comparison) -> str:
    """Whether our 95 % interval holds the paper's gap."""
    inside = found.low is not None and found.high is not None and found.low <= gap <= found.high
    return f"the paper's {signed(gap)} lies {'in' if inside else 'outside'} our interval"


def missing(found: Comparison) -> str:
    """Why accuracies were not tested; empty if they were."""
    if not found.n:
        return "no seed was run with both"
    reasons = [f"n = {found.n}: one seed has no spread"] if found.n < 2 else []
    reasons += ["the differences have no spread"] if found.n > 1 and found.p is None else []
    reasons += [f"{found.tier} tier: not the full schedule"] if found.tier != TIER else []
    return "; ".join(reasons)


def points(found: Comparison) -> str:
    """A difference of accuracies in words."""
    return "–" if found.mean is None else f"{signed(found.mean)} points"


def times(out: Path | None = None, tiers: tuple[str, ...] = tuple(TIERS)) -> list[Claim]:
    """Slower in wall-clock time (§4.1, §5): either attention against the convolutions, small and large, at whatever tier."""
    sizes = TABLE_1[:3], TABLE_1[3:]
    found = [slower([(size[which], size[0]) for size in sizes], out, tiers) for which in (1, 2)]
    made = []
    for name, each, p in zip(("SANet", "EVANet"), found, holm([each.p for each in found]), strict=True):
        ours = "–" if each.mean is None else f"{math.exp(each.mean):.2f} times the seconds of an epoch"
        why = (
            ""
            if p is not None
            else f"n = {each.n} pairs by one commit on one device that no other run shared: two at least are needed"
        )
        made.append(
            Claim(
                "time", "§4.1, §5", f"{name} trains more slowly than ResNet", ours, each, p, judged(p, each.mean), why
            )
        )
    return made


def slower(
    rows: list[tuple[Experiment, Experiment]], out: Path | None = None, tiers: tuple[str, ...] = tuple(TIERS)
) -> Comparison:
    """The logarithm of the ratio of an epoch's seconds, over pairs of one tier, seed, commit and device (with its threads).

    Reruns take part: a time is not what anyone would run a seed again for.
    """
    ones, others, paired_at = [], [], []
    for tier in tiers:
        seconds: dict[str, dict] = {row.name: {} for pair in rows for row in pair}
        for record in timed([record for record in trusted(tier, out) if whole(record)]):
            made_by = record["seed"], record["device"], record["commit"]
            seconds.get(record["experiment"], {}).setdefault(made_by, math.log(epoch_seconds(record)))
        for one, other in rows:
            shared = [made_by for made_by in seconds[one.name] if made_by in seconds[other.name]]
            ones += [seconds[one.name][made_by] for made_by in shared]
            others += [seconds[other.name][made_by] for made_by in shared]
            paired_at += [tier] * len(shared)
    return paired(", ".join(dict.fromkeys(paired_at)), ones, others) if paired_at else Comparison()


@cache
def cost(name: str) -> tuple[int, int]:
    """Parameters and FLOPs of a network of Table 1 for one 32×32 image."""
    network = build(name).eval()
    return count_parameters(network), flops(network, torch.zeros(1, 3, 32, 32))


def costs() -> list[Claim]:
    """Fewer parameters and FLOPs (§5): each attention layer beside a convolution of its extent, then the networks."""
    made = []
    for size in (TABLE_1[:3], TABLE_1[3:]):
        resnet, *attentional = size
        d = resnet.widths[-1]
        small, large = torch.zeros(1, d, 8, 8), torch.zeros(1, d, EXTENT, EXTENT)
        layers = [
            (f"self-attention, {d} channels, k = {KERNEL_SIZE},", RelativeSelfAttention(d, d, KERNEL_SIZE, NUM_HEADS),
             "the convolution it replaces", nn.Conv2d(d, d, KERNEL_SIZE, padding=1, bias=False), small),
            (f"EVA, {d} channels,", ExpandingVisualAttention(d, d, d, NUM_HEADS),
             f"a {EXTENT}×{EXTENT} convolution", nn.Conv2d(d, d, EXTENT), large),
        ]  # fmt: skip
        for name, layer, other, convolution, x in layers:
            ours, theirs = ((count_parameters(each), flops(each, x)) for each in (layer, convolution))
            made.append(cheaper(f"{name} has fewer parameters and FLOPs than {other}", ours, theirs))
            if isinstance(layer, ExpandingVisualAttention):
                made[-1] = made[-1]._replace(kind="construction", why="it contains that convolution")
        for row in attentional:
            statement = f"{row.model} has fewer parameters and FLOPs than {resnet.model}"
            made.append(
                cheaper(
                    statement, cost(row.name), cost(resnet.name), "abstract, §5" if row.head is EVASummary else "§5"
                )
            )
    return made


def cheaper(statement: str, ours: tuple[int, int], theirs: tuple[int, int], where: str = "§5") -> Claim:
    """A claim on parameters and FLOPs: supported if both are fewer."""
    text = f"{ours[0]:,} against {theirs[0]:,} parameters, {ours[1] / 1e6:,.2f} against {theirs[1] / 1e6:,.2f} MFLOPs"
    fewer = [one < other for one, other in zip(ours, theirs, strict=True)]
    why = "" if fewer[0] == fewer[1] else f"only the {'parameters' if fewer[0] else 'FLOPs'} are fewer"
    return Claim(
        "arithmetic", where, statement, text, Comparison(), None, SUPPORTED if all(fewer) else NOT_SUPPORTED, why
    )


def example() -> Claim:
    """The introduction's layer [128, 256, 5, 5] on 128×32×32: what it says of it is arithmetic."""
    layer = nn.Conv2d(128, 256, 5, padding=2, bias=False)
    templates, dimensions = len(layer.weight), layer.weight[0].numel()
    cost = flops(layer, torch.zeros(1, 128, 32, 32))
    return Claim(
        "construction",
        "§1",
        "a convolution [128, 256, 5, 5] on 128×32×32 matches 256 templates in 5 × 5 × 128 dimensions",
        f"{templates} templates in {dimensions:,} dimensions: {layer.weight.numel():,} weights, {cost / 1e6:,.0f} MFLOPs",
        Comparison(), None, SUPPORTED if (templates, dimensions) == (256, 5 * 5 * 128) else NOT_SUPPORTED,
        "as arithmetic; that this limits what deep convolutions express is not tested",
    )  # fmt: skip


def rows(found: list[Claim]) -> list[dict]:
    """The claims as flat dictionaries."""
    return [
        {name: value for name, value in claim._asdict().items() if name not in ("found", "p")}
        | {name: value for name, value in claim.found._asdict().items() if name != "p"}
        | {"p_holm": claim.p}
        for claim in found
    ]


def markdown(found: list[Claim]) -> str:
    """The claims as a table in Markdown, with the columns of tests where there are any; a dash stands for what was not run."""
    run = any(claim.kind in ("accuracy", "time") for claim in found)
    heads = ["In the paper", "Claim", "Ours", *(["n", "Mean ± sd [95 %]", "p, Holm"] if run else ["Kind"]), "Verdict"]
    cells = []
    for claim in found:
        tested = [claim.found.n or None, spread_of(claim), p_value(claim.p)] if run else [claim.kind]
        verdict = f"**{claim.verdict}**" + (f" ({claim.why})" if claim.why else "")
        cells.append([claim.where, claim.paper, claim.ours, *tested, verdict])
    return write(heads, cells)


def spread_of(claim: Claim) -> str | None:
    """The spread and the interval of what was tested: differences in points, ratios of time as such."""
    if claim.found.n < 2:
        return None
    if claim.kind != "time" or claim.found.low is None or claim.found.high is None:
        return shown(claim.found)
    return f"× [{math.exp(claim.found.low):.2f}, {math.exp(claim.found.high):.2f}]"
