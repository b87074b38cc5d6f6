"""What the browser gets of a network: tensors that say the same as the layers they came from, and
nothing left out.
"""

import json
import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

import evalib
from evalib.equations import single_query_attention
from evalib.experiments import Experiment
from evalib.networks import EVASummary, Network
from evalib.pages import live, machine
from evalib.results.records import checksum
from evalib.training.cifar import load_data
from evalib.training.data import normalise
from evalib.training.train import begin

close = torch.testing.assert_close


def network(name):
    """A network in double precision whose batch norms have running values of their own."""
    net = evalib.build(name)
    net(torch.randn(8, 3, 32, 32))
    return net.eval()


def exported(net):
    """The structure, and a reader of its tensors."""
    structure, block = live.pack(net)
    numbers = torch.frombuffer(bytearray(block), dtype=torch.float32).double()

    def read(place):
        size = torch.Size(place["shape"]).numel()
        return numbers[place["at"] : place["at"] + size].reshape(place["shape"])

    return structure, read, numbers


def test_a_batch_norm_is_folded_into_the_convolution_before_it():
    net = network("evanet20-small")
    structure, read, _ = exported(net)
    block, layer = net.stages[2], structure["blocks"][2]["first"]
    x = torch.randn(2, 16, 32, 32)
    folded = F.conv2d(x, read(layer["weight"]), read(layer["bias"]), layer["stride"], padding=1)
    close(folded, block.norm1(block.mix1(x)), atol=1e-5, rtol=1e-5)
    assert (layer["inputs"], layer["outputs"], layer["stride"]) == (16, 32, 2)


@pytest.mark.parametrize(
    "name",
    [
        "evanet20-small",
        "evanet20-small-letter",
        "evanet20-small-residual",
        "evanet20-small-standard",
    ],
)
def test_an_attention_keeps_its_logits_and_what_follows_them(name):
    net = network(name)
    structure, read, _ = exported(net)
    layer, written = net.summary.eva.looks[2], structure["stages"][2]["look"]
    query, memory = torch.randn(3, 64), torch.randn(3, 16, 64)
    y, weights = layer(query, memory)
    W_Q, W_K, W_V = (
        read(written[part]).unflatten(0, (structure["heads"], -1)) for part in ("W_Q", "W_K", "W_V")
    )
    q = torch.einsum("hcd, nd -> nhc", W_Q, query)
    k, v = (torch.einsum("hcd, nmd -> nhmc", W, memory) for W in (W_K, W_V))
    ours, shares = single_query_attention(q, k, v, read(written["r"]))
    ours = ours.flatten(1)
    close(shares, weights, atol=1e-5, rtol=0)
    if written["W_O"]:
        ours = ours @ read(written["W_O"]).T
    if norm := written["norm"]:
        ours = F.layer_norm(
            query + ours, (64,), read(norm["weight"]), read(norm["bias"]), norm["epsilon"]
        )
    close(ours, y, atol=1e-5, rtol=1e-5)


def test_matrices_of_another_width_than_64_are_written_as_they_are_used():
    """With the factor of departure D15, which is 1 at 64 channels."""
    net = Network(Experiment("narrow", "Narrow", widths=(4, 8, 16), head=EVASummary)).eval()
    structure, read, _ = exported(net)
    eva, x = net.summary.eva, torch.randn(2, 16, 7, 7)

    def mapped(layer, x):
        return F.linear(x, read(layer["weight"]), read(layer["bias"]))

    q = mapped(structure["convolution"], x.movedim(1, 3).flatten(1))
    for part, own in (("first_query", eva.first_query), ("output", eva.output)):
        first, second = structure[part]
        close(mapped(second, mapped(first, q).relu()), own(eva.convolution(x)), atol=1e-5, rtol=0)
    for stage, look in zip(structure["stages"], eva.looks, strict=True):
        for part, factor in (("W_Q", look.scale), ("W_K", 1), ("W_V", 1)):
            ours = F.linear(q, read(stage["look"][part]))
            close(ours, factor * getattr(look, part)(q), atol=1e-5, rtol=1e-5)


def test_the_rings_are_places_of_the_map_row_by_row():
    structure, *_ = exported(network("evanet20-small"))
    distance = [max(abs(m // 7 - 3), abs(m % 7 - 3)) for m in range(49)]
    assert [stage["ring"] for stage in structure["stages"]] == [
        [m for m in range(49) if distance[m] == radius] for radius in range(4)
    ]


def test_every_number_of_the_block_belongs_to_one_tensor():
    net = network("evanet20-small-standard")
    structure, _, numbers = exported(net)
    covered = torch.zeros(len(numbers))

    def cover(node):
        if isinstance(node, dict) and "at" in node:
            covered[node["at"] : node["at"] + torch.Size(node["shape"]).numel()] += 1
        elif isinstance(node, dict | list):
            for part in node.values() if isinstance(node, dict) else node:
                cover(part)

    cover(structure)
    close(covered, torch.ones(len(numbers)))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("resnet20-small", "give an EVANet"),
        ("evanet20-small-published", "PublishedEVA computes otherwise"),
        ("evanet20-small-scaled-no-recall", "Newest is not exported"),
        ("evanet20-small-scaled-centre-query", "CentrePixel is not exported"),
        ("evanet20-small-scaled-unpadded", "UnpaddedBlock is not exported"),
    ],
)
def test_a_network_that_the_browser_does_not_compute_is_refused(name, reason):
    with pytest.raises(ValueError, match=reason):
        live.pack(network(name))


def test_a_network_in_training_or_for_other_images_is_refused():
    with pytest.raises(ValueError, match=r"training mode.*network\.eval\(\)"):
        live.pack(evalib.build("evanet20-small"))
    with pytest.raises(ValueError, match="classes of CIFAR-10"):
        live.pack(evalib.build("evanet20-small", num_classes=3).eval())


def test_the_scripts_are_small_and_load_nothing():
    script = live.script("eva-live", *live.SCRIPTS)
    assert len(script.encode()) <= 40_000
    assert not re.search(r"\b(import|fetch|XMLHttpRequest|eval)\b *\(|https?:", script)


def test_an_element_is_whole_and_has_a_static_figure(photographs):
    readings = {"one": network("evanet20-small"), "two": network("evanet20-small-residual")}
    html = live.live(readings, *photographs).data
    assert html.count("<eva-live style") == html.count("</eva-live>") == 1
    assert html.count("<script") == html.count("</script>") == 4
    assert len(set(re.findall(r'data-digest="(\w{16})"', html))) == 2
    assert html.count("<svg") == html.count("</svg>") == 5 and 'role="img" aria-label="' in html


def test_the_pages_show_a_reading_that_weighs_and_the_letter():
    shown = live.readings()
    assert list(shown)[-1] == "letter" and len(shown) == 2
    assert all(live.pack(each.eval())[1] for each in shown.values())


WATCH = runpy.run_path(str(Path(__file__).parent.parent / "scripts" / "watch_training.py"))


def test_a_run_is_watched_from_its_first_weights_to_those_that_it_ends_with(few, monkeypatch):
    torch.set_default_dtype(torch.float32)
    pictures, shown = few.test_images[:10], []
    told = dict.fromkeys(("learning_rate", "train_loss", "validation_accuracy"), 0.5)

    def train(asked, directory, observe, network):
        first, _ = begin(asked, torch.device("cpu"))
        network.load_state_dict(evalib.load_pretrained("evanet20-small").state_dict())
        shown.extend(machine.seen(each, pictures) for each in (first, network))
        observe(told | {"epoch": 1})
        run = {"sittings": [{"precision": "bf16"}], "test_scores": F.one_hot(few.test_labels, 10)}
        run["curve"] = [{"validation_accuracy": 0.5}]
        return SimpleNamespace(cifar=few, device=torch.device("cpu"), **run)

    changes = {"train": train, "load_data": lambda which: few, "PICTURES": range(10)}
    for name, value in changes.items():
        monkeypatch.setitem(WATCH["watch"].__globals__, name, value)
    run = WATCH["watch"](evalib.Settings("evanet20-small", 1, epochs=1))
    assert [(each["epoch"], each["pictures"]) for each in run["watched"]] == [*enumerate(shown)]
    assert run["curve"] == [0.5]
    assert (run["test_accuracy"], run["precision"], run["seed"]) == (100.0, "bf16", 1)
    assert run["images"] == len(few.train_labels) * 9 // 10  # a tenth validates
    whole = WATCH["kept"](150)
    assert {0, 150} < whole and len(whole) == WATCH["FRAMES"]


def test_a_run_that_is_watched_goes_on_with_what_was_seen_before(few, tmp_path, monkeypatch):
    torch.set_default_dtype(torch.float32)
    inside, settings = WATCH["watch"].__globals__, evalib.Settings("evanet20-small", epochs=2)
    monkeypatch.setitem(inside, "load_data", lambda which: few)
    monkeypatch.setitem(inside, "PICTURES", range(2))
    seen, whole, calls = inside["seen"], WATCH["watch"](settings)["watched"], []

    def interrupt(network, pictures):
        calls.append(network)
        if len(calls) == 2:  # after the checkpoint of the first epoch
            raise KeyboardInterrupt
        return seen(network, pictures)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setitem(inside, "seen", interrupt)
        WATCH["watch"](settings, tmp_path)
    assert WATCH["watch"](settings, tmp_path)["watched"] == whole
    assert json.loads((tmp_path / "seen.json").read_text("utf-8")) == whole


def test_a_run_that_is_watched_again_takes_the_place_of_the_old(tmp_path, monkeypatch):
    path, given = tmp_path / "watched.json", {"test_accuracy": 10.0}
    monkeypatch.setitem(WATCH["main"].__globals__, "watch", lambda of, _: of.model_dump() | given)
    for words in ("letter --seed 0", "scaled --seed 0", "letter --seed 4"):
        words = f"watch evanet20-small-{words} --tier smoke --out {path}"
        monkeypatch.setattr("sys.argv", words.split())
        WATCH["main"]()
    found = json.loads(path.read_text("utf-8"))
    runs = [(run["experiment"].rpartition("-")[2], run["seed"]) for run in found["runs"]]
    assert runs == [("scaled", 0), ("letter", 4)]
    assert found["sha256"] == checksum(found)


def test_what_is_watched_of_a_picture_is_what_its_trace_says():
    torch.set_default_dtype(torch.float32)
    trained, images = evalib.load_pretrained("evanet20-small"), load_data("subset").test_images[:2]
    scores, passed = evalib.trace(trained, normalise(images))
    slots = passed.queries[0], *passed.looks
    for n, told in enumerate(machine.seen(trained, images)):
        for weights, looks, effective in zip(
            passed.look_weights, told["looks"], told["effective"], strict=True
        ):
            each = [(-w * w.clamp(min=1e-30).log()).sum().exp().item() for w in weights[n]]
            assert effective == pytest.approx(sum(each) / len(each), abs=0.006)
            assert looks == pytest.approx((10_000 * weights[n].mean(dim=0)).tolist(), abs=0.6)
        for weights, recalls in zip(passed.recall_weights, told["recalls"], strict=True):
            assert recalls == pytest.approx((10_000 * weights[n].mean(dim=0)).tolist(), abs=0.6)
        shares = 10_000 * scores[n].softmax(dim=0)
        assert told["shares"][-1] == pytest.approx(shares.tolist(), abs=0.6)
        assert told["lengths"] == pytest.approx([slot[n].norm().item() for slot in slots], abs=0.06)
