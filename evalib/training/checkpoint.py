"""Weights and runs on disk: safetensors files whose names carry their checksum, and any file,
written whole or not at all; a network without what wraps it."""

import hashlib
import json
import os
import re
import warnings
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

KEPT = 2
"""How many checkpoints of a run stay on disk."""

CHECKED = re.compile(r".+-([0-9a-f]{16})\.safetensors")
SAVED = re.compile(r"epoch-(\d+)-[0-9a-f]{16}\.safetensors")


def write_atomically(path: Path, content: bytes) -> Path:
    """Write beside ``path``, flush to disk, then rename: a reader sees all of it or what was there
    before."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_tensors(directory: Path, stem: str, tensors: dict[str, Tensor], metadata: dict) -> Path:
    """Write ``<stem>-<first 16 digits of the SHA-256>.safetensors`` into ``directory``; tied
    tensors become two."""
    copies = {
        name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()
    }
    content = save(copies, {"evalib": json.dumps(metadata, allow_nan=False)})
    name = f"{stem}-{hashlib.sha256(content).hexdigest()[:16]}.safetensors"
    return write_atomically(Path(directory) / name, content)


def read_tensors(path: Path) -> tuple[dict, dict]:
    """The tensors and the metadata of a file, after its bytes were checked against the SHA-256 in
    its name.

    ``FileNotFoundError`` if there is no such file, ``ValueError`` if the name has no checksum or
    another one.
    """
    path = Path(path)
    named, content = CHECKED.fullmatch(path.name), path.read_bytes()
    if not named:
        raise ValueError(
            f"{path.name} has no checksum in its name, as in "
            "weights-0123456789abcdef.safetensors: keep its first name"
        )
    found = hashlib.sha256(content).hexdigest()
    if not found.startswith(named[1]):
        raise ValueError(
            f"{path} is damaged: its SHA-256 begins with {found[:16]}, its name says "
            f"{named[1]}; fetch or make it again"
        )
    try:
        tensors = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        return tensors, dict(json.loads(header["__metadata__"]["evalib"]))
    except (SafetensorError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} was not written by evalib ({error!r}): give a file of a run"
        ) from None


def found(directory: Path) -> list[Path]:
    """The checkpoints in ``directory``, newest first."""
    paths = (path for path in Path(directory).glob("epoch-*") if SAVED.fullmatch(path.name))
    return sorted(paths, key=lambda path: (epochs_of(path), path.name), reverse=True)


def epochs_of(path: Path) -> int:
    """After how many epochs a checkpoint was saved, as its name says."""
    return int(path.name.split("-")[1])


def plain(network: nn.Module) -> nn.Module:
    """The network inside what torch.compile, DataParallel or DistributedDataParallel made of it;
    any other as it is."""
    while True:
        if hasattr(network, "_orig_mod"):
            network = network._orig_mod
        elif isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
            network = network.module
        else:
            return network


def state_of(network: nn.Module, optimiser) -> dict[str, Tensor]:
    """The tensors of a network and of its optimiser, by names that :func:`restore` reads."""
    tensors = {f"network.{name}": tensor for name, tensor in plain(network).state_dict().items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": tensor for name, tensor in state.items()}
    return tensors


def save_run(directory: Path, epoch: int, network: nn.Module, optimiser, metadata: dict) -> Path:
    """Write the state after ``epoch`` epochs, and keep only the newest ``KEPT``."""
    path = write_tensors(directory, f"epoch-{epoch:04d}", state_of(network, optimiser), metadata)
    for old in found(directory)[KEPT:]:
        old.unlink(missing_ok=True)
    return path


def newest(directory: Path) -> tuple[dict[str, Tensor], dict] | None:
    """The tensors and the metadata of the newest whole checkpoint; ``None`` if there is none.

    A damaged checkpoint is warned of, set aside, and the one before is taken.
    """
    for path in found(directory):
        try:
            return read_tensors(path)
        except ValueError as damage:
            warnings.warn(f"{damage}: taking the one before", stacklevel=2)
            path.rename(path.with_suffix(".damaged"))
    return None


def restore(tensors: dict[str, Tensor], network: nn.Module, optimiser) -> None:
    """Load the tensors of a checkpoint into ``network`` and ``optimiser`` in place."""
    plain(network).load_state_dict(part(tensors, "network."))
    for index, parameter in enumerate(network.parameters()):
        for name, tensor in part(tensors, f"optimiser.{index}.").items():
            optimiser.state[parameter][name].copy_(tensor)


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries whose names begin with ``prefix``, without it."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
