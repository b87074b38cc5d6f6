"""The Looking Machine in a browser: what it draws is what PyTorch computes, and every state has an
address and a key."""

import json
import re

import pytest
import torch
from einops import rearrange
from playwright.sync_api import expect
from visits import swipe, violations

from evalib.experiments import TABLE_1, experiment
from evalib.pages import machine
from evalib.results import words
from evalib.results.records import load_records, results
from evalib.results.statistics import EXPLAINING, PAPER, by_seed, judge, noise
from evalib.results.weights import load_weights, packaged
from evalib.tracing import trace
from evalib.training import data
from evalib.training.cifar import load_data

INSIDE = "document.querySelector('looking-machine').shadowRoot"
WEIGHTS = f"""() => [...{INSIDE}.querySelectorAll('.square')].map(square =>
  [Number(square.dataset.weight), Number(square.querySelector('.heat').style.opacity)])"""
SHARES = f"""() => [...{INSIDE}.querySelectorAll('.answer li')].map(row =>
  parseFloat(row.querySelector('i').style.width) / 100)"""
RECALLED = f"""() => [...{INSIDE}.querySelectorAll('.notebook li i')].map(bar =>
  parseFloat(bar.style.width) / 100)"""
CANVAS = f"""() => [...{INSIDE}.querySelector('.photo canvas').getContext('2d').getImageData(0, 0, 32, 32).data]"""
FOUND = f"() => {INSIDE}.querySelector('.real').dataset.found"
DRAWN = f"""() => {{
  const real = {INSIDE}.querySelector('.real'), at = (node) => parseFloat(node.style.left)
  const [, bar, mean] = real.querySelector('.interval').children
  return {{
    interval: [at(bar), at(bar) + parseFloat(bar.style.width), at(mean)],
    ticks: [...real.querySelectorAll('.axis span')].map(each => [parseFloat(each.textContent), at(each)]),
    rows: [...real.querySelectorAll('.table > li:not([aria-hidden])')].map(row => [
      [...row.querySelectorAll('.run')].map(dot => [dot.textContent, dot.title.split(': ')[1], at(dot)]),
      at(row.querySelector('.mean')), row.querySelector('.share').textContent]),
    said: real.querySelector('.verdicts').textContent,
  }}
}}"""
LAST = "look=3"


@pytest.fixture(scope="module")
def element():
    return machine.machine()


@pytest.fixture(scope="module")
def content(element):
    """What the element holds, as JSON."""
    found = re.search(r'<script type="application/json">(.*?)</script>', element.data, re.S)
    return json.loads(found[1])


@pytest.fixture(scope="module")
def address(element, tmp_path_factory):
    path = tmp_path_factory.mktemp("machine") / "page.html"
    path.write_text(
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Machine</title><meta '
        'name="viewport" '
        'content="width=device-width, initial-scale=1"><style>:root { color-scheme: light dark } '
        "body { font-family: sans-serif; "
        "background: light-dark(#fff, #14181e); color: light-dark(#222, #eee) }</style>"
        f"<main><h1>Machine</h1>{element.data}</main>",
        encoding="utf-8",
    )
    return path.as_uri()


@pytest.fixture(scope="module")
def network():
    return load_weights(packaged(TABLE_1[2].name))


@pytest.fixture(scope="module")
def images(subset):
    return subset.test_images[list(machine.PICTURES)]


TURN = """state => new Promise(done => {
  if (location.hash.slice(1) === state) return done()
  addEventListener("hashchange", () => done(), { once: true })
  location.hash = state
})"""


def opened(page, address, state):
    """The page in a state that its address gives, drawn."""
    if page.url.partition("#")[0] == address:
        page.evaluate(TURN, state)
    else:
        page.goto(f"{address}#{state}")
        page.locator("looking-machine[data-ready]").wait_for()


def name(image):
    return data.CLASSES[int(load_data("subset").test_labels[machine.PICTURES[image]])]


@torch.no_grad()
def test_the_weights_of_all_49_squares_are_those_of_pytorch(page, address, network, images):
    _, seen = trace(network, data.normalise(images))
    for image in range(len(images)):
        opened(page, address, f"image={name(image)}&{LAST}")
        shown, ink = torch.tensor(page.evaluate(WEIGHTS)).T
        expected = torch.zeros(49)
        for radius, weights in enumerate(seen.look_weights):
            queue = iter(weights[image].mean(dim=0).tolist())
            for m in range(49):
                if max(abs(m // 7 - 3), abs(m % 7 - 3)) == radius:
                    expected[m] = next(queue)
        torch.testing.assert_close(shown, expected, atol=2e-6, rtol=0)
        torch.testing.assert_close(ink**2, expected, atol=2e-5, rtol=0)


@torch.no_grad()
def test_what_it_says_and_recalls_after_each_look_is_pytorch_s(page, address, network, images):
    eva = network.summary.eva
    scores, seen = trace(network, data.normalise(images))
    early = [network.classifier(eva.output(query)) for query in seen.queries]
    for image in (0, machine.FIRST, 9):
        for step, look in enumerate(["q0", 0, 1, 2, 3]):
            opened(page, address, f"image={name(image)}&look={look}")
            expected = (scores if step == 4 else early[step])[image].softmax(dim=0)
            torch.testing.assert_close(
                torch.tensor(page.evaluate(SHARES)), expected, atol=1e-5, rtol=0
            )
            if step:
                recalled = torch.tensor(page.evaluate(RECALLED))[: step + 1]
                expected = seen.recall_weights[step - 1][image].mean(dim=0)
                torch.testing.assert_close(recalled, expected, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("scale", [0, 0.05, 1, 10])
def test_the_first_slider_is_the_scale_of_every_look_and_recall(page, address, images, scale):
    network = load_weights(packaged(TABLE_1[2].name))
    for layer in (*network.summary.eva.looks, *network.summary.eva.recalls):
        layer.scale = scale
    shares = network(data.normalise(images)).softmax(dim=1)
    for image in (1, machine.FIRST):
        opened(page, address, f"image={name(image)}&{LAST}&scale={scale}")
        torch.testing.assert_close(
            torch.tensor(page.evaluate(SHARES)), shares[image], atol=1e-4, rtol=0
        )


def test_the_second_slider_shows_what_was_watched(page, address):
    runs = json.loads((results() / machine.WATCHED).read_text("utf-8"))["runs"]
    for run in runs:
        last = run["watched"][-1]
        state = f"image={name(0)}&{LAST}&run={experiment(run['experiment']).variant}"
        opened(page, address, f"{state}&epoch={last['epoch']}")
        shown = torch.tensor(page.evaluate(WEIGHTS))[:, 0]
        for look, size in zip(last["pictures"][0]["looks"], (1, 8, 16, 24), strict=True):
            radius = (int(size / 4) + 1) // 2
            ring = [m for m in range(49) if max(abs(m // 7 - 3), abs(m % 7 - 3)) == radius]
            torch.testing.assert_close(
                shown[ring], torch.tensor(look) / machine.UNITS, atol=1e-6, rtol=0
            )
        shares = torch.tensor(last["pictures"][0]["shares"][-1]) / machine.UNITS
        said = torch.tensor(page.evaluate(SHARES), dtype=torch.float32)
        torch.testing.assert_close(said, shares, atol=1e-5, rtol=0)
        slider = page.get_by_role("slider", name="How did it learn?")
        for key, epoch in (("ArrowLeft", run["watched"][-2]["epoch"]), ("ArrowRight", last["epoch"])):  # fmt: skip
            slider.press(key)
            page.wait_for_function(f"location.hash.includes('epoch={epoch}&')")


@torch.no_grad()
def changed(network, images, what, donor, stage):
    """The class shares of a network after a *what if*, each in a way of its own."""
    eva, x = network.summary.eva, data.normalise(images)
    inside = network.features(x)[..., -7:, -7:]
    if what == "average":
        for look in eva.looks:
            look.scale = 0.0
        return network(x).softmax(dim=1)
    if what == "shuffle":
        rings, pixels = machine.permutations(network), rearrange(inside, "n c i j -> n (i j) c")
        eva.rings = lambda _: tuple(pixels[:, ring] for ring in rings)
        return network(x).softmax(dim=1)
    if what == "swap":
        with eva.looks[stage].register_forward_hook(
            lambda _, __, out: (out[0][donor].expand_as(out[0]), out[1])
        ):
            return network(x).softmax(dim=1)
    query = eva.first_query(eva.convolution(inside))
    slots = [query]
    for ring, look, recall in zip(
        eva.rings(inside)[::-1], eva.looks[::-1], eva.recalls, strict=True
    ):
        if what == "reverse":
            slots.append(look(query, ring)[0])
            query = recall(slots[-1], torch.stack(slots, dim=1))[0]
    return network.classifier(eva.output(query)).softmax(dim=1)


def squares(image):
    """The part of a picture under each square of the map, row by row."""
    return rearrange(image[:, 4:, 4:], "c (i a) (j b) -> (i j) c a b", a=4, b=4)


@pytest.mark.parametrize("what", ["average", "shuffle", "reverse", "drop", "swap.2.truck"])
def test_a_what_if_is_computed_as_pytorch_computes_it(page, address, images, what):
    network = load_weights(packaged(TABLE_1[2].name))
    kind, *rest = what.split(".")
    donor = next(k for k in range(10) if name(k) == "truck")
    shares = changed(network, images, kind, donor, int(rest[0]) if rest else 0)
    for image in (0, machine.FIRST):
        opened(page, address, f"image={name(image)}&{LAST}&whatif={what}")
        torch.testing.assert_close(
            torch.tensor(page.evaluate(SHARES)), shares[image], atol=1e-4, rtol=0
        )
        assert page.locator(".choices [aria-pressed=true]").count() == 1
    rings = network.summary.eva.pixels.split(network.summary.eva.sizes)
    own, given = squares(images[machine.FIRST]), squares(images[donor])
    expected = own.clone()
    if kind == "shuffle":
        for ring, order in zip(rings, machine.permutations(network), strict=True):
            expected[ring] = own[order]
    if kind == "swap":
        expected[rings[int(rest[0])]] = given[rings[int(rest[0])]]
    drawn = torch.tensor(page.evaluate(CANVAS), dtype=torch.uint8).view(32, 32, 4)[..., :3]
    assert torch.equal(squares(drawn.movedim(2, 0)), expected)


def test_no_picture_lends_a_look_to_itself(page, address):
    opened(page, address, f"image={name(3)}&whatif=swap.1.{name(3)}")
    expect(page.locator(".effect")).to_contain_text(f"is the {name(4)}'s")
    page.get_by_label(name(4), exact=True).check(force=True)
    expect(page.locator(".effect")).to_contain_text(f"is the {name(5)}'s")


def test_what_is_said_of_the_test_pictures_is_what_the_network_answers(network, subset):
    """The curve's and the *what if*'s counts, of another computation on the same images."""
    some, labels = subset.test_images[::5], subset.test_labels[::5]
    found = machine.measure(network, some, labels, machine.permutations(network))
    with torch.no_grad():
        plain = network(data.normalise(some)).argmax(dim=1)
    assert found["plain"] == int((plain == labels).sum())
    for kind in ("average", "shuffle", "reverse", "drop"):
        fresh = load_weights(packaged(TABLE_1[2].name))
        predicted = changed(fresh, some, kind, 0, 0).argmax(dim=1)
        assert found[kind]["right"] == int((predicted == labels).sum()), kind
        assert found[kind]["changed"] == int((predicted != plain).sum()), kind
    fresh = load_weights(packaged(TABLE_1[2].name))
    for layer in (*fresh.summary.eva.looks, *fresh.summary.eva.recalls):
        layer.scale = 10
    with torch.no_grad():
        right = int((fresh(data.normalise(some)).argmax(dim=1) == labels).sum())
    assert found["curve"][-1] == [pytest.approx(10), right]


@torch.no_grad()
def test_what_it_says_in_words_is_what_was_counted(page, address, network, images, content):
    """The sentence under a *what if*, the titles of the looks, and what the two sliders say."""
    measured, told = content["measured"], page.locator(".effect")
    total, first = measured["images"], f"image={name(machine.FIRST)}"
    said = page.locator(".slider output")

    def share(count):
        return f"{100 * count / total:.1f} %"

    plain = network(data.normalise(images)).argmax(dim=1)
    for what in ("average", "shuffle", "reverse", "drop", "swap.2.truck", "swap.3.cat"):
        kind, *rest = what.split(".")
        found = measured["swap"][int(rest[0])] if rest else measured[kind]
        opened(page, address, f"{first}&{LAST}&whatif={what}")
        assert (
            f" Of {total} test pictures, {share(found['changed'])} get another answer; "
            f"{share(found['right'])} are right, not {share(measured['plain'])}."
        ) in told.inner_text()
        if not rest:
            fresh = load_weights(packaged(TABLE_1[2].name))
            moved = int((changed(fresh, images, kind, 0, 0).argmax(dim=1) != plain).sum())
            assert f"another answer for {moved} of these ten." in told.inner_text()
        opened(page, address, f"{first}&{LAST}&whatif={what}&scale=1")
        assert "get another answer" not in told.inner_text()
    for scale, right in measured["curve"][::10]:
        opened(page, address, f"{first}&scale={scale}")
        assert said.nth(0).inner_text().endswith(f" {share(right)} of {total} right")
    for run in content["training"]["runs"]:
        for frame in (run["frames"][1], run["frames"][-1]):
            opened(page, address, f"{first}&run={run['key']}&epoch={frame['epoch']}")
            assert told.inner_text() == frame["told"]
            assert (
                said.nth(1).inner_text()
                == f"epoch {frame['epoch']} {frame['accuracy']:.1f} % right"
            )
    (note,) = machine.seen(network, images[machine.FIRST : machine.FIRST + 1])
    for look, size in ((1, 8), (2, 16), (3, 24)):
        opened(page, address, f"{first}&look={look}")
        assert page.locator(".caption").inner_text() == (
            f"Ring of {size}, 4 heads: top {max(note['looks'][look]) / 100:.0f} %, mean spread {note['effective'][look]:.1f}"
        )


def without(runs, taken):
    """The runs but those that are taken out, as the page names them."""
    gone = [f"{row.experiment}.{row.seed}" in taken for row in runs.itertuples()]
    return runs[[not each for each in gone]]


TAKEN = (
    [],
    ["resnet20-small.2"],
    ["evanet20-small.0", "resnet20-small.0"],
    ["resnet20-small.0", "resnet20-small.1"],
)


@pytest.mark.parametrize("taken", TAKEN)
def test_is_it_real_computes_as_the_report_does(page, address, taken):
    taken = [f"{experiment(run.partition('.')[0]).name}.{run.partition('.')[2]}" for run in taken]
    pairs = [
        judged
        for family in (PAPER, EXPLAINING)
        for judged in judge(family, without(load_records(), taken))
    ]
    for number, expected in enumerate(pairs, 1):
        opened(page, address, f"pair={number}&without={'+'.join(taken)}")
        found = json.loads(page.evaluate(FOUND))
        assert found["verdict"] == expected.verdict
        assert found["corrected"] == pytest.approx(expected.p, rel=1e-6)
        for part in ("mean", "low", "high", "p"):
            value = getattr(expected.difference, part)
            assert found.get(part) == (None if value is None else pytest.approx(value, rel=1e-6)), (
                number,
                part,
            )


@pytest.mark.parametrize("split", ["test", "validation"])
def test_is_it_real_is_drawn_to_scale_and_says_what_it_draws(page, address, split):
    opened(page, address, f"pair=1&split={split}")
    drawn, runs, column = page.evaluate(DRAWN), load_records(), f"{split}_accuracy"
    by, (first, *_) = noise(runs, column), judge(PAPER, runs)
    found = first.difference if split == "test" else first.validation
    left, right, mean = (share - 50 for share in drawn["interval"])
    assert (right / mean, left / mean) == pytest.approx(
        (found.high / found.mean, found.low / found.mean), rel=1e-4
    )
    low, high = words.signed(found.low), words.signed(found.high)
    assert (
        f"{words.signed(found.mean)} points95 % from {low} to {high}, over the 3 seeds"
        in drawn["said"]
    )
    assert f"moves one run by {by.deviation:.2f} points" in drawn["said"]
    (value, place), *_, (last, end) = drawn["ticks"]
    shown = ["resnet20-small", "sanet20-small", *dict.fromkeys(sum(EXPLAINING, ()))]
    for name, (dots, mean, said) in zip(shown, drawn["rows"], strict=True):
        accuracies = by_seed(runs, column).loc[name].dropna()
        assert [seed for seed, *_ in dots] == [str(seed) for seed in accuracies.index]
        assert [each for _, each, _ in dots] == [f"{each:.2f} %" for each in accuracies]
        assert said == f"{accuracies.mean():.2f} %"
        for accuracy, at in zip(
            [*accuracies, accuracies.mean()], [*(dot[2] for dot in dots), mean], strict=True
        ):
            expected = place + (end - place) * (accuracy - value) / (last - value)
            assert at == pytest.approx(expected, abs=1e-3)


def test_validation_stands_beside_and_a_dot_is_taken_out_by_a_press(page, address):
    opened(page, address, "image=deer")
    before = json.loads(page.evaluate(FOUND))
    page.locator(".run").first.click()
    assert json.loads(page.evaluate(FOUND)) != before
    page.wait_for_function("location.hash.includes('without=')")
    page.get_by_role("button", name="all seeds back").click()
    assert json.loads(page.evaluate(FOUND)) == before
    page.get_by_role("radio", name="validation").check()
    expected = judge(PAPER, load_records())[0].validation
    assert json.loads(page.evaluate(FOUND))["mean"] == pytest.approx(expected.mean, rel=1e-6)


def test_every_state_is_in_the_address_and_comes_back_from_it(page, address):
    opened(page, address, "image=horse&look=1&scale=0.357")
    shares = page.evaluate(SHARES)
    page.locator(".photo").press("ArrowRight")
    page.wait_for_function("location.hash.includes('look=2')")
    assert "image=horse" in page.url and "scale=0.357" in page.url
    page.locator(".photo").press("ArrowLeft")
    page.wait_for_function("location.hash.includes('look=1')")
    assert page.evaluate(SHARES) == shares
    page.reload()
    page.locator("looking-machine[data-ready]").wait_for()
    assert page.evaluate(SHARES) == shares
    page.get_by_role("button", name="exchange a look").click()
    page.wait_for_function("location.hash.includes('whatif=swap')")
    once = page.evaluate("location.hash")
    page.get_by_role("button", name="exchange a look").click()
    page.wait_for_function("once => location.hash !== once", arg=once)
    shares = page.evaluate(SHARES)
    page.reload()
    page.locator("looking-machine[data-ready]").wait_for()
    assert page.evaluate(SHARES) == shares


@pytest.mark.parametrize(
    "state",
    [
        "image=nothing&look=9&scale=-1",
        "scale=abc&pair=99&without=x.1&whatif=",
        "a-heading",
        "card=0&epoch=x",
    ],
)
def test_an_address_that_says_nothing_of_it_changes_nothing(page, address, state):
    opened(page, address, state)
    assert page.locator(".film input").nth(machine.FIRST).is_checked()
    assert page.locator(".choices [aria-pressed=true]").count() == 0


def test_what_is_changed_is_the_network_at_hand_and_no_run_that_was_watched(page, address):
    for change in ("as trained", "average", "undo"):
        opened(page, address, f"image=deer&epoch=150&run=letter&at={change.replace(' ', '-')}")
        assert page.get_by_role("radio", name="letter").is_checked()
        slider = page.locator('[data-part="scale"]')
        assert slider.locator("output").inner_text() == "of the network as it came"
        assert slider.locator(".here").count() == 0
        page.get_by_role("button", name=re.compile(f"^{change}")).click()
        assert page.get_by_role("radio", name="scaled").is_checked()
        assert page.locator(".machine.letter").count() == 0
        assert "500 right" in slider.locator("output").inner_text()


def test_a_difference_without_runs_cannot_be_chosen(page, address, content):
    opened(page, address, "pair=2")
    page.wait_for_function(f"{INSIDE}.querySelector('.real').getBoundingClientRect().top < 400")
    ran = {each["name"] for each in content["real"]["networks"] if each["runs"]}
    pairs = [pair for family in content["real"]["families"] for pair in family["pairs"]]
    options = page.locator(".verdicts option")
    assert [option.is_enabled() for option in options.all()] == [{*pair} <= ran for pair in pairs]


def test_the_keyboard_reaches_everything(page, address):
    opened(page, address, "image=deer&look=2")
    slider = page.get_by_role("slider", name="How sharply does it choose?")
    before = slider.input_value()
    slider.press("ArrowRight")
    assert float(slider.input_value()) == pytest.approx(float(before) + 0.02, abs=1e-3)
    page.wait_for_function("!location.hash.includes('scale=0.25')")
    photo = page.locator(".photo")
    photo.press("ArrowRight")
    assert page.locator(".dot").nth(4).get_attribute("aria-current") == "step"
    photo.press("Space")
    assert page.get_by_role("button", name="pause").count() == 1
    page.get_by_role("button", name="3the softmax").press("Enter")
    assert page.locator(".card").is_visible() and page.locator(".lit").count() == 1
    page.keyboard.press("Escape")
    assert not page.locator(".card").is_visible()


def test_it_plays_by_itself_unless_motion_is_unwelcome(new_page, address):
    page = new_page(viewport={"width": 1280, "height": 800})
    page.goto(address)
    page.locator(".dot[aria-current]").nth(0).wait_for()
    page.wait_for_function(
        "() => document.querySelector('looking-machine').shadowRoot.querySelectorAll('.dot.done').length >= 3"
    )
    calm = new_page(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
    calm.goto(address)
    calm.locator("looking-machine[data-ready]").wait_for()
    calm.wait_for_timeout(1000)  # longer than the 900 ms after which it would play
    assert calm.locator(".dot.done").count() == 4
    assert "#" not in calm.url
    play, dots = calm.get_by_role("button", name="play", exact=True), calm.locator(".dot.done")
    play.click()  # to the last step, and from there once more
    expect(dots).to_have_count(5)
    play.click()
    expect(dots).to_have_count(1)


@pytest.mark.parametrize("part", [".photo", "input[type=range]", ".answer ol"])
def test_a_swipe_scrolls_and_changes_nothing(new_page, address, part):
    page = new_page(
        viewport={"width": 390, "height": 844},
        has_touch=True,
        is_mobile=True,
        reduced_motion="reduce",
    )
    page.goto(address)
    page.locator("looking-machine[data-ready]").wait_for()
    shares = page.evaluate(SHARES)
    page.locator(part).first.scroll_into_view_if_needed()
    top = page.evaluate("scrollY")
    swipe(page, page.locator(part).first)
    page.wait_for_function(f"scrollY > {top + 60}")
    assert page.evaluate(SHARES) == shares


@pytest.mark.parametrize(("width", "height", "scheme"), [(1280, 800, "light"), (390, 844, "dark")])
def test_it_is_accessible_and_fits(new_page, address, width, height, scheme):
    page = new_page(
        viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
    )
    for state in (
        "image=deer&look=2",
        "image=horse&look=3&whatif=swap.2.truck&scale=1&card=4",
        "card=7&without=resnet20-small.0",
    ):
        opened(page, address, state)
        assert not violations(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_first_screen_holds_the_photograph_the_notes_and_the_bars(new_page, address):
    for width, height in ((1280, 800), (390, 844)):
        page = new_page(viewport={"width": width, "height": height}, reduced_motion="reduce")
        page.goto(address)
        page.locator("looking-machine[data-ready]").wait_for()
        top = page.locator(".machine").bounding_box()["y"]
        for part in (".photo", ".notebook", ".answer"):
            box = page.locator(part).bounding_box()
            assert box["y"] + box["height"] - top < height - 150, (width, part)


def test_without_scripts_a_still_and_the_questions_stay(browser, address):
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(address)
        assert page.locator("looking-machine [role=img] svg").is_visible()
        assert page.locator("looking-machine ol a").count() == 9


def test_the_last_card_is_of_the_full_trainings(content):
    by, card = by_seed(load_records()), content["cards"][-1]
    both = by.loc[[*EXPLAINING[0]]].dropna(axis="columns")
    eva, alone = both.mean(axis="columns")
    assert (
        f"alone has {alone:.1f} % of the test pictures right, EVA {eva:.1f}, over" in card["tell"]
    )
    assert f"over {both.shape[1]} trainings" in card["tell"]
    names = ("supported", "not supported", "not distinguishable")
    assert names[card["right"]] == judge(EXPLAINING, load_records())[0].verdict


def test_a_card_asks_lights_up_a_part_and_opens_a_chapter(page, address, content):
    for number, card in enumerate(content["cards"], 1):
        opened(page, address, f"card={number}")
        lit = page.locator(f'.lit[data-part="{card["lights"]}"]')
        assert lit.count() == 1
        told = lit.locator(".caption, output, .stops small, .share").filter(has_text="%")
        before = [each for each in told.all() if each.is_visible()]
        assert not before or card["lights"] == "real"
        page.locator(".options button").nth(card["right"]).click()
        for part in card["state"].split("&"):
            page.wait_for_function("part => location.hash.includes(part)", arg=part)
        assert page.locator(".told").inner_text().startswith("Yes.")
        assert page.locator(".told a").get_attribute("href") == card["href"]
