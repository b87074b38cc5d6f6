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
# # Expanding Visual Attention
#
# Can one query look at a whole map, a ring at a time? A person sees sharply only at the point of gaze. EVA begins with a
# rough message about the whole map, looks at its centre, and then at rings of growing radius. After each look it revises
# its question. The result is one vector.

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

from evalib import ExpandingVisualAttention, count_parameters, figures
from evalib.eva import EXTENT, SingleQueryAttention
from evalib.geometry import RADII, ring
from evalib.pages import source, table

close = torch.testing.assert_close
torch.manual_seed(0)


# %% [markdown]
# ## The rings
#
# A pixel belongs to ring $s$ if its Chebyshev distance from the centre, the larger of its row and column offsets, is
# $s$. The paper gets the same sets by masking: the 5×5 block without its inner 3×3 block is ring 2. By hand, ring $s$
# has $(2s+1)^2 - (2s-1)^2 = 8s$ pixels for $s \ge 1$: 8, 16 and 24. With the centre that makes $49 = 7 \times 7$.

# %%
rings = [ring(radius) + EXTENT // 2 for radius in RADII]
counts = [pixels.shape[1] for pixels in rings]
assert counts == [1, 8, 16, 24]
assert sum(counts) == EXTENT**2

# %% tags=["hide-input"]
figure, axis = plt.subplots(figsize=(3.6, 3.6), layout="constrained")
colors = (figures.ORANGE, figures.BLUE, figures.GREY, figures.BLUE)
for stage, ((rows, columns), color, alpha) in enumerate(zip(rings, colors, (0.9, 0.6, 0.35, 0.2), strict=True)):
    for i, j in zip(rows.tolist(), columns.tolist(), strict=True):
        axis.add_patch(plt.Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor=color, alpha=alpha, edgecolor="white"))
        axis.text(j, i, stage, ha="center", va="center")
axis.set(xlim=(-0.5, EXTENT - 0.5), ylim=(EXTENT - 0.5, -0.5), aspect="equal", xticks=[], yticks=[])
axis.spines[:].set_visible(False)
plt.show()

# %% [markdown]
# The four rings of a 7×7 map, each pixel marked with the number of its ring.

# %% [markdown]
# ## The four stages
#
# A *look* is Eq. 3 with a single query; its keys and values are the pixels of one ring. The paper calls it "Attention
# 2D". A *recall* is Eq. 2 with a single query; its keys and values are $q_0$ and all looks so far. The paper calls it
# "Attention 1D".
#
# $$
# \begin{aligned}
# q_0 &= \mathrm{FFN}(\mathrm{conv}_{7\times7}(x)) \\
# \mathrm{attn}_s &= \mathrm{look}(q_s, \mathrm{ring}_s) \\
# q_{s+1} &= \mathrm{recall}(\mathrm{attn}_s, [q_0, \mathrm{attn}_0, \dots, \mathrm{attn}_s])
# \end{aligned}
# $$
#
# | Stage | Look: query | Look: keys | Recall: query | Recall: keys | Result |
# |:-:|:-:|---|:-:|---|:-:|
# | 1 | $q_0$ | ring 0, 1 pixel | $\mathrm{attn}_0$ | $q_0, \mathrm{attn}_0$ | $q_1$ |
# | 2 | $q_1$ | ring 1, 8 pixels | $\mathrm{attn}_1$ | $q_0, \mathrm{attn}_0, \mathrm{attn}_1$ | $q_2$ |
# | 3 | $q_2$ | ring 2, 16 pixels | $\mathrm{attn}_2$ | $q_0, \mathrm{attn}_0 \dots \mathrm{attn}_2$ | $q_3$ |
# | 4 | $q_3$ | ring 3, 24 pixels | $\mathrm{attn}_3$ | $q_0, \mathrm{attn}_0 \dots \mathrm{attn}_3$ | $\mathrm{attn\_out}$ |
#
# A second feed-forward network turns $\mathrm{attn\_out}$ into the output. Around the attentions there is nothing that
# the text does not name ([D4](#d4)); the feed-forward networks are as wide as their input ([D5](#d5)).

# %% [markdown]
# ## The code
#
# The rings are data, so the four stages are one loop.

# %%
source(ExpandingVisualAttention.forward)

# %%
source(SingleQueryAttention)

# %% [markdown]
# ## One pass
#
# A random map of 64 channels, four heads. With `trace=True` the module also returns what it computed on its way.

# %%
eva = ExpandingVisualAttention(64, 64, 64, num_heads=4)
x = torch.randn(2, 64, EXTENT, EXTENT)
with torch.no_grad():
    y, trace = eva(x, trace=True)
assert y.shape == (2, 64, 1, 1)
assert [w.shape[-1] for w in trace.look_weights] == [1, 8, 16, 24]
assert [w.shape[-1] for w in trace.recall_weights] == [2, 3, 4, 5]

table(
    ["stage", "query", "look", "look weights", "recall weights"],
    [[s + 1, *(tuple(part[s].shape) for part in trace)] for s in range(4)],
)

# %% [markdown]
# The shapes are batch × channels for queries and looks, and batch × heads × keys for the weights.

# %% tags=["hide-input"]
maps = figures.ring_maps(trace)[:, 0].mean(dim=1)  # the first map, mean over the heads

figure, axes = plt.subplots(1, len(RADII), figsize=(8, 2.2), layout="constrained")
for stage, (axis, weights) in enumerate(zip(axes, maps, strict=True)):
    shown = axis.imshow(weights, vmin=0, cmap="viridis")
    figure.colorbar(shown, ax=axis, shrink=0.75)
    axis.set(title=f"ring {stage}: {counts[stage]} px", xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
plt.show()

# %% [markdown]
# Where each look puts its weight, mean over the heads, for a random map and untrained weights. Each ring has its own
# scale, because its weights sum to one.

# %%
figures.slot_weights(trace)
plt.show()

# %% [markdown]
# How each recall divides its weight between $q_0$ and the looks so far.

# %% [markdown]
# ## A trained network, asked
#
# EVANet-20 small on ten test images, one of each class. Choose an image and a head, then a pixel of the four rings. Each
# ring's weights sum to 100 %, and the centre, alone in its ring, always has all of them. The table of recalls says how
# far each stage relies on $q_0$ and on the looks so far. {cite:t}`jain2019attention` found attention weights that could be
# replaced by very different ones without changing the output; {cite:t}`wiegreffe2019attention` show when they are
# informative all the same. So read them as what the layer did, not as why it chose the class.

# %% tags=["hide-input"]
from evalib import data, explorer, load_pretrained

cifar = data.load("subset")
explorer.eva(load_pretrained("evanet20-small"), cifar.test_images[::50], cifar.test_labels[::50])

# %% [markdown]
# ## Checks
#
# All weights sum to one. The first look has a single key, so its softmax is 1, whatever the query: the look is
# $W_V x$ at the centre, exactly. Its $W_Q$, $W_K$ and $r$ get no gradient.

# %%
for weights in (*trace.look_weights, *trace.recall_weights):
    close(weights.sum(dim=-1), torch.ones(2, 4))
close(trace.looks[0], eva.looks[0].W_V(x[:, :, 3, 3]))

# %% [markdown]
# Rings are causal: a pixel of ring $s$ cannot reach a look before $s$. The 7×7 convolution reads the whole map and would
# hide that, so we first blind it to the pixel, which holds $q_0$ fixed. Then we change the pixel.


# %%
@torch.no_grad()
def looks_changed_by(i, j):
    """Which looks change when pixel (i, j) does, with q0 held fixed."""
    blind = ExpandingVisualAttention(64, 64, 64)
    blind.load_state_dict(eva.state_dict())
    blind.convolution.weight[:, :, i, j] = 0
    nudged = x.clone()
    nudged[:, :, i, j] += 1
    _, before = blind(x, trace=True)
    _, after = blind(nudged, trace=True)
    close(before.queries[0], after.queries[0])
    pairs = zip(before.looks, after.looks, strict=True)
    return [not torch.allclose(a, b) for a, b in pairs]


changed = [looks_changed_by(3, 3 + radius) for radius in RADII]
assert changed == [[look >= ring for look in range(4)] for ring in range(4)]

words = [["changed" if yes else "–" for yes in row] for row in changed]
table(
    ["pixel of", "attn0", "attn1", "attn2", "attn3"],
    [[f"ring {s}", *row] for s, row in enumerate(words)],
)

# %% [markdown]
# ## Where the parameters are
#
# The first query costs the most: a 7×7 convolution over all channels.

# %%
parts = {name: count_parameters(part) for name, part in eva.named_children()}
table(["part", "parameters"], [[f"`{n}`", f"{c:,}"] for n, c in parts.items()])

# %% [markdown]
# ## What breaks
#
# Forget the mask, and the memory blocks are the full 1×1, 3×3, 5×5 and 7×7 blocks. The shapes of all outputs stay, the
# weights sum to one, and the looks stay causal in the sense above. But the centre is read four times. Count the keys.

# %%
masked = torch.zeros(7, 7, dtype=torch.int64)
unmasked = torch.zeros(7, 7, dtype=torch.int64)
for radius, (rows, columns) in zip(RADII, rings, strict=True):
    masked[rows, columns] += 1
    unmasked[3 - radius : 4 + radius, 3 - radius : 4 + radius] += 1

assert (masked == 1).all()
assert unmasked[3, 3] == 4
{"keys, masked": masked.sum().item(), "keys, unmasked": unmasked.sum().item()}

# %% [markdown]
# ## In short
#
# EVA asks one question of four rings, and after each look revises it from all it saw before.
# Next: [the networks](networks.ipynb) that it completes.
