"""Trained weights, read back: the file's checksum is checked, and the test set gives the recorded count again."""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from evalib.networks import Network, build, experiment
from evalib.results import tables
from evalib.results.records import results
from evalib.training import checkpoints, data
from evalib.training.loop import choose_device, predict

PRETRAINED = Path(__file__).with_name("pretrained")
"""The weights that come with the package, each ``<experiment>-<16 digits of its SHA-256>.safetensors``."""


def packaged(name: str) -> Path | None:
    """The weights of an experiment that come with the package; ``None`` if none do, ``ValueError`` if it is none."""
    found = sorted(PRETRAINED.glob(f"{experiment(name).name}-{'[0-9a-f]' * 16}.safetensors"))
    return found[0] if found else None


def load_pretrained(name: str) -> Network:
    """The trained network of an experiment that comes with the package, in evaluation mode on the CPU.

    It is that of seed 0 after its last epoch. ``FileNotFoundError`` if the package has no weights of it.
    """
    if (path := packaged(name)) is None:
        there = sorted(path.name[: -len("-0123456789abcdef.safetensors")] for path in PRETRAINED.glob("*.safetensors"))
        raise FileNotFoundError(
            f"no weights of {name} come with evalib (there are: {', '.join(there) or 'none'}): "
            f"train it, with evalib.run(evalib.Settings({name!r}, tier='quick'))"
        )
    return load_weights(path)


def find_weights(name_or_path: str | Path, out: Path | None = None) -> Path:
    """The weights file at a path, or that of an experiment: of its first recorded seed at its highest tier.

    Where a run left none, the weights that come with the package. ``ValueError`` if it is neither a path nor an
    experiment, ``FileNotFoundError`` if there is no file.
    """
    path = Path(name_or_path)
    if path.suffix != ".safetensors":
        name = str(name_or_path)
        tier, records = tables.highest(experiment(name), out)
        if records:
            path = (
                Path(out or results())
                / tier
                / f"{name}-seed{records[0]['seed']}"
                / records[0].get("weights", "weights")
            )
        if not (records and path.exists()):
            path = packaged(name) or path
        if path == Path(name):
            raise FileNotFoundError(f"no run of {name} is recorded in {out or results()}: train it first")
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there: train the run again, or name another file")
    return path


def load_weights(name_or_path: str | Path, out: Path | None = None) -> Network:
    """The trained network of a weights file, or of an experiment, in evaluation mode on the CPU.

    Nothing is unpickled. ``ValueError`` if the bytes do not have the SHA-256 that the file's name gives.
    """
    tensors, record = checkpoints.read_tensors(find_weights(name_or_path, out))
    network = build(record["experiment"])
    network.load_state_dict(tensors)
    network.image_size = (32, 32)  # type: ignore[assignment]  # what it was trained on: predict refuses others
    return network.to(memory_format=torch.channels_last).eval()


def evaluate(
    name_or_path: str | Path, out: Path | None = None, device: str | None = None
) -> tuple[Float[Tensor, "n 10"], dict]:
    """The scores of trained weights for the test images they were recorded with, and that record."""
    path, chosen = find_weights(name_or_path, out), choose_device(device)
    _, record = checkpoints.read_tensors(path)
    cifar = data.load(record["data"]["source"])
    return predict(load_weights(path).to(chosen), cifar.test_images.to(chosen)).cpu(), record
