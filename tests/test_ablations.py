"""The rows: each one thing changed, and that thing is what its words say; Table 1 stays what it
was.
"""

import math
import shutil
import subprocess
import sys
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import pytest
import torch
from oracles import close
from torch.nn import functional as F

import evalib
from evalib import TABLE_1, equations, trace
from evalib.ablations import ABLATIONS, KINDS, LADDER
from evalib.ablations.layers import (
    CentreQuery,
    NoPosition,
    NoRecall,
    OneBlock,
    ReversedRings,
    UnpaddedBlock,
    ZeroPaddedAttention,
    projected_shortcut,
)
from evalib.eva import ExpandingVisualAttention, SingleQueryAttention
from evalib.experiments import ADAM, CHOSEN, ROWS, Recipe, experiment
from evalib.networks import EVASummary, average_pooling, convolution_3x3
from evalib.training import data, train
from evalib.variants import VARIANTS, LetterAttention, ResidualAttention


def eva_like(layer, module):
    """A ``layer`` with the weights of ``module`` as far as both have them."""
    other = layer(8, 8, 8, num_heads=2)
    mine, its = other.state_dict(), module.state_dict()
    other.load_state_dict(mine | {name: its[name] for name in mine if name in its})
    return other


@pytest.fixture
def module():
    return ExpandingVisualAttention(8, 8, 8, num_heads=2)


# ── Rows

MADE = [row for row in (*ABLATIONS, *LADDER) if not row.name.endswith("as-published")]
each_made = pytest.mark.parametrize("row", MADE, ids=lambda row: row.name)
DECIDES = {"blocks", "widths", "mix", "head", "block", "shortcut", "draw", "recipe"}


def test_the_mlp_has_as_many_parameters_as_eva():
    eva, mlp = (
        evalib.count_parameters(evalib.build(name))
        for name in ("evanet20-small", "resnet20-small-mlp")
    )
    assert mlp == pytest.approx(eva, rel=1e-3)


@each_made
def test_a_row_is_its_base_with_one_thing_changed(row):
    base = experiment(row.base)
    decides = DECIDES | {"test_each_epoch"}
    differing = {
        field.name for field in fields(row) if getattr(row, field.name) != getattr(base, field.name)
    }
    assert len(differing & decides) == 1
    assert row.paper_accuracy is None and row.change
    assert row.kind in (*KINDS, "ladder") or row.kind.startswith("D")
    assert (row.definition() != base.definition()) == ("test_each_epoch" not in differing)


def test_every_variant_is_a_row_of_either_size_under_its_name_for_good():
    for size in ("small", "large"):
        for name, (_, options) in VARIANTS.items():
            row = experiment(f"evanet20-{size}-{name}")
            assert row.head.func is EVASummary and row.head.keywords == options
            assert row.title == f"EVANet-20 {size}, {name}"
        assert experiment(f"evanet20-{size}").name == f"evanet20-{size}-{CHOSEN}"
    assert experiment("evanet20-small") == TABLE_1[2] and experiment("evanet20-large") == TABLE_1[5]


def test_settings_hold_the_full_name_and_nobody_else_takes_the_short_one():
    assert evalib.Settings("evanet20-small").experiment == f"evanet20-small-{CHOSEN}"
    with pytest.raises(ValueError, match="there is an experiment 'evanet20-large' already"):
        evalib.register(evalib.Experiment("evanet20-large", "Mine"))


def test_an_unknown_name_lists_the_table_and_the_ablations():
    with pytest.raises(
        ValueError,
        match=r"no experiment 'x': choose one of resnet20-small, .*resnet20-small-mlp.*register",
    ):
        evalib.build("x")


# ── How a row is trained

HALVES = (0.5, 0.75)
RECIPES = {
    "ladder-l2": Recipe("Adam", 1e-3, HALVES, 1e-4),
    "ladder-decay": Recipe("AdamW", 1e-3, HALVES, 5e-2),
    "ladder-sgd": Recipe("SGD", 0.1, HALVES, 2e-4),
    "ladder-option-b": Recipe("SGD", 0.1, HALVES, 2e-4),
    "ladder-333": Recipe("SGD", 0.1, HALVES, 2e-4),
    "ladder-50k": Recipe("SGD", 0.1, HALVES, 2e-4, all_images=True),
    "ladder-best": Recipe("SGD", 0.1, HALVES, 2e-4, all_images=True),
    "as-published": Recipe("SGD", 0.1, (), 2e-4, all_images=True),
    "sgd": Recipe("SGD", 0.1, (), 2e-4),
}


def test_every_row_has_the_recipe_that_its_words_say():
    for row in ROWS.values():
        suffix = next((each for each in RECIPES if row.name.endswith(f"-{each}")), None)
        assert row.recipe == RECIPES.get(suffix, Recipe("Adam", 1e-3, HALVES)), row.name


def test_settings_take_the_recipe_of_the_row():
    for name in ("resnet20-small", "resnet20-small-sgd"):
        settings, recipe = evalib.Settings(name), experiment(name).recipe
        assert settings.learning_rate == recipe.learning_rate
        assert settings.milestones == recipe.milestones


@pytest.mark.parametrize(
    "changes",
    [
        {"recipe": ADAM._replace(optimiser="AdamW")},
        {"recipe": ADAM._replace(weight_decay=1e-4)},
        {"recipe": ADAM._replace(milestones=(0.5,))},
        {"recipe": ADAM._replace(all_images=True)},
        {"widths": (16, 32, 128)},
        {"blocks": (3, 3, 3)},
        {"head": average_pooling},
        {"head": partial(EVASummary, num_heads=2)},
        {"mix": (convolution_3x3, convolution_3x3, partial(convolution_3x3, kernel_size=5))},
        {"shortcut": projected_shortcut},
        {"shortcut": partial(projected_shortcut, 1)},
        {"draw": torch.nn.init.zeros_},
        {"block": UnpaddedBlock},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_decides_a_run_is_in_the_definition_of_its_row(changes):
    row = TABLE_1[2]
    said = replace(row, **changes).definition()
    assert said != row.definition() and " at 0x" not in said


def test_words_and_names_are_not_in_the_definition_of_a_row():
    row = TABLE_1[2]
    renamed = replace(
        row, name="mine", model="Mine", base="resnet20-small", change="none", paper_accuracy=None
    )
    assert renamed.definition() == row.definition() == replace(row, head=EVASummary).definition()
    options = {"normed": True, "num_heads": 2}
    heads = (
        partial(EVASummary, **dict(order)) for order in (options.items(), [*options.items()][::-1])
    )
    one, same = (replace(row, head=head).definition() for head in heads)
    assert one == same


@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("l2", torch.optim.Adam, {"weight_decay": 1e-4}),
        ("decay", torch.optim.AdamW, {"weight_decay": 5e-2}),
        ("sgd", torch.optim.SGD, {"weight_decay": 2e-4, "momentum": 0.9, "nesterov": True}),
    ],
)
def test_the_optimiser_of_a_step_is_torchs(name, kind, options):
    settings = evalib.Settings(f"resnet20-small-ladder-{name}")
    ours, theirs = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    theirs.load_state_dict(ours.state_dict())
    pair = (
        (train.begin(settings, torch.device("cpu"), network=ours)[1], ours),
        (kind(theirs.parameters(), lr=settings.learning_rate, **options), theirs),
    )
    for optimiser, network in pair:
        for number in range(3):
            optimiser.zero_grad()
            network(torch.full((1, 3), 1.0 + number)).square().sum().backward()
            optimiser.step()
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())


@pytest.mark.parametrize(("all_images", "number"), [(False, 54), (True, 60)])
def test_all_images_train_where_the_recipe_says_so(few, tiny, monkeypatch, all_images, number):
    row = replace(tiny, recipe=ADAM._replace(all_images=all_images))
    monkeypatch.setitem(ROWS, "tiny", row)
    monkeypatch.setattr(
        train, "training_step", lambda *given: pytest.fail(f"{len(given[3])} of 60")
    )
    with pytest.raises(pytest.fail.Exception, match=f"{number} of 60"):
        evalib.train(evalib.Settings("tiny"), device="cpu")
    (some, validation), (every, same) = data.split(1000), data.split(1000, True)
    assert torch.equal(validation, same) and torch.equal(every[:900], some)
    assert sorted(every.tolist()) == list(range(1000))


@pytest.mark.parametrize(
    ("name", "reads"),
    [("resnet20-small", 1), ("resnet20-small-test-curve", 4)],
)
def test_only_a_row_that_asks_for_it_reads_the_test_set_more_than_once(
    few, float32, monkeypatch, name, reads
):
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
    asking = {row.name for row in ROWS.values() if row.test_each_epoch}
    assert asking == {
        name for name in ROWS if name.endswith(("test-curve", "ladder-best", "as-published"))
    }


# ── What each changes


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
        found = [m.scale for m in evalib.build(name).modules() if hasattr(m, "scale")]
        assert found == [0.25] * number
    for name in (
        "evanet20-small-letter",
        "evanet20-small-residual",
        "evanet20-small-letter-no-position",
    ):
        assert {m.scale for m in evalib.build(name).modules() if hasattr(m, "scale")} == {1}


@pytest.mark.parametrize("stride", [1, 2])
def test_zeros_of_the_border_are_keys_and_values(stride, monkeypatch):
    layer = ZeroPaddedAttention(6, 8, kernel_size=3, num_heads=2, stride=stride)
    x = torch.randn(2, 6, 5, 8)
    q, k, v = (t(x).unflatten(1, (2, 4)) for t in (layer.W_Q, layer.W_K, layer.W_V))
    monkeypatch.setattr(
        equations, "inside", lambda i, j, k, s, device: torch.ones(-(-i // s), -(-j // s), k, k) > 0
    )
    expected = equations.relative_attention(q, k, v, layer.rows, layer.cols, stride=stride)
    close(layer(x), expected.flatten(1, 2))


def test_an_unpadded_block_gives_7_by_7_around_the_same_centres():
    block = UnpaddedBlock(4, 8, stride=2, mix=convolution_3x3).eval()
    torch.nn.init.zeros_(block.norm2.weight)  # leaves the shortcut alone
    x = torch.rand(1, 4, 16, 16)
    assert torch.equal(block(x)[:, :4], x[:, :, 1:14:2, 1:14:2])
    with pytest.raises(ValueError, match=r"projected_shortcut.*one of its own"):
        UnpaddedBlock(4, 8, 2, convolution_3x3, projected_shortcut)
    within, x = UnpaddedBlock(8, 8, stride=1, mix=convolution_3x3), torch.rand(1, 8, 7, 7)
    assert within(x).shape == x.shape
    network = evalib.build("evanet20-small-scaled-unpadded")
    assert network.features(torch.randn(1, 3, 32, 32)).shape[-2:] == (7, 7)


def test_one_attention_a_block_is_the_second():
    kinds = [
        [type(b.mix1).__name__, type(b.mix2).__name__]
        for b in evalib.build("sanet20-small-one-attention").stages
    ]
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
    recalled = [weights[0, 0].tolist() for weights in seen.recall_weights]
    assert recalled == [[0.0] * s + [1.0] for s in (1, 2, 3, 4)]


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
    plain.convolution.weight.data = module.convolution.weight.data.mean(
        dim=(2, 3), keepdim=True
    ).expand(-1, -1, 7, 7)
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
    eva = evalib.build(f"evanet20-small-scaled-heads{heads}").summary.eva
    assert {each.num_heads for each in (*eva.looks, *eva.recalls)} == {heads}


def test_a_normed_eva_reads_normed_pixels_and_a_normed_first_query(module):
    layer = eva_like(partial(ExpandingVisualAttention, normed=True), module)
    x = 3 * torch.randn(2, 8, 7, 7) + 1
    y, seen = trace(layer, x)
    normed = F.layer_norm(x.permute(0, 2, 3, 1), (8,)).permute(0, 3, 1, 2)
    close(seen.queries[0], F.layer_norm(module.first_query(module.convolution(normed)), (8,)))
    module.first_query.append(torch.nn.LayerNorm(8))
    close(y, module(normed))


def test_a_projected_shortcut_is_a_strided_matrix_where_the_shape_changes():
    shortcut, x = projected_shortcut(4, 6, 2).eval(), torch.randn(2, 4, 6, 6)
    expected = (
        torch.einsum("oc,ncij->noij", shortcut[0].weight[..., 0, 0], x[:, :, ::2, ::2])
        / (1 + 1e-5) ** 0.5
    )
    close(shortcut(x), expected)
    for changed in ((4, 4, 1), (4, 6, 1), (4, 4, 2)):
        identity = isinstance(projected_shortcut(*changed), torch.nn.Identity)
        assert identity == (changed == (4, 4, 1))


# ── Table 1


CHOICES = ["normed", "standard-normed", "published"]
BUILT = """
import sys
import torch
for choice in sys.argv[1:]:
    sys.path.insert(0, choice)
    import evalib
    from evalib.experiments import ROWS
    with torch.device("meta"):
        for name in ROWS:
            evalib.build(name)
        kind = type(evalib.build("evanet20-small").summary.eva).__name__
    print(evalib.TABLE_1[2].name, kind, *ROWS)
    for module in [name for name in sys.modules if name.partition(".")[0] == "evalib"]:
        del sys.modules[module]
"""


def test_the_choice_is_one_line(tmp_path):
    """Whichever is chosen: Table 1 has it, the others keep their names, and every row is built."""
    for choice in CHOICES:
        copied = shutil.copytree(Path(evalib.__file__).parent, tmp_path / choice / "evalib")
        path = copied / "experiments.py"
        text = path.read_text("utf-8").replace(f'CHOSEN = "{CHOSEN}"', f'CHOSEN = "{choice}"')
        path.write_text(text, "utf-8")
    command = [sys.executable, "-c", BUILT, *CHOICES]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    for choice, line in zip(CHOICES, run.stdout.splitlines(), strict=True):
        first, kind, *rows = line.split()
        assert first == f"evanet20-small-{choice}"
        assert (kind == "PublishedEVA") == (choice == "published")
        variants = {f"evanet20-{size}-{name}" for size in ("small", "large") for name in VARIANTS}
        assert variants <= {*rows}
