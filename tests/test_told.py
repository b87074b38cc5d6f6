"""What the pages tell: the rows of their tables, the numbers in their sentences and the marks of
their figures, computed here again from the files of ``results``, in plain Python.
"""

import functools
import json
import re
from collections import Counter, defaultdict
from itertools import product
from math import floor, hypot, sqrt
from operator import itemgetter
from pathlib import Path
from statistics import fmean, median, stdev

import IPython.display
import numpy as np
import pytest
import torch
from IPython.display import HTML, Markdown
from mutants import MUTANTS
from scipy import stats
from test_exercises import cells, tags, value

import evalib
from evalib.experiments import experiment
from evalib.pages import display, machine
from evalib.pages.figures import COLOURS
from evalib.results import choice, reading
from evalib.results import weights as stored
from evalib.results.costs import flops
from evalib.training import cifar, data

RESULTS = Path(__file__).parent.parent / "results"
EVA, LETTER, ALONE = (f"evanet20-small-{name}" for name in ("scaled", "letter", "query-alone"))
RESNET, SANET, MLP = "resnet20-small", "sanet20-small", "resnet20-small-mlp"
VECTORS = {"q0": "$q_0$", "attn0": "centre", "attn1": "ring of 8", "attn2": "ring of 16", "attn3": "ring of 24"}  # fmt: skip
TITLES = {row.name: row.title for row in evalib.TABLE_1} | {LETTER: "EVANet-20 small, letter"}
RECORD = "run | tier | seed | epochs | test % | device | precision | runs at once | minutes | seconds an epoch | torch | commit"
AGREEMENT = torch.arange(12.0).view(3, 4) ** 2 / 100


def read(path):
    return json.loads((RESULTS / path).read_text("utf-8"))


EVERY = [run for path in RESULTS.glob("**/*-seed*.json") if (run := read(path))["tier"] != "smoke"]
EVERY.sort(key=lambda run: run["finished"])
FIRST, RUNS = {}, defaultdict(list)
"""The first run of each seed, and those of a tier and a network by seed."""
for run in EVERY:
    FIRST.setdefault((run["tier"], run["experiment"], run["seed"]), run)
for (*of, _), run in sorted(FIRST.items(), key=lambda pair: pair[0]):
    RUNS[tuple(of)].append(run)
READ = read("readings.json")["readings"]


def accuracies(tier, name):
    return [run["test"]["accuracy"] for run in RUNS[tier, name]]


def curves(name, what="validation_accuracy", tier="paper"):
    return [[row[what] for row in run["curve"]] for run in RUNS[tier, name]]


def ended_low(run):
    """Whether a run ended at half of its best validation accuracy or below."""
    values = [row["validation_accuracy"] for row in run["curve"]]
    return values[-1] <= max(values) / 2


def trains(network):
    """Whether the first short run of a network ever fell to half of its best until then."""
    for run in [run for run in RUNS["quick", network] if run["seed"] == 0]:
        values = [row["validation_accuracy"] for row in run["curve"]]
        fell = any(value <= max(values[: epoch + 1]) / 2 for epoch, value in enumerate(values))
        return "no" if fell else "yes"
    return "not yet known"


def log(name):
    """Epoch and validation accuracy of a run that was stopped."""
    text = (RESULTS / "unfinished" / f"{name}-seed0.log").read_text("utf-8")
    found = re.findall(r"epoch (\d+)/.*validation ([\d.]+)%", text)
    return [(int(epoch), float(accuracy)) for epoch, accuracy in found]


def signed(number):
    return f"{number:+.2f}".replace("-", "−")


def error(accuracy):
    return sqrt(accuracy * (100 - accuracy) / 10_000)


def ms(seconds):
    return f"{1000 * seconds:.{1 if seconds >= 0.01 else 2}f}"


def passing():
    """The widths at which each variant passes the check, and the last step at each."""
    passed, last = {}, {}
    for row in read("width.json")["rows"]:
        last.setdefault(row["candidate"], {})[row["width"]] = row
    for name, rows in last.items():
        limit = 3 * rows[64]["largest_logit"]
        passed[name] = [
            width
            for width, row in sorted(rows.items())
            if row["largest_logit"] <= limit and (not row["effective"] or row["effective"][-1] >= 6)
        ]
    return passed, last


class Page:
    """A page that was run: its text in one line, the lines of its tables, its figures."""

    def __init__(self, outputs, figures):
        texts = [each.data for each in outputs]
        self.text, self.figures = " ".join(" ".join(texts).split()), figures
        blocks = re.findall(r"(?:^\|.*\n?)+", "\n\n".join(texts), re.M)
        self.tables = [
            [" | ".join(re.split(r" +\| +", line.strip("| "))) for line in block.splitlines()]
            for block in blocks
        ]

    def says(self, *phrases):
        assert [phrase for phrase in phrases if phrase not in self.text] == []

    def rows(self, heads):
        (found,) = [rows for first, _, *rows in self.tables if first == heads]
        return found

    def shows(self, heads, rows):
        assert self.rows(heads) == rows

    def lines(self, figure, panel=0):
        """Of each line of a figure its name, if it has one, its x and its y."""
        for line in self.figures[figure].axes[panel].lines:
            name = line.get_label()
            yield "" if name.startswith("_") else name, [*line.get_xdata()], [*line.get_ydata()]

    def draws(self, figure, courses):
        """The figure has these courses by epoch, each in the colour of its thing."""
        lines = self.figures[figure].axes[0].lines
        assert [([*line.get_ydata()], line.get_color()) for line in lines] == [
            (values, COLOURS[colour]) for colour, _, values in courses
        ]
        named = [name for name, *_ in self.lines(figure) if name]
        assert named == [*dict.fromkeys(name for _, name, _ in courses)]

    def beside(self, figure):
        """The names at the y axis."""
        return [text.get_text() for text in self.figures[figure].axes[0].get_yticklabels()]


@functools.cache
def shown(name):
    """A page, run here without what only takes time: SVG, occlusions, most of the pictures."""
    figures, outputs, namespace, whole = [], [], {}, cifar.load_data("subset")
    few = whole._replace(test_images=whole.test_images[::10], test_labels=whole.test_labels[::10])

    def picture(*drawings, caption="", alt=""):
        figures.extend(drawings)
        return Markdown(" ".join(each.get_label() for each in drawings) + " " + caption)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(display, "picture", picture)
        patch.setattr(IPython.display, "display", lambda *each: outputs.extend(each))
        patch.setattr(reading, "agree", lambda network, images: AGREEMENT)
        patch.setattr(machine, "machine", lambda: HTML(""))
        if name == "weights":
            patch.setattr(cifar, "load_data", lambda which: few)
        for cell in cells(name):
            if cell.cell_type == "code" and not {"exercise", "check"} & {*tags(cell)}:
                outputs.append(value(cell.source, namespace))
    return Page([each for each in outputs if each is not None], figures)


def decide(page):
    ends = {"mean": RESNET, "mean and an MLP": MLP, "EVA's first query alone": ALONE, "SANet, mean": SANET, "EVA": EVA}  # fmt: skip
    size = {name: RUNS["paper", name][0]["parameters"] for name in ends.values()}
    image, rows, told = torch.zeros(1, 3, 32, 32), [], {}
    half, paired = (
        stats.t.ppf(0.975, freedom) * s for s, freedom in (deviation(blocks=False), deviation())
    )
    work = {name: flops(evalib.build(name).eval(), image) / 1e6 for name in ends.values()}
    cpu, gpu = ({name: each.get(form) for name, each in read(f"benchmarks/training-{kind}.json")["step_seconds"].items()}
                for kind, form in (("cpu", "evalib"), ("cuda", "evalib, compiled")))  # fmt: skip
    gpu[EVA] = gpu["evanet20-small-residual"]
    for figure, tier in enumerate(("paper", "quick")):
        reached = {label: (size[name] / 1e3, fmean(accuracies(tier, name))) for label, name in ends.items()}  # fmt: skip
        drawn = {label: (*x, *y) for label, x, y in page.lines(figure) if label}
        assert drawn == {label: pytest.approx(ends_at) for label, ends_at in reached.items()}
        page.says(*(f"{label} {reached[label][1]:.1f} % with {size[name]:,}" for label, name in ends.items()))  # fmt: skip
    for label, name in ends.items():
        full, times = accuracies("paper", name), (cpu.get(name), gpu.get(name))
        mean, reach = fmean(full), half / sqrt(len(full))
        told[name] = f"{mean:.1f} % ({len(full)} run{'s' if len(full) > 1 else ''})"
        on_cpu, on_gpu = ("–" if seconds is None else f"{1000 * seconds:{form}}" for seconds, form in zip(times, (".0f", ".2f"), strict=True))  # fmt: skip
        rows.append(
            f"{label} | {mean:.1f} [{mean - reach:.1f}, {mean + reach:.1f}] ({len(full)}) | "
            f"{size[name]:,} | {work[name]:.1f} | {on_cpu} | {on_gpu} | {fmean(quick := accuracies('quick', name)):.1f} ({len(quick)})"
        )
    page.shows(
        "the network ends in | test, % [95 %] (seeds) | parameters | MFLOPs | ms a step, CPU | ms a step, GPU | after 15 epochs, % (seeds)",
        rows,
    )
    page.shows(
        "EVA | widths that pass the check, of 64, 128, 256 and 512 channels",
        [
            f"{called} | {', '.join(map(str, passing()[0][name])) or 'none'}"
            for name, called in {
                "scaled": "the layer as it is",
                "scaled, no width rule": "without its width rule",
            }.items()
        ],
    )
    times = {name: f"{size[EVA] / size[name]:.1f} times the parameters" for name in (RESNET, MLP)}
    ahead = fmean(accuracies("paper", ALONE)) - fmean(accuracies("paper", RESNET))
    apart = paired * sqrt(2 / 3)
    page.says(
        f"leads a mean by {fmean(accuracies('paper', EVA)) - fmean(accuracies('paper', RESNET)):.1f} points",
        f"for {times[RESNET]}.",
        f"query alone, with {100 - 100 * size[ALONE] / size[EVA]:.0f} % fewer parameters than EVA, and",
        f"they had {told[ALONE]} and {told[MLP]}, EVA {told[EVA]}",
        f"It ended {signed(ahead)} points from the mean ({signed(ahead - apart)} to {signed(ahead + apart)}, uncorrected, over 3 seeds)",
        f"it has {(49 * 512**2 + 2 * 512**2) / 1e6:.0f} million",
        f"{times[RESNET]} of a mean, {work[EVA] / work[RESNET]:.2f} times its operations, and "
        f"{gpu[EVA] / gpu[RESNET]:.1f} times the time of a step on a GPU, {cpu[EVA] / cpu[RESNET]:.2f} times on a CPU",
    )


def collapse(page):
    down, up = RUNS["paper", LETTER]
    low = min(up["curve"][20:], key=lambda row: row["validation_accuracy"])
    stopped, (solid, dashed) = log("evanet20-small-letter"), curves(LETTER)
    courses = [
        ("scaled", "scaled, seed 0", curves(EVA)[0]),
        ("letter", "letter, seed 0, EVA in 16 bits", solid),
        ("letter", "letter, seed 1, EVA forward in 32 bits", dashed),
        ("letter", "letter, seed 0, 32 bits, on a CPU", [accuracy for _, accuracy in stopped]),
    ]
    page.draws(0, courses)
    watched = next(run for run in read("watched.json")["runs"] if run["experiment"] == LETTER)
    told = {each["epoch"] for each in watched["watched"]}
    for each in watched["watched"]:
        if any(fmean(p["effective"][ring] for p in each["pictures"]) > 1.5 for ring in (1, 2, 3)):
            told -= {*range(each["epoch"] + 1)}
    ends = [f"{run['test']['accuracy']:.1f} %" for run in (down, up)]
    page.says(
        f"ended at {ends[0]} of the test images, the other at {ends[1]}.",
        f"fell to {low['validation_accuracy']:.1f} % in validation after epoch {low['epoch']},",
        f"stopped after epoch {stopped[-1][0]}.",
        f"from epoch {min(told)} on its looks are on about one pixel each, on average over ten pictures.",
        f"and ended at {watched['test_accuracy']:.1f} %.",
        f"in both runs that ended ({ends[1][:-2]} and {watched['test_accuracy']:.1f} %); with EVA in 16 bits, our choice, one run stayed down ({ends[0]})",
    )
    rows = []
    for run in RUNS["paper", LETTER] + RUNS["paper", EVA]:
        q0, _, *looks = READ[run["weights"]]["vectors"]
        spread = " | ".join(f"{look['effective']:.1f} of {pixels}" for look, pixels in zip(looks, (8, 16, 24), strict=True))  # fmt: skip
        rows.append(
            f"{run['experiment'].rpartition('-')[2]} | {run['seed']} | {READ[run['weights']]['right']:.1f} | {spread} | "
            f"{looks[0]['changed'] / 100:.1f} | {q0['changed'] / 100:.1f}"
        )
    page.shows(
        "variant | seed | right, % | pixels in effect, ring 1 | pixels in effect, ring 2 | pixels in effect, ring 3 | "
        "answers that another image's ring of 8 changes, % | another's $q_0$, %",
        rows,
    )

    courses, rows = read("mechanism.json")["courses"], []
    reached = {name: [row["validation_accuracy"] for row in each] for name, each in courses.items()}
    means = {name: fmean(each) for name, each in reached.items()}
    for name, course in courses.items():
        logit = max(each["logit"] for row in course for each in row["attentions"].values())
        step = max(each["step"] for row in course for each in row["parts"].values())
        rows.append(
            f"{name} | {means[name]:.1f} | {min(reached[name]):.1f} | {reached[name][-1]:.1f} | "
            f"{course[-1]['train_loss']:.2f} | {logit:,.0f} | {step:.2f}"
        )
    page.shows(
        "changed | validation, %: mean | lowest | last | training loss, last | largest logit | longest mean step, in learning rates",
        rows,
    )
    assert page.beside(1) == sorted(means, key=means.get)
    *marks, middle = (x for _, x, _ in page.lines(1))
    assert marks[::2] == [reached[name] for name in page.beside(1)]
    assert [x for x, _ in marks[1::2]] == pytest.approx([means[name] for name in page.beside(1)])
    assert middle == pytest.approx([means["nothing"]] * 2)
    gain = {name: f"{abs(mean - means['nothing']):.1f}" for name, mean in means.items()}
    page.says(
        f"queries normed the network gains {gain['queries normed']} points, with its logits scaled {gain['logits scaled']}.",
        f"Clipping the gradient gives {gain['gradient clipped']}, and computing in 32 bits throughout {gain['all in float32']}.",
        f"makes it worse by {gain['larger epsilon']}.",
    )

    (passed, last), rows, trained = passing(), [], []
    for name, added in choice.ADDED.items():
        runs = RUNS["paper", f"evanet20-small-{name}"]
        validations, fell = [run["validation_accuracy"] for run in runs], sum(map(ended_low, runs))
        trained += [fmean(validations)] if runs and not fell else []
        rows.append(
            f"{name} | {added} | {'; '.join(f'{each:.2f}' for each in validations) or '–'} | {fell if runs else '–'} | "
            f"{'yes' if len(passed[name]) == 4 else 'no'} | {trains(f'evanet20-large-{name}')}"
        )
    page.shows(
        "variant | adds | validation after the last epoch, %, each seed | collapsed | the same at all widths | trains large",
        rows,
    )
    large, sanet = log("evanet20-large-residual"), log("sanet20-large")
    courses = [
        ("ResNet", "ResNet-20 large", curves("resnet20-large")[0]),
        ("SANet", "SANet-20 large (stopped)", [accuracy for _, accuracy in sanet]),
        ("residual", "EVANet-20 large, residual (stopped)", [accuracy for _, accuracy in large]),
    ]
    page.draws(2, courses)
    epoch, low = min(large[5:], key=lambda pair: pair[1])
    good, bad = ([f"*{name}*" for name, of in passed.items() if (len(of) == 4) is whole] for whole in (True, False))  # fmt: skip
    page.says(
        f"with seed 2, which ran later, its mean is {fmean(run['validation_accuracy'] for run in RUNS['paper', EVA]):.2f}.",
        f"lie within {max(trained) - min(trained):.2f} points of each other",
        f"falls to {low:.1f}&nbsp;% after epoch {epoch}, comes back, and has {large[-1][1]:.1f}&nbsp;% when",
        f"SANet, at best {max(accuracy for _, accuracy in sanet):.1f}&nbsp;%,",
        f"Passed: {', '.join(good)}. Failed: {', '.join(bad)}.",
    )
    rows = []
    for name, course in read("first_steps.json")["courses"].items():
        lengths = " | ".join(f"{course['steps'][step]['q0']:,.1f}" for step in (0, 1, 100, -1))
        rows.append(f"{name} | {lengths} | {course['validation_accuracy']:.1f}")
    page.shows(
        "network, first epoch | length of $q_0$ as drawn | after 1 step | after 100 | at the end | validation, %",
        rows,
    )
    for number, figure in enumerate(page.figures[3:-1], 3):
        for width, steps, logits in page.lines(number):
            row = last[figure.axes[0].get_title()][int(width)]
            assert (steps[-1], logits[-1]) == (row["step"], row["largest_logit"])
    rows = []
    for name, of_width in last.items():
        for width, row in sorted(of_width.items()):
            spread = (
                f"{floor(10 * row['effective'][-1]) / 10:.1f} of 24" if row["effective"] else "–"
            )
            length, agreement = (f"{row[f'q0_{what}']:{form}}" if f"q0_{what}" in row else "–" for what, form in (("length", ",.0f"), ("agreement", ".2f")))  # fmt: skip
            rows.append(f"{name} | {width} | {row['largest_logit']:,.0f} | {spread} | {length} | {agreement} | {row['loss']:.2f} | {row['mean_loss']:.2f}")  # fmt: skip
    page.shows(
        "variant | channels | largest logit | pixels in effect, last ring | length of $q_0$ | agreement of $q_0$ | loss | loss of a mean",
        rows,
    )
    courses, rows, told, beside = [], [], [], []
    networks = {name: f"evanet20-large-{name}" for name in choice.ADDED}
    networks |= {"ResNet": "resnet20-large", "SANet, scaled": "sanet20-large-scaled"}
    for name, network in networks.items():
        if not RUNS["quick", network]:
            continue
        (run, *_), (values, *_) = RUNS["quick", network], curves(network, tier="quick")
        small = curves(network.replace("large", "small"), tier="quick")[:1]
        colour = name.removesuffix(", scaled")
        courses.append((colour, f"{name}, 256 channels", values))
        courses.extend((colour, f"{name}, 64 channels", each) for each in small)
        falls, right = trains(network) == "no", run["test"]["accuracy"]
        rows.append(f"{name} | {max(values):.1f} | {values[-1]:.1f} | {right:.2f} | {'yes' if falls else 'no'}")  # fmt: skip
        ruled = "evanet" in network and name != "published"
        (told if ruled else beside).append(f"*{name}* {'falls' if falls else 'trains'} for 15 epochs ({right:.1f} %)")  # fmt: skip
    page.draws(-1, courses)
    page.shows(
        "large network, 15 epochs | validation, %: best | last | test, % | falls to half of its best",
        rows,
    )
    page.says(
        f"In the large network with that rate {', '.join(told)}"
        + (f"; beside them, without it, {', '.join(beside)}." if beside else ".")
    )


def report(page):
    claims = page.rows("Where | Claim | Ours | Seeds | p, Holm | Validation | Verdict")
    verdicts = Counter(re.search(r".*\| \*\*(.*?)\*\*", row)[1] for row in claims)
    changes = [row.split(" | ") for row in page.rows("Experiment | Changed | Asked by | Parameters | Test % | Effect, points | Seeds | Tier")]  # fmt: skip
    tried = [row for row in changes if row[-2] != "–"]
    six = [RUNS["paper", row.name] for row in evalib.TABLE_1]
    evanets = {
        what: curves(EVA, what)
        for what in ("train_accuracy", "validation_accuracy", "validation_loss")
    }
    end = {what: fmean(curve[-1] for curve in each) for what, each in evanets.items()}
    page.says(
        f"{sum(map(bool, six))} of the six rows of Table 1 have run the full schedule, {sum(len(each) == 3 for each in six)} of them with",
        f"judge {len(claims)} claims ({', '.join(f'*{verdict}*: {count}' for verdict, count in verdicts.items())}). Of {len(evalib.ABLATIONS)} "
        f"changes to a network {len(tried)} were tried, {sum(row[-1] == 'paper' for row in tried)} of them on the full",
        f"Of {len(claims)} claims about accuracy and time {verdicts['not yet decided']} are not",
        f"has {end['train_accuracy']:.1f} % of its training images right, and {end['validation_accuracy']:.1f} % of the validation",
        f"rises, from {fmean(curve[75] for curve in evanets['validation_loss']):.2f} to {end['validation_loss']:.2f}.",
        f"with {end['train_accuracy']:.1f} % right in training and {end['validation_accuracy']:.1f} % in validation",
    )
    lead = fmean(accuracies("paper", EVA)) - fmean(accuracies("paper", RESNET))
    others = {name for tier, name, _ in FIRST if tier == "paper"} - {EVA, RESNET}
    table_1 = {row.name for row in evalib.TABLE_1}

    def corrected(lead, s, freedom):
        return f"{min(6 * 2 * stats.t.sf(abs(lead) / (s * sqrt(2 / 3)), freedom), 1):.3f}"

    without = [corrected(lead, *deviation({name})) for name in others]
    validation = itemgetter("validation_accuracy")
    validated = fmean(map(validation, RUNS["paper", EVA])) - fmean(
        map(validation, RUNS["paper", RESNET])
    )
    page.says(
        f"lies between {min(without)} and {max(without)}; from the networks of Table 1 alone it is {corrected(lead, *deviation(others - table_1))}.",
        f"does to all networks it is {corrected(lead, *deviation(blocks=False))}.",
        f"in the same way, would give {corrected(validated, *deviation(of=validation))}.",
        *(
            f"{experiment(name).model}, seed {' and '.join(seeds)}"
            for name in (EVA, RESNET, ALONE, MLP)
            if (
                seeds := [
                    str(run["seed"]) for run in RUNS["paper", name] if run["device"][:3] == "CPU"
                ]
            )
        ),
    )
    forest, *losses = range(4)
    bars = [x for _, x, _ in page.lines(forest)][1:]
    drawn = [f"{signed(mean)} [{signed(low)}, {signed(high)}]" for (low, high), (mean,) in zip(bars[::2], bars[1::2], strict=True)]  # fmt: skip
    held = [row for row in changes if "[" in row[5] and row[-1] == "paper"]
    assert drawn == [row[5] for row in held]
    assert [name.split()[1] in row[0] for name, row in zip(page.beside(forest), held, strict=True)] == [True] * len(held)  # fmt: skip
    for number, name in zip(losses, (RESNET, SANET, EVA), strict=True):
        parts = (("training", "train_loss"), ("validation", "validation_loss"))
        page.draws(number, [(part, part, curve) for part, what in parts for curve in curves(name, what)])  # fmt: skip

    rows = []
    for row in page.rows("difference | points | common seeds | tier"):
        one, other = (
            name if name != "evanet20-small" else EVA for name in re.findall(r"`(.*?)`", row)
        )
        for tier in ("paper", "quick"):
            ours, theirs = ({run["seed"]: run["test"]["accuracy"] for run in RUNS[tier, name]} for name in (one, other))  # fmt: skip
            if both := ours.keys() & theirs.keys():
                told = f" | {signed(fmean(ours[seed] - theirs[seed] for seed in both))} ["
                assert told in row and row.endswith(f" | {len(both)} | {tier}")
                break
        else:
            assert row.endswith(" | – | – | not run")
    for row in page.rows("run | tier | seed | best − last, test | best − last, validation"):
        name, tier, seed, *gains = row.split(" | ")
        curve = FIRST[tier, name.strip("`"), int(seed)]["curve"]
        for told, what in zip(gains, ("test_accuracy", "validation_accuracy"), strict=True):
            each = [epoch.get(what) for epoch in curve]
            assert told == ("–" if None in each else signed(max(each) - each[-1]))

    runs = [
        run
        for (tier, name, _), run in FIRST.items()
        if run.get("weights") in READ and (tier == "paper" or not RUNS["paper", name])
    ]
    runs.sort(key=lambda run: -READ[run["weights"]]["right"])
    rows, unread, fewest = [], [], {}
    for run in runs:
        of = READ[run["weights"]]
        q0, *looks = of["vectors"]
        many = [look for look in looks if look["pixels"] > 1]
        changed = [f"{100 * each['changed'] / of['images']:.1f}" for each in of["vectors"]]
        spread = ", ".join(f"{look['effective']:.1f} of {look['pixels']}" for look in many)
        rows.append(
            f"`{run['experiment']}` | {run['seed']} | {run['tier']} | {of['right']:.2f} | {q0['length']:.1f} | {spread} | {', '.join(changed)}"
        )
        few = [f"`{look['vector']}`" for look in looks if look["changed"] / of["images"] < 0.001]
        unread += [f"`{run['experiment']}` seed {run['seed']} {', '.join(few)}"] if few else []
        if run["tier"] == "paper":
            fewest.setdefault(run["experiment"].rpartition("-")[2], []).extend(
                look["effective"] for look in many
            )
            if run["experiment"] == LETTER and not ended_low(run):
                page.says(
                    f"another's changes {changed[0]} % of the predictions, another look at most {max(changed[1:], key=float)} %."
                )
    page.shows(
        "network | seed | tier | right, % | length of $q_0$ | pixels in effect | % changed by another's $q_0$, attn0 …",
        rows,
    )
    page.says(
        f"happens in {len(unread)} of {len(runs)} runs: {'; '.join(unread)}.",
        ", ".join(f"*{variant}* {min(each):.1f}" for variant, each in fewest.items()),
    )
    exchanged = {name: [each["changed"] / 100 for run in RUNS["paper", EVA] for each in READ[run["weights"]]["vectors"] if each["vector"] == vector]
                 for vector, name in VECTORS.items()}  # fmt: skip
    assert page.beside(4) == [*exchanged]
    assert [bar.get_width() for bar in page.figures[4].axes[0].patches] == pytest.approx(
        [fmean(each) for each in exchanged.values()]
    )
    assert [sorted(x) for _, x, _ in page.lines(4)] == [
        pytest.approx(sorted(each)) for each in exchanged.values()
    ]
    page.says("; ".join(f"{name} {fmean(each):.1f} %" for name, each in exchanged.items()))

    means = [fmean(each) for each in AGREEMENT.tolist()]
    page.says(f"correlations are {', '.join(f'{mean:.2f}' for mean in means)}, from")
    assert page.beside(5) == [*VECTORS.values()][2:]
    bars = [x for _, x, _ in page.lines(5)][:-1]
    assert [x for (x,) in bars[1::2]] == pytest.approx(means)
    ends = [high - low for low, high in bars[::2]]
    assert ends == pytest.approx([2 * stdev(each) for each in AGREEMENT.tolist()])

    seeds = Counter((run["experiment"], run["tier"], run["seed"]) for run in EVERY)
    rows = [
        f"`{run['experiment']}` | {run['tier']} | {run['seed']} | {run['finished'][:16].replace('T', ' ')} | {run['test']['accuracy']:.2f} | "
        f"{run['device']} | {run['commit'][:7]} | {'yes' if run in FIRST.values() else 'no'}"
        for run in sorted(EVERY, key=lambda run: run["experiment"])
        if seeds[run["experiment"], run["tier"], run["seed"]] > 1
    ]
    page.shows("run | tier | seed | finished (UTC) | test % | device | commit | counts", rows)
    hours, number = Counter(), Counter()
    for run in EVERY:
        sat = Counter()
        for row in run["curve"]:
            device = [each["device"] for each in run.get("sittings", ()) if each["after"] < row["epoch"]]  # fmt: skip
            sat[device[-1] if device else run["device"]] += row["seconds"]
        epoch = median(row["seconds"] for row in run["curve"])
        whole = epoch * len(run["curve"]) / 3600 / run.get("shared", 1)
        for device, seconds in sat.items():
            hours[run["tier"], device] += whole * seconds / sat.total()
            number[run["tier"], device] += 1
    assert sorted(page.rows("tier | device | unit | runs | hours")) == sorted(
        f"{tier} | {device} | {'CPU' if device.startswith('CPU') else 'GPU'}-hours | {number[tier, device]} | {each:.2f}"
        for (tier, device), each in hours.items()
    )


def table1(page):
    page.shows(
        "model | ours after 15 epochs, test % | seeds",
        [f"{title} | {fmean(accuracies('quick', name)):.2f} | {len(accuracies('quick', name))}" for name, title in TITLES.items()
         if accuracies("quick", name)],
    )  # fmt: skip
    paper = {row.name: row.paper_accuracy for row in evalib.TABLE_1}
    lead = fmean(accuracies("paper", EVA)) - fmean(accuracies("paper", RESNET))
    theirs = (paper[EVA] - paper[RESNET]) / hypot(error(paper[EVA]), error(paper[RESNET]))
    ours = hypot(*(error(fmean(accuracies("paper", name))) for name in (EVA, RESNET)))
    page.says(
        f"found, {lead:.2f} points, is {lead / ours:.1f} standard errors of one test, where the paper's is {theirs:.1f}."
    )
    below = [each - fmean(accuracies("paper", name)) for name, each in paper.items() if accuracies("paper", name)]  # fmt: skip
    page.says(f"{len(below)} of the six rows", f"by {min(below):.1f} to {max(below):.1f} points.")

    rows = []
    names = dict.fromkeys([*paper, *(row.split(" | ")[0] for row in page.rows(RECORD))])
    for tier, name in product(("paper", "quick"), names):
        for run in RUNS[tier, name]:
            seconds = [row["seconds"] for row in run["curve"]]
            places = {each["device"]: 0 for each in run.get("sittings", ())} or {run["device"]: 0}
            reached, each = run["test"]["accuracy"], median(seconds)
            rows.append(
                f"{run['experiment']} | {tier} | {run['seed']} | {len(seconds)} | {reached:.2f} ± {error(reached):.2f} | {', '.join(places)} | "
                f"{run.get('precision') or '–' if len(places) == 1 else '–'} | {run.get('shared', 1)} | {each * len(seconds) / 60:.1f} | "
                f"{each:.0f} ({min(seconds):.0f} to {max(seconds):.0f}) | {run['versions']['torch']} | {run['commit'][:7]}"
            )
    page.shows(RECORD, rows)
    pairs = product(("paper", "quick"), ("train_loss", "validation_accuracy"))
    for number, (tier, what) in enumerate(pairs, 1):
        courses = [
            (title.partition("-")[0], title, curve)
            for name, title in TITLES.items()
            if name in paper and "small" in name
            for curve in curves(name, what, tier)
        ]
        page.draws(number, courses)


def weights(page):
    files = sorted(stored.PRETRAINED.glob("*.safetensors"))
    said, made, got, seen = [], [], [], []
    subset = cifar.load_data("subset")
    images, labels = subset.test_images[::10], subset.test_labels[::10]
    for file in files:
        header = json.loads(file.read_bytes()[8:].split(b"}}", 1)[0] + b"}}")
        name = file.stem[:-17]
        run, kind = RUNS["paper", name][0], header["classifier.weight"]["dtype"]
        number = {"F32": "float32", "BF16": "bfloat16"}[kind]
        test = run["test"]
        said.append(
            f"`{file.name}` | `{name}` | {run['parameters']:,} | {number} | {file.stat().st_size:,}"
        )
        made.append(f"`{name}` | paper | 0 | {run['data']['source']} | {len(run['curve'])} | Adam | {run['device']} | "
                    f"{run['seconds'] / 60:.1f} | {run['versions']['torch']} | {run['commit'][:7]}")  # fmt: skip
        got.append(f"`{name}` | {test['correct']:,} of {test['images']:,} | {test['accuracy']:.2f} ± {error(test['accuracy']):.2f} | "
                   f"{test['loss']:.3f} | {run['validation_accuracy']:.2f}")  # fmt: skip
        with torch.no_grad():
            answers = evalib.load_pretrained(name)(data.normalise(images)).argmax(dim=1)
        seen.append(f"`{name}` | {100 * (answers == labels).double().mean():.1f} | {len(labels)}")
    page.shows("file | network | parameters | numbers | bytes", said)
    page.shows(
        "network | tier | seed | data | epochs | optimiser | device | minutes | torch | commit",
        made,
    )
    page.shows("network | test images right | test % | test loss, nats | validation %", got)
    page.shows("network | right, % | bundled images", seen)
    page.says(f"**Not for use, but to be studied:** `{LETTER}` collapsed")


def networks(page):
    parts, rows = ("stem", "stage 1", "stage 2", "stage 3", "summary", "classifier"), []
    for row in evalib.TABLE_1:
        counts = Counter()
        for name, each in evalib.build(row.name).named_parameters():
            part, block = name.split(".")[:2]
            counts[f"stage {int(block) // 2 + 1}" if part == "stages" else part] += each.numel()
        numbers = (f"{each:,}" for each in (counts.total(), *(counts[part] for part in parts)))
        rows.append(" | ".join([row.name, *numbers]))
        page.says(
            f"{row.model} {counts.total() / 1e6:.2f}, its summary {counts['summary'] / 1e6:.2f}"
        )
    page.shows(" | ".join(["network", "all", *parts]), rows)


def deviation(left_out=(), of=lambda run: run["test"]["accuracy"], blocks=True):
    """Of the full runs about their networks and seeds, and its degrees of freedom: least squares."""
    fitted = [
        (name, run["seed"] * blocks, of(run))
        for name in {name for tier, name, _ in FIRST if tier == "paper"} - {*left_out}
        if len(each := RUNS["paper", name]) > 1 and not any(map(ended_low, each))
        for run in each
    ]
    names, seeds, values = zip(*fitted, strict=True)
    columns = [np.equal(kind, each) for kind in (names, seeds) for each in sorted({*kind})]
    design = np.array(columns, float).T
    _, (squares,), *_ = np.linalg.lstsq(design[:, :-1], np.array(values), rcond=None)
    freedom = len(values) - design.shape[1] + 1
    return sqrt(squares / freedom), freedom


def interval(differences):
    s, freedom = deviation()
    mean, n = fmean(differences), len(differences)
    half = stats.t.ppf(0.975, freedom) * s * sqrt(2 / n)
    return f"{signed(mean)} (95 %: {signed(mean - half)} to {signed(mean + half)}; {n} trainings)"


def intro(page):
    both = [accuracies("paper", name) for name in (EVA, RESNET)]
    runs = Counter(tier for tier, *_ in FIRST)
    book = (RESULTS.parent / "book" / "departures.md").read_text("utf-8")
    alone = accuracies("paper", ALONE)
    without = [one - other for one, other in zip(both[0], alone, strict=False)]
    ahead = [one - other for one, other in zip(*both, strict=True)]
    page.says(
        f"In points of accuracy on CIFAR-10: against the average {interval(ahead)},",
        f"against its own first glance, trained without looks, {interval(without)}.",
        f"Here are {runs['paper']} of full trainings and {runs['quick']} of short ones.",
        f"in {len(MUTANTS)} ways",
        f"{book.count(chr(10) + '## D')} places",
    )


def eva(page):
    images, alone = data.normalise(cifar.load_data("subset").test_images[::50]), []
    for name in (EVA, LETTER):
        with torch.no_grad():
            looks = evalib.trace(evalib.load_pretrained(name), images)[1].look_weights[1:]
        alone.append(sum(int((each.amax(dim=-1) > 0.99).sum()) for each in looks))
    page.says(
        f"{len(images)} images, 4 heads and 3 rings make {3 * 4 * len(images)} looks",
        f"in {alone[0]} of them, *letter* in {alone[1]}:",
    )


def why(page):
    rows = []
    for k in (1, 3, 5, 7):
        attention = evalib.RelativeSelfAttention(128, 256, k, num_heads=4)
        ours, work = 3 * 128 * 256 + k * 256, flops(attention, torch.zeros(1, 128, 32, 32))
        theirs, their_work = k * k * 128 * 256, 2 * k * k * 128 * 256 * 32**2
        rows.append(f"{k} | {theirs:,} | {their_work / 1e6:,.0f} | {ours:,} | {work / 1e6:,.0f}")
    page.shows(
        "k | convolution, weights | convolution, MFLOPs | attention, weights | attention, MFLOPs",
        rows,
    )
    page.says(f"{theirs / ours:.0f} times the weights and {their_work / work:.0f} times the FLOPs")


def speed(page):
    cpu, gpu = (read(f"benchmarks/training-{kind}.json") for kind in ("cpu", "cuda"))
    forms = (
        "eager NCHW|forward, backward, optimiser|evalib|evalib, captured|evalib, compiled".split(
            "|"
        )
    )
    rows, counts = [], []
    for bench in (cpu, gpu):
        for name, timed in bench["step_seconds"].items():
            best, least = min(timed[form] for form in forms[2:] if form in timed), "– | –"
            if counted := bench.get("counted", {}).get(name):
                by = [counted[what] / bench["ceilings"][what] for what in ("flops", "bytes")]
                least = f"{ms(max(by))} | {best / max(by):.1f}"
                counts.append(
                    f"{name} ({bench['device']}) | {counted['flops'] / 1e9:.1f} | {counted['bytes'] / 1e6:.0f} | {ms(by[0])} | {ms(by[1])}"
                )
            cells = (ms(timed[form]) if form in timed else "–" for form in forms)
            rows.append(" | ".join([name, bench["device"], *cells, least]))
    page.shows(" | ".join(["Network", "Device", *forms, "floor", "times the floor"]), rows)
    page.shows("Network | GFLOP a step | MB a step | ms by FLOPs | ms by bytes", counts)
    theirs, ours = (cpu["pipeline_seconds"][name] for name in ("DataLoader", "evalib"))
    page.shows(
        "Device | images/s, DataLoader | images/s, ours | ratio",
        [
            f"{cpu['device']} | {cpu['images'] / theirs:,.0f} | {cpu['images'] / ours:,.0f} | {theirs / ours:.1f}"
        ],
    )
    (work, moved), (rate, width) = (
        (each["flops"] / 1e9, each["bytes"] / 1e9)
        for each in (cpu["counted"][RESNET], cpu["ceilings"])
    )
    page.says(
        f"{work:.2f} GFLOP ÷ {rate:.1f} GFLOP/s = {1000 * work / rate:.1f} ms; {moved:.2f} GB ÷ {width:.1f} GB/s = {1000 * moved / width:.1f} ms."
    )
    beside = {
        f"{name}, {how}": each
        for name, of in gpu["rows"].items()
        for how, each in of.items()
        if "largest_difference" in each
    }
    said = (f"{name}: {ms(each['step_seconds'])} ms and {ms(each['step_seconds_side_by_side'])} ms a run" for name, each in beside.items())  # fmt: skip
    page.says(
        f"with {gpu['amounts']['seeds']} runs side by side, on the {gpu['device']}: {'; '.join(said)}. After {gpu['amounts']['steps']} steps",
        f"at most {max(each['largest_difference'] for each in beside.values()):g}.",
    )

    attention = [read(f"benchmarks/attention-{kind}.json") for kind in ("cpu", "cuda")]
    figures = iter(page.figures)
    for each in attention:
        page.says(f"**{each['device']}**, batch of {each['batch_size']}, {each['heads']} heads")
        said = []
        for name, timed in each["cases"].items():
            ratios = {form: row["seconds_ratio"] for form, row in timed.items() if row.get("seconds_ratio")}  # fmt: skip
            figure = next(figures).axes[0]
            labels = [text.get_text() for text in figure.get_yticklabels()]
            widths = [bar.get_width() for bar in figure.patches]
            assert (figure.get_title(), dict(zip(labels, widths, strict=True))) == (name, ratios)
            if "convolution" in ratios:
                said.append(f"{name}: {ratios['fast'] / ratios['convolution']:.1f}")
        page.says(f"same extent and widths: {'; '.join(said)}.")
        times = {
            name: each["cases"][name]
            for name in each["cases"]
            if "convolution" in each["cases"][name]
        }
        times = {
            name: of["fast"]["seconds_ratio"] / of["convolution"]["seconds_ratio"]
            for name, of in times.items()
        }
        faster, level = (
            [name for name, ratio in times.items() if least <= ratio <= most]
            for least, most in ((0, 0.949999), (0.95, 1.05))
        )
        faster_, level_ = (
            f"{len(names)} ({'; '.join(names)})" if names else "none" for names in (faster, level)
        )
        page.says(
            f"faster in {faster_} of {len(times)} cases, level within 5 % in {level_}, and slower in the other {len(times) - len(faster) - len(level)}."
        )
    _, gpu_layers = attention
    worst = [
        max(row["largest"] for row in gpu_layers["errors"] if row["dtype"] == name)
        for name in ("float32", "bfloat16")
    ]
    page.says(
        f"is of {gpu_layers['date']}, commit `{gpu_layers['commit'][:7]}`",
        f"over {len(gpu_layers['errors'])} cases, was {worst[0]:.0e} in float32 and {worst[1]:.0e} in bfloat16.",
        f"measured on {gpu['date']}, commit `{gpu['commit'][:7]}`",
    )
    rows = []
    for each in gpu_layers["targets"] + gpu["targets"]:
        what = ", ".join(filter(None, (each["what"], each.get("how"))))
        if "case" in each:
            what = (
                f"{each['case']}: {'peak memory' if 'bytes' in what else 'time'} over {each['of']}"
            )
        measured = each.get("ratio", each.get("value"))
        met = "– | –" if measured is None else f"{measured:.3g} | {'yes' if measured <= each['at_most'] else 'no'}"  # fmt: skip
        rows.append(f"{what} | {each['at_most']:g} | {met}")
    page.shows("What | At most | Measured | Met", rows)


@pytest.mark.slow
@pytest.mark.parametrize(
    "tell",
    [decide, collapse, report, speed, table1, weights, networks, intro, eva, why],
    ids=lambda tell: tell.__name__,
)
def test_a_page_tells_what_the_records_say(tell, float32):
    tell(shown(tell.__name__))


def test_the_first_page_has_the_runs_of_the_records(float32):
    """The dots of *Is it real?*, and what is said of the epochs of the runs that were watched."""
    for network in machine.real()["networks"]:
        runs = RUNS["paper", network["name"]]
        dots = [(run["seed"], run["test"]["accuracy"], run["validation_accuracy"], ended_low(run)) for run in runs]  # fmt: skip
        assert [tuple(dot.values()) for dot in network["runs"]] == dots
        chosen = any("test_accuracy" in run["curve"][0] for run in runs)
        assert network["fits"] == (not chosen and not any(map(ended_low, runs)))
    told = machine.watched()
    for run, shown_of in zip(read("watched.json")["runs"], told["runs"], strict=True):
        assert shown_of["curve"] == run["curve"] and len(run["curve"]) == run["epochs"]
        for each, frame in zip(run["watched"], shown_of["frames"], strict=True):
            spread = [fmean(of) for of in zip(*(picture["effective"] for picture in each["pictures"]), strict=True)]  # fmt: skip
            right = f"epoch {each['epoch']} of {run['epochs']}, {each.get('validation_accuracy', 0):.0f} % of the validation"
            said = map(float, re.findall(r"([\d.]+) of (?:8|16|24)\b", frame["told"]))
            assert [*said] == pytest.approx(spread[1:], abs=0.0501)
            assert right in frame["told"] or not each["epoch"]
        assert f"{run['test_accuracy']:.1f} % ({shown_of['key']})" in told["note"]
