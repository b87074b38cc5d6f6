"""The figures of the book: one function a figure, one style, which each of them sets for as long as it draws.

Letters, axes and lines are drawn in ``INK``, a grey that shows on white and on black; :func:`evalib.pages.display.picture` gives
them the colour of the page's text. A share is blue ink, the more opaque the larger it is.
"""

import matplotlib
import torch
from einops import rearrange
from jaxtyping import Float, Int, UInt8
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from torch import Tensor

from evalib.equations import ring
from evalib.eva import EXTENT, RADII
from evalib.networks import Network
from evalib.tracing import Trace
from evalib.training.data import CLASSES

BLUE, ORANGE, GREY, INK = "#2f6fb5", "#d9730d", "#8a8f98", "#6e737b"
STYLE = {
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), "none"),
    "svg.hashsalt": "evalib",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "figure.dpi": 110,
    "savefig.bbox": "tight",
    "lines.linewidth": 1.8,
}
styled = matplotlib.rc_context(STYLE)  # type: ignore[arg-type]
"""Put before a function that draws: it draws in this style, and leaves matplotlib's as it was."""


def panels(rows: int, columns: int, width: float | int, height: float | int, **options):
    """A figure of ``width`` × ``height`` inches, known to no window, and its array of axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def described(figure: Figure, alt: str) -> Figure:
    """``figure`` with what it shows in words, for those who cannot see it: its label."""
    figure.set_label(" ".join(alt.split()))
    return figure


def bare(axis) -> None:
    """No ticks and no frame."""
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


def tinted(share: Float[Tensor, "*pixels"]) -> Float[Tensor, "*pixels 4"]:
    """Blue ink, clear where ``share`` is 0 or NaN, and letters can still be read on it where it is 1."""
    ink = torch.tensor(to_rgba(BLUE), dtype=share.dtype).expand(*share.shape, 4).clone()
    ink[..., 3] = 0.65 * share.nan_to_num()
    return ink


@styled
def curve(*runs: list[dict]) -> list[Figure]:
    """Loss and accuracy by epoch, on the training and on the validation images; of several runs also the mean and a band.

    The band goes from the least to the greatest of the runs.
    """
    drawings = []
    epochs = [row["epoch"] for row in runs[0]]
    for what, unit in (("loss", "cross-entropy, nats"), ("accuracy", "accuracy, %")):
        figure, ((axis,),) = panels(1, 1, 3.6, 2.6)
        last: list[str] = []
        for part, color, label in (("train", BLUE, "training"), ("validation", ORANGE, "validation")):
            values = torch.tensor([[row[f"{part}_{what}"] for row in rows] for rows in runs])
            if len(runs) > 1:
                axis.fill_between(epochs, values.amin(dim=0), values.amax(dim=0), color=color, alpha=0.2, linewidth=0)
                axis.plot(epochs, values.T, color=color, linewidth=0.5)
            mean = values.mean(dim=0)
            axis.plot(epochs, mean, color=color, marker=".", label=label)
            last.append(f"{mean[-1]:.2f} on the {label} images")
        axis.set(xlabel="epoch", ylabel=unit)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.legend(frameon=False)
        of = f", the mean of {len(runs)} runs in a band that holds them" if len(runs) > 1 else ""
        drawings.append(described(figure, f"{what} by epoch{of}; after epoch {epochs[-1]} {' and '.join(last)}."))
    return drawings


@styled
def confusion(predicted: Int[Tensor, " n"], labels: Int[Tensor, " n"]) -> Figure:
    """How often (%) the images of each class, a row, were taken for each class, a column."""
    counts = torch.zeros(len(CLASSES), len(CLASSES)).index_put_((labels, predicted), torch.ones(()), accumulate=True)
    share = 100 * counts / counts.sum(dim=1, keepdim=True)
    figure, ((axis,),) = panels(1, 1, 5, 4.6)
    axis.imshow(tinted(share / 100))
    for (i, j), value in zip(
        torch.cartesian_prod(*[torch.arange(len(CLASSES))] * 2).tolist(), share.flatten(), strict=True
    ):
        axis.text(j, i, f"{value:.0f}", ha="center", va="center", fontsize=8)
    axis.set_xticks(range(len(CLASSES)), CLASSES, rotation=60, ha="right")
    axis.set_yticks(range(len(CLASSES)), CLASSES)
    axis.set(xlabel="predicted", ylabel="class")
    right = ", ".join(f"{name} {value:.0f}" for name, value in zip(CLASSES, share.diagonal(), strict=True))
    return described(figure, f"Ten classes by ten classes, in percent of a row. Of each class is recognised: {right}.")


@styled
def predictions(images: UInt8[Tensor, "n 3 i j"], predicted: Int[Tensor, " n"], labels: Int[Tensor, " n"]) -> Figure:
    """Images with the class that the network gives them; orange where it errs, with the right one below."""
    figure, axes = panels(2, (len(images) + 1) // 2, 5.4, 2.7)
    for axis in axes.flat:
        axis.axis("off")
    for axis, image, guess, label in zip(axes.flat, images, predicted.tolist(), labels.tolist(), strict=False):
        axis.imshow(rearrange(image, "c i j -> i j c"))
        right = guess == label
        title = CLASSES[guess] if right else f"{CLASSES[guess]}\n({CLASSES[label]})"
        axis.set_title(title, fontsize=8, color=BLUE if right else ORANGE)
    pairs = zip(labels.tolist(), predicted.tolist(), strict=True)
    shown = ", ".join(f"{CLASSES[label]} as {CLASSES[guess]}" for label, guess in pairs)
    return described(figure, f"Test images, each with the class that the network gives it: {shown}.")


def ring_maps(trace: Trace) -> Tensor:
    """The look weights of each stage laid back on the 7×7 map, ``stage n h 7 7``, NaN outside the stage's ring."""
    batch, heads, _ = trace.look_weights[0].shape
    maps = torch.full((len(RADII), batch, heads, EXTENT, EXTENT), torch.nan)
    for stage, (radius, weights) in enumerate(zip(RADII, trace.look_weights, strict=True)):
        row, column = ring(radius) + EXTENT // 2
        maps[stage][:, :, row, column] = weights.detach().cpu().float()
    return maps


@styled
def ring_weights(images: UInt8[Tensor, "n 3 i j"], trace: Trace) -> Figure:
    """EVA's look weights, mean over the heads, on each image's 7×7 map: one column a ring, one row an image.

    Blue is as strong as the weight over the largest of its ring, which stands below.
    """
    maps = ring_maps(trace).nanmean(dim=2)
    figure, axes = panels(len(images), 1 + len(RADII), 5.4, 1.2 * len(images))
    for n, (row, image) in enumerate(zip(axes, images, strict=True)):
        row[0].imshow(rearrange(image, "c i j -> i j c"))
        for stage, axis in enumerate(row[1:]):
            largest = maps[stage, n].nan_to_num().max()
            axis.imshow(tinted(maps[stage, n] / largest))
            axis.set_xlabel(f"up to {largest:.2f}", fontsize=8)
            if n == 0:
                axis.set_title(f"ring {stage}: {len(ring(RADII[stage])[0])} px", fontsize=9)
        for axis in row:
            bare(axis)
        for axis in row[1:]:
            for spine in axis.spines.values():
                spine.set(visible=True, color=GREY, alpha=0.4)
    peaks = [
        ", ".join(f"{maps[stage, n].nan_to_num().max():.2f}" for n in range(len(images))) for stage in range(len(RADII))
    ]
    told = "; ".join(f"ring {stage}: {each}" for stage, each in enumerate(peaks))
    return described(
        figure, f"Images, a row each, and the weights of the four looks on the 7×7 map. Largest weights: {told}."
    )


@styled
def slot_weights(trace: Trace) -> list[Figure]:
    """The recall weights of each stage over the slots q0, attn0, …, mean over heads and images."""
    drawings = []
    for stage, weights in enumerate(trace.recall_weights):
        mean = weights.detach().cpu().float().mean(dim=(0, 1)).tolist()
        figure, ((axis,),) = panels(1, 1, 1.7, 2)
        axis.bar(["q0", *(f"attn{s}" for s in range(stage + 1))], mean, color=BLUE)
        axis.set_title(f"recall {stage}: weight", fontsize=9)
        axis.set(ylim=(0, 1), xlim=(-0.7, len(trace.recall_weights) + 0.7))
        axis.tick_params(axis="x", rotation=60)
        drawings.append(
            described(figure, f"Recall {stage}: {', '.join(f'{weight:.2f}' for weight in mean)} on its slots.")
        )
    return drawings


def effective_field(network: Network, images: Float[Tensor, "n 3 i j"]) -> Float[Tensor, "i j"]:
    """The share that each pixel of the image has in the gradient of the middle pixel of the last map (Luo et al. 2016).

    ``g_ij = Σ |∂ Σ_c y_c,middle / ∂ x_ij|`` over images and colours, divided by its sum, in evaluation mode.
    """
    x = images.clone().requires_grad_()
    y = network.eval().features(x)
    middle = y[..., y.shape[-2] // 2, y.shape[-1] // 2].sum()
    gradient = torch.autograd.grad(middle, x)[0].abs().sum(dim=(0, 1))
    return gradient / gradient.sum()


def pixels_holding(share: Float[Tensor, "i j"], part: float) -> int:
    """The fewest pixels that have ``part`` of the whole together."""
    return int((share.flatten().sort(descending=True).values.cumsum(dim=0) < part).sum()) + 1


@styled
def field(share: Float[Tensor, "i j"]) -> Figure:
    """The share of each pixel, bluer where larger."""
    figure, ((axis,),) = panels(1, 1, 2.4, 2.4)
    axis.imshow(tinted(share / share.max()).numpy())
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set(visible=True, color=GREY, alpha=0.4)
    half, most = (pixels_holding(share, part) for part in (0.5, 0.95))
    return described(
        figure, f"A square image, blue in its middle: {half} pixels have half of the gradient, {most} have 95 %."
    )
