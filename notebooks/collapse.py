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
# # What the text leaves out
#
# What happens when the network is built exactly as the paper describes it? It learns for some twenty epochs, and then it
# falls apart. This page shows the fall, asks for its cause, and says how we chose a reading of the text that trains.

# %% tags=["hide-input", "remove-stderr"]
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("evalib") is None:  # in Colab
    address = "git+https://github.com/expanding-visual-attention/evalib"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", address], check=True)
    print(importlib.import_module("evalib.pages.display").here())

import json

from IPython.display import Markdown, display

from evalib import TABLE_1, load_pretrained
from evalib.pages import answer, plots
from evalib.pages.display import picture, table
from evalib.pages.figures import BLUE, GREY, INK, ORANGE
from evalib.results import choice, ladder, records, tables, unfinished
from evalib.training import data, loop

letter, residual = choice.row_of("letter"), choice.row_of("residual")

# %% [markdown]
# ## The fall

# %% tags=["hide-input"]
named = {
    "letter, GPU, bfloat16": tables.complete(letter, "paper"),
    "ResNet-20 small": tables.complete(TABLE_1[0], "paper"),
    "SANet-20 small": tables.complete(TABLE_1[1], "paper"),
}
others = {name: tables.complete(choice.row_of(name), "paper") for name in choice.ADDED if name != "letter"}
runs = {name: [record["curve"] for record in found] for name, found in (named | others).items() if found}
stopped = {
    "letter, CPU, float32 (stopped)": unfinished.curve("evanet20-small-seed0"),
    "residual, CPU, float32 (stopped)": unfinished.curve("evanet20-small-residual-seed0"),
}
runs |= {name: [curve] for name, curve in stopped.items() if curve}
styles = {
    "letter, GPU, bfloat16": (BLUE, "-"), "ResNet-20 small": (GREY, "-"), "SANet-20 small": (ORANGE, "-"),
    "letter, CPU, float32 (stopped)": (BLUE, ":"), "residual, CPU, float32 (stopped)": ("#2b8a6e", ":"),
    **dict(zip(others, (("#8661b5", "-"), ("#2b8a6e", "-"), ("#b0569a", "-"), (INK, "-")), strict=True)),
}  # fmt: skip
fallen = [record for record in named["letter, GPU, bfloat16"] if answer.collapsed(letter)]
told = ""
if fallen:
    curve = fallen[0]["curve"]
    best = max(curve, key=lambda row: row["validation_accuracy"])
    told = (
        f" To the letter, in bfloat16, it reaches {best['validation_accuracy']:.1f} % at epoch {best['epoch']} and ends at "
        f"{curve[-1]['validation_accuracy']:.1f} %."
    )
picture(
    plots.courses(runs, styles),
    caption="Validation accuracy on the paper's schedule, full data, seed 0, a line a run." + told
    + " In float32 the same network falls again and again, and climbs back each time.",
)

# %% [markdown]
# Two runs of one network, from the same first weights and with the same order of images, differ only in precision. Both fall.
# The one in 32 bits recovers from each fall; the one in 16 bits does not. So two things are to be explained: the falls, which
# belong to the layer, and the failure to return, in which bfloat16 has a part.
#
# ## What a trained letter looks like
#
# The layer has no scale, no residual and no norm around its attentions, because the text names none ([D4](#d4)). Nothing
# then holds back the length of a query. A long query makes large logits, and the softmax of large logits is *one-hot*: all the
# weight is on one pixel. Counted on the weights that come with the package, which were trained for a tenth of the schedule:

# %% tags=["hide-input"]
cifar = data.load("subset")
ten = cifar.test_images[::50]
lines = []
for name in choice.ADDED:
    try:
        network = load_pretrained(choice.row_of(name).name)
        _, trace = loop.predict_traced(network, ten)
    except (FileNotFoundError, ValueError, AttributeError, TypeError):
        continue
    looks = trace.look_weights[1:]
    single = sum(int((weights > 0.99).any(dim=-1).sum()) for weights in looks)
    spread = [(-(w * w.clamp(min=1e-30).log()).sum(dim=-1)).exp().mean().item() for w in looks]
    lines.append([
        name, f"{trace.queries[0].norm(dim=-1).mean():.1f}",
        f"{single} of {sum(weights.shape[0] * weights.shape[1] for weights in looks)}",
        *(f"{each:.1f} of {weights.shape[-1]}" for each, weights in zip(spread, looks, strict=True)),
    ])  # fmt: skip
table(
    ["reading", "length of $q_0$", "looks with over 99 % on one pixel", *(f"pixels in effect, ring {s}" for s in (1, 2, 3))],
    lines,
)

# %% [markdown]
# Ten images, four heads, three rings of more than one pixel. *Pixels in effect* are $e^H$, with $H$ the entropy of the weights:
# $m$ equal weights give $m$, one weight alone gives 1.
#
# ## Why it falls
#
# A conjecture, in four steps. Queries grow, because nothing holds them. Attention becomes one-hot. What gets no weight gets
# no gradient, so Adam's running mean of squared gradients for those weights decays towards zero. When a batch then brings a
# gradient after all, Adam divides by nearly nothing and takes a step many times the usual size. Bfloat16, which resolves
# logits of a few thousand only in steps of 16 or 32, decides near-ties by rounding, and adds noise exactly there.
#
# The test is an intervention: start from a checkpoint before the fall, change one thing, and see whether it still comes.
# `scripts/mechanism.py` does that, and this section shows what it wrote.

# %% tags=["hide-input"]
files = sorted(records.results().glob("mechanism*.json"))
measured = [json.loads(path.read_text("utf-8")) for path in files]
for found in measured:
    display(
        picture(
            *plots.mechanism(found),
            caption=f"One run of the letter ({found['device']}, {found.get('precision', 'bf16')}), and from epoch "
            f"{found.get('start', len(found['before']))} on the same with one thing changed. Orange is the run with nothing "
            "changed. Look for the curves that stay up at the upper left, and for what they have in common in the other panels.",
        )
    )
if not measured:
    display(Markdown("**Not run.** No `results/mechanism.json` is recorded yet, so the conjecture is untested."))

# %% tags=["hide-input"]
lines = []
for found in measured:
    for change, entries in found["courses"].items():
        accuracies = [entry["validation_accuracy"] for entry in entries]
        steps = [max(part["step"] for part in entry["parts"].values()) for entry in entries]
        logits = [max(each["logit"] for each in entry["attentions"].values()) for entry in entries]
        lines.append([
            found.get("precision", "bf16"), change, len(entries), f"{min(accuracies):.1f}", f"{accuracies[-1]:.1f}",
            f"{max(logits):,.0f}", f"{max(steps):.1f}",
        ])  # fmt: skip
heads = ["run", "changed", "epochs", "lowest validation, %", "last validation, %", "largest logit"]
table([*heads, "largest step, learning rates"], lines) if lines else Markdown("")

# %% [markdown]
# ## Others have met it
#
# {cite:t}`zhai2023stabilizing` call it *entropy collapse*: attention that grows one-hot, with training that turns unstable, and
# cure it by bounding the weights' spectral norm. {cite:t}`hong2025variance` trace it to how strongly a softmax reacts to the
# variance of its logits, and show that one-hot weights make gradients explode. {cite:t}`wortsman2023small` see logits grow until
# training fails in small transformers at high learning rates. The usual cure is to normalise queries and keys
# {cite}`henry2020query`, as the largest vision transformers do {cite}`dehghani2023scaling`. The attention that the paper cites
# divides its logits by $\sqrt c$ and has a residual and LayerNorm around it {cite}`vaswani2017attention`. A network without any
# of these is unusual, and the text may simply not have said what its authors took for granted: the published code has them
# all.
#
# (the-choice)=
# ## Which reading trains
#
# We need one reading for `evanet20-small` that survives the schedule, without choosing it by the result we are to test. So the
# rule was written down before the runs:
#
# > Among five candidates, from the one that adds least to the text to the one that adds most, take the highest mean
# > validation accuracy after the last epoch, at the `paper` tier, `evanet20-small`, over at least two seeds. Within one
# > standard error of it, take the one that adds least. The test set plays no part. Where fewer seeds have run, the choice
# > says so and is made again.

# %% tags=["hide-input"]
candidates = choice.candidates()
table(
    ["candidate", "adds", "seeds", "validation after the last epoch, %", "standard error"],
    [
        [
            each.name, each.added, len(each.validations) or "–", "–" if each.mean is None else f"{each.mean:.2f}",
            "–" if each.error is None else f"{each.error:.2f}",
        ]
        for each in candidates
    ],
)  # fmt: skip

# %% tags=["hide-input"]
chosen, run = choice.choose(candidates), [each for each in candidates if each.validations]
if len(run) < 2:
    said = "Fewer than two candidates have run the full schedule, so **the rule has not chosen yet**."
else:
    few = [each.name for each in run if len(each.validations) < 2]
    said = f"By the rule the choice is **{chosen.name}**."
    said += f" With a single seed so far: {', '.join(few)}; the choice is to be made again." if few else ""
    missing = [each.name for each in candidates if not each.validations]
    said += f" Not run: {', '.join(missing)}." if missing else ""
Markdown(f"{said} In this version of the library `evanet20-small` is the reading *{choice.default()}*.")

# %% [markdown]
# In short runs, a tenth of the schedule, the candidates compare like this. These numbers did not enter the choice.

# %% tags=["hide-input"]
lines = []
for each in candidates:
    several = tables.complete(each.experiment, "quick")
    lines.append([each.name, *(", ".join(f"{r[what]:.2f}" for r in several) or "–" for what in ("seed", "validation_accuracy"))])
table(["candidate", "seeds", "validation after 15 epochs, %"], [[n, s.replace(".00", ""), v] for n, s, v in lines])

# %% [markdown]
# (the-ladder)=
# ## From the text to Table 1
#
# Even ResNet-20, which has no attention to collapse, ends below the paper's number on our schedule. So the recipe, too, is not
# the one that made Table 1. The ladder changes one thing at a time, each rung on top of the ones before it, from our reading
# of the text to what the published code does, ending with its habit of reporting the best test accuracy of all epochs.

# %% tags=["hide-input"]
steps = ladder.rungs()
picture(
    plots.ladder(list(ladder.RUNGS), steps, {row.model: row.paper_accuracy for row in TABLE_1[:3]}),
    caption="Test accuracy of the small networks, rung by rung, a dot a seed; dashed, the paper's numbers. A network that is true "
    "to Table 1 would meet its dashed line on some rung. Rungs without a dot were not run.",
)

# %% tags=["hide-input"]
cells = [
    [model, *(f"{sum(seeds) / len(seeds):.2f} ({len(seeds)})" if seeds else "–" for seeds in each)]
    for model, each in steps.items()
]
table(["mean test accuracy, % (seeds)", *ladder.RUNGS], cells)

# %% [markdown]
# *Weight decay* is AdamW at 0.05; *SGD* has learning rate 0.1, Nesterov momentum 0.9, weight decay 2e-4 and falls tenfold at 1/2
# and 3/4; *option B* has a 1×1 convolution in the shortcuts that change size ([D8](#d8)); *[3, 3, 3]* is the number of blocks
# ([D9](#d9)); *50k images* trains without a validation split ([D11](#d11)); *best epoch* lets the test set choose, which is not
# a fair number and is shown for what it is worth.
#
# ## In short

# %% tags=["hide-input"]
falls, several = answer.collapsed(letter), len(tables.complete(letter, "paper"))
climbed = {model: each for model, each in steps.items() if sum(map(bool, each)) > 1}
Markdown(
    (
        f"Built to the letter of the text and trained on the paper's schedule, EVANet-20 small collapses in {falls} of {several} "
        "runs. " if several else "The letter of the text has not been run to the end here. "
    )
    + ("What stops the fall was measured, above. " if measured else "Its cause is a conjecture until the interventions have run. ")
    + ("The ladder has been climbed in part. " if climbed else "Which change of recipe makes Table 1's numbers is open: only the first rung has run. ")
    + "So a description can be complete in every equation and still leave out what makes the network train. "
    "Next: [Table 1](table1.ipynb)."
)  # fmt: skip
