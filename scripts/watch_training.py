"""What EVA looks at while it learns: the attention on ten bundled test pictures through a run.

python scripts/watch_training.py EXPERIMENT [--tier quick] [--seed 0] [--epochs 15]
    [--precision bf16] [--out FILE] [--directory DIR]

The run is an ordinary one (``evalib.training``). Before its first step and after each of a dozen
epochs the ten pictures go through the network; what its looks and recalls weighed is kept beside
the curve, in whole numbers. Page one shows it under its second slider. A run that ends takes the
place of one of the same experiment in the file; the two that the page shows have to be alike in all
but the variant. With ``--directory`` its checkpoints and what was
seen so far lie there, and the same call goes on from them.
"""

import argparse
import json
from pathlib import Path

import torch

from evalib.experiments import build, experiment
from evalib.networks import Network
from evalib.pages.machine import PICTURES, WATCHED, seen
from evalib.results.records import checksum, results
from evalib.training import checkpoint, data
from evalib.training.checkpoint import write_atomically
from evalib.training.cifar import load_data
from evalib.training.environment import commit, device_name, versions
from evalib.training.settings import PRECISIONS, TIERS, Settings
from evalib.training.train import accuracy, begin, train

FRAMES = 12


def kept(epochs: int) -> set[int]:
    """The epochs after which the pictures are looked at: closer together at the beginning."""
    if epochs <= FRAMES + 4:
        return set(range(epochs + 1))
    return {0} | {round(epochs ** (k / (FRAMES - 1))) for k in range(FRAMES)}


def watch(settings: Settings, directory: Path | None = None) -> dict:
    """Train by ``settings``, and look on; ``directory`` keeps checkpoints and what was seen."""
    pictures, chosen = load_data("subset").test_images[list(PICTURES)], kept(settings.epochs)
    torch.manual_seed(settings.seed)
    network = build(settings.experiment)  # as the run itself would draw it
    frames = [{"epoch": 0, "pictures": seen(network, pictures)}]
    so_far = None if directory is None else directory / "seen.json"
    if so_far is not None and so_far.exists():
        frames = json.loads(so_far.read_text("utf-8"))

    def observe(entry: dict, of: Network = network) -> None:
        told = ("epoch", "learning_rate", "train_loss", "validation_accuracy")
        frames.append({name: entry[name] for name in told} | {"pictures": seen(of, pictures)})
        if so_far is not None:
            write_atomically(so_far, json.dumps(frames).encode())

    newest = None if directory is None else checkpoint.newest(directory)
    if newest is not None and newest[1]["curve"][-1]["epoch"] > frames[-1]["epoch"]:
        tensors, saved = newest  # stopped after the checkpoint, before its pictures were seen
        reached = build(settings.experiment)
        _, optimiser = begin(settings, torch.device("cpu"), network=reached)
        checkpoint.restore(tensors, reached, optimiser)
        observe(saved["curve"][-1], reached)

    run = train(settings, directory=directory, observe=observe, network=network)
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
        "curve": [entry["validation_accuracy"] for entry in run.curve],
        "watched": [each for each in frames if each["epoch"] in chosen],
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
    parser.add_argument("--directory", type=Path)
    asked = parser.parse_args()
    settings = Settings(
        experiment=asked.experiment,
        seed=asked.seed,
        tier=asked.tier,
        epochs=asked.epochs,
        precision=asked.precision,
    )
    run = watch(settings, asked.directory)
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
