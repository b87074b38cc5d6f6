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
# # Training one network of Table 1
#
# How is a row of the table made? The network's weights are drawn at random and changed in small steps until its answers
# fit the training images; then the test images say how good it is. This page does that for one row, for two epochs on a small
# subset, and then looks at [a network that trained for longer](trained-for-longer).
#
# The page is also the template of every run. The program papermill fills in the parameters below; the cells after them train
# the network, show what it learned, and write its *record*, a file with everything that decided the run and all that it
# gave.
#
# ```
# papermill notebooks/train.ipynb out.ipynb -k python3 -p experiment evanet20-small -p seeds "0 1"
# ```
#
# A *checkpoint*, the state of the run on disk, is written after each epoch. A run that was stopped goes on from its last one
# when the same parameters are given again.

# %% tags=["hide-input"]
import importlib.util
import math
import os
import subprocess
import sys

if importlib.util.find_spec("evalib") is None:  # in Colab
    address = "evalib[book] @ git+https://github.com/expanding-visual-attention/evalib"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", address], check=True)
    print(importlib.import_module("evalib.pages.display").here())

from pathlib import Path

import torch
from IPython.display import Markdown, display

import evalib
from evalib.batch import notebook
from evalib.pages import figures
from evalib.pages.display import picture
from evalib.results import records, weights
from evalib.results.run import run_in_turn
from evalib.results.words import foreign
from evalib.training import data
from evalib.training.cifar import load_data
from evalib.training.predict import predict_traced

_before = dict(globals())

# %% [markdown]
# ## Parameters
#
# `experiment` is a row of `evalib.TABLE_1`, or one of `evalib.ABLATIONS`, which have one thing changed. `seed` is the number that all random draws of a run
# follow from: first weights, order of the images, augmentation. `seeds`, such as `"0 1 2"`, makes several runs instead: on a
# GPU in turn, a step each, elsewhere one after the other. An *epoch* is one pass over the training images. `tier`
# says how much is run: `smoke` takes the bundled subset and two epochs, `quick` the full data set and a short schedule,
# `paper` the full data set and the full schedule. `epochs` overrides the tier's number, `precision` is "bf16" or "float32", numbers of 16 or 32 bits
# (by default bf16 on a GPU that computes in it), `module` a Python file that registers rows of your own, and `out` the directory
# where the record goes.

# %% tags=["parameters"]
experiment = "evanet20-small"
seed = 0
seeds = None
tier = "smoke"
epochs = None
precision = None
module = None
out = None

# %%
runs = notebook.read_parameters(globals())
runs

# %% [markdown]
# ## What is trained
#
# Stem, three stages of BasicBlocks, a summary of the last map (global average pooling, or EVA), and a linear
# classifier.

# %% tags=["hide-input"]
network = evalib.build(experiment)
print(f"{experiment}: {evalib.count_parameters(network):,} parameters")
for name, part in network.named_children():
    print(f"{name:>12} {evalib.count_parameters(part):>12,}")

# %% [markdown]
# ## The loss, by hand
#
# The loss is the *cross-entropy*: minus the logarithm of the share that a softmax of the scores gives to the right class. Its
# unit, with the natural logarithm, is the *nat*. Take two classes with the scores $0$ and $\ln 3$, the first being right. The
# shares are $\tfrac14$ and $\tfrac34$, so the loss is $-\ln \tfrac14 = \ln 4$. Its gradient with respect to the scores is the
# shares minus 1 for the right class:
#
# $$
# \left( \tfrac14 - 1,\; \tfrac34 \right) = \left( -\tfrac34,\; \tfrac34 \right) .
# $$
#
# A step against it raises the first score and lowers the second.

# %% tags=["hide-input"]
scores = torch.tensor([[0.0, math.log(3)]], requires_grad=True)
loss = torch.nn.functional.cross_entropy(scores, torch.tensor([0]))
(gradient,) = torch.autograd.grad(loss, scores)
torch.testing.assert_close(loss, torch.tensor(math.log(4)))
torch.testing.assert_close(gradient, torch.tensor([[-0.75, 0.75]]))

# %% [markdown]
# ## Training
#
# An *optimiser* turns gradients into steps. Adam {cite}`kingma2014adam` divides the running mean of each weight's gradient by the
# root of the running mean of its square, so that all weights move at about the same pace, the *learning rate*. Table 1 has Adam
# with learning rate 0.001, divided by ten at one half and at three quarters of the epochs ([D10](#d10)); an ablation may have
# another recipe. Each step takes a batch of 150 images. *Augmentation* changes each of them a little, anew in each epoch:
# padded by four pixels, cropped at random and flipped half of the time {cite}`he2015deep`.
#
# A tenth of the training images is held back for *validation*: the curve below shows how the network does on images that it
# does not train on. The test images are read once, after the last epoch ([D11](#d11)).

# %%
out = Path(out or os.getenv("EVALIB_OUT") or records.results())  # the book sets EVALIB_OUT
outcomes = run_in_turn(runs, out)
recorded = [
    records.read_same(path, each)
    for each in runs
    if (path := records.record_path(each, out)).exists()
]
stopped = {
    each.seed: outcome
    for each, outcome in zip(runs, outcomes, strict=True)
    if not records.record_path(each, out).exists()
}
finished = [outcome for outcome in outcomes if not isinstance(outcome, Exception)]
if not finished:
    raise outcomes[0]
run = finished[0]

# %% tags=["hide-input"]
for record in recorded:
    test, name = record["test"], f"seed {record['seed']}: " if len(runs) > 1 else ""
    display(
        Markdown(
            f"{evalib.experiments.experiment(experiment).title}, {name}**{test['accuracy']:.2f} %** of {test['images']:,} test images right after the last epoch, on the "
            f"{record['data']['source']} data set ({foreign(record['device'])}, {record['seconds']:.0f} s of training)."
        )
    )
for number, error in stopped.items():
    display(Markdown(f"Seed {number} **stopped**: {foreign(str(error))}"))
if run.cifar.source == "subset":
    display(
        Markdown(
            "This is the bundled subset after a few epochs: it shows that the machinery works, no more."
        )
    )

# %% [markdown]
# ## How it went
#
# With several seeds the points are their mean, and the band spans all of them.

# %% tags=["hide-input"]
curves = [record["curve"] for record in recorded]
ends = ", ".join(f"{rows[-1]['validation_accuracy']:.1f}" for rows in curves)
picture(
    *figures.curve(*curves),
    caption=f"{'This run' if len(curves) == 1 else f'{len(curves)} runs'}, epoch by epoch. The validation accuracy ends at "
    f"{ends} %.",
)

# %% [markdown]
# ## What it confuses
#
# This and what follows are from the first seed. Each row is a class, each column what the network took that class's test images
# for, in percent.

# %% tags=["hide-input"]
predicted = run.test_scores.argmax(dim=1)
picture(
    figures.confusion(predicted, run.cifar.test_labels),
    caption="What this run took the images of each class (row) for, in percent. A blue diagonal means that it is right.",
)

# %% [markdown]
# ## Some test images
#
# One image of each class, with the class that the network gives it; mistakes are in orange, with the right class in
# brackets.

# %% tags=["hide-input"]
shown = [(run.cifar.test_labels == label).nonzero()[0].item() for label in range(len(data.CLASSES))]
images, labels = run.cifar.test_images[shown], run.cifar.test_labels[shown]
picture(
    figures.predictions(images, predicted[shown], labels),
    caption="The first test image of each class and this run's answer; in orange where it is wrong, with the right one below.",
)

# %% [markdown]
# ## Where EVA looks
#
# Only an EVANet has something to show here: the weights of the four rings, mean over the heads, and the weights
# with which each stage recalls the first query and the looks so far. The weights are those of the pass that gave the
# scores. They tell what was read, and [not why the network decides](where-it-counts).

# %% tags=["hide-input"]
if any(isinstance(module, evalib.ExpandingVisualAttention) for module in run.network.modules()):
    scores, trace = predict_traced(run.network, images[:4])
    look = "Weights of the four looks on the 7×7 map, mean over the heads, an image a row. Ring 0 is one pixel and has it all."
    recall = (
        "Mean weights of the four recalls on their slots: the first query and the looks so far."
    )
    display(
        picture(figures.ring_weights(images[:4], trace), caption=look),
        picture(*figures.slot_weights(trace), caption=recall),
    )

# %% tags=["remove-cell"]
if stopped:
    raise RuntimeError("; ".join(f"seed {number}: {error}" for number, error in stopped.items()))

# %% [markdown]
# (trained-for-longer)=
# ## A network that trained for longer
#
# Two epochs on a subset show that the code works, and little else. Here is the same network with the weights that come with
# the package: the curve from its record, what it confuses, and its most confident errors, on the bundled test images.

# %% tags=["hide-input"]
kept = weights.packaged(experiment) if tier == "smoke" else None  # a longer run shows itself
if kept:
    trained, longer = weights.load_pretrained(experiment), weights.read_weights(kept)[1]
    cifar = load_data("subset")
    scores = evalib.predict(trained, cifar.test_images)
    guess, truth = scores.argmax(dim=1), cifar.test_labels
    sure = scores.softmax(dim=1).amax(dim=1).masked_fill(guess == truth, 0)
    worst = sure.argsort(descending=True)[:10]
    display(
        picture(
            *figures.curve(longer["curve"]),
            caption=f"{evalib.experiments.experiment(experiment).title}: {longer['settings']['epochs']} epochs on the full data set (seed {longer['seed']}, {foreign(longer['device'])}). It "
            f"ends at {longer['test']['accuracy']:.2f} % of {longer['test']['images']:,} test images. The curves bend where the "
            "learning rate falls.",
        ),
        picture(
            figures.confusion(guess, truth),
            caption=f"The class that it gives to {len(truth)} test images, in percent of each true class. Look off the diagonal: animals are "
            "mistaken for animals, vehicles for vehicles.",
        ),
        picture(
            figures.predictions(cifar.test_images[worst], guess[worst], truth[worst]),
            caption="The ten errors that it made with most confidence, the right class in brackets. It gives its wrong answer a share of "
            f"{sure[worst[-1]]:.2f} to {sure[worst[0]]:.2f}.",
        ),
    )

# %% [markdown]
# ## In short
#
# A run follows from its parameters, the code, the device, the number of threads and the versions of the libraries; its record
# holds them all. On a CPU, with all of them equal, it repeats to the bit. With another number of threads sums are rounded in
# another order, training amplifies the difference, and the accuracy can move as much as it does between seeds. The full schedule
# makes a network that is mostly right, and whose mistakes are sensible; to the letter of the text it [can end in
# collapse](collapse.ipynb).
