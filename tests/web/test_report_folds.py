"""Folds of the report in a real browser: what is folded, and everything that opens it."""

import re

import planted
import pytest
from visits import DRAWN, Visit, framed

from sweeper.report import page, sheet

SIZE = {"width": 1280, "height": 900}
OPENED = ("response", "differences", "best", "classes", "exchange", "training")
FOLDED = (
    "anatomy",
    "absence",
    "examples",
    "interaction",
    "explained",
    "fairness",
    "efficiency",
    "cells",
    "failures",
    "recommended",
    "method",
    "methods",
    "provenance",
)
CLOSED = "document.querySelectorAll('details.part:not([open])').length"
WORDS = """() => {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let words = 0;
  while (texts.nextNode()) {
    const holder = texts.currentNode.parentElement;
    if (holder.closest("svg, script, style") || !holder.checkVisibility()) { continue; }
    words += (texts.currentNode.textContent.match(/\\S+/g) || []).length;
  }
  return words;
}"""  # ticks and fields of figures are no words
WIDTH = "document.querySelector('[data-figure^=anatomy] .main-svg').clientWidth"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    out = tmp_path_factory.mktemp("folds") / "report.html"
    return page.save(page.html(framed(planted.everything())), out=out)


@pytest.fixture
def seen(browser, file):
    opened = Visit(browser, file, viewport=SIZE)
    yield opened
    assert opened.trouble() == []
    opened.context.close()


def is_open(seen, name):
    return seen.page.locator(f"details.part:has(> summary > #{name})").evaluate("one => one.open")


def test_what_answers_is_read_at_once_and_the_rest_is_folded(seen):
    """A folded part shows its title and its finding; its figures are not drawn."""
    assert not seen.page.locator(", ".join(f"details.part #{one}" for one in OPENED)).count()
    for name in FOLDED:
        assert not is_open(seen, name)
        summary = seen.page.locator(f"summary:has(> #{name})")
        assert summary.locator(".finding").inner_text().endswith(".")
    assert not seen.page.locator("details.part .main-svg").count()
    assert seen.page.locator("main > section:not(.folded) .main-svg").count()


def test_a_link_of_the_contents_opens_its_fold(seen):
    """Its figures are drawn as wide as their place, and the fold's title has the focus."""
    seen.page.locator('.contents a[href="#anatomy"]').click()
    assert is_open(seen, "anatomy")
    assert seen.page.evaluate(WIDTH) > 300
    assert seen.page.evaluate("document.activeElement.tagName") == "SUMMARY"
    assert 0 <= seen.page.locator("#anatomy").bounding_box()["y"] < 200


def test_a_fold_is_opened_and_closed_by_the_keyboard(seen):
    """Enter on its title; a part that is opened again shows its figures."""
    title = seen.page.locator("summary:has(> #anatomy)")
    title.press("Enter")
    seen.until("document.querySelector('[data-figure^=anatomy] .main-svg') !== null")
    title.press("Enter")
    assert not is_open(seen, "anatomy")
    title.press("Enter")
    assert seen.page.evaluate(WIDTH) > 300


def test_the_address_opens_a_fold(browser, file):
    """Alone and with a view."""
    for at in ("#anatomy", "#anatomy;hide=train%20ratio%201"):
        opened = Visit(browser, file, at=at, viewport=SIZE)
        assert is_open(opened, "anatomy")
        assert opened.page.locator("details.part[open]").count() == 1
        assert opened.page.evaluate(WIDTH) > 300
        opened.context.close()


def test_a_level_that_is_hidden_meanwhile_is_hidden_when_a_fold_opens(seen):
    """A folded figure is drawn from the view of the moment in which it opens."""
    traces = "document.querySelectorAll('[data-figure^=absence] .scatterlayer .trace').length"
    seen.page.locator('button.key[data-label="train ratio 1"]').first.click()
    seen.page.locator('.contents a[href="#absence"]').click()
    hidden = seen.page.evaluate(traces)
    seen.page.go_back()
    seen.page.go_back()
    seen.until(f"{traces} > {hidden}")


def test_printing_opens_every_fold_and_closes_it_again(seen):
    """Everything is drawn while the page prints."""
    folds = seen.page.evaluate(CLOSED)
    seen.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert seen.page.evaluate(CLOSED) == 0
    assert seen.page.evaluate(DRAWN)
    seen.page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert seen.page.evaluate(CLOSED) == folds == len(FOLDED)


def test_the_page_of_a_grid_is_read_in_two_minutes(browser, tmp_path):
    """With folds closed: at most 6,000 pixels at 1,280, and at most 1,200 words."""
    plan = planted.everything(
        levels={planted.BATCH: [2, 8, 32, 128], planted.RATIO: [1.0, 0.05]},
        replicates=5,
        failures={},
    )
    out = page.save(page.html(framed(plan)), out=tmp_path / "report.html")
    opened = Visit(browser, out, viewport=SIZE)
    assert opened.page.evaluate("document.documentElement.scrollHeight") <= 6000
    assert 500 <= opened.page.evaluate(WORDS) <= 1200
    opened.context.close()


def test_a_command_has_a_button_that_copies_it(browser, tmp_path):
    """And nothing else in code letters has."""
    plan = planted.plan(replicates=4, noise=0.05)
    out = page.save(page.html(framed(plan)), out=tmp_path / "report.html")
    opened = Visit(browser, out, viewport=SIZE)
    codes = opened.page.locator("main code")
    assert codes.count()
    for at in range(codes.count()):
        follows = codes.nth(at).locator("xpath=following-sibling::*[1][self::button]")
        assert follows.count() == codes.nth(at).text_content().startswith("sweeper ")
    opened.page.locator("code + button.copy:visible").first.click()
    assert opened.page.evaluate("getSelection().toString()").startswith("sweeper ")
    opened.context.close()


@pytest.mark.parametrize("kind", [planted.everything, planted.scattered])
def test_the_sheet_fits_one_page_of_paper_and_a_telephone(browser, tmp_path, kind):
    """Printed on A4 it is one page; on 390 pixels nothing scrolls sideways but its table."""
    out = page.save(sheet.html(framed(kind())), out=tmp_path / "sheet.html")
    opened = Visit(browser, out, viewport={"width": 390, "height": 800})
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert len(re.findall(rb"/Type\s*/Page\b", opened.page.pdf(format="A4"))) == 1
    assert opened.trouble() == []
    opened.context.close()
