"""Programs written for version 0.1 go on: its module names import what stands elsewhere now, and say where."""

import importlib
import subprocess
import sys

import pytest
import torch

import evalib
from evalib import training
from evalib.moved import MOVED
from evalib.training import loop


@pytest.mark.parametrize("old", MOVED)
def test_an_old_name_is_the_module_itself(old, monkeypatch):
    monkeypatch.delitem(sys.modules, old, raising=False)
    monkeypatch.delitem(vars(evalib), old.removeprefix("evalib."), raising=False)
    with pytest.warns(DeprecationWarning, match=f"{MOVED[old]} since"):
        assert importlib.import_module(old) is importlib.import_module(MOVED[old])


def test_the_training_room_has_what_the_module_had():
    assert training.predict is loop.predict and training.train is loop.train and training.accuracy is loop.accuracy
    with pytest.raises(AttributeError, match="accurate"):
        _ = training.accurate


def test_a_name_that_never_was_is_an_error():
    done = subprocess.run([sys.executable, "-c", "import evalib.datas"], capture_output=True, text=True)
    assert "No module named 'evalib.datas'" in done.stderr


@pytest.mark.parametrize("name", ["evanet20-small", "sanet20-small"])
def test_trace_true_gives_what_the_tracer_gives(name):
    network, x = evalib.build(name).eval(), torch.randn(2, 3, 32, 32)
    if name == "evanet20-small":
        with pytest.warns(DeprecationWarning, match="evalib.trace since"):
            scores, trace = network(x, trace=True)
        want, again = evalib.trace(network, x)
        assert torch.equal(scores, want) and torch.equal(trace.look_weights[3], again.look_weights[3])
        return
    layer, x = network.stages[-1].mix2, torch.randn(2, 64, 8, 8)
    with pytest.warns(DeprecationWarning, match="evalib.trace_windows since"):
        y, weights = layer(x, trace=True)
    assert weights.shape == (2, 4, 8, 8, 3, 3) and torch.equal(y, evalib.trace_windows(layer, x)[0])
    torch.testing.assert_close(y, layer(x), rtol=1e-4, atol=1e-5)
