"""The Explorer without scripts: a static figure of one pixel or one image, drawn in the colour of the page's text."""

from collections.abc import Sequence
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
        'class="dark-light" style="image-rendering: pixelated">'  # the theme would put white behind it on a dark page
    )
    return f'<figure style="margin: 0">{panel(image["name"], shown)}{"".join(panels)}<p>{escape(text)}</p></figure>'


def network(data: dict, structure: dict) -> str:
    """The first image, its class shares, and each stage's weights as light on it; ``structure`` as it is exported."""
    image = data["images"][0]
    shares = torch.tensor(image["scores"]).softmax(dim=0).tolist()
    looks = []
    for stage, (ring, look) in enumerate(zip(data["rings"], image["looks"], strict=True)):
        cells = dict(zip(zip(*ring, strict=True), mean(look), strict=True))
        title = "the centre" if len(cells) == 1 else f"ring of {len(cells)}"
        looks.append(panel(f"{stage} · {title}", light(image["src"], cells, structure)))
    named, best = max(zip(shares, data["classes"], strict=True))[::-1]
    panels = [bars(data["classes"], shares), f"<div>{''.join(looks)}</div>"]
    text = f"{named}, {100 * best:.1f} %. The looks, mean over the heads: the brighter a square, the more weight."
    return figure(image, panels, text)


def light(src: str, cells: dict[tuple[int, int], float], structure: dict) -> str:
    """An SVG of the picture under the map, in the dark but for the ``cells``, the more weight the lighter."""
    extent, step, size = (structure[part] for part in ("extent", "step", "size"))
    edge, top = size - step * extent, max(cells.values())
    veils = []
    for i in range(extent):
        for j in range(extent):
            share = cells.get((i, j), 0.0) / top
            line = f' stroke="#ffb454" stroke-width="0.3" stroke-opacity="{0.15 + 0.85 * share:.2f}"'
            where = f'x="{edge + step * j}" y="{edge + step * i}" width="{step}" height="{step}"'
            veil = f'<rect {where} fill="#11161d" fill-opacity="{0.72 * (1 - share):.3f}"'
            veils.append(f"{veil}{line if (i, j) in cells else ''}/>")
    (i, j), share = max(cells.items(), key=lambda cell: cell[1])
    label = f"{len(cells)} vectors of the map; the largest weight, {100 * share:.1f} %, lies at {place(i, j)}."
    return (
        f'<svg role="img" aria-label="{label}" viewBox="{edge} {edge} {step * extent} {step * extent}" '
        f'width="{3 * CELL}" style="max-width: 100%; border-radius: 4px"><image href="{src}" width="{size}" '
        f'style="image-rendering: pixelated"/>{"".join(veils)}</svg>'
    )


def bars(names: Sequence[str], shares: list[float]) -> str:
    """An SVG of a bar for each class."""
    rows = [
        f'<text x="0" y="{18 * row + 12}">{name}</text><rect x="84" y="{18 * row + 3}" width="{150 * share:.1f}" height="11" '
        f'fill="#5b93d0"/><text x="290" y="{18 * row + 12}" text-anchor="end">{100 * share:.1f}</text>'
        for row, (name, share) in enumerate(zip(names, shares, strict=True))
    ]
    label = ", ".join(f"{name} {100 * share:.1f} %" for name, share in zip(names, shares, strict=True))
    svg = (
        f'<svg role="img" aria-label="{label}" viewBox="0 0 290 {18 * len(names)}" width="290" style="max-width: 100%" '
        f'fill="currentColor" font-size="12">{"".join(rows)}</svg>'
    )
    return panel("softmax of the scores, %", svg)
