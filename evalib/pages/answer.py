"""The book's question and its answer, written from the records: the first page, Table 1 and the report say the same."""

import statistics
from pathlib import Path
from typing import NamedTuple

from evalib.ablations import ABLATIONS
from evalib.experiments import TABLE_1, Experiment
from evalib.results import choice, unfinished
from evalib.results.comparisons import SAME, compare, contrast, signed
from evalib.results.runs import complete, warned
from evalib.results.schema import collapse
from evalib.results.spread import spread

TIER = "paper"
AHEAD = "Yes, over ResNet."


class Row(NamedTuple):
    """A network, the paper's accuracy and ours at the ``paper`` tier, one a seed, with the 95 % interval of their mean.

    It is by the deviation over seeds that is pooled over all networks; there is none where a run collapsed. ``absent`` says
    why there is no accuracy.
    """

    model: str
    paper: float | None
    accuracies: tuple[float, ...]
    low: float | None
    high: float | None
    absent: str = "not run"


def row(of: Experiment, model: str, out: Path | None = None) -> Row:
    """What the records at the ``paper`` tier say of an experiment."""
    records, seeds = complete(of, TIER, out), spread(TIER, out)
    accuracies = tuple(record["test"]["accuracy"] for record in records)
    if not accuracies or not seeds or warned(records):
        absent = "stopped" if unfinished.told(of.name, out) else "not run"
        return Row(model, of.paper_accuracy, accuracies, None, None, absent)
    mean, reach = statistics.mean(accuracies), seeds.mean(len(accuracies))
    return Row(model, of.paper_accuracy, accuracies, mean - reach, mean + reach)


def rows(size: str = "small", out: Path | None = None) -> list[Row]:
    """The three networks of a size, EVANet by its reading; of the small ones the letter of the text too."""
    found = [row(each, choice.titled(each), out) for each in TABLE_1 if each.model.endswith(size)]
    letter = choice.row_of("letter")
    if size == "small" and letter.name != choice.BASE:
        found.append(row(letter, f"{TABLE_1[2].model}, letter", out)._replace(paper=TABLE_1[2].paper_accuracy))
    return found


def collapsed(of: Experiment, out: Path | None = None) -> int:
    """How many runs of an experiment at the ``paper`` tier collapsed (:func:`evalib.results.schema.collapse`)."""
    return sum(bool(collapse(record["curve"])) for record in complete(of, TIER, out))


def reported() -> str:
    """What the paper reports, in a sentence."""
    resnet, sanet, evanet = TABLE_1[:3]
    return (
        f"The paper reports {evanet.paper_accuracy:.2f}\u00a0% on CIFAR-10 with EVA (EVANet), {sanet.paper_accuracy:.2f}\u00a0% with local "
        f"self-attention (SANet) and {resnet.paper_accuracy:.2f}\u00a0% with neither (ResNet)."
    )


def verdict(out: Path | None = None) -> str:
    """Whether EVANet is ahead of ResNet, in the words that the runs of the full schedule allow."""
    evanet, letter = TABLE_1[2], choice.row_of("letter")
    each = contrast(evanet.name, TABLE_1[0].name, out, (TIER,))
    if collapsed(evanet, out):
        return "Not as the text describes it." if evanet.name == letter.name else "No: it collapses."
    if each.mean is None:
        return "We cannot say yet."
    if each.low is None or each.high is None or each.low <= 0 <= each.high:
        return "Not that our runs can tell."
    return AHEAD if each.low > 0 else "No."


def found(out: Path | None = None) -> str:
    """What our runs of the paper's full schedule say, and how sure that is: the chosen reading, then the letter."""
    told = [each for each in (chosen(out), to_the_letter(out)) if each]
    return " ".join(told) or "Our runs of the full schedule are still to be made, so we cannot say."


def chosen(out: Path | None = None) -> str:
    """EVANet in the library's reading beside ResNet and SANet; empty if it has no run."""
    resnet, sanet, evanet = found = [row(each, each.model.partition("-")[0], out) for each in TABLE_1[:3]]
    if not evanet.accuracies:
        return ""
    if collapsed(TABLE_1[2], out):
        return ended(f"In our runs EVANet, in the reading *{choice.default()}*,", TABLE_1[2], out)
    there = [each for each in found if each.accuracies]
    seeds = {len(each.accuracies) for each in there}
    numbers = [str(len(each.accuracies)) for each in (evanet, resnet, sanet) if each.accuracies]
    each = f" ({', '.join(numbers[:-1])} and {numbers[-1]} seeds)"
    if len(seeds) == 1:
        each = f" ({counted(max(seeds), 'seed')}{' each' if len(there) > 1 else ''})"
    falls = [collapsed(of, out) for of in TABLE_1[:2]]
    others = " and ".join(
        f"{other.model} {each_of(other, fallen)}" for other, fallen in zip((resnet, sanet), falls, strict=True) if other.accuracies
    )  # fmt: skip
    said = f"In our runs EVANet, in the reading *{choice.default()}*, has **{mean(evanet)}**"
    rest = "" if any(falls) else below(resnet, sanet, evanet)
    return f"{said}{f', {others}' if others else ''}{each}. {gap(out)}{rest}.{confounded(out)}"


def confounded(out: Path | None = None) -> str:
    """Of a lead that is no chance, what else may be why, while a control has not run; else empty."""
    resnet, _, evanet = TABLE_1[:3]
    controls = [row for row in ABLATIONS if row.kind == "control"]
    if verdict(out) != AHEAD or all(complete(row, TIER, out) for row in controls):
        return ""
    heavier, lighter = (complete(row, TIER, out)[0]["parameters"] for row in (evanet, resnet))
    return (
        f" EVANet has {heavier / lighter:.1f} times ResNet's parameters; whether they or attention are why, the controls would tell, which have "
        "not all run the full schedule."
    )


def each_of(row: Row, fallen: int) -> str:
    """The mean accuracy; of runs of which some collapsed, each, for their mean is the accuracy of none."""
    if not fallen:
        return mean(row)
    each = " and ".join(f"{accuracy:.1f}\u00a0%" for accuracy in row.accuracies)
    return f"{each} (collapsed: {fallen} of {len(row.accuracies)})"


def mean(each: Row) -> str:
    """The mean accuracy over the seeds."""
    return f"{statistics.mean(each.accuracies):.1f}\u00a0%"


def gap(out: Path | None = None) -> str:
    """By how much EVANet is ahead of ResNet, and how sure that is."""
    evanet, resnet = TABLE_1[2].name, TABLE_1[0].name
    each, pairs = contrast(evanet, resnet, out, (TIER,)), compare(evanet, resnet, out, (TIER,))
    if collapsed(TABLE_1[0], out):
        return "There is no ResNet to hold it against that did not collapse"
    if each.mean is None:
        return "There is no ResNet to hold it against"
    if abs(each.mean) < SAME:
        return "It and ResNet have the same mean"
    side = "lead over" if each.mean > 0 else "distance behind"
    always = pairs.n > 1 and pairs.deviation is not None and pairs.deviation < SAME
    said = f"Its {side} ResNet, {abs(each.mean):.2f} points{' with every seed' if always else ''},"
    if each.low is None or each.high is None:
        return f"{said} rests on too few seeds to say that it is not chance"
    how = "is more than chance explains" if each.low * each.high > 0 else "may be chance"
    return f"{said} {how} (95\u00a0% interval {signed(each.low)} to {signed(each.high)})"


def below(*rows: Row) -> str:
    """How far the networks stay below the paper's numbers; empty if one of them does not."""
    short = [each.paper - statistics.mean(each.accuracies) for each in rows if each.accuracies and each.paper]
    if len(short) < len(rows) or min(short) < 1:
        return ""
    return f"; all three stay {min(short):.1f} to {max(short):.1f} points below the paper"


def to_the_letter(out: Path | None = None) -> str:
    """How the runs to the letter of the text ended; empty if there is none."""
    return ended("To the letter of the text EVA", choice.row_of("letter"), out)


def ended(who: str, of: Experiment, out: Path | None = None) -> str:
    """How the runs of an experiment ended, collapsed ones and others apart; empty if there is none."""
    records = complete(of, TIER, out)
    falls = [record for record in records if collapse(record["curve"])]
    rest = [record for record in records if record not in falls]
    if not records:
        return ""
    if not falls:
        return f"{who} ended at {ends(rest)} ({counted(len(rest), 'seed')})."
    if not rest:
        return f"{who} collapsed and ended at **{ends(falls)}** ({counted(len(falls), 'seed')})."
    others = "other" if len(rest) == 1 else "others"
    which = f"in {len(falls)} of {len(records)} runs"
    return f"{who} collapsed {which} and ended at **{ends(falls)}**, in the {others} at {ends(rest)}."


def ends(records: list[dict]) -> str:
    """The test accuracy of each run."""
    return " and ".join(f"{record['test']['accuracy']:.1f}\u00a0%" for record in records)


def counted(number: int, noun: str) -> str:
    """``one run``, ``2 runs``."""
    return f"one {noun}" if number == 1 else f"{number} {noun}s"
