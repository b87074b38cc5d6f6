"""Trained weights, read back: the file's checksum is checked, and the test set gives the recorded count again."""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from evalib import checkpoints, data, tables
from evalib.networks import Network, build, experiment
from evalib.records import results
from evalib.training import choose_device, predict


def find_weights(name_or_path: str | Path, out: Path | None = None) -> Path:
    """The weights file at a path, or that of the first recorded seed of a row of Table 1 at its highest tier.

    ``ValueError`` if it is neither, ``FileNotFoundError`` if the file is not there.
    """
    path = Path(name_or_path)
    if path.suffix != ".safetensors":
        tier, records = tables.highest(experiment(str(name_or_path)), out)
        if not records:
            raise FileNotFoundError(f"no run of {name_or_path} is recorded in {out or results()}: train it first")
        run = f"{name_or_path}-seed{records[0]['seed']}"
        path = Path(out or results()) / tier / run / records[0]["weights"]
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there: train the run again, or name another file")
    return path


def load_weights(name_or_path: str | Path, out: Path | None = None) -> Network:
    """The trained network of a weights file, or of a row of Table 1, in evaluation mode on the CPU.

    Nothing is unpickled. ``ValueError`` if the bytes do not have the SHA-256 that the file's name gives.
    """
    tensors, record = checkpoints.read_tensors(find_weights(name_or_path, out))
    network = build(record["experiment"])
    network.load_state_dict(tensors)
    return network.to(memory_format=torch.channels_last).eval()


def evaluate(
    name_or_path: str | Path, out: Path | None = None, device: str | None = None
) -> tuple[Float[Tensor, "n 10"], dict]:
    """The scores of trained weights for the test images they were recorded with, and that record."""
    path, chosen = find_weights(name_or_path, out), choose_device(device)
    _, record = checkpoints.read_tensors(path)
    cifar = data.load(record["data"]["source"])
    return predict(load_weights(path).to(chosen), cifar.test_images.to(chosen)).cpu(), record
