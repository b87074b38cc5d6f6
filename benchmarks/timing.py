"""The clock of the benchmarks."""

import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

REPLAYS = 20


def seconds(function: Callable, device: torch.device) -> float:
    """Wall time of one call, the device's work included."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def replay_seconds(graph: torch.cuda.CUDAGraph) -> float:
    """Seconds of a replay, the mean of REPLAYS one after the other, by the GPU's own clock."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(REPLAYS):
        graph.replay()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1000 / REPLAYS


def captured(function: Callable[[], object]) -> torch.cuda.CUDAGraph:
    """``function`` as one CUDA graph, after three warm-up calls."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            function()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    return graph


def leaves(y: Tensor) -> list[Tensor]:
    """The tensors that y was computed from and that ask for a gradient."""

    def walk() -> Iterator[Tensor]:
        nodes, seen = [y.grad_fn], set()
        while nodes:
            node = nodes.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            if hasattr(node, "variable"):
                yield node.variable
            nodes += [following for following, _ in node.next_functions]

    return list(walk())
