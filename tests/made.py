"""Records of runs that were not made, for what reads records."""

import json

import evalib
from evalib import experiments
from evalib.results import records
from evalib.training.settings import COMPUTATION


def made(
    out,
    experiment="resnet20-small",
    seed=0,
    tier="smoke",
    correct=100,
    device="a machine",
    epochs=None,
    validation=10.0,
    **changes,
):
    """Write the record of a run that was not made, and return its path."""
    settings = evalib.Settings(experiment, seed, tier, epochs)
    experiment = settings.experiment
    source = evalib.TIERS[tier].data
    images = 500 if source == "subset" else 10_000
    seconds = changes.get("seconds", 60.0)
    each = seconds / settings.epochs if isinstance(seconds, float) else 1.0
    flat = {
        "learning_rate": 0.001,
        "train_loss": 2.3,
        "train_accuracy": 10.0,
        "validation_loss": 2.3,
        "seconds": each,
    }
    if experiments.experiment(experiment).test_each_epoch:
        flat["test_accuracy"] = 10.0
    record = {
        "schema": 3, "experiment": experiment, "tier": tier, "seed": seed, "settings": settings.model_dump(),
        "commit": None, "computation": COMPUTATION, "finished": "2026-01-01T00:00:00+00:00",
        "device": device, "versions": {"torch": "2.14.1"},
        "data": {"source": source, "sha256": records.FINGERPRINTS[source]}, "parameters": 1000,
        "curve": [{"epoch": epoch + 1, **flat, "validation_accuracy": validation} for epoch in range(settings.epochs)],
        "validation_accuracy": validation, "seconds": 60.0, "weights": "weights-0.safetensors",
        "test": {"accuracy": 100 * correct / images, "loss": 2.0, "correct": correct, "images": images},
    }  # fmt: skip
    return records.write(record | changes, records.record_path(settings, out))


def fell(epochs):
    """The curve of a run that collapsed after its first epoch."""
    flat = {"validation_accuracy": 10.0, "seconds": 1.0}
    first = flat | {"epoch": 1, "validation_accuracy": 80.0}
    return [first, *(flat | {"epoch": n} for n in range(2, epochs + 1))]


def changed(path, **changes):
    """The record at ``path`` with changes that its checksum does not know of."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
