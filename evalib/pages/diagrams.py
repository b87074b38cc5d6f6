"""The paper's figures of pixels, drawn anew: grids of numbers, each computed by the equations."""

import torch
from einops import einsum
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from evalib.equations import convolution, inside, local_attention, ring, softmax_ab, windows
from evalib.eva import EXTENT, RADII
from evalib.pages.figures import ORANGE, bare, described, styled, tinted

CELL = 0.52
"""Inches from one cell of a grid to the next."""


@styled
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
    rows_read = "; ".join(" | ".join(" ".join(text.split()) or "empty" for text in row) for row in texts)
    return described(figure, f"{title}: {rows_read}.")


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
