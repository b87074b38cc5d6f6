"""One GPU a job: real processes are handed different ones; a killed one gives its own back. No GPU is needed."""

import os
import signal
import subprocess
import sys

import nbformat
import pytest

from evalib.batch import gpus, notebook, reproduce

HOLD = (
    "from evalib.batch.gpus import one_gpu\nwith one_gpu() as name:\n    print('holds', name, flush=True)\n    input()"
)


@pytest.fixture
def hold(tmp_path):
    """Start a process that takes one of the visible GPUs and keeps it."""
    started = []

    def start(visible, **environment):
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": visible, "TMPDIR": str(tmp_path)} | environment
        command = [sys.executable, "-c", HOLD]
        started.append(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def said(process):
    """The next line of a process that is not about how many GPUs there are."""
    while (line := process.stdout.readline().strip()).startswith("GPU "):
        pass
    return line


def test_jobs_at_once_hold_different_gpus_and_a_killed_one_frees_its_own(hold):
    jobs = [hold("4,7"), hold("4,7")]
    held = [said(job) for job in jobs]
    assert sorted(held) == ["holds 4", "holds 7"]
    third = hold("4,7")
    assert said(third) == "other jobs hold every GPU (4, 7): waiting for one"
    jobs[1].send_signal(signal.SIGKILL)
    assert said(third) == held[1]


def test_what_ends_well_frees_its_gpu_too(hold):
    first = hold("3")
    assert said(first) == "holds 3"
    first.communicate("\n")
    assert said(hold("3")) == "holds 3"


def test_two_slurm_jobs_may_both_call_their_gpu_0(hold):
    assert [said(hold("0", SLURM_JOB_ID=job)) for job in ("1", "2")] == ["holds 0", "holds 0"]


@pytest.mark.parametrize(
    ("named", "names"),
    [("2", ["2"]), ("1, 3", ["1", "3"]), ("GPU-1a,GPU-2b", ["GPU-1a", "GPU-2b"]), ("1,-1,2", ["1"]), ("", [])],
)
def test_what_is_visible_already_restricts_the_choice(monkeypatch, tmp_path, named, names):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert gpus.visible() == names
    with gpus.one_gpu() as name:
        assert name == (names[0] if names else None)
        assert os.environ["CUDA_VISIBLE_DEVICES"] == (name or named)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == named


def test_as_many_jobs_run_at_once_as_there_are_gpus(monkeypatch):
    for named, jobs in (("2,3", 2), ("7", 1), ("", 1)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
        assert reproduce.local_gpus() == ["--resources", f"gpu={jobs}"]


def test_nothing_is_set_where_there_is_no_gpu(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with gpus.one_gpu() as name:
        assert name is None
        assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_the_kernel_of_a_run_sees_the_gpu_that_was_chosen(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,6")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    parameters = nbformat.v4.new_code_cell("experiment = None\nout = None", metadata={"tags": ["parameters"]})
    shows = nbformat.v4.new_code_cell("import os\nprint('sees', os.environ['CUDA_VISIBLE_DEVICES'])")
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=[parameters, shows], metadata=metadata), tmp_path / "page.ipynb")
    asked = {"experiment": "resnet20-small", "out": str(tmp_path / "results")}
    (path,) = notebook.run_notebook(asked, tmp_path / "page.ipynb")
    assert "sees 5\\n" in (path.with_suffix("") / "train.ipynb").read_text()
