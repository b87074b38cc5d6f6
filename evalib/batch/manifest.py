"""The manifest, a table of experiments and seeds; and the plan, which says how far each of its runs is."""

import csv
import re
import statistics
import warnings
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from evalib.experiments import TABLE_1
from evalib.results import evaluation
from evalib.results.files import read_same
from evalib.results.records import device_name, record_path
from evalib.results.runs import epoch_seconds, timed, trusted
from evalib.training import checkpoints, data
from evalib.training.locks import held
from evalib.training.loop import choose_device
from evalib.training.paths import in_checkout
from evalib.training.settings import TIERS, Settings

MANIFEST = "workflow/manifest.csv"
COLUMNS = ["experiment", "seeds"]
STATES = ("done", "stale", "doubtful", "trained", "running", "begun", "to do")
"""Trained: recorded, its weights not evaluated again yet. Doubtful: they were, and do not agree with the record."""

IMAGES = {"subset": 1_000, "full": 50_000}
FINGERPRINTS = {"subset": data.SUBSET_SHA256, "full": data.FULL_SHA256}


class Planned(NamedTuple):
    """One run of the manifest: its state, one of ``STATES``, why, and the epochs that are left to train."""

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
    """The runs of a manifest, in its order; ``seeds`` is "all", "first" (of each row), or those wanted, as "0 1".

    Without a ``path`` it is that of the checkout. ``ValueError`` names the line that cannot be read, or the seed that no
    row has.
    """
    path = path or in_checkout(MANIFEST)
    wanted = None if seeds in ("all", "first") else whole_numbers(seeds, "--seeds")
    Settings(TABLE_1[0].name, tier=tier, epochs=epochs)  # a bad tier is no fault of a line
    found: list[Settings] = []
    for number, (name, *of_name) in lines(path):
        try:
            if len(of_name) > 1:
                raise ValueError("a row has two cells, and seeds have spaces between, such as 0 1")
            runs = [Settings(name, seed, tier, epochs) for seed in whole_numbers("".join(of_name), "seeds")]
            if twice := [run for run in runs if run in found] or [run for run in runs if runs.count(run) > 1]:
                raise ValueError(f"{twice[0].experiment} seed {twice[0].seed} is there twice")
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
        found += runs[:1] if seeds == "first" else runs
    if absent := sorted(set(wanted or ()) - {run.seed for run in found}):
        raise ValueError(f"no row of {path} has seed {absent[0]}: add it there, or choose another of --seeds")
    return [run for run in found if wanted is None or run.seed in wanted]


def lines(path: Path) -> list[tuple[int, list[str]]]:
    """The cells of each row of a manifest, after the number of its line; ``ValueError`` if it is no manifest.

    What a spreadsheet makes of the file is read too: a byte order mark, CRLF, semicolons, blank lines, blank cells at the
    end of a line.
    """
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8-sig")
    except OSError as error:
        raise OSError(f"the manifest {path} cannot be read ({error.strerror}): give another --manifest") from None
    except UnicodeDecodeError:
        raise ValueError(f"the manifest {path} is not UTF-8: save it as CSV UTF-8") from None
    delimiter = ";" if text.startswith(f"{COLUMNS[0]};") else ","
    rows = (next(csv.reader([row], delimiter=delimiter), []) for row in text.splitlines())
    filled = [(number, [cell.strip() for cell in row]) for number, row in enumerate(rows, 1)]
    filled = [(number, row[: max((i + 1 for i, cell in enumerate(row) if cell), default=0)]) for number, row in filled]
    (_, head), *found = [(number, row) for number, row in filled if row] or [(1, [])]
    if head != COLUMNS:
        raise ValueError(f"{path} must begin with the line {','.join(COLUMNS)}")
    if not found:
        raise ValueError(f"{path} has no row: give it one, such as {TABLE_1[0].name},0 1")
    return found


def whole_numbers(text: str, name: str) -> list[int]:
    """The numbers of "0 1 2"."""
    if not re.fullmatch(r"\s*\d+(\s+\d+)*\s*", text):
        raise ValueError(f"{name}={text!r} must be whole numbers with spaces between, such as 0 1")
    return [int(number) for number in text.split()]


def plan(runs: list[Settings], out: Path | None = None) -> list[Planned]:
    """How far each run is, by what lies on disk now."""
    return [Planned(settings, *state(settings, record_path(settings, out))) for settings in runs]


def state(settings: Settings, path: Path) -> tuple[str, str, int]:
    """A run's state, a note on it, and the epochs left."""
    if path.exists():
        return *recorded(settings, path), 0
    directory = path.with_suffix("")
    saved = checkpoints.found(directory)
    epochs = checkpoints.epochs_of(saved[0]) if saved else 0
    left = max(settings.epochs - epochs, 0)
    if held(directory / ".lock"):
        return "running", f"{epochs} of {settings.epochs} epochs", left
    return ("begun", f"{epochs} of {settings.epochs} epochs", left) if saved else ("to do", "", left)


def recorded(settings: Settings, path: Path) -> tuple[str, str]:
    """The state of a run that has a record, and a note on it; weights that are not here are taken as evaluated."""
    if reason := staleness(settings, path):
        return "stale", reason
    if evaluation.recorded_weights(path) is None or (fault := evaluation.fault(path)) == "":
        return "done", ""
    return ("doubtful", fault) if fault else ("trained", "its weights are to be evaluated")


def staleness(settings: Settings, path: Path) -> str:
    """Why a record is not what the manifest asks for now; empty if it is."""
    try:
        record = read_same(path, settings)
    except (ValueError, OSError) as error:
        return str(error)
    if record["data"]["sha256"] != FINGERPRINTS[TIERS[settings.tier].data]:
        return "the data set has changed since"
    return ""


def seconds_an_epoch(settings: Settings, out: Path | None = None) -> tuple[float | None, str | None]:
    """The recorded time of an epoch of this experiment, and on which devices; ``None`` if there is none.

    A record counts by its median epoch. Records of this machine's device are preferred, those of the other data set scaled by its images.
    """
    with warnings.catch_warnings(action="ignore"):
        every = [record for tier in TIERS for record in trusted(tier, out)]
    known = [record for record in every if record["experiment"] == settings.experiment]
    known = timed(known) or known
    here = device_name(choose_device())
    known = [record for record in known if record["device"] == here] or known
    known = [record for record in known if record["tier"] == settings.tier] or known
    if not known:
        return None, None
    images = IMAGES[TIERS[settings.tier].data]
    times = [epoch_seconds(record) * images / IMAGES[record["data"]["source"]] for record in known]
    return statistics.mean(times), ", ".join(sorted({record["device"] for record in known}))


def describe(planned: list[Planned], out: Path | None = None) -> str:
    """The plan as text: a line a run, then the counts and the expected time."""
    width = max((len(run.settings.experiment) for run in planned), default=0)
    lines, total, unknown, devices = [], 0.0, 0, set()
    for run in planned:
        each, device = seconds_an_epoch(run.settings, out) if run.epochs else (0.0, None)
        expected = "" if not run.epochs else "time unknown" if each is None else duration(each * run.epochs)
        unknown += bool(run.epochs) and each is None
        total += (each or 0) * run.epochs
        devices |= {device} - {None}
        note = "; ".join(text for text in (run.note, expected) if text)
        lines.append(f"{run.settings.experiment:{width}}  seed {run.settings.seed}  {run.state:8}  {note}".rstrip())
    counts = Counter(run.state for run in planned)
    said = ", ".join(f"{counts[name]} {name}" for name in STATES if counts[name])
    times = f"; training to come: {duration(total)}" if total else ""
    times += f" by the records of {', '.join(sorted(devices))}" if devices else ""
    times += f"; {unknown} without a record to judge the time by" if unknown else ""
    return "\n".join([*lines, f"{len(planned)} runs: {said}{times}"])


def duration(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 90:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"
