"""Wrong versions of the package, each one change of text, each with the tests that have to notice
it.
"""

from typing import NamedTuple


class Mutant(NamedTuple):
    """``old`` becomes ``new`` in ``evalib/<file>``, at each of the ``times`` places where it
    stands, and ``tests/test_<tests>.py`` fails.
    """

    name: str
    what: str
    tests: str
    file: str
    old: str
    new: str
    times: int = 1


CONTENT = 'content = einsum(q_ij, k_ab, "n h c i j, n h c i j a b -> n h i j a b")'
MASKED = "logits.masked_fill(~inside, -torch.inf)"
JOINT = 'rearrange(joint.softmax(dim=-1), "n h i j (a b) -> n h i j a b", a=logits.shape[-2])'
TABLES = 'repeat(rows, "h c a -> h c a b", b=k), repeat(cols, "h c b -> h c a b", a=k)'
PAD = "F.pad(x, (half, half, half, half))"
WRAP = "torch.arange(-half, x.shape[{0}] + half) % x.shape[{0}]"

MUTANTS = (
    # ── Windows and rings
    Mutant(
        "circular-padding", "the image goes on at the opposite border instead of in zeros", "equations", "equations.py",
        PAD, f"x[..., {WRAP.format(-2)}, :][..., {WRAP.format(-1)}]",
    ),
    Mutant(
        "ring-off-by-one", "each ring lies one pixel too far down and to the right", "eva", "equations.py",
        "== radius).T - radius", "== radius).T - radius + 1",
    ),
    Mutant(
        "ring-unmasked", "a memory block keeps the smaller block inside it", "eva", "equations.py",
        "column.abs()) == radius", "column.abs()) <= radius",
    ),
    Mutant(
        "ring-column-major", "a ring lists its pixels column by column", "eva", "equations.py",
        "== radius).T - radius", "== radius).T.flip(0) - radius",
    ),
    # ── Eq. 1
    Mutant(
        "kernel-flipped", "Eq. 1 with the kernel turned by 180°", "equations",
        "equations.py", "einsum(weight, x_ab,", "einsum(weight.flip(-2, -1), x_ab,",
    ),
    # ── Eq. 2 and 3: logits
    Mutant(
        "first-channel", "q·k takes the first channel only", "equations", "equations.py",
        CONTENT, CONTENT.replace("q_ij, k_ab", "q_ij[:, :, :1], k_ab[:, :, :1]"), times=2,
    ),
    Mutant(
        "sums-multiplied", "the channels of q and of k are summed before they are multiplied", "equations", "equations.py",
        CONTENT, 'content = einsum(q_ij.sum(2), k_ab.sum(2), "n h i j, n h i j a b -> n h i j a b")', times=2,
    ),
    Mutant(
        "no-position", "the logits leave out q·r", "equations", "equations.py",
        "scale * (content + position)", "scale * (content + 0 * position)",
    ),
    Mutant(
        "position-unscaled", "the scale multiplies the content logits only", "equations", "equations.py",
        "scale * (content + position)", "scale * content + position",
    ),
    Mutant(
        "scaled-twice", "the scale multiplies the logits twice", "equations", "equations.py",
        "softmax_ab(scale * content,", "softmax_ab(scale * scale * content,",
    ),
    Mutant(
        "rows-and-columns", "the row table is read with the column offset, the column table with the row offset", "equations",
        "equations.py", TABLES, 'repeat(rows, "h c b -> h c a b", a=k), repeat(cols, "h c a -> h c a b", b=k)',
    ),
    Mutant(
        "one-table", "the row table is read for columns too", "equations",
        "equations.py", TABLES, TABLES.replace("repeat(cols,", "repeat(rows,"),
    ),
    Mutant(
        "offset-sign", "r of the offset i − a, j − b instead of a − i, b − j", "equations", "equations.py",
        "r_ab = relative_embedding(rows, cols)", "r_ab = relative_embedding(rows.flip(-1), cols.flip(-1))",
    ),
    Mutant(
        "stride-on-queries", "with a stride, the first queries are answered instead of every stride-th", "equations",
        "equations.py", "q[..., ::stride, ::stride]", "q[..., : -(-q.shape[3] // stride), : -(-q.shape[4] // stride)]", times=2,
    ),
    # ── Eq. 2 and 3: weights
    Mutant(
        "softmax-over-a-row", "a softmax over each row of the window by itself", "equations", "equations.py",
        JOINT, f"{MASKED}.softmax(dim=-1).nan_to_num()",
    ),
    Mutant(
        "softmax-over-heads", "a softmax over the heads", "equations", "equations.py",
        "joint.softmax(dim=-1)", "joint.softmax(dim=1).nan_to_num()",
    ),
    Mutant(
        "mask-inverted", "windows at the border attend to the padding only", "equations", "equations.py",
        MASKED, "logits.masked_fill(inside & ~inside.all(dim=(-2, -1), keepdim=True), -torch.inf)",
    ),
    Mutant(
        "mask-missing", "padding takes part in the softmax", "equations", "equations.py",
        MASKED, "logits",
    ),
    Mutant(
        "mask-after-softmax", "padding is removed after the softmax, so border weights do not sum to one", "equations",
        "equations.py", JOINT,
        'rearrange(logits, "n h i j a b -> n h i j (a b)").softmax(-1).reshape(logits.shape) * inside',
    ),
    Mutant(
        "key-for-value", "keys and values change places", "equations", "equations.py",
        "k_ab, v_ab = windows(k", "v_ab, k_ab = windows(k", times=2,
    ),
    # ── Heads
    Mutant(
        "heads-interleaved", "a head takes every h-th channel instead of neighbouring ones", "equations", "fast/__init__.py",
        '"n (three h c) i j -> n three h c i j"', '"n (three c h) i j -> n three h c i j"',
    ),
    Mutant(
        "heads-reshaped", "keys and values are split into heads by a reshape that mixes pixels and channels",
        "fast", "eva.py",
        'k_m = rearrange(W_K(memory), "n m (h c) -> n h m c", h=self.num_heads)',
        "k_m = W_K(memory).reshape(len(memory), self.num_heads, memory.shape[1], -1)",
    ),
    # ── Fast forms
    Mutant(
        "absorbed-heads-interleaved", "EVA's values take every h-th channel for a head, its keys neighbouring ones",
        "eva", "fast/__init__.py", '"(h c) cin -> h cin c"', '"(c h) cin -> h cin c"',
    ),
    Mutant(
        "joined-heads-interleaved", "on a GPU EVA's keys and values take every h-th channel for a head, its query neighbours",
        "fast", "fast/__init__.py", '"m n (two h c) -> m n two h c"',
        '"m n (two c h) -> m n two h c"',
    ),
    Mutant(
        "joined-swapped", "on a GPU EVA's keys and values change places", "fast", "fast/__init__.py",
        "k_m, v_m = rearrange(both", "v_m, k_m = rearrange(both",
    ),
    Mutant(
        "spread-sign", "q·r is spread over the map by the offset i − a instead of a − i", "equations", "fast/cpu.py",
        "pixel - pixel[::stride, None] + size // 2", "pixel[::stride, None] - pixel + size // 2",
    ),
    Mutant(
        "unseen-too-likely", "pixels outside the window get the logit −100: no part, unless logits are large",
        "fast", "fast/cpu.py",
        "value=-torch.inf", "value=-100.0",
    ),
    Mutant(
        "large-scale-ignored", "a scale above 1 counts as 1", "fast", "fast/cpu.py",
        "q if scale == 1 else", "q if scale >= 1 else",
    ),
    Mutant(
        "half-precision-sums", "logits and sums over offsets are rounded to the precision of the input",
        "fast", "fast/cpu.py",
        "turned.to(torch.promote_types(t.dtype, torch.float32))", "turned",
    ),
    Mutant(
        "last-query-unshifted", "a shift leaves out the last query that it reaches", "fast", "fast/cpu.py",
        "(extent - 1 - offset) // stride + 1)", "(extent - 1 - offset) // stride)",
    ),
    Mutant(
        "softmax-derivative", "the derivative of a softmax is taken as if its sum were not fixed", "fast",
        "fast/cpu.py", "d_logits.addcmul_(weights, d_logits.sum(dim=(0, 1)), value=-1)", "pass",
    ),
    Mutant(
        "table-gradients-swapped", "the gradients of the row and the column logits change places", "fast",
        "fast/cpu.py", "d_rows, d_cols = pixels[:, :half] @ d_row.mT, pixels[:, half:] @ d_col.mT",
        "d_rows, d_cols = pixels[:, :half] @ d_col.mT, pixels[:, half:] @ d_row.mT",
    ),
    # ── The kernels
    Mutant(
        "silent-pixels-unwritten", "the gradient of a query that is not asked stays what memory held", "window_kernel",
        "fast/kernels.py", "if STRIDE > 1:", "if STRIDE > 99:",
    ),
    Mutant(
        "softmax-unfaded", "values seen before a larger logit keep their weight", "window_kernel", "fast/kernels.py",
        "value = value * fade[:, None] + tl.dot(", "value = value + tl.dot(",
    ),
    # ── Layers in others' hands
    Mutant(
        "logits-traced-scaled", "traced logits are those after the scale",
        "use", "equations.py",
        "keep.append((content, position, weights))", "keep.append((scale * content, scale * position, weights))",
    ),
    Mutant(
        "bias-dropped", "a projection with a bias is taken for its matrix",
        "modules", "attention.py",
        " or projection.bias is not None", "",
    ),
    Mutant(
        "width-squared", "a matrix of EVA is used 64/d times, but stored as it is drawn",
        "health", "eva.py",
        "layer.weight /= layer.gain", "pass",
    ),
    Mutant(
        "width-of-outputs", "the width rule counts outputs, not inputs",
        "health", "eva.py",
        "equalise(self, self.in_channels)", "equalise(self, self.out_channels)",
    ),
    # ── EVA
    Mutant(
        "ring-transposed", "the pixels of a ring are read with row and column swapped", "eva", "eva.py",
        "row, column = torch.cat(blocks", "column, row = torch.cat(blocks",
    ),
    Mutant(
        "ring-offset-transposed", "r of a ring's pixel is read with row and column swapped", "eva", "eva.py",
        "(row, column) = 2 * radius", "(column, row) = 2 * radius",
    ),
    Mutant(
        "q0-forgotten", "the recalls do not read q0", "eva", "eva.py",
        "rearrange(slots, ", "rearrange(slots[1:], ",
    ),
    Mutant(
        "recall-by-old-query", "the query of a recall is that of the look before it, not what it saw", "eva", "eva.py",
        "recall(attn, ", "recall(q, ",
    ),
    Mutant(
        "last-stage-skipped", "EVA stops after the 5×5 block", "eva", "eva.py",
        "zip(self.rings(x), self.looks, self.recalls, strict=True)", "zip(self.rings(x)[:-1], self.looks[:-1], self.recalls[:-1], strict=True)",
    ),
    Mutant(
        "output-of-look", "the output network reads attn3 instead of the fourth recall", "eva", "eva.py",
        "self.output(q)", "self.output(attn)",
    ),
    # ── Networks
    Mutant(
        "first-seven", "EVA reads the first 7 rows and columns",
        "core",
        "networks.py", "x[:, :, -extent:, -extent:]", "x[:, :, :extent, :extent]",
    ),
    Mutant(
        "attention-too-early", "self-attention stands in the second stage",
        "networks", "experiments.py",
        "(convolution_3x3, convolution_3x3, self_attention_3x3)", "(convolution_3x3, self_attention_3x3, convolution_3x3)",
    ),
    Mutant(
        "shortcut-shifted", "the shortcut's new channels come before the old ones",
        "networks", "networks.py",
        "(0, 0, 0, 0, 0, self.extra_channels)", "(0, 0, 0, 0, self.extra_channels, 0)",
    ),
    # ── Ablations
    Mutant(
        "scaled-by-width", "logits are divided by c, not by its root",
        "ablations", "eva.py",
        "channels**-0.5 if", "channels**-1.0 if",
    ),
    Mutant(
        "zeros-shifted", "with zeros as keys, each query answers for its neighbour",
        "ablations", "ablations/layers.py",
        "y[:, :, half : half + height,", "y[:, :, half - 1 : half - 1 + height,",
    ),
    Mutant(
        "published-slots-reversed", "the newest look has the first slot's embedding",
        "published", "published.py",
        "+ self.slots[: s + 1]", "+ self.slots[: s + 1].flip(0)",
    ),
    Mutant(
        "margin-forgotten", "the shortcut of an unpadded block begins at the border",
        "ablations", "ablations/layers.py",
        "F.pad(x, (1 - self.stride,) * 4)", "F.pad(x, (0, 2 - 2 * self.stride) * 2)",
    ),
    # ── Training and record
    Mutant(
        "no-schedule", "the learning rate is never set",
        "recipe", "training/step.py",
        'group["lr"] = rate', 'group["lr"] = group["lr"]',
    ),
    Mutant(
        "weight-decay", "Adam with a weight decay of 1e-4", "recipe",
        "training/step.py", "weight_decay=weight_decay,\n        fused=True,\n        capturable", "weight_decay=1e-4,\n        fused=True,\n        capturable",
    ),
    Mutant(
        "validated-on-test", "validation is on test images", "recipe",
        "training/train.py", "scores = evaluate(network, images[validation])",
        "scores = evaluate(network, dataset.test_images[: len(validation)])",
    ),
    Mutant(
        "trained-on-validation", "the validation images are learned too",
        "recipe", "training/train.py",
        "    curve, sittings = resume(", "    training = torch.cat([training, validation])\n    curve, sittings = resume(",
    ),
    Mutant(
        "best-epoch", "the recorded validation accuracy is that of the best epoch",
        "recipe", "results/run.py",
        'finished.curve[-1]["validation_accuracy"]', 'max(row["validation_accuracy"] for row in finished.curve)',
    ),
    Mutant(
        "oldest-first", "the newest checkpoints are deleted",
        "recipe", "training/checkpoint.py",
        "reverse=True)", "reverse=False)",
    ),
    Mutant(
        "never-dirty", "a changed package counts as committed",
        "recipe", "training/environment.py", '"-dirty"', '""',
    ),
    # ── The network in the page
    Mutant(
        "page-unscaled", "the page leaves the scale of the logits out",
        "live", "pages/live.py",
        "layer.scale * layer.W_Q.matrix()", "layer.W_Q.matrix()",
    ),
    Mutant(
        "page-uncentred", "the page forgets the running mean of a batch norm",
        "live", "pages/live.py",
        "norm.bias.double() - norm.running_mean.double() * factor", "norm.bias.double()",
    ),
    Mutant(
        "page-reversed", "the page looks from the border inwards",
        "live", "pages/live.py",
        "rings = eva.pixels.split(eva.sizes)", "rings = eva.pixels.split(eva.sizes)[::-1]",
    ),
)  # fmt: skip
