"""The way in for images: whatever they come as, checked and normalised as in training, then the
network's scores."""

import copy
from collections.abc import Sequence
from typing import overload

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor, nn

from evalib.networks import Network
from evalib.tracing import Trace, trace
from evalib.training import data
from evalib.training.checkpoint import plain

Pixels = UInt8[Tensor, "n 3 i j"] | Float[Tensor, "n 3 i j"]
Given = Pixels | Image.Image | Sequence[Image.Image]


@overload
def predict(
    network: nn.Module,
    images: Given,
    probabilities: bool = False,
    classes: None = None,
    batch_size: int = 500,
) -> Float[Tensor, "n k"]: ...
@overload
def predict(
    network: nn.Module,
    images: Given,
    probabilities: bool = False,
    classes: Sequence[str] = ...,
    batch_size: int = 500,
) -> tuple[Float[Tensor, "n k"], list[str]]: ...
@torch.no_grad()
def predict(
    network: nn.Module,
    images: Given,
    probabilities: bool = False,
    classes: Sequence[str] | None = None,
    batch_size: int = 500,
) -> Float[Tensor, "n k"] | tuple[Float[Tensor, "n k"], list[str]]:
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
    if type(batch_size) is not int or batch_size < 1:
        raise ValueError(f"batch_size={batch_size!r} must be a whole number, 1 or more")
    names = None if classes is None else data.check_names(classes)
    parameter = next(
        (each for each in network.parameters() if each.is_floating_point()), torch.empty(0)
    )
    pixels = as_pixels(images, trained_on(network))
    where = images.device if isinstance(images, Tensor) else parameter.device
    network, layout = in_evaluation_mode(network), layout_of(network)
    parts = []
    for batch in pixels.split(batch_size):
        normal = data.normalise(batch.to(parameter.device)).to(
            parameter.dtype, memory_format=layout
        )
        parts.append(tensor(network(normal)).to(where))
    scores = torch.cat(parts)
    result = scores.softmax(dim=1) if probabilities else scores
    if names is None:
        return result
    if len(names) != scores.shape[1]:
        raise ValueError(
            f"{len(names)} classes are named, the network has {scores.shape[1]}: name each of them"
        )
    return result, [names[index] for index in scores.argmax(dim=1).tolist()]


def trained_on(network: nn.Module) -> tuple[int, int] | None:
    """Height and width of the images that a network was trained on, where it knows."""
    size = getattr(plain(network), "image_size", None)
    return size if isinstance(size, tuple) else None


def tensor(scores) -> Tensor:
    """What a network gave, if it is a tensor; ``TypeError`` if not."""
    if not isinstance(scores, Tensor):
        raise TypeError(
            f"the network gives a {type(scores).__name__}: wrap it in a module that gives the "
            "scores alone, n k"
        )
    return scores


def as_pixels(images: Given, size: tuple[int, int] | None = None) -> Pixels:
    """``images`` as a tensor ``n 3 i j``, uint8 or in 0 … 1; an error says what else they are, and
    what to do.

    ``size`` is the height and width that they must have.
    """
    if isinstance(images, Image.Image):
        images = [images]
    pixels = images if isinstance(images, Tensor) else from_pictures(images, size)
    data.check_shape(pixels)
    data.check_pixels(pixels)
    if size is not None and tuple(pixels.shape[2:]) != tuple(size):
        raise ValueError(
            f"the images are {pixels.shape[2]}×{pixels.shape[3]}, the network was trained on "
            f"{size[0]}×{size[1]}: crop and "
            f"resize them, as PIL.ImageOps.fit(picture, ({size[1]}, {size[0]})) does"
        )
    return pixels


def from_pictures(
    pictures: Sequence[Image.Image], size: tuple[int, int] | None
) -> UInt8[Tensor, "n 3 i j"]:
    """PIL images of one size, RGB or grey, as a tensor; of none there are 0, of ``size`` or
    32×32."""
    if isinstance(pictures, np.ndarray):
        raise TypeError("images are a numpy array: give torch.from_numpy(images), as n 3 i j")
    if not isinstance(pictures, list | tuple):
        raise TypeError(
            f"images are of type {type(pictures).__name__}: give a tensor n 3 i j, or PIL images"
        )
    for picture in pictures:
        if not isinstance(picture, Image.Image):
            remedy = (
                "torch.stack(images)"
                if isinstance(picture, Tensor)
                else "a tensor n 3 i j, or PIL images"
            )
            raise TypeError(f"images hold a {type(picture).__name__}: give {remedy}")
        if picture.mode[0] in "IF":  # convert cuts off what is above 255
            raise ValueError(
                f"a picture has the mode {picture.mode!r}: scale its values, and give a tensor "
                "in 0 … 1"
            )
        if picture.mode not in ("RGB", "L"):
            raise ValueError(
                f'a picture has the mode {picture.mode!r}: give picture.convert("RGB")'
            )
        if picture.size != pictures[0].size:
            sizes = " and ".join(
                "×".join(map(str, each.size[::-1])) for each in (pictures[0], picture)
            )
            fit = (size or (32, 32))[::-1]
            raise ValueError(
                f"pictures of one size are wanted, not {sizes}: PIL.ImageOps.fit(picture, {fit})"
            )
    if not pictures:
        return torch.empty(0, 3, *(size or (32, 32)), dtype=torch.uint8)
    return rearrange(
        torch.from_numpy(np.stack([np.array(picture.convert("RGB")) for picture in pictures])),
        "n i j c -> n c i j",
    )


def in_evaluation_mode(network: nn.Module) -> nn.Module:
    """``network``, or where a part of it is in training mode a copy in evaluation mode that shares
    its tensors.

    So the mode of what another thread, or the trainer, has in hand does not change.
    """
    if not any(module.training for module in network.modules()):
        return network
    shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    return copy.deepcopy(network, shared).eval()


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
