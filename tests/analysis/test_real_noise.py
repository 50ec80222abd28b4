"""How often intervals over few replicates hold the mean of 200, on the noise of real runs.

`tests/golden/real_noise.csv` has 200 replicates of each of twelve cells, whose means are the truth.
A partition deals the 200 into disjoint blocks of 3, 5 or 10. Blocks of one partition share no run,
so they are as good as independent; those of two partitions share runs, so the error of drawing is
taken from the spread over partitions. It says how well the rate of these 200 is known. What other
200 would give varies more: by Hoeffding's bound (1948) no more than the rate over one partition,
`p (1 - p) R / 200`; for normal noise it is seen by the same steps over many made-up sets of 200.

`python tests/analysis/test_real_noise.py` prints the tables that stand in docs/statistics.md;
COVERAGE_DRAWS=4000 gives the figures there.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import planted
import pytest
from numpy.typing import NDArray
from scipy import stats

from sweeper.analysis import effects, held, intervals, pairs
from sweeper.analysis.frames import load
from sweeper.analysis.view import view_of
from sweeper.report.methods import methods

Array = NDArray[np.float64]
PARTITIONS = int(os.environ.get("COVERAGE_DRAWS", "400")) // 4
REPLICATES = (3, 5, 10)
RUNS = 200
POPULATIONS = PARTITIONS  # of normal noise
FILE = Path(__file__).parents[1] / "golden" / "real_noise.csv"
DOCUMENT = Path(__file__).parents[2] / "docs" / "statistics.md"
# The cells of a group are compared with each other: their places in the file's order.
GROUPS: dict[str, tuple[str, Sequence[int]]] = {
    "digits, six cells": ("digits", range(6)),
    "digits, balanced": ("digits", (0, 2, 4)),
    "digits, ratio 0.05": ("digits", (1, 3, 5)),
    "table, six batch sizes": ("table", range(6)),
}
MEASURES = ("minority_accuracy", "balanced_accuracy")
NORMAL = "normal noise"


@dataclass(frozen=True)
class Rate:
    """A share of blocks, and the standard error of drawing them from the same runs."""

    share: float
    error: float


@cache
def recorded() -> dict[tuple[str, str], dict[str, Array]]:
    """(data, measure) -> levels -> the 200 values, in the order of the file."""
    found: dict[tuple[str, str], dict[str, Array]] = {}
    for line in FILE.read_text("utf-8").splitlines():
        if not line.startswith("#"):
            data, measure, levels, *values = line.split(",")
            found.setdefault((data, measure), {})[levels] = np.array(values, dtype=float)
    return found


def group(name: str, measure: str) -> Array:
    """y (cells, 200) of a group."""
    data, places = GROUPS[name]
    return np.array(list(recorded()[data, measure].values()))[list(places)]


def partitions(y: Array, *, size: int, count: int, seed: int) -> Array:
    """Blocks (count, blocks, cells, size), disjoint within each of `count` partitions."""
    orders = np.tile(np.arange(y.shape[1]), (count, 1))
    np.random.default_rng([size, seed]).permuted(orders, axis=1, out=orders)
    blocks = y.shape[1] // size
    dealt = y[:, orders[:, : blocks * size]].reshape(len(y), count, blocks, size)
    return np.moveaxis(dealt, 0, 2)


def reach(d: Array, *, family: int) -> Array:
    """The half width of the t interval of the mean of d (..., R); infinite without any spread."""
    size = d.shape[-1]
    sd = d.std(axis=-1, ddof=1)
    quantile = stats.t.ppf(1 - 0.05 / (2 * family), size - 1)
    return np.where(sd > 1e-9, quantile * sd / math.sqrt(size), np.inf)


def inside(d: Array, truth: Array, *, family: int) -> NDArray[Any]:
    """Whether each interval holds its truth."""
    return np.abs(d.mean(axis=-1) - truth) <= reach(d, family=family)


def means_held(blocks: Array, truth: Array) -> Array:
    """The share of each block's intervals of cells that hold; equal values have no interval."""
    known = np.isfinite(reach(blocks, family=1))
    right = inside(blocks, truth, family=1) & known
    count = known.sum(axis=-1)
    return np.where(count > 0, right.sum(axis=-1) / np.maximum(count, 1), np.nan)


def differences_held(blocks: Array, truth: Array) -> NDArray[Any]:
    """Whether all intervals against the middle cell hold."""
    middle = len(truth) // 2
    others = [at for at in range(len(truth)) if at != middle]
    d = blocks[..., others, :] - blocks[..., [middle], :]
    return np.all(inside(d, truth[others] - truth[middle], family=len(others)), axis=-1)


def all_pairs(blocks: Array) -> tuple[Array, Array]:
    """Lo and Up (..., L, L) of section 5: cell i less cell j, all pairs at once."""
    cells = blocks.shape[-2]
    d = blocks[..., :, None, :] - blocks[..., None, :, :]
    half = reach(d, family=cells * (cells - 1) // 2)
    return d.mean(axis=-1) - half, d.mean(axis=-1) + half


def pairs_held(blocks: Array, truth: Array) -> NDArray[Any]:
    """Whether the intervals of all pairs hold."""
    low, high = all_pairs(blocks)
    real = truth[:, None] - truth[None, :]
    apart = ~np.eye(len(truth), dtype=bool)
    return np.all(((low <= real) & (real <= high))[..., apart], axis=-1)


def costs(low: Array, high: Array) -> tuple[Array, Array, NDArray[Any]]:
    """a, b and G (..., L): what each cell costs against the best, and which may be best."""
    cells = low.shape[-1]
    apart = ~np.eye(cells, dtype=bool)
    best = np.logical_not(((low > 0) & apart).any(axis=-2))
    least = np.where(apart, low, 0.0).max(axis=-2)
    most = np.where(apart & best[..., :, None], high, 0.0).max(axis=-2)
    return np.maximum(least, 0.0), np.maximum(most, 0.0), best


def costs_held(blocks: Array, truth: Array) -> NDArray[Any]:
    """Whether every cell's cost against the best lies between a and b, and the best may be best."""
    least, most, best = costs(*all_pairs(blocks))
    real = truth.max() - truth
    within = (least <= real + 1e-9) & (real <= most + 1e-9)
    return within.all(axis=-1) & best[..., truth.argmax()]


JUDGES: dict[str, Callable[[Array, Array], NDArray[Any]]] = {
    "mean of a cell": means_held,
    "differences, all at once": differences_held,
    "all pairs at once": pairs_held,
    "costs, all at once": costs_held,
}
CLAIMS = tuple(JUDGES)


def rate(y: Array, claim: str, *, size: int, count: int = PARTITIONS, seed: int = 0) -> Rate:
    """How often a claim about y (cells, 200) holds over blocks of `size`."""
    blocks = partitions(y, size=size, count=count, seed=seed)
    each = np.nanmean(JUDGES[claim](blocks, y.mean(axis=1)).astype(float), axis=1)
    return Rate(float(each.mean()), float(each.std(ddof=1)) / math.sqrt(count))


@cache
def seen(name: str, measure: str, claim: str, size: int) -> Rate:
    return rate(group(name, measure), claim, size=size)


@cache
def normal(claim: str, size: int) -> tuple[float, float]:
    """The mean rate over made-up sets of 200 runs of six cells, and its sd from set to set."""
    rng = np.random.default_rng(size)
    shares = [
        rate(rng.normal(size=(6, RUNS)), claim, size=size, count=10, seed=at).share
        for at in range(POPULATIONS)
    ]
    return float(np.mean(shares)), float(np.std(shares, ddof=1))


def skew(y: Array) -> float:
    """The skewness of y (R,)."""
    return float((((y - y.mean()) / y.std()) ** 3).mean())


def summary() -> Iterator[str]:
    """The table of groups."""
    yield f"| group | measure | {' | '.join(CLAIMS)} |"
    yield f"|---|---|{'---|' * len(CLAIMS)}"
    for name in GROUPS:
        for measure in MEASURES:
            shares = [
                [seen(name, measure, claim, size).share for size in REPLICATES] for claim in CLAIMS
            ]
            yield f"| {name} | {measure.replace('_', ' ')} | {' | '.join(map(_shown, shares))} |"
    found = [[normal(claim, size) for size in REPLICATES] for claim in CLAIMS]
    yield f"| {NORMAL} | | {' | '.join(_shown([m for m, _ in one]) for one in found)} |"
    yield f"| ± from set to set | | {' | '.join(_shown([sd for _, sd in one]) for one in found)} |"


def cells() -> Iterator[str]:
    """The table of cells."""
    yield "| cell | mean | sd | skewness | mean is held |"
    yield "|---|---|---|---|---|"
    for (data, measure), rows in recorded().items():
        if measure == MEASURES[0]:
            for levels, y in rows.items():
                shares = [rate(y[None], CLAIMS[0], size=size).share for size in REPLICATES]
                facts = f"{y.mean():.1f} | {y.std(ddof=1):.1f} | {skew(y):.1f}"
                yield f"| {data} {levels} | {facts} | {_shown(shares)} |"


def _shown(shares: Sequence[float]) -> str:
    return " / ".join(f"{100 * one:.1f}" for one in shares)


def documented() -> dict[tuple[str, str], list[tuple[float, ...]]]:
    """(group, measure) or (cell, "") -> the percentages that docs/statistics.md names, in order."""
    found: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    for line in DOCUMENT.read_text("utf-8").splitlines():
        first, *rest = (one.strip() for one in line.strip("|").split("|"))
        shares = [tuple(map(float, one.split(" / "))) for one in rest if one.count(" / ") == 2]
        if first in GROUPS or first == NORMAL:
            found[first, rest[0].replace(" ", "_")] = shares
        elif first.split(" ")[0] in ("digits", "table") and len(shares) == 1:
            found[first, ""] = shares
    return found


def test_the_file_has_two_hundred_replicates_of_twelve_cells_with_a_range() -> None:
    """From below 10 to above 95 percent, with skewed noise among them."""
    found = recorded()
    assert set(found) == {(data, measure) for data in ("digits", "table") for measure in MEASURES}
    for rows in found.values():
        assert [y.shape for y in rows.values()] == [(RUNS,)] * 6
    means = [y.mean() for rows in found.values() for y in rows.values()]
    assert min(means) < 10
    assert max(means) > 95
    assert max(abs(skew(y)) for rows in found.values() for y in rows.values()) > 1


@pytest.mark.parametrize("size", REPLICATES)
def test_the_blocks_of_a_partition_share_no_run(size: int) -> None:
    """Each run is in one block at most, with the same replicates of every cell."""
    y = np.arange(2.0 * RUNS).reshape(2, RUNS)
    blocks = partitions(y, size=size, count=5, seed=0)
    assert blocks.shape == (5, RUNS // size, 2, size)
    assert np.array_equal(blocks[:, :, 0] + RUNS, blocks[:, :, 1])
    for one in blocks[:, :, 0]:
        assert len(np.unique(one)) == one.size


@pytest.mark.parametrize("size", REPLICATES)
def test_normal_noise_is_held_as_often_as_theory_says(size: int) -> None:
    """Blocks without replacement lie a little nearer: |t| <= T / sqrt(1 - R / 200)."""
    quantile = stats.t.ppf(0.975, size - 1) / math.sqrt(1 - size / RUNS)
    share, spread = normal("mean of a cell", size)
    exact = 2 * stats.t.cdf(quantile, size - 1) - 1
    assert abs(share - exact) <= 4 * spread / math.sqrt(POPULATIONS)


@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.parametrize("measure", MEASURES)
def test_what_is_seen_is_what_the_document_says(name: str, measure: str) -> None:
    """Within four standard errors of drawing, of here and of there, and rounding."""
    known = documented()[name, measure]
    for claim, shares in zip(CLAIMS, known, strict=True):
        for size, share in zip(REPLICATES, shares, strict=True):
            found = seen(name, measure, claim, size)
            assert abs(100 * found.share - share) <= 500 * found.error + 0.06, (claim, size)


def test_each_cell_and_normal_noise_are_as_the_document_says() -> None:
    """Within the same errors; those of normal noise are from set to set."""
    known = documented()
    for (data, measure), rows in recorded().items():
        for levels, y in rows.items() if measure == MEASURES[0] else ():
            [shares] = known[f"{data} {levels}", ""]
            for size, share in zip(REPLICATES, shares, strict=True):
                found = rate(y[None], CLAIMS[0], size=size)
                assert abs(100 * found.share - share) <= 500 * found.error + 0.06, levels
    for claim, shares in zip(CLAIMS, known[NORMAL, ""], strict=True):
        for size, share in zip(REPLICATES, shares, strict=True):
            found, spread = normal(claim, size)
            assert abs(100 * found - share) <= 500 * spread / math.sqrt(POPULATIONS) + 0.06, claim


# The least share of blocks: all pairs at once, and all costs at once.
FLOORS = {
    "digits, six cells": (0.84, 0.87),
    "digits, balanced": (0.93, 0.95),
    "digits, ratio 0.05": (0.93, 0.95),
    "table, six batch sizes": (0.90, 0.97),
}


@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.parametrize("measure", MEASURES)
def test_what_is_claimed_at_once_keeps_its_floor(name: str, measure: str) -> None:
    """About 95 percent within one train ratio; less where runs fall to 0, by what is stated."""
    for claim, floor in zip(CLAIMS[2:], FLOORS[name], strict=True):
        for size in REPLICATES:
            found = seen(name, measure, claim, size)
            assert found.share >= floor - 3 * found.error, (claim, size)


def test_a_cost_holds_where_all_pairs_hold() -> None:
    """It is read off them, so it errs no more often; no block of five may contradict."""
    y = group("table, six batch sizes", MEASURES[0])
    blocks = partitions(y, size=5, count=20, seed=2)
    truth = y.mean(axis=1)
    assert np.all(costs_held(blocks, truth)[pairs_held(blocks, truth)])


def printed(size: int) -> held.Held:
    """The rates that the report is to print: average and least."""
    rows = [y for cells in recorded().values() for y in cells.values()]
    means = [rate(y[None], "mean of a cell", size=size).share for y in rows]
    pairs, best = (
        [seen(name, measure, claim, size).share for name in GROUPS for measure in MEASURES]
        for claim in ("all pairs at once", "costs, all at once")
    )
    mean, pair, cost = (
        (round(100 * float(np.mean(one))), round(100 * min(one))) for one in (means, pairs, best)
    )
    return held.Held(mean, pair, cost)


@pytest.mark.parametrize("size", REPLICATES)
def test_the_report_prints_the_rates_that_are_seen(size: int) -> None:
    """In whole percent; drawing may move one that lies near a half."""
    told, found = held.HELD[size], printed(size)
    for one, other in zip(astuple(told), astuple(found), strict=True):
        assert one == pytest.approx(other, abs=1)


@pytest.mark.parametrize(("replicates", "size"), [(3, 3), (4, 3), (5, 5), (9, 5), (20, 10)])
def test_the_methods_section_has_the_rates_of_as_many_replicates(
    replicates: int, size: int
) -> None:
    """Or of the next fewer that were tried, which hold no better."""
    plan = planted.plan(replicates=replicates, epochs=2)
    text = " ".join(methods(view_of(load(planted.Memory(plan), plan.sweep.name))))
    told = held.HELD[size]
    assert f"over {size} of them held the mean of all 200 in {told.mean[0]} %" in text
    assert f"at once in {told.pairs[0]} % of cases" in text


@pytest.mark.parametrize("size", REPLICATES)
def test_the_formulas_here_are_those_of_the_report(size: int) -> None:
    """Means, differences and costs of one partition, by the functions that the page uses."""
    y = group("table, six batch sizes", MEASURES[0])
    for block in partitions(y, size=size, count=1, seed=1)[0]:
        for row in block:
            one, half = intervals.mean_interval(row), reach(row, family=1)
            if one.known:
                assert (one.low, one.high) == pytest.approx((row.mean() - half, row.mean() + half))
        frame = pd.DataFrame(block)
        for one in effects.paired(frame, reference=3, direction="maximize"):
            d = block[one.level] - block[3]
            half = reach(d, family=5)
            if one.estimate.known:
                assert one.estimate.high == pytest.approx(d.mean() + half)
            else:
                assert half == np.inf
        low, high = all_pairs(block)
        least, most, best = costs(low, high)
        table = pairs.all_pairs(block)
        apart = ~np.eye(len(block), dtype=bool)
        assert table.low[apart] == pytest.approx(low[apart])
        told = pairs.standings(table)
        assert [one.least for one in told] == pytest.approx(least)
        assert [one.most for one in told] == pytest.approx(most)
        assert [not one.beaten for one in told] == best.tolist()


if __name__ == "__main__":
    print(*summary(), "", *cells(), "", *map(printed, REPLICATES), sep="\n")
