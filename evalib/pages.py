"""What notebooks show beside figures: the package's own source, never a copy, and tables. Needs IPython."""

import inspect
from collections.abc import Iterable
from textwrap import dedent

from IPython.display import Markdown


def source(*objects) -> Markdown:
    """The source of each function or class, as it stands in the package."""
    code = "\n\n".join(dedent(inspect.getsource(each)) for each in objects)
    return Markdown(f"```python\n{code}```")


def table(heads: list[str], rows: Iterable[list]) -> Markdown:
    """A Markdown table, one list of cells a row."""
    lines = [heads, ["---"] * len(heads), *rows]
    return Markdown("\n".join(f"| {' | '.join(map(str, line))} |" for line in lines))
