"""A run, or the seeds of a row, as a notebook: papermill on the template, its parameters strict."""

import difflib
import os
import re
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import takewhile
from pathlib import Path

import torch
from filelock import Timeout
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from evalib.batch.cli import load_rows
from evalib.batch.manifest import whole_numbers
from evalib.experiments import TABLE_1
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
        seeds = whole_numbers(given, "seeds") if isinstance(given, str) else given
        seeds = [seeds] if type(seeds) is int else seeds
        if isinstance(seeds, list) and (not seeds or len({*seeds}) < len(seeds)):
            raise ValueError(f"seeds={given!r} must be different whole numbers, at least one")
        return seeds

    def runs(self) -> list[Settings]:
        """The settings of each run; ``ValueError`` says what is impossible."""
        load_rows(self.module)
        return [
            Settings(
                experiment=self.experiment,
                seed=seed,
                tier=self.tier,
                epochs=self.epochs,
                precision=self.precision,
            )
            for seed in ([self.seed] if self.seeds is None else self.seeds)
        ]


def parse(pairs: list[tuple[str, str]]) -> Parameters:
    """Parameters as a shell gives them, name by value; ``ValueError`` says what is wrong."""
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f'{name} is there twice: give it once; several seeds are -p seeds "0 1"'
            )
    given = {name: text for name, text in pairs if text != "None"}
    return checked(Parameters.model_validate_strings, given)


def checked(validate, given: dict) -> Parameters:
    """What ``validate`` makes of ``given``; ``ValueError``, in one line, of the first fault."""
    for name in given:
        if name not in Parameters.model_fields:
            near = difflib.get_close_matches(name, Parameters.model_fields, 1)
            meant = f"; did you mean {near[0]}?" if near else ""
            allowed = ", ".join(Parameters.model_fields)
            raise ValueError(f"there is no parameter {name!r}: allowed are {allowed}{meant}")
    if "experiment" not in given:
        rows = ", ".join(row.name for row in TABLE_1)
        raise ValueError(f"the parameter experiment is missing: give one of {rows}")
    try:
        return validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "value_error":
            raise first["ctx"]["error"] from None
        raise ValueError(f"{first['loc'][0]}={first['input']!r}: {first['msg']}") from None


def read_parameters(names: dict) -> list[Settings]:
    """The runs that the template is told to make: it calls this with its globals.

    ``_before`` is a copy of the globals from before the parameters. What has another value since
    was injected, by papermill or a person, and must be a parameter. Where ``_before`` is gone, as
    when a person runs the cell again, that is not looked at.
    """
    before = names.pop("_before", names)
    before = before if isinstance(before, dict) else {}
    given = {name: names[name] for name in Parameters.model_fields}
    for name, value in names.items():
        own = re.fullmatch(r"_+|_i+|_i?\d+|_[ido]h", name)  # which IPython itself changes
        if not own and (name not in before or before[name] is not value):
            given[name] = value
    return checked(Parameters.model_validate, given).runs()


def run_notebook(parameters: Parameters) -> list[Path]:
    """Train through the template, and give the paths of the records.

    The executed notebook lies in the run's folder; that of several ``seeds`` in a folder of the
    experiment's name. Nothing is trained where all records of these settings are there. The weights
    are tested again here, by another process than trained them. ``RuntimeError`` names the cell
    that failed, or the weights at fault.
    """
    template = in_checkout(TEMPLATE)
    need("batch", "papermill")
    runs = {record_path(run, parameters.out): run for run in parameters.runs()}
    first = next(iter(runs))
    folder = first.with_suffix("")
    if parameters.seeds is not None:
        folder = folder.with_name(runs[first].experiment)
    for path in runs:
        wait_for_others(path)
    to_train = [path for path in runs if not path.exists()]
    for path in runs:
        if path.exists():
            read_same(path, runs[path])
            print(f"{path}: there already", flush=True)
    if to_train:
        make(folder)
        told = parameters.model_dump(exclude={"out", "module"}, exclude_unset=True)
        with one_gpu(), environment({OUT: os.path.abspath(folder.parents[1])}):
            execute(template, folder / "train.ipynb", told)
            for path in to_train:
                if fault := weights.verify(path)["fault"]:
                    raise RuntimeError(fault)
    return list(runs)


def make(folder: Path) -> None:
    """Make ``folder`` where it is not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"{folder} cannot be made ({error.strerror}): choose another out") from None


def wait_for_others(path: Path) -> None:
    """Wait until no other process trains the run whose record belongs at ``path``."""
    folder = path.with_suffix("")
    if folder.is_dir():
        with lock(folder / ".lock", f"another process is making {path}: waiting for it"):
            pass


@contextmanager
def environment(changes: dict[str, str]) -> Iterator[None]:
    """Have these environment variables, for this process and those that it starts."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def execute(template: Path, notebook: Path, parameters: dict) -> None:
    """Execute the template into ``notebook``; what it prints goes on to our own output."""
    import papermill
    from nbclient.exceptions import DeadKernelError

    try:
        with sockets() as config:
            papermill.execute_notebook(
                str(template),
                str(notebook),
                parameters,
                kernel_name="python3",
                progress_bar=False,
                config=config,
                stdout_file=sys.stdout,
                stderr_file=sys.stderr,
                extra_arguments=["--IPKernelApp.log_level=50"],
            )
    except papermill.PapermillExecutionError as error:
        first = (error.evalue.splitlines() or [""])[0]
        raise RuntimeError(
            f"{notebook}, In [{error.exec_count}] failed: {error.ename}: {first}"
        ) from None
    except DeadKernelError:
        raise RuntimeError(
            f"{notebook}: the kernel died, as when memory runs out or something kills it"
        ) from None
    finally:
        if notebook.exists():
            remove_paths(notebook)


@contextmanager
def sockets() -> Iterator:
    """The configuration of a kernel that talks over sockets in a folder of its own.

    Over ports another process might take one between its choice and its use.
    """
    from traitlets.config import Config

    with tempfile.TemporaryDirectory(prefix="evalib-") as folder:
        if os.name == "posix" and len(folder) < 80:  # a socket's path may have about 100 bytes
            ipc = {"transport": "ipc", "connection_file": f"{folder}/kernel.json"}
            yield Config(KernelManager=ipc)
        else:
            yield Config()


def remove_paths(notebook: Path) -> None:
    """Take the folders of this machine out of an executed notebook, which is there to be shown."""
    import nbformat

    page = nbformat.read(notebook, as_version=4)
    for name in ("input_path", "output_path"):
        page.metadata.get("papermill", {}).pop(name, None)
    for cell in page.cells:
        for output in cell.get("outputs", []):
            for name in ("text", "evalue"):
                if name in output:
                    output[name] = without_folders(output[name], notebook.parents[2])
            if "traceback" in output:
                lines = output["traceback"]
                output["traceback"] = [without_folders(line, notebook.parents[2]) for line in lines]
    nbformat.write(page, notebook)


def without_folders(text: str, *further: Path) -> str:
    """``text`` with "…" for the folders of this machine, written as they are or as in a literal."""
    here = [*further, checkout(), tempfile.gettempdir(), Path.home()]
    here += [sysconfig.get_path("purelib"), sysconfig.get_path("stdlib"), sys.prefix]
    folders = {os.path.abspath(folder) for folder in here if folder}
    for folder in sorted(folders, key=len, reverse=True):
        text = text.replace(folder, "…").replace(folder.replace("\\", "\\\\"), "…")
    return text


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
    with ExitStack() as held:
        name = take_free(names, held)
        print(f"GPU {name} of {', '.join(names)}", flush=True)
        with environment({VISIBLE: name}):
            yield


def take_free(names: list[str], held: ExitStack) -> str:
    """The first GPU that no other job has, its lock in ``held``; the system frees it."""
    waiting = False
    while True:
        for name in names:
            try:
                held.enter_context(lock(gpu_lock(name)))
                return name
            except Timeout:
                continue
        if not waiting:
            print(f"other jobs hold every GPU ({', '.join(names)}): waiting for one", flush=True)
            waiting = True
        time.sleep(1)


def gpu_lock(name: str) -> Path:
    """Where the lock of a GPU lies: of this machine, this user, and this Slurm job's numbering."""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    folder = Path(tempfile.gettempdir()) / f"evalib-{user}"
    folder.mkdir(exist_ok=True)
    job = os.environ.get("SLURM_JOB_ID", "")
    return folder / re.sub(r"\W", "_", f"gpu {name} {job}".strip())
