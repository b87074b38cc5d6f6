"""The way in for images: whatever they come as, checked and normalised as in training, then the
network's scores."""

from collections.abc import Sequence
from types import FunctionType
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor, nn

from evalib.networks import Network
from evalib.tracing import Trace, trace, twin
from evalib.training import data
from evalib.training.checkpoint import plain

Given = UInt8[Tensor, "n 3 i j"] | Float[Tensor, "n 3 i j"] | Image.Image | Sequence[Image.Image]


@torch.no_grad()
def predict(
    network: nn.Module,
    images: Given,
    probabilities: bool = False,
    classes: Sequence[str] | None = None,
    batch_size: int = 500,
) -> Any:
    """The scores of ``network`` for ``images``, ``n k``, without augmentation and in evaluation
    mode.

    ``images`` is a tensor ``n 3 i j``, uint8 or floating in 0 … 1, or a PIL image, or a list of
    them of one size. It is left as it was, and so is the network's mode. Pixels are normalised by
    :func:`evalib.training.data.normalise`, as in training: not for networks that were trained on
    other pixels. ``probabilities=True`` gives the softmax of the scores; with ``classes``, the
    names in the order of the labels, the result is a pair: the scores, and for each image the name
    of its highest. ``TypeError`` or ``ValueError``, with the remedy, for anything else.

    The result is an ordinary tensor without gradient, where ``images`` lie (for PIL images where
    the network lies).
    """
    pixels = as_tensor(images)
    data.check_shape(pixels)
    data.check_pixels(pixels)
    check_size(network, pixels)
    floating = [each for each in network.parameters() if each.is_floating_point()]
    weight = floating[0] if floating else torch.empty(0)
    where = images.device if isinstance(images, Tensor) else weight.device
    parts = []
    network, layout = in_evaluation_mode(network), layout_of(network)
    for batch in pixels.split(batch_size):
        normal = data.normalise(batch.to(weight.device))
        scores = network(normal.to(weight.dtype, memory_format=layout))
        if not isinstance(scores, Tensor):
            raise TypeError(
                f"the network gives a {type(scores).__name__}: wrap it in a module that gives the "
                "scores alone, n k"
            )
        parts.append(scores.to(where))
    scores = torch.cat(parts)
    result = scores.softmax(dim=1) if probabilities else scores
    if classes is None:
        return result
    names = data.check_names(classes)
    if len(names) != scores.shape[1]:
        raise ValueError(
            f"{len(names)} classes are named, the network has {scores.shape[1]}: name each of them"
        )
    return result, [names[index] for index in scores.argmax(dim=1).tolist()]


def as_tensor(images: Given) -> Tensor:
    """PIL images of one size, RGB or grey, as a tensor; a tensor as it is."""
    if isinstance(images, Tensor):
        return images
    pictures = [images] if isinstance(images, Image.Image) else images
    parts = []
    for picture in pictures if isinstance(pictures, list | tuple) else [pictures]:
        if not isinstance(picture, Image.Image):
            raise TypeError(
                f"images are or hold a {type(picture).__name__}: give a tensor n 3 i j, or PIL "
                "images"
            )
        if picture.mode[0] in "IF":  # its convert would cut off what is above 255
            raise ValueError(
                f"a picture has the mode {picture.mode!r}: give its values, over their range, as a "
                "tensor in 0 … 1"
            )
        if picture.mode not in ("RGB", "L"):
            raise ValueError(
                f'a picture has the mode {picture.mode!r}: give picture.convert("RGB")'
            )
        parts.append(rearrange(torch.tensor(np.array(picture.convert("RGB"))), "i j c -> c i j"))
    sizes = {part.shape for part in parts}
    if len(sizes) != 1:
        raise ValueError(
            f"{len(parts)} pictures have {len(sizes)} sizes: give some, all of one size, as "
            "PIL.ImageOps.fit(picture, (32, 32)) makes them"
        )
    return torch.stack(parts)


def trained_on(network: nn.Module) -> tuple[int, int] | None:
    """Height and width of the images that a network was trained on, where it knows."""
    size = getattr(plain(network), "image_size", None)
    return size if isinstance(size, tuple) else None


def check_size(network: nn.Module, images: Tensor) -> None:
    """``ValueError`` unless ``images`` have the size on which ``network`` was trained."""
    size = trained_on(network)
    if size is not None and tuple(images.shape[2:]) != tuple(size):
        raise ValueError(
            f"the images are {images.shape[2]}×{images.shape[3]}, the network was trained on "
            f"{size[0]}×{size[1]}: crop and resize them, as "
            f"PIL.ImageOps.fit(picture, ({size[1]}, {size[0]})) does"
        )


def in_evaluation_mode(network: nn.Module) -> nn.Module:
    """``network``; where a part of it is in training mode, its modules again with the same tensors,
    so that the mode does not change for the thread that trains it.

    ``ValueError`` if a part in training mode has a function in place of its ``forward``, which
    would call the modules as they are.
    """
    if not any(module.training for module in network.modules()):
        return network
    for part in network.modules():
        if isinstance(vars(part).get("forward"), FunctionType):
            raise ValueError(
                f"the forward of a {type(part).__name__} is a function that was put there, and the"
                " network is in training mode: call network.eval() first"
            )
    return twin(network).eval()


def layout_of(network: nn.Module) -> torch.memory_format:
    """How images lie in memory for a network: channels last, which is faster, for evalib's own;
    others may view them flat."""
    return torch.channels_last if isinstance(plain(network), Network) else torch.contiguous_format


@torch.no_grad()
def predict_traced(
    network: Network, images: UInt8[Tensor, "n 3 i j"]
) -> tuple[Float[Tensor, "n classes"], Trace]:
    """The scores of an EVANet for raw images, and the trace of the very pass that gave them."""
    device = next(network.parameters()).device
    return trace(in_evaluation_mode(network), data.normalise(images.to(device)))
