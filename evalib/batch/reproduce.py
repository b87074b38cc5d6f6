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
from evalib.batch.notebook import visible_gpus
from evalib.extras import need
from evalib.results import tables
from evalib.results.records import results
from evalib.training import cifar
from evalib.training.environment import in_checkout
from evalib.training.settings import TIERS


def reproduce(
    asked: dict, profile: str = "local", book: bool = True, further: Sequence[str] = ()
) -> bool:
    """Make every run of the manifest, then the table and the book; whether all runs are done.

    ``asked`` holds ``tier``, ``seeds`` and, if wanted, ``epochs``, ``out`` and ``manifest``;
    ``further`` goes on to Snakemake. A run that fails does not stop the others.
    """
    workflow = in_checkout("workflow/Snakefile")
    need("batch", "snakemake", "papermill")
    out = results(asked.get("out")).absolute()
    source = Path(asked.get("manifest") or in_checkout(manifest.MANIFEST)).expanduser().absolute()
    runs = manifest.read_manifest(source, asked["tier"], asked["seeds"], asked.get("epochs"))
    for name in ("EVALIB_HOME", "EVALIB_DATA"):  # a job begins in another folder
        if folder := os.environ.get(name):
            os.environ[name] = str(Path(folder).expanduser().absolute())
    before, unlocks = manifest.plan(runs, out), "--unlock" in further
    if not unlocks:
        print(manifest.describe(before, out), flush=True)
        if any(run.state != "done" for run in before):
            # once, and here: a node of a cluster may have no internet
            cifar.load_data(TIERS[asked["tier"]].data)

    state = out / asked["tier"] / ".batch"
    state.mkdir(parents=True, exist_ok=True)
    if not os.access(Path.home(), os.W_OK):  # as on some clusters
        os.environ["XDG_CACHE_HOME"] = str(state)  # where Snakemake keeps its own
    wanted = {name: value for name, value in asked.items() if value is not None}
    wanted |= {"out": str(out), "manifest": str(source)}
    target = "book" if book and out == workflow.parents[1] / "results" else "table"
    ours = workflow.parent / "profiles" / profile
    command = [sys.executable, "-m", "snakemake", "--snakefile", workflow, "--directory", state]
    command += ["--profile", ours if ours.is_dir() else Path(profile).absolute()]
    command += ["--configfile", write_config(wanted, state)]
    command += ["--rerun-triggers", "mtime"]  # no edit of a rule deletes a record
    if profile == "local":
        jobs = max(1, len(visible_gpus()))
        threads = max(1, count_cores() // jobs)
        command += ["--resources", f"gpu={jobs}", "--set-threads", f"train={threads}"]
    status = call([*command, *further, "--", "runs", target])
    if unlocks:
        return status == 0

    after = manifest.plan(runs, out)
    done = status == 0 and all(run.state == "done" for run in after)
    print(manifest.describe(after, out), flush=True)
    print(tables.markdown(tables.table(out, (asked["tier"],))))
    if target == "book" and status == 0:
        print(f"open {workflow.parents[1] / '_build' / 'html' / 'index.html'}")
    if not done:
        print("to go on, give the same command again")
    return done


def count_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # a Mac has none
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def write_config(wanted: dict, state: Path) -> Path:
    """Write what Snakemake is to make into a file of its own, which jobs on a cluster read too."""
    text = json.dumps(wanted)
    path = state / f"config-{hashlib.sha256(text.encode()).hexdigest()[:8]}.json"
    path.write_text(text, encoding="utf-8")
    return path


def call(command: list) -> int:
    """Run Snakemake to its end. Ctrl-C goes on to it, and is raised once its jobs have stopped."""
    process = subprocess.Popen([str(part) for part in command], start_new_session=True)
    try:
        return process.wait()
    except KeyboardInterrupt:
        os.killpg(process.pid, signal.SIGINT)
        process.wait()
        raise
