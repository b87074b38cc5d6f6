"""A result is a file that nobody edits: one JSON record a run."""

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import torch
from filelock import Timeout
from torch.nn import functional as F

from evalib.networks import count_parameters
from evalib.results.files import read, read_same, record_path, set_aside, write
from evalib.results.files import results as results
from evalib.results.schema import SCHEMA, collapse, settings_of
from evalib.results.weights import load_weights
from evalib.training import checkpoint, cifar
from evalib.training.environment import choose_device, commit, device_name, lock, versions
from evalib.training.settings import COMPUTATION, TIERS, Settings
from evalib.training.step import precision_of
from evalib.training.train import Run, accuracy, check_computation, check_kinds, evaluate, steps


def run(
    settings: Settings,
    out: Path | None = None,
    device: str | None = None,
    overwrite: bool = False,
    observe: Callable[[dict], None] | None = None,
    compile: bool | None = None,
    longer: bool = False,
) -> Run:
    """Train, or go on training, and write the record; checkpoints and weights lie in a folder beside it.

    A record of these settings that is already there is kept, and its run read from the weights beside it:
    ``FileExistsError`` if these are not there. Other settings are a ``ValueError`` that names them. With ``overwrite`` the
    run begins anew, with ``longer`` it goes on from the last checkpoint of a run of fewer epochs; the record that was
    there moves into ``superseded/``. ``RuntimeError`` if another process has the run in hand.
    """
    running = begun(settings, out, device, overwrite, compile, longer=longer)
    while True:
        try:
            entry = next(running)
        except StopIteration as end:
            return end.value
        if entry is not None and observe is not None:
            observe(entry)


def begun(
    settings: Settings,
    out: Path | None = None,
    device: str | None = None,
    overwrite: bool = False,
    compile: bool | None = None,
    shared: int = 1,
    longer: bool = False,
) -> Generator[dict | None, None, Run]:
    """:func:`run`, a training step a turn, as :func:`evalib.training.train.steps` has it.

    ``shared`` is how many runs take turns, this one included: the record says so beside its seconds.
    """
    check_kinds(settings, None)
    path = record_path(settings, out)
    directory = path.with_suffix("")
    choose_device(device)
    with only_writer(directory, path):
        if overwrite:
            cifar.load_data(TIERS[settings.tier].data)  # what stops the run stops it before anything is moved
            set_aside(path)
        elif longer and path.exists() and (epochs := settings_of(read(path)).epochs) < settings.epochs:
            check_last_checkpoint(path, read_same(path, settings.model_copy(update={"epochs": epochs})))
            set_aside(path, checkpoints_too=False)
        elif path.exists():
            read_same(path, settings)
            return finished_run(path, settings, device)
        finished = yield from steps(settings, directory, device, compile, longer)
        made = record(finished) | {"shared": shared}
        weights = checkpoint.write_tensors(directory, "weights", finished.network.state_dict(), made)
        write(made | {"weights": weights.name}, path)
        drop_doubles(weights, made["curve"])
        return finished


def check_last_checkpoint(path: Path, record: dict) -> None:
    """Raise ``FileNotFoundError`` unless the last checkpoint of the run recorded at ``path`` is here to go on from.

    ``ValueError`` if another computation made it, or it is damaged.
    """
    check_computation(path, record["computation"])
    saved, epochs = checkpoint.found(path.with_suffix("")), settings_of(record).epochs
    if not saved or checkpoint.epochs_of(saved[0]) != epochs:
        raise FileNotFoundError(
            f"the last checkpoint of {path} is not beside it, so there is nothing to go on from: copy it from where the run "
            "was made, or begin anew with --overwrite"
        )
    checkpoint.read_tensors(saved[0])


def finished_run(path: Path, settings: Settings, device: str | None = None) -> Run:
    """The recorded run at ``path``, its network from the weights beside it; ``FileExistsError`` if they are not there."""
    known = read(path)
    weights = path.with_suffix("") / known.get("weights", "weights")
    if not weights.exists():
        raise FileExistsError(
            f"{path} is the record of this run ({known['test']['accuracy']:.2f} % on {known['device']}), and its weights are "
            "not here: read the record, or train anew with --overwrite, which keeps it in superseded/"
        )
    where, dataset = choose_device(device), cifar.load_data(known["data"]["source"])
    network = load_weights(weights).to(where)
    scores = evaluate(network, dataset.test_images.to(where)).cpu()
    return Run(settings, network, known["curve"], dataset, scores, where, known["seconds"], known.get("sittings", []))


def drop_doubles(weights: Path, curve: list[dict]) -> None:
    """Remove other weights of this very run, left by one that was stopped between its weights and its record."""
    for other in weights.parent.glob("weights-*.safetensors"):
        if other != weights and checkpoint.read_tensors(other)[1].get("curve") == curve:
            other.unlink()


def run_side_by_side(
    settings: Sequence[Settings],
    out: Path | None = None,
    device: str | None = None,
    observer: Callable[[Settings], Callable[[dict], None]] | None = None,
    **options: bool | None,
) -> list[Future[Run]]:
    """Each of several runs as :func:`run` makes it alone, with its ``options``; what one of them raises stops it alone.

    On CUDA they take turns, a step each, each on a stream of its own: one GPU holds many small runs at once in less time
    than one after the other. Elsewhere one follows the other. ``observer`` gives each run its own ``observe``.
    """
    where = choose_device(device)
    together = len(settings) if where.type == "cuda" else 1
    futures: list[Future[Run]] = [Future() for _ in settings]
    waiting = []
    for each, future in zip(settings, futures, strict=True):
        running = begun(each, out, device, shared=together, **options)
        stream = torch.cuda.Stream(where) if where.type == "cuda" else None
        waiting.append((running, stream, observer(each) if observer else None, future))
    while waiting:
        taking_turns = waiting[:together]
        for run_in_hand in taking_turns:
            running, stream, observe, future = run_in_hand
            try:
                with torch.cuda.stream(stream):
                    entry = next(running)
                if entry is not None and observe is not None:
                    observe(entry)
                continue
            except StopIteration as end:
                future.set_result(end.value)
            except Exception as error:
                future.set_exception(error)
            waiting.remove(run_in_hand)
    return futures


@contextmanager
def only_writer(directory: Path, path: Path) -> Iterator[None]:
    """Hold the run's lock, rid of what a killed writer left half done.

    ``RuntimeError`` if another process holds it, ``OSError`` if the directory cannot be made.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"{directory} cannot be made ({error.strerror}): choose another --out") from None
    try:
        with lock(directory / ".lock", timeout=0.2):  # one that only looks holds it for less
            for left in (*directory.glob(".*.tmp"), *path.parent.glob(f".{path.name}.*.tmp")):
                left.unlink()
            yield
    except Timeout:
        raise RuntimeError(f"another process is making {path}: wait for it, or choose another seed or --out") from None


def record(finished: Run) -> dict:
    """The record of a finished run: everything that made it, everything that it gave."""
    settings, dataset = finished.settings, finished.cifar
    return {
        "schema": SCHEMA,
        "experiment": settings.experiment,
        "tier": settings.tier,
        "seed": settings.seed,
        "settings": settings.model_dump(),
        "commit": commit(),
        "computation": COMPUTATION,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": {"source": dataset.source, "sha256": dataset.fingerprint},
        "device": device_name(finished.device),
        "precision": precision_of(settings.precision, finished.device),
        "versions": versions(),
        "parameters": count_parameters(finished.network),
        "curve": finished.curve,
        "validation_accuracy": finished.curve[-1]["validation_accuracy"],
        "test": {
            "accuracy": accuracy(finished.test_scores, dataset.test_labels),
            "loss": F.cross_entropy(finished.test_scores, dataset.test_labels).item(),
            "correct": (finished.test_scores.argmax(dim=1) == dataset.test_labels).sum().item(),
            "images": len(dataset.test_labels),
        },
        "seconds": finished.seconds,
        "sittings": finished.sittings,
        **({"warning": warning} if (warning := collapse(finished.curve)) else {}),
    }
