"""The notebook in a browser: it opens, follows its controls, and says what is wrong with bad input."""

import re
import time

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from pjap_bench.notebook.export import export
from tests.notebook.test_notebook import STAMP

# What Chromium may say: marimo fetches two pictures ahead, for the case that its server goes away.
EXPECTED_ON_THE_CONSOLE = [r"The resource \S+/assets/(noise|gradient)-\S+\.png was preloaded using link preload but not used"]

PICTURES = "return [...document.querySelectorAll('.study img')].filter(i => i.complete && i.naturalWidth > 400).map(i => i.src)"
# marimo's controls live in shadow trees; the sidebar is in the page twice, of which one is to be seen.
CONTROL = """
for (const host of document.querySelectorAll(arguments[0])) {
    const label = host.shadowRoot?.querySelector('label'), control = host.shadowRoot?.querySelector(arguments[1]);
    const said = label?.textContent.replace(/\\s+/g, ' ').trim();
    if (control && said?.startsWith(arguments[2]) && control.getClientRects().length) return control;
}
return null;
"""


class Page:
    """What a person sees and does."""

    def __init__(self, driver, address: str, width: int = 1400):
        self.driver = driver
        driver.set_window_size(width, 1000)
        driver.get_log("browser")  # of the page before
        driver.get(address)
        self.wait(lambda: len(self.pictures()) == 6 and self.text())

    def wait(self, true, seconds: float = 60) -> None:
        until = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < until, self.driver.find_element(By.TAG_NAME, "body").text
            time.sleep(0.05)

    def pictures(self) -> list[str]:
        return self.driver.execute_script(PICTURES)

    def text(self) -> str:
        # An update replaces the element: no text between the two.
        return self.driver.execute_script("return document.querySelector('.study')?.innerText ?? ''")

    def control(self, kind: str, inner: str, label: str):
        found = []
        self.wait(lambda: found.append(self.driver.execute_script(CONTROL, kind, inner, label)) or found[-1] is not None)
        return found[-1]

    def choose(self, label: str, option: str) -> None:
        Select(self.control("marimo-dropdown", "select", label)).select_by_visible_text(option)

    def complaints(self) -> list[str]:
        """Warnings and errors on the browser's console that nobody expects."""
        entries = [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in ("WARNING", "SEVERE")]
        return [message for message in entries if not any(re.search(known, message) for known in EXPECTED_ON_THE_CONSOLE)]


@pytest.fixture
def page(browser, served):
    opened = Page(browser, served)
    yield opened
    assert opened.complaints() == []


def test_it_opens_with_all_pictures_and_fetches_nothing_from_elsewhere(page, served):
    page.wait(lambda: "BRUD with PJAP ends at" in (text := page.text()) and "The closed form of section 3.2" in text)
    fetched = page.driver.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert len(fetched) > 10
    assert {name for name in fetched if not name.startswith((served, "data:", "blob:"))} == set()
    assert "mo.sidebar" not in page.driver.find_element(By.TAG_NAME, "body").text  # the code comes on demand


def test_a_moved_slider_changes_the_pictures(page):
    before, said = page.pictures(), page.text()
    slider = page.control("marimo-slider", "[role=slider]", "Centre x")
    value = int(slider.get_attribute("aria-valuenow"))
    for _ in range(5):
        slider.send_keys(Keys.ARROW_LEFT)
    after = []

    def changed() -> bool:
        """All six pictures are there, and the path and BRUD, which depend on the data, are new."""
        after[:] = page.pictures()
        return len(after) == 6 and after[0] != before[0] and after[4] != before[4]

    page.wait(changed)
    page.wait(lambda: page.text() not in ("", said))
    assert int(slider.get_attribute("aria-valuenow")) == value - 5
    assert after[3] == before[3]  # the true gradient does not depend on the data


def test_a_slider_can_be_dragged_on_after_its_first_change(page):
    slider = page.control("marimo-slider", "[role=slider]", "α")
    said = page.text()
    slider.send_keys(Keys.ARROW_LEFT)
    page.wait(lambda: page.text() not in ("", said))
    # The sidebar was not drawn anew: the same element still has the focus and takes the next key.
    value = int(slider.get_attribute("aria-valuenow"))
    slider.send_keys(Keys.ARROW_LEFT)
    assert int(slider.get_attribute("aria-valuenow")) == value - 1


def test_the_menus(page):
    page.choose("Reward", "Sign agreement")
    page.wait(lambda: page.text().startswith("R = xy, learnt from 500 Gaussian points"))
    page.choose("Sampler", "uniform")
    page.wait(lambda: len(page.pictures()) == 5 and "PJAP ends" not in page.text())
    page.choose("As in", "Figure 3: the data's mean")
    page.wait(lambda: "500 uniform points" in page.text() and "ends at (1.100, −0.300), outside the square shown" in page.text())
    page.choose("Learns from", "a replay buffer")
    page.wait(lambda: "learnt from a replay buffer of 400" in page.text())


def test_bad_coefficients_are_told_and_can_be_corrected(page):
    page.choose("Reward", "Own coefficients")
    area = page.control("marimo-text-area", "textarea", "Coefficients")
    everything = Keys.CONTROL + "a" + Keys.NULL
    area.send_keys(everything + "[[1, 2], [3]]")
    page.wait(lambda: "ragged, with rows of 2, 1 numbers" in page.text())
    assert page.pictures() == []
    assert "Traceback" not in page.driver.find_element(By.TAG_NAME, "body").text
    area.send_keys(everything + "[[0, 0], [0, 2]]")
    page.wait(lambda: page.text().startswith("R = 2xy") and len(page.pictures()) == 6)


def test_a_narrow_window_has_everything_within_its_width(browser, served):
    page = Page(browser, served, width=500)
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    widths = browser.execute_script("return [...document.querySelectorAll('.study img')].map(image => image.clientWidth)")
    assert min(widths) > 350  # one below the other, large enough to be read
    assert page.complaints() == []


def test_the_static_copy_from_a_file_without_a_network(browser, games, tmp_path):
    export(tmp_path / "notebook.html", games, STAMP)
    browser.get_log("browser")
    browser.execute_cdp_cmd("Network.enable", {})
    conditions = {"latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": True} | conditions)
    try:
        browser.set_window_size(1400, 1000)
        browser.get((tmp_path / "notebook.html").as_uri())
        assert len(browser.execute_script(PICTURES)) == len(browser.find_elements(By.TAG_NAME, "img")) > 30
        assert "BRUD with PJAP ends at" in browser.find_element(By.TAG_NAME, "main").text
        fetched = browser.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
        assert [name for name in fetched if not name.startswith("data:")] == []
        assert browser.get_log("browser") == []
    finally:
        browser.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": False} | conditions)
