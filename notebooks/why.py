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
# # Why look beyond convolution?
#
# What does a convolution miss, and what does it cost to let it see more? The paper begins with one layer (§1). It reads 128
# channels, writes 256, and its window has 5×5 pixels. This page computes that layer's numbers, and attention's beside them.

# %% tags=["hide-input", "remove-stderr"]
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("evalib") is None:  # in Colab
    address = "evalib[book] @ git+https://github.com/expanding-visual-attention/evalib"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", address], check=True)
    print(importlib.import_module("evalib.pages.display").here())

import torch
from einops import rearrange
from torch import nn

from evalib import RelativeSelfAttention, count_parameters
from evalib.equations import windows
from evalib.pages.display import check, picture, table
from evalib.pages.figures import COLOURS, described, panels, styled
from evalib.results.costs import flops

torch.manual_seed(0)
close = torch.testing.assert_close


# %% tags=["hide-input"]
@styled
def drawn(cost, unit, column, divisor):
    """Weights, column 0, or FLOPs, column 1, of one layer over the extent of its window."""
    figure, ((axis,),) = panels(1, 1, 3.3, 2.5)
    ends = []
    for name in ("convolution", "attention"):
        values = [each[name][column] / divisor for each in cost.values()]
        axis.plot([*cost], values, color=COLOURS[name], marker="o", label=name)
        ends.append(f"{name} from {values[0]:,.0f} to {values[-1]:,.0f}")
    axis.set(xlabel="extent k of the window", ylabel=unit, xticks=[*cost], ylim=(0, None))
    axis.legend(frameon=False)
    return described(figure, f"{unit} over k = {min(cost)} to {max(cost)}: {', '.join(ends)}.")


cin, cout, extents = 128, 256, (1, 3, 5, 7)
image, cost = torch.zeros(1, cin, 32, 32), {}
for k in extents:
    layers = {
        "convolution": nn.Conv2d(cin, cout, k, padding=k // 2, bias=False),
        "attention": RelativeSelfAttention(cin, cout, k, num_heads=4),
    }
    assert count_parameters(layers["convolution"]) == k * k * cin * cout
    assert count_parameters(layers["attention"]) == 3 * cin * cout + k * cout
    cost[k] = {
        name: (count_parameters(layer), flops(layer, image)) for name, layer in layers.items()
    }
weights_at_7, flops_at_7 = (
    cost[7]["convolution"][each] / cost[7]["attention"][each] for each in (0, 1)
)
picture(
    drawn(cost, "weights, thousands", 0, 1e3),
    drawn(cost, "FLOPs, millions", 1, 1e6),
    caption="Weights and floating-point operations (FLOPs) of one layer, from 128 to 256 "
    "channels on a 32×32 map. Those of a convolution grow with the square of its window, those "
    f"of attention hardly grow. At <i>k</i> = 7 the convolution has {weights_at_7:.0f} times the "
    f"weights and {flops_at_7:.0f} times the FLOPs.",
)

# %% [markdown]
# ## What it costs to see further
#
# A window of $k \times k$ pixels takes
#
# $$
# \underbrace{k^2 \, c_{in} \, c_{out}}_{\text{weights of a convolution}}
# \qquad
# \underbrace{3 \, c_{in} \, c_{out} + k \, c_{out}}_{\text{weights of relative attention}}
# $$
#
# So convolutions scale poorly to large windows {cite}`ramachandran2019standalone`. Relative
# attention is the layer of [a later chapter](relative_attention.ipynb). Its weights are three
# matrices, which do not grow with the window, and a short table of offsets. A FLOP is one addition
# or multiplication of two numbers, here for one image.

# %% tags=["hide-input"]
table(
    ["k", *(f"{name}, {unit}" for name in cost[5] for unit in ("weights", "MFLOPs"))],
    [
        [k, *(t for p, f in cost[k].values() for t in (f"{p:,}", f"{f / 1e6:,.0f}"))]
        for k in extents
    ],
)

# %% [markdown]
# At $k = 1$ the convolution is lighter: it is one matrix, attention has three. From $k = 3$ on, at
# stride 1, attention is lighter. But FLOPs are not seconds, as the paper says itself (§5) and [we
# measured](speed.ipynb). A convolution with $k = 3$ took less time than every attention that we
# timed, except our GPU kernel with 256 channels in and out, which tied.

# %% [markdown]
# ## The layer is a matrix
#
# Laid out in a row, a window is one vector, of $5 \cdot 5 \cdot 128$ numbers. The layer multiplies
# it by one matrix. Each row of the matrix is a *template*. The *dot product* of a template and the
# window says how well they match.
#
# $$
# y_{ij} = W \, \mathrm{window}_{ij}, \qquad W \in \Re^{256 \times (5 \cdot 5 \cdot 128)}
# $$

# %%
x, layer = torch.randn(2, cin, 32, 32), nn.Conv2d(cin, cout, 5, padding=2, bias=False)
W = rearrange(layer.weight, "cout cin a b -> cout (cin a b)")
points = rearrange(windows(x, 5), "n cin i j a b -> n i j (cin a b)")

y = rearrange(points @ W.T, "n i j cout -> n cout i j")
close(y, layer(x), atol=1e-4, rtol=1e-4)

# %% [markdown]
# ## What is lost
#
# This is the paper's first complaint. A window has 3,200 directions, and 256 templates see at most 256
# of them. Add
# to a window a step whose dot product with every template is 0, and all outputs stay as they were.
# Here are two windows that are far apart and get the same 256 numbers.

# %% tags=["hide-input"]
with torch.no_grad():
    rank, dimensions = (
        torch.linalg.matrix_rank(W).item(),
        W.shape[1],
    )  # rank: how many directions the rows of W span
    window = points[0, 16, 16]
    step = torch.randn(dimensions)
    unseen = step - torch.linalg.pinv(W) @ (W @ step)  # what of the step no template sees
    close(W @ (window + unseen), W @ window, atol=1e-4, rtol=0)

table(
    ["", "Number"],
    [
        ["dimensions of a window", f"{dimensions:,}"],
        ["directions that the layer sees", f"{rank:,}"],
        ["directions that it does not", f"{dimensions - rank:,}"],
        ["distance of the two windows", f"{unseen.norm():.1f}"],
        ["distance of their outputs", f"{(W @ (window + unseen) - W @ window).norm():.1e}"],
    ],
)

# %% [markdown]
# This is no fault of convolutions alone: any layer with fewer outputs than inputs leaves something
# out. And whether a network suffers from it is a question for an experiment. Particular to the
# convolution is this: its matrix is fixed once training ends, so the same directions are lost at
# every pixel of every image.

# %% [markdown]
# ## Exercises
#
# Replace `...`, run the cell, then the one below it.
#
# **1.** How many weights does a convolution have, and how many relative attention? Write both as functions.


# %% tags=["exercise"]
def weights_of_convolution(k, cin, cout):
    return ...


def weights_of_attention(k, cin, cout):
    return ...


# %% tags=["check", "hide-input"]
answers = [f(k, 64, 32) for f in (weights_of_convolution, weights_of_attention) for k in (3, 7)]
built = [nn.Conv2d(64, 32, k, bias=False) for k in (3, 7)] + [
    RelativeSelfAttention(64, 32, k, 4) for k in (3, 7)
]
check(answers, [count_parameters(each) for each in built])

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def weights_of_convolution(k, cin, cout):
#     return k * k * cin * cout
#
#
# def weights_of_attention(k, cin, cout):
#     return 3 * cin * cout + k * cout
# ```
#
# </details>

# %% [markdown]
# **2.** Here is a layer with two templates for windows of three numbers. Find a window, not zero, that it answers with
# zeros.

# %% tags=["exercise"]
templates = torch.tensor([[1.0, 0.0, -1.0], [0.0, 1.0, -1.0]])
window = ...

# %% tags=["check", "hide-input"]
check(... if window is ... else [*(templates @ window), window.norm() > 0], [0, 0, 1])

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# window = torch.tensor([1.0, 1.0, 1.0])
# ```
#
# What all three numbers have in common, the templates cannot see.
#
# </details>

# %% [markdown]
# ## In short
#
# The paper's layer sees 256 of the 3,200 directions of its window, and the same 256 everywhere. A window of twice the extent would
# cost four times as much. Attention computes the shares of a window from the picture, so a larger window needs hardly any more
# parameters.
# Next: [how](attention.ipynb).
