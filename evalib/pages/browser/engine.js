// A network of evalib in plain typed arrays: `read` takes what evalib/pages/live.py wrote, `forward` is one pass.
// Maps are channels × rows × columns, vectors of pixels one after the other. It is one function of nothing outside
// itself, so that a worker can be given its text.
const engine = () => {
  const range = (n) => Array.from({ length: n }, (_, index) => index);

  // The structure, each of its tensors {at, shape} a view of the weights.
  const read = (structure, weights) => {
    const view = (node) => {
      if (Array.isArray(node)) return node.map(view);
      if (node === null || typeof node !== "object") return node;
      if ("at" in node) return weights.subarray(node.at, node.at + node.shape.reduce((n, m) => n * m, 1));
      return Object.fromEntries(Object.entries(node).map(([name, part]) => [name, view(part)]));
    };
    return view(structure);
  };

  // One 3×3 kernel over one plane with a border of zeros, added to the plane of y that begins at `to`.
  const add = (y, to, x, from, w, at, stride, side, wide) => {
    const w0 = w[at], w1 = w[at + 1], w2 = w[at + 2]; // arrays here would cost half of the time
    const w3 = w[at + 3], w4 = w[at + 4], w5 = w[at + 5];
    const w6 = w[at + 6], w7 = w[at + 7], w8 = w[at + 8];
    for (let i = 0, p = to; i < side; i++) {
      let a = from + i * stride * wide, b = a + wide, c = b + wide;
      for (let j = 0; j < side; j++, p++, a += stride, b += stride, c += stride) {
        y[p] += w0 * x[a] + w1 * x[a + 1] + w2 * x[a + 2] + w3 * x[b] + w4 * x[b + 1] + w5 * x[b + 2]
          + w6 * x[c] + w7 * x[c + 1] + w8 * x[c + 2];
      }
    }
  };

  // A 3×3 convolution with its bias, "same" padding: {map, side}.
  const convolve = ({ inputs, outputs, stride, weight, bias }, { map, side }) => {
    const wide = side + 2;
    const padded = new Float32Array(inputs * wide * wide);
    for (let line = 0; line < inputs * side; line++) {
      const [c, i] = [Math.floor(line / side), line % side];
      padded.set(map.subarray(line * side, (line + 1) * side), (c * wide + i + 1) * wide + 1);
    }
    const small = Math.ceil(side / stride);
    const y = new Float32Array(outputs * small * small);
    for (let o = 0; o < outputs; o++) {
      y.fill(bias[o], o * small * small, (o + 1) * small * small);
      for (let c = 0; c < inputs; c++) {
        add(y, o * small * small, padded, c * wide * wide, weight, (o * inputs + c) * 9, stride, small, wide);
      }
    }
    return { map: y, side: small };
  };
  // In place: x is no one else's.
  const relu = (x) => {
    for (let p = 0; p < x.length; p++) if (x[p] < 0) x[p] = 0;
    return x;
  };

  // relu(second(relu(first(x))) + every stride-th pixel of x, with zeros for the new channels).
  const block = ({ first, second }, x) => {
    const inner = convolve(first, x);
    const y = convolve(second, { ...inner, map: relu(inner.map) });
    const { side, map } = y;
    for (let c = 0; c < first.inputs; c++) for (let i = 0; i < side; i++) for (let j = 0; j < side; j++) {
      map[(c * side + i) * side + j] += x.map[(c * x.side + i * first.stride) * x.side + j * first.stride];
    }
    return { side, map: relu(map) };
  };

  // weight x [+ bias], for one vector.
  const linear = (weight, x, bias) => {
    const y = new Float64Array(weight.length / x.length);
    for (let o = 0, at = 0; o < y.length; o++) {
      let sum = bias ? bias[o] : 0;
      for (let i = 0; i < x.length; i++, at++) sum += weight[at] * x[i];
      y[o] = sum;
    }
    return y;
  };
  const feedForward = ([one, two], x) => linear(two.weight, relu(linear(one.weight, x, one.bias)), two.bias);
  const softmax = (logits) => {
    const top = Math.max(...logits);
    const powers = Array.from(logits, (logit) => Math.exp(logit - top));
    const total = powers.reduce((sum, power) => sum + power, 0);
    return powers.map((power) => power / total);
  };
  const normalise = ({ weight, bias, epsilon }, x) => {
    const mean = x.reduce((sum, value) => sum + value, 0) / x.length;
    const variance = x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / x.length;
    return x.map((value, i) => ((value - mean) / Math.sqrt(variance + epsilon)) * weight[i] + bias[i]);
  };

  // y = Σ_m softmax_m(factor · (qᵀk_m [+ qᵀr_m])) v_m in each head; then W_O, and LayerNorm(query + y), where there are any.
  // The scale of training lies in W_Q: the factor is 1 where nothing is changed.
  const attend = ({ W_Q, W_K, W_V, W_O, r, norm }, heads, query, memory, factor = 1) => {
    const q = linear(W_Q, query);
    const [k, v] = [W_K, W_V].map((weight) => memory.map((x) => linear(weight, x)));
    const c = q.length / heads;
    const y = new Float64Array(q.length);
    const weights = range(heads).map((h) => {
      const channels = range(c).map((each) => h * c + each);
      const shares = softmax(memory.map((_, m) =>
        factor * channels.reduce((sum, d) => sum + q[d] * (k[m][d] + (r ? r[d * memory.length + m] : 0)), 0)));
      for (const d of channels) y[d] = shares.reduce((sum, share, m) => sum + share * v[m][d], 0);
      return shares;
    });
    const out = W_O ? linear(W_O, y) : y;
    return [norm ? normalise(norm, out.map((value, d) => value + query[d])) : out, weights];
  };

  // `pixels`: red, green, blue of each pixel in turn, 0 … 255. Scores and softmax, and what EVA weighed on its way.
  const forward = (network, pixels) => {
    const { size, extent } = network;
    const image = new Float32Array(3 * size * size);
    image.forEach((_, at) => {
      const c = Math.floor(at / (size * size));
      image[at] = (pixels[3 * (at % (size * size)) + c] / 255 - network.mean[c]) / network.std[c];
    });
    const stem = convolve(network.stem, { map: image, side: size });
    const { map, side } = network.blocks.reduce((x, each) => block(each, x), { ...stem, map: relu(stem.map) });
    const channels = range(map.length / side / side);
    const edge = side - extent; // the last rows and columns
    const crop = range(extent * extent).map((m) => {
      const [i, j] = [edge + Math.floor(m / extent), edge + (m % extent)];
      const pixel = Float64Array.from(channels, (c) => map[(c * side + i) * side + j]);
      return network.pixel_norm ? normalise(network.pixel_norm, pixel) : pixel;
    });
    const all = Float64Array.from(crop.flatMap((pixel) => [...pixel]));
    const q0 = feedForward(network.first_query, linear(network.convolution.weight, all, network.convolution.bias));
    return expand(network, crop, network.query_norm ? normalise(network.query_norm, q0) : q0);
  };

  // EVA on the vectors of a map and a first query: the weights, the slots, and what the output layer says of each query in
  // turn (`readouts`; only the last is the network's answer). What may be changed: the `factor` of the logits of every look
  // and recall, or with `even` of the looks alone, to 0; `order`, what each look sees at the places of its ring; `turn`, the
  // rings from the last to the first; `swap`, the slot and the weights of one look: {stage, slot, shares}.
  const expand = (network, crop, q0, { factor = 1, even = false, order = null, turn = false, swap = null } = {}) => {
    const [slots, looks, recalls, queries] = [[q0], [], [], [q0]];
    network.stages.forEach(({ recall }, s) => {
      const stage = turn ? network.stages.length - 1 - s : s;
      const { ring, look } = network.stages[stage];
      const memory = (order ? order[stage] : ring).map((m) => crop[m]);
      const seen = attend(look, network.heads, queries[s], memory, even ? 0 : factor);
      const [slot, shares] = swap && swap.stage === stage ? [swap.slot, swap.shares] : seen;
      slots.push(slot);
      looks.push(shares);
      const [next, remembered] = attend(recall, network.heads, slot, slots, factor);
      recalls.push(remembered);
      queries.push(next);
    });
    const readouts = queries.map((q) => [...linear(network.classifier.weight, feedForward(network.output, q), network.classifier.bias)]);
    const scores = readouts.at(-1);
    return { scores, softmax: softmax(scores), readouts: readouts.map(softmax), slots, looks, recalls };
  };

  return { read, forward, expand };
};
