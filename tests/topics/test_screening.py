"""Screening: the best cell stays, the fresh replicates are unbiased, and only they are reported."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats
from screened import screened

from sweeper.analysis import screening
from sweeper.analysis import stopping_text as words_precision
from sweeper.analysis.comparable import Comparison
from sweeper.analysis.intervals import mean_interval
from sweeper.analysis.measures import objective
from sweeper.analysis.view import SweepView, view_of
from sweeper.report.export import tables_of
from sweeper.report.methods import methods
from sweeper.report.page import html
from sweeper.topics.differences import estimate as differences
from sweeper.topics.headline import text as words
from sweeper.topics.importance import estimate as importance
from sweeper.topics.screening import estimate as screened_topic

DRAWS = int(os.environ.get("COVERAGE_DRAWS", "400"))
RATES = (0.01, 0.03, 0.1, 0.3)


def shares(*, cells: int, screen: int, confirm: int, gap: float, seed: int) -> dict[str, float]:
    """Many screenings: cell 0 is the best by `gap` run-to-run sds; replicates share offsets."""
    rng, found = np.random.default_rng(seed), defaultdict(list)
    truth = np.r_[gap, np.zeros(cells - 1)]
    for _ in range(DRAWS):
        y = truth[:, None] + rng.normal(size=(cells, screen + confirm))
        y += rng.normal(size=screen + confirm)
        found["stays"].append(bool(screening.survivors(y[:, :screen])[0]))
        first = int(y[:, :screen].mean(axis=1).argmax())
        fresh = mean_interval(y[first, screen:])
        naive = mean_interval(y[first, :screen])
        found["covers"].append(fresh.low <= truth[first] <= fresh.high)
        found["naive"].append(naive.low <= truth[first] <= naive.high)
        found["bias"].append(fresh.value - truth[first])
        found["naive bias"].append(naive.value - truth[first])
    return {name: float(np.mean(value)) for name, value in found.items()}


@pytest.mark.parametrize(("cells", "screen", "gap"), [(6, 3, 0.0), (12, 5, 0.0), (12, 3, 1.0)])
def test_the_best_cell_stays_and_its_fresh_mean_is_unbiased(cells, screen, gap) -> None:
    """It stays in 95 of 100; the fresh interval of the apparent winner holds, the naive does not.

    Bounds: four standard errors about 95 %, and of the mean of DRAWS means of five.
    """
    seen = shares(cells=cells, screen=screen, confirm=5, gap=gap, seed=cells + screen)
    margin = 4 * np.sqrt(0.95 * 0.05 / DRAWS)
    assert seen["stays"] >= 0.95 - margin
    assert abs(seen["covers"] - 0.95) < margin
    assert abs(seen["bias"]) < 4 * np.sqrt(2 / 5 / DRAWS)
    if not gap:
        assert seen["naive bias"] > 0.4 > 4 * np.sqrt(2 / 3 / DRAWS)
        assert seen["naive"] < 0.94


def test_what_is_left_is_the_best_of_what_no_other_beats() -> None:
    """By hand: T(1 - .05 / 2, 2) = 4.303 for three cells and three replicates."""
    y = np.array([[1.0, 2.0, 3.0], [2.0, 3.1, 4.2], [0.0, 5.0, 2.0]])
    d = y[1] - y[0]
    t = d.mean() / (d.std(ddof=1) / np.sqrt(3))
    assert t > stats.t.ppf(1 - 0.05 / 2, 2)
    assert screening.survivors(y).tolist() == [False, True, True]
    assert screening.survivors(y, keep=1).tolist() == [False, True, False]
    assert screening.survivors(y, direction="minimize").tolist() == [True, False, True]
    lost = np.vstack([y, np.full(3, np.nan)])
    assert not screening.survivors(lost)[3]
    assert screening.survivors(np.full((2, 3), np.nan)).tolist() == [False, False]


def test_a_lead_that_is_needed_is_that_of_the_test() -> None:
    """Just more beats, just less does not; in sds of the difference."""
    lead = screening.lead_needed(cells=2, replicates=3)
    noise = np.array([-1.0, 0.0, 1.0])  # sd 1
    for size, stays in ((lead * 1.001, False), (lead * 0.999, True)):
        y = np.vstack([np.zeros(3), size + noise])
        assert screening.survivors(y).tolist() == [stays, True]


# --- the report


def test_only_fresh_replicates_are_reported() -> None:
    """Every number of the answer is of the five fresh ones, and the dropped cells are named."""
    frames = screened()
    found = view_of(frames)
    answer = found.of(screened_topic.build)
    assert answer is not None
    fresh = frames.reported_runs
    assert set(fresh["replicate"]) == {3, 4, 5, 6, 7}
    tested = 100 * frames.numbers[objective(frames.sweep.spec).key]
    means = tested.reindex(fresh.index).groupby(fresh["cell"]).mean()
    rows = {one.levels["train.momentum"]: one for one in answer.rows}
    assert {rate for rate, one in rows.items() if one.fresh} == {0.03, 0.1}
    assert sorted(one.fresh.value for one in rows.values() if one.fresh) == pytest.approx(
        sorted(means)
    )
    assert {one.fresh.n for one in rows.values() if one.fresh} == {5}
    assert [rows[rate].fate for rate in RATES] == ["beaten", "kept", "kept", "beaten"]
    assert rows[0.3].by in ({"train.momentum": 0.03}, {"train.momentum": 0.1})
    assert all(len(one.values) == 3 for one in rows.values())
    assert levels_of(found) == [0.03, 0.1]


def levels_of(found: SweepView) -> list[Any]:
    return sorted(
        level for one in found.of(differences.build).primary for level in one.factor.levels
    )


def test_nothing_is_said_before_screening_is_decided() -> None:
    """No number, and the reason."""
    found = view_of(screened(undecided=True))
    assert found.comparable.comparison is Comparison.NOTHING
    answer = found.of(screened_topic.build)
    assert answer is not None
    assert answer.rows == ()
    assert found.of(differences.build).primary == ()


def test_cells_without_a_grid_are_told_by_the_fresh_replicates() -> None:
    """Drawn cells are screened as well: answer, method, and no importance among what was left."""
    frames = screened(method="qmc")
    found = view_of(frames)
    assert found.comparable.comparison is Comparison.SCATTER
    assert found.of(importance.build) is None
    said = words.lead(found).headline
    assert said.startswith("Screening left 2 of 4 cells; on fresh replicates")
    told = " ".join(methods(found))
    assert "momentum (0.01, 0.03, 0.1, 0.3)" in told
    assert "of 4 cells, of which screening left 2" in told
    assert "All reported numbers come from 5 fresh replicates" in told


def test_the_page_names_every_cell_and_the_rule() -> None:
    """Beaten cells with what beat them; the page is made again from what it carries."""
    frames = screened()
    page = html(frames)
    assert "screening with 3 replicates left 2 of 4 cells" in page
    assert page.count("beaten by momentum") >= 2
    assert "no verdict rests on them" in page
    rows = tables_of(frames)["screening"]
    assert list(rows["screening_n"]) == [3] * 4
    assert sorted(rows["fresh_n"]) == [0, 0, 5, 5]
    assert rows["fresh_mean"].notna().sum() == 2


def test_a_page_can_be_made_while_screening_goes_on() -> None:
    """The page states this, and shows no number of the screening."""
    page = html(screened(undecided=True))
    assert "Screening goes on: nothing is reported" in page


def test_what_was_added_to_a_fresh_block_is_told() -> None:
    """A second look at the same cells, from five replicates on."""
    frames = screened()
    plan = {**frames.sweep.spec["replicates"], "confirm": 9}
    later = {**frames.sweep.stages[0], "plan": plan}
    sweep = replace(frames.sweep, spec={**frames.sweep.spec, "replicates": plan},
                    stages=[*frames.sweep.stages, later])  # fmt: skip
    told = " ".join(words_precision.plan(sweep, replicates=9))
    assert "could be looked at with 5 replicates before" in told
