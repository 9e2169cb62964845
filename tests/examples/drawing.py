"""Hand-drawn digits, and a simulated hand that draws them on the page."""

import base64

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.actions.pointer_input import PointerInput

# The strokes of each digit, through points (x, y) in a square of side 1.
STROKES = {
    0: ["52,12 34,18 24,38 25,64 36,84 54,88 70,76 76,52 70,28 56,14 48,12"],
    1: ["40,28 54,14 54,14 53,40 52,64 51,88"],
    2: ["26,32 34,17 52,12 68,20 70,36 58,54 40,70 26,86 26,86 48,85 76,86"],
    3: ["28,20 44,12 64,16 69,30 60,43 44,48 44,48 62,51 73,65 66,81 48,89 27,83"],
    4: ["36,14 30,36 24,56 24,56 48,56 78,53", "62,28 60,52 57,90"],
    5: ["34,16 32,32 30,46 30,46 46,42 64,48 71,63 64,80 46,88 27,82", "34,16 54,15 72,13"],
    6: ["62,12 44,24 32,46 27,68 36,86 54,88 67,76 64,60 48,55 31,66"],
    7: ["25,18 46,17 74,16 74,16 62,38 51,62 44,89"],
    8: ["66,22 50,12 35,22 38,37 54,48 69,62 66,81 48,88 32,78 35,62 52,48 66,36 66,22"],
    9: ["68,28 54,13 36,18 29,35 38,49 56,47 67,30 67,30 66,52 62,72 57,90"],
}


def strokes_of(digit):
    """The strokes of a digit, each an array (n, 2) of points in a square of side 1."""
    return [
        np.array([point.split(",") for point in stroke.split()], float) / 100
        for stroke in STROKES[digit]
    ]


def by_hand(digit, random):
    """The strokes of a digit with random size, position, slant and tremor."""
    slant, turn = random.uniform(-0.15, 0.25), random.uniform(-0.15, 0.15)
    size, place = (
        random.uniform(0.45, 1.0, 2) * random.uniform(0.7, 1),
        random.uniform(-0.1, 0.1, 2),
    )
    matrix = [[np.cos(turn), np.sin(turn)], [-np.sin(turn) - slant, np.cos(turn)]]
    strokes = []
    for points in strokes_of(digit):
        points = (points - 0.5) * size @ np.array(matrix) + 0.5 + place
        strokes.append(np.clip(points + random.normal(0, 0.008, points.shape), 0.02, 0.98))
    return strokes


def curve(points, *, dots=3):
    """A smooth line through the points, as a pointer reports it; a repeated point is a corner.

    Source: Catmull and Rom, "A class of local interpolating splines", 1974.
    """
    points = np.concatenate([points[:1], points, points[-1:]])
    share = np.linspace(0, 1, dots, endpoint=False)[:, None]
    line = [
        b
        + share * (c - a) / 2
        + share**2 * (a - 2.5 * b + 2 * c - d / 2)
        + share**3 * (-a + 3 * b - 3 * c + d) / 2
        for a, b, c, d in zip(points, points[1:], points[2:], points[3:], strict=False)
    ]
    return np.clip(np.concatenate([*line, points[-1:]]), 0, 1)


def photo_of(digits, *, side=200):
    """A photo of digits in a line, dark on a sheet that is half in the shade.

    Args:
        digits: from left to right.
        side: of the square of each digit, in pixels.
    """
    sheet = Image.new("L", (side * len(digits), side), 0)
    draw = ImageDraw.Draw(sheet)
    for number, digit in enumerate(digits):
        for points in strokes_of(digit):
            points = (curve(points, dots=20) + np.array([number, 0])) * side
            draw.line([tuple(point) for point in points.tolist()], 255, side // 20, "curve")
    ink = np.asarray(sheet.filter(ImageFilter.GaussianBlur(1.5)), np.float32) / 255
    light = np.linspace(215, 130, sheet.width) + np.random.default_rng(0).normal(0, 2, ink.shape)
    return Image.fromarray((light * (1 - 0.7 * ink)).astype(np.uint8))


class Hand:
    """A hand that draws on the page with a mouse, a finger or the keyboard.

    Args:
        driver: selenium's, with the page open.
    """

    def __init__(self, driver):
        self._driver = driver

    def draw(self, strokes, *, by="mouse"):
        """Draw strokes in a square of side 1 onto the complete area."""
        place = self._driver.execute_script(
            "pad.scrollIntoView({block: 'center'});"
            "const p = pad.getBoundingClientRect(); return [p.left, p.top, p.width, p.height];"
        )
        corner, size = np.array(place[:2]), np.array(place[2:])
        pointer = PointerInput("touch" if by == "finger" else "mouse", by)
        actions = ActionBuilder(self._driver, mouse=pointer, duration=0)
        for points in strokes:
            points = corner + curve(np.asarray(points, float)) * size
            for number, (x, y) in enumerate(points.round().astype(int).tolist()):
                actions.pointer_action.move_to_location(x, y)
                if number == 0:
                    actions.pointer_action.pointer_down()
            actions.pointer_action.pointer_up()
        actions.perform()


def seen(driver):
    """uint8 (n, 28, 28): the network's input images that the page shows."""
    pixels = driver.execute_script(
        "return [...document.querySelectorAll('#seen canvas')].map((canvas) => {"
        "  const {data} = canvas.getContext('2d').getImageData(0, 0, 28, 28);"
        "  return btoa(String.fromCharCode(...data.filter((_, i) => i % 4 === 0)));"
        "})"
    )
    return np.array(
        [np.frombuffer(base64.b64decode(each), np.uint8).reshape(28, 28) for each in pixels]
    )
