"""Records: one JSON file a run, that nobody edits. Their schema, how they are read and written, and
which runs count.
"""

import hashlib
import json
import re
import statistics
import warnings
from collections import defaultdict
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evalib.ablations import ABLATIONS, LADDER
from evalib.experiments import TABLE_1, Experiment, experiment
from evalib.training import checkpoint
from evalib.training.cifar import FULL_SHA256, SUBSET_SHA256
from evalib.training.environment import root
from evalib.training.settings import COMPUTATION, TIERS, Settings, check_same
from evalib.training.train import origin

SCHEMA = 3

IMAGES = {"subset": 500, "full": 10_000}
"""Test images of each data set."""

FINGERPRINTS = {"subset": SUBSET_SHA256, "full": FULL_SHA256}
"""The SHA-256 of each data set: a run on another one is none of its tier."""

Percent = Annotated[float, Field(ge=0, le=100)]
Positive = Annotated[float, Field(ge=0)]


class Part(BaseModel):
    """A part of a record: typed strictly, with room for fields that are not looked at."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class Data(Part):
    """What a run was trained and tested on."""

    source: Literal["subset", "full"]
    sha256: str


class Tested(Part):
    """What the test set gave, after the last epoch."""

    accuracy: Percent
    loss: Positive
    correct: Annotated[int, Field(ge=0)]
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

    after: Annotated[int, Field(ge=0)] = 0
    epochs: int
    device: str = ""


class Origin(Part):
    """What the run is of: the definition of its row, and the SHA-256 of the module file of a row of
    your own.
    """

    row: str
    module: str | None = None


class Record(Part):
    """All that made a run, and all that it gave. ``where`` says where its weights are, if not
    beside it.
    """

    schema_: Literal[3] = Field(alias="schema")
    experiment: str
    tier: str
    seed: int
    settings: dict
    commit: Annotated[str, Field(pattern=r"^[\w-]*$")] | None
    computation: Annotated[int, Field(ge=1)]
    finished: str
    data: Data
    device: str
    precision: str | None = None
    versions: dict[str, str | None]
    parameters: Annotated[int, Field(ge=0)]
    curve: Annotated[list[Epoch], Field(min_length=1)]
    validation_accuracy: Percent
    test: Tested
    seconds: Positive
    sittings: list[Sitting] = []
    shared: Annotated[int, Field(ge=1)] = 1
    weights: Annotated[str, Field(pattern=r"^[\w-][\w.-]*$")] | None = None
    origin: Origin | None = None
    sha256: str


def check(record: dict) -> None:
    """Raise ``ValueError`` saying in what a record breaks the schema, says what no run gives, or
    was changed.
    """
    try:
        found = Record.model_validate(record)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "it"
        if first["type"] == "missing":
            raise ValueError(f"{place} is missing") from None
        shown = repr(first["input"])
        raise ValueError(
            f"{place} is {shown if len(shown) < 100 else shown[:100] + '…'}: {first['msg']}"
        ) from None
    if found.sha256 != checksum(record):
        raise ValueError("it was changed after it was written: its SHA-256 is another")
    if found.computation > COMPUTATION:
        raise ValueError(
            f"it is of computation {found.computation}, and this evalib has {COMPUTATION}: bring it"
            " up to date"
        )
    datetime.fromisoformat(found.finished)  # its ValueError names what is no time
    for name in ("experiment", "tier", "seed"):
        if record[name] != found.settings[name]:
            raise ValueError(
                f"{name} is {record[name]!r}, in its settings {found.settings[name]!r}"
            )
    settings = settings_of(record)
    source, images = TIERS[settings.tier].data, IMAGES[TIERS[settings.tier].data]
    if found.data.source != source or found.test.images != images:
        raise ValueError(
            f"{found.test.images} test images of the {found.data.source} data are not those of the"
            f" {settings.tier} tier"
        )
    if found.data.sha256 != FINGERPRINTS[source]:
        raise ValueError(
            f"its data have the SHA-256 {found.data.sha256[:16]}…, which is not CIFAR-10's: it is"
            " of other data"
        )
    if (
        found.test.correct > images
        or abs(found.test.accuracy - 100 * found.test.correct / images) > 1e-6
    ):
        raise ValueError(
            f"accuracy {found.test.accuracy} is not {found.test.correct} of {images} images"
        )
    curve = found.curve
    if [entry.epoch for entry in curve] != list(range(1, settings.epochs + 1)):
        raise ValueError(
            f"its curve has {len(curve)} entries, not one for each of {settings.epochs} epochs"
        )
    if curve[-1].validation_accuracy != found.validation_accuracy:
        raise ValueError(
            f"validation_accuracy {found.validation_accuracy} is not that of the last epoch"
        )
    if experiment(settings.experiment).test_each_epoch and any(
        entry.test_accuracy is None for entry in curve
    ):
        raise ValueError("test_accuracy is missing from its curve")


def check_origin(record: dict, path: Path) -> None:
    """Raise ``ValueError`` if a record is of a row of your own that was edited since, under the
    same name.

    Records from before the field are taken as they are. The package's own rows are held by the
    computation's version.
    """
    row = experiment(record["experiment"])
    if "origin" not in record or row in (*TABLE_1, *ABLATIONS, *LADDER):
        return
    made, now = record["origin"], origin(settings_of(record))
    what = [
        name for name in ("row", "module") if made.get(name) != now[name] and now[name] is not None
    ]
    if what:
        raise ValueError(
            f"{path} is of another {row.name}: its {' and '.join(what)} was edited since that run;"
            " give the edited row a name of its own, or train --overwrite, which keeps the old"
            " record in superseded/"
        )


def collapse(curve: list[dict]) -> str:
    """Of a run whose validation accuracy fell by half and stayed there, what it did; empty for any
    other.

    One that was never above 30 %, three times chance, has nothing to lose.
    """
    values = [row["validation_accuracy"] for row in curve]
    best = max(values)
    if best <= 30 or values[-1] > best / 2:
        return ""
    since = max(index for index, value in enumerate(values) if value > best / 2) + 2
    return (
        f"collapsed: validation accuracy {best:.1f} % after epoch {values.index(best) + 1}, at most"
        f" half of it from epoch {since} on, {values[-1]:.1f} % after the last"
    )


def settings_of(record: dict) -> Settings:
    """The settings of a record."""
    return Settings(**record["settings"])


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
    if (
        out
        and folder.name in TIERS
        and not any(folder.glob("*/*-seed*.json"))
        and any(folder.glob("*-seed*.json"))
    ):
        raise ValueError(
            f"{folder} is the folder of one tier: name the one that it lies in, {folder.parent}"
        )
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
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        OverflowError,
        OSError,
    ) as error:
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise ValueError(
            f"{path} is not a run record ({reason}): move it away or run again"
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
    check_same(
        settings,
        saved if settings.precision else saved.model_copy(update={"precision": None}),
        path,
    )
    return record


TO_THE_LETTER = ("evanet20-small-letter", "evanet20-large-letter")
"""EVANet as the text has it and nothing else: beside the paper's number in the table too."""


COLUMNS = [
    "experiment",
    "tier",
    "seed",
    "counts",
    "test_accuracy",
    "validation_accuracy",
    "collapsed",
    "parameters",
    "epochs",
    "epoch_seconds",
    "device",
    "precision",
    "shared",
    "commit",
    "finished",
    "curve",
]
"""What :func:`load_records` says of a run."""


def load_records(out: Path | None = None) -> pd.DataFrame:
    """All sound records, a line a run: what made it and what it gave; ``counts`` is true of the
    first of each seed.

    Accuracies are percent, ``epoch_seconds`` the median of an epoch, ``curve`` one dictionary an
    epoch.
    """
    lines = []
    for tier in TIERS:
        counted = set()
        for record in trusted(tier, out):
            counts = whole(record) and (record["experiment"], record["seed"]) not in counted
            if counts:
                counted.add((record["experiment"], record["seed"]))
            lines.append(
                {
                    "experiment": record["experiment"],
                    "tier": tier,
                    "seed": record["seed"],
                    "counts": counts,
                    "test_accuracy": record["test"]["accuracy"],
                    "validation_accuracy": record["validation_accuracy"],
                    "collapsed": bool(collapse(record["curve"])),
                    "parameters": record["parameters"],
                    "epochs": record["settings"]["epochs"],
                    "epoch_seconds": epoch_seconds(record),
                    "device": record["device"],
                    "precision": record.get("precision"),
                    "shared": record["shared"],
                    "commit": record["commit"],
                    "finished": record["finished"],
                    "curve": record["curve"],
                }
            )
    return pd.DataFrame(lines, columns=COLUMNS)


def complete(row: Experiment, tier: str, out: Path | None = None) -> list[dict]:
    """The records of a row that count at ``tier``, by seed."""
    return [record for record in counting(tier, out) if record["experiment"] == row.name]


def counting(tier: str, out: Path | None = None) -> list[dict]:
    """The records that count at ``tier``, by seed: of each experiment and seed the first that ran
    the whole schedule.
    """
    first: dict[tuple[str, int], dict] = {}
    for record in trusted(tier, out):
        if whole(record):
            first.setdefault((record["experiment"], record["seed"]), record)
    return sorted(first.values(), key=lambda record: record["seed"])


def reruns(out: Path | None = None) -> list[dict]:
    """A dictionary a record of each seed that was run several times at one tier, in the order in
    which they finished.
    """
    rows = []
    for tier in TIERS:
        groups = defaultdict(list)
        for record in trusted(tier, out):
            if whole(record):
                groups[record["experiment"], record["seed"]].append(record)
        for (name, seed), records in sorted(groups.items()):
            for number, record in enumerate(records if len(records) > 1 else []):
                rows.append(
                    {
                        "experiment": name,
                        "tier": tier,
                        "seed": seed,
                        "finished": record["finished"],
                        "accuracy": record["test"]["accuracy"],
                        "device": record["device"],
                        "commit": (record["commit"] or "–")[:7],
                        "counts": number == 0,
                    }
                )
    return rows


def whole(record: dict) -> bool:
    """Whether a record's settings are those of its experiment, seed and tier, from its first epoch,
    and nothing else.

    In whatever precision: it is the device's where none is asked for, and asking for that one
    changes nothing.
    """
    settings = settings_of(record).model_copy(update={"precision": None})
    longer = any(sitting["epochs"] != settings.epochs for sitting in record.get("sittings", []))
    return not longer and settings == Settings(settings.experiment, settings.seed, settings.tier)


def trusted(tier: str, out: Path | None = None) -> list[dict]:
    """All records of ``tier``, those in ``superseded/`` too, in the order in which their runs
    finished.

    Each file that is none, or a second copy of one, is warned of and left out.
    """
    found: list[dict] = []
    folder = results(out)
    for path in (
        *sorted((folder / tier).glob("*.json")),
        *sorted((folder / SUPERSEDED / tier).glob("*.json")),
    ):
        try:
            record = read_once(path, path.stat().st_mtime_ns)
            check_origin(record, path)
            settings = settings_of(record)
            if (
                path.parent == folder / tier
                and path.name != (home := record_path(settings, out)).name
            ):
                doubt = "a duplicate of" if home.exists() else "misnamed, for it is"
                raise ValueError(f"{path} is {doubt} {tier}/{home.name}: move it away or rename it")
            if settings.tier != tier or any(same_run(record, other) for other in found):
                raise ValueError(
                    f"{path} is of the {settings.tier} tier, or a second copy: move it away"
                )
            found.append({"shared": 1} | record)
        except (ValueError, OSError) as error:
            warnings.warn(f"left out of the table: {error}", stacklevel=2)
    return sorted(found, key=lambda record: record["finished"])


@cache
def read_once(path: Path, changed: int) -> dict:
    """The record at ``path`` as it was written at the time ``changed``."""
    return read(path)


def same_run(one: dict, other: dict) -> bool:
    """Whether two records are of one run: the same experiment and seed, finished at the same second
    with one curve.
    """
    return all(one[name] == other[name] for name in ("experiment", "seed", "finished", "curve"))


def rows_of(
    out: Path | None = None, tiers: tuple[str, ...] = tuple(TIERS)
) -> tuple[Experiment, ...]:
    """The rows of Table 1, then of what ``tiers`` have a record of: the letter of the text, and
    each row held against none.
    """
    names = {record["experiment"] for tier in tiers for record in trusted(tier, out)}
    others = (experiment(name) for name in sorted(names - {row.name for row in TABLE_1}))
    return TABLE_1 + tuple(row for row in others if row.name in TO_THE_LETTER or not row.base)


def highest(
    row: Experiment, out: Path | None = None, tiers: tuple[str, ...] = tuple(TIERS)
) -> tuple[str | None, list[dict]]:
    """The highest of ``tiers`` that has records of a row, and these; ``None`` and no records if
    there is none.
    """
    return next(
        ((tier, found) for tier in reversed(tiers) if (found := complete(row, tier, out))),
        (None, []),
    )


def epoch_seconds(record: dict) -> float:
    """The median time of an epoch: one during which the machine was busy or asleep does not move
    it.
    """
    return statistics.median(row["seconds"] for row in record["curve"])


def warned(records: list[dict]) -> list[str]:
    """A line for each record whose run collapsed."""
    return [
        f"seed {record['seed']} {said}" for record in records if (said := collapse(record["curve"]))
    ]


def mixed(records: list[dict]) -> bool:
    """Whether some of the runs collapsed and some did not: their mean is of neither."""
    return 0 < len(warned(records)) < len(records)


def timed(records: list[dict]) -> list[dict]:
    """The records whose seconds say something of speed: made on one device, which no other run
    shared.

    Their ``device`` is that one, also where another read the test set.
    """
    alone = [(record, [*spent(record)]) for record in records if record["shared"] == 1]
    return [record | {"device": devices[0]} for record, devices in alone if len(devices) == 1]


def stood_still(record: dict) -> str:
    """Of a run that lay still, suspended, in the middle of an epoch, which one; empty for any
    other.

    Such an epoch took over ten times the median. The first one is not judged: a compilation is in
    it.
    """
    median = epoch_seconds(record)
    for epoch in record["curve"][1:]:
        if epoch["seconds"] > 10 * median:
            return (
                f"lay still in epoch {epoch['epoch']}, which took {epoch['seconds'] / 60:.0f}"
                " minutes"
            )
    return ""


def spent(record: dict) -> dict[str, float]:
    """Seconds on each device of a run: several where it was gone on with elsewhere."""
    seconds: dict[str, float] = defaultdict(float)
    for epoch in record["curve"]:
        begun = [
            sitting for sitting in record.get("sittings", []) if sitting["after"] < epoch["epoch"]
        ]
        seconds[begun[-1]["device"] if begun else record["device"]] += epoch["seconds"]
    return dict(seconds)


def place(record: dict) -> str:
    """What the seconds of a record are of: its device, and a precision that was asked for."""
    asked = record["settings"].get("precision")
    return f"{record['device']}, {asked}" if asked else record["device"]


def minutes(record: dict) -> float:
    """The time of a run, as its median epoch times their number."""
    return epoch_seconds(record) * len(record["curve"]) / 60


LINE = re.compile(r"^\S+ seed \d+ epoch (\d+)/\d+: loss ([\d.]+), validation ([\d.]+)%")


def unfinished_text(path: Path) -> str:
    """What a run printed that was stopped; a file that cannot be read is warned of, and says
    nothing.
    """
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        warnings.warn(
            f"left out of the table: {path} is not a text in UTF-8 ({error})", stacklevel=2
        )
        return ""


def unfinished_curve(name: str, out: Path | None = None) -> list[dict]:
    """Epoch, training loss and validation accuracy of ``unfinished/<name>.log``; empty if there is
    no such file.

    A line whose numbers are none is warned of and left out.
    """
    path = results(out) / "unfinished" / f"{name}.log"
    found = []
    for line in unfinished_text(path).splitlines() if path.exists() else ():
        numbers = LINE.match(line)
        if not numbers:
            continue
        try:
            loss, accuracy = float(numbers[2]), float(numbers[3])
        except ValueError as error:
            warnings.warn(f"left out of the table: a line of {path} ({error})", stacklevel=2)
            continue
        found.append(
            {"epoch": int(numbers[1]), "train_loss": loss, "validation_accuracy": accuracy}
        )
    return found


def dumps(content, **layout) -> str:
    """Strict JSON; ``ValueError`` if a number is NaN or infinite, which JSON has not."""
    return json.dumps(content, ensure_ascii=False, allow_nan=False, **layout)


def loads(text: str):
    """What strict JSON says; ``ValueError`` if it is none."""

    def refuse(constant: str):
        raise ValueError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def checksum(record: dict) -> str:
    """The SHA-256 of a record's canonical JSON, its own entry ``sha256`` left out."""
    rest = {name: value for name, value in record.items() if name != "sha256"}
    canonical = json.dumps(rest, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
