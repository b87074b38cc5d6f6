"""From images to a trained network: data, recipe, steps, loop and checkpoints."""

import importlib

from evalib.extras import need

need("train", "filelock", "PIL", "scipy", "tqdm")


def __getattr__(name: str):
    """What a program uses of the loop, by this name too."""
    if name in ("Run", "accuracy", "predict", "predict_traced", "train"):
        return getattr(importlib.import_module("evalib.training.loop"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
