"""Where records lie, and how they are written, read and set aside: nothing is ever overwritten."""

from datetime import UTC, datetime
from pathlib import Path

from evalib.results.schema import check, checksum, dumps, loads, settings_of
from evalib.training import checkpoint
from evalib.training.environment import root
from evalib.training.settings import TIERS, Settings, check_same

SUPERSEDED = "superseded"
"""The folder of the records that others have taken the place of; each counts as before."""


def results(out: str | Path | None = None) -> Path:
    """Where records are kept: ``out``, else ``results/`` of the checkout, or of here."""
    return Path(out or root() / "results").expanduser()


def check_folder(out: str | Path | None) -> Path:
    """:func:`results`; ``ValueError`` where a folder of records is named that is none."""
    folder = results(out)
    if out and not folder.is_dir():
        raise ValueError(f"there is no folder {folder}: check --out")
    if out and folder.name in TIERS and not any(folder.glob("*/*-seed*.json")) and any(folder.glob("*-seed*.json")):
        raise ValueError(f"{folder} is the folder of one tier: name the one that it lies in, {folder.parent}")
    return folder


def record_path(settings: Settings, out: Path | None = None) -> Path:
    """``<out>/<tier>/<experiment>-seed<seed>.json``."""
    return results(out) / settings.tier / f"{settings.experiment}-seed{settings.seed}.json"


def write(record: dict, path: Path) -> Path:
    """Write a record atomically, with the SHA-256 of what it says."""
    text = dumps(record | {"sha256": checksum(record)}, indent=1) + "\n"
    return checkpoint.write_atomically(path, text.encode())


def read(path: Path) -> dict:
    """The record at ``path``; ``ValueError`` naming the file, and why, if it is none."""
    path = Path(path)
    try:
        record = loads(path.read_bytes().decode())
        check(record)
    except FileNotFoundError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError) as error:
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise ValueError(f"{path} is not a run record ({reason}): move it away or run again") from None
    return record


def read_same(path: Path, settings: Settings) -> dict:
    """The record at ``path``, of a run with these ``settings``; ``ValueError`` says in what it differs.

    Settings that ask for no precision take that of any device, and so a record in any.
    """
    record = read(path)
    saved = settings_of(record)
    check_same(settings, saved if settings.precision else saved.model_copy(update={"precision": None}), path)
    return record


def set_aside(path: Path, checkpoints_too: bool = True) -> Path | None:
    """Move the record at ``path``, and what its run left, into ``superseded/``, under a name with its time and commit.

    A run that has no record yet moves its checkpoints alone. The record's new path; ``None`` if there was nothing.
    """
    directory = path.with_suffix("")
    kinds = ["weights-*", "train.ipynb", "evaluation.json", *(["epoch-*"] if checkpoints_too else [])]
    left = [each for kind in kinds for each in directory.glob(kind)]
    if not path.exists() and not left:
        return None
    try:
        old = read(path)
        when, by = datetime.fromisoformat(old["finished"]), (old["commit"] or "unknown")[:7]
    except (OSError, ValueError):
        when, by = datetime.now(UTC), "unfinished"
    target = path.parents[1] / SUPERSEDED / path.parent.name / f"{path.stem}-{when:%Y%m%dT%H%M%S}-{by}.json"
    if target.exists() or target.with_suffix("").exists():
        raise FileExistsError(f"{target} is there already: move it away first")
    target.with_suffix("").mkdir(parents=True)
    for each in left:
        each.rename(target.with_suffix("") / each.name)
    if path.exists():
        path.rename(target)
    print(f"what was there is kept: {target}", flush=True)
    return target
