"""From an interval to a word: what may be said."""

import math
import re

import planted
import pytest

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
        (1.2, 3.0, "maximize", "materially better"),
        (-3.0, -0.2, "maximize", "worse"),
        (-3.0, -1.2, "maximize", "materially worse"),
        (-3.0, -1.2, "minimize", "materially better"),
        (0.2, 3.0, "minimize", "worse"),
        (-0.9, 0.8, "maximize", "about equal"),
        (-0.9, 1.8, "maximize", "undecided"),
    ],
)
def test_the_word_follows_from_the_interval_and_the_margin(low, high, direction, badge):
    """2.12: beyond 0, beyond the margin, inside it, or none of these."""
    assert judge(estimate(low, high), direction=direction).badge == badge


def test_a_slope_is_judged_by_what_it_amounts_to_over_its_range():
    """0.3 points a doubling is 1.8 over six doublings: more than the margin."""
    assert judge(estimate(0.3, 0.5), direction="maximize").material is False
    assert judge(estimate(0.3, 0.5), direction="maximize", span=6).material is True


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


def test_the_planted_curve_is_told_in_one_sentence():
    """The headline names the metric, the direction and the size per doubling."""
    told = lead(noise=0.004)
    assert (
        told.headline == "Minority accuracy falls by 1.6 points with each doubling of batch size."
    )
    assert told.more == (
        "The trend is stronger at train ratio 0.05 (the stronger imbalance) than at 1.",
    )
    assert told.badge == "clear fall"


@pytest.mark.parametrize("seed", range(5))
def test_a_null_plant_is_not_called_a_trend(seed):
    """No factor does anything: the headline claims nothing."""
    told = lead(truth=planted.flat, seed=100 + seed)
    assert told.badge in ("undecided", "about equal")


def test_two_words_are_compared_in_one_sentence():
    """A categorical factor has no slope; its levels are told against the first as written."""
    told = lead(
        levels={"train.augmentation": ["none", "mixup"]}, noise=0.002,
        truth=lambda f: 0.8 + 0.05 * (f["train.augmentation"] == "mixup"),
    )  # fmt: skip
    assert told.headline.startswith("Minority accuracy: mixup (+")
    assert told.headline.endswith("points) is materially better than none.")


def test_trends_that_go_opposite_ways_are_not_called_stronger():
    """Falling at one end, rising less at the other: neither is the other made stronger."""
    told = lead(noise=0.002, truth=lambda f: (
        0.8 + (0.004 if f[planted.RATIO] < 1 else -0.02) * math.log2(f[planted.BATCH])
    ))  # fmt: skip
    [text] = told.more
    assert re.fullmatch(
        r"The trends at train ratio 0.05 and 1 go opposite ways \(\+0\.\d and −2\.\d\)\.", text
    )


def test_a_trend_beside_none_is_called_stronger_whatever_the_sign_of_none():
    """A slope whose interval holds 0 has no direction that another could be opposed to."""
    told = lead(noise=0.004, truth=lambda f: (
        0.8 - (0.03 if f[planted.RATIO] < 1 else -0.0002) * math.log2(f[planted.BATCH])
    ))  # fmt: skip
    assert told.more[0].startswith("The trend is stronger at train ratio 0.05")


def test_few_replicates_make_no_firm_sentence():
    """Four replicates: whatever the word, the sentence only suggests."""
    told = lead(truth=planted.flat, noise=0.0003, replicates=4)
    assert told.headline.startswith("The runs suggest that minority accuracy hardly changes")
    assert told.more[0].startswith("The runs suggest that the trend")
    told = lead(replicates=4, noise=0.002)
    assert told.headline.startswith("The runs suggest that minority accuracy falls")
    assert told.more[0].startswith("The runs suggest that the trend is stronger")


def test_equal_replicates_are_not_called_too_few():
    """Without spread there is no interval, and the reason is said."""
    told = lead(truth=lambda _: 0.0, noise=0.0)
    assert told.headline == (
        "No verdict: over 5 replicates minority accuracy does not change; all replicates are "
        "equal, which gives no interval."
    )
    assert told.more[-1].endswith(
        "cannot be said: all replicates are equal, which gives no interval."
    )


@pytest.mark.parametrize(("replicates", "n"), [(1, "1 replicate"), (2, "2 replicates")])
def test_a_trend_without_an_interval_is_no_verdict(replicates, n):
    """Points only: the headline says so before it says what was seen."""
    told = lead(replicates=replicates)
    assert told.headline.startswith(f"No verdict: over {n} minority accuracy falls by")
    assert told.headline.endswith("too few replicates for an interval.")
    assert told.basis.endswith(f"n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{n}, no interval.")


def test_a_loss_that_rises_is_worse():
    """An objective that is minimised: the words of direction and of judgement part."""
    levels = {planted.BATCH: [2, 8, 32, 128]}
    plan = planted.plan(levels=levels, metric="loss", noise=0.002)
    found = view_of(load(planted.Memory(plan), plan.sweep.name))
    told = words.lead(found)
    assert told.headline.startswith("Loss rises by")
    assert (told.badge, told.tone) == ("clear rise", "worse")
    changes = {
        one.level: (one.estimate.value > 0, one.improves)
        for one in found.of(differences.build).primary[0].differences
    }
    assert changes == {2: (False, 1.0), 32: (True, 0.0), 128: (True, 0.0)}
    [levels_line] = [one for one in words.lines(found) if "each level against" in one.heading]
    assert re.search(r"[Bb]atch size 2 \(−[\d.]+\) is better than 8", levels_line.text)


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
def test_verdicts_match_the_plant_in_most_seeds():
    """End to end over 40 seeds: the planted trend and interaction are found."""
    hits = []
    for seed in range(40):
        told = lead(seed=seed, noise=0.006, replicates=6, epochs=2)
        hits.append("falls" in told.headline and "stronger" in told.more[0])
    assert sum(hits) >= 38
