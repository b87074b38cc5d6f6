"""What a person sees of a run: a live bar where one watches, a plain line an epoch where not."""

import math
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

from tqdm import TqdmWarning

from evalib.training.settings import Settings

with warnings.catch_warnings(action="ignore", category=TqdmWarning):  # in a notebook without ipywidgets: a bar of text
    from tqdm.auto import tqdm


def watched() -> bool:
    """Whether a person is looking: a terminal, or a notebook that may ask for input (batch runners forbid it)."""
    if "IPython" in sys.modules:
        shell = sys.modules["IPython"].get_ipython()
        if getattr(shell, "kernel", None) is not None:
            return bool(getattr(shell.kernel, "_allow_stdin", False))
    return sys.stderr.isatty()


def progress_bar(settings: Settings, images: int, epochs_done: int) -> tqdm:
    """A bar over all the steps of the run, silent where nobody watches."""
    steps = math.ceil(images / settings.batch_size)
    return tqdm(
        total=steps * settings.epochs,
        initial=steps * epochs_done,
        desc=f"{settings.experiment} seed {settings.seed}",
        unit="step",
        disable=not watched(),
    )


def announce(settings: Settings, row: dict, images: int, bar: tqdm) -> None:
    """Show the epoch just finished: beside the bar where there is one, else as one plain line."""
    figures = {
        "loss": f"{row['train_loss']:.3f}",
        "validation": f"{row['validation_accuracy']:.2f}%",
        "images/s": f"{images / row['seconds']:.0f}",
    }
    if bar.disable:
        shown = ", ".join(f"{name} {value}" for name, value in figures.items())
        print(f"{settings.experiment} seed {settings.seed} epoch {row['epoch']}/{settings.epochs}: {shown}", flush=True)
    else:
        bar.set_postfix(figures)


def tensorboard(directory: Path) -> Callable[[dict], None]:
    """An observer that writes each entry of a curve for TensorBoard; ``ValueError`` if that is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ValueError("--log tensorboard needs the package tensorboard: pip install tensorboard") from None
    writer = SummaryWriter(directory)

    def observe(row: dict) -> None:
        for name, value in row.items():
            writer.add_scalar(name, value, row["epoch"])
        writer.flush()

    return observe
