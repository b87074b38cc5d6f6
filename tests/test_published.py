"""EVA of the author's published code is what is known of that code, with its slips and without; so
are its first weights.
"""

import oracles
import pytest
import torch
from oracles import close

import evalib
from evalib.published import PublishedEVA


@pytest.mark.parametrize("slips", [False, True])
def test_the_whole_code_is_the_facts_in_loops(slips):
    layer = PublishedEVA(8, 8, 8, num_heads=2, whole=True, slips=slips).eval()
    x = torch.randn(3, 8, 7, 7)
    expected = torch.stack([oracles.published_eva(layer, each, slips) for each in x])
    close(layer(x)[..., 0, 0], expected)


def test_published_eva_is_its_description_in_loops():
    layer, x = PublishedEVA(8, 8, 8, num_heads=2), torch.randn(1, 8, 7, 7)
    q, seen = layer.first_query(x[:, :, 3, 3])[0], []

    def attend(q, W, memory, r):
        heads = []
        for n, h in enumerate((slice(0, 4), slice(4, 8))):
            logits = [
                q[h] @ ((W["K"].weight @ m)[h] + each) / 2
                for m, each in zip(memory, r[n], strict=True)
            ]
            heads.append(
                torch.stack(logits).softmax(0)
                @ torch.stack([(W["V"].weight @ m)[h] for m in memory])
            )
        return torch.cat(heads)

    for s in range(4):
        pixels = [(i, j) for i in range(7) for j in range(7) if max(abs(i - 3), abs(j - 3)) == s]
        r = [
            [torch.cat([layer.rows[n, :, i], layer.cols[n, :, j]]) for i, j in pixels]
            for n in range(2)
        ]
        around = layer.around_looks[s]
        y = around.W_O(attend(q, layer.looks[s], [x[0, :, i, j] for i, j in pixels], r))
        seen.append(around(q[None], y[None])[0])
        q = seen[0]
        if s:
            W, around = layer.recalls[s - 1], layer.around_recalls[s - 1]
            memory = [slot + each for slot, each in zip(layer.slots, seen, strict=False)]
            nothing = [[torch.zeros(4)] * len(memory)] * 2
            y = around.W_O(attend(W["Q"].weight @ seen[-1], W, memory, nothing))
            q = around(seen[-1][None], y[None])[0]
    close(layer(x)[0, :, 0, 0], q)
    for widths in ((4, 8, 8), (8, 4, 8), (8, 8, 4)):
        with pytest.raises(ValueError, match="widths {}, {}, {} must be one".format(*widths)):
            PublishedEVA(*widths)
    with pytest.raises(ValueError, match="the map is 8×8, EVA reads 7×7"):
        layer(torch.randn(1, 8, 8, 8))


def test_first_weights_are_those_of_the_published_code():
    """Variance times fan-in: 1 for attention and feed-forward networks, 2 for convolutions and the
    classifier.
    """
    torch.manual_seed(0)
    for name in ("evanet20-small-as-published", "sanet20-small-as-published"):
        network = evalib.build(name)
        for where, part in network.named_modules():
            if isinstance(part, torch.nn.Linear | torch.nn.Conv2d):
                weight = part.weight.detach()
                attends = "eva" in where or ".W_" in where
                share = weight.var() * weight[0].numel()
                assert share == pytest.approx(1 if attends else 2, rel=6 / weight.numel() ** 0.5), (
                    where
                )
    eva = evalib.build("evanet20-small-as-published").summary.eva
    for table in (eva.rows, eva.cols, *eva.slots):
        assert table.detach().var() == pytest.approx(1, abs=6 / table.numel() ** 0.5)
