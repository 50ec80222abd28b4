"""The gate: what may be compared, and what is said where it may not."""

from dataclasses import replace

import numpy as np
import planted
import pytest

from sweeper.analysis import words
from sweeper.analysis.answer import answer
from sweeper.analysis.comparable import Reading
from sweeper.analysis.frames import load
from sweeper.report import page
from sweeper.states import Ending

B, RATIO = planted.BATCH, planted.RATIO


def look(plan):
    return answer(load(planted.Memory(plan), plan.sweep.name))


def test_a_full_grid_is_read_in_pairs():
    """Factorial, one budget: nothing is refused."""
    found = look(planted.plan(replicates=3))
    assert found.gate.reading is Reading.PAIRED
    assert found.gate.reasons == ()


@pytest.mark.parametrize("method", ["qmc", "random", "tpe", "gp"])
def test_drawn_cells_get_no_paired_test(method):
    """Cells that differ in every factor at once are described; the gate says why."""
    rng = np.random.default_rng(0)
    cells = [{B: int(2 ** rng.integers(1, 8)), "train.width": float(rng.uniform(1, 4))}
             for _ in range(12)]  # fmt: skip
    found = look(planted.plan(cells=cells, levels={B: [2], "train.width": [1.0]}, method=method))
    assert found.gate.reading is Reading.SCATTER
    assert method in found.gate.reasons[0]
    assert not found.effects
    assert not found.slopes
    assert found.ranks[B] < -0.5


def test_an_incomplete_grid_is_not_read_in_pairs():
    """Levels that meet different levels of the other factor are confounded with it."""
    grid = [{B: 2, RATIO: 1.0}, {B: 8, RATIO: 1.0}, {B: 2, RATIO: 0.05}]
    found = look(planted.plan(cells=grid))
    assert found.gate.reading is Reading.SCATTER
    assert "3 of 4" in found.gate.reasons[0]


def test_cells_of_another_budget_are_left_out_by_name():
    """Values reached at different budgets are never mixed."""
    plan = planted.plan(levels={B: [2, 8, 32]})
    odd = plan.cells[2]
    config = {**odd.config, "train": {**odd.config["train"], "epochs": 60}}
    plan.cells[2] = replace(odd, config=config)
    found = look(plan)
    assert found.gate.cells == (1, 2)
    assert "another budget" in found.gate.reasons[0]
    assert found.factors[0].levels == (2, 8)
    assert found.slopes[0].overall.estimate.n == 5


def test_no_finished_run_is_said_plainly():
    """Nothing to compare is a state of its own, not an error."""
    waiting = {(c, r): (None, "") for c in range(8) for r in range(2)}
    found = look(planted.plan(replicates=2, failures=waiting))
    assert found.gate.reading is Reading.NOTHING
    assert "No run has finished" in found.gate.reasons[-1]


def test_all_runs_failed_is_said_plainly():
    """All failed: a report without numbers, with the failures."""
    failed = {(c, r): (Ending.DIVERGED, "nan") for c in range(8) for r in range(3)}
    found = look(planted.plan(replicates=3, failures=failed))
    assert found.gate.reading is Reading.NOTHING
    assert words.lead(found).headline == (
        "There is nothing to compare. No run is complete: all failed or were pruned."
    )
    assert all(share.failed == share.ended == 3 for share in found.failures)


def test_a_single_cell_is_shown_and_not_called_empty():
    """Its runs are there; what is missing is something to compare them with."""
    found = look(planted.plan(cells=[{planted.BATCH: 8}], levels={planted.BATCH: [8]}))
    assert words.lead(found).headline == (
        "There is nothing to compare. No factor takes more than one level."
    )
    assert found.cells["n"].max() == 5


@pytest.mark.parametrize("replicates", [1, 2])
def test_one_or_two_replicates_have_points_but_no_interval(replicates):
    """n < 3: no interval, and no verdict."""
    found = look(planted.plan(replicates=replicates))
    assert found.effects[0].differences[0].estimate.n == replicates
    assert not any(d.estimate.known for one in found.effects for d in one.differences)
    assert {v.badge for one in found.effects for v in one.verdicts} == {"points only"}


@pytest.mark.parametrize("replicates", [3, 4])
def test_three_or_four_replicates_are_never_better_than_suggestive(replicates):
    """However narrow the interval."""
    found = look(planted.plan(replicates=replicates, noise=0.0005))
    badges = [v.badge for one in found.effects for v in one.verdicts]
    assert all(badge.startswith("suggests") for badge in badges)


def test_a_metric_without_any_spread_is_not_available():
    """Equal numbers in all replicates: n/a, not a zero-width interval."""
    found = look(planted.plan(noise=0.0, truth=planted.flat))
    assert {d.estimate.note for d in found.effects[0].differences} == {"all replicates are equal"}
    assert not found.slopes[0].overall.estimate.known


def test_numbers_that_are_not_finite_are_missing():
    """NaN in a complete run (a class without samples) leaves a hole, counted in n."""
    plan = planted.plan()
    at = plan.layout.index(("test", "minority_accuracy", ""))
    plan.numbers[0, 0][-1, at] = np.nan
    found = look(plan)
    assert found.cells.iloc[0]["n"] == 4


def test_hidden_and_tuning_cells_are_not_reported():
    """Only cells that the spec still names, and never those that chose the learning rate."""
    plan = planted.plan(levels={B: [2, 8, 32]}, replicates=3)
    plan.cells[2] = replace(plan.cells[2], role="tuning")
    assert look(plan).gate.cells == (1, 2)


def test_a_factor_that_does_not_always_apply_breaks_the_grid():
    """A conditional factor: cells without it are shown as `not set`, and nothing is paired."""
    paths = {"train.ssl.loss": ["simclr", "vicreg"], "train.ssl.weight": [0.0, 1.0]}
    cells = [{"train.ssl.weight": 0.0}] + [
        {"train.ssl.weight": 1.0, "train.ssl.loss": name} for name in ("simclr", "vicreg")
    ]
    plan = planted.plan(levels=paths, cells=cells, replicates=3)
    found = look(plan)
    assert found.gate.reading is Reading.SCATTER
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
    assert found.gate.reading is Reading.PAIRED
    assert {d.estimate.n for one in found.effects for d in one.differences} == {3}
    assert "table" in page.html(load(planted.Memory(plan), plan.sweep.name))
