"""Attention, literal and fast and by others: `make bench` runs this, and writes
results/benchmarks/.

Everything is timed in one process, forward and backward through the whole layer, the variants in
turn, over and over; the ratios of medians are what counts. Peak memory is what a pass allocates
beyond its input and parameters. On a GPU a pass is bf16 autocast, captured as one CUDA graph and
replayed, channels last but for the literal form, and of another package the faster layout; on a CPU
it is float32.
"""

import argparse
import importlib
import math
import os
import statistics
import warnings
from contextlib import suppress
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from einops import einsum, rearrange
from timing import captured, leaves, replay_seconds, seconds
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from evalib import ExpandingVisualAttention, RelativeSelfAttention, equations
from evalib.eva import SingleQueryAttention
from evalib.fast import cpu
from evalib.results import records
from evalib.training import environment
from evalib.training.environment import choose_device

BATCH_SIZE, HEADS, NHWC = 150, 4, {"memory_format": torch.channels_last}


class Case(NamedTuple):
    """One layer on one map."""

    in_channels: int
    out_channels: int
    extent: int
    kernel_size: int
    stride: int = 1

    def __str__(self):
        name = (
            f"{self.in_channels}→{self.out_channels} {self.extent}×{self.extent}"
            f" k={self.kernel_size}"
        )
        return name + (f" stride {self.stride}" if self.stride > 1 else "")


CASES = (
    Case(32, 64, 16, 3),
    Case(64, 64, 8, 3),
    Case(64, 64, 8, 7),
    Case(32, 64, 16, 3, 2),
    Case(128, 256, 16, 3),
)
GPU_CASES = (CASES[0], Case(256, 256, 8, 3), Case(128, 256, 16, 3, 2), CASES[1], CASES[3], CASES[2])
FLEX_CASES = GPU_CASES[3:]
"""On a GPU FlexAttention takes some 20 seconds a case to compile; last, for after a failed capture
torch 2.11 makes no other.
"""
EVA_CHANNELS = (64, 256)
TARGETS = (  # case, what, of, at most
    (str(CASES[0]), "seconds", "literal", 0.10),
    (str(CASES[1]), "seconds", "literal", 0.20),
    (str(CASES[2]), "seconds", "literal", 0.05),
    (str(CASES[1]), "seconds", "convolution", 1.5),
    (str(CASES[2]), "peak_bytes", "literal", 0.25),
    ("EVA 64", "seconds", "literal", 0.55),
    ("EVA 256", "seconds", "literal", 0.50),
)
GPU_TARGETS = (
    (str(CASES[1]), "seconds", "convolution", 2.0),
    (str(CASES[3]), "seconds", "convolution", 3.0),
    (str(CASES[2]), "seconds", "convolution", 1.0),
    *((str(case), "seconds", "literal", 0.125) for case in GPU_CASES),
    (str(CASES[2]), "peak_bytes", "literal", 0.25),
)
NATTEN = "no q·r in its logits, and windows shifted at the border: it does not compute Eq. 3"
NOTES = {
    "dense SDPA": "all pixels, r gathered into a bias of n·h·(ij)² and masked",
    "FlexAttention": "q·r as a captured bias; on a CPU forward alone, not comparable with the rest",
    "halonet-pytorch": "blocks share one window of k−1+block pixels: not Eq. 3; cout is cin again",
    "timm HaloAttn": "blocks share one window of k−1+block pixels: not Eq. 3",
    "convolution": "k×k, contiguous or channels last, whichever is faster",
}


class Variant(NamedTuple):
    """A function of x with its own parameters, and whether it has a backward pass here."""

    function: object
    x: Tensor
    backward: bool = True

    def __call__(self):
        with (
            torch.set_grad_enabled(self.backward),
            torch.autocast("cuda", torch.bfloat16, enabled=self.x.is_cuda),
        ):
            y = self.function(self.x)
        if self.backward and self.x.is_cuda:  # the gradients of a graph lie where it writes them
            torch.autograd.grad(y, leaves(y), torch.ones_like(y))
        elif self.backward:
            y.sum().backward()


def heads(layer: RelativeSelfAttention, x: Tensor) -> list[Tensor]:
    return [
        rearrange(W(x), "n (h c) i j -> n h c i j", h=HEADS)
        for W in (layer.W_Q, layer.W_K, layer.W_V)
    ]


def literal(layer: RelativeSelfAttention, x: Tensor) -> Tensor:
    """Eq. 3 as equations.py writes it."""
    y = equations.relative_attention(*heads(layer, x), layer.rows, layer.cols, stride=layer.stride)
    return rearrange(y, "n h c i j -> n (h c) i j")


def position(layer: RelativeSelfAttention, q: Tensor, extent: int) -> tuple[Tensor, Tensor]:
    """q·r for each query and offset, ``n h (i j) (a b)``, and the offset, k² for none, of each
    query and key.
    """
    k = layer.rows.shape[-1]
    r = equations.relative_embedding(layer.rows, layer.cols)
    logits = rearrange(
        einsum(q, r, "n h c i j, h c a b -> n h i j a b"), "n h i j a b -> n h (i j) (a b)"
    )
    axis = cpu.position(extent, k, layer.stride, q)
    a, b = axis[:, None, :, None], axis[None, :, None, :]
    offset = torch.where((a < k) & (b < k), a * k + b, k * k)
    return logits, rearrange(offset, "i j a b -> (i j) (a b)")


def sequences(layer: RelativeSelfAttention, x: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
    """q, k and v as ``n h (i j) c``, and the :func:`position` of q."""
    q, k, v = heads(layer, x)
    q = q[..., :: layer.stride, :: layer.stride]
    return [rearrange(t, "n h c i j -> n h (i j) c") for t in (q, k, v)], *position(
        layer, q, x.shape[-1]
    )


def images(y: Tensor) -> Tensor:
    return rearrange(y, "n h (i j) c -> n (h c) i j", i=round(y.shape[2] ** 0.5))


def dense_sdpa(layer: RelativeSelfAttention, x: Tensor) -> Tensor:
    qkv, logits, offset = sequences(layer, x)
    bias = F.pad(logits, (0, 1), value=-torch.inf).gather(
        -1, offset.expand(*logits.shape[:2], -1, -1)
    )
    return images(F.scaled_dot_product_attention(*qkv, attn_mask=bias, scale=1.0))


def flex(layer: RelativeSelfAttention, case: Case, x: Tensor, attention, masks: dict) -> Tensor:
    qkv, logits, offset = sequences(layer, x)
    last, (queries, keys) = case.kernel_size**2, offset.shape
    if "mask" not in masks:
        masks["mask"] = create_block_mask(
            lambda n, h, p, m: offset[p, m] < last, None, None, queries, keys, x.device
        )

    def add_r(score, n, h, p, m):
        return score + logits[n, h, p, offset[p, m].clamp(max=last - 1)]

    return images(attention(*qkv, score_mod=add_r, block_mask=masks["mask"], scale=1.0))


def attentions(case: Case, device: torch.device) -> dict[str, Variant]:
    """Everything that is timed on one case."""
    cin, cout, extent, k, stride = case
    x = torch.randn(BATCH_SIZE, cin, extent, extent, device=device, requires_grad=True)
    nhwc = x.detach().contiguous(**NHWC).requires_grad_()
    layer = RelativeSelfAttention(cin, cout, k, HEADS, stride).to(device)
    convolution = nn.Conv2d(cin, cout, k, stride, k // 2, bias=False).to(device)
    variants = {
        "literal": Variant(partial(literal, layer), x),
        "fast": Variant(layer, nhwc if device.type == "cuda" else x),
        "convolution NCHW": Variant(convolution, x),
        "convolution NHWC": Variant(convolution, nhwc),
    }
    if device.type == "cuda":
        variants["convolution NHWC"] = Variant(deepcopy(convolution).to(**NHWC), nhwc)
    else:
        variants["compiled literal"] = Variant(
            torch.compile(partial(literal, layer), dynamic=False), x
        )
        variants["dense SDPA"] = Variant(partial(dense_sdpa, layer), x)
    if device.type != "cuda" or case in FLEX_CASES:
        attention = torch.compile(flex_attention, dynamic=False)
        function = partial(flex, layer, case, attention=attention, masks={})
        variants["FlexAttention"] = Variant(
            function, *((nhwc, True) if device.type == "cuda" else (x, False))
        )
    for name, peer in halos(case).items():
        if device.type == "cuda":
            variants |= {
                f"{name} NCHW": Variant(peer.to(device), x),
                f"{name} NHWC": Variant(peer, nhwc),
            }
        else:
            variants[name] = Variant(peer, x)
    return variants


def halos(case: Case) -> dict[str, nn.Module]:
    """Blocks of pixels with a halo around them, of the packages that are installed; without a
    stride.
    """
    cin, cout, extent, k, stride = case
    options = {"dim_head": cout // HEADS, "block_size": min(extent, 8), "halo_size": k // 2}
    makers = {
        "halonet-pytorch": lambda module: module.HaloAttention(dim=cin, heads=HEADS, **options),
        "timm HaloAttn": lambda module: module.HaloAttn(cin, cout, num_heads=HEADS, **options),
    }
    found = {}
    for (name, make), module in zip(
        makers.items(), ("halonet_pytorch", "timm.layers.halo_attn"), strict=True
    ):
        with suppress(ImportError):  # of a package that it needs itself, too
            found |= {name: make(importlib.import_module(module))} if stride == 1 else {}
    return found


class PlainConvolution(nn.Conv2d):
    """The 7×7 convolution of a 7×7 map as any other."""

    def forward(self, x: Tensor) -> Tensor:
        return rearrange(super().forward(x), "n d 1 1 -> n d")


class PlainEVA(ExpandingVisualAttention):
    """EVA with a convolution for its convolution; its attention is replaced below."""

    Candidate = PlainConvolution


def evas(channels: int, device: torch.device) -> dict[str, Variant]:
    """EVA literal and fast, in the layout that the trainer gives it."""
    x = torch.randn(BATCH_SIZE, channels, 7, 7, device=device).contiguous(**NHWC).requires_grad_()
    plain, quick = (
        EVA(channels, channels, channels, HEADS).to(device, **NHWC)
        for EVA in (PlainEVA, ExpandingVisualAttention)
    )
    for part in plain.modules():
        if isinstance(part, SingleQueryAttention):
            part.fast = False
    return {"literal": Variant(plain, x), "fast": Variant(quick, x)}


def peak_bytes(variant: Variant, device: torch.device) -> int:
    """The most that one pass holds at once, beyond what stands before it; on a CPU from the
    allocator's own events.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        variant()
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        variant()
    events = [
        event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"
    ]
    held, most = 0, 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def measure(
    variants: dict[str, Variant], device: torch.device, repeats: int, budget: float
) -> dict[str, dict]:
    """Median seconds, repeats and peak bytes of each variant; of one that cannot run here, why."""
    rows, able, cuda = {}, {}, device.type == "cuda"
    for name, variant in variants.items():
        try:
            variant()  # compiles, and warms up
            rows[name] = {"peak_bytes": peak_bytes(variant, device)}
            able[name] = (
                partial(replay_seconds, captured(variant))
                if cuda
                else partial(seconds, variant, device)
            )
        except Exception as error:
            rows[name] = {
                "failed": (
                    f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:120]}"
                )
            }
    times = {name: [] for name in able}
    for _ in range(repeats):
        for name, timed in able.items():
            if len(times[name]) < 2 or sum(times[name]) < budget / len(able):
                times[name].append(timed())
    for name in able:
        rows[name] |= {"seconds": statistics.median(times[name]), "repeats": len(times[name])}
        rows[name]["pass"] = "forward, backward" if variants[name].backward else "forward"
    for name in [name.removesuffix(" NHWC") for name in rows if name.endswith(" NHWC")]:
        pair = [rows.pop(f"{name} NCHW"), rows.pop(f"{name} NHWC")]
        rows[name] = min(pair, key=lambda row: row.get("seconds", math.inf))
    return rows


def show(name: str, rows: dict[str, dict]) -> None:
    """One table: each variant's time and memory, and their ratios to the literal form's."""
    base = rows["literal"]
    if "failed" in base:
        print(f"\n{name}: no ratios, the literal form could not run: {base['failed']}")
        return
    print(f"\n{name}\n  {'':<18}{'ms':>9}{'ratio':>8}{'MiB':>9}{'ratio':>8}")
    for variant, row in rows.items():
        if "failed" in row:
            print(f"  {variant:<18}{'–':>9}{'–':>8}{'–':>9}{'–':>8}  {row['failed']}")
            continue
        for what in ("seconds", "peak_bytes"):
            row[f"{what}_ratio"] = row[what] / base[what]
        note = f"  {NOTES.get(variant, '')}" + (
            "" if row["pass"] != "forward" else " (forward alone)"
        )
        print(
            f"  {variant:<18}{1e3 * row['seconds']:9.1f}{row['seconds_ratio']:8.3f}"
            f"{row['peak_bytes'] / 2**20:9.1f}{row['peak_bytes_ratio']:8.3f}{note}".rstrip()
        )


def judge(tables: dict[str, dict], targets: tuple) -> list[dict]:
    """Each target with the figure it asks for; ``None`` where one of the two could not run."""
    found = []
    for case, what, of, bound in targets:
        one, other = (tables[case][name].get(what) for name in ("fast", of))
        value = one / other if one and other else None
        met = None if value is None else value <= bound
        found.append(
            {"case": case, "what": what, "of": of, "at_most": bound, "ratio": value, "met": met}
        )
        verdict = {None: "not measured", True: "met", False: "not met"}[met]
        said = "–" if value is None else f"{value:.3f}"
        print(f"{case:<22} {what:<11} fast / {of:<12} {said:>6}  target ≤ {bound:g}: {verdict}")
    return found


def launches() -> dict[str, list]:
    """How the kernels of each case are run on a GPU: forward pass, and backward pass for queries
    and for keys.
    """
    from evalib.fast import gpu

    return {
        str(case): gpu.launches(
            case.out_channels // HEADS,
            case.kernel_size,
            case.stride,
            case.extent,
            case.extent,
            torch.bfloat16,
        )
        for case in GPU_CASES
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", help="cuda or cpu (default: the best there is)")
    parser.add_argument("--threads", type=int, help="threads of the CPU (default: torch's choice)")
    parser.add_argument("--repeats", type=int, default=25, help="at most (default: 25)")
    parser.add_argument(
        "--budget",
        type=float,
        default=12.0,
        help="seconds a case, two repeats at least (default: 12)",
    )
    parser.add_argument("--quick", action="store_true", help="three repeats of everything")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device, repeats = choose_device(arguments.device), 3 if arguments.quick else arguments.repeats
    warnings.filterwarnings("ignore")
    torch.manual_seed(0)
    cuda = device.type == "cuda"
    cases = [(str(case), partial(attentions, case)) for case in (GPU_CASES if cuda else CASES)]
    cases += [(f"EVA {channels}", partial(evas, channels)) for channels in EVA_CHANNELS]
    tables = {}
    for name, variants in cases:
        torch._dynamo.reset()
        tables[name] = measure(variants(device), device, repeats, arguments.budget)
        show(name, tables[name])
    print()
    record = {
        "device": environment.device_name(device),
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg(),
        "versions": environment.versions(),
        "commit": environment.commit(),
        "batch_size": BATCH_SIZE,
        "heads": HEADS,
        "dtype": "bfloat16 autocast" if cuda else "float32",
        **({"launches": launches(), "peers": {"NATTEN": NATTEN}} if cuda else {}),
        "repeats": repeats,
        "cases": tables,
        "targets": judge(tables, GPU_TARGETS if cuda else TARGETS),
    }
    print(
        records.write(
            record, Path(records.results()) / "benchmarks" / f"attention-{device.type}.json"
        )
    )


if __name__ == "__main__":
    main()
