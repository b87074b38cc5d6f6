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
# # EVA by hand
#
# What exactly does EVA compute? One short equation, used eight times: four looks and four recalls.
# Here it is with numbers small enough for paper, then on a random map, beside what the module
# itself computes.

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

from evalib import ExpandingVisualAttention, trace
from evalib.equations import relative_embedding, ring, single_query_attention
from evalib.eva import EXTENT, RADII
from evalib.pages.diagrams import graph
from evalib.pages.display import check, picture, symbols

torch.manual_seed(0)
close = torch.testing.assert_close


# %% [markdown]
# ## The equation
#
# EVA uses attention with a single query, in two roles:
#
# - A *look*, the paper's *Attention 2D*, is Eq. 3. Its keys and values come from the pixels of one ring.
# - A *recall*, the paper's *Attention 1D*, is Eq. 2. Its keys and values come from *slots*, vectors that EVA made before:
#   $q_0$ and all looks so far.
#
# Let $q = W_Q\,\mathrm{query}$, and $k_m = W_K x_m$, $v_m = W_V x_m$ for the pixels or slots $x_m$. Each head computes
#
# $$
# y = \sum_m \operatorname{softmax}_m\!\left( \frac{q^{\mathsf T} k_m + q^{\mathsf T} r_m}{\sqrt c} \right) v_m .
# $$ (eq-single-query)
#
# Here $r_m$ is the embedding of the offset from the centre; a recall has none. The division by
# $\sqrt c$, $c$ the channels of a head, is ours ([why](why-root-c), [D4](#d4)).
#
# Stages, rings, looks and recalls are all counted from 0; the paper counts its stages from 1. For $s = 0, 1, 2, 3$:
#
# $$
# \begin{aligned}
# q_0 &= \mathrm{FFN}(\mathrm{conv}_{7\times7}(x)) \\
# \mathrm{attn}_s &= \mathrm{look}(q_s, \mathrm{ring}_s) \\
# q_{s+1} &= \mathrm{recall}(\mathrm{attn}_s, [q_0, \mathrm{attn}_0, \dots, \mathrm{attn}_s])
# \end{aligned}
# $$ (eq-eva)
#
# The last $q$ is called $\mathrm{attn\_out}$; a second FFN turns it into the output. A
# *feed-forward network*, FFN, is two matrix products with a ReLU between them, which sets negative
# numbers to zero. The FFNs are as wide as their input ([D5](#d5)). Around the attentions there is
# nothing else: no shortcut, no norm. This variant is called *scaled* ([the choice](the-choice)).

# %% tags=["hide-input"]
symbols("§3.1")

# %% [markdown]
# Where each vector comes from:


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


heard = stages()
assert heard == [
    ("q0", 1, "attn0", ["q0", "attn0"]),
    ("q1", 8, "attn1", ["q0", "attn0", "attn1"]),
    ("q2", 16, "attn2", ["q0", "attn0", "attn1", "attn2"]),
    ("q3", 24, "attn3", ["q0", "attn0", "attn1", "attn2", "attn3"]),
]
picture(
    graph(heard),
    caption="The paper's Figure 5, recorded from a forward pass (its printed caption is that of "
    "residual blocks). Each recall gives the query of the "
    "next look. Thin lines: every slot stays available to all later recalls.",
)

# %% [markdown]
# ## By hand
#
# One channel, so $\sqrt c = 1$. Around the centre lie eight pixels; seven hold 0 and one, to the right, holds 9. Let the
# key of that pixel be $\ln 2$, all other keys 0, and the query 1. The exponentials of the logits are 2 and seven times 1:
#
# $$
# \mathrm{attn}_1 = \tfrac{2}{2 + 7} \cdot 9 = 2 .
# $$
#
# Now the recall. Say that the slots $q_0$ and $\mathrm{attn}_0$ are 0, and $W_Q = \tfrac12 \ln 3$, $W_K = W_V = 1$. The query
# is $\tfrac12 \ln 3 \cdot \mathrm{attn}_1 = \ln 3$. The logits are $0, 0, 2 \ln 3$, their exponentials $1, 1, 9$:
#
# $$
# q_2 = \tfrac{9}{1 + 1 + 9} \cdot 2 = \tfrac{18}{11} .
# $$

# %%
one, ln2, ln3 = torch.ones(1, 1, 1), torch.tensor(2.0).log(), torch.tensor(3.0).log()
keys, values = torch.zeros(1, 1, 8, 1), torch.zeros(1, 1, 8, 1)  # one image, one head, eight pixels
keys[0, 0, 4], values[0, 0, 4] = ln2, 9.0  # row-major: three above, left, right, three below

attn1, weights = single_query_attention(one, keys, values)
close(attn1, 2 * one)

slots = torch.tensor([0.0, 0.0, attn1.item()])[None, None, :, None]
q2, weights = single_query_attention(ln3 / 2 * attn1, slots, slots)
close(q2, 18 / 11 * one)
attn1.item(), q2.item()

# %% [markdown]
# ## The four stages
#
# Here is §3.1 on a random map of 64 channels, with four heads. `evalib.trace` gives what the module
# computed on its way. What we compute step by step has to be the same.

# %%
eva = ExpandingVisualAttention(64, 64, 64, num_heads=4)
x = torch.randn(2, 64, EXTENT, EXTENT)
rings = [ring(radius) + EXTENT // 2 for radius in RADII]
with torch.no_grad():
    y, seen = trace(eva, x)
assert y.shape == (2, 64, 1, 1)

# %% [markdown]
# **The first query.** A convolution as large as the map has one output pixel. The FFN refines it to
# $q_0$, the rough message.

# %%
with torch.no_grad():
    candidate = eva.convolution(x)
    assert candidate.shape == (2, 64)
    q0 = eva.first_query(candidate)
close(q0, seen.queries[0])

# %% [markdown]
# **Stage 0: the centre.** $q_0$ looks at ring 0, one pixel. With one pixel to look at, the softmax
# gives it weight 1 whatever the query. So $W_Q$, $W_K$ and $r$ of this look do nothing and never
# train. The recall then lets $\mathrm{attn}_0$ weigh two slots, the rough message and itself. Its
# answer is the next question, $q_1$.

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
# **Stage 1: the ring of 8.** $q_1$ looks at the eight pixels around the centre, by content and by
# offset. Each of the four heads has 16 channels, so its logits are divided by $\sqrt{16} = 4$. The
# recall has three slots.

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
# **Stage 2: the ring of 16,** with four slots, and **stage 3: the ring of 24,** with five, are a
# loop. After the last recall comes the output.

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

# %% [markdown]
# Every stage has its own projections; none is shared.
#
# ## Exercises
#
# **1.** Write a recall with one head: a query (`d`) and slots (`s d`), which are keys and values at once. Mind the scale.


# %% tags=["exercise"]
def recall(query, slots):
    return ...


# %% tags=["check", "hide-input"]
query, slots = torch.randn(4), torch.randn(3, 4)
one_head = query[None, None], slots[None, None], slots[None, None]
expected, _ = single_query_attention(*one_head, scale=4**-0.5)
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
# ## In short
#
# EVA is one equation in two roles: a look over the pixels of a ring, a recall over what was kept.
# Done by hand, all four stages give what the module gives. Next: [the code](eva_code.ipynb).
