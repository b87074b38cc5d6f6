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
# # EVA in code
#
# How many lines is it? The rings are data, so the four stages are one loop. This page shows the code that runs, the tests that
# hold it, and a mistake that no shape would show.

# %% tags=["hide-input", "remove-stderr"]
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("evalib") is None:  # in Colab
    address = "evalib[book] @ git+https://github.com/expanding-visual-attention/evalib"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", address], check=True)
    print(importlib.import_module("evalib.pages.display").here())

import torch

from evalib import ExpandingVisualAttention, count_parameters, trace
from evalib.equations import ring, single_query_attention
from evalib.eva import EXTENT, RADII, SingleQueryAttention
from evalib.pages.display import check, source, table

torch.manual_seed(0)
close = torch.testing.assert_close
eva = ExpandingVisualAttention(64, 64, 64, num_heads=4)
x = torch.randn(2, 64, EXTENT, EXTENT)
rings = [ring(radius) + EXTENT // 2 for radius in RADII]
with torch.no_grad():
    y, seen = trace(eva, x)
assert y.shape == (2, 64, 1, 1)


# %% [markdown]
# ## The code
#
# The four stages are one loop: the algorithm of the paper's Figure 5. The lines around it serve tools,
# precision and the variant *normed*.

# %% tags=["hide-input"]
source(ExpandingVisualAttention.forward)

# %% [markdown]
# Look and recall are one module. A look knows the offsets of its ring and adds $r$. The equation
# inside is `single_query_attention`; its `scale` is $1 / \sqrt c$. `matrix()` gives a layer's weights,
# in a wide EVA times a factor ([D15](#d15)); here that is 1. With `fast` on, a form with
# fewer products runs in its place, held to it by [tests](proof.ipynb).

# %% tags=["hide-input"]
source(SingleQueryAttention.forward, single_query_attention)

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
# But for $q_0$, rings are causal: a pixel of ring $s$ cannot reach a look before $s$. The 7×7
# convolution of $q_0$ reads the whole map, so we first blind it to the pixel. Then we change the pixel.


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
# ## The 7×7 convolution has most of the parameters
#
# It makes the first query, and reads all channels.

# %% tags=["hide-input"]
parts = {name: count_parameters(part) for name, part in eva.named_children()}
table(["part", "parameters"], [[f"`{n}`", f"{c:,}"] for n, c in parts.items()])

# %% [markdown]
# ## What breaks
#
# The paper gets the rings by masking: the 5×5 block without its inner 3×3 block is ring 2. Forget
# the mask, and all shapes stay, the weights sum to one, and the looks stay causal. But the centre
# is read four times. Count the keys.

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
# **2.** Predict, then check: a corner of the inner 5×5 block changes, and $q_0$ does not. Which of the looks 0 to 3 change?
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
# Look 2 reads ring 2. Look 3 asks with a query that look 2 has changed.
#
# </details>

# %% [markdown]
# ## In short
#
# EVA is one loop over four rings. The looks read each pixel once. No look knows of a later ring, but
# for what $q_0$ says of the whole map. The 7×7 convolution of the first question holds most of the
# parameters. Next: [the networks](networks.ipynb) that EVA completes.
