"""Factors that depend on each other are one factor, whose levels are compared in pairs."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import planted
import pytest
from scipy import stats

from sweeper.analysis import nested
from sweeper.analysis.comparable import Comparison
from sweeper.analysis.frames import load
from sweeper.analysis.stopping import families
from sweeper.analysis.view import view_of
from sweeper.report import page
from sweeper.report.export import tables_of
from sweeper.states import Ending
from sweeper.topics.best_levels import estimate as best_levels
from sweeper.topics.differences import estimate as differences
from sweeper.topics.headline import text as words

BATCH, RATIO = planted.BATCH, planted.RATIO
RADIUS, ASYMMETRY = planted.RADIUS, planted.ASYMMETRY
SGD, SAM, SAM_A = planted.METHODS


def frames_of(**settings):
    plan = planted.methods(**settings)
    return load(planted.Memory(plan), plan.sweep.name)


def test_nested_cells_are_read_in_pairs():
    """SGD, SAM and SAM-A at two train ratios: three methods, no hole in any grid."""
    found = view_of(frames_of())
    assert found.comparable.comparison is Comparison.PAIRED
    assert found.comparable.reasons == ()
    method, ratio = found.factors
    assert (method.path, method.name, method.scale) == ("method", "method", "category")
    assert (method.levels, method.reference) == (planted.METHODS, SGD)
    assert (ratio.path, found.question) == (RATIO, method)


def test_the_headline_names_the_methods_at_the_strongest_imbalance():
    """The answer is a method and what each other method costs; the other ratio comes second."""
    lead = words.lead(view_of(frames_of()))
    assert lead.headline.startswith(f"At train ratio 0.05, take method {SAM_A}. {SGD} costs ")
    assert f" and {SAM} costs " in lead.headline
    assert "all at once, n = 6)" in lead.headline.replace("\u00a0", " ")
    assert lead.more[0].startswith("At train ratio 1 the means of any two methods differ by")


def test_the_table_of_all_pairs_is_scipys():
    """Each pair of methods: the paired t interval at 1 - .05 / 3, of the same replicates."""
    plan = planted.methods()
    view = view_of(load(planted.Memory(plan), plan.sweep.name))
    found = best_levels.question(view)
    assert found is not None
    at = plan.layout.index(("test", "minority_accuracy", ""))
    y = {
        (view.frames.question.levels(cell.factors)["method"], r): 100 * plan.numbers[c, r][-1, at]
        for c, cell in enumerate(plan.cells)
        for r in range(6)
        if cell.factors[RATIO] == 0.05
    }
    for one, two in itertools.combinations(planted.METHODS, 2):
        first, second = (np.array([y[name, r] for r in range(6)]) for name in (one, two))
        wanted = stats.ttest_rel(first, second).confidence_interval(1 - 0.05 / 3)
        seen = found.pairs.estimate(one, two)
        assert (seen.low, seen.high) == pytest.approx((wanted.low, wanted.high), rel=1e-6)


def test_methods_meet_a_batch_size_as_a_grid():
    """Batch size keeps the axis; the methods are a second choice with a verdict of its own."""
    view = view_of(frames_of(beside={BATCH: [8, 32]}))
    assert view.grid
    assert [one.path for one in view.factors] == ["method", BATCH]
    assert view.x is not None
    assert view.x.path == BATCH
    assert [one.factor.path for one in view.of(best_levels.build)] == [BATCH, "method"]
    [line] = words.lines(view)
    assert line.heading == "Which method to take"
    assert SAM_A in line.text
    assert {one.factor.path for one in view.of(differences.build).primary} == {BATCH, "method"}


def test_plans_for_replicates_ask_about_the_methods():
    """What decides on further replicates is the same table of pairs."""
    [one] = families(frames_of())
    assert one.factor == "method"
    assert tuple(one.y.index) == planted.METHODS


def test_the_page_and_the_tables_show_both_the_method_and_its_parts():
    """The page names the methods; an export keeps the factors of the spec beside them."""
    frames = frames_of()
    assert SAM_A in page.html(frames)
    cells = tables_of(frames)["cells"]
    assert set(cells["method"]) == set(planted.METHODS)
    assert set(cells[RADIUS]) == {0.0, 0.2}


def test_a_lost_method_leaves_the_others_compared():
    """SAM-A failed in every run: it is left out by name."""
    lost = {(cell, r): (Ending.DIVERGED, "nan") for cell in (4, 5) for r in range(6)}
    found = view_of(frames_of(failures=lost))
    assert found.comparable.reasons == (
        f"Left out of comparisons and trends: method {SAM_A}: failed.",
    )
    assert found.factors[0].levels == (SGD, SAM)


def spec(**scientific):
    return {"scientific": scientific, "search": {"method": "factorial"}}


def when(levels, **parents):
    return {"levels": levels, "when": parents}


def test_a_condition_among_nested_factors_is_no_method():
    """A train ratio is met, not chosen: it never becomes part of what is compared."""
    asked = nested.question(
        {
            "scientific": {RATIO: [1.0, 0.05], RADIUS: when([0.0, 0.1], **{RATIO: [0.05]})},
            "search": {"method": "factorial"},
        }
    )
    assert asked.nested == ()
    assert list(asked.factors) == [RATIO, RADIUS]


def test_drawn_cells_have_no_methods():
    """A random search has not every combination, so nothing is joined."""
    written = {**spec(a=[1, 2], b=when([1, 2], a=[2])), "search": {"method": "random"}}
    assert nested.question(written).nested == ()


def test_factors_that_do_not_depend_on_each_other_stay_apart():
    """Two sets of nested factors are two factors, each with a name of its own."""
    asked = nested.question(
        spec(a=[1, 2], b=when([3, 4], a=[2]), c=[5, 6], d=when([7, 8], c=[6]), e=[9, 10])
    )
    assert list(asked.factors) == ["method (a)", "method (c)", "e"]
    assert asked.factors["method (c)"] == ["c 5", "c 6 with d 7", "c 6 with d 8"]


def test_a_chain_of_conditions_is_one_set():
    """A factor that depends on a factor that depends on another belongs to all of them."""
    asked = nested.question(spec(a=[1, 2], b=when([3, 4], a=[2]), c=when([5, 6], b=[4])))
    assert asked.factors == {
        "method": ["a 1", "a 2 with b 3", "a 2 with b 4 with c 5", "a 2 with b 4 with c 6"]
    }


def test_a_factor_of_that_name_keeps_it():
    """A trainer of one's own may have a factor called method."""
    asked = nested.question(spec(method=["x", "y"], a=[1, 2], b=when([3, 4], a=[2])))
    assert list(asked.factors) == ["method", "method (a)"]


def test_levels_that_differ_in_a_late_digit_have_names_of_their_own():
    """Two levels must never be read as one."""
    close = [0.123456, 0.123457]
    names = nested.question(spec(a=[1, 2], b=when(close, a=[2]))).factors["method"]
    assert names == ["a 1", "a 2 with b 0.123456", "a 2 with b 0.123457"]


def test_a_cell_of_an_earlier_spec_has_no_method():
    """Its levels are in no combination of today's; nothing is made up."""
    asked = nested.question(spec(a=[1, 2], b=when([3, 4], a=[2])))
    assert asked.levels({"a": 9}) == {"a": 9}
    assert asked.levels({"a": 1}) == {"a": 1, "method": "a 1"}


@pytest.mark.parametrize(
    ("reference", "baseline"),
    [({"a": 2}, "a 2 with b 3"), ({"a": 2, "b": 4}, "a 2 with b 4"), ({"a": 1}, "a 1"), ({}, None)],
)
def test_baselines_of_the_parts_are_the_baseline_of_the_methods(reference, baseline):
    """The first method that has every level that `reference` names."""
    written = {**spec(a=[1, 2], b=when([3, 4], a=[2])), "reference": reference}
    assert nested.question(written).reference.get("method") == baseline


def test_the_reference_of_the_spec_is_what_differences_are_taken_against():
    """`reference: {train.sam.radius: 0.2}` compares SGD and SAM-A with SAM."""
    view = view_of(frames_of(reference={RADIUS: 0.2}))
    [primary] = view.of(differences.build).primary
    assert {one.reference for one in primary.differences} == {SAM}
    assert all(math.isfinite(one.estimate.low) for one in primary.differences)


NAMED = [
    {"name": "SGD", "train.sam.radius": 0.0},
    {"name": "SAM", "train.sam.radius": 0.2},
    {"name": "SAM-A", "train.sam.radius": 0.2, "train.sam.asymmetry": 1.0},
]
GAINS = {"SGD": 0.0, "SAM": 0.08, "SAM-A": 0.18}


def compared(**beside):
    """A planted sweep of three named cells, at the levels `beside`."""
    levels = {"compare": [*GAINS], **(beside or {RATIO: [1.0, 0.05]})}
    one = planted.plan(levels=levels, replicates=6, truth=lambda c: 0.5 + GAINS[c["compare"]])
    spec = {**one.sweep.spec, "compare": NAMED}
    plan = replace(one, sweep=replace(one.sweep, spec=spec))
    return view_of(load(planted.Memory(plan), plan.sweep.name))


def test_named_cells_are_the_question():
    """Their names are the levels of "method", which comes before the batch size."""
    view = compared(**{BATCH: [8, 32], RATIO: [1.0, 0.05]})
    assert view.question is view.x
    assert view.x is not None
    assert (view.x.name, view.x.levels, view.x.reference) == (
        "method",
        ("SGD", "SAM", "SAM-A"),
        "SGD",
    )
    headline = words.lead(view).headline
    assert headline.startswith("At train ratio 0.05, take method SAM-A. SGD costs ")


def test_the_keys_of_a_named_cell_are_known():
    """What the fairness of a comparison rests on: which keys a level sets."""
    question = nested.question({"scientific": {"compare": ["a", "b"]}, "compare": NAMED})
    assert question.keys("compare") == {"train.sam.radius", "train.sam.asymmetry"}
    assert question.keys("train.lr") == {"train.lr"}
