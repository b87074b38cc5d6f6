"""All of the manifest with one command: Snakemake on one machine or a cluster, then what is done and what is not."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from evalib.batch import gpus, manifest
from evalib.batch.manifest import Planned
from evalib.batch.notebook import made
from evalib.extras import need
from evalib.results import records, tables
from evalib.training import checkpoints
from evalib.training.paths import in_checkout

ENDS = ("done", "failed", "doubtful", "skipped", "running")


def reproduce(asked: dict, profile: str = "local", book: bool = True, further: Sequence[str] = ()) -> bool:
    """Make every run of the manifest that is not done, then the table and the book; whether all went well.

    ``asked`` holds ``tier``, ``seeds`` and, if wanted, ``epochs``, ``out`` and ``manifest``, all of which are checked
    before anything starts; ``further`` goes on to Snakemake. Failed and stale runs do not stop the others.
    """
    workflow = in_checkout("workflow/Snakefile")
    need("batch", "snakemake", "papermill")
    out = records.results(asked.get("out")).absolute()
    source = Path(asked.get("manifest") or in_checkout(manifest.MANIFEST)).expanduser().absolute()
    for name in ("EVALIB_HOME", "EVALIB_DATA"):  # a job is elsewhere
        if folder := os.environ.get(name):
            os.environ[name] = str(Path(folder).expanduser().absolute())
    if brace := set("{}") & set(f"{out}{workflow}"):
        raise ValueError(
            f"{out} may have no {min(brace)} in it, which Snakemake reads as a pattern: choose another --out"
        )
    directory = profile_directory(profile)
    runs = manifest.read_manifest(source, asked["tier"], asked["seeds"], asked.get("epochs"))
    before = manifest.plan(runs, out)
    print(manifest.describe(before, out), flush=True)
    state = out / asked["tier"] / ".batch"
    made(state)
    config = {name: value for name, value in asked.items() if value is not None} | {"out": out, "manifest": source}
    command = [sys.executable, "-m", "snakemake", "--snakefile", workflow, "--directory", state]
    command += ["--profile", directory, *(local_gpus() if profile == "local" else ()), *further]
    targets = ["book"] if book and out == workflow.parents[1] / "results" else ["table"]
    said = json.dumps(config, default=str).encode()  # in a file of its own: jobs on a cluster read it when they begin
    wanted = checkpoints.write_atomically(state / f"config-{hashlib.sha256(said).hexdigest()[:8]}.json", said)
    status = call([*command, "--configfile", wanted, "--", *targets])
    after = manifest.plan(runs, out)
    if status > 0 and any(run.state != "done" for run in after):  # the table and the book of what there is
        call([*command, "--configfile", wanted, "--config", "train=", "--", *targets])
    print(summary(after, out), flush=True)
    print(tables.markdown(tables.table(out, (asked["tier"],))))
    if targets == ["book"]:
        print(book_path(state))
    return status == 0 and all(run.state == "done" for run in after)


def profile_directory(profile: str) -> Path:
    """The folder of a profile: one of ours by name, or any folder."""
    profiles = in_checkout("workflow/profiles")
    for directory in (profiles / profile, Path(profile)):
        if (directory / "config.yaml").is_file():
            return directory.absolute()
    ours = ", ".join(sorted(path.name for path in profiles.glob("*")))
    raise ValueError(f"there is no profile {profile!r}: choose one of {ours}, or a folder with a config.yaml")


def local_gpus() -> list[str]:
    """As many jobs at a time as this machine has GPUs, or one on its CPU; what follows on the command line prevails."""
    return ["--resources", f"gpu={max(1, len(gpus.visible()))}"]


def call(command: list) -> int:
    """Run Snakemake to its end; a notice to stop is passed on, and raised again once its jobs have stopped."""
    for notice in (signal.SIGINT, signal.SIGHUP):  # Ctrl-C, and a terminal that was closed, even started by nohup or &
        signal.signal(notice, signal.default_int_handler)
    process = subprocess.Popen([str(part) for part in command], start_new_session=True)
    try:
        return process.wait()
    except KeyboardInterrupt:
        os.killpg(process.pid, signal.SIGINT)
        process.wait()
        raise


def summary(planned: list[Planned], out: Path) -> str:
    """How each run ended that is not done, the counts, and what to do."""
    words = {"done": "done", "stale": "skipped", "doubtful": "doubtful", "running": "running"}
    ends = [(words.get(run.state, "failed"), run) for run in planned]
    lines = [f"{end:8} {run.name}: {reason(run, out)}" for end, run in ends if end != "done"]
    counts = Counter(end for end, _ in ends)
    lines.append(", ".join(f"{end} {counts[end]}" for end in ENDS))
    if counts["failed"] or counts["running"]:
        lines.append("to go on, give the same command again")
    if counts["skipped"] or counts["doubtful"]:
        lines.append(
            "to make a skipped or doubtful run anew: python -m evalib train --overwrite, with its --experiment, --seed, --tier"
        )
    return "\n".join(lines)


def reason(run: Planned, out: Path) -> str:
    """Why a run is not done: the note of the plan, or the last line of its log."""
    if run.state in ("stale", "running", "doubtful", "trained"):
        return run.note
    log = records.record_path(run.settings, out).with_name(run.settings.experiment) / "train.log"
    lines = log.read_text(errors="replace").strip().splitlines() if log.is_file() else []
    return f"{lines[-1]} ({log})" if lines else "it was not begun"


def book_path(state: Path) -> str:
    """Where to open the book, or that it was not built, and where that is told."""
    html = in_checkout(".") / "_build" / "html"
    return (
        f"open {html / 'index.html'}"
        if (html / ".made").exists()
        else f"the book was not built: see {state / 'book.log'}"
    )
