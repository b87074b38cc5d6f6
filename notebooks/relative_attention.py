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
# How does attention learn where a pixel lies? Eq. 2 weighs a window by content alone. {cite:t}`ramachandran2019standalone` add a
# second logit that depends on the offset between the pixel that asks and the pixel that answers.

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
from einops import einsum
from torch import nn

from evalib import (
    RelativeSelfAttention,
    count_parameters,
    equations,
    local_attention,
    relative_attention,
)
from evalib.figures import BLUE, ORANGE
from evalib.pages import source

close = torch.testing.assert_close
torch.manual_seed(0)


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
# | Symbol | Meaning | In the code | Shape |
# |---|---|---|---|
# | $r_{a-i}$ | row embeddings, one an offset | `rows` | `h c/2 k` |
# | $r_{b-j}$ | column embeddings, one an offset | `cols` | `h c/2 k` |
# | $r_{a-i,\,b-j}$ | both, concatenated | `r` | `h c a b` |
# | $q_{ij}^{\mathsf T} k_{ab}$ | content logits | `content` | `n h i j a b` |
# | $q_{ij}^{\mathsf T} r_{a-i,\,b-j}$ | position logits | `position` | `n h i j a b` |
#
# A window around its query reaches the offsets $-\lfloor k/2 \rfloor \dots \lfloor k/2 \rfloor$. There are $k$ of them,
# and the tables hold $k$ ([D2](#d2)).

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

# %%
source(equations.relative_attention, equations.relative_embedding)

# %% [markdown]
# ## The offsets, seen

# %%
rows, cols = torch.randn(2, 1, 4, 3)
r = equations.relative_embedding(rows, cols)
query = torch.randn(1, 8)
position = einsum(query, r, "h c, h c a b -> h a b")[0]
assert r.shape == (1, 8, 3, 3)
close(r[0, :, 0, 2], torch.cat([rows[0, :, 0], cols[0, :, 2]]))

# %% tags=["hide-input"]
figure, axes = plt.subplots(1, 3, figsize=(8, 2.7), layout="constrained")
for a, b in torch.cartesian_prod(*[torch.arange(3)] * 2).tolist():
    color = ORANGE if a == b == 1 else BLUE
    axes[0].add_patch(plt.Rectangle((b - 0.5, a - 0.5), 1, 1, facecolor=color, alpha=0.25, edgecolor="white"))
    axes[0].text(b, a, f"{a - 1}, {b - 1}", ha="center", va="center")
axes[0].set(title="row offset, column offset", xlim=(-0.5, 2.5), ylim=(2.5, -0.5), aspect="equal")
for axis, shown, title in (
    (axes[1], position, "position logits of one query"),
    (axes[2], position.flatten().softmax(0).reshape(3, 3), "their softmax"),
):
    axis.imshow(shown, cmap="Blues")
    middle = (shown.min() + shown.max()) / 2
    for a, b in torch.argwhere(shown == shown).tolist():
        color = "white" if shown[a, b] > middle else "black"
        axis.text(b, a, f"{shown[a, b]:.2f}", ha="center", va="center", color=color)
    axis.set(title=title)
for axis in axes:
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
plt.show()

# %% [markdown]
# Left, the offsets of a 3×3 window from its centre, as in the paper's Figure 4. Middle and right, what position alone
# makes of one random query. A row's logit plus a column's logit gives each cell: the pattern is a sum, not a free table.

# %% [markdown]
# ## The layer
#
# The module holds the projections and the two tables. $W_Q$, $W_K$ and $W_V$ read all input channels ([D3](#d3)).
# With `stride=2` only every second query is answered, in rows and in columns; keys and values stay complete.

# %%
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
# ## Any window
#
# The last attention of a trained SANet-20 small, on four test images. Choose a head and a query: each cell has its row and
# column offset, its logit of content, its logit of position, and what the softmax makes of their sum. At the border the
# window is cut. Weights say from where a layer takes its values; whether they explain its output is disputed
# {cite}`jain2019attention,wiegreffe2019attention`.

# %% tags=["hide-input"]
from evalib import data, explorer, load_pretrained

cifar = data.load("subset")
explorer.relative_attention(load_pretrained("sanet20-small"), cifar.test_images[::125], cifar.test_labels[::125])

# %% [markdown]
# ## Checks
#
# With $r = 0$, Eq. 3 is Eq. 2. The weights still sum to one, borders included. Inside the image the layer is
# equivariant to translation, as a convolution is. And a mirrored map, which Eq. 2 answers with the mirrored output, is
# now something else.

# %%
q, k, v = torch.randn(3, 2, 4, 8, 5, 6)
rows, cols = torch.randn(2, 4, 4, 3)
zero = torch.zeros_like(rows)
close(relative_attention(q, k, v, zero, zero), local_attention(q, k, v, 3))

ones = torch.ones_like(v)
close(relative_attention(q, k, ones, rows, cols), ones)

with torch.no_grad():
    moved, still = layer(x.roll((1, 1), dims=(2, 3))), layer(x)
close(moved[..., 2:-1, 2:-1], still[..., 1:-2, 1:-2])

mirrored = [t.flip(-1) for t in (q, k, v)]
close(local_attention(*mirrored, 3).flip(-1), local_attention(q, k, v, 3))
turned = relative_attention(*mirrored, rows, cols).flip(-1)
assert not torch.allclose(turned, relative_attention(q, k, v, rows, cols))

# %% [markdown]
# ## What breaks
#
# Swap the two tables. Shapes fit, the weights sum to one, Eq. 3 with $r = 0$ is still Eq. 2, and a network would train.
# The example worked by hand notices: with one row of pixels the column embeddings no longer matter, and the output is
# the plain mean of each window.

# %%
q, k = torch.ones(1, 1, 2, 1, 3), torch.zeros(1, 1, 2, 1, 3)
v = torch.tensor([6.0, 12.0, 18.0]).expand(q.shape)
cols = torch.tensor([1.0, 2.0, 3.0]).log().reshape(1, 1, 3)

mutant = relative_attention(q, k, v, rows=cols, cols=torch.zeros_like(cols))
close(mutant[0, 0, 0, 0], torch.tensor([9.0, 12.0, 15.0]))
mutant[0, 0, 0, 0]

# %% [markdown]
# ## In short
#
# Relative attention adds to each content logit one of position: a row part and a column part.
# Next: the same equation with [one query and four rings](eva.ipynb).
