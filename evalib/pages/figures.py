"""The figures that several pages share: one style, one colour a thing, and one function a figure.

Letters, axes and lines are drawn in ``INK``, a grey that shows on white and on black;
:func:`evalib.pages.display.picture` gives them the colour of the page's text. A share is blue ink,
the more opaque the larger it is.
"""

from io import BytesIO

import matplotlib
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from evalib.equations import ring
from evalib.eva import EXTENT, RADII
from evalib.results.tables import state_of
from evalib.tracing import Trace

BLUE, GREEN, RED, ORANGE = "#2f6fb5", "#2b8a6e", "#c44536", "#d9730d"
GREY, INK = "#8a8f98", "#6e737b"
HAIRLINE = f"{GREY}66"

COLOURS = {
    "ResNet": GREY,
    "SANet": GREEN,
    "EVANet": BLUE,
    "convolution": GREY,
    "attention": GREEN,
    "EVA": BLUE,
    "scaled": BLUE,
    "letter": RED,
    "normed": "#5b4fc4",
    "standard": "#8661b5",
    "standard-normed": "#1f8fa8",
    "residual": "#b0569a",
    "published": "#a07c1e",
    "training": "#1f8fa8",
    "validation": "#b0569a",
    "weight": BLUE,
    "positive": BLUE,
    "negative": ORANGE,
}
"""The colour of a thing, on every page. ``browser/parts.css`` has the same blue and orange."""

STYLE = {
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor"), INK),
    **dict.fromkeys(("xtick.color", "ytick.color"), INK),
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
"""Before a function that draws: it draws in this style, and leaves matplotlib's as it was."""


def panels(rows: int, columns: int, width: float | int, height: float | int, **options):
    """A figure of ``width`` × ``height`` inches, known to no window, and its array of axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def canvas(width: float | int, height: float | int):
    """A figure whose axes count in inches, downwards."""
    figure = Figure(figsize=(width, height))
    axis = figure.add_axes((0, 0, 1, 1))
    bare(axis)
    axis.set(xlim=(0, width), ylim=(height - 0.35, -0.35))
    return figure, axis


def described(figure: Figure, alt: str) -> Figure:
    """``figure`` with what it shows in words, for those who cannot see it: its label."""
    figure.set_label(" ".join(alt.split()))
    return figure


def bare(axis) -> None:
    """No ticks and no frame."""
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


def framed(axis) -> None:
    """No ticks, and a thin frame."""
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set(visible=True, color=GREY, alpha=0.4)


def tinted(share: Float[Tensor, "*pixels"]) -> Float[Tensor, "*pixels 4"]:
    """Blue ink, orange where ``share`` is negative; clear at 0 and NaN.

    Letters can still be read on it where the share is 1.
    """
    share = share.nan_to_num()
    positive, negative = (
        torch.tensor(to_rgba(COLOURS[sign]), dtype=share.dtype) for sign in ("positive", "negative")
    )
    ink = torch.where(share[..., None] < 0, negative, positive)
    ink[..., 3] = 0.65 * share.abs()
    return ink


def weighed(weights: Float[Tensor, "*pixels"]) -> Float[Tensor, "*pixels"]:
    """The ink of attention weights, the same in every figure: their square root."""
    return weights.nan_to_num().sqrt()


# grids of numbers


@styled
def grid(
    title: str, texts: list[list[str]], share=0.25, marked=(), numbered=False, cell: float = 0.52
) -> Figure:
    """One text a cell, on ink as strong as its ``share``, 0 to 1; frames around ``marked``.

    With ``numbered`` the rows and the columns carry their numbers, from one, as the paper counts.
    ``cell`` is the distance of two cells in inches.
    """
    rows, columns = len(texts), max(map(len, texts))
    share = torch.as_tensor(share, dtype=torch.float64).expand(rows, columns)
    figure = Figure(figsize=(cell * columns, cell * rows))
    axis = figure.add_axes((0, 0, 1, 1))
    bare(axis)
    axis.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
    axis.set_title(title, loc="left", fontsize=10)
    if numbered:
        axis.set_xticks(range(columns), map(str, range(1, columns + 1)))
        axis.set_yticks(range(rows), map(str, range(1, rows + 1)))
        axis.tick_params(length=0)
    for i, row in enumerate(texts):
        for j, text in enumerate(row):
            fill, edge = tinted(share[i, j]).tolist(), "none"
            if (i, j) in marked:
                edge = INK
            elif not text:  # a hairline, or nothing would be seen
                edge = HAIRLINE
            square = Rectangle((j - 0.46, i - 0.46), 0.92, 0.92, facecolor=fill, edgecolor=edge)
            square.set_linewidth(2 if (i, j) in marked else 0.8)
            axis.add_patch(square)
            axis.text(j, i, text, ha="center", va="center", fontsize=9)
    read = "; ".join(" | ".join(" ".join(text.split()) or "empty" for text in row) for row in texts)
    return described(figure, f"{title}: {read}.")


def numbers(values: Float[Tensor, "i j"], form: str = "g") -> list[list[str]]:
    """Each number as a text, with a true minus sign; nothing for NaN."""
    return [
        ["" if value != value else format(value + 0.0, form).replace("-", "−") for value in row]
        for row in values.tolist()
    ]


def vectors(values: Float[Tensor, "c i j"], form: str = "g") -> list[list[str]]:
    """The channels of each pixel as one text."""
    channels = [numbers(channel, form) for channel in values]
    return [
        [", ".join(parts) for parts in zip(*rows, strict=True)]
        for rows in zip(*channels, strict=True)
    ]


# boxes and arrows


def box(axis, x, y, width, text: str, color=GREY, height=0.44) -> None:
    """A text in a box around (x, y)."""
    corner = (x - width / 2, y - height / 2)
    axis.add_patch(Rectangle(corner, width, height, facecolor=color, alpha=0.3))
    axis.add_patch(Rectangle(corner, width, height, fill=False, edgecolor=color, linewidth=1.2))
    axis.text(x, y, text, ha="center", va="center", fontsize=9)


def arrow(axis, start, end, text: str = "", shift=(0.42, 0), color: str = INK) -> None:
    """An arrow, with a text beside its middle."""
    look = {"arrowstyle": "-|>", "color": color, "shrinkA": 0, "shrinkB": 0, "linewidth": 1.2}
    axis.annotate("", end, start, arrowprops=look, annotation_clip=False)
    x, y = ((a + b) / 2 + d for a, b, d in zip(start, end, shift, strict=True))
    axis.text(x, y, text, ha="center", va="center", fontsize=9)


# what a network does


@styled
def ring_weights(images: UInt8[Tensor, "n 3 i j"], trace: Trace) -> Figure:
    """EVA's look weights, mean over the heads, on the 7×7 map: a column a ring, a row an image.

    The largest weight of each ring stands below.
    """
    figure, axes = panels(len(images), 1 + len(RADII), 5.4, 1.2 * len(images))
    told = []
    for row, image in zip(axes, images, strict=True):
        row[0].imshow(rearrange(image, "c i j -> i j c").numpy())
        bare(row[0])
    for radius, looks in zip(RADII, trace.look_weights, strict=True):
        at, weights = ring(radius) + EXTENT // 2, looks.detach().cpu().float().mean(dim=1)
        peaks = [f"{peak:.2f}" for peak in weights.amax(dim=1).tolist()]
        for n, axis in enumerate(axes[:, 1 + radius]):
            shown = weights.new_zeros(EXTENT, EXTENT)
            shown[*at] = weights[n]
            axis.imshow(tinted(weighed(shown)).numpy())
            axis.set_xlabel(f"up to {peaks[n]}", fontsize=8)
            framed(axis)
        axes[0, 1 + radius].set_title(f"ring {radius}: {at.shape[1]} px", fontsize=9)
        told.append(f"ring {radius}: {', '.join(peaks)}")
    return described(
        figure,
        "Images, a row each, and the weights of the four looks on the 7×7 map. Largest weights:"
        f" {'; '.join(told)}.",
    )


@styled
def slot_weights(trace: Trace) -> list[Figure]:
    """The recall weights of each stage over the slots, mean over heads and images."""
    drawings = []
    for stage, weights in enumerate(trace.recall_weights):
        mean = weights.detach().cpu().float().mean(dim=(0, 1)).tolist()
        figure, ((axis,),) = panels(1, 1, 1.7, 2)
        axis.bar(["q0", *(f"attn{s}" for s in range(stage + 1))], mean, color=COLOURS["weight"])
        axis.set_title(f"recall {stage}: weight", fontsize=9)
        axis.set(ylim=(0, 1), xlim=(-0.7, len(trace.recall_weights) + 0.7))
        axis.tick_params(axis="x", rotation=60)
        told = ", ".join(f"{weight:.2f}" for weight in mean)
        drawings.append(described(figure, f"Recall {stage}: {told} on its slots."))
    return drawings


# what records say


@styled
def by_epoch(courses, label: str, title="", width=3.6, height=2.6, above=False, **limits) -> Figure:
    """A line a run: of each its name, its values by epoch, a colour and a kind of line.

    A name stands once in the legend, ``above`` the axes or in them.
    """
    figure, ((axis,),) = panels(1, 1, width, height)
    told, named = [], set()
    for name, values, colour, line in courses:
        new = None if name in named else name
        axis.plot(range(1, len(values) + 1), values, line, color=colour, lw=1.3, label=new)
        named.add(name)
        told.append(f"{name} {values[-1]:.2f} after epoch {len(values)}")
    axis.set(xlabel="epoch", ylabel=label, **limits)
    axis.set_title(title, fontsize=9)
    axis.xaxis.get_major_locator().set_params(integer=True)
    look = {"frameon": False, "fontsize": 8.5}
    if above:
        figure.legend(loc="outside upper center", ncols=2, **look)
    else:
        axis.legend(**look)
    return described(figure, f"{title} {label} by epoch: {'; '.join(told)}.")


@styled
def against_paper(rows: list[dict], least: float = 82.0, most: float = 96.2) -> Figure:
    """The paper's accuracy of each network, and ours: a dot a seed, and the interval of their mean.

    What lies below ``least`` is drawn at the left edge, with its number; a dash has no record.
    """
    figure, ((axis,),) = panels(1, 1, 5.4, 0.75 + 0.34 * len(rows))
    return described(figure, f"Test accuracies in percent. {draw_rows(axis, rows, least, most)}.")


def draw_rows(axis, rows: list[dict], least: float, most: float, size: float = 6.0) -> str:
    """The figure of :func:`against_paper` on ``axis``, its dots ``size`` points wide; in words."""
    at_left = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": "small"}
    hollow = {"markerfacecolor": "none", "markersize": size}
    told = []
    for y, row in enumerate(rows):
        network, _, variant = row["model"].partition(", ")
        color = (
            COLOURS["letter"] if variant == "letter" else COLOURS.get(network.split("-")[0], INK)
        )
        if row["paper"] is not None:
            axis.plot(row["paper"], y, "D", color=INK, **hollow)
        low, high = row["low"], row["high"]
        if high is not None and high > least:
            axis.plot([max(low, least), high], [y, y], color=color, alpha=0.4, linewidth=4)
        for value in row["accuracies"]:
            mark = "o" if value >= least else "<"
            axis.plot(max(value, least), y, mark, color=color, alpha=0.8, markersize=size)
        if not row["accuracies"]:
            axis.annotate(f"– {state_of(row)}", (0.01, y), **at_left)
        below = [f"{value:.1f}" for value in row["accuracies"] if value < least]
        axis.annotate(", ".join(below), (0.05, y), **at_left)
        papers = "–" if row["paper"] is None else f"{row['paper']:.2f}"
        found = ", ".join(f"{value:.2f}" for value in row["accuracies"]) or state_of(row)
        told.append(f"{row['model']}: paper {papers}, ours {found}")
    axis.plot([], [], "D", color=INK, label="paper", **hollow)
    axis.plot([], [], "o", color=INK, markersize=size, label="ours, a dot a seed")
    axis.set_yticks(range(len(rows)), [row["model"] for row in rows])
    axis.set(xlabel="test accuracy, %", ylim=(len(rows) - 0.5, -0.5), xlim=(least - 0.4, most))
    corner = {"loc": "lower right", "bbox_to_anchor": (1, 1), "borderaxespad": 0}
    axis.legend(frameon=False, fontsize="small", ncols=2, **corner)
    return "; ".join(told)


def share(rows: list[dict], title: str) -> bytes:
    """The picture of a shared link, a PNG of 1200 × 630 pixels: the figure under a title."""
    file = BytesIO()
    larger = STYLE | {"font.size": 22, "savefig.bbox": None}
    with matplotlib.rc_context(larger):  # type: ignore[arg-type]
        figure, ((axis,),) = panels(1, 1, 12, 6.3)
        figure.set_facecolor("white")
        draw_rows(axis, rows, 82.0, 96.2, 11.0)
        figure.suptitle(title, x=0.02, ha="left", fontsize=34, fontweight="bold", color="#22262b")
        figure.savefig(file, dpi=100)
    return file.getvalue()
