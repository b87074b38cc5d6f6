"""What EVA looks at while it learns: the attention on ten bundled test pictures through a run.

python scripts/watch_training.py EXPERIMENT [--tier quick] [--seed 0] [--epochs 15] [--out FILE]

The run is an ordinary one (``evalib.training``). Before its first step and after each of a dozen
epochs the ten pictures go through the network; what its looks and recalls weighed is kept beside
the curve, in whole numbers. Page one shows it under its second slider. A run that ends takes the
place of one of the same experiment in the file.
"""

import argparse
import json
from pathlib import Path

import torch

from evalib.experiments import build, experiment
from evalib.pages.machine import PICTURES, WATCHED, seen
from evalib.results.records import checksum, results
from evalib.training import data
from evalib.training.checkpoint import write_atomically
from evalib.training.cifar import load_data
from evalib.training.environment import commit, device_name, versions
from evalib.training.settings import PRECISIONS, TIERS, Settings
from evalib.training.train import accuracy, train

FRAMES = 12


def kept(epochs: int) -> set[int]:
    """The epochs after which the pictures are looked at: closer together at the beginning."""
    if epochs <= FRAMES + 4:
        return set(range(epochs + 1))
    return {0} | {round(epochs ** (k / (FRAMES - 1))) for k in range(FRAMES)}


def watch(settings: Settings) -> dict:
    """Train by ``settings``, and look on."""
    pictures, chosen = load_data("subset").test_images[list(PICTURES)], kept(settings.epochs)
    torch.manual_seed(settings.seed)
    network = build(settings.experiment)  # as the run itself would draw it
    frames = [{"epoch": 0, "pictures": seen(network, pictures)}]

    def observe(entry: dict) -> None:
        if entry["epoch"] in chosen:
            told = ("epoch", "learning_rate", "train_loss", "validation_accuracy")
            frames.append(
                {name: entry[name] for name in told} | {"pictures": seen(network, pictures)}
            )

    run = train(settings, observe=observe, network=network)
    return {
        "experiment": experiment(settings.experiment).name,
        "tier": settings.tier,
        "seed": settings.seed,
        "epochs": settings.epochs,
        "images": len(data.split(len(run.cifar.train_labels))[0]),
        "learning_rate": settings.learning_rate,
        "batch_size": settings.batch_size,
        "precision": run.sittings[-1]["precision"],
        "test_accuracy": accuracy(run.test_scores, run.cifar.test_labels),
        "commit": commit(),
        "device": device_name(run.device),
        "versions": versions(),
        "data": run.cifar.fingerprint,
        "pictures": list(PICTURES),
        "watched": frames,
    }


def main() -> None:
    """Train, look on and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiment")
    parser.add_argument("--tier", choices=TIERS, default="quick")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--precision", choices=PRECISIONS)
    parser.add_argument("--out", type=Path, default=results() / WATCHED)
    asked = parser.parse_args()
    settings = Settings(
        experiment=asked.experiment,
        seed=asked.seed,
        tier=asked.tier,
        epochs=asked.epochs,
        precision=asked.precision,
    )
    run = watch(settings)
    runs = json.loads(asked.out.read_text("utf-8"))["runs"] if asked.out.exists() else []
    runs = [each for each in runs if each["experiment"] != run["experiment"]] + [run]
    runs.sort(key=lambda each: each["experiment"], reverse=True)  # scaled, then the letter
    found = {"runs": runs}
    content = json.dumps(found | {"sha256": checksum(found)}, separators=(",", ":"))
    write_atomically(asked.out, f"{content}\n".encode())
    print(
        f"{run['experiment']}: {run['test_accuracy']:.2f} % of the test images right, in"
        f" {asked.out}"
    )


if __name__ == "__main__":
    main()
