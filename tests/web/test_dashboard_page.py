"""Optuna's dashboard on a finished sweep, in a real browser, through the gate."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from command import environment
from mirrored import finished
from patience import HANG
from playwright.sync_api import Browser, Page, expect, sync_playwright

NOTE = "**Small batches win** by 2.6 points a doubling under imbalance."


HANG_MS = HANG * 1000
expect.set_options(timeout=HANG_MS)


def _chromium() -> str | None:
    paths = ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")
    return next((path for path in paths if Path(path).exists()), None)


pytestmark = pytest.mark.skipif(_chromium() is None, reason="no Chromium on this machine")


@dataclass(frozen=True)
class Served:
    """A dashboard that runs, and its page."""

    address: str
    page: Page
    complaints: list[str]
    writes: list[tuple[str, int]]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`sweeper dashboard` over a finished sweep."""
    folder = tmp_path_factory.mktemp("dashboard")
    finished(f"sqlite:///{folder}/sweeper.db", note=NOTE)
    code = "from sweeper.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "dashboard", "--port", "0"],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.kill()
    process.communicate()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=_chromium(),
            args=["--no-sandbox"] if os.geteuid() == 0 else [],
            timeout=HANG_MS,
        )
        yield browser
        browser.close()


@pytest.fixture
def served(address: str, browser: Browser) -> Iterator[Served]:
    """A fresh page; what its console complains of is kept."""
    page = browser.new_page(viewport={"width": 1400, "height": 1100})
    page.set_default_timeout(HANG_MS)
    complaints: list[str] = []
    writes: list[tuple[str, int]] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.on("response", lambda r: writes.append((r.request.method, r.status)))
    yield Served(address, page, complaints, writes)
    page.close()


def test_the_study_is_listed_and_opens(served: Served, tmp_path: Path) -> None:
    """The list names the sweep; its page shows the best value, a history, every cell's curve."""
    served.page.goto(served.address)
    served.page.get_by_text("batch-size-digits").first.click()
    expect(served.page.get_by_text("Best Trial", exact=False).first).to_be_visible()
    expect(served.page.get_by_text("Intermediate values").first).to_be_visible()
    expect(served.page.get_by_text("trial #7").first).to_be_visible()
    picture = tmp_path / "study.png"
    served.page.screenshot(path=picture)
    assert picture.stat().st_size > 20_000
    assert served.complaints == []


def test_the_note_is_shown(served: Served) -> None:
    """The sweep's short summary stands on the study's note page, as formatted text."""
    served.page.goto(f"{served.address}/dashboard/studies/1/note")
    expect(served.page.locator("strong", has_text="Small batches win").first).to_be_visible()
    assert served.complaints == []


def test_a_trial_shows_its_value_and_its_intermediate_values(
    served: Served, tmp_path: Path
) -> None:
    """Every cell is a trial: state, mean over replicates, factors, and a value for each epoch."""
    served.page.goto(f"{served.address}/dashboard/studies/1/trials")
    page = served.page
    expect(page.get_by_text("Trial 0").first).to_be_visible()
    expect(page.get_by_text("Complete").first).to_be_visible()
    expect(page.get_by_text("train.batch_size").first).to_be_visible()
    assert page.get_by_text("Trial ", exact=False).count() >= 8
    trial = page.request.get(f"{served.address}/api/studies/1").json()["trials"][0]
    assert [step["step"] for step in trial["intermediate_values"]] == [1, 2, 3, 4]
    last = trial["intermediate_values"][-1]["value"]
    assert trial["values"] == [pytest.approx(last, abs=1e-6)]
    page.screenshot(path=tmp_path / "trials.png")
    assert served.complaints == []


def test_what_the_page_would_write_is_refused(served: Served) -> None:
    """A POST by the page itself, with its own Origin, changes nothing."""
    page = served.page
    page.goto(served.address)
    expect(page.get_by_text("batch-size-digits").first).to_be_visible()
    status = page.evaluate(
        """() => fetch("/api/studies/1", {method: "DELETE"}).then(answer => answer.status)"""
    )
    assert status == 405
    page.reload()
    expect(page.get_by_text("batch-size-digits").first).to_be_visible()


def test_the_report_opens_from_its_study(served: Served) -> None:
    """It is listed under Study Artifacts, and is a whole page without another request."""
    page = served.page
    page.goto(f"{served.address}/dashboard/studies/1")
    expect(page.get_by_text("batch-size-digits report.html").first).to_be_visible()
    assert served.complaints == []
    [found] = page.request.get(f"{served.address}/api/studies/1").json()["artifacts"]
    page.goto("about:blank")  # the dashboard asks again and again while it is open
    served.writes.clear()
    page.goto(f"{served.address}/artifacts/1/{found['artifact_id']}")
    expect(page.get_by_text("Do small batches serve").first).to_be_visible()
    assert served.writes == [("GET", 200)]
    assert served.complaints == []


def test_buttons_that_only_write_are_hidden(served: Served) -> None:
    """They would do nothing; what reads stays."""
    page = served.page
    writing = {
        "/dashboard/": ["[data-testid=AddBoxIcon]", "[aria-label='delete study']"],
        "/dashboard/studies/1": ["[aria-label='delete artifact']", "[data-testid=UploadFileIcon]"],
        "/dashboard/studies/1/note": ["[data-testid=EditIcon]"],
    }
    for path, places in writing.items():
        page.goto(f"{served.address}{path}")
        for place in places:
            page.locator(place).first.wait_for(state="attached")
            assert page.locator(place).first.is_hidden(), place
    page.goto(f"{served.address}/dashboard/")
    expect(page.get_by_text("RELOAD")).to_be_visible()
    assert served.complaints == []
