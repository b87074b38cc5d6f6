"""Exercises: the stub is not accepted, the folded solution is right, and a plausible mistake is
refused.
"""

import ast
import re
from pathlib import Path

import jupytext
import pytest
import torch

from evalib.pages.display import check

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
MISTAKES = {  # of each exercise of a page, in order
    "why": (
        "weights_of_convolution = lambda k, cin, cout: k * k * cin * cout\n"
        "weights_of_attention = lambda k, cin, cout: 3 * cin * cout + k * k * cout",  # an offset for each cell
        "window = torch.tensor([1.0, 1.0, 0.0])",
    ),
    "convolution": (
        "mean = torch.ones(1, 1, 3, 3)",  # the sum
        "def pixel(window, weight): return (window * weight.flip(-2, -1)).sum(dim=(1, 2, 3))",  # flipped
        "rows_seen = 6",  # 3 + 3
    ),
    "attention": (
        "def softmax(z): return z.exp() / z.exp().sum()",  # over all axes
        "weight_in_the_corner = 1 / 25",  # the padding takes part
        "def heads(x, num_heads): return rearrange(x, 'n (c h) i j -> n h c i j', h=num_heads)",  # interleaved
    ),
    "relative_attention": (
        "def position_logits(query, rows, cols): return (query[:4] @ rows)[None] + (query[4:] @ cols)[:, None]",  # swapped
        "row_embeddings, column_embeddings = [0.0, 20.0, 0.0], [0.0, 0.0, 20.0]",  # the pixel to the right
    ),
    "eva_by_hand": (
        "def recall(query, slots): return (slots @ query).softmax(dim=0) @ slots",
    ),  # no scale
    "eva_code": (
        "def mask(radius): return torch.maximum(*torch.meshgrid(*[(torch.arange(7) - 3).abs()] * 2, indexing='ij')) <= radius",
        "changes = [False, False, True, False]",  # the fourth look asks with what the third saw
    ),
    "proof": (
        "def sums_to_one(attention): return attention(*torch.randn(3, 1, 2, 4, 5, 5), 3).shape == (1, 2, 4, 5, 5)",  # shapes
        "def flops_of_convolution(k, cin, cout, pixels): return k * k * cin * cout * pixels",  # multiply-adds
    ),
    "table1": (
        "gap = 2 * math.sqrt(92 * 8 / 10_000)",  # the error of one network
        "def excess(accuracies): return accuracies.mean() - 92",  # no choice
    ),
    "networks": (
        "def shortcut(x, extra): return nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, extra, 0))",  # before the old channels
        "def weights_of_bottleneck(width): return 2 * width * (width // 4) + 9 * width * width",  # mixes at full width
    ),
}

each_page = pytest.mark.parametrize("page", MISTAKES)


@pytest.fixture(autouse=True)
def single_precision(float64_and_seed):
    """Pages compute as their readers do."""
    torch.set_default_dtype(torch.float32)


def cells(page):
    return jupytext.read(NOTEBOOKS / f"{page}.py", fmt="py:percent").cells


def tags(cell):
    return cell.metadata.get("tags", [])


def value(source, namespace):
    """Run a cell; the value of its last line, as a notebook would show it."""
    *body, last = ast.parse(source).body
    shows = isinstance(last, ast.Expr)
    exec(compile(ast.Module(body if shows else [*body, last], []), "cell", "exec"), namespace)
    if shows:
        return eval(compile(ast.Expression(last.value), "cell", "eval"), namespace)
    return None


def exercises(page):
    """The exercises of a page: stub, check and solution."""
    found = cells(page)
    for at, cell in enumerate(found):
        if "exercise" in tags(cell):
            solution = re.search(
                r"^<details><summary>Solution</summary>\n\n```python\n(.*?)```\n.*</details>$",
                found[at + 2].source,
                re.S,
            )
            yield cell.source, found[at + 1].source, solution[1]


@each_page
def test_stub_solution_and_mistake(page):
    namespace, left = {}, list(zip(exercises(page), MISTAKES[page], strict=True))
    for cell in cells(page):
        if cell.cell_type != "code" or "check" in tags(cell):
            continue
        if "exercise" not in tags(cell):
            value(cell.source, namespace)
            continue
        (stub, checking, solution), mistake = left.pop(0)
        value(stub, namespace)
        assert "Not solved yet" in value(checking, namespace).data
        value(stub + "\n" + mistake, namespace)
        with pytest.raises(AssertionError):
            value(checking, namespace)
        value(solution, namespace)
        assert value(checking, namespace).data == "**Right.**"
    assert not left


def test_every_page_with_an_exercise_is_tested():
    pages = {page.stem: page.read_text("utf-8") for page in NOTEBOOKS.glob("*.py")}
    assert {name for name in pages if 'tags=["exercise"]' in pages[name]} == set(MISTAKES)


def test_check_takes_numbers_lists_and_tensors_and_refuses_the_near_miss():
    for answer in (..., None, [1.0, ...]):
        assert "Not solved yet" in check(answer, [1.0, 2.0]).data
    for answer in ([1, 2], [1.0, 2.0], torch.tensor([1.0, 2.0], dtype=torch.float32)):
        assert check(answer, torch.tensor([1.0, 2.0])).data == "**Right.**"
    assert check([1, 2.0, True], [1, 2, 1]).data == "**Right.**"
    for answer in ([1.0, 2.1], [1.0], torch.tensor([[1.0, 2.0]])):
        for expected in ([1.0, 2.0], [1, 2]):
            with pytest.raises(AssertionError):
                check(answer, expected)
