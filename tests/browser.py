"""TensorBoard and headless chromium, for browser tests and for the README's pictures."""

import contextlib
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.parse

_ARGUMENTS = (
    "headless",
    "no-sandbox",
    "disable-gpu",
    "disable-quic",
    "no-first-run",
    "disable-background-networking",
    "disable-component-update",
    "disable-sync",
)
# By default TensorBoard omits some points. 0 should mean all, but gives the page none.
_ALL = ",".join(
    f"{kind}=99999" for kind in ("scalars", "images", "text", "histograms", "pr_curves")
)
_LOOK_EVERYWHERE = """
const [selector] = arguments, found = [];
const look = (root) => root.querySelectorAll("*").forEach((element) => {
  if (element.matches(selector) && element.getBoundingClientRect().width > 0) found.push(element);
  if (element.shadowRoot) look(element.shadowRoot);
});
look(document);
return found;
"""


def browser_is_here():
    """Whether chromium and its driver are installed."""
    return all(shutil.which(program) for program in ("chromium", "chromedriver"))


@contextlib.contextmanager
def browser(*, width=1300, height=700):
    """The driver of a headless chromium with an empty profile."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        arguments = (*_ARGUMENTS, f"user-data-dir={profile}", f"window-size={width},{height}")
        for argument in arguments:
            options.add_argument(f"--{argument}")
        service = webdriver.ChromeService(shutil.which("chromedriver"))
        driver = webdriver.Chrome(options=options, service=service)
        try:
            yield driver
        finally:
            driver.quit()


@contextlib.contextmanager
def tensorboard(logdir):
    """The address of a TensorBoard that serves a directory and rereads it each second."""
    options = {"logdir": logdir, "port": 0, "reload_interval": 1, "samples_per_plugin": _ALL}
    command = [sys.executable, "-m", "tensorboard.main"]
    command += [f"--{name}={value}" for name, value in options.items()]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            found = (re.search(r"http://\S+:(\d+)/", line) for line in server.stderr)
            yield f"http://127.0.0.1:{next(match[1] for match in found if match)}/"
        finally:
            server.terminate()


def elements(driver, selector):
    """The visible elements, also inside web components; a selector searches one component."""
    return driver.execute_script(_LOOK_EVERYWHERE, selector)


def errors(driver):
    """The page's errors since the last call."""
    return [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]


def wait_for(driver, ready, *, patience_s=60):
    """Wait until ``ready(driver)`` is true; return its value."""
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(driver, patience_s, poll_frequency=0.2).until(ready)


class TensorBoardPage:
    """TensorBoard in a browser.

    Args:
        driver: selenium's.
        address: TensorBoard's.
    """

    def __init__(self, driver, address):
        self.driver = driver
        self._address = address

    def open(self, dashboard, **query):
        """Open a dashboard again and drop earlier errors."""
        self.driver.switch_to.default_content()
        self.driver.get("about:blank")
        errors(self.driver)
        self.driver.get(f"{self._address}?{urllib.parse.urlencode(query)}#{dashboard}")

    def enter_frame(self):
        """Switch to the frame of the page, or of the current frame."""
        (frame,) = wait_for(self.driver, lambda driver: elements(driver, "iframe"))
        self.driver.switch_to.frame(frame)

    def click(self, selector, text=None, *, number=0):
        """Click on an element as soon as it exists, anywhere; None: with any text."""

        def found(driver):
            found = elements(driver, selector)
            return [e for e in found if text in (None, " ".join(e.text.split()))][number:]

        element = wait_for(self.driver, found)[0]
        self.driver.execute_script("arguments[0].click()", element)

    def texts(self, selector, attribute="innerText"):
        """The texts of the visible elements, or another attribute."""
        script = "return arguments[0].map((e) => String(e[arguments[1]]).trim())"
        return self.driver.execute_script(script, elements(self.driver, selector), attribute)


def picture_at_rest(driver):
    """A PNG of the page once it no longer changes."""
    last = []

    def is_still(driver):
        last.append(driver.get_screenshot_as_png())
        return len(last) > 5 and len(set(last[-5:])) == 1

    wait_for(driver, is_still)
    return last[-1]
