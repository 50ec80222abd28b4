"""A stored sweep as an object: tables, figures, the notebook's card, the report."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

import planted
import pytest

import sweeper
from sweeper.store import Store


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with one finished sweep."""
    url = f"sqlite:///{tmp_path_factory.mktemp('door')}/sweeper.db"
    with Store.open(url, create=True) as store:
        planted.fill(store, planted.plan())
    return url


@pytest.fixture(scope="module")
def sweep(storage: str) -> sweeper.Sweep:
    return sweeper.open("batch-size-digits", storage=storage)


def test_a_sweep_is_opened_by_its_name_or_as_the_only_one(storage: str) -> None:
    """A wrong name gets the nearest, and a missing database is refused."""
    assert sweeper.open(storage=storage).name == "batch-size-digits"
    with pytest.raises(sweeper.InputError, match="did you mean 'batch-size-digits'"):
        sweeper.open("batch-size-digit", storage=storage)
    with pytest.raises(sweeper.StoreError):
        sweeper.open("x", storage="sqlite:///gone.db")
    with pytest.raises(sweeper.InputError, match=r"write sqlite:///x\.db"):
        sweeper.open("x", storage="x.db")


def test_recorded_numbers_come_with_the_levels_of_their_cell(sweep: sweeper.Sweep) -> None:
    """A row a run, and a row an evaluation: ready to group by a factor."""
    runs, epochs = sweep.frames.runs, sweep.frames.epochs
    assert len(runs) == 8 * 5
    assert set(runs["train.batch_size"]) == {2, 8, 32, 128}
    assert len(epochs) == 8 * 5 * 6
    assert {"replicate", "epoch", "objective", "data.imbalance.train_ratio"} <= set(epochs)
    assert {"split", "metric", "target", "value"} <= set(sweep.frames["numbers"])


def test_differences_have_interval_method_and_n(sweep: sweeper.Sweep) -> None:
    """An estimate never comes alone."""
    found = sweep.answer.differences
    assert {"estimate", "low", "high", "method", "n", "level", "reference"} <= set(found)
    assert len(sweep.answer.best) > 0
    assert "differences" in dir(sweep.answer)
    with pytest.raises(AttributeError, match="no table 'diferences'; did you mean 'differences'"):
        _ = sweep.answer.diferences


def test_status_is_what_the_command_prints(sweep: sweeper.Sweep) -> None:
    """State and runs by state."""
    assert sweep.status["state"] == "complete"
    assert sweep.status["runs"]["complete"] == 40


def test_every_figure_of_the_report_is_a_plotly_figure(sweep: sweeper.Sweep) -> None:
    """plotly takes each, and no colour is a token of the page any more."""
    assert {"response", "differences"} <= set(sweep.figures)
    for name in sweep.figures:
        assert '"@' not in str(sweep.figure(name).to_json())
    with pytest.raises(sweeper.InputError, match=r"'respons': .* did you mean 'response'"):
        sweep.figure("respons")


def test_without_plotly_the_error_names_the_extra(
    sweep: sweeper.Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything else works without it."""
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    with pytest.raises(sweeper.InputError, match=r"pip install 'sweeper\[notebook\]'"):
        sweep.figure()


def test_a_notebook_shows_question_answer_and_curve(sweep: sweeper.Sweep) -> None:
    """As static HTML: no script, nothing from the network, and a picture that XML can read."""
    html = sweep._repr_html_()
    assert "Do small batches serve the minority classes" in html
    assert "minority accuracy" in html
    assert "<script" not in html
    assert "http" not in html.replace("http://www.w3.org/2000/svg", "")
    start, end = html.index("<svg"), html.index("</svg>") + len("</svg>")
    picture = ElementTree.fromstring(html[start:end])  # noqa: S314  our own
    texts = [one.text for one in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert {"2", "8", "32", "128", "batch size (log scale)"} <= set(texts)


def test_a_sweep_without_results_has_a_card_too(tmp_path: Path) -> None:
    """The text states that no run is complete."""
    url = f"sqlite:///{tmp_path}/sweeper.db"
    nothing = {(cell, r): (None, "") for cell in range(8) for r in range(5)}
    with Store.open(url, create=True) as store:
        planted.fill(store, planted.plan(failures=nothing))
    sweep = sweeper.open(storage=url)
    assert "no run is complete" in sweep._repr_html_()
    assert len(sweep.answer.differences) == 0
    assert len(sweep.frames.epochs) == 0


def test_the_report_is_written_and_the_best_cell_recommended(
    sweep: sweeper.Sweep, tmp_path: Path
) -> None:
    """The same page and the same document as the commands give."""
    page = sweep.report(tmp_path / "page.html")
    assert 'content="Sweeper report"' in page.read_text("utf-8")
    found = sweep.best(at={"data.imbalance.train_ratio": 0.05})
    assert found["train"]["batch_size"] == found["evidence"]["levels"]["train.batch_size"]


def test_a_password_is_not_shown() -> None:
    """The text of the object is kept in saved notebooks."""
    shown = repr(sweeper.Sweep("x", storage="postgresql://me:secret@host/db"))
    assert "secret" not in shown
