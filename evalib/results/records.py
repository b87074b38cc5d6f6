"""Records: one JSON file a run, that nobody edits. Their schema, how they are read and written, and
the table of all of them.
"""

import hashlib
import json
import re
import statistics
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Annotated, Literal, Self

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from evalib.ablations import PACKAGED
from evalib.experiments import TABLE_1, Experiment, experiment
from evalib.training import checkpoint
from evalib.training.cifar import FULL_SHA256, IMAGES, SUBSET_SHA256
from evalib.training.environment import root
from evalib.training.settings import COMPUTATION, TIERS, Settings, check_same
from evalib.training.train import origin

SCHEMA = 3

FINGERPRINTS = {"subset": SUBSET_SHA256, "full": FULL_SHA256}
"""The SHA-256 of each data set: a run on another one is none of its tier."""

SUPERSEDED = "superseded"
"""The folder of the records that others have taken the place of; each counts as before."""

TO_THE_LETTER = ("evanet20-small-letter", "evanet20-large-letter")
"""EVANet as the text has it and nothing else: beside the paper's number in the table too."""

# The schema

Percent = Annotated[float, Field(ge=0, le=100)]
Positive = Annotated[float, Field(ge=0)]


class Part(BaseModel):
    """A part of a record: typed strictly, with room for fields that are not looked at."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class Data(Part):
    """What a run was trained and tested on."""

    source: Literal["subset", "full"]
    sha256: str


class Test(Part):
    """What the test set gave, after the last epoch."""

    accuracy: Percent
    loss: Positive
    correct: Annotated[int, Field(ge=0, le=10_000)]
    images: int


class Epoch(Part):
    """An entry of the curve."""

    epoch: int
    validation_accuracy: Percent
    seconds: Positive
    train_loss: Positive | None = None
    train_accuracy: Percent | None = None
    validation_loss: Positive | None = None
    test_accuracy: Percent | None = None


class Sitting(Part):
    """Each time a run was begun or gone on with: after how many epochs, for how many, on what."""

    after: int = 0
    epochs: int
    device: str = ""
    compiled: bool | None = None


class Record(Part):
    """All that made a run, and all that it gave.

    ``origin`` is the definition of its row, and the SHA-256 of the module file of a row of your
    own.
    """

    schema_: Literal[3] = Field(alias="schema")
    experiment: str
    tier: str
    seed: int
    settings: Settings
    commit: Annotated[str, Field(pattern=r"^[\w-]*$")] | None
    computation: Annotated[int, Field(ge=1)]
    finished: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT[\d:+]+$")]
    data: Data
    device: str
    precision: str | None = None
    versions: dict[str, str | None]
    parameters: int
    curve: Annotated[list[Epoch], Field(min_length=1)]
    validation_accuracy: Percent
    test: Test
    seconds: Positive
    sittings: list[Sitting] = []
    shared: Annotated[int, Field(ge=1)] = 1
    weights: Annotated[str, Field(pattern=r"^[\w-][\w.-]*$")] | None = None
    origin: dict[str, str | None] | None = None
    sha256: str

    @model_validator(mode="after")
    def check_agreement(self) -> Self:
        """Refuse what agrees neither with the settings nor with itself."""
        settings, data, test, curve = self.settings, self.data, self.test, self.curve
        tier = TIERS[settings.tier]
        refuse_unless(
            self.computation <= COMPUTATION, "it is of a later evalib: bring this one up to date"
        )
        for name in ("experiment", "tier", "seed"):
            asked, said = getattr(settings, name), getattr(self, name)
            refuse_unless(said == asked, f"{name} is {said!r}, in its settings {asked!r}")
        refuse_unless(
            data.source == tier.data, f"its data are not those of the {settings.tier} tier"
        )
        refuse_unless(data.sha256 == FINGERPRINTS[data.source], "its data are not CIFAR-10's")
        refuse_unless(test.images == IMAGES[data.source][1], f"it has {test.images} test images")
        right = 100 * test.correct / test.images
        refuse_unless(
            abs(test.accuracy - right) < 1e-6, f"{test.correct} right are not {test.accuracy} %"
        )
        epochs = [entry.epoch for entry in curve]
        in_order = epochs == list(range(1, len(curve) + 1))
        refuse_unless(in_order and len(curve) == settings.epochs, f"it has {len(curve)} epochs")
        last = curve[-1].validation_accuracy
        refuse_unless(last == self.validation_accuracy, "its last validation accuracy is another")
        return self


def refuse_unless(holds: bool, otherwise: str) -> None:
    """A rule of :class:`Record`, with what is said of one that breaks it."""
    if not holds:
        raise ValueError(otherwise)


def check(record: dict) -> None:
    """Raise ``ValueError``, in one line, if a record breaks the schema or was changed."""
    try:
        Record.model_validate(record)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        said = first.get("ctx", {}).get("error", first["msg"])
        raise ValueError(f"{place}: {said}" if place else str(said)) from None
    if record["sha256"] != checksum(record):
        raise ValueError("it was changed after it was written: its SHA-256 is another")


def check_origin(record: dict, path: Path) -> None:
    """Raise ``ValueError`` if a record is of a row of your own that was edited since, under the
    same name.

    Records from before the field are taken as they are. The package's own rows are held by the
    computation's version.
    """
    row = experiment(record["experiment"])
    if record.get("origin") is None or row in PACKAGED:
        return
    made, now = record["origin"], origin(settings_of(record))
    edited = [name for name in ("row", "module") if now[name] not in (None, made.get(name))]
    if edited:
        raise ValueError(
            f"{path} is of another {row.name}: its {' and '.join(edited)} was edited since that"
            " run; give the edited row a name of its own, or train anew (overwrite=True,"
            " --overwrite), which keeps the old record in superseded/"
        )


# Files


def results(out: str | Path | None = None) -> Path:
    """Where records are kept: ``out``, else ``results/`` of the checkout, or of here."""
    return Path(out or root() / "results").expanduser()


def check_folder(out: str | Path | None) -> Path:
    """:func:`results`; ``ValueError`` where a folder of records is named that is none."""
    folder = results(out)
    if out and not folder.is_dir():
        raise ValueError(f"there is no folder {folder}: check --out")
    if out and folder.name in TIERS and any(folder.glob("*-seed*.json")):
        raise ValueError(
            f"{folder} is the folder of one tier: name the one that it lies in, {folder.parent}"
        )
    return folder


def record_path(settings: Settings, out: Path | None = None) -> Path:
    """``<out>/<tier>/<experiment>-seed<seed>.json``."""
    return results(out) / settings.tier / f"{settings.experiment}-seed{settings.seed}.json"


def settings_of(record: dict) -> Settings:
    """The settings of a record."""
    return Settings(**record["settings"])


def write(record: dict, path: Path) -> Path:
    """Write a record atomically, with the SHA-256 of what it says."""
    text = dumps(record | {"sha256": checksum(record)}) + "\n"
    return checkpoint.write_atomically(path, text.encode())


def read(path: Path) -> dict:
    """The record at ``path``; ``ValueError`` naming the file, and why, if it is none."""
    try:
        record = json.loads(Path(path).read_bytes())
        check(record)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{path} is not a run record ({error}): move it away or run again"
        ) from None
    return record


def read_same(path: Path, settings: Settings) -> dict:
    """The record at ``path``, of a run with these ``settings`` and of this row; ``ValueError`` says
    in what it differs.

    Settings that ask for no precision take that of any device, and so a record in any.
    """
    record = read(path)
    check_origin(record, path)
    saved = settings_of(record)
    if settings.precision is None:
        saved = saved.model_copy(update={"precision": None})
    check_same(settings, saved, path)
    return record


def dumps(content) -> str:
    """Strict JSON; ``ValueError`` if a number is NaN or infinite, which JSON has not."""
    return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1)


def checksum(record: dict) -> str:
    """The SHA-256 of a record's canonical JSON, its own entry ``sha256`` left out."""
    rest = {name: value for name, value in record.items() if name != "sha256"}
    canonical = json.dumps(rest, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


# The table of all records


def collapse(curve: list[dict]) -> str:
    """Of a run whose validation accuracy fell by half and stayed there, what it did; empty for any
    other.

    One that was never above 30 %, three times chance, has nothing to lose.
    """
    values = [entry["validation_accuracy"] for entry in curve]
    best = max(values)
    if best <= 30 or values[-1] > best / 2:
        return ""
    since = max(index for index, value in enumerate(values) if value > best / 2) + 2
    return (
        f"collapsed: validation accuracy {best:.1f} % after epoch {values.index(best) + 1}, at most"
        f" half of it from epoch {since} on, {values[-1]:.1f} % after the last"
    )


def epoch_seconds(curve: list[dict]) -> float:
    """The median time of an epoch: one during which the machine was busy or asleep does not move
    it.
    """
    return statistics.median(entry["seconds"] for entry in curve)


def pause(curve: list[dict]) -> str:
    """Of a run that lay still in the middle of an epoch, which one; empty for any other.

    Such an epoch took over ten times the median. The first one is not judged: a compilation is in
    it.
    """
    median = epoch_seconds(curve)
    for entry in curve[1:]:
        if entry["seconds"] > 10 * median:
            minutes = entry["seconds"] / 60
            return f"lay still in epoch {entry['epoch']}, which took {minutes:.0f} minutes"
    return ""


def device_seconds(record: dict) -> dict[str, float]:
    """Seconds on each device of a run: several where it was gone on with elsewhere."""
    seconds: dict[str, float] = defaultdict(float)
    for entry in record["curve"]:
        device = record["device"]
        for sitting in record.get("sittings", []):
            if sitting["after"] < entry["epoch"]:
                device = sitting["device"]
        seconds[device] += entry["seconds"]
    return dict(seconds)


def is_standard(record: dict) -> bool:
    """Whether a run has the settings of its experiment, seed and tier from its first epoch.

    In whatever precision: it is the device's where none is asked for, and asking for that one
    changes nothing.
    """
    settings = settings_of(record).model_copy(update={"precision": None})
    return settings == Settings(settings.experiment, settings.seed, settings.tier)


COLUMNS = {
    "experiment": lambda record: record["experiment"],
    "tier": lambda record: record["tier"],
    "seed": lambda record: record["seed"],
    "test_accuracy": lambda record: record["test"]["accuracy"],
    "validation_accuracy": lambda record: record["validation_accuracy"],
    "test_images": lambda record: record["test"]["images"],
    "warning": lambda record: collapse(record["curve"]),
    "parameters": lambda record: record["parameters"],
    "epochs": lambda record: record["settings"]["epochs"],
    "epoch_seconds": lambda record: epoch_seconds(record["curve"]),
    "device_seconds": device_seconds,
    "pause": lambda record: pause(record["curve"]),
    "device": lambda record: record["device"],
    "precision": lambda record: record.get("precision") or "",
    "asked_precision": lambda record: record["settings"].get("precision") or "",
    "compiled": lambda record: any(each.get("compiled") for each in record.get("sittings", [])),
    "shared": lambda record: record.get("shared", 1),
    "commit": lambda record: record["commit"] or "",
    "torch": lambda record: record["versions"].get("torch") or "",
    "finished": lambda record: record["finished"],
    "standard": is_standard,
    "weights": lambda record: record.get("weights") or "",
    "curve": lambda record: record["curve"],
}
"""What :func:`load_records` takes from a record, by column; a text that is not there is empty."""


def load_records(out: Path | None = None) -> pd.DataFrame:
    """All sound records, a line a run: what made it and what it gave, in the order of the tiers and
    of time. A file that is none is warned of and left out.

    ``standard`` is true of runs with the settings of their tier, and ``counts`` of the first of
    these of each seed. Accuracies are percent. ``epoch_seconds`` is the median of an epoch,
    ``minutes`` that of a run of such epochs. They say something of speed where the run was
    ``alone``, on one device, ``place``. ``curve`` has a dictionary an epoch, ``path`` is the file.
    """
    folder = results(out)
    found: list[Path] = []
    for tier in TIERS:
        # the superseded are older, where the second that they ended in does not tell
        found += sorted(folder.glob(f"{SUPERSEDED}/{tier}/*.json"))
        found += sorted(folder.glob(f"{tier}/*.json"))
    lines = []
    for path in found:
        try:
            record = read(path)
            check_origin(record, path)
            home = record_path(settings_of(record), out)
            if path.parent.parent == folder and path != home:
                raise ValueError(f"{path} is that of {home.name}: move it away or rename it")
        except (ValueError, OSError) as error:
            warnings.warn(f"left out of the table: {error}", stacklevel=2)
            continue
        lines.append({name: value(record) for name, value in COLUMNS.items()} | {"path": path})
    lines.sort(key=lambda line: (list(TIERS).index(line["tier"]), line["finished"]))
    runs = pd.DataFrame(lines, columns=[*COLUMNS, "path"])
    standard = runs[runs["standard"].astype(bool)]
    first = standard.drop_duplicates(["experiment", "tier", "seed"])
    runs["counts"] = runs.index.isin(first.index)
    runs["collapsed"] = runs["warning"] != ""
    runs["minutes"] = runs["epoch_seconds"] * runs["epochs"] / 60
    runs["alone"] = (runs["shared"] == 1) & (runs["device_seconds"].map(len) == 1)
    runs["place"] = runs["device_seconds"].map(", ".join)
    return runs


def find_runs(runs: pd.DataFrame, name: str, tiers: tuple[str, ...] = tuple(TIERS)) -> pd.DataFrame:
    """The runs of an experiment that count, by seed, at the highest of ``tiers`` that has any."""
    name = experiment(name).name
    found = runs[runs["counts"] & (runs["experiment"] == name)].sort_values("seed")
    for tier in reversed(tiers):
        at_tier = found[found["tier"] == tier]
        if len(at_tier):
            return at_tier
    return found[:0]


def list_rows(runs: pd.DataFrame, tiers: tuple[str, ...] = tuple(TIERS)) -> tuple[Experiment, ...]:
    """The rows of Table 1, then of what ``tiers`` have a record of: the letter of the text, and
    each row held against none.
    """
    names = set(runs[runs["tier"].isin(tiers)]["experiment"])
    others = map(experiment, sorted(names - {row.name for row in TABLE_1}))
    return TABLE_1 + tuple(row for row in others if row.name in TO_THE_LETTER or not row.base)


# Runs that were stopped

LINE = re.compile(r"^\S+ seed \d+ epoch (\d+)/\d+: loss (\d+\.\d+), validation (\d+\.\d+)%", re.M)


def unfinished_curve(name: str, out: Path | None = None) -> list[dict]:
    """Epoch, training loss and validation accuracy of ``unfinished/<name>.log``, what a run printed
    that was stopped; empty if there is no such file.
    """
    path = results(out) / "unfinished" / f"{name}.log"
    text = path.read_text("utf-8", errors="replace") if path.exists() else ""
    return [
        {"epoch": int(epoch), "train_loss": float(loss), "validation_accuracy": float(accuracy)}
        for epoch, loss, accuracy in LINE.findall(text)
    ]
