"""What a figure says is read back from it: its numbers are the equations', its colours the page's."""

import re
from pathlib import Path

import jupytext
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.text import Text

import evalib
from evalib.equations import ring
from evalib.pages import display, figures
from evalib.pages.display import picture

NOTEBOOKS = sorted((Path(__file__).resolve().parent.parent / "notebooks").glob("*.py"))


def words(drawing):
    """The texts of a drawing that are not empty, in the order in which they were drawn."""
    return [text.get_text() for text in drawing.findobj(Text) if text.get_text()]


def test_a_grid_shows_each_number_at_its_place_on_ink_of_its_share():
    values = torch.tensor([[1.0, -2.5], [torch.nan, 0.0]])
    drawing = figures.grid("title", figures.numbers(values), values / 5, {(0, 1)})
    axis = drawing.axes[0]
    shown = {text.get_position(): text.get_text() for text in axis.texts}
    assert shown == {(0, 0): "1", (1, 0): "−2.5", (0, 1): "", (1, 1): "0"}
    inks = [(to_hex(cell.get_facecolor()), cell.get_facecolor()[3]) for cell in axis.patches]
    blue, orange = figures.COLOURS["positive"], figures.COLOURS["negative"]
    assert inks == [(blue, 0.13), (orange, 0.325), (blue, 0), (blue, 0)]
    assert [cell.get_edgecolor()[3] for cell in axis.patches] == [0, 1, 0.4, 0]
    assert drawing.get_label() == "title: 1 | −2.5; empty | 0."


@pytest.fixture(scope="module")
def traced():
    """Three images through an EVANet whose looks prefer some pixels, and what it weighed."""
    torch.manual_seed(0)
    network = evalib.build("evanet20-small").eval().float()
    with torch.no_grad():
        for look in network.summary.eva.looks:
            look.W_Q.weight *= 20
        _, trace = evalib.trace(network, torch.randn(3, 3, 32, 32, dtype=torch.float32))
    return torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8), trace


def test_ring_weights_lie_on_their_pixels_of_the_map(traced):
    images, trace = traced
    axes = figures.ring_weights(images, trace).axes
    for n in range(3):
        assert (axes[5 * n].images[0].get_array() == images[n].permute(1, 2, 0).numpy()).all()
        for stage in range(4):
            axis = axes[5 * n + 1 + stage]
            ink = torch.as_tensor(axis.images[0].get_array()[..., 3])
            weights = trace.look_weights[stage][n].mean(dim=0)
            expected = torch.zeros(7, 7)
            for weight, (row, column) in zip(weights, ring(stage).T.tolist(), strict=True):
                expected[row + 3, column + 3] = 0.65 * weight.sqrt()
            torch.testing.assert_close(ink.double(), expected.double(), atol=1e-6, rtol=0)
            assert axis.get_xlabel() == f"up to {weights.max():.2f}"


def test_slot_weights_are_the_recalls_means(traced):
    _, trace = traced
    for drawing, weights in zip(figures.slot_weights(trace), trace.recall_weights, strict=True):
        heights = [bar.get_height() for bar in drawing.axes[0].patches]
        assert heights == pytest.approx(weights.mean(dim=(0, 1)).tolist())


def test_table_1_is_drawn_as_its_rows_say():
    names = ("model", "paper", "accuracies", "low", "high", "tier", "stopped")
    rows = [
        ("ResNet", 91.25, [88.0, 87.0], 86.9, 88.1, "paper", []),
        ("letter", 93.0, [34.3, 87.9], None, None, "paper", []),
        ("SANet", 92.45, [], None, None, None, ["seed 0 was stopped"]),
    ]
    rows = [dict(zip(names, row, strict=True)) for row in rows]
    axis = figures.against_paper(rows).axes[0]
    marks = [
        (line.get_marker(), line.get_xdata()[0], line.get_ydata()[0])
        for line in axis.lines
        if len(line.get_xdata()) == 1
    ]
    assert {(x, y) for mark, x, y in marks if mark == "D"} == {(91.25, 0), (93.0, 1), (92.45, 2)}
    assert {(x, y) for mark, x, y in marks if mark == "o"} == {(88.0, 0), (87.0, 0), (87.9, 1)}
    assert {(x, y) for mark, x, y in marks if mark == "<"} == {(82.0, 1)}
    bars = [line for line in axis.lines if len(line.get_xdata()) == 2]
    ends = [(list(bar.get_xdata()), list(bar.get_ydata())) for bar in bars]
    assert ends == [([86.9, 88.1], [0, 0])]
    assert "34.3" in words(axis.figure) and "– stopped" in words(axis.figure)


def test_a_curve_has_each_epochs_value_over_its_epoch():
    courses = [("a", [2.0, 1.0, 3.0], "red", "-"), ("b", [5.0], "blue", "--")]
    axis = figures.by_epoch([*courses, ("a", [4.0, 6.0], "red", "-")], "loss").axes[0]
    drawn = [(line.get_xdata().tolist(), line.get_ydata().tolist()) for line in axis.lines]
    assert drawn == [([1, 2, 3], [2, 1, 3]), ([1], [5]), ([1, 2], [4, 6])]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["a", "b"]


def test_a_picture_takes_the_colour_of_the_page_and_leaves_nothing_behind():
    drawings = [figures.grid("two", [["2"]]), figures.grid("one", [["1"]])]
    text = picture(*drawings, alt='a "quoted" <word>').data
    assert text.count("<svg") == 2 and "currentColor" in text
    for unwanted in (figures.INK, "#000000", "#ffffff", "<style", "<metadata", "<?xml", "DOCTYPE"):
        assert unwanted not in text
    assert 'role="img" aria-label="a &quot;quoted&quot; &lt;word&gt;"' in text
    named = re.findall(r'\bid="([^"]+)"', text)
    used = re.findall(r'(?:href="#|url\(#)([^")]+)', text)
    assert len(named) == len(set(named)) and set(used) <= set(named)


def test_a_picture_reads_out_what_each_drawing_says_and_shows_its_caption():
    drawings = figures.grid("two", [["2", "3"]]), figures.grid("one", [["1"]])
    text = picture(*drawings, caption="Look at <i>this</i>.").data
    alt = re.search(r'aria-label="([^"]*)"', text)[1]
    assert alt.startswith("two: 2 | 3") and alt.endswith("one: 1.")
    assert "<figcaption>Look at <i>this</i>.</figcaption></figure>" in text
    with pytest.raises(ValueError, match="say in words"):
        picture(figures.panels(1, 1, 2, 2)[0])


@pytest.mark.parametrize("page", NOTEBOOKS, ids=lambda page: page.stem)
def test_a_page_shows_figures_by_picture_alone(page):
    cells = jupytext.read(page, fmt="py:percent").cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    assert not re.search(r"pyplot|\bplt\.|savefig", code)


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
