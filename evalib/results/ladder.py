"""The ladder from our rows to the numbers of Table 1: one change at a time, each rung on top of those before it."""

from pathlib import Path

from evalib.experiments import TABLE_1, experiment
from evalib.results.runs import complete

TIER = "paper"

RUNGS = {
    "our row": "",
    "L2": "ladder-l2",
    "weight decay": "ladder-decay",
    "SGD": "ladder-sgd",
    "option B": "ladder-option-b",
    "[3, 3, 3]": "ladder-333",
    "50k images": "ladder-50k",
    "best epoch": "ladder-best",
}
"""Each rung and the end of its experiments' names; the first is the row of Table 1 itself."""


def accuracies(name: str, out: Path | None = None) -> list[float]:
    """The test accuracies of one rung, one a seed; empty if it was not run.

    Where the row reads the test set after each epoch it is the best of them, as the published code reports it.
    """
    row, found = experiment(name), []
    for record in complete(row, TIER, out):
        readings = [epoch["test_accuracy"] for epoch in record["curve"] if row.test_each_epoch]
        found.append(max([record["test"]["accuracy"], *readings]))
    return found


def rungs(out: Path | None = None) -> dict[str, list[list[float]]]:
    """For each small network, its accuracies on each rung of :data:`RUNGS`."""
    names = {row.model: [f"{row.name}-{end}" if end else row.name for end in RUNGS.values()] for row in TABLE_1[:3]}
    return {model: [accuracies(name, out) for name in each] for model, each in names.items()}
