"""Equation 3 for a GPU, in Triton: a program holds a tile of queries of one image and head, and all
pixels they see.

The logits ``qᵀk`` of a tile are one matrix, ``query key``; ``qᵀr`` is 2k products a query, each
added where the key lies at that offset. No logit or weight leaves the chip: the forward pass keeps
``lse_ij``, the logarithm of the softmax's denominator, and the backward pass computes each weight
again as ``exp(logit − lse)``. Tensors are taken by their strides, in the layout that the projection
leaves them in; sums are float32. With ``TRITON_INTERPRET=1`` all of it runs on the CPU, for tests.
"""

import triton
import triton.language as tl


@triton.jit
def spots(first_row, first_col, start, ROWS: tl.constexpr, COLS: tl.constexpr, COUNT: tl.constexpr):
    """Row and column of COUNT pixels from ``start`` on of a block of ROWS × COLS, and whether the
    block has them.
    """
    spot = start + tl.arange(0, COUNT)
    return first_row + spot // COLS, first_col + spot % COLS, spot < ROWS * COLS


@triton.jit
def first(wanted, extent, COUNT: tl.constexpr):
    """Where COUNT rows begin that hold the row ``wanted`` and those after it, so that they stay in
    the map.
    """
    return tl.maximum(tl.minimum(wanted, extent - COUNT), 0)


@triton.jit
def vectors(at, place, present, channel, CHANNELS: tl.constexpr):
    """The channels of the pixels at ``place``, ``pixel channel``, zero where a pixel is not
    present.
    """
    return tl.load(
        at[None, :] + place[:, None],
        mask=present[:, None] & (channel < CHANNELS)[None, :],
        other=0.0,
    )


@triton.jit
def tables(
    rows,
    cols,
    head,
    channel,
    offset,
    CHANNELS: tl.constexpr,
    HALF: tl.constexpr,
    SIZE: tl.constexpr,
):
    """``r_a`` and ``r_b`` of one head, ``channel offset``, each zero in the other's channels."""
    row = (head * HALF + channel)[:, None] * SIZE + offset[None, :]
    col = (head * (CHANNELS - HALF) + channel - HALF)[:, None] * SIZE + offset[None, :]
    known = (offset < SIZE)[None, :]
    r_a = tl.load(rows + row, mask=known & (channel < HALF)[:, None], other=0.0)
    r_b = tl.load(
        cols + col,
        mask=known & (channel >= HALF)[:, None] & (channel < CHANNELS)[:, None],
        other=0.0,
    )
    return r_a, r_b


@triton.jit
def softmax_logits(
    q_ij, k_ab, q_row, q_col, a, b, asked, exists, scale, SIZE: tl.constexpr, OFFSETS: tl.constexpr
):
    """``scale · (q_ijᵀk_ab + q_ijᵀr_ab)``, ``query key``, −∞ where the key is outside the window or
    the map.
    """
    offset = tl.arange(0, OFFSETS)[None, :]
    logit = tl.dot(q_ij, tl.trans(k_ab), input_precision="ieee")
    for o in tl.static_range(SIZE):
        logit += tl.where(a == o, tl.sum(tl.where(offset == o, q_row, 0.0), axis=1)[:, None], 0.0)
        logit += tl.where(b == o, tl.sum(tl.where(offset == o, q_col, 0.0), axis=1)[:, None], 0.0)
    inside = (a >= 0) & (a < SIZE) & (b >= 0) & (b < SIZE)
    return tl.where(inside & asked[:, None] & exists[None, :], scale * logit, float("-inf"))


@triton.jit
def forward_kernel(
    q, k, v, rows, cols, y, lse, scale, heads, height, width, high, wide,
    in_n, in_h, in_c, in_i, in_j, out_n, out_h, out_c, out_i, out_j,
    CHANNELS: tl.constexpr, HALF: tl.constexpr, SIZE: tl.constexpr, STRIDE: tl.constexpr,
    LANES: tl.constexpr, OFFSETS: tl.constexpr, TILE_I: tl.constexpr, TILE_J: tl.constexpr,
    ROWS: tl.constexpr, COLS: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """``y_ij = Σ_ab softmax_ab(q_ijᵀk_ab + q_ijᵀr_{a−i,b−j}) v_ab`` for TILE_I × TILE_J queries of
    ``high`` × ``wide``.
    """
    image, head = (tl.program_id(0) // heads).to(tl.int64), tl.program_id(0) % heads
    across = tl.cdiv(wide, TILE_J)
    first_i, first_j = tl.program_id(1) // across * TILE_I, tl.program_id(1) % across * TILE_J
    channel, offset = tl.arange(0, LANES), tl.arange(0, OFFSETS)
    source = image * in_n + head * in_h + channel * in_c
    # the queries of the tile, and the 2k products of each with r
    i, j, asked = spots(first_i, first_j, 0, TILE_I, TILE_J, TILE_I * TILE_J)
    asked = asked & (i < high) & (j < wide)
    q_ij = vectors(q + source, STRIDE * (i * in_i + j * in_j), asked, channel, CHANNELS)
    r_a, r_b = tables(rows, cols, head, channel, offset, CHANNELS, HALF, SIZE)
    q_row = tl.dot(q_ij, r_a.to(q_ij.dtype), input_precision="ieee")
    q_col = tl.dot(q_ij, r_b.to(q_ij.dtype), input_precision="ieee")
    # the block of ROWS × COLS pixels that holds every window of the tile
    first_row = first(STRIDE * first_i - SIZE // 2, height, ROWS)
    first_col = first(STRIDE * first_j - SIZE // 2, width, COLS)
    # the largest logit so far, to which the sums are relative
    top = tl.full((TILE_I * TILE_J,), -1e38, tl.float32)
    total = tl.zeros((TILE_I * TILE_J,), tl.float32)
    value = tl.zeros((TILE_I * TILE_J, LANES), tl.float32)
    for start in range(0, ROWS * COLS, KEYS):
        row, col, exists = spots(first_row, first_col, start, ROWS, COLS, KEYS)
        k_ab = vectors(k + source, row * in_i + col * in_j, exists, channel, CHANNELS)
        v_ab = vectors(v + source, row * in_i + col * in_j, exists, channel, CHANNELS)
        # where in the window of each query each pixel lies
        a = row[None, :] - (STRIDE * i - SIZE // 2)[:, None]
        b = col[None, :] - (STRIDE * j - SIZE // 2)[:, None]
        logit = softmax_logits(q_ij, k_ab, q_row, q_col, a, b, asked, exists, scale, SIZE, OFFSETS)
        higher = tl.maximum(top, tl.max(logit, axis=1))
        weight = tl.exp(logit - higher[:, None])
        fade = tl.exp(top - higher)  # what came before fades as top rises
        total = total * fade + tl.sum(weight, axis=1)
        value = value * fade[:, None] + tl.dot(weight.to(v_ab.dtype), v_ab, input_precision="ieee")
        top = higher
    total = tl.where(asked, total, 1.0)
    target = image * out_n + head * out_h + channel * out_c
    place = (y + target)[None, :] + (i * out_i + j * out_j)[:, None]
    tl.store(place, value / total[:, None], mask=asked[:, None] & (channel < CHANNELS)[None, :])
    tl.store(
        lse + tl.program_id(0).to(tl.int64) * high * wide + i * wide + j,
        top + tl.log(total),
        mask=asked,
    )


@triton.jit
def backward_kernel(
    q, k, v, rows, cols, y, lse, dy, dq, dk, dv, parts, scale, heads, height, width, high, wide,
    tiles,
    in_n, in_h, in_c, in_i, in_j, out_n, out_h, out_c, out_i, out_j, d_n, d_h, d_c, d_i, d_j,
    CHANNELS: tl.constexpr, HALF: tl.constexpr, SIZE: tl.constexpr, STRIDE: tl.constexpr,
    LANES: tl.constexpr, OFFSETS: tl.constexpr, TILE_I: tl.constexpr, TILE_J: tl.constexpr,
    ROWS: tl.constexpr, COLS: tl.constexpr, KEYS: tl.constexpr, TILE_ROWS: tl.constexpr,
    TILE_COLS: tl.constexpr,
    HIGH: tl.constexpr, WIDE: tl.constexpr, QUERIES: tl.constexpr,
):  # fmt: skip
    """The gradients: the first ``tiles`` programs of an image and head take queries and r, the
    others k and v.

    With the weight w of a query and a key, ``dv = Σ w dy`` and ``d logit = w (dyᵀv − dyᵀy)``.
    """
    image, head = (tl.program_id(0) // heads).to(tl.int64), tl.program_id(0) % heads
    channel = tl.arange(0, LANES)
    source = image * in_n + head * in_h + channel * in_c
    target = image * out_n + head * out_h + channel * out_c
    change = image * d_n + head * d_h + channel * d_c
    lse += tl.program_id(0).to(tl.int64) * high * wide
    if tl.program_id(1) < tiles:
        # this tile's part of the gradient of rows, and after it of cols, both as ``h c/2 k``
        parts += (image * tiles + tl.program_id(1)) * heads * CHANNELS * SIZE
        backward_queries(
            q + source, k + source, v + source, rows, cols, y + target, lse, dy + change,
            dq + source, parts, scale,
            tl.program_id(1), heads, head, height, width, high, wide, in_i, in_j, out_i, out_j,
            d_i, d_j,
            CHANNELS, HALF, SIZE, STRIDE, LANES, OFFSETS, TILE_I, TILE_J, ROWS, COLS, KEYS,
        )  # fmt: skip
    else:
        backward_keys(
            q + source, k + source, v + source, rows, cols, y + target, lse, dy + change,
            dq + source, dk + source,
            dv + source, scale, tl.program_id(1) - tiles, head, height, width, high, wide, in_i,
            in_j, out_i, out_j, d_i, d_j,
            CHANNELS, HALF, SIZE, STRIDE, LANES, OFFSETS, TILE_ROWS, TILE_COLS, HIGH, WIDE, QUERIES,
        )  # fmt: skip


@triton.jit
def backward_queries(
    q, k, v, rows, cols, y, lse, dy, dq, parts, scale, tile, heads, head, height, width, high, wide,
    in_i, in_j, out_i, out_j, d_i, d_j,
    CHANNELS: tl.constexpr, HALF: tl.constexpr, SIZE: tl.constexpr, STRIDE: tl.constexpr,
    LANES: tl.constexpr, OFFSETS: tl.constexpr, TILE_I: tl.constexpr, TILE_J: tl.constexpr,
    ROWS: tl.constexpr, COLS: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """The gradient of a tile of queries, and what it gives to that of r."""
    channel, offset = tl.arange(0, LANES), tl.arange(0, OFFSETS)
    r_a, r_b = tables(rows, cols, head, channel, offset, CHANNELS, HALF, SIZE)
    across = tl.cdiv(wide, TILE_J)
    first_i, first_j = tile // across * TILE_I, tile % across * TILE_J
    i, j, asked = spots(first_i, first_j, 0, TILE_I, TILE_J, TILE_I * TILE_J)
    asked = asked & (i < high) & (j < wide)
    here = STRIDE * (i * in_i + j * in_j)
    q_ij = vectors(q, here, asked, channel, CHANNELS)
    y_ij = vectors(y, i * out_i + j * out_j, asked, channel, CHANNELS)
    dy_ij = vectors(dy, i * d_i + j * d_j, asked, channel, CHANNELS)
    lse_ij = tl.load(lse + i * wide + j, mask=asked, other=0.0)
    mean = tl.sum(dy_ij.to(tl.float32) * y_ij.to(tl.float32), axis=1)
    q_row = tl.dot(q_ij, r_a.to(q_ij.dtype), input_precision="ieee")
    q_col = tl.dot(q_ij, r_b.to(q_ij.dtype), input_precision="ieee")
    first_row = first(STRIDE * first_i - SIZE // 2, height, ROWS)
    first_col = first(STRIDE * first_j - SIZE // 2, width, COLS)
    d_row = tl.zeros((TILE_I * TILE_J, OFFSETS), tl.float32)
    d_col = tl.zeros((TILE_I * TILE_J, OFFSETS), tl.float32)
    dq_ij = tl.zeros((TILE_I * TILE_J, LANES), tl.float32)
    for start in range(0, ROWS * COLS, KEYS):
        row, col, exists = spots(first_row, first_col, start, ROWS, COLS, KEYS)
        k_ab = vectors(k, row * in_i + col * in_j, exists, channel, CHANNELS)
        v_ab = vectors(v, row * in_i + col * in_j, exists, channel, CHANNELS)
        a = row[None, :] - (STRIDE * i - SIZE // 2)[:, None]
        b = col[None, :] - (STRIDE * j - SIZE // 2)[:, None]
        logit = softmax_logits(q_ij, k_ab, q_row, q_col, a, b, asked, exists, scale, SIZE, OFFSETS)
        d_weight = tl.dot(dy_ij, tl.trans(v_ab), input_precision="ieee")
        d_logit = scale * tl.exp(logit - lse_ij[:, None]) * (d_weight - mean[:, None])
        dq_ij += tl.dot(d_logit.to(k_ab.dtype), k_ab, input_precision="ieee")
        for o in tl.static_range(SIZE):
            here_a = tl.sum(tl.where(a == o, d_logit, 0.0), axis=1)
            here_b = tl.sum(tl.where(b == o, d_logit, 0.0), axis=1)
            d_row += tl.where(offset[None, :] == o, here_a[:, None], 0.0)
            d_col += tl.where(offset[None, :] == o, here_b[:, None], 0.0)
    d_row, d_col = d_row.to(q_ij.dtype), d_col.to(q_ij.dtype)
    dq_ij += tl.dot(d_row, tl.trans(r_a.to(q_ij.dtype)), input_precision="ieee")
    dq_ij += tl.dot(d_col, tl.trans(r_b.to(q_ij.dtype)), input_precision="ieee")
    tl.store(
        dq[None, :] + here[:, None], dq_ij, mask=asked[:, None] & (channel < CHANNELS)[None, :]
    )
    row_part = (head * HALF + channel)[None, :] * SIZE + offset[:, None]
    col_part = (heads * HALF + head * (CHANNELS - HALF) + channel - HALF)[None, :] * SIZE + offset[
        :, None
    ]
    known, is_row = (offset < SIZE)[:, None], (channel < HALF)[None, :]
    is_col = (channel >= HALF)[None, :] & (channel < CHANNELS)[None, :]
    tl.store(
        parts + row_part, tl.dot(tl.trans(d_row), q_ij, input_precision="ieee"), mask=known & is_row
    )
    tl.store(
        parts + col_part, tl.dot(tl.trans(d_col), q_ij, input_precision="ieee"), mask=known & is_col
    )


@triton.jit
def backward_keys(
    q, k, v, rows, cols, y, lse, dy, dq, dk, dv, scale, tile, head, height, width, high, wide,
    in_i, in_j, out_i, out_j, d_i, d_j,
    CHANNELS: tl.constexpr, HALF: tl.constexpr, SIZE: tl.constexpr, STRIDE: tl.constexpr,
    LANES: tl.constexpr, OFFSETS: tl.constexpr, TILE_ROWS: tl.constexpr, TILE_COLS: tl.constexpr,
    HIGH: tl.constexpr, WIDE: tl.constexpr, QUERIES: tl.constexpr,
):  # fmt: skip
    """The gradients of k and v at a tile of pixels."""
    channel, offset = tl.arange(0, LANES), tl.arange(0, OFFSETS)
    r_a, r_b = tables(rows, cols, head, channel, offset, CHANNELS, HALF, SIZE)
    across = tl.cdiv(width, TILE_COLS)
    first_row, first_col = tile // across * TILE_ROWS, tile % across * TILE_COLS
    row, col, exists = spots(first_row, first_col, 0, TILE_ROWS, TILE_COLS, TILE_ROWS * TILE_COLS)
    exists = exists & (row < height) & (col < width)
    here = row * in_i + col * in_j
    k_ab = vectors(k, here, exists, channel, CHANNELS)
    v_ab = vectors(v, here, exists, channel, CHANNELS)
    # the block of HIGH × WIDE queries whose windows reach the tile
    first_i = first((tl.maximum(first_row - SIZE // 2, 0) + STRIDE - 1) // STRIDE, high, HIGH)
    first_j = first((tl.maximum(first_col - SIZE // 2, 0) + STRIDE - 1) // STRIDE, wide, WIDE)
    dk_ab = tl.zeros((TILE_ROWS * TILE_COLS, LANES), tl.float32)
    dv_ab = tl.zeros((TILE_ROWS * TILE_COLS, LANES), tl.float32)
    for start in range(0, HIGH * WIDE, QUERIES):
        i, j, asked = spots(first_i, first_j, start, HIGH, WIDE, QUERIES)
        q_ij = vectors(q, STRIDE * (i * in_i + j * in_j), asked, channel, CHANNELS)
        y_ij = vectors(y, i * out_i + j * out_j, asked, channel, CHANNELS)
        dy_ij = vectors(dy, i * d_i + j * d_j, asked, channel, CHANNELS)
        lse_ij = tl.load(lse + i * wide + j, mask=asked, other=0.0)
        mean = tl.sum(dy_ij.to(tl.float32) * y_ij.to(tl.float32), axis=1)
        q_row = tl.dot(q_ij, r_a.to(q_ij.dtype), input_precision="ieee")
        q_col = tl.dot(q_ij, r_b.to(q_ij.dtype), input_precision="ieee")
        a = row[None, :] - (STRIDE * i - SIZE // 2)[:, None]
        b = col[None, :] - (STRIDE * j - SIZE // 2)[:, None]
        logit = softmax_logits(q_ij, k_ab, q_row, q_col, a, b, asked, exists, scale, SIZE, OFFSETS)
        weight = tl.exp(logit - lse_ij[:, None])
        d_weight = tl.dot(dy_ij, tl.trans(v_ab), input_precision="ieee")
        d_logit = scale * weight * (d_weight - mean[:, None])
        dk_ab += tl.dot(tl.trans(d_logit).to(q_ij.dtype), q_ij, input_precision="ieee")
        dv_ab += tl.dot(tl.trans(weight).to(dy_ij.dtype), dy_ij, input_precision="ieee")
    stored = exists[:, None] & (channel < CHANNELS)[None, :]
    tl.store(dk[None, :] + here[:, None], dk_ab, mask=stored)
    tl.store(dv[None, :] + here[:, None], dv_ab, mask=stored)
    if STRIDE > 1:  # the gradient of a pixel that asks nothing
        silent = (row % STRIDE != 0) | (col % STRIDE != 0)
        tl.store(dq[None, :] + here[:, None], tl.zeros_like(dk_ab), mask=stored & silent[:, None])
