"""The Explorer without scripts: a static figure of one pixel or one image, drawn in the colour of the page's text."""

from html import escape

import torch

CELL = 42
"""Pixels of the page a cell is wide."""

Values = list[list[float | None]]


def convolution(data: dict) -> str:
    """The products of the window of pixel ``data["start"]`` with the first filter, channel by channel."""
    image, (i, j), k = data["images"][0], data["start"], data["k"]
    half = k // 2
    panels = []
    for channel, x, weight in zip(data["channels"], image["x"], data["weights"][0], strict=True):
        products = [[weight[a][b] * x[i + a - half][j + b - half] for b in range(k)] for a in range(k)]
        panels.append(heat(f"{channel}: weight × pixel", products, largest(products), 3))
    output = f"Filter 1, pixel at {place(i, j)}: all products add up to {image['y'][0][i][j]:.3f}."
    return figure(image, panels, output)


def attention(data: dict) -> str:
    """Both logits and the softmax weights of the window of query ``data["start"]``, first head."""
    image, (i, j) = data["images"][0], data["start"]
    content, position, weights = (fold(image[part][0][i][j], data["k"]) for part in ("content", "position", "weights"))
    scale = largest(content + position)
    panels = [
        heat("content logits", content, scale, 3),
        heat("position logits", position, scale, 3),
        heat("softmax of their sum, %", shares(weights), 100, 1),
    ]
    return figure(image, panels, f"Head 1, query at {place(i, j)} of the layer's map.")


def eva(data: dict) -> str:
    """Looks and recalls of the first image, mean over the heads, and its three highest scores."""
    image = data["images"][0]
    rings: Values = [[None] * data["extent"] for _ in range(data["extent"])]
    for (rows, columns), look in zip(data["rings"], image["looks"], strict=True):
        for row, column, weight in zip(rows, columns, mean(look), strict=True):
            rings[row][column] = weight
    panels = [
        heat("look weights, %, each ring sums to 100", shares(rings), 100, 1),
        heat("recall weights, %: q0, attn0, …", shares([mean(recall) for recall in image["recalls"]]), 100, 1),
    ]
    best = sorted(zip(image["scores"], data["classes"], strict=True), reverse=True)[:3]
    scores = ", ".join(f"{name} {score:.2f}" for score, name in best)
    return figure(image, panels, f"Mean over the heads. The three highest class scores: {scores}.")


def place(i: int, j: int) -> str:
    """A pixel in words, counted from one."""
    return f"row {i + 1}, column {j + 1}"


def mean(heads: Values) -> list[float]:
    return torch.tensor(heads).mean(dim=0).tolist()


def fold(values: list, k: int) -> Values:
    """The k² entries of a window as its rows."""
    return [values[k * a : k * a + k] for a in range(k)]


def shares(rows: Values) -> Values:
    """In percent."""
    return [[None if share is None else 100 * share for share in row] for row in rows]


def largest(rows: Values) -> float:
    """The largest magnitude."""
    return max(abs(value) for row in rows for value in row if value is not None)


def heat(title: str, rows: Values, scale: float, digits: int) -> str:
    """An SVG of numbers in cells: blue ink where positive, orange where negative, the more opaque the larger."""
    width = CELL * max(map(len, rows))
    cells, words = [], []
    for i, row in enumerate(rows):
        for j, value in enumerate(row):
            text = "–" if value is None else f"{value:.{digits}f}".replace("-", "−")
            ink, share = ("#d9730d" if (value or 0) < 0 else "#2f6fb5"), 0.6 * abs(value or 0) / scale
            x, y = CELL * j, CELL * i
            cells.append(
                f'<rect x="{x + 1}" y="{y + 1}" width="{CELL - 2}" height="{CELL - 2}" fill="{ink}" '
                f'fill-opacity="{share:.3f}" stroke="currentColor" stroke-opacity="0.3"/>'
                f'<text x="{x + CELL / 2}" y="{y + CELL / 2 + 4}">{text}</text>'
            )
            words.append(text)
        words.append(";")
    label = escape(f"{title}: {' '.join(words)}")
    return panel(
        title,
        f'<svg role="img" aria-label="{label}" viewBox="0 0 {width} {CELL * len(rows)}" style="width: {width}px; '
        f'max-width: 100%" fill="currentColor" font-size="12" text-anchor="middle">{"".join(cells)}</svg>',
    )


def panel(title: str, content: str) -> str:
    """One part of the figure, with a line below it."""
    return (
        '<div style="display: inline-block; vertical-align: top; margin: 0 1rem 0.75rem 0; max-width: 100%">'
        f"{content}<br><small>{escape(title)}</small></div>"
    )


def figure(image: dict, panels: list[str], text: str) -> str:
    """The image, the panels beside it, a line of text."""
    shown = (
        f'<img src="{image["src"]}" alt="{image["name"]}" width="{3 * CELL}" height="{3 * CELL}" '
        'style="image-rendering: pixelated">'
    )
    return f'<figure style="margin: 0">{panel(image["name"], shown)}{"".join(panels)}<p>{escape(text)}</p></figure>'
