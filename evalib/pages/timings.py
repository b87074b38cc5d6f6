"""Figures of what was timed. The style is that of :mod:`evalib.pages.figures`."""

from matplotlib.figure import Figure

from evalib.pages.figures import BLUE, GREY, INK, ORANGE, described, panels, styled


@styled
def ratios(cases: dict[str, dict[str, dict]]) -> list[Figure]:
    """Time of each formulation over the literal one's, a drawing a case; forward passes alone, grey, stand apart on top."""
    drawings = []
    for name, rows in cases.items():
        timed = {label: row for label, row in rows.items() if row.get("seconds_ratio") is not None}
        labels = sorted(timed, key=lambda each: ("backward" not in timed[each]["pass"], -timed[each]["seconds_ratio"]))
        values = [timed[label]["seconds_ratio"] for label in labels]
        whole = ["backward" in timed[label]["pass"] for label in labels]
        colors = [
            ORANGE if "fast" in label else BLUE if both else GREY for label, both in zip(labels, whole, strict=True)
        ]
        figure, ((axis,),) = panels(1, 1, 3.6, 0.7 + 0.21 * len(labels))
        axis.barh(labels, values, color=colors)
        axis.bar_label(axis.containers[0], [f" {value:.2f}" for value in values], fontsize=8)
        axis.margins(x=0.15)
        axis.set_title(name, fontsize=10)
        axis.tick_params(labelsize=8)
        told = ", ".join(f"{label} {value:.2f}" for label, value in zip(labels, values, strict=True))
        drawings.append(described(figure, f"{name}: {told}."))
    return drawings


@styled
def roofline(points: dict[str, list[tuple[float, float]]], flops: float, bandwidth: float) -> Figure:
    """FLOPs a second over FLOPs a byte, a colour a kind of layer, under what a device's sheet says of it."""
    figure, ((axis,),) = panels(1, 1, 4.6, 3.0)
    reached = [x for each in points.values() for x, _ in each]
    span = [0.5 * min(reached), flops / bandwidth, max(2 * max(reached), 2 * flops / bandwidth)]
    axis.plot(span, [min(flops, bandwidth * x) for x in span], color=INK, linewidth=1.2)
    told = []
    for (name, each), color in zip(points.items(), (BLUE, ORANGE), strict=True):
        axis.plot(*zip(*each, strict=True), "o", color=color, label=name)
        told += [f"{name}: " + ", ".join(f"{y / 1e12:.0f} at {x:.0f}" for x, y in each)]
    axis.set(xscale="log", yscale="log", xlabel="FLOPs a byte, at the fewest bytes", ylabel="FLOPs a second")
    axis.legend(frameon=False, fontsize=8.5)
    return described(figure, f"TFLOP a second at FLOPs a byte, {'; '.join(told)}; the roof is {flops / 1e12:.0f}.")
