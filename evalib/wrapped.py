"""The layers in the hands of others: hooks, pruning, adapters and quantisation on a projection; modules made without data."""

from functools import wraps

import torch
from einops import rearrange
from torch import Tensor, nn

from evalib.attention import RelativeSelfAttention
from evalib.equations import relative_embedding
from evalib.eva import ExpandingVisualAttention, SingleQueryAttention

WEIGHT_ALONE = nn.Linear.forward, nn.Conv2d.forward


def weight_alone(projection: nn.Module) -> bool:
    """Whether a projection is its weight and nothing else.

    One with hooks is more, as pruning and the older norms of weights are; so is one of another class, as what quantises it
    or adds a low-rank term. Such have to be called.
    """
    hooks = "_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks"
    hooked = any(getattr(projection, each) for each in hooks)
    return type(projection).forward in WEIGHT_ALONE and projection.bias is None and not hooked


def calls_its_projections(kind, projected) -> None:
    """Let a ``kind`` whose projections are more than their weights attend to what they give, ``projected``."""
    plain = kind.forward

    @wraps(plain)
    def forward(self, *inputs):
        if all(weight_alone(projection) for projection in (self.W_Q, self.W_K, self.W_V)):
            return plain(self, *inputs)
        return projected(self, *inputs)

    kind.forward = forward


def identity(x: Tensor, d: int) -> Tensor:
    """The identity of d channels, where x lies and in its precision."""
    return torch.eye(d, dtype=x.dtype, device=x.device)


def projected_map(layer: RelativeSelfAttention, x: Tensor) -> Tensor:
    """Eq. 3 of what the projections give: each kernel picks q, k or v as it is."""
    qkv = torch.cat([layer.W_Q(x), layer.W_K(x), layer.W_V(x)], dim=1)
    kernels = rearrange(identity(qkv, qkv.shape[1]), "cout cin -> cout cin 1 1").split(qkv.shape[1] // 3)
    return layer.attend(qkv, *kernels, layer.rows, layer.cols, layer.num_heads, layer.stride, layer.scale)


def projected_query(layer: SingleQueryAttention, query: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """The attention of one query, likewise."""
    r_m = None
    if layer.offsets is not None:
        r_m = relative_embedding(layer.rows, layer.cols).flatten(2).index_select(2, layer.pixels)
    q, kv = layer.W_Q(query), torch.cat([layer.W_K(memory), layer.W_V(memory)], dim=-1)
    d = q.shape[-1]
    return layer.attend(q, kv, identity(q, d), *identity(q, 2 * d).split(d), layer.num_heads, r_m, layer.scale)


def keeps_its_places(kind, *names: str) -> None:
    """Let a ``kind`` know its buffers ``names``, which no state_dict has, however it was made: ``to_empty`` leaves them to chance."""
    init, apply = kind.__init__, kind._apply

    @wraps(init)
    def __init__(self, *arguments, **options):
        init(self, *arguments, **options)
        self.places = {name: getattr(self, name).tolist() for name in names if getattr(self, name, None) is not None}
        device = torch.get_default_device()
        if device.type != "meta":
            for name in self.places:
                setattr(self, name, getattr(self, name).to(device))

    @wraps(apply)
    def _apply(self, fn, recurse=True):
        apply(self, fn, recurse)
        for name, place in self.__dict__.get("places", {}).items():
            if not (buffer := getattr(self, name)).is_meta:
                setattr(self, name, torch.tensor(place, dtype=buffer.dtype, device=buffer.device))
        return self

    kind.__init__, kind._apply = __init__, _apply


calls_its_projections(RelativeSelfAttention, projected_map)
calls_its_projections(SingleQueryAttention, projected_query)
for _kind in (SingleQueryAttention, ExpandingVisualAttention):
    keeps_its_places(_kind, "pixels")
