"""The Looking Machine, page one of the book: a trained EVANet on ten pictures, look by look, to be
changed by hand.

What the rings hold of the ten pictures and their first queries are computed here, so the page needs
the weights of EVA alone, a quarter of the network's, and answers at once. What it says of other
pictures is measured here too, on the bundled test images. ``browser/`` has the rest, its words in
``machine.toml``. Where scripts are off, a static figure and the questions stay.
"""

import base64
import copy
import json
import tomllib
from html import escape

import pandas as pd
import torch
from IPython.display import HTML
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from evalib.ablations import WHOLE
from evalib.experiments import CHOSEN, TABLE_1, experiment
from evalib.networks import Network
from evalib.pages import figures
from evalib.pages.display import picture
from evalib.pages.explorer import BROWSER, described, embedded, script, styles
from evalib.pages.live import Block, feed_forward, linear, stages
from evalib.results.reading import of_another_class
from evalib.results.records import checksum, load_records, results
from evalib.results.statistics import (
    EXPLAINING,
    LEVEL,
    NOT_SUPPORTED,
    PAPER,
    SEEDS,
    SUPPORTED,
    by_seed,
    judge,
)
from evalib.results.tables import contrast
from evalib.results.weights import load_pretrained, packaged, read_weights
from evalib.results.words import signed
from evalib.tracing import count_in_effect, trace
from evalib.training.cifar import load_data
from evalib.training.data import CLASSES, normalise
from evalib.training.predict import predict_traced
from evalib.training.settings import TIERS

SCRIPTS = "engine", "parts", "looks", "sliders", "real", "cards", "machine"

PICTURES = (46, 64, 100, 161, 217, 250, 300, 374, 446, 459)
"""Of the bundled test images, one a class, chosen by hand: the sliders change the answer to most of
them."""

FIRST = 4
"""The picture that the page begins with."""

WATCHED = "watched.json"
"""In the folder of the records: what ``scripts/watch_training.py`` saw."""

UNITS = 10_000
"""Weights and shares of the watched runs are whole numbers in units of 1 / ``UNITS``."""


def machine() -> HTML:
    """The element, of the weights of the chosen variant that come with the package."""
    network, cifar = load_pretrained(TABLE_1[2].name), load_data("subset")
    images, labels = (part[list(PICTURES)] for part in (cifar.test_images, cifar.test_labels))
    structure, block = packed(network, images)
    shuffled = permutations(network)
    measured = measure(network, cifar.test_images, cifar.test_labels, shuffled)
    words = written(network, images, measured)
    _, seen_first = trace(network, normalise(images[FIRST : FIRST + 1]))
    still = picture(figures.ring_weights(images[FIRST : FIRST + 1], seen_first))
    questions = "".join(
        f'<li>{escape(card["ask"])} <a href="{card["href"]}">{escape(card["chapter"])}</a></li>'
        for card in words["cards"]
    )
    content = words | {
        "structure": structure,
        "classes": CLASSES,
        "size": images.shape[-1],
        "step": images.shape[-1] // network.features(normalise(images[:1])).shape[-1],
        "images": described(images, labels),
        "first": FIRST,
        "step_at_rest": 3,
        "check": weights_of_squares(network, images),
        "shuffled": shuffled,
        "measured": measured,
        "scale": {"trained": network.summary.eva.looks[0].scale, "stops": SCALES},
        "training": watched(),
        "real": real(),
    }
    weights = f'<script type="text/plain">{base64.b64encode(block).decode()}</script>'
    return HTML(
        f"<looking-machine>{styles('machine')}{embedded(content)}{weights}{still.data}"
        f"<ol>{questions}</ol></looking-machine>{script('looking-machine', *SCRIPTS)}"
    )


SCALES = [
    {"scale": 0, "title": "all averaged", "factor": "× 0"},
    {"scale": 0.25, "title": "as trained", "factor": "× 1/√c"},
    {"scale": 1, "title": "the text’s", "factor": "× 1"},
    {"scale": 10, "title": "one-hot", "factor": "× 10"},
]
"""The scales of the logits that have a name."""


@torch.no_grad()
def beginnings(
    network: Network, images: UInt8[Tensor, "n 3 i j"]
) -> tuple[Float[Tensor, "n d"], list[Float[Tensor, "n m c"]]]:
    """What the looks of an EVANet begin with: the first query, and the pixels of each ring."""
    given: list[tuple[Tensor, Tensor]] = []
    hooks = [
        look.register_forward_pre_hook(lambda _, inputs: given.append(inputs))
        for look in network.summary.eva.looks
    ]
    network(normalise(images))
    for hook in hooks:
        hook.remove()
    return given[0][0], [pixels for _, pixels in given]


def laid_out(network: Network, rings: list[Float[Tensor, "n m c"]]) -> Float[Tensor, "n 49 c"]:
    """The pixels of the rings at their places of the map, row by row."""
    pixels = torch.cat(rings, dim=1)
    inside = torch.empty_like(pixels)
    inside[:, network.summary.eva.pixels] = pixels
    return inside


def packed(network: Network, images: UInt8[Tensor, "n 3 i j"]) -> tuple[dict, bytes]:
    """The part of EVA that comes after the first query, with the map and the first query of each
    image."""
    eva, block = network.summary.eva, Block()
    q0, rings = beginnings(network, images)
    structure = {
        "extent": eva.extent,
        "heads": eva.looks[0].num_heads,
        "stages": stages(block, eva),
        "output": feed_forward(block, eva.output),
        "classifier": linear(block, network.classifier),
        "maps": block.put(laid_out(network, rings)),
        "q0": block.put(q0),
    }
    return structure, block.data()


@torch.no_grad()
def weights_of_squares(network: Network, images: UInt8[Tensor, "n 3 i j"]) -> list[list[float]]:
    """The 49 weights of each image, mean over the heads, for the page to check itself against."""
    _, passed = trace(network, normalise(images))
    shares = [weights.mean(dim=1)[..., None] for weights in passed.look_weights]
    weights = laid_out(network, shares).squeeze(-1)
    return [[round(each, 7) for each in row] for row in weights.tolist()]


def permutations(network: Network) -> list[list[int]]:
    """Each ring's pixels in an order drawn once."""
    eva, draw = network.summary.eva, torch.Generator().manual_seed(1)
    return [
        ring[torch.randperm(len(ring), generator=draw)].tolist()
        for ring in eva.pixels.split(eva.sizes)
    ]


@torch.no_grad()
def measure(
    network: Network,
    images: UInt8[Tensor, "n 3 i j"],
    labels: Int[Tensor, " n"],
    shuffled: list[list[int]],
) -> dict:
    """Of this network, not trained again: how many of ``images`` stay right by the scale of its
    logits, and by each *what if* how many are right and how many are answered otherwise."""
    q0, rings = beginnings(network, images)
    inside, others, inwards = laid_out(network, rings), of_another_class(labels), (3, 2, 1, 0)

    def answers(eva=network.summary.eva, memory=rings, order=inwards[::-1], swap=None):
        """The predictions, computed as the page does: see ``expand`` in engine.js."""
        query, slots = q0, [q0]
        for stage, recall in zip(order, eva.recalls, strict=True):
            slot, _ = eva.looks[stage](query, memory[stage])
            slots.append(slot[others] if stage == swap else slot)
            query, _ = recall(slots[-1], torch.stack(slots, dim=1))
        return network.classifier(eva.output(query)).argmax(dim=1)

    def rescaled(scale: float, recalls: bool = True):
        """The EVA with another scale of its logits."""
        eva = copy.deepcopy(network.summary.eva)
        for layer in [*eva.looks, *eva.recalls] if recalls else eva.looks:
            layer.scale = scale
        return eva

    plain = answers()

    def counted(predicted: Int[Tensor, " n"]) -> dict[str, int]:
        return {
            "right": int((predicted == labels).sum()),
            "changed": int((predicted != plain).sum()),
        }

    curve = []
    for scale in (0.0, *(10 ** (-2 + 3 * k / 30) for k in range(31))):
        curve.append([scale, counted(answers(rescaled(scale)))["right"]])
    glance = network.classifier(network.summary.eva.output(q0)).argmax(dim=1)
    return {
        "images": len(labels),
        "plain": counted(plain)["right"],
        "curve": curve,
        "average": counted(answers(rescaled(0.0, recalls=False))),
        "shuffle": counted(answers(memory=[inside[:, ring] for ring in shuffled])),
        "reverse": counted(answers(order=inwards)),
        "swap": [counted(answers(swap=stage)) for stage in range(len(rings))],
        "drop": counted(glance),
    }


@torch.no_grad()
def seen(network: Network, images: UInt8[Tensor, "n 3 i j"]) -> list[dict]:
    """What an EVANet makes of each image: the weights of each look and recall, mean over the heads;
    the pixels over which each look is spread, mean over the heads; the length of each slot; and the
    class shares that the output layer gives after q0 and each stage."""
    eva = network.summary.eva
    scores, passed = predict_traced(network, images)
    early = [network.classifier(eva.output(query)) for query in passed.queries]
    shares = torch.stack([*early, scores], dim=1).softmax(dim=-1)
    spread = [count_in_effect(weights).mean(dim=-1) for weights in passed.look_weights]
    lengths = torch.stack([slot.norm(dim=-1) for slot in (passed.queries[0], *passed.looks)], dim=1)

    def whole(tensor: Tensor) -> list:
        return (UNITS * tensor).round().int().tolist()

    return [
        {
            "looks": [whole(weights[n].mean(dim=0)) for weights in passed.look_weights],
            "recalls": [whole(weights[n].mean(dim=0)) for weights in passed.recall_weights],
            "shares": whole(shares[n]),
            "effective": [round(each[n].item(), 2) for each in spread],
            "lengths": [round(length, 1) for length in lengths[n].tolist()],
        }
        for n in range(len(images))
    ]


BECAUSE = {CHOSEN: "what we chose", "letter": "as written"}


def read_watched() -> dict[str, dict]:
    """The runs that were watched, by their variant: one that trains, and the letter."""
    kept = json.loads((results() / WATCHED).read_text(encoding="utf-8"))
    runs = {experiment(run["experiment"]).variant: run for run in kept["runs"]}
    assert kept["sha256"] == checksum(kept), "run scripts/watch_training.py again"
    alike = ("tier", "seed", "epochs", "images", "learning_rate", "batch_size", "precision", "data")
    runs = {name: runs[name] for name in (CHOSEN if CHOSEN in runs else "scaled", "letter")}
    (first, other), pictures = runs.values(), list(PICTURES)
    assert first["pictures"] == other["pictures"] == pictures, "they show other pictures"
    assert all(first[name] == other[name] for name in alike), "they differ in more than the scale"
    return runs


def watched() -> dict:
    """The runs that were watched, with their curves of validation accuracies, frame by frame."""
    kept, runs, ends = read_watched(), [], []
    for variant, run in kept.items():
        frames = [frame(each, run["epochs"]) for each in run["watched"]]
        for index, stop in ((0, "start"), (len(frames) // 2, "{}"), (-1, "{} epochs")):
            frames[index]["stop"] = stop.format(frames[index]["epoch"])
        title = f"{variant}: {BECAUSE[variant]}" if variant in BECAUSE else variant
        runs.append({"key": variant, "title": title, "curve": run["curve"], "frames": frames})
        ends.append(f"{run['test_accuracy']:.1f} % ({variant})")
    first = kept["letter"]
    note = (
        f"Two runs of {first['epochs']} epochs on {first['images']:,} training pictures, alike in "
        f"all but the scale of the logits; in the end {' and '.join(ends)} of the test pictures "
        "were right."
    )
    return {"units": UNITS, "runs": runs, "note": note}


def frame(each: dict, last: int) -> dict:
    """One epoch of a watched run, with what the page says of it."""
    epoch, accuracy, spread = each["epoch"], each.get("validation_accuracy"), spreads(each)
    told = "Before training"
    if epoch:
        told = (
            f"After epoch {epoch} of {last}, {accuracy:.0f} % of the validation pictures are right"
        )
    told += (
        "; over the ten pictures, the looks at the three rings are spread over "
        f"{spread[0]:.1f} of 8, {spread[1]:.1f} of 16, {spread[2]:.1f} of 24 squares."
    )
    return {"epoch": epoch, "accuracy": accuracy, "told": told, "pictures": each["pictures"]}


def spreads(each: dict) -> list[float]:
    """Over how many squares the looks at the three rings are spread after an epoch of a watched
    run, mean over the pictures."""
    of_pictures = torch.tensor([picture["effective"] for picture in each["pictures"]])
    return of_pictures.mean(dim=0)[1:].tolist()


def first_one_hot(frames: list[dict]) -> int | None:
    """The first epoch from which on each look is on about one square, if there is one."""
    first = None
    for each in reversed(frames):
        if max(spreads(each)) > 1.5:
            break
        first = each["epoch"]
    return first


def written(network: Network, images: UInt8[Tensor, "n 3 i j"], measured: dict) -> dict:
    """The words of ``machine.toml``, their numbers filled in."""
    runs, total = load_records(), measured["images"]
    (first,) = seen(network, images[FIRST : FIRST + 1])
    memory = first["recalls"][-1]
    eva, rival = EXPLAINING[0]
    looks = judge(EXPLAINING, runs)[0]
    means = by_seed(runs).reindex([eva, rival]).dropna(axis="columns").mean(axis="columns")
    _, letter = read_weights(packaged("evanet20-small-letter"))
    as_written = read_watched()["letter"]
    mean_right, one_hot_right = measured["curve"][0][1], measured["curve"][-1][1]
    numbers = {
        "total": total,
        "plain": 100 * measured["plain"] / total,
        "mean": 100 * mean_right / total,
        "mean_in_ten": 10 * mean_right / total,
        "one_hot": 100 * one_hot_right / total,
        "glance": 100 * measured["drop"]["right"] / total,
        "shuffle": 100 * measured["shuffle"]["right"] / total,
        "shuffle_changed": 100 * measured["shuffle"]["changed"] / total,
        "top": 100 * max(first["looks"][2]) / UNITS,
        "most": 100 * max(memory) / UNITS,
        "most_read": memory.index(max(memory)),
        "letter": letter["test"]["accuracy"],
        "watched": as_written["test_accuracy"],
        "letter_spread": spreads(as_written["watched"][-1])[-1],
        "one_square": first_one_hot(as_written["watched"]),
        "eva": means[eva],
        "rival": means[rival],
        "seeds": looks.difference.n,
        "ahead": {SUPPORTED: 0, NOT_SUPPORTED: 1}.get(looks.verdict, 2),
        "no_looks": reached(runs, rival, eva),
        "no_position": reached(runs, "evanet20-small-letter-no-position", "evanet20-small-letter"),
        "reversed": reached(runs, f"{WHOLE.name}-reversed", eva),
    }
    text = (BROWSER / "machine.toml").read_text(encoding="utf-8")
    return tomllib.loads(text.format_map(numbers))


def reached(runs: pd.DataFrame, control: str, base: str) -> str:
    """The test accuracies of a control and of the network that it stands beside, over the seeds
    that both have, at the highest tier that has any."""
    tier, found = contrast(runs, control, base, ("quick", "paper"))
    if tier is None:
        return "not yet trained."
    both = by_seed(runs, tier=tier).loc[[control, base]].dropna(axis="columns")
    ours, theirs = both.mean(axis="columns")
    beside = "EVA" if experiment(base).variant == CHOSEN else "EVA as written"
    beside += f" with the same seed{'s' if found.n > 1 else ''}"
    said = (
        f"{ours:.1f} % of the test pictures right after {TIERS[tier].epochs} epochs ({found.n} "
        f"run{'s' if found.n > 1 else ''}), {beside} {theirs:.1f} %"
    )
    if tier == "quick":
        return f"{said}. So short a training decides nothing."
    if found.low is None:  # as where a run collapsed
        return f"{said}."
    return (
        f"{said}: {signed(-found.mean)} points, 95 % from {signed(-found.high)} to "
        f"{signed(-found.low)}."
    )


TITLES = {EXPLAINING[0][1]: "first glance alone", EXPLAINING[1][1]: "as many weights, no looks"}

COLOURS = {"resnet": "resnet", "sanet": "sanet", "evanet": "eva"}
"""The colour of a network in the page's style."""


def real() -> dict:
    """The runs of the full schedule, network by network, and the two families of differences that
    the rule names."""
    runs = load_records()
    full = runs[runs["counts"] & (runs["tier"] == "paper") & runs["seed"].isin(SEEDS)]
    shown = ["resnet20-small", "sanet20-small", *(name for pair in EXPLAINING for name in pair)]
    tested = [name for pair in (*PAPER, *EXPLAINING) for name in pair]
    networks = []
    for name in dict.fromkeys([*shown, *tested, *full["experiment"]]):
        row, own = experiment(name), full[full["experiment"] == name]
        of_table = row.paper_accuracy is not None
        networks.append(
            {
                "name": name,
                "title": TITLES.get(name, row.title.replace("-20 small", "").replace("-20", "")),
                "colour": COLOURS[name.partition("20")[0]] if of_table else "soft",
                "paper": row.paper_accuracy,
                "shown": name in shown,
                "fits": not row.test_each_epoch and not own["collapsed"].any(),
                "runs": [
                    {
                        "seed": run.seed,
                        "test": run.test_accuracy,
                        "validation": round(run.validation_accuracy, 4),
                        "collapsed": run.collapsed,
                    }
                    for run in own.sort_values("seed").itertuples()
                ],
            }
        )
    return {
        "networks": networks,
        "families": [
            {"title": "the paper's six claims", "pairs": PAPER},
            {"title": "is it the looks?", "pairs": EXPLAINING},
        ],
        "seeds": len(SEEDS),
        "level": LEVEL,
    }
