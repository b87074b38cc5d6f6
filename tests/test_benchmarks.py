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


def met(rows, found):
    return {(target["what"], target["how"]): target["met"] for target in rows.judge(found)}


def test_a_row_is_measured_and_ends_beside_another_where_it_ends_alone(rows, amounts):
    found, left_out = rows.measure(CPU, 60.0, amounts, NAMES[:1])
    measured = found[NAMES[0]]["eager"]
    assert left_out == [] and measured.pop("largest_difference") == 0.0
    assert len(measured) == 6 and all(value > 0 for value in measured.values())


def test_what_the_budget_leaves_out_is_named_and_not_judged(rows, amounts):
    found, left_out = rows.measure(CPU, -1.0, amounts, NAMES)
    assert left_out == [f"{name}, eager" for name in NAMES]
    assert set(met(rows, found).values()) == {None}


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
    epochs = {name: 0.2 if "small" in name else 0.4 for name in NAMES}
    found = {
        name: {"compiled": {"step_seconds": steps[name], "epoch_seconds": epochs[name], "made_seconds": 5.0}}
        for name in NAMES
    }
    verdicts = met(rows, found)
    for size, kinds in {
        "small": {"sanet20": True, "evanet20": False},
        "large": {"sanet20": False, "evanet20": True},
    }.items():
        for kind, expected in kinds.items():
            assert verdicts[f"step, {kind}-{size} / resnet20-{size}", "compiled"] is expected
            assert verdicts[f"step, {kind}-{size} / resnet20-{size}", "eager"] is None
        assert verdicts[f"epoch, resnet20-{size}", "compiled"] is True
        assert verdicts[f"epoch and run side by side, resnet20-{size}", "compiled"] is None
    assert rows.judge(found)[-1]["value"] == pytest.approx(6 * 5 + 150 * 3 * (0.2 + 0.4))
