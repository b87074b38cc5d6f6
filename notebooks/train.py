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
# How is a row of the table made? A network's weights are drawn at random and changed in small steps
# until its answers fit the training images. Then the test images say how good it is. This page does
# that for two epochs on a small subset, and then looks at [the same network after
# 150](trained-for-longer).
#
# The page is also the template of every run. The program papermill fills in the parameters below.
# The cells after them train the network and write its *record*, a file with what decided the run
# and what it gave.
#
# ```
# papermill notebooks/train.ipynb out.ipynb -k python3 -p experiment evanet20-small -p seeds "0 1"
# ```
#
# A *checkpoint*, the state of the run on disk, is written after each epoch. With the same
# parameters a stopped run goes on from its last one.

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
from einops import rearrange
from IPython.display import Markdown, display

import evalib
from evalib.batch import notebook
from evalib.pages.display import picture
from evalib.pages.figures import (
    COLOURS,
    described,
    panels,
    ring_weights,
    slot_weights,
    styled,
    tinted,
)
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
# `experiment` is a row of `evalib.TABLE_1`, or one of `evalib.ABLATIONS`, which have one thing
# changed. `seed` is the number that all random draws follow from: first weights, order of the
# images, augmentation. `seeds`, such as `"0 1 2"`, makes several runs instead: on a GPU in turn, a
# step each, elsewhere one after the other. An *epoch* is one pass over the training images. `tier`
# says how much is run: `smoke` takes the bundled subset and two epochs, `quick` the full data set
# and a short schedule, `paper` the full data set and the full schedule. `epochs` overrides the
# tier's number, `precision` is "bf16" or "float32", numbers of 16 or 32 bits (by default bf16 on a
# GPU that computes in it), `module` a Python file that registers rows of your own, and `out` the
# directory where the record goes.

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
# Stem, three stages, a summary of the last map (mean or EVA), and a linear classifier.

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

# %% tags=["hide-input"]
scores = torch.tensor([[0.0, math.log(3)]], requires_grad=True)
loss = torch.nn.functional.cross_entropy(scores, torch.tensor([0]))
(gradient,) = torch.autograd.grad(loss, scores)
torch.testing.assert_close(loss, torch.tensor(math.log(4)))
torch.testing.assert_close(gradient, torch.tensor([[-0.75, 0.75]]))

# %% [markdown]
# ## Training
#
# An *optimiser* turns gradients into steps. Adam {cite}`kingma2014adam` divides a running mean of
# each weight's gradient by a running root mean square of it. So all weights move at about the same
# pace, the *learning rate*. The paper has Adam with learning rate 0.001 (§4.1), and gives no schedule;
# we divide by ten at one half and at three quarters of the epochs ([D10](#d10)). The matrices of a wide
# EVA move more slowly ([D15](#d15)). An ablation may have another recipe. Each step
# takes a batch of 150 images. *Augmentation* changes each of them a little, anew in each epoch:
# padded by four pixels, cropped at random and flipped half of the time {cite}`he2015deep`.
#
# A tenth of the training images is held back for *validation*: the network does not train on them.
# The test images are read once, after the last epoch ([D11](#d11)).

# %% tags=["hide-input"]
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
# (trained-for-longer)=
# ## What training made of it
#
# A run of the tier `smoke` has learned too little to look at. In its place stands the same network
# after the full schedule, whose weights come with the package. A longer run shows itself; of
# several seeds the curve is the mean, in a band that spans them, and the rest is the first seed's.

# %% tags=["hide-input"]
kept = weights.packaged(experiment) if tier == "smoke" else None
if kept:
    shown, (_, record), cifar = (
        weights.load_pretrained(experiment),
        weights.read_weights(kept),
        load_data("subset"),
    )
    curves, test_scores = [record["curve"]], evalib.predict(shown, cifar.test_images)
else:
    shown, record, cifar = run.network, recorded[0], run.cifar
    curves, test_scores = [record["curve"] for record in recorded], run.test_scores
guess, truth = test_scores.argmax(dim=1), cifar.test_labels


@styled
def curve(what, unit):
    """Loss or accuracy by epoch, on training and validation images."""
    figure, ((axis,),) = panels(1, 1, 3.6, 2.6)
    epochs, last = [row["epoch"] for row in curves[0]], []
    for part, label in (("train", "training"), ("validation", "validation")):
        color = COLOURS[label]
        values = torch.tensor([[row[f"{part}_{what}"] for row in rows] for rows in curves])
        mean = values.mean(dim=0)
        axis.fill_between(
            epochs, values.amin(dim=0), values.amax(dim=0), color=color, alpha=0.2, linewidth=0
        )
        axis.plot(epochs, mean, color=color, marker="." if len(epochs) < 30 else None, label=label)
        last.append(f"{mean[-1]:.2f} on the {label} images")
    axis.set(xlabel="epoch", ylabel=unit)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.legend(frameon=False)
    return described(figure, f"{what} by epoch; after epoch {epochs[-1]} {' and '.join(last)}.")


picture(
    curve("loss", "cross-entropy, nats"),
    curve("accuracy", "accuracy, %"),
    caption=f"{evalib.experiments.experiment(experiment).title}, {record['settings']['epochs']} epochs (seed {record['seed']}, "
    f"{foreign(record['device'])}). It ends at {record['test']['accuracy']:.2f} % of {record['test']['images']:,} test images. The "
    "curves bend where the learning rate falls.",
)

# %% [markdown]
# What does it take for what? Look off the diagonal.


# %% tags=["hide-input"]
@styled
def confusion():
    """How often (%) the images of each class, a row, were taken for each class, a column."""
    names = data.CLASSES
    counts = torch.bincount(len(names) * truth + guess, minlength=len(names) ** 2).reshape(
        len(names), -1
    )
    share = counts / counts.sum(dim=1, keepdim=True)
    figure, ((axis,),) = panels(1, 1, 5, 4.6)
    axis.imshow(tinted(share).numpy())
    for i, row in enumerate((100 * share).tolist()):
        for j, value in enumerate(row):
            axis.text(j, i, f"{value:.0f}", ha="center", va="center", fontsize=8)
    axis.set_xticks(range(len(names)), names, rotation=60, ha="right")
    axis.set_yticks(range(len(names)), names)
    axis.set(xlabel="predicted", ylabel="class")
    right = ", ".join(
        f"{name} {100 * value:.0f}" for name, value in zip(names, share.diagonal(), strict=True)
    )
    return described(
        figure,
        f"Ten classes by ten classes, in percent of a row. Of each class is recognised: {right}.",
    )


picture(
    confusion(),
    caption=f"The class that it gives to {len(truth):,} test images, in percent of each true class, a row. After the full schedule "
    "animals are mistaken for animals, vehicles for vehicles.",
)

# %% [markdown]
# And where is it most surely wrong?

# %% tags=["hide-input"]
sure = test_scores.softmax(dim=1).amax(dim=1).masked_fill(guess == truth, 0)
worst = sure.argsort(descending=True)[:10]


@styled
def mistakes():
    """Images with the class that the network gives them, the right one below."""
    figure, axes = panels(2, 5, 5.4, 2.7)
    told = []
    for axis, n in zip(axes.flat, worst.tolist(), strict=True):
        taken, right = data.CLASSES[guess[n]], data.CLASSES[truth[n]]
        axis.imshow(rearrange(cifar.test_images[n], "c i j -> i j c").numpy())
        axis.set_title(f"{taken}\n({right})", fontsize=8)
        axis.axis("off")
        told.append(f"{right} as {taken}")
    return described(figure, f"Test images that the network gets wrong: {', '.join(told)}.")


picture(
    mistakes(),
    caption="The ten errors that it made with most confidence, the right class in brackets. It gives its wrong answer a share of "
    f"{sure[worst[-1]]:.2f} to {sure[worst[0]]:.2f}.",
)

# %% [markdown]
# ## Where EVA looks
#
# Of an EVANet: the weights of the four rings, and of each recall, in the pass that gave the scores.
# They tell what was read, and [not why the network decides](where-it-counts).

# %% tags=["hide-input"]
if any(isinstance(module, evalib.ExpandingVisualAttention) for module in shown.modules()):
    images = cifar.test_images[:4]
    _, trace = predict_traced(shown, images)
    look = "Weights of the four looks on the 7×7 map, mean over the heads, an image a row. Ring 0 is one pixel and has it all."
    recall = (
        "Mean weights of the four recalls on their slots: the first query and the looks so far."
    )
    display(
        picture(ring_weights(images, trace), caption=look),
        picture(*slot_weights(trace), caption=recall),
    )

# %% tags=["remove-cell"]
if stopped:
    raise RuntimeError("; ".join(f"seed {number}: {error}" for number, error in stopped.items()))

# %% [markdown]
# ## In short
#
# A run follows from its parameters, the code, the device, the number of threads and the versions of
# the libraries; its record holds them all. On a CPU, with all of them equal, it repeats to the bit.
# With another number of threads sums are rounded in another order, and the accuracy can move as
# much as between seeds. The full schedule makes a network that is mostly right; to the letter of
# the text it [can end in collapse](collapse.ipynb).
