"""What the trainer costs: `make bench` runs this, and writes results/benchmarks/.

On a CPU against the usual loop, timed in one process, the variants in turn, over and over; the
medians' ratios are what counts. On a CUDA device the rows of Table 1, in some two minutes: see
``rows.py``.
"""

import argparse
import statistics
from pathlib import Path

import rows
import torch
from timing import seconds
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from evalib.experiments import TABLE_1, build, experiment
from evalib.networks import count_parameters
from evalib.results import records
from evalib.results.costs import flops
from evalib.results.statistics import MLP, QUERY_ALONE
from evalib.training import data, environment
from evalib.training.cifar import is_there, load_data
from evalib.training.environment import choose_device
from evalib.training.settings import Settings
from evalib.training.step import eager_step, precision_of
from evalib.training.train import begin

BATCH_SIZE = 150
TARGETS = {"pipeline": (">=", 15.0), "step": ("<=", 0.85), "overhead": ("<=", 0.05)}


class Images(Dataset):
    """CIFAR-10 as the usual loop has it: PIL images through torchvision's transforms, one at a
    time.
    """

    def __init__(self, cifar: data.Dataset):
        self.images = cifar.train_images.permute(0, 2, 3, 1).numpy()
        self.labels = cifar.train_labels.tolist()
        self.transform = transforms.Compose(
            [
                transforms.ToPILImage(),
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(data.MEAN, data.STD),
            ]
        )

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.transform(self.images[index]), self.labels[index]


def interleaved(variants: dict, repeats: int, device) -> dict[str, float]:
    """The median seconds of each variant, timed in turn after one warm-up round."""
    for variant in variants.values():
        variant()
    times = {name: [] for name in variants}
    for _ in range(repeats):
        for name, variant in variants.items():
            times[name].append(seconds(variant, device))
    return {name: statistics.median(values) for name, values in times.items()}


def pipeline(cifar: data.Dataset, device, repeats: int) -> dict[str, float]:
    """Seconds for one epoch of augmented batches: ours on the device, and a DataLoader with two
    workers.
    """
    padded, n = data.pad(cifar.train_images.to(device)), len(cifar.train_labels)
    loader = DataLoader(
        Images(cifar), BATCH_SIZE, shuffle=True, num_workers=2, persistent_workers=True
    )

    def ours():
        plan = (part.to(device).split(BATCH_SIZE) for part in data.epoch_plan(n, 0, 0))
        for parts in zip(*plan, strict=True):
            data.normalise(data.crop_and_flip(padded, *parts))

    def usual():
        for images, _ in loader:
            images.to(device)

    return interleaved({"evalib": ours, "DataLoader": usual}, repeats, device)


def step(name: str, cifar: data.Dataset, device, repeats: int) -> dict[str, float]:
    """Seconds for one training step of ``name``: the plain eager NCHW loop, ours, and the parts of
    ours.
    """
    plan = data.Plan(
        *(part[:BATCH_SIZE].to(device) for part in data.epoch_plan(len(cifar.train_labels), 0, 0))
    )
    padded, labels = data.pad(cifar.train_images.to(device)), cifar.train_labels.to(device)
    network, optimiser = begin(Settings(name), device)
    network.train()
    plain = build(name).to(device).train()
    plain_optimiser = torch.optim.Adam(plain.parameters(), lr=1e-3)
    images = data.normalise(data.crop_and_flip(padded, *plan))
    nhwc, label = images.contiguous(memory_format=torch.channels_last), labels[plan.order]

    def usual():
        plain_optimiser.zero_grad()
        F.cross_entropy(plain(images), label).backward()
        plain_optimiser.step()

    precision = precision_of(None, device)

    def core():
        with torch.autocast(
            device.type, torch.bfloat16, enabled=precision == "bf16", cache_enabled=False
        ):
            scores = network(nhwc)
        optimiser.zero_grad()
        F.cross_entropy(scores.float(), label).backward()
        optimiser.step()

    variants = {"eager NCHW": usual, "forward, backward, optimiser": core}
    eager = eager_step(network, optimiser, padded, labels, precision)
    variants["evalib"] = lambda: eager(plan)
    return interleaved(variants, repeats, device)


def ceilings(device) -> dict[str, float]:
    """What the device reaches at best: FLOPs a second in a large matrix product, bytes a second in
    a large copy.
    """
    cuda = device.type == "cuda"
    side, dtype = (8192, torch.bfloat16) if cuda else (2048, torch.float32)
    a, b = torch.randn(2, side, side, device=device).to(dtype)
    source = torch.randn(2**28 if cuda else 2**25, device=device)
    target = torch.empty_like(source)
    medians = interleaved(
        {"product": lambda: a @ b, "copy": lambda: target.copy_(source)}, 9, device
    )
    return {
        "flops": 2 * side**3 / medians["product"],
        "bytes": 2 * 4 * source.numel() / medians["copy"],
    }


def counted(name: str, device) -> dict[str, float]:
    """FLOPs and fewest bytes of one step of ``name``.

    FLOPs: the forward pass three times over, as the backward pass has two products for each of its.
    Bytes: each layer's output is written, read forward, read backward, and its gradient written and
    read; a parameter is read twice, its gradient written and read, and Adam reads and writes three
    tensors of its size.
    """
    network, outputs = build(name), []
    for layer in network.modules():
        if not list(layer.children()):
            layer.register_forward_hook(
                lambda layer, x, y: outputs.append(y.numel()) if torch.is_tensor(y) else None
            )
    forward = flops(network, torch.randn(2, 3, 32, 32)) / 2
    activation = 2 if device.type == "cuda" else 4
    per_image = 5 * activation * sum(outputs) / 2
    return {
        "flops": 3 * BATCH_SIZE * forward,
        "bytes": BATCH_SIZE * per_image + 10 * 4 * count_parameters(network),
    }


def on_a_gpu(device, names: list[str], budget: float, amounts: rows.Amounts) -> dict:
    """What the record says of the rows of Table 1 on a GPU."""
    found, left_out = rows.measure(device, budget, amounts, names)
    said = {"eager": "evalib, captured", "compiled": "evalib, compiled"}
    steps = {
        name: {
            said[how]: each["step_seconds"] for how, each in row.items() if "step_seconds" in each
        }
        for name, row in found.items()
    }
    return {
        "images": f"{amounts.images}, random",
        "amounts": amounts._asdict(),
        "precision": precision_of(None, device),
        "rows": found,
        "left_out": left_out,
        "step_seconds": {name: row for name, row in steps.items() if row},
        "targets": rows.judge(found),
    }


def against_the_usual_loop(device, names: list[str], repeats: int) -> dict:
    """What the record says of the pipeline and of a step, each against the usual one."""
    cifar = load_data("full" if is_there() else "subset")
    epochs = pipeline(cifar, device, 3)
    steps = {name: step(name, cifar, device, repeats) for name in names}
    first = steps[names[0]]
    figures = {
        "pipeline": epochs["DataLoader"] / epochs["evalib"],
        "step": first["evalib"] / first["eager NCHW"],
        "overhead": 1 - first["forward, backward, optimiser"] / first["evalib"],
    }
    for what, seconds_each in {"pipeline, one epoch": epochs, **steps}.items():
        print(
            what,
            *(f"  {name:<30} {1000 * value:10.1f} ms" for name, value in seconds_each.items()),
            sep="\n",
        )
    for name, (sign, bound) in TARGETS.items():
        met = figures[name] >= bound if sign == ">=" else figures[name] <= bound
        print(
            f"{name:<10} {figures[name]:6.2f}  target {sign} {bound:g}:"
            f" {'met' if met else 'not met'}"
        )
    return {
        "repeats": repeats,
        "images": len(cifar.train_labels),
        "pipeline_seconds": epochs,
        "step_seconds": steps,
        "ratios": figures,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--repeats", type=int, default=15, help="of each variant, not on CUDA (default: 15)"
    )
    parser.add_argument(
        "--budget",
        type=float,
        default=90.0,
        help="seconds after which CUDA begins no row (default: 90)",
    )
    parser.add_argument("--device", help="cuda, mps or cpu (default: the best there is)")
    parser.add_argument(
        "--networks",
        nargs="+",
        metavar="NAME",
        help="default: Table 1 on CUDA, elsewhere its small networks and their controls",
    )
    arguments = parser.parse_args()
    try:
        asked = [experiment(name).name for name in arguments.networks or ()]
    except ValueError as error:
        parser.error(str(error))
    device, table = choose_device(arguments.device), [row.name for row in TABLE_1]
    if device.type == "cuda":
        names = asked or table
        measured = on_a_gpu(device, names, arguments.budget, rows.Amounts())
    else:
        names = asked or [*table[:3], MLP, QUERY_ALONE]
        measured = against_the_usual_loop(device, names, arguments.repeats)
    record = {
        "device": environment.device_name(device),
        "versions": environment.versions(),
        "commit": environment.commit(),
        "batch_size": BATCH_SIZE,
        **measured,
        "ceilings": ceilings(device),
        "counted": {name: counted(name, device) for name in measured["step_seconds"]},
    }
    print(
        records.write(
            record, Path(records.results()) / "benchmarks" / f"training-{device.type}.json"
        )
    )


if __name__ == "__main__":
    main()
