"""The report in a real browser: quiet, offline, and showing every hostile text as text."""

import re
from functools import cache, partial

import planted
import pytest
from observed_plan import watched
from screened import screened
from visits import DRAWN, FILLED, OPEN, Visit, framed, visit

from sweeper.analysis.view import view_of
from sweeper.report import page
from sweeper.states import Ending
from sweeper.topics.registry import TOPICS

EVIL = (
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    "javascript:alert(3)",
    "{{7*7}}${7*7}",
    "line\u2028separator]]>",
    "'\"><svg onload=alert(4)>",
    "@ink",
    "%{y}",
)


FROM_A_SEQUENCE = {
    "cells": [{planted.BATCH: 2**at, "train.width": 1 + at / 7} for at in range(1, 9)],
    "levels": {planted.BATCH: [2], "train.width": [1.0]},
    "method": "qmc",
    "replicates": 3,
}
TWO_OBJECTIVES = [
    {"metric": f"{group}_accuracy", "direction": "maximize", "split": None, "unit": "share"}
    for group in ("minority", "majority")
]
NOTHING = {"replicates": 1, "failures": {(cell, 0): (None, "") for cell in range(8)}}
PLANS = {
    "full": planted.everything,
    "observed": partial(watched, objectives=TWO_OBJECTIVES),
    "no grid": planted.scattered,
    "random search": planted.searched,
    "screened": screened,
    "two replicates": partial(planted.everything, replicates=2, failures={}),
    "words": partial(planted.plan, levels={"train.augmentation": ["none", "mixup"]}, replicates=3),
    "drawn": partial(planted.plan, **FROM_A_SEQUENCE),
    "nothing": partial(planted.plan, **NOTHING),
}
AXED = ("full", "observed", "no grid", "random search", "screened")


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Each plan's page by the plan's name, made once."""
    folder = tmp_path_factory.mktemp("pages")
    return cache(
        lambda name: page.save(page.html(framed(PLANS[name]())), out=folder / f"{name}.html")
    )


@pytest.fixture(autouse=True)
def closed(browser):
    """Closes every page of a test: a page that stays open goes on computing."""
    yield
    for context in browser.contexts:
        context.close()


@pytest.mark.parametrize(
    ("name", "scheme"),
    [
        *((name, "light") for name in PLANS),
        ("full", "dark"),
        *(pytest.param(name, "dark", marks=pytest.mark.soak) for name in PLANS if name != "full"),
    ],
)
def test_the_page_opens_offline_and_in_silence(browser, pages, name, scheme):
    """No console message, no request, no policy violation, no sideways scrolling, all drawn."""
    seen = Visit(browser, pages(name), color_scheme=scheme)
    places = seen.page.locator("[data-figure]").count()
    assert seen.page.locator("[data-figure] svg.main-svg >> nth=0").count() == min(places, 1)
    assert seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    seen.page.evaluate(OPEN)
    seen.until(DRAWN)
    assert seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert seen.trouble() == []


def test_the_page_fits_a_telephone(browser, pages):
    """390 pixels: nothing scrolls sideways but the tables in their own boxes."""
    size = {"width": 390, "height": 800}
    seen = Visit(browser, pages("full"), viewport=size)
    seen.page.evaluate(OPEN)
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert seen.trouble() == []


def test_the_first_screen_answers_the_question(browser, tmp_path):
    """Question, headline, interval and curve are within the first 900 pixels."""
    size = {"width": 1280, "height": 900}
    seen = visit(browser, tmp_path, planted.plan(), viewport=size)
    for chosen in ("h1", ".headline", ".answer .mark >> nth=0", ".hero .main-svg >> nth=0"):
        box = seen.page.locator(chosen).bounding_box()
        assert box["y"] + box["height"] <= 900


@pytest.mark.parametrize("evil", EVIL)
def test_hostile_text_is_shown_as_text(browser, tmp_path, evil):
    """Name, question, manifest: seen as written; nothing runs, loads or moves."""
    plan = planted.plan(
        name=evil,
        question=f"Is {evil} safe?",
        spec_text=f"name: {evil}\n",
        provenance={"git": evil, evil: evil},
        **NOTHING,
    )
    seen = visit(browser, tmp_path, plan)
    assert plain(seen.page.title()) == f"{plain(evil)} · Sweeper report"
    assert plain(seen.page.locator("h1").inner_text()) == plain(f"Is {evil} safe?")
    seen.page.evaluate(OPEN)
    seen.until(FILLED)
    assert plain(evil) in plain(seen.page.locator(".provenance").inner_text())
    unmoved(seen)


def test_hostile_text_is_shown_as_text_in_every_figure(browser, tmp_path):
    """Levels, classes, errors, all hostile at once: seen as written; nothing runs or loads."""
    plan = planted.everything(
        replicates=3,
        levels={"train.augmentation": ["none", *EVIL]},
        classes=[*EVIL, "i", "j"],
        failures={(at, 1): (Ending.ERROR, evil) for at, evil in enumerate(EVIL, start=1)},
        truth=planted.flat,
    )
    seen = visit(browser, tmp_path, plan)
    ticks = [plain(one) for one in seen.page.locator(".hero .xtick text").all_text_contents()]
    assert {plain(evil) for evil in EVIL} <= set(ticks)
    seen.page.evaluate(OPEN)
    seen.until(FILLED)
    text = plain(seen.page.locator("body").inner_text())
    assert [evil for evil in EVIL if plain(evil) not in text] == []
    unmoved(seen)


def unmoved(seen):
    """Checks that no image was made and that nothing was loaded, said or refused."""
    assert seen.page.locator("img").count() == 0
    assert seen.trouble() == []


def plain(text):
    return re.sub(r"\s+", " ", text).strip()


def test_hostile_text_survives_hovering(browser, tmp_path):
    """Hover labels read a little HTML: a level's name is not part of it."""
    plan = planted.plan(levels={"train.augmentation": ["none", EVIL[0]]}, replicates=3)
    seen = visit(browser, tmp_path, plan)
    box = seen.page.locator(".hero .main-svg >> nth=0").bounding_box()
    for part in range(1, 40):
        seen.page.mouse.move(box["x"] + box["width"] * part / 40, box["y"] + box["height"] / 2)
    assert seen.trouble() == []


def test_the_page_follows_the_theme_while_it_is_open(browser, tmp_path):
    """Dark and light without reloading."""
    seen = visit(browser, tmp_path, planted.plan(replicates=3), color_scheme="light")
    colour = "getComputedStyle(document.querySelector('.hero .ytick text')).fill"
    light = seen.page.evaluate(colour)
    seen.page.emulate_media(color_scheme="dark")
    seen.until(f"{colour} !== '{light}'")
    assert seen.trouble() == []


def test_the_page_prints(browser, tmp_path):
    """A PDF of a few pages; afterwards the page is as before."""
    seen = visit(browser, tmp_path, planted.plan(replicates=3), color_scheme="dark")
    pdf = seen.page.pdf(format="A4")
    assert pdf.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 20
    assert "printing" not in (seen.page.locator("html").get_attribute("class") or "")
    assert seen.trouble() == []


@pytest.mark.parametrize(
    ("name", "scheme"),
    [
        *((name, "light") for name in AXED),
        ("screened", "dark"),  # the smallest page
        *(pytest.param(name, "dark", marks=pytest.mark.soak) for name in AXED[:-1]),
    ],
)
def test_axe_finds_no_violation(browser, pages, name, scheme):
    """Contrast, names, headings, tables: axe-core finds no fault, with every table open.

    The theme changes colours only, so the dark one is examined for contrast.
    """
    from axe_playwright_python.base import AXE_FILE_PATH

    seen = Visit(browser, pages(name), color_scheme=scheme, bypass_csp=True)
    seen.page.evaluate(OPEN)
    seen.until(FILLED)
    seen.page.evaluate(AXE_FILE_PATH.read_text(encoding="utf-8"))
    rules = {"runOnly": ["color-contrast"]} if scheme == "dark" else {}
    options = {"resultTypes": ["violations"], **rules}
    found = seen.page.evaluate("options => axe.run(document, options)", options)
    assert [
        (one["id"], [node["html"][:120] for node in one["nodes"][:3]])
        for one in found["violations"]
    ] == []


def test_the_pages_that_axe_looks_at_show_every_section(pages):
    """Every builder of a section is shown on one of the pages."""
    unseen = {one.section for one in TOPICS}
    for name in AXED:
        found, text = view_of(framed(PLANS[name]())), pages(name).read_text(encoding="utf-8")
        shown = {build: one for build in unseen if (one := build(found)) is not None}
        assert all(f'<h2 id="{one.id}">' in text for one in shown.values())
        unseen -= shown.keys()
    assert [build.__module__ for build in unseen] == []
