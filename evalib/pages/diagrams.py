"""The book's diagrams: the networks from image to answer, their blocks, and what EVA reads when."""

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from evalib.equations import ring
from evalib.eva import EXTENT, RADII
from evalib.pages.figures import COLOURS, GREY, INK, arrow, box, canvas, described, styled

MIDDLE, GAP = 0.2, 0.36  # inches: where the middle of each map lies, and how long an arrow is


def below(axis, x, shape, words) -> None:
    """A shape, and what has it, below a part of the pipeline."""
    axis.text(x, MIDDLE + 0.62, shape, ha="center", va="center", fontsize=9)
    axis.text(x, MIDDLE + 0.78, words, ha="center", va="top", fontsize=8.5)


@styled
def backbone(sizes) -> Figure:
    """From the image to the last map, each map as large as its rows."""
    figure, axis = canvas(4.72, 1.75)
    edge, told = 0.05, []
    for part in ("image", "stem", "stage 1", "stage 2", "stage 3"):
        channels, side, _ = sizes[part]
        half = 0.012 * side
        x = edge + half + (0 if part == "image" else GAP + 0.16 * (part == "stage 3"))
        square = Rectangle((x - half, MIDDLE - half), 2 * half, 2 * half)
        square.set(facecolor=COLOURS["convolution"], alpha=0.35)
        axis.add_patch(square)
        words = "stage 3\n(SANets:\nattention)" if part == "stage 3" else part
        below(axis, x, f"{channels}×{side}×{side}", words)
        if part != "image":
            arrow(axis, (edge + 0.05, MIDDLE), (x - half - 0.05, MIDDLE))
        edge = x + half
        told.append(f"{part} {channels}×{side}×{side}")
    return described(figure, f"From left to right, channels × rows × columns: {', '.join(told)}.")


@styled
def head(sizes) -> Figure:
    """From the last map, read ring by ring, to the class scores."""
    figure, axis = canvas(2.4, 1.75)
    cell, left, blue = 0.1, 0.42, COLOURS["EVA"]
    for stage, radius in enumerate(RADII):
        for row, column in (ring(radius) + EXTENT // 2).T.tolist():
            corner = (left + cell * column, MIDDLE + cell * (row - EXTENT / 2))
            shade = 0.95 - 0.22 * stage
            axis.add_patch(Rectangle(corner, 0.88 * cell, 0.88 * cell, facecolor=blue, alpha=shade))
    last = f"{sizes['stage 3'][0]}×{EXTENT}×{EXTENT}"
    below(axis, left + cell * EXTENT / 2, last, "EVA, ring by ring\n(others: mean)")
    arrow(axis, (0.05, MIDDLE), (left - 0.05, MIDDLE))
    edge = left + cell * EXTENT
    for part, words, height in (("summary", "vector", 0.8), ("classifier", "class\nscores", 0.45)):
        x = edge + GAP + 0.12
        bar = Rectangle((x - 0.06, MIDDLE - height / 2), 0.12, height, facecolor=INK, alpha=0.4)
        axis.add_patch(bar)
        below(axis, x, str(sizes[part][0]), words)
        arrow(axis, (edge + 0.05, MIDDLE), (x - 0.1, MIDDLE))
        edge = x + 0.06
    vector, scores = sizes["summary"][0], sizes["classifier"][0]
    told = (
        f"EVA reads {last}, the others take the mean; a vector of {vector}, then {scores} scores."
    )
    return described(figure, told)


@styled
def block(title, layers) -> Figure:
    """A residual block: its layers, each a text and a colour, and the shortcut around them."""
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
    return described(
        figure, f"{title}: {told}; a shortcut leads around them to a sum, which a ReLU follows."
    )


@styled
def graph(stages) -> Figure:
    """The computation graph of EVA, with what each attention reads."""
    left, middle, right, line = 0.42, 1.55, 3.2, 4.12
    blue, ink = COLOURS["EVA"], INK
    figure, axis = canvas(4.6, 8.2)
    for y, text in ((0, "map, 7×7 pixels"), (0.8, "7×7 convolution"), (1.6, "FFN")):
        box(axis, middle, y, 1.6, text)
    arrow(axis, (middle, 0.22), (middle, 0.58))
    arrow(axis, (middle, 1.02), (middle, 1.38), "q candidate", (0.48, 0))
    top, rows = 1.82, [2.75 + 1.3 * s for s in range(4)]
    axis.plot([middle, line, line], [2.1, 2.1, rows[-1]], color=GREY, linewidth=1)
    axis.text(line, 1.98, "slots", ha="center", va="center", fontsize=9)
    told = []
    for s, ((query, pixels, attn, slots), y) in enumerate(zip(stages, rows, strict=True)):
        box(axis, left, y, 0.8, f"ring {s}\n{pixels} px", ink)
        box(axis, middle, y, 1.06, "look", blue)
        box(axis, right, y, 1.06, f"recall\n{len(slots)} slots", blue)
        arrow(axis, (left + 0.4, y), (middle - 0.53, y))
        arrow(axis, (middle + 0.53, y), (right - 0.53, y), attn, (0, 0.13))
        axis.plot([2.37, 2.37, line], [y, y - 0.42, y - 0.42], color=GREY, linewidth=1)
        axis.plot([line], [y - 0.42], color=GREY, marker="o", markersize=3)
        arrow(axis, (line, y), (right + 0.53, y), color=GREY)
        arrow(axis, (middle, top), (middle, y - 0.22), query, (0.2, 0.1))
        if s < 3:
            axis.plot(
                [right, right, middle], [y + 0.22, y + 0.62, y + 0.62], color=ink, linewidth=1.2
            )
        top = y + 0.62
        told.append(
            f"Stage {s}: the look with {query} reads the {pixels} px of ring {s} and gives {attn}; "
            f"the recall with {attn} reads the slots {', '.join(slots)}."
        )
    end = rows[-1]
    arrow(axis, (right, end + 0.22), (right, end + 0.7), "attn_out", (-0.38, 0))
    box(axis, right, end + 0.92, 1.06, "FFN")
    arrow(axis, (right, end + 1.14), (right, end + 1.5))
    axis.text(right, end + 1.62, "output", ha="center", va="center", fontsize=9)
    start = "The map goes through a 7×7 convolution and an FFN, which give q0."
    return described(figure, f"{start} {' '.join(told)} The last result goes through an FFN.")
