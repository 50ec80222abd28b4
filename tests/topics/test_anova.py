"""The exact table: statsmodels and a published example as oracle, properties, refusals."""

import math
from itertools import product

import numpy as np
import pandas as pd
import planted
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import AnovaRM, anova_lm
from statsmodels.stats.multitest import multipletests

from sweeper.analysis.factors import Factor
from sweeper.analysis.frames import load
from sweeper.analysis.measures import Measure
from sweeper.analysis.view import view_of
from sweeper.analysis.withheld import Withheld
from sweeper.states import Ending
from sweeper.topics.anova import estimate as anova
from sweeper.topics.anova import text as anova_text
from sweeper.topics.anova.estimate import Anova, epsilon_test, size_bounds, squares

ACCURACY = Measure("accuracy", "accuracy", ("test", "accuracy", ""), "points", "maximize")


def factors(*sizes):
    return tuple(
        Factor(f"train.{name}", name, tuple(range(1, size + 1)), "linear", 1)
        for name, size in zip("abcd", sizes, strict=False)
    )


def simulated(seed, *sizes, replicates=5):
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(*sizes, replicates)) + 2 * rng.normal(size=replicates)
    for axis, size in enumerate(sizes):
        shape = [1] * (len(sizes) + 1)
        shape[axis] = size
        y = y + rng.normal(size=shape)
    return y


def long(y):
    names = list("abcd")[: y.ndim - 1]
    rows = [(*at, y[at]) for at in np.ndindex(*y.shape)]
    return pd.DataFrame(rows, columns=[*names, "r", "y"])


@pytest.mark.parametrize("sizes", [(4, 2), (3, 2, 2), (2, 3, 4)])
def test_the_table_is_that_of_least_squares_type_two(sizes):
    """Sums of squares, F and p of every effect, to nine digits, with the replicate as block."""
    y = simulated(1, *sizes)
    names = "abcd"[: len(sizes)]
    model = ols(f"y ~ C(r) + {' * '.join(f'C({one})' for one in names)}", long(y)).fit()
    table, found = anova_lm(model, typ=2), squares(y, factors=len(sizes))
    for at, axes in enumerate(found.axes):
        row = table.loc[":".join(f"C({names[axis]})" for axis in axes)]
        assert found.ss[at] == pytest.approx(row["sum_sq"], rel=1e-9)
        assert found.df[at] == row["df"]
        assert found.f[at] == pytest.approx(row["F"], rel=1e-9)
        assert found.p[at] == pytest.approx(row["PR(>F)"], rel=1e-8)
    assert found.residual_df == table.loc["Residual", "df"]
    assert len(found.axes) == len(table) - 2  # but for blocks and noise


def test_one_factor_is_the_repeated_measures_table():
    """With one factor the noise is the factor's own error: AnovaRM to nine digits."""
    y = simulated(2, 4, replicates=6)
    table = AnovaRM(long(y), "y", "r", within=["a"]).fit().anova_table
    found = squares(y, factors=1)
    assert found.f[0] == pytest.approx(table["F Value"].iloc[0], rel=1e-9)
    assert found.p[0] == pytest.approx(table["Pr > F"].iloc[0], rel=1e-9)


def test_the_repeats_own_error_is_that_of_repeated_measures():
    """At epsilon 1 (one degree of freedom) the repeat is AnovaRM, to nine digits."""
    y = simulated(3, 2, 2, replicates=7)
    table = AnovaRM(long(y), "y", "r", within=["a", "b"]).fit().anova_table
    for axes, p in zip([(0,), (1,), (0, 1)], table["Pr > F"], strict=True):
        epsilon, seen = epsilon_test(y, axes=axes, factors=2)
        assert epsilon == pytest.approx(1.0, rel=1e-12)
        assert seen == pytest.approx(p, rel=1e-9)


def test_epsilon_is_boxs_formula_on_the_covariance():
    """Greenhouse and Geisser from the double-centred covariance of the levels."""
    y = simulated(4, 4, replicates=8)
    s = np.cov(y)
    a = 4
    centred = s - s.mean(axis=0) - s.mean(axis=1)[:, None] + s.mean()
    expected = np.trace(centred) ** 2 / ((a - 1) * (centred**2).sum())
    epsilon, p = epsilon_test(y, axes=(0,), factors=1)
    f = squares(y, factors=1).f[0]
    assert epsilon == pytest.approx(expected, rel=1e-9)
    assert p == pytest.approx(stats.f.sf(f, 3 * expected, 3 * 7 * expected), rel=1e-9)


@pytest.mark.parametrize(("replicates", "bound"), [(3, True), (4, True), (5, False)])
def test_epsilon_is_its_lower_bound_where_replicates_do_not_outnumber_levels(replicates, bound):
    """An estimate from so few would be too bold."""
    epsilon, _ = epsilon_test(simulated(5, 4, replicates=replicates), axes=(0,), factors=1)
    assert (float(epsilon) == 1 / 3) is bound


def test_a_published_randomised_block_example():
    """Montgomery, Design and Analysis of Experiments, vascular grafts: 4 pressures, 6 batches.

    Published: SS 178.17 and 192.25, noise 109.89 with 15 degrees of freedom (MS 7.33), F 8.11,
    p 0.0019.
    """
    y = np.array([
        [90.3, 89.2, 98.2, 93.9, 87.4, 97.9],
        [92.5, 89.5, 90.6, 94.7, 87.0, 95.8],
        [85.5, 90.8, 89.6, 86.2, 88.0, 93.4],
        [82.5, 89.5, 85.6, 87.4, 78.9, 90.7],
    ])  # fmt: skip
    found = squares(y, factors=1)
    assert found.ss[0] == pytest.approx(178.17, abs=0.005)
    assert (found.residual_df, float(found.residual)) == (15, pytest.approx(7.33, abs=0.005))
    assert found.f[0] == pytest.approx(8.11, abs=0.005)
    assert found.p[0] == pytest.approx(0.0019, abs=5e-5)


def test_the_sizes_bounds_put_f_at_the_ends_of_its_law():
    """scipy's noncentral F: F is the .975 quantile at the low end, the .025 at the high one."""
    low, high = size_bounds([4.0, 30.0, 900.0], df=3, residual_df=28, n=40)
    for f, a, b in zip([4.0, 30.0, 900.0], low, high, strict=True):
        assert stats.ncf.cdf(f, 3, 28, 40 * a) == pytest.approx(0.975, abs=1e-8)
        assert stats.ncf.cdf(f, 3, 28, 40 * b) == pytest.approx(0.025, abs=1e-8)


def test_a_small_f_is_compatible_with_nothing():
    """Where even no effect gives such an F often, the low end is 0; below all of it, both are."""
    low, high = size_bounds([1.0, 0.001], df=3, residual_df=28, n=40)
    assert (low[0], low[1], high[1]) == (0.0, 0.0, 0.0)
    assert high[0] > 0


def test_components_are_recovered_and_a_null_factor_gets_nothing_on_average():
    """v = (SS - df MS) / N is unbiased before it is cut at 0."""
    rng = np.random.default_rng(6)
    effect = np.array([-1.0, 0.0, 1.0])[:, None, None]
    y = effect + rng.normal(size=(4000, 3, 2, 4))
    found = squares(y, factors=2)
    df = np.array(found.df)[:, None]
    components = (found.ss - df * found.residual) / 24
    error = components.std(axis=1) / math.sqrt(4000)
    assert np.all(np.abs(components.mean(axis=1) - [2 / 3, 0, 0]) <= 4 * error)


def test_p_is_adjusted_by_holm_over_factors_and_by_fdr_over_interactions():
    """Each family by statsmodels' own."""
    found = anova.anova(simulated(7, 2, 3, 2), factors=factors(2, 3, 2), measure=ACCURACY)
    main = [one for one in found.effects if len(one.factors) == 1]
    rest = [one for one in found.effects if len(one.factors) > 1]
    for family, method in ((main, "holm"), (rest, "fdr_bh")):
        expected = multipletests([one.p for one in family], method=method)[1]
        assert [one.p_adjusted for one in family] == pytest.approx(list(expected), rel=1e-12)
    assert [len(one.factors) for one in found.effects] == [1, 1, 1, 2, 2, 2, 3]


def test_interactions_of_four_factors_are_pooled():
    """Up to order three one by one; what is left is one row, and nothing is lost."""
    y = simulated(8, 2, 2, 2, 3, replicates=3)
    found = squares(y, factors=4)
    assert len(found.axes) == 4 + 6 + 4 + 1
    means = y.mean(axis=-1)
    assert found.ss.sum() == pytest.approx(3 * ((means - means.mean()) ** 2).sum(), rel=1e-9)
    assert sum(found.df) == 23
    table = anova.anova(y, factors=factors(2, 2, 2, 3), measure=ACCURACY)
    assert table.effects[-1].name == "higher interactions"
    assert math.isnan(table.effects[-1].p_epsilon)


def test_many_grids_at_once_give_what_each_gives():
    """Leading axes are sweeps."""
    y = np.stack([simulated(seed, 3, 2) for seed in range(4)])
    found = squares(y, factors=2)
    for at in range(4):
        one = squares(y[at], factors=2)
        np.testing.assert_allclose(found.f[:, at], one.f, rtol=1e-12)
        for axes in one.axes:
            together = epsilon_test(y, axes=axes, factors=2)[1][at]
            assert together == pytest.approx(float(epsilon_test(y[at], axes=axes, factors=2)[1]))


grids = st.lists(st.floats(0, 100), min_size=24, max_size=24)


@settings(max_examples=60)
@given(grids, st.randoms(use_true_random=False))
def test_offsets_of_replicates_and_the_order_of_levels_change_nothing(values, random):
    """Blocks cancel; levels and replicates have no order."""
    y = np.round(np.reshape(values, (3, 2, 4)), 3)
    moved = y[random.sample(range(3), 3)][:, ::-1, random.sample(range(4), 4)]
    moved = moved + np.array([random.randint(-50, 50) for _ in range(4)])
    one, two = squares(y, factors=2), squares(moved, factors=2)
    np.testing.assert_allclose(two.ss, one.ss, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(two.residual, one.residual, rtol=1e-6, atol=1e-6)


def test_equal_replicates_are_withheld():
    """No noise: nothing to hold the factors against, whatever they do."""
    y = np.arange(6.0).reshape(3, 2, 1) + np.arange(4.0)
    found = anova.anova(y, factors=factors(3, 2), measure=ACCURACY)
    assert isinstance(found, Withheld)
    assert "no noise" in found.reason


def answer(**settings):
    plan = planted.plan(**settings)
    return view_of(load(planted.Memory(plan), plan.sweep.name))


def test_replicates_that_lack_a_cell_are_left_out_and_counted():
    """Complete blocks only."""
    found = answer(failures={(3, 1): (Ending.DIVERGED, "nan")}, replicates=6).of(anova.build)
    assert isinstance(found, Anova)
    assert (found.n, found.dropped, found.cells) == (5, (1,), 8)


def test_fewer_than_three_complete_replicates_are_withheld():
    """With the reason."""
    found = answer(replicates=2).of(anova.build)
    assert isinstance(found, Withheld)
    assert found.reason.startswith("2 replicates hold every cell")


def test_one_factor_and_drawn_cells_have_no_table():
    """Nothing to share out, or no grid."""
    levels = {planted.BATCH: [2, 8, 32]}
    assert answer(levels=levels).of(anova.build) is None
    assert answer(levels=levels, method="qmc").of(anova.build) is None


def test_the_answers_table_is_made_from_the_planned_numbers():
    """Axes and replicates of the cube in the right places: least squares on the plan itself."""
    plan = planted.plan(seed=9)
    at = plan.layout.index(("test", "minority_accuracy", ""))
    rows = [
        (*(plan.cells[cell].factors[path] for path in (planted.BATCH, planted.RATIO)), r,
         100 * float(matrix[-1, at]))
        for (cell, r), matrix in plan.numbers.items()
    ]  # fmt: skip
    table = anova_lm(
        ols("y ~ C(r) + C(b) * C(q)", pd.DataFrame(rows, columns=["b", "q", "r", "y"])).fit(), typ=2
    )
    found = view_of(load(planted.Memory(plan), plan.sweep.name)).of(anova.build)
    seen = {one.name: one.f for one in found.effects}
    assert seen == pytest.approx(
        {"batch size": table.loc["C(b)", "F"], "train ratio": table.loc["C(q)", "F"],
         "batch size \N{MULTIPLICATION SIGN} train ratio": table.loc["C(b):C(q)", "F"]}, rel=1e-6
    )  # fmt: skip


def test_the_table_in_words():
    """Shares, what stands out, what does not, and the noise; a null plant claims nothing."""
    told = list(anova_text.explained(answer(noise=0.004).of(anova.build)))
    assert told[0].startswith("Of what the factors explain: train ratio 7")
    assert told[1].endswith("stand out from the noise.")
    null = answer(truth=planted.flat, seed=12).of(anova.build)
    assert not any(one.clear for one in null.effects)
    assert "stand" not in " ".join(anova_text.explained(null)).replace("stands out from", "")


def test_every_effect_is_a_row_of_the_export():
    """With interval, n, family and methods."""
    rows = anova.rows(answer(noise=0.004).of(anova.build))
    assert len(rows) == 3
    assert {"f2_low", "f2_high", "n", "family", "method", "interval"} <= set(rows.columns)
    assert list(anova.rows(Withheld("why"))["withheld"]) == ["why"]
    assert len(anova.rows(None)) == 0


@pytest.mark.parametrize("at", list(product([0, 2], [0, 1])))
def test_a_grid_with_a_combination_missing_is_no_grid(at):
    """The cells count as drawn: no table at all."""
    levels = {planted.BATCH: [2, 8, 32], planted.RATIO: [1.0, 0.05]}
    cells = [
        {planted.BATCH: b, planted.RATIO: q}
        for i, b in enumerate(levels[planted.BATCH])
        for j, q in enumerate(levels[planted.RATIO])
        if (i, j) != at
    ]
    assert answer(levels=levels, cells=cells).of(anova.build) is None
