"""The Explorer in a browser: what it displays is what PyTorch computes, and pointer, finger and
keys all work.
"""

import random

import pytest
import torch
from torch.nn import functional as F

import evalib
from evalib.attention import RelativeSelfAttention
from evalib.pages import explorer
from evalib.training import data

NEAR = 1 / 255


@pytest.fixture(scope="module")
def photographs(subset):
    return subset.test_images[::50], subset.test_labels[::50]


def sharp(name):
    """A network whose attentions prefer some pixels to others by more than the tolerance, as
    trained ones do.
    """
    torch.manual_seed(0)
    network = evalib.build(name).eval()
    with torch.no_grad():
        for label, weight in network.named_parameters():
            if label.endswith("W_Q.weight"):
                weight *= 6
    return network


def write(folder, *elements):
    """A page of nothing but the elements, as a notebook's outputs put them there."""
    body = "".join(f"<div>{element.data}</div>" for element in elements)
    path = folder / "page.html"
    path.write_text(
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Explorer</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
        f"<body>{body}",
        encoding="utf-8",
    )
    return path.as_uri()


def number(text):
    """The number that a cell displays; ``None`` for a dash."""
    return None if text in ("", "–") else float(text.replace("−", "-"))


def select(page, legend, index):
    """Choose an image, a filter or a head by its radio button."""
    page.get_by_role("group", name=legend).get_by_role("radio").nth(index).check()


def texts(page, selector):
    return [number(text) for text in page.locator(selector).all_inner_texts()]


def cell(page, i, j):
    return page.get_by_role("row").nth(i).get_by_role("gridcell").nth(j)


def displayed_looks(page):
    """The 7×7 numbers, by row and column as they lie on the screen."""
    boxes = page.locator("[role=gridcell]").evaluate_all(
        "cells => cells.map(c => { const b = c.getBoundingClientRect(); return [b.top, b.left, c.textContent]; })"
    )
    ordered = [
        number(text) / 100 for _, _, text in sorted(boxes, key=lambda box: (round(box[0]), box[1]))
    ]
    return torch.tensor(ordered).reshape(7, 7)


def expected_looks(trace, image, head):
    """The same from the trace, each ring filled in row-major order by its definition."""
    weights = [
        look[image].mean(dim=0) if head == 0 else look[image, head - 1]
        for look in trace.look_weights
    ]
    queues = [iter(ring.tolist()) for ring in weights]
    return torch.tensor(
        [[next(queues[max(abs(i - 3), abs(j - 3))]) for j in range(7)] for i in range(7)]
    )


def expected_recalls(trace, image, head):
    return [
        recall[image].mean(dim=0) if head == 0 else recall[image, head - 1]
        for recall in trace.recall_weights
    ]


def draws(images):
    """Twelve images and heads (0 is their mean), at random, the same ones each time."""
    rng = random.Random(0)
    return rng, [(rng.randrange(images), rng.randrange(5)) for _ in range(12)]


@torch.no_grad()
def compare_weights(page, network, images):
    """Look and recall weights at random stages, heads and images, against a pass of PyTorch made
    here and now.
    """
    _, trace = evalib.trace(network, data.normalise(images))
    rng, chosen = draws(len(images))
    for image, head in chosen:
        select(page, "Image", image)
        select(page, "Head", head)
        looks, recalls = displayed_looks(page), texts(page, "table.recall td")
        seen, recalled = expected_looks(trace, image, head), expected_recalls(trace, image, head)
        for _ in range(3):
            i, j = rng.randrange(7), rng.randrange(7)
            assert abs(looks[i, j] - seen[i, j]) <= NEAR, (image, head, i, j)
            stage = rng.randrange(4)
            slot = rng.randrange(stage + 2)
            shown = recalls[5 * stage + slot] / 100
            assert abs(shown - recalled[stage][slot]) <= NEAR, (image, head, stage, slot)


def test_weights_of_eva_are_those_of_pytorch(page, shown, photographs):
    page.goto(shown)
    compare_weights(page, sharp("evanet20-small"), photographs[0])


@torch.no_grad()
def test_class_scores_are_those_of_pytorch(page, shown, photographs):
    network = sharp("evanet20-small")
    page.goto(shown)
    scores = network(data.normalise(photographs[0]))
    for image in (0, 4, 9):
        select(page, "Image", image)
        shown = torch.tensor(texts(page, ".scores td")).reshape(10, 2)
        torch.testing.assert_close(shown[:, 0], scores[image], atol=NEAR, rtol=0)
        torch.testing.assert_close(
            shown[:, 1] / 100, scores[image].softmax(dim=0), atol=NEAR, rtol=0
        )
        marked = page.locator(".scores tr.label th").inner_text()
        assert marked == f"{data.CLASSES[photographs[1][image]]} ✓"


@torch.no_grad()
def test_products_and_their_sum_are_those_of_pytorch(page, tmp_path, photographs):
    images, labels = (part[:3] for part in photographs)
    network = sharp("resnet20-small")
    page.goto(write(tmp_path, explorer.convolution(network, images, labels)))
    x, weight = data.normalise(images), network.stem[0].weight
    padded, y = F.pad(x, (1, 1, 1, 1)), F.conv2d(x, weight, padding=1)
    rng = random.Random(0)
    within = [(rng.randrange(32), rng.randrange(32)) for _ in range(3)]
    for i, j in [(0, 0), (31, 31), (0, 17), *within]:
        image, filter = rng.randrange(3), rng.randrange(explorer.FILTERS)
        select(page, "Image", image)
        select(page, "Filter", filter)
        cell(page, i, j).click()
        shown = torch.tensor(texts(page, ".window b")).reshape(3, 3, 3)
        torch.testing.assert_close(
            shown, weight[filter] * padded[image, :, i : i + 3, j : j + 3], atol=NEAR, rtol=0
        )
        (total,) = texts(page, ".sum")
        assert abs(total - y[image, filter, i, j]) <= NEAR
        outside = 27 - 3 * (3 - (i in (0, 31))) * (3 - (j in (0, 31)))
        assert page.locator(".window td.outside").count() == outside


@torch.no_grad()
def test_logits_and_weights_of_a_window_are_those_of_pytorch(page, tmp_path, photographs):
    images, labels = (part[::3] for part in photographs)
    network, inputs = sharp("sanet20-small"), []
    layer = [module for module in network.modules() if isinstance(module, RelativeSelfAttention)][
        -1
    ]
    page.goto(write(tmp_path, explorer.relative_attention(network, images, labels)))
    hook = layer.register_forward_pre_hook(lambda _, x: inputs.append(x[0]))
    network(data.normalise(images))
    hook.remove()
    q, k = (
        projection(inputs[0]).unflatten(1, (layer.num_heads, -1))
        for projection in (layer.W_Q, layer.W_K)
    )
    rng = random.Random(0)
    for i, j in [(0, 0), (7, 0), *[(rng.randrange(8), rng.randrange(8)) for _ in range(4)]]:
        image, head = rng.randrange(len(images)), rng.randrange(4)
        select(page, "Image", image)
        select(page, "Head", head)
        cell(page, i, j).click()
        content, position, weights = (
            texts(page, f".window >> nth={panel} >> b") for panel in range(3)
        )
        query = q[image, head, :, i, j]
        logits = {}
        for a in range(3):
            for b in range(3):
                row, column = i + a - 1, j + b - 1
                if not (0 <= row < 8 and 0 <= column < 8):
                    assert content[3 * a + b] is position[3 * a + b] is weights[3 * a + b] is None
                    continue
                by_content = query @ k[image, head, :, row, column]
                by_position = query @ torch.cat([layer.rows[head, :, a], layer.cols[head, :, b]])
                assert abs(content[3 * a + b] - by_content) <= NEAR
                assert abs(position[3 * a + b] - by_position) <= NEAR
                logits[3 * a + b] = by_content + by_position
        for index, weight in zip(
            logits, torch.stack([*logits.values()]).softmax(dim=0), strict=True
        ):
            assert abs(weights[index] / 100 - weight) <= NEAR


def where(page):
    """The pixel whose shares are shown, counted from one, by the caption of their table."""
    return page.locator(".heads caption").inner_text().split(":")[0]


@pytest.fixture(scope="module")
def shown(tmp_path_factory, photographs):
    return write(
        tmp_path_factory.mktemp("eva"), explorer.eva(sharp("evanet20-small"), *photographs)
    )


def test_pointing_previews_and_a_click_stays(page, shown):
    page.goto(shown)
    first = where(page)
    cell(page, 0, 6).hover()
    assert where(page) == "row 1, column 7"
    page.locator(".scores caption").hover()
    assert where(page) == first
    cell(page, 0, 6).click()
    page.locator(".scores caption").hover()
    assert where(page) == "row 1, column 7"
    assert "row 1, column 7 of ring 3" in page.get_by_role("status").inner_text()


def test_a_tap_chooses(new_page, shown):
    page = new_page(viewport={"width": 390, "height": 844}, has_touch=True)
    page.goto(shown)
    cell(page, 5, 1).tap()
    assert where(page) == "row 6, column 2"
    page.get_by_role("group", name="Image").locator("label").nth(3).tap()
    assert page.get_by_role("radio", name="cat").is_checked()


def test_keys_walk_the_grid_and_stop_at_its_border(page, shown):
    page.goto(shown)
    for _ in range(3):  # images, heads, grid: one tab stop each
        page.keyboard.press("Tab")
    assert where(page) == "row 4, column 3"
    steps = {"ArrowUp": (3, 3), "ArrowRight": (3, 4), "ArrowDown": (4, 4), "ArrowLeft": (4, 3)}
    steps |= {"Home": (4, 1), "Control+End": (7, 7), "End": (7, 7)}
    for key, (i, j) in steps.items():
        page.keyboard.press(key)
        assert where(page) == f"row {i}, column {j}", key
    page.keyboard.press("ArrowDown")
    assert where(page) == "row 7, column 7"
    focused = page.evaluate(
        "document.querySelector('eva-explorer').shadowRoot.activeElement.dataset"
    )
    assert focused == {"i": "6", "j": "6"}
    assert page.locator("[role=gridcell][tabindex='0']").count() == 1
    assert page.locator("[role=gridcell][aria-selected=true]").count() == 1
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("ArrowRight")
    assert page.get_by_role("group", name="Head").get_by_role("radio").nth(1).is_checked()


def test_without_scripts_the_static_figure_is_there(new_page, shown):
    page = new_page(java_script_enabled=False, viewport={"width": 360, "height": 800})
    page.goto(shown)
    drawings = page.locator(".still [role=img]")
    assert drawings.is_visible() and "the four looks" in drawings.get_attribute("aria-label")
    assert drawings.locator("svg").count() == 5


def test_two_explorers_share_a_page_and_a_phone(new_page, tmp_path, photographs):
    page = new_page(viewport={"width": 360, "height": 800})
    images, labels = (part[:2] for part in photographs)
    elements = (
        explorer.eva(sharp("evanet20-small"), images, labels),
        explorer.convolution(sharp("resnet20-small"), images, labels),
        explorer.relative_attention(sharp("sanet20-small"), images, labels),
    )
    page.goto(write(tmp_path, *elements))
    assert page.get_by_role("grid").count() == 3
    assert page.locator(".still svg").first.is_hidden()
    assert page.evaluate("document.documentElement.scrollWidth") == 360


@pytest.mark.parametrize("name", ["convolution", "relative_attention", "eva"])
def test_the_explorer_of_a_page_answers_to_the_keys(name, page, built):
    page.goto((built / "notebooks" / f"{name}.html").as_uri())
    chosen = page.locator("eva-explorer [role=gridcell][aria-selected=true]")
    before = chosen.get_attribute("data-j")
    chosen.focus()
    page.keyboard.press("ArrowRight")
    assert int(chosen.get_attribute("data-j")) == int(before) + 1
