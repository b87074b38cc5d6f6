"""What the networks are made of: BasicBlocks, and the summaries of the last map."""

import torch
from einops import rearrange, reduce
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from evalib.eva import EXTENT, ExpandingVisualAttention

KERNEL_SIZE, NUM_HEADS = 3, 4


class BasicBlock(nn.Module):
    """Two mixing layers, batch-normalised, around a parameter-free shortcut (He et al. 2015, option A; departure D8).

    ``mix(in, out, stride=…)`` is a 3×3 convolution, or local relative self-attention of the same extent.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, mix):
        super().__init__()
        self.stride, self.extra_channels = stride, out_channels - in_channels
        self.mix1, self.norm1 = mix(in_channels, out_channels, stride=stride), nn.BatchNorm2d(out_channels)
        self.mix2, self.norm2 = mix(out_channels, out_channels, stride=1), nn.BatchNorm2d(out_channels)

    def forward(self, x: Float[Tensor, "n cin i j"]) -> Float[Tensor, "n cout _ _"]:
        y = self.norm1(self.mix1(x)).relu()
        return (self.norm2(self.mix2(y)) + self.shortcut(x)).relu()

    def shortcut(self, x: Float[Tensor, "n cin i j"]) -> Float[Tensor, "n cout _ _"]:
        """Every stride-th pixel, with zeros for the new channels."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra_channels))


class UnpaddedBlock(BasicBlock):
    """Where it has stride 2, its first convolution is not padded: ``n cin 16 16 -> n cout 7 7`` (see departure D6)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, mix):
        super().__init__(in_channels, out_channels, stride, mix)
        self.margin = stride - 1
        self.mix1.padding = (KERNEL_SIZE // 2 - self.margin,) * 2

    def shortcut(self, x: Float[Tensor, "n cin i j"]) -> Float[Tensor, "n cout _ _"]:
        return super().shortcut(F.pad(x, (-self.margin,) * 4))


class SecondAttends(BasicBlock):
    """One attention a block: the first mixing layer, which has the stride, is a convolution (see departure D7)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, mix):
        super().__init__(in_channels, out_channels, stride, convolution_3x3)
        self.mix2 = mix(out_channels, out_channels, stride=1)


class AverageSummary(nn.Module):
    """Global average pooling, the summary of a ResNet: ``n c i j -> n c``."""

    def forward(self, x: Float[Tensor, "n c i j"]) -> Float[Tensor, "n c"]:
        return reduce(x, "n c i j -> n c", "mean")


class EVASummary(nn.Module):
    """EVA over the last 7 rows and columns of the 8×8 map: ``n c 8 8 -> n c`` (departure D6).

    Under autocast it computes in the precision of its parameters: logits of some hundreds leave bf16 no digits.
    """

    def __init__(self, channels: int, layer: type[nn.Module] = ExpandingVisualAttention, num_heads: int = NUM_HEADS):
        super().__init__()
        self.eva = layer(channels, channels, channels, num_heads)

    def forward(self, x: Float[Tensor, "n c i j"], trace: bool = False):
        crop = x[:, :, -EXTENT:, -EXTENT:]
        with torch.autocast(x.device.type, enabled=False):
            crop = crop.to(next(self.parameters()).dtype)
            if trace:
                y, seen = self.eva(crop, trace=True)
                return rearrange(y, "n c 1 1 -> n c"), seen
            return rearrange(self.eva(crop), "n c 1 1 -> n c")


def convolution_3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """A 3×3 convolution without bias, initialised as He et al. 2015 do (normal, fan-out)."""
    layer = nn.Conv2d(in_channels, out_channels, KERNEL_SIZE, stride, padding=KERNEL_SIZE // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer
