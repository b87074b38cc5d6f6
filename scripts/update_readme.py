"""Write what the records of the repository say into the texts.

The answer and Table 1 into README.md, the measured effects into book/departures.md, and the times
into book/running.md.
"""

import re
import statistics
from collections import defaultdict
from pathlib import Path

import pandas as pd

from evalib.ablations import ABLATIONS
from evalib.batch.manifest import duration
from evalib.experiments import TABLE_1
from evalib.results import answer, tables
from evalib.results.records import find_runs, load_records
from evalib.results.words import difference, foreign, list_stopped, table
from evalib.training.settings import TIERS as ALL_TIERS

ROOT = Path(__file__).parent.parent
TIERS = ("quick", "paper")
ANSWER = re.compile(r"(<!-- answer: .*? -->\n).*?(<!-- end of answer -->)", re.DOTALL)
BLOCK = re.compile(r"(<!-- table: .*? -->\n).*?(<!-- end of table -->)", re.DOTALL)
COSTS = re.compile(r"(<!-- costs: .*? -->\n).*?(<!-- end of costs -->)", re.DOTALL)
EFFECT = re.compile(r"^(\| \[(D\d+)\]\(#d\d+\) \|.*?\|.*?\|).*\|$", re.MULTILINE)


def updated(text: str) -> str:
    """The README with the answer and the table between their marks: the `paper` tier alone, which
    may be held against it.
    """
    told = f"{answer.text(ROOT / 'results')} {answer.REPORTED}"
    rows = tables.table(ROOT / "results", ("paper",))
    text = ANSWER.sub(lambda found: f"{found[1]}{told}\n{found[2]}", text)
    return BLOCK.sub(lambda found: f"{found[1]}{tables.markdown(rows)}\n{found[2]}", text)


def with_effects(text: str) -> str:
    """The list of departures with what another choice did to the accuracy: the last cell of each
    line.
    """
    runs = load_records(ROOT / "results")
    return EFFECT.sub(lambda found: f"{found[1]} {effects(found[2], runs)} |", text)


def effects(departure: str, runs: pd.DataFrame) -> str:
    """The effect of each ablation of a departure, in points; a dash if there is none."""
    lines = []
    for row in (row for row in ABLATIONS if row.kind == departure):
        tier, found = tables.measure_effect(runs, row, TIERS)
        absent = "stopped" if list_stopped(row.name, ROOT / "results") else "not run"
        shown = f"{difference(found)} (n = {found.n}, {tier})" if found.n else absent
        if found.n and found.mean is None:  # some runs collapsed and some did not
            several = find_runs(runs, row.name, (tier,))
            each = " and ".join(f"{accuracy:.2f} %" for accuracy in several["test_accuracy"])
            fell = several["collapsed"].sum()
            shown = f"{each} ({fell} of {len(several)} collapsed, so no mean; {tier})"
        lines.append(f"{row.title}: {shown}")
    return "<br>".join(lines) or "–"


def with_costs(text: str) -> str:
    """Running it, with the time of an epoch and of a whole run by row, device and precision,
    between its two marks.
    """
    heads = [
        "Network",
        "Device",
        "Records",
        "Seconds an epoch",
        *(f"A run, `{tier}`" for tier in TIERS),
    ]
    runs = load_records(ROOT / "results")
    lines, still = [], []
    for row in TABLE_1:
        times = defaultdict(list)
        timed = runs[runs["counts"] & runs["alone"] & runs["tier"].isin(TIERS)]
        for run in timed[timed["experiment"] == row.name].itertuples():
            if run.pause:
                still.append(
                    f"{row.model}, seed {run.seed} at `{run.tier}`, {run.pause}, and is left out."
                )
            else:
                asked = f", {run.asked_precision}" if run.asked_precision else ""
                times[run.place + asked].append(run.epoch_seconds)
        for device, seconds in sorted(times.items()):
            each = statistics.mean(seconds)
            whole = [duration(each * ALL_TIERS[tier].epochs) for tier in TIERS]
            lines.append([row.model, foreign(device), str(len(seconds)), f"{each:.1f}", *whole])
        if not times:
            lines.append([row.model, *[None] * (len(heads) - 1)])
    told = "\n\n".join([table(heads, lines), *still])
    return COSTS.sub(lambda found: f"{found[1]}{told}\n{found[2]}", text)


if __name__ == "__main__":
    texts = {
        "README.md": updated,
        "book/departures.md": with_effects,
        "book/running.md": with_costs,
    }
    for path, made in ((ROOT / name, made) for name, made in texts.items()):
        path.write_text(made(path.read_text(encoding="utf-8")), encoding="utf-8")
