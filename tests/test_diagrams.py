"""Figures: their numbers are those of the equations, their colours those of the page, and each says in words what it shows."""

import ast
import inspect
import re
from pathlib import Path
from textwrap import dedent

import jupytext
import pytest
import torch
from matplotlib.text import Text

from evalib import build, equations
from evalib.eva import SingleQueryAttention
from evalib.pages import diagrams, display, figures, graphs, plots
from evalib.pages.display import WIDTH, picture, source
from evalib.results.comparisons import Comparison
from evalib.training.steps import training_step

NOTEBOOKS = sorted((Path(__file__).resolve().parent.parent / "notebooks").glob("*.py"))
MOVES = """
    q0, 1, attn0: q0 attn0
    q1, 8, attn1: q0 attn0 attn1
    q2, 16, attn2: q0 attn0 attn1 attn2
    q3, 24, attn3: q0 attn0 attn1 attn2 attn3
""".strip().splitlines()


def words(drawing):
    """The texts of a drawing that are not empty, in the order in which they were drawn."""
    return [text.get_text() for text in drawing.findobj(Text) if text.get_text()]


def cells(drawing):
    """The texts of a grid, without its title."""
    return words(drawing)[: -1 if drawing.axes[0].get_title(loc="left") else None]


def test_the_stages_heard_are_those_of_the_paper():
    seen = [f"{s.query}, {s.pixels}, {s.attn}: {' '.join(s.slots)}" for s in graphs.stages()]
    assert seen == [line.strip() for line in MOVES]


def test_the_graph_of_eva_names_every_vector_and_every_count():
    texts = words(graphs.eva_graph())
    for text in ("q0", "q1", "q2", "q3", "attn0", "attn1", "attn2", "attn3", "attn_out", "q candidate", "output"):
        assert texts.count(text) == 1
    assert [text for text in texts if "px" in text] == [f"ring {s}\n{n} px" for s, n in enumerate((1, 8, 16, 24))]
    assert [text for text in texts if text.startswith("Attention 1D")] == [
        f"Attention 1D\n{n} slots" for n in (2, 3, 4, 5)
    ]


def test_the_convolution_adds_up_to_the_output():
    image, weight = torch.arange(1.0, 26.0).reshape(5, 5), torch.arange(1.0, 10.0).reshape(3, 3)
    window, weights, products, output = diagrams.convolved(image, weight, (2, 2))
    assert cells(weights) == [str(n) for n in range(1, 10)]
    total = sum(map(float, cells(products)))
    assert f"sum {total:g}" in words(products)[-1]
    assert float(cells(output)[12]) == total == (image[1:4, 1:4] * weight).sum()
    assert cells(window) == [str(n) for n in range(1, 26)]


def test_the_steps_of_attention_are_the_equation():
    q, k = torch.randint(-1, 2, (2, 2, 5, 5)).double()
    v = torch.randint(0, 10, (2, 5, 5)).double()
    query, keys, logits, weights, values, output = map(cells, diagrams.attended(q, k, v, (1, 3), 3))
    dot = [
        sum(
            float(a.replace("−", "-")) * float(b.replace("−", "-"))
            for a, b in zip(query[0].split(", "), key.split(", "), strict=True)
        )
        for key in keys
    ]
    assert dot == [float(text.replace("−", "-")) for text in logits]
    softmax = torch.tensor(dot).softmax(dim=0)
    assert weights == [f"{weight:.2f}" for weight in softmax.tolist()]
    summed = sum(
        w * torch.tensor([float(n) for n in value.split(", ")]) for w, value in zip(softmax, values, strict=True)
    )
    assert output == [", ".join(f"{n:.1f}" for n in summed.tolist())]
    y = equations.local_attention(q[None, None], k[None, None], v[None, None], 3)
    torch.testing.assert_close(y[0, 0, :, 1, 3], summed)


def test_offsets_count_from_the_centre():
    assert cells(diagrams.offsets(3)) == "−1, −1|−1, 0|−1, 1|0, −1|0, 0|0, 1|1, −1|1, 0|1, 1".split("|")


def test_a_window_is_as_wide_as_the_kernel():
    faces = [patch.get_facecolor()[3] for patch in diagrams.local_window(5, 5, (2, 2), 3).axes[0].patches]
    assert [n for n, alpha in enumerate(faces) if alpha > 0.3] == [6, 7, 8, 11, 12, 13, 16, 17, 18]


def test_effects_stand_at_their_means_with_their_intervals():
    found = {"one seed": Comparison("quick", 1, -2.0), "two": Comparison("quick", 2, 1.0, 0.5, -3.0, 5.0, 0.3)}
    axis = plots.effects(found, 2.5).axes[0]
    lines = [list(line.get_xdata()) for line in axis.lines if line.get_color() == figures.BLUE]
    assert lines == [[-2.0], [-3.0, 5.0], [1.0]]
    assert [text.get_text() for text in axis.get_yticklabels()] == list(found)
    assert axis.patches[0].get_extents().transformed(axis.transData.inverted()).intervalx == pytest.approx([-2.5, 2.5])


def test_a_network_keeps_its_colour_where_another_was_not_run():
    rows = [{"epoch": 1, "train_loss": 2.0, "validation_accuracy": 20.0}]
    loss, accuracy = plots.curves({"ResNet": [rows, rows], "SANet": [], "EVANet": [rows]})
    assert [line.get_color() for line in loss.axes[0].lines] == [figures.GREY] * 2 + [figures.BLUE]
    assert [text.get_text() for text in accuracy.axes[0].get_legend().get_texts()] == ["ResNet", "EVANet"]


def test_a_picture_takes_the_colour_of_the_page_and_leaves_nothing_behind():
    drawings = [diagrams.offsets(3), graphs.eva_graph(), diagrams.rings()]
    text = picture(*drawings, alt='a "quoted" <word>').data
    assert text.count("<svg") == 3 and "currentColor" in text
    for unwanted in (figures.INK, "#000000", "#ffffff", "<style", "<metadata", "<?xml", "DOCTYPE"):
        assert unwanted not in text
    assert 'role="img" aria-label="a &quot;quoted&quot; &lt;word&gt;"' in text
    named, used = re.findall(r'\bid="([^"]+)"', text), re.findall(r'(?:href="#|url\(#)([^")]+)', text)
    assert len(named) == len(set(named)) and set(used) <= set(named)


def test_a_picture_wants_words():
    with pytest.raises(ValueError, match="say in words"):
        picture(figures.panels(1, 1, 2, 2)[0])


def test_a_picture_reads_out_what_each_drawing_says_and_shows_its_caption():
    text = picture(diagrams.offsets(3), diagrams.rings(), caption="Look at <i>this</i>.").data
    alt = re.search(r'aria-label="([^"]*)"', text)[1]
    assert alt.startswith("row offset, column offset: −1, −1 | −1, 0 |") and "rings of the 7×7 map: 3 | 3" in alt
    assert "<figcaption>Look at <i>this</i>.</figcaption></figure>" in text


def test_source_keeps_the_code_and_its_width():
    for item in (equations.relative_attention, SingleQueryAttention, training_step):
        shown = source(item).data.removeprefix("```python\n").removesuffix("\n```")
        assert max(map(len, shown.splitlines())) <= WIDTH
        trees = [ast.parse(dedent(text)) for text in (inspect.getsource(item), shown)]
        for node in (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)):
            node.value = " ".join(node.value.split()) if isinstance(node.value, str) else node.value
        assert ast.dump(trees[0]) == ast.dump(trees[1])


def test_the_pipeline_shows_the_shapes_of_a_pass():
    assert graphs.shapes("resnet20-large") == {
        "image": (3, 32, 32), "stem": (64, 32, 32), "stage 1": (64, 32, 32), "stage 2": (128, 16, 16),
        "stage 3": (256, 8, 8), "summary": (256,), "classifier": (10,),
    }  # fmt: skip
    texts = [text for drawing in graphs.pipeline() for text in words(drawing)]
    assert [text for text in texts if "×" in text] == ["3×32×32", *["16×32×32"] * 2, "32×16×16", "64×8×8", "64×7×7"]


def test_the_field_of_a_network_is_a_share_and_lies_in_the_middle():
    network = build("resnet20-small")
    share = figures.effective_field(network, torch.randn(2, 3, 32, 32))
    torch.testing.assert_close(share.sum(), torch.ones(()))
    even = torch.full((4, 4), 1 / 16)
    assert [figures.pixels_holding(even, part) for part in (0.05, 0.5, 1.0)] == [1, 8, 16]


@pytest.mark.parametrize("page", NOTEBOOKS, ids=lambda page: page.stem)
def test_a_page_shows_figures_by_picture_only_and_each_has_words(page):
    code = "\n".join(cell.source for cell in jupytext.read(page, fmt="py:percent").cells if cell.cell_type == "code")
    assert "pyplot" not in code and "plt." not in code and "savefig" not in code


def test_an_installed_package_lays_its_records_where_there_are_none(tmp_path, monkeypatch):
    packaged = tmp_path / "package"
    (packaged / "quick").mkdir(parents=True)
    (packaged / "quick" / "one.json").write_text("{}", encoding="utf-8")
    monkeypatch.setattr(display, "RECORDED", packaged)
    monkeypatch.setenv("EVALIB_HOME", str(tmp_path))
    assert display.here().startswith("evalib at commit")
    laid = tmp_path / "results" / "quick" / "one.json"
    assert laid.is_file()
    laid.unlink()
    display.here()
    assert not laid.exists()  # what a reader has there is left alone
