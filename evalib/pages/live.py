"""A trained network that computes in the page: its structure, its weights and a script.

It needs no server, no kernel and no other host, from a folder as from a site. The weights lie in
the page and are read only when a reader starts the network; the built book keeps them in files
beside its pages (``book/slim.py``). Where scripts are off, a static figure of one image stays.

:func:`pack` writes an EVANet as a structure and one block of float32. Batch norms are folded into
the convolutions before them, the scale of logits into W_Q, and the relative embedding is the one of
each ring's pixels. A layer that the browser does not know is refused, never left out.
"""

import base64
import hashlib
import math
from collections.abc import Mapping

import torch
from einops import rearrange
from IPython.display import HTML
from jaxtyping import Int, UInt8
from torch import Tensor, nn

from evalib.eva import EqualisedLinear, ExpandingVisualAttention, SingleQueryAttention, WholeMap
from evalib.experiments import CHOSEN
from evalib.networks import BasicBlock, EVASummary, Network, PaddedShortcut
from evalib.pages.explorer import (
    check_evaluating,
    described,
    embedded,
    script,
    still_of_eva,
    styles,
)
from evalib.results import choice, weights
from evalib.training.data import CLASSES, MEAN, STD
from evalib.variants import LetterAttention, ResidualAttention, StandardAttention

SCRIPTS = "engine", "parts", "picture", "panels", "live"

SIZE = 32
"""Rows and columns of the image."""


def live(
    networks: Mapping[str, Network], images: UInt8[Tensor, "n 3 32 32"], labels: Int[Tensor, " n"]
) -> HTML:
    """EVANets that answer to any image: ``networks`` names them on the page, the first one begins.

    ``images`` are those to choose from; the static figure is of the first. ``ValueError`` if a
    network is in training mode, or is one that the browser does not compute.
    """
    exported = [(name, *pack(network)) for name, network in networks.items()]
    data = {
        "readings": [{"name": name, "structure": structure} for name, structure, _ in exported],
        "images": described(images, labels),
        "megabytes": f"{max(len(block) for *_, block in exported) / 1e6:.1f}",
    }
    packed = "".join(
        '<script type="text/plain"'
        f' data-digest="{structure["digest"]}">{base64.b64encode(block).decode()}</script>'
        for _, structure, block in exported
    )
    shown = still_of_eva(next(iter(networks.values())), images[:1])
    return HTML(
        f'<eva-live style="display: block">{styles("parts", "live")}{embedded(data)}{packed}{shown}'
        f"</eva-live>{script('eva-live', *SCRIPTS)}"
    )


def readings() -> dict[str, Network]:
    """The chosen variant and the letter of the text, of the packaged networks."""
    names = dict.fromkeys([CHOSEN, "letter"])
    return {name: weights.load_pretrained(choice.row_of(name).name) for name in names}


# the structure and the numbers of a network


class Block:
    """A block of float32 that grows: :meth:`put` adds a tensor and says where it lies."""

    def __init__(self):
        self.parts: list[Tensor] = []
        self.length = 0

    def put(self, tensor: Tensor) -> dict:
        """``{"at": first number, "shape": …}`` of a tensor that is added at the end."""
        self.parts.append(tensor.detach().cpu().float().flatten())
        place = {"at": self.length, "shape": list(tensor.shape)}
        self.length += tensor.numel()
        return place

    def data(self) -> bytes:
        """All that was put, little-endian."""
        return torch.cat(self.parts).numpy().astype("<f4").tobytes()


def pack(network) -> tuple[dict, bytes]:
    """The structure of an EVANet, with the place of each tensor, and the tensors.

    ``ValueError`` if the network is in training mode, is no EVANet, or has a layer that the
    browser does not compute.
    """
    check_evaluating(network)
    if not isinstance(network.summary, EVASummary):
        raise ValueError("the network has no Expanding Visual Attention: give an EVANet")
    if (network.classifier.out_features, network.stem[0].in_channels) != (len(CLASSES), len(MEAN)):
        raise ValueError(
            "the page shows colour images and the classes of CIFAR-10: give a network of these"
        )
    block = Block()
    for each in network.stages:
        known(each, BasicBlock)
        known(each.shortcut, PaddedShortcut)
    strides = [network.stem[0].stride[0], *(each.mix1.stride[0] for each in network.stages)]
    structure = {
        "size": SIZE,
        "step": math.prod(strides),  # pixels from one vector of the map to the next
        "mean": MEAN,
        "std": STD,
        "classes": CLASSES,
        "stem": convolution(block, network.stem[0], network.stem[1]),
        "blocks": [
            {
                "first": convolution(block, each.mix1, each.norm1),
                "second": convolution(block, each.mix2, each.norm2),
            }
            for each in network.stages
        ],
        **expanding_attention(block, network.summary.eva),
        "classifier": linear(block, network.classifier),
    }
    data = block.data()
    return {"digest": hashlib.sha256(data).hexdigest()[:16], **structure}, data


def convolution(block: Block, layer, norm) -> dict:
    """A 3×3 convolution and the batch norm after it, as one convolution with a bias."""
    known(layer, nn.Conv2d)
    assert (layer.kernel_size, layer.padding, layer.bias) == ((3, 3), (1, 1), None)
    factor = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    weight = layer.weight.double() * rearrange(factor, "cout -> cout 1 1 1")
    bias = norm.bias.double() - norm.running_mean.double() * factor
    outputs, inputs = weight.shape[:2]
    shape = {"inputs": inputs, "outputs": outputs, "stride": layer.stride[0]}
    return {**shape, "weight": block.put(weight), "bias": block.put(bias)}


def expanding_attention(block: Block, eva) -> dict:
    """The first query, stages and output of EVA; a ring is the places of its pixels, row by row."""
    if type(eva).forward is not ExpandingVisualAttention.forward:
        raise ValueError(
            f"{type(eva).__name__} computes otherwise than ExpandingVisualAttention: not exported"
        )
    known(eva.convolution, WholeMap)
    kernel = eva.convolution.gain * rearrange(eva.convolution.weight, "d c i j -> d (i j c)")
    return {
        "pixel_norm": layer_norm(block, eva.pixel_norm) if eva.normed else None,
        "query_norm": layer_norm(block, eva.query_norm) if eva.normed else None,
        "extent": eva.extent,
        "heads": eva.looks[0].num_heads,
        "convolution": {"weight": block.put(kernel), "bias": block.put(eva.convolution.bias)},
        "first_query": feed_forward(block, eva.first_query),
        "stages": stages(block, eva),
        "output": feed_forward(block, eva.output),
    }


def stages(block: Block, eva) -> list[dict]:
    """Look and recall of each ring."""
    rings = eva.pixels.split(eva.sizes)
    return [
        {
            "ring": ring.tolist(),
            "look": attention(block, look),
            "recall": attention(block, recall),
        }
        for ring, look, recall in zip(rings, eva.looks, eva.recalls, strict=True)
    ]


def attention(block: Block, layer) -> dict:
    """W_Q, W_K, W_V; and, where there are any, r of each pixel (``h c m``), W_O, the LayerNorm."""
    known(layer, SingleQueryAttention, LetterAttention, ResidualAttention, StandardAttention)
    r_m = layer.embedding()
    r = None if r_m is None else block.put(r_m)
    norm = getattr(layer, "norm", None)
    return {
        "W_Q": block.put(layer.scale * layer.W_Q.matrix()),
        "W_K": block.put(layer.W_K.matrix()),
        "W_V": block.put(layer.W_V.matrix()),
        "r": r,
        "W_O": block.put(layer.W_O.matrix()) if hasattr(layer, "W_O") else None,
        "norm": norm and layer_norm(block, norm),
    }


def layer_norm(block: Block, norm: nn.LayerNorm) -> dict:
    """The weight, the bias and the epsilon of a LayerNorm."""
    weight, bias = block.put(norm.weight), block.put(norm.bias)
    return {"weight": weight, "bias": bias, "epsilon": norm.eps}


def feed_forward(block: Block, layers) -> list[dict]:
    """Two linear maps with a ReLU between them."""
    if [type(layer) for layer in layers] != [EqualisedLinear, nn.ReLU, EqualisedLinear]:
        raise ValueError(f"{layers} is no feed-forward network of two layers with a ReLU")
    return [linear(block, layers[0]), linear(block, layers[2])]


def linear(block: Block, layer) -> dict:
    """The matrix and the bias of a linear map."""
    matrix = layer.matrix() if isinstance(layer, EqualisedLinear) else layer.weight
    return {"weight": block.put(matrix), "bias": block.put(layer.bias)}


def known(layer: nn.Module, *types: type) -> None:
    """``ValueError`` unless ``layer`` is of one of ``types``, and not of a class made from one."""
    names = [each.__name__ for each in types]
    if type(layer) not in types:
        raise ValueError(
            f"{type(layer).__name__} is not exported: the browser computes {', '.join(names)}"
        )
