"""The live page in a real browser: it is kept up to date in place, and says when it is not."""

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import planted
import pytest
from command import environment
from patience import eventually
from playing import Play
from visits import DRAWN, HANG_MS, OPEN

from sweeper.states import Ending
from sweeper.store import Store

LOST = {(3, 1): (Ending.DIVERGED, "ValueError: nan")}
ENDED = "document.querySelector('.counts dd').textContent"
PICTURED = "document.querySelector('#response') && document.querySelector('.main-svg')"


def serve(folder, port="0"):
    """`sweeper watch` on a port; its process and its address."""
    code = "from sweeper.cli import main; main()"
    words = ["watch", "--port", port]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


@contextmanager
def running(folder):
    """A sweep that a test plays on, its page's address, the process, and the folder."""
    levels = {planted.BATCH: [2, 8], planted.RATIO: [1.0, 0.05]}
    plan = planted.plan(levels=levels, replicates=12, epochs=2, failures=LOST)
    with Store.open(f"sqlite:///{folder}/sweeper.db", create=True) as store:
        play = Play(store, plan, workers=1)
        play.until(8)
        process, address = serve(folder)
        yield play, address, process, folder
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A sweep that goes on through all tests, and never ends."""
    with running(tmp_path_factory.mktemp("watched")) as one:
        yield one


class Page:
    """A page that is open, and everything that it did besides showing itself."""

    def __init__(self, browser, address, **settings):
        self.said, self.asked, self.broken = [], [], []
        self.context = browser.new_context(**settings)
        self.context.set_default_timeout(HANG_MS)
        self.page = self.context.new_page()
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("requestfailed", lambda request: self.broken.append(request.url))
        self.page.goto(address)
        self.until(PICTURED)

    def ended(self, part):
        """Whether a request ended; events come while the browser is asked something."""
        return self.page.evaluate("true") and any(part in url for url in self.broken)

    def until(self, expression):
        eventually(lambda: self.page.evaluate(expression), f"never became true: {expression}")


@pytest.fixture
def opened(browser, watched):
    """The page, open."""
    one = Page(browser, watched[1])
    yield one
    one.context.close()


def test_the_page_is_quiet_and_axe_finds_nothing(browser, watched):
    """No message, no request to elsewhere, no sideways scrolling; names, contrast, headings."""
    from axe_playwright_python.base import AXE_FILE_PATH

    _, address, *_ = watched
    origin = address.rsplit("/s/", 1)[0]
    for scheme, rules in (("light", {}), ("dark", {"runOnly": ["color-contrast"]})):
        viewport = {"width": 390, "height": 800}
        one = Page(browser, address, color_scheme=scheme, viewport=viewport, bypass_csp=True)
        one.page.evaluate(OPEN)
        assert one.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert all(url.startswith((origin, "data:")) for url in one.asked)
        one.page.evaluate(AXE_FILE_PATH.read_text("utf-8"))
        options = {"resultTypes": ["violations"], **rules}
        found = one.page.evaluate("options => axe.run(document, options)", options)
        named = [(v["id"], [n["html"][:120] for n in v["nodes"][:3]]) for v in found["violations"]]
        assert named == []
        assert one.said == []
        one.context.close()


def test_a_change_leaves_scroll_folds_and_choice_as_they_are(opened, watched):
    """Runs that end are shown in place: the page is not loaded again."""
    page, play = opened.page, watched[0]
    page.evaluate("window.marker = 1")
    page.evaluate("document.querySelectorAll('details.part').forEach(d => { d.open = true; })")
    page.locator("#squares .sq").nth(3).click()
    opened.until("document.getElementById('chosen').textContent.startsWith('Replicate')")
    page.evaluate("document.getElementById('squares').scrollIntoView()")
    place = "Math.round(document.getElementById('squares').getBoundingClientRect().top)"
    seen = page.evaluate(place)  # parts above it may grow
    before = page.evaluate(ENDED)
    done = "document.querySelectorAll('#squares .sq.c').length"
    squares = page.evaluate(done)
    play.steps(6)
    opened.until(f"{ENDED} !== {before!r}")
    opened.until(f"{done} > {squares}")
    assert page.evaluate("window.marker") == 1
    assert abs(page.evaluate(place) - seen) <= 2
    assert page.evaluate("document.querySelectorAll('details.part:not([open])').length") == 0
    assert page.locator("#squares .sq.chosen").count() == 1
    assert opened.said == []


def test_a_hidden_page_stops_its_stream_and_goes_on_where_it_was(opened, watched):
    """Nothing is sent to a tab that nobody sees; on return it asks for what came after."""
    page, play = opened.page, watched[0]
    hide = "value => { Object.defineProperty(document, 'hidden', {value, configurable: true});"
    hide += " document.dispatchEvent(new Event('visibilitychange')); }"
    before = page.evaluate(ENDED)
    page.evaluate(hide, True)
    eventually(lambda: opened.ended("/stream"), "the stream went on")
    play.steps(6)
    assert page.evaluate(ENDED) == before
    streams = sum("/stream" in url for url in opened.asked)
    page.evaluate(hide, False)
    opened.until(f"{ENDED} !== {before!r}")
    assert sum("/stream" in url for url in opened.asked) == streams + 1


def test_a_page_that_is_cut_off_says_so_and_comes_back(browser, watched):
    """A server that dies and starts again, with other numbers, gives the whole state."""
    play, _, _, folder = watched
    process, address = serve(folder)
    one = Page(browser, address)
    port = address.split(":")[2].split("/")[0]
    before = one.page.evaluate(ENDED)
    process.kill()
    process.communicate()
    one.until("document.getElementById('away').textContent.startsWith('Not connected since')")
    assert one.page.evaluate("document.documentElement.classList.contains('away')")
    play.steps(6)
    process, _ = serve(folder, port)
    one.until(f"{ENDED} !== {before!r}")
    assert one.page.evaluate("document.getElementById('away').hidden")
    one.context.close()
    process.kill()
    process.communicate()


def test_the_policy_is_strict_and_nothing_is_refused(browser, tmp_path):
    """Bars, intervals and every figure of a report are drawn without a style in the HTML."""
    with Store.open(f"sqlite:///{tmp_path}/sweeper.db", create=True) as store:
        planted.fill(store, planted.everything(name="whole"))
    process, address = serve(tmp_path)
    one = Page(browser, address)
    one.page.evaluate(OPEN)
    one.until(DRAWN)
    bold = "[...document.querySelectorAll('.main-svg tspan')].find(o => o.style.fontWeight)"
    assert one.page.evaluate(f"getComputedStyle({bold}).fontWeight") == "700"
    rules = "document.getElementById('plotly.js-style-global').sheet.cssRules.length"
    assert one.page.evaluate(rules) > 10
    widths = "[...document.querySelectorAll('.plan .bar .done')].map(o => o.getBBox().width)"
    assert min(one.page.evaluate(widths)) > 100
    one.page.goto(address.partition("/s/")[0])
    assert min(one.page.evaluate(widths)) > 100
    assert one.said == []
    one.context.close()
    process.kill()
    process.communicate()


def test_at_the_end_the_page_is_the_report(browser, tmp_path):
    """The last run's end brings every section of the report, without another page."""
    with running(tmp_path) as (play, address, process, _):
        opened = Page(browser, address)
        opened.page.evaluate("window.marker = 1")
        play.finish()
        opened.until("document.querySelector('.banner.good') !== null")
        opened.until("document.getElementById('provenance') !== null")
        text = opened.page.inner_text(".banner.good")
        assert "Finished: 48 of 48 runs ended, 1 failed" in text
        assert opened.page.evaluate("document.getElementById('differences') !== null")
        assert opened.page.evaluate("window.marker") == 1
        loaded = Path(f"/proc/{process.pid}/maps").read_text("utf-8")
        assert "libtorch" not in loaded
        assert "/ray/" not in loaded
        opened.context.close()
