"""What `make bench` measures on a GPU, in small on a CPU, and how it judges the targets."""

import importlib
from pathlib import Path

import pytest
import torch

from evalib.experiments import TABLE_1

CPU = torch.device("cpu")
NAMES = [row.name for row in TABLE_1]


@pytest.fixture
def rows(monkeypatch):
    torch.set_default_dtype(torch.float32)
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "benchmarks")
    return importlib.import_module("rows")


@pytest.fixture
def amounts(rows):
    return rows.Amounts(images=300, validation=20, steps=2, epochs=1, seeds=2)


def test_a_row_is_measured_and_ends_beside_another_where_it_ends_alone(rows, amounts):
    found, left_out = rows.measure(CPU, 60.0, amounts, NAMES[:1])
    measured = found[NAMES[0]]["eager"]
    assert left_out == [] and measured.pop("largest_difference") == 0.0
    assert len(measured) == 6 and all(value > 0 for value in measured.values())


def test_what_the_budget_leaves_out_is_named_and_not_judged(rows, amounts):
    found, left_out = rows.measure(CPU, -1.0, amounts, NAMES)
    assert left_out == [f"{name}, eager" for name in NAMES]
    assert {target["met"] for target in rows.judge(found)} == {None}


def test_a_row_that_fails_stops_no_other(rows, amounts, monkeypatch):
    def row(name, *rest):
        if name == NAMES[0]:
            raise RuntimeError("out of memory")
        return {"step_seconds": 1.0}

    monkeypatch.setattr(rows, "whole_row", row)
    found, left_out = rows.measure(CPU, 60.0, amounts, NAMES[:2])
    assert found[NAMES[0]]["eager"] == {"failed": "RuntimeError: out of memory"} and left_out == []
    assert found[NAMES[1]]["eager"] == {"step_seconds": 1.0}


def test_targets_are_ratios_to_the_resnet_of_their_size_and_seconds(rows):
    steps = dict(zip(NAMES, (1.0, 1.2, 1.4, 2.0, 2.7, 2.5), strict=True))
    found = {
        name: {
            "eager": {"step_seconds": 2.0},
            "compiled": {
                "step_seconds": steps[name],
                "made_seconds": 5.0,
                "epoch_seconds": 0.4 if name == "sanet20-small" else 0.2,
            },
        }
        for name in NAMES
    }
    sanet, evanet, sanet_large, evanet_large, small, large, *side_by_side, whole = rows.judge(found)
    assert [each["value"] for each in (sanet, evanet, sanet_large, evanet_large)] == [1.2, 1.4, 1.35, 1.25]
    assert [each["met"] for each in (sanet, evanet, sanet_large, evanet_large)] == [True, False, False, True]
    assert (small["value"], small["met"], large["value"], large["met"]) == (0.4, False, 0.2, True)
    assert [each["value"] for each in side_by_side] == [None, None]
    assert whole["value"] == pytest.approx(6 * 5 + 150 * (5 * 0.2 + 0.4)) and whole["met"] is True
    del found["evanet20-large"]["compiled"]
    assert [(each["how"], each["value"]) for each in rows.judge(found)[2:4]] == [("compiled", 1.35), ("eager", 1.0)]


@pytest.mark.parametrize("script", ["training", "attention"])
@pytest.mark.parametrize("repeats", ["0", "-1", "two"])
def test_a_number_of_repeats_that_is_none_is_named_before_anything_is_measured(
    rows, monkeypatch, capsys, script, repeats
):
    module = importlib.import_module(script)
    monkeypatch.setattr(module, "choose_device", lambda name: pytest.fail("it begins"))
    monkeypatch.setattr("sys.argv", [script, f"--repeats={repeats}"])
    with pytest.raises(SystemExit):
        module.main()
    assert f"{repeats} must be a whole number, 1 or more" in capsys.readouterr().err


def test_a_network_that_is_none_is_named_before_a_record_is_written_over(rows, monkeypatch, capsys):
    training = importlib.import_module("training")
    monkeypatch.setattr(training, "choose_device", lambda name: pytest.fail("it begins"))
    monkeypatch.setattr("sys.argv", ["training", "--networks", "resnet20-smal"])
    with pytest.raises(SystemExit):
        training.main()
    assert "invalid choice: 'resnet20-smal'" in capsys.readouterr().err
