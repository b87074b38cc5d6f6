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
# What does a convolutional layer do with what it sees, and what does it cost to let it see more? The paper begins with
# one layer (§1): it reads 128 channels, writes 256, and its window has 5×5 pixels. This page computes its numbers. All
# you need to know is what a matrix product is.

# %% tags=["hide-input", "remove-stderr"]
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("evalib") is None:  # in Colab
    address = "git+https://github.com/expanding-visual-attention/evalib"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", address], check=True)
    print(importlib.import_module("evalib.pages.display").here())

import torch
from einops import einsum, rearrange
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from evalib import RelativeSelfAttention, count_parameters, relative_attention
from evalib.geometry import windows
from evalib.pages import figures
from evalib.pages.display import check, picture, table
from evalib.pages.figures import BLUE, ORANGE
from evalib.results.counts import flops

torch.manual_seed(0)
close = torch.testing.assert_close


# %% [markdown]
# ## Words
#
# A *tensor* is a box of numbers with named axes. A colour image is one with three: its *channels* (red, green, blue), its
# rows and its columns. A *batch* stacks several images, which adds a first axis. A *layer* turns one such tensor into
# another by fixed arithmetic with *weights*, numbers that training chooses. What a layer puts out is called a *feature map*:
# still rows and columns, but its channels no longer are colours. Each pixel of it is a vector with one number a channel.
# A *network* is a chain of layers; its last one gives a score to each class of images, and the highest score is its answer.
#
# *Training* shows the network images whose class is known. One number, the *loss*, says how wrong the scores are. The
# *gradient* of the loss has an entry for each weight: by how much the loss grows if that weight does. Each step moves all
# weights a little against it. The page [Training](train.ipynb) does this; until then weights are drawn at random, from a
# *seed*, a number that makes the draws the same each time.
#
# ## How to read the code
#
# A shape is written as letters, one for each axis: `n cin i j` is a batch of $n$ images with `cin` channels, `i` rows and `j`
# columns. Two functions of the library einops {cite}`rogozhnikov2022einops` do most of the work:
#
# - `rearrange(x, "n c i j -> n (i j) c")` names the axes of `x` and says in which order they come out. Brackets join axes
#   into one.
# - `einsum(x, w, "i j, j -> i")` multiplies, and sums over the letters that are missing to the right of the arrow. This one
#   is the product of a matrix with a vector.
#
# By hand:
#
# $$
# \begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix} \begin{pmatrix} 10 \\ 1 \end{pmatrix}
# = \begin{pmatrix} 1 \cdot 10 + 2 \cdot 1 \\ 3 \cdot 10 + 4 \cdot 1 \end{pmatrix}
# = \begin{pmatrix} 12 \\ 34 \end{pmatrix}
# $$
#
# An `assert` stops the page if what it says is not so, and `close` does if two tensors differ by more than rounding. So
# what stands in a checked line was true when this page was built.

# %%
matrix, vector = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([10.0, 1.0])
assert einsum(matrix, vector, "i j, j -> i").tolist() == [12, 34]
assert rearrange(matrix, "i j -> j i").tolist() == [[1, 3], [2, 4]]
assert rearrange(matrix, "i j -> (i j)").tolist() == [1, 2, 3, 4]

# %% [markdown]
# ## The paper's layer
#
# The paper writes the layer's weights as `[128, 256, 5, 5]` and its input as `[batch_size, 128, 32, 32]`. PyTorch puts
# the output channels first. `padding` surrounds the image with zeros, so that the output has as many rows and columns as
# the input; `bias=False` means that no constant is added.

# %%
batch_size, cin, cout, extent = 2, 128, 256, 5
x = torch.randn(batch_size, cin, 32, 32)
layer = nn.Conv2d(cin, cout, extent, padding=extent // 2, bias=False)

assert layer.weight.shape == (256, 128, 5, 5)
assert layer(x).shape == (2, 256, 32, 32)

# %% [markdown]
# ## The layer is a matrix
#
# At each of the 32×32 positions the layer takes the window around it: $5 \cdot 5$ pixels of 128 channels. Laid out in a
# row, a window is one vector, a point in a space of $5 \cdot 5 \cdot 128$ dimensions. The layer multiplies it by one
# matrix. Each row of the matrix is a *template*, and the product of a row with the window, a *dot product*, says how well
# they match.
#
# $$
# y_{ij} = W \, \mathrm{window}_{ij}, \qquad W \in \Re^{256 \times (5 \cdot 5 \cdot 128)}
# $$

# %%
W = rearrange(layer.weight, "cout cin a b -> cout (cin a b)")
points = rearrange(windows(x, extent), "n cin i j a b -> n i j (cin a b)")
dimensions = extent * extent * cin
assert W.shape == (cout, dimensions)
assert points.shape == (batch_size, 32, 32, dimensions)

y = rearrange(points @ W.T, "n i j cout -> n cout i j")
close(y, layer(x), atol=1e-4, rtol=1e-4)

table(
    ["", "Number"],
    [
        ["dimensions of a window", f"{dimensions:,}"],
        ["templates, points in that space", f"{cout:,}"],
        ["weights", f"{count_parameters(layer):,}"],
    ],
)

# %% [markdown]
# ## What is lost
#
# The paper's first complaint: the layer compares a window with 256 points of a space that has many more dimensions. We
# can make that exact. Add to a window a step whose dot product with every template is 0, and all outputs stay as they
# were. Such steps exist: 256 templates span at most 256 directions, and the layer notices nothing of the others. Here are
# two windows that are far apart and get the same 256 numbers.

# %%
with torch.no_grad():
    rank = torch.linalg.matrix_rank(W).item()  # how many directions the rows of W span
    window = points[0, 16, 16]
    step = torch.randn(dimensions)
    unseen = step - torch.linalg.pinv(W) @ (W @ step)  # what of the step no template sees
    close(W @ (window + unseen), W @ window, atol=1e-4, rtol=0)

table(
    ["", "Number"],
    [
        ["directions that the layer sees", f"{rank:,}"],
        ["directions that it does not", f"{dimensions - rank:,}"],
        ["distance of the two windows", f"{unseen.norm():.1f}"],
        ["distance of their outputs", f"{(W @ (window + unseen) - W @ window).norm():.1e}"],
    ],
)

# %% [markdown]
# Two things this does not show. Any layer with fewer outputs than inputs has to leave something out, attention too.
# And whether a network suffers from it is a question for an experiment. What is particular to the convolution is that
# the same directions are lost at every pixel of every image: the matrix is fixed once training ends.

# %% [markdown]
# ## What it costs to see further
#
# The second complaint is that convolutions scale poorly to large windows {cite}`ramachandran2019standalone`. A window of
# $k \times k$ pixels takes
#
# $$
# \underbrace{k^2 \, c_{in} \, c_{out}}_{\text{weights of a convolution}}
# \qquad
# \underbrace{3 \, c_{in} \, c_{out} + k \, c_{out}}_{\text{weights of relative attention}}
# $$
#
# Relative attention is the layer of [a later chapter](relative_attention.ipynb). Its weights are three matrices and a
# short table of offsets; the matrices do not grow with the window. We build both with the paper's widths and count. A
# FLOP, a floating-point operation, is one addition or multiplication of two numbers, here for one image.

# %%
image = torch.zeros(1, cin, 32, 32)
extents, cost = (1, 3, 5, 7), {}
for k in extents:
    cost[k] = {
        "convolution": nn.Conv2d(cin, cout, k, padding=k // 2, bias=False),
        "attention": RelativeSelfAttention(cin, cout, k, num_heads=4),
    }
    assert count_parameters(cost[k]["convolution"]) == k * k * cin * cout
    assert count_parameters(cost[k]["attention"]) == 3 * cin * cout + k * cout
    cost[k] = {name: (count_parameters(each), flops(each, image)) for name, each in cost[k].items()}
    lighter = [a < c for a, c in zip(cost[k]["attention"], cost[k]["convolution"], strict=True)]
    assert lighter == 2 * [k > 1]  # attention is the lighter one from k = 3 on, by both counts

table(
    ["k", *(f"{name}, {unit}" for name in cost[5] for unit in ("weights", "MFLOPs"))],
    [[k, *(t for p, f in cost[k].values() for t in (f"{p:,}", f"{f / 1e6:,.0f}"))] for k in extents],
)

# %% [markdown]
# PyTorch counts the same, for the convolution as it runs and for the attention as its equation is written.

# %%
with FlopCounterMode(display=False) as counted, torch.no_grad():
    F.conv2d(image, layer.weight, padding=2)
assert counted.get_total_flops() == cost[5]["convolution"][1]

projections = 3 * 2 * cin * cout * 32 * 32
q = torch.zeros(1, 4, cout // 4, 32, 32)
rows = torch.zeros(4, cout // 8, 5)
with FlopCounterMode(display=False) as counted, torch.no_grad():
    relative_attention(q, q, q, rows, rows)
assert projections + counted.get_total_flops() == cost[5]["attention"][1]

# %% tags=["hide-input"]
drawings = []
for column, (unit, divisor) in enumerate((("weights, thousands", 1e3), ("FLOPs, millions", 1e6))):
    figure, ((axis,),) = figures.panels(1, 1, 3.3, 2.5)
    for name, color in (("convolution", BLUE), ("attention", ORANGE)):
        axis.plot(extents, [cost[k][name][column] / divisor for k in extents], color=color, marker="o", label=name)
    axis.set(xlabel="extent k of the window", ylabel=unit, xticks=extents, ylim=(0, None))
    axis.legend(frameon=False)
    drawings.append(figure)

seven = [f"{cost[7]['convolution'][column] / cost[7]['attention'][column]:.0f} times" for column in (0, 1)]
picture(
    *drawings,
    alt=f"Two plots over the extent of the window, 1 to 7. Weights and FLOPs of the convolution rise with the square; "
    f"those of attention stay nearly flat. At 7 the convolution has {seven[0]} the weights and {seven[1]} the FLOPs.",
)

# %% [markdown]
# At $k = 1$ the convolution is the lighter one: it is one matrix, attention has three. From $k = 3$ on it is the other
# way round. FLOPs are not seconds, though. The paper says so itself (§5), and [we measured](speed.ipynb): forward and
# backward, a convolution with $k = 3$ takes less time than every form of attention that was timed in both directions.

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


# %% tags=["check"]
answers = [f(k, 64, 32) for f in (weights_of_convolution, weights_of_attention) for k in (3, 7)]
built = [nn.Conv2d(64, 32, k, bias=False) for k in (3, 7)] + [RelativeSelfAttention(64, 32, k, 4) for k in (3, 7)]
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

# %% tags=["check"]
check(... if window is ... else [*(templates @ window), window.norm() > 0], [0, 0, 1])

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# window = torch.tensor([1.0, 1.0, 1.0])
# ```
#
# Both templates subtract. What all three numbers have in common, they cannot see.
#
# </details>

# %% [markdown]
# ## In short
#
# A convolution is one fixed matrix over all windows. Its size grows with the square of the window.
# Next: [the convolution itself](convolution.ipynb), as an equation.
