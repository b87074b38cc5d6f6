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
# How do you make one vector of a whole picture? A network for images ends in a small map, here 8×8 pixels of many channels. A
# ResNet takes the mean of all 64. The paper calls such averaging noisy, in networks of attention (§1), and reads the map
# instead: the centre first, then ring after ring. This layer is called Expanding Visual Attention, EVA.
#
# The idea comes from how people look (§3.2). The eye receives a whole scene at once, attention
# holds only a small part of it {cite}`mizuhara2000degree`. So EVA begins with a rough message about
# the whole map. It looks at the centre, then at rings of growing radius. After each look it revises
# its question.
#
# This chapter has three pages: the idea, here; [the equation by hand](eva_by_hand.ipynb); [the code and its
# checks](eva_code.ipynb).

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
from IPython.display import Markdown

from evalib import load_pretrained, trace
from evalib.equations import ring
from evalib.eva import EXTENT, RADII, SingleQueryAttention
from evalib.pages import explorer
from evalib.pages.display import captioned, picture
from evalib.pages.figures import grid, numbers, ring_weights, slot_weights
from evalib.training import data
from evalib.training.cifar import load_data

torch.manual_seed(0)
close = torch.testing.assert_close


# %% [markdown]
# ## The rings
#
# A pixel's *ring* is how far it lies from the centre, in rows or in columns, whichever is more. So the
# rings are squares. (The network's last map has 8×8 pixels. EVA leaves out the first
# row and the first column, so that there is a centre.) Ring $s$ has $(2s+1)^2 - (2s-1)^2 = 8s$ pixels for $s \ge 1$: 8,
# 16 and 24. With the centre that makes $49 = 7 \times 7$.

# %%
rings = [ring(radius) + EXTENT // 2 for radius in RADII]
counts = [pixels.shape[1] for pixels in rings]
assert counts == [1, 8, 16, 24]
assert sum(counts) == EXTENT**2

# %% tags=["hide-input"]
number = torch.zeros(EXTENT, EXTENT)
for radius, (row, column) in zip(RADII, rings, strict=True):
    number[row, column] = radius
picture(
    grid("rings of the 7×7 map", numbers(number), 1 - number / len(RADII), {(3, 3)}),
    caption="The four rings of a 7×7 map, each pixel with the number of its ring. Every pixel is in exactly one: "
    f"{' + '.join(map(str, counts))} = {sum(counts)}. The paper calls them memory blocks.",
)

# %% [markdown]
# ## What it does, in five steps
#
# 1. **A rough message.** A convolution as large as the map, and a small network after it, make one vector of the whole map:
#    $q_0$, the first question.
# 2. **A look.** The question meets the pixels of one ring. Attention weighs them, and their weighted mean is what this look
#    saw: $\mathrm{attn}_0$ for the centre.
# 3. **A recall.** What the look saw becomes a question too. Its keys and values come from the *slots*: $q_0$ and all
#    looks so far, this one too. The result is the next question, $q_1$.
# 4. **Again**, for the rings of 8, of 16 and of 24 pixels.
# 5. **The answer.** The last result goes through a second small network. It takes the place of the mean.
#
# Equal weights would make a look the mean of its ring. One weight of 1 would make it a [look-up of
# one pixel](two-poles). A trained EVA does something between.
#
# ## A trained network, asked
#
# EVANet-20 small on ten test images, one of each class. Two trained networks are shown: *letter*, as
# the text has it, and *scaled*, our EVA, whose logits are divided by $\sqrt c$
# ([why](why-root-c)). Each of their attentions is four side by
# side, its *heads*. Choose an image and a head, then a pixel of the four rings. Each ring's
# weights sum to 100 %. The table of recalls says how much each stage relies on $q_0$ and on the
# looks so far. Read them as what the layer did, and [not as why it chose the
# class](where-it-counts).

# %% tags=["hide-input"]
cifar = load_data("subset")
images, labels = cifar.test_images[::50], cifar.test_labels[::50]
networks = {
    "scaled": load_pretrained("evanet20-small-scaled"),
    "letter": load_pretrained("evanet20-small-letter"),
}
captioned(
    explorer.eva(networks["scaled"], images, labels),
    "Looks and recalls of a trained EVANet-20 small, <i>scaled</i>. Choose single heads: each asks for something else, and "
    "their mean hides it.",
)

# %% tags=["hide-input"]
traces = {}
with torch.no_grad():
    for name, network in networks.items():
        _, traces[name] = trace(network, data.normalise(images))
shown = images[1::3]
with torch.no_grad():
    drawings = {
        name: trace(network, data.normalise(shown))[1] for name, network in networks.items()
    }
picture(
    *(ring_weights(shown, seen) for seen in drawings.values()),
    caption="The same images in two trained networks: <i>scaled</i>, first, and <i>letter</i>, trained as the text has it. "
    "Deeper blue is more weight, on one scale. The looks of <i>letter</i> put nearly everything on single pixels, each of four heads on its own; the mean of the four is drawn.",
)

# %% tags=["remove-input"]
largest = {
    name: torch.cat([weights.amax(dim=-1).flatten() for weights in seen.look_weights[1:]])
    for name, seen in traces.items()
}
scaled, letter = (int((each > 0.99).sum()) for each in largest.values())
Markdown(
    f"{len(images)} images, 4 heads and 3 rings make {len(largest['scaled'])} looks with a choice. *Scaled* puts over "
    f"99 % of the weight on a single pixel in {scaled} of them, *letter* in {letter}: [what that did to it](collapse.ipynb)."
)

# %% tags=["hide-input"]
picture(
    *slot_weights(traces["scaled"]),
    caption="How each recall of the trained network, <i>scaled</i>, divides its weight between <i>q</i><sub>0</sub> and the "
    "looks so far, mean over ten images and four heads.",
)

# %% [markdown]
# (idea-at-work)=
# ## The idea at work
#
# What §3.2 hopes for, and which part of the layer does it:
#
# | In the paper | In the layer |
# |---|---|
# | a "rough and noisy" message about the class comes first | $q_0$, made of the whole map |
# | first the centre, then its surroundings | the order of the rings |
# | the decision about the input is updated at every step | the recall: its result is the next question |
# | the message of step $t$ communicates with earlier findings | the slots: a recall reads $q_0$ and all looks so far |
# | four query, key and value projections, for four categories of pixels | each stage has its own $W_Q$, $W_K$, $W_V$ |
# | what was seen in 3×3 decides what is looked for in 5×5 | the question of a look depends on the looks before it |
# | patterns and symmetries around a focal point | a ring falls onto itself when the map is turned or mirrored |
#
# **Evidence.** What the centre shows decides what is looked for around it, as with [the beak and
# the wheel](beak-and-wheel).
#
# **Symmetry.** A square map can be laid down in eight ways, turned and mirrored. Each takes every
# ring onto itself. A look without position ($r = 0$) answers all eight alike. With $r$ the layer
# can tell them apart.

# %% tags=["hide-input"]
look = SingleQueryAttention(4, 8, 1, offsets=ring(1))
question, block = torch.randn(1, 8), torch.randn(1, 4, 3, 3)
turned = [block.rot90(quarters, dims=(2, 3)) for quarters in range(4)]
ways = turned + [way.flip(-1) for way in turned]


def answer(block):
    """What the look gives for the ring of a 3×3 block."""
    row, column = ring(1) + 1
    return look(question, rearrange(block[:, :, row, column], "n c m -> n m c"))[0]


with torch.no_grad():
    assert not any(torch.allclose(answer(way), answer(block)) for way in ways[1:])
    look.rows.zero_()
    look.cols.zero_()
    for way in ways:
        close(answer(way), answer(block))

# %% [markdown]
# The likeness with the eye ends in two places. A ring far out is read as sharply as the centre. And
# the map is not an image: each of its pixels has been computed from [much of the
# image](what-a-pixel-has-seen).
#
# That the layer can do all this does not mean that a trained one does. The report [looks at some](what-it-reads).
#
# ## Others that ask
#
# A Set Transformer {cite}`lee2019set` lets learned vectors ask all elements of a set. CaiT
# {cite}`touvron2021going` makes a class vector ask all patches, in two layers of its own. A
# Perceiver {cite}`jaegle2021perceiver` lets a small array ask a large input again and again.
# {cite:t}`mnih2014recurrent` look at one patch after another and learn where to look next. EVA's
# first question comes from the map itself, and the order of its looks is fixed.
#
# ## In short
#
# One question reads 1, 8, 16 and 24 pixels in turn, and is made anew after each ring. A trained one
# spreads its looks over a few pixels when its logits are scaled; without the scale it picks single
# ones. Next: [the equation, by hand](eva_by_hand.ipynb).
