"""What the Explorer exports: the intermediates of the network's own pass, small, and safe inside a
page.
"""

import gzip
import re

import pytest
import torch

import evalib
from evalib.pages import explorer

close = torch.testing.assert_close


def network(name):
    return evalib.build(name).eval()


def test_the_script_is_small_and_alone():
    script = explorer.script("eva-explorer", "parts", "grid", "explorer")
    assert len(script.encode()) <= 25_000
    assert not re.search(r"\b(import|fetch|XMLHttpRequest|eval)\b *\(|https?:", script)


def test_the_attention_that_is_exported_is_the_one_that_made_the_scores(photographs):
    images, labels = photographs
    net, seen = network("sanet20-small"), []
    usual = explorer.forward(net, images)
    hook = net.register_forward_hook(lambda _, x, y: seen.append(y))
    exported = explorer.export_attention(net, images, labels)
    hook.remove()
    close(seen[0], usual)
    close(explorer.forward(net, images), usual)  # the layer has its fast form again
    weights = torch.tensor(
        [
            [w or 0 for w in query]
            for image in exported["images"]
            for head in image["weights"]
            for row in head
            for query in row
        ]
    )
    close(weights.sum(dim=-1), torch.ones(len(weights)), atol=9 * 10**-explorer.DIGITS, rtol=0)
    border = exported["images"][0]["content"][0][0][1]  # row 0, column 1: the row above is missing
    assert [entry is None for entry in border] == [True] * 3 + [False] * 6


@pytest.mark.parametrize("sign", [1, -1])
def test_the_strongest_ink_is_that_of_the_largest_output_of_either_sign(sign, photographs):
    net = network("resnet20-small")
    with torch.no_grad():
        net.stem[0].weight.abs_().mul_(sign)
    data = explorer.export_convolution(net, *photographs)
    outputs = torch.tensor([image["y"] for image in data["images"]])
    assert data["largest_output"] == outputs.abs().max()


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("convolution", "resnet20-small"),
        ("relative_attention", "sanet20-small"),
        ("eva", "evanet20-small"),
    ],
)
def test_an_element_is_small_whole_and_has_a_static_figure(kind, name, photographs):
    html = getattr(explorer, kind)(network(name), *photographs).data
    assert len(gzip.compress(html.encode())) < 200_000
    assert (
        html.count("</script>") == 2
        and html.count("<eva-explorer style") == html.count("</eva-explorer>") == 1
    )
    assert html.count("<svg") == html.count("</svg>") >= 2
    assert 'role="img" aria-label="' in html


def test_a_network_that_cannot_be_shown_is_refused(photographs):
    with pytest.raises(ValueError, match=r"training mode.*network\.eval\(\)"):
        explorer.eva(evalib.build("evanet20-small"), *photographs)
    with pytest.raises(ValueError, match="give an EVANet"):
        explorer.eva(network("resnet20-small"), *photographs)
    with pytest.raises(ValueError, match="give a SANet"):
        explorer.relative_attention(network("evanet20-small"), *photographs)
