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
# How does a pixel take in its surroundings? A convolution adds up the pixels of a small window,
# each multiplied by a weight that depends only on its place in the window. What the window shows
# plays no part in the weights. Attention changes exactly that. All you need to know is what a
# matrix product is.

# %% tags=["hide-input", "remove-stderr"]
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("evalib") is None:  # in Colab
    address = "evalib[book] @ git+https://github.com/expanding-visual-attention/evalib"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", address], check=True)
    print(importlib.import_module("evalib.pages.display").here())

import torch
from einops import einsum, rearrange
from torch.nn import functional as F

from evalib import convolution, equations
from evalib.pages.display import captioned, check, picture, source, symbols
from evalib.pages.figures import grid, numbers

torch.manual_seed(0)
close = torch.testing.assert_close


# %% [markdown]
# ## Words
#
# A *tensor* is a box of numbers with named axes. A colour image has three: its *channels* (red,
# green, blue), its rows and its columns. A *batch* stacks several images, which adds a first axis.
# A *layer* turns one tensor into another by arithmetic with *weights*, numbers that training
# chooses. Its output is a *feature map*: its channels are no longer colours. A *network* is a chain
# of layers. Its last one gives each class of images a score, and the highest score is its answer.
#
# *Training* shows the network images whose class is known. One number, the *loss*, says how wrong
# the scores are. The *gradient* of the loss has an entry for each weight: by how much the loss
# grows if that weight does. Each step moves all weights a little against it. The page
# [Training](train.ipynb) does this. The examples draw their weights at random, from a *seed*, a number
# that makes the draws the same each time. Where a trained network is shown, we say so.
#
# ## How to read the code
#
# A shape has a letter for each axis: `n cin i j` is a batch of $n$ images with `cin` channels, `i`
# rows and `j` columns. Two functions of the library einops {cite}`rogozhnikov2022einops` do most of
# the work:
#
# - `rearrange(x, "n c i j -> n (i j) c")` names the axes of `x` and says in which order they come out. Brackets join axes
#   into one.
# - `einsum(x, w, "i j, j -> i")` multiplies, and sums over the letters that are missing to the right of the arrow. This one
#   is the product of a matrix with a vector: $1 \cdot 10 + 2 \cdot 1 = 12$ and $3 \cdot 10 + 4 \cdot 1 = 34$ below.
#
# An `assert` stops the page if its statement is false, and `close` does if two tensors differ by
# more than rounding.

# %%
matrix, vector = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([10.0, 1.0])
assert einsum(matrix, vector, "i j, j -> i").tolist() == [12, 34]
assert rearrange(matrix, "i j -> j i").tolist() == [[1, 3], [2, 4]]
assert rearrange(matrix, "i j -> (i j)").tolist() == [1, 2, 3, 4]

# %% [markdown]
# ## The equation
#
# The output at row $i$, column $j$ is a sum over the window $N_k(i,j)$, the $k \times k$ pixels around it:
#
# $$
# y_{ij} = \sum_{a,b \in N_k(i,j)} W_{i-a,\,j-b}\; x_{ab}
# $$ (eq-1)
#
# $$
# N_k(i,j) = \left\{ a,b \;\middle|\; |a-i| \le \lfloor k/2 \rfloor,\; |b-j| \le \lfloor k/2 \rfloor \right\}
# $$
#
# Each $x_{ab}$ is a vector, one number a channel. Each $W_{i-a,\,j-b}$ is a matrix that turns the
# $d_{in}$ channels of a pixel into $d_{out}$. Together the weights are the *kernel*, and all pixels
# use the same one: *weight sharing*. The *extent* $k$ is odd, so that the window has a centre. The
# window reaches $\lfloor k/2 \rfloor$ pixels to each side, the half of $k$ rounded down.

# %% tags=["hide-input"]
symbols("Eq. 1")

# %% [markdown]
# The axes: `n` images of the batch, `cin` and `cout` channels, `i j` row and column of a pixel, `a
# b` row and column inside its window, counted from 0. Beyond the border the image is zero. The
# kernel is not flipped ([D1](#d1)). All symbols are on [one page](notation.ipynb).

# %% tags=["hide-input"]
seen = torch.zeros(5, 5)
seen[1:4, 1:4] = 1
texts = [[f"{row}, {column}" for column in range(1, 6)] for row in range(1, 6)]
picture(
    grid("window of pixel 3, 3, k = 3", texts, 0.12 + 0.48 * seen, {(2, 2)}, numbered=True),
    caption="The paper's Figure 1: the window (blue) of the pixel in row 3, column 3 (framed), for extent 3. It reaches one "
    "pixel to each side, so the output there depends on nine pixels and no others.",
)

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
# outside and counts as zero.

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
# The window of every pixel is a view on the padded image. The equation is then one `einsum`.

# %% tags=["hide-input"]
source(equations.convolution, equations.windows)

# %% [markdown]
# ## One window, seen
#
# These weights compare a pixel with its four neighbours.

# %%
image = torch.randint(0, 10, (5, 5)).float()
kernel = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])
products = image[1:4, 1:4] * kernel
close(convolution(image[None, None], kernel[None, None])[0, 0, 2, 2], products.sum())

# %% tags=["hide-input"]
here = torch.zeros(5, 5)
here[2, 2] = 1
output = convolution(image[None, None], kernel[None, None])[0, 0]
picture(
    grid("image and window", numbers(image), 0.12 + 0.48 * seen, {(2, 2)}, cell=0.4),
    grid("weights", numbers(kernel), cell=0.4),
    grid(f"products, sum {products.sum():g}", numbers(products), 0.6, cell=0.4),
    grid("output", numbers(output), 0.12 + 0.48 * here, {(2, 2)}, cell=0.4),
    caption=f"The paper's Figure 2, with numbers: image, weights, their nine products, and the output. The products add up to "
    f"{products.sum():g}, which is the output's middle pixel. The same nine weights make every other pixel of the output.",
)

# %% [markdown]
# ## Any window
#
# The first layer of a trained EVANet-20 small, on three test images. Point at a pixel, tap it, or
# use the arrow keys. Each cell is a weight times a pixel; together they add up to the output.
# Pixels are normalised, so zero, the value of the border, is the mean of the data set.

# %% tags=["hide-input"]
from evalib import load_pretrained
from evalib.pages import explorer
from evalib.training.cifar import load_data

cifar = load_data("subset")
captioned(
    explorer.convolution(
        load_pretrained("evanet20-small"), cifar.test_images[::200], cifar.test_labels[::200]
    ),
    "Eq. 1 at any pixel of a trained network's first layer. Move across an outline in the picture, "
    "and see which filters answer to it.",
)

# %% [markdown]
# ## Checks
#
# Eq. 1 is PyTorch's `conv2d` with $\lfloor k/2 \rfloor$ zeros on each side, which keep the number of rows and columns. A
# *stride* of 2 computes an output only at every second pixel, in rows and in columns. The two agree there too. The number of weights does not depend on the size of
# the image: all windows share them. Inside the image, moving the input moves the output: the layer is *equivariant* to
# translation.

# %% tags=["hide-input"]
x = torch.randn(2, 3, 9, 7, dtype=torch.float64)
weight = torch.randn(4, 3, 5, 5, dtype=torch.float64)
for stride in (1, 2):
    expected = F.conv2d(x, weight, stride=stride, padding=2)
    close(convolution(x, weight, stride), expected)

y = convolution(x, weight)
assert equations.windows(x, 5).shape == (2, 3, 9, 7, 5, 5)
assert y.shape == (2, 4, 9, 7)

moved = convolution(x.roll((1, 1), dims=(2, 3)), weight)
close(moved[..., 3:-2, 3:-2], y[..., 2:-3, 2:-3])

# %% [markdown]
# ## What breaks
#
# Read literally, $W_{i-a,\,j-b}$ flips the kernel in both directions. A symmetric kernel hides the
# difference. The kernel worked by hand does not: every sign comes out wrong.

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
# ## Exercises
#
# **1.** Which 3×3 weights make each pixel the mean of its window?

# %% tags=["exercise"]
mean = ...  # a tensor of shape (1, 1, 3, 3)

# %% tags=["check", "hide-input"]
expected = F.avg_pool2d(image[None], 3, stride=1, padding=1)[None]
check(... if mean is ... else convolution(image[None, None], mean), expected)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# mean = torch.ones(1, 1, 3, 3) / 9
# ```
#
# </details>

# %% [markdown]
# **2.** Write Eq. 1 for a single output pixel, from its window (`cin a b`) and the weights (`cout cin a b`).


# %% tags=["exercise"]
def pixel(window, weight):
    return ...


# %% tags=["check", "hide-input"]
x, weight = torch.randn(1, 2, 6, 6), torch.randn(3, 2, 5, 5)
check(pixel(equations.windows(x, 5)[0, :, 2, 4], weight), convolution(x, weight)[0, :, 2, 4])

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def pixel(window, weight):
#     return (window * weight).sum(dim=(1, 2, 3))
# ```
#
# </details>

# %% [markdown]
# **3.** Two 3×3 convolutions, one after the other: how many rows of the input does one output pixel
# see?

# %% tags=["exercise"]
rows_seen = ...

# %% tags=["check", "hide-input"]
dot, ones = torch.zeros(1, 1, 11, 11), torch.ones(1, 1, 3, 3)
dot[0, 0, 5, 5] = 1
reached = convolution(convolution(dot, ones), ones)[0, 0].any(dim=1)
check(rows_seen, reached.sum())

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# rows_seen = 5
# ```
#
# Each layer sees one row further to each side.
#
# </details>

# %% [markdown]
# ## In short
#
# A convolution sums a window with weights that depend on place, not on content. Every window of
# every image gets the same weights, and an output pixel knows nothing beyond its window. Next:
# [what that costs](why.ipynb).
