"""Equations 1 to 3 and EVA as plain loops over scalars, in float64, read off the paper and off
nothing else.
"""

import torch


def close(one, other):
    """Equal but for the rounding of float64."""
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def neighbourhood(i, j, height, width, k):
    """(a, b, row offset, column offset) for each position of N_k(i, j) that lies inside the image,
    row by row.
    """
    half = k // 2
    for da in range(-half, half + 1):
        for db in range(-half, half + 1):
            if 0 <= i + da < height and 0 <= j + db < width:
                yield i + da, j + db, da, db


def convolution(x, weight, stride=1):
    n, cin, height, width = x.shape
    cout, _, k, _ = weight.shape
    rows, columns = range(0, height, stride), range(0, width, stride)
    y = torch.zeros(n, cout, len(rows), len(columns), dtype=x.dtype)
    for batch in range(n):
        for out in range(cout):
            for p, i in enumerate(rows):
                for q, j in enumerate(columns):
                    for a, b, da, db in neighbourhood(i, j, height, width, k):
                        for c in range(cin):
                            y[batch, out, p, q] += (
                                weight[out, c, da + k // 2, db + k // 2] * x[batch, c, a, b]
                            )
    return y


def attend(q, keys, values, biases):
    """softmax(qᵀk + bias) v for one query and lists of vectors."""
    logits = [
        sum(q[c] * key[c] for c in range(len(q))) + bias
        for key, bias in zip(keys, biases, strict=True)
    ]
    top = max(logits)
    exps = [torch.exp(logit - top) for logit in logits]
    weights = [e / sum(exps) for e in exps]
    return sum(w * v for w, v in zip(weights, values, strict=True)), weights


def relative_attention(q, k, v, rows, cols, scale=1.0, stride=1):
    n, heads, c, height, width = q.shape
    kernel_size = rows.shape[-1]
    half = kernel_size // 2
    i_s, j_s = range(0, height, stride), range(0, width, stride)
    y = torch.zeros(n, heads, c, len(i_s), len(j_s), dtype=q.dtype)
    for batch in range(n):
        for h in range(heads):
            for p, i in enumerate(i_s):
                for s, j in enumerate(j_s):
                    query = q[batch, h, :, i, j]
                    keys, values, biases = [], [], []
                    for a, b, da, db in neighbourhood(i, j, height, width, kernel_size):
                        r = [*rows[h, :, da + half], *cols[h, :, db + half]]
                        keys.append(scale * k[batch, h, :, a, b])
                        values.append(v[batch, h, :, a, b])
                        biases.append(scale * sum(query[m] * r[m] for m in range(c)))
                    y[batch, h, :, p, s] = attend(query, keys, values, biases)[0]
    return y


def local_attention(q, k, v, kernel_size, scale=1.0, stride=1):
    zero = torch.zeros(q.shape[1], q.shape[2] // 2, kernel_size, dtype=q.dtype)
    if q.shape[2] % 2:  # an odd channel more for r, so that the halves can be zero whatever c is
        q, k, v = (torch.cat([t, torch.zeros_like(t[:, :, :1])], dim=2) for t in (q, k, v))
        zero = torch.zeros(q.shape[1], q.shape[2] // 2, kernel_size, dtype=q.dtype)
        return relative_attention(q, k, v, zero, zero, scale, stride)[:, :, :-1]
    return relative_attention(q, k, v, zero, zero, scale, stride)


def eva(module, x, num_heads):
    """§3.1, one image and one head and one pixel at a time, with the module's own weights."""
    out, traces = [], []
    for image in x:
        q = module.first_query(
            torch.einsum("dcij,cij->d", 64 / len(image) * module.convolution.weight, image)
            + module.convolution.bias
        )
        slots, look_weights, recall_weights = [q], [], []
        for s in range(4):
            pixels = [
                (i, j) for i in range(7) for j in range(7) if max(abs(i - 3), abs(j - 3)) == s
            ]
            memory = [image[:, i, j] for i, j in pixels]
            offsets = [(i - 3 + s, j - 3 + s) for i, j in pixels]
            attn, weights = single_query(module.looks[s], q, memory, num_heads, offsets)
            look_weights.append(weights)
            slots.append(attn)
            q, weights = single_query(module.recalls[s], attn, slots, num_heads, None)
            recall_weights.append(weights)
        out.append(module.output(q))
        traces.append((look_weights, recall_weights))
    return torch.stack(out), traces


def single_query(layer, query, memory, num_heads, offsets):
    q = 64 / len(query) * layer.W_Q.weight @ query  # the width rule
    keys, values = ([64 / len(m) * W.weight @ m for m in memory] for W in (layer.W_K, layer.W_V))
    width = len(q) // num_heads
    q = q / width**0.5  # logits over √c
    outputs, all_weights = [], []
    for h in range(num_heads):
        mine = slice(h * width, (h + 1) * width)
        biases = [torch.zeros((), dtype=q.dtype)] * len(memory)
        if offsets is not None:
            biases = [
                q[mine] @ torch.cat([layer.rows[h, :, a], layer.cols[h, :, b]]) for a, b in offsets
            ]
        y, weights = attend(q[mine], [k[mine] for k in keys], [v[mine] for v in values], biases)
        outputs.append(y)
        all_weights.append(torch.stack(weights))
    return torch.cat(outputs), torch.stack(all_weights)


@torch.no_grad()
def published_eva(layer, x, slips):
    """The author's code for one image, ``d 7 7 -> d``, from the facts of it alone, with the weights
    of a whole layer.

    What it scales in place is scaled in place here, so that all who hold the tensor see it.
    """
    heads, d = layer.num_heads, len(x)
    c = d // heads

    def attention(W, query, memory, positions, forecast):
        """W_O of it; ``positions[h][m]`` is the embedding of place m, the query itself is used
        where there is no W_Q.
        """
        q = W["Q"](query) if "Q" in W else query if slips else query.clone()
        q *= c**-0.5
        keys, values = (W[name](memory).flatten().reshape(heads, len(memory), c) for name in "KV")
        y = []
        for h in range(heads):
            logits = [
                q[h * c : h * c + c] @ (keys[h, m] + positions[h][m]) for m in range(len(memory))
            ]
            y.append((torch.stack(logits) + forecast).softmax(0) @ values[h])
        return torch.cat(y)

    def around(parts, query, y):
        between = parts.norm1(query + y)
        return parts.norm2(between + parts.feed_forward(between))

    q = layer.first_query(x[:, 3, 3])
    seen, forecast = [], torch.zeros(7, 7)
    for s in range(4):
        pixels = [(i, j) for i in range(7) for j in range(7) if max(abs(i - 3), abs(j - 3)) == s]
        positions = [
            [
                torch.cat([layer.rows[h, :, j if slips else i], layer.cols[h, :, j]])
                for i, j in pixels
            ]
            for h in range(heads)
        ]
        memory = torch.stack([x[:, i, j] for i, j in pixels])
        told = torch.stack([forecast[i, j] for i, j in pixels])
        y = layer.around_looks[s].W_O(attention(layer.looks[s], q, memory, positions, told))
        seen.append(around(layer.around_looks[s], q, y))
        q = seen[-1]
        if s > 0:
            slots = [layer.slots[s - 1][h].T for h in range(heads)]
            last = layer.around_recalls[s - 1]
            y1 = last.W_O(attention(layer.recalls[s - 1], seen[-1], torch.stack(seen), slots, 0))
            q = around(last, seen[-1], y1)
        forecast = torch.zeros(7, 7)
        if s < 3 and not (slips and s == 2):
            side = 2 * s + 3
            forecast[2 - s : 5 + s, 2 - s : 5 + s] = layer.forecasts[s](y).reshape(side, side)
    return layer.output(q)
