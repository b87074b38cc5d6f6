"""One GPU a job: processes are handed different ones, a killed one gives its own back. None is
needed.
"""

import os
import signal
import subprocess
import sys

import pytest

from evalib.batch import notebook

HOLD = (
    "import os\n"
    "from evalib.batch.notebook import one_gpu\n"
    "with one_gpu():\n"
    "    print('holds', os.environ['CUDA_VISIBLE_DEVICES'], flush=True)\n"
    "    input()\n"
)


@pytest.fixture
def hold(tmp_path):
    """Start a process that takes one of the visible GPUs and keeps it."""
    started = []

    def start(visible, **environment):
        environment |= {"CUDA_VISIBLE_DEVICES": visible, "TMPDIR": str(tmp_path)}
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def said(process):
    """The next line of a process that is not about how many GPUs there are."""
    while True:
        line = process.stdout.readline().strip()
        if not line.startswith("GPU "):
            return line


def test_jobs_hold_different_gpus_and_one_that_ends_or_is_killed_frees_its_own(hold):
    jobs = [hold("4,7"), hold("4,7")]
    held = [said(job) for job in jobs]
    assert sorted(held) == ["holds 4", "holds 7"]
    third = hold("4,7")
    assert said(third) == "other jobs hold every GPU (4, 7): waiting for one"
    jobs[1].send_signal(signal.SIGKILL)
    assert said(third) == held[1]
    jobs[0].communicate("\n")
    assert said(hold("4,7")) == held[0]


def test_two_slurm_jobs_may_both_call_their_gpu_0(hold):
    jobs = [hold("0", SLURM_JOB_ID=job) for job in ("1", "2")]
    assert [said(job) for job in jobs] == ["holds 0", "holds 0"]


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        ("2", ["2"]),
        ("1, 3", ["1", "3"]),
        ("GPU-1a,GPU-2b", ["GPU-1a", "GPU-2b"]),
        ("1,-1,2", ["1"]),
        ("", []),
    ],
)
def test_what_is_visible_already_restricts_the_choice(monkeypatch, tmp_path, visible, names):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert notebook.visible_gpus() == names
    with notebook.one_gpu():
        assert os.environ["CUDA_VISIBLE_DEVICES"] == (names[0] if names else visible)


def test_nothing_is_set_where_there_is_no_gpu(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with notebook.one_gpu():
        assert "CUDA_VISIBLE_DEVICES" not in os.environ
