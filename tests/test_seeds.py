"""Several seeds of a row in one process: each is the run that it is alone, and a fault stops one
only.
"""

import jupytext
import pytest
import torch
from made import made

import evalib
from evalib.__main__ import main
from evalib.batch import notebook
from evalib.results import records
from evalib.results.run import run, run_in_turn
from evalib.training import checkpoint, environment, train

SETTINGS = [evalib.Settings("resnet20-small", seed, epochs=1) for seed in (0, 1, 2)]
pytestmark = pytest.mark.usefixtures("float32", "few")


@pytest.fixture
def seed_1_diverges(monkeypatch):
    begin = train.begin

    def broken(settings, *arguments):
        network, optimiser = begin(settings, *arguments)
        if settings.seed == 1:
            torch.nn.init.constant_(network.classifier.bias, torch.nan)
        return network, optimiser

    monkeypatch.setattr(train, "begin", broken)


def outcome(path):
    """What a record and its weights say, without what the clock and the files' names do."""
    record = records.read(path)
    curve = [
        {name: value for name, value in row.items() if name != "seconds"} for row in record["curve"]
    ]
    return (
        curve,
        record["test"],
        checkpoint.read_tensors(path.with_suffix("") / record["weights"])[0],
    )


def test_each_seed_is_bitwise_what_it_is_alone(tmp_path):
    ends = run_in_turn(SETTINGS[:2], tmp_path / "together", "cpu")
    assert [each.settings for each in ends] == SETTINGS[:2]
    for settings in SETTINGS[:2]:
        # on a CPU one followed the other
        assert records.read(records.record_path(settings, tmp_path / "together"))["shared"] == 1
        run(settings, tmp_path / "alone", "cpu")
        together, alone = (
            outcome(records.record_path(settings, tmp_path / name))
            for name in ("together", "alone")
        )
        assert together[:2] == alone[:2]
        assert together[2].keys() == alone[2].keys()
        assert all(torch.equal(together[2][name], alone[2][name]) for name in alone[2])


def test_a_run_that_is_recorded_already_shares_no_gpu(tmp_path, monkeypatch):
    made(tmp_path, seed=0, epochs=1)
    told = []

    def steps(*_, shared, **__):
        told.append(shared)
        yield from ()

    monkeypatch.setattr("evalib.results.run.choose_device", lambda _: torch.device("cuda"))
    monkeypatch.setattr("evalib.results.run.run_steps", steps)
    monkeypatch.setattr(torch.cuda, "Stream", lambda _: None)
    for given, shared in ({}, 2), ({"overwrite": True}, 3):
        told.clear()
        run_in_turn(SETTINGS, tmp_path, **given)
        assert told == [shared] * 3


def test_an_interrupt_lets_go_of_the_run_and_its_last_checkpoint_stays(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("evalib.results.run.make_record", stop)
    with pytest.raises(KeyboardInterrupt) as held:
        run_in_turn(SETTINGS[:2], tmp_path, "cpu")
    folder = records.record_path(SETTINGS[0], tmp_path).with_suffix("")
    assert held
    with environment.lock(folder / ".lock"):
        pass
    assert [checkpoint.epochs_of(path) for path in checkpoint.found(folder)] == [1]


def test_a_loss_that_is_not_finite_stops_its_seed_alone(tmp_path, capsys, seed_1_diverges):
    command = "train --experiment resnet20-small --epochs 1 --device cpu --seeds 0 1 2 --out"
    assert main([*command.split(), str(tmp_path)]) == 1
    shown = capsys.readouterr()
    there = [records.record_path(each, tmp_path).exists() for each in SETTINGS]
    assert there == [True, False, True]
    assert shown.err.count("\n") == 1
    assert "resnet20-small seed 1: the train loss is nan in epoch 1" in shown.err
    assert shown.out.count("test accuracy") == 2


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_the_notebook_shows_the_other_seeds_and_then_names_the_one_that_stopped(
    tmp_path, monkeypatch, seed_1_diverges
):
    template = notebook.in_checkout(notebook.TEMPLATE).with_suffix(".py")
    script = jupytext.read(template, fmt="py:percent")
    cells = [cell.source for cell in script.cells if cell.cell_type == "code"]
    given = f"seeds, epochs, out = [0, 1], 1, {str(tmp_path)!r}\nexperiment = 'resnet20-small'"
    parameters = next(
        number for number, source in enumerate(cells) if source.startswith("experiment =")
    )
    shown, names = [], {}
    monkeypatch.setattr("IPython.display.display", shown.append)
    with pytest.raises(RuntimeError, match="seed 1: the train loss is nan"):
        for source in [*cells[: parameters + 1], given, *cells[parameters + 1 :]]:
            exec(source, names)
    texts = [each.data for each in shown if hasattr(each, "data") and each.data]
    assert any(text.startswith("ResNet-20 small, seed 0: **") for text in texts)
    assert any(text.startswith("Seed 1 **stopped**: the train loss is nan") for text in texts)
    assert len(names["curves"]) == 1
