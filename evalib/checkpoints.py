"""A run's state on disk: one checksummed safetensors file an epoch, the last two kept; nothing is unpickled."""

import hashlib
import json
import os
import re
import warnings
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

KEPT = 2
NAME = re.compile(r"epoch-(\d{4})-([0-9a-f]{16})\.safetensors")


def write_atomically(path: Path, write) -> Path:
    """Let ``write(temporary)`` make a file beside ``path``, flush it to disk, then rename it: all of it or nothing."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save(directory: Path, epoch: int, network: nn.Module, optimiser, metadata: dict) -> Path:
    """Write the state after ``epoch`` epochs; the file's name carries the checksum of its bytes."""
    directory = Path(directory)
    tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": tensor for name, tensor in state.items()}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    unnamed = write_atomically(
        directory / ".latest", lambda path: save_file(tensors, path, {"evalib": json.dumps(metadata)})
    )
    path = unnamed.rename(directory / f"epoch-{epoch:04d}-{sha256(unnamed)[:16]}.safetensors")
    for old in found(directory)[KEPT:]:
        old.unlink()
    return path


def found(directory: Path) -> list[Path]:
    """The checkpoints in ``directory``, newest first."""
    return sorted((path for path in Path(directory).glob("epoch-*.safetensors") if NAME.fullmatch(path.name)), reverse=True)


def restore(directory: Path, network: nn.Module, optimiser) -> dict | None:
    """Load the newest whole checkpoint into ``network`` and ``optimiser`` and return its metadata, or ``None``.

    A checkpoint whose bytes do not have the checksum in its name is warned of, set aside and passed over.
    """
    for path in found(directory):
        if not sha256(path).startswith(NAME.fullmatch(path.name)[2]):
            warnings.warn(f"{path} is damaged (its SHA-256 is not the one in its name): using the one before", stacklevel=2)
            path.rename(path.with_suffix(".damaged"))
            continue
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
            metadata = json.loads(file.metadata()["evalib"])
        network.load_state_dict(part(tensors, "network."))
        for index, parameter in enumerate(network.parameters()):
            state = part(tensors, f"optimiser.{index}.")
            optimiser.state[parameter] = {name: like(parameter, tensor) for name, tensor in state.items()}
        return metadata
    return None


def part(tensors: dict, prefix: str) -> dict:
    """The entries whose names begin with ``prefix``, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def like(parameter: nn.Parameter, saved: torch.Tensor) -> torch.Tensor:
    """``saved`` on the parameter's device and, where it has its shape, in its memory format."""
    if saved.shape != parameter.shape:
        return saved if saved.ndim == 0 and parameter.device.type == "cpu" else saved.to(parameter.device)
    return torch.empty_like(parameter).copy_(saved)
