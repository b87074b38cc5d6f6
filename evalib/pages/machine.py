"""The Looking Machine, page one of the book: a trained EVANet on ten pictures, look by look, to be
changed by hand.

The maps and first queries of the ten pictures are computed here, so the page needs the weights of
EVA alone, a quarter of the network's, and answers at once. What it says of other pictures is
measured here too, on the bundled test images. ``browser/`` has the rest. Where scripts are off, a
static figure and the questions stay.
"""

import base64
import hashlib
import json
from html import escape
from pathlib import Path

import torch
from einops import rearrange
from IPython.display import HTML
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from evalib.experiments import CHOSEN, TABLE_1, experiment
from evalib.networks import Network
from evalib.pages.explorer import described, embedded, script, styles
from evalib.pages.figures import BLUE
from evalib.pages.live import Block, attention, feed_forward, linear
from evalib.results.reading import of_another_class
from evalib.results.records import load_records, results
from evalib.results.statistics import EXPLAINING, LEVEL, PAPER, SEEDS, by_seed, difference, noise
from evalib.results.weights import load_weights, packaged, read_weights
from evalib.tracing import trace
from evalib.training.cifar import load_data
from evalib.training.data import CLASSES, normalise

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


def machine(out: Path | None = None) -> HTML:
    """The element, of the weights of the chosen reading that come with the package."""
    name = TABLE_1[2].name
    network, cifar = load_weights(packaged(name)), load_data("subset")
    images, labels = (part[list(PICTURES)] for part in (cifar.test_images, cifar.test_labels))
    structure, block, check = packed(network, images)
    shuffled = permutations(network)
    measured = measure(network, cifar.test_images, cifar.test_labels, shuffled)
    training = watched(images, out)
    content = {
        "structure": structure,
        "classes": CLASSES,
        "size": images.shape[-1],
        "step": images.shape[-1] // network.features(normalise(images[:1])).shape[-1],
        "images": described(images, labels),
        "first": FIRST,
        "step_at_rest": 3,
        "check": check,
        "shuffled": shuffled,
        "measured": measured,
        "scale": {"trained": network.summary.eva.looks[0].scale, "stops": stops(network)},
        "controls": controls(out),
        "training": training,
        "real": real(out),
        "cards": cards(network, images, measured, training, out),
        "exactly": EXACTLY,
    }
    weights = f'<script type="text/plain">{base64.b64encode(block).decode()}</script>'
    inside = f"{styles('machine')}{embedded(content)}{weights}{still(content, network)}"
    return HTML(f"<looking-machine>{inside}</looking-machine>{script('looking-machine', *SCRIPTS)}")


EXACTLY = (
    "Weights are the mean of four heads, and those of a ring sum to 100 %; the ink of a square is "
    "the root of its weight, the same for every ring, "
    "picture and setting. How many squares a look is spread over is e to the entropy of its "
    "weights, the mean of four heads. The first slider multiplies "
    "the logits of every look and every recall of one network, which was trained at 1/√c; "
    "“average” changes the looks alone. What the last layer says "
    "before the last look it was never trained to say. ✓ marks what the picture shows. EVA does "
    "not see the first row and column of its map, which is the "
    "picture's upper and left edge. The ten pictures were chosen by hand so that the sliders have "
    "something to do: more of them change their answer than of "
    "others; the curve and all percentages are over all 500 test pictures that come with the "
    "book. Of a note, its 64 numbers are drawn up and down from zero."
)


@torch.no_grad()
def beginnings(
    network: Network, images: UInt8[Tensor, "n 3 i j"]
) -> tuple[Float[Tensor, "n c i j"], Float[Tensor, "n d"]]:
    """What the looks of an EVANet begin with: the map that they see, and the first query."""
    eva = network.summary.eva
    inside = network.features(normalise(images))[..., -eva.extent :, -eva.extent :]
    if eva.normed:
        inside = rearrange(
            eva.pixel_norm(rearrange(inside, "n c i j -> n i j c")), "n i j c -> n c i j"
        )
    query = eva.first_query(eva.convolution(inside))
    return inside, eva.query_norm(query) if eva.normed else query


@torch.no_grad()
def packed(
    network: Network, images: UInt8[Tensor, "n 3 i j"]
) -> tuple[dict, bytes, list[list[float]]]:
    """The part of EVA that comes after the first query, with the map and the first query of each
    image; and, to be held against what the page computes, the 49 weights of each image, mean over
    the heads."""
    eva, block = network.summary.eva, Block()
    rings = eva.pixels.split(eva.sizes)
    inside, query = beginnings(network, images)
    structure = {
        "extent": eva.extent,
        "heads": eva.looks[0].num_heads,
        "stages": [
            {
                "ring": ring.tolist(),
                "look": attention(block, look),
                "recall": attention(block, recall),
            }
            for ring, look, recall in zip(rings, eva.looks, eva.recalls, strict=True)
        ],
        "output": feed_forward(block, eva.output),
        "classifier": linear(block, network.classifier),
        "maps": block.put(rearrange(inside, "n c i j -> n (i j) c")),
        "q0": block.put(query),
    }
    _, passed = trace(network, normalise(images))
    weights = torch.zeros(len(images), eva.extent**2)
    for ring, shares in zip(rings, passed.look_weights, strict=True):
        weights[:, ring] = shares.mean(dim=1)
    return structure, block.data(), [[round(each, 7) for each in row] for row in weights.tolist()]


def permutations(network: Network) -> list[list[int]]:
    """Each ring's pixels in an order drawn once."""
    eva, draw = network.summary.eva, torch.Generator().manual_seed(1)
    return [
        ring[torch.randperm(len(ring), generator=draw)].tolist()
        for ring in eva.pixels.split(eva.sizes)
    ]


def stops(network: Network) -> list[dict]:
    """The scales of the logits that have a name."""
    trained = network.summary.eva.looks[0].scale
    named = [
        {"scale": 0, "title": "plain mean", "factor": "× 0"},
        {"scale": trained, "title": "as trained", "factor": "× 1/√c"},
        {"scale": 1, "title": "as written", "factor": "× 1"},
        {"scale": 10, "title": "one-hot", "factor": "× 10"},
    ]
    return named if trained != 1 else [named[0], named[1] | {"factor": "× 1"}, named[3]]


@torch.no_grad()
def measure(
    network: Network,
    images: UInt8[Tensor, "n 3 i j"],
    labels: Int[Tensor, " n"],
    shuffled: list[list[int]],
) -> dict:
    """Of this network, not trained again: how many of ``images`` stay right by the scale of its
    logits, and by each *what if* how many are right and how many are answered otherwise."""
    eva, others = network.summary.eva, of_another_class(labels)
    inside, q0 = beginnings(network, images)
    rings = eva.rings(inside)
    stages = list(zip(rings, eva.looks, eva.recalls, strict=True))
    pixels = rearrange(inside, "n c i j -> n (i j) c")

    def answers(
        factor: float = 1,
        even: bool = False,
        memory=rings,
        turned: bool = False,
        swap: int | None = None,
    ):
        """The predictions, computed as the page does: see ``expand`` in engine.js."""
        query, slots = q0, [q0]
        places = range(len(stages))
        for recall_at, look_at in zip(places, reversed(places) if turned else places, strict=True):
            look, recall = eva.looks[look_at], eva.recalls[recall_at]
            slot, _ = scaled(look, 0 if even else factor)(query, memory[look_at])
            slot = slot[others] if swap == look_at else slot
            slots.append(slot)
            query, _ = scaled(recall, factor)(slot, torch.stack(slots, dim=1))
        return network.classifier(eva.output(query)).argmax(dim=1)

    plain = answers()
    trained = eva.looks[0].scale

    def counted(predicted: Int[Tensor, " n"]) -> dict[str, int]:
        return {
            "right": int((predicted == labels).sum()),
            "changed": int((predicted != plain).sum()),
        }

    scales = [0.0, *(10 ** (-2 + 3 * k / 30) for k in range(31))]
    return {
        "images": len(labels),
        "plain": int((plain == labels).sum()),
        "curve": [[scale, counted(answers(scale / trained))["right"]] for scale in scales],
        "average": counted(answers(even=True)),
        "shuffle": counted(answers(memory=[pixels[:, ring] for ring in shuffled])),
        "reverse": counted(answers(turned=True)),
        "swap": [counted(answers(swap=stage)) for stage in range(len(stages))],
        "drop": counted(network.classifier(eva.output(q0)).argmax(dim=1)),
    }


def scaled(layer, factor: float):
    """``layer`` with its logits multiplied by ``factor``, for one call."""

    def attend(query: Float[Tensor, "n d"], memory: Float[Tensor, "n m c"]):
        usual = layer.scale
        layer.scale = factor * usual
        try:
            return layer(query, memory)
        finally:
            layer.scale = usual

    return attend


@torch.no_grad()
def seen(network: Network, images: UInt8[Tensor, "n 3 i j"]) -> list[dict]:
    """What an EVANet makes of each image: the weights of each look and recall, mean over the heads;
    the pixels over which each look is spread, mean over the heads; the length of each slot; and the
    class shares that the output layer gives after q0 and each stage."""
    network.eval()
    eva = network.summary.eva
    scores, passed = trace(network, normalise(images))
    early = [network.classifier(eva.output(query)) for query in passed.queries]
    shares = torch.stack([*early, scores], dim=1).softmax(dim=-1)
    spread = [
        torch.special.entr(weights).sum(dim=-1).exp().mean(dim=-1)
        for weights in passed.look_weights
    ]
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


def watched(images: UInt8[Tensor, "n 3 i j"], out: Path | None = None) -> dict | None:
    """The runs that were watched, frame by frame, each with the end of a run of the full schedule,
    whose weights come with the package; ``None`` if there is none. ``ValueError`` if the file was
    changed since, or is of other pictures."""
    path = results(out) / WATCHED
    if not path.exists():
        return None
    kept = json.loads(path.read_text(encoding="utf-8"))
    if kept["sha256"] != checksum(kept["runs"]):
        raise ValueError(
            f"{path} was changed after it was written: run scripts/watch_training.py again"
        )
    if any(run["pictures"] != list(PICTURES) for run in kept["runs"]):
        raise ValueError(f"{path} is of other pictures: run scripts/watch_training.py again")
    runs = []
    for run in kept["runs"]:
        variant, epochs = (
            experiment(run["experiment"]).variant,
            [each["epoch"] for each in run["watched"]],
        )
        named = {0: "start", epochs[-1]: f"{epochs[-1]} epochs"} | {
            epochs[len(epochs) // 2]: str(epochs[len(epochs) // 2])
        }
        frames = [frame(each, named.get(each["epoch"]), run["epochs"]) for each in run["watched"]]
        _, card = read_weights(packaged(run["experiment"]))
        length, accuracy = card["settings"]["epochs"], card["validation_accuracy"]
        told = (
            f"Another run of this network, {length} epochs on all training pictures: "
            f"{accuracy:.1f} % of the validation pictures right "
            f"in the end, and {card['test']['accuracy']:.1f} % of the test pictures."
        )
        end = {
            "epoch": length,
            "accuracy": accuracy,
            "apart": True,
            "told": told,
            "stop": {"title": f"{length}"},
        }
        frames.append(end | {"pictures": seen(load_weights(packaged(run["experiment"])), images)})
        runs.append({"key": variant, "title": f"{variant}: {BECAUSE[variant]}", "frames": frames})
    ends = " and ".join(
        f"{run['test_accuracy']:.1f} % ({experiment(run['experiment']).variant})"
        for run in kept["runs"]
    )
    first = kept["runs"][0]
    note = (
        f"Two runs of {first['epochs']} epochs on {first['images']:,} training pictures, alike in "
        "all but the scale of the logits; in the end "
        f"{ends} of the test pictures were right. The dashed ends are two other runs, of {length} "
        "epochs on all training pictures."
    )
    return {"units": UNITS, "runs": runs, "note": note}


BECAUSE = {CHOSEN: "what we chose", "letter": "as written"}


def frame(each: dict, title: str | None, last: int) -> dict:
    """One epoch of a watched run, with what the page says of it."""
    epoch, accuracy, pictures = each["epoch"], each.get("validation_accuracy"), each["pictures"]
    sizes = [len(look) for look in pictures[0]["looks"]][1:]
    spread = torch.tensor([picture["effective"] for picture in pictures]).mean(dim=0)[1:].tolist()
    rings = ", ".join(f"{pixels:.1f} of {size}" for pixels, size in zip(spread, sizes, strict=True))
    told = (
        f"After epoch {epoch} of {last}, {accuracy:.0f} % of the validation pictures are right"
        if epoch
        else "Before training"
    )
    told = (
        f"{told}; over the ten pictures, the looks at the three rings are spread over {rings}"
        " squares."
    )
    found = {"epoch": epoch, "accuracy": accuracy, "told": told, "pictures": pictures}
    return found | ({"stop": {"title": title}} if title else {})


def checksum(runs: list[dict]) -> str:
    """The SHA-256 of the watched runs."""
    return hashlib.sha256(json.dumps(runs).encode()).hexdigest()


def controls(out: Path | None = None) -> dict[str, str]:
    """For each *what if*, in a sentence, what a network had that was trained that way: one may
    learn to do without."""
    changes = [
        (f"evanet20-small-{variant}-{{}}", f"evanet20-small-{variant}")
        for variant in (CHOSEN, "letter")
    ]
    return {
        "average": "A network trained to average each ring: not yet trained.",
        "shuffle": (
            "Trained without knowing where in a ring a square lies: "
            + reached("no-position", changes, out)
        ),
        "reverse": "Trained from the outer ring inwards: " + reached("reversed", changes, out),
        "swap": "No network can be trained this way: the look would say nothing of the picture.",
        "drop": "Trained without looks: " + reached("", [EXPLAINING[0][::-1]], out),
    }


def reached(suffix: str, pairs: list[tuple[str, str]], out: Path | None = None) -> str:
    """The test accuracies of a control and of the network that it stands beside: of the first of
    ``pairs`` that both have run, at the highest tier that both have."""
    runs = load_records(out)
    for control, base in pairs:
        control = control.format(suffix)
        for tier in ("paper", "quick"):
            accuracies = by_seed(runs, tier=tier)
            if control not in accuracies.index or base not in accuracies.index:
                continue
            ours, theirs = (accuracies.loc[each].dropna() for each in (control, base))
            epochs = int(
                runs[(runs["tier"] == tier) & (runs["experiment"] == base)]["epochs"].max()
            )
            counted = f"{len(ours)} run{'s' if len(ours) > 1 else ''}"
            beside = "EVA" if experiment(base).variant == CHOSEN else "EVA as written"
            said = (
                f"{ours.mean():.1f}\u00a0% of the test pictures right after {epochs} epochs "
                f"({counted}), {beside} {theirs.mean():.1f}\u00a0%"
            )
            if tier == "quick":
                return f"{said}. So short a training decides nothing."
            found = difference(accuracies, control, base, noise(runs))
            if found.low is None:
                return f"{said}."
            points = [
                f"{each:+.2f}".replace("-", "\u2212")
                for each in (found.mean, found.low, found.high)
            ]
            return (
                f"{said}; the difference is {points[0]} points, 95\u00a0% from {points[1]} to"
                f" {points[2]}."
            )
    return "not yet trained."


def real(out: Path | None = None) -> dict:
    """The runs of the full schedule, network by network, and the two families of differences that
    the rule names."""
    runs = load_records(out)
    test, validation = by_seed(runs), by_seed(runs, "validation_accuracy")
    counted = runs[runs["counts"] & (runs["tier"] == "paper")]
    fell = {(row.experiment, row.seed) for row in counted.itertuples() if row.collapsed}
    small = [row for row in TABLE_1 if row.name in {name for pair in PAPER[:3] for name in pair}]
    shown = [row.name for row in small] + [control for _, control in EXPLAINING]
    tested = [name for pair in (*PAPER, *EXPLAINING) for name in pair]
    networks = []
    for name in dict.fromkeys([*shown, *tested, *test.index]):
        row = experiment(name)
        own = [] if name not in test.index else [
            {
                "seed": int(seed),
                "test": round(float(accuracy), 4),
                "validation": round(float(validation.loc[name, seed]), 4),
                "collapsed": (name, seed) in fell,
            }
            for seed, accuracy in test.loc[name].dropna().items()
        ]  # fmt: skip
        networks.append(
            {
                "name": name,
                "title": TITLES.get(name, row.title.replace("-20 small", "").replace("-20", "")),
                "colour": (
                    COLOURS.get(name.partition("20")[0], "soft") if row.paper_accuracy else "soft"
                ),
                "paper": row.paper_accuracy,
                "shown": name in shown,
                "fits": not row.test_each_epoch and not any(run["collapsed"] for run in own),
                "runs": own,
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


TITLES = {EXPLAINING[0][1]: "first glance alone", EXPLAINING[1][1]: "as many weights, no looks"}

COLOURS = {"resnet": "resnet", "sanet": "sanet", "evanet": "eva"}
"""The colour of a network in the page's style."""


def cards(
    network: Network, images, measured: dict, training: dict | None, out: Path | None = None
) -> list[dict]:
    """The nine cards: what each asks, its guesses, which is right, what is said then, where it
    leads, and how it sets the machine."""
    (first,) = seen(network, images[FIRST : FIRST + 1])
    name, total = CLASSES[FIRST], measured["images"]
    ring = len(first["looks"][2])
    top, even = round(100 * max(first["looks"][2]) / UNITS), round(100 / ring)
    memory = first["recalls"][-1]
    most_read = memory.index(max(memory))
    slots = [
        "the first glance",
        "the centre",
        *(f"the ring of {len(look)}" for look in first["looks"][1:]),
    ]
    one_hot, plain = (
        100 * right / total for right in (measured["curve"][-1][1], measured["plain"])
    )
    mean, shuffled = 100 * measured["curve"][0][1] / total, measured["shuffle"]
    dropped = 100 * measured["drop"]["right"] / total
    start = f"image={name}"
    found = [
        {
            "title": "the mean",
            "ask": (
                "Most image networks end by averaging all their squares alike. Set so, how many "
                f"of {total} test pictures does this network still get right?"
            ),
            "options": ["1 in 10", f"{round(mean / 10)} in 10", "as many as before"],
            "right": 1,
            "tell": (
                f"{mean:.1f} % after {plain:.1f} %, though it never trained for it. The plain "
                "mean is no bad idea: it is the rival to beat."
            ),
            "href": "attention.html#two-poles",
            "chapter": "Between the mean and a look-up",
            "state": f"{start}&look=3&scale=0",
            "lights": "scale",
        },
        {
            "title": "the query",
            "ask": (
                "First it glances at all 49 squares, and makes a question of what it saw. If it "
                f"had to answer by this glance alone, how many of {total} pictures would be "
                "right?"
            ),
            "options": [f"{dropped:.0f} %", "50 %", "85 %"],
            "right": 0,
            "tell": (
                "The glance is a question and was never trained to be an answer. Whether a "
                "network needs more than a glance, only one that is trained on a glance alone can "
                "say: see “take the looks away”."
            ),
            "href": "eva.html#what-it-does-in-five-steps",
            "chapter": "What it does, in five steps",
            "state": f"{start}&look=q0",
            "lights": "notebook",
        },
        {
            "title": "the softmax",
            "ask": (
                f"It gives each of the {ring} squares of this ring a share, 100 % together. How "
                f"much has the top square of the {name}?"
            ),
            "options": [f"{even} %, like all", f"{top} %", "100 %"],
            "right": 1,
            "tell": (
                "A softmax turns scores into shares: a little more score, a lot more share. "
                "Between all alike and winner takes all, everything is possible."
            ),
            "href": "attention.html#beak-and-wheel",
            "chapter": "One pixel asks",
            "state": f"{start}&look=2",
            "lights": "photo",
        },
        {
            "title": "the ring",
            "ask": (
                "Let the squares of each ring change places, so that it no longer knows what "
                f"lies where. How many of {total} pictures get another answer?"
            ),
            "options": [f"{100 * shuffled['changed'] / total:.0f} %", "30 %", "90 %"],
            "right": 0,
            "tell": (
                f"And {100 * shuffled['right'] / total:.1f} % are right, where it was {plain:.1f} "
                "%. What is in a ring counts; where in the ring, hardly."
            ),
            "href": "eva.html#the-rings",
            "chapter": "The rings",
            "state": f"{start}&look=3&whatif=shuffle",
            "lights": "what",
        },
        {
            "title": "the recall",
            "ask": (
                "After each ring it reads all its notes again. Which one does it read most after "
                "the last ring, here?"
            ),
            "options": slots,
            "right": most_read,
            "tell": (
                f"{round(100 * max(memory) / UNITS)} % of what it reads. The notes are all that "
                "reaches the last layer."
            ),
            "href": "eva.html#idea-at-work",
            "chapter": "The idea at work",
            "state": f"{start}&look=3",
            "lights": "notebook",
        },
        {
            "title": "the scale",
            "ask": (
                "Multiply the scores by a large number before the softmax. What becomes of the "
                "ring?"
            ),
            "options": ["all squares alike", "one square takes all", "nothing changes"],
            "right": 1,
            "tell": (
                f"Each of its four heads then looks one square up, and {one_hot:.1f} % are right. "
                "The text of the paper leaves the scale out; dividing by √c keeps the scores "
                "small."
            ),
            "href": "attention.html#why-root-c",
            "chapter": "Why divide by √c?",
            "state": f"{start}&look=2&scale=10",
            "lights": "scale",
        },
        {
            "title": "the collapse",
            "ask": (
                "Trained as written, without the scale, it drives itself to that end. What share "
                "of the test pictures did such a run of 150 epochs get right?"
            ),
            "options": [],
            "right": 1,
            "tell": (
                "Nearly every look of it is on a single square. Another run of the same came "
                "back, and answers by its first glance."
            ),
            "href": "collapse.html#the-letter-falls",
            "chapter": "The letter falls",
            "state": f"{start}&look=3&epoch=150&run=letter",
            "lights": "training" if training else "scale",
        },
        {
            "title": "is it real?",
            "ask": (
                "Each dot is one training. Take the same seed of EVANet and of ResNet out: what "
                "becomes of the interval of their difference?"
            ),
            "options": ["wider", "narrower", "the same"],
            "right": 0,
            "tell": (
                "Fewer runs, less certainty. And a lead does not say why: EVANet has more weights "
                "too, so the two controls decide."
            ),
            "href": "report.html#the-claims-one-by-one",
            "chapter": "Every claim, with a verdict",
            "state": start,
            "lights": "real",
        },
        {
            "title": "use it?",
            "ask": (
                "A network with as many weights and no looks is the cheapest rival. In short "
                "trainings of 15 epochs, who was ahead?"
            ),
            "options": ["EVA", "the rival without looks"],
            "right": 1,
            "tell": "",
            "href": "decide.html",
            "chapter": "Should I use it?",
            "state": start,
            "lights": "real",
        },
    ]  # fmt: skip
    if path := packaged("evanet20-small-letter"):
        accuracy = read_weights(path)[1]["test"]["accuracy"]
        found[6]["options"] = ["87 %", f"{accuracy:.0f} %", "10 %, as by chance"]
    rival, ours = EXPLAINING[1][1], EXPLAINING[1][0]
    accuracies = by_seed(load_records(out), tier="quick")
    if rival in accuracies.index and ours in accuracies.index:
        ahead = accuracies.loc[rival].mean() > accuracies.loc[ours].mean()
        found[8]["right"] = int(ahead)
        reached_by = [f"{accuracies.loc[each].mean():.1f}" for each in (rival, ours)]
        told = (
            f"{reached_by[0]} % against EVA's {reached_by[1]}. So short a training decides nothing."
        )
        if rival not in by_seed(load_records(out)).index:
            told += " In full, the rival has not run yet."
        found[8]["tell"] = told
    return found


def still(content: dict, network: Network) -> str:
    """What stands where scripts are off: one look, and the nine questions with their links."""
    image, extent, step, size = (
        content["images"][FIRST],
        network.summary.eva.extent,
        content["step"],
        content["size"],
    )
    edge, weights, ring = (
        size - extent * step,
        content["check"][FIRST],
        content["structure"]["stages"][2]["ring"],
    )
    squares = "".join(
        f'<rect x="{edge + step * (m % extent)}" y="{edge + step * (m // extent)}" width="{step}" '
        f'height="{step}" fill="#fff" fill-opacity="0.86"/>'
        f'<rect x="{edge + step * (m % extent)}" y="{edge + step * (m // extent)}" width="{step}" '
        f'height="{step}" fill="{BLUE}" '
        f'fill-opacity="{weights[m] ** 0.5:.3f}"/>'
        for m in ring
    )
    label = (
        f"A {image['name']}, and on it the third look: a ring of {len(ring)} squares, the bluer "
        f"the more weight, up to {100 * max(weights[m] for m in ring):.0f} %."
    )
    questions = "".join(
        f'<li>{escape(card["ask"])} <a href="{card["href"]}">{escape(card["chapter"])}</a></li>'
        for card in content["cards"]
    )
    return (
        f'<figure style="margin: 0"><svg role="img" aria-label="{escape(label)}" viewBox="0 0 '
        f'{size} {size}" style="width: 26rem; max-width: 100%">'
        f'<image href="{image["src"]}" width="{size}" height="{size}" style="image-rendering: '
        f'pixelated"/>{squares}</svg>'
        f"<figcaption>{escape(label)} With scripts, all of it "
        f"moves.</figcaption></figure><ol>{questions}</ol>"
    )
