"""The network in the page computes what PyTorch computes, from disk and alone, for pointer, finger
and keys.
"""

import runpy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image
from test_explorer_page import sharp, write
from visits import swipe, violations

import evalib
from evalib.pages import live
from evalib.pages.explorer import forward
from evalib.training import data

START = "Start the network"
AWAIT = """() => { window.answered = new Promise((resolve, reject) => {
    document.addEventListener("answer", event => resolve(event.detail), { once: true });
    setTimeout(() => reject(new Error("no answer in 20 s")), 20000);
}) }"""
NEXT = """(element, act) => new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error("no answer in 20 s")), 20000);
    element.addEventListener("answer", event => resolve(event.detail), { once: true });
    const root = element.shadowRoot;
    if (act.press) [...root.querySelectorAll("button")].find(each => each.textContent.startsWith(act.press)).click();
    else root.querySelectorAll(`input[name="${act.name}"]`)[act.index].click();
})"""
PIXELS = """element => {
    const { data } = element.shadowRoot.querySelector(".area canvas").getContext("2d").getImageData(0, 0, 32, 32);
    return Array.from({ length: 1024 }, (_, p) => [...data.slice(4 * p, 4 * p + 3)]);
}"""


@pytest.fixture(scope="module")
def photographs(subset):
    return subset.test_images[::10], subset.test_labels[::10]


@pytest.fixture(scope="module")
def readings():
    return live.readings()


@pytest.fixture(scope="module")
def shown(tmp_path_factory, photographs, readings):
    folder = tmp_path_factory.mktemp("live")
    return write(folder, live.live(readings, *(part[::5] for part in photographs)))


def started(page, address):
    page.goto(address)
    element = page.locator("eva-live")
    first = element.evaluate(NEXT, {"press": START})
    return element, first


def pixels(element):
    """The picture of the drawing area, row by row, red, green and blue."""
    return torch.tensor(element.evaluate(PIXELS)).reshape(32, 32, 3)


def answered(page, act):
    """The answer that follows ``act``: the element's event after it."""
    page.evaluate(AWAIT)
    act()
    return page.evaluate("window.answered")


LETTER = 1e-2
"""How near the weights of the letter's attention are to PyTorch's, where others are 1e-4 near:
logits of the collapsed run reach millions, so that the last digit of a float32 moves a weight that
is shared between two pixels. Its scores are as near as any."""


@torch.no_grad()
def compare(detail, network, image, weights=1e-4):
    scores, trace = forward(network, image[None], evalib.trace)
    torch.testing.assert_close(torch.tensor(detail["scores"]), scores[0], atol=1e-4, rtol=0)
    for part in ("looks", "recalls"):
        expected = trace.look_weights if part == "looks" else trace.recall_weights
        for stage, shares in enumerate(expected):
            torch.testing.assert_close(
                torch.tensor(detail[part][stage], dtype=torch.float32),
                shares[0],
                atol=weights,
                rtol=0,
            )


def test_images_have_the_scores_and_weights_of_pytorch(page, shown, readings, photographs):
    element, detail = started(page, shown)
    scaled, letter = readings.values()
    images = photographs[0][::5]
    compare(detail, scaled, images[0])
    for index in range(1, len(images)):
        detail = element.evaluate(NEXT, {"name": "Picture", "index": index})
        compare(detail, scaled, images[index])
    detail = element.evaluate(NEXT, {"name": "Variant", "index": 1})
    compare(detail, letter, images[-1], LETTER)
    for index in range(len(images) - 1):
        detail = element.evaluate(NEXT, {"name": "Picture", "index": index})
        compare(detail, letter, images[index], LETTER)


@pytest.mark.parametrize(
    "names",
    [
        ("normed", "standard-normed", "residual", "scaled-no-position", "scaled-heads8"),
        ("scaled-one-block",),
    ],
)
def test_other_readings_and_parts_are_those_of_pytorch(names, page, tmp_path, photographs):
    networks = {name: sharp(f"evanet20-small-{name}") for name in names}
    images, labels = (part[:1] for part in photographs)
    element, detail = started(page, write(tmp_path, live.live(networks, images, labels)))
    for number, network in enumerate(networks.values()):
        if number:
            detail = element.evaluate(NEXT, {"name": "Variant", "index": number})
        compare(detail, network, images[0])


def test_nothing_is_computed_before_the_reader_asks(page, shown):
    page.goto(shown)
    assert page.locator("eva-live .still svg").count() == 5
    assert page.locator("eva-live canvas").count() == 0
    assert page.get_by_role("button").count() == 1


def test_a_part_is_hidden_and_put_back(page, shown, readings, photographs):
    element, first = started(page, shown)
    box = page.locator("eva-live .area").bounding_box()
    detail = answered(page, lambda: page.mouse.click(box["x"] + 160, box["y"] + 160))
    changed = photographs[0][0].clone()
    grey = torch.tensor([round(255 * mean) for mean in data.MEAN])
    changed[:, 12:20, 12:20] = grey[:, None, None]
    assert torch.equal(pixels(element), changed.permute(1, 2, 0).long())
    compare(detail, next(iter(readings.values())), changed)
    assert "without your changes: " in page.locator("eva-live .was").inner_text()
    back = element.evaluate(NEXT, {"press": "undo"})
    assert back["scores"] == first["scores"]
    assert page.locator("eva-live .was").inner_text() == ""


def test_without_changes_it_is_the_answer_of_the_variant_and_starting_over_can_be_undone(
    page, shown
):
    element, _ = started(page, shown)
    answered(page, lambda: page.locator("eva-live .area").press("Space"))
    element.evaluate(NEXT, {"name": "Variant", "index": 1})
    said = page.locator("eva-live .was").inner_text()
    element.evaluate(NEXT, {"press": "start over"})
    assert said == f"without your changes: {page.locator('eva-live .answer').inner_text()}"
    element.evaluate(NEXT, {"press": "undo"})
    assert page.locator("eva-live .was").inner_text() == said


FIGURES = """(element, head) => {
    element.shadowRoot.querySelectorAll("input[name=Head]")[head].click();
    return [...element.shadowRoot.querySelectorAll("table.map td")].map(cell => Number(cell.textContent));
}"""


def test_the_weights_in_figures_are_those_of_the_head_that_is_chosen(page, shown, readings):
    element, detail = started(page, shown)
    eva = next(iter(readings.values())).summary.eva
    for head in range(5):  # the first is their mean
        figures = torch.tensor(element.evaluate(FIGURES, head), dtype=torch.float32)
        for places, heads in zip(eva.pixels.split(eva.sizes), detail["looks"], strict=True):
            weights = torch.tensor(heads, dtype=torch.float32)
            chosen = weights[head - 1] if head else weights.mean(dim=0)
            torch.testing.assert_close(figures[places], 100 * chosen, atol=0.051, rtol=0)


INKS = """element => [...element.shadowRoot.querySelectorAll(".stages canvas")].slice(0, 4).map(canvas => {
    const context = canvas.getContext("2d");
    return Array.from({ length: 49 }, (_, m) =>
        [...context.getImageData(32 * (m % 7) + 10, 32 * Math.floor(m / 7) + 10, 1, 1).data].slice(0, 3));
})"""


def test_the_deeper_blue_a_square_the_more_weight_it_has(page, shown):
    """In each ring of each picture the redness of a square falls as its weight rises, whatever the
    photograph shows.
    """
    element, detail = started(page, shown)
    for index in range(5):
        if index:
            detail = element.evaluate(NEXT, {"name": "Picture", "index": index})
        for stage, colours in enumerate(element.evaluate(INKS)):
            ring = [m for m in range(49) if max(abs(m // 7 - 3), abs(m % 7 - 3)) == stage]
            weights = torch.tensor(detail["looks"][stage], dtype=torch.float32).mean(dim=0)
            red = torch.tensor([float(colours[m][0]) for m in ring])
            expected = 255 - (255 - 47) * weights.sqrt()
            assert (
                red - expected
            ).abs().max() <= 0.14 * 0.5 * 255 + 2  # what shines through of a photograph
            clear = weights > weights.max() - 0.05
            assert clear[red.argmin()]


def test_a_stroke_has_no_gaps_and_is_one_change(page, shown):
    element, _ = started(page, shown)
    before = pixels(element)
    element.evaluate("e => e.shadowRoot.querySelectorAll('input[name=Tool]')[1].click()")
    box = page.locator("eva-live .area").bounding_box()
    page.mouse.move(box["x"] + 15, box["y"] + 15)
    page.mouse.down()
    page.mouse.move(box["x"] + 305, box["y"] + 305)
    page.mouse.up()
    red = (pixels(element) == torch.tensor([230, 40, 40])).all(dim=-1)
    assert red.diagonal()[1:30].all()
    page.get_by_role("button", name="undo").click()
    assert torch.equal(pixels(element), before)


def test_keys_move_the_patch_and_hide_what_is_under_it(page, shown, photographs):
    element, _ = started(page, shown)
    area = page.get_by_role("application")
    area.focus()
    for key in ("ArrowUp", "ArrowLeft", "Shift+ArrowLeft"):
        page.keyboard.press(key)
    page.locator("eva-live [role=status]", has_text="rows 9 to 16, columns 8 to 15").wait_for(
        state="attached"
    )
    answered(page, lambda: page.keyboard.press("Space"))
    changed = (pixels(element) != photographs[0][0].permute(1, 2, 0)).any(dim=-1)
    rows, columns = changed.nonzero().T
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (8, 15, 7, 14)
    answered(page, lambda: page.keyboard.press("Control+z"))
    assert torch.equal(pixels(element), photographs[0][0].permute(1, 2, 0).long())
    for _ in range(20):
        page.keyboard.press("ArrowDown")
    page.locator("eva-live [role=status]", has_text="rows 25 to 32").wait_for(state="attached")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible_before_and_after_a_change_by_keys_alone(scheme, new_page, shown):
    page = new_page(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
    page.goto(shown)
    page.add_style_tag(
        content="a { color: inherit } html { background: light-dark(#fff, #121212) }"
    )  # the page's matter
    assert not violations(page)
    page.keyboard.press("Tab")
    answered(page, lambda: page.keyboard.press("Enter"))
    assert (
        page.evaluate("document.querySelector('eva-live').shadowRoot.activeElement.name")
        == "Picture"
    )
    answered(page, lambda: page.keyboard.press("ArrowRight"))
    page.get_by_role("application").focus()
    answered(page, lambda: page.keyboard.press("Enter"))
    assert not violations(page)


def test_on_a_phone_a_swipe_scrolls_and_a_tap_hides_a_part(new_page, shown):
    page = new_page(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    element, _ = started(page, shown)
    before = pixels(element)
    page.evaluate("scrollTo(0, 0)")
    swipe(page, page.locator("eva-live .area"))
    page.wait_for_function("scrollY > 60")
    assert torch.equal(pixels(element), before)
    answered(page, lambda: page.locator("eva-live .area").tap())
    assert (pixels(element) != before).any(dim=-1).sum() > 50
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.get_by_text("a photograph …").is_visible()


def test_an_own_picture_is_cropped_to_its_middle_and_averaged(page, shown, tmp_path, readings):
    wide = Image.new("RGB", (640, 320), (0, 0, 255))  # the outer quarters are cut off
    wide.paste((10, 200, 60), (160, 0, 405, 320))
    wide.paste((250, 30, 30), (405, 0, 480, 320))
    path = tmp_path / "own.png"
    wide.save(path)
    element, _ = started(page, shown)
    detail = answered(
        page, lambda: page.locator("eva-live input[type=file]").first.set_input_files(path)
    )
    middle = wide.crop((160, 0, 480, 320)).resize((32, 32), Image.Resampling.BOX)
    expected = torch.from_numpy(np.array(middle))
    assert (pixels(element) - expected.long()).abs().max() <= 3
    assert not page.locator("eva-live input[name=Picture]:checked").count()
    compare(detail, next(iter(readings.values())), pixels(element).permute(2, 0, 1).to(torch.uint8))


def test_a_picture_is_dropped(page, shown, tmp_path):
    element, _ = started(page, shown)
    path = tmp_path / "red.png"
    Image.new("RGB", (64, 64), (200, 20, 30)).save(path)
    drop = """(element, bytes) => {
        const dataTransfer = new DataTransfer();
        dataTransfer.items.add(new File([new Uint8Array(bytes)], "red.png", { type: "image/png" }));
        element.shadowRoot.querySelector(".area").dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true }));
    }"""
    answered(page, lambda: element.evaluate(drop, list(path.read_bytes())))
    assert (pixels(element) == torch.tensor([200, 20, 30])).all()


def test_a_file_that_is_no_picture_is_named_and_loses_nothing(page, shown, tmp_path):
    element, _ = started(page, shown)
    before = pixels(element)
    path = tmp_path / "notes.txt"
    path.write_text("no picture")
    page.locator("eva-live input[type=file]").first.set_input_files(path)
    page.get_by_role("alert").filter(has_text="choose a JPEG").wait_for()
    assert torch.equal(pixels(element), before)
    element.evaluate(NEXT, {"name": "Picture", "index": 1})
    assert page.get_by_role("alert").count() == 0


def test_how_far_a_look_is_spread_is_said(page, shown):
    element, _ = started(page, shown)
    letter = element.evaluate(NEXT, {"name": "Variant", "index": 1})
    said = page.locator("eva-live .spread").all_inner_texts()
    for text, look in zip(said[1:-1], letter["looks"][1:], strict=True):
        entropy = torch.special.entr(torch.tensor(look)).sum(dim=-1)
        assert text == f"spread over {entropy.exp().mean():.1f} of {len(look[0])}"


@torch.no_grad()
def test_each_part_is_hidden_in_turn(page, shown, readings, photographs):
    _, detail = started(page, shown)
    page.get_by_role("button", name="hide each in turn").click()
    told = page.locator("eva-live .spread").last
    page.wait_for_function("line => line.textContent", arg=told.element_handle(), timeout=60_000)
    hidden = photographs[0][0].repeat(49, 1, 1, 1)
    grey = torch.tensor([round(255 * mean) for mean in data.MEAN]).to(torch.uint8)
    for m in range(49):
        i, j = 4 * (1 + m // 7), 4 * (1 + m % 7)
        hidden[m, :, i - 2 : i + 6, j - 2 : j + 6] = grey[:, None, None]
    answer = max(range(10), key=lambda c: detail["scores"][c])
    shares = forward(next(iter(readings.values())), hidden).softmax(dim=-1)[:, answer]
    m = int(shares.argmin())
    expected = f"most at row {m // 7 + 1}, column {m % 7 + 1}: {data.CLASSES[answer]} falls to {100 * shares[m]:.1f} %"
    assert told.inner_text() == expected


def test_without_scripts_the_static_figure_is_there(new_page, shown):
    page = new_page(java_script_enabled=False, viewport={"width": 390, "height": 844})
    page.goto(shown)
    assert page.locator("eva-live .still").get_by_role("img").first.is_visible()
    assert page.get_by_role("button").count() == 0


@pytest.fixture
def beside(tmp_path, photographs, readings):
    """The page as the book has it: its weights moved into files, which are returned with its
    address.
    """
    slim = runpy.run_path(str(ROOT / "book" / "slim.py"))["beside"]
    html = slim(
        live.live(readings, *(part[::25] for part in photographs)).data, "", tmp_path / "weights"
    )
    address = write(tmp_path, SimpleNamespace(data=html))
    return address, sorted((tmp_path / "weights").glob("*.js"))


def test_weights_beside_a_page_are_read_when_they_are_asked_for(
    page, beside, readings, photographs
):
    address, files = beside
    asked = []
    page.on(
        "request", lambda request: asked.append(request.url) if "/weights/" in request.url else None
    )
    page.goto(address)
    assert len(files) == 2 and not asked
    element, first = started(page, address)
    compare(first, next(iter(readings.values())), photographs[0][0])
    assert len(asked) == 1
    letter = element.evaluate(NEXT, {"name": "Variant", "index": 1})
    compare(letter, readings["letter"], photographs[0][0])
    element.evaluate(NEXT, {"name": "Variant", "index": 0})
    assert len(asked) == 2


def test_weights_that_are_not_there_are_named_and_can_be_tried_again(page, beside):
    address, files = beside
    kept = {path: path.read_text() for path in files}
    for path in files:
        path.unlink()
    page.goto(address)
    page.get_by_role("button", name=START).click()
    page.get_by_role("alert").filter(has_text=".js could not be read").wait_for()
    page.console_errors.clear()
    for path, text in kept.items():
        path.write_text(text)
    answered(page, lambda: page.locator("eva-live input[name=Picture]").nth(1).check(force=True))
    assert page.get_by_role("alert").count() == 0


def test_in_the_book_the_weights_are_read_when_they_are_asked_for(page, built):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((built / "notebooks" / "live.html").as_uri())
    assert not [address for address in asked if "/weights/" in address]
    element = page.locator("eva-live")
    detail = element.evaluate(NEXT, {"press": START})
    assert len([address for address in asked if "/weights/" in address]) == 1
    assert len(detail["scores"]) == len(data.CLASSES)
