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
# # Use it in your own work
#
# How do I use these networks on my own images and data, and EVA on a network of mine? Each takes a line or two. Whether you should
# is [another page](decide.ipynb).
#
# ```bash
# pip install "evalib[train] @ git+https://github.com/expanding-visual-attention/evalib"
# ```
#
# | I want to | Section |
# |---|---|
# | classify an image of mine | [An image of your own](own-image) |
# | train on my data, or on CIFAR-100 | [Data of your own](own-data) |
# | see what a network looks at | [Weights of attention](own-weights) |
# | put EVA on a network of mine | [A backbone of your own](own-backbone) |
# | run a network without evalib | [Export](own-export) |

# %% tags=["hide-input", "remove-stderr"]
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("evalib") is None:  # in Colab
    address = "evalib[book] @ git+https://github.com/expanding-visual-attention/evalib"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", address], check=True)
    print(importlib.import_module("evalib.pages.display").here())

import tempfile
from pathlib import Path

import torch
from einops import rearrange
from matplotlib import rc_context
from PIL import Image, ImageOps
from torch import nn
from torch.nn import functional as F

import evalib
from evalib.pages import figures
from evalib.pages.display import picture, table
from evalib.training import data

torch.set_num_threads(min(2, torch.get_num_threads()))
folder = Path(tempfile.mkdtemp())

# %% [markdown]
# (own-image)=
# ## An image of your own
#
# An enlarged test image stands here for your photograph. In Colab, upload a file, and put its name in
# place of `folder / "photo.jpg"` where it is opened.

# %%
cifar = evalib.load_data("subset")
stand_in = Image.fromarray(rearrange(cifar.test_images[400], "c i j -> i j c").numpy())
stand_in.resize((480, 360), Image.Resampling.BICUBIC).save(folder / "photo.jpg")

# %% [markdown]
# The networks know images of 32×32 pixels and ten classes. `ImageOps.fit` cuts a photograph to its
# middle and shrinks it. `evalib.predict` normalises pixels as in training.

# %%
network = evalib.load_pretrained("evanet20-small")
photo = ImageOps.exif_transpose(Image.open(folder / "photo.jpg"))
small = ImageOps.fit(photo, (32, 32))
shares, names = evalib.predict(network, small, probabilities=True, classes=evalib.CLASSES)
names

# %% tags=["hide-input"]
best = shares[0].argsort(descending=True)[:4].tolist()
with rc_context(figures.STYLE):
    drawing, ((left, middle, right),) = figures.panels(1, 3, 6.4, 1.9, width_ratios=(4, 3, 3))
    for axis, image, title in ((left, photo, "the file"), (middle, small, "what the network gets")):
        axis.imshow(image)
        axis.set_title(title, fontsize=9)
        figures.bare(axis)
    names_of_best, lengths = (
        [evalib.CLASSES[index] for index in best[::-1]],
        shares[0, best[::-1]].tolist(),
    )
    right.barh(names_of_best, lengths, color=figures.BLUE)
    right.set_title("share of each class", fontsize=9)
    right.set_xlim(0, 1)
picture(
    drawing,
    caption="One image through <code>evalib.predict</code>. The network gives one of its ten "
    "classes to any image, also to one that shows none of them.",
    alt=f"A photograph, the same at 32×32 pixels, and bars of the four largest shares: {names[0]} "
    f"has {shares[0, best[0]]:.2f}.",
)

# %% [markdown]
# It takes a PIL image or a list of them, a tensor `n 3 i j` of uint8, or one of floats in 0 … 1, as
# torchvision's `ToTensor` gives. It refuses what it would misread.

# %%
two = cifar.test_images[:2]
for given in (two.float(), two[:, :1], photo, data.normalise(two)):
    try:
        evalib.predict(network, given)
    except ValueError as error:
        print(error)

# %% [markdown]
# A network that was trained to the end is often too sure of itself. One number, the *temperature*
# {cite}`guo2017calibration`, corrects part of that. Here it is fitted on one half of the bundled
# test images, and judged on the other.

# %%
scores, labels = evalib.predict(network, cifar.test_images), cifar.test_labels
log_temperature = torch.zeros((), requires_grad=True)
optimiser = torch.optim.LBFGS([log_temperature], max_iter=50)


def loss(part):
    return F.cross_entropy(scores[part] / log_temperature.exp(), labels[part])


def closure():
    optimiser.zero_grad()
    value = loss(slice(0, None, 2))
    value.backward()
    return value


before = loss(slice(1, None, 2)).item()
optimiser.step(closure)
after = loss(slice(1, None, 2)).item()
print(f"temperature {log_temperature.exp().item():.2f}")
print(f"loss on the other half: {before:.3f} before, {after:.3f} after")

# %% [markdown]
# (own-data)=
# ## Data of your own
#
# `evalib.dataset` takes images and labels. `evalib.train` trains on them as on CIFAR-10, with the
# same augmentation and schedule. Here the bundled test images, which no network has learned from,
# get two labels of our own, *animal* and *vehicle*. The network is a trained one, with a fresh
# classifier.

# %%
vehicle = torch.isin(cifar.test_labels, torch.tensor([0, 1, 8, 9])).long()
mine = evalib.dataset(cifar.test_images, vehicle, classes=("animal", "vehicle"))
torch.manual_seed(0)
network = evalib.load_pretrained("resnet20-small", num_classes=2)
settings = evalib.Settings("resnet20-small", epochs=3, batch_size=45, precision="float32")
run = evalib.train(settings, dataset=mine, network=network, device="cpu")
right = (run.test_scores.argmax(dim=1) == mine.test_labels).sum().item()
print(f"{right} of the {len(mine.test_labels)} images that were put aside are right")

# %% [markdown]
# Without `network=`, a fresh network of the experiment is trained, with as many classes as the data
# have. To train the classifier alone, freeze the rest with `network.requires_grad_(False)` and
# `network.classifier.requires_grad_(True)`. Labels that do not fit are named before any training
# begins:

# %%
for wrong in (vehicle + 1, vehicle[:-1], vehicle.float()):
    try:
        evalib.dataset(cifar.test_images, wrong)
    except (TypeError, ValueError) as error:
        print(error)

# %% [markdown]
# A run on your own data writes no record. With `directory=` it keeps checkpoints, and the same call
# resumes from them. ResNets and SANets take images of any size, EVANets 32×32 or 28×28.
#
# CIFAR-100 is built in. It is fetched once, or read from the data folder, and verified:
#
# ```python
# settings = evalib.Settings("evanet20-small", tier="quick")
# run = evalib.train(settings, dataset=evalib.load_data("cifar100"))
# ```
#
# (own-weights)=
# ## Weights of attention
#
# `evalib.trace` gives the output of an EVANet, or of the layer itself. With it comes what each stage looked at in that very pass.

# %%
evanet = evalib.load_pretrained("evanet20-small")
images = cifar.test_images[[10, 210, 410]]
with torch.no_grad():
    scores, trace = evalib.trace(evanet, data.normalise(images))
[tuple(weights.shape) for weights in trace.look_weights]  # n heads pixels of the ring

# %% tags=["hide-input"]
picture(
    figures.ring_weights(images, trace),
    caption="Weights of each ring's pixels, the mean of four heads; the bluest is the largest of "
    "its ring, whose weight stands below.",
    alt="Three images, and beside each the 7×7 map four times, with the weights of one ring each.",
)

# %% [markdown]
# `evalib.trace_windows` does the same for window attention, in a SANet or in a layer of your own.
# It gives the weights of each window, and the two logits behind them.
#
# The weights [hardly say what the answer hangs on](where-it-counts).

# %%
layer = evalib.RelativeSelfAttention(3, 16, kernel_size=5, num_heads=4)
with torch.no_grad():
    y, (windows,) = evalib.trace_windows(layer, data.normalise(images))
print(tuple(windows.weights.shape), "n heads i j a b")
assert torch.allclose(windows.weights.sum(dim=(-2, -1)), torch.ones(3, 4, 32, 32), atol=1e-5)

# %% [markdown]
# (own-backbone)=
# ## A backbone of your own
#
# EVA takes the place of global average pooling. It reads a 7×7 map, which torchvision's ResNets
# make of 224×224 pixels. So one line puts it on a ResNet-18:

# %%
import torch
from torchvision.models import resnet18

import evalib

backbone = resnet18(weights=None, num_classes=10)
pooled = evalib.count_parameters(backbone)
backbone.avgpool = evalib.ExpandingVisualAttention(512, 128, 512)
photographs = torch.randn(2, 3, 224, 224)
torch.nn.functional.cross_entropy(backbone(photographs), torch.tensor([3, 8])).backward()

# %% [markdown]
# Its arguments are the channels of the map, how wide EVA is inside, and the channels that come out.
# At 512 it has more parameters than the rest of the network, most of them in the 7×7 convolution of
# the first query.
#
# Does it train at that width? EVA follows a width rule ([D15](#d15)): the more channels, the
# smaller the steps of its matrices. The rule is in the layer, so your own Adam or AdamW needs no
# setting; SGD needs a [higher rate](#d15). With the rule a network of 256 channels has trained, for [15
# epochs](what-the-runs-gave); at 512 there is no more than [the first 150
# steps](the-line-that-holds). So watch the training loss: if it stays at the logarithm of the number
# of classes, the network guesses. And look at the attention itself:

# %%
print(evalib.check_attention(backbone, photographs))

# %% [markdown]
# A residual with a norm after each attention does not replace the rule: a large network that had it,
# and no rule, fell nearly to chance on the way. This is how much EVA adds to a ResNet-18:

# %% tags=["hide-input"]
wide = evalib.ExpandingVisualAttention(512, 512, 512)
added = {"EVA, 128 wide": backbone.avgpool, "EVA, 512 wide": wide}
lines = [[name, f"{evalib.count_parameters(layer):,}"] for name, layer in added.items()]
table(["Part", "Parameters"], [["ResNet-18 with average pooling", f"{pooled:,}"], *lines])

# %%
with torch.no_grad():
    _, trace = evalib.trace(backbone.eval(), photographs)
[tuple(weights.shape) for weights in trace.look_weights]

# %% [markdown]
# For a trained backbone take `resnet18(weights="DEFAULT")`, and give it your classes by `backbone.fc = nn.Linear(512, 10)`.
# `evalib.train(settings, dataset=…, network=backbone)` fine-tunes it on images of 224×224. For a map of another size give the layer an odd `extent=`, or pool first:

# %%
head = evalib.ExpandingVisualAttention(64, 64, 64, extent=5)
anysize = nn.Sequential(nn.AdaptiveAvgPool2d(7), evalib.ExpandingVisualAttention(64, 64, 64))
head(torch.randn(2, 64, 5, 5)).shape, anysize(torch.randn(2, 64, 12, 20)).shape

# %% [markdown]
# A network of this book's kind with a part of your own is a row, `evalib.register(evalib.Experiment(…))`: it then trains,
# records and shows in tables like any other ([Your turn](your_turn.ipynb)).
#
# (own-export)=
# ## Export
#
# `evalib.export` writes a file that runs without evalib: pixels go in, uint8 `n 3 i j`, and scores
# come out. It takes any network that `evalib.predict` takes. The format `pt2` needs PyTorch to run,
# `onnx` any ONNX runtime. To write `onnx` you need `evalib[export]`. With `size="any"` the file
# takes images of every size, where the network does: an EVANet does not.

# %% tags=["remove-stderr"]
path = evalib.export(evanet, folder / "evanet.pt2", classes=evalib.CLASSES)
program = torch.export.load(path).module()
seven = cifar.test_images[:7]
difference = (program(seven) - evalib.predict(evanet, seven)).abs().max().item()
print(f"{path.name}, {path.stat().st_size:,} bytes: at most {difference:.1e} from the network")

# %% [markdown]
# From a shell, for a network that comes with the package or one of your runs:
#
# ```bash
# python -m evalib export evanet20-small --format onnx
# ```
#
# ```python
# session = onnxruntime.InferenceSession("evanet20-small.onnx")
# (scores,) = session.run(["scores"], {"images": pixels})  # numpy, uint8 n 3 32 32
# ```
