"""The paper's figures of modules, drawn anew: boxes and arrows, with what a real forward pass was seen to do."""

from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from evalib.equations import ring
from evalib.eva import EXTENT, RADII, ExpandingVisualAttention
from evalib.experiments import build
from evalib.pages.figures import BLUE, GREY, INK, ORANGE, bare, described, styled
from evalib.tracing import trace


class Stage(NamedTuple):
    """What one stage of EVA read: names of vectors, and how many pixels."""

    query: str
    pixels: int
    attn: str
    slots: list[str]


def stages() -> list[Stage]:
    """The four stages, seen by listening to one pass of the module: each vector is found again by its value."""
    heard = []
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        eva = ExpandingVisualAttention(4, 4, 4, num_heads=1)
        for part in (*eva.looks, *eva.recalls):
            part.register_forward_pre_hook(lambda _, inputs: heard.append(inputs))
        _, seen = trace(eva, torch.randn(1, 4, EXTENT, EXTENT))
    known = {f"q{s}": q for s, q in enumerate(seen.queries)} | {f"attn{s}": attn for s, attn in enumerate(seen.looks)}

    def name(vector: Tensor) -> str:
        return next(name for name, value in known.items() if torch.equal(value, vector))

    return [
        Stage(name(query), pixels.shape[1], name(attn), [name(slot) for slot in slots.unbind(1)])
        for (query, pixels), (attn, slots) in zip(heard[::2], heard[1::2], strict=True)
    ]


@styled
def eva_graph() -> Figure:
    """Figure 5: the computation graph of EVA, with what each attention read in a real pass."""
    left, middle, right, line = 0.42, 1.55, 3.2, 4.12
    figure, axis = canvas(4.6, 8.2)
    for y, text in ((0, f"map, {EXTENT}×{EXTENT} pixels"), (0.8, f"{EXTENT}×{EXTENT} convolution"), (1.6, "FFN")):
        box(axis, middle, y, 1.6, text)
    arrow(axis, (middle, 0.22), (middle, 0.58))
    arrow(axis, (middle, 1.02), (middle, 1.38), "q candidate", (0.48, 0))
    top, rows = 1.82, [2.75 + 1.3 * s for s in range(len(RADII))]
    axis.plot([middle, line, line], [2.1, 2.1, rows[-1]], color=GREY, linewidth=1)
    axis.text(line, 1.98, "slots", ha="center", va="center", fontsize=9)
    for s, (stage, y) in enumerate(zip(stages(), rows, strict=True)):
        box(axis, left, y, 0.8, f"ring {s}\n{stage.pixels} px", BLUE)
        box(axis, middle, y, 1.06, "Attention 2D", ORANGE)
        box(axis, right, y, 1.06, f"Attention 1D\n{len(stage.slots)} slots", ORANGE)
        arrow(axis, (left + 0.4, y), (middle - 0.53, y))
        arrow(axis, (middle + 0.53, y), (right - 0.53, y), stage.attn, (0, 0.13))
        axis.plot([2.37, 2.37, line], [y, y - 0.42, y - 0.42], color=GREY, linewidth=1)
        axis.plot([line], [y - 0.42], color=GREY, marker="o", markersize=3)
        arrow(axis, (line, y), (right + 0.53, y), color=GREY)
        arrow(axis, (middle, top), (middle, y - 0.22), stage.query, (0.2, 0.1))
        if s + 1 < len(rows):
            axis.plot([right, right, middle], [y + 0.22, y + 0.62, y + 0.62], color=INK, linewidth=1.2)
        top = y + 0.62
    end = rows[-1]
    arrow(axis, (right, end + 0.22), (right, end + 0.7), "attn_out", (-0.38, 0))
    box(axis, right, end + 0.92, 1.06, "FFN")
    arrow(axis, (right, end + 1.14), (right, end + 1.5))
    axis.text(right, end + 1.62, "output", ha="center", va="center", fontsize=9)
    told = " ".join(
        f"Stage {s}: Attention 2D reads query {stage.query} and the {stage.pixels} px of ring {s} and gives {stage.attn}; "
        f"Attention 1D reads {stage.attn} and the slots {', '.join(stage.slots)}."
        for s, stage in enumerate(stages())
    )
    return described(
        figure,
        f"A graph from top to bottom. The map goes through a {EXTENT}×{EXTENT} convolution and an FFN, which give q0. {told} "
        "Each result is the query of the next stage; the last, attn_out, goes through an FFN to the output.",
    )


@styled
def block(title: str, layers: list[tuple[str, str]]) -> Figure:
    """A residual block: its layers from top to bottom, each a text and a colour, and the shortcut that skips them."""
    figure, axis = canvas(1.76, 0.55 * len(layers) + 1.9)
    axis.text(0.8, -0.15, title, ha="center", va="center", fontsize=10)
    arrow(axis, (0.8, 0.1), (0.8, 0.48))
    for y, (text, color) in enumerate(layers):
        box(axis, 0.8, 0.7 + 0.55 * y, 1.4, text, color, 0.36)
        arrow(axis, (0.8, 0.88 + 0.55 * y), (0.8, 1.07 + 0.55 * y))
    end = 0.55 * len(layers) + 0.7
    axis.text(0.8, end, "+", ha="center", va="center", fontsize=14)
    axis.plot([0.8, 1.66, 1.66], [0.28, 0.28, end], color=GREY, linewidth=1.2)
    arrow(axis, (1.66, end), (0.92, end), color=GREY)
    arrow(axis, (0.8, end + 0.14), (0.8, end + 0.45), "ReLU", (0.3, 0))
    told = ", ".join(text for text, _ in layers)
    return described(figure, f"{title}: {told}; a shortcut leads around them to a sum, which a ReLU follows.")


def canvas(width: float, height: float):
    """A figure whose axes count in inches, downwards."""
    figure = Figure(figsize=(width, height))
    axis = figure.add_axes((0, 0, 1, 1))
    bare(axis)
    axis.set(xlim=(0, width), ylim=(height - 0.35, -0.35))
    return figure, axis


def box(axis, x: float, y: float, width: float, text: str, color: str = GREY, height: float = 0.44) -> None:
    """A text in a box around (x, y)."""
    corner = (x - width / 2, y - height / 2)
    axis.add_patch(Rectangle(corner, width, height, facecolor=color, alpha=0.3))
    axis.add_patch(Rectangle(corner, width, height, fill=False, edgecolor=color, linewidth=1.2))
    axis.text(x, y, text, ha="center", va="center", fontsize=9)


def arrow(axis, start, end, text: str = "", shift=(0.42, 0), color: str = INK) -> None:
    """An arrow, with a text beside its middle."""
    style = {"arrowstyle": "-|>", "color": color, "shrinkA": 0, "shrinkB": 0, "linewidth": 1.2}
    axis.annotate("", end, start, arrowprops=style, annotation_clip=False)
    x, y = ((a + b) / 2 + d for a, b, d in zip(start, end, shift, strict=True))
    axis.text(x, y, text, ha="center", va="center", fontsize=9)


def shapes(name: str) -> dict[str, tuple[int, ...]]:
    """The shape of one image after each part of the network ``name``, batch left out, seen in one pass."""
    seen: dict[str, tuple[int, ...]] = {"image": (3, 32, 32)}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        network = build(name).eval()
        third = len(network.stages) // 3
        named = {f"stage {s}": network.stages[third * s - 1] for s in (1, 2, 3)}
        parts = {"stem": network.stem, **named, "summary": network.summary, "classifier": network.classifier}
        for part, module in parts.items():
            module.register_forward_hook(
                lambda _, inputs, output, part=part: seen.update({part: tuple(output.shape[1:])})
            )
        network(torch.zeros(1, 3, 32, 32))
    return seen


MIDDLE, GAP = 0.2, 0.36
"""Of the pipeline, in inches: where the middle of each map lies, and how long an arrow is."""


def label(axis, x: float, shape: str, words: str, color: str = INK) -> None:
    """A shape, and what has it, below a part of the pipeline."""
    axis.text(x, MIDDLE + 0.62, shape, ha="center", va="center", fontsize=9)
    axis.text(x, MIDDLE + 0.78, words, ha="center", va="top", fontsize=8.5, color=color)


@styled
def pipeline() -> list[Figure]:
    """The small networks from the image to the class scores: the maps, each as large as its rows; then the head.

    Below each part stand channels × rows × columns, as a pass of EVANet-20 small had them.
    """
    sizes = shapes("evanet20-small")
    return [backbone(sizes), head(sizes)]


def backbone(sizes: dict[str, tuple[int, ...]]) -> Figure:
    """From the image to the last map."""
    figure, axis = canvas(4.72, 1.75)
    edge, told = 0.05, []
    for part in ("image", "stem", "stage 1", "stage 2", "stage 3"):
        channels, side, _ = sizes[part]
        half = 0.012 * side
        x = edge + half + (0 if part == "image" else GAP + 0.16 * (part == "stage 3"))
        corner = (x - half, MIDDLE - half)
        axis.add_patch(Rectangle(corner, 2 * half, 2 * half, facecolor=BLUE, alpha=0.25, edgecolor=BLUE))
        label(axis, x, f"{channels}×{side}×{side}", part + "\n(SANets:\nattention)" * (part == "stage 3"))
        if part != "image":
            arrow(axis, (edge + 0.05, MIDDLE), (x - half - 0.05, MIDDLE))
        edge = x + half
        told.append(f"{part} {channels}×{side}×{side}")
    return described(figure, f"From left to right, channels × rows × columns: {', '.join(told)}.")


def head(sizes: dict[str, tuple[int, ...]]) -> Figure:
    """From the last map to the class scores."""
    figure, axis = canvas(2.4, 1.75)
    cell, left = 0.1, 0.42
    for stage, radius in enumerate(RADII):
        for row, column in (ring(radius) + EXTENT // 2).T.tolist():
            corner = (left + cell * column, MIDDLE + cell * (row - EXTENT / 2))
            axis.add_patch(Rectangle(corner, 0.88 * cell, 0.88 * cell, facecolor=ORANGE, alpha=0.95 - 0.22 * stage))
    last = f"{sizes['stage 3'][0]}×{EXTENT}×{EXTENT}"
    label(axis, left + cell * EXTENT / 2, last, "EVA, ring by ring\n(others: mean)", ORANGE)
    arrow(axis, (0.05, MIDDLE), (left - 0.05, MIDDLE))
    edge = left + cell * EXTENT
    for part, words, height in (("summary", "vector", 0.8), ("classifier", "class\nscores", 0.45)):
        x = edge + GAP + 0.12
        axis.add_patch(Rectangle((x - 0.06, MIDDLE - height / 2), 0.12, height, facecolor=INK, alpha=0.4))
        label(axis, x, str(sizes[part][0]), words)
        arrow(axis, (edge + 0.05, MIDDLE), (x - 0.1, MIDDLE))
        edge = x + 0.06
    counts = [sizes[part][0] for part in ("summary", "classifier")]
    return described(
        figure, f"EVA reads {last}, the others take the mean; a vector of {counts[0]}, then {counts[1]} class scores."
    )
