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
# # Notation
#
# What does a word mean here, and which variable is which symbol? First the words, then the symbols. A test holds the table of
# symbols to the code: each name is a variable of the function beside it, and each argument has the axes of its row.

# %% tags=["hide-input", "remove-stderr"]
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("evalib") is None:  # in Colab
    address = "evalib[book] @ git+https://github.com/expanding-visual-attention/evalib"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", address], check=True)
    print(importlib.import_module("evalib.pages.display").here())

from IPython.display import Markdown, display

from evalib.pages import notation
from evalib.pages.display import table

# %% [markdown]
# ## Words
#
# | Word | Meaning | First used |
# |---|---|---|
# | variant | EVA with nothing added to the text, *letter*, or with something: *scaled*, *normed*, *residual*, *standard*, *published* | [the collapse](collapse.ipynb) |
# | pixels in effect | among how many pixels a look divides its weight: $e$ to the entropy of its weights | [the collapse](collapse.ipynb) |
# | width rule | a wide EVA's matrices learn more slowly, in step with their channels | [first page](intro.ipynb) |
# | collapse | in training, validation accuracy falls to half its best or less, and stays there | [first page](intro.ipynb) |
# | 95 % interval | made anew from other runs, it would hold the true mean in 95 of 100 cases | [first page](intro.ipynb) |
# | p | how often chance alone would give a difference at least as large, if there were none | [first page](intro.ipynb) |
# | seed | the number that random draws follow from | [first page](intro.ipynb) |
# | epoch | one pass over the training images | [first page](intro.ipynb) |
# | record | the file that a run leaves: what decided it, and what it gave | [first page](intro.ipynb) |
# | tier | how much is run: `smoke`, `quick` or `paper` | [first page](intro.ipynb) |
# | tensor | a box of numbers with named axes | [convolution](convolution.ipynb) |
# | batch | images that go through a network together | [convolution](convolution.ipynb) |
# | channel | one number of each pixel: a colour, or a feature that a layer computes | [convolution](convolution.ipynb) |
# | feature map | what a layer puts out: rows, columns and channels | [convolution](convolution.ipynb) |
# | weights | the numbers that training chooses; in attention also the shares of a softmax | [convolution](convolution.ipynb) |
# | loss, gradient | how wrong a network is; how that changes with each weight | [convolution](convolution.ipynb) |
# | FLOP | one addition or multiplication of two numbers | [why](why.ipynb) |
# | kernel | the weights of a convolution | [convolution](convolution.ipynb) |
# | window, extent | the pixels around a pixel; how many rows and columns they are | [convolution](convolution.ipynb) |
# | padding | zeros around a map | [convolution](convolution.ipynb) |
# | stride | one of how many pixels is answered, in rows and in columns | [convolution](convolution.ipynb) |
# | equivariant | what moves the input moves the output alike | [convolution](convolution.ipynb) |
# | query, key, value | what a pixel asks for, offers and hands over | [attention](attention.ipynb) |
# | logit | a number before a softmax: how well a key fits a query | [attention](attention.ipynb) |
# | softmax | positive shares, together one, from any numbers | [attention](attention.ipynb) |
# | head | one of several attentions side by side, with channels of its own | [attention](attention.ipynb) |
# | embedding | a learned vector for each of a few cases, here for an offset | [relative attention](relative_attention.ipynb) |
# | ring, memory block | the pixels at one distance from the centre | [EVA](eva.ipynb) |
# | look, recall | attention of one query over a ring, over slots | [EVA](eva.ipynb) |
# | first query | the vector $q_0$ that a 7×7 convolution and an FFN make of the whole map, before any look | [EVA](eva.ipynb) |
# | slot | a vector kept for later recalls | [EVA](eva.ipynb) |
# | FFN, ReLU | two matrix products with a ReLU between; negative numbers set to zero | [EVA](eva.ipynb) |
# | stem, stage, block | the parts of a ResNet | [networks](networks.ipynb) |
# | residual block, shortcut | layers whose result is added to what came in; the way around them | [networks](networks.ipynb) |
# | batch normalisation | each channel brought to mean 0 and variance 1 over the batch | [networks](networks.ipynb) |
# | summary, classifier | one vector of the last map; ten class scores of that vector | [networks](networks.ipynb) |
# | mutant | the code with one mistake put in on purpose | [proof](proof.ipynb) |
# | cross-entropy, nat | the loss: minus the logarithm of the right class's share; its unit | [training](train.ipynb) |
# | optimiser, learning rate | what turns gradients into steps; how large they are | [training](train.ipynb) |
# | augmentation | random changes of the training images | [training](train.ipynb) |
# | validation | images held back from training, to watch it | [training](train.ipynb) |
# | checkpoint | the state of a run on disk, to go on from | [training](train.ipynb) |
# | bfloat16, bf16 | numbers of 16 bits: as large as those of 32, with two to three digits | [training](train.ipynb) |
# | mean pooling | the mean of some vectors: attention whose weights are equal | [attention](attention.ipynb) |
# | one-hot, look-up | of weights: all on one; attention that gives one value as it is | [attention](attention.ipynb) |
# | LayerNorm | a vector brought to mean 0 and variance 1 over its channels, then scaled and shifted by learned numbers | [the collapse](collapse.ipynb) |
# | Nesterov momentum | steps along a running sum of gradients, each taken a step ahead | [the collapse](collapse.ipynb) |
# | weight decay | each step also shrinks the weights a little | [the collapse](collapse.ipynb) |
# | MLP | an FFN: matrix products with a ReLU between | [first page](intro.ipynb) |
# | entropy | $-\sum_m w_m \ln w_m$ of weights $w$: 0 if one has all, $\ln m$ if $m$ are equal | [the collapse](collapse.ipynb) |
# | degrees of freedom | how many independent numbers a standard deviation is made of: runs, less networks, less seeds but one where their effect is taken out | [report](report.ipynb) |
# | standard error | by how much a measured number typically misses the true one | [the collapse](collapse.ipynb) |
# | ablation, control | a network with one thing changed; one that rules out another reason | [training](train.ipynb) |

# %% [markdown]
# ## Axes
#
# As an axis of a tensor a letter means the same nearly everywhere.
#
# | Axis | What it counts |
# |---|---|
# | `n` | images of a batch |
# | `h` | heads; the paper's $N$ |
# | `c`, `half` | channels of one head, or all channels where there are no heads; half of them, for a row or a column embedding |
# | `cin`, `cout` | input and output channels; the paper's $d_{in}$ and $d_{out}$ |
# | `d`, `out` | channels of EVA's vectors and of its output; the paper's `model_dims` and `output_dims` |
# | `i`, `j` | row and column of a pixel |
# | `a`, `b` | row and column inside a window, counted from 0 |
# | `k` | extent of a window |
# | `m` | pixels of a ring, or slots |
# | `s` | slots, where they are put together |
#
# Outside shapes some letters have a second meaning, as they do in the papers:
#
# | Letter | In the equations | Elsewhere |
# |---|---|---|
# | $a$, $b$ | the row and the column of a pixel in the window | in code: the place in the window, counted from 0 |
# | $k$ | extent of a window | $k_{ab}$: a key |
# | $n$ | images of a batch | number of seeds, in the tables of results |
# | $m$ | a pixel of a ring or a slot | number of test images, in a standard error |
# | $p$ | – | an accuracy, in a standard error; the p of a test, in the report |
# | $h$ | heads | the height of an image, in the paper |
# | $s$ | stage, 0 to 3 | the standard deviation of runs, in the report |

# %% [markdown]
# ## Symbols

# %% tags=["hide-input"]
for item in dict.fromkeys(row.item for row in notation.SYMBOLS):
    rows = []
    for row in notation.rows(item):
        name = "the result" if row.name == "return" else f"`{row.name}`"
        rows.append(
            [
                f"{row.symbol}: {row.meaning}",
                f"{name} of `{row.where.partition('.')[2]}`",
                f"`{row.shape}`",
            ]
        )
    display(Markdown(f"**{item}**"), table(["Symbol", "In the code", "Axes"], rows))
