"""Write what the records of the repository say into the texts.

The answer and Table 1 into README.md, the measured effects into book/departures.md, and the times
into book/running.md.
"""

import re
import statistics
from collections import defaultdict
from pathlib import Path

from evalib.ablations import ABLATIONS
from evalib.batch.manifest import duration
from evalib.experiments import TABLE_1
from evalib.results import answer, tables
from evalib.results.choice import titled
from evalib.results.records import complete, epoch_seconds, place, stood_still, timed, warned
from evalib.results.words import difference, foreign, stopped, table
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
    return EFFECT.sub(lambda found: f"{found[1]} {effects(found[2])} |", text)


def effects(departure: str) -> str:
    """The effect of each ablation of a departure, in points; a dash if there is none."""
    lines = []
    for row in (row for row in ABLATIONS if row.kind == departure):
        tier, found = tables.effect(row, ROOT / "results", TIERS)
        absent = "stopped" if stopped(row.name, ROOT / "results") else "not run"
        shown = f"{difference(found)} (n = {found.n}, {tier})" if found.n else absent
        if found.n and found.mean is None:  # some runs collapsed and some did not
            runs = complete(row, tier, ROOT / "results")
            each = " and ".join(f"{run['test']['accuracy']:.2f} %" for run in runs)
            shown = f"{each} ({len(warned(runs))} of {len(runs)} collapsed, so no mean; {tier})"
        lines.append(f"{titled(row)}: {shown}")
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
    lines, still = [], []
    for row in TABLE_1:
        times = defaultdict(list)
        for record in timed(
            [record for tier in TIERS for record in complete(row, tier, ROOT / "results")]
        ):
            if said := stood_still(record):
                still.append(
                    f"{row.model}, seed {record['seed']} at `{record['tier']}`, {said}, and is left"
                    " out."
                )
            else:
                times[place(record)].append(epoch_seconds(record))
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
