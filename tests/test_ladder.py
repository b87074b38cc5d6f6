"""The ladder: each rung one change above its base; the author's configuration is what it says."""

import copy
from dataclasses import fields

import pytest
import torch

import evalib
from evalib.ablations import LADDER, STEPS
from evalib.ablations.as_published import DROPOUT, AsPublishedEVA, Dropout
from evalib.ablations.layers import projected_shortcut
from evalib.batch import manifest
from evalib.experiments import experiment
from evalib.training import data
from evalib.training.step import OPTIMISERS

SAID = {"name", "model", "variant", "paper_accuracy", "change", "base", "kind"}
each_rung = pytest.mark.parametrize("row", [row for row in LADDER if "-ladder-" in row.name], ids=lambda row: row.name)


def close(one, other):
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@each_rung
def test_a_rung_is_its_base_with_one_thing_changed(row):
    base = experiment(row.base)
    differing = {field.name for field in fields(row) if getattr(row, field.name) != getattr(base, field.name)} - SAID
    suffix = row.name.partition("-ladder-")[2]
    assert len(differing) == 1 and differing == set({suffix: each for suffix, *_, each in STEPS}[suffix])


def test_the_ladders_manifest_has_every_rung():
    runs = manifest.read_manifest(manifest.in_checkout("workflow/ladder.csv"))
    assert {run.experiment for run in runs} == {row.name for row in LADDER}


@pytest.mark.parametrize(
    ("rung", "kind", "options"),
    [
        ("l2", torch.optim.Adam, {"weight_decay": 1e-4}),
        ("decay", torch.optim.AdamW, {"weight_decay": 5e-2}),
        ("sgd", torch.optim.SGD, {"weight_decay": 2e-4, "momentum": 0.9, "nesterov": True}),
    ],
)
def test_the_optimiser_of_a_rung_is_torchs(rung, kind, options):
    recipe = experiment(f"resnet20-small-ladder-{rung}").recipe
    ours, theirs = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    theirs.load_state_dict(ours.state_dict())
    pair = (
        (OPTIMISERS[recipe.optimiser](ours, recipe.learning_rate, recipe.weight_decay), ours),
        (kind(theirs.parameters(), lr=recipe.learning_rate, **options), theirs),
    )
    for optimiser, network in pair:
        for step in range(3):
            optimiser.zero_grad()
            network(torch.full((1, 3), 1.0 + step)).square().sum().backward()
            optimiser.step()
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())


def test_all_images_train_where_the_recipe_says_so():
    (some, validation), (every, same) = data.split(1000), data.split(1000, True)
    assert torch.equal(validation, same) and torch.equal(every[:900], some)
    assert sorted(every.tolist()) == list(range(1000))
    assert [row.name for row in LADDER if row.recipe.all_images] == [
        *(f"{row.name}-ladder-{rung}" for row in evalib.TABLE_1[:3] for rung in ("50k", "best")),
        *(f"{name}20-small-as-published" for name in ("resnet", "sanet", "evanet")),
    ]


def test_a_projected_shortcut_is_a_strided_matrix_where_the_shape_changes():
    shortcut, x = projected_shortcut(4, 6, 2).eval(), torch.randn(2, 4, 6, 6)
    expected = torch.einsum("oc,ncij->noij", shortcut[0].weight[..., 0, 0], x[:, :, ::2, ::2]) / (1 + 1e-5) ** 0.5
    close(shortcut(x), expected)
    assert torch.equal(projected_shortcut(4, 4, 1)(x), x)


def test_the_authors_eva_is_its_description_in_loops():
    layer, x = AsPublishedEVA(8, 8, 5, num_heads=2).eval(), torch.randn(1, 8, 7, 7)
    q, seen, forecast = layer.first_query(x[:, :, 3, 3])[0], [], None

    def attend(part, query, memory, offsets, forecast):
        """``offsets[h][m]`` meets the query; heads of keys and values by a reshape that keeps the order of memory."""
        q = part.W_Q(query)
        k, v = (W(memory).flatten().reshape(2, len(memory), 4) for W in (part.W_K, part.W_V))
        heads = []
        for h in range(2):
            half = slice(4 * h, 4 * h + 4)
            logits = torch.stack([q[half] @ (k[h, m] + offsets[h][m]) / 2 for m in range(len(memory))])
            heads.append((logits + forecast).softmax(0) @ v[h])
        y = part.W_O(torch.cat(heads))
        between = part.norm1(query + y)
        return part.norm2(between + part.feed_forward(between)), y

    for s in range(4):
        pixels = [(i, j) for i in range(7) for j in range(7) if max(abs(i - 3), abs(j - 3)) == s]
        r = [[torch.cat([layer.rows[h, :, i], layer.cols[h, :, j]]) for i, j in pixels] for h in range(2)]
        memory = torch.stack([x[0, :, i, j] for i, j in pixels])
        told = torch.zeros(len(pixels)) if s == 0 else torch.stack([forecast[i - 3 + s, j - 3 + s] for i, j in pixels])
        attn, y = attend(layer.looks[s], q, memory, r, told)
        seen.append(attn)
        q = attn
        if s:
            slots = [layer.slots[s - 1][h].T for h in range(2)]
            q, _ = attend(layer.recalls[s - 1], attn, torch.stack(seen), slots, torch.zeros(s + 1))
        if s < 3:
            forecast = layer.forecasts[s](y).reshape(2 * s + 3, 2 * s + 3)
    close(layer(x)[0, :, 0, 0], layer.output(q))


def test_dropout_drops_its_share_anew_each_step_and_differently_in_each_place():
    one, other = Dropout(), Dropout()
    other.salt = 1
    x = torch.ones(1000, 64)
    first, second, elsewhere = one(x), one(x), other(x)
    for y in (first, second, elsewhere):
        assert abs((y == 0).double().mean() - DROPOUT) < 0.005
        torch.testing.assert_close(y[y != 0], torch.full_like(y[y != 0], 1 / (1 - DROPOUT)))
    expected = DROPOUT**2 + (1 - DROPOUT) ** 2
    for y in (second, elsewhere):
        assert abs((first == y).double().mean() - expected) < 0.01
    again = copy.deepcopy(one)
    assert torch.equal(again(x), one(x))
    assert torch.equal(one.eval()(x), x)


def test_a_stopped_run_with_dropout_ends_bitwise_as_the_run_never_stopped(tmp_path, monkeypatch):
    torch.set_default_dtype(torch.float32)
    cifar = data.load("subset")
    few = cifar._replace(
        train_images=cifar.train_images[::20], train_labels=cifar.train_labels[::20],
        test_images=cifar.test_images[::25], test_labels=cifar.test_labels[::25],
    )  # fmt: skip
    monkeypatch.setattr(data, "load", lambda which: few)
    settings = evalib.Settings("evanet20-small-as-published", epochs=2, batch_size=25)
    whole = evalib.train(settings, device="cpu")

    def stop(entry):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evalib.train(settings, tmp_path, device="cpu", observe=stop)
    resumed = evalib.train(settings, tmp_path, device="cpu")
    assert torch.equal(whole.test_scores, resumed.test_scores)
    assert all("test_accuracy" in row for row in whole.curve)
