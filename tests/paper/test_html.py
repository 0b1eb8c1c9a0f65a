"""The derivation in a real browser, headless Chromium, driven over WebDriver's plain HTTP."""

import itertools
import json
import re
import subprocess
import time
import urllib.request

import pytest

from derive.packages.emit import render
from derive.paper.formats.mathml import mathml
from derive.problems.network import Network
from tests.helpers.programs import PATIENCE, needs

NETWORKS = {
    "default": Network(),
    "one layer": Network(layers=(3, 1)),
    "relu, mean": Network(layers=(3, 4, 2), activation="relu", output_activation="tanh", reduction="mean"),
    "deep": Network(layers=(4, 5, 6, 5, 4, 3, 2), activation="tanh"),
    "coupled rows": Network(layers=(3, 4, 5, 2), activation="gelu_tanh", loss="cross_entropy", reduction="mean"),
    "wide": Network(layers=(784, 1024, 1024, 10), activation="relu"),
}
pytestmark = needs("chromium", "chromedriver")


class Browser:
    """As much of a WebDriver session as these tests need."""

    def __init__(self, port: str) -> None:
        self.root = f"http://127.0.0.1:{port}"
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
        options = {"goog:chromeOptions": {"args": arguments}, "goog:loggingPrefs": {"browser": "ALL"}}
        session = self.call("POST", "/session", {"capabilities": {"alwaysMatch": options}})
        self.root += f"/session/{session['sessionId']}"

    def call(self, method: str, path: str, body: dict | None = None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.root + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)["value"]

    def cdp(self, command: str, **parameters):
        return self.call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def size(self, width: int, height: int) -> None:
        self.cdp(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )

    def open(self, path) -> None:
        self.call("POST", "/url", {"url": path.as_uri()})

    def js(self, script: str, *arguments):
        return self.call("POST", "/execute/sync", {"script": f"return {script}", "args": list(arguments)})

    def point_at(self, css: str) -> None:
        script = """(() => {
            const element = document.querySelector(arguments[0]);
            element.scrollIntoView({block: 'center', behavior: 'instant'});
            const box = element.getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2];
        })()"""
        x, y = self.js(script, css)
        move = {"type": "pointerMove", "duration": 0, "x": round(x), "y": round(y)}
        away = {**move, "x": 1, "y": 1}
        self.call("POST", "/actions", {"actions": [{"type": "pointer", "id": "mouse", "actions": [away, move]}]})

    def press(self, *held: str) -> None:
        keys = [{"type": "keyDown", "value": key} for key in held]
        keys += [{"type": "keyUp", "value": key} for key in reversed(held)]
        self.call("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": keys}]})

    def until(self, condition: str) -> bool:
        """Whether a condition comes true while the page moves; two seconds are more than any move takes."""
        for _ in range(40):
            if self.js(condition):
                return True
            time.sleep(0.05)
        return False

    def messages(self) -> list[str]:
        return [entry["message"] for entry in self.call("POST", "/se/log", {"type": "browser"})]


@pytest.fixture(scope="module")
def browser():
    driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=-1, stderr=subprocess.DEVNULL, text=True)
    try:
        port = next(filter(None, (re.search(r"successfully on port (\d+)", line) for line in driver.stdout)))[1]
        session = Browser(port)
        yield session
        session.call("DELETE", "")
    finally:
        driver.terminate()
        driver.communicate(timeout=PATIENCE)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    paths = {}
    for number, (name, network) in enumerate(NETWORKS.items()):
        paths[name] = folder / f"{number}.html"
        paths[name].write_text(render(network, ["derivation.html"])["derivation.html"], encoding="utf-8")
    return paths


@pytest.mark.parametrize("name", NETWORKS)
def test_the_page_opens_without_errors_and_fits_a_phone(browser, pages, name):
    for width in (390, 1200):
        browser.size(width, 844)
        browser.open(pages[name])
        assert browser.js("document.documentElement.scrollWidth") <= width
    assert browser.messages() == []
    boxes = "[...document.querySelectorAll('main math')].map(m => m.getBoundingClientRect())"
    assert browser.js(f"{boxes}.length") > 50
    assert browser.js(f"{boxes}.filter(b => b.width < 1 || b.height < 1).length") == 0


def test_what_is_wider_than_a_phone_can_be_scrolled_to(browser, pages):
    browser.size(390, 844)
    browser.open(pages["default"])
    hidden = """(() => [...document.querySelectorAll('main math')].filter(m => {
        if (m.getBoundingClientRect().right <= 390) return false;
        for (let e = m.parentElement; e; e = e.parentElement)
            if (getComputedStyle(e).overflowX === 'auto') return false;
        return true; }).map(m => m.textContent))()"""
    assert browser.js(hidden) == []


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_cut_off_above_or_below_and_what_is_cut_off_aside_shows_it(browser, pages, width):
    """Brackets keep their feet; what goes on has a shadow at its edge and can be scrolled with the keyboard."""
    boxes = "[...document.querySelectorAll('main *')].filter(e => getComputedStyle(e).overflowX === 'auto')"
    wide = f"{boxes}.filter(e => e.scrollWidth > e.clientWidth)"
    browser.size(width, 844)
    for name, page in pages.items():
        browser.open(page)
        assert browser.js(f"{boxes}.length") > 50
        cut = f"{boxes}.filter(e => e.scrollHeight > e.clientHeight).map(e => e.textContent)"
        assert browser.js(cut) == [], name
        assert browser.js(f"{wide}.filter(e => e.tabIndex !== 0).map(e => e.textContent)") == [], name
        plain = f"{wide}.filter(e => !getComputedStyle(e).backgroundImage.includes('gradient'))"
        assert browser.js(f"{plain}.map(e => e.textContent)") == [], name
    if width == 390:
        browser.open(pages["default"])
        assert browser.js(f"{wide}.filter(e => e.matches('.values *')).length") > 3


def test_pointing_at_a_symbol_says_what_it_is(browser, pages):
    browser.size(1200, 900)
    browser.open(pages["default"])
    assert browser.js("document.getElementById('tip').hidden")
    browser.point_at("#B6 [data-symbol=W2]")
    text = browser.js("document.getElementById('tip').innerText")
    assert "weights of layer 2" in text and "10 by 10" in text and "W2" in text
    assert browser.js("document.querySelectorAll('.same').length") > 3
    browser.press("\ue00c")
    assert browser.js("document.getElementById('tip').hidden")
    browser.js("document.querySelector('#B1 [data-symbol=Delta3]').dispatchEvent(new Event('click', {bubbles: true}))")
    assert "error of layer 3" in browser.js("document.getElementById('tip').innerText")
    assert browser.js("document.getElementById('tip').getBoundingClientRect().right") <= 1200


def test_what_the_tips_say_is_reached_by_one_tab_stop(browser, pages):
    """The button lists the symbols of the step in view, moves the focus there, and takes it back."""
    browser.size(390, 844)
    browser.open(pages["default"])
    listed, focused = "[...document.querySelectorAll('#list [data-term]')]", "document.activeElement.id"
    for step, count in (("F1", 4), ("B6", 3)):
        browser.js(f"document.getElementById('{step}').scrollIntoView({{block: 'center', behavior: 'instant'}})")
        browser.press("\ue014")
        assert browser.js("document.querySelector('.current').id") == step
        browser.js("document.getElementById('symbols').focus()")
        browser.press("\ue007")
        names = browser.js(
            f"[...new Set([...document.querySelectorAll('#{step} [data-symbol]')].map(s => s.dataset.symbol))]"
        )
        assert sorted(browser.js(f"{listed}.map(t => t.dataset.term)")) == sorted(names)
        assert len(names) >= count
        assert "in the code" in browser.js("document.getElementById('list').innerText")
        assert browser.js(focused) == "list"
        assert browser.js("document.getElementById('list').getBoundingClientRect().top") > 0
        browser.press("\ue00c")
        assert browser.js(focused) == "symbols"
        assert browser.js("document.getElementById('list').hidden")
    assert browser.js("document.querySelectorAll('main [data-symbol][tabindex]').length") == 0
    assert browser.messages() == []


def test_the_steps_can_be_gone_through_with_buttons_and_keys(browser, pages):
    browser.size(1200, 900)
    browser.open(pages["default"])
    steps = browser.js("document.querySelectorAll('.step').length")
    assert steps == 11
    browser.js("document.getElementById('forth').click()")
    assert browser.js("document.querySelector('.current').id") == "F1"
    browser.press("\ue014")
    assert browser.js("document.querySelector('.current').id") == "F2"
    assert browser.js("document.activeElement.parentElement.id") == "F2"
    assert browser.js("document.getElementById('where').textContent").startswith(f"2 of {steps}: F2")
    browser.press("\ue012")
    assert browser.js("document.querySelector('.current').id") == "F1"
    for _ in range(steps + 3):
        browser.js("document.getElementById('forth').click()")
    assert browser.js("document.querySelector('.current').id") == "B6"
    assert browser.js("document.querySelectorAll('.current').length") == 1
    assert browser.messages() == []


def test_an_arrow_in_a_wide_box_scrolls_it_and_with_another_key_leaves_the_steps_alone(browser, pages):
    browser.size(390, 844)
    browser.open(pages["default"])
    browser.js("document.documentElement.style.scrollBehavior = 'auto'")
    for held in ("\ue008", "\ue009", "\ue00a"):
        browser.press(held, "\ue014")
        assert browser.js("document.querySelectorAll('.current').length") == 0
    browser.open(pages["default"])
    box = "document.querySelector('.scroll[tabindex]')"
    browser.js(f"{box}.focus()")
    browser.press("\ue014")
    assert browser.until(f"{box}.scrollLeft > 0")
    assert browser.js("document.querySelectorAll('.current').length") == 0


def test_an_arrow_goes_on_from_where_the_reader_is(browser, pages):
    """Not from the step of long ago; quick presses, while the page still moves, go on from the step they name."""
    browser.size(1200, 900)
    browser.open(pages["default"])
    here = "document.querySelector('.current').id"
    seen = "(box => box.top >= 0 && box.top < 900)(document.querySelector('.current h3').getBoundingClientRect())"
    for anchor in ("B3", "F2", "B5"):
        browser.js(f"document.getElementById('{anchor}').scrollIntoView({{behavior: 'instant'}})")
        browser.press("\ue014")
        assert browser.js(here) == anchor
        assert browser.until(seen)
    for step in ("B4", "B3", "B2", "B1", "F7", "F6"):
        browser.press("\ue012")
        assert browser.js(here) == step
    assert browser.until(seen)


def test_buttons_keep_the_focus_and_arrows_give_it_to_the_heading(browser, pages):
    browser.size(1200, 900)
    browser.open(pages["default"])
    browser.js("document.getElementById('forth').focus()")
    for step in ("F1", "F2", "F3"):
        browser.press("\ue007")
        assert browser.js("document.querySelector('.current').id") == step
        assert browser.js("document.activeElement.id") == "forth"
    browser.press("\ue014")
    assert browser.js("document.activeElement.tagName + document.activeElement.parentElement.id") == "H3F6"


@pytest.mark.parametrize(("width", "height"), [(390, 844), (390, 500), (1280, 400)])
def test_the_heading_of_every_step_is_in_view(browser, pages, width, height):
    browser.size(width, height)
    browser.open(pages["default"])
    browser.js("document.documentElement.style.scrollBehavior = 'auto'")
    for _ in range(11):
        browser.press("\ue014")
        name, top = browser.js("(h => [h.textContent, h.getBoundingClientRect().top])(document.activeElement)")
        assert 0 <= top < height / 2, name


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_the_page(browser, pages, scheme):
    browser.cdp("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.open(pages["default"])
    paper = browser.js("getComputedStyle(document.body).backgroundColor")
    for css in ("p", "td.reason", "figcaption", "nav a", "pre", "main math", "figure svg", "td.shape math"):
        ink = browser.js("getComputedStyle(document.querySelector(arguments[0])).color", css)
        assert contrast(ink, paper) >= 4.5, (css, ink, paper)
    assert (luminance(paper) < 0.1) == (scheme == "dark")


def luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_the_page_needs_no_other_and_is_readable_by_machine(browser, pages):
    browser.open(pages["default"])
    text = pages["default"].read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[^\"' ]+", text)) <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r'(src|href)="(?!#|data:)', text)
    assert browser.js("document.documentElement.lang") == "en"
    levels = browser.js("[...document.querySelectorAll('h1, h2, h3')].map(h => +h.tagName[1])")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert browser.js("[...document.querySelectorAll('svg')].every(s => s.getAttribute('aria-label'))")
    assert browser.js("[...document.querySelectorAll('button')].every(b => b.getAttribute('aria-label'))")
    assert browser.js("[...document.querySelectorAll('a[href]')].every(a => document.querySelector(a.hash))")
    assert browser.js("document.querySelectorAll('main a[href]').length") > 20
    assert browser.js("document.querySelectorAll('a a, h3 a[href]').length") == 0


def test_an_unknown_command_is_refused():
    with pytest.raises(ValueError, match=r"no MathML here for \\input"):
        mathml(r"\input{x}")
    with pytest.raises(ValueError, match="ends too early"):
        mathml(r"\frac{1}")


def test_a_slider_is_moved_by_keys_and_says_what_it_reads(browser, pages):
    """The steps of the page, which the same keys go through, stay where they are."""
    browser.size(1200, 900)
    browser.open(pages["default"])
    figure = "document.querySelector('#check figure')"
    read = f"[{figure}.querySelector('output').textContent, {figure}.querySelector('.reading path').getAttribute('d')]"
    before, where = browser.js(read), "document.getElementById('where').textContent"
    steps = browser.js(where)
    browser.js(f"{figure}.querySelector('input').focus()")
    browser.press("\ue014")
    after = browser.js(read)
    assert browser.js(f"{figure}.querySelector('input').value") == "16"
    assert before[0] != after[0] and before[1] != after[1]
    assert browser.js(where) == steps
    w, loss, slope = (float(number) for number in re.findall(r"-?\d+\.\d+", after[0]))
    w_before, loss_before, slope_before = (float(number) for number in re.findall(r"-?\d+\.\d+", before[0]))
    assert (loss - loss_before) / (w - w_before) == pytest.approx((slope + slope_before) / 2, rel=0.02)


def test_every_formula_and_figure_is_said_in_words(browser, pages):
    browser.open(pages["coupled rows"])
    assert browser.js("[...document.querySelectorAll('math')].filter(m => !m.getAttribute('alttext')).length") == 0
    assert browser.js("[...document.querySelectorAll('svg')].filter(s => !s.getAttribute('aria-label')).length") == 0
