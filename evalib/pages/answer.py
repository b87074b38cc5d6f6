"""The book's question and its answer, written from the records: the first page, Table 1 and the report say the same."""

import statistics
from pathlib import Path
from typing import NamedTuple

from evalib.experiments import TABLE_1, Experiment
from evalib.results import choice
from evalib.results.comparisons import Comparison, contrast, signed
from evalib.results.runs import complete, warned
from evalib.results.schema import collapse
from evalib.results.spread import spread

TIER = "paper"


class Row(NamedTuple):
    """A network, the paper's accuracy and ours at the ``paper`` tier, one a seed, with the 95 % interval of their mean.

    It is by the deviation over seeds that is pooled over all networks; there is none where a run collapsed.
    """

    model: str
    paper: float | None
    accuracies: tuple[float, ...]
    low: float | None
    high: float | None


def row(of: Experiment, model: str, out: Path | None = None) -> Row:
    """What the records at the ``paper`` tier say of an experiment."""
    records, seeds = complete(of, TIER, out), spread(TIER, out)
    accuracies = tuple(record["test"]["accuracy"] for record in records)
    if not accuracies or not seeds or warned(records):
        return Row(model, of.paper_accuracy, accuracies, None, None)
    mean, reach = statistics.mean(accuracies), seeds.mean(len(accuracies))
    return Row(model, of.paper_accuracy, accuracies, mean - reach, mean + reach)


def rows(size: str = "small", out: Path | None = None) -> list[Row]:
    """The three networks of a size; where EVANet is not built to the letter of the text, that reading too."""
    found = [row(each, each.model, out) for each in TABLE_1 if each.name.endswith(size)]
    letter, reading = choice.row_of("letter"), choice.default()
    if size == "small":
        found[2] = found[2]._replace(model=f"{found[2].model}, {reading}")
        if letter.name != choice.BASE:
            found.append(row(letter, f"{TABLE_1[2].model}, letter", out))
    return found


def collapsed(of: Experiment, out: Path | None = None) -> int:
    """How many runs of an experiment at the ``paper`` tier collapsed (:func:`evalib.results.schema.collapse`)."""
    return sum(bool(collapse(record["curve"])) for record in complete(of, TIER, out))


def reported() -> str:
    """What the paper reports, in a sentence."""
    resnet, sanet, evanet = TABLE_1[:3]
    return (
        f"The paper reports {evanet.paper_accuracy:.2f}\u00a0% on CIFAR-10 with EVA, {sanet.paper_accuracy:.2f}\u00a0% with local "
        f"self-attention and {resnet.paper_accuracy:.2f}\u00a0% with neither."
    )


def found(out: Path | None = None) -> str:
    """What our runs of the paper's full schedule say, and how sure that is."""
    resnet, evanet = TABLE_1[0], TABLE_1[2]
    letter, reading = choice.row_of("letter"), choice.default()
    told = []
    if letter_runs := complete(letter, TIER, out):
        mean = statistics.mean(record["test"]["accuracy"] for record in letter_runs)
        falls = collapsed(letter, out)
        part = "" if falls == len(letter_runs) else f" in {falls} of {len(letter_runs)} runs"
        how = f"collapses in training{part} and ends" if falls else "ends"
        seeds = counted(len(letter_runs), "seed")
        told.append(f"built to the letter of the text, EVA {how} at **{mean:.1f}\u00a0%** ({seeds})")
    if reading != "letter":
        told.append(against(evanet, resnet, reading, out))
    if not told:
        return "Our runs of the full schedule are still to be made, so we cannot say."
    sentence = "In our runs, " + "; ".join(told)
    others = [
        f"{each.model.split('-')[0]} {statistics.mean(each.accuracies):.1f}\u00a0%"
        for each in rows(out=out)[:2]
        if each.accuracies
    ]
    if reading == "letter":
        sentence += f", beside {' and '.join(others)}" if others else ""
        sentence += "; whether a reading that trains would lead is open"
    return sentence + "."


def verdict(out: Path | None = None) -> str:
    """Whether EVANet is ahead of ResNet, in the words that the runs of the full schedule allow."""
    resnet, evanet, letter = TABLE_1[0], TABLE_1[2], choice.row_of("letter")
    each = contrast(evanet.name, resnet.name, out, (TIER,))
    if collapsed(evanet, out):
        return "Not as the text describes it." if evanet.name == letter.name else "No: it collapses."
    if each.mean is None:
        return "We cannot say yet."
    if each.low is None or each.high is None or each.low <= 0 <= each.high:
        return "That cannot be told from our runs."
    return "Yes, over ResNet." if each.low > 0 else "No."


def against(evanet: Experiment, resnet: Experiment, reading: str, out: Path | None) -> str:
    """EVANet in the reading that trains, beside ResNet."""
    ours = [record["test"]["accuracy"] for record in complete(evanet, TIER, out)]
    if not ours:
        return f"with the reading *{reading}*, which is meant to train, it has not been run to the end"
    each = contrast(evanet.name, resnet.name, out, (TIER,))
    said = (
        f"with the reading *{reading}* it reaches **{statistics.mean(ours):.1f}\u00a0%** ({counted(len(ours), 'seed')})"
    )
    return f"{said}, {gap(each)}"


def gap(each: Comparison) -> str:
    """A difference from ResNet in words, and how sure it is."""
    if each.mean is None:
        return "and has no ResNet to be held against"
    side = "ahead of" if each.mean > 0 else "behind"
    if each.low is None or each.high is None:
        return f"{abs(each.mean):.1f} points {side} ResNet; no network has a second seed, so this may be chance"
    sure = "more than chance explains" if each.low * each.high > 0 else "which may be chance"
    return f"{abs(each.mean):.1f} points {side} ResNet (95\u00a0% interval {signed(each.low)} to {signed(each.high)}): {sure}"


def counted(number: int, noun: str) -> str:
    """``one run``, ``2 runs``."""
    return f"one {noun}" if number == 1 else f"{number} {noun}s"
