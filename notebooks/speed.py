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
# How near is a training step to what the hardware can do? Two counts bound it from below: the floating-point
# operations (FLOPs) over the rate of a large matrix product, and the fewest bytes over the rate of a large copy. The
# larger of the two times is the *floor*. Everything here is read from the record that `make bench` writes; a device, CPU
# or GPU, that has none does not appear.

# %% tags=["hide-input", "remove-stderr"]
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("evalib") is None:  # in Colab
    address = "evalib[book] @ git+https://github.com/expanding-visual-attention/evalib"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", address], check=True)
    print(importlib.import_module("evalib.pages.display").here())

import json

from IPython.display import Markdown, display

from evalib.pages import plots
from evalib.pages.display import picture, source, table
from evalib.results import records
from evalib.training import data, steps

found = sorted((records.results() / "benchmarks").glob("training-*.json"))
benchmarks = [json.loads(path.read_text()) for path in found]


def milliseconds(seconds):
    return f"{1000 * seconds:.1f}"


# %% [markdown]
# ## The step
#
# The images stay on the device as bytes. One step augments a batch, computes the scores and the loss (*forward*), the
# gradients (*backward*), and updates the weights. Nothing in it waits for the device. On a GPU the forward pass computes in
# bfloat16, numbers of 16 bits, with weights kept in 32.

# %%
source(steps.eager_step)

# %% [markdown]
# On a GPU each operation is started by a *launch*, and a step of these small networks has hundreds of short ones. On CUDA, the
# interface of NVIDIA's GPUs, the same function is therefore captured once as a graph, and each later step is one launch.
# The learning rate is a tensor, so that a replay reads it anew.

# %%
source(steps.captured)

# %% [markdown]
# ## The pipeline
#
# A crop is a window of the padded image, so a batch of crops is one index into a view.

# %%
source(data.crop_and_flip)

# %% tags=["hide-input"]
table(
    ["Device", "images/s, DataLoader", "images/s, ours", "ratio"],
    [
        [
            b["device"],
            *(f"{b['images'] / b['pipeline_seconds'][name]:,.0f}" for name in ("DataLoader", "evalib")),
            f"{b['ratios']['pipeline']:.1f}",
        ]
        for b in benchmarks
    ],
)

# %% [markdown]
# The DataLoader has two workers and torchvision's transforms, with the same augmentation, in the same run.

# %% [markdown]
# ## Milliseconds a step, batch of 150
#
# "eager NCHW" is the usual loop on a batch that is already augmented, operation by operation, on tensors stored image by
# image and channel by channel; "forward, backward, optimiser" is ours without augmentation, stored pixel by pixel; "evalib"
# is the whole step.

# %% tags=["hide-input"]
rows = []
for b in benchmarks:
    for name, timed in b["step_seconds"].items():
        counted, best = b["counted"][name], min(timed["evalib"], timed.get("evalib, captured", float("inf")))
        floor = max(counted["flops"] / b["ceilings"]["flops"], counted["bytes"] / b["ceilings"]["bytes"])
        captured = timed.get("evalib, captured")
        cells = [timed["eager NCHW"], timed["forward, backward, optimiser"], timed["evalib"]]
        cells = [*map(milliseconds, cells), "–" if captured is None else milliseconds(captured)]
        rows.append([name, b["device"], *cells, milliseconds(floor), f"{best / floor:.1f}"])
table(
    [
        "Network",
        "Device",
        "eager NCHW",
        "forward, backward, optimiser",
        "evalib",
        "evalib, captured",
        "floor",
        "times the floor",
    ],
    rows,
)

# %% [markdown]
# A dash is what was not run: a captured step needs a CUDA device.

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
        for name, counted in b["counted"].items()
    ],
)

# %% [markdown]
# The floor of the first network by hand:

# %% tags=["hide-input"]
for b in benchmarks[:1]:
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
# ## Attention against convolution
#
# The paper says, after {cite:t}`ramachandran2019standalone`, that attention is slower than convolution for want of optimised
# kernels, the routines of a device (§5). These are times of a whole layer, forward and backward, over that of the literal
# einops form. All formulations of a panel were timed in turn in one process.

# %% tags=["hide-input"]
for path in sorted((records.results() / "benchmarks").glob("attention-*.json")):
    attention = json.loads(path.read_text())
    display(Markdown(f"**{attention['device']}**, batch of {attention['batch_size']}, {attention['heads']} heads"))
    display(
        picture(
            *plots.ratios(attention["cases"]),
            caption="Time of one layer over that of its literal einops form, a panel a case; shorter is faster. Orange: ours. "
            "Blue: others and the convolution, forward and backward. Grey, on top: forward only, not to be ranked with them.",
        )
    )
    both = {
        name: rows["fast"]["seconds_ratio"] / rows["convolution"]["seconds_ratio"]
        for name, rows in attention["cases"].items()
        if {"fast", "convolution"} <= rows.keys()
    }
    said = "; ".join(f"{name}: {ratio:.1f}" for name, ratio in both.items())
    display(Markdown(f"Our fast attention, in times of a convolution of the same extent and widths: {said}."))

# %% [markdown]
# ## In short
#
# The literal form of an equation is for reading; the fast form computes the same in a fraction of the time. Beside a
# convolution of the same extent it is the slower one wherever the last line above exceeds 1. Fewer FLOPs are not less time.
