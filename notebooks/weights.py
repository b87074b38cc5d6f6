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
# # Weights
#
# Which trained networks come with the package, how were they made, and what are they for? This is
# their model card, written from the record inside each file.

# %% tags=["hide-input", "remove-stderr"]
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("evalib") is None:  # in Colab
    address = "evalib[book] @ git+https://github.com/expanding-visual-attention/evalib"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", address], check=True)
    print(importlib.import_module("evalib.pages.display").here())

import torch
from IPython.display import Markdown

import evalib
from evalib.pages.display import source, table
from evalib.results import weights
from evalib.results.records import collapse
from evalib.results.statistics import binomial_error
from evalib.results.words import foreign
from evalib.training.cifar import load_data
from evalib.training.train import accuracy

files = sorted(weights.PRETRAINED.glob("*.safetensors"))
cards = [weights.read_weights(path) for path in files]

# %% [markdown]
# ## What there is

# %% tags=["hide-input"]
heads = ["file", "network", "parameters", "numbers", "bytes"]
lines = [
    [
        f"`{path.name}`", f"`{record['experiment']}`", f"{record['parameters']:,}", record.get("stored", "float32"),
        f"{path.stat().st_size:,}",
    ]
    for path, (_, record) in zip(files, cards, strict=True)
]  # fmt: skip
table(heads, lines) if files else Markdown("No weights come with this version of the package.")

# %% [markdown]
# The files are [safetensors](https://github.com/huggingface/safetensors): nothing is unpickled.
# What is stored in bfloat16 was rounded from float32. The digits in a name are the first 16 of the
# file's SHA-256, and are checked whenever it is read. Each is the last epoch of seed 0, at the tier
# given below: no epoch and no seed was chosen. [The choice](the-choice) says which variant is
# which.

# %% tags=["remove-input"]
fallen = [
    f"`{record['experiment']}` {said}" for _, record in cards if (said := collapse(record["curve"]))
]
Markdown(
    f"**Not for use, but to be studied:** {'; '.join(fallen)}."
    if fallen
    else "None of these runs collapsed."
)

# %% [markdown]
# ## How to load them
#
# ```python
# import evalib
#
# network = evalib.load_pretrained("evanet20-small")  # evaluation mode, CPU
# ```
#
# ```bash
# python -m evalib evaluate --weights evanet20-small
# ```
#
# The first needs `evalib[train]` and no download. The second reads the test set. It must reproduce the recorded count; on another
# device, or from rounded weights, to within one binomial standard error.

# %% tags=["hide-input"]
source(weights.load_pretrained)

# %% [markdown]
# ## How they were made

# %% tags=["hide-input"]
heads = [
    "network",
    "tier",
    "seed",
    "data",
    "epochs",
    "optimiser",
    "device",
    "minutes",
    "torch",
    "commit",
]
lines = [
    [
        f"`{record['experiment']}`", record["tier"], record["seed"], record["data"]["source"], record["settings"]["epochs"],
        evalib.experiments.experiment(record["experiment"]).recipe.optimiser, foreign(record["device"]), f"{record['seconds'] / 60:.1f}",
        foreign(record["versions"]["torch"]), (record["commit"] or "–")[:7],
    ]
    for _, record in cards
]  # fmt: skip
table(heads, lines) if files else Markdown("–")

# %% [markdown]
# Training data: 45,000 images of CIFAR-10 {cite}`krizhevsky2009learning`, padded, cropped and flipped; 5,000 are held back.
#
# ## What they reach

# %% tags=["hide-input"]
lines = []
for _, record in cards:
    test = record["test"]
    error = binomial_error(test["accuracy"], test["images"])
    numbers = (
        f"{test['correct']:,} of {test['images']:,}",
        f"{test['accuracy']:.2f} ± {error:.2f}",
        f"{test['loss']:.3f}",
    )
    lines.append([f"`{record['experiment']}`", *numbers, f"{record['validation_accuracy']:.2f}"])
heads = ["network", "test images right", "test %", "test loss, nats", "validation %"]
table(heads, lines) if files else Markdown("–")

# %% [markdown]
# ± is one binomial standard error. These are the runs' own numbers, of weights before any rounding; the test set was read once,
# after the last epoch.
#
# ## A look
#
# The bundled test images are part of the 10,000, so the accuracy on them is about that of the record.

# %% tags=["hide-input"]
cifar = load_data("subset")
torch.set_num_threads(min(2, torch.get_num_threads()))
lines = []
for _, record in cards:
    scores = evalib.predict(evalib.load_pretrained(record["experiment"]), cifar.test_images)
    lines.append(
        [
            f"`{record['experiment']}`",
            f"{accuracy(scores, cifar.test_labels):.1f}",
            len(scores),
        ]
    )
table(["network", "right, %", "bundled images"], lines) if files else Markdown("–")

# %% [markdown]
# ## What they are for, and what not
#
# They are for studying these networks, and for checking a copy of the code. They know ten classes
# of 32×32 images, and give one of the ten to any image. They were tested on CIFAR-10 alone: not
# against attacks, for calibration, or for how errors fall on groups of people or things. They are
# not for use where a wrong answer does harm.
#
# The weights are under the licence of the code, MIT. CIFAR-10 is by Alex Krizhevsky, Vinod Nair and Geoffrey Hinton.
