# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Where the time of a step goes
#
# How near is a training step to what the hardware can do? Computing takes at least its
# floating-point operations (FLOPs) over the rate of a large matrix product. Moving data takes at
# least its bytes over the rate of a large copy. The larger of the two times is the *floor*. All
# times are read from records in `results/benchmarks`. Those of the CPU are made by `make bench`,
# those of the GPU by scripts with the same functions.

# %% tags=["hide-input", "remove-stderr"]
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("evalib") is None:  # in Colab
    address = "evalib[book] @ git+https://github.com/expanding-visual-attention/evalib"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", address], check=True)
    print(importlib.import_module("evalib.pages.display").here())

import re
from pathlib import Path

from IPython.display import Markdown, display

from evalib import fast
from evalib.pages.display import picture, source, table
from evalib.pages.figures import COLOURS, GREY, INK, described, panels, styled
from evalib.results import records
from evalib.results.words import read_foreign
from evalib.training import data, step

found = sorted((records.results() / "benchmarks").glob("training-*.json"))
benchmarks = [read_foreign(path) for path in found]


def milliseconds(seconds):
    return f"{1000 * seconds:.{1 if seconds >= 0.01 else 2}f}"


# %% [markdown]
# ## The step
#
# The images stay on the device as bytes. One step augments a batch, computes the scores and the
# loss (*forward*), then the gradients (*backward*), and updates the weights. On a GPU the forward
# pass computes in bfloat16, numbers of 16 bits, but for EVA.

# %% tags=["hide-input"]
source(step.eager_step)

# %% [markdown]
# On a GPU each operation is started by a *launch*. A step of these small networks has hundreds of
# short operations, and the launches would take longer than the work. So on CUDA, the interface of
# NVIDIA's GPUs, the function is captured once as a graph. Each later step is one launch.

# %% tags=["hide-input"]
source(step.captured)

# %% [markdown]
# ## The pipeline
#
# A crop is a window of the padded image, so a batch of crops is one index into a view.

# %% tags=["hide-input"]
source(data.crop_and_flip)

# %% tags=["hide-input"]
table(
    ["Device", "images/s, DataLoader", "images/s, ours", "ratio"],
    [
        [
            b["device"],
            *(
                f"{b['images'] / b['pipeline_seconds'][name]:,.0f}"
                for name in ("DataLoader", "evalib")
            ),
            f"{b['ratios']['pipeline']:.1f}",
        ]
        for b in benchmarks
        if "pipeline_seconds" in b
    ],
)

# %% [markdown]
# The DataLoader has two workers and torchvision's transforms.

# %% [markdown]
# ## Milliseconds a step, batch of 150
#
# "Eager NCHW" is the usual loop: operation by operation, on tensors stored channel by channel, on a
# batch that is already augmented. "Forward, backward, optimiser" is ours without augmentation, on
# tensors stored pixel by pixel. "evalib" is our whole step. On a GPU it is captured, or compiled
# first by `torch.compile`, which joins short operations, and then captured.

# %% tags=["hide-input"]
FORMS = (
    "eager NCHW",
    "forward, backward, optimiser",
    "evalib",
    "evalib, captured",
    "evalib, compiled",
)


def floor(b, name):
    """The floor of a step in seconds, where it was counted."""
    if name not in b.get("counted", {}):
        return None
    return max(b["counted"][name][what] / b["ceilings"][what] for what in ("flops", "bytes"))


rows = []
for b in benchmarks:
    for name, timed in b["step_seconds"].items():
        cells = [milliseconds(timed[form]) if form in timed else "–" for form in FORMS]
        least, best = floor(b, name), min(timed[form] for form in FORMS[2:] if form in timed)
        cells += ["–", "–"] if least is None else [milliseconds(least), f"{best / least:.1f}"]
        rows.append([name, b["device"], *cells])
table(["Network", "Device", *FORMS, "floor", "times the floor"], rows)

# %% [markdown]
# A dash means not run: a captured step needs a CUDA device. Below, *eager* on a GPU is captured and not compiled.

# %% tags=["hide-input"]
trained = next((b for b in benchmarks if "rows" in b), {})
together = [
    (f"{name}, {how}", each)
    for name, row in trained.get("rows", {}).items()
    for how, each in row.items()
    if "step_seconds_side_by_side" in each
]
beside = [
    f"{name}: {milliseconds(each['step_seconds'])} ms and {milliseconds(each['step_seconds_side_by_side'])} ms a run"
    for name, each in together
]
differences = [each["largest_difference"] for _, each in together]
if beside:
    display(
        Markdown(
            "On a GPU seeds train side by side, each captured on a stream of its own. A step, "
            f"alone and with {trained['amounts']['seeds']} runs side by side, on the "
            f"{trained['device']}: {'; '.join(beside)}. After "
            f"{trained['amounts']['steps']} steps the weights of a run beside others differ from "
            f"those of the run alone by at most {max(differences):g}."
        )
    )

# %% [markdown]
# ## The counts behind the floor

# %% tags=["hide-input"]
table(
    ["Network", "GFLOP a step", "MB a step", "ms by FLOPs", "ms by bytes"],
    [
        [
            f"{name} ({b['device']})",
            f"{counted['flops'] / 1e9:.1f}",
            f"{counted['bytes'] / 1e6:.0f}",
            milliseconds(counted["flops"] / b["ceilings"]["flops"]),
            milliseconds(counted["bytes"] / b["ceilings"]["bytes"]),
        ]
        for b in benchmarks
        for name, counted in b.get("counted", {}).items()
    ],
)

# %% [markdown]
# The floor of the first network by hand:

# %% tags=["hide-input"]
for b in [b for b in benchmarks if b.get("counted")][:1]:
    name, counted = next(iter(b["counted"].items()))
    said = [
        f"{amount:.2f} {unit} ÷ {rate:.1f} {unit}/s = {1000 * amount / rate:.1f} ms"
        for amount, rate, unit in (
            (counted["flops"] / 1e9, b["ceilings"]["flops"] / 1e9, "GFLOP"),
            (counted["bytes"] / 1e9, b["ceilings"]["bytes"] / 1e9, "GB"),
        )
    ]
    display(Markdown(f"{name}, {b['device']}: " + "; ".join(said) + ". The larger is the floor."))

# %% [markdown]
# ## The missing kernel
#
# "Resulting wall-clock time of training these models is much higher", the paper ends (§5). The
# reason that it names, after {cite:t}`ramachandran2019standalone`, is that attention has no
# optimised *kernels*, as the routines of a device are called.
#
# The literal form of Eq. 3 gathers the window of each query: k² keys and as many values. This is
# how much memory the windows take, in one layer of 64 channels on an 8×8 map, for 150 images in
# bf16:

# %% tags=["hide-input"]
for k in (3, 7):
    windows, once = (2 * 2 * 150 * 64 * 8 * 8 * copies / 2**20 for copies in (k * k, 1))
    display(
        Markdown(
            f"k = {k}: {windows:.1f} MiB of gathered keys and values, of maps of {once:.1f} MiB."
        )
    )

# %% [markdown]
# A kernel need not gather. A GPU runs thousands of *programs* at a time. Ours takes the queries of
# one tile of one image and head. It reads each pixel that they see once, and keeps logits and
# weights on the chip. The logits $q^\top k$ of tile and pixels are one matrix product. The logits
# $q^\top r$ take only $2k$ numbers a query, because $r$ joins a row half and a column half. The
# softmax is that of the pixels so far, and is corrected as more come. This is the forward pass of
# Eq. 3 in Triton. `spots`, `vectors` and `tables` read memory, and `softmax_logits` is the sum in
# Eq. 3's softmax:

# %% tags=["hide-input"]
code = (Path(fast.__file__).parent / "kernels.py").read_text(encoding="utf-8")
functions = {part.partition("(")[0]: part.rstrip() for part in code.split("@triton.jit\ndef ")[1:]}
wanted = (
    functions[name].replace("  # fmt: skip", "") for name in ("softmax_logits", "forward_kernel")
)
display(
    Markdown("```python\n" + "\n\n\n".join(f"@triton.jit\ndef {each}" for each in wanted) + "\n```")
)

# %% [markdown]
# The backward pass computes each weight again, from the logarithm of its denominator, `lse`.
# [Tests](proof.ipynb) run both passes on a CPU, in Triton's interpreter, against the literal form.

# %% [markdown]
# ## Attention against convolution
#
# How long does a whole layer take, forward and backward? Times are over that of the literal einops
# form. On a CPU there is no kernel; there `fast` works on whole maps.


# %% tags=["hide-input"]
@styled
def ratios(name, rows):
    """Time of each formulation over the literal one's; forward passes alone stand apart, on top."""
    timed = {label: row for label, row in rows.items() if row.get("seconds_ratio") is not None}
    both = {label: "backward" in row["pass"] for label, row in timed.items()}
    labels = sorted(timed, key=lambda label: (not both[label], -timed[label]["seconds_ratio"]))
    values = [timed[label]["seconds_ratio"] for label in labels]
    figure, ((axis,),) = panels(1, 1, 3.6, 0.7 + 0.21 * len(labels))
    bars = axis.barh(labels, values, color=GREY)
    for bar, label in zip(bars, labels, strict=True):
        bar.set_color(COLOURS["attention"] if "fast" in label else INK if both[label] else GREY)
        bar.set_alpha(1 if both[label] else 0.5)
    axis.bar_label(bars, [f" {value:.2f}" for value in values], fontsize=8)
    axis.margins(x=0.15)
    axis.set_title(name, fontsize=10)
    axis.tick_params(labelsize=8)
    told = ", ".join(f"{label} {value:.2f}" for label, value in zip(labels, values, strict=True))
    return described(figure, f"{name}: {told}.")


def counted_cases(names):
    """How many they are, and which."""
    return f"{len(names)} ({'; '.join(names)})" if names else "none"


compared = []
attentions = {
    path.stem.partition("-")[2]: read_foreign(path)
    for path in sorted((records.results() / "benchmarks").glob("attention-*.json"))
}
for attention in attentions.values():
    how = "" if attention["dtype"] == "float32" else f", {attention['dtype']}, captured"
    display(
        Markdown(
            f"**{attention['device']}**, batch of {attention['batch_size']}, {attention['heads']} heads{how}"
        )
    )
    display(
        picture(
            *(ratios(name, rows) for name, rows in attention["cases"].items()),
            caption="Time of one layer over that of its literal einops form, a panel a case; "
            "shorter is faster. Green: ours. Faint, on top: forward only, not to be ranked "
            "with the others.",
        )
    )
    both = {
        name: rows["fast"]["seconds_ratio"] / rows["convolution"]["seconds_ratio"]
        for name, rows in attention["cases"].items()
        if all("seconds_ratio" in rows.get(form, {}) for form in ("fast", "convolution"))
    }
    said = "; ".join(f"{name}: {ratio:.1f}" for name, ratio in both.items())
    faster = [name for name, ratio in both.items() if ratio < 0.95]
    level = [name for name, ratio in both.items() if 0.95 <= ratio <= 1.05]
    compared.append(
        f"On the {attention['device']} it is faster in {counted_cases(faster)} of {len(both)} cases, level within 5 % in "
        f"{counted_cases(level)}, and slower in the other {len(both) - len(faster) - len(level)}."
    )
    display(
        Markdown(
            f"Our fast attention, in times of a convolution of the same extent and widths: {said}."
        )
    )

# %% tags=["hide-input"]
gpu = attentions.get("cuda", {})
if any("whole map, SDPA" in rows for rows in gpu.get("cases", {}).values()):
    display(
        Markdown(
            '"whole map, SDPA" is what this package used on a GPU before: PyTorch\'s attention over '
            "all pixels, the window "
            "and $r$ as further channels."
        )
    )
if "date" in gpu:
    errors = {
        each: max(e["largest"] for e in gpu["errors"] if e["dtype"] == each)
        for each in ("float32", "bfloat16")
    }
    said = " and ".join(f"{error:.0e} in {name}" for name, error in errors.items())
    timed = gpu["launches_timed"]["32→64 16×16 k=3 stride 2"]["forward"]
    before = next(row["microseconds"] for row in timed if row["launches"] == [[8, 8, 64, 4]])
    display(
        Markdown(
            f"The GPU's record is of {gpu['date']}, commit `{gpu['commit'][:7]}`. Its largest "
            f"error against the literal form in float64, over {len(gpu['errors'])} cases, was "
            f"{said}. Every layer had the same tile of 64 queries; other tiles were timed on the "
            "kernels alone, where the forward kernel at stride 2 takes "
            f"{timed[0]['microseconds']:.1f} µs for {before:.1f}. The package has these since; a "
            "whole layer with them was not measured."
        )
    )

# %% [markdown]
# ## Targets
#
# What we set out to reach on one H100 or H200. A dash means not measured.


# %% tags=["hide-input"]
def asked(what, each, figure):
    """A row of the table: what, at most, measured, and whether that meets it."""
    met = {True: "yes", False: "no", None: "–"}[each["met"]]
    return [
        what,
        f"{each['at_most']:g}",
        "–" if each[figure] is None else f"{each[figure]:.3g}",
        met,
    ]


layers = [
    asked(
        f"{each['case']}: {'peak memory' if each['what'] == 'peak_bytes' else 'time'} over {each['of']}",
        each,
        "ratio",
    )
    for each in gpu.get("targets", [])
]
runs = [
    asked(each["what"] + (f", {each['how']}" if each["how"] else ""), each, "value")
    for each in trained.get("targets", [])
]
table(["What", "At most", "Measured", "Met"], layers + runs)

# %% tags=["hide-input"]
if "measured" in trained:
    display(
        Markdown(
            f"The steps were measured on {trained['date']}, commit `{trained['commit'][:7]}`. EVA "
            "has another form on a GPU since, with fewer products; a step with it was not "
            "measured."
        )
    )

# %% [markdown]
# (still-better)=
# ## What a convolution still does better
#
# At stride 1 attention has fewer FLOPs, most of them in its projections. At stride 2 it has more,
# because keys and values are projected at every pixel. It also moves more data: it writes three
# maps, q, k and v, and reads them again, where a convolution reads one. And where the window is
# small, most products of a tile with its pixels lie outside a query's window. Here are FLOPs and
# fewest bytes of a forward and backward pass, counted without parameters, and the rates reached:

# %% tags=["hide-input"]
SHEET = {"NVIDIA H200": (989e12, 4.8e12)}
"""FLOPs a second in bf16, dense, and bytes a second: the maker's data sheet, not measured here."""


def counted(case):
    """FLOPs and fewest bytes, forward and backward in bf16, of convolution and attention."""
    cin, cout, extent, _, k, *strides = map(int, re.findall(r"\d+", case))
    stride = strides[0] if strides else 1
    pixels, queries = 150 * extent**2, 150 * (extent // stride) ** 2
    x, y = cin * pixels, cout * queries
    convolution = 3 * 2 * queries * cin * cout * k * k, 2 * (3 * x + 2 * y)
    projections, products = 3 * 3 * 2 * pixels * cin * cout, 7 * 2 * queries * k * k * cout
    return {
        "convolution": convolution,
        "fast": (projections + products, 2 * (3 * x + 5 * 3 * cout * pixels + 3 * y)),
    }


rows, points = [], {"convolution": [], "attention": []}
for case, timed in gpu.get("cases", {}).items():
    if not all("seconds" in timed.get(kind, {}) for kind in ("fast", "convolution")):
        continue
    for kind, (flops, moved) in counted(case).items():
        name, seconds = "attention" if kind == "fast" else kind, timed[kind]["seconds"]
        points[name].append((flops / moved, flops / seconds))
        cells = [
            f"{flops / 1e9:.2f}",
            f"{moved / 1e6:.1f}",
            f"{flops / moved:.0f}",
            f"{1e6 * seconds:.0f}",
        ]
        rows.append(
            [case, name, *cells, f"{flops / seconds / 1e12:.1f}", f"{moved / seconds / 1e9:,.0f}"]
        )
table(["Case", "Layer", "GFLOP", "MB", "FLOPs a byte", "µs", "TFLOP/s", "GB/s"], rows)


# %% tags=["hide-input"]
@styled
def roofline(points, flops, bandwidth):
    """FLOPs a second over FLOPs a byte, under what a device's sheet says of it."""
    figure, ((axis,),) = panels(1, 1, 4.6, 3.0)
    reached = [x for each in points.values() for x, _ in each]
    ridge = flops / bandwidth
    span = [0.5 * min(reached), ridge, 2 * max(*reached, ridge)]
    axis.plot(span, [min(flops, bandwidth * x) for x in span], color=INK, linewidth=1.2)
    told = []
    for name, each in points.items():
        axis.plot(*zip(*each, strict=True), "o", color=COLOURS[name], label=name)
        told.append(f"{name}: " + ", ".join(f"{y / 1e12:.0f} at {x:.0f}" for x, y in each))
    axis.set(xscale="log", yscale="log", ylabel="FLOPs a second")
    axis.set_xlabel("FLOPs a byte, at the fewest bytes")
    axis.legend(frameon=False, fontsize=8.5)
    roof = f"the roof is {flops / 1e12:.0f}"
    return described(figure, f"TFLOP a second at FLOPs a byte, {'; '.join(told)}; {roof}.")


if gpu.get("device") in SHEET:
    display(
        picture(
            roofline(points, *SHEET[gpu["device"]]),
            caption="The layers of the table under the roof of the device's data sheet: the "
            "slope is its memory, the level its matrix products in bf16. All lie below it, the "
            "layers of 256 channels nearest.",
        )
    )

# %% [markdown]
# ## In short

# %% tags=["remove-input"]
Markdown(
    "Is attention still slower than a convolution, as the paper laments? This is our layer beside a "
    f"convolution of the same extent and widths. {' '.join(compared)} Fewer FLOPs are not less time."
)
