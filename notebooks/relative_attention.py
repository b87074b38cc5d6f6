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
# # Relative self-attention
#
# How does attention learn where a pixel lies? Eq. 2 weighs a window by what it shows alone. {cite:t}`ramachandran2019standalone`
# add a second logit: one for the offset from the pixel that asks to the pixel that answers.

# %% tags=["hide-input", "remove-stderr"]
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("evalib") is None:  # in Colab
    address = "evalib[book] @ git+https://github.com/expanding-visual-attention/evalib"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", address], check=True)
    print(importlib.import_module("evalib.pages.display").here())

import torch
from einops import einsum
from torch import nn

from evalib import (
    RelativeSelfAttention,
    count_parameters,
    equations,
    local_attention,
    relative_attention,
)
from evalib.pages.display import captioned, check, picture, source, symbols
from evalib.pages.figures import grid, numbers, vectors, weighed

torch.manual_seed(0)
close = torch.testing.assert_close


# %% [markdown]
# ## The equation
#
# $$
# y_{ij} = \sum_{a,b \in N_k(i,j)} \operatorname{softmax}_{ab}\!\left(
# q_{ij}^{\mathsf T} k_{ab} + q_{ij}^{\mathsf T} r_{a-i,\,b-j} \right) v_{ab}
# $$ (eq-3)
#
# The embedding $r_{a-i,\,b-j}$ joins two halves: one learned for the row offset $a-i$, one for the column offset $b-j$.
#
# An *embedding* is a vector that training chooses, here one for each offset. Its dot product with
# the query is a bonus for looking in that direction.

# %% tags=["hide-input"]
symbols("Eq. 3")

# %% [markdown]
# `half` is $c/2$, half of a head's channels. A window reaches the offsets $-\lfloor k/2 \rfloor
# \dots \lfloor k/2 \rfloor$, and the tables hold these $k$ ([D2](#d2)).

# %% [markdown]
# ## By hand
#
# One row of three pixels, $k = 3$, and two channels: the first meets the row embedding, the second the column embedding.
# All keys are zero, so position decides alone. All queries are $(1, 1)$. The column embeddings of the offsets
# $-1, 0, 1$ are $\ln 1, \ln 2, \ln 3$, the row embeddings zero, the values 6, 12, 18.
#
# - left, offsets $0, 1$: weights $\tfrac25, \tfrac35$, output $2.4 + 7.2 = 9.6$;
# - middle, offsets $-1, 0, 1$: weights $\tfrac16, \tfrac26, \tfrac36$, output $14$;
# - right, offsets $-1, 0$: weights $\tfrac13, \tfrac23$, output $4 + 12 = 16$.

# %%
q, k = torch.ones(1, 1, 2, 1, 3), torch.zeros(1, 1, 2, 1, 3)
v = torch.tensor([6.0, 12.0, 18.0]).expand(q.shape)
cols = torch.tensor([1.0, 2.0, 3.0]).log().reshape(1, 1, 3)
rows = torch.zeros_like(cols)

y = relative_attention(q, k, v, rows, cols)
assert y.shape == (1, 1, 2, 1, 3)
close(y[0, 0, 0, 0], torch.tensor([9.6, 14.0, 16.0]))
y[0, 0, 0, 0]

# %% [markdown]
# ## The code
#
# The two kinds of logits are two aligned lines. The rest is Eq. 2.

# %% tags=["hide-input"]
source(equations.relative_attention, equations.relative_embedding)

# %% [markdown]
# ## The offsets, seen

# %% tags=["hide-input"]
rows, cols = torch.randn(2, 1, 4, 3)
r = equations.relative_embedding(rows, cols)
query = torch.randn(1, 8)
position = einsum(query, r, "h c, h c a b -> h a b")[0]
assert r.shape == (1, 8, 3, 3)
close(r[0, :, 0, 2], torch.cat([rows[0, :, 0], cols[0, :, 2]]))

# %% tags=["hide-input"]
weights = position.flatten().softmax(dim=0).reshape(3, 3)
steps = torch.tensor([-1.0, 0.0, 1.0])
offsets = torch.stack(torch.meshgrid(steps, steps, indexing="ij"))
picture(
    grid("row offset, column offset", vectors(offsets), marked={(1, 1)}),
    grid("position logits of one query", numbers(position, ".2f")),
    grid("their softmax", numbers(weights, ".2f"), weighed(weights)),
    caption="The paper's Figure 4, row and column offsets of a 3×3 window from its centre, and what position "
    "alone makes of one random query. Each logit is that of its row plus that of its column, so six numbers make the nine: "
    "the pattern is a sum, not a free table.",
)

# %% [markdown]
# ## The layer
#
# $W_Q$, $W_K$ and $W_V$ read all input channels ([D3](#d3)). With `stride=2` only every second
# pixel has a query, in rows and in columns. With `fast = False` the layer computes the equation as
# it is written; [tests](proof.ipynb) hold the faster form to it.

# %% tags=["hide-input"]
source(RelativeSelfAttention)

# %%
layer = RelativeSelfAttention(64, 64, kernel_size=3, num_heads=4)
x = torch.randn(2, 64, 8, 8)
assert layer(x).shape == (2, 64, 8, 8)

strided = RelativeSelfAttention(64, 64, kernel_size=3, num_heads=4, stride=2)
strided.load_state_dict(layer.state_dict())
close(strided(x), layer(x)[..., ::2, ::2])

layers = {"attention": layer, "convolution": nn.Conv2d(64, 64, 3, bias=False)}
{name: count_parameters(each) for name, each in layers.items()}

# %% [markdown]
# ## Fixed weights, changing weights
#
# The last convolution of a trained ResNet-20 small has the same weights wherever its window lies.
# The last attention of a SANet-20 small, in the same place of its network, weighs each window anew.

# %% tags=["hide-input"]
from evalib import load_pretrained, trace_windows
from evalib.training import data
from evalib.training.cifar import load_data

cifar, sanet = load_data("subset"), load_pretrained("sanet20-small")
with torch.no_grad():
    kernel = load_pretrained("resnet20-small").stages[-1].mix2.weight.norm(dim=(0, 1))
    _, windows_seen = trace_windows(sanet, data.normalise(cifar.test_images[125:126]))
of_places = windows_seen[-1].weights[0].mean(dim=0)  # i j a b, mean over the heads
places = ((1, 1), (3, 4), (6, 5))
panels = {"convolution, everywhere": kernel / kernel.sum()}
panels |= {f"attention, row {i + 1}, column {j + 1}": of_places[i, j] for i, j in places}
assert all(torch.isclose(each.sum(), torch.tensor(1.0)) for each in panels.values())
picture(
    *(grid(name, numbers(100 * each, ".0f"), weighed(each)) for name, each in panels.items()),
    caption="Shares of a 3×3 window, in percent. First the size of the convolution's weights, the same at every pixel, then "
    "attention at three pixels of one photograph, mean over four heads.",
)

# %% [markdown]
# ## Any window
#
# The same attention on four test images. Choose a head and a query: each cell has its logit of
# content, its logit of position, and what the softmax makes of their sum. Weights say from where a
# layer takes its values. Whether its answer hangs on them was measured of EVA alone: [hardly](where-it-counts).

# %% tags=["hide-input"]
from evalib.pages import explorer

captioned(
    explorer.relative_attention(sanet, cifar.test_images[::125], cifar.test_labels[::125]),
    "Eq. 3 at any query of a trained SANet's last attention. Compare two pixels: the logits of content change with the place, and "
    "so do those of position, because they too are products with the query.",
)

# %% [markdown]
# ## Checks
#
# With $r = 0$, Eq. 3 is Eq. 2. The weights still sum to one, borders included. And a mirrored map, for which Eq. 2 gives
# the mirrored output, now gets a different one.
#
# Inside the image the layer is equivariant to translation, as a convolution is. The paper says that
# it gains this by its relative positions (§2.2). It rather keeps it: Eq. 2 has it already, and an
# embedding of the place in the image would lose it.

# %% tags=["hide-input"]
q, k, v = torch.randn(3, 2, 4, 8, 5, 6)
rows, cols = torch.randn(2, 4, 4, 3)
zero = torch.zeros_like(rows)
close(relative_attention(q, k, v, zero, zero), local_attention(q, k, v, 3))

ones = torch.ones_like(v)
close(relative_attention(q, k, ones, rows, cols), ones)

with torch.no_grad():
    moved, still = layer(x.roll((1, 1), dims=(2, 3))), layer(x)
close(moved[..., 2:-1, 2:-1], still[..., 1:-2, 1:-2])


def inner_shift(attend):
    """Whether, inside the image, the output of a moved map is the moved output."""
    moved, still = attend(*(t.roll((1, 1), dims=(-2, -1)) for t in (q, k, v))), attend(q, k, v)
    return torch.allclose(moved[..., 2:-1, 2:-1], still[..., 1:-2, 1:-2], atol=1e-5)


place = torch.randn(4, 8, 5, 6)  # an embedding for each pixel of the image
assert inner_shift(lambda q, k, v: local_attention(q, k, v, 3))
assert inner_shift(lambda q, k, v: relative_attention(q, k, v, rows, cols))
assert not inner_shift(lambda q, k, v: local_attention(q, k + place, v, 3))

mirrored = [t.flip(-1) for t in (q, k, v)]
close(local_attention(*mirrored, 3).flip(-1), local_attention(q, k, v, 3))
turned = relative_attention(*mirrored, rows, cols).flip(-1)
assert not torch.allclose(turned, relative_attention(q, k, v, rows, cols))

# %% [markdown]
# ## What breaks
#
# Swap the two tables. Shapes fit, the weights sum to one, and a network would train. The example
# worked by hand notices: with one row of pixels the output is the plain mean of each window.

# %%
q, k = torch.ones(1, 1, 2, 1, 3), torch.zeros(1, 1, 2, 1, 3)
v = torch.tensor([6.0, 12.0, 18.0]).expand(q.shape)
cols = torch.tensor([1.0, 2.0, 3.0]).log().reshape(1, 1, 3)

mutant = relative_attention(q, k, v, rows=cols, cols=torch.zeros_like(cols))
close(mutant[0, 0, 0, 0], torch.tensor([9.0, 12.0, 15.0]))
mutant[0, 0, 0, 0]

# %% [markdown]
# ## Exercises
#
# **1.** Give the 3×3 position logits of one query (`c`) from the tables (`half k` each), without building $r$: a part of
# the query meets the rows, the other the columns.


# %% tags=["exercise"]
def position_logits(query, rows, cols):
    return ...


# %% tags=["check", "hide-input"]
query, rows, cols = torch.randn(8), torch.randn(4, 3), torch.randn(4, 3)
r = equations.relative_embedding(rows[None], cols[None])[0]
check(position_logits(query, rows, cols), einsum(query, r, "c, c a b -> a b"))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def position_logits(query, rows, cols):
#     row, column = query[:4] @ rows, query[4:] @ cols
#     return row[:, None] + column[None, :]
# ```
#
#
# </details>

# %% [markdown]
# **2.** Attention can copy a neighbour. All queries are $(1, 1)$ and all keys zero. Choose three row and three column
# embeddings so that each pixel's output is, very nearly, the value of the pixel to its left.

# %% tags=["exercise"]
row_embeddings = [..., ..., ...]  # for the offsets -1, 0, 1
column_embeddings = [..., ..., ...]

# %% tags=["check", "hide-input"]
q, k = torch.ones(1, 1, 2, 5, 5), torch.zeros(1, 1, 2, 5, 5)
v = torch.randn(1, 1, 2, 5, 5)
answered = ... not in row_embeddings + column_embeddings
tables = [torch.tensor([[t]]) for t in (row_embeddings, column_embeddings)] if answered else []
shifted = relative_attention(q, k, v, *tables)[..., 1:] if answered else ...
check(shifted, v[..., :-1])

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# row_embeddings = [0.0, 20.0, 0.0]
# column_embeddings = [20.0, 0.0, 0.0]
# ```
#
# A convolution with a single 1 at this place does it exactly; attention only as nearly as the
# logits are large.
#
# </details>

# %% [markdown]
# ## In short
#
# To each logit of content a logit of position is added, a row part plus a column part. With it the
# layer can tell left from right and copy a neighbour. Inside the image it stays equivariant to
# translation. Next: the same equation with [one query and four rings](eva.ipynb).
