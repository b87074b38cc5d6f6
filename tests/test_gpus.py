"""One GPU a job: processes are handed different ones, a killed one gives its own back. None is
needed.
"""

import builtins
import multiprocessing
import os

import pytest

from evalib.batch import notebook


def hold_gpu(pipe, visible, environment):
    """Take one of the visible GPUs, say what is printed, and keep it until there is an answer."""
    os.environ |= {"CUDA_VISIBLE_DEVICES": visible} | environment
    builtins.print = lambda line, **_: line.startswith("GPU ") or pipe.send(line)
    with notebook.one_gpu():
        pipe.send(f"holds {os.environ['CUDA_VISIBLE_DEVICES']}")
        pipe.recv()


@pytest.fixture
def hold(tmp_path):
    """Start a process that holds a GPU."""
    context = multiprocessing.get_context("fork")  # which need not import the package
    started = []

    def start(visible, **environment):
        here, there = context.Pipe()
        given = there, visible, environment | {"TMPDIR": str(tmp_path)}
        started.append(context.Process(target=hold_gpu, args=given))
        started[-1].start()
        return started[-1], here

    yield start
    for process in started:
        process.kill()
        process.join()


def heard(pipe):
    """What a process says; a failure if it says nothing for a minute."""
    assert pipe.poll(60)
    return pipe.recv()


@pytest.mark.filterwarnings("ignore:This process")  # has threads, and forks
def test_jobs_hold_different_gpus_and_one_that_ends_or_is_killed_frees_its_own(hold):
    (one, first), (other, second) = hold("4,7"), hold("4,7")
    held = [heard(first), heard(second)]
    assert sorted(held) == ["holds 4", "holds 7"]
    _, third = hold("4,7")
    assert heard(third) == "other jobs hold every GPU (4, 7): waiting for one"
    other.kill()
    assert heard(third) == held[1]
    first.send("end")
    one.join()
    assert heard(hold("4,7")[1]) == held[0]


@pytest.mark.filterwarnings("ignore:This process")
def test_two_slurm_jobs_may_both_call_their_gpu_0(hold):
    jobs = [hold("0", SLURM_JOB_ID=job) for job in ("1", "2")]
    assert [heard(pipe) for _, pipe in jobs] == ["holds 0", "holds 0"]


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
