"""From an interval to a word: what may be said."""

import math

import planted
import pytest

from sweeper.analysis import words
from sweeper.analysis.answer import answer
from sweeper.analysis.frames import load
from sweeper.analysis.intervals import Estimate
from sweeper.analysis.verdicts import Word, interval, judge, number


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
    assert judge(estimate(-0.5, 2.5), direction="maximize").needed > 5


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(-0.04, "points", "0.0"), (1.25, "points", "1.2"), (math.nan, "", "n/a"),
     (0.01234, "", "0.0123"), (-2.0, "points", "−2.0")],
)  # fmt: skip
def test_numbers_are_written_for_a_reader(value, unit, text):
    """One decimal for points, three digits otherwise, no minus zero."""
    assert number(value, unit=unit) == text


def test_an_interval_that_is_not_there_says_why():
    """Never a dash."""
    none = Estimate(1.0, math.nan, math.nan, math.nan, 2, math.nan, 1, "t", "n = 2")
    assert interval(none) == "no interval (n = 2)"


def lead(**settings):
    plan = planted.plan(**settings)
    return words.lead(answer(load(planted.Memory(plan), plan.sweep.name)))


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


@pytest.mark.slow
def test_verdicts_match_the_plant_in_most_seeds():
    """End to end over 40 seeds: the planted trend and interaction are found."""
    hits = []
    for seed in range(40):
        told = lead(seed=seed, noise=0.006, replicates=6, epochs=2)
        hits.append("falls" in told.headline and "stronger" in told.more[0])
    assert sum(hits) >= 38
