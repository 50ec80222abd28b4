"""Error bars taken apart: against an ANOVA of statsmodels, plain loops, and simulated test sets."""

import math
import os
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import planted
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from looks import look_of
from scipy import stats
from statsmodels.formula.api import ols

from sweeper.analysis import bits
from sweeper.analysis.frames import load
from sweeper.analysis.measures import Measure
from sweeper.analysis.view import view_of
from sweeper.states import Ending
from sweeper.topics.cells import estimate as cells
from sweeper.topics.differences import estimate as differences
from sweeper.topics.prediction_changes import estimate as examples
from sweeper.topics.variance_sources import estimate as variance_sources
from sweeper.topics.variance_sources import text as words_anatomy
from trainers.data.dataset import pack_labels

DRAWS = int(os.environ.get("COVERAGE_DRAWS", "400"))
SLACK = 4 * math.sqrt(0.95 * 0.05 / DRAWS)
MEASURE = Measure("balanced_accuracy", "balanced accuracy", ("test", "balanced_accuracy", ""),
                  "points", "maximize")  # fmt: skip


def frames_of(plan):
    return load(planted.Memory(plan), plan.sweep.name)


def taken(plan):
    """The anatomy alone."""
    return variance_sources.build(look_of(plan))


def answered(**settings):
    """A small sweep with single answers: four batch sizes at two train ratios."""
    given = {k: settings.pop(k) for k in ("examples", "hard", "runs") if k in settings}
    return planted.with_answers(planted.plan(epochs=2, **settings), **given)


@pytest.fixture(scope="module")
def sweep():
    plan = answered(examples=20)
    frames = frames_of(plan)
    return plan, frames, view_of(frames)


def known_of(sizes, right=None):
    """Answers of no run, for a test split with these class sizes."""
    starts = np.concatenate([[0], np.cumsum(sizes)])
    names = tuple(f"c{c}" for c in range(len(sizes)))
    return bits.Answers(names, np.arange(starts[-1]), starts, right or {}, 0)


def bar_of(classes, **more):
    """The bar of the mean of class means, `classes` a list of (n_c, R) of 0 and 1."""
    known = known_of([len(one) for one in classes])
    u = np.concatenate(classes) * (100 / len(classes))
    what = dict.fromkeys(("cell", "factor", "held", "at", "level", "reference"))
    used = np.ones(len(classes), dtype=bool)
    return variance_sources.bar(u, known=known, used=used, measure=MEASURE, **{**what, **more})


def sources_of(*classes):
    starts = np.concatenate([[0], np.cumsum([len(one) for one in classes])])
    return variance_sources.sources(np.concatenate(classes), starts=starts,
                           used=np.ones(len(classes), dtype=bool))  # fmt: skip


# --- the components


@pytest.mark.parametrize(("n", "replicates", "seed"), [(12, 3, 0), (40, 5, 1), (9, 10, 2)])
def test_the_components_are_those_of_a_two_way_anova(n, replicates, seed):
    """V_run, V_ex and V_res are mean squares of statsmodels' table over n R, to nine digits."""
    rng = np.random.default_rng(seed)
    u = (rng.random((n, replicates)) < rng.random((n, 1))).astype(float)
    long = pd.DataFrame(
        [(e, r, u[e, r]) for e in range(n) for r in range(replicates)], columns=["e", "r", "y"]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = sm.stats.anova_lm(ols("y ~ C(e) + C(r)", data=long).fit())
    squares = table["sum_sq"] / table["df"] / (n * replicates)
    found = sources_of(u)
    assert found.runs == pytest.approx(squares["C(r)"], rel=1e-9, abs=1e-15)
    assert found.examples == pytest.approx(squares["C(e)"], rel=1e-9)
    assert found.residual == pytest.approx(squares["Residual"], rel=1e-9)


def test_classes_are_put_together_as_written():
    """V_run of the summed class means, V_ex and V_res summed over classes, in plain loops."""
    rng = np.random.default_rng(3)
    chances = (np.array([0.1, 0.9, 0.5, 0.7, 0.3]), rng.random((20, 1)))
    classes = [w * (rng.random((n, 5)) < p)
               for n, p, w in zip((7, 20), chances, (0.5, -1.0), strict=True)]  # fmt: skip
    found = sources_of(*classes)
    y = [sum(float(u[:, r].mean()) for u in classes) for r in range(5)]
    assert found.runs == pytest.approx(np.var(y, ddof=1) / 5)
    of_ex = residual = squares = answers = 0.0
    for u in classes:
        n = len(u)
        rows, columns, mean = u.mean(axis=1), u.mean(axis=0), u.mean()
        ex = np.var(rows, ddof=1) / n
        left = sum((u[e, r] - rows[e] - columns[r] + mean) ** 2
                   for e in range(n) for r in range(5))  # fmt: skip
        res = left / ((n - 1) * 4) / (n * 5)
        of_ex, residual = of_ex + ex, residual + res
        squares, answers = squares + ex**2 / (n - 1), answers + res**2 / ((n - 1) * 4)
    assert (found.examples, found.residual) == pytest.approx((of_ex, residual))
    assert found.total == pytest.approx(found.runs + of_ex - residual)
    below = found.runs**2 / 4 + squares + answers
    assert found.df == pytest.approx(found.total**2 / below)


@given(st.integers(0, 2**32 - 1), st.integers(3, 8), st.integers(1, 3))
@settings(max_examples=60)
def test_neither_order_nor_side_changes_the_components(seed, replicates, classes):
    """Runs and examples may be shuffled, and right and wrong exchanged; shares add up to 1."""
    rng = np.random.default_rng(seed)
    us = [(rng.random((int(rng.integers(2, 9)), replicates)) < rng.random()).astype(float)
          for _ in range(classes)]  # fmt: skip
    found = sources_of(*us)
    order = rng.permutation(replicates)
    again = sources_of(*[1 - rng.permutation(u[:, order]) for u in us])
    for name in ("runs", "examples", "residual", "total"):
        assert getattr(again, name) == pytest.approx(getattr(found, name), abs=1e-12)
    assert found.total >= max(found.runs, found.examples)
    if found.total > 0:
        assert sum(found.shares) == pytest.approx(1)
        assert min(found.shares) >= 0


def test_endless_replicates_leave_what_the_test_set_gives():
    """The smallest variance, estimated from five runs, agrees with a hundred times as many runs."""
    rng = np.random.default_rng(4)
    p = 1 / (1 + np.exp(-rng.normal(1, 2, (400, 1))))
    many = (rng.random((400, 600)) < p).astype(float)
    told = np.mean([sources_of(many[:, at : at + 5]).floor for at in range(0, 600, 5)])
    assert told == pytest.approx(sources_of(many).total, rel=0.03)


# --- intervals


def test_an_outer_interval_is_never_narrower_than_the_inner():
    """Also where few runs make the inner one wide by chance."""
    rng = np.random.default_rng(5)
    bars = [bar_of([(rng.random((30, 3)) < 0.7).astype(float)]) for _ in range(200)]
    pairs = [(one.inner, one.outer) for one in bars if one.inner.known]
    assert len(pairs) > 150
    assert all(o.high - o.low >= i.high - i.low - 1e-9 for i, o in pairs)
    assert all(o.p >= i.p for i, o in pairs)
    assert any(o.high - o.low > i.high - i.low + 1e-9 for i, o in pairs)


def test_too_little_gives_no_outer_interval_and_says_why():
    """Two runs, one example of a class, or answers that never differ."""
    rng = np.random.default_rng(6)
    some = (rng.random((10, 5)) < 0.6).astype(float)
    assert bar_of([some[:, :2]]).outer.note == "n = 2"
    assert bar_of([some, some[:1]]).outer.note == "class c1 has one test example"
    assert bar_of([np.ones((10, 5))]).outer.note == "all answers are equal"
    for one in (bar_of([some[:, :2]]), bar_of([some, some[:1]]), bar_of([np.ones((10, 5))])):
        assert not one.outer.known
        assert one.outer.value == pytest.approx(one.inner.value)


def test_runs_that_all_agree_leave_the_test_set():
    """Five equal runs: no interval for this test set, one for new data, all of it the examples'."""
    u = np.repeat((np.arange(20) < 14)[:, None], 5, axis=1).astype(float)
    one = bar_of([u])
    assert not one.inner.known
    half = stats.t.ppf(0.975, 19) * 100 * math.sqrt(0.7 * 0.3 / 19)
    assert (one.outer.high - one.outer.low) / 2 == pytest.approx(half)
    assert one.sources.shares == pytest.approx((0, 1, 0))


def mean_right(location, spread):
    """E sigmoid(location + spread z), z normal, by quadrature."""
    z, w = np.polynomial.hermite_e.hermegauss(80)
    return float((w / (1 + np.exp(-(location + spread * z)))).sum() / w.sum())


def simulated(rng, sizes, *, location, hard, luck, other=None):
    """Answers (n_c, 5) of each class; less those of another level at `other`, where given."""
    shared, classes = rng.normal(0, luck, 5), []
    own = rng.normal(0, luck, 5)
    for n in sizes:
        difficulty = rng.normal(0, hard, (n, 1))
        right = rng.random((n, 5)) < 1 / (1 + np.exp(-(location + difficulty + shared)))
        if other is not None:
            twist = difficulty + rng.normal(0, 0.7, (n, 1)) + shared + own
            right = right * 1.0 - (rng.random((n, 5)) < 1 / (1 + np.exp(-(other + twist))))
        classes.append(right.astype(float))
    return classes


CASES = [
    pytest.param((20,), 1.0, 1.0, None, id="20 a class"),
    pytest.param((50,), 2.0, 2.0, None, id="50 a class"),
    pytest.param((100,), 2.0, 2.0, None, id="100 a class"),
    pytest.param((20, 20, 20), 1.0, 2.0, None, id="three classes of 20"),
    pytest.param((30, 60, 100), 1.0, 2.0, None, id="unequal classes"),
    pytest.param((50,), 1.0, 2.0, 0.5, id="difference, 50 a class"),
    pytest.param((30, 60, 100), 2.0, 2.0, 2.5, id="difference, unequal classes"),
]


@pytest.mark.parametrize(("sizes", "location", "hard", "other"), CASES)
def test_new_data_are_covered(sizes, location, hard, other):
    """Five runs, a new test set each time: 93 to 98 in 100; less where only runs are counted."""
    rng = np.random.default_rng([DRAWS, *sizes])
    luck = 0.3
    truth = mean_right(location, math.hypot(hard, luck))
    if other is not None:
        truth -= mean_right(other, math.sqrt(hard**2 + 0.7**2 + 2 * luck**2))
    hits, inner = [], []
    for _ in range(DRAWS):
        one = bar_of(simulated(rng, sizes, location=location, hard=hard, luck=luck, other=other))
        hits.append(one.outer.low <= 100 * truth <= one.outer.high)
        inner.append(one.inner.low <= 100 * truth <= one.inner.high)
    print(f"{sizes} {other}: new data {np.mean(hits):.3f}, this test set {np.mean(inner):.3f}")
    assert 0.93 - SLACK <= np.mean(hits) <= 0.98 + SLACK
    assert np.mean(inner) < np.mean(hits)
    if other is None:
        assert np.mean(inner) < 0.93


# --- from the records


def test_inner_intervals_are_those_of_the_differences(sweep):
    """The same estimates as in the tables of differences: a report does not contradict itself."""
    _, _, found = sweep
    told = {
        (e.measure.name, e.factor.path, e.where, d.level): d.estimate
        for e in (*found.of(differences.build).primary, *found.of(differences.build).exploratory)
        for d in e.differences
    }
    assert len(found.of(variance_sources.build).differences) == len(told)
    for one in found.of(variance_sources.build).differences:
        assert one.inner == told[one.measure.name, one.factor.path, one.where, one.level]
        assert (one.outer.family, one.outer.n) == (one.inner.family, one.inner.n)


def test_a_lost_run_leaves_the_intervals_those_of_the_differences():
    """Complete blocks over all levels, here as there, though this pair has one more replicate."""
    found = view_of(frames_of(answered(examples=20, failures={(7, 2): (Ending.DIVERGED, "nan")})))
    told = {d.level: d.estimate for d in found.of(differences.build).primary[0].differences}
    held = [
        one
        for one in found.of(variance_sources.build).differences
        if (one.where, one.measure) == ("train ratio 0.05", found.objective)
    ]
    assert {one.level: one.inner for one in held} == told
    assert {one.outer.n for one in held} == {4}


def test_bits_alone_give_the_same_differences(sweep):
    """Without the recorded measures, from the answers: the same means and intervals."""
    plan, _, found = sweep
    for one in variance_sources.build(look_of(plan)).differences:
        twin = next(
            other
            for other in found.of(variance_sources.build).differences
            if (other.measure, other.factor, other.where, other.level)
            == (one.measure, one.factor, one.where, one.level)
        )
        pair = [(bar.inner.value, bar.inner.low, bar.inner.high) for bar in (one, twin)]
        assert pair[0] == pytest.approx(pair[1], abs=2e-5)


def test_cells_have_the_means_of_the_table_of_cells(sweep):
    """Every cell and measure; the gap included."""
    _, _, found = sweep
    rows = found.of(cells.build).set_index(["cell", "measure"])
    assert len(found.of(variance_sources.build).cells) == len(rows)
    for one in found.of(variance_sources.build).cells:
        row = rows.loc[(one.cell, one.measure.name)]
        assert (one.inner.value, one.inner.low) == pytest.approx((row["mean"], row["low"]), 1e-5)


def test_a_class_without_test_examples_is_left_out_of_the_means():
    """As in the metric: the other classes of the group share its weight."""
    support = np.array([5, 0, 3, 0, 4, 2])
    counts = [60, 50, 40, 30, 20, 10]
    one = replace(MEASURE, name="majority_accuracy")
    assert bits.weights(one, class_counts=counts, support=support).tolist() == [1, 0, 0, 0, 0, 0]
    all_classes = bits.weights(MEASURE, class_counts=counts, support=support)
    assert all_classes.tolist() == [0.25, 0, 0.25, 0, 0.25, 0.25]
    empty = np.array([5, 3, 3, 1, 0, 0])
    minority = replace(MEASURE, name="minority_accuracy")
    assert bits.weights(minority, class_counts=counts, support=empty) is None
    assert bits.weights(minority, class_counts=None, support=support) is None
    drawn = bits.weights(MEASURE, class_counts=None, support=support)
    assert drawn is not None
    assert drawn.tolist() == all_classes.tolist()


def test_bits_of_another_test_split_are_left_out(sweep):
    """Whose recalls are not those recorded, or whose length is another; they are counted."""
    plan, _, _ = sweep
    keys = list(plan.correct)
    wrong = bytes(255 - one for one in plan.correct[keys[0]])
    changed = {**plan.correct, keys[0]: wrong, keys[1]: plan.correct[keys[1]] + b"\0"}
    frames = frames_of(replace(plan, correct=changed))
    known = bits.answers(frames)
    assert known.foreign == 2
    assert sum(map(len, known.right.values())) == len(keys) - 2
    found = variance_sources.build(look_of(replace(plan, correct=changed)))
    assert found.without == 2
    assert "2 complete runs have no usable record" in " ".join(words_anatomy.parts(found))


def test_without_bits_or_labels_there_is_no_anatomy(sweep):
    """An older sweep's report is as it was."""
    plan, _, _ = sweep
    assert taken(replace(plan, correct={})) is None
    for labels in ({}, {"labels": None}, {"labels": {"test": "zz"}}, {"labels": {"test": "00"}}):
        facts = {k: v for k, v in plan.sweep.facts.items() if k != "labels"} | labels
        look = look_of(replace(plan, sweep=replace(plan.sweep, facts=facts)))
        assert variance_sources.build(look) is None
        assert examples.build(look) == ()


def test_labels_come_back_as_they_were_packed():
    """Up to 65,535 classes; nothing for an empty split."""
    labels = np.random.default_rng(0).integers(0, 60_000, 500)
    for one in (labels, labels[:0]):
        assert bits.unpack_labels({"labels": {"test": pack_labels(one)}}).tolist() == one.tolist()


def test_a_measure_that_is_no_mean_over_examples_is_named():
    """The page names macro F1 as left out; the groups still have their components."""
    found = taken(answered(metric="macro_f1", examples=10))
    assert found.left_out == ("macro F1",)
    assert {one.measure.name for one in found.differences} > {"minority_accuracy"}
    assert "Not taken apart: macro F1, which is no mean" in " ".join(words_anatomy.parts(found))


# --- words


def test_a_small_test_set_is_blamed():
    """Hard and easy images, runs that agree: more replicates will not help, and why."""
    found = taken(answered(examples=4, hard=30.0, runs=0.0, noise=0.0))
    said = " ".join(words_anatomy.parts(found))
    assert "For new data, more replicates will not help minority accuracy much" in said
    assert "the minority has 12 test images" in said
    widest = max((b for b in found.cells if b.measure.name == "minority_accuracy"),
                 key=lambda b: b.outer.high - b.outer.low)  # fmt: skip
    assert f"endless replicates would leave ±{widest.floor:.1f}" in said


def test_runs_that_differ_are_not_the_test_sets_fault():
    """Large test set, equal runs by chance: the page does not advise against replicates."""
    found = taken(answered(examples=400, hard=0.1, runs=1.5))
    assert "More replicates" not in " ".join(words_anatomy.parts(found))
    means = next(s for s in found.shares if s.of == "means")
    assert means.parts[0] > 0.9


def test_what_is_clear_on_this_test_set_alone_is_told():
    """A difference that all runs repeat and a dozen images carry."""
    rng = np.random.default_rng(8)
    u = np.zeros((40, 5))
    u[:3] = 1.0
    u[3, :2] = 1.0
    factor = look_of(answered(examples=5)).x
    one = bar_of([u[rng.permutation(40)]], factor=factor, level=2, reference=8)
    assert one.fades
    said = list(words_anatomy._fading([one]))
    assert said == [
        "Clear on this test set, but perhaps 0 on new data: batch size 2 against 8 in balanced "
        "accuracy."
    ]


def test_it_is_said_how_to_tell_the_draw_from_the_rest(sweep):
    """Where a subset is drawn; where none is, runs differ in start and order alone."""
    _, _, found = sweep
    told = words_anatomy.runs(found.of(variance_sources.build), name="mine")
    assert "`sweeper report mine mine-fixed`" in told
    assert "the same samples" in words_anatomy.runs(
        replace(found.of(variance_sources.build), redrawn=False), name="m"
    )


def test_every_bar_is_a_row_of_the_export(sweep):
    """Both intervals with their methods, the shares, and the counts behind them."""
    _, _, found = sweep
    rows = variance_sources.rows(found.of(variance_sources.build))
    assert len(rows) == len(found.of(variance_sources.build).cells) + len(
        found.of(variance_sources.build).differences
    )
    parts = rows[["share_runs", "share_test_set", "share_single_answers"]].sum(axis=1)
    assert np.allclose(parts, 1)
    assert rows["method_new_data"].str.contains("test examples").all()
    assert (rows["test_examples"] > 0).all()
    assert not len(variance_sources.rows(None))
