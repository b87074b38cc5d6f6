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
# # Report
#
# Which claims hold, and how do we know? This page says what the paper claims, what we did, and what we may conclude, under
# the headings of the ML Reproducibility Challenge {cite}`pineau2021improving`. Every result on it is read from records,
# measured on recorded weights, or counted, when the page is built. What was not run shows a dash, or says so.

# %% tags=["hide-input", "remove-stderr"]
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("evalib") is None:  # in Colab
    address = "git+https://github.com/expanding-visual-attention/evalib"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", address], check=True)
    print(importlib.import_module("evalib.pages.display").here())

from collections import Counter, defaultdict

import torch
from IPython.display import Markdown, display

import evalib
from evalib import ABLATIONS, TABLE_1, TIERS
from evalib.networks import KINDS
from evalib.pages import plots
from evalib.pages.display import picture, table
from evalib.results import claims, comparisons, reading, tables, weights
from evalib.results.markdown import foreign, p_value
from evalib.training import data, paths

# %% [markdown]
# ## In a paragraph

# %% tags=["hide-input"]
found, rows = claims.claims(), tables.table()
verdicts = Counter(claim.verdict for claim in found)
at_paper = sum(row["tier"] == "paper" for row in rows)
counted = claims.arithmetic()
for claim in counted:
    if claim.paper.startswith(("self-attention", "EVA,")):
        assert claim.verdict == ("not supported" if claim.paper.startswith("EVA,") else "supported")
tried = {row: effect for row in ABLATIONS if (effect := comparisons.effect(row)).n}
changed = comparisons.ablations()
corrected = {row["experiment"]: row["p_holm"] for row in changed}
large = [
    f"{row.model}: {comparisons.shown(effect)} (n = {effect.n}, `{effect.tier}`)"
    for row, effect in tried.items()
    if corrected[row.name] is not None and corrected[row.name] < claims.LEVEL
]
ahead = [
    f"{claim.paper.partition(' is ')[0]}: {claim.ours} (n = {claim.found.n}, `{claim.found.tier}`)"
    for claim in found
    if claim.found.n and claim.kind == "accuracy"
]
Markdown(
    f"Of the {len(TABLE_1)} rows of Table 1, **{at_paper}** have been run with the full schedule, "
    f"{sum(row['seeds'] > 0 for row in rows)} at all. Of {len(found)} claims: "
    + ", ".join(f"**{number} {verdict}**" for verdict, number in verdicts.items())
    + ". "
    + ("" if at_paper else "So whether EVANet is the more accurate one is open: nothing here confirms or refutes it. ")
    + (f"Differences of test accuracy so far: {'; '.join(ahead)}. " if ahead else "")
    + f"Of {len(ABLATIONS)} controls and ablations {len(tried)} were run; "
    + (f"p < {claims.LEVEL} after Holm's correction: {'; '.join(large)}. " if large else "none does more than seeds alone do. ")
    + "Which of its rings a trained EVA reads is [measured](what-it-reads). "
    + "What is counted needs no run: self-attention is lighter than the convolution that it replaces, EVA is not."
)

# %% [markdown]
# ## Scope of reproducibility
#
# The paper claims that EVANet is more accurate on CIFAR-10 than SANet, and SANet than ResNet, in a small and in a large
# width (Table 1); that visual attention layers need fewer parameters and fewer FLOPs than convolutions, and more
# wall-clock time (§4.1, §5). We rebuilt the networks from the text. Where it is silent, our reading and its alternatives are
# listed in [Departures](../book/departures.md).
#
# Some of what the paper says no run of ours can judge:
#
# - that convolutions in deep layers lose what earlier ones found (§1). [Why](why.ipynb) shows what one layer cannot see, and
#   not that a network suffers from it;
# - that EVA finds symmetries, and searches the ring for what the centre suggests (§3.2). The layer
#   [can](idea-at-work); of a trained one we measured only [what it reads](what-it-reads);
# - that EVA generalises better than a ResNet (§3.2), beyond the test accuracy on CIFAR-10.
#
# ## The claims, one by one

# %%
Markdown(claims.markdown(found))

# %% tags=["hide-input"]
table(["kind of claim", "how a verdict is found"], [[kind, rule] for kind, rule in claims.RULES.items()])

# %% [markdown]
# What is counted, or follows from how the parts are made, needs no run and stands apart:

# %%
Markdown(claims.markdown(counted))

# %% [markdown]
# "Ours" is the mean over the seeds that both networks have; n is their number, sd the standard deviation over them. The
# interval in brackets would hold the true mean in 95 of 100 repetitions of all this. p is the chance of a difference at
# least as large, of either sign, if there were none, after the correction of {cite:t}`holm1979simple` for having made several
# tests. The interval is that of one difference, before the correction: it may leave zero out where the corrected p does not.
# *Not tested* are claims with fewer than two such pairs, and accuracies below the `paper` tier.
#
# Parameters and FLOPs are counted from the equations ([What is proved](proof.ipynb)); they need no run. A paired test over
# seeds covers what the seed changes: the first weights, the order of the images, the augmentation. The split and the test
# set are the same in all runs.
#
# EVA is held against a 7×7 convolution that reads the map once, for it contains one. Beside a 7×7 convolution that answers
# all 49 pixels it has [fewer FLOPs](lighter-than-what), and still more parameters.
#
# ### A number that the paper shares with another
#
# The paper's ResNet-20 small has [2, 2, 2] blocks, which make [14 layers](fourteen-layers). Its accuracy is, to the last
# digit, that of the ResNet-20 with [3, 3, 3] blocks of {cite:t}`he2015deep`, who give an error of 8.75 % in their Table 6.

# %%
HE_ERROR = 8.75
assert TABLE_1[0].name == "resnet20-small" and TABLE_1[0].paper_accuracy == 100 - HE_ERROR
Markdown(
    f"{TABLE_1[0].model}: {TABLE_1[0].paper_accuracy:.2f} % in the paper; 100 − {HE_ERROR} = {100 - HE_ERROR:.2f}."
)

# %% [markdown]
# So the baseline of Table 1 may be a published number of a deeper network, and not a run of the network beside it; the
# paper does not say. The rows `…-333` below ask what the third block is worth.
#
# ## Methodology
#
# | | |
# |---|---|
# | model | our own code, from the text; none of the author's code is used, though it was read for what the text leaves open |
# | data | CIFAR-10: 45,000 images to train, 5,000 to validate, 10,000 to test, the split fixed |
# | augmentation | four pixels of padding, random crop, flip {cite}`he2015deep`; channels normalised ([D12](#d12)) |
# | optimiser | Adam, learning rate 0.001, batches of 150 (§4.1) |
# | schedule | divided by ten after 1/2 and 3/4 of the epochs, as {cite:t}`he2015deep`; not searched for, the same for all rows |
# | selection | none: the last epoch counts, and the test set is read once, after it |
# | hyperparameters searched | none; the paper compared "dozens" of settings on its validation images (§4.1) |
# | precision | 32 bits on a CPU; on a GPU bfloat16 in the forward pass, over weights of 32 bits ([D13](#d13)) |
# | repetition | seeds, as many as the records have; a claim on accuracies is tested from two on |
# | cost | the records' time, [below](compute) |
#
# Nothing was chosen by the test set, and nothing by the validation set either. [Training](train.ipynb) is the notebook of
# a run, [Running it](../book/running.md) the commands.
#
# ## Results
#
# ### Table 1

# %%
Markdown(tables.markdown(rows))

# %% [markdown]
# Seeds that were run more than once. The first run counts: nobody can choose it by its result. The rows of one seed tell how
# far a run repeats itself, by another commit or on another machine.

# %% tags=["hide-input"]
again = [
    [f"`{each['experiment']}`", each["tier"], each["seed"], each["finished"][:16].replace("T", " "), f"{each['accuracy']:.2f}",
     foreign(each["device"]), each["commit"], "yes" if each["counts"] else "no"]
    for each in tables.reruns()
]  # fmt: skip
heads = ["run", "tier", "seed", "finished (UTC)", "test %", "device", "commit", "counts"]
table(heads, again) if again else Markdown("No seed was run more than once.")

# %% [markdown]
# ### What was not run
#
# Rows of both manifests, by the tiers at which they have a complete record.

# %% tags=["hide-input"]
listed = {"Table 1": TABLE_1, "controls and ablations": ABLATIONS}
made = {row.name: [tier for tier in TIERS if tables.complete(row, tier)] for rows_ in listed.values() for row in rows_}
table(
    ["rows", "number", *(f"with a record at `{tier}`" for tier in TIERS), "with none"],
    [
        [
            name,
            len(rows_),
            *(sum(tier in made[row.name] for row in rows_) for tier in TIERS),
            sum(not made[row.name] for row in rows_),
        ]
        for name, rows_ in listed.items()
    ],
)

# %%
unrun = [row.model for row in TABLE_1 if "paper" not in made[row.name]]
Markdown(
    "Without a record at the `paper` tier, the only one that may be held against the paper: "
    + (f"{', '.join(unrun)}." if unrun else "none of Table 1.")
)

# %% [markdown]
# ### Controls and ablations
#
# Each is a small network with one thing changed: an *ablation* takes a part away or has it otherwise, a *control* rules
# out another reason for a difference. "Asked by" is a [departure](../book/departures.md), that is an open
# reading of the text, or one of the questions below. The effect is the accuracy minus that of the row of Table 1 which is
# changed, over the seeds that both have. For the rows that read the test set after each epoch it is the best of these
# accuracies minus the last: what a choice by the test set is worth. They are made for that question alone. No other row
# can read the test set more than once.

# %% tags=["hide-input"]
table(["asked by", "question"], [[f"`{kind}`", question] for kind, question in KINDS.items()])

# %%
Markdown(comparisons.markdown(changed))

# %% [markdown]
# How large must an effect be? The networks that were run with several seeds give one standard deviation $s$ over seeds,
# pooled, with runs less networks as its degrees of freedom. The means of $n$ and of $m$ runs then differ by less than
# $t\, s \sqrt{1/n + 1/m}$ in 95 of 100 cases if the change does nothing, $t$ from Student's distribution: the grey band, for
# one run each, and the brackets. One deviation for all networks, because that of two or three runs is large or small by
# luck. All effects of a tier are one family of tests, most of them against the same base; p is Holm's. Networks of which
# a run collapsed do not enter $s$.

# %% tags=["hide-input"]
for tier in reversed(TIERS):
    seeds = tables.spread(tier)
    effects = {
        f"{row.model.split('-')[0]} {row.name.removeprefix(f'{row.base}-')}": effect
        for row, effect in tried.items()
        if not row.test_each_epoch and effect.tier == tier
    }
    if not effects or not seeds:
        continue
    reach = seeds.difference(1, 1)
    outside = [row.model for row in tried if tried[row].tier == tier and (corrected[row.name] or 1) < claims.LEVEL]
    display(
        Markdown(
            f"At `{tier}` $s$ is {seeds.deviation:.2f} points (degrees of freedom: {seeds.freedom}), and the band ±{reach:.1f}; another "
            f"seed of a network falls within {seeds.another(1):.1f} points of its first in 95 of 100 cases. Of {len(effects)} effects "
            f"these have p < {claims.LEVEL}: {'; '.join(outside) or 'none'}."
        ),
        picture(
            plots.effects(effects, reach),
            caption=f"Effects at <code>{tier}</code> in points of test accuracy. Inside the grey band lies what one seed more or "
            "less does by itself.",
        ),
    )

# %% [markdown]
# Is it only the parameters, and is it the attention? These networks, of nearly the same backbone, against each other:

# %% tags=["hide-input"]
pairs = [
    ("evanet20-small", "resnet20-small-mlp"),
    ("evanet20-small-query-alone", "resnet20-small"),
    ("evanet20-small-query-alone", "resnet20-small-mlp"),
    ("evanet20-small-centre-query", "resnet20-small"),
    ("evanet20-small-centre-query", "evanet20-small-query-alone"),
    ("evanet20-small-published", "resnet20-small"),
    ("evanet20-small-published", "resnet20-small-mlp"),
    ("evanet20-small-published", "evanet20-small-query-alone"),
]
against = {(one, other): comparisons.contrast(one, other) for one, other in pairs}
held = comparisons.holm([each.p for each in against.values()])
table(
    ["difference", "points", "seeds", "tier", "p, Holm"],
    [
        [
            f"`{one}` − `{other}`", comparisons.shown(each), each.n or "–", each.tier or "not run",
            p_value(p),
        ]
        for ((one, other), each), p in zip(against.items(), held, strict=True)
    ],
)  # fmt: skip

# %% [markdown]
# And what is a choice of the epoch worth? The best epoch against the last, which we report; by the test set, where the row
# may read it, and by the validation set. With the published optimiser the learning rate never falls.

# %% tags=["hide-input"]
chosen = []
for row in ABLATIONS:
    tier, records = tables.highest(row) if row.test_each_epoch or row.kind == "D10" else (None, [])
    for record in records:
        gains = []
        for accuracy in ("test_accuracy", "validation_accuracy"):
            values = [epoch.get(accuracy) for epoch in record["curve"]]
            gains.append("–" if None in values else comparisons.signed(max(values) - values[-1]))
        chosen.append([f"`{row.name}`", tier, record["seed"], *gains])
heads = ["run", "tier", "seed", "best − last, test", "best − last, validation"]
table(heads, chosen) if chosen else Markdown("Neither was run.")

# %% [markdown]
# What the rows mean, where the words are too short:
#
# - `resnet20-small-mlp` has global average pooling and a two-layer network whose hidden width gives EVA's number of
#   parameters. If EVANet is ahead of it, parameters alone do not explain the lead.
# - `evanet20-small-query-alone` has the 7×7 convolution and the feed-forward network of EVA's first query, and no attention.
# - `evanet20-small-no-recall` loses the first query as well: the first look has one key, so its weight is 1 whatever the
#   query is, and only the 1D attentions read $q_0$ again. The same holds for the last look of the reversed rings.
# - `evanet20-small-unpadded` reaches 7×7 by a stride of 2 without padding, so that EVA crops nothing.
# - `sanet20-small-one-attention` keeps the first convolution of each block of the third stage, which has the stride.
# - `evanet20-small-published` is EVA as in the author's published code: first query from the centre pixel, three 1D
#   attentions that do not read $q_0$, no $W_Q$ in the 2D attentions, scaled logits, shared offset tables, slot embeddings,
#   and around each attention an output projection, residual, LayerNorm and feed-forward network. Left out are its dropout,
#   the logits predicted for the next ring, and its reshape that mixes positions and channels.
# - `…-sgd` trains with the published optimiser: SGD at 0.1, Nesterov momentum 0.9, weight decay 2e-4, no schedule.
#
# (what-it-reads)=
# ### What a trained EVA reads
#
# Does it look at all four rings, and does it matter? Here is the EVANet-20 small [of the package](weights.ipynb) on the
# bundled test images. Its last recall weighs the first query $q_0$ and the four looks, and what it gives is all that the
# output is made of. *Pixels in effect* are $e^H$, with $H$ the entropy of a look's weights: $m$ equal weights give $m$, one
# weight alone gives 1. Weights need not tell what counts {cite}`jain2019attention`, so there is an intervention too: one
# vector is taken from an image of another class. If no prediction changes, what this vector says of its image
# does not count. The code is `evalib/results/reading.py`.

# %%
torch.set_num_threads(min(2, torch.get_num_threads()))
cifar = data.load("subset")
right, vectors = reading.reads(evalib.load_pretrained("evanet20-small"), cifar.test_images, cifar.test_labels)
lines = [
    [
        f"`{each.vector}`", each.pixels, f"{each.length:.1f}", "–" if each.effective is None else f"{each.effective:.1f}",
        f"{each.weight:.4f}", f"{each.accuracy:.1f}", each.changed,
    ]
    for each in vectors
]  # fmt: skip
heads = ["vector", "pixels", "length", "pixels in effect", "weight in the last recall", "right, %, with another's"]
table([*heads, "predictions changed"], lines)

# %% tags=["hide-input"]
Markdown(f"Of {len(cifar.test_labels)} images {right:.1f} % are right with each vector its own.")

# %% [markdown]
# Mean over heads and images; $q_0$ comes from the 7×7 convolution, which reads the whole map. That is one run. Now every
# recorded run of an EVA of the text or of one of its ablations, on all its test images, in the order of their accuracy.

# %%
measured = sorted(reading.recorded(), key=lambda pair: -pair[1]["right"])
lines = []
for record, made_of in measured:
    q0, *looks = made_of["vectors"]
    spread = ", ".join(f"{each['effective']:.1f} of {each['pixels']}" for each in looks if each["pixels"] > 1)
    run = [f"`{record['experiment']}`", record["seed"], record["tier"]]
    lines.append([*run, f"{made_of['right']:.2f}", f"{q0['length']:.1f}", spread])
table(["network", "seed", "tier", "right, %", "length of $q_0$", "pixels in effect of each look"], lines)

# %% [markdown]
# And how many predictions, in percent, change with another's $q_0$ … $\mathrm{attn}_3$:

# %%
lines = []
for record, made_of in measured:
    changes = [f"{100 * each['changed'] / made_of['images']:.2f}" for each in made_of["vectors"]]
    changes += ["–"] * (len(vectors) - len(changes))  # rings merged into one
    lines.append([f"`{record['experiment']}`", record["seed"], *changes])
table(["network", "seed", *(f"`{each.vector}`" for each in vectors)], lines)

# %% tags=["hide-input"]
unread = {}
for record, made_of in measured:
    looks = [each for each in made_of["vectors"] if each["vector"] != "q0"]
    few = [f"`{each['vector']}`" for each in looks if 1000 * each["changed"] < made_of["images"]]
    if few:
        unread[f"`{record['experiment']}` seed {record['seed']}"] = ", ".join(few)
told = f": {'; '.join(f'{run} {few}' for run, few in unread.items())}" if unread else ""
Markdown(
    "A look is unread if another's changes fewer than one prediction in a thousand. "
    f"So it is in {len(unread)} of {len(measured)} runs{told}."
    if measured
    else "No reading is kept here."
)

# %% [markdown]
# Why may a look take in one pixel alone, or go unread? Without a scale or a norm ([D4](#d4)) nothing holds back the length of
# a query, and a softmax of large logits gives all weight to one key; what gets no weight gets no gradient. Each head of the
# last recall may then read one vector alone, and seeds of one network may settle on different ones. Three of the changes make
# logits smaller: a scale of $1/\sqrt{c}$, a residual with LayerNorm around each attention, and a first query from one pixel
# in place of 49; the weight decay of the published optimiser may do so too. A network without recalls answers with its last
# look, and the others reach it only as queries. The tables show what goes together, not what causes what, and the full
# schedule may show something else.
#
# ### Each number again
#
# One command a row; it writes a record, and continues where it was stopped. A row that was not run shows the command of
# the `paper` tier. The intervals above are those of a mean. One more seed lies within a *prediction interval*, which for $n$
# seeds is $\sqrt{n + 1}$ times as wide.


# %%
def command(name, seed, tier):
    """What a shell needs to make one record."""
    return f"`python -m evalib train --experiment {name} --seed {seed} --tier {tier}`"


lines = []
for row in (*TABLE_1, *ABLATIONS):
    tier, records = tables.highest(row)
    for record in records:
        lines.append([f"{record['test']['accuracy']:.2f}", command(row.name, record["seed"], tier)])
    if not records:
        lines.append(["–", command(row.name, 0, "paper")])
table(["Test %", "Command"], lines)

# %% [markdown]
# ```bash
# python -m evalib claims              # the table of claims
# python -m evalib table               # Table 1
# python -m evalib table --ablations   # controls and ablations
# make reproduce TIER=paper ALL=1      # every run of Table 1
# make reproduce TIER=paper ALL=1 MANIFEST=workflow/ablations.csv
# ```
#
# ## What was easy
#
# - The equations: each is a few lines, and plain loops check them.
# - The backbone, the augmentation and the optimiser, which are those of other papers.
# - The data: one public set, with a checksum.
#
# ## What was difficult
#
# - The text does not give the schedule, the number of epochs, the extent and heads of a SANet's attention, what surrounds an
#   attention, or how 8×8 becomes 7×7. It prints [2, 2, 2] blocks and a name that means [3, 3, 3].
# - The published code parts from the text in most of these ([Departures](../book/departures.md)), and picks the epoch by the
#   test set.
# - Several of the paper's gaps are below one point, and each of its numbers is one run. Several seeds at the full schedule are
#   needed to see such a gap.
#
# ## Communication with the author
#
# None.
#
# (compute)=
# ## Compute
#
# The time of training and validation in the records that this page shows, over all tiers and ablations.

# %%
hours, runs = defaultdict(float), Counter()
for tier in TIERS:
    for record in tables.trusted(tier):
        hours[tier, record["device"]] += record["seconds"] / 3600
        runs[tier, record["device"]] += 1
spent = [
    [tier, device, "CPU-hours" if device.startswith("CPU") else "GPU-hours", runs[tier, device], f"{time:.2f}"]
    for (tier, device), time in hours.items()
]
table(["tier", "device", "unit", "runs", "hours"], spent) if spent else Markdown("No run has been recorded here.")

# %%
on_gpu = any(line[2] == "GPU-hours" for line in spent)
Markdown("" if on_gpu else "No record here was made on a GPU, so there is no figure in GPU-hours.")

# %% [markdown]
# A run on a CPU counts once, whatever its number of threads, which is part of the device's name.
#
# ## Completeness
#
# The list of [ML code completeness](https://github.com/paperswithcode/releasing-research-code): what a repository of results
# should hold, and where it is here.

# %%
complete = {
    "dependencies": ["pyproject.toml", "requirements.txt"],
    "training code": ["evalib/training/loop.py", "notebooks/train.ipynb", "workflow/Snakefile"],
    "evaluation code": ["evalib/results/weights.py", "evalib/results/evaluation.py", "evalib/results/claims.py"],
    "pre-trained models": sorted(
        f"evalib/results/pretrained/{path.name}" for path in weights.PRETRAINED.glob("*.safetensors")
    ),
    "table of results, with the commands": ["README.md", "book/running.md"],
}
if (paths.root() / "pyproject.toml").is_file():
    for files in complete.values():
        assert all((paths.root() / file).is_file() for file in files), files
table(
    ["item", "where"],
    [[item, ", ".join(f"`{file}`" for file in files) or "not yet"] for item, files in complete.items()],
)

# %% [markdown]
# [Weights](weights.ipynb) is the card of the pre-trained models.
#
# ## Limits
#
# - A claim on accuracies is judged at the `paper` tier only, and from two seeds on. What lies below shows what happened,
#   and proves nothing.
# - One data set, one split, one schedule. Another schedule could change the order.
# - All readings but one are held at ours while one is changed: effects of two changes together are not asked.
# - The seeds share their test images, so the intervals do not cover the draw of the test set ([Table 1](table1.ipynb) gives
#   that error).
# - Time depends on the device and on what else it does ([the seconds of the epochs](the-records) show it). Only pairs on one
#   device are compared, and none proves anything of another device.
# - The intervals assume that differences over seeds are normal; with few seeds that cannot be checked, and two seeds whose
#   differences happen to agree give an interval without width.
