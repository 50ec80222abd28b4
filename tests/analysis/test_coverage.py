"""Observed coverage, size and power of every estimator, by simulation (statistics, section 4).

400 seeded draws within 4 sigma in the ordinary run; `COVERAGE_DRAWS=4000` is the full one, within
3. `python tests/analysis/test_coverage.py` prints the tables that stand in docs/statistics.md.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from noise import DROP, LAWS, sweeps

from sweeper.analysis import comparisons, effects, trend
from sweeper.analysis.factors import Factor
from sweeper.analysis.intervals import holm, t_bounds
from sweeper.topics.anova import estimate as anova

DRAWS = int(os.environ.get("COVERAGE_DRAWS", "400"))
SIGMAS = 4 if DRAWS < 4000 else 3
REPLICATES = (3, 5, 10)
DOCUMENT = Path(__file__).parents[2] / "docs" / "statistics.md"
B = Factor("train.batch_size", "batch size", (2, 8, 32, 128), "log2", 8)
REFERENCE = 1  # the place of level 8
CURVE = np.array([1.0, 0.0, -0.5, -2.0])  # of the levels, in sds
TIED = np.array([0.0, 0.0, -0.5, -2.0])
SLOPE = 0.4
GRID = (3, 2)  # levels of the two factors of the exact table
CELLS = np.array([0.6, 0.2, 0.0, -0.2, -0.2, -0.4])


def slack(share: float, draws: int = DRAWS) -> float:
    """How far an observed share may be from `share`."""
    return SIGMAS * math.sqrt(share * (1 - share) / draws)


def draw(estimator: str, law: str, replicates: int, truth: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng([replicates, *f"{estimator}/{law}".encode()])
    return sweeps(rng, law=law, truth=truth, draws=DRAWS, replicates=replicates)


def covered(bounds, truth) -> np.ndarray:
    """Hits among the intervals that there are: equal replicates have none."""
    known = np.isfinite(bounds.low)
    return (((bounds.low <= truth) & (truth <= bounds.high)) | ~known)[known]


def mean(law: str, replicates: int) -> np.ndarray:
    """2.1: a cell's mean; the offset of a replicate is part of its noise, so there is none."""
    rng = np.random.default_rng([replicates, *f"mean/{law}".encode()])
    y = LAWS[law](rng, (DRAWS, 4, replicates))[:, 0]
    return covered(t_bounds(y + 1.0), 1.0)


def differences(law: str, replicates: int) -> np.ndarray:
    """2.2: all levels against the reference, together."""
    y = draw("differences", law, replicates, CURVE)
    others = [0, 2, 3]
    bounds = t_bounds(y[:, others] - y[:, [REFERENCE]], family=3)
    truth = CURVE[others] - CURVE[REFERENCE]
    missed = (bounds.low > truth) | (bounds.high < truth)
    return ~missed.any(axis=1)


def slope(law: str, replicates: int) -> np.ndarray:
    """2.4: the mean slope."""
    y = draw("slope", law, replicates, SLOPE * B.positions)
    return covered(t_bounds(trend.slope(B.steps, y=y)), SLOPE)


def interaction(law: str, replicates: int) -> np.ndarray:
    """2.4: the difference of two slopes within replicates."""
    weak = draw("weak", law, replicates, -0.2 * B.positions)
    strong = draw("strong", law, replicates, -0.7 * B.positions)
    d = trend.slope(B.steps, y=strong) - trend.slope(B.steps, y=weak)
    return covered(t_bounds(d), -0.5)


def best_level(law: str, replicates: int) -> np.ndarray:
    """2.5: the level that is truly best is kept; here one of two that tie for it."""
    return comparisons.kept(draw("best", law, replicates, TIED))[:, 0]


def size(law: str, replicates: int) -> np.ndarray:
    """2.8: the exact interval of the first factor's size, against the noise as it is on average."""
    y = draw("size", law, replicates, CELLS).reshape(DRAWS, *GRID, replicates)
    found = anova.squares(y, factors=2)
    means = CELLS.reshape(GRID).mean(axis=1)
    truth = float(np.mean((means - means.mean()) ** 2) / found.residual.mean())
    low, high = anova.size_bounds(
        found.f[0], df=found.df[0], residual_df=found.residual_df, n=y[0].size
    )
    return (low <= truth) & (truth <= high)


ESTIMATORS: dict[str, Callable[[str, int], np.ndarray]] = {
    "mean of a cell": mean,
    "differences, all at once": differences,
    "slope": slope,
    "interaction": interaction,
    "best level is kept": best_level,
    "size of an effect": size,
}


GAUSSIAN = ("normal", "variances 4 to 1", "AR(0.7)", "random slopes")
EXACT = {
    *((name, law) for name in ("mean of a cell", "slope", "interaction") for law in GAUSSIAN),
    ("size of an effect", "normal"),
}
CONSERVATIVE = ("differences, all at once", "best level is kept")
FLOORS = {
    ("mean of a cell", "Beta(18, 2)"): 0.905,
    ("mean of a cell", "recall of 20"): 0.94,
    ("mean of a cell", "5 % collapse"): 0.80,
    ("mean of a cell", "15 % collapse"): 0.65,
    **{(name, law): 0.94 for name in ("slope", "interaction") for law in LAWS
       if law not in GAUSSIAN},
    **{("size of an effect", law): 0.93 for law in LAWS if law not in GAUSSIAN},
    ("size of an effect", "variances 4 to 1"): 0.93,
    ("size of an effect", "AR(0.7)"): 0.80,
    ("size of an effect", "random slopes"): 0.85,
}  # fmt: skip
SIZED = ("false difference", "best level lost", "false factor", "false interaction")


def family_of_differences(law: str, replicates: int) -> np.ndarray:
    """2.2 without any effect: some interval against the reference misses 0."""
    y = draw("null differences", law, replicates, np.zeros(4))
    bounds = t_bounds(y[:, [0, 2, 3]] - y[:, [REFERENCE]], family=3)
    return np.any((bounds.low > 0) | (bounds.high < 0), axis=1)


def family_of_best(law: str, replicates: int) -> np.ndarray:
    """2.5 without any effect: a level that is as good as any is eliminated."""
    return ~comparisons.kept(draw("null best", law, replicates, np.zeros(4)))[:, 2]


def null_grid(law: str, replicates: int) -> np.ndarray:
    """2.8 without any effect: three factors of 2, 2 and 3 levels."""
    y = draw("null table", law, replicates, np.zeros(12))
    return y.reshape(DRAWS, 2, 2, 3, replicates)


def claims(law: str, replicates: int, *, interactions: bool, repeated: bool) -> np.ndarray:
    """Whether some effect of a family is significant: by the exact table, or also by its repeat."""
    y = null_grid(law, replicates)
    table = anova.squares(y, factors=3)
    chosen = [at for at, axes in enumerate(table.axes) if (len(axes) > 1) is interactions]
    adjust = anova.benjamini_hochberg if interactions else holm
    sure = np.array([adjust(p) for p in table.p[chosen].T]) < 0.05
    if repeated:
        again = [anova.epsilon_test(y, axes=table.axes[at], factors=3)[1] for at in chosen]
        sure &= np.array([adjust(p) for p in np.transpose(again)]) < 0.05
    return np.any(sure, axis=1)


FAMILIES: dict[str, Callable[[str, int], np.ndarray]] = {
    "false difference": family_of_differences,
    "best level lost": family_of_best,
    "false factor by F alone": partial(claims, interactions=False, repeated=False),
    "false interaction by F alone": partial(claims, interactions=True, repeated=False),
    "false factor": partial(claims, interactions=False, repeated=True),
    "false interaction": partial(claims, interactions=True, repeated=True),
}


@cache
def seen(name: str, law: str, replicates: int) -> np.ndarray:
    """One simulation serves all tests of it."""
    return (ESTIMATORS | FAMILIES)[name](law, replicates)


def markdown(rates: dict[str, Callable[[str, int], np.ndarray]]) -> Iterator[str]:
    """A table: a row a law, the rates in percent at 3, 5 and 10 replicates."""
    yield f"| noise | {' | '.join(rates)} |"
    yield f"|---|{'---|' * len(rates)}"
    for law in LAWS:
        cells = []
        for rate in rates.values():
            shares = [100 * float(rate(law, replicates).mean()) for replicates in REPLICATES]
            cells.append(" / ".join(f"{one:.1f}" for one in shares))
        yield f"| {law} | {' | '.join(cells)} |"


def documented() -> dict[tuple[str, str, int], float]:
    """(estimator or family, law, replicates) -> the share that docs/statistics.md names."""
    told, names = {}, []
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        cells = [one.strip() for one in line.strip("|").split("|")]
        if cells[0] == "noise":
            names = cells[1:]
        elif cells[0] == "law":  # a table of another simulation
            names = []
        elif cells[0] in LAWS and names:
            for name, text in zip(names, cells[1:], strict=True):
                for replicates, share in zip(REPLICATES, text.split(" / "), strict=True):
                    told[name, cells[0], replicates] = float(share) / 100
    return told


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("name", [*ESTIMATORS, *FAMILIES])
def test_what_is_seen_is_what_the_document_says(name, law):
    """The tables of docs/statistics.md, from a full run, are seen again within the draws' error."""
    known = documented()
    for replicates in REPLICATES:
        share = known[name, law, replicates]
        hits = seen(name, law, replicates)
        room = slack(min(max(share, 0.01), 0.99), len(hits)) + 4 * math.sqrt(0.05 * 0.95 / 4000)
        assert abs(hits.mean() - share) <= room


@pytest.mark.parametrize(("name", "law"), sorted(EXACT))
def test_an_exact_interval_covers_95_times_in_100(name, law):
    """Where the theory is exact, neither less nor more, at any number of replicates."""
    for replicates in REPLICATES:
        hits = seen(name, law, replicates)
        assert abs(hits.mean() - 0.95) <= slack(0.95, len(hits))


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("name", CONSERVATIVE)
def test_a_simultaneous_claim_is_right_at_least_95_times_in_100(name, law):
    """Differences together, and the set of best levels: under every law of noise."""
    for replicates in REPLICATES:
        assert seen(name, law, replicates).mean() >= 0.95 - slack(0.95)


@pytest.mark.parametrize(("name", "law"), FLOORS)
def test_an_interval_keeps_its_floor_where_its_theory_does_not_hold(name, law):
    """Skewed, discrete, collapsing or correlated noise: no less than what is stated."""
    for replicates in REPLICATES:
        hits = seen(name, law, replicates)
        floor = FLOORS[name, law]
        assert hits.mean() >= floor - (slack(floor, len(hits)) if DRAWS < 4000 else 0)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("name", SIZED)
def test_a_sweep_without_effects_seldom_claims_one(name, law):
    """At most 6 % of the families of a sweep in which nothing does anything."""
    for replicates in REPLICATES:
        assert seen(name, law, replicates).mean() <= 0.06 + (slack(0.06) if DRAWS < 4000 else 0)


def test_ten_replicates_find_an_effect_of_one_sd_four_times_in_five():
    """Power 0.8 +- 0.03 at d = 1, R = 10, for one comparison."""
    d = np.random.default_rng(1).normal(1, 1, (DRAWS, 10))
    found = t_bounds(d).low > 0
    assert abs(found.mean() - 0.8) <= 0.03 + (slack(0.8) if DRAWS < 4000 else 0)


@pytest.mark.parametrize("replicates", REPLICATES)
@pytest.mark.parametrize("law", ["5 % collapse", "15 % collapse"])
def test_a_collapse_is_flagged(law, replicates):
    """Ten sds below its cell: in at least 80 % of the draws that contain one, one is flagged."""
    rng = np.random.default_rng([replicates, *law.encode()])
    share, fired = float(law.split()[0]) / 100, []
    for _ in range(min(DRAWS, 400)):
        y = LAWS[law](rng, (8, replicates))
        down = y < DROP * (share - 0.5)
        if down.any():
            flags = effects.collapsed(pd.DataFrame(y), direction="maximize", chance=None)
            fired.append(bool((flags.to_numpy() & down).any()))
    assert np.mean(fired) >= 0.8


@pytest.mark.parametrize("law", LAWS)
def test_the_simulated_arithmetic_is_that_of_the_report(law):
    """The estimators of the report, on frames, give what the arrays above give."""
    rng = np.random.default_rng(list(law.encode()))
    for y in sweeps(rng, law=law, truth=CURVE, draws=5, replicates=5):
        frame = pd.DataFrame(y, index=pd.Index(B.levels, dtype=object))
        bounds = t_bounds(y[[0, 2, 3]] - y[REFERENCE], family=3)
        found = [one.estimate for one in effects.paired(frame, reference=8, direction="maximize")]
        assert [one.low for one in found] == pytest.approx(bounds.low)
        assert [one.high for one in found] == pytest.approx(bounds.high)
        line = t_bounds(trend.slope(B.steps, y=y))
        estimate = trend.trend(frame, factor=B).estimate
        assert (estimate.low, estimate.high) == pytest.approx((float(line.low), float(line.high)))


if __name__ == "__main__":
    print(*markdown(ESTIMATORS), "", *markdown(FAMILIES), sep="\n")
