"""Other data through the same trainer: one's own, CIFAR-100, another network; what does not fit is
refused by name.
"""

import hashlib
import pickle
import re

import numpy as np
import pytest
import torch
from einops import rearrange, repeat
from torch import nn
from torchvision.datasets import CIFAR100
from torchvision.models import VisionTransformer

import evalib
from evalib.training import data, train

pytestmark = pytest.mark.usefixtures("float32")


def shades(n=200, size=32, classes=3):
    """Images of noise over a shade that is their class."""
    labels = torch.arange(n) % classes
    noise = torch.randint(0, 30, (n, 3, size, size))
    return (noise + 90 * rearrange(labels, "n -> n 1 1 1")).clamp(max=255).byte(), labels


# One's own images


@pytest.mark.parametrize("size", [32, 24])
def test_a_network_learns_the_classes_of_ones_own_images(tiny, size):
    mine = evalib.dataset(*shades(400, size), classes=("dark", "grey", "light"))
    settings = evalib.Settings("tiny", epochs=8, batch_size=36, learning_rate=0.01)
    run = evalib.train(settings, device="cpu", dataset=mine)
    assert run.network.classifier.out_features == 3 and run.test_scores.shape == (40, 3)
    assert train.accuracy(run.test_scores, mine.test_labels) > 90
    images, labels = shades(6, size)
    names = evalib.predict(run.network, images, classes=mine.classes)[1]
    assert names == [mine.classes[label] for label in labels]
    with pytest.raises(ValueError, match=f"trained on {size}×{size}"):
        evalib.predict(run.network, shades(2, size + 1)[0])


def test_the_trainer_sees_the_same_of_a_data_set_given_as_ones_own(few, tiny):
    """The tier's data handed over as one's own give bitwise the run of the tier."""
    settings = evalib.Settings("tiny", epochs=1, batch_size=30)
    mine = evalib.dataset(*few[:4], classes=few.classes)
    own, tier = (evalib.train(settings, device="cpu", dataset=given) for given in (mine, None))
    assert torch.equal(own.test_scores, tier.test_scores) and mine.source == "own"


def test_a_given_network_is_trained_in_place_and_of_its_own_kind():
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    before = network[0].weight.clone()
    settings = evalib.Settings("resnet20-small", epochs=1)
    run = evalib.train(settings, device="cpu", dataset=evalib.dataset(*shades()), network=network)
    assert run.network is network and not torch.equal(network[0].weight, before)


def test_a_network_trained_on_other_sizes_is_tuned_to_those_of_the_data():
    images, labels = shades(50, 24)
    network = evalib.load_pretrained("resnet20-small", num_classes=3)
    small = evalib.dataset(images[..., :20], labels)
    run = evalib.train(
        evalib.Settings("resnet20-small", epochs=1), device="cpu", dataset=small, network=network
    )
    assert run.network.image_size == (24, 20)
    assert evalib.predict(network, small.test_images).shape == (5, 3)


def test_a_vision_transformer_keeps_the_attributes_that_are_its_own():
    vit = VisionTransformer(
        32, 8, num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=16, num_classes=3
    )
    mine = evalib.dataset(*shades(50))
    run = evalib.train(
        evalib.Settings("resnet20-small", epochs=1), device="cpu", dataset=mine, network=vit
    )
    assert vit.image_size == 32 and evalib.predict(run.network, mine.test_images).shape == (5, 3)


def test_numpy_arrays_are_tensors_and_a_tenth_is_put_aside():
    images, labels = shades(50)
    mine = evalib.dataset(images.numpy(), labels.numpy().astype(np.uint8))
    train, test = data.split(50)
    assert torch.equal(mine.train_images, images[train])
    assert torch.equal(mine.test_images, images[test])
    assert torch.equal(mine.train_labels, labels[train]) and mine.train_labels.dtype == torch.int64
    assert mine.classes == ("0", "1", "2")
    for unsigned in (np.uint16, np.uint32, np.uint64):
        same = evalib.dataset(images.numpy(), labels.numpy().astype(unsigned))
        assert same.fingerprint == mine.fingerprint
    other = evalib.dataset(images, (labels + 1) % 3)
    assert mine.fingerprint == evalib.dataset(images, labels).fingerprint != other.fingerprint


def test_data_are_told_apart_by_every_part():
    images, labels = shades(50)
    parts, others = (images, labels) * 2, (255 - images, (labels + 1) % 3) * 2
    given = [[*parts[:n], others[n], *parts[n + 1 :]] for n in range(4)]
    assert len({evalib.dataset(*each).fingerprint for each in (parts, *given)}) == 5


def test_what_is_given_is_copied():
    images, labels = shades(50)
    for pixels, numbers in ((images.numpy().copy(), labels.numpy()), (images.clone(), labels)):
        mine = evalib.dataset(pixels, numbers, pixels, numbers)
        pixels[:] = 0
        assert torch.equal(mine.train_images, images)
        assert mine.fingerprint == evalib.dataset(images, labels, images, labels).fingerprint


images, labels = shades(50)
rare = labels.index_fill(0, data.split(50)[1][:1], 3)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ((images[0], labels), r"for one image give images\[None\]"),
        ((images, labels.float()), r"labels are torch.float32 .*one whole number an image$"),
        ((images, labels > 1), "labels are torch.bool"),
        ((images, labels[:40]), r"of shape \(40,\) for 50 images"),
        ((images, labels + 1), "no training image has the label 0: number the labels from 0"),
        ((images, 10**10 * labels), "labels are 0 … 20000000000: number the classes from 0"),
        ((images, labels - 1), "labels are -1 … 1: number"),
        ((images, labels, images, labels + 1), "test_labels are 1 … 3: number"),
        ((images, labels, images / 255, labels), r"test_images are .*\(255 \* test_images\)"),
        ((images, labels, images, labels[1:]), r"test_labels are .*\(49,\) for 50 images"),
        ((images, 0 * labels), "no training image has the label 1"),
        ((images, labels, images[..., 1:], labels), "32×32 and 32×31"),
        ((images, labels, images), "give test_images and test_labels both"),
        ((images, labels, None, labels), "give test_images and test_labels both"),
        ((images[:0], labels[:0]), "images hold no image: give some"),
        ((images, labels, None, None, ("a", "b")), "labels are 0 … 2: number"),
        ((images, labels, None, None, ("a", "b", "c", "d")), "no training image has the label 3"),
        ((images, rare), "no training image has the label 3.*give images of each"),
        ((images[:9], labels[:9]), "n=9"),
        ((images, np.array(["cat"] * 50)), "labels are no numbers .*numpy.str_.*give a tensor or"),
        ((images, ["cat", "dog"] * 25), "labels are no numbers"),
        ((images, labels, None, None, {"a", "b", "c"}), "type set: give a list of names in the"),
    ],
)
def test_data_that_do_not_fit_are_refused_by_name(given, named):
    with pytest.raises((TypeError, ValueError), match=named):
        evalib.dataset(*given)


GREY = images[:, :1]
SAME = GREY.expand(-1, 3, -1, -1)
CAST = {"tensor": "to(torch.uint8)", "numpy": "astype(np.uint8)"}
CHANNELS_FIRST = 'rearrange(images, "n i j c -> n c i j")'
THREE_CHANNELS = 'repeat(images, "n 1 i j -> n 3 i j")'


@pytest.mark.parametrize("kind", CAST)
@pytest.mark.parametrize(
    ("given", "remedies"),
    [
        (SAME.movedim(1, 3), [CHANNELS_FIRST]),
        (SAME.movedim(1, 3) / 255, [CHANNELS_FIRST, "(255 * images).round().CAST"]),
        (SAME.double() / 255, ["(255 * images).round().CAST"]),
        (SAME.long(), ["images.CAST"]),
        (GREY, [THREE_CHANNELS]),
        (GREY[:, 0], ["images[:, None]", THREE_CHANNELS]),
    ],
)
def test_a_remedy_can_be_followed_to_the_letter(kind, given, remedies):
    given = given.numpy() if kind == "numpy" else given
    for remedy in remedies:
        code = remedy.replace("CAST", CAST[kind])
        with pytest.raises((TypeError, ValueError), match=re.escape(code)):
            evalib.dataset(given, labels)
        known = {"rearrange": rearrange, "repeat": repeat, "torch": torch, "np": np}
        given = eval(code, known, {"images": given})
    assert evalib.dataset(given, labels).fingerprint == evalib.dataset(SAME, labels).fingerprint


@pytest.mark.parametrize("kind", CAST)
@pytest.mark.parametrize(
    ("given", "remedy"),
    [(torch.eye(3)[labels], "labels.argmax(1)"), (labels[:, None], "labels.flatten()")],
    ids=["one-hot", "column"],
)
def test_a_remedy_of_labels_can_be_followed_to_the_letter(kind, given, remedy):
    given = given.numpy() if kind == "numpy" else given
    with pytest.raises(ValueError, match=re.escape(remedy)):
        evalib.dataset(images, given)
    taken = evalib.dataset(images, eval(remedy, {"labels": given}))
    assert taken.fingerprint == evalib.dataset(images, labels).fingerprint


@pytest.mark.parametrize(("classes", "own"), [(10, True), (3, False)])
def test_a_network_for_another_number_of_classes_is_refused_before_training(classes, own):
    number = 3 if own else 10
    said = rf"shape \(2, {classes}\) for 2 images, the data have {number} classes: .*={number}"
    with pytest.raises(ValueError, match=said):
        evalib.train(
            evalib.Settings("resnet20-small"),
            device="cpu",
            dataset=evalib.dataset(*shades()) if own else None,
            network=evalib.build("resnet20-small", classes),
        )


class Wrapped(nn.Module):
    """A network as other libraries give it: its scores in a dictionary."""

    def __init__(self):
        super().__init__()
        self.network = evalib.build("resnet20-small", 3)

    def forward(self, x):
        return {"logits": self.network(x)}


def test_what_cannot_be_trained_is_named_before_anything_is_written(tmp_path):
    mine = evalib.dataset(images, labels)
    with pytest.raises(TypeError, match="the network gives a dict: wrap it"):
        evalib.train(
            evalib.Settings("resnet20-small"), tmp_path / "run", "cpu", None, None, mine, Wrapped()
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("size", "most"), [(28, 500), (32, 500), (64, 125), (2000, 1)])
def test_large_images_are_evaluated_in_small_batches(monkeypatch, size, most):
    asked = []
    monkeypatch.setattr(
        train, "predict", lambda network, images, batch_size: asked.append(batch_size)
    )
    train.evaluate(nn.Identity(), torch.empty(1, 3, size, size, dtype=torch.uint8))
    assert asked == [most]


def test_a_run_on_other_data_is_not_continued(tiny, tmp_path):
    settings, (images, labels) = evalib.Settings("tiny", epochs=1), shades(60)
    evalib.train(settings, tmp_path, "cpu", dataset=evalib.dataset(images, labels))
    again = evalib.train(settings, tmp_path, "cpu", dataset=evalib.dataset(images, labels))
    assert len(again.curve) == len(again.sittings) == 1 and not again.network.training
    with pytest.raises(ValueError, match="a run on other data"):
        evalib.train(settings, tmp_path, "cpu", dataset=evalib.dataset(255 - images, labels))


# CIFAR-100


@pytest.fixture
def official(tmp_path, monkeypatch):
    """A small CIFAR-100 as the official archive unpacks, which torchvision takes for it."""
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    content = {"meta": {"fine_label_names": [f"class{label}" for label in range(100)]}}
    for part, n in (("train", 200), ("test", 20)):
        rows = np.random.default_rng(n).integers(256, size=(n, 3072), dtype=np.uint8)
        content[part] = {"data": rows, "fine_labels": (np.arange(n) % 100).tolist()}
    for name, entry in content.items():
        (folder / name).write_bytes(pickle.dumps(entry))
    md5 = {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in content}
    monkeypatch.setattr(CIFAR100, "train_list", [["train", md5["train"]]])
    monkeypatch.setattr(CIFAR100, "test_list", [["test", md5["test"]]])
    monkeypatch.setattr(CIFAR100, "meta", CIFAR100.meta | {"md5": md5["meta"]})
    return folder


def test_cifar100_is_read_with_its_100_classes_and_trained_on(official):
    loaded = evalib.load_data("cifar100", official.parent)
    assert len(loaded.classes) == 100 and loaded.classes[42] == "class42"
    assert loaded.train_labels.tolist() == [*range(100)] * 2
    rows = np.random.default_rng(20).integers(256, size=(20, 3072), dtype=np.uint8)
    assert np.array_equal(loaded.test_images.flatten(1).numpy(), rows)
    run = evalib.train(evalib.Settings("evanet20-small", epochs=1), device="cpu", dataset=loaded)
    assert run.test_scores.shape == (20, 100)


def test_augmentation_of_images_that_are_not_square_is_a_window():
    images = torch.arange(2 * 3 * 12 * 20, dtype=torch.float32).reshape(2, 3, 12, 20).byte()
    still = torch.full((2,), data.PAD)
    same = data.crop_and_flip(
        data.pad(images), torch.arange(2), still, still, torch.tensor([False, True])
    )
    assert torch.equal(same[0], images[0]) and torch.equal(same[1], images[1].flip(-1))
