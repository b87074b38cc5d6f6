"""What is counted and not run: FLOPs of the equations as they are written, and the paper's claims
about costs.
"""

from functools import cache

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from evalib.attention import RelativeSelfAttention
from evalib.eva import EXTENT, ExpandingVisualAttention
from evalib.experiments import TABLE_1, build
from evalib.networks import KERNEL_SIZE, NUM_HEADS, EVASummary, count_parameters
from evalib.results.claims import Claim
from evalib.results.statistics import NOT_SUPPORTED, SUPPORTED
from evalib.tracing import as_written


def claims() -> list[Claim]:
    """Costs, and the example of the introduction."""
    return [*costs(), example()]


def flops(module: nn.Module, x: Tensor) -> int:
    """FLOPs of ``module(x)`` with its attentions in their literal form, as
    :mod:`torch.utils.flop_counter` counts them.

    A multiply-add is two. Counted are matrix products and convolutions: those of Eq. 1,
    projections, logits and weighted sums, and linear layers. A window has k² positions everywhere,
    the padding of a border included, and a query is projected at every pixel, also where a stride
    passes over it. Not counted are softmax, normalisation, ReLU and sums, nor the weighted "sum"
    over EVA's first ring of one pixel.
    """
    literal = as_written(module)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        literal(x)
    return counter.get_total_flops()


@cache
def cost(name: str) -> tuple[int, int]:
    """Parameters and FLOPs of a network of Table 1 for one 32×32 image."""
    network = build(name).eval()
    return count_parameters(network), flops(network, torch.zeros(1, 3, 32, 32))


def costs() -> list[Claim]:
    """Fewer parameters and FLOPs (§5): each attention layer beside a convolution of its extent,
    then the networks.
    """
    made = []
    for size in (TABLE_1[:3], TABLE_1[3:]):
        resnet, *attentional = size
        d = resnet.widths[-1]
        small, large = torch.zeros(1, d, 8, 8), torch.zeros(1, d, EXTENT, EXTENT)
        layers = [
            (
                f"self-attention, {d} channels, k = {KERNEL_SIZE},",
                RelativeSelfAttention(d, d, KERNEL_SIZE, NUM_HEADS),
                "the convolution it replaces",
                nn.Conv2d(d, d, KERNEL_SIZE, padding=1, bias=False),
                small,
            ),
            (
                f"EVA, {d} channels,",
                ExpandingVisualAttention(d, d, d, NUM_HEADS),
                f"a {EXTENT}×{EXTENT} convolution",
                nn.Conv2d(d, d, EXTENT),
                large,
            ),
        ]
        for name, layer, other, convolution, x in layers:
            ours, theirs = (
                (count_parameters(each), flops(each, x)) for each in (layer, convolution)
            )
            made.append(
                cheaper(f"{name} has fewer parameters and FLOPs than {other}", ours, theirs)
            )
            if isinstance(layer, ExpandingVisualAttention):
                made[-1] = made[-1]._replace(
                    kind="construction", why="it contains that convolution"
                )
        for row in attentional:
            statement = f"{row.model} has fewer parameters and FLOPs than {resnet.model}"
            made.append(
                cheaper(
                    statement,
                    cost(row.name),
                    cost(resnet.name),
                    "abstract, §5" if row.head is EVASummary else "§5",
                )
            )
    return made


def cheaper(
    statement: str, ours: tuple[int, int], theirs: tuple[int, int], where: str = "§5"
) -> Claim:
    """A claim on parameters and FLOPs: supported if both are fewer."""
    text = (
        f"{ours[0]:,} against {theirs[0]:,} parameters, {ours[1] / 1e6:,.2f} against"
        f" {theirs[1] / 1e6:,.2f} MFLOPs"
    )
    fewer = [one < other for one, other in zip(ours, theirs, strict=True)]
    why = (
        ""
        if fewer[0] == fewer[1]
        else f"only the {'parameters' if fewer[0] else 'FLOPs'} are fewer"
    )
    return Claim(
        "arithmetic", where, statement, text, SUPPORTED if all(fewer) else NOT_SUPPORTED, why
    )


def example() -> Claim:
    """The introduction's layer [128, 256, 5, 5] on 128×32×32: what it says of it is arithmetic."""
    layer = nn.Conv2d(128, 256, 5, padding=2, bias=False)
    templates, dimensions = len(layer.weight), layer.weight[0].numel()
    cost = flops(layer, torch.zeros(1, 128, 32, 32))
    return Claim(
        "construction",
        "§1",
        "a convolution [128, 256, 5, 5] on 128×32×32 matches 256 templates in 5 × 5 × 128"
        " dimensions",
        f"{templates} templates in {dimensions:,} dimensions: {layer.weight.numel():,} weights,"
        f" {cost / 1e6:,.0f} MFLOPs",
        SUPPORTED if (templates, dimensions) == (256, 5 * 5 * 128) else NOT_SUPPORTED,
        "as arithmetic; that this limits what deep convolutions express is not tested",
    )
