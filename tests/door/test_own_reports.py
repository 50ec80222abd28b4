"""The report of a sweep whose trainer is the user's own: what it says, and what it leaves out."""

from __future__ import annotations

from pathlib import Path

import own_sweep
import pytest

import sweeper
from sweeper.report.verify import verify


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two sweeps of the same function."""
    url = f"sqlite:///{tmp_path_factory.mktemp('own')}/sweeper.db"
    own_sweep.fill(url)
    own_sweep.fill(url, name="other", fixed={"epochs": 9})
    return url


@pytest.fixture(scope="module")
def sweep(storage: str) -> sweeper.Sweep:
    return sweeper.open("own", storage=storage)


def test_numbers_come_in_the_unit_in_which_they_were_reported(sweep: sweeper.Sweep) -> None:
    """Only Sweeper's own shares become percentage points."""
    found = sweep.answer.differences
    main = found[found["primary"] & (found["factor"] == "kind")]
    assert main["estimate"].tolist() == pytest.approx([5.0], abs=1e-4)
    assert set(main["unit"]) == {""}


def test_runs_that_end_when_they_like_are_compared(sweep: sweeper.Sweep) -> None:
    """A function may stop early; its last report counts."""
    assert sweep.frames.epochs.groupby("run")["epoch"].max().nunique() > 1
    assert sweep.answer.differences["n"].min() == 4


def test_the_page_says_what_it_leaves_out_and_nothing_of_sweepers_trainer(
    sweep: sweeper.Sweep, tmp_path: Path
) -> None:
    """No data set, learning rate, subset or chance level is spoken of; the page can be verified."""
    path = sweep.report(tmp_path / "own.html")
    page = path.read_text("utf-8")
    assert "a function of your own (mine), which reports no class counts" in page
    assert "our own training function" in page
    head = page[: page.index("How to read this")]
    for word in ("digits", "learning rate of", "training subset", "collapsed", "guessing"):
        assert word not in head
    assert verify(path).same


def test_the_best_configuration_is_what_the_function_gets(sweep: sweeper.Sweep) -> None:
    """To call it again with."""
    found = sweep.best()
    assert found["config"] == {"size": 4.0, "kind": "b"}
    assert found["trainer"] == "mine"


def test_several_sweeps_share_a_page(storage: str, tmp_path: Path) -> None:
    """As other sweeps do."""
    from sweeper.report import several_page
    from sweeper.store import Store

    with Store.open(storage, create=False) as store:
        page = several_page.write(store, ["own", "other"], out=tmp_path / "both.html")
    assert "reward" in page.read_text("utf-8")


def test_a_notebook_shows_it(sweep: sweeper.Sweep) -> None:
    """The card, and the call that goes on."""
    html = sweep._repr_html_()
    assert "Does the size matter?" in html
    assert "<svg" in html
    assert "sweeper launch" not in html
