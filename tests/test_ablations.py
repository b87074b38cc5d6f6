"""The ablations: each one thing changed, and that thing is what its words say; Table 1 stays what it was."""

import math
from dataclasses import fields
from functools import partial

import pytest
import torch
from torch.nn import functional as F

import evalib
from evalib import equations, trace
from evalib.ablations import ABLATIONS, KINDS, LETTER
from evalib.ablations.layers import (
    CentreQuery,
    NoPosition,
    NoRecall,
    OneBlock,
    ReversedRings,
    UnpaddedBlock,
    ZeroPaddedAttention,
)
from evalib.batch import manifest
from evalib.eva import ExpandingVisualAttention, SingleQueryAttention
from evalib.experiments import ADAM, experiment
from evalib.networks import EVASummary, convolution_3x3
from evalib.published import PublishedEVA
from evalib.training import data, train
from evalib.training.step import sgd
from evalib.variants import LetterAttention, ResidualAttention

PARAMETERS = {
    "resnet20-small-mlp": 489_265,
    "evanet20-small-query-alone": 381_594,
    "evanet20-small-letter": 489_242,
    "evanet20-large-letter": 7_787_594,
    "evanet20-large-residual": 7_791_690,
    "evanet20-large-standard": 8_315_978,
    "sanet20-small-scaled": 87_258,
    "evanet20-small-residual": 490_266,
    "evanet20-small-standard": 523_034,
    "sanet20-small-zero-padded": 87_258,
    "evanet20-small-scaled-unpadded": 489_242,
    "sanet20-small-one-attention": 123_738,
    "resnet20-small-333": 269_722,
    "sanet20-small-333": 135_706,
    "evanet20-small-scaled-333": 586_458,
    "evanet20-small-scaled-centre-query": 288_474,
    "evanet20-small-scaled-no-recall": 440_090,
    "evanet20-small-scaled-reversed": 489_242,
    "evanet20-small-scaled-one-block": 414_938,
    "evanet20-small-scaled-no-position": 488_218,
    "evanet20-small-scaled-heads1": 489_242,
    "evanet20-small-scaled-heads2": 489_242,
    "evanet20-small-scaled-heads8": 489_242,
    "evanet20-small-published": 340_314,
    "resnet20-small-sgd": 172_506,
    "evanet20-small-scaled-sgd": 489_242,
    "resnet20-small-test-curve": 172_506,
    "evanet20-small-scaled-test-curve": 489_242,
    "evanet20-small-normed": 489_498,
    "evanet20-large-normed": 7_788_618,
    "evanet20-small-standard-normed": 523_290,
    "evanet20-large-standard-normed": 8_317_002,
    "evanet20-large-published": 5_373_258,
    "sanet20-large-scaled": 1_362_762,
    "evanet20-small-letter-centre-query": 288_474,
    "evanet20-small-letter-no-recall": 440_090,
    "evanet20-small-letter-one-block": 414_938,
    "evanet20-small-letter-no-position": 488_218,
    "evanet20-small-letter-sgd": 489_242,
    "evanet20-small-letter-test-curve": 489_242,
}
DRAWN = {
    "resnet20-small": (-0.135742, 0.245513, 0.103558),
    "sanet20-small": (-0.184092, -0.151329, -0.006932),
    "evanet20-small-letter": (0.032780, -0.054686, -0.003297),
    "resnet20-large": (0.146383, -0.136521, -0.111046),
    "sanet20-large": (-0.264418, -0.070588, -0.079028),
    "evanet20-large-letter": (0.053639, -0.008894, -0.055663),
}
"""The first three scores of one image, as they were before there were ablations."""
each_ablation = pytest.mark.parametrize("row", ABLATIONS, ids=lambda row: row.name)


@pytest.fixture
def float32():
    torch.set_default_dtype(torch.float32)


def close(one, other):
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def eva_like(layer, module):
    """A ``layer`` with the weights of ``module`` as far as both have them."""
    other = layer(8, 8, 8, num_heads=2)
    mine, its = other.state_dict(), module.state_dict()
    other.load_state_dict(mine | {name: its[name] for name in mine if name in its})
    return other


@pytest.fixture
def module():
    return ExpandingVisualAttention(8, 8, 8, num_heads=2)


# ── Rows ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@each_ablation
def test_a_row_builds_learns_and_has_its_parameters(row):
    network = evalib.build(row.name)
    assert evalib.count_parameters(network) == PARAMETERS[row.name]
    scores = network(torch.randn(3, 3, 32, 32))
    assert scores.shape == (3, 10)
    F.cross_entropy(scores, torch.tensor([1, 2, 3])).backward()
    assert network.classifier.weight.grad.abs().max() > 0
    assert network.stem[0].weight.grad.abs().max() > 0


@each_ablation
def test_a_row_is_its_base_with_one_thing_changed(row):
    base = experiment(row.base)
    said = {"name", "model", "variant", "paper_accuracy", "change", "base", "kind"}
    differing = {field.name for field in fields(row) if getattr(row, field.name) != getattr(base, field.name)} - said
    assert len(differing) == 1, differing
    assert base in (*evalib.TABLE_1, LETTER) and row.paper_accuracy is None
    assert row.title == f"{row.model}, {row.variant}" if row.variant else row.model.endswith(f", {row.change}")
    assert row.kind in KINDS or row.kind.startswith("D")


def test_the_second_manifest_is_the_ablations_and_the_first_is_table_1():
    path = manifest.in_checkout("workflow/ablations.csv")
    on_the_letter = {row.name for row in ABLATIONS if row.base == LETTER.name}
    assert {run.experiment for run in manifest.read_manifest(path)} == {row.name for row in ABLATIONS} - on_the_letter
    assert {run.experiment for run in manifest.read_manifest()} == {row.name for row in evalib.TABLE_1}
    assert len({row.name for row in ABLATIONS}) == len(ABLATIONS) == len(PARAMETERS)


def test_an_unknown_name_lists_the_table_and_the_ablations():
    with pytest.raises(
        ValueError, match=r"no experiment 'x': choose one of resnet20-small, .*resnet20-small-mlp.*register"
    ):
        evalib.build("x")


def test_the_mlp_has_the_parameters_of_eva_within_one_percent():
    mlp, eva = (PARAMETERS | {"evanet20-small": 489_242})["resnet20-small-mlp"], 489_242
    assert abs(mlp - eva) / eva < 0.01


# ── What each changes ─────────────────────────────────────────────────────────────────────────────────────────────


def test_scaled_logits_are_the_equations_with_their_scale_and_the_letter_has_none(module):
    query, memory = torch.randn(2, 8), torch.randn(2, 24, 8)
    look = module.looks[3]
    row, column = look.offsets + 3
    r = equations.relative_embedding(look.rows, look.cols)[:, :, row, column]
    letter = LetterAttention(8, 8, 2, look.offsets)
    letter.load_state_dict(look.state_dict())
    q, k, v = look.W_Q(query).unflatten(1, (2, 4)), look.W_K(memory), look.W_V(memory)
    k, v = (t.unflatten(2, (2, 4)).transpose(1, 2) for t in (k, v))
    for layer, divisor in ((look, math.sqrt(8 / 2)), (letter, 1)):
        y, weights = equations.single_query_attention(q / divisor, k, v, r)
        for found, value in zip(layer(query, memory), (y.flatten(1), weights), strict=True):
            close(found, value)
    layer = evalib.RelativeSelfAttention(6, 8, kernel_size=3, num_heads=2, scaled=True)
    x = torch.randn(2, 6, 5, 5)
    q, k, v = (t(x).unflatten(1, (2, 4)) for t in (layer.W_Q, layer.W_K, layer.W_V))
    expected = evalib.relative_attention(q, k, v, layer.rows, layer.cols, scale=0.5)
    close(layer(x), expected.flatten(1, 2))


def test_every_attention_of_a_scaled_row_is_scaled():
    for name, number in (("evanet20-small", 8), ("sanet20-small-scaled", 4)):
        assert [m.scale for m in evalib.build(name).modules() if hasattr(m, "scale")] == [0.25] * number
    for name in ("evanet20-small-letter", "evanet20-small-residual", "evanet20-small-letter-no-position"):
        assert {m.scale for m in evalib.build(name).modules() if hasattr(m, "scale")} == {1}


@pytest.mark.parametrize("stride", [1, 2])
def test_zeros_of_the_border_are_keys_and_values(stride, monkeypatch):
    layer = ZeroPaddedAttention(6, 8, kernel_size=3, num_heads=2, stride=stride)
    x = torch.randn(2, 6, 6, 8)
    q, k, v = (t(x).unflatten(1, (2, 4)) for t in (layer.W_Q, layer.W_K, layer.W_V))
    monkeypatch.setattr(equations, "inside", lambda i, j, k, s, device: torch.ones(i // s, j // s, k, k) > 0)
    expected = equations.relative_attention(q, k, v, layer.rows, layer.cols, stride=stride)
    close(layer(x), expected.flatten(1, 2))


def test_an_unpadded_block_gives_7_by_7_around_the_same_centres():
    block = UnpaddedBlock(4, 8, stride=2, mix=convolution_3x3).eval()
    torch.nn.init.zeros_(block.norm2.weight)  # leaves the shortcut alone
    x = torch.rand(1, 4, 16, 16)
    assert torch.equal(block(x)[:, :4], x[:, :, 1:14:2, 1:14:2])
    assert UnpaddedBlock(8, 8, stride=1, mix=convolution_3x3)(torch.rand(1, 8, 7, 7)).shape == (1, 8, 7, 7)
    assert evalib.build("evanet20-small-scaled-unpadded").features(torch.randn(1, 3, 32, 32)).shape[-2:] == (7, 7)


def test_one_attention_a_block_is_the_second():
    kinds = [[type(b.mix1).__name__, type(b.mix2).__name__] for b in evalib.build("sanet20-small-one-attention").stages]
    assert kinds == [["Conv2d"] * 2] * 4 + [["Conv2d", "RelativeSelfAttention"]] * 2


def test_a_centre_query_is_made_of_the_centre_pixel(module):
    x = torch.randn(2, 8, 7, 7)
    _, seen = trace(eva_like(CentreQuery, module), x)
    close(seen.queries[0], module.first_query(x[:, :, 3, 3]))


def test_without_recalls_a_look_asks_the_next(module):
    y, seen = trace(layer := eva_like(NoRecall, module), torch.randn(2, 8, 7, 7))
    for query, look in zip(seen.queries[1:], seen.looks, strict=False):
        assert torch.equal(query, look)
    close(y[..., 0, 0], layer.output(seen.looks[3]))
    assert [w[0, 0].tolist() for w in seen.recall_weights] == [[0.0] * s + [1.0] for s in (1, 2, 3, 4)]


def test_reversed_rings_go_from_24_pixels_to_1():
    _, seen = trace(ReversedRings(8, 8, 8, num_heads=2), torch.randn(1, 8, 7, 7))
    assert [weights.shape[-1] for weights in seen.look_weights] == [24, 16, 8, 1]


def test_one_block_looks_at_each_pixel_with_its_own_offset():
    layer, x = OneBlock(8, 8, 8, num_heads=2, Attention=LetterAttention), torch.randn(1, 8, 7, 7)
    _, seen = trace(layer, x)
    look = layer.looks[0]
    r = equations.relative_embedding(look.rows, look.cols).flatten(2)
    pixels = x.flatten(2).transpose(1, 2)
    q = look.W_Q(seen.queries[0]).unflatten(1, (2, 4))
    k, v = (W(pixels).unflatten(2, (2, 4)).transpose(1, 2) for W in (look.W_K, look.W_V))
    attn, weights = equations.single_query_attention(q, k, v, r)
    close(seen.looks[0], attn.flatten(1))
    close(seen.look_weights[0].sort().values, weights.sort().values)
    assert len(seen.looks) == 1


def test_without_position_the_pixels_of_a_ring_may_change_places(module):
    x = torch.randn(2, 8, 7, 7)
    turned, plain = x.rot90(dims=(-2, -1)), eva_like(NoPosition, module)
    plain.convolution.weight.data = module.convolution.weight.data.mean(dim=(2, 3), keepdim=True).expand(-1, -1, 7, 7)
    close(plain(x), plain(turned))
    assert not torch.allclose(module(x), module(turned))


def test_a_residual_attention_is_the_norm_of_query_and_attention(module):
    layer = eva_like(partial(ExpandingVisualAttention, Attention=ResidualAttention), module)
    x = torch.randn(2, 8, 7, 7)
    _, seen = trace(layer, x)
    look, memory = layer.looks[0], x[:, :, 3:4, 3].transpose(1, 2)
    attn, _ = SingleQueryAttention.forward(look, seen.queries[0], memory)
    close(seen.looks[0], F.layer_norm(seen.queries[0] + attn, (8,)))
    assert sum(hasattr(each, "norm") for each in (*layer.looks, *layer.recalls)) == 8


@pytest.mark.parametrize("heads", [1, 2, 8])
def test_a_row_of_heads_has_them_in_each_attention(heads):
    summary = evalib.build(f"evanet20-small-scaled-heads{heads}").summary
    assert isinstance(summary, EVASummary)
    assert {each.num_heads for each in (*summary.eva.looks, *summary.eva.recalls)} == {heads}


def test_published_eva_is_its_description_in_loops():
    layer, x = PublishedEVA(8, 8, 8, num_heads=2).double(), torch.randn(1, 8, 7, 7)
    q, seen = layer.first_query(x[:, :, 3, 3])[0], []
    for s in range(4):
        pixels = [(i, j) for i in range(7) for j in range(7) if max(abs(i - 3), abs(j - 3)) == s]
        heads = []
        for h in (slice(0, 4), slice(4, 8)):
            n = h.start // 4
            r = [torch.cat([layer.rows[n, :, i], layer.cols[n, :, j]]) for i, j in pixels]
            keys = [(layer.looks[s]["K"].weight @ x[0, :, i, j])[h] for i, j in pixels]
            values = torch.stack([(layer.looks[s]["V"].weight @ x[0, :, i, j])[h] for i, j in pixels])
            logits = torch.stack([q[h] @ (k + each) for k, each in zip(keys, r, strict=True)]) / 2
            heads.append(logits.softmax(0) @ values)
        seen.append(layer.around_looks[s](q[None], torch.cat(heads)[None])[0])
        q = seen[0]
        if s:
            W = layer.recalls[s - 1]
            memory = [slot + each for slot, each in zip(layer.slots, seen, strict=False)]
            heads = []
            for h in (slice(0, 4), slice(4, 8)):
                logits = [(W["Q"].weight @ seen[-1])[h] @ (W["K"].weight @ m)[h] / 2 for m in memory]
                values = torch.stack([(W["V"].weight @ m)[h] for m in memory])
                heads.append(torch.stack(logits).softmax(0) @ values)
            q = layer.around_recalls[s - 1](seen[-1][None], torch.cat(heads)[None])[0]
    close(layer(x)[0, :, 0, 0], q)
    with pytest.raises(ValueError, match="widths 4, 8, 8 must be one"):
        PublishedEVA(4, 8, 8)


# ── Training ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_settings_take_the_recipe_of_the_row():
    ours, published = evalib.Settings("resnet20-small"), evalib.Settings("resnet20-small-sgd")
    assert (ours.learning_rate, ours.milestones) == (0.001, (0.5, 0.75)) == ADAM[1:3]
    assert (published.learning_rate, published.milestones) == (0.1, ())
    assert evalib.Settings(**published.model_dump()) == published


def test_sgd_is_nesterov_momentum_of_the_published_code():
    networks = [torch.nn.Linear(3, 2) for _ in range(2)]
    networks[1].load_state_dict(networks[0].state_dict())
    plain = torch.optim.SGD(networks[1].parameters(), 0.1, momentum=0.9, weight_decay=2e-4, nesterov=True)
    for optimiser, network in ((sgd(networks[0], 0.1, 2e-4), networks[0]), (plain, networks[1])):
        for step in range(3):
            optimiser.zero_grad()
            network(torch.full((1, 3), 1.0 + step)).square().sum().backward()
            optimiser.step()
    torch.testing.assert_close(networks[0].state_dict(), networks[1].state_dict())


@pytest.fixture
def few(monkeypatch, float32):
    """Sixty training and twenty test images of the subset."""
    cifar = data.load("subset")
    order, test = torch.randperm(1000)[:60], torch.randperm(500)[:20]
    few = cifar._replace(
        train_images=cifar.train_images[order], train_labels=cifar.train_labels[order],
        test_images=cifar.test_images[test], test_labels=cifar.test_labels[test],
    )  # fmt: skip
    monkeypatch.setattr(data, "load", lambda which: few)
    return few


def stopped(*arguments):
    raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["resnet20-small-sgd", "evanet20-small-letter", "evanet20-small-scaled-test-curve"])
def test_a_stopped_run_of_an_ablation_ends_bitwise_as_the_run_never_stopped(few, tmp_path, monkeypatch, name):
    settings = evalib.Settings(name, epochs=2, batch_size=25)
    whole = evalib.train(settings, device="cpu")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(train, "show", stopped)
        evalib.train(settings, tmp_path, device="cpu")
    resumed = evalib.train(settings, tmp_path, device="cpu")
    assert torch.equal(whole.test_scores, resumed.test_scores)
    assert [row["train_loss"] for row in whole.curve] == [row["train_loss"] for row in resumed.curve]


@pytest.mark.parametrize(
    ("name", "reads"), [("resnet20-small", 1), ("resnet20-small-mlp", 1), ("resnet20-small-test-curve", 4)]
)
def test_only_a_row_that_asks_for_it_reads_the_test_set_more_than_once(few, monkeypatch, name, reads):
    predict, seen = train.predict, []

    def counted(network, images, **options):
        seen.append(len(images))
        return predict(network, images, **options)

    monkeypatch.setattr(train, "predict", counted)
    run = evalib.train(evalib.Settings(name, epochs=3, batch_size=30), device="cpu")
    assert seen.count(len(few.test_images)) == reads
    assert ["test_accuracy" in row for row in run.curve] == [reads > 1] * 3
    if reads > 1:
        assert run.curve[-1]["test_accuracy"] == train.accuracy(run.test_scores, few.test_labels)


def test_only_rows_of_that_question_read_the_test_set_after_each_epoch():
    assert {row.name for row in (*evalib.TABLE_1, *ABLATIONS) if row.test_each_epoch} == {
        "resnet20-small-test-curve",
        "evanet20-small-scaled-test-curve",
        "evanet20-small-letter-test-curve",
    }
    assert "test_each_epoch" not in evalib.Settings("resnet20-small").model_dump()


# ── Table 1 ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", DRAWN)
def test_a_row_of_table_1_to_the_letter_is_drawn_as_ever(name, float32):
    torch.manual_seed(0)
    network = evalib.build(name).eval()
    with torch.inference_mode():
        scores = network(torch.linspace(-1, 1, 3 * 32 * 32).view(1, 3, 32, 32))[0]
    assert scores[:3].tolist() == pytest.approx(DRAWN[name], rel=1e-3)
