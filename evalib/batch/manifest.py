"""The manifest, a table of experiments and seeds; and the plan: which of its runs are done."""

import csv
import warnings
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from evalib.experiments import TABLE_1
from evalib.results.records import load_records, read_same, record_path
from evalib.training import checkpoint, cifar
from evalib.training.environment import choose_device, device_name, in_checkout
from evalib.training.settings import TIERS, Settings

MANIFEST = "workflow/manifest.csv"


class Planned(NamedTuple):
    """A run of the manifest: "done" (its record is there), "begun" (it has a checkpoint) or "to
    do"; a note on it; the epochs left."""

    settings: Settings
    state: str
    note: str
    epochs: int


def read_manifest(
    path: Path | None = None, tier: str = "smoke", seeds: str = "all", epochs: int | None = None
) -> list[Settings]:
    """The runs of a manifest, in its order; by default of that of the checkout.

    ``seeds`` is "all", "first" (of each row), or those wanted, as "0 1". A spreadsheet may have
    saved it, with a byte order mark, semicolons, or blank lines and cells. ``ValueError`` names the
    line that cannot be read.
    """
    path = path or in_checkout(MANIFEST)
    Settings(experiment=TABLE_1[0].name, tier=tier, epochs=epochs)  # a bad tier is no line's fault
    text = Path(path).expanduser().read_text(encoding="utf-8-sig").replace(";", ",")
    reader = csv.reader(text.splitlines())
    found: list[Settings] = []
    for row in reader:
        cells = [cell.strip() for cell in row if cell.strip()]
        if not cells or cells == ["experiment", "seeds"]:
            continue
        try:
            if len(cells) != 2:
                raise ValueError("a line has an experiment and its seeds, as in resnet20-small,0 1")
            numbers = whole_numbers(cells[1])
            for seed in numbers[:1] if seeds == "first" else numbers:
                run = Settings(experiment=cells[0], seed=seed, tier=tier, epochs=epochs)
                if run not in found:
                    found.append(run)
        except ValueError as error:
            raise ValueError(f"{path}, line {reader.line_num}: {error}") from None
    if seeds not in ("all", "first"):
        wanted = whole_numbers(seeds)
        found = [run for run in found if run.seed in wanted]
    if not found:
        raise ValueError(f"no run in {path} is of --seeds {seeds!r}: add a line, or choose another")
    return found


def whole_numbers(text: str) -> list[int]:
    """The numbers of "0 1 2"."""
    try:
        return [int(number) for number in text.split()]
    except ValueError:
        raise ValueError(
            f"seeds={text!r} must be whole numbers with spaces between, such as 0 1"
        ) from None


def plan(runs: list[Settings], out: Path | None = None) -> list[Planned]:
    """How far each run is, by what lies on disk now."""
    return [plan_run(settings, record_path(settings, out)) for settings in runs]


def plan_run(settings: Settings, path: Path) -> Planned:
    """How far the run is whose record belongs at ``path``; of one that is not done the note has the
    last line of its log.

    A record that is not of these settings is left alone: the run is to do, and the note says why.
    """
    if path.exists():
        try:
            read_same(path, settings)
        except (ValueError, OSError) as error:
            return Planned(settings, "to do", str(error), settings.epochs)
        return Planned(settings, "done", "", 0)
    folder = path.with_suffix("")
    notes, state, left = [], "to do", settings.epochs
    if saved := checkpoint.found(folder):
        epochs = checkpoint.epochs_of(saved[0])
        notes, state = [f"{epochs} of {settings.epochs} epochs"], "begun"
        left = max(settings.epochs - epochs, 0)
    log = folder / "train.log"
    if log.is_file():
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
        notes += [line for line in lines if line.strip()][-1:]
    return Planned(settings, state, "; ".join(notes), left)


def seconds_an_epoch(settings: Settings, runs: pd.DataFrame) -> tuple[float | None, str | None]:
    """The time of an epoch of this experiment in recorded ``runs``, and on which devices.

    A record counts by its median epoch. Preferred are runs that shared no device, then those on
    this machine's device, then those of the same tier; an epoch of the other data set is scaled by
    its images. ``None`` if there is none.
    """
    runs = runs[runs["experiment"] == settings.experiment]
    here = device_name(choose_device())
    for column, wanted in (("alone", True), ("place", here), ("tier", settings.tier)):
        better = runs[runs[column] == wanted]
        runs = runs if better.empty else better
    if runs.empty:
        return None, None
    images = {name: cifar.IMAGES[tier.data][0] for name, tier in TIERS.items()}
    seconds = runs["epoch_seconds"] * images[settings.tier] / runs["tier"].map(images)
    return float(seconds.mean()), ", ".join(sorted(set(runs["place"])))


def describe(planned: list[Planned], out: Path | None = None) -> str:
    """The plan as text: a line a run, then the counts and the expected time."""
    width = max(len(run.settings.experiment) for run in planned)
    with warnings.catch_warnings(action="ignore"):
        runs = load_records(out)
    lines, total, unknown, devices = [], 0.0, 0, set()
    for run in planned:
        notes = [run.note] if run.note else []
        if run.epochs:
            each, device = seconds_an_epoch(run.settings, runs)
            if each is None:
                unknown += 1
                notes.append("time unknown")
            else:
                total += each * run.epochs
                devices.add(device)
                notes.append(duration(each * run.epochs))
        line = f"{run.settings.experiment:{width}}  seed {run.settings.seed}  {run.state:5}  "
        lines.append((line + "; ".join(notes)).rstrip())
    summary = f"{len(planned)} runs: {count(planned)}"
    if total:
        by = ", ".join(sorted(devices))
        summary += f"; training to come: {duration(total)} by the records of {by}"
    if unknown:
        summary += f"; {unknown} without a record to judge the time by"
    return "\n".join([*lines, summary])


def count(planned: list[Planned]) -> str:
    """How many runs are in which state."""
    counts = Counter(run.state for run in planned)
    states = ("done", "begun", "to do")
    return ", ".join(f"{counts[state]} {state}" for state in states if counts[state])


def duration(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 90:
        return f"about {seconds:.0f} s"
    if seconds < 5400:
        return f"about {seconds / 60:.0f} min"
    return f"about {seconds / 3600:.1f} h"
