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
# # Local self-attention
#
# Can the weights of a window come from what is in it? Self-attention computes them anew for each pixel: the pixel asks,
# every pixel of its window answers, and the answers decide how much each counts. The paper takes the local form of
# {cite}`ramachandran2019standalone`; attention itself goes back to {cite}`bahdanau2014neural` and {cite}`vaswani2017attention`.

# %% tags=["hide-input", "remove-stderr"]
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("evalib") is None:  # in Colab
    address = "git+https://github.com/expanding-visual-attention/evalib"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", address], check=True)
    print(importlib.import_module("evalib.pages").here())

import math

import matplotlib.pyplot as plt
import torch
from einops import einsum, rearrange
from torch.nn import functional as F

from evalib import equations, local_attention
from evalib.figures import ORANGE
from evalib.geometry import inside, windows
from evalib.pages import source

close = torch.testing.assert_close
torch.manual_seed(0)


# %% [markdown]
# ## The equation
#
# Three linear maps turn each pixel into a query $q = W_Q x$, a key $k = W_K x$ and a value $v = W_V x$. Then
#
# $$
# y_{ij} = \sum_{a,b \in N_k(i,j)} \operatorname{softmax}_{ab}\!\left( q_{ij}^{\mathsf T} k_{ab} \right) v_{ab}
# $$ (eq-2)
#
# | Symbol | Meaning | In the code | Shape |
# |---|---|---|---|
# | $q_{ij}$ | query of the pixel that asks | `q` | `n h c i j` |
# | $k_{ab}$ | keys of its window | `key` | `n h c i j a b` |
# | $q_{ij}^{\mathsf T} k_{ab}$ | content logits | `content` | `n h i j a b` |
# | $\operatorname{softmax}_{ab}$ | over all positions of the window together | `softmax_ab` | `n h i j a b` |
# | $v_{ab}$ | values of its window | `value` | `n h c i j a b` |
#
# $h$ counts the heads. Each head has its own channels $c$ and its own weights; the outputs are concatenated. Positions
# outside the image take no part, so the weights of a corner are shared among its four pixels.

# %% [markdown]
# ## By hand
#
# One row of three pixels, one channel, $k = 3$. All queries are 1, the keys are $\ln 1, \ln 2, \ln 3$, the values
# 6, 12, 18. The exponentials of the logits are then 1, 2, 3.
#
# - left: weights $\tfrac13, \tfrac23$, output $2 + 8 = 10$;
# - middle: weights $\tfrac16, \tfrac26, \tfrac36$, output $1 + 4 + 9 = 14$;
# - right: weights $\tfrac25, \tfrac35$, output $4.8 + 10.8 = 15.6$.

# %%
q = torch.ones(1, 1, 1, 1, 3)
k = torch.tensor([1.0, 2.0, 3.0]).log().reshape(q.shape)
v = torch.tensor([6.0, 12.0, 18.0]).reshape(q.shape)

y = local_attention(q, k, v, kernel_size=3)
close(y.squeeze(), torch.tensor([10.0, 14.0, 15.6]))
y.squeeze()

# %% [markdown]
# ## The code

# %%
source(equations.local_attention, equations.softmax_ab)

# %% [markdown]
# ## The weights, seen
#
# A layer whose values are the 25 unit vectors returns its own weights: output channel $p$ is the weight of pixel $p$.

# %%
q, k = 0.35 * torch.randn(2, 1, 1, 25, 5, 5)
identity = rearrange(torch.eye(25), "p (i j) -> 1 1 p i j", i=5)
y = local_attention(q, k, identity, kernel_size=3)
weights = rearrange(y, "1 1 (a b) i j -> i j a b", a=5)
weights[0, 0]  # of the corner's query

# %% tags=["hide-input"]
figure, axes = plt.subplots(1, 3, figsize=(8, 2.7), layout="constrained")
for axis, (i, j), name in zip(axes, ((2, 2), (0, 2), (0, 0)), ("centre", "edge", "corner"), strict=True):
    seen = weights[i, j]
    axis.imshow(seen, cmap="Blues", vmin=0, vmax=float(weights[0, 0].max()))
    for a, b in torch.argwhere(seen > 0).tolist():
        dark = seen[a, b] > 0.6 * weights[0, 0].max()
        axis.text(b, a, f"{seen[a, b]:.2f}", ha="center", va="center", fontsize=8, color="white" if dark else "black")
    axis.add_patch(plt.Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, edgecolor=ORANGE, linewidth=2))
    axis.set(title=f"{name}: {(seen > 0).sum()} keys", xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
plt.show()

# %% [markdown]
# The weights of three queries (orange frames) on a map of 5×5 pixels, for $k = 3$. The centre has nine keys, the edge
# six, the corner four.

# %% [markdown]
# ## Checks
#
# The weights are convex: they are not negative, and they sum to one, borders included. A layer whose values are all one
# must therefore return ones. A window that covers the whole map is global attention, which PyTorch has. And each head
# minds its own channels.

# %%
assert (weights >= 0).all()
close(weights.sum(dim=(2, 3)), torch.ones(5, 5))

q, k, v = torch.randn(3, 2, 4, 8, 3, 3)
y = local_attention(q, k, v, kernel_size=3)
ones = torch.ones_like(v)
assert y.shape == (2, 4, 8, 3, 3)
close(local_attention(q, k, ones, kernel_size=3), ones)

tokens = [rearrange(t, "n h c i j -> n h (i j) c") for t in (q, k, v)]
everywhere = F.scaled_dot_product_attention(*tokens, scale=1.0)
everywhere = rearrange(everywhere, "n h (i j) c -> n h c i j", i=3)
close(local_attention(q, k, v, kernel_size=5), everywhere)

second = [t[:, 1:2] for t in (q, k, v)]
close(local_attention(*second, kernel_size=3), y[:, 1:2])

# %% [markdown]
# Eq. 2 has no scale on the logits, and neither do we ([D4](#d4)). Transformers divide them by the square root of the
# head's width {cite}`vaswani2017attention`. The argument `scale` is there for such comparisons.
#
# Content is all that counts. Shuffle the pixels of a window, and the output at its centre stays: a face and a scrambled
# face look alike. The [next chapter](relative_attention.ipynb) adds position.

# %%
i = torch.tensor([[2, 0, 2], [0, 1, 0], [1, 2, 1]])
j = torch.tensor([[2, 2, 0], [0, 1, 1], [2, 1, 0]])
assert (i[1, 1], j[1, 1]) == (1, 1)  # the centre keeps its place
shuffled = [t[..., i, j] for t in (q, k, v)]
close(local_attention(*shuffled, kernel_size=3)[..., 1, 1], y[..., 1, 1])

# %% [markdown]
# ## What breaks
#
# Forget the mask, and the zeros of the padding take part: a key of zero has logit 0, hence weight $e^0$ before
# normalisation. Every interior pixel is still right. The border leaks weight to pixels that are not there. With values
# of one, the output shows how much is left.


# %%
def without_mask(q, k, v, kernel_size):
    """Eq. 2 with padding positions taking part: wrong."""
    key, value = windows(k, kernel_size), windows(v, kernel_size)
    content = einsum(q, key, "n h c i j, n h c i j a b -> n h i j a b")
    everyone = torch.ones_like(inside(*k.shape[-2:], kernel_size))
    weights = equations.softmax_ab(content, everyone)
    return einsum(weights, value, "n h i j a b, n h c i j a b -> n h c i j")


still = torch.zeros(1, 1, 1, 5, 5)
leak = without_mask(still, still, torch.ones_like(still), 3)
assert leak[0, 0, 0, 2, 2] == 1
assert math.isclose(leak[0, 0, 0, 0, 0], 4 / 9, rel_tol=1e-6)
leak[0, 0, 0]

# %% [markdown]
# ## In short
#
# Local attention is a convex combination of the window's values, with weights from content.
# It does not know where in the window a pixel lies.
