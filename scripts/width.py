"""The width check: do the candidates for EVA, and for SANet, behave at 512 channels as they do at
64?

A candidate stands on a cheap trunk, one convolution a stage to 16, 32 and ``width`` channels, and
trains for 150 steps of Adam at 0.001 on CIFAR-10, seed 0, in float32. After some of the steps a row
is written: the largest logit, the pixels in effect in the looks at 8, 16 and 24 pixels, the length
of q0, how far q0 is one vector for all images (the length of the mean of its unit vectors), and the
loss, the mean of the last 25 steps, beside that of a mean in EVA's place. By these rows a candidate
may be chosen or not (``evalib.results.choice``; the rule is in LOG.md).

    python scripts/width.py                # all, into results/width.json: about an hour on one core
    python scripts/width.py scaled normed  # these candidates alone; the others' rows stay
"""

import argparse
import itertools
import json
import statistics
import time
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from evalib.ablations.layers import without_gain
from evalib.experiments import experiment
from evalib.networks import BasicBlock, average_pooling, convolution_3x3, self_attention_3x3
from evalib.results.choice import STEPS, WIDTHS
from evalib.results.records import dumps, results
from evalib.tracing import as_written, count_in_effect
from evalib.training import data
from evalib.training.cifar import load_data
from evalib.training.environment import commit, device_name

BATCH, RATE, SEED = 64, 1e-3, 0
SHOWN = 1, 2, 5, 10, 20, 30, 50, 75, 100, 125, 150
"""After these steps a row is written."""
RINGS = 8, 16, 24
FEATURES = 2.0
"""The map of the trunk is doubled: so its size is about that of the large network's."""


def eva_row(name: str):
    """The head of an EVANet, of any width."""
    return experiment(f"evanet20-small-{name}").head


def without_width_rule(channels: int) -> nn.Module:
    """*Scaled*, its matrices at the rate of the rest."""
    return without_gain(eva_row("scaled")(channels))


HEADS = {
    "scaled": eva_row("scaled"),
    "normed": eva_row("normed"),
    "standard-normed": eva_row("standard-normed"),
    "published": eva_row("published"),
    "scaled, no width rule": without_width_rule,
    "standard": eva_row("standard"),
    "residual": eva_row("residual"),
    "letter": eva_row("letter"),
}
"""The candidates of the rule, then what falls."""

MIXES = {"sanet": self_attention_3x3, "sanet-scaled": partial(self_attention_3x3, scaled=True)}
"""Layers of the third stage, two of them in a block; a mean follows."""


class Trunk(nn.Module):
    """Three stages of a convolution each, ``n 3 32 32 -> n width 8 8``, head and classifier."""

    def __init__(self, width: int, head=average_pooling, mix=None):
        super().__init__()
        self.stages = nn.Sequential()
        for channels, wider, stride in ((3, 16, 1), (16, 32, 2)):
            self.stages.extend(
                [convolution_3x3(channels, wider, stride), nn.BatchNorm2d(wider), nn.ReLU()]
            )
        if mix is None:
            self.stages.extend([convolution_3x3(32, width, 2), nn.BatchNorm2d(width), nn.ReLU()])
        else:
            self.stages.append(BasicBlock(32, width, 2, mix))
        self.summary, self.classifier = head(width), nn.Linear(width, 10)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """The map that the head reads."""
        return FEATURES * self.stages(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.summary(self.features(x)))


class Softmaxes(TorchDispatchMode):
    """Keeps what goes into each softmax of a pass, and what comes out: whatever the layer, these
    are its logits.
    """

    def __init__(self):
        super().__init__()
        self.kept: list[tuple[torch.Tensor, torch.Tensor]] = []

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        given = function(*arguments, **(options or {}))
        if function is torch.ops.aten._softmax.default:
            self.kept.append((arguments[0], given))
        return given


@torch.no_grad()
def measure(network: Trunk, images: torch.Tensor) -> dict:
    """What the attention of ``network`` does on these images, by the equations as written."""
    queries: list[torch.Tensor] = []
    written = as_written(network)
    if hasattr(getattr(written.summary, "eva", None), "first_query"):
        written.summary.eva.first_query.register_forward_hook(
            lambda *given: queries.append(given[-1])
        )
    with Softmaxes() as softmaxes:
        written(images)
    logits = [before[before.isfinite()].abs().max().item() for before, _ in softmaxes.kept]
    found: dict = {"largest_logit": max(logits, default=0.0), "effective": []}
    for pixels in RINGS:
        for _, weights in softmaxes.kept:
            if queries and weights.shape[-1] == pixels:
                found["effective"].append(count_in_effect(weights).mean().item())
    if queries:
        length = queries[0].norm(dim=1)
        found["q0_length"] = length.mean().item()
        found["q0_agreement"] = (queries[0] / length[:, None]).mean(dim=0).norm().item()
    return found


def train(network: Trunk, cifar: data.Dataset) -> list[dict]:
    """The rows of one candidate at one width, the loss of each the mean of the last 25 steps."""
    training, _ = data.split(len(cifar.train_labels))
    padded, labels = data.pad(cifar.train_images[training]), cifar.train_labels[training]
    plan = data.epoch_plan(len(training), SEED, 0)
    optimiser = torch.optim.Adam(network.parameters(), RATE)
    rows, losses = [], []
    for step in range(STEPS):
        batch = [part[step * BATCH : (step + 1) * BATCH] for part in plan]
        images = data.normalise(data.crop_and_flip(padded, *batch))
        loss = F.cross_entropy(network(images), labels[batch[0]])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        if step + 1 in SHOWN:
            rows.append({"step": step + 1} | measure(network, images))
            rows[-1]["loss"] = statistics.mean(losses[-25:])
    return rows


def check(name: str, width: int, cifar: data.Dataset) -> list[dict]:
    """The rows of a candidate at a width."""
    torch.manual_seed(SEED)
    if name in MIXES:
        return train(Trunk(width, mix=MIXES[name]), cifar)
    return train(Trunk(width, head=HEADS.get(name, average_pooling)), cifar)


def main() -> None:
    names = [*HEADS, *MIXES]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("candidates", nargs="*", help=f"of {', '.join(names)} (default: all)")
    wanted = parser.parse_args().candidates or names
    if unknown := {*wanted} - {*names}:
        parser.error(f"no candidate {', '.join(sorted(unknown))}: choose of {', '.join(names)}")
    cifar, path = load_data("full"), results() / "width.json"
    kept = json.loads(path.read_text("utf-8")) if path.exists() else {"made": {}, "rows": []}
    known, made = kept["rows"], kept["made"]
    means = {(row["width"], row["step"]): row["mean_loss"] for row in known}
    for width in WIDTHS:
        if (width, STEPS) not in means:
            means |= {(width, row["step"]): row["loss"] for row in check("mean", width, cifar)}
    for name, width in itertools.product(wanted, WIDTHS):
        begun = time.perf_counter()
        rows = check(name, width, cifar)
        known = [row for row in known if (row["candidate"], row["width"]) != (name, width)]
        for row in rows:
            mean = {"mean_loss": means[width, row["step"]]}
            known.append({"candidate": name, "width": width} | row | mean)
        seconds = time.perf_counter() - begun
        print(f"{name} {width}: {known[-1]} ({seconds:.0f} s)", flush=True)
        made[name] = {
            "commit": commit(),
            "torch": torch.__version__,
            "device": device_name(torch.device("cpu")),
        }
        path.write_text(dumps({"made": made, "rows": known}) + "\n", "utf-8")


if __name__ == "__main__":
    main()
