"""Draw the README's picture, the rings that EVA reads in turn, into `_static/rings.svg`: `make
readme`.
"""

from pathlib import Path

from evalib.equations import ring
from evalib.eva import EXTENT, RADII
from evalib.pages.figures import BLUE, GREY

PICTURE = Path(__file__).parent.parent / "_static" / "rings.svg"
CELL, GAP, PANEL = 18, 2, EXTENT * 18 + 34


def rings(radius: int) -> dict[tuple[int, int], int]:
    """The stage at which each pixel of the map is read, for the pixels read up to ``radius``."""
    read: dict[tuple[int, int], int] = {}
    for stage, each in enumerate(RADII[: RADII.index(radius) + 1]):
        read |= {
            (row + EXTENT // 2, column + EXTENT // 2): stage
            for row, column in ring(each).T.tolist()
        }
    return read


def drawing() -> str:
    """The picture as SVG."""
    parts = []
    for stage, radius in enumerate(RADII):
        read = rings(radius)
        parts.append(f'<g transform="translate({stage * PANEL + 8},8)">')
        for row in range(EXTENT):
            for column in range(EXTENT):
                now = read.get((row, column))
                fill = f'fill="{GREY}" fill-opacity=".15"' if now is None else f'fill="{BLUE}"'
                fill += ' fill-opacity=".35"' if now is not None and now < stage else ""
                side = CELL - GAP
                parts.append(
                    f'<rect x="{column * CELL}" y="{row * CELL}" width="{side}" height="{side}"'
                    f' rx="2" {fill}/>'
                )
        size = len(ring(radius)[0])
        said = f"stage {stage}: {size} pixel{'s' * (size > 1)}"
        parts.append(
            f'<text x="{EXTENT * CELL / 2 - 1}" y="{EXTENT * CELL + 18}"'
            f' text-anchor="middle">{said}</text></g>'
        )
    width, height = len(RADII) * PANEL - 18, EXTENT * CELL + 36
    about = "The 7×7 map four times: at each stage one more ring around the centre is read"
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}"'
        f' height="{height}" role="img"'
    )
    return "\n".join(
        [
            f'{head} font-family="sans-serif" font-size="13" fill="{GREY}"><title>{about}</title>',
            *parts,
            "</svg>\n",
        ]
    )


if __name__ == "__main__":
    PICTURE.write_text(drawing(), encoding="utf-8")
