"""Batch runs: papermill on the template, its parameters checked first."""

import difflib
import os
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from types import NoneType
from typing import get_args

from evalib.batch.gpus import one_gpu
from evalib.batch.manifest import whole_numbers
from evalib.batch.rows import load
from evalib.experiments import TABLE_1
from evalib.extras import need
from evalib.results import evaluation
from evalib.results.files import read_same
from evalib.results.records import record_path
from evalib.training.locks import waited
from evalib.training.paths import in_checkout
from evalib.training.settings import Settings

TEMPLATE = "notebooks/train.ipynb"
KINDS = {
    "experiment": str, "seed": int, "seeds": list | str | int | None, "tier": str, "epochs": int | None,
    "precision": str | None, "module": str | None, "out": str | None,
}  # fmt: skip
"""The template's parameters and their types."""

WORDS = {str: "text", int: "a whole number", list: "a list", NoneType: "None"}
SHELL = re.compile(r"_+|_i+|_i?\d+|_[ido]h")
"""Names that IPython itself changes from cell to cell."""


def parse(pairs: list[tuple[str, str]]) -> dict:
    """Names and values as a shell gives them, each value read as what its parameter wants where it can be.

    ``ValueError`` if a name is there twice.
    """
    names = [name for name, _ in pairs]
    if twice := sorted(name for name in {*names} if names.count(name) > 1):
        raise ValueError(f'{twice[0]} is there twice: give it once; several seeds are -p seeds "0 1"')
    return {name: value_of(KINDS.get(name, str), text) for name, text in pairs}


def value_of(kind, text: str) -> str | int | None:
    """``text`` as an int or ``None`` where ``kind`` has these, else as it is."""
    kinds = get_args(kind) or (kind,)
    if NoneType in kinds and text == "None":
        return None
    try:
        return int(text) if int in kinds else text
    except ValueError:
        return text


def checked(parameters: dict, allowed: list[str] | None = None) -> list[Settings]:
    """The settings of each run that the parameters name; ``ValueError`` says what is unknown, ill-typed or impossible.

    ``seeds``, such as "0 1 2" or [0, 1, 2], are those of several runs; without it ``seed`` is that of one. ``module`` is a
    Python file that registers rows.
    """
    refuse_unknown(parameters, allowed or list(KINDS))
    for name, value in parameters.items():
        kinds = get_args(KINDS[name]) or (KINDS[name],)
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise ValueError(f"{name}={value!r} must be {' or '.join(WORDS[kind] for kind in kinds)}")
    load(parameters.get("module"))
    seeds = parameters.get("seeds")
    if isinstance(seeds, str):
        seeds = whole_numbers(seeds, "seeds")
    elif not isinstance(seeds, list):
        seeds = [parameters.get("seed", 0) if seeds is None else seeds]
    if not seeds or len({*seeds}) < len(seeds):
        raise ValueError(f"seeds={seeds!r} must be different whole numbers, at least one")
    rest = {name: value for name, value in parameters.items() if name not in ("seed", "seeds", "module", "out")}
    return [Settings(seed=seed, **rest) for seed in seeds]


def refuse_unknown(names, allowed: list[str]) -> None:
    """Raise ``ValueError`` at the first of ``names`` that is not ``allowed``."""
    for name in names:
        if name not in allowed:
            near = difflib.get_close_matches(name, allowed, 1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"there is no parameter {name!r}: allowed are {', '.join(allowed)}{meant}")


def refuse_injected(names: dict) -> None:
    """Make plain papermill strict: the template calls this with its globals, right after its parameters.

    ``_before``, a copy of the globals before the parameters, is taken out of ``names``. What is new since or has another
    value, and is no parameter, was injected. Where ``_before`` is gone, as when a person runs a cell again, nothing is
    checked.
    """
    if "_before" in names:
        before = names.pop("_before")
        before = before if isinstance(before, dict) else {}
        injected = (name for name, value in names.items() if name not in before or before[name] is not value)
        refuse_unknown((name for name in injected if not SHELL.fullmatch(name)), list(KINDS))


def run_notebook(parameters: dict, template: Path | None = None) -> list[Path]:
    """Train through the template, and the paths of the records.

    The executed notebook lies in the run's folder; that of several ``seeds`` in a folder of the experiment's name. Records
    of these settings that are there are kept, and nothing is trained where all are; weights are evaluated again here, by
    another process than trained them. Another process that has a run in hand is waited for. ``ValueError`` before any
    kernel starts if a parameter is wrong, ``RuntimeError`` naming the cell that failed and the weights at fault.
    """
    template = template or in_checkout(TEMPLATE)
    need("batch", "papermill")
    import papermill

    known = papermill.inspect_notebook(str(template))
    refuse_unknown(parameters, list(known))
    if "experiment" not in parameters:
        raise ValueError(f"the parameter experiment is missing: give one of {', '.join(row.name for row in TABLE_1)}")
    runs = {record_path(each, parameters.get("out")): each for each in checked(parameters, list(known))}
    folder = next(iter(runs)).with_suffix("")
    if parameters.get("seeds") is not None:
        folder = folder.with_name(parameters["experiment"])
    with ExitStack() as locks:
        for path in sorted(runs):
            try:
                locks.enter_context(only_runner(path))
            except OSError:  # stops this run alone, as the notebook will say
                if len(runs) == 1:
                    raise
        for path in (path for path in runs if path.exists()):
            read_same(path, runs[path])
        missing = not all(path.exists() for path in runs)
        if not missing:
            print(f"{', '.join(map(str, runs))}: there already", flush=True)
        with one_gpu() if missing or any(map(unevaluated, runs)) else nullcontext():
            faults = executed(template, made(folder), parameters) if missing else []
            faults += [fault for path in runs if unevaluated(path) and (fault := evaluation.verify(path)["fault"])]
    if faults:
        raise RuntimeError("; ".join(faults))
    return list(runs)


def executed(template: Path, folder: Path, parameters: dict) -> list[str]:
    """What went wrong as the template was executed into ``folder``: one fault, or none."""
    try:
        execute(template, folder / "train.ipynb", parameters)
        return []
    except RuntimeError as error:
        return [str(error)]


def unevaluated(path: Path) -> bool:
    """Whether there is a record at ``path`` whose weights are here, and were not found to agree with it yet."""
    return path.exists() and evaluation.recorded_weights(path) is not None and evaluation.fault(path) != ""


def made(folder: Path) -> Path:
    """``folder``, made where it is not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"{folder} cannot be made ({error.strerror}): choose another out") from None
    return folder


@contextmanager
def only_runner(path: Path) -> Iterator[None]:
    """Wait until no other process runs this notebook or trains this run; then hold the notebook's lock."""
    directory = made(path.with_suffix(""))
    saying = f"another process is making {path}: waiting for it"
    with waited(directory / ".runner", saying):
        with waited(directory / ".lock", saying):
            pass
        yield


@contextmanager
def sockets() -> Iterator[dict]:
    """The configuration of a kernel that talks over sockets in a folder of its own, where the system has them.

    A kernel's port is chosen before the kernel binds it, and another process may take it in between.
    """
    from traitlets.config import Config

    with TemporaryDirectory(prefix="evalib-") as folder:
        has_them = os.name == "posix" and len(folder) < 80  # a socket's path may have about 100 bytes
        transport = {"transport": "ipc", "connection_file": f"{folder}/kernel.json"} if has_them else {}
        yield Config(KernelManager=transport)


def execute(template: Path, notebook: Path, parameters: dict) -> None:
    """Execute the template into ``notebook``, what it prints going on to our own output."""
    import papermill
    from nbclient.exceptions import DeadKernelError

    try:
        with sockets() as config:
            papermill.execute_notebook(
                str(template), str(notebook), parameters, kernel_name="python3", progress_bar=False, config=config,
                stdout_file=sys.stdout, stderr_file=sys.stderr, extra_arguments=["--IPKernelApp.log_level=50"],
            )  # fmt: skip
    except papermill.PapermillExecutionError as error:
        first = (error.evalue.splitlines() or [""])[0]
        raise RuntimeError(f"{notebook}, In [{error.exec_count}] failed: {error.ename}: {first}") from None
    except DeadKernelError:
        raise RuntimeError(f"{notebook}: the kernel died, as when memory runs out or something kills it") from None
