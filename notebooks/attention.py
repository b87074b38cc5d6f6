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
# Can the weights of a window come from what it shows? In self-attention each pixel asks, every pixel of its window answers,
# and the answers decide how much each counts. *Self*: the pixels that ask and those that answer belong to one map. *Local*:
# only a window answers, not the whole map.

# %% tags=["hide-input", "remove-stderr"]
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("evalib") is None:  # in Colab
    address = "evalib[book] @ git+https://github.com/expanding-visual-attention/evalib"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", address], check=True)
    print(importlib.import_module("evalib.pages.display").here())

import math

import torch
from einops import einsum, rearrange
from torch.nn import functional as F

from evalib import equations, local_attention
from evalib.equations import inside, ring, windows
from evalib.pages.display import check, picture, source, symbols
from evalib.pages.figures import grid, numbers, vectors, weighed

torch.manual_seed(0)
close = torch.testing.assert_close


# %% [markdown]
# (beak-and-wheel)=
# ## One pixel asks
#
# A pixel in the middle shows a beak. Of its eight neighbours, one shows feathers and one a tyre. What should it look at? At
# the feathers: then it is a bird. Had it shown a wheel, the tyre would be worth a look. So what counts in a window depends on
# what the middle shows. No fixed weights can do that, and no mean.
#
# Attention does it with three vectors. The middle makes a *query*: what it asks for. Each neighbour makes a *key*, what it has to
# offer, and a *value*, what it hands over. (In Eq. 2 the middle answers too.) Let there be four channels, one for each of the four things. A matrix has learned that
# a beak asks for feathers and a wheel for a tyre. Query times key is then 3 where the neighbour shows what is asked for, and 0
# elsewhere. A softmax makes weights of these numbers, $e^3 / (e^3 + 7)$ for the one and $1 / (e^3 + 7)$ for the others. The output is the
# weighted sum of the values.

# %%
beak, wheel, feathers, tyre = torch.eye(4)
W_Q = 3 * (torch.outer(feathers, beak) + torch.outer(tyre, wheel))
neighbours = torch.zeros(8, 4)  # their keys and their values
neighbours[0], neighbours[7] = feathers, tyre

weight, output = {}, {}
for name, middle in {"beak": beak, "wheel": wheel}.items():
    query = W_Q @ middle
    weight[name] = (neighbours @ query).softmax(dim=0)
    output[name] = weight[name] @ neighbours

e3 = math.exp(3)
assert (weight["beak"].argmax(), weight["wheel"].argmax()) == (0, 7)
assert math.isclose(output["beak"] @ feathers, e3 / (e3 + 7), rel_tol=1e-6)
assert math.isclose(output["wheel"] @ tyre, e3 / (e3 + 7), rel_tol=1e-6)

# %% tags=["hide-input"]
drawings = []
for name, weights in weight.items():
    row, column = ring(1) + 1
    shown = torch.zeros(3, 3)
    shown[row, column] = weights
    texts = numbers(shown, ".2f")
    texts[1][1] = name
    texts[0][0] += "\nfeathers"
    texts[2][2] += "\ntyre"
    drawings.append(grid(f"the middle shows a {name}", texts, weighed(shown), {(1, 1)}, cell=0.75))
picture(
    *drawings,
    caption="The same eight neighbours, asked by two middles. A beak sends "
    f"{weight['beak'][0]:.2f} of the weight to the feathers, a wheel {weight['wheel'][7]:.2f} to the tyre. Their mean "
    "is the same for both.",
)

# %% [markdown]
# (two-poles)=
# ## Between the mean and a look-up
#
# Multiply those products by a number. At 0 they are all equal, and so are the weights: the output
# is the mean of the window, which is called *mean pooling*. At a large number one weight is 1 and
# the others are 0, *one-hot*: the output is one value, a *look-up*. Attention lies between these
# two poles. How large the products are says where.

# %% tags=["hide-input"]
scales = {0: "mean pooling", 0.5: "soft", 1: "as above", 4: "a look-up"}
drawings = []
for scale, name in scales.items():
    shown = torch.zeros(3, 3)
    shown[row, column] = (scale * neighbours @ W_Q @ beak).softmax(dim=0)
    texts = numbers(shown, ".2f")
    texts[1][1] = "beak"
    drawings.append(grid(f"× {scale}: {name}", texts, weighed(shown), {(1, 1)}))
    assert scale or torch.allclose(shown[row, column], torch.tensor(1 / 8))
picture(
    *drawings,
    caption="The same question, its products with the keys multiplied by 0, 0.5, 1 and 4: from soft to one-hot.",
)

# %% [markdown]
# (why-root-c)=
# ## Why divide by √c?
#
# How large are the products, before anything is learned? Let a query and a key have $c$ channels, each of mean 0 and variance 1,
# and independent.
#
# 1. The product is $q^{\mathsf T} k = q_1 k_1 + \dots + q_c k_c$.
# 2. Each term has mean 0, and variance $1 \cdot 1 = 1$.
# 3. Variances of independent terms add up: $\operatorname{Var}(q^{\mathsf T} k) = c$.
# 4. So products are typically $\sqrt c$ from 0: 4 for 16 channels, 16 for 256. The wider the layer, the nearer to a look-up.
# 5. Divided by $\sqrt c$ they have variance 1, whatever $c$ is.
#
# Transformers divide {cite}`vaswani2017attention`, the paper's equations do not. Our SANet follows
# the paper; our EVA divides ([D4](#d4)), because [without it EVA can collapse](collapse.ipynb).

# %%
spread = {c: torch.randn(2, 100_000, c).prod(dim=0).sum(dim=1).var().item() for c in (4, 16, 64)}
assert all(abs(variance / c - 1) < 0.05 for c, variance in spread.items())
spread

# %% [markdown]
# ## The equation
#
# Three learned matrices turn each pixel $x$ into its query $q = W_Q x$, its key $k = W_K x$ and its
# value $v = W_V x$. The dot product $q^{\mathsf T} k$ of a query and a key is a *logit*: the
# larger, the better the match. A softmax makes weights of the logits, for the sum of the values:
#
# $$
# y_{ij} = \sum_{a,b \in N_k(i,j)} \operatorname{softmax}_{ab}\!\left( q_{ij}^{\mathsf T} k_{ab} \right) v_{ab}
# $$ (eq-2)
#
# The *softmax* of some numbers is the exponential of each, divided by the sum of all the exponentials:
#
# $$
# \operatorname{softmax}_{m}(z) = \frac{e^{z_m}}{\sum_{m'} e^{z_{m'}}}
# $$
#
# No result is negative, and together they are one. The largest logit gets the largest weight, and adding the same number to
# all logits changes nothing. Here it runs over all positions $ab$ of the window together.

# %% tags=["hide-input"]
symbols("Eq. 2")

# %% [markdown]
# Two letters of the paper do double duty. $k$ alone is the extent of a window, $k_{ab}$ a key. $N_k$
# is a window, $N$ alone the number of heads.
#
# A layer has $N$ *heads*, counted by $h$. Each does all this on $c$ channels of its own, with its
# own softmax, so it can compare pixels in another respect. Their outputs are joined on the
# channels. Positions outside the image take no part: in a corner, four pixels of a 3×3 window share
# the weight.

# %% [markdown]
# ## By hand
#
# One row of three pixels, one channel, a window of $k = 3$. All queries are 1, the keys are $\ln 1, \ln 2, \ln 3$, the values
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

# %% tags=["hide-input"]
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
places = {"centre": (2, 2), "edge": (0, 2), "corner": (0, 0)}
picture(
    *(
        grid(
            f"{name}: {(weights[at] > 0).sum()} keys",
            numbers(weights[at].masked_fill(weights[at] == 0, torch.nan), ".2f"),
            weighed(weights[at]),
            {at},
            cell=0.42,
        )
        for name, at in places.items()
    ),
    caption="Weights of three queries (framed) on a map of 5×5 pixels, for <i>k</i> = 3. Nine, six and four pixels of "
    "the window lie inside the map; whatever their number, their weights add up to one.",
)

# %% [markdown]
# Now every step for one window of pixels with two channels.

# %%
q, k = torch.randint(-1, 2, (2, 2, 5, 5)).float()
v = torch.randint(0, 10, (2, 5, 5)).float()

logits = einsum(q[:, 2, 2], k[:, 1:4, 1:4], "c, c a b -> a b")
weights_of_one = logits.flatten().softmax(dim=0).reshape(3, 3)
output = einsum(weights_of_one, v[:, 1:4, 1:4], "a b, c a b -> c")
assert (logits.shape, output.shape) == ((3, 3), (2,))
close(local_attention(q[None, None], k[None, None], v[None, None], 3)[0, 0, :, 2, 2], output)

# %% tags=["hide-input"]
best = int(weights_of_one.argmax())
ink = weighed(weights_of_one)
picture(
    grid("query", vectors(q[:, 2:3, 2:3]), 0.6),
    grid("keys", vectors(k[:, 1:4, 1:4])),
    grid("logits: query · key", numbers(logits)),
    grid("weights: softmax", numbers(weights_of_one, ".2f"), ink),
    grid("values", vectors(v[:, 1:4, 1:4]), ink),
    grid("output: Σ weight × value", vectors(output[:, None, None], ".1f"), 0.6),
    caption="The paper's Figure 3, with numbers. Query times keys gives logits, the softmax of the logits gives weights, and "
    f"weights times values, added up, give the output. The key in row {best // 3 + 1}, column {best % 3 + 1} fits the query "
    f"best and gets {weights_of_one.max():.2f} of the weight.",
)

# %% [markdown]
# ## Checks
#
# The weights are not negative, and they sum to one, borders included. So a layer whose values are
# all one returns ones. A window that covers the whole map is global attention, which PyTorch has.
# And each head reads its own channels only.

# %% tags=["hide-input"]
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
# Shuffle the pixels around the centre of a window, and the output there stays the same: a face and
# a scrambled face look alike. The [next chapter](relative_attention.ipynb) adds position.

# %% tags=["hide-input"]
i = torch.tensor([[2, 0, 2], [0, 1, 0], [1, 2, 1]])
j = torch.tensor([[2, 2, 0], [0, 1, 1], [2, 1, 0]])
assert (i[1, 1], j[1, 1]) == (1, 1)  # the centre keeps its place
shuffled = [t[..., i, j] for t in (q, k, v)]
close(local_attention(*shuffled, kernel_size=3)[..., 1, 1], y[..., 1, 1])

# %% [markdown]
# ## What breaks
#
# At the border the window of Eq. 2 is smaller: a *mask* leaves out the places beyond. Forget it, and
# the zeros of the padding take part: a logit of 0 is a weight of $e^0$ before
# normalisation. Every interior pixel is still right. At the border weight leaks to pixels that are
# not there. With values of one, the output shows what is left.


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
# ## Exercises
#
# **1.** Write the softmax over the last axis.


# %% tags=["exercise"]
def softmax(z):
    return ...


# %% tags=["check", "hide-input"]
z = torch.randn(2, 3, 9)
check(softmax(z), z.softmax(dim=-1))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def softmax(z):
#     e = z.exp()
#     return e / e.sum(dim=-1, keepdim=True)
# ```
#
# Libraries first subtract the largest number, which changes no weight and keeps the exponentials finite.
#
# </details>

# %% [markdown]
# **2.** All keys of a map are the same. What weight does a corner pixel give to each pixel of its window, for $k = 5$ on a
# map of 8×8 pixels?

# %% tags=["exercise"]
weight_in_the_corner = ...

# %% tags=["check", "hide-input"]
same, corner = torch.zeros(1, 1, 2, 8, 8), torch.zeros(1, 1, 2, 8, 8)
corner[..., 0, 0] = 1
check(weight_in_the_corner, local_attention(same, same, corner, kernel_size=5)[0, 0, 0, 0, 0])

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# weight_in_the_corner = 1 / 9
# ```
#
# Three rows and three columns of the window lie inside the map.
#
# </details>

# %% [markdown]
# **3.** Split the channels of a map into heads, so that each head gets channels that are neighbours: `n (h c) i j` becomes
# `n h c i j`.


# %% tags=["exercise"]
def heads(x, num_heads):
    return ...


# %% tags=["check", "hide-input"]
x = torch.randn(2, 12, 5, 5)
check(heads(x, num_heads=3), torch.stack(x.chunk(3, dim=1), dim=1))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def heads(x, num_heads):
#     return rearrange(x, "n (h c) i j -> n h c i j", h=num_heads)
# ```
#
# A bare `reshape` to the right shape does the same here. It no longer does when the pixels come before the channels:
# then it mixes the two, and nothing warns of it.
#
# </details>

# %% [markdown]
# ## Where it comes from
#
# The paper takes the local form of {cite:t}`ramachandran2019standalone`. Attention was introduced for translation
# {cite}`bahdanau2014neural`; the Transformer uses nothing else to mix positions {cite}`vaswani2017attention`.
# {cite:t}`cordonnier2020relationship` show that attention with relative positions can express any convolution, given a head for each place of its kernel, and that trained
# layers do so in part. {cite:t}`hassani2023neighborhood` compute local attention fast, with windows that stay full at the border.
#
# ## In short
#
# Local attention is a weighted mean of a window, and what the window shows sets the weights. Its
# products say where between a mean and a look-up it lies. It cannot tell left from right. Next: [a
# logit for the place](relative_attention.ipynb).
