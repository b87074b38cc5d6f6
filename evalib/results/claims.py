"""The paper's claims, one by one: its statement, what we measured, and a verdict that the rule of its kind gives."""

import math
from pathlib import Path
from typing import NamedTuple

from evalib.experiments import TABLE_1, Experiment
from evalib.results.choice import reading, titled
from evalib.results.comparisons import Comparison, compare, holm, paired, shown, signed
from evalib.results.markdown import p_value
from evalib.results.markdown import table as write
from evalib.results.runs import complete, epoch_seconds, timed, trusted, warned, whole
from evalib.training.settings import TIERS

SUPPORTED, NOT_SUPPORTED = "supported", "not supported"
NOT_DISTINGUISHABLE, NOT_TESTED = "not distinguishable", "not tested"
LEVEL, TIER = 0.05, "paper"
"""A test is made at this level, after Holm's correction; an accuracy is held against the paper's at this tier alone."""

RULES = {
    "accuracy": "paired t-test over the seeds that both networks have, at the paper tier; six tests, corrected by Holm: supported "
    "if p < 0.05 and the sign is the paper's, not supported if p < 0.05 and it is the other, else not distinguishable",
    "time": "t-test of the logarithm of the ratio of an epoch's median seconds, over pairs of one seed and size, by one "
    "commit on one device with as many threads, which no other run shared, in one precision, both compiled or neither; "
    "two tests, corrected by Holm; verdicts as for an accuracy",
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
        why = "; ".join([missing(each) if p is None else size(gap, each), *falls((one, other), each.tier, out)])
        ours = f"{titled(one)}: {points(each)}" if reading(one) and each.n else points(each)
        made.append(Claim("accuracy", "Table 1", statement, ours, each, p, judged(p, each.mean), why))
    return made


def falls(rows: tuple[Experiment, ...], tier: str | None, out: Path | None = None) -> list[str]:
    """For each of the rows of which runs collapsed at ``tier``, how many of them did."""
    told = []
    for row in rows:
        records = complete(row, tier, out) if tier else []
        if fallen := len(warned(records)):
            told.append(f"{row.model}: {fallen} of {len(records)} runs collapsed")
    return told


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
    reasons += ["the differences are equal, so they have no spread"] if found.n > 1 and found.p is None else []
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
            else f"pairs by one commit on one device that no other run shared: {each.n}, and two at least are needed"
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
    """The logarithm of the ratio of an epoch's seconds, over pairs of one tier, seed, commit, device and precision.

    Both are compiled, or neither. Reruns take part: a time is not what anyone would run a seed again for.
    """
    ones, others, paired_at = [], [], []
    for tier in tiers:
        seconds: dict[str, dict] = {row.name: {} for pair in rows for row in pair}
        for record in timed([record for record in trusted(tier, out) if whole(record)]):
            compiled = any(sitting.get("compiled") for sitting in record.get("sittings", []))
            made_by = record["seed"], record["device"], record["commit"], record.get("precision"), compiled
            seconds.get(record["experiment"], {}).setdefault(made_by, math.log(epoch_seconds(record)))
        for one, other in rows:
            shared = [made_by for made_by in seconds[one.name] if made_by in seconds[other.name]]
            ones += [seconds[one.name][made_by] for made_by in shared]
            others += [seconds[other.name][made_by] for made_by in shared]
            paired_at += [tier] * len(shared)
    return paired(", ".join(dict.fromkeys(paired_at)), ones, others) if paired_at else Comparison()


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
