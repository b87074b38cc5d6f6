"""The paper's figures, drawn anew: grids of numbers, each computed by the equations, and graphs of boxes and arrows."""

from typing import NamedTuple

import torch
from einops import einsum
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from evalib.equations import convolution, local_attention, softmax_ab
from evalib.eva import EXTENT, ExpandingVisualAttention
from evalib.geometry import RADII, inside, ring, windows
from evalib.pages.figures import BLUE, GREY, INK, ORANGE, bare, tinted

CELL = 0.52
"""Inches from one cell of a grid to the next."""


def grid(title: str, texts: list[list[str]], share=0.25, framed=(), numbered=False, cell: float = CELL) -> Figure:
    """One text a cell, on blue ink as strong as its ``share``, 0 to 1; orange frames around the cells ``framed``.

    With ``numbered`` the rows and the columns carry their numbers, from one, as the paper counts.
    """
    rows, columns = len(texts), len(texts[0])
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
            color, edge = tinted(share[i, j]).tolist(), ORANGE if (i, j) in framed else "none"
            axis.add_patch(Rectangle((j - 0.46, i - 0.46), 0.92, 0.92, facecolor=color, edgecolor=edge, linewidth=2))
            axis.text(j, i, text, ha="center", va="center", fontsize=9)
    return figure


def numbers(values: Float[Tensor, "i j"], form: str = "g") -> list[list[str]]:
    """Each number as a text, with a true minus sign."""
    return [[format(value + 0.0, form).replace("-", "−") for value in row] for row in values.tolist()]


def local_window(height: int, width: int, pixel: tuple[int, int], kernel_size: int) -> Figure:
    """Figure 1: the window of ``pixel``, counted from zero, on a grid; each cell says its row and column from one."""
    i, j = pixel
    places = torch.arange(1.0, height * width + 1).reshape(height, width)
    seen = torch.isin(places, windows(places, kernel_size)[i, j].contiguous())
    texts = [[f"{row}, {column}" for column in range(1, width + 1)] for row in range(1, height + 1)]
    return grid(f"window of pixel {i + 1}, {j + 1}, k = {kernel_size}", texts, 0.12 + 0.48 * seen, {pixel}, True)


def convolved(image: Float[Tensor, "i j"], weight: Float[Tensor, "k k"], pixel: tuple[int, int]) -> list[Figure]:
    """Figure 2: the window of ``pixel`` in the image, the weights, their products, and the output with their sum."""
    kernel_size = len(weight)
    places = torch.arange(1, image.numel() + 1).reshape(image.shape)
    seen = torch.isin(places, windows(places, kernel_size)[pixel].contiguous())
    products = windows(image, kernel_size)[pixel] * weight
    output = convolution(image[None, None], weight[None, None])[0, 0]
    here = torch.zeros(image.shape)
    here[pixel] = 0.48
    return [
        grid("image and window", numbers(image), 0.12 + 0.48 * seen, {pixel}, cell=0.4),
        grid("weights", numbers(weight), cell=0.4),
        grid(f"products, sum {numbers(products.sum()[None, None])[0][0]}", numbers(products), 0.6, cell=0.4),
        grid("output", numbers(output), 0.12 + here, {pixel}, cell=0.4),
    ]


def attended(
    q: Float[Tensor, "c i j"],
    k: Float[Tensor, "c i j"],
    v: Float[Tensor, "c i j"],
    pixel: tuple[int, int],
    kernel_size: int,
) -> list[Figure]:
    """Figure 3: query, keys, logits, softmax, values and output of the window of one pixel inside the image."""
    key, value = (windows(t, kernel_size)[:, *pixel] for t in (k, v))
    content = einsum(q[:, *pixel], key, "c, c a b -> a b")
    height, width = q.shape[1:]
    everywhere = inside(height, width, kernel_size)[pixel]
    weights = softmax_ab(content[None, None, None, None], everywhere[None, None])[0, 0, 0, 0]
    output = local_attention(q[None, None], k[None, None], v[None, None], kernel_size)[0, 0, :, *pixel]
    return [
        grid("query", vectors(q[:, *pixel][:, None, None]), 0.6),
        grid("keys", vectors(key)),
        grid("logits: query · key", numbers(content)),
        grid("weights: softmax", numbers(weights, ".2f"), weights / weights.max()),
        grid("values", vectors(value), weights / weights.max()),
        grid("output: Σ weight × value", vectors(output[:, None, None], ".1f"), 0.6),
    ]


def vectors(values: Float[Tensor, "c i j"], form: str = "g") -> list[list[str]]:
    """The channels of each pixel as one text."""
    channels = [numbers(channel, form) for channel in values]
    return [[", ".join(parts) for parts in zip(*rows, strict=True)] for rows in zip(*channels, strict=True)]


def offsets(kernel_size: int) -> Figure:
    """Figure 4: the row offset and the column offset of each cell of a window from its centre."""
    half = kernel_size // 2
    steps = torch.arange(-half, half + 1).double()
    row, column = torch.meshgrid(steps, steps, indexing="ij")
    return grid("row offset, column offset", vectors(torch.stack([row, column])), framed={(half, half)})


def rings() -> Figure:
    """The memory blocks of EVA: each pixel with the number of its ring, the inner rings darker."""
    number = torch.zeros(EXTENT, EXTENT)
    for stage, radius in enumerate(RADII):
        row, column = ring(radius) + EXTENT // 2
        number[row, column] = stage
    return grid(f"rings of the {EXTENT}×{EXTENT} map", numbers(number), 1 - number / len(RADII), {(EXTENT // 2,) * 2})


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
        _, trace = eva(torch.randn(1, 4, EXTENT, EXTENT), trace=True)
    known = {f"q{s}": q for s, q in enumerate(trace.queries)} | {f"attn{s}": attn for s, attn in enumerate(trace.looks)}

    def name(vector: Tensor) -> str:
        return next(name for name, value in known.items() if torch.equal(value, vector))

    return [
        Stage(name(query), pixels.shape[1], name(attn), [name(slot) for slot in slots.unbind(1)])
        for (query, pixels), (attn, slots) in zip(heard[::2], heard[1::2], strict=True)
    ]


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
    return figure


def block(title: str, layers: list[tuple[str, str]]) -> Figure:
    """A residual block: its layers from top to bottom, each a text and a colour, and the shortcut that skips them."""
    figure, axis = canvas(2.3, 0.55 * len(layers) + 1.9)
    axis.text(1, -0.15, title, ha="center", va="center", fontsize=10)
    arrow(axis, (1, 0.1), (1, 0.48))
    for y, (text, color) in enumerate(layers):
        box(axis, 1, 0.7 + 0.55 * y, 1.75, text, color, 0.36)
        arrow(axis, (1, 0.88 + 0.55 * y), (1, 1.07 + 0.55 * y))
    end = 0.55 * len(layers) + 0.7
    axis.text(1, end, "+", ha="center", va="center", fontsize=14)
    axis.plot([1, 2.1, 2.1], [0.28, 0.28, end], color=GREY, linewidth=1.2)
    arrow(axis, (2.1, end), (1.12, end), color=GREY)
    arrow(axis, (1, end + 0.14), (1, end + 0.45), "ReLU", (0.3, 0))
    return figure


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
