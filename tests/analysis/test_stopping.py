"""Planned precision: Stein's two stages and planned looks hold their level, and decide as said."""

import math
import os
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from planted import BATCH, RATIO, Memory, plan
from scipy import stats

from sweeper.analysis import stopping as precision
from sweeper.analysis.frames import load
from sweeper.analysis.intervals import mean_interval
from sweeper.analysis.pairs import all_pairs
from sweeper.analysis.planned import look_interval, stein, stein_interval
from sweeper.analysis.stopping import Family, GroupSequential, SteinTwoStage
from sweeper.analysis.view import view_of
from sweeper.topics.best_levels import estimate as best_levels
from sweeper.topics.differences import estimate as differences
from sweeper.topics.headline import text as words
from sweeper.topics.headline.caveats import caveats
from sweeper.topics.registry import sections

DRAWS = int(os.environ.get("COVERAGE_DRAWS", "400"))
SLACK = 4 * math.sqrt(0.95 * 0.05 / DRAWS)
LAWS = {
    "normal": lambda rng, n: rng.normal(0.3, 1, n),
    "skewed": lambda rng, n: 0.3 + (0.9 - rng.beta(18, 2, n)) / math.sqrt(0.9 * 0.1 / 21),
}


@pytest.mark.parametrize("half_width", [0.6, 1.0])
def test_two_stages_cover_under_normal_noise(half_width):
    """At least 94 in 100, and the interval is as narrow as asked whenever the cap allows."""
    assert _covered("normal", half_width) >= 0.94 - SLACK * (DRAWS < 4000)


def test_two_stages_cover_under_skewed_noise():
    """The floor stated for Beta(18, 2): 92 in 100."""
    assert _covered("skewed", 0.6) >= 0.92 - SLACK


def _covered(law, half_width):
    rng = np.random.default_rng([1, *law.encode()])
    hits = []
    for _ in range(DRAWS):
        first = LAWS[law](rng, 5)
        n = stein(first, half_width=half_width, cap=10**6)
        x = np.concatenate([first, LAWS[law](rng, n - 5)])
        one = stein_interval(x, first=first, half_width=half_width)
        assert one.high - one.low == pytest.approx(2 * half_width)
        hits.append(one.low <= 0.3 <= one.high)
    return np.mean(hits)


def test_peeking_until_it_is_narrow_does_not_cover():
    """What the two stages are for: to stop when the plain interval is narrow covers too seldom."""
    rng, hits = np.random.default_rng(3), []
    for _ in range(DRAWS):
        x = rng.normal(0, 1, 200)
        n = 3
        while (one := mean_interval(x[:n])).high > one.value + 0.6:
            n += 1
        hits.append(one.low <= 0 <= one.high)
    assert np.mean(hits) < 0.94


def test_looks_make_no_more_false_alarms_than_one():
    """No effect, three levels against a reference, looks at 5, 10 and 20: at most 6 in 100."""
    rng, alarms, naive = np.random.default_rng(4), [], []
    for _ in range(DRAWS):
        y = rng.normal(size=(4, 20))
        d = y[1:] - y[0]
        alarms.append(any(_alarm(d[:, :n], 1 - 0.05 / 3) for n in (5, 10, 20)))
        naive.append(any(_alarm(d[:, :n], 0.95) for n in (5, 10, 20)))
    assert np.mean(alarms) <= 0.06 + SLACK * (DRAWS < 4000)
    assert np.mean(naive) > np.mean(alarms)


def _alarm(d, level):
    """Whether any interval (by hand) misses 0."""
    n = d.shape[1]
    half = stats.t.ppf(1 - (1 - level) / 6, n - 1) * d.std(axis=1, ddof=1) / math.sqrt(n)
    return bool((np.abs(d.mean(axis=1)) > half).any())


TOP = np.array([0.3, 0.3, 0.0, -0.5])  # two levels tie for the best; the reference is the third
OFFSET = 2.0  # of a replicate, that all levels share


def two_stage_sweep(rng):
    """y[level, r] of a sweep that Stein's rule stopped."""
    y = TOP[:, None] + rng.normal(size=(4, 400)) + OFFSET * rng.normal(size=400)
    pairs = list(combinations(range(4), 2))
    n = max(stein(y[i, :5] - y[j, :5], half_width=0.8, cap=400, family=6) for i, j in pairs)
    return y[:, :n]


def looked_at_sweep(rng):
    """y[level, r] of a sweep that stopped at the first look at which five pairs are known."""
    y = TOP[:, None] + rng.normal(size=(4, 20)) + OFFSET * rng.normal(size=20)
    for n in (5, 10, 20):
        pairs = combinations(range(4), 2)
        told = [look_interval(y[i, :n] - y[j, :n], looks=3, family=6) for i, j in pairs]
        if sum(one.low > 0 or one.high < 0 for one in told) >= 5:
            return y[:, :n]
    return y


@pytest.mark.parametrize(
    ("rule", "sweep"),
    [
        (SteinTwoStage(0.8, 400, 5, "points", {}), two_stage_sweep),
        (GroupSequential((5, 10, 20)), looked_at_sweep),
    ],
    ids=["two stages", "looks"],
)
def test_a_planned_stop_keeps_the_best_level_in_its_set(rule, sweep):
    """Where levels tie for the best, each stays in at least 95 of 100 sweeps."""
    rng = np.random.default_rng(11)
    tables = (rule.pairs(pd.DataFrame(sweep(rng)), direction="maximize") for _ in range(DRAWS))
    stays = ~np.array([table.beaten[:2] for table in tables])
    assert stays.mean(axis=0).min() >= 0.95 - SLACK * (DRAWS < 4000)


def test_the_table_of_a_planned_stop_is_made_by_hand():
    """Two stages: the first five's spread and its degrees of freedom, the mean of all; looks: a
    third of the error."""
    rng = np.random.default_rng(5)
    y = rng.normal(size=(3, 12)) + np.array([[0.0], [0.9], [1.2]])
    stage = SteinTwoStage(0.8, 40, 5, "points", {})
    look = GroupSequential((5, 12, 20), (5, 12), 12)
    for rule, alpha, first in ((stage, 0.05, 5), (look, 0.05 / 3, 12)):
        found = rule.pairs(pd.DataFrame(y), direction="maximize")
        for i, j in combinations(range(3), 2):
            d = y[i] - y[j]
            half = stats.t.ppf(1 - alpha / 6, first - 1) * np.std(d[:first], ddof=1) / math.sqrt(12)
            one = found.estimate(i, j)
            assert (one.low, one.high) == pytest.approx((d.mean() - half, d.mean() + half))


def test_the_first_stage_that_decided_stays_the_first_stage():
    """A replicate that is completed later does not change the spread."""
    y = pd.DataFrame(np.random.default_rng(6).normal(size=(3, 9)))
    kept = SteinTwoStage(0.01, 40, 4, "points", {"f": (0, 2, 3, 4)})
    d = (y.loc[0] - y.loc[1]).to_numpy()
    half = stats.t.ppf(1 - 0.05 / 6, 3) * np.std(d[[0, 2, 3, 4]], ddof=1) / 3
    one = kept.pairs(y, direction="maximize", factor="f").estimate(0, 1)
    assert one.high - one.value == pytest.approx(half)
    assert kept.first_stage(y.drop(columns=[2]), factor="f") == (0, 1, 3, 4)


def test_the_number_is_the_formula():
    """N = max(n0, ceil((T s0 / h)^2)), with T of the family, at most the cap."""
    first = [1.0, 2.0, 4.0, 3.0, 7.0]
    s, t = np.std(first, ddof=1), stats.t.ppf(1 - 0.05 / 6, 4)
    assert stein(first, half_width=0.5, cap=10**4, family=3) == math.ceil((t * s / 0.5) ** 2)
    assert stein(first, half_width=0.5, cap=30, family=3) == 30
    assert stein(first, half_width=50.0, cap=30) == 5


def test_the_interval_has_the_first_spread():
    """Whatever the later replicates' spread is; the mean is of all."""
    first, later = [1.0, 2.0, 4.0, 3.0, 7.0], [90.0, -80.0, 3.0]
    one = stein_interval(first + later, first=first, family=2)
    half = stats.t.ppf(1 - 0.05 / 4, 4) * np.std(first, ddof=1) / math.sqrt(8)
    assert (one.low, one.high) == pytest.approx((one.value - half, one.value + half))
    assert (one.n, one.sd) == (8, pytest.approx(np.std(first, ddof=1)))
    assert "first 5" in one.method


def test_a_look_has_its_share_of_the_error():
    """Half of it, of two looks, split again over the family."""
    x = [1.0, 2.0, 4.0, 3.0, 7.0]
    one = look_interval(x, looks=2, at=1, family=3)
    half = stats.t.ppf(1 - 0.05 / 12, 4) * np.std(x, ddof=1) / math.sqrt(5)
    assert one.high - one.value == pytest.approx(half)
    assert (one.rule, "97.5%" in one.method) == ("look 1 of 2", True)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0], [2.0] * 6])
def test_too_few_or_equal_replicates_have_no_interval(values):
    """Points and no interval, as everywhere."""
    assert not stein_interval(values, first=values[:5], half_width=1.0).known
    assert not look_interval(values, looks=3).known


def family(*rows):
    """A factor whose levels have these values by replicate."""
    return Family("f", pd.DataFrame(np.array(rows, dtype=float)), "maximize", 1.0)


def pair(values):
    """Two levels that differ by these values."""
    return family(values, np.zeros(len(values)))


def test_the_noisiest_difference_decides_for_all_cells():
    """One number of replicates for every compared cell; each factor has a family of its own."""
    rule = SteinTwoStage(1.0, 40, 5, "points", {})
    quiet, noisy = [0.1, 0.2, 0.3, 0.2, 0.1], [1.0, 2.0, 4.0, 3.0, 2.0]
    said = rule.decide([pair(quiet), pair(noisy)], replicates=5)
    assert said.wanted == stein(noisy, half_width=1.0, cap=10**6) > 5
    assert said.ended == ""
    three = rule.decide([family(noisy, np.zeros(5), np.ones(5))], replicates=5)
    assert three.wanted == min(stein(noisy, half_width=1.0, cap=10**6, family=3), 40)


def test_a_decision_about_the_same_numbers_is_the_same():
    """Asked with the second stage there, the first still tells how many it takes."""
    rng = np.random.default_rng(8)
    x, rule = rng.normal(0, 1, 60), SteinTwoStage(1.0, 60, 5, "points", {})
    wanted = rule.decide([pair(x[:5])], replicates=5).wanted
    for n in range(5, wanted):
        assert rule.decide([pair(x[:n])], replicates=n).wanted == wanted
    assert rule.decide([pair(x[:wanted])], replicates=wanted).ended == "target"


def test_a_look_counts_only_the_replicates_that_it_planned():
    """Replicates of an earlier plan that lie beyond it are not seen."""
    rule = GroupSequential((5, 10))
    x = [0.1, -0.3, 0.2, 0.4, -0.2, 90.0, 91.0]
    assert rule.decide([pair(x)], replicates=5) == rule.decide([pair(x[:5])], replicates=5)


def test_a_look_stops_when_every_level_is_decided():
    """Beaten, or about equal to the best; a tie at the top goes on."""
    rng, rule = np.random.default_rng(3), GroupSequential((6, 12))
    cliff = np.array([[0.0], [0.0], [-50.0]])
    quiet, noisy = (cliff + sd * rng.normal(size=(3, 6)) for sd in (0.1, 3.0))
    assert rule.decide([family(*quiet)], replicates=6).ended == "decided"
    open_at_the_top = rule.decide([family(*noisy)], replicates=6)
    assert (open_at_the_top.ended, open_at_the_top.wanted) == ("", 12)
    facts = {one["level"]: one["decided"] for one in open_at_the_top.facts}
    assert facts == {0: False, 1: False, 2: True}
    assert "2 of 3 levels undecided" in open_at_the_top.text


def test_nothing_to_compare_ends_a_plan():
    """All cells failed: more of the same would too."""
    for rule in (GroupSequential((5, 10)), SteinTwoStage(1.0, 20, 5, "points", {})):
        assert rule.decide([], replicates=5).ended == "nothing"


# --- in the report


def swept(plan_of_replicates, stages, *, replicates, noise=0.012, truth=None):
    """Frames of a planted sweep that was planned so."""
    words = {} if truth is None else {"truth": truth}
    made = plan(levels={BATCH: [2, 8, 32]}, replicates=replicates, noise=noise, **words)
    frames = load(Memory(made), made.sweep.name)
    spec = {**frames.sweep.spec, "replicates": plan_of_replicates}
    kept = [{"plan": plan_of_replicates, "alpha": 0.0, "facts": [], **one} for one in stages]
    return replace(frames, sweep=replace(frames.sweep, spec=spec, stages=kept))


TARGET = {"target": 0.02, "max": 20, "start": 5}
REACHED = {"replicates": 9, "wanted": 9, "ended": "target",
           "text": "target of 2 points reached with 9 replicates"}  # fmt: skip


def test_a_report_has_the_two_stage_intervals_and_says_so():
    """Each primary difference: the first five's spread, and no narrower than the target."""
    frames = swept(TARGET, [REACHED], replicates=9)
    found = view_of(frames)
    for one in found.of(differences.build).primary[0].differences:
        d = [one.by_replicate[r] for r in range(9)]
        half = stats.t.ppf(1 - 0.05 / 6, 4) * np.std(d[:5], ddof=1) / 3
        assert one.estimate.high - one.estimate.value == pytest.approx(max(2.0, half))
    assert "Stein" in found.rule.method()
    [levels] = found.of(best_levels.build)
    assert "spread of the first 5" in levels.pairs.method
    said = " ".join(caveats(found))
    assert "target of 2 points reached with 9 replicates" in said
    assert "two stages" in words.lead(found).basis


def test_a_report_of_a_look_has_its_share_of_the_error():
    """Look 2 of 3, with its alpha; p counts the looks."""
    stages = [{"replicates": n, "wanted": 10, "ended": end, "text": f"stopped at look {at} of 3"}
              for at, n, end in ((1, 5, ""), (2, 10, "decided"))]  # fmt: skip
    frames = swept({"looks": [5, 10, 20]}, stages, replicates=10)
    found = view_of(frames)
    plain = view_of(swept(10, [], replicates=10))
    for one, other in zip(
        found.of(differences.build).primary[0].differences,
        plain.of(differences.build).primary[0].differences,
        strict=True,
    ):
        d = list(one.by_replicate.values())
        half = stats.t.ppf(1 - 0.05 / 18, 9) * np.std(d, ddof=1) / math.sqrt(10)
        assert one.estimate.high - one.estimate.value == pytest.approx(half)
        assert one.estimate.rule == "look 2 of 3"
        assert one.p_adjusted == pytest.approx(min(9 * other.estimate.p, 1.0))
    assert "(look 2 of 3)" in words.lead(found).basis
    assert "stopped at look 2 of 3" in " ".join(caveats(found))


def test_replicates_added_after_a_look_are_told():
    """A second look that was not planned makes intervals too sure, and the report says it."""
    stage = {"plan": 5, "replicates": 5, "wanted": 5, "ended": "fixed", "text": ""}
    frames = swept(9, [stage], replicates=9)
    assert "looked at with 5 replicates" in " ".join(caveats(view_of(frames)))
    plain = swept(9, [{**stage, "plan": 9, "replicates": 9}], replicates=9)
    assert "looked at" not in " ".join(caveats(view_of(plain)))


def test_the_families_of_the_report_are_what_the_engine_asks_about():
    """The same levels and the same numbers, conditions held where the question asks."""
    made = plan(levels={BATCH: [2, 8, 32], RATIO: [1.0, 0.05]}, replicates=6)
    frames = load(Memory(made), made.sweep.name)
    [asked], found = precision.families(frames), view_of(frames)
    [shown] = found.of(best_levels.build)
    assert asked.factor == shown.factor.path == BATCH
    assert all_pairs(asked.y.to_numpy()).low == pytest.approx(shown.pairs.low)
    column = frames.numbers[("test", "minority_accuracy", "")] * 100
    factors = frames.cells["factors"]
    runs = frames.reported_runs
    by_hand = {
        (factors[cell][BATCH], r): column[run]
        for run, cell, r in zip(runs.index, runs["cell"], runs["replicate"], strict=True)
        if factors[cell][RATIO] == 0.05
    }
    for level in (2, 8, 32):
        assert list(asked.y.loc[level]) == [by_hand[level, r] for r in range(6)]


@pytest.mark.parametrize("planned", [TARGET, {"looks": [5, 9, 20]}, 9])
def test_sections_that_do_not_follow_the_plan_say_so(planned):
    """Means, classes, exchange and the table of cells: plain intervals after a planned stop."""
    frames = swept(planned, [REACHED] if planned != 9 else [], replicates=9)
    found = view_of(frames)
    built = {one.id: one for _, one in sections(found)}
    tables = (*built["response"].tables, *built["cells"].tables)
    topics = ("classes", "exchange", "efficiency")
    said = [
        *[f"{built[one].intro} {built[one].reading}" for one in topics],
        *[table.note for _, table in tables],
    ]
    assert {"Not corrected for the plan" in text for text in said} == {planned != 9}
