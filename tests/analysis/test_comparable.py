"""What may be compared, and what is said where it may not."""

from dataclasses import replace

import numpy as np
import planted
import pytest

from sweeper.analysis.comparable import Comparison
from sweeper.analysis.frames import load
from sweeper.analysis.view import view_of
from sweeper.report import page
from sweeper.states import Ending
from sweeper.topics.cells import estimate as cells
from sweeper.topics.differences import estimate as differences
from sweeper.topics.failures import estimate as failures
from sweeper.topics.headline import text as words
from sweeper.topics.headline.caveats import caveats
from sweeper.topics.trends import estimate as trends

B, RATIO = planted.BATCH, planted.RATIO


def look(plan):
    return view_of(load(planted.Memory(plan), plan.sweep.name))


def test_a_full_grid_is_read_in_pairs():
    """Factorial, one budget: nothing is refused."""
    found = look(planted.plan(replicates=3))
    assert found.comparable.comparison is Comparison.PAIRED
    assert found.comparable.reasons == ()


@pytest.mark.parametrize("method", ["qmc", "random", "tpe", "gp"])
def test_drawn_cells_get_no_paired_test(method):
    """Cells that differ in every factor at once are described; it is said why."""
    rng = np.random.default_rng(0)
    drawn = [{B: int(2 ** rng.integers(1, 8)), "train.width": float(rng.uniform(1, 4))}
             for _ in range(12)]  # fmt: skip
    found = look(planted.plan(cells=drawn, levels={B: [2], "train.width": [1.0]}, method=method))
    assert found.comparable.comparison is Comparison.SCATTER
    assert method in found.comparable.reasons[0]
    assert not found.of(differences.build).primary
    assert not found.of(trends.build).slopes
    assert cells.ranks(found)[B] < -0.5


def test_an_incomplete_grid_is_not_read_in_pairs():
    """Levels that meet different levels of the other factor are confounded with it."""
    grid = [{B: 2, RATIO: 1.0}, {B: 8, RATIO: 1.0}, {B: 2, RATIO: 0.05}]
    found = look(planted.plan(cells=grid))
    assert found.comparable.comparison is Comparison.SCATTER
    assert "3 of 4" in found.comparable.reasons[0]


def test_cells_of_another_budget_are_left_out_by_name():
    """Values reached at different budgets are never mixed."""
    plan = planted.plan(levels={B: [2, 8, 32]})
    odd = plan.cells[2]
    config = {**odd.config, "train": {**odd.config["train"], "epochs": 60}}
    plan.cells[2] = replace(odd, config=config)
    found = look(plan)
    assert found.comparable.cells == (1, 2)
    assert "another budget" in found.comparable.reasons[0]
    assert found.factors[0].levels == (2, 8)
    assert found.of(trends.build).slopes[0].overall.estimate.n == 5


def test_no_finished_run_is_said_plainly():
    """Nothing to compare is a state of its own, not an error."""
    waiting = {(c, r): (None, "") for c in range(8) for r in range(2)}
    found = look(planted.plan(replicates=2, failures=waiting))
    assert found.comparable.comparison is Comparison.NOTHING
    assert "No run has finished" in found.comparable.reasons[-1]


def test_all_runs_failed_is_said_plainly():
    """All failed: a report without numbers, with the failures."""
    failed = {(c, r): (Ending.DIVERGED, "nan") for c in range(8) for r in range(3)}
    found = look(planted.plan(replicates=3, failures=failed))
    assert found.comparable.comparison is Comparison.NOTHING
    assert words.lead(found).headline == (
        "There is nothing to compare. No run is complete: all failed or were pruned."
    )
    assert all(share.failed == share.ended == 3 for share in found.of(failures.build).shares)


def lost(*cells, ending=Ending.PRUNED):
    return {(cell, r): (ending, "") for cell in cells for r in range(5)}


def test_a_level_that_was_pruned_whole_leaves_the_other_levels_a_trend():
    """Batch size 128 at the strong imbalance: left out by name, the rest as if it had not been."""
    whole = planted.plan(seed=3)
    less = planted.plan(seed=3, failures=lost(7))
    found = look(less)
    assert found.comparable.reasons == (
        "Left out of comparisons and trends: batch size 128: 1 of 2 cells pruned.",
    )
    y = {(whole.cells[c].factors[B], whole.cells[c].factors[RATIO], r): 100 * float(
            m[-1, whole.layout.index(("test", "minority_accuracy", ""))])
         for (c, r), m in whole.numbers.items()}  # fmt: skip
    x = np.log2([2, 8, 32])
    slopes = [np.polyfit(x, [y[b, 0.05, r] for b in (2, 8, 32)], 1)[0] for r in range(5)]
    assert found.of(trends.build).slopes[0].overall.estimate.value == pytest.approx(np.mean(slopes))
    assert found.of(trends.build).slopes[0].overall.estimate.n == 5
    [strong] = [one for one in found.of(differences.build).exploratory if one.factor.path == RATIO]
    gain = [np.mean([y[b, 0.05, r] - y[b, 1.0, r] for b in (2, 8, 32)]) for r in range(5)]
    assert strong.differences[0].estimate.value == pytest.approx(np.mean(gain))
    assert set(found.of(cells.build)["cell"]) == set(range(1, 9))


def test_a_level_without_any_complete_run_is_named_with_its_fate():
    """All its cells were pruned, or failed, or some of each."""
    pruned = look(planted.plan(levels={B: [2, 8, 32]}, failures=lost(2)))
    assert pruned.comparable.reasons[0].endswith("trends: batch size 32: pruned.")
    failed = look(planted.plan(levels={B: [2, 8, 32]}, failures=lost(2, ending=Ending.DIVERGED)))
    assert failed.comparable.reasons[0].endswith("trends: batch size 32: failed.")
    both = {**lost(6), **lost(7, ending=Ending.DIVERGED)}
    assert (
        look(planted.plan(failures=both)).comparable.reasons[0].endswith("128: pruned or failed.")
    )


def test_a_level_that_failed_whole_is_still_told_at_chance():
    """Failures are never dropped in silence: its verdict, with chance for each failed run."""
    plan = planted.plan(levels={B: [2, 8, 32]}, failures=lost(2, ending=Ending.DIVERGED))
    found = look(plan)
    assert [one.level for one in found.of(differences.build).primary[0].differences] == [8]
    [again] = found.of(differences.build).with_failures
    assert (again.filled, {one.level for one in again.effect.differences}) == (5, {2, 32})
    told = caveats(found)
    assert any("batch size 32 (worse)" in one for one in told)


def test_a_lost_cell_of_two_levels_leaves_the_other_factor():
    """Least is given away: one of three ratios, rather than one of two batch sizes."""
    levels = {B: [2, 8], RATIO: [1.0, 0.1, 0.05]}
    found = look(planted.plan(levels=levels, failures=lost(5)))
    assert found.comparable.reasons[0].endswith("trends: train ratio 0.05: 1 of 2 cells pruned.")
    assert [one.levels for one in found.factors] == [(2, 8), (0.1, 1.0)]


def test_nothing_is_compared_when_one_level_alone_is_left():
    """Two levels, one pruned: its runs are shown, and no comparison is made up."""
    found = look(planted.plan(levels={B: [2, 8]}, failures=lost(1)))
    assert found.comparable.comparison is Comparison.NOTHING
    assert words.lead(found).headline == (
        "There is nothing to compare. No factor keeps two levels that have complete runs."
    )


def test_a_run_that_is_still_to_come_leaves_its_level_in():
    """What is not finished is not lost: the trend waits for it."""
    waiting = {(7, r): (None, "") for r in range(5)}
    found = look(planted.plan(failures=waiting))
    assert found.comparable.reasons == ()
    assert found.factors[0].levels == (2, 8, 32, 128)


def test_a_single_cell_is_shown_and_not_called_empty():
    """Its runs are there; what is missing is something to compare them with."""
    found = look(planted.plan(cells=[{planted.BATCH: 8}], levels={planted.BATCH: [8]}))
    assert words.lead(found).headline == (
        "There is nothing to compare. No factor takes more than one level."
    )
    assert found.of(cells.build)["n"].max() == 5


@pytest.mark.parametrize("replicates", [1, 2])
def test_one_or_two_replicates_have_points_but_no_interval(replicates):
    """n < 3: no interval, and no verdict."""
    found = look(planted.plan(replicates=replicates))
    assert found.of(differences.build).primary[0].differences[0].estimate.n == replicates
    assert not any(
        d.estimate.known for one in found.of(differences.build).primary for d in one.differences
    )
    assert {v.badge for one in found.of(differences.build).primary for v in one.verdicts} == {
        "points only"
    }


@pytest.mark.parametrize("replicates", [3, 4])
def test_three_or_four_replicates_are_never_better_than_suggestive(replicates):
    """However narrow the interval."""
    found = look(planted.plan(replicates=replicates, noise=0.0005))
    badges = [v.badge for one in found.of(differences.build).primary for v in one.verdicts]
    assert all(badge.startswith("suggests") for badge in badges)


def test_a_metric_without_any_spread_is_not_available():
    """Equal numbers in all replicates: n/a, not a zero-width interval."""
    found = look(planted.plan(noise=0.0, truth=planted.flat))
    assert {d.estimate.note for d in found.of(differences.build).primary[0].differences} == {
        "all replicates are equal"
    }
    assert not found.of(trends.build).slopes[0].overall.estimate.known


def test_numbers_that_are_not_finite_are_missing():
    """NaN in a complete run (a class without samples) leaves a hole, counted in n."""
    plan = planted.plan()
    at = plan.layout.index(("test", "minority_accuracy", ""))
    plan.numbers[0, 0][-1, at] = np.nan
    found = look(plan)
    assert found.of(cells.build).iloc[0]["n"] == 4


def test_hidden_and_tuning_cells_are_not_reported():
    """Only cells that the spec still names, and never those that chose the learning rate."""
    plan = planted.plan(levels={B: [2, 8, 32]}, replicates=3)
    plan.cells[2] = replace(plan.cells[2], role="tuning")
    assert look(plan).comparable.cells == (1, 2)


def test_a_factor_that_does_not_always_apply_breaks_the_grid():
    """A conditional factor: cells without it are shown as `not set`, and nothing is paired."""
    paths = {"train.ssl.loss": ["simclr", "vicreg"], "train.ssl.weight": [0.0, 1.0]}
    cells = [{"train.ssl.weight": 0.0}] + [
        {"train.ssl.weight": 1.0, "train.ssl.loss": name} for name in ("simclr", "vicreg")
    ]
    plan = planted.plan(levels=paths, cells=cells, replicates=3)
    found = look(plan)
    assert found.comparable.comparison is Comparison.SCATTER
    assert None in found.factors[0].levels
    frames = load(planted.Memory(plan), plan.sweep.name)
    assert "not set" in page.html(frames)


@pytest.mark.parametrize("levels", [[None, 8], [None, "a"], [True, False], [1, "1"]])
@pytest.mark.parametrize("second", [True, False])
def test_odd_levels_are_levels(levels, second):
    """null, true and a number beside a word: compared and drawn like any other."""
    first, other = ("train.depth", B) if second else (RATIO, "train.depth")
    plan = planted.plan(
        levels={first: levels if second else [1.0, 0.1], other: [2, 8] if second else levels},
        replicates=3,
    )
    found = look(plan)
    assert found.comparable.comparison is Comparison.PAIRED
    assert {
        d.estimate.n for one in found.of(differences.build).primary for d in one.differences
    } == {3}
    assert "table" in page.html(load(planted.Memory(plan), plan.sweep.name))


def test_a_cell_that_is_there_twice_is_not_read_in_pairs():
    """Duplicated rows of the design: two cells of the same levels, so no grid."""
    cells = [{B: 2}, {B: 8}, {B: 8}]
    found = look(planted.plan(cells=cells, levels={B: [2, 8]}))
    assert found.comparable.comparison is Comparison.SCATTER
    assert "do not form a grid" in found.comparable.reasons[0]
