"""A report in a real browser, and everything that it does besides showing itself."""

import shutil
from contextlib import contextmanager

import planted
import pytest
from patience import HANG, eventually

from sweeper.analysis.frames import load
from sweeper.report import page

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# Processes that no test uses, one for each page: of the address bar, and a spare one.
UNUSED = ("WebUIOmniboxPopup", "WebUIOmniboxAimPopup", "SpareRendererForSitePerProcess")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking",
         "--disable-component-update", f"--disable-features={','.join(UNUSED)}"]  # fmt: skip
HANG_MS = HANG * 1000

# Every fold open, and every figure as a table made.
OPEN = "document.querySelectorAll('details').forEach(one => { one.open = true; })"
DRAWN = "[...document.querySelectorAll('[data-figure]')].every(p => p.querySelector('.main-svg'))"
FILLED = "[...document.querySelectorAll('[data-table]')].every(one => one.querySelector('td'))"


@contextmanager
def chromium():
    """Headless Chromium of the machine, without its own chatter."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium or Chrome on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        launched = play.chromium.launch(executable_path=found, args=QUIET, timeout=HANG_MS)
        yield launched
        launched.close()


class Visit:
    """A page that is open, and everything that it did besides showing itself."""

    def __init__(self, browser, file, *, at="", **settings):
        self.said, self.asked, self.dialogs = [], [], []
        self.context = browser.new_context(offline=True, **settings)
        self.context.set_default_timeout(HANG_MS)
        self.page = self.context.new_page()
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.dialogs.append(1), dialog.dismiss()))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.add_init_script(
            "window.broken = []; document.addEventListener('securitypolicyviolation',"
            "one => window.broken.push(one.violatedDirective + ' ' + one.blockedURI));"
        )
        self.page.goto(file.as_uri() + at)
        self.asked = [url for url in self.asked if url.split("#")[0] != file.as_uri()]

    @property
    def text(self):
        return self.page.locator("body").inner_text()

    def until(self, expression):
        """Wait for it to become true; the policy forbids the browser to wait by itself."""
        eventually(lambda: self.page.evaluate(expression), f"never became true: {expression}")

    def trouble(self):
        """Console messages, requests, dialogs and policy violations: all of these are faults."""
        return [*self.said, *self.asked, *self.dialogs, *self.page.evaluate("window.broken")]


def framed(made):
    """The frames of a plan; frames are themselves."""
    return load(planted.Memory(made), made.sweep.name) if isinstance(made, planted.Plan) else made


def visit(browser, tmp_path, made, **settings):
    out = page.save(page.html(framed(made)), out=tmp_path / "report.html")
    return Visit(browser, out, **settings)
