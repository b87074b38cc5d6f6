"""The paper's claims, one by one: its statement, what we measured, and a verdict that the rule of
its kind gives.
"""

import json
import warnings
from pathlib import Path
from typing import NamedTuple

from evalib.experiments import TABLE_1, experiment
from evalib.results import statistics
from evalib.results.choice import reading, titled
from evalib.results.records import (
    complete,
    epoch_seconds,
    load_records,
    results,
    stood_still,
    timed,
    trusted,
    warned,
    whole,
)
from evalib.results.statistics import (
    NOT_DISTINGUISHABLE,
    NOT_SUPPORTED,
    NOT_YET_DECIDED,
    SUPPORTED,
    Difference,
    Judged,
)
from evalib.results.words import difference, foreign, number, p_value, signed, table
from evalib.training.settings import TIERS

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
    """``found`` is the difference in test accuracy and ``validation`` that beside it, both empty
    where nothing is run.

    ``p`` is after Holm's correction; ``kind`` is one of ``RULES``.
    """

    kind: str
    where: str
    statement: str
    ours: str
    verdict: str
    why: str = ""
    found: Difference = Difference()
    validation: Difference = Difference()
    p: float | None = None


def claims(out: Path | None = None) -> list[Claim]:
    """The claims that runs judge: the paper's six differences, the time of either attention, and
    our two controls.
    """
    return [*accuracies(out), *controls(out), *times(out)]


def accuracies(out: Path | None = None) -> list[Claim]:
    """Each difference of Table 1 by the rule; of its size only whether our interval holds the
    paper's.
    """
    made = []
    for each in statistics.judge(statistics.PAPER, load_records(out)):
        one, other = experiment(each.one), experiment(each.other)
        assert (
            one.paper_accuracy is not None and other.paper_accuracy is not None
        )  # they are rows of Table 1
        gap = one.paper_accuracy - other.paper_accuracy
        statement = f"{one.model} − {other.model} is {signed(gap)} points"
        made.append(tested("accuracy", "Table 1", statement, each, out, size(gap, each.difference)))
    return made


def controls(out: Path | None = None) -> list[Claim]:
    """Whether EVANet is ahead of the two networks that do not look, by the rule."""
    made = []
    for each in statistics.judge(statistics.EXPLAINING, load_records(out)):
        statement = f"{experiment(each.one).model} is ahead of {experiment(each.other).model}"
        made.append(tested("control", "ours", statement, each, out))
    return made


def tested(
    kind: str, where: str, statement: str, each: Judged, out: Path | None, size: str = ""
) -> Claim:
    """The claim of a member of a family."""
    why = [missing(each.difference), size, *collapses((each.one, each.other), out)]
    found, read = each.difference, reading(experiment(each.one))
    ours = difference(found)
    if read and found.n:
        ours = f"{titled(experiment(each.one))}: {ours}"
    p = None if each.verdict == NOT_YET_DECIDED else each.p
    return Claim(
        kind,
        where,
        statement,
        ours,
        each.verdict,
        "; ".join(filter(None, why)),
        found,
        each.validation,
        p,
    )


def missing(found: Difference) -> str:
    """What a verdict still needs; empty if nothing."""
    if found.n == len(statistics.SEEDS):
        return ""
    return f"{found.n} of {len(statistics.SEEDS)} seeds have run with both"


def size(gap: float, found: Difference) -> str:
    """Whether our 95 % interval holds the paper's gap; empty without one."""
    if found.low is None or found.high is None:
        return ""
    inside = found.low <= gap <= found.high
    return f"the paper's {signed(gap)} lies {'in' if inside else 'outside'} our interval"


def collapses(names: tuple[str, ...], out: Path | None = None) -> list[str]:
    """For each of the rows of which runs collapsed on the full schedule, how many of them did."""
    told = []
    for row in map(experiment, names):
        records = complete(row, statistics.TIER, out)
        if fallen := len(warned(records)):
            told.append(f"{row.model}: {fallen} of {len(records)} runs collapsed")
    return told


def times(out: Path | None = None) -> list[Claim]:
    """Slower in wall-clock time (§4.1, §5): either attention against the convolutions, wherever
    both were timed.
    """
    made = []
    for which, name in ((1, "SANet"), (2, "EVANet")):
        ratios = [*steps(which, out), *epochs(which, out)]
        shown = "; ".join(f"{number(ratio)} ({of_what})" for of_what, ratio in ratios)
        statement = f"{name} trains more slowly than ResNet"
        made.append(
            Claim(
                "time", "§4.1, §5", statement, shown or "–", slower([ratio for _, ratio in ratios])
            )
        )
    return made


def slower(ratios: list[float]) -> str:
    """The verdict on measured ratios of time."""
    if not ratios:
        return NOT_YET_DECIDED
    above = [ratio > 1 for ratio in ratios]
    return SUPPORTED if all(above) else NOT_DISTINGUISHABLE if any(above) else NOT_SUPPORTED


def steps(which: int, out: Path | None = None) -> list[tuple[str, float]]:
    """The ratio of a training step's seconds in each kept benchmark, by size: compiled where both
    were, else as they are.
    """
    found = []
    for path in sorted((results(out) / "benchmarks").glob("training-*.json")):
        try:
            said = json.loads(path.read_text("utf-8"))
            seconds, device = said["step_seconds"], said["device"]
            for size in ("small", "large"):
                resnet = seconds.get(f"resnet20-{size}", {})
                prefix = f"{('sanet20', 'evanet20')[which - 1]}-{size}"
                for name, ours in seconds.items():
                    ways = [
                        way
                        for way in ("evalib, compiled", "evalib, captured", "evalib")
                        if way in ours and way in resnet
                    ]
                    if name.startswith(prefix) and ways:
                        found.append(
                            (f"a step of {name}, {device}", ours[ways[0]] / resnet[ways[0]])
                        )
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            ZeroDivisionError,
        ) as error:
            warnings.warn(f"{path} is no benchmark and is left out ({error})", stacklevel=2)
    return found


def epochs(which: int, out: Path | None = None) -> list[tuple[str, float]]:
    """The ratio of an epoch's median seconds, over pairs of one tier, seed, commit, device and
    precision.
    """
    found = []
    for tier in TIERS:
        seconds: dict[tuple, dict[str, float]] = {}
        for record in timed(
            [record for record in trusted(tier, out) if whole(record) and not stood_still(record)]
        ):
            compiled = any(sitting.get("compiled") for sitting in record.get("sittings", []))
            by = (
                record["seed"],
                record["device"],
                record["commit"],
                record.get("precision"),
                compiled,
            )
            seconds.setdefault(by, {})[record["experiment"]] = epoch_seconds(record)
        for size in (TABLE_1[:3], TABLE_1[3:]):
            one, other = size[which].name, size[0].name
            for by, each in seconds.items():
                if one in each and other in each:
                    found.append((f"an epoch of {one}, {by[1]}", each[one] / each[other]))
    return found


def rows(found: list[Claim]) -> list[dict]:
    """The claims as flat dictionaries."""
    lines = []
    for claim in found:
        beside = claim.validation
        lines.append(
            {
                "kind": claim.kind,
                "where": claim.where,
                "claim": claim.statement,
                "ours": claim.ours,
                "n": claim.found.n,
                "mean": claim.found.mean,
                "low": claim.found.low,
                "high": claim.found.high,
                "p_holm": claim.p,
                "validation": beside.mean,
                "validation_low": beside.low,
                "validation_high": beside.high,
                "verdict": claim.verdict,
                "why": claim.why,
            }
        )
    return lines


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
            beside = [claim.found.n or None, p_value(claim.p), difference(claim.validation)]
        ours = (
            foreign(claim.ours) if claim.kind == "time" else claim.ours
        )  # a record's device is in it
        verdict = f"**{claim.verdict}**" + (f" ({claim.why})" if claim.why else "")
        cells.append([claim.where, claim.statement, ours, *beside, verdict])
    return table(["Where", "Claim", "Ours", *tests, "Verdict"], cells)
