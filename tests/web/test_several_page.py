"""The report of several sweeps in a real browser: quiet, offline, accessible, usable."""

import csv
import io

import planted
import pytest
from visits import DRAWN, FILLED, OPEN, Visit

from sweeper.analysis.frames import load
from sweeper.report import several_page as several

SIZE = {"width": 1280, "height": 900}
EVIL = "<img src=x onerror=alert(1)>"
LEVELS = {planted.BATCH: [2, 8, 32], planted.RATIO: [1.0, 0.05]}


def frames(name, at, *, data, steps=None, levels=None):
    one = planted.plan(name=name, seed=at, replicates=3, levels=levels or LEVELS, epochs=3,
                       question=f"Is {name} safe?")  # fmt: skip
    one = planted.elsewhere(one, data=data, steps=steps)
    return load(planted.Memory(one), name)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Five data sets, one of them also by updates and with a level that others lack."""
    held = [frames(f"sweep-{at}", at, data=f"data {at}") for at in range(4)]
    held.append(frames(EVIL, 4, data=EVIL))
    more = {planted.BATCH: [2, 8, 32, 128], planted.RATIO: [0.2, 0.05]}
    held.append(frames("updates", 5, data="data 0", steps=60, levels=more))
    out = tmp_path_factory.mktemp("several") / "several.html"
    out.write_text(several.html(held), encoding="utf-8", newline="")
    return out


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_opens_offline_and_in_silence(browser, file, scheme, width):
    """No message, no request, no sideways scrolling; every figure drawn, hostile names as text."""
    seen = Visit(browser, file, viewport={"width": width, "height": 844}, color_scheme=scheme)
    assert seen.page.locator("[data-figure]").count() > 6
    seen.page.evaluate(OPEN)
    seen.until(DRAWN)
    assert seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert seen.page.locator("img").count() == 0
    assert EVIL in seen.page.locator(".verdicts").inner_text()
    assert seen.trouble() == []
    seen.context.close()


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.soak)])
def test_axe_finds_no_violation(browser, file, scheme):
    """Contrast, names, headings, tables: with every fold open."""
    from axe_playwright_python.base import AXE_FILE_PATH

    seen = Visit(browser, file, viewport=SIZE, color_scheme=scheme, bypass_csp=True)
    seen.page.evaluate(OPEN)
    seen.until(FILLED)
    seen.page.evaluate(AXE_FILE_PATH.read_text(encoding="utf-8"))
    found = seen.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    assert [(one["id"], [node["html"][:120] for node in one["nodes"][:3]])
            for one in found["violations"]] == []  # fmt: skip
    seen.context.close()


def test_a_level_has_one_look_in_all_panels_and_is_hidden_in_all(browser, file):
    """Also where a sweep lacks the first level of the others."""
    seen = Visit(browser, file, viewport=SIZE)
    looks = seen.page.evaluate(
        "[...new Set(figures().filter(f => f.id.startsWith('response'))"
        ".flatMap(f => f.data).filter(t => t.legendgroup === 'train ratio 0.05' && t.error_y)"
        ".map(t => t.marker.color + t.marker.symbol))]".replace(
            "figures()", "JSON.parse(document.getElementById('figures').textContent)"
        )
    )
    assert len(looks) == 1
    count = "document.querySelectorAll('#response ~ * .scatterlayer .trace').length"
    before = seen.page.evaluate(count)
    seen.page.locator('button.key[data-label="train ratio 0.05"]').first.click()
    seen.until(f"{count} === {before - 12}")
    assert seen.page.evaluate("location.hash") == "#;hide=train%20ratio%200.05"
    assert seen.trouble() == []
    seen.context.close()


def test_a_forest_is_saved_with_its_intervals(browser, file):
    """They lie along x; each row is named by its sweep."""
    seen = Visit(browser, file, viewport=SIZE, accept_downloads=True)
    chart = seen.page.locator('section[aria-labelledby="factor-0"] .chart >> nth=0')
    with seen.page.expect_download() as waiting:
        chart.get_by_role("button", name="Save as CSV").click()
    text = waiting.value.path().read_bytes().decode("utf-8-sig")
    rows = [row for row in csv.DictReader(io.StringIO(text)) if row["low"]]
    assert {"sweep-0", "updates", "mean of data sets", EVIL} <= {row["series"] for row in rows}
    assert all(float(r["low"]) < float(r["x"]) < float(r["high"]) for r in rows)
    assert seen.trouble() == []
    seen.context.close()
