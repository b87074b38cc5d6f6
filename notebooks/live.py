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
# # Ask the network
#
# What does a trained EVANet look at in a picture of yours, and which part of it counts? The network
# below computes in this page, and no picture leaves your device. Choose a test image, or drop a
# photograph on it. Click or tap a part to hide it. Or choose *draw*, and draw over it.

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

from evalib import trace
from evalib.pages.display import captioned, table
from evalib.pages.explorer import script
from evalib.pages.live import SCRIPTS, live, pack, readings
from evalib.results import reading
from evalib.tracing import count_in_effect
from evalib.training import data
from evalib.training.cifar import load_data

torch.set_num_threads(min(2, torch.get_num_threads()))
networks = readings()
cifar = load_data("subset")

# %% tags=["hide-input"]
captioned(
    live(networks, cifar.test_images[::50], cifar.test_labels[::50]),
    "EVANet-20 small. The four pictures are its four looks: the deeper the blue of a square, the more weight it has. "
    "Below each, how the recall divides its weight over what was kept. The fifth shows which part counts: the deeper the blue, "
    "the further the answer falls when that part is hidden. <i>Letter</i> was trained to the letter of the text. It collapsed: "
    "most of its answers are wrong.",
)

# %% [markdown]
# By keyboard: the arrow keys move the patch over the picture, with Shift by one pixel. Space hides
# what is under it, Ctrl+Z takes that back. A picture of yours is cropped to its middle square and
# averaged down to 32×32 pixels, as you see it here. The network knows ten classes and has no word
# for anything else.
#
# ## Predict, then check
#
# 1. Choose the airplane, and hide its tail. Does the network still call it an airplane? What if you hide the sky instead?
# 2. Draw a thick red line through the ring of 24. Do the looks go to it?
# 3. Switch from *scaled* to *letter*, the text taken at its word. How many pixels does each look use now? Does
#    the answer still change when you hide something?
# 4. Under *which part counts*, hide each part in turn. Are the parts that count those that have the weight?
#
#
# ## What a softmax that picks looks like
#
# A softmax that puts all its weight on one pixel [looks it up](two-poles). How far has a look gone
# that way? Count the pixels that would share the weight equally at the same entropy, $\exp(-\sum_m
# w_m \ln w_m)$: 1 if one pixel has everything, $m$ if all $m$ have the same. Under each look it is
# called *spread over*.

# %% tags=["hide-input"]
images = cifar.test_images
rows = []
for name, network in networks.items():
    with torch.no_grad():
        _, seen = trace(network, data.normalise(images))
    looks = seen.look_weights[1:]
    spread = [count_in_effect(weights).mean().item() for weights in looks]
    picked = torch.cat([weights.amax(dim=-1) > 0.99 for weights in looks]).float().mean().item()
    rows.append([name, *(f"{each:.1f}" for each in spread), f"{100 * picked:.0f}"])
table(
    ["variant", "ring of 8", "ring of 16", "ring of 24", "looks with over 99 % on one pixel, %"],
    rows,
)

# %% [markdown]
# Mean over the bundled test images and the four heads, without the centre. In *letter* nothing
# holds the logits back, and the softmax picks. A network can be right all the same: another run of
# *letter* [answers by its first query](what-it-reads). What picking does to a training: [What the
# text leaves out](collapse.ipynb).
#
# ## Does it look where it counts?
#
# Do the weights say which part of a picture counts? ([What is known of it](where-it-counts).)
#
# For each of the 49 pixels of the map we hide the 4×4 pixels of the image under it and two more
# around them, and note how far the score of the answer falls. If weights say which part counts, the
# rank correlation of weight and fall is near one; if not, near zero.


# %% tags=["hide-input"]
rows, means, sample = [], [], images[::10]
for name, network in networks.items():
    ranks = reading.agree(network, sample)
    error = ranks.std(dim=1) / ranks.shape[1] ** 0.5
    means.extend(ranks.mean(dim=1).tolist())
    cells = [f"{m:.2f} ± {e:.2f}" for m, e in zip(ranks.mean(dim=1), error, strict=True)]
    rows.append([name, *(cell.replace("-", "−") for cell in cells)])
table(["variant", "ring of 8", "ring of 16", "ring of 24"], rows)

# %% tags=["hide-input"]
least, most = (f"{each:.2f}".replace("-", "−") for each in (min(means), max(means)))
Markdown(
    f"Where it looks is hardly where it counts: the correlations lie between {least} and {most}. (Spearman's, within a ring, mean "
    f"over {len(sample)} test images ± its standard error; 1 would be the same order.) The weights say from where a look took its "
    "values. Each pixel of the map has seen more of the picture than the pixels under it, and the first query reads the whole "
    "map before any look is taken."
)

# %% [markdown]
# ## How it computes
#
# `evalib.pages.live.pack` writes the network as a structure and one block of float32. The engine is
# a few loops over typed arrays, in a worker of the page. A test holds its scores to PyTorch's on
# ten images, to 0.0001, and its weights, those of *letter* to 0.01: its logits are so large that
# the last digit of a number of 32 bits moves them.

# %% tags=["hide-input"]
structure, block = pack(next(iter(networks.values())))
scripts = script("eva-live", *SCRIPTS).encode()
Markdown(
    f"The scripts have {len(scripts) / 1e3:.0f} kB, the weights of one network {len(block) / 1e6:.1f} MB; "
    "they are read when the network is started."
)

# %% [markdown]
# ```python
# from evalib import load_pretrained
# from evalib.pages.live import live
# from evalib.training.cifar import load_data
#
# cifar = load_data("subset")
# live({"mine": load_pretrained("evanet20-small")}, cifar.test_images[:10], cifar.test_labels[:10])
# ```
#
# The same call puts any EVANet of yours in a notebook.
