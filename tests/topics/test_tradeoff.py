"""The exchange plane: joint regions, the Pareto set, and the best cells at each price."""

import math
from dataclasses import replace

import numpy as np
import planted
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from sweeper.analysis.frames import load
from sweeper.analysis.view import view_of
from sweeper.states import Ending
from sweeper.topics.tradeoff import estimate as tradeoff
from sweeper.topics.tradeoff import text as tradeoff_text
from sweeper.topics.tradeoff.estimate import PRICES, pareto, prices, region

DRAWS = 400


def built(plan):
    return view_of(load(planted.Memory(plan), plan.sweep.name)).of(tradeoff.build)


def found(plan):
    answer = built(plan)
    assert answer is not None
    return answer


@given(arrays(float, st.tuples(st.integers(1, 12), st.just(2)), elements=st.integers(0, 5)))
def test_the_pareto_set_is_that_of_a_double_loop(means):
    """Nobody is at least as good in both and better in one; equal cells both stay."""
    expected = [
        not any(
            all(b >= a for a, b in zip(one, two, strict=True)) and tuple(one) != tuple(two)
            for two in means
        )
        for one in means
    ]
    assert list(pareto(means)) == expected


@pytest.mark.parametrize("replicates", [4, 5, 10])
def test_the_joint_region_is_covered_95_times_in_100(replicates):
    """The true pair lies in the region, whatever the correlation; judged by scipy's F."""
    rng = np.random.default_rng(replicates)
    hits = []
    for _ in range(DRAWS):
        y = rng.multivariate_normal([80, 60], [[1, 1.2], [1.2, 4]], replicates)
        hits.append(inside((80, 60), region(y).outline))
    assert abs(np.mean(hits) - 0.95) <= 4 * math.sqrt(0.95 * 0.05 / DRAWS) + 0.005


def inside(point, outline):
    """Whether a convex outline, gone round once, holds a point: all turns go one way."""
    corners = np.array(outline) - point
    turns = corners[:-1, 0] * corners[1:, 1] - corners[:-1, 1] * corners[1:, 0]
    return (turns > 0).all() or (turns < 0).all()


def test_the_outline_lies_where_hotellings_test_has_p_5_percent():
    """n (m - mu)' S^-1 (m - mu) (n - 2) / (2 (n - 1)) is F(2, n - 2)."""
    y = np.random.default_rng(1).normal(size=(6, 2)) @ [[2, 1], [0, 1]]
    inverse, mean = np.linalg.inv(np.cov(y.T)), y.mean(axis=0)
    for corner in region(y).outline:
        d = mean - corner
        p = stats.f.sf(6 * d @ inverse @ d * 4 / (2 * 5), 2, 4)
        assert p == pytest.approx(0.05)


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_fewer_than_four_replicates_have_points_and_no_region(n):
    """And say so."""
    one = region(np.arange(2.0 * n).reshape(n, 2))
    assert one.outline == ()
    assert one.note == f"n = {n}"


@pytest.mark.parametrize("y", [[[1, 2]] * 5, [[i, 2 * i] for i in range(5)]])
def test_accuracies_without_a_spread_of_their_own_have_no_region(y):
    """Zero variance, or one that moves with the other exactly."""
    assert "move as one" in region(y).note


def test_the_best_cells_are_those_of_a_plain_loop():
    """Each cell against each other: two-sided paired t tests, Bonferroni over 3 pairs, by scipy."""
    rng = np.random.default_rng(2)
    y = np.array([[[80], [76], [75]], [[50], [56], [58]]]) + rng.normal(0, 1, (2, 3, 6))
    listed, note = prices(y, cells=[4, 5, 6])
    assert note == ""
    for one in listed:
        score = (one.weight * y[1] + y[0]) / (one.weight + 1)
        best = [
            cell for j, cell in enumerate((4, 5, 6))
            if not any(
                stats.ttest_rel(score[k], score[j], alternative="greater").pvalue < 0.05 / (2 * 3)
                for k in range(3) if k != j
            )
        ]  # fmt: skip
        assert list(one.best) == best
        assert one.family == 3
    assert listed[0].best == (4,)
    assert 4 not in listed[-1].best


def test_prices_are_a_fixed_grid_around_one():
    """21 of them, 0.1 to 10, the middle one 1."""
    assert len(PRICES) == 21
    assert (PRICES[0], PRICES[10], PRICES[-1]) == pytest.approx((0.1, 1.0, 10.0))


@pytest.mark.parametrize("weight", [0.1, 1.0, 10.0])
def test_the_truly_best_cell_is_kept_95_times_in_100(weight):
    """At one price."""
    rng = np.random.default_rng(int(10 * weight))
    truth = np.array([[80, 79, 70], [50, 51, 55]], dtype=float)[:, :, None]
    best = int(np.argmax((weight * truth[1] + truth[0]) / (weight + 1)))
    kept = [
        best in prices(truth + rng.normal(0, [[[1.0]], [[3.0]]], (2, 3, 5)), cells=range(3),
                       weights=[weight])[0][0].best
        for _ in range(DRAWS)
    ]  # fmt: skip
    assert np.mean(kept) >= 0.95 - 4 * math.sqrt(0.95 * 0.05 / DRAWS)


@pytest.fixture(scope="module")
def quiet():
    return found(planted.plan(noise=0.004))


def test_a_sweep_has_a_spot_for_each_cell_and_the_numbers_of_its_runs(quiet):
    """Values in points, by replicate; the sole best cell at a price that nothing disputes."""
    plan, one = planted.plan(noise=0.004), quiet
    assert [spot.cell for spot in one.spots] == list(range(1, 9))
    column = plan.layout.index(("test", "minority_accuracy", ""))
    spot = one.spots[3]
    assert spot.minority.value == pytest.approx(
        100 * np.mean([plan.numbers[3, r][-1, column] for r in range(5)])
    )
    assert [r for r, _, _ in spot.replicates] == [0, 1, 2, 3, 4]
    assert "move as one" in spot.region.note  # planted: the majority follows the minority
    assert one.apart == ("train ratio",)
    assert one.prices[10].best == (1, 2)  # batch size 2 at either ratio
    assert [spot.cell for spot in one.spots if spot.pareto] == [1, 2]


def test_two_replicates_give_spots_and_no_prices():
    """Points only, and why."""
    one = found(planted.plan(replicates=2))
    assert one.prices == ()
    assert "fewer than 3 replicates" in one.note
    assert not one.spots[0].minority.known


def test_a_cell_without_a_complete_run_is_no_spot():
    """All runs lost: the cell is left out, the others stay."""
    endings = {(0, r): (Ending.DIVERGED, "nan") for r in range(5)}
    one = found(replace(planted.plan(), endings=endings))
    assert 1 not in [spot.cell for spot in one.spots]


def test_one_cell_has_no_exchange():
    """Nothing to choose between."""
    assert built(planted.plan(levels={planted.BATCH: [8]})) is None


def test_cells_drawn_one_by_one_have_an_exchange_too():
    """A description: no grid is needed."""
    cells = [{planted.BATCH: 2 ** (k % 5), planted.RATIO: 0.05 + 0.01 * k} for k in range(6)]
    one = found(planted.plan(cells=cells, method="random"))
    assert len(one.spots) == 6


def test_cells_on_other_data_are_not_compared():
    """The data set is a condition: of each, the best cells are found by themselves."""
    levels = {planted.BATCH: [2, 32], "data.dataset": ["digits", "letters"]}

    def truth(factors):
        easier = 0.1 * (factors["data.dataset"] == "letters")
        return 0.6 + easier + 0.1 * (factors[planted.BATCH] == 2)

    one = found(planted.plan(levels=levels, truth=truth, noise=0.004))
    assert one.apart == ("dataset",)
    assert {best for price in one.prices for best in price.best} == {1, 2}


def test_a_price_is_said_in_words(quiet):
    """The weight, how many cells, which."""
    told = tradeoff_text.priced(quiet.prices[-1], names=["batch size 2", "batch size 8"], of=8)
    assert told.startswith("A minority error counts as 10 majority errors. ")
    assert "of 8 cells may be best" in told
    assert told.endswith("6 pairs at once): batch size 2; batch size 8.")
    assert tradeoff_text.weight(1.0) == "A minority error counts as much as a majority error"
