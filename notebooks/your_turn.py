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
# # Your turn
#
# Can you do better than a mean, and better than EVA? On this page you write a *head* of your own,
# the part that makes one vector of the last map, and train it against both. Open the page in Colab
# (the rocket above), change the ten lines, and run it.

# %% tags=["hide-input", "remove-stderr"]
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("evalib") is None:  # in Colab
    address = "evalib[book] @ git+https://github.com/expanding-visual-attention/evalib"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", address], check=True)
    print(importlib.import_module("evalib.pages.display").here())

import os
from pathlib import Path

import torch
from einops import einsum, rearrange
from IPython.display import Markdown
from torch import nn

import evalib
from evalib.experiments import ROWS, experiment
from evalib.pages import figures
from evalib.pages.display import picture, table
from evalib.results import records, statistics, tables
from evalib.results.records import load_records
from evalib.results.words import difference, p_value

# %% [markdown]
# ## A head in ten lines
#
# A head gets the number of channels. It turns a map, `n c i j`, into one vector per image, `n c`.
# This one asks all pixels one learned question, the same for every image: the pooling of a Set
# Transformer {cite}`lee2019set` in its simplest form.


# %%
class AskOnce(nn.Module):
    """One learned query over all pixels: ``y = Σ_m softmax_m(q · W_K x_m / √c) W_V x_m``."""

    def __init__(self, channels):
        super().__init__()
        self.query = nn.Parameter(torch.randn(channels) / channels**0.5)
        self.W_K, self.W_V = (nn.Linear(channels, channels, bias=False) for _ in range(2))

    def forward(self, x):
        pixels = rearrange(x, "n c i j -> n (i j) c")
        weights = (self.W_K(pixels) @ self.query / x.shape[1] ** 0.5).softmax(dim=1)
        return einsum(weights, self.W_V(pixels), "n m, n m c -> n c")


head = AskOnce(64)
assert head(torch.randn(2, 64, 8, 8)).shape == (2, 64)

# %% [markdown]
# ## Register it
#
# A row is a name, a title, and the parts that differ from ResNet-20 small. Once registered, it
# trains and shows in tables like the rows of Table 1. Give a changed head a new name.

# %%
mine = evalib.Experiment("ask-once-small", "Ask once, small", head=AskOnce)
if mine.name not in ROWS:
    evalib.register(mine)
rivals = [evalib.TABLE_1[0].name, evalib.TABLE_1[2].name]

# %% [markdown]
# **Predict, then check.** Which of the three networks has the most parameters, and by how much?

# %% tags=["hide-input"]
names = [mine.name, *rivals]
table(
    ["network", "parameters"],
    [[f"`{name}`", f"{evalib.count_parameters(evalib.build(name)):,}"] for name in names],
)

# %% [markdown]
# ## Train it
#
# Each network trains with two seeds, because a single one does not show how much is chance. `smoke`
# takes about a minute on a CPU, and shows that your head trains. On a GPU in Colab take `quick`,
# the full data set for fifteen epochs. What is done is kept, so the cell resumes where it was
# stopped.

# %%
tier, seeds = "smoke", (0, 1)
out = Path(os.getenv("EVALIB_OUT") or records.results()) / "your-turn"  # the book sets EVALIB_OUT
for name in names:
    for seed in seeds:
        path = records.record_path(evalib.Settings(name, seed, tier), out)
        if not path.exists():
            evalib.run(evalib.Settings(name, seed, tier), out)

# %% [markdown]
# ## The verdict
#
# Your head and its two rivals are a family of two tests, by the rule of the [report](report.ipynb):
# it asks for seeds 0, 1 and 2 on the full schedule. Anything less shows a difference and gives no
# verdict.

# %% tags=["hide-input"]
runs = load_records(out)
judged = statistics.judge(tuple((mine.name, rival) for rival in rivals), runs)
lines = []
for rival, each in zip(rivals, judged, strict=True):
    _, shown = tables.contrast(runs, mine.name, rival, (tier,))
    found = each.difference if tier == "paper" else shown
    p = None if each.verdict == statistics.NOT_YET_DECIDED else each.p
    lines.append(
        [
            f"`{mine.name}` − `{rival}`",
            difference(found),
            found.n,
            p_value(p),
            each.verdict,
        ]
    )
table(["difference", "points", "seeds", "p, Holm", "verdict"], lines)

# %% tags=["hide-input"]
full_names = [experiment(name).name for name in names]
rows = [row for row in tables.table(out, (tier,)) if row["experiment"] in full_names]
accuracies = [value for row in rows for value in row["accuracies"]]
lowest, highest = min(accuracies), max(accuracies)
picture(
    figures.against_paper(rows, least=lowest - 5, most=highest + 5),
    caption=f"Your head and its rivals at <code>{tier}</code>: a dot a seed. On the full schedule "
    "bars are 95 % intervals of the mean. The differences in the table above are of the same seeds, "
    "and so known more closely. Where they are uncertain, more seeds are needed, not a better story.",
)

# %% tags=["hide-input"]
Markdown(
    "These are smoke runs: two epochs on the bundled images. **They say nothing about which head is better.**"
    if tier == "smoke"
    else f"These are runs of {evalib.TIERS[tier].epochs} epochs on the full data set."
)

# %% [markdown]
# ## From a shell
#
# The same head in a file of its own trains from the shell, in a batch and on a cluster: see
# [Running it](../book/running.md).
#
# ## Ideas
#
# - The maximum of each channel over the pixels, or the mean and the maximum side by side.
# - EVA's first query alone, and nothing after it. The [report](report.ipynb) has it as a control.
# - EVA with its rings from the outside in, or with all 49 pixels at once: `evalib.ablations` has both.
# - A query made from the mean of the map. Does it matter where the question comes from?
#
# ## In short
#
# A head is ten lines and a row is one. The head to beat first is EVA's first query alone, which is
# [level with EVA in our runs, and smaller](decide.ipynb): put `evanet20-small-query-alone` among the
# rivals. If yours wins at `paper`, with three seeds and a p that survives Holm's correction, you have a result: tell us.
