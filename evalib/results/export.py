"""A trained network as one file that needs no evalib: ONNX, or a program of ``torch.export``;
pixels in, scores out.
"""

import copy
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from evalib.attention import RelativeSelfAttention
from evalib.extras import need
from evalib.training import checkpoint, data
from evalib.training.predict import predict, trained_on

FORMATS = {"onnx": ".onnx", "pt2": ".pt2"}
EXAMPLES = 2
"""Images that the network is recorded with; the file takes any number."""


class Deployed(nn.Module):
    """A network with the preprocessing of its training in front: raw pixels ``n 3 i j -> n k``
    scores.

    Window attention stands in it as the equation itself: plain operations, which any runtime has.
    Such a network is given one more image, of zeros, whose scores are dropped: its windows of no
    image at all would stop ONNX Runtime.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        network = copy.deepcopy(network).float().cpu().eval().requires_grad_(False)
        self.network = network.to(memory_format=torch.contiguous_format)
        self.has_windows = False
        for module in self.network.modules():
            if isinstance(module, RelativeSelfAttention):
                module.fast = False
                self.has_windows = True

    def forward(self, images: UInt8[Tensor, "n 3 i j"]) -> Float[Tensor, "n k"]:
        if not self.has_windows:
            return self.network(data.normalise(images))
        one_more = torch.cat([images, images.new_zeros((1, *images.shape[1:]))])
        return self.network(data.normalise(one_more))[:-1]


def export(
    network: nn.Module,
    path: str | Path,
    format: str | None = None,
    classes: Sequence[str] | None = None,
    size: tuple[int, int] | Literal["any"] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write ``network`` to ``path``: its input ``images`` is uint8 ``n 3 i j`` for any n, its
    output ``scores``, ``n k``.

    ``format`` is "onnx" or "pt2" (``torch.export``); without it the suffix of ``path`` says.
    Normalisation is inside. The names ``classes`` and the ``preprocessing`` that is inside go into
    the file (ONNX: metadata; pt2: extra files ``classes.json`` and ``preprocessing.json``).
    ``size``, height and width, is by default that of the images that the network was trained on,
    else 32×32; with "any" one file takes every size. ``ValueError`` without a format, or against
    the suffix, for classes that are not the network's, for any size of a network that takes one
    alone, as EVANets do, or where the file is there already, without ``overwrite``.
    """
    path = Path(path).expanduser()
    kind = format or path.suffix.removeprefix(".")
    if kind not in FORMATS:
        raise ValueError(f"{kind!r} is no format: choose one of {', '.join(FORMATS)}")
    if path.suffix in FORMATS.values() and path.suffix != FORMATS[kind]:
        raise ValueError(
            f"{path} is named as {path.suffix}, and {kind} is asked for: name it"
            f" {path.stem}{FORMATS[kind]}"
        )
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name a file in it")
    if path.exists() and not overwrite:
        raise ValueError(
            f"{path} is there already: name another file, or overwrite it (overwrite=True,"
            " --overwrite)"
        )
    if kind == "onnx":
        need("export", "onnx", "onnxscript")
    if size is None or size == "any":
        height, width = trained_on(network) or (32, 32)
    else:
        height, width = size
    images = torch.zeros(EXAMPLES, 3, height, width, dtype=torch.uint8)
    predict(network, images, classes=classes)  # refuses what does not fit
    deployed, free = Deployed(checkpoint.plain(network)), {0: torch.export.Dim("n", min=1)}
    if size == "any":
        free |= dict.fromkeys((2, 3), torch.export.Dim.DYNAMIC)
        try:
            deployed(images.new_zeros(EXAMPLES, 3, height + 8, width + 16))
        except Exception as error:  # whatever a network of one size says
            raise ValueError(
                f"the network takes no images of any size ({error}): export it for one, as by"
                f" size={height, width}"
            ) from error
    program = torch.export.export(deployed, (images,), dynamic_shapes={"images": free})
    inside = (
        "uint8, n 3 i j; divided by 255, less the mean and divided by the standard deviation of"
        " each channel, inside"
    )
    said = {
        "classes": json.dumps(None if classes is None else [*map(str, classes)]),
        "preprocessing": json.dumps(
            {"images": inside, "mean": list(data.MEAN), "std": list(data.STD)}
        ),
    }
    content = (as_onnx if kind == "onnx" else as_pt2)(program, said)
    return checkpoint.write_atomically(path, content)


def as_pt2(program, said: dict[str, str]) -> bytes:
    """The bytes of the program as ``torch.export.load`` reads them."""
    buffer = io.BytesIO()
    torch.export.save(
        program, buffer, extra_files={f"{name}.json": text for name, text in said.items()}
    )
    return buffer.getvalue()


def as_onnx(program, said: dict[str, str]) -> bytes:
    """The bytes of the program as an ONNX model."""
    from onnx import StringStringEntryProto

    converted = torch.onnx.export(
        program, input_names=["images"], output_names=["scores"], dynamo=True, verbose=False
    )
    assert converted is not None  # it is where no file is written
    model = converted.model_proto
    for name, text in said.items():
        model.metadata_props.append(StringStringEntryProto(key=name, value=text))
    return model.SerializeToString()
