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
# # The six networks
#
# What exactly is compared in Table 1? Three networks, each in two widths. They share a ResNet
# {cite}`he2015deep`; the SANets replace its third stage, the EVANets its average pooling.

# %% tags=["hide-input", "remove-stderr"]
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("evalib") is None:  # in Colab
    address = "git+https://github.com/expanding-visual-attention/evalib"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", address], check=True)
    print(importlib.import_module("evalib.pages").here())

from dataclasses import replace

import matplotlib.pyplot as plt
import torch
from torch import nn

from evalib import (
    TABLE_1,
    RelativeSelfAttention,
    build,
    count_parameters,
    figures,
)
from evalib.networks import BasicBlock, EVASummary, Network
from evalib.pages import source, table

torch.manual_seed(0)


# %% [markdown]
# ## Table 1 as data
#
# The package holds the table as six rows. This is the paper's table, printed from them.

# %%
mark = {True: "yes", False: "–"}
table(
    ["Model", "Blocks", "Feature maps", "EVA", "Self-attention", "Paper, test %"],
    [
        [
            row.model,
            list(row.blocks),
            list(row.widths),
            mark[row.eva],
            mark[row.self_attention],
            f"{row.paper_accuracy:.2f}",
        ]
        for row in TABLE_1
    ],
)

# %% [markdown]
# | Part | ResNet | SANet | EVANet |
# |---|---|---|---|
# | stem | 3×3 convolution | same | same |
# | stages 1 and 2 | BasicBlocks of 3×3 convolutions | same | same |
# | stage 3 | BasicBlocks of 3×3 convolutions | BasicBlocks of relative attention, $k = 3$, 4 heads ([D7](#d7)) | as ResNet |
# | summary | mean over the map | mean over the map | EVA on 7×7 pixels of the map ([D6](#d6)) |
# | classifier | linear | linear | linear |

# %% [markdown]
# ## The code
#
# A block takes its mixing layer as an argument, so a SANet differs from a ResNet in that argument alone. The shortcut
# has no parameters ([D8](#d8)).

# %%
source(Network.__init__)

# %%
source(BasicBlock, EVASummary)

# %% [markdown]
# ## One batch, stage by stage

# %%
networks = {row.name: build(row.name).eval() for row in TABLE_1}
images = torch.randn(4, 3, 32, 32)

rows = []
with torch.inference_mode():
    for name, network in networks.items():
        x = network.stem(images)
        sizes = [x.shape[1:]]
        for stage in range(3):
            x = network.stages[2 * stage : 2 * stage + 2](x)
            sizes.append(x.shape[1:])
        assert sizes[-1][1:] == (8, 8)
        assert network(images).shape == (4, 10)
        rows.append([f"`{name}`", *("×".join(map(str, size)) for size in sizes)])
table(["network", "stem", "stage 1", "stage 2", "stage 3"], rows)

# %% [markdown]
# Sizes are channels × rows × columns; each stage is shown after its two blocks. The scores of a batch are
# images × classes, `n 10`.

# %% [markdown]
# ## Parameters


# %%
def parts(network):
    """The number of parameters of each part."""
    stages = {f"stage {s}": network.stages[2 * s - 2 : 2 * s] for s in (1, 2, 3)}
    named = {
        "stem": network.stem,
        **stages,
        "summary": network.summary,
        "classifier": network.classifier,
    }
    return {name: count_parameters(part) for name, part in named.items()}


counts = {name: parts(network) for name, network in networks.items()}
names = list(counts["resnet20-small"])
for name, network in networks.items():
    assert sum(counts[name].values()) == count_parameters(network)
table(
    ["network", "all", *names],
    [[name, *(f"{n:,}" for n in (sum(each.values()), *each.values()))] for name, each in counts.items()],
)

# %% tags=["hide-input"]
figure, axes = plt.subplots(1, 2, figsize=(8, 2.4), layout="constrained")
shades = dict(zip(names, ("black", "#c3d7ee", "#86aedb", figures.BLUE, figures.ORANGE, figures.GREY), strict=True))
for axis, size in zip(axes, ("small", "large"), strict=True):
    shown = [row for row in TABLE_1 if row.name.endswith(size)]
    for y, row in enumerate(shown):
        left = 0
        for part, count in counts[row.name].items():
            axis.barh(y, count / 1e6, left=left, color=shades[part], label=part if y == 0 else None)
            left += count / 1e6
    axis.set_yticks(range(len(shown)), [row.model for row in shown])
    axis.invert_yaxis()
    axis.set(xlabel="parameters, millions")
handles, labels = axes[0].get_legend_handles_labels()
figure.legend(handles, labels, loc="outside upper center", ncols=6, frameon=False, fontsize=8)
plt.show()

# %% [markdown]
# Self-attention makes the third stage lighter than convolution does. EVA has more parameters than the rest of its network,
# most of them in the 7×7 convolution of the first query. So the networks do not have equal budgets.

# %% [markdown]
# ## Checks
#
# The third stage of a SANet holds no convolution but the 1×1 projections of its attentions. The first row and the first
# column of the 8×8 map do not reach EVA.

# %%
third = list(networks["sanet20-small"].stages[4:].modules())
assert sum(isinstance(layer, RelativeSelfAttention) for layer in third) == 4
convolutions = [layer for layer in third if isinstance(layer, nn.Conv2d)]
assert {layer.kernel_size for layer in convolutions} == {(1, 1)}

summary = networks["evanet20-small"].summary
features = torch.randn(2, 64, 8, 8)
outside = features.clone()
outside[:, :, 0] += 1
outside[:, :, :, 0] += 1
with torch.inference_mode():
    assert torch.equal(summary(features), summary(outside))

# %% [markdown]
# ## What breaks
#
# The name says 20 layers. Count them: one stem, two in each block, one classifier. Two blocks a stage make 14; three
# would make the 20 of {cite:t}`he2015deep`, whose Table 6 gives about 0.27 million parameters. We build what Table 1 prints
# ([D9](#d9)). Nothing but counting shows the difference.


# %%
def layers(row):
    """Weight layers on the main path."""
    return 1 + 2 * sum(row.blocks) + 1


printed = TABLE_1[0]
named = replace(printed, blocks=(3, 3, 3))
assert (layers(printed), layers(named)) == (14, 20)
table(
    ["blocks", "layers", "parameters"],
    [[list(row.blocks), layers(row), f"{count_parameters(Network(row)):,}"] for row in (printed, named)],
)

# %% [markdown]
# ## In short
#
# Six networks differ in two places: what mixes the third stage, and what summarises the last map.
# Next: [what is proved of them](proof.ipynb).
