"""The window kernels compiled for a GPU that need not be there: test_window_kernel.py runs this.

``python compiled.py 90``: for compute capability 9.0, what SANet-20 small and some shapes more run;
a further argument names types, as ``float32 float16``. In each kernel a program's shared memory
must be there, and a warp group's matrix product (``wgmma``) must not read past its operands, which
Triton does not check.
"""

import re
import sys

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from evalib.fast import gpu

SHAPES = [(16, 16, 16, 3, 2), (16, 8, 8, 3, 1), (16, 16, 16, 3, 1), (8, 7, 9, 5, 3)]
"""Channels of a head, rows, columns, window and stride."""
WIDE = [(64, 16, 16, 3, 2), (64, 8, 8, 3, 1), (128, 8, 8, 3, 1), (64, 56, 56, 7, 1)]
MEMORY = {75: 64, 80: 163, 86: 99, 89: 99, 90: 227}
"""KiB of shared memory that one program may have."""


class Absent:
    """A driver that knows the GPU to compile for and runs nothing."""

    def __init__(self, capability):
        self.target = GPUTarget("cuda", capability, 32)

    def get_current_target(self):
        return self.target

    def get_current_device(self):
        return 0

    def get_current_stream(self, device):
        return 0


def past_operands(assembly):
    """The products whose warps cover more rows or columns than the result has."""
    tiles = dict(re.findall(r"(#mma\d*) = #ttg\.nvidia_mma<\{(versionMajor = 3.*?)\}>", assembly))
    for line in re.findall(r"warp_group_dot .*-> tensor<(\d+)x(\d+)xf\d+, (#mma\d*)>", assembly):
        rows, cols, name = int(line[0]), int(line[1]), line[2]
        (a, b), (m, n, _) = (
            map(int, re.search(key + r" = \[([\d, ]+)\]", tiles[name])[1].split(","))
            for key in ("warpsPerCTA", "instrShape")
        )
        if a * m > rows or b * n > cols:
            yield f"{rows}×{cols} by {a}×{b} warps of {m}×{n}"


def main(capability, types):
    kernels, run = [], JITFunction.run
    driver.set_active(Absent(capability))
    gpu.capability = lambda device: divmod(capability, 10)
    JITFunction.run = lambda self, *inputs, warmup, **options: kernels.append(
        run(self, *inputs, warmup=True, **options)
    )
    for dtype in types or ["float16" if capability < 80 else "bfloat16"]:
        for c, i, j, k, stride in SHAPES if not types else SHAPES + WIDE:
            kernels.clear()
            qkv = torch.zeros(2, i, j, 3, 2, c, dtype=getattr(torch, dtype)).permute(
                0, 3, 4, 5, 1, 2
            )
            rows = cols = torch.zeros(2, c // 2, k)
            y, lse = gpu.forward(qkv, rows, cols, stride, 1.0)
            gpu.backward(torch.zeros_like(y), qkv, rows, cols, y, lse, stride, 1.0)
            for kernel in kernels:
                what = (dtype, c, i, j, k, stride), kernel.metadata.name
                assert kernel.metadata.shared <= 1024 * MEMORY[capability], (
                    what,
                    kernel.metadata.shared,
                )
                assert not (past := list(past_operands(kernel.asm["ttgir"]))), (what, past)
    print("compiled")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
