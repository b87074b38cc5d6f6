"""The computation is the one that the records were made by: the first two losses of every row.

A refactoring keeps these numbers. Where one is meant to change, raise the version of the
computation (``evalib/training/settings.py``), so that records made before are not read as made by
it, and write the new numbers: ``python tests/test_computation.py``.
"""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import evalib
from evalib import experiments
from evalib.experiments import experiment
from evalib.training import data
from evalib.training.cifar import load_data
from evalib.training.step import OPTIMISERS, eager_step

LOSSES = Path(__file__).with_name("losses.json")
ROWS = list(experiments.ROWS)
BATCH = 4


def losses(name: str) -> list[float]:
    """The loss of two eager steps in float64 of seed 0, on forty images, weights drawn in float32."""
    cifar, recipe = load_data("subset"), experiment(name).recipe
    torch.set_default_dtype(torch.float32)
    torch.manual_seed(0)
    network = evalib.build(name).double().train()
    network.register_forward_pre_hook(lambda _, inputs: (inputs[0].double(),))
    for part in network.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0  # which entries torch drops depends on the processor
    optimiser = OPTIMISERS[recipe.optimiser](network, recipe.learning_rate, recipe.weight_decay)
    padded, labels = data.pad(cifar.train_images[::25]), cifar.train_labels[::25]
    step = eager_step(network, optimiser, padded, labels)
    batches = zip(
        *(part.split(BATCH) for part in data.epoch_plan(len(labels), seed=0, epoch=0)), strict=True
    )
    return [step(data.Plan(*batch))[0].item() for batch, _ in zip(batches, range(2), strict=False)]


def same(name: str, pinned: list[float] | None) -> bool:
    """Whether an experiment has its pinned losses, but for another order of the same sums."""
    return pinned is not None and losses(name) == pytest.approx(pinned, rel=1e-9)


@pytest.mark.parametrize("name", ROWS)
def test_first_two_losses_are_those_of_the_records(name):
    pinned = json.loads(LOSSES.read_text())
    assert name in pinned, f"{name} is new: python tests/test_computation.py writes its losses"
    assert same(name, pinned[name]), (
        f"{name} computes something else than its records did: raise the version of the "
        "computation in evalib/training/settings.py, then python tests/test_computation.py"
    )


def test_every_pinned_experiment_is_there():
    assert set(json.loads(LOSSES.read_text())) == set(ROWS)


if __name__ == "__main__":
    before = json.loads(LOSSES.read_text())
    after = {name: before[name] if same(name, before.get(name)) else losses(name) for name in ROWS}
    LOSSES.write_text(json.dumps(after, indent=1) + "\n")
