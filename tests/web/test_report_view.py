"""What a reader does with a report: hide, flip, follow a band to a run, move a price, save."""

import csv
import io
import json
import re

import planted
import pytest
from visits import Visit

from sweeper.report import page
from sweeper.states import Ending

SIZE = {"width": 1280, "height": 900}
SHOWN = "document.querySelectorAll('.hero .scatterlayer .trace').length"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    plan = planted.plan(
        replicates=4,
        levels={planted.BATCH: [2, 8, 32], planted.RATIO: [1.0, 0.05]},
        failures={(3, 1): (Ending.DIVERGED, "nan")},
    )
    out = tmp_path_factory.mktemp("view") / "report.html"
    return page.write(planted.Memory(plan), plan.sweep.name, out=out)


@pytest.fixture
def seen(browser, file):
    opened = Visit(browser, file, viewport=SIZE, accept_downloads=True)
    yield opened
    assert opened.trouble() == []
    opened.context.close()


@pytest.fixture(scope="module")
def kept(browser, file):
    """A page for the tests that leave it as it is."""
    opened = Visit(browser, file, viewport=SIZE, accept_downloads=True)
    yield opened
    assert opened.trouble() == []
    opened.context.close()


def key(seen, label, *, of="response"):
    section = f'section[aria-labelledby="{of}"]'
    return seen.page.locator(f'{section} button.key[data-label="{label}"]').first


def test_a_level_is_hidden_and_shown_again_everywhere(seen):
    """By the legend: in every figure, in the address, and undone by the back button."""
    before = seen.page.evaluate(SHOWN)
    button = key(seen, "train ratio 1")
    assert button.get_attribute("aria-pressed") == "true"
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert seen.page.evaluate(SHOWN) == before // 2
    assert seen.page.evaluate("location.hash") == "#;hide=train%20ratio%201"
    seen.page.go_back()
    seen.until(f"{SHOWN} === {before}")
    assert button.get_attribute("aria-pressed") == "true"


def test_the_address_restores_the_view(browser, file):
    """Hidden level, linear axis and chosen run: a new visitor sees the same."""
    first = Visit(browser, file, viewport=SIZE)
    key(first, "train ratio 1").press("Enter")
    first.page.locator("[data-flip^=response] >> nth=0").click()
    key(first, "batch size 8", of="training").press("Space")
    first.page.locator("[data-run] >> nth=1").press("Enter")
    second = Visit(browser, file, at=first.page.evaluate("location.hash"), viewport=SIZE)
    for one in (first, second):
        assert one.page.locator("[data-flip^=response] >> nth=0").inner_text() == "Log axis"
        assert key(one, "train ratio 1").get_attribute("aria-pressed") == "false"
        assert key(one, "batch size 8", of="training").get_attribute("aria-pressed") == "true"
        assert one.page.locator('[data-run][aria-pressed="true"]').count() == 1
        assert "linear scale" in one.page.locator(".hero .xtitle").text_content()
        assert one.trouble() == []
        one.context.close()


@pytest.mark.parametrize(
    "hash_", ["#;hide=%", "#;hide=no|such", "#;run=x;stop=a:9;flip=z", "#<img src=x onerror=a()>"]
)
def test_a_broken_address_changes_nothing(browser, file, hash_):
    """Cut off, of another page, or hostile."""
    opened = Visit(browser, file, at=hash_, viewport=SIZE)
    assert opened.page.evaluate(SHOWN) == 4
    assert opened.page.locator("img").count() == 0
    assert opened.trouble() == []
    opened.context.close()


def test_a_band_leads_to_its_runs(seen):
    """A click on it lists its runs with replicate, cell and ending, failed ones as well."""
    place = seen.page.locator('[data-drill] [data-figure^="training"] >> nth=0')
    place.scroll_into_view_if_needed()
    box = place.locator(".nsewdrag").first.bounding_box()
    ends = place.evaluate(
        "one => [one._fullLayout.xaxis.d2p(6), one._fullLayout.yaxis.d2p(one.data[1].y[5])]"
    )
    seen.page.mouse.click(box["x"] + ends[0] - 1, box["y"] + ends[1])
    runs = seen.page.locator("[data-runs]")
    assert "Runs of batch size 2: 8." in runs.inner_text()
    key(seen, "batch size 8", of="training").click()
    told = runs.inner_text()
    assert re.search(
        r"Replicate 0 of cell \d \(batch size 8, train ratio 1\): complete; last", told
    )
    assert "Replicate 1 of cell 4 (batch size 8, train ratio 0.05): diverged at epoch 3" in told
    runs.get_by_role("button", name="Show all levels again").click()
    seen.until("document.querySelector('[data-runs]').offsetParent === null")


def test_the_list_of_contents_leads_to_sections(kept):
    """Each link has its section; the one that is followed gets the focus and the address."""
    links = kept.page.locator(".contents a")
    for at in range(links.count()):
        target = links.nth(at).get_attribute("href")
        assert kept.page.locator(f"h2{target}").count() == 1
    kept.page.locator('.contents a[href="#training"]').click()
    kept.until("document.activeElement.id === 'training'")
    assert kept.page.evaluate("location.hash") == "#training"
    assert 0 <= kept.page.locator("#training").bounding_box()["y"] < 200


def saved(seen, kind):
    chart = seen.page.locator('section[aria-labelledby="response"] .chart >> nth=0')
    with seen.page.expect_download() as waiting:
        chart.get_by_role("button", name=f"Save as {kind}").click()
    return waiting.value.suggested_filename, waiting.value.path().read_bytes()


def test_a_figure_is_saved_as_svg(kept):
    """With title and legend, light, and no script inside."""
    name, data = saved(kept, "SVG")
    assert name == "batch-size-digits-response-minority_accuracy.svg"
    text = data.decode()
    assert text.startswith("<svg")
    assert "Minority accuracy" in text
    assert "train ratio 0.05" in text
    assert "<script" not in text


def test_a_figure_is_saved_as_png(kept):
    """1,800 pixels wide, and not blank."""
    name, data = saved(kept, "PNG")
    assert name.endswith(".png")
    assert data.startswith(b"\x89PNG")
    assert int.from_bytes(data[16:20], "big") == 1800
    assert len(data) > 20_000


def test_a_figure_is_saved_as_csv(kept):
    """Every mean and every replicate, with the interval's ends and the level's name."""
    name, data = saved(kept, "CSV")
    assert name.endswith(".csv")
    rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"))))
    means = [row for row in rows if row["low"]]
    assert len(means) == 6
    assert {row["series"] for row in rows} == {"train ratio 1", "train ratio 0.05"}
    assert {row["x label"] for row in means} == {"2", "8", "32"}
    assert all(float(r["low"]) < float(r["y"]) < float(r["high"]) for r in means)
    rest = [row["text"] for row in rows if not row["low"]]
    assert all(text.startswith("replicate ") for text in rest)


def test_a_spreadsheet_computes_nothing(browser, tmp_path):
    """A level that looks like a formula is text in the CSV."""
    plan = planted.plan(levels={"train.augmentation": ["none", "=1+1"]}, replicates=3)
    out = page.write(planted.Memory(plan), plan.sweep.name, out=tmp_path / "report.html")
    opened = Visit(browser, out, viewport=SIZE, accept_downloads=True)
    _, data = saved(opened, "CSV")
    assert '"\'=1+1"' in data.decode()
    assert '"=1+1"' not in data.decode()
    opened.context.close()


def test_the_price_is_moved_by_keys_and_kept_in_the_address(seen):
    """The slider looks up what was computed; arrow keys move it, the back button returns."""
    slider = seen.page.locator("[data-slider]").first
    if not slider.count():
        pytest.skip("no figure of this sweep has a slider")
    figures = json.loads(seen.page.locator("#figures").text_content())
    stops = next(one["slider"] for one in figures if one["slider"])
    said = slider.locator("xpath=ancestor::*[contains(@class, 'slider')]").locator(".said")
    assert said.inner_text() == stops["stops"][stops["start"]]["said"]
    slider.focus()
    slider.press("ArrowRight")
    assert said.inner_text() == stops["stops"][stops["start"] + 1]["said"]
    assert f"%3A{stops['start'] + 1}" in seen.page.evaluate("location.hash")
    seen.page.go_back()
    text = json.dumps(stops["stops"][stops["start"]]["said"])
    seen.until(f"document.querySelector('.slider .said').textContent === {text}")


def test_without_a_script_all_is_there_to_read(browser, file):
    """Tables, sentences and text alternatives; no button that does nothing."""
    opened = Visit(browser, file, viewport=SIZE, java_script_enabled=False)
    assert opened.page.locator("button").count() == 0
    assert opened.page.locator("table").count() > 4
    opened.context.close()


def test_a_figure_is_a_table_of_what_it_draws(kept):
    """Every mean and replicate has its level's name; a hidden level is listed too."""
    chart = kept.page.locator('section[aria-labelledby="response"] .chart >> nth=0')
    chart.get_by_text("Table", exact=True).click()
    kept.until("document.querySelector('[data-table] td') !== null")
    rows = chart.locator("tbody tr")
    _, data = saved(kept, "CSV")
    drawn = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"))))
    assert rows.count() == len(drawn)
    told = {row.split("\t")[1] for row in rows.all_inner_texts()}
    assert told == {"2", "8", "32"}
    assert float(rows.nth(0).locator("td").nth(2).inner_text()) == pytest.approx(
        float(drawn[0]["y"]), rel=1e-4
    )
