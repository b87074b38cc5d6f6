"""What a trained EVA reads: an intervention changes what it should, and nothing else."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from made import made
from torch.nn.init import zeros_

import evalib
from evalib.equations import ring
from evalib.eva import EXTENT, RADII
from evalib.results import reading, weights
from evalib.results.reading import (
    READINGS,
    find_readings,
    load_readings,
    of_another_class,
)
from evalib.tracing import count_in_effect
from evalib.training.data import normalise

SCRIPT = runpy.run_path(str(Path(__file__).parent.parent / "scripts" / "measure_readings.py"))
measure = SCRIPT["measure"]


@pytest.fixture
def network():
    torch.set_default_dtype(torch.float32)
    return evalib.load_pretrained("evanet20-small")


@pytest.mark.parametrize("sign", [1, -1])
def test_weights_in_the_order_of_what_hiding_costs_agree_in_full(monkeypatch, sign):
    """Of a network whose answer falls by the weight of the pixel that is hidden, or rises by it."""
    image, shown = torch.full((1, 3, 32, 32), 200, dtype=torch.uint8), []
    weight = torch.rand(49)

    def traced(_, hidden):
        shown.append(hidden)
        scores = torch.zeros(50, 10)
        scores[:, 3] = 2.0
        scores[:-1, 3] -= sign * weight
        places = [EXTENT * (row + 3) + column + 3 for row, column in map(ring, RADII)]
        looks = [weight[place].expand(50, 2, -1).clone() for place in places]
        for look in looks:  # those of a picture that is hidden in part say nothing
            look[:-1] = torch.rand(look.shape[-1])
        return scores, SimpleNamespace(look_weights=looks)

    monkeypatch.setattr(reading, "trace", traced)
    found = reading.agree(None, image)
    assert found.shape == (3, 1) and torch.allclose(found, torch.full((3, 1), float(sign)))
    (hidden,) = shown
    changed = (hidden != hidden[-1:]).any(dim=1)
    assert (changed[-1].sum(), changed[8].sum()) == (0, 64)
    rows, columns = changed[8].nonzero().unbind(dim=1)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (6, 13, 6, 13)


def accuracies(network, subset):
    right, found = reading.measure(network, subset.test_images, subset.test_labels)
    return right, {each.vector: each.accuracy for each in found}


def test_even_weights_have_all_their_pixels_in_effect(network, subset):
    for look in network.summary.eva.looks:
        zeros_(look.W_Q.weight)
    _, found = reading.measure(network, subset.test_images[::10], subset.test_labels[::10])
    assert [each.pixels for each in found] == [49, 1, 8, 16, 24]
    assert [each.effective for each in found] == [
        None,
        *(pytest.approx(m, rel=1e-5) for m in (1, 8, 16, 24)),
    ]
    assert sum(each.weight for each in found) == pytest.approx(1, abs=1e-5)


def test_the_vectors_of_other_images_change_what_is_right_and_leave_no_trace(network, subset):
    right, found = accuracies(network, subset)
    assert right == accuracies(network, subset)[0]
    assert min(found.values()) < right - 20  # ten classes: what counts does not survive


def test_a_vector_whose_value_is_never_read_makes_no_difference(network, subset):
    eva = network.summary.eva
    zeros_(
        eva.recalls[-1].W_Q.weight
    )  # the last recall weighs its slots evenly, whatever attn3 asks
    right, found = accuracies(network, subset)
    assert all(value != right for value in found.values())
    zeros_(eva.looks[-1].W_V.weight)  # attn3 is the zero vector for every image
    right, found = accuracies(network, subset)
    assert found["attn3"] == right and found["q0"] != right
    _, vectors = reading.measure(network, subset.test_images, subset.test_labels)
    assert [each.length > 0 for each in vectors] == [True, True, True, True, False]
    assert vectors[-1].changed == 0 and all(each.changed > 0 for each in vectors[:-1])


def test_others_are_of_another_class_each_used_once():
    labels = torch.tensor([3, 1, 1, 3, 2, 2, 0, 3])
    others = of_another_class(labels)
    assert (labels[others] != labels).all() and sorted(others.tolist()) == list(range(8))
    with pytest.raises(ValueError, match="of 3 images 2 are of one class"):
        of_another_class(torch.tensor([1, 1, 0]))


@pytest.mark.parametrize(
    ("name", "found"),
    [("resnet20-small", "MeanOverPixels"), ("evanet20-small-published", "PublishedEVA")],
)
def test_a_network_without_the_papers_eva_is_refused(subset, name, found):
    with pytest.raises(ValueError, match=f"no EVA of the paper but {found}: give another EVANet"):
        reading.measure(evalib.build(name), subset.test_images, subset.test_labels)


def test_readings_are_kept_for_the_weights_of_records_alone(subset, network, tmp_path):
    source = weights.packaged("evanet20-small")
    here, gone = f"weights-{source.stem[-16:]}.safetensors", "weights-0123456789abcdef.safetensors"
    made(tmp_path, "evanet20-small", 0, weights=gone)
    made(tmp_path, "evanet20-small", 1, weights=here)  # as those that the package has
    made(tmp_path, "resnet20-small")
    (absent,) = measure(tmp_path, ("smoke",))
    assert "scaled-seed0.json: its weights are not here: copy " in absent
    right, vectors = reading.measure(network, subset.test_images, subset.test_labels)
    kept = load_readings(tmp_path)[here]
    assert (kept["images"], kept["right"]) == (500, right)
    assert kept["vectors"] == [vector._asdict() for vector in vectors]
    assert [run.seed for run, _ in find_readings(tmp_path)] == [1]
    assert measure(tmp_path, ("smoke",)) == [absent] and load_readings(tmp_path) == {here: kept}
    made(tmp_path, "evanet20-small", 1, weights=gone)
    assert find_readings(tmp_path) == []
    assert len(measure(tmp_path, ("smoke",))) == 2 and load_readings(tmp_path) == {}


def test_readings_that_were_changed_are_refused(tmp_path, monkeypatch, capsys):
    measure(tmp_path)
    path = tmp_path / READINGS
    readings = {"weights-0.safetensors": {}}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"readings": readings}))
    with pytest.raises(
        ValueError, match=r"readings.json was changed after it was written: .*--again"
    ):
        find_readings(tmp_path)
    made(tmp_path, "evanet20-small", tier="quick", weights="weights-1.safetensors")
    made(tmp_path, "evanet20-small", seed=1, tier="quick", epochs=3)  # is not shown
    for again, status, said in (
        ("", 1, "was changed"),
        ("--again", 0, "seed0.json: its weights are not here: copy "),
    ):
        monkeypatch.setattr("sys.argv", f"measure --out {tmp_path} {again}".split())
        assert SCRIPT["main"]() == status
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1
    assert find_readings(tmp_path) == []


def test_pixels_in_effect_are_the_mean_of_each_images_own(network, subset):
    """Eight equal weights and one alone: 8 and 1 pixels, 4.5 on average; e to the mean entropy
    would be 2.8.
    """
    weights = torch.tensor([[0.125] * 8, [1.0] + [0.0] * 7])
    assert count_in_effect(weights).tolist() == pytest.approx([8, 1])
    images, labels = subset.test_images[::25], subset.test_labels[::25]
    _, (_, *looks) = reading.measure(network, images, labels)
    _, seen = evalib.trace(network, normalise(images))
    for look, vector, weights in zip(looks, seen.looks, seen.look_weights, strict=True):
        assert look.length == pytest.approx(vector.norm(dim=1).mean().item(), rel=1e-4)
        each = [(-w * w.clamp(min=1e-30).log()).sum().exp().item() for w in weights.flatten(0, 1)]
        assert look.effective == pytest.approx(sum(each) / len(each), rel=1e-4)
