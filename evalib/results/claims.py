"""The paper's claims, one by one: its statement, what we measured, and a verdict that a rule gives."""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from evalib.attention import RelativeSelfAttention
from evalib.blocks import KERNEL_SIZE, NUM_HEADS
from evalib.eva import EXTENT, ExpandingVisualAttention
from evalib.networks import TABLE_1, Experiment, build, count_parameters
from evalib.results.comparisons import Comparison, compare, holm, shown, signed
from evalib.results.counts import flops
from evalib.results.tables import epoch_seconds

SUPPORTED, NOT_SUPPORTED = "supported", "not supported"
NOT_DISTINGUISHABLE, NOT_TESTED = "not distinguishable", "not tested"
LEVEL, TIER = 0.05, "paper"
"""A test is made at this level, after Holm's correction; an accuracy is held against the paper's at this tier alone."""


class Claim(NamedTuple):
    """``found`` is a comparison over seeds, empty where the claim is one of arithmetic; ``p`` is after Holm."""

    where: str
    paper: str
    ours: str
    found: Comparison
    p: float | None
    verdict: str
    why: str


def claims(out: Path | None = None) -> list[Claim]:
    """Every claim of the paper: order and size of the gaps, costs, time, and the example of the introduction."""
    return [*orders(out), *gaps(out), *costs(), *times(out), example()]


def pairs() -> list[tuple[Experiment, Experiment]]:
    """The rows of Table 1, the one that the paper has ahead first: three pairs a size."""
    found = []
    for size in (TABLE_1[:3], TABLE_1[3:]):
        resnet, sanet, evanet = size
        found += [(evanet, sanet), (sanet, resnet), (evanet, resnet)]
    return found


def orders(out: Path | None = None) -> list[Claim]:
    """EVANet above SANet above ResNet: six paired tests, one family."""
    found = [compare(one.name, other.name, out) for one, other in pairs()]
    corrected = holm([each.p if each.tier == TIER else None for each in found])
    made = []
    for (one, other), each, p in zip(pairs(), found, corrected, strict=True):
        statement = f"{one.model} is more accurate than {other.model}"
        why = missing(each) if p is None else ""
        made.append(Claim("Table 1", statement, points(each), each, p, judged(p, each.mean), why))
    return made


def judged(p: float | None, mean: float | None) -> str:
    """The verdict of a two-sided test, if one was made, on a difference that is claimed to be positive."""
    if p is None or mean is None:
        return NOT_TESTED
    if p >= LEVEL:
        return NOT_DISTINGUISHABLE
    return SUPPORTED if mean > 0 else NOT_SUPPORTED


def missing(found: Comparison) -> str:
    """Why accuracies were not tested; empty if they were."""
    if not found.n:
        return "no seed was run with both"
    reasons = [f"n = {found.n}: one seed has no spread"] if found.n < 2 else []
    reasons += [f"{found.tier} tier: not the full schedule"] if found.tier != TIER else []
    return "; ".join(reasons)


def points(found: Comparison) -> str:
    """A difference of accuracies in words."""
    return "–" if found.mean is None else f"{signed(found.mean)} points"


def gaps(out: Path | None = None) -> list[Claim]:
    """The size of each gap: whether the paper's lies in our 95 % interval, and zero outside it."""
    made = []
    for one, other in pairs():
        assert one.paper_accuracy is not None and other.paper_accuracy is not None  # they are rows of Table 1
        found, gap = compare(one.name, other.name, out), one.paper_accuracy - other.paper_accuracy
        statement = f"{one.model} − {other.model} is {signed(gap)} points"
        made.append(Claim("Table 1", statement, points(found), found, None, within(gap, found), missing(found)))
    return made


def within(gap: float, found: Comparison) -> str:
    """The verdict on the size of a gap; an interval that holds zero as well cannot tell it from none."""
    if found.low is None or found.high is None or found.tier != TIER:
        return NOT_TESTED
    if not found.low <= gap <= found.high:
        return NOT_SUPPORTED
    return NOT_DISTINGUISHABLE if found.low <= 0 <= found.high else SUPPORTED


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
        for row in attentional:
            statement = f"{row.model} has fewer parameters and FLOPs than {resnet.model}"
            made.append(cheaper(statement, cost(row.name), cost(resnet.name), "abstract, §5" if row.eva else "§5"))
    return made


def cheaper(statement: str, ours: tuple[int, int], theirs: tuple[int, int], where: str = "§5") -> Claim:
    """A claim on parameters and FLOPs: supported if both are fewer."""
    text = f"{ours[0]:,} against {theirs[0]:,} parameters, {ours[1] / 1e6:,.2f} against {theirs[1] / 1e6:,.2f} MFLOPs"
    fewer = [one < other for one, other in zip(ours, theirs, strict=True)]
    why = "" if fewer[0] == fewer[1] else f"only the {'parameters' if fewer[0] else 'FLOPs'} are fewer"
    return Claim(where, statement, text, Comparison(), None, SUPPORTED if all(fewer) else NOT_SUPPORTED, why)


def times(out: Path | None = None) -> list[Claim]:
    """Slower in wall-clock time (§4.1, §5): seconds an epoch, pairs of runs on one device, at whatever tier."""
    rows = [(row, size[0]) for size in (TABLE_1[:3], TABLE_1[3:]) for row in size[1:]]
    found = [compare(row.name, resnet.name, out, measure=epoch_seconds, same=speed_of) for row, resnet in rows]
    made = []
    for (row, resnet), each, p in zip(rows, found, holm([each.p for each in found]), strict=True):
        statement = f"{row.model} trains more slowly than {resnet.model}"
        ours = "–" if each.mean is None else f"{signed(each.mean)} s an epoch"
        why = "" if p is not None else f"n = {each.n} seeds with both on one device: two at least are needed"
        made.append(Claim("§4.1, §5", statement, ours, each, p, judged(p, each.mean), why))
    return made


def speed_of(record: dict) -> str:
    """What two records must have in common if their times are to be compared; of a shared device nothing is."""
    return record["device"] if record["shared"] == 1 else record["sha256"]


def example() -> Claim:
    """The introduction's layer [128, 256, 5, 5] on 128×32×32: what it says of it is arithmetic."""
    layer = nn.Conv2d(128, 256, 5, padding=2, bias=False)
    templates, dimensions = len(layer.weight), layer.weight[0].numel()
    cost = flops(layer, torch.zeros(1, 128, 32, 32))
    return Claim(
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
    """The claims as a table in Markdown; a dash stands for what was not measured."""
    lines = [
        "| In the paper | Claim | Ours | n | Mean ± sd [95 %] | p, Holm | Verdict |",
        "|---|---|---|---:|---|---:|---|",
    ]
    for claim in found:
        spread = shown(claim.found) if claim.found.n > 1 else "–"
        p = "–" if claim.p is None else f"{claim.p:.3f}"
        verdict = f"**{claim.verdict}**" + (f" ({claim.why})" if claim.why else "")
        lines.append(
            f"| {claim.where} | {claim.paper} | {claim.ours} | {claim.found.n or '–'} | {spread} | {p} | {verdict} |"
        )
    return "\n".join(lines)
