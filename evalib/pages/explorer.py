"""The Explorer: what a trained network computed in one forward pass, on a page that can be touched.

Each function keeps what PyTorch computed in a forward pass, and returns an HTML element that shows
it without a kernel and without another host. ``browser/`` has the rest. Where scripts are off, a
static figure of the first image stays.
"""

import base64
import io
import json
from collections.abc import Callable
from html import escape
from pathlib import Path

import torch
from einops import rearrange
from IPython.display import HTML
from jaxtyping import Int, UInt8
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

from evalib.attention import RelativeSelfAttention
from evalib.equations import inside
from evalib.eva import RADII, ExpandingVisualAttention
from evalib.networks import Network
from evalib.pages import figures
from evalib.pages.display import SIDE_BY_SIDE, svg
from evalib.tracing import trace, trace_windows
from evalib.training.data import CLASSES, normalise

BROWSER = Path(__file__).with_name("browser")
"""The scripts and styles of the elements."""

DIGITS = 4
"""Decimals of the exported numbers."""

FILTERS = 6
"""How many of the stem's filters are exported."""


def convolution(network: Network, images: UInt8[Tensor, "n 3 i j"], labels: Int[Tensor, " n"]):
    """Eq. 1 in the network's stem: the products of each window, and their sum, the layer's output.

    ``ValueError`` if the network is in training mode.
    """
    data = export_convolution(network, images, labels)
    image, (i, j), half = data["images"][0], data["start"], data["k"] // 2
    window = torch.tensor(image["x"])[:, i - half : i + half + 1, j - half : j + half + 1]
    products = window * torch.tensor(data["weights"][0])
    largest = products.abs().max()
    drawings = [
        figures.grid(f"{name}: weight × pixel", figures.numbers(each, ".3f"), each / largest)
        for name, each in zip(data["channels"], products, strict=True)
    ]
    said = f"Filter 1, pixel at {place(i, j)}: all products add up to {image['y'][0][i][j]:.3f}."
    return element(data, still(drawings, said, image))


def relative_attention(
    network: Network, images: UInt8[Tensor, "n 3 i j"], labels: Int[Tensor, " n"]
):
    """Eq. 3 in the last attention of a SANet: content and position logits and weights of a window.

    ``ValueError`` if the network is in training mode or has no such layer.
    """
    data = export_attention(network, images, labels)
    image, (i, j), k = data["images"][0], data["start"], data["k"]
    parts = [torch.tensor(image[part][0][i][j]).reshape(k, k) for part in PARTS]
    content, position, weights = parts
    largest = max(content.abs().max(), position.abs().max())
    drawings = [
        figures.grid("content logits", figures.numbers(content, ".3f"), content / largest),
        figures.grid("position logits", figures.numbers(position, ".3f"), position / largest),
        figures.grid(
            "softmax of their sum, %",
            figures.numbers(100 * weights, ".1f"),
            figures.weighed(weights),
        ),
    ]
    return element(data, still(drawings, f"Head 1, query at {place(i, j)} of the map.", image))


def eva(network: Network, images: UInt8[Tensor, "n 3 i j"], labels: Int[Tensor, " n"]):
    """The looks, the recalls and the class scores of an EVANet (§3.1).

    ``ValueError`` if the network is in training mode or has no EVA.
    """
    return element(export_eva(network, images, labels), still_of_eva(network, images[:1]))


PARTS = ("content", "position", "weights")


def export_convolution(network, images, labels) -> dict:
    """What :func:`convolution` shows: ``x`` and ``y`` of the stem, and its weights."""
    layer, seen = network.stem[0], []
    hook = layer.register_forward_hook(lambda _, x, y: seen.extend((x[0], y[:, :FILTERS])))
    try:
        forward(network, images)
    finally:
        hook.remove()
    x, y = seen
    return {
        "kind": "convolution",
        "k": layer.kernel_size[0],
        "start": [images.shape[-2] // 2, images.shape[-1] // 2],
        "channels": ["red", "green", "blue"],
        "filters": [str(f + 1) for f in range(y.shape[1])],
        "weights": numbers(layer.weight[:FILTERS]),
        "largest_output": rounded(y.abs().max()),
        "images": described(images, labels, x=numbers(x), y=numbers(y)),
    }


def export_attention(network, images, labels) -> dict:
    """What :func:`relative_attention` shows, each ``n h i j (a b)``, null outside the map."""
    layers = [module for module in network.modules() if isinstance(module, RelativeSelfAttention)]
    _, seen = forward(network, images, trace_windows)
    layer, last = layers[-1], seen[-1]
    i, j = last.weights.shape[2:4]
    k, stride = layer.rows.shape[-1], layer.stride
    within = inside(stride * i, stride * j, k, stride, last.weights.device)
    parts = {}
    for name in PARTS:
        visible = getattr(last, name).masked_fill(~within, torch.nan)
        parts[name] = numbers(rearrange(visible, "n h i j a b -> n h i j (a b)"))
    return {
        "kind": "attention",
        "k": k,
        "start": [i // 2, j // 2],
        "heads": [str(h + 1) for h in range(layer.num_heads)],
        "images": described(images, labels, **parts),
    }


def export_eva(network, images, labels) -> dict:
    """What :func:`eva` shows: the weights of :class:`evalib.Trace` by stage, and the scores."""
    scores, seen = forward(network, images, trace)
    heads = seen.look_weights[0].shape[1]
    layer = next(each for each in network.modules() if isinstance(each, ExpandingVisualAttention))
    rings = layer.pixels.split(layer.sizes)
    return {
        "kind": "eva",
        "extent": layer.extent,
        "start": [layer.extent // 2, layer.extent // 2 - 1],
        "rings": [[(m // layer.extent).tolist(), (m % layer.extent).tolist()] for m in rings],
        "heads": ["mean", *(str(h + 1) for h in range(heads))],
        "classes": CLASSES,
        "images": described(
            images,
            labels,
            looks=list(zip(*map(numbers, seen.look_weights), strict=True)),
            recalls=list(zip(*map(numbers, seen.recall_weights), strict=True)),
            scores=numbers(scores),
        ),
    }


@torch.no_grad()
def forward(network: Network, images: UInt8[Tensor, "n 3 i j"], run: Callable = nn.Module.__call__):
    """``run(network, images)``, images normalised, in the network's precision, on its device."""
    check_evaluating(network)
    parameter = next(network.parameters())
    return run(network, normalise(images).to(parameter.device, parameter.dtype))


def check_evaluating(network: Network) -> None:
    """``ValueError`` if the network is in training mode."""
    if network.training:
        raise ValueError(
            "the network is in training mode, where batches change what it computes: call"
            " network.eval()"
        )


# what stays where scripts are off


def still(drawings: list[Figure], text: str, image: dict | None = None) -> str:
    """Drawings, the image before them, a line of text."""
    shown = (  # the theme would put white behind it on a dark page, but for this class
        f'<img src="{image["src"]}" alt="{image["name"]}" width="126" height="126" '
        'class="dark-light" style="image-rendering: pixelated">'
        if image
        else ""
    )
    alt = escape(" ".join(drawing.get_label() for drawing in drawings))
    panels = "".join(map(svg, drawings))
    return (
        f'<div class="still">{shown}<div role="img" aria-label="{alt}" {SIDE_BY_SIDE}>{panels}'
        f"</div><p>{escape(text)}</p></div>"
    )


def still_of_eva(network: Network, image: UInt8[Tensor, "1 3 i j"]) -> str:
    """Looks and recalls of one image, mean over the heads, and its three highest scores."""
    (scores,), seen = forward(network, image, trace)
    drawings = figures.slot_weights(seen)
    if len(seen.looks) == len(RADII):
        drawings = [figures.ring_weights(image, seen), *drawings]
    best = ", ".join(f"{CLASSES[c]} {scores[c]:.2f}" for c in scores.topk(3).indices.tolist())
    return still(drawings, f"Mean over the heads. The highest class scores: {best}.")


def place(i: int, j: int) -> str:
    """A pixel in words, counted from one."""
    return f"row {i + 1}, column {j + 1}"


# the parts of an element


def element(data: dict, shown: str) -> HTML:
    """The custom element: styles for its inside, the data, the still; then its script."""
    return HTML(
        f'<eva-explorer style="display: block">{styles("parts", "explorer")}{embedded(data)}{shown}'
        f"</eva-explorer>{script('eva-explorer', 'parts', 'grid', 'explorer')}"
    )


def styles(*names: str) -> str:
    """The styles of an element's inside, in a template."""
    text = "".join((BROWSER / f"{name}.css").read_text(encoding="utf-8") for name in names)
    return f"<template><style>{text}</style></template>"


def embedded(data: dict) -> str:
    """``data`` as JSON in a page."""
    content = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json">{content}</script>'


def script(tag: str, *names: str) -> str:
    """The modules of a custom element as one script, which does nothing where it has run before."""
    text = "".join((BROWSER / f"{name}.js").read_text(encoding="utf-8") for name in names)
    return f'<script>if (!customElements.get("{tag}")) {{\n{text}}}</script>'


def described(images, labels, **parts) -> list[dict]:
    """One entry an image: its class, its picture, and its share of each of the ``parts``."""
    entries = []
    for n, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        entry = {"name": CLASSES[label], "label": label, "src": picture(image)}
        entries.append(entry | {name: part[n] for name, part in parts.items()})
    return entries


def rounded(value) -> float | None:
    """``value`` with ``DIGITS`` decimals; ``None`` for NaN, which JSON does not have."""
    value = round(float(value), DIGITS)
    return value if value == value else None


def numbers(values) -> list:
    """A tensor as nested lists of numbers."""
    nested = values.detach().cpu().tolist() if isinstance(values, Tensor) else values
    return [numbers(each) if isinstance(each, list) else rounded(each) for each in nested]


def picture(image: UInt8[Tensor, "3 i j"]) -> str:
    """An image as a PNG in a data address."""
    file = io.BytesIO()
    pixels = rearrange(image, "c i j -> i j c").cpu().numpy()
    Image.fromarray(pixels).save(file, "png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
