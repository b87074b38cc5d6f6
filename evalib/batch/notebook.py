"""A run, or the seeds of a row, as a notebook: papermill on the template, its parameters strict;
and one GPU a job."""

import getpass
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from types import ModuleType

import torch
from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from evalib.batch.manifest import whole_numbers
from evalib.experiments import load_rows
from evalib.extras import need
from evalib.results import weights
from evalib.results.records import read_same, record_path
from evalib.training.environment import checkout, in_checkout, lock
from evalib.training.settings import Settings

TEMPLATE = "notebooks/train.ipynb"
OUT = "EVALIB_OUT"
"""The environment variable that tells a kernel where records go: a parameter would be stored."""


class Parameters(BaseModel):
    """The template's parameters. ``seeds``, as "0 1" or [0, 1], are several runs instead of one."""

    model_config = ConfigDict(extra="forbid", strict=True)

    experiment: str
    seed: int = 0
    seeds: list[int] | None = None
    tier: str = "smoke"
    epochs: int | None = None
    precision: str | None = None
    module: str | None = None
    out: str | None = None

    @field_validator("seeds", mode="before")
    @classmethod
    def read_seeds(cls, given):
        """Seeds as a shell gives them."""
        seeds = whole_numbers(given) if isinstance(given, str) else given
        return [seeds] if type(seeds) is int else seeds

    def runs(self) -> list[Settings]:
        """The settings of each run; ``ValueError`` says what is impossible."""
        load_rows(self.module)
        given = self.model_dump(include={"experiment", "tier", "epochs", "precision"})
        seeds = dict.fromkeys(self.seeds or [self.seed])  # each once
        return [Settings(seed=seed, **given) for seed in seeds]


def parse(pairs: list[tuple[str, str]]) -> Parameters:
    """Parameters as a shell gives them, name by value; ``ValueError`` says what is wrong."""
    if len(dict(pairs)) < len(pairs):
        raise ValueError('a parameter is there twice: several seeds are -p seeds "0 1"')
    given = {name: text for name, text in pairs if text != "None"}
    return checked(Parameters.model_validate_strings, given)


def checked(validate, given: dict) -> Parameters:
    """What ``validate`` makes of ``given``; ``ValueError``, in one line, of the first fault."""
    try:
        return validate(given)
    except ValidationError as error:
        first, allowed = error.errors()[0], ", ".join(Parameters.model_fields)
        name = first["loc"][0]
        raise ValueError(
            f"{name}={given.get(name)!r}: {first['msg']} (the parameters are {allowed})"
        ) from None


def read_parameters(names: dict) -> list[Settings]:
    """The runs that the template is told to make: it calls this with its globals.

    ``_before`` is a copy of the globals from before the parameters. What is new since was injected,
    by papermill or a person, and must be a parameter, or an imported module. Where ``_before`` is
    gone, as when a person runs the cell again, that is not looked at.
    """
    before = names.pop("_before", names)
    new = {name for name in names if name not in before and not name.startswith("_")}
    given = {name: names[name] for name in {*Parameters.model_fields, *new} if name in names}
    given = {name: each for name, each in given.items() if not isinstance(each, ModuleType)}
    return checked(Parameters.model_validate, given).runs()


def run_notebook(parameters: Parameters) -> list[Path]:
    """Train through the template, and give the paths of the records.

    The executed notebook lies in the run's folder; that of several ``seeds`` in a folder of the
    experiment's name. Nothing is trained where all records of these settings are there. The weights
    are tested again here, by another process than trained them. ``RuntimeError`` names the cell
    that failed, or the weights at fault, whose record is then called ``….json.fault``.
    """
    template = in_checkout(TEMPLATE)
    need("batch", "papermill")
    runs = {record_path(run, parameters.out): run for run in parameters.runs()}
    first = next(iter(runs))
    folder = first.with_suffix("")
    if parameters.seeds is not None:
        folder = folder.with_name(runs[first].experiment)
    to_train = []
    for path, run in runs.items():
        wait_for_others(path)
        if path.exists():
            read_same(path, run)
            print(f"{path}: there already", flush=True)
        else:
            to_train.append(path)
    if to_train:
        folder.mkdir(parents=True, exist_ok=True)
        told = parameters.model_dump(exclude={"out", "module"}, exclude_unset=True)
        os.environ[OUT] = os.path.abspath(folder.parents[1])
        with one_gpu():
            execute(template, folder / "train.ipynb", told)
            faults = {path: weights.verify(path)["fault"] for path in to_train}
            at_fault = [path for path, fault in faults.items() if fault]
            for path in at_fault:
                path.rename(f"{path}.fault")
            if at_fault:
                said = [f"{faults[path]}; its record is {path}.fault now" for path in at_fault]
                raise RuntimeError("; ".join(said))
    return list(runs)


def wait_for_others(path: Path) -> None:
    """Wait until no other process trains the run whose record belongs at ``path``."""
    folder = path.with_suffix("")
    if folder.is_dir():
        with lock(folder / ".lock", f"another process is making {path}: waiting for it"):
            pass


def execute(template: Path, notebook: Path, parameters: dict) -> None:
    """Execute the template into ``notebook``; what it prints goes on to our own output.

    The kernel talks over sockets in a folder of its own: a port might be taken by another process
    between its choice and its use.
    """
    import papermill
    from traitlets.config import Config

    try:
        with tempfile.TemporaryDirectory(prefix="evalib-") as folder:
            ipc = {"transport": "ipc", "connection_file": f"{folder}/kernel.json"}
            papermill.execute_notebook(
                str(template),
                str(notebook),
                parameters,
                kernel_name="python3",
                progress_bar=False,
                config=Config(KernelManager=ipc if os.name == "posix" else {}),
                stdout_file=sys.stdout,
                stderr_file=sys.stderr,
                extra_arguments=["--IPKernelApp.log_level=50"],
            )
    except papermill.PapermillExecutionError as error:
        first = error.evalue.partition("\n")[0]
        raise RuntimeError(
            f"{notebook}, In [{error.exec_count}] failed: {error.ename}: {first}"
        ) from None
    finally:
        if notebook.exists():
            remove_folders(notebook)


def remove_folders(notebook: Path) -> None:
    """Put "…" for the folders of this machine into an executed notebook, which is to be shown."""
    text = notebook.read_text(encoding="utf-8")
    here = [notebook.parents[2], checkout(), tempfile.gettempdir(), Path.home(), sys.prefix]
    folders = {os.path.abspath(folder) for folder in here if folder}
    folders.add(os.path.dirname(os.__file__))  # the standard library
    for folder in sorted(folders, key=len, reverse=True):
        for written in (folder, folder.replace("\\", "\\\\")):  # as it is, or in a literal
            text = text.replace(json.dumps(written, ensure_ascii=False)[1:-1], "…")
    notebook.write_text(text, encoding="utf-8")


VISIBLE = "CUDA_VISIBLE_DEVICES"
"""CUDA shows a process these GPUs alone; read once, when the process first uses CUDA."""


def visible_gpus() -> list[str]:
    """The GPUs that this process may use."""
    if VISIBLE not in os.environ:
        return [str(index) for index in range(torch.cuda.device_count())]
    names = (name.strip() for name in os.environ[VISIBLE].split(","))
    return list(takewhile(lambda name: name not in ("", "-1"), names))  # CUDA stops there too


@contextmanager
def one_gpu() -> Iterator[None]:
    """Let this process and its children see one of the visible GPUs, which no other job has.

    To be entered before CUDA is used. Where there is no GPU nothing is changed.
    """
    names = visible_gpus()
    if not names:
        yield
        return
    name, held = take_free(names)
    print(f"GPU {name} of {', '.join(names)}", flush=True)
    os.environ[VISIBLE] = name
    try:
        yield
    finally:
        held.release()


def take_free(names: list[str]) -> tuple[str, FileLock]:
    """The first GPU that no other job of this user holds, and its lock, which the system frees.

    Slurm may number the GPUs of each of its jobs from 0.
    """
    folder = Path(tempfile.gettempdir()) / f"evalib-{getpass.getuser()}"
    folder.mkdir(exist_ok=True)
    job = os.environ.get("SLURM_JOB_ID", "")
    waiting = False
    while True:
        for name in names:
            held = FileLock(folder / re.sub(r"\W", "_", f"gpu {name} {job}"))
            try:
                held.acquire(timeout=0)
                return name, held
            except Timeout:
                continue
        if not waiting:
            print(f"other jobs hold every GPU ({', '.join(names)}): waiting for one", flush=True)
            waiting = True
        time.sleep(1)
