"""Blocks and shortcuts that the six networks of Table 1 do not have."""

from torch import nn
from torch.nn import functional as F

from evalib.equations import Map, Out
from evalib.networks import BasicBlock, PaddedShortcut, convolution, convolution_3x3


class Bottleneck(nn.Module):
    """A 1×1 convolution to a quarter of the channels, the mixing layer, with the stride, and a 1×1 back (Figure 5)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, mix, shortcut=PaddedShortcut):
        super().__init__()
        inner = out_channels // 4
        self.reduce, self.norm1 = convolution(in_channels, inner), nn.BatchNorm2d(inner)
        self.mix, self.norm2 = mix(inner, inner, stride=stride), nn.BatchNorm2d(inner)
        self.expand, self.norm3 = convolution(inner, out_channels), nn.BatchNorm2d(out_channels)
        self.shortcut = shortcut(in_channels, out_channels, stride)

    def forward(self, x: Map) -> Out:
        y = self.norm2(self.mix(self.norm1(self.reduce(x)).relu())).relu()
        return (self.norm3(self.expand(y)) + self.shortcut(x)).relu()


def projected_shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """Option B: a 1×1 convolution and batch normalisation where the shape changes, else the identity."""
    if (in_channels, stride) == (out_channels, 1):
        return nn.Identity()
    return nn.Sequential(convolution(in_channels, out_channels, stride), nn.BatchNorm2d(out_channels))


class CroppedShortcut(PaddedShortcut):
    """At stride 2 without the border: the pixels around which an unpadded 3×3 window lies whole."""

    def forward(self, x: Map) -> Out:
        return super().forward(F.pad(x, (1 - self.stride,) * 4))


class UnpaddedBlock(BasicBlock):
    """Where it has stride 2, its first convolution is not padded: ``n cin 16 16 -> n cout 7 7`` (see departure D6)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, mix, shortcut=CroppedShortcut):
        def unpadded(in_channels: int, out_channels: int, stride: int) -> nn.Module:
            return mix(in_channels, out_channels, stride=stride, padding=2 - stride)

        super().__init__(in_channels, out_channels, stride, unpadded, CroppedShortcut)


class SecondAttends(BasicBlock):
    """One attention a block: the first mixing layer, which has the stride, is a convolution (see departure D7)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, mix, shortcut=PaddedShortcut):
        super().__init__(in_channels, out_channels, stride, convolution_3x3, shortcut)
        self.mix2 = mix(out_channels, out_channels, stride=1)
