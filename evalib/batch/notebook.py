"""Batch runs: papermill on the template, its parameters checked first; and Snakemake on the whole manifest."""

import difflib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import NoneType
from typing import get_args, get_type_hints

from evalib.batch.gpus import one_gpu
from evalib.networks import TABLE_1
from evalib.results.records import read, record_path
from evalib.training.locks import waited
from evalib.training.settings import Settings, check_same

TEMPLATE = Path(__file__).resolve().parents[2] / "notebooks" / "train.ipynb"
KINDS = {name: get_type_hints(Settings)[name] for name in ("experiment", "seed", "tier", "epochs")} | {
    "out": str | None
}
"""The template's parameters and their types."""

WORDS = {str: "text", int: "a whole number", NoneType: "None"}


def parse(pairs: list[tuple[str, str]]) -> dict:
    """Names and values as a shell gives them, each value read as what its parameter wants where it can be."""
    return {name: value_of(KINDS.get(name, str), text) for name, text in pairs}


def value_of(kind: type, text: str) -> str | int | None:
    """``text`` as an int or ``None`` where ``kind`` has these, else as it is."""
    kinds = get_args(kind) or (kind,)
    if NoneType in kinds and text == "None":
        return None
    try:
        return int(text) if int in kinds else text
    except ValueError:
        return text


def checked(parameters: dict, allowed: list[str] | None = None) -> Settings:
    """The settings that the parameters give; ``ValueError`` names what is unknown, ill-typed or impossible."""
    refuse_unknown(parameters, allowed or list(KINDS))
    for name, value in parameters.items():
        kinds = get_args(KINDS[name]) or (KINDS[name],)
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise ValueError(f"{name}={value!r} must be {' or '.join(WORDS[kind] for kind in kinds)}")
    return Settings(**{name: value for name, value in parameters.items() if name != "out"})


def refuse_unknown(names, allowed: list[str]) -> None:
    """Raise ``ValueError`` at the first of ``names`` that is not ``allowed``."""
    for name in names:
        if name not in allowed:
            near = difflib.get_close_matches(name, allowed, 1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"there is no parameter {name!r}: allowed are {', '.join(allowed)}{meant}")


def refuse_injected(names: dict) -> None:
    """Make plain papermill strict: the template calls this with its globals, right after its parameters.

    ``_before``, a set of the names before the parameters, is taken out of ``names``: where it is gone, as when a
    person runs a cell again, nothing is checked.
    """
    before = names.pop("_before", None)
    if before is not None:
        refuse_unknown([name for name in names if name not in before and not name.startswith("_")], list(KINDS))


def run_notebook(parameters: dict, template: Path = TEMPLATE) -> Path:
    """Train through the template, and the path of the record; the executed notebook lies in the run's folder.

    A record of these settings that is there is kept, and nothing is run. Another process that has the run in hand is
    waited for. ``ValueError`` before any kernel starts if a parameter is wrong, ``RuntimeError`` naming the cell
    that failed.
    """
    import papermill  # a dependency of batch runs alone

    known = papermill.inspect_notebook(str(template))
    refuse_unknown(parameters, list(known))
    if "experiment" not in parameters:
        raise ValueError(f"the parameter experiment is missing: give one of {', '.join(row.name for row in TABLE_1)}")
    settings = checked(parameters, list(known))
    path = record_path(settings, parameters.get("out"))
    with only_runner(path):
        if path.exists():
            check_same(settings, Settings(**read(path)["settings"]), path)
            print(f"{path} is there already", flush=True)
        else:
            with one_gpu():
                execute(template, path.with_suffix("") / "train.ipynb", parameters)
    return path


@contextmanager
def only_runner(path: Path) -> Iterator[None]:
    """Wait until no other process runs this notebook or trains this run; then hold the notebook's lock."""
    directory = path.with_suffix("")
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"{directory} cannot be made ({error.strerror}): choose another out") from None
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
