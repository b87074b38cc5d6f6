"""The Explorer: what a trained network computed in one forward pass, on a page that can be touched.

Each function runs the network once, keeps what PyTorch computed on the way, and returns an HTML element that shows it
without a kernel and without another host. ``browser/`` has the rest. Where scripts are off, a
static figure stays. Needs IPython.
"""

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path

import torch
from einops import rearrange
from IPython.display import HTML
from jaxtyping import Int, UInt8
from PIL import Image
from torch import Tensor, nn

from evalib.attention import RelativeSelfAttention
from evalib.equations import inside
from evalib.eva import ExpandingVisualAttention
from evalib.networks import Network
from evalib.pages import stills
from evalib.tracing import trace, trace_windows
from evalib.training.data import CLASSES, normalise

BROWSER = Path(__file__).with_name("browser")
"""The scripts and styles of the elements."""

DIGITS = 4
"""Decimals of the exported numbers."""

FILTERS = 6
"""How many of the stem's filters are exported."""

NOTE = (
    "Attention weights say from where a layer took its values. They are not an explanation of the class: see "
    '<a href="https://arxiv.org/abs/1902.10186">Jain and Wallace (2019)</a>, and for what they can still show '
    '<a href="https://arxiv.org/abs/1908.04626">Wiegreffe and Pinter (2019)</a>.'
)


def convolution(network: Network, images: UInt8[Tensor, "n 3 i j"], labels: Int[Tensor, " n"]) -> HTML:
    """Eq. 1 in the network's stem: the products of each window and their sum, which is the layer's output there.

    ``ValueError`` if the network is in training mode.
    """
    return element(export_convolution(network, images, labels), stills.convolution)


def relative_attention(network: Network, images: UInt8[Tensor, "n 3 i j"], labels: Int[Tensor, " n"]) -> HTML:
    """Eq. 3 in the last attention of a SANet: content logits, position logits and softmax weights of each window.

    ``ValueError`` if the network is in training mode or has no such layer.
    """
    return element(export_attention(network, images, labels), stills.attention)


def eva(network: Network, images: UInt8[Tensor, "n 3 i j"], labels: Int[Tensor, " n"]) -> HTML:
    """The looks, the recalls and the class scores of an EVANet (§3.1).

    ``ValueError`` if the network is in training mode or has no EVA.
    """
    return element(export_eva(network, images, labels), stills.eva)


def export_convolution(network, images, labels) -> dict:
    """What :func:`convolution` shows: ``x`` and ``y`` of the stem's convolution, and its weights."""
    layer, seen = network.stem[0], []
    hook = layer.register_forward_hook(lambda _, x, y: seen.extend((x[0], y[:, :FILTERS])))
    try:
        forward(network, images)
    finally:
        hook.remove()
    (x, y), weight = seen, layer.weight.detach()
    return {
        "kind": "convolution",
        "k": layer.kernel_size[0],
        "start": [images.shape[-2] // 2, images.shape[-1] // 2],
        "channels": ["red", "green", "blue"],
        "filters": [str(f + 1) for f in range(y.shape[1])],
        "weights": numbers(weight[:FILTERS]),
        "largest_output": rounded(y.abs().max()),
        "images": described(images, labels, x=numbers(x), y=numbers(y)),
    }


def export_attention(network, images, labels) -> dict:
    """What :func:`relative_attention` shows: both logits and the softmax, ``n h i j (a b)``, null outside the map."""
    layers = [module for module in network.modules() if isinstance(module, RelativeSelfAttention)]
    _, seen = forward(network, images, trace_windows)
    layer, (i, j) = layers[-1], seen[-1].weights.shape[2:4]
    within = inside(layer.stride * i, layer.stride * j, layer.rows.shape[-1], layer.stride, seen[-1].weights.device)
    parts = [rearrange(part.masked_fill(~within, torch.nan), "n h i j a b -> n h i j (a b)") for part in seen[-1]]
    return {
        "kind": "attention",
        "k": layer.rows.shape[-1],
        "start": [size // 2 for size in parts[0].shape[2:4]],
        "heads": [str(h + 1) for h in range(layer.num_heads)],
        "images": described(
            images, labels, **dict(zip(("content", "position", "weights"), map(numbers, parts), strict=True))
        ),
    }


def export_eva(network, images, labels) -> dict:
    """What :func:`eva` shows: the weights of :class:`evalib.Trace`, stage by stage, and the class scores."""
    scores, seen = forward(network, images, trace)
    heads = seen.look_weights[0].shape[1]
    layer = next(each for each in network.modules() if isinstance(each, ExpandingVisualAttention))
    rings = layer.pixels.split(layer.sizes)
    return {
        "kind": "eva",
        "extent": layer.extent,
        "start": [layer.extent // 2, layer.extent // 2 - 1],
        "rings": [[(ring // layer.extent).tolist(), (ring % layer.extent).tolist()] for ring in rings],
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
def forward(network: Network, images: UInt8[Tensor, "n 3 i j"], listen: Callable = nn.Module.__call__):
    """What ``listen(network, images)`` gives for ``images``, normalised, in the network's precision and on its device."""
    if network.training:
        raise ValueError("the network is in training mode, where batches change what it computes: call network.eval()")
    parameter = next(network.parameters())
    return listen(network, normalise(images).to(parameter.device, parameter.dtype))


def element(data: dict, still: Callable[[dict], str]) -> HTML:
    """The custom element: styles for its inside, the data, the static figure, the note; then its script."""
    note = "" if data["kind"] == "convolution" else f'<p slot="note"><small>{NOTE}</small></p>'
    return HTML(
        f'<eva-explorer style="display: block">{styles("parts", "explorer")}{embedded(data)}{still(data)}{note}'
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
    rows = zip(images, labels.tolist(), *parts.values(), strict=True)
    return [
        {"name": CLASSES[label], "label": label, "src": picture(image), **dict(zip(parts, own, strict=True))}
        for image, label, *own in rows
    ]


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
    Image.fromarray(rearrange(image, "c i j -> i j c").cpu().numpy()).save(file, "png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
