"""The manifest, a table of experiments and seeds; and the plan: which of its runs are done."""

import csv
import re
import statistics
import warnings
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from evalib.experiments import TABLE_1
from evalib.results.records import load_records, read_same, record_path
from evalib.training import checkpoint, cifar
from evalib.training.environment import choose_device, device_name, in_checkout
from evalib.training.settings import TIERS, Settings

MANIFEST = "workflow/manifest.csv"
COLUMNS = ["experiment", "seeds"]
STATES = ("done", "begun", "to do")
"""Done: there is a record of these settings. Begun: there is a checkpoint."""


class Planned(NamedTuple):
    """A run of the manifest: its state, one of ``STATES``, a note on it, and the epochs left."""

    settings: Settings
    state: str
    note: str
    epochs: int

    @property
    def name(self) -> str:
        """What people call the run, and its files."""
        return f"{self.settings.experiment}-seed{self.settings.seed}"


def read_manifest(
    path: Path | None = None, tier: str = "smoke", seeds: str = "all", epochs: int | None = None
) -> list[Settings]:
    """The runs of a manifest, in its order; by default of that of the checkout.

    ``seeds`` is "all", "first" (of each row), or those wanted, as "0 1". ``ValueError`` names the
    line that cannot be read, or the seed that no row has.
    """
    path = path or in_checkout(MANIFEST)
    wanted = None if seeds in ("all", "first") else whole_numbers(seeds, "--seeds")
    Settings(experiment=TABLE_1[0].name, tier=tier, epochs=epochs)  # a bad tier is no line's fault
    found: list[Settings] = []
    for number, (experiment, *rest) in read_lines(path):
        try:
            if len(rest) > 1:
                raise ValueError("a row has two cells, and seeds have spaces between, such as 0 1")
            of_row = whole_numbers("".join(rest), "seeds")
            for seed in of_row[:1] if seeds == "first" else of_row:
                run = Settings(experiment=experiment, seed=seed, tier=tier, epochs=epochs)
                if run in found:
                    raise ValueError(f"{experiment} seed {seed} is there twice")
                found.append(run)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
    if wanted is None:
        return found
    absent = sorted(set(wanted) - {run.seed for run in found})
    if absent:
        raise ValueError(
            f"no row of {path} has seed {absent[0]}: add it there, or choose another of --seeds"
        )
    return [run for run in found if run.seed in wanted]


def read_lines(path: Path) -> list[tuple[int, list[str]]]:
    """The cells of each row of a manifest, after the number of its line.

    What a spreadsheet makes of the file is read too: a byte order mark, CRLF, semicolons, blank
    lines, blank cells at the end of a line.
    """
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8-sig")
    except OSError as error:
        raise OSError(
            f"the manifest {path} cannot be read ({error.strerror}): give another --manifest"
        ) from None
    except UnicodeDecodeError:
        raise ValueError(f"the manifest {path} is not UTF-8: save it as CSV UTF-8") from None
    reader = csv.reader(text.splitlines(), delimiter=";" if text.startswith("experiment;") else ",")
    lines = []
    for row in reader:
        cells = [cell.strip() for cell in row]
        while cells and not cells[-1]:
            cells.pop()
        if cells:
            lines.append((reader.line_num, cells))
    if not lines or lines[0][1] != COLUMNS:
        raise ValueError(f"{path} must begin with the line {','.join(COLUMNS)}")
    if len(lines) == 1:
        raise ValueError(f"{path} has no row: give it one, such as {TABLE_1[0].name},0 1")
    return lines[1:]


def whole_numbers(text: str, name: str) -> list[int]:
    """The numbers of "0 1 2"."""
    if not re.fullmatch(r"\s*\d+(\s+\d+)*\s*", text):
        raise ValueError(f"{name}={text!r} must be whole numbers with spaces between, such as 0 1")
    return [int(number) for number in text.split()]


def plan(runs: list[Settings], out: Path | None = None) -> list[Planned]:
    """How far each run is, by what lies on disk now."""
    return [plan_run(settings, record_path(settings, out)) for settings in runs]


def plan_run(settings: Settings, path: Path) -> Planned:
    """How far the run is whose record belongs at ``path``.

    A record that is not of these settings is left alone: the run is to do, and the note says why.
    """
    if path.exists():
        try:
            read_same(path, settings)
        except (ValueError, OSError) as error:
            return Planned(settings, "to do", str(error), settings.epochs)
        return Planned(settings, "done", "", 0)
    saved = checkpoint.found(path.with_suffix(""))
    if not saved:
        return Planned(settings, "to do", "", settings.epochs)
    epochs = checkpoint.epochs_of(saved[0])
    note = f"{epochs} of {settings.epochs} epochs"
    return Planned(settings, "begun", note, max(settings.epochs - epochs, 0))


def seconds_an_epoch(
    settings: Settings, out: Path | None = None
) -> tuple[float | None, str | None]:
    """The recorded time of an epoch of this experiment, and on which devices.

    A record counts by its median epoch. Records of this machine's device are preferred, those of
    the other data set scaled by its images. ``None`` if there is none.
    """
    with warnings.catch_warnings(action="ignore"):
        runs = load_records(out)
    runs = runs[runs["experiment"] == settings.experiment]
    preferred = (
        runs["alone"],
        runs["place"] == device_name(choose_device()),
        runs["tier"] == settings.tier,
    )
    for better in preferred:
        if better[runs.index].any():
            runs = runs[better[runs.index]]
    if runs.empty:
        return None, None
    images = cifar.IMAGES[TIERS[settings.tier].data][0]
    times = []
    for run in runs.itertuples():
        times.append(run.epoch_seconds * images / cifar.IMAGES[TIERS[run.tier].data][0])
    return statistics.mean(times), ", ".join(sorted(set(runs["place"])))


def describe(planned: list[Planned], out: Path | None = None) -> str:
    """The plan as text: a line a run, then the counts and the expected time."""
    width = max((len(run.settings.experiment) for run in planned), default=0)
    lines, total, unknown, devices = [], 0.0, 0, set()
    for run in planned:
        notes = [run.note] if run.note else []
        if run.epochs:
            each, device = seconds_an_epoch(run.settings, out)
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
    return ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])


def duration(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 90:
        return f"about {seconds:.0f} s"
    if seconds < 5400:
        return f"about {seconds / 60:.0f} min"
    return f"about {seconds / 3600:.1f} h"
