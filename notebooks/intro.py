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
# # Does it help to look ring by ring?
#
# An image network ends with a small grid of features, and averages it. EVA reads the grid instead,
# from the centre outwards. At each ring it takes a *look*, which gives each square a share.

# %% tags=["remove-input", "remove-stderr"]
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("evalib") is None:  # in Colab
    address = "evalib[book] @ git+https://github.com/expanding-visual-attention/evalib"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", address], check=True)
    print(importlib.import_module("evalib.pages.display").here())

import re
import runpy

import torch
from IPython.display import Markdown, display

from evalib import TIERS
from evalib.pages.machine import machine
from evalib.results import answer, statistics
from evalib.results.records import load_records
from evalib.results.words import signed
from evalib.training import environment

torch.set_num_threads(1)
families = statistics.PAPER, statistics.EXPLAINING
lead, looks = (statistics.judge(family, load_records())[0] for family in families)
against = {
    "against the average": lead.difference,
    "against its own first glance, trained without looks,": looks.difference,
}
found = [
    f"{rival} {signed(ours.mean)} (95 %: {signed(ours.low)} to {signed(ours.high)}; {ours.n} trainings)"
    for rival, ours in against.items()
    if ours.low is not None
]
points = f" In points of accuracy on CIFAR-10: {', '.join(found)}." if found else ""
why = "[Why](#what-we-found) · [Should I use it?](decide.ipynb)"
display(Markdown(f"**{answer.verdict()}**{points} {why}"))
machine()

# %% [markdown]
# (what-we-found)=
# ## What we found
#
# An image classifier boils a photograph down to a small grid of features, and then simply averages the grid, as a ResNet does.
# [*Expanding Visual Attention*](https://github.com/cankucuksozen/COMP551--ComputerVision-with-DL/blob/master/Expanding_Visual_Attention.pdf),
# EVA, reads it instead, 7 by 7 squares, ring by ring. Does it help to look ring by ring?

# %% tags=["remove-input"]
Markdown(f"{answer.text()} {answer.REPORTED}")

# %% [markdown]
# ## Why trust this
#
# Most of this list is checked whenever the book is built.

# %% tags=["remove-input"]
records = load_records()
runs = {
    tier: int((records["counts"] & (records["tier"] == tier)).sum())
    for tier in TIERS
    if tier != "smoke"
}
mutants = environment.root() / "tests" / "mutants.py"
wrong = len(runpy.run_path(str(mutants))["MUTANTS"]) if mutants.is_file() else None
departures = environment.root() / "book" / "departures.md"
choices = (
    len(re.findall(r"^\(d\d+\)=$", departures.read_text("utf-8"), re.M))
    if departures.is_file()
    else None
)
Markdown(
    f"""- **Results are read from records.** A record is a file that a run writes and nobody edits, with settings, seed, code, device and
  its own checksum. Here are {runs["paper"]} of full trainings and {runs["quick"]} of short ones. What was not run is a dash. A run
  that was stopped has no record: its lines are shown. Of the large EVANet as we first built it a sentence in a file is left.
- **Every equation has a test, and the tests have been tested.** We broke the code on purpose{f" in {wrong} ways" if wrong else ""}, and
  [each break was caught](proof.ipynb).
- **Every choice is listed.** {f"{choices} places" if choices else "The places"} where the paper is silent, or its published code differs
  from it, are [departures](../book/departures.md), each with our choice, the reason, and what another one did.
- **What speaks against us is here too.** The large EVANet [did not train](the-large-network) as we first chose to build it. The
  networks [overfit](the-networks-overfit). Where the one EVA that we asked looks is [hardly where it counts](where-it-counts). The networks
  without looks ran by later code than EVA, and in part on other devices. And there are [more limits](the-limits)."""
)

# %% [markdown]
# ## Where to go on
#
# **Touch it.** [Ask the network](live.ipynb) what it sees in a picture of yours, and which part of it counts.
#
# **Understand it.** Read from [Convolution](convolution.ipynb) to [Expanding Visual
# Attention](eva.ipynb): each equation worked by hand, then as code, then on a trained network, with
# exercises that check themselves. You need to know what a matrix product is.
#
# **Judge it.** [What the text leaves out](collapse.ipynb) tells what went wrong when we built the network from its description, and
# what mended it. [Table 1](table1.ipynb) has our accuracies beside the paper's, the [report](report.ipynb) every claim with a
# verdict.
#
# **Use it.** [Should I?](decide.ipynb) has cost and gain on one page. `pip install "evalib @ git+https://github.com/expanding-visual-attention/evalib"` gives the layer and the
# networks; with `evalib[train]` in place of `evalib` their weights and the training come too. [Your turn](your_turn.ipynb) trains a head that you write
# against EVA, with seeds and a test. [Running it](../book/running.md) says how to reproduce every number.
#
# The rocket at the top of a page opens it in Colab.
#
# ## Where the numbers come from
#
# A *run* trains one network. All its random draws follow from one number, its *seed*. Each pass
# over the training images is an *epoch*. At its end a run writes one *record*. The paper is
# {cite:t}`kucuksozen2020expanding`. The data set is CIFAR-10 {cite}`krizhevsky2009learning`: 60,000
# photographs of ten kinds of things. EVA is compared with ResNets {cite}`he2015deep`, and with
# SANets, where local self-attention {cite}`ramachandran2019standalone` takes the place of some
# convolutions.
#
# How much is run is called a *tier*. `paper` is the full data set for 150 epochs, and only it may
# be held against the paper. `quick` has a tenth of the epochs. `smoke` is a small subset for two
# epochs, to show that the code works.
#
# We follow the text as far as it [can be followed](../book/departures.md), in all but two things.
# EVA's logits, which say how much each pixel counts, are divided by the root of a head's channels
# ([D4](#d4)). And a wide EVA learns more slowly ([D15](#d15)). Built as the text says, EVA
# [fell in all our full trainings](collapse.ipynb). A *variant* is EVA with something added. [A first
# rule](the-choice) chose *scaled*; the rule of today, which asks for every width, has not decided
# yet. An EVANet without the name of a variant beside it is the chosen one.
