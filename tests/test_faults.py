"""What can go wrong in a run, brought about for real: each fault is named in one line and loses
nothing.
"""

import errno
import hashlib
import os
import random
import resource
import signal
import subprocess
import sys
import time

import pytest
import torch
from filelock import Timeout
from safetensors.torch import save

import evalib
from evalib.__main__ import main
from evalib.results import records
from evalib.training import checkpoint, environment, step, train

pytestmark = pytest.mark.usefixtures("float32", "few_elsewhere")
KILLS = int(os.environ.get("EVALIB_KILLS", "3"))


def command(out, epochs):
    given = f"train --experiment tiny --epochs {epochs} --device cpu --out"
    return [*given.split(), str(out)]


def start(*arguments, **options):
    words = [sys.executable, "-m", "evalib", *command(*arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(words, text=True, **pipes, **options)


def run_directory(out):
    return out / "smoke" / "tiny-seed0"


def wait_for_a_checkpoint(process, directory):
    """Another than the newest that is there; or the end of the process."""
    before = checkpoint.found(directory)[:1]
    while checkpoint.found(directory)[:1] == before and process.poll() is None:
        time.sleep(0.02)


@pytest.mark.parametrize("notice", [signal.SIGINT, signal.SIGTERM])
def test_a_notice_ends_the_run_in_one_line_and_the_same_command_goes_on(tmp_path, notice):
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a suite started with & ignores it, and so would the run
    shown = []
    for _ in range(2):
        process = start(tmp_path, 1000)
        wait_for_a_checkpoint(process, run_directory(tmp_path))
        process.send_signal(notice)
        told, error = process.communicate()
        assert process.returncode == 130
        assert (
            error == "evalib: stopped; a run goes on from its last checkpoint by the same command\n"
        )
        shown.append(told)
    assert ["epoch 1/1000" in told for told in shown] == [True, False]


@pytest.mark.slow
def test_kill_9_at_random_moments_loses_and_doubles_nothing(tmp_path):
    """`make torture` sets EVALIB_KILLS=20; the seed of the moments is printed when it fails."""
    epochs, moments = 60 * KILLS, random.Random(KILLS)
    assert main(command(tmp_path / "whole", epochs)) == 0
    for _ in range(KILLS):
        process = start(tmp_path / "killed", epochs)
        wait_for_a_checkpoint(process, run_directory(tmp_path / "killed"))
        time.sleep(moments.uniform(0, 0.5))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL  # it was not over
    assert main(command(tmp_path / "killed", epochs)) == 0
    whole, killed = (
        records.read(run_directory(tmp_path / name).with_suffix(".json"))
        for name in ("whole", "killed")
    )
    for record in (whole, killed):
        assert [row.pop("seconds") > 0 for row in record["curve"]] == [True] * epochs
    assert whole["curve"] == killed["curve"]
    assert whole["test"] == killed["test"]
    tensors = [
        checkpoint.read_tensors(checkpoint.found(run_directory(tmp_path / n))[0])[0]
        for n in ("whole", "killed")
    ]
    assert tensors[0].keys() == tensors[1].keys()
    assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])
    files = sorted(
        path.suffix for path in (tmp_path / "killed" / "smoke").rglob("*") if path.is_file()
    )
    assert [suffix for suffix in files if suffix] == [".json", *[".safetensors"] * 3]


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path):
    running = train.steps(evalib.Settings("tiny", epochs=2), run_directory(tmp_path), "cpu")
    next(entry for entry in running if entry)
    running.close()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}

    def small_disk():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    process = start(tmp_path, 2, preexec_fn=small_disk)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 2
    assert error.count("\n") == 1
    assert "File too large" in error
    assert len(before) == 1
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.suffix}


def test_an_output_that_cannot_be_made_is_named(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["train", "--experiment", "resnet20-small", "--out", str(tmp_path / "file")]) == 2
    error = capsys.readouterr().err
    assert "cannot be made" in error
    assert error.count("\n") == 1


@pytest.mark.skipif(
    not torch.cuda.is_available(), reason="a CUDA graph needs a CUDA device, and there is none"
)
def test_the_captured_step_is_the_eager_step(monkeypatch):
    captured = evalib.train(
        evalib.Settings("evanet20-small", epochs=1, batch_size=20), device="cuda"
    )
    monkeypatch.setattr(step, "captured", lambda step, *_: step)
    eager = evalib.train(evalib.Settings("evanet20-small", epochs=1, batch_size=20), device="cuda")
    assert captured.curve[0]["train_loss"] == pytest.approx(eager.curve[0]["train_loss"], rel=1e-2)


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EINVAL])
def test_on_a_disk_without_locks_a_file_is_one(tmp_path, monkeypatch, code):
    def refuse(lock, *_, **__):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(environment.FileLock, "acquire", refuse)
    with environment.lock(tmp_path / ".lock"):
        monkeypatch.setattr(environment.SoftFileLock, "acquire", busy)
        with pytest.raises(Timeout), environment.lock(tmp_path / ".lock"):
            pass
    monkeypatch.undo()
    with environment.lock(tmp_path / ".lock"):
        pass


def busy(lock, *_, **__):
    raise Timeout(lock.lock_file)


def test_a_lock_is_held_waited_for_and_free_when_its_holder_ends(tmp_path, monkeypatch):
    path = tmp_path / ".lock"
    code = "import sys; from filelock import FileLock; lock = FileLock(sys.argv[1]); lock.acquire(); print(1); sys.stdin.read()"
    given = [sys.executable, "-u", "-c", code, path]
    with subprocess.Popen(given, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.read(1)
        with pytest.raises(Timeout), environment.lock(path):
            pass
        told = []
        monkeypatch.setattr(
            "builtins.print", lambda line, **_: told.append(line) or other.stdin.close()
        )
        with environment.lock(path, "waiting for another"):
            assert told == ["waiting for another"]


def test_a_commit_that_git_refuses_to_tell_is_said(monkeypatch):
    def refuse(directory, *arguments):
        raise subprocess.CalledProcessError(
            128, "git", stderr="fatal: detected dubious ownership in repository"
        )

    monkeypatch.setattr(environment, "git", refuse)
    with pytest.warns(UserWarning, match="will have no commit.*dubious ownership"):
        environment.commit()


@pytest.mark.parametrize(
    "said",
    [None, {"another": "word"}, {"evalib": "null"}, {"evalib": "no JSON"}, {"evalib": "[" * 10**5}],
    ids=["none", "another", "null", "no JSON", "deep"],
)
def test_a_file_of_weights_that_is_not_ours_is_named(tmp_path, said):
    content = save({"a": torch.zeros(2)}, said)
    path = tmp_path / f"weights-{hashlib.sha256(content).hexdigest()[:16]}.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path.name} was not written by evalib"):
        checkpoint.read_tensors(path)
