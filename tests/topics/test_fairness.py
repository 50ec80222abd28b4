"""How cells were tuned, what lies at an edge, and which claims are called fair."""

import math
from dataclasses import replace

import planted
import pytest

from sweeper.analysis.factors import Factor
from sweeper.analysis.frames import load
from sweeper.analysis.verdicts import Word
from sweeper.analysis.view import view_of
from sweeper.engine.tuning import pick, places
from sweeper.states import Ending
from sweeper.topics.best_levels import estimate as best_levels
from sweeper.topics.best_levels import section as best_report
from sweeper.topics.differences import estimate as differences
from sweeper.topics.fairness import estimate as fairness
from sweeper.topics.fairness import text as words_fairness
from sweeper.topics.fairness.estimate import at_edge, tuned
from sweeper.topics.headline import text as words
from sweeper.topics.headline.note import note
from sweeper.topics.recommendation import text as recommended
from sweeper.topics.recommendation.estimate import recommend
from trainers import card

RATES = (0.01, 0.03, 0.1, 0.3, 1.0)
LR = Factor("train.lr", "learning rate", RATES, "log2", 0.1)


def peak(factors, rate):
    """Best at 0.1, whatever the cell."""
    del factors
    return 0.8 - 0.05 * abs(math.log10(rate / 0.1))


def at_the_edge(factors, rate):
    """Best at the largest rate for batch size 128, else at 0.1."""
    top = 1.0 if factors[planted.BATCH] == 128 else 0.1
    return 0.8 - 0.05 * abs(math.log10(rate / top))


def found(plan):
    return view_of(load(planted.Memory(plan), plan.sweep.name))


def tuning(truth=peak, **settings):
    return planted.with_tuning(planted.plan(), RATES, truth=truth, **settings)


@pytest.fixture(scope="module")
def free():
    return found(tuning())


@pytest.fixture(scope="module")
def held():
    return found(tuning(at_the_edge))


def candidates(values, *, picks=(0.1,), rates=RATES, ended=None, **settings):
    runs = [(v, len(v) or 1, len(v) if ended is None else ended) for v in values]
    return tuned(
        runs, cell=1, levels=[(rate,) for rate in rates], picks=picks, axes=(LR,),
        direction=settings.get("direction", "maximize"), spec={"train.lr": {"low": 0.01}},
    )  # fmt: skip


def test_ranks_are_those_of_a_plain_sort():
    """1 is the best mean, in either direction; a candidate without a value has none."""
    values = [[1.0], [4.0], [3.0], [], [2.0]]
    up = [one.rank for one in candidates(values).candidates]
    down = [one.rank for one in candidates(values, direction="minimize").candidates]
    assert up == [4, 1, 2, None, 3]
    assert down == [1, 4, 3, None, 2]


def test_the_near_optimal_range_holds_what_lies_within_one_standard_error():
    """Best mean 10 with se 1 over four runs: 9 and more are near, by a plain loop."""
    values = [[5.0] * 4, [9.5] * 4, [8.0, 12.0, 8.0, 12.0], [9.0] * 4, [3.0] * 4]
    one = candidates(values)
    error = math.sqrt(sum((v - 10) ** 2 for v in values[2]) / 3 / 4)
    near = [r for r, v in zip(RATES, values, strict=True) if sum(v) / 4 >= 10 - error]
    assert one.near == (near[0], near[-1])
    assert one.width == pytest.approx(math.log2(near[-1] / near[0]))


def test_a_single_run_of_each_candidate_has_no_near_optimal_range():
    """n = 1: no standard error, so no range; the pick still has its rank."""
    one = candidates([[1.0], [2.0], [3.0], [2.0], [1.0]])
    assert one.near is None
    assert math.isnan(one.width)
    assert one.rank == 1


def test_candidates_that_are_all_equal_are_all_near():
    """Zero variance, ties: the whole range, and a pick of rank 1."""
    one = candidates([[2.0, 2.0]] * 5)
    assert one.near == (0.01, 1.0)
    assert one.rank == 1


def test_candidates_that_all_failed_are_told_without_numbers():
    """No value anywhere: no rank, no range."""
    one = candidates([[]] * 5, ended=1)
    assert one.rank is None
    assert one.near is None
    assert one.trials == (5, 5)


@pytest.mark.parametrize(
    ("value", "tried", "edge"),
    [
        (0.01, RATES, True),
        (1.0, RATES, True),
        (0.1, RATES, False),
        (0, (0, 0.1, 0.2), False),
        (0.2, (0, 0.1, 0.2), True),
        (0.1, (0.1,), False),
        ("cosine", ("cosine", "none"), False),
    ],
)
def test_the_edge_is_the_lowest_or_the_highest_value_tried(value, tried, edge):
    """0 can go no lower, words have no order, one value has no range."""
    assert at_edge(value, tried=tried, written=list(tried), alone=True) is edge


@pytest.mark.parametrize(("value", "edge"), [(0.02, False), (0.0105, True), (0.98, True)])
def test_of_scattered_points_the_outer_tenth_of_the_range_is_the_edge(value, edge):
    """Two nuisance factors: on the log scale of the range, not by what was tried."""
    written = {"low": 0.01, "high": 1.0, "log": True}
    assert at_edge(value, tried=(value, 0.1), written=written, alone=False) is edge


def test_the_rank_and_the_pick_agree_with_the_tuner():
    """With one run a value, the engine's pick is the candidate of rank 1."""
    values = [[0.2], [0.9], [0.4], [0.3], [0.1]]
    chosen = pick(values, places=places([{"train.lr": r} for r in RATES], {"train.lr": 1}),
                  maximize=True)  # fmt: skip
    assert candidates(values, picks=(RATES[chosen],)).rank == 1


def test_a_tuned_complete_grid_is_fair(free):
    """Five conditions hold; a condition of the data is no choice, and has no claim."""
    fair = free.of(fairness.build)
    assert [one.path for one in fair.claims] == [planted.BATCH]
    assert all(one.fair for one in fair.claims)
    assert all(condition.holds for one in fair.claims for condition in one.conditions)
    assert {one.picks for one in fair.cells} == {(0.1,)}
    assert {one.trials for one in fair.cells} == {(5, 5)}


def test_val_is_what_the_isolation_plot_shows(free):
    """The candidates' means are the planted values on val, in points."""
    one = free.of(fairness.build).cells[0]
    means = [candidate.mean for candidate in one.candidates]
    assert means == pytest.approx([100 * peak({}, rate) for rate in RATES], abs=1e-4)


def test_a_pick_at_the_edge_withholds_the_verdicts_that_rest_on_it(free, held):
    """In the headline, the pairs, the note; the same sweep with an inner pick has its verdicts."""
    one, two = best_levels.question(free), best_levels.question(held)
    assert {v.word for v in one.verdicts.values()} >= {Word.BETTER, Word.WORSE}
    assert {v.word for v in two.verdicts.values()} == {Word.WITHHELD}
    assert [level.cost for level in one.levels] == [level.cost for level in two.levels]
    assert all(
        v.word is Word.WITHHELD for one in held.of(differences.build).primary for v in one.verdicts
    )
    lead = words.lead(held)
    assert lead.badge == "withheld"
    assert lead.headline.startswith(
        "Withheld: the best learning rate lies at the edge of its range in 1 cell. As tuned, at "
        "train ratio 0.05, take batch size 2."
    )
    assert {mark.verdict.word for mark in lead.marks} == {Word.UNKNOWN}
    assert lead.claim is not None
    assert not lead.claim.fair
    assert "Withheld" in note(held)


def test_a_pick_at_the_edge_is_told_of_the_best_levels_and_of_the_recommendation(free, held):
    """The rows and the figure of the levels; the evidence of `sweeper best` and its card."""
    why = "the best learning rate lies at the edge of its range in 1 cell"
    assert {one.withheld for one in held.of(best_levels.build)} == {why}
    assert set(best_levels.rows(held.of(best_levels.build))["withheld"]) == {why}
    told = best_report.section(held)
    assert told is not None
    assert all(figure.alt.startswith(f"Withheld: {why}. ") for figure in told.figures)
    evidence = recommended.evidence(recommend(held))
    assert evidence["verdicts_withheld"] == why
    assert any(why in remark for remark in evidence["remarks"])
    assert f"verdicts\\_withheld: {why}" in "\n".join(card._outline(evidence))
    assert recommended.evidence(recommend(free))["verdicts_withheld"] == "no"
    assert not any(one.withheld for one in free.of(best_levels.build))


def test_an_edge_outside_of_the_question_leaves_the_answer_its_verdicts():
    """Only what rests on the cell is withheld: the question is about the strongest imbalance."""

    def truth(factors, rate):
        return at_the_edge(factors, rate) if factors[planted.RATIO] == 1.0 else peak({}, rate)

    one = found(tuning(truth))
    assert fairness.withheld(one) == ""
    assert condition(one, "not at an edge").holds is True
    assert words.lead(one).badge == "decided"
    balanced = recommended.evidence(recommend(one, at={planted.RATIO: "1"}))
    assert balanced["verdicts_withheld"].endswith("in 1 cell")
    assert any("in 1 of the 4 cells that are compared" in told for told in balanced["remarks"])


def condition(one, name, path=planted.BATCH):
    listed = one.of(fairness.build).claim(path).conditions
    return next(condition for condition in listed if condition.name == name)


def test_a_sweep_without_tuning_cells_is_not_shown_to_be_fair():
    """Grey, with what is missing; no verdict is withheld for it."""
    one = found(planted.plan())
    claim = one.of(fairness.build).claim(planted.BATCH)
    assert [missing.name for missing in claim.missing] == ["tuned rate"]
    assert condition(one, "not at an edge").holds is None
    assert words_fairness.badge(claim) == "not shown to be fair: tuned rate"
    assert best_levels.question(one).verdicts[128, 2].word is Word.WORSE


def test_the_learning_rate_as_the_factor_needs_no_tuned_rate():
    """Does not apply; of another factor of the same grid it is false."""
    levels = {planted.BATCH: [2, 8], "train.lr": [0.01, 0.1]}
    plan = planted.plan(levels=levels, truth=planted.flat)
    spec = {**plan.sweep.spec, "nuisance": {}}
    cells = [replace(one, factors={p: one.factors[p] for p in levels}) for one in plan.cells]
    for at, one in enumerate(cells):
        one.factors["train.lr"] = levels["train.lr"][at % 2]
    one = found(replace(plan, sweep=replace(plan.sweep, spec=spec), cells=cells))
    assert condition(one, "tuned rate", "train.lr").holds is None
    assert condition(one, "tuned rate").holds is False


def test_unequal_tuning_is_not_fair():
    """A candidate that one cell alone lacks."""
    plan = tuning()
    one = found(replace(plan, cells=plan.cells[:-1],
                        numbers={k: v for k, v in plan.numbers.items()
                                 if k[0] < len(plan.cells) - 1}))  # fmt: skip
    assert not one.of(fairness.build).equal
    assert condition(one, "equal budget").holds is False


def test_a_failed_candidate_is_a_trial_like_any_other():
    """A rate that diverges was tried: the budget stays equal, and it has no rank."""
    plan = tuning()
    at = len(plan.cells) - 1
    one = found(replace(plan, endings={(at, -1): (Ending.DIVERGED, "nan")}))
    assert one.of(fairness.build).equal
    assert one.of(fairness.build).cells[-1].candidates[-1].rank is None
    assert condition(one, "tuned rate").holds


@pytest.mark.parametrize(("cell", "holds"), [(1, False), (0, True)])
def test_a_lost_replicate_is_no_complete_block(cell, holds):
    """One failed run at the ratio of the question counts; one on balanced data does not."""
    one = found(replace(tuning(), endings={(cell, 1): (Ending.DIVERGED, "nan")}))
    seen = condition(one, "complete blocks")
    assert seen.holds is holds
    assert holds or seen.reason.startswith("1 replicate lacks")


@pytest.mark.parametrize(("cell", "holds"), [(1, False), (0, True)])
def test_a_collapsed_run_is_named(cell, holds):
    """One run at chance in a cell that is compared where the question asks."""
    plan = tuning()
    numbers = dict(plan.numbers)
    column = plan.layout.index(("test", "minority_accuracy", ""))
    numbers[cell, 0] = numbers[cell, 0].copy()
    numbers[cell, 0][-1, column] = 0.05
    seen = condition(found(replace(plan, numbers=numbers)), "no collapse")
    assert seen.holds is holds


def test_one_cell_has_no_claims():
    """Nothing to compare and no tuning: the page has no section about fairness."""
    assert found(planted.plan(levels={planted.BATCH: [8]})).of(fairness.build) is None


def test_the_sentences_tell_of_the_edge_and_of_the_width(held):
    """Counted over cells."""
    told = " ".join(words_fairness.tuning(held.of(fairness.build)))
    assert "In 2 cells of 8 the pick lies at the edge of its range: widen the range." in told
    wide = found(tuning(lambda f, r: 0.8, replicates=3, noise=0.0)).of(fairness.build)
    assert "span a factor of 100" in words_fairness.widest(wide)
