"""From an interval to a word: what may be said."""

import math
import re
from dataclasses import replace

import numpy as np
import planted
import pytest
from scipy import stats

from sweeper.analysis.frames import load
from sweeper.analysis.intervals import Estimate
from sweeper.analysis.verdicts import Word, judge
from sweeper.analysis.view import view_of
from sweeper.analysis.wording import interval, number
from sweeper.topics.differences import estimate as differences
from sweeper.topics.headline import text as words


def estimate(low, high, n=5):
    return Estimate((low + high) / 2, low, high, 1.0, n, 0.01, 1, "t")


@pytest.mark.parametrize(
    ("low", "high", "direction", "badge"),
    [
        (0.2, 3.0, "maximize", "better"),
        (-3.0, -0.2, "maximize", "worse"),
        (-3.0, -0.2, "minimize", "better"),
        (0.2, 3.0, "minimize", "worse"),
        (-0.9, 0.8, "maximize", "about equal"),
        (-1.0, 1.0, "maximize", "about equal"),
        (-0.9, 1.8, "maximize", "undecided"),
    ],
)
def test_the_word_follows_from_the_interval_and_the_margin(low, high, direction, badge):
    """2.12: beyond 0, beyond the margin, inside it, or none of these."""
    assert judge(estimate(low, high), direction=direction).badge == badge


def test_without_a_margin_nothing_is_called_equivalent():
    """A loss has no natural margin."""
    assert judge(estimate(-0.001, 0.001), direction="minimize", margin=None).word is Word.UNDECIDED


def test_an_undecided_verdict_says_what_it_would_take():
    """About how many replicates would decide it."""
    needed = judge(estimate(-0.5, 2.5), direction="maximize").needed
    assert needed is not None
    assert needed > 5


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(-0.0004, "points", "0.0"), (-0.04, "points", "−0.04"), (1.25, "points", "1.2"),
     (math.nan, "", "n/a"), (0.01234, "", "0.0123"), (-2.0, "points", "−2.0")],
)  # fmt: skip
def test_numbers_are_written_for_a_reader(value, unit, text):
    """One decimal for points, three digits otherwise, no minus zero, no zero that is none."""
    assert number(value, unit=unit) == text


def test_an_interval_that_is_not_there_says_why():
    """Never a dash."""
    none = Estimate(1.0, math.nan, math.nan, math.nan, 2, math.nan, 1, "t", "n = 2")
    assert interval(none) == "no interval (n = 2)"


def lead(**settings):
    plan = planted.plan(**settings)
    return words.lead(view_of(load(planted.Memory(plan), plan.sweep.name)))


def numbers_of(text):
    """Every number of a text, signs left out."""
    return [float(one) for one in re.findall(r"\d+\.\d+|\d+", text)]


def test_the_answer_says_which_level_to_take_and_what_the_others_cost():
    """At the strongest imbalance, with the joint intervals of all pairs."""
    plan = planted.plan(noise=0.004)
    view = view_of(load(planted.Memory(plan), plan.sweep.name))
    told = words.lead(view)
    match = re.fullmatch(
        r"At train ratio 0\.05, take batch size 2\. 8 costs ([\d.]+) to ([\d.]+) points of "
        r"minority accuracy, 32 costs ([\d.]+) to ([\d.]+) points and 128 costs ([\d.]+) to "
        r"([\d.]+) points \(95\s%, all at once, n\s=\s5\)\.",
        told.headline,
    )
    assert match, told.headline
    assert view.x is not None
    y = view.levels(view.objective, factor=view.x).to_numpy()
    quantile = stats.t.ppf(1 - 0.05 / 12, 4)
    for at in (1, 2, 3):
        d = y[0] - y[at]
        half = quantile * d.std(ddof=1) / math.sqrt(5)
        ends = (d.mean() - half, d.mean() + half)
        assert numbers_of(" ".join(match.groups()))[2 * at - 2 : 2 * at] == pytest.approx(
            [max(ends[0], 0), ends[1]], abs=0.051
        )
    assert told.badge == "decided"


def test_conditions_are_never_averaged_nor_judged():
    """The answer at train ratio 0.05 is that of a sweep which has only this ratio."""
    both = lead(noise=0.004, seed=5)
    assert both.headline.startswith("At train ratio 0.05, ")
    elsewhere = both.more[-1]
    assert elsewhere.startswith("At train ratio 1 the means of any two batch sizes differ by at")
    plan = planted.plan(noise=0.004, seed=5)
    view = view_of(load(planted.Memory(plan), plan.sweep.name))
    assert view.x is not None
    assert view.by is not None
    y = view.levels(view.objective, factor=view.x, at=(view.by, 1.0)).to_numpy().mean(axis=1)
    assert numbers_of(elsewhere)[1] == pytest.approx(np.ptp(y), abs=0.051)
    assert [line for line in words.lines(view) if "ratio" in line.heading] == []


def test_a_sweep_over_a_condition_alone_describes():
    """Its means, and no level of it is best."""
    told = lead(levels={planted.RATIO: [1.0, 0.1, 0.05]}, noise=0.002)
    assert re.match(r"Minority accuracy: [\d.]+\s% at train ratio 0\.05, ", told.headline)
    assert told.more == ("Train ratio is a condition, not a choice, so no level of it is best.",)
    assert told.badge == "descriptive"


def test_runs_that_collapsed_are_said_before_the_answer():
    """One of five runs at one level far below the others: intervals may be too sure."""
    plan = planted.plan(levels={planted.BATCH: [2, 8, 32]}, noise=0.004, truth=planted.flat)
    place = plan.layout.index(("test", "minority_accuracy", ""))
    numbers = {key: value.copy() for key, value in plan.numbers.items()}
    numbers[1, 3][-1, place] = 0.05
    fallen = replace(plan, numbers=numbers)
    told = words.lead(view_of(load(planted.Memory(fallen), plan.sweep.name)))
    assert told.headline.startswith(
        "1 of 5 runs at batch size 8 collapsed, so intervals may be too sure. No batch size"
    )


@pytest.mark.parametrize("seed", range(5))
def test_a_null_plant_is_not_called_a_difference(seed):
    """No factor does anything: no level is beaten."""
    told = lead(truth=planted.flat, seed=100 + seed)
    assert "costs" not in told.headline
    assert "cannot be told apart" in told.headline or "will do" in told.headline


def test_levels_that_are_shown_equal_are_said_to_do():
    """All within the margin of the best, by the intervals."""
    told = lead(truth=lambda _: 0.8, noise=0.0005)
    assert told.headline == (
        "At train ratio 0.05, any batch size will do: batch size 2, 8, 32 and 128 are about "
        "equal, all within 1 point of the best."
    )
    assert told.badge == "decided"


def test_two_words_are_compared_in_one_sentence():
    """A level that says nothing alone keeps the name of its factor."""
    told = lead(
        levels={"train.augmentation": ["none", "mixup"]}, noise=0.002,
        truth=lambda f: 0.8 + 0.05 * (f["train.augmentation"] == "mixup"),
    )  # fmt: skip
    assert told.headline.startswith("Take augmentation mixup. Augmentation none costs ")


def test_a_shape_is_named_where_the_intervals_show_it():
    """Flat to 32, then a cliff."""
    told = lead(noise=0.003, truth=lambda f: 0.8 - 0.3 * (f[planted.BATCH] == 128))
    assert told.more[0] == "Minority accuracy falls at batch size 128, if not before."


@pytest.mark.parametrize("noise", [0.0003, 0.002])
def test_few_replicates_make_no_firm_sentence(noise):
    """Four replicates: whatever the answer, the runs only suggest it."""
    truth = planted.flat if noise < 0.001 else planted.headline
    told = lead(truth=truth, noise=noise, replicates=4)
    assert "the runs suggest" in told.headline
    assert told.badge.startswith("suggestive: ")


def test_equal_replicates_are_not_called_too_few():
    """Without spread there is no interval, and no level is ruled out."""
    told = lead(truth=lambda _: 0.5, noise=0.0)
    assert told.headline.startswith("At train ratio 0.05, no batch size can be ruled out: ")
    assert "n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}5 replicates" in told.basis


@pytest.mark.parametrize("replicates", [1, 2])
def test_too_few_replicates_rule_nothing_out(replicates):
    """Points only: the headline says so."""
    told = lead(replicates=replicates)
    assert told.headline == (
        "At train ratio 0.05, no batch size can be ruled out: n\N{NO-BREAK SPACE}="
        f"\N{NO-BREAK SPACE}{replicates}, too few replicates for an interval."
    )
    assert told.badge == "points only"


def test_a_loss_that_rises_is_worse():
    """An objective that is minimised: the words of direction and of judgement part."""
    levels = {planted.BATCH: [2, 8, 32, 128]}
    plan = planted.plan(levels=levels, metric="loss", noise=0.002)
    found = view_of(load(planted.Memory(plan), plan.sweep.name))
    told = words.lead(found)
    assert told.headline.startswith("Take batch size 2. 8 raises loss by 0.")
    assert told.badge == "decided"
    assert [mark.estimate.low > 0 for mark in told.marks] == [False, True, True, True]
    changes = {
        one.level: (one.estimate.value > 0, one.improves)
        for one in found.of(differences.build).primary[0].differences
    }
    assert changes == {2: (False, 1.0), 32: (True, 0.0), 128: (True, 0.0)}


@pytest.mark.parametrize("reached", [0.0, 0.1])
def test_drawn_cells_that_never_left_chance_have_no_best(reached):
    """All cells at 0 %, or at the share that guessing gives: the highest is no finding."""
    told = lead(
        method="qmc", truth=lambda _: reached, noise=0.0, levels={planted.BATCH: [2, 8, 32]}
    )
    assert re.fullmatch(
        rf"No cell left chance: the highest mean minority accuracy among the cells tried is "
        rf"{100 * reached:.1f}\s%, and guessing gives 10\.0\s%\.",
        told.headline,
    )
    assert (told.more, told.badge) == ((), "at chance")


def test_drawn_cells_above_chance_have_a_best():
    """One cell that learned is named with its levels."""
    told = lead(
        method="qmc", truth=lambda f: 0.9 if f[planted.BATCH] == 8 else 0.0, noise=0.001,
        levels={planted.BATCH: [2, 8, 32]},
    )  # fmt: skip
    assert told.headline.startswith("Highest mean minority accuracy among the cells tried: ")
    assert told.headline.endswith("% at batch size 8.")


@pytest.mark.slow
def test_answers_match_the_plant_in_most_seeds():
    """End to end over 40 seeds: the planted best is never beaten, and 128 always is."""
    hits = []
    for seed in range(40):
        told = lead(seed=seed, noise=0.006, replicates=6, epochs=2)
        hits.append("take batch size 2" in told.headline and "128 costs" in told.headline)
    assert sum(hits) >= 38
