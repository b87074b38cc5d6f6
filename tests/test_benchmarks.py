"""What `make bench` measures on a GPU, in small on a CPU, and how it judges the targets."""

import importlib
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from evalib.experiments import TABLE_1
from evalib.training.settings import Settings
from evalib.training.step import adam

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


def test_a_row_is_measured_and_ends_beside_another_where_it_ends_alone(rows, amounts, tiny):
    found, left_out = rows.measure(CPU, 60.0, amounts, ["tiny"])
    measured = found["tiny"]["eager"]
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


def test_runs_side_by_side_take_turns_and_each_is_validated_and_saved(rows, tmp_path, monkeypatch):
    order = []

    def epoch(step, network, images, settings, epoch):
        for step in range(2):
            order.append((settings.seed, step))
            yield
        return torch.zeros(1), None

    monkeypatch.setattr(rows, "evaluate", lambda *_: order.append("validation") or torch.zeros(1))
    monkeypatch.setattr(rows, "epoch_steps", epoch)
    networks = [nn.Linear(1, 1) for _ in range(2)]
    runs = [
        rows.Run(Settings(NAMES[0], seed), each, adam(each, 0.1), None, None)
        for seed, each in enumerate(networks)
    ]
    images = rows.Images(*torch.zeros(3, 1))
    rows.in_turn(partial(rows.take_epochs, images, 1, tmp_path), runs)
    assert order == [(0, 0), (1, 0), (0, 1), (1, 1), "validation", "validation"]
    assert len(list(tmp_path.glob("*/epoch-0001-*"))) == 2


def test_weights_that_are_no_numbers_are_not_a_difference_of_zero(rows):
    ones = [torch.zeros(2), torch.tensor([1.0, torch.nan]), torch.tensor(3)]
    with pytest.raises(ArithmeticError, match="differ by nan"):
        rows.largest_difference(ones, ones)
    assert rows.largest_difference(ones[::2], [torch.tensor([0.0, 0.5]), torch.tensor(1)]) == 2


def test_of_two_layouts_the_faster_counts_and_one_that_fails_stops_nothing(rows):
    attention = importlib.import_module("attention")

    def fails(x):
        raise NotImplementedError

    x = torch.ones(1, requires_grad=True)
    forms = {"peer NCHW": fails, "peer NHWC": torch.exp, "fast": fails, "literal": torch.exp}
    variants = {name: attention.Variant(form, x) for name, form in forms.items()}
    measured = attention.measure(variants, CPU, 1, 1.0)
    assert measured.keys() == {"peer", "fast", "literal"}
    assert measured["fast"] == {"failed": "NotImplementedError: "}
    assert measured["peer"]["seconds"] > 0
    attention.show("a case", measured)
    (target,) = attention.judge({"a case": measured}, (("a case", "seconds", "literal", 1.0),))
    assert target["ratio"] is None and target["met"] is None


def test_targets_are_ratios_to_the_resnet_of_their_size_and_seconds(rows):
    steps = dict(zip(NAMES, (1.0, 1.2, 1.4, 2.0, 2.7, 2.5), strict=True))
    epochs = {name: 0.4 if name == "sanet20-small" else 0.2 for name in NAMES}
    found = {name: {"eager": {"step_seconds": 2.0}} for name in NAMES}
    for name in NAMES:
        seconds = {"made_seconds": 5.0, "epoch_seconds": epochs[name]}
        found[name]["compiled"] = seconds | {"step_seconds": steps[name]}
    *six, one, other, whole = rows.judge(found)
    assert [each["value"] for each in six] == [1.2, 1.4, 1.35, 1.25, 0.4, 0.2]
    assert [each["met"] for each in six] == [True, False, False, True, False, True]
    assert one["value"] is None and other["value"] is None  # side by side
    assert whole["value"] == pytest.approx(6 * 5 + 150 * (5 * 0.2 + 0.4)) and whole["met"] is True
    del found[NAMES[5]]["compiled"]
    ratios = [(each["how"], each["value"]) for each in rows.judge(found)[2:4]]
    assert ratios == [("compiled", 1.35), ("eager", 1.0)]


def test_a_network_that_is_none_is_named_before_a_record_is_written_over(rows, monkeypatch, capsys):
    training = importlib.import_module("training")
    monkeypatch.setattr(training, "choose_device", lambda name: pytest.fail("it begins"))
    monkeypatch.setattr("sys.argv", ["training", "--networks", "resnet20-smal"])
    with pytest.raises(SystemExit):
        training.main()
    assert "there is no experiment 'resnet20-smal'" in capsys.readouterr().err
