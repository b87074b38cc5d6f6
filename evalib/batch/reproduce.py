"""All of the manifest with one command: Snakemake here or on a cluster, then what is left."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from evalib.batch import manifest
from evalib.batch.notebook import make, visible_gpus
from evalib.extras import need
from evalib.results import tables
from evalib.results.records import record_path, results
from evalib.training import checkpoint, cifar
from evalib.training.environment import in_checkout
from evalib.training.settings import TIERS


def reproduce(
    asked: dict, profile: str = "local", book: bool = True, further: Sequence[str] = ()
) -> bool:
    """Make every run of the manifest, then the table and the book; whether all runs are done.

    ``asked`` holds ``tier``, ``seeds`` and, if wanted, ``epochs``, ``out`` and ``manifest``, all of
    which are checked before anything starts; ``further`` goes on to Snakemake. A run that fails
    does not stop the others.
    """
    workflow = in_checkout("workflow/Snakefile")
    need("batch", "snakemake", "papermill")
    out = results(asked.get("out")).absolute()
    source = Path(asked.get("manifest") or in_checkout(manifest.MANIFEST)).expanduser().absolute()
    directory = profile_directory(profile)
    runs = manifest.read_manifest(source, asked["tier"], asked["seeds"], asked.get("epochs"))
    for brace in "{}":
        if brace in f"{out}{workflow}":
            raise ValueError(
                f"{out} may have no {brace} in it, which Snakemake reads as a pattern: choose"
                " another --out"
            )
    for name in ("EVALIB_HOME", "EVALIB_DATA"):  # a job begins in another folder
        if folder := os.environ.get(name):
            os.environ[name] = str(Path(folder).expanduser().absolute())
    before = manifest.plan(runs, out)
    print(manifest.describe(before, out), flush=True)
    if any(run.state != "done" for run in before):
        cifar.load_data(
            TIERS[asked["tier"]].data
        )  # once, and here: a node of a cluster may have no internet

    state = out / asked["tier"] / ".batch"
    make(state)
    if not os.access(Path.home(), os.W_OK):  # as on some clusters
        os.environ["XDG_CACHE_HOME"] = str(state)  # where Snakemake keeps its own
    target = "book" if book and out == workflow.parents[1] / "results" else "table"
    command = [sys.executable, "-m", "snakemake", "--snakefile", workflow, "--directory", state]
    command += ["--profile", directory, "--configfile", write_config(asked, out, source, state)]
    command += ["--rerun-triggers", "mtime"]  # no edit of a rule deletes a record
    if profile == "local":
        jobs = max(1, len(visible_gpus()))
        command += [
            "--resources",
            f"gpu={jobs}",
            "--set-threads",
            f"train={count_cores() // jobs or 1}",
        ]
    status = call([*command, *further, "--", "runs", target])

    after = manifest.plan(runs, out)
    print(summary(after, out), flush=True)
    print(tables.markdown(tables.table(out, (asked["tier"],))))
    if target == "book" and status == 0:
        print(f"open {workflow.parents[1] / '_build' / 'html' / 'index.html'}")
    return status == 0 and all(run.state == "done" for run in after)


def count_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # a Mac has none
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def write_config(asked: dict, out: Path, source: Path, state: Path) -> Path:
    """Write what Snakemake is to make into a file of its own, which jobs on a cluster read too."""
    wanted = {name: value for name, value in asked.items() if value is not None}
    wanted |= {"out": str(out), "manifest": str(source)}
    content = json.dumps(wanted).encode()
    path = state / f"config-{hashlib.sha256(content).hexdigest()[:8]}.json"
    return checkpoint.write_atomically(path, content)


def profile_directory(profile: str) -> Path:
    """The folder of a profile: one of ours by name, or any folder."""
    profiles = in_checkout("workflow/profiles")
    for directory in (profiles / profile, Path(profile)):
        if (directory / "config.yaml").is_file():
            return directory.absolute()
    ours = ", ".join(sorted(path.name for path in profiles.glob("*")))
    raise ValueError(
        f"there is no profile {profile!r}: choose one of {ours}, or a folder with a config.yaml"
    )


def call(command: list) -> int:
    """Run Snakemake to its end. Ctrl-C goes on to it, and is raised once its jobs have stopped."""
    process = subprocess.Popen([str(part) for part in command], start_new_session=True)
    try:
        return process.wait()
    except KeyboardInterrupt:
        os.killpg(process.pid, signal.SIGINT)
        process.wait()
        raise


def summary(planned: list[manifest.Planned], out: Path) -> str:
    """The runs that are not done, with the reason; how many are; and what to do."""
    lines = [f"not done: {run.name}: {reason(run, out)}" for run in planned if run.state != "done"]
    if lines:
        lines.append("to go on, give the same command again")
    return "\n".join([*lines, f"{len(planned)} runs: {manifest.count(planned)}"])


def reason(run: manifest.Planned, out: Path) -> str:
    """Why a run is not done: what is in its way, or the last line of its log."""
    path = record_path(run.settings, out)
    log = path.with_suffix("") / "train.log"
    if path.exists() or not log.is_file():
        return run.note or "it was not begun"
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"{lines[-1]} ({log})" if lines else run.note
