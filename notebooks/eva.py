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
# Can one query look at a whole map, a ring at a time? At the end of a network stands a small map of many channels, 7×7
# pixels, and one vector has to be made of it that says what the image shows. A ResNet takes the mean of all pixels. The
# paper calls such averaging noisy (§1) and puts Expanding Visual Attention, EVA, in its place.
#
# The idea (§3.2) is taken from how people look. The eye receives a whole scene at once, but attention holds only a small
# part of it {cite}`mizuhara2000degree`; what lies further from the point of gaze is recognised less well. So EVA begins with a
# rough message about the whole map, looks at its centre, and then at rings of growing radius. After each look it revises
# its question, in view of all it has seen so far. The paper hopes for two things:
#
# - *evidence*: what the centre suggests decides what is looked for in the next ring;
# - *symmetry*: a ring has all directions in it, so patterns around a focal point fall into one look.
#
# Both are [shown below](idea-at-work) on a few pixels. They are reasons to try the layer. Whether it helps is for runs to
# show ([Table 1](table1.ipynb)).
#
# Others have pooled with attention. A Set Transformer {cite}`lee2019set` lets learned vectors ask all elements of a set; CaiT
# {cite}`touvron2021going` makes a class vector ask all patches, in two layers of its own; a Perceiver
# {cite}`jaegle2021perceiver` lets a small array ask a large input again and again. {cite:t}`mnih2014recurrent` look at one
# patch after another and learn where to look next. EVA differs in two ways: its first question comes from the map itself, and
# the order of its looks is fixed, from the centre outwards.

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
from IPython.display import Markdown

from evalib import ExpandingVisualAttention, count_parameters, trace
from evalib.equations import relative_embedding, ring, single_query_attention
from evalib.eva import EXTENT, RADII, SingleQueryAttention
from evalib.pages import figures
from evalib.pages.display import captioned, check, picture, source, symbols, table
from evalib.pages.figures import (
    COLOURS,
    GREY,
    INK,
    arrow,
    box,
    canvas,
    described,
    grid,
    numbers,
    styled,
    weighed,
)

torch.manual_seed(0)
close = torch.testing.assert_close


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
picture(
    figures.rings(),
    caption="The four rings of a 7×7 map, each pixel with the number of its ring. The paper calls them memory blocks. "
    f"Every pixel is in exactly one: {' + '.join(map(str, counts))} = {sum(counts)}.",
)

# %% [markdown]
# ## The equation
#
# EVA uses two attentions, each with a single query. A *look*, the paper's *Attention 2D*, is Eq. 3; its keys and values are
# the pixels of one ring. A *recall*, the paper's *Attention 1D*, is Eq. 2; its keys and values are *slots*, vectors that EVA
# made before: $q_0$ and all looks so far. With $q = W_Q\,\mathrm{query}$, and $k_m = W_K x_m$, $v_m = W_V x_m$ of the pixels or
# slots $x_m$, each head computes
#
# $$
# y = \sum_m \operatorname{softmax}_m\!\left( \frac{q^{\mathsf T} k_m + q^{\mathsf T} r_m}{\sqrt c} \right) v_m ,
# $$ (eq-single-query)
#
# with $r_m$, the embedding of the offset from the centre, in a look only. The division by $\sqrt c$, $c$ the channels of a head,
# is ours: the text has none, and [without it EVA may collapse in training](collapse.ipynb) ([D4](#d4)).
#
# Stages, rings, looks and recalls are all counted from 0. For $s = 0, 1, 2, 3$:
#
# $$
# \begin{aligned}
# q_0 &= \mathrm{FFN}(\mathrm{conv}_{7\times7}(x)) \\
# \mathrm{attn}_s &= \mathrm{look}(q_s, \mathrm{ring}_s) \\
# q_{s+1} &= \mathrm{recall}(\mathrm{attn}_s, [q_0, \mathrm{attn}_0, \dots, \mathrm{attn}_s])
# \end{aligned}
# $$ (eq-eva)
#
# The last $q$ is called $\mathrm{attn\_out}$; a second feed-forward network turns it into the output. A *feed-forward network*,
# FFN, is two matrix products with a ReLU between them, which sets negative numbers to zero. The FFNs are as wide as their
# input ([D5](#d5)). Around the attentions there is nothing else: no residual, no norm. This reading of the text, called
# *scaled*, was [chosen among five](the-choice) by a rule.

# %% tags=["hide-input"]
symbols("§3.1")

# %% [markdown]
# Where each vector comes from, traced in one pass of the module. (The caption that the paper prints under its Figure 5 belongs to
# another figure.)


# %% tags=["hide-input"]
@torch.no_grad()
def stages():
    """Query, pixels, look and slots of each stage, heard in one pass: vectors are known by their values."""
    heard, small = [], ExpandingVisualAttention(4, 4, 4, num_heads=1)
    for part in (*small.looks, *small.recalls):
        part.register_forward_pre_hook(lambda module, inputs: heard.append(inputs))
    _, seen = trace(small, torch.randn(1, 4, EXTENT, EXTENT))
    known = {f"q{s}": q for s, q in enumerate(seen.queries)}
    known |= {f"attn{s}": attn for s, attn in enumerate(seen.looks)}

    def name(vector):
        return next(name for name, value in known.items() if torch.equal(value, vector))

    return [
        (name(query), pixels.shape[1], name(attn), [name(slot) for slot in slots.unbind(1)])
        for (query, pixels), (attn, slots) in zip(heard[::2], heard[1::2], strict=True)
    ]


@styled
def graph(stages):
    """The computation graph of EVA, with what each attention reads."""
    left, middle, right, line = 0.42, 1.55, 3.2, 4.12
    blue, ink = COLOURS["EVA"], INK
    figure, axis = canvas(4.6, 8.2)
    for y, text in ((0, "map, 7×7 pixels"), (0.8, "7×7 convolution"), (1.6, "FFN")):
        box(axis, middle, y, 1.6, text)
    arrow(axis, (middle, 0.22), (middle, 0.58))
    arrow(axis, (middle, 1.02), (middle, 1.38), "q candidate", (0.48, 0))
    top, rows = 1.82, [2.75 + 1.3 * s for s in range(4)]
    axis.plot([middle, line, line], [2.1, 2.1, rows[-1]], color=GREY, linewidth=1)
    axis.text(line, 1.98, "slots", ha="center", va="center", fontsize=9)
    told = []
    for s, ((query, pixels, attn, slots), y) in enumerate(zip(stages, rows, strict=True)):
        box(axis, left, y, 0.8, f"ring {s}\n{pixels} px", ink)
        box(axis, middle, y, 1.06, "look", blue)
        box(axis, right, y, 1.06, f"recall\n{len(slots)} slots", blue)
        arrow(axis, (left + 0.4, y), (middle - 0.53, y))
        arrow(axis, (middle + 0.53, y), (right - 0.53, y), attn, (0, 0.13))
        axis.plot([2.37, 2.37, line], [y, y - 0.42, y - 0.42], color=GREY, linewidth=1)
        axis.plot([line], [y - 0.42], color=GREY, marker="o", markersize=3)
        arrow(axis, (line, y), (right + 0.53, y), color=GREY)
        arrow(axis, (middle, top), (middle, y - 0.22), query, (0.2, 0.1))
        if s < 3:
            axis.plot(
                [right, right, middle], [y + 0.22, y + 0.62, y + 0.62], color=ink, linewidth=1.2
            )
        top = y + 0.62
        told.append(
            f"Stage {s}: the look with {query} reads the {pixels} px of ring {s} and gives {attn}; "
            f"the recall with {attn} reads the slots {', '.join(slots)}."
        )
    end = rows[-1]
    arrow(axis, (right, end + 0.22), (right, end + 0.7), "attn_out", (-0.38, 0))
    box(axis, right, end + 0.92, 1.06, "FFN")
    arrow(axis, (right, end + 1.14), (right, end + 1.5))
    axis.text(right, end + 1.62, "output", ha="center", va="center", fontsize=9)
    start = "The map goes through a 7×7 convolution and an FFN, which give q0."
    return described(figure, f"{start} {' '.join(told)} The last result goes through an FFN.")


heard = stages()
assert heard == [
    ("q0", 1, "attn0", ["q0", "attn0"]),
    ("q1", 8, "attn1", ["q0", "attn0", "attn1"]),
    ("q2", 16, "attn2", ["q0", "attn0", "attn1", "attn2"]),
    ("q3", 24, "attn3", ["q0", "attn0", "attn1", "attn2", "attn3"]),
]
picture(
    graph(heard),
    caption="The paper's Figure 5, recorded from a forward pass. Follow the black line: the result of each recall is the query of "
    "the next look. Grey lines: every slot stays available to all later recalls, so the last one chooses among five.",
)

# %% [markdown]
# ## By hand
#
# One channel, so $\sqrt c = 1$. Around the centre lie eight pixels; seven hold 0 and one, to the right, holds 9. Let the key of that pixel be
# $\ln 2$, all other keys 0, and the query 1. The exponentials of the logits are 2 and seven times 1:
#
# $$
# \mathrm{attn}_1 = \tfrac{2}{2 + 7} \cdot 9 = 2 .
# $$
#
# Now the recall. Say that the slots $q_0$ and $\mathrm{attn}_0$ are 0, and $W_Q = \tfrac12 \ln 3$, $W_K = W_V = 1$. The query
# is $\tfrac12 \ln 3 \cdot \mathrm{attn}_1 = \ln 3$, the logits are $0, 0, 2 \ln 3$, their exponentials $1, 1, 9$:
#
# $$
# q_2 = \tfrac{9}{1 + 1 + 9} \cdot 2 = \tfrac{18}{11} .
# $$

# %%
one, ln2, ln3 = torch.ones(1, 1, 1), torch.tensor(2.0).log(), torch.tensor(3.0).log()
keys, values = torch.zeros(1, 1, 8, 1), torch.zeros(1, 1, 8, 1)  # one image, one head, eight pixels, one channel
keys[0, 0, 4], values[0, 0, 4] = ln2, 9.0  # row-major: three above, left, right, three below

attn1, weights = single_query_attention(one, keys, values)
close(attn1, 2 * one)

slots = torch.tensor([0.0, 0.0, attn1.item()])[None, None, :, None]
q2, weights = single_query_attention(ln3 / 2 * attn1, slots, slots)
close(q2, 18 / 11 * one)
attn1.item(), q2.item()

# %% [markdown]
# ## The code
#
# The rings are data, so the four stages are one loop: the algorithm of the paper's Figure 5.

# %%
source(ExpandingVisualAttention.forward)

# %% [markdown]
# Look and recall are one module; a look knows the offsets of its ring and adds $r$. The equation inside is
# `single_query_attention`, with the softmax over the pixels or slots; its `scale` is $1 / \sqrt c$.

# %%
source(SingleQueryAttention, single_query_attention)

# %% [markdown]
# (idea-at-work)=
# ## The idea at work
#
# What §3.2 says of the layer, and which part of the layer does it:
#
# | In the paper | In the layer |
# |---|---|
# | a "rough and noisy" message about the class comes first | $q_0$: one dot product with the whole map a channel, then an FFN |
# | first the centre, then its surroundings | the order of the rings |
# | the decision about the input is updated at every step | the recall: its result is the next query |
# | the message of step $t$ communicates with earlier findings | the slots: a recall reads $q_0$ and all looks so far |
# | four query, key and value projections, for four categories of pixels | each stage has its own $W_Q$, $W_K$, $W_V$ |
# | what was seen in 3×3 decides what is looked for in 5×5 | the query of a look depends on the looks before it |
# | patterns and symmetries around a focal point | a ring falls onto itself when the map is turned or mirrored |
#
# **Evidence.** Four channels, one for each of four things that a pixel may show. Around the centre two pixels show
# something: feathers at the upper left, a tyre at the lower right. Let $q_1$ be what the centre shows. The query matrix
# has learned that a beak asks for feathers and a wheel for a tyre: $q^{\mathsf T} k$ of the pixel that is asked for is 6, its
# logit $6 / \sqrt 4 = 3$. All others are 0, so its weight is $e^3 / (e^3 + 7)$. The ring is the same in both cases, and so is its mean; the look is not.

# %%
beak, wheel, feathers, tyre = torch.eye(4)
asks = 6 * (
    torch.outer(feathers, beak) + torch.outer(tyre, wheel)
)  # W_Q; W_K and W_V change nothing
around = torch.zeros(1, 8, 4)
around[0, 0], around[0, 7] = feathers, tyre

attn, weight = {}, {}
for name, centre in (("beak", beak), ("wheel", wheel)):
    seen, weights = single_query_attention((asks @ centre)[None, None], around[None], around[None], scale=4**-0.5)
    attn[name] = seen[0]
    weight[name] = weights[0, 0]
e3 = torch.tensor(3.0).exp()
assert (weight["beak"].argmax(), weight["wheel"].argmax()) == (0, 7)
close(torch.stack([weight["beak"][0], weight["wheel"][7]]), (e3 / (e3 + 7)).expand(2))
close(attn["beak"], weight["beak"][0] * feathers[None] + weight["beak"][7] * tyre[None])

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
    drawings.append(grid(f"the centre shows a {name}", texts, weighed(shown), {(1, 1)}, cell=0.75))
picture(
    *drawings,
    caption="Weights of one look at the same ring of eight, for two centres. A beak sends "
    f"{weight['beak'][0]:.2f} of the weight to the feathers, a wheel {weight['wheel'][7]:.2f} to the tyre. A mean over the ring "
    "is the same for both.",
)

# %% [markdown]
# **Symmetry.** Turn a square map by a quarter, or mirror it: eight ways to lay it down. Each takes every ring onto itself. A
# look without position ($r = 0$) sums over the ring in any order, so it answers all eight alike, for the same query. With
# $r$ the layer can tell them apart. So it can learn a pattern in whatever direction, or in one alone.

# %%
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
# The analogy with the eye breaks down in two places. A ring far out is read as sharply as the centre; nothing in the layer
# blurs it. And the map is not an image: each of its pixels has been computed from [much of the
# image](what-a-pixel-has-seen), so its "centre" is a place in the map only.
#
# That the layer can do all this does not mean that a trained one does. The report [looks at some](what-it-reads).

# %% [markdown]
# ## The four stages
#
# Here is §3.1, done by hand on a random map of 64 channels with a module of four heads. `evalib.trace` gives, beside
# the output, what the module computed on its way; what we compute step by step has to be the same.

# %%
eva = ExpandingVisualAttention(64, 64, 64, num_heads=4)
x = torch.randn(2, 64, EXTENT, EXTENT)
with torch.no_grad():
    y, seen = trace(eva, x)
assert y.shape == (2, 64, 1, 1)

# %% [markdown]
# **The first query.** A convolution as large as the map has one output pixel: one dot product with the whole map a
# channel. The FFN refines it to $q_0$, the rough message.

# %%
with torch.no_grad():
    candidate = eva.convolution(x)
    assert candidate.shape == (2, 64)
    q0 = eva.first_query(candidate)
close(q0, seen.queries[0])

# %% [markdown]
# **Stage 0: the centre.** $q_0$ looks at ring 0, one pixel. With a single key the softmax is 1 whatever the query: the
# look is $W_V x$ at the centre, exactly, and its $W_Q$, $W_K$ and $r$ never get a gradient: no change of theirs changes
# the output, so training leaves them as they were drawn. The recall then lets
# $\mathrm{attn}_0$ weigh two slots, the rough message and itself. Its answer is the next question, $q_1$.

# %%
with torch.no_grad():
    centre = x[:, :, 3:4, 3]
    attn0, weights = eva.looks[0](q0, rearrange(centre, "n c m -> n m c"))
    assert weights.shape == (2, 4, 1) and (weights == 1).all()
    close(attn0, eva.looks[0].W_V(x[:, :, 3, 3]))

    q1, weights = eva.recalls[0](attn0, torch.stack([q0, attn0], dim=1))
    assert weights.shape == (2, 4, 2)
close(q1, seen.queries[1])

# %% [markdown]
# **Stage 1: the ring of 8.** The memory block of 3×3 pixels has lost its centre, which was read before. $q_1$ looks at the
# eight pixels that are left, by content and by offset. Each of the four heads has 16 channels, so its logits are divided by
# $\sqrt{16} = 4$. The recall has three slots.

# %%
with torch.no_grad():
    row, column = rings[1]
    block = rearrange(x[:, :, row, column], "n c m -> n m c")
    assert block.shape == (2, 8, 64)
    look = eva.looks[1]
    attn1, weights = look(q1, block)
    assert weights.shape == (2, 4, 8)

    q = rearrange(look.W_Q(q1), "n (h c) -> n h c", h=4)
    k_m = rearrange(look.W_K(block), "n m (h c) -> n h m c", h=4)
    r_m = relative_embedding(look.rows, look.cols)[:, :, row - 2, column - 2]
    logits = einsum(q, k_m, "n h c, n h m c -> n h m") + einsum(q, r_m, "n h c, h c m -> n h m")
    close(weights, (logits / 4).softmax(dim=-1))

    q2, weights = eva.recalls[1](attn1, torch.stack([q0, attn0, attn1], dim=1))
    assert weights.shape == (2, 4, 3)
close(q2, seen.queries[2])

# %% [markdown]
# **Stage 2: the ring of 16,** 5×5 without the inner 3×3, and four slots. **Stage 3: the ring of 24,** 7×7 without the
# inner 5×5, and five slots. Nothing new happens, so they are a loop. After the last recall comes the output.

# %%
with torch.no_grad():
    q, slots = q2, [q0, attn0, attn1]
    for stage in (2, 3):
        row, column = rings[stage]
        attn, _ = eva.looks[stage](q, rearrange(x[:, :, row, column], "n c m -> n m c"))
        slots.append(attn)
        q, _ = eva.recalls[stage](attn, torch.stack(slots, dim=1))
    assert len(slots) == 5
    close(rearrange(eva.output(q), "n out -> n out 1 1"), y)

# %% tags=["hide-input"]
table(
    ["Stage", "Query", "Pixels", "Look", "Slots"],
    [[s, *rest, ", ".join(slots)] for s, (*rest, slots) in enumerate(heard)],
)

# %% [markdown]
# Every stage has its own projections; none is shared.

# %% [markdown]
# ## The weights, seen

# %% tags=["hide-input"]
maps = figures.ring_maps(seen)[:, 0].mean(dim=1)  # the first map, mean over the heads
form = {0: ".0f", 1: ".2f", 2: ".2f", 3: ".2f"}
picture(
    *(
        grid(
            f"look {stage}: {counts[stage]} px",
            [[text.removeprefix("0") for text in row] for row in numbers(weights, form[stage])],
            weighed(weights),
            cell=0.42,
        )
        for stage, weights in enumerate(maps)
    ),
    caption="Where each look puts its weight, mean over the heads, for a random map and <em>untrained</em> weights. Each "
    "ring's weights sum to one, and blue has its own scale in each grid. Untrained, a look is close to a mean of its ring.",
)

# %% tags=["hide-input"]
picture(
    *figures.slot_weights(seen),
    caption="How each recall divides its weight between <i>q</i><sub>0</sub> and the looks so far, untrained: about evenly. "
    "The next section shows trained weights.",
)

# %% [markdown]
# ## A trained network, asked
#
# EVANet-20 small on ten test images, one of each class. Choose an image and a head, then a pixel of the four rings. Each
# ring's weights sum to 100 %, and the centre, alone in its ring, always gets the whole weight. The table of recalls says how
# much each stage relies on $q_0$ and on the looks so far. Read them as what the layer did, and
# [not as why it chose the class](where-it-counts).

# %% tags=["hide-input"]
from evalib import load_pretrained
from evalib.pages import explorer
from evalib.training import data

cifar = data.load("subset")
captioned(
    explorer.eva(
        load_pretrained("evanet20-small"), cifar.test_images[::50], cifar.test_labels[::50]
    ),
    "Looks and recalls of a trained EVANet-20 small, scaled. Choose single heads: each asks for something else, and their mean "
    "hides it.",
)

# %% tags=["remove-input"]
largest = {}
for name in ("evanet20-small", "evanet20-small-letter"):
    with torch.no_grad():
        _, asked = trace(load_pretrained(name), data.normalise(cifar.test_images[::50]))
    largest[name] = torch.cat(
        [weights.amax(dim=-1).flatten() for weights in asked.look_weights[1:]]
    )
scaled, letter = (int((each > 0.99).sum()) for each in largest.values())
Markdown(
    f"Of its {len(largest['evanet20-small'])} looks at more than one pixel of these images, {scaled} put over 99 % of their weight on a "
    f"single one. In the network that was trained to the letter of the text, without the scale, {letter} do: "
    "[what that did to it](collapse.ipynb)."
)

# %% [markdown]
# ## Checks
#
# All weights sum to one, and the first look gives no gradient to its $W_Q$, $W_K$ and $r$.

# %% tags=["hide-input"]
for weights in (*seen.look_weights, *seen.recall_weights):
    close(weights.sum(dim=-1), torch.ones(2, 4))

eva(x).square().sum().backward()
idle = [
    name for name, weight in eva.named_parameters() if weight.grad is None or not weight.grad.any()
]
assert idle == [f"looks.0.{name}" for name in ("rows", "cols", "W_Q.weight", "W_K.weight")]

# %% [markdown]
# Rings are causal: a pixel of ring $s$ cannot reach a look before $s$. The 7×7 convolution reads the whole map and would
# hide that, so we first blind it to the pixel, which holds $q_0$ fixed. Then we change the pixel.


# %% tags=["hide-input"]
@torch.no_grad()
def looks_changed_by(i, j):
    """Which looks change when pixel (i, j) does, with q0 held fixed."""
    blind = ExpandingVisualAttention(64, 64, 64)
    blind.load_state_dict(eva.state_dict())
    blind.convolution.weight[:, :, i, j] = 0
    nudged = x.clone()
    nudged[:, :, i, j] += 1
    _, before = trace(blind, x)
    _, after = trace(blind, nudged)
    close(before.queries[0], after.queries[0])
    pairs = zip(before.looks, after.looks, strict=True)
    return [not torch.allclose(old, new) for old, new in pairs]


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

# %% tags=["hide-input"]
parts = {name: count_parameters(part) for name, part in eva.named_children()}
table(["part", "parameters"], [[f"`{n}`", f"{c:,}"] for n, c in parts.items()])

# %% [markdown]
# ## What breaks
#
# Forget the mask, and the memory blocks are the full 1×1, 3×3, 5×5 and 7×7 blocks. The shapes of all outputs stay, the
# weights sum to one, and the looks stay causal in the sense above. But the centre is read four times. Count the keys.

# %% tags=["hide-input"]
masked = torch.zeros(7, 7, dtype=torch.int64)
unmasked = torch.zeros(7, 7, dtype=torch.int64)
for radius, (rows, columns) in zip(RADII, rings, strict=True):
    masked[rows, columns] += 1
    unmasked[3 - radius : 4 + radius, 3 - radius : 4 + radius] += 1

assert (masked == 1).all()
assert unmasked[3, 3] == 4
{"keys, masked": masked.sum().item(), "keys, unmasked": unmasked.sum().item()}

# %% [markdown]
# ## Exercises
#
# **1.** Which pixels of a 7×7 map belong to the ring of a radius? Give a mask: a 7×7 tensor, true on the ring.


# %% tags=["exercise"]
def mask(radius):
    return ...


# %% tags=["check", "hide-input"]
def expected_mask(radius):
    """True on the ring."""
    row, column = ring(radius) + 3
    seen = torch.zeros(7, 7, dtype=torch.bool)
    seen[row, column] = True
    return seen


answers = [mask(radius) for radius in RADII]
check(
    ... if answers[0] is ... else torch.stack(answers),
    torch.stack([expected_mask(radius) for radius in RADII]),
)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def mask(radius):
#     offset = (torch.arange(7) - 3).abs()
#     return torch.maximum(offset[:, None], offset[None, :]) == radius
# ```
#
# </details>

# %% [markdown]
# **2.** Write a recall with one head: a query (`d`) and slots (`s d`), which are keys and values at once. Mind the scale.


# %% tags=["exercise"]
def recall(query, slots):
    return ...


# %% tags=["check", "hide-input"]
query, slots = torch.randn(4), torch.randn(3, 4)
expected, _ = single_query_attention(query[None, None], slots[None, None], slots[None, None], scale=4**-0.5)
check(recall(query, slots), expected[0, 0])

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def recall(query, slots):
#     weights = (slots @ query / len(query) ** 0.5).softmax(dim=0)
#     return weights @ slots
# ```
#
# </details>

# %% [markdown]
# **3.** Predict, then check: a corner of the inner 5×5 block changes, and $q_0$ does not. Which of the looks 0 to 3 change?
# Give four truth values.

# %% tags=["exercise"]
changes = [..., ..., ..., ...]

# %% tags=["check", "hide-input"]
check(changes, looks_changed_by(1, 1))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# changes = [False, False, True, True]
# ```
#
# The pixel lies in ring 2, which look 2 reads. Look 3 asks with a query that look 2 has changed.
#
# </details>

# %% [markdown]
# ## In short
#
# One query reads 1, 8, 16 and 24 pixels in turn, and after each ring is made anew from all that was read before. Every pixel
# is read once, no look knows of a later ring, and the 7×7 convolution of the first query holds most of EVA's parameters. Its
# logits are divided by $\sqrt c$, which the text does not say; that [turns out to matter](collapse.ipynb).
# Next: [the networks](networks.ipynb) that it completes.
