"""An exported network takes raw pixels, any number of images, and gives the scores of the network
that it was made of.
"""

import json
import subprocess
import sys

import jaxtyping
import numpy as np
import onnxruntime
import pytest
import torch

import evalib
from evalib.__main__ import main
from evalib.results import export

pytestmark = pytest.mark.usefixtures("float32")


def run_onnx(path):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    classes = session.get_modelmeta().custom_metadata_map["classes"]
    return lambda images: torch.from_numpy(
        session.run(["scores"], {"images": images.numpy()})[0]
    ), classes


def run_pt2(path):
    files = {"classes.json": ""}
    program = torch.export.load(path, extra_files=files)
    return program.module(), files["classes.json"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The files that the command makes of networks, by name."""
    torch.set_default_dtype(torch.float32)
    folder = tmp_path_factory.mktemp("exported")
    for name in ("sanet20-small.onnx", "evanet20-small.onnx", "sanet20-small.pt2"):
        path = folder / name
        assert main(["export", path.stem, "--format", path.suffix[1:], "--to", str(path)]) == 0
    assert len([*folder.iterdir()]) == 3
    return folder


@pytest.mark.parametrize(
    ("file", "read"),
    [
        ("sanet20-small.onnx", run_onnx),
        ("evanet20-small.onnx", run_onnx),
        ("sanet20-small.pt2", run_pt2),
    ],
)
def test_an_exported_network_gives_the_scores_of_the_network(exported, images, file, read):
    program, classes = read(exported / file)
    assert tuple(json.loads(classes)) == evalib.CLASSES
    want = evalib.predict(evalib.load_pretrained(file.partition(".")[0]), images)
    for part in (slice(None), slice(3, 4), slice(2, 9)):
        torch.testing.assert_close(program(images[part]), want[part], rtol=0, atol=1e-4)


def test_the_preprocessing_that_a_file_tells_is_the_one_inside(tmp_path, images):
    network, files = evalib.build("resnet20-small").eval(), {"preprocessing.json": ""}
    path = export.export(network, tmp_path / "mine.pt2")
    program = torch.export.load(path, extra_files=files).module()
    told = json.loads(files["preprocessing.json"])
    mean, std = (torch.tensor(told[name])[:, None, None] for name in ("mean", "std"))
    want = network((images[:3] / 255 - mean) / std)
    torch.testing.assert_close(program(images[:3]), want, rtol=0, atol=1e-4)


def test_the_network_is_left_as_it_was(tmp_path):
    network = evalib.build("sanet20-small").double().train()
    export.Deployed(network)
    assert network.training and next(network.parameters()).dtype == torch.float64
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert all(
        part.fast for part in network.modules() if isinstance(part, evalib.RelativeSelfAttention)
    )


def test_a_file_that_is_there_is_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "resnet20-small.onnx").write_text("mine")
    assert main(["export", "resnet20-small"]) == 2
    assert "there already" in capsys.readouterr().err
    assert (tmp_path / "resnet20-small.onnx").read_text() == "mine"


def test_what_cannot_be_exported_is_named(tmp_path, monkeypatch):
    network = evalib.build("resnet20-small")
    with pytest.raises(ValueError, match="'tflite' is no format: choose one of onnx, pt2"):
        export.export(network, tmp_path / "mine.tflite")
    with pytest.raises(ValueError, match="2 classes are named, the network has 10"):
        export.export(network, tmp_path / "mine.onnx", classes=("cat", "dog"))
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"needs onnxscript, .*pip install 'evalib\[export\]'"
    ):
        export.export(network, tmp_path / "mine.onnx")
    assert not list(tmp_path.iterdir())


def test_the_name_of_the_file_says_the_format_and_may_not_say_another(tmp_path, capsys):
    path = tmp_path / "mine.pt2"
    assert main(["export", "resnet20-small", "--to", str(path), "--format", "onnx"]) == 2
    assert "is named as .pt2, and onnx is asked for: name it mine.onnx" in capsys.readouterr().err
    assert main(["export", "resnet20-small", "--to", str(tmp_path)]) == 2
    assert "is a folder: name a file in it" in capsys.readouterr().err and not path.exists()
    path.write_text("an older one")
    assert main(["export", "resnet20-small", "--to", str(path), "--overwrite"]) == 0
    assert str(path) in capsys.readouterr().out
    program, _ = run_pt2(path)
    assert program(torch.zeros(3, 3, 32, 32, dtype=torch.uint8)).shape == (3, 10)


def test_the_size_is_that_of_the_images_trained_on_and_names_may_be_an_array(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    network = evalib.build("resnet20-small", num_classes=3).eval()
    network.image_size = (24, 40)
    path = export.export(network, "~/mine.pt2", classes=np.array(["a", "b", "c"]))
    assert path == tmp_path / "mine.pt2"
    program, classes = run_pt2(path)
    assert json.loads(classes) == ["a", "b", "c"]
    assert program(torch.zeros(5, 3, 24, 40, dtype=torch.uint8)).shape == (5, 3)


def test_another_size_and_number_of_classes(tmp_path):
    network = evalib.build("resnet20-small", num_classes=3)
    path = export.export(network, tmp_path / "mine.onnx", classes=("a", "b", "c"), size=(24, 40))
    images = torch.randint(256, (3, 3, 24, 40), dtype=torch.uint8)
    program, classes = run_onnx(path)
    torch.testing.assert_close(program(images), evalib.predict(network, images), rtol=0, atol=1e-4)
    assert json.loads(classes) == ["a", "b", "c"]


def test_one_file_takes_images_of_any_size(tmp_path, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # sizes are symbols there
    network = evalib.build("sanet20-small")
    program, _ = run_pt2(export.export(network, tmp_path / "mine.pt2", size="any"))
    for shape in (2, 3, 32, 32), (1, 3, 33, 47), (3, 3, 64, 20):
        images = torch.randint(256, shape, dtype=torch.uint8)
        want = evalib.predict(network, images)
        torch.testing.assert_close(program(images), want, rtol=0, atol=1e-4)


def test_a_network_of_one_size_is_not_exported_for_any(tmp_path):
    with pytest.raises(ValueError, match=r"an EVANet reads 8×8 or 7×7.* size=\(32, 32\)"):
        export.export(evalib.build("evanet20-small"), tmp_path / "mine.pt2", size="any")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", [True, False])
def test_a_network_is_exported_as_predict_takes_it_in_either_mode(tmp_path, images, mode):
    """In training mode too: by the statistics that it kept, not by those of the batch."""
    network = evalib.build("resnet20-small")
    for buffer in network.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5)
    want = evalib.predict(network.eval(), images[:5])
    path = export.export(network.train(mode), tmp_path / "mine.pt2")
    program, _ = run_pt2(path)
    torch.testing.assert_close(program(images[:5]), want, rtol=0, atol=1e-4)
    assert network.training == mode


def test_no_image_gives_no_scores(exported):
    path = exported / "sanet20-small.onnx"
    code = f"""
import numpy, onnxruntime
session = onnxruntime.InferenceSession({str(path)!r}, providers=["CPUExecutionProvider"])
assert session.run(None, {{"images": numpy.zeros((0, 3, 32, 32), numpy.uint8)}})[0].shape == (0, 10)
assert "mean" in session.get_modelmeta().custom_metadata_map["preprocessing"]
"""
    subprocess.run(
        [sys.executable, "-c", code], check=True
    )  # a fault of the runtime ends its process
