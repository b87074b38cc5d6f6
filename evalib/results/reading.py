"""What a trained EVA reads: where its attentions put their weight, and what an accuracy loses
without one of its vectors.
"""

import json
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int, Int64, UInt8
from scipy.stats import spearmanr
from torch import Tensor, nn

from evalib.equations import ring
from evalib.eva import EXTENT, RADII, ExpandingVisualAttention
from evalib.experiments import ROWS
from evalib.networks import Network
from evalib.results.records import checksum, find_runs, load_records, results
from evalib.tracing import count_in_effect, trace
from evalib.training.data import MEAN, normalise

BATCH = 500
READINGS = "readings.json"
"""In the folder of the records: for each weights file, whose name has its SHA-256, what
:func:`measure` gave.
"""


class Read(NamedTuple):
    """One vector that the last recall can read: q0, or the look at one ring.

    ``length`` is the vector's L2 norm. ``effective`` pixels are ``e^H``, ``H`` the entropy of the
    look's weights in nats: m equal weights give m, one weight alone gives 1. ``weight`` is the last
    recall's. All are means over images and heads. ``accuracy``, in percent, is that with this
    vector taken from an image of another class, and ``changed`` the number of predictions that this
    changes.
    """

    vector: str
    pixels: int
    length: float
    effective: float | None
    weight: float
    accuracy: float
    changed: int


def find_eva(network: Network) -> ExpandingVisualAttention | None:
    """The EVA of the paper's stages that a network ends in, if it does."""
    eva = getattr(network.summary, "eva", network.summary)
    return eva if isinstance(eva, ExpandingVisualAttention) else None


@torch.inference_mode()
def measure(
    network: Network, images: UInt8[Tensor, "n 3 i j"], labels: Int[Tensor, " n"]
) -> tuple[float, tuple[Read, ...]]:
    """The accuracy of an EVANet on ``images``, and for q0 and each look what the network makes of
    it.

    ``ValueError`` if the network has no EVA of the paper's stages, or if more than half of the
    images are of one class.
    """
    eva = find_eva(network)
    if eva is None:
        other = type(getattr(network.summary, "eva", network.summary)).__name__
        raise ValueError(f"the network has no EVA of the paper but {other}: give another EVANet")
    network.eval()
    others = of_another_class(labels)
    maps = torch.cat([network.features(normalise(batch)) for batch in images.split(BATCH)])

    def predictions() -> Int64[Tensor, " n"]:
        return network.classifier(network.summary(maps)).argmax(dim=1)

    def right(predicted: Int64[Tensor, " n"]) -> float:
        return 100 * (predicted == labels).sum().item() / len(labels)

    def exchanged(module: nn.Module) -> tuple[float, int]:
        def turn(_module, _inputs, given):  # a look gives its vector and its weights
            return given[others] if isinstance(given, Tensor) else (given[0][others], *given[1:])

        with module.register_forward_hook(turn):
            predicted = predictions()
        return right(predicted), int((predicted != plain).sum())

    plain = predictions()
    _, seen = trace(network.summary, maps)
    weight = seen.recall_weights[-1].mean(dim=(0, 1)).tolist()
    q0, *lengths = (vector.norm(dim=1).mean().item() for vector in (seen.queries[0], *seen.looks))
    found = [Read("q0", EXTENT**2, q0, None, weight[0], *exchanged(eva.first_query))]
    for s, (look, weights) in enumerate(zip(eva.looks, seen.look_weights, strict=True)):
        measured = lengths[s], count_in_effect(weights).mean().item(), weight[s + 1]
        found.append(Read(f"attn{s}", weights.shape[-1], *measured, *exchanged(look)))
    return right(plain), tuple(found)


def of_another_class(labels: Int[Tensor, " n"]) -> Int64[Tensor, " n"]:
    """For each image the index of one of another class, each used once; ``ValueError`` if one class
    has more than half.
    """
    order = labels.argsort(stable=True)
    others = torch.empty_like(order).scatter_(0, order, order.roll(len(labels) // 2))
    if (labels[others] == labels).any():
        raise ValueError(
            f"of {len(labels)} images {labels.bincount().max()} are of one class: at most half"
            " can be"
        )
    return others


@torch.no_grad()
def agree(network: Network, images: UInt8[Tensor, "n 3 32 32"]) -> Float[Tensor, "rings n"]:
    """The rank correlation, within each ring but the centre, of a pixel's weight and of how far the
    score of the answer falls when the part of the image under this pixel is hidden.

    Hidden are its 4×4 pixels and two more around them.
    """
    grey = (255 * torch.tensor(MEAN)).round().to(torch.uint8)
    found: list[list[float]] = [[] for _ in RADII[1:]]
    for image in images:
        hidden = image.repeat(EXTENT**2 + 1, 1, 1, 1)  # the last one stays as it is
        for m in range(EXTENT**2):
            i, j = 4 * (1 + m // EXTENT), 4 * (1 + m % EXTENT)
            hidden[m, :, i - 2 : i + 6, j - 2 : j + 6] = grey[:, None, None]
        scores, seen = trace(network, normalise(hidden))
        best = scores[-1].argmax()
        fall = scores[-1, best] - scores[:-1, best]
        for radius, looks, each in zip(RADII[1:], seen.look_weights[1:], found, strict=True):
            row, column = ring(radius) + EXTENT // 2
            each.append(spearmanr(looks[-1].mean(dim=0), fall[EXTENT * row + column]).statistic)
    return torch.tensor(found)


def load_readings(out: Path | None = None) -> dict[str, dict]:
    """The readings that ``scripts/measure_readings.py`` left beside the records; ``ValueError`` if
    they were changed since.
    """
    path = results(out) / READINGS
    if not path.exists():
        return {}
    found = json.loads(path.read_text(encoding="utf-8"))
    if found["sha256"] != checksum(found):
        raise ValueError(
            f"{path} was changed after it was written: measure again, scripts/measure_readings.py"
            " --again"
        )
    return found["readings"]


def find_readings(out: Path | None = None) -> list[tuple]:
    """Each run of :func:`.records.load_records` that has a reading of its weights, at the highest
    tier of its row, and that reading.
    """
    readings, runs = load_readings(out), load_records(out)
    pairs = []
    for name in ROWS:
        for run in find_runs(runs, name).itertuples():
            if run.weights in readings:
                pairs.append((run, readings[run.weights]))
    return pairs
