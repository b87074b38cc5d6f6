"""Trained weights, read back: the file's checksum is checked, and the test set gives the recorded count again."""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from evalib.experiments import build, experiment
from evalib.networks import Network
from evalib.results.files import check_folder
from evalib.results.runs import highest
from evalib.training import checkpoint, cifar, train
from evalib.training.environment import choose_device

PRETRAINED = Path(__file__).with_name("pretrained")
"""The weights that come with the package, each ``<experiment>-<16 digits of its SHA-256>.safetensors``."""


def packaged(name: str) -> Path | None:
    """The weights of an experiment that come with the package; ``None`` if none do, ``ValueError`` if it is none."""
    found = sorted(PRETRAINED.glob(f"{experiment(name).name}-{'[0-9a-f]' * 16}.safetensors"))
    return found[0] if found else None


def load_pretrained(name: str, num_classes: int | None = None) -> Network:
    """The trained network of an experiment that comes with the package, in evaluation mode on the CPU.

    It is that of seed 0 after its last epoch. With ``num_classes`` its classifier is a fresh one for so many classes,
    drawn from torch's random state, and all else as trained. ``FileNotFoundError`` if the package has no weights of it.
    """
    if (path := packaged(name)) is None:
        there = sorted(path.name[: -len("-0123456789abcdef.safetensors")] for path in PRETRAINED.glob("*.safetensors"))
        raise FileNotFoundError(
            f"no weights of {name} come with evalib (there are: {', '.join(there) or 'none'}): "
            f"train it, with evalib.run(evalib.Settings({name!r}, tier='quick'))"
        )
    network = load_weights(path)
    if num_classes is not None:
        if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 1:
            raise ValueError(f"num_classes={num_classes!r} must be a whole number, 1 or more")
        network.classifier = nn.Linear(network.classifier.in_features, num_classes)
    return network


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict]:
    """The tensors of a weights file and what its record says.

    ``ValueError`` if it is a checkpoint, which has no record yet.
    """
    tensors, record = checkpoint.read_tensors(path)
    if "experiment" not in record:
        raise ValueError(
            f"{path} is a checkpoint, not the weights of a finished run: name the weights-… file beside it, or go on with the run"
        )
    return tensors, record


def find_weights(name_or_path: str | Path, out: Path | None = None) -> Path:
    """The weights file at a path, or that of an experiment: of its first recorded seed at its highest tier.

    Where a run left none, the weights that come with the package. ``ValueError`` if it is neither a path nor an
    experiment, or if ``out`` is no folder or has only runs of it with other settings; ``FileNotFoundError`` if there is no
    file.
    """
    path = Path(name_or_path).expanduser()
    if path.suffix == ".safetensors":
        if not path.exists():
            raise FileNotFoundError(f"{path} is not there: name another file")
        return path
    row, folder = experiment(str(name_or_path)), check_folder(out)
    name = row.name
    tier, records = highest(row, out)
    if tier is None and (other := sorted(folder.glob(f"*/{name}-seed*.json"))):
        raise ValueError(
            f"{other[0]} is not a run of a whole tier: name its weights, {other[0].with_suffix('')}/weights-…"
        )
    wanted = records[0].get("weights", "weights") if records else "weights"
    if kept := sorted(folder.glob(f"**/{tier}/{name}-seed*/{wanted}")):
        return kept[0]
    if (given := packaged(name)) is None:
        raise FileNotFoundError(f"no weights of {name} are in {folder}: train it first")
    return given


def load_weights(name_or_path: str | Path, out: Path | None = None) -> Network:
    """The trained network of a weights file, or of an experiment, in evaluation mode on the CPU.

    Nothing is unpickled. ``ValueError`` if the bytes do not have the SHA-256 that the file's name gives.
    """
    tensors, record = read_weights(find_weights(name_or_path, out))
    with torch.random.fork_rng(devices=[]):  # what is drawn here is not kept
        network = build(record["experiment"])
    network.load_state_dict(tensors)
    network.image_size = (32, 32)
    return network.eval()


def evaluate(
    name_or_path: str | Path, out: Path | None = None, device: str | None = None
) -> tuple[Float[Tensor, "n 10"], dict]:
    """The scores of trained weights for the test images they were recorded with, and that record.

    In batches as the run's own: where a GPU computes other ones, another of its kernels may round otherwise.
    """
    path, chosen = find_weights(name_or_path, out), choose_device(device)
    _, record = read_weights(path)
    test_images = cifar.load_data(record["data"]["source"]).test_images
    return train.evaluate(load_weights(path).to(chosen), test_images.to(chosen)).cpu(), record
