"""What a run is given, looked at before it begins: an error says what does not fit, and what to do."""

import torch
from torch import nn

from evalib.training import data
from evalib.training.prediction import predict
from evalib.training.settings import Settings


def check_kinds(settings: Settings, dataset: data.Dataset | None) -> None:
    """``TypeError`` for settings or data of another kind."""
    if not isinstance(settings, Settings):
        raise TypeError(f"settings are of type {type(settings).__name__}: give evalib.Settings({settings!r})")
    if not isinstance(dataset, data.Dataset | None):
        raise TypeError(f"the data set is of type {type(dataset).__name__}: make one by evalib.dataset(images, labels)")


def check_precision(network: nn.Module) -> None:
    """``ValueError`` unless the weights are in single precision, and some of them learn."""
    found = {parameter.dtype for parameter in network.parameters() if parameter.is_floating_point()}
    if other := sorted(map(str, found - {torch.float32})):
        remedy = "give network.float(), and torch.set_default_dtype(torch.float32)"
        raise ValueError(f"weights are {other[0]}, and training is in torch.float32: {remedy}")
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise ValueError("no parameter of the network learns: let at least one have requires_grad_()")


def check_fits(network: nn.Module, dataset: data.Dataset) -> None:
    """``ValueError`` unless ``network`` takes the images of ``dataset``, and gives a score for each of its classes."""
    device = next(network.parameters()).device
    scores = predict(network, dataset.train_images[:2].to(device))
    if scores.shape != (2, len(dataset.classes)):
        raise ValueError(
            f"the network gives scores of shape {tuple(scores.shape)} for 2 images, the data have {len(dataset.classes)} "
            f"classes: build it with num_classes={len(dataset.classes)}"
        )
