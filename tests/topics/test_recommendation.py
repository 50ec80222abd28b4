"""The recommended cell: chosen on val, by a rule, and told with what it was not told apart from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from planted import BATCH, RATIO, Memory, Plan, plan
from scipy import stats

from sweeper.analysis.frames import load
from sweeper.analysis.view import view_of
from sweeper.errors import InputError
from sweeper.states import Ending
from sweeper.topics.recommendation.estimate import Recommendation, recommend


def recommended(one: Plan, at: Mapping[str, str] | None = None) -> Recommendation:
    frames = load(Memory(one), one.sweep.name)
    return recommend(view_of(frames), at=at)


def column(one: Plan, split: str, metric: str = "minority_accuracy") -> int:
    return one.layout.index((split, metric, ""))


def peak(factors: Mapping[str, Any]) -> float:
    """Best at batch 8, whatever else."""
    return 0.8 - 0.05 * abs(np.log2(factors[BATCH]) - 3)


def test_the_best_on_val_is_taken_at_the_strongest_imbalance() -> None:
    """Batch 8 is planted as the best; the balanced cells do better, and are another problem."""
    made = recommended(plan(truth=lambda f: peak(f) - 0.1 * (f[RATIO] < 1)))
    assert (made.levels[BATCH], made.held) == (8, {RATIO: 0.05})
    assert made.compared == 4
    assert made.config["train"]["batch_size"] == 8
    other = recommended(plan(truth=peak), at={RATIO: "1"})
    assert (other.held, other.levels[RATIO]) == ({RATIO: 1.0}, 1.0)


def test_the_test_split_has_no_say() -> None:
    """Whatever is written into the test numbers, the choice and its rivals stay."""
    one = plan(truth=peak, noise=0.03)
    before = recommended(one)
    rng = np.random.default_rng(5)
    for numbers in one.numbers.values():
        for metric in ("minority_accuracy", "majority_accuracy", "balanced_accuracy"):
            numbers[:, column(one, "test", metric)] = rng.random(len(numbers))
    after = recommended(one)
    assert (after.hash, after.val, after.rivals) == (before.hash, before.val, before.rivals)
    assert after.test != before.test


def test_without_a_validation_split_nothing_is_recommended() -> None:
    """A choice on the test split would flatter itself; the message says what to run instead."""
    frames = load(Memory(plan(truth=peak)), "batch-size-digits")
    bare = tuple(key for key in frames.sweep.layout if key[0] != "val")
    frames = replace(frames, sweep=replace(frames.sweep, layout=bare))
    with pytest.raises(InputError, match="run it under another name with"):
        recommend(view_of(frames))


def test_its_numbers_are_t_intervals_of_its_own_runs() -> None:
    """Mean and interval on test, by scipy, from the planted runs of the chosen cell."""
    one = plan(truth=peak, replicates=6, seed=2)
    made = recommended(one)
    at = next(k for k, cell in enumerate(one.cells) if cell.hash == made.hash)
    own = [100 * one.numbers[at, r][-1, column(one, "test")] for r in range(6)]
    found = made.test[0][1]
    low, high = stats.t.interval(0.95, 5, np.mean(own), stats.sem(own))
    assert (found.value, found.low, found.high) == pytest.approx((np.mean(own), low, high))


def test_rivals_are_the_cells_that_nothing_beats() -> None:
    """By a plain loop of one-sided paired t tests on val, a - 1 comparisons each."""
    one = plan(truth=peak, noise=0.02, seed=4)
    made = recommended(one)
    cells = [k for k, cell in enumerate(one.cells) if cell.factors[RATIO] == 0.05]
    y = {k: [one.numbers[k, r][-1, column(one, "val")] for r in range(5)] for k in cells}
    kept = {
        one.cells[j].hash
        for j in cells
        if not any(
            stats.ttest_rel(y[k], y[j], alternative="greater").pvalue < 0.05 / 3
            for k in cells
            if k != j
        )
    }
    assert {rival.hash for rival in made.rivals} | {made.hash} == kept
    behind = [rival.behind for rival in made.rivals]
    assert behind == sorted(behind)
    assert all(value >= 0 for value in behind)


def test_equal_cells_are_decided_by_their_cost() -> None:
    """Where means are the same to the last bit, the one that trains in less time."""
    one = plan(levels={BATCH: [2, 8]}, noise=0.0, truth=lambda f: 0.7)

    class Slow(Memory):
        def runs(self, sweep_id: int) -> list[Any]:
            return [replace(run, seconds=9.0 if run.cell_id == 1 else 1.0)
                    for run in super().runs(sweep_id)]  # fmt: skip

    for numbers in one.numbers.values():
        numbers[:] = one.numbers[0, 0]
    frames = load(Slow(one), one.sweep.name)
    made = recommend(view_of(frames))
    assert (made.levels[BATCH], made.seconds) == (8, 1.0)


def test_a_loss_is_chosen_where_it_is_lowest() -> None:
    """The direction follows the objective."""
    one = plan(truth=peak, metric="loss")
    made = recommended(one)
    cells = [k for k, cell in enumerate(one.cells) if cell.factors[RATIO] == 0.05]
    means = {
        one.cells[k].hash: np.mean(
            [one.numbers[k, r][-1, column(one, "val", "loss")] for r in range(5)]
        )
        for k in cells
    }
    assert made.hash == min(means, key=lambda key: means[key])
    assert made.rule.startswith("lowest mean loss")


def test_a_cell_without_all_its_runs_is_not_chosen() -> None:
    """A setting that sometimes fails is no recommendation, and is counted."""
    one = plan(truth=peak)
    levels = [(cell.factors[BATCH], cell.factors[RATIO]) for cell in one.cells]
    best = levels.index((8, 0.05))
    made = recommended(replace(one, endings={(best, 3): (Ending.DIVERGED, "nan")}))
    assert made.levels[BATCH] != 8
    assert "1 cells have fewer complete replicates and were not considered." in made.remarks


@pytest.mark.parametrize("method", ["random", "qmc", "tpe"])
def test_drawn_cells_come_with_a_warning(method: str) -> None:
    """The best of many flatters itself; a condition among the factors is named."""
    made = recommended(plan(truth=peak, method=method))
    told = " ".join(made.remarks)
    assert f"drawn by {method}" in told
    assert "flatters itself" in told
    assert "differ in train ratio, which is a condition" in told
    assert made.compared == 8


def test_little_is_said_to_be_little() -> None:
    """Two replicates: no interval, nobody told apart, and so it is said."""
    made = recommended(plan(truth=peak, replicates=2))
    assert not made.val.known
    assert len(made.rivals) == 3
    assert any("no two cells can be told apart" in one for one in made.remarks)


def test_guessing_is_not_recommended_in_earnest() -> None:
    """All at chance: the remark says it."""
    made = recommended(plan(truth=lambda f: 0.1, noise=0.001))
    assert any("no better than guessing" in one for one in made.remarks)


def test_what_cannot_be_chosen_is_refused() -> None:
    """No complete run; an unknown factor or level; another condition that is not named."""
    pending = dict.fromkeys(plan().numbers, (None, ""))
    with pytest.raises(InputError, match="has no complete run"):
        recommended(plan(failures=pending))
    with pytest.raises(
        InputError, match=r"no factor of this sweep; did you mean 'train.batch_size'"
    ):
        recommended(plan(), at={"train.batchsize": "8"})
    with pytest.raises(InputError, match="no cell has this level"):
        recommended(plan(), at={BATCH: "7"})
    levels = {BATCH: [2, 8], "data.dataset": ["digits", "letters"]}
    with pytest.raises(
        InputError, match="is a condition, not a choice: name the one that is yours"
    ):
        recommended(plan(levels=levels, truth=peak))
    assert recommended(plan(levels=levels, truth=peak), at={"data.dataset": "letters"})
