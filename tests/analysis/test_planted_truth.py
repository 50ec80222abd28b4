"""Over 100 seeds: a planted curve, interaction and 10 % failures are reported as planted.

From records as a store gives them, through the choice of cells, to the verdicts: with the
estimators that the report uses, and for a few seeds with the whole answer, which must say the same.
"""

from __future__ import annotations

import numpy as np
import planted
import pytest
from scipy import stats

from sweeper.analysis import comparable, trend
from sweeper.analysis.comparable import scientific
from sweeper.analysis.factors import axes
from sweeper.analysis.frames import load
from sweeper.analysis.measures import measures, responses
from sweeper.analysis.verdicts import MARGIN, Word
from sweeper.analysis.view import SweepView, view_of
from sweeper.states import Ending
from sweeper.topics.anova import estimate as anova
from sweeper.topics.anova.estimate import Anova
from sweeper.topics.best_levels import estimate as best_levels
from sweeper.topics.differences import estimate as differences
from sweeper.topics.trends import estimate as trends

SEEDS = 100
REPLICATES = 16  # of a grid of 8 cells, a tenth of the runs lost, about 7 are complete
NULL = 5
B, RATIO = planted.BATCH, planted.RATIO
LEVELS = {B: [2, 8, 32, 128], RATIO: [1.0, 0.05]}


def failing(seed, share=0.1):
    """A tenth of the runs fail: diverged, or out of attempts."""
    rng = np.random.default_rng([seed, 7])
    keys = [(cell, r) for cell in range(8) for r in range(REPLICATES)]
    return {
        key: (Ending.DIVERGED if rng.random() < 0.5 else Ending.ERROR, "planted")
        for key in keys
        if rng.random() < share
    }


def frames_of(seed, *, truth, failures, noise=0.012, replicates=REPLICATES):
    plan = planted.plan(levels=LEVELS, truth=truth, replicates=replicates, noise=noise, epochs=1,
                        failures=failures, seed=seed)  # fmt: skip
    return load(planted.Memory(plan), plan.sweep.name)


def look_at(frames):
    """What the analyses look at, for the objective alone."""
    kept = comparable.comparable_cells(frames)
    factors = scientific(frames, cells=kept.compared)
    objective = measures(frames)[0]
    y = responses(frames, measure=objective, cells=kept.cells)
    return SweepView(frames, kept, (objective,), {objective.name: y}, factors, *axes(factors))


def primary(look):
    """(factor, level) -> the word of its difference from the reference, by plain arithmetic.

    At train ratio 0.05, over the replicates with all levels, at .05 over all 6 pairs.
    """
    y = look.levels(look.objective, factor=look.x).dropna(axis=1)
    words = {}
    for level in (2, 32, 128):
        d = (y.loc[level] - y.loc[look.x.reference]).to_numpy()
        half = stats.t.ppf(1 - 0.05 / 12, len(d) - 1) * d.std(ddof=1) / np.sqrt(len(d))
        low, high = d.mean() - half, d.mean() + half
        equal = Word.EQUIVALENT if low >= -MARGIN and high <= MARGIN else Word.UNDECIDED
        words[B, level] = Word.BETTER if low > 0 else Word.WORSE if high < 0 else equal
    return words


def interaction(look):
    """The interval of the trend's change from weak to strong imbalance."""
    weak, strong = (
        trend.trend(look.levels(look.objective, factor=look.x, at=(look.by, level)), factor=look.x)
        for level in (1.0, 0.05)
    )
    return trend.interaction(weak, strong=strong).estimate


PLANTED = {(B, 2): Word.BETTER, (B, 32): Word.WORSE, (B, 128): Word.WORSE}


@pytest.fixture(scope="module")
def looks():
    """100 sweeps of a curve that falls, more so under imbalance, with a tenth of the runs lost."""
    return [
        look_at(frames_of(seed, truth=planted.headline, failures=failing(seed)))
        for seed in range(SEEDS)
    ]


@pytest.fixture(scope="module")
def nulls():
    """100 sweeps in which no factor does anything."""
    return [
        look_at(frames_of(1000 + seed, truth=planted.flat, failures={}, replicates=NULL))
        for seed in range(SEEDS)
    ]


def test_the_planted_curve_is_told_in_95_of_100_sweeps(looks):
    """Every primary verdict at once."""
    assert np.mean([primary(look) == PLANTED for look in looks]) >= 0.95


def test_the_planted_interaction_is_told_in_95_of_100_sweeps(looks):
    """The trend is steeper under the strong imbalance."""
    assert np.mean([interaction(look).high < 0 for look in looks]) >= 0.95


def test_the_best_level_stays_and_the_worst_goes_in_95_of_100_sweeps(looks):
    """2 is truly best, 128 is 7.4 points below it."""
    found = [best_levels.build(look)[0] for look in looks]
    told = [
        ({level.value for level in one.best}, {level.value for level in one.beaten})
        for one in found
    ]
    assert np.mean([2 in best and 128 in beaten for best, beaten in told]) >= 0.95


def test_the_table_finds_the_factors_and_their_interaction_in_95_of_100_sweeps(looks):
    """Where enough replicates are complete; else it is withheld, and says so."""
    tables = [found for found in map(anova.build, looks) if isinstance(found, Anova)]
    assert len(tables) >= 0.8 * SEEDS
    firm = [one for one in tables if not one.suggestive]
    assert np.mean([all(e.clear for e in one.effects) for one in firm]) >= 0.95


def test_a_null_plant_is_called_better_in_at_most_5_of_100_sweeps(nulls):
    """The reported family: any level of any factor."""
    false = [Word.BETTER in primary(look).values() for look in nulls]
    assert np.mean(false) <= 0.05


def test_a_null_plant_loses_a_level_or_finds_an_interaction_seldom(nulls):
    """Any level, and the interaction: each within its error, 4 sigma."""
    room = 4 * np.sqrt(0.05 * 0.95 / SEEDS)
    lost = [bool(best_levels.build(look)[0].beaten) for look in nulls]
    assert np.mean(lost) <= 0.05 + room
    decided = [(one := interaction(look)).low > 0 or one.high < 0 for look in nulls]
    assert np.mean(decided) <= 0.05 + room


@pytest.mark.parametrize("seed", range(3))
def test_the_whole_answer_says_what_these_estimators_say(seed, looks):
    """The report's verdicts are those of its estimators, failures and all."""
    frames = frames_of(seed, truth=planted.headline, failures=failing(seed))
    found = view_of(frames)
    told = {
        (effect.factor.path, one.level): verdict.word
        for effect in found.of(differences.build).primary
        for one, verdict in zip(effect.differences, effect.verdicts, strict=True)
    }
    assert told == primary(looks[seed])
    slope = next(one for one in found.of(trends.build).slopes if one.factor is found.x)
    assert slope.interaction is not None
    assert slope.interaction.estimate == interaction(looks[seed])
    assert best_levels.rows(found.of(best_levels.build)).equals(
        best_levels.rows(best_levels.build(looks[seed]))
    )
    assert found.of(anova.build) == anova.build(looks[seed])
