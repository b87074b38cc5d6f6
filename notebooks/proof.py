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
# # What is tested and counted
#
# How do we know that the code is the equation? Accuracy does not tell: a network learns in spite of
# many mistakes. So each equation has a test. Then each test was tested: we broke the code on
# purpose, and looked whether a test noticed. At the end this page counts parameters and operations,
# about which the paper makes a claim.
#
# A *test* is a function that states a property and fails when the code does not have it. A *mutant* is the code with one
# mistake put in on purpose.

# %% tags=["hide-input", "remove-stderr"]
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("evalib") is None:  # in Colab
    address = "evalib[book] @ git+https://github.com/expanding-visual-attention/evalib"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", address], check=True)
    print(importlib.import_module("evalib.pages.display").here())

import runpy
from pathlib import Path

import torch
from einops import einsum
from IPython.display import Markdown
from torch import nn

from evalib import (
    TABLE_1,
    ExpandingVisualAttention,
    RelativeSelfAttention,
    build,
    count_parameters,
    equations,
)
from evalib.equations import inside, windows
from evalib.eva import EXTENT
from evalib.networks import NUM_HEADS
from evalib.pages.display import check, folded, table
from evalib.pages.ledger import LEDGER
from evalib.results.costs import flops
from evalib.training import environment

torch.manual_seed(0)


def sentence(node_id):
    """What a test says, from its name."""
    return node_id.partition("::test_")[2].replace("_", " ")


# %% [markdown]
# ## The ledger
#
# Which code belongs to which item of the paper? The code named first says it as the paper does; a
# fast form computes the same with less time. The tests compare the first with plain loops over
# single numbers, and the fast form with the first. The last column has our
# [choices](../book/departures.md).

# %% tags=["hide-input"]
table(
    ["Paper, chapter", "Code, fast form", "Tests", "Departures"],
    [
        [
            f"[{entry.item}]({Path(entry.chapter).name}.ipynb)",
            ", ".join(
                f"`{name.removeprefix('evalib.')}`" for name in (entry.name, entry.fast) if name
            ),
            "; ".join(map(sentence, entry.tests)),
            ", ".join(f"[{number}](#{number.lower()})" for number in entry.departures) or "–",
        ]
        for entry in LEDGER
    ],
)

# %% [markdown]
# ## Mistakes that are caught
#
# The suite also runs on wrong versions of the package. The tests beside each must pass on
# the package as it is, and must fail on the wrong one because of a wrong value.

# %% tags=["hide-input"]
mutants = environment.root() / "tests" / "mutants.py"
wrong = runpy.run_path(str(mutants))["MUTANTS"] if mutants.is_file() else ()
folded(
    f"All {len(wrong)}",
    table(
        ["File", "What is wrong", "Tests that notice"],
        [[f"`{m.file}`", m.what, f"`tests/test_{m.tests}.py`"] for m in wrong],
    ),
) if wrong else Markdown("The list is `tests/mutants.py` in the repository, which is not here.")

# %% [markdown]
# ## One mistake, seen
#
# Here is Eq. 2 with the softmax over the heads, where it should be over the window. Nothing fails:
# the shapes are right, and it could be trained. By hand, with two heads and all logits zero: each
# weight should be 1/9, and is 1/2. Where all values are 1, a window then adds up to 9/2, and not to
# 1.


# %%
def over_heads(q, k, v, kernel_size):
    """Eq. 2 with the softmax over the wrong axis."""
    key, value = windows(k, kernel_size), windows(v, kernel_size)
    content = einsum(q, key, "n h c i j, n h c i j a b -> n h i j a b")
    weights = content.softmax(dim=1) * inside(*k.shape[-2:], kernel_size)
    return einsum(weights, value, "n h i j a b, n h c i j a b -> n h c i j")


still, ones = torch.zeros(1, 2, 4, 5, 5), torch.ones(1, 2, 4, 5, 5)
assert (
    over_heads(still, still, ones, 3).shape
    == equations.local_attention(still, still, ones, 3).shape
)
assert over_heads(still, still, ones, 3)[0, 0, 0, 2, 2] == 9 / 2
assert equations.local_attention(still, still, ones, 3)[0, 0, 0, 2, 2].isclose(torch.tensor(1.0))

# %% [markdown]
# ## Parameters and FLOPs
#
# The paper says (§5) that a visual attention layer needs fewer parameters and fewer FLOPs than a
# convolution. We count the equations as they are written, for one 32×32 image: the products and
# sums of convolutions, linear layers, logits and weighted sums. Softmax, normalisation and other
# steps on single numbers are left out.

# %% tags=["hide-input"]
image = torch.zeros(1, 3, 32, 32)
cost = {}
for row in TABLE_1:
    network = build(row.name).eval()
    cost[row.name] = count_parameters(network), flops(network, image)
table(
    ["Network", "Parameters", "MFLOPs"],
    [[row.model, f"{cost[row.name][0]:,}", f"{cost[row.name][1] / 1e6:,.1f}"] for row in TABLE_1],
)

# %% [markdown]
# Now single layers of 64 channels. Self-attention stands beside the 3×3 convolution that it replaces, and EVA beside a 7×7
# convolution that reads the same map once.

# %% tags=["hide-input"]
small, large = torch.zeros(1, 64, 8, 8), torch.zeros(1, 64, EXTENT, EXTENT)
layers = {
    "3×3 convolution": (nn.Conv2d(64, 64, 3, padding=1, bias=False), small),
    "self-attention, k = 3": (RelativeSelfAttention(64, 64, 3, NUM_HEADS), small),
    "7×7 convolution": (nn.Conv2d(64, 64, EXTENT), large),
    "EVA": (ExpandingVisualAttention(64, 64, 64, NUM_HEADS), large),
}
for name, (layer, x) in layers.items():
    cost[name] = count_parameters(layer), flops(layer, x)
table(
    ["Layer", "Parameters", "MFLOPs"],
    [[name, f"{cost[name][0]:,}", f"{cost[name][1] / 1e6:,.2f}"] for name in layers],
)

# %% [markdown]
# ## Half of the claim holds

# %% tags=["hide-input"]
names = {row.name: row.model for row in TABLE_1} | {name: name for name in layers}
pairs = [
    ("self-attention, k = 3", "3×3 convolution"),
    ("EVA", "7×7 convolution"),
    ("sanet20-small", "resnet20-small"),
    ("sanet20-large", "resnet20-large"),
    (TABLE_1[2].name, "resnet20-small"),
    (TABLE_1[5].name, "resnet20-large"),
]
rows, holds, fails = [], [], []
for attends, convolves in pairs:
    shares = [a / c for a, c in zip(cost[attends], cost[convolves], strict=True)]
    (holds if max(shares) < 1 else fails).append(names[attends])
    rows.append([names[attends], names[convolves], *(f"× {share:.2f}" for share in shares)])
table(["Attention", "Convolution", "Parameters", "FLOPs"], rows)

# %% tags=["hide-input"]
held, failed = ("; ".join(found) or "none" for found in (holds, fails))
Markdown(f"Fewer of both: {held}. Not so: {failed}.")

# %% [markdown]
# (lighter-than-what)=
# By hand: a $k \times k$ convolution has $k^2 c_{in} c_{out}$ weights. Relative attention has $3\,
# c_{in} c_{out} + k\, c_{out}$, and the first term does not grow with $k$. EVA makes its first
# query by a 7×7 convolution, so it cannot be lighter than one. And what it replaces is an average,
# without any parameters. A 7×7 convolution that answers all 49 pixels of the map has 49 times the
# work. Beside that one EVA has fewer FLOPs, and still more parameters.

# %%
assert cost["3×3 convolution"][0] == 3 * 3 * 64 * 64
assert cost["self-attention, k = 3"][0] == 3 * 64 * 64 + 3 * 64
assert cost["7×7 convolution"][1] < cost["EVA"][1] < 49 * cost["7×7 convolution"][1]

# %% [markdown]
# ## Exercises
#
# **1.** Write a test that any attention has to pass: it is true if the weights of every pixel sum to one. You may call
# `attention(q, k, v, kernel_size)`, with tensors of shape `n h c i j`, but you see nothing of its inside. The check runs your
# test on Eq. 2 and on the mistake above.


# %% tags=["exercise"]
def sums_to_one(attention):
    return ...


# %% tags=["check", "hide-input"]
answers = [sums_to_one(attention) for attention in (equations.local_attention, over_heads)]
check(answers, [1, 0])

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def sums_to_one(attention):
#     q, k = torch.randn(2, 1, 2, 4, 5, 5)
#     ones = torch.ones_like(q)
#     return torch.allclose(attention(q, k, ones, 3), ones)
# ```
#
#
# </details>

# %% [markdown]
# **2.** How many FLOPs has a $k \times k$ convolution from `cin` to `cout` channels on a map of `pixels` pixels? Twice the
# multiply-adds.


# %% tags=["exercise"]
def flops_of_convolution(k, cin, cout, pixels):
    return ...


# %% tags=["check", "hide-input"]
sizes = [(3, 64, 64, 8 * 8), (5, 16, 32, 6 * 6)]
built = [
    flops(nn.Conv2d(cin, cout, k, padding=k // 2), torch.zeros(1, cin, side, side))
    for (k, cin, cout, _), side in zip(sizes, (8, 6), strict=True)
]
check([flops_of_convolution(*size) for size in sizes], built)

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def flops_of_convolution(k, cin, cout, pixels):
#     return 2 * k * k * cin * cout * pixels
# ```
#
# </details>

# %% [markdown]
# ## In short

# %% tags=["remove-input"]
Markdown(
    "Every equation has a test, and the tests have been tested too: we broke the code on purpose"
    f"{f' in {len(wrong)} ways' if wrong else ''}, and each break was caught. Half of the paper's "
    "claim about cost holds. Self-attention needs fewer parameters than the convolution it "
    "replaces, and fewer FLOPs too, except [at stride 2](still-better). EVA needs more of both: "
    "it contains a 7×7 convolution, and what it replaces is a mean."
)
