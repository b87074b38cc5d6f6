"""What notebooks show beside figures: the package's own source, never a copy, tables, and where they run. Needs IPython."""

import inspect
from collections.abc import Iterable
from textwrap import dedent

from IPython.display import Markdown

from evalib.download import cached
from evalib.records import commit, device_name
from evalib.training import choose_device


def source(*objects) -> Markdown:
    """The source of each function or class, as it stands in the package."""
    code = "\n\n".join(dedent(inspect.getsource(each)) for each in objects)
    return Markdown(f"```python\n{code}```")


def table(heads: list[str], rows: Iterable[list]) -> Markdown:
    """A Markdown table, one list of cells a row."""
    lines = [heads, ["---"] * len(heads), *rows]
    return Markdown("\n".join(f"| {' | '.join(map(str, line))} |" for line in lines))


def here() -> str:
    """One line on what runs: the commit of evalib, the device, and the data set that is at hand."""
    data = "full CIFAR-10" if cached().is_file() else "the bundled subset of CIFAR-10"
    return f"evalib at commit {(commit() or 'unknown')[:7]} on {device_name(choose_device())}, with {data}"
