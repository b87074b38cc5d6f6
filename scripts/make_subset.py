"""Make the bundled subset from the full data set: the first 100 and 50 images of each class, one
row a class.

Writes ``evalib/training/cifar10/train.png`` and ``test.png`` and prints the fingerprint to pin as
``SUBSET_SHA256``. The decoded arrays are the same at every run.
"""

from pathlib import Path

import numpy as np
from einops import rearrange, repeat
from PIL import Image

import evalib
from evalib.training.cifar import Arrays, load_data
from evalib.training.data import fingerprint

FOLDER = Path(evalib.__file__).parent / "training" / "cifar10"


def first_of_each_class(images: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """The first ``count`` images of each class in the order given, class by class: ``10·count 32 32
    3``.
    """
    return np.concatenate([images[np.flatnonzero(labels == label)[:count]] for label in range(10)])


def save(images: np.ndarray, path: Path) -> None:
    """Write ``images`` as a lossless mosaic of 10 rows."""
    mosaic = rearrange(images, "(k n) i j c -> (k i) (n j) c", k=10)
    Image.fromarray(mosaic).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size} bytes")


def main() -> None:
    full = load_data("full")
    parts = [
        rearrange(each, "n c i j -> n i j c").numpy()
        for each in (full.train_images, full.test_images)
    ]
    train = first_of_each_class(parts[0], full.train_labels.numpy(), 100)
    test = first_of_each_class(parts[1], full.test_labels.numpy(), 50)
    FOLDER.mkdir(exist_ok=True)
    save(train, FOLDER / "train.png")
    save(test, FOLDER / "test.png")
    labels = np.arange(10, dtype=np.uint8)
    print(
        fingerprint(
            *Arrays(
                train, repeat(labels, "k -> (k n)", n=100), test, repeat(labels, "k -> (k n)", n=50)
            )
        )
    )


if __name__ == "__main__":
    main()
