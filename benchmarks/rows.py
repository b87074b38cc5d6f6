"""The rows of Table 1 on a GPU: how long a step takes to make, a step, an epoch; alone, and seeds
side by side.

Each step is captured, and compiled or eager. Seeds side by side take turns, a step each, each on a
stream of its own, as the trainer has them; their seconds are those of all together over their
number.
"""

import gc
import math
import tempfile
import time
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from timing import seconds
from torch import Tensor, nn

from evalib.experiments import TABLE_1, experiment
from evalib.training import checkpoint, data
from evalib.training.settings import TIERS, Settings
from evalib.training.step import Step, compiles, precision_of, training_step
from evalib.training.train import begin, epoch_steps, evaluate


class Amounts(NamedTuple):
    """How much is measured."""

    images: int = 45_000
    validation: int = 5_000
    steps: int = 100
    epochs: int = 2
    seeds: int = 5


class Images(NamedTuple):
    """Where the steps read them."""

    padded: Tensor
    labels: Tensor
    validation: Tensor


class Run(NamedTuple):
    """One seed, ready to train."""

    settings: Settings
    network: nn.Module
    optimiser: torch.optim.Optimizer
    step: Step
    stream: torch.cuda.Stream | None


def random_images(amounts: Amounts, device: torch.device) -> Images:
    """Bytes and labels at random, for time does not depend on what an image shows."""
    draw = partial(torch.randint, generator=torch.Generator().manual_seed(0))
    images = draw(0, 256, (amounts.images + amounts.validation, 3, 32, 32), dtype=torch.uint8).to(
        device
    )
    labels = draw(0, 10, (amounts.images,)).to(device)
    return Images(data.pad(images[: amounts.images]), labels, images[amounts.images :])


def make(name: str, seed: int, images: Images, compile: bool) -> Run:
    """A run of ``name`` on a stream of its own, its step captured."""
    device, settings = images.labels.device, Settings(name, seed, "paper")
    stream = torch.cuda.Stream() if device.type == "cuda" else None
    with torch.cuda.stream(stream):
        network, optimiser = begin(settings, device)
        inputs = images.padded, images.labels, settings.batch_size, precision_of(None, device)
        step = training_step(network.train(), optimiser, *inputs, compile)
    return Run(settings, network, optimiser, step, stream)


def take_steps(plan: list[data.Plan], run: Run) -> Generator[None, None, None]:
    """One step a batch of ``plan``, a step a turn."""
    for batch in plan:
        run.step(batch)
        yield


def take_epochs(images: Images, epochs: int, folder: Path, run: Run) -> Generator[None, None, None]:
    """Epochs as the trainer has them, a step a turn: plan, steps, validation, checkpoint."""
    for epoch in range(epochs):
        losses, _ = yield from epoch_steps(
            run.step, run.network, len(images.labels), run.settings, epoch
        )
        losses.mean().item()
        run.network.eval()
        evaluate(run.network, images.validation).cpu()
        checkpoint.save_run(
            folder / f"{run.settings.seed}", epoch + 1, run.network, run.optimiser, {}
        )


def in_turn(function: Callable[[Run], Generator[None, None, None]], runs: list[Run]) -> None:
    """What ``function`` gives for each run, a step each in turn, on the run's stream; and wait for
    all.
    """
    waiting = [(run, function(run)) for run in runs]
    while waiting:
        for each in list(waiting):
            run, steps = each
            with torch.cuda.stream(run.stream):
                if next(steps, "end") == "end":
                    waiting.remove(each)
    for run in runs:
        if run.stream:
            run.stream.synchronize()


def state(run: Run) -> list[Tensor]:
    """All that a step changes."""
    kept = (tensor for each in run.optimiser.state.values() for tensor in each.values())
    return [*run.network.parameters(), *run.network.buffers(), *kept]


def copied(run: Run) -> list[Tensor]:
    with torch.cuda.stream(run.stream):
        return [tensor.detach().clone() for tensor in state(run)]


@torch.no_grad()
def restore(run: Run, old: list[Tensor]) -> None:
    with torch.cuda.stream(run.stream):
        for tensor, value in zip(state(run), old, strict=True):
            tensor.copy_(value)


def batches(amounts: Amounts, batch_size: int, device: torch.device) -> list[data.Plan]:
    parts = (part.to(device).split(batch_size) for part in data.epoch_plan(amounts.images, 0, 0))
    return [data.Plan(*each) for each in zip(*parts, strict=True)][: amounts.steps]


def one_step(name: str, images: Images, amounts: Amounts, compile: bool) -> dict[str, float]:
    """Seconds that a step takes to make, and a step."""
    return alone(name, images, amounts, compile)[1]


def alone(
    name: str, images: Images, amounts: Amounts, compile: bool
) -> tuple[Run, dict[str, float]]:
    """A run as it begins, and seconds that its step took to make, and a step."""
    device, runs = images.labels.device, []
    plan = batches(amounts, Settings(name).batch_size, device)
    making = seconds(lambda: runs.append(make(name, 0, images, compile)), device)
    start = copied(runs[0])
    in_turn(partial(take_steps, plan[:2]), runs)
    step = seconds(partial(in_turn, partial(take_steps, plan), runs), device) / len(plan)
    restore(runs[0], start)
    return runs[0], {"made_seconds": making, "step_seconds": step}


def whole_row(name: str, images: Images, amounts: Amounts, compile: bool) -> dict[str, float]:
    """:func:`one_step`, and seeds side by side: seconds a step and run, an epoch and run, and an
    epoch alone.

    ``largest_difference`` is between all that the first run holds after its steps alone and beside
    the others.
    """
    device, plan = (
        images.labels.device,
        batches(amounts, Settings(name).batch_size, images.labels.device),
    )
    first, found = alone(name, images, amounts, compile)
    start, runs, others = copied(first), [first], range(1, amounts.seeds)
    found["others_made_seconds"] = seconds(
        lambda: runs.extend(make(name, seed, images, compile) for seed in others), device
    )
    in_turn(partial(take_steps, plan[:2]), runs)
    restore(first, start)
    together = seconds(partial(in_turn, partial(take_steps, plan), runs), device)
    found["step_seconds_side_by_side"] = together / len(plan) / len(runs)
    beside = copied(first)
    restore(first, start)
    in_turn(partial(take_steps, plan), [first])
    found["largest_difference"] = largest_difference(state(first), beside)
    with tempfile.TemporaryDirectory() as folder:
        epochs = partial(in_turn, partial(take_epochs, images, amounts.epochs, Path(folder)))
        epochs([first])  # a validation takes more the first time
        found["epoch_seconds"] = seconds(partial(epochs, [first]), device) / amounts.epochs
        together = seconds(partial(epochs, runs), device) / amounts.epochs
        found["epoch_seconds_side_by_side"] = together / len(runs)
    return found


def largest_difference(ones: list[Tensor], others: list[Tensor]) -> float:
    """Between any two entries; ``ArithmeticError`` if one of them is no number."""
    each = [(one - other).abs().max().double() for one, other in zip(ones, others, strict=True)]
    largest = torch.stack(each).max().item()
    if not math.isfinite(largest):
        raise ArithmeticError(f"the runs differ by {largest}: a weight is no number")
    return largest


def measure(
    device: torch.device, budget: float, amounts: Amounts, names: list[str]
) -> tuple[dict[str, dict[str, dict]], list[str]]:
    """What each row takes eager, and as the trainer has it on this device, and what was not begun
    within ``budget`` seconds.
    """
    compile, images, begin = (
        compiles(None, "paper", device),
        random_images(amounts, device),
        time.perf_counter(),
    )
    todo = [(name, "eager", one_step) for name in names if compile]
    todo += [(name, "compiled" if compile else "eager", whole_row) for name in names]
    rows: dict[str, dict[str, dict]] = {name: {} for name in names}
    left_out = []
    for name, how, function in todo:
        if time.perf_counter() - begin > budget:
            left_out.append(f"{name}, {how}")
            continue
        try:
            rows[name][how] = function(name, images, amounts, how == "compiled")
        except Exception as error:  # that of one row, and the others go on
            rows[name][how] = {"failed": f"{type(error).__name__}: {str(error).strip()[:300]}"}
        show(name, how, rows[name][how])
        gc.collect()  # the graphs of the row, before what was compiled for them
        torch._dynamo.reset()
    return rows, left_out


def show(name: str, how: str, found: dict) -> None:
    figures = (
        f"{what} {value:.4g}" if isinstance(value, float) else value
        for what, value in found.items()
    )
    print(f"{name:<16} {how:<9}", "; ".join(figures), flush=True)


Measured = dict[str, dict[str, float]]


def over_resnet(kind: str, size: str, rows: Measured) -> float:
    return (
        rows[experiment(f"{kind}-{size}").name]["step_seconds"]
        / rows[f"resnet20-{size}"]["step_seconds"]
    )


def slowest(what: str, size: str, rows: Measured) -> float:
    return max(rows[row.name][what] for row in TABLE_1 if row.model.endswith(size))


def six_runs(rows: Measured) -> float:
    """One seed of each row at the paper tier, one after the other, by what making a step and an
    epoch take.
    """
    epochs = TIERS["paper"].epochs
    return sum(
        rows[row.name]["made_seconds"] + epochs * rows[row.name]["epoch_seconds"] for row in TABLE_1
    )


TARGETS: list[tuple[str, float, Callable[[Measured], float]]] = [
    *(
        (f"step, {kind}-{size} over resnet20-{size}", 1.3, partial(over_resnet, kind, size))
        for size in ("small", "large")
        for kind in ("sanet20", "evanet20")
    ),
    ("seconds of an epoch, slowest of small", 0.30, partial(slowest, "epoch_seconds", "small")),
    ("seconds of an epoch, slowest of large", 0.60, partial(slowest, "epoch_seconds", "large")),
    (
        "the same a run, side by side, small",
        0.15,
        partial(slowest, "epoch_seconds_side_by_side", "small"),
    ),
    (
        "the same a run, side by side, large",
        0.45,
        partial(slowest, "epoch_seconds_side_by_side", "large"),
    ),
    ("seconds of six rows, one seed, 150 epochs, by their epochs", 300, six_runs),
]


def judge(rows: dict[str, dict[str, dict]]) -> list[dict]:
    """Each target with the figure it asks for, compiled where that was measured; ``None`` where
    none was.
    """
    targets = []
    for what, at_most, figure in TARGETS:
        found = {"what": what, "at_most": at_most, "how": None, "value": None, "met": None}
        for how in ("eager", "compiled"):
            try:
                value = figure({name: row[how] for name, row in rows.items() if how in row})
            except KeyError:
                continue
            found |= {"how": how, "value": value, "met": value <= at_most}
        targets.append(found)
        verdict = {None: "not measured", True: "met", False: "not met"}[found["met"]]
        said = "–" if found["value"] is None else f"{found['value']:.2f}, {found['how']}"
        print(f"{what:<60} {said:<15} target ≤ {at_most:g}: {verdict}")
    return targets
