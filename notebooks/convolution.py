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
# # Convolution
#
# How does a pixel take in its surroundings? A convolution adds up the pixels of a small window, each multiplied by a
# weight that depends on its place in the window alone. The content of the image plays no part in the weights. That is
# what the attention of the next chapters changes.

# %% tags=["hide-input", "remove-stderr"]
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("evalib") is None:  # in Colab
    address = "git+https://github.com/expanding-visual-attention/evalib"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", address], check=True)
    print(importlib.import_module("evalib.pages").here())

import matplotlib.pyplot as plt
import torch
from einops import rearrange
from torch.nn import functional as F

from evalib import convolution, equations, geometry
from evalib.figures import BLUE, GREY, ORANGE
from evalib.pages import source

close = torch.testing.assert_close
torch.manual_seed(0)


# %% [markdown]
# ## The equation
#
# The output at row $i$, column $j$ is a sum over the window $N_k(i,j)$:
#
# $$
# y_{ij} = \sum_{a,b \in N_k(i,j)} W_{i-a,\,j-b}\; x_{ab}
# $$ (eq-1)
#
# $$
# N_k(i,j) = \left\{ a,b \;\middle|\; |a-i| \le \lfloor k/2 \rfloor,\; |b-j| \le \lfloor k/2 \rfloor \right\}
# $$
#
# | Symbol | Meaning | In the code | Shape |
# |---|---|---|---|
# | $x_{ab}$ | input pixel, $d_{in}$ channels | `x` | `n cin i j` |
# | $N_k(i,j)$ | the window, for every pixel at once | `windows(x, k)` | `n cin i j a b` |
# | $W$ | learned weights | `weight` | `cout cin k k` |
# | $y_{ij}$ | output pixel, $d_{out}$ channels | returned | `n cout i j` |
#
# In the code $a$ and $b$ count from 0 inside the window. Beyond the border the image is zero. The kernel is not flipped
# ([D1](#d1)).

# %% [markdown]
# ## By hand
#
# Take one channel, the numbers 1 to 9, and a kernel that subtracts the left neighbour from the right one.
#
# $$
# x = \begin{pmatrix} 1 & 2 & 3 \\ 4 & 5 & 6 \\ 7 & 8 & 9 \end{pmatrix}
# \qquad
# W = \begin{pmatrix} 0 & 0 & 0 \\ -1 & 0 & 1 \\ 0 & 0 & 0 \end{pmatrix}
# $$
#
# The middle row of the output is $5 - 0 = 5$, then $6 - 4 = 2$, then $0 - 5 = -5$: at both ends one neighbour lies
# outside, and counts as zero.

# %%
x = rearrange(torch.arange(1.0, 10.0), "(i j) -> 1 1 i j", i=3)
weight = torch.zeros(1, 1, 3, 3)
weight[0, 0, 1] = torch.tensor([-1.0, 0.0, 1.0])

y = convolution(x, weight)
assert y[0, 0, 1].tolist() == [5, 2, -5]
y[0, 0]

# %% [markdown]
# ## The code
#
# The window of every pixel is a view on the padded image. The equation is then one `einsum`: the channels and the
# window's two axes are summed, the pixel's two axes stay.

# %%
source(equations.convolution, geometry.windows)

# %% [markdown]
# ## One window, seen


# %% tags=["hide-input"]
def grid(axis, values, title, marked=()):
    """Numbers in a grid; the cells ``marked`` are blue, the rest grey."""
    axis.set(title=title, xlim=(-0.5, values.shape[1] - 0.5), ylim=(values.shape[0] - 0.5, -0.5), aspect="equal")
    axis.axis("off")
    for (i, j), value in zip(torch.argwhere(values == values).tolist(), values.flatten().tolist(), strict=True):
        color = BLUE if (i, j) in marked else GREY
        axis.add_patch(plt.Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor=color, alpha=0.25, edgecolor="white"))
        axis.text(j, i, f"{value:g}", ha="center", va="center")


image = torch.randint(0, 10, (5, 5)).float()
kernel = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])
output = convolution(image[None, None], kernel[None, None])[0, 0]
window = {(i, j) for i in (1, 2, 3) for j in (1, 2, 3)}

figure, axes = plt.subplots(1, 3, figsize=(8, 2.9), layout="constrained")
grid(axes[0], image, "input and the window of pixel (3, 3)", window)
grid(axes[1], kernel, "weights", {(i, j) for i in range(3) for j in range(3)})
grid(axes[2], output, "output", {(2, 2)})
axes[0].add_patch(plt.Rectangle((1.5, 1.5), 1, 1, fill=False, edgecolor=ORANGE, linewidth=2))
axes[2].add_patch(plt.Rectangle((1.5, 1.5), 1, 1, fill=False, edgecolor=ORANGE, linewidth=2))
plt.show()

# %% [markdown]
# The nine blue pixels, each times the weight at its place, add up to the output pixel with the orange frame. Rows and
# columns count from one, as in the paper's Figures 1 and 2.

# %% [markdown]
# ## Any window
#
# The first layer of a trained EVANet-20 small, on three test images. Point at a pixel, tap it, or walk with the arrow keys:
# each cell below is a weight times a pixel, with its row and column offset; all of them add up to the output. A tap on
# a cell moves the window there. Pixels are normalised, so that zero, the border's value, is the mean of the data set.

# %% tags=["hide-input"]
from evalib import data, explorer, load_pretrained

cifar = data.load("subset")
explorer.convolution(load_pretrained("evanet20-small"), cifar.test_images[::200], cifar.test_labels[::200])

# %% [markdown]
# ## Checks
#
# Eq. 1 is PyTorch's `conv2d` with "same" padding, at any stride. The number of weights does not depend on the size of
# the image. Inside the image, moving the input moves the output: the layer is equivariant to translation.

# %%
x = torch.randn(2, 3, 9, 7, dtype=torch.float64)
weight = torch.randn(4, 3, 5, 5, dtype=torch.float64)
for stride in (1, 2):
    expected = F.conv2d(x, weight, stride=stride, padding=2)
    close(convolution(x, weight, stride), expected)

y = convolution(x, weight)
assert geometry.windows(x, 5).shape == (2, 3, 9, 7, 5, 5)
assert y.shape == (2, 4, 9, 7)

moved = convolution(x.roll((1, 1), dims=(2, 3)), weight)
close(moved[..., 3:-2, 3:-2], y[..., 2:-3, 2:-3])

# %% [markdown]
# The paper's introduction names a layer of shape `[128, 256, 5, 5]`: 256 outputs, each one match with a
# $5 \times 5 \times 128$ template. Its weights, counted:

# %%
torch.nn.Conv2d(128, 256, 5, bias=False).weight.numel()

# %% [markdown]
# ## What breaks
#
# Read literally, $W_{i-a,\,j-b}$ flips the kernel in both directions. A symmetric kernel does not show the difference,
# so it makes a poor test. The kernel worked by hand does: every sign is wrong.

# %%
x = rearrange(torch.arange(1.0, 10.0), "(i j) -> 1 1 i j", i=3)
one_sided = torch.zeros(1, 1, 3, 3)
one_sided[0, 0, 1] = torch.tensor([-1.0, 0.0, 1.0])
symmetric = kernel[None, None]

close(convolution(x, symmetric.flip(-2, -1)), convolution(x, symmetric))
mutant = convolution(x, one_sided.flip(-2, -1))
assert mutant[0, 0, 1].tolist() == [-5, -2, 5]
mutant[0, 0]

# %% [markdown]
# ## In short
#
# A convolution sums a window with weights that depend on place, not on content.
# Next: [weights that depend on content](attention.ipynb).
