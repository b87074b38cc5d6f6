"""Figures of results: what records say, one function a figure. The style is that of :mod:`evalib.pages.figures`."""

from inspect import unwrap
from io import BytesIO
from statistics import mean

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from evalib.pages.answer import Row
from evalib.pages.figures import BLUE, GREY, INK, ORANGE, STYLE, described, panels, styled
from evalib.results.comparisons import Comparison, shown


@styled
def curves(networks: dict[str, list[list[dict]]]) -> list[Figure]:
    """Training loss and validation accuracy by epoch, a colour a network and a line a seed."""
    drawings = []
    for what, unit in (("train_loss", "training loss, nats"), ("validation_accuracy", "validation accuracy, %")):
        figure, ((axis,),) = panels(1, 1, 3.6, 2.6)
        for (name, seeds), color in zip(networks.items(), (GREY, ORANGE, BLUE), strict=False):
            for number, rows in enumerate(seeds):
                label = None if number else name
                axis.plot([row["epoch"] for row in rows], [row[what] for row in rows], color=color, lw=1.3, label=label)
        axis.set(xlabel="epoch", ylabel=unit)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.legend(frameon=False)
        ends = [
            f"{name} {', '.join(f'{rows[-1][what]:.2f}' for rows in seeds)}"
            for name, seeds in networks.items()
            if seeds
        ]
        drawings.append(described(figure, f"{unit.partition(',')[0]} by epoch, at the end: {'; '.join(ends)}."))
    return drawings


@styled
def effects(found: dict[str, Comparison], reach: float) -> Figure:
    """Differences of accuracy, with their 95 % interval from two seeds on, over a band of ``reach`` points either way."""
    figure, ((axis,),) = panels(1, 1, 5.2, 0.8 + 0.22 * len(found))
    axis.axvspan(-reach, reach, color=GREY, alpha=0.18, linewidth=0)
    axis.axvline(0, color=INK, linewidth=0.8)
    for y, each in enumerate(found.values()):
        if each.low is not None:
            axis.plot([each.low, each.high], [y, y], color=BLUE)
        axis.plot(each.mean, y, "o", color=BLUE)
    axis.set_yticks(range(len(found)), found, fontsize=8)
    axis.set(xlabel="points of test accuracy", ylim=(len(found) - 0.5, -0.5))
    told = "; ".join(f"{name} {shown(each)}" for name, each in found.items())
    return described(figure, f"Effects in points, and a band of {reach:.1f} either way: {told}.")


@styled
def costs(cost: dict[int, dict[str, tuple[int, int]]]) -> list[Figure]:
    """Weights and FLOPs of one layer over the extent of its window, by kind of layer."""
    drawings = []
    for column, (unit, divisor) in enumerate((("weights, thousands", 1e3), ("FLOPs, millions", 1e6))):
        figure, ((axis,),) = panels(1, 1, 3.3, 2.5)
        ends = []
        for name, color in (("convolution", BLUE), ("attention", ORANGE)):
            values = [each[name][column] / divisor for each in cost.values()]
            axis.plot([*cost], values, color=color, marker="o", label=name)
            ends.append(f"{name} from {values[0]:,.0f} to {values[-1]:,.0f}")
        axis.set(xlabel="extent k of the window", ylabel=unit, xticks=[*cost], ylim=(0, None))
        axis.legend(frameon=False)
        drawings.append(described(figure, f"{unit} over k = {min(cost)} to {max(cost)}: {', '.join(ends)}."))
    return drawings


@styled
def parts(counts: dict[str, dict[str, int]]) -> Figure:
    """Stacked bars: the parameters of each part of some networks, in millions."""
    shades = dict(zip(next(iter(counts.values())), (INK, "#9dbfe3", BLUE, ORANGE, GREY, "#444b54"), strict=True))
    figure, ((axis,),) = panels(1, 1, 3.6, 2.4)
    for y, each in enumerate(counts.values()):
        left = 0.0
        for part, count in each.items():
            axis.barh(y, count / 1e6, left=left, color=shades[part], label=part if y == 0 else None)
            left += count / 1e6
    axis.set_yticks(range(len(counts)), counts)
    axis.invert_yaxis()
    axis.set(xlabel="parameters, millions")
    figure.legend(*axis.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    told = "; ".join(
        f"{name} {sum(each.values()) / 1e6:.2f}, its summary {each['summary'] / 1e6:.2f}"
        for name, each in counts.items()
    )
    return described(figure, f"Parameters in millions: {told}.")


@styled
def against_paper(rows: list[Row], least: float = 82.0, most: float = 96.2) -> Figure:
    """The paper's accuracy of each network, grey, and ours: a dot a seed, and the 95 % interval of their mean.

    What lies below ``least`` is drawn at the left edge, with its number; what has no record is a dash.
    """
    figure, ((axis,),) = panels(1, 1, 5.4, 0.75 + 0.34 * len(rows))
    told = []
    for y, row in enumerate(rows):
        if row.paper is not None:
            axis.plot(row.paper, y, "D", color=GREY, markersize=6, label=None if y else "paper")
        if row.low is not None and row.high is not None and row.high > least:
            axis.plot([max(row.low, least), row.high], [y, y], color=BLUE, alpha=0.5, linewidth=4)
        for value in row.accuracies:
            axis.plot(max(value, least), y, "o" if value >= least else "<", color=BLUE, alpha=0.8, markersize=6)
        if not row.accuracies:
            axis.annotate(f"– {row.absent}", (0.01, y), xycoords=("axes fraction", "data"), va="center", fontsize=8.5)
        if low := [value for value in row.accuracies if value < least]:
            text = "   " + ", ".join(f"{value:.1f}" for value in low)
            axis.text(least, y, text, va="center", fontsize=8.5, color=BLUE)
        ours = ", ".join(f"{value:.2f}" for value in row.accuracies) or row.absent
        told.append(f"{row.model}: paper {'–' if row.paper is None else f'{row.paper:.2f}'}, ours {ours}")
    axis.plot([], [], "o", color=BLUE, markersize=6, label="ours, a dot a seed")
    axis.set_yticks(range(len(rows)), [row.model for row in rows])
    axis.set(xlabel="test accuracy, %", ylim=(len(rows) - 0.5, -0.5), xlim=(least - 0.4, most))
    axis.legend(frameon=False, fontsize=8.5, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0)
    return described(figure, f"Test accuracies in percent. {'; '.join(told)}.")


def share(rows: list[Row], title: str) -> bytes:
    """The picture of a shared link, a PNG of 1200 × 630 pixels: the answer's figure, larger, on white, under a title."""
    file = BytesIO()
    with rc_context(STYLE | {"font.size": 19, "savefig.bbox": None}):  # type: ignore[arg-type]
        figure = unwrap(against_paper)(rows)  # in this style
        figure.set_size_inches(12, 6.3)
        figure.set_facecolor("white")
        figure.suptitle(title, x=0.02, ha="left", fontsize=34, fontweight="bold", color="#22262b")
        for text in figure.findobj(Text):
            text.set_fontsize(max(text.get_fontsize(), 19))
        for line in figure.findobj(Line2D):
            line.set_markersize(1.8 * line.get_markersize())
        figure.savefig(file, dpi=100)
    return file.getvalue()


@styled
def courses(networks: dict[str, list[list[dict]]], styles: dict[str, tuple[str, str]]) -> Figure:
    """Validation accuracy by epoch, a line a run; ``styles`` gives each name its colour and its kind of line."""
    figure, ((axis,),) = panels(1, 1, 5.4, 3.6)
    told = []
    for name, runs in networks.items():
        color, line = styles[name]
        for number, rows in enumerate(runs):
            values = [row["validation_accuracy"] for row in rows]
            axis.plot([row["epoch"] for row in rows], values, line, color=color, lw=1.4, label=None if number else name)
            told.append(f"{name}: best {max(values):.1f}, last, after epoch {rows[-1]['epoch']}, {values[-1]:.1f}")
    axis.set(xlabel="epoch", ylabel="validation accuracy, %", ylim=(0, 95))
    figure.legend(*axis.get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False, fontsize=8.5)
    return described(figure, f"Validation accuracy by epoch. {'; '.join(told)}.")


FIGURES = {
    "validation accuracy, %": lambda entry: entry["validation_accuracy"],
    "length of q0": lambda entry: entry["attentions"]["look 0"]["query"],
    "largest logit": lambda entry: max(each["logit"] for each in entry["attentions"].values()),
    "pixels in effect, outer ring": lambda entry: entry["attentions"]["look 3"]["effective"],
    "gradient of the recalls, norm": lambda entry: max(
        v["gradient"] for k, v in entry["parts"].items() if "recall" in k
    ),
    "largest step, learning rates": lambda entry: max(each["step"] for each in entry["parts"].values()),
}
"""What a figure of the mechanism shows of each epoch."""


@styled
def mechanism(found: dict) -> list[Figure]:
    """The courses of `scripts/mechanism.py`, a panel for each of ``FIGURES``; the one with nothing changed is orange."""
    colors = (ORANGE, BLUE, "#2b8a6e", "#8661b5", "#b0913c", GREY, "#b0569a", INK)
    drawings: list[Figure] = []
    for what, figure_of in FIGURES.items():
        figure, ((axis,),) = panels(1, 1, 3.4, 2.4)
        ends = []
        for (change, entries), color in zip(found["courses"].items(), colors, strict=False):
            entries = [*found["before"], *entries]
            values = [figure_of(entry) for entry in entries]
            axis.plot([entry["epoch"] for entry in entries], values, color=color, lw=1.3, label=change)
            ends.append(f"{change} {values[-1]:.3g}")
        axis.set(xlabel="epoch", ylabel=what, yscale="linear" if "%" in what or "effect" in what else "log")
        axis.xaxis.get_major_locator().set_params(integer=True)
        if not drawings:
            figure.legend(
                *axis.get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False, fontsize=8
            )
        drawings.append(described(figure, f"{what} by epoch, at the end: {', '.join(ends)}."))
    return drawings


@styled
def first_steps(found: dict) -> list[Figure]:
    """The courses of `scripts/first_steps.py`: the length of q0 and the training accuracy, by step."""
    drawings: list[Figure] = []
    for what, unit, scale in (
        ("q0", "mean length of q0", "log"),
        ("right", "right in 30 batches, %", "linear"),
    ):
        figure, ((axis,),) = panels(1, 1, 3.6, 2.6)
        ends = []
        for (name, course), color in zip(found["courses"].items(), (GREY, ORANGE, BLUE, "#8661b5"), strict=False):
            values = [entry[what] for entry in course["steps"]]
            if scale == "linear":
                values = [mean(values[max(0, step - 29) : step + 1]) for step in range(len(values))]
            axis.plot(range(1, len(values) + 1), values, color=color, lw=1.3, label=name)
            ends.append(f"{name} {values[-1]:.3g}")
        axis.set(xlabel="step", ylabel=unit, yscale=scale)
        if drawings:
            axis.legend(loc="lower right", frameon=False, fontsize=7.5)
        drawings.append(described(figure, f"{unit} by step, at the end: {', '.join(ends)}."))
    return drawings


@styled
def ladder(
    rungs: list[str], networks: dict[str, list[list[float]]], paper: dict[str, float], least: float = 85.0
) -> Figure:
    """Accuracy on each rung, a dot a seed, their means joined; the paper's number is a dashed line of the same colour.

    A rung that was not run has no dot, and breaks the line. What lies below ``least`` is drawn there, with its number.
    """
    figure, ((axis,),) = panels(1, 1, 5.6, 3.6)
    told = []
    for (name, seeds), color in zip(networks.items(), (GREY, ORANGE, BLUE), strict=True):
        means = [sum(values) / len(values) if values else float("nan") for values in seeds]
        axis.axhline(paper[name], color=color, linestyle=(0, (4, 3)), linewidth=1)
        axis.plot(
            range(len(rungs)), [mean if mean >= least else float("nan") for mean in means], color=color, label=name
        )
        for x, values in enumerate(seeds):
            axis.plot([x] * len(values), [max(value, least) for value in values], "o", color=color, markersize=5)
            if low := [value for value in values if value < least]:
                text = "  ↓ " + ", ".join(f"{value:.1f}" for value in low)
                axis.text(x, least, text, color=color, fontsize=8.5, va="center")
        shown_ = ", ".join(f"{rung} {mean:.2f}" for rung, mean in zip(rungs, means, strict=True) if mean == mean)
        told.append(f"{name}: paper {paper[name]:.2f}; ours {shown_ or 'not run'}")
    axis.set_xticks(range(len(rungs)), rungs, rotation=35, ha="right", fontsize=8.5)
    axis.set(ylabel="test accuracy, %", xlim=(-0.4, len(rungs) - 0.6), ylim=(least - 0.4, None))
    axis.legend(frameon=False, fontsize=8.5)
    return described(figure, f"Accuracy on each rung, in percent. {'; '.join(told)}.")
