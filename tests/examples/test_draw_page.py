"""The page in a browser: drawing, dropping a photo, and use without a mouse."""

import json

import numpy as np
import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from mnist_keras.probabilities import probabilities
from tests.browser import errors, wait_for
from tests.examples.drawing import Hand, seen, strokes_of

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture
def hand(page):
    return Hand(page)


def at_rest(driver):
    """Wait for the answer to the newest picture."""
    driver.execute_async_script(
        "const [done] = arguments;"
        "const look = () => answer.ariaBusy === 'true' ? setTimeout(look, 10) : done();"
        "look();"
    )


def text(driver, name):
    return driver.execute_script("return document.getElementById(arguments[0]).textContent", name)


def bars(driver):
    """The ten probabilities, as lengths of the bars."""
    lengths = driver.execute_script(
        "return [...document.querySelectorAll('.bar')].map((bar) => bar.style.width)"
    )
    return np.array([float(length.rstrip("%")) / 100 for length in lengths])


def boxes(driver):
    """(left, top, right, bottom) of each digit's box, in shares of the picture."""
    return driver.execute_script(
        "const place = stage.getBoundingClientRect();"
        "return [...document.querySelectorAll('.box')].map((box) => {"
        "  const b = box.getBoundingClientRect();"
        "  return [(b.left - place.left) / place.width, (b.top - place.top) / place.height,"
        "    (b.right - place.left) / place.width, (b.bottom - place.top) / place.height]; })"
    )


def choose(driver, path):
    driver.execute_script("stage.scrollIntoView()")
    driver.find_element("id", "file").send_keys(str(path))


def phone(driver, width):
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 740, "deviceScaleFactor": 2, "mobile": True},
    )
    driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})


def test_a_drawing_is_read_and_the_networks_input_is_shown(page, hand, network):
    guesses, summaries, lengths, images = [], [], [], []
    for digit in range(10):
        page.execute_script("document.getElementById('clear').click()")
        hand.draw(strokes_of(digit))
        at_rest(page)
        guesses.append(text(page, "guess"))
        summaries.append(text(page, "summary"))
        lengths.append(bars(page))
        images += list(seen(page))
    scores = network.predict_on_batch(np.array(images) / np.float32(255))
    expected = probabilities(scores, loss="categorical_crossentropy")
    np.testing.assert_allclose(lengths, expected, atol=2e-3)
    assert summaries == [f"{100 * most:.0f} % sure" for most in expected.max(1)]
    assert guesses == [str(digit) for digit in range(10)]


def test_answers_appear_while_drawing_for_the_newest_drawing_only(page, hand):
    page.execute_script(
        "const send = fetch; window.most = window.now = window.sent = 0; window.guesses = [];"
        "window.fetch = async (...given) => {"
        "  most = Math.max(most, ++now); sent++;"
        "  try { return await send(...given); } finally { now--; } };"
        "new MutationObserver(() => guesses.push(guess.textContent))"
        "  .observe(guess, {childList: true});"
    )
    hand.draw(strokes_of(5)[:1])
    shown_before = page.execute_script("return guesses.length")
    hand.draw(strokes_of(5)[1:])
    at_rest(page)
    most, sent = page.execute_script("return [most, sent]")
    assert most == 1
    assert 2 <= sent <= 70
    assert shown_before
    assert text(page, "guess") == "5"


def test_a_finger_draws_on_a_phone_without_sideways_scrolling(page, hand, photo):
    for width in (380, 360):
        phone(page, width)
        page.refresh()
        widths = [page.execute_script("return document.documentElement.scrollWidth")]
        hand.draw(strokes_of(3), by="finger")
        at_rest(page)
        assert text(page, "guess") == "3"
        assert page.execute_script("return scrollY") == page.execute_script(
            "stage.scrollIntoView({block: 'center'}); return scrollY"
        )
        widths.append(page.execute_script("return document.documentElement.scrollWidth"))
        choose(page, photo)
        wait_for(page, boxes)
        widths.append(page.execute_script("return document.documentElement.scrollWidth"))
        assert widths == [width] * 3


def test_the_keyboard_is_enough(page):
    def press(*keys):
        ActionChains(page).send_keys(*keys).perform()

    def focused():
        return page.switch_to.active_element.get_attribute("id")

    press(Keys.TAB)
    assert focused() == "pad"
    press(*[Keys.ARROW_UP] * 14, " ", *[Keys.ARROW_DOWN] * 28)
    at_rest(page)
    assert text(page, "guess") == "1"
    press(" ", *[Keys.PAGE_UP] * 2, " ", *[Keys.HOME] * 2, Keys.ESCAPE)
    at_rest(page)
    press(Keys.TAB)
    assert focused() == "undo"
    drawn = seen(page)
    press(Keys.ENTER)
    at_rest(page)
    assert not np.array_equal(seen(page), drawn)
    assert text(page, "guess") == "1"
    press(Keys.TAB)
    assert focused() == "clear"
    press(Keys.TAB)
    assert focused() == "file"
    press(Keys.TAB)
    assert page.switch_to.active_element.get_attribute("aria-label").startswith("Digit 1: 1, ")
    ActionChains(page).key_down(Keys.CONTROL).send_keys("z").key_up(Keys.CONTROL).perform()
    at_rest(page)
    assert text(page, "guess") == "–"
    assert page.find_element("id", "undo").get_property("disabled")


def test_a_screen_reader_announces_the_answer_when_drawing_pauses(page, hand):
    status = page.find_element("css selector", "[role=status]")
    hand.draw(strokes_of(7))
    wait_for(page, lambda driver: "sure" in status.get_property("textContent"))
    assert status.get_property("textContent") == f"7, {text(page, 'summary')}"


def test_several_digits_drawn_side_by_side_are_separated(page, hand):
    for place, digit in ((0.0, 1), (0.5, 7)):
        hand.draw([points * (0.5, 0.6) + (place, 0.2) for points in strokes_of(digit)])
    at_rest(page)
    assert text(page, "summary") == "2 digits: 1 7"
    first, second = boxes(page)
    assert first[2] < second[0]
    for left, top, right, bottom in (first, second):
        assert 0 < left < right < 1
        assert 0.2 < top < bottom < 0.85


@pytest.mark.parametrize("way", ["chosen", "dropped"])
def test_a_photo_is_read_and_its_digits_are_boxed(way, page, hand, photo):
    hand.draw(strokes_of(7))
    at_rest(page)
    if way == "chosen":
        choose(page, photo)
    else:
        page.execute_script(
            "const bytes = Uint8Array.from(arguments[0]);"
            "const carried = new DataTransfer();"
            "carried.items.add(new File([bytes], 'photo.png', {type: 'image/png'}));"
            "const drop = {dataTransfer: carried, bubbles: true, cancelable: true};"
            "document.body.dispatchEvent(new DragEvent('drop', drop));",
            list(photo.read_bytes()),
        )
    places = wait_for(page, boxes)
    assert text(page, "summary") == "4 digits: 7 2 0 1"
    assert len(seen(page)) == 4
    for number, (left, top, right, bottom) in enumerate(places):
        assert number / 4 < left < right < (number + 1) / 4
        assert 0 < top < 0.2
        assert 0.8 < bottom < 1
    assert text(page, "guess") == "7"
    page.find_elements("css selector", "#seen button")[1].click()
    assert text(page, "guess") == "2"
    page.find_elements("css selector", ".box")[2].click()
    assert text(page, "guess") == "0"
    assert bars(page).argmax() == 0
    page.find_element("id", "clear").click()
    at_rest(page)
    assert page.find_element("id", "pad").is_displayed()
    assert text(page, "guess") == "7"
    assert boxes(page) == []


def test_an_unreadable_photo_is_reported_and_the_drawing_stays(page, hand, tmp_path):
    hand.draw(strokes_of(7))
    (tmp_path / "text.png").write_text("seven\n")
    (tmp_path / "large.jpg").write_bytes(bytes(20_000_001))
    for name, problem in {
        "text.png": "The file is not a photo. Received: bytes 73 65 76 65 6e 0a. "
        "Expected: a photo (JPEG, PNG, HEIC, WebP, GIF or BMP).",
        "large.jpg": "The photo is too large: at most 20 MB.",
    }.items():
        choose(page, tmp_path / name)
        wait_for(page, lambda driver, problem=problem: text(driver, "problem") == problem)
        at_rest(page)
        assert text(page, "guess") == "7"
    (refused,) = errors(page)
    assert "422" in refused["message"]


def test_a_stopped_server_is_reported(page, hand):
    page.execute_script("window.fetch = () => Promise.reject(new TypeError('gone'))")
    hand.draw(strokes_of(1))
    at_rest(page)
    assert text(page, "problem") == "The server does not answer: is it still running?"


def test_no_other_host_is_contacted(page, hand, server):
    hand.draw(strokes_of(1))
    at_rest(page)
    asked = page.execute_script(
        "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    )
    assert {address.rpartition("/")[0] for address in asked} == {server.address}
    assert {f"{server.address}/{name}" for name in ("page.js", "style.css", "drawing")} <= {*asked}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_enough_contrast_in_light_and_dark_mode(scheme, page, hand):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    hand.draw(strokes_of(1))
    at_rest(page)
    pairs = json.loads(
        page.execute_script(
            "const ground = (e) => { const c = getComputedStyle(e).backgroundColor;"
            "  return c === 'rgba(0, 0, 0, 0)' ? ground(e.parentElement) : c; };"
            "const texts = [...document.querySelectorAll('main *')]"
            "  .filter((e) => e.innerText?.trim() && !e.disabled);"
            "document.documentElement.style.backgroundColor = 'var(--ground)';"
            "return JSON.stringify(texts.map((e) => [getComputedStyle(e).color, ground(e)]"
            "  .map((c) => c.match(/[\\d.]+/g).slice(0, 3).map(Number))))"
        )
    )
    assert len(pairs) > 30
    lights = np.array([[_luminance(colour) for colour in pair] for pair in pairs])
    contrasts = (lights.max(1) + 0.05) / (lights.min(1) + 0.05)
    assert contrasts.min() >= 4.5
    assert (np.median(lights[:, 1]) > 0.5) == (scheme == "light")


def _luminance(colour):
    """The relative luminance of an sRGB colour, 0 to 1, defined by WCAG 2."""
    parts = np.array(colour) / 255
    parts = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return parts @ (0.2126, 0.7152, 0.0722)
