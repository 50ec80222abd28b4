"""The share of the runs' variance that the draw of the subset gives: two sweeps side by side."""

import math
import os
from dataclasses import replace

import numpy as np
import planted
import pytest
from scipy import stats

from sweeper.analysis.frames import load
from sweeper.report import several_page as pages
from sweeper.topics.several import estimate as several
from sweeper.topics.subset_variance import estimate as draws

DRAWS = int(os.environ.get("COVERAGE_DRAWS", "400"))
SLACK = 4 * math.sqrt(0.95 * 0.05 / DRAWS)


def fixed(plan, name="fixed"):
    """The same sweep with one subset for all replicates."""

    def of(cell):
        data = cell.config["data"]
        imbalance = {**data["imbalance"], "draw": "fixed"}
        return replace(cell, config={**cell.config, "data": {**data, "imbalance": imbalance}})

    sweep = replace(plan.sweep, name=name)
    return replace(plan, sweep=sweep, cells=[of(cell) for cell in plan.cells])


def built(*plans):
    return several.build([load(planted.Memory(one), one.sweep.name) for one in plans])


def test_the_share_is_one_less_the_ratio_of_the_pooled_variances():
    """Against plain sums, and the F interval of two samples where each sweep has one cell."""
    rng = np.random.default_rng(3)
    wide, narrow = rng.normal(0, 3, (4, 6)), rng.normal(0, 2, (4, 6))
    sd, sd_fixed, share, *_ = draws.split([*wide], [*narrow])
    pooled = [sum(((row - row.mean()) ** 2).sum() for row in one) / 20 for one in (wide, narrow)]
    assert (sd**2, sd_fixed**2, share) == pytest.approx((*pooled, 1 - pooled[1] / pooled[0]))
    one, two = wide[0], narrow[0]
    _, _, _, low, high = draws.split([one], [two])
    # A ratio at an end of its interval is rejected at exactly 5 %.
    for end in (low, high):
        if 0 < end < 1:
            f = two.var(ddof=1) / one.var(ddof=1) / (1 - end)
            p = stats.f.cdf(f, 5, 5)
            assert 2 * min(p, 1 - p) == pytest.approx(0.05)
    assert 0 < high < 1 or 0 < low < 1


@pytest.mark.parametrize("common", [0.0, 0.8])
def test_the_interval_covers_though_cells_and_sweeps_share_starts(common):
    """At least 95 % of the time, whether runs share their luck with other cells or not."""
    rng, truth, n, cells = np.random.default_rng(8), 0.6, 5, 4
    covered = 0

    def luck(sd, shared):
        own = rng.normal(0, 1, (cells, n))
        return sd * (math.sqrt(common) * shared + math.sqrt(1 - common) * own)

    for _ in range(DRAWS):
        start, draw = rng.normal(0, 1, n), rng.normal(0, 1, n)
        wide = luck(math.sqrt(1 - truth), start) + luck(math.sqrt(truth), draw)
        narrow = luck(math.sqrt(1 - truth), start)
        *_, low, high = draws.split([*wide], [*narrow])
        covered += low <= truth <= high
    assert covered / DRAWS >= 0.95 - SLACK


def test_a_pair_is_two_sweeps_that_differ_in_the_draw_alone():
    """The wider goes first, whatever the order; another budget makes no pair."""
    plan = planted.plan(epochs=2, noise=0.02)
    other = fixed(planted.plan(epochs=2, noise=0.01, seed=1))
    for pair in ((plan, other), (other, plan)):
        found = built(*pair).draws
        assert {(one.one, one.two, one.cells, one.n) for one in found} == {
            ("batch-size-digits", "fixed", 8, 5)
        }
    assert all(one.fixed < one.redrawn for one in found)
    assert not built(plan, fixed(planted.plan(epochs=3))).draws
    assert not built(plan, replace(plan, sweep=replace(plan.sweep, name="again"))).draws


def test_the_page_of_both_says_what_the_draw_gives():
    """In a section of its own, with its interval and method."""
    plan = planted.plan(epochs=2, noise=0.02)
    other = fixed(planted.plan(epochs=2, noise=0.01, seed=1))
    frames = [load(planted.Memory(one), one.sweep.name) for one in (plan, other)]
    page = pages.html(frames)
    assert "Luck of the subset and luck of the start" in page
    assert "F interval of a ratio of two variances over 5 replicates" in page
