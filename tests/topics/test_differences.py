"""Cells, differences, slopes and failures, recomputed in plain numpy from the planted numbers."""

import math

import numpy as np
import pandas as pd
import planted
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sweeper.analysis import effects, trend
from sweeper.analysis.comparable import scientific
from sweeper.analysis.factors import Factor, axes
from sweeper.analysis.frames import load
from sweeper.analysis.measures import measures, responses
from sweeper.analysis.verdicts import Word
from sweeper.analysis.view import view_of
from sweeper.states import Ending
from sweeper.topics.cells import estimate as cells
from sweeper.topics.differences import estimate as differences
from sweeper.topics.failures import estimate as failures
from sweeper.topics.trends import estimate as trends

B, RATIO = planted.BATCH, planted.RATIO
X = Factor(B, "batch size", (2, 8, 32, 128), "log2", 8)


def read(plan):
    return load(planted.Memory(plan), plan.sweep.name)


def factors_of(plan):
    frames = read(plan)
    return scientific(frames, cells=list(frames.cells.index))


def numbers_of(plan, key=("test", "minority_accuracy", "")):
    """points[batch size, ratio, replicate] straight from the plan."""
    at = plan.layout.index(key)
    out = {}
    for (cell, r), matrix in plan.numbers.items():
        factors = plan.cells[cell].factors
        out[factors[B], factors[RATIO], r] = 100 * float(matrix[-1, at])
    return out


@pytest.fixture(scope="module")
def plan():
    return planted.plan(seed=4)


@pytest.fixture(scope="module")
def found(plan):
    return view_of(read(plan))


def test_a_cells_row_is_the_plain_mean_and_t_interval_of_its_replicates(plan, found):
    """n, mean, sd, median and bounds of every cell, by hand."""
    known = numbers_of(plan)
    rows = found.of(cells.build)[found.of(cells.build)["measure"] == "minority_accuracy"]
    assert len(rows) == 8
    for _, row in rows.iterrows():
        y = np.array([known[row[B], row[RATIO], r] for r in range(5)])
        half = stats.t.ppf(0.975, 4) * y.std(ddof=1) / math.sqrt(5)
        assert row["n"] == 5
        assert (row["mean"], row["sd"], row["median"]) == pytest.approx(
            (y.mean(), y.std(ddof=1), np.median(y))
        )
        assert (row["low"], row["high"]) == pytest.approx((y.mean() - half, y.mean() + half))


def test_differences_are_paired_within_replicates_where_the_question_asks(plan, found):
    """Each level minus the reference at the strongest imbalance, over all six pairs, by scipy."""
    known = numbers_of(plan)
    [effect] = found.of(differences.build).primary
    assert (effect.factor.path, effect.where) == (B, "train ratio 0.05")
    assert [d.level for d in effect.differences] == [2, 32, 128]
    for d, verdict in zip(effect.differences, effect.verdicts, strict=True):
        level, base = ([known[b, 0.05, r] for r in range(5)] for b in (d.level, 8))
        result = stats.ttest_rel(level, base)
        bounds = result.confidence_interval(1 - 0.05 / 6)
        assert d.estimate.p == pytest.approx(result.pvalue, rel=1e-9)
        assert d.p_adjusted == pytest.approx(min(6 * result.pvalue, 1.0), rel=1e-9)
        assert (d.estimate.low, d.estimate.high) == pytest.approx((bounds.low, bounds.high))
        assert d.correlation == pytest.approx(np.corrcoef(level, base)[0, 1])
        assert (verdict.word is Word.BETTER) is bool(bounds.low > 0)
        assert (verdict.word is Word.WORSE) is bool(bounds.high < 0)


def test_what_is_exploratory_has_an_interval_and_no_verdict(plan, found):
    """The condition, the balanced data, other measures; nothing that a primary one says again."""
    known = numbers_of(plan)
    listed = found.of(differences.build).exploratory
    assert not any(one.verdicts for one in listed)
    told = [(one.factor.path, one.measure.name, one.where) for one in listed]
    assert len(told) == len(set(told))
    assert (B, "minority_accuracy", "train ratio 0.05") not in told
    assert (RATIO, "minority_accuracy", "mean over all") in told
    weak = next(one for one in listed if one.measure is found.objective and one.at == 1.0)
    for d in weak.differences:
        level, base = ([known[b, 1.0, r] for r in range(5)] for b in (d.level, 8))
        bounds = stats.ttest_rel(level, base).confidence_interval(1 - 0.05 / 3)
        assert (d.estimate.low, d.estimate.high) == pytest.approx((bounds.low, bounds.high))


def test_slopes_are_least_squares_within_each_replicate(plan, found):
    """numpy's polyfit in each replicate gives the same mean, per imbalance level too."""
    known, x = numbers_of(plan), np.log2([2, 8, 32, 128])
    one = found.of(trends.build).slopes[0]
    assert (one.condition, [line.at for line in one.lines]) == ("train ratio 0.05", [1.0])
    for line, ratio in ((one.overall, 0.05), (one.lines[0], 1.0)):
        y = [[known[b, ratio, r] for b in (2, 8, 32, 128)] for r in range(5)]
        b = [np.polyfit(x, row, 1)[0] for row in y]
        assert line.estimate.value == pytest.approx(np.mean(b))
        assert line.estimate.sd == pytest.approx(np.std(b, ddof=1))


def test_the_interaction_is_the_slope_under_strong_minus_weak_imbalance(found):
    """Planted: 2 points more per doubling under imbalance."""
    slope = found.of(trends.build).slopes[0]
    one, strong, [weak] = slope.interaction, slope.overall, slope.lines
    assert (one.weak, one.strong) == (1.0, 0.05)
    d = [strong.by_replicate[r] - weak.by_replicate[r] for r in range(5)]
    assert one.estimate.value == pytest.approx(np.mean(d))
    assert one.estimate.low < -2.0 < one.estimate.high


def test_with_two_levels_the_interaction_is_the_difference_of_differences():
    """2.4: for two levels both are the same, per doubling."""
    plan = planted.plan(levels={B: [2, 32], RATIO: [1.0, 0.05]}, seed=1)
    known, found = numbers_of(plan), view_of(read(plan))
    by_hand = [
        (known[32, 0.05, r] - known[2, 0.05, r]) - (known[32, 1.0, r] - known[2, 1.0, r])
        for r in range(5)
    ]
    value = found.of(trends.build).slopes[0].interaction.estimate.value
    assert 4 * value == pytest.approx(np.mean(by_hand))


def test_a_word_factors_interaction_is_the_difference_of_differences():
    """Mixup gains 5 points, 8 more under imbalance: each level by hand, simultaneous."""
    path = "train.augmentation"

    def truth(factors):
        gain = {"none": 0.0, "mixup": 0.05, "cutmix": 0.05}[factors[path]]
        return 0.7 + gain + (0.08 if factors[RATIO] < 1 and factors[path] == "mixup" else 0.0)

    levels = {path: ["none", "mixup", "cutmix"], RATIO: [1.0, 0.05]}
    plan = planted.plan(levels=levels, truth=truth, seed=3)
    at = plan.layout.index(("test", "minority_accuracy", ""))
    y = {(plan.cells[c].factors[path], plan.cells[c].factors[RATIO], r): 100 * float(m[-1, at])
         for (c, r), m in plan.numbers.items()}  # fmt: skip
    one = view_of(read(plan)).of(trends.build).dependence
    assert (one.levels, one.weak, one.strong) == (("mixup", "cutmix"), 1.0, 0.05)
    for level, estimate in zip(one.levels, one.estimates, strict=True):
        d = [(y[level, 0.05, r] - y["none", 0.05, r]) - (y[level, 1.0, r] - y["none", 1.0, r])
             for r in range(5)]  # fmt: skip
        known = stats.ttest_1samp(d, 0).confidence_interval(1 - 0.05 / 2)
        assert (estimate.low, estimate.high) == pytest.approx((known.low, known.high), rel=1e-6)


def test_a_missing_run_drops_its_replicate_from_what_needs_it_only():
    """Complete blocks: all pairs at the failed cell's ratio have n = 4, balanced data keep 5."""
    failures = {(7, 2): (Ending.DIVERGED, "nan")}
    found = view_of(read(planted.plan(failures=failures)))
    [effect] = found.of(differences.build).primary
    assert [d.level for d in effect.differences] == [2, 32, 128]
    assert {(d.estimate.n, d.dropped) for d in effect.differences} == {(4, (2,))}
    slope = found.of(trends.build).slopes[0]
    assert slope.overall.estimate.n == 4
    assert {line.at: line.estimate.n for line in slope.lines} == {1.0: 5}


def test_failures_are_counted_with_their_exact_interval():
    """2.3: share of failed runs a cell, Clopper-Pearson."""
    lost = {(0, 0): (Ending.ERROR, "boom"), (0, 3): (Ending.CRASHED, "signal 9")}
    found = view_of(read(planted.plan(failures=lost)))
    first = found.of(failures.build).shares[0]
    assert (first.failed, first.ended) == (2, 5)
    assert first.low == pytest.approx(stats.beta.ppf(0.025, 2, 4))
    assert found.of(cells.build).iloc[0]["why"] == "1 crashed, 1 error"


def test_failed_runs_at_chance_level_are_shown_beside_the_differences():
    """Failures are never dropped in silence: the differences once more with 10 points for them."""
    failures = {(7, 1): (Ending.DIVERGED, "nan")}
    found = view_of(read(planted.plan(failures=failures)))
    again = found.of(differences.build).with_failures[0]
    assert again.filled == 1
    d = next(one for one in again.effect.differences if one.level == 128)
    assert d.estimate.n == 5
    assert d.by_replicate[1] < -30


def test_a_collapsed_run_is_flagged_and_kept():
    """At chance, or 5 robust sds below its cell: named, and still in the mean."""
    plan = planted.plan(seed=2)
    at = plan.layout.index(("test", "minority_accuracy", ""))
    plan.numbers[3, 4][-1, at] = 0.05
    found = view_of(read(plan))
    flagged = [(c.cell, c.replicate) for c in found.of(failures.build).collapses
               if c.measure.name == "minority_accuracy"]  # fmt: skip
    assert flagged == [(4, 4)]
    row = found.of(cells.build)[found.of(cells.build)["cell"] == 4].iloc[0]
    assert (row["n"], row["updates"]) == (5, 60)
    fallen = next(
        c for c in found.of(failures.build).collapses if c.measure.name == "minority_accuracy"
    )
    healthy = [100 * float(plan.numbers[3, r][-1, at]) for r in range(4)]
    assert fallen.without == pytest.approx(np.mean(healthy), rel=1e-6)
    assert fallen.mean == pytest.approx(np.mean([*healthy, 5.0]), rel=1e-6) == row["mean"]
    assert len(found.of(differences.build).without_collapsed) == 1


@pytest.mark.parametrize("worst", [0.3, 0.5])
def test_a_collapse_is_seen_in_most_draws(worst):
    """The flag fires in at least 80 % of draws that contain one collapsed run."""
    rng = np.random.default_rng(5)
    hits = []
    for _ in range(200):
        y = pd.DataFrame(80 + rng.normal(0, 2, (6, 5)))
        y.iloc[2, 3] = 100 * worst
        flags = effects.collapsed(y, direction="maximize", chance=10.0)
        hits.append(bool(flags.iloc[2, 3]))
    assert np.mean(hits) >= 0.8


@pytest.mark.parametrize("replicates", [3, 4, 5])
def test_healthy_runs_are_seldom_called_collapsed(replicates):
    """Normal noise: at most 3 sweeps of 8 cells in 100 have a flag, however few the replicates."""
    rng = np.random.default_rng(replicates)
    draws = [pd.DataFrame(80 + rng.normal(0, 2, (8, replicates))) for _ in range(300)]
    flags = [effects.collapsed(y, direction="maximize", chance=10.0) for y in draws]
    assert np.mean([one.to_numpy().any() for one in flags]) <= 0.03


def test_the_axes_are_batch_size_and_the_train_ratio():
    """Batch size is the axis, the train ratio makes the lines, the rest is averaged."""
    levels = {"train.width": [1.0, 2.0], RATIO: [1.0, 0.05], B: [2, 8]}
    x, by = axes(factors_of(planted.plan(levels=levels, replicates=2)))
    assert (x.path, by.path) == (B, RATIO)


def test_a_word_factor_is_the_axis_beside_the_train_ratio():
    """A categorical axis rather than the ratio on the axis."""
    levels = {"train.augmentation": ["none", "mixup"], RATIO: [1.0, 0.05]}
    x, by = axes(factors_of(planted.plan(levels=levels, replicates=2)))
    assert (x.path, x.scale, x.reference, by.path) == (
        "train.augmentation", "category", "none", RATIO,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("levels", "reference"),
    [
        ({B: [2, 8, 32, 128]}, 8),
        ({B: [2, 8, 32]}, 8),
        ({RATIO: [0.01, 0.1, 1.0]}, 1.0),
        ({"train.ssl.weight": [1.0, 0.0, 0.1]}, 0.0),
        ({"train.width": [2.0, 1.0]}, 2.0),
    ],
)
def test_the_reference_is_the_baseline(levels, reference):
    """The middle level; 0 and the balanced ratio are baselines; of two, the first as written."""
    assert factors_of(planted.plan(levels=levels, replicates=2))[0].reference == reference


def test_the_spec_may_name_the_reference():
    """Its level is what all others are compared with; null is one only where it is named."""
    plan = planted.plan(replicates=3)
    plan.sweep.spec["reference"] = {B: 2}
    found = view_of(read(plan))
    assert [(d.reference, d.level) for d in found.of(differences.build).primary[0].differences] == [
        (2, 8), (2, 32), (2, 128),
    ]  # fmt: skip
    depths = planted.plan(levels={"train.depth": [14, 8, None]}, replicates=2)
    assert factors_of(depths)[0].reference == 14
    depths.sweep.spec["reference"] = {"train.depth": None}
    assert factors_of(depths)[0].reference is None


def test_a_slope_on_a_linear_scale_is_over_the_whole_range():
    """A radius up to 0.2 has no change per unit: nobody tried a radius of 1."""
    levels = {"train.sam.radius": [0.0, 0.1, 0.2]}
    plan = planted.plan(
        levels=levels, noise=0.001, truth=lambda f: 0.7 + 0.5 * f["train.sam.radius"]
    )
    [slope] = [
        one
        for one in view_of(read(plan)).of(trends.build).slopes
        if one.measure.role == "objective"
    ]
    assert slope.factor.step == "step of 0.2 in SAM radius"
    assert slope.overall.estimate.value == pytest.approx(10, abs=0.5)


grids = st.integers(2, 6).flatmap(
    lambda r: st.lists(
        st.lists(st.floats(-100, 100, width=32), min_size=r, max_size=r), min_size=4, max_size=4
    )
)


@settings(max_examples=60)
@given(grids, st.randoms(use_true_random=False))
def test_adding_a_constant_to_a_block_changes_no_paired_result(values, random):
    """A replicate's offset cancels in differences and slopes."""
    y = pd.DataFrame(values, index=pd.Index(X.levels, dtype=object))
    offset = [random.uniform(-50, 50) for _ in y.columns]
    before = effects.paired(y, reference=8, direction="maximize")
    after = effects.paired(y + offset, reference=8, direction="maximize")
    for one, two in zip(before, after, strict=True):
        assert two.estimate.value == pytest.approx(one.estimate.value, abs=1e-6)
    slopes = trend.slopes(X.positions, y=y), trend.slopes(X.positions, y=y + offset)
    assert slopes[1].to_numpy() == pytest.approx(slopes[0].to_numpy(), abs=1e-6)


@settings(max_examples=40)
@given(grids, st.randoms(use_true_random=False))
def test_the_order_of_replicates_does_not_matter(values, random):
    """Permuted columns give the same estimates."""
    y = pd.DataFrame(values, index=pd.Index(X.levels, dtype=object))
    order = list(y.columns)
    random.shuffle(order)
    one = effects.paired(y, reference=8, direction="maximize")
    two = effects.paired(y[order], reference=8, direction="maximize")
    assert [d.estimate.value for d in two] == pytest.approx(
        [d.estimate.value for d in one], abs=1e-9
    )
    assert [d.by_replicate for d in two] == [d.by_replicate for d in one]


@settings(max_examples=40)
@given(grids, st.permutations([2, 32, 128]))
def test_the_order_of_levels_only_orders_the_results(values, order):
    """Permuted rows give the same estimates, permuted."""
    y = pd.DataFrame(values, index=pd.Index(X.levels, dtype=object))
    one, two = ({d.level: d for d in effects.paired(rows, reference=8, direction="maximize")}
                for rows in (y, y.loc[[8, *order]]))  # fmt: skip
    assert list(two) == order
    for level in order:
        assert two[level].by_replicate == one[level].by_replicate
        assert two[level].p_adjusted == pytest.approx(one[level].p_adjusted, nan_ok=True)


holes = st.lists(
    st.lists(st.one_of(st.floats(0, 100), st.just(math.nan)), min_size=5, max_size=5),
    min_size=4, max_size=4,
)  # fmt: skip


@settings(max_examples=60)
@given(holes)
def test_any_holes_leave_a_defined_result(values):
    """Missing runs: n counts the complete blocks, dropped names the rest."""
    y = pd.DataFrame(values, index=pd.Index(X.levels, dtype=object))
    for d in effects.paired(y, reference=8, direction="maximize"):
        complete = y.loc[[8, d.level]].notna().all()
        assert d.estimate.n == int(complete.sum())
        assert len(d.dropped) == 5 - d.estimate.n
    assert len(trend.slopes(X.positions, y=y)) == int(y.notna().all().sum())


def test_responses_have_a_hole_where_no_run_is_complete():
    """NaN, never a number of an earlier epoch."""
    failures = {(0, 1): (Ending.DIVERGED, "nan"), (1, 0): (None, "")}
    frames = read(planted.plan(failures=failures))
    y = responses(frames, measure=measures(frames)[0], cells=(1, 2))
    assert y.isna().to_numpy().tolist() == [
        [False, True, False, False, False],
        [True, False, False, False, False],
    ]
