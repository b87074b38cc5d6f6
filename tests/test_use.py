"""Images that come from elsewhere: what is meant is understood, the rest is refused by name,
nothing is changed.
"""

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import PIL.ImageOps
import pytest
import torch
from einops import rearrange, repeat
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torchvision.models import resnet18

import evalib
from evalib.training import data
from evalib.training.predict import predict_traced

pytestmark = pytest.mark.usefixtures("float32")


@pytest.fixture(scope="module")
def network():
    torch.set_default_dtype(torch.float32)
    return evalib.load_pretrained("resnet20-small")


@pytest.fixture(scope="module")
def scores(network, images):
    with torch.no_grad():
        return network(data.normalise(images))


def pictures(images):
    return [Image.fromarray(image.movedim(0, -1).numpy()) for image in images]


@pytest.mark.parametrize(
    "form",
    [
        lambda images: images,
        lambda images: images.float() / 255,
        lambda images: images.double() / 255,
        pictures,
        lambda images: tuple(pictures(images)),
    ],
    ids=["uint8", "float32", "float64", "pictures", "tuple"],
)
def test_images_in_any_form_get_the_same_scores(network, images, scores, form):
    torch.testing.assert_close(evalib.predict(network, form(images)), scores, atol=1e-4, rtol=0)
    assert len(scores.argmax(dim=1).unique()) > 5


def test_one_picture_is_a_batch_of_one_and_grey_is_grey(network, images, scores):
    picture = pictures(images)[3]
    torch.testing.assert_close(evalib.predict(network, picture), scores[3:4], atol=1e-4, rtol=0)
    grey = torch.from_numpy(np.array(picture.convert("L"))).expand(1, 3, -1, -1)
    assert torch.equal(evalib.predict(network, picture.convert("L")), evalib.predict(network, grey))


@pytest.mark.parametrize("form", [torch.Tensor.clone, lambda images: images.float() / 255])
def test_the_argument_and_the_network_are_left_as_they_were(network, images, form):
    given = form(images)
    kept = given.clone()
    network.train()
    network.stem.eval()  # as one freezes a part
    try:
        modes = [module.training for module in network.modules()]
        first = evalib.predict(network, given)
        assert torch.equal(first, evalib.predict(network, given, batch_size=7))
        assert [module.training for module in network.modules()] == modes
        data.normalise(given)
        assert torch.equal(given, kept)
    finally:
        network.eval()


def test_a_part_that_was_left_in_training_mode_is_evaluated_too(network, images, scores):
    network.stages.train()
    try:
        torch.testing.assert_close(evalib.predict(network, images), scores, atol=1e-4, rtol=0)
        assert network.stages.training
    finally:
        network.eval()


def test_scores_can_be_calibrated(network, images):
    scores = evalib.predict(network, images)
    assert not scores.is_inference() and not scores.requires_grad


def test_probabilities_and_names(network, images, scores):
    shares, names = evalib.predict(network, images, probabilities=True, classes=evalib.CLASSES)
    torch.testing.assert_close(shares, scores.softmax(dim=1))
    assert names == [evalib.CLASSES[index] for index in scores.argmax(dim=1)]
    with pytest.raises(ValueError, match="2 classes are named, the network has 10"):
        evalib.predict(network, images, classes=["cat", "dog"])
    with pytest.raises(TypeError, match="of type dict: give a list of names in the order"):
        evalib.predict(network, images, classes=dict.fromkeys(evalib.CLASSES))


def test_a_wrapped_network_refuses_what_the_network_refuses(network):
    with pytest.raises(ValueError, match="the network was trained on 32×32"):
        evalib.predict(nn.DataParallel(network), torch.zeros(2, 3, 40, 40, dtype=torch.uint8))


def test_the_precision_of_a_network_is_that_of_its_first_floating_weight(network, images):
    packed = nn.ParameterList(
        [nn.Parameter(torch.zeros(2, dtype=torch.uint8), requires_grad=False)]
    )
    with_packed = nn.ModuleDict({"packed": packed, "network": network})
    with_packed.forward = network.forward
    found, wanted = evalib.predict(with_packed, images), evalib.predict(network, images)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)  # in another memory format


@pytest.mark.parametrize(
    "nothing", [torch.empty(0, 3, 32, 32, dtype=torch.uint8), torch.empty(0, 3, 32, 32)]
)
def test_no_images_get_no_scores(network, nothing):
    shares, names = evalib.predict(network, nothing, probabilities=True, classes=evalib.CLASSES)
    assert shares.shape == (0, 10) and names == []


def test_scores_are_in_the_precision_of_the_network_and_of_pictures_where_it_lies(images):
    for dtype in (torch.float64, torch.bfloat16):
        network = evalib.build("resnet20-small").to(dtype)
        assert evalib.predict(network, images).dtype == dtype
    assert evalib.predict(network.to("meta"), pictures(images)).is_meta


@pytest.fixture
def oblong(network, monkeypatch):
    """The network, as if it had been trained on images of 24 rows and 40 columns."""
    monkeypatch.setattr(network, "image_size", (24, 40))
    return network


grey = torch.zeros(2, 1, 24, 40, dtype=torch.uint8)
floats = torch.rand(2, 3, 24, 40)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (255 * floats, "lie in 0 … 1.*by 255"),
        (floats - 0.5, "normalised already"),
        (1.03 * floats, r"clamp\(0, 1\)"),
        (floats.index_fill(0, torch.tensor(1), torch.nan), "nan … nan"),
        (torch.zeros(2, 3, 24, 40, dtype=torch.int64), "torch.int64: give uint8"),
        (floats[None], "a batch of RGB images"),
        (torch.zeros(2, 3, 24, 48, dtype=torch.uint8), "24×48.*trained on 24×40"),
        (Image.new("RGBA", (32, 32)), r"mode 'RGBA'.*convert\(\"RGB\"\)"),
        (Image.new("I;16", (32, 32)), "mode 'I;16': give its values, over their range, as a"),
        (Image.new("F", (32, 32)), "mode 'F': give its values"),
        ([floats[0], floats[1]], "hold a Tensor: give a tensor n 3 i j, or PIL"),
        (floats.numpy(), "are or hold a ndarray"),
        ("photo.jpg", "are or hold a str"),
        ([Image.new("RGB", (40, 24)), Image.new("RGB", (24, 40))], "2 pictures have 2 sizes: give"),
        ([], "0 pictures have 0 sizes: give some"),
    ],
)
def test_what_is_not_meant_is_refused_by_name(oblong, given, named):
    with pytest.raises((TypeError, ValueError), match=named):
        evalib.predict(oblong, given)


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        (floats.movedim(1, 3), 'rearrange(images, "n i j c -> n c i j")'),
        (floats[0], "images[None]"),
        (grey, 'repeat(images, "n 1 i j -> n 3 i j")'),
        (Image.new("RGB", (640, 480)), "PIL.ImageOps.fit(picture, (40, 24))"),
        (Image.new("P", (40, 24)), 'picture.convert("RGB")'),
    ],
    ids=["last", "one", "grey", "size", "mode"],
)
def test_a_remedy_can_be_followed_to_the_letter(oblong, given, remedy):
    with pytest.raises(ValueError, match=re.escape(remedy)):
        evalib.predict(oblong, given)
    known = {"rearrange": rearrange, "repeat": repeat, "PIL": PIL}
    mended = eval(remedy, known, {"images": given, "picture": given})
    assert evalib.predict(oblong, mended).shape[1] == 10


def test_a_forward_that_was_replaced_is_refused_in_training_mode(network, images, scores):
    """The function would go on with the modules that train."""
    network.forward = lambda x: network.classifier(network.summary(network.features(x)))
    torch.testing.assert_close(evalib.predict(network, images), scores)
    with pytest.raises(ValueError, match=r"the forward of a Network is .* call network.eval\(\)"):
        evalib.predict(network.train(), images)


def test_a_trained_network_is_in_evaluation_mode(few, tiny):
    run = evalib.train(evalib.Settings("tiny", epochs=1), device="cpu")
    assert not any(module.training for module in run.network.modules())
    assert not run.test_scores.is_inference()
    assert torch.equal(evalib.predict(run.network, run.cifar.test_images), run.test_scores)


STATE = """
import importlib, pkgutil, random, signal, socket, sys, warnings
import matplotlib, numpy, scipy.stats, torch  # scipy adds a filter of its own

def state():
    return {
        "random": random.getstate(), "numpy": numpy.random.get_state()[1].tolist(), "torch": torch.get_rng_state().tolist(),
        "style": dict(matplotlib.rcParams), "warnings": list(warnings.filters), "errors": numpy.geterr(),
        "dtype": torch.get_default_dtype(), "threads": torch.get_num_threads(), "gradients": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(), "timeout": socket.getdefaulttimeout(),
        "signals": [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)],
        "hook": sys.excepthook, "showwarning": warnings.showwarning,
    }

before = state()
import evalib, evalib.pages
for module in pkgutil.iter_modules(evalib.pages.__path__):
    importlib.import_module(f"evalib.pages.{module.name}")
from evalib.pages import figures
from evalib.pages.display import picture
picture(figures.grid("one", [["1"]]))
evalib.predict(evalib.load_pretrained("evanet20-small"), evalib.load_data("subset").test_images[:2])
after = state()
print([name for name in before if before[name] != after[name]])
"""


def test_imports_figures_and_predictions_change_nothing_outside():
    ran = subprocess.run([sys.executable, "-c", STATE], capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("[]\n", "")


# ── Networks of one's own


@pytest.mark.parametrize("name", ["resnet20-small", "evanet20-small"])
def test_a_pretrained_network_gets_a_fresh_classifier(name):
    trained, other = evalib.load_pretrained(name), evalib.load_pretrained(name, num_classes=100)
    x = torch.randn(2, 3, 32, 32)
    assert other(x).shape == (2, 100)
    features = trained.summary(trained.features(x))
    torch.testing.assert_close(other.summary(other.features(x)), features)
    same = evalib.load_pretrained(name, num_classes=10)
    assert not torch.equal(same.classifier.weight, trained.classifier.weight)
    for wrong in (0, True, 2.5, "10"):
        with pytest.raises(ValueError, match=f"num_classes={wrong!r} must be a whole number"):
            evalib.load_pretrained(name, num_classes=wrong)


def test_eva_is_a_pooling_head_of_another_backbone():
    backbone = resnet18(weights=None, num_classes=4).eval()
    backbone.avgpool = evalib.ExpandingVisualAttention(512, 512, 512)
    x = torch.randn(2, 3, 224, 224)
    scores, trace = evalib.trace(backbone, x)
    assert scores.shape == (2, 4) and [w.shape[-1] for w in trace.look_weights] == [1, 8, 16, 24]


@pytest.mark.parametrize(("size", "extent", "stride"), [(3, 8, 1), (5, 9, 2), (7, 5, 1)])
def test_the_weights_of_a_window_attention_are_those_behind_its_output(size, extent, stride):
    layer = evalib.RelativeSelfAttention(6, 8, size, num_heads=2, stride=stride).double()
    x = torch.randn(3, 6, extent, extent, dtype=torch.float64)
    y, (windows,) = evalib.trace_windows(layer, x)
    rows = -(-extent // stride)
    assert windows.weights.shape == (3, 2, rows, rows, size, size) and layer.kept is None
    torch.testing.assert_close(y, layer(x))
    torch.testing.assert_close(
        windows.weights.sum(dim=(-2, -1)), torch.ones(3, 2, rows, rows, dtype=torch.float64)
    )
    half = size // 2
    outside = (
        F.pad(torch.zeros(extent, extent), (half,) * 4, value=1)
        .unfold(0, size, stride)
        .unfold(1, size, stride)
        > 0
    )
    assert not windows.weights[:, :, outside].any() and (windows.weights[:, :, ~outside] > 0).all()
    value = F.pad(layer.W_V(x), (half,) * 4).unfold(2, size, stride).unfold(3, size, stride)
    answer = torch.einsum(
        "nhijab,nhcijab->nhcij", windows.weights, value.unflatten(1, (2, 4))
    ).flatten(1, 2)
    torch.testing.assert_close(answer, y)


def test_traced_logits_are_those_before_the_scale():
    layer = evalib.RelativeSelfAttention(6, 8, 3, num_heads=2, scaled=True)
    x = torch.randn(1, 6, 4, 4)
    _, (windows,) = evalib.trace_windows(layer, x)
    q = layer.W_Q(x).unflatten(1, (2, 4))[0, :, :, 1, 2]  # h c, of one query
    k = layer.W_K(x).unflatten(1, (2, 4))[0, :, :, 0:3, 1:4]  # of its window
    r = torch.cat(
        [layer.rows[..., None].expand(-1, -1, -1, 3), layer.cols[:, :, None].expand(-1, -1, 3, -1)],
        dim=1,
    )
    for found, keys in ((windows.content, k), (windows.position, r)):
        torch.testing.assert_close(found[0, :, 1, 2], torch.einsum("hc, hcab -> hab", q, keys))
    logits = (windows.content + windows.position)[0, :, 1, 2].flatten(1) / 2
    torch.testing.assert_close(windows.weights[0, :, 1, 2].flatten(1), logits.softmax(dim=1))


def test_every_window_attention_of_a_network_is_traced_in_the_order_of_the_pass():
    network, x = evalib.build("sanet20-small").eval(), torch.randn(2, 3, 32, 32)
    scores, windows = evalib.trace_windows(network, x)
    torch.testing.assert_close(scores, network(x), rtol=1e-4, atol=1e-4)
    assert [tuple(each.weights.shape) for each in windows] == [(2, 4, 8, 8, 3, 3)] * 4
    with pytest.raises(ValueError, match="no relative self-attention"):
        evalib.trace_windows(evalib.build("resnet20-small"), x)


def test_predictions_in_threads_are_those_of_one_and_leave_a_network_in_training(images):
    network = evalib.build("resnet20-small").train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    parts = images.split(2) * 4
    with ThreadPoolExecutor(8) as pool:
        found = [*pool.map(lambda part: evalib.predict(network, part), parts)]
    for part, scores in zip(parts, found, strict=True):
        torch.testing.assert_close(scores, evalib.predict(network, part))
    assert all(part.training for part in network.modules())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_traced_prediction_is_that_of_the_network_in_evaluation(images):
    network = evalib.build("evanet20-small").train()
    scores, _ = predict_traced(network, images)
    torch.testing.assert_close(scores, evalib.predict(network, images), rtol=1e-4, atol=1e-4)


def test_traces_in_threads_are_each_of_their_own_images_and_leave_nothing_behind():
    eva = evalib.ExpandingVisualAttention(8, 8, 8, 2)
    window = evalib.RelativeSelfAttention(8, 8, 3, 2)
    images = torch.randn(24, 2, 8, 7, 7)

    @torch.no_grad()
    def looked(x):
        (_, seen), (_, (windows,)) = evalib.trace(eva, x), evalib.trace_windows(window, x)
        return seen.look_weights[3], windows.weights

    with ThreadPoolExecutor(8) as pool:
        for x, found in zip(images, pool.map(looked, images), strict=True):
            assert all(torch.equal(one, other) for one, other in zip(looked(x), found, strict=True))
    assert window.kept is None and not any(part._forward_hooks for part in eva.modules())
