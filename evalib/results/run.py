"""A run, from its settings to its record: settings → what is there already → training → record →
disk.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import torch
from filelock import Timeout
from torch import nn
from torch.nn import functional as F

from evalib.networks import count_parameters
from evalib.results.records import SCHEMA, SUPERSEDED, collapse, read, read_same, record_path, write
from evalib.results.weights import find_recorded, load_weights, tell_where
from evalib.training import checkpoint, cifar
from evalib.training.environment import choose_device, commit, device_name, lock, versions
from evalib.training.settings import COMPUTATION, TIERS, Settings
from evalib.training.train import Run, accuracy, evaluate, exhaust, origin, steps


def run(
    settings: Settings,
    out: Path | None = None,
    device: str | None = None,
    overwrite: bool = False,
    observe: Callable[[dict], None] | None = None,
    compile: bool | None = None,
) -> Run:
    """Train, or go on training, and write the record; checkpoints and weights lie in a folder
    beside it.

    A record of these settings that is already there is kept, and its run read from the weights
    beside it: ``FileExistsError`` if these are not there. Other settings, or a row that was edited
    since, are a ``ValueError`` that names them. With ``overwrite`` the run begins anew, and the
    record that was there moves into ``superseded/``. ``RuntimeError`` if another process has the
    run in hand.
    """
    return exhaust(run_steps(settings, out, device, overwrite, compile), observe)


def run_steps(
    settings: Settings,
    out: Path | None = None,
    device: str | None = None,
    overwrite: bool = False,
    compile: bool | None = None,
    shared: int = 1,
) -> Generator[dict | None, None, Run]:
    """:func:`run`, a training step a turn, as :func:`evalib.training.train.steps` has it.

    ``shared`` is how many runs take turns, this one included: the record says so beside its
    seconds.
    """
    choose_device(device)  # without it nothing is begun
    folder = RunFolder(settings, out)
    with folder.held():
        if overwrite:
            # what stops the run stops it before anything is moved
            cifar.load_data(TIERS[settings.tier].data)
            folder.set_aside()
        elif folder.record.exists():
            return folder.load_run(device)
        finished = yield from steps(settings, folder.directory, device, compile)
        folder.store(make_record(finished, shared), finished.network)
        return finished


def run_in_turn(
    settings: Sequence[Settings],
    out: Path | None = None,
    device: str | None = None,
    **options: bool | None,
) -> list[Run | Exception]:
    """Each of several runs as :func:`run` makes it alone, with its ``options``; or what stopped it,
    and it alone.

    On CUDA they take turns, a step each, each on a stream of its own: one GPU holds many small runs
    at once in less time than one after the other. Elsewhere one follows the other.
    """
    chosen = choose_device(device)
    on_gpu = chosen.type == "cuda"
    to_train = sum(
        bool(options.get("overwrite")) or not record_path(each, out).exists() for each in settings
    )
    together = max(to_train, 1) if on_gpu else 1
    streams = [torch.cuda.Stream(chosen) if on_gpu else None for _ in settings]
    running = {
        place: run_steps(each, out, device, shared=together, **options)
        for place, each in enumerate(settings)
    }
    ends: dict[int, Run | Exception] = {}
    try:
        while running:
            for place in list(running)[:together]:
                try:
                    with torch.cuda.stream(streams[place]):
                        next(running[place])
                except StopIteration as end:
                    ends[place] = end.value
                    del running[place]
                except Exception as error:
                    running.pop(place).close()
                    ends[place] = error
    finally:  # interrupted: each lets go of its run, whose last checkpoint stays
        for each in running.values():
            each.close()
    return [ends[place] for place in range(len(settings))]


class RunFolder:
    """A run's place on disk: its record, and beside it a folder with lock, checkpoints, weights and
    executed notebook.
    """

    def __init__(self, settings: Settings, out: Path | None = None):
        self.settings = settings
        self.record = record_path(settings, out)
        self.directory = self.record.with_suffix("")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the run's lock, rid of what a killed writer left half done.

        ``RuntimeError`` if another process holds it, ``OSError`` if the directory cannot be made.
        """
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(
                f"{self.directory} cannot be made ({error.strerror}): choose another --out"
            ) from None
        half_done = f".{self.record.name}.*.tmp"
        try:
            # who only looks holds it for less
            with lock(self.directory / ".lock", timeout=0.2):
                for left in (*self.directory.glob(".*.tmp"), *self.record.parent.glob(half_done)):
                    left.unlink()
                yield
        except Timeout as held:
            raise RuntimeError(
                f"another process is making {self.record}: wait for it, or choose another seed or"
                f" --out (if none is, remove {held.lock_file})"
            ) from None

    def set_aside(self) -> None:
        """Move the record, and what its run left, into ``superseded/``, under a name with its time
        and commit. A run that has no record yet moves its checkpoints alone.
        """
        kinds = ["weights-*", "train.ipynb", "epoch-*"]
        left = [each for kind in kinds for each in self.directory.glob(kind)]
        if not self.record.exists() and not left:
            return
        when, by = datetime.now(UTC), "unfinished"
        try:
            old = read(self.record)
            when, by = datetime.fromisoformat(old["finished"]), (old["commit"] or "unknown")[:7]
        except (OSError, ValueError):
            pass  # there is none, or it is damaged
        name = f"{self.record.stem}-{when:%Y%m%dT%H%M%S}-{by}.json"
        target = self.record.parents[1] / SUPERSEDED / self.record.parent.name / name
        target.with_suffix("").mkdir(parents=True, exist_ok=True)
        for each in left:
            each.rename(target.with_suffix("") / each.name)
        if self.record.exists():
            self.record.rename(target)
        print(f"what was there is kept: {target}", flush=True)

    def load_run(self, device: str | None = None) -> Run:
        """The recorded run, its network from the weights beside it; ``FileExistsError`` if they are
        not there.
        """
        known = read_same(self.record, self.settings)
        weights = find_recorded(self.record)
        if weights is None:
            raise FileExistsError(
                f"{self.record} is the record of this run ({known['test']['accuracy']:.2f} % on"
                f" {known['device']}), and its weights are not here ({tell_where(self.record)}):"
                " read the record, or train anew (overwrite=True, --overwrite), which keeps it in"
                " superseded/"
            )
        chosen, dataset = choose_device(device), cifar.load_data(known["data"]["source"])
        network = load_weights(weights).to(chosen)
        scores = evaluate(network, dataset.test_images.to(chosen)).cpu()
        curve, seconds, sittings = known["curve"], known["seconds"], known.get("sittings", [])
        return Run(self.settings, network, curve, dataset, scores, chosen, seconds, sittings)

    def store(self, made: dict, network: nn.Module) -> None:
        """Write weights and record, and remove other weights of this very run, left by one that was
        stopped between them.
        """
        state = checkpoint.plain(network).state_dict()
        weights = checkpoint.write_tensors(self.directory, "weights", state, made)
        write(made | {"weights": weights.name}, self.record)
        for other in self.directory.glob("weights-*.safetensors"):
            if other != weights and checkpoint.read_tensors(other)[1].get("curve") == made["curve"]:
                other.unlink()


def make_record(finished: Run, shared: int = 1) -> dict:
    """The record of a finished run: everything that made it, everything that it gave."""
    settings, dataset = finished.settings, finished.cifar
    scores, labels = finished.test_scores, dataset.test_labels
    warning = collapse(finished.curve)
    return {
        "schema": SCHEMA,
        "experiment": settings.experiment,
        "tier": settings.tier,
        "seed": settings.seed,
        "settings": settings.model_dump(),
        "origin": origin(settings),
        "commit": commit(),
        "computation": COMPUTATION,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": {"source": dataset.source, "sha256": dataset.fingerprint},
        "device": device_name(finished.device),
        "precision": finished.sittings[-1]["precision"],
        "versions": versions(),
        "parameters": count_parameters(finished.network),
        "curve": finished.curve,
        "validation_accuracy": finished.curve[-1]["validation_accuracy"],
        "test": {
            "accuracy": accuracy(scores, labels),
            "loss": F.cross_entropy(scores, labels).item(),
            "correct": (scores.argmax(dim=1) == labels).sum().item(),
            "images": len(labels),
        },
        "seconds": finished.seconds,
        "sittings": finished.sittings,
        "shared": shared,
        **({"warning": warning} if warning else {}),
    }
