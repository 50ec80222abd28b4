"""How often the answer says something false: pairs, costs, best levels and shapes together.

A seeded part in the ordinary run; `COVERAGE_DRAWS=4000` is the full one. `python
tests/analysis/test_answer_rates.py` prints the table that stands in docs/statistics.md.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest

from sweeper.analysis.pairs import Pairs, ShapeKind, all_pairs, bounds, shape_of, standings

DRAWS = int(os.environ.get("COVERAGE_DRAWS", "400"))
MARGIN = 1.0
REPLICATES = (3, 4, 5, 10, 20)
LEVELS = (3, 4, 6, 8)


def truths(a: int) -> dict[str, np.ndarray]:
    """The true mean of each of `a` levels, in points."""
    at = np.arange(a)
    edge = max(1, a // 2)
    return {
        "flat": np.zeros(a),
        "line": -1.0 * at,
        "steep line": -4.0 * at,
        "plateau and cliff": np.where(at <= edge, 0.0, -8.0 * (at - edge)),
        "interior best": -2.0 * np.abs(at - edge),
        "rise to a plateau": np.where(at < edge, -3.0 * (edge - at), 0.0),
        "valley": np.where((at > 0) & (at < a - 1), -3.0, 0.0),
    }


NOISES = {
    "normal": lambda rng, size: rng.normal(size=size),
    "grows with the level": lambda rng, size: (
        rng.normal(size=size) * np.linspace(0.5, 2.0, size[0])[:, None]
    ),
    "t with 4 df": lambda rng, size: rng.standard_t(4, size=size) / math.sqrt(2),
    "skewed": lambda rng, size: (0.9 - rng.beta(18, 2, size=size)) / math.sqrt(0.9 * 0.1 / 21),
    "random slopes": lambda rng, size: (
        rng.normal(size=size) + np.linspace(-1, 1, size[0])[:, None] * rng.normal(size=size[1])
    ),
}


def false(found: Pairs, truth: np.ndarray) -> bool:
    """Whether anything that is read off the table is not true."""
    d = truth[:, None] - truth[None, :]
    cost = truth.max() - truth
    equal = (found.low >= -MARGIN) & (found.high <= MARGIN)
    told = standings(found)
    return bool(
        ((found.low > 0) & (d <= 0)).any()
        or (equal & (np.abs(d) > MARGIN)).any()
        or any(one.least > cost[j] or one.most < cost[j] for j, one in enumerate(told))
        or any(one.beaten and cost[j] <= 0 for j, one in enumerate(told))
        or not _true_shape(found, truth, cost)
    )


def _true_shape(found: Pairs, truth: np.ndarray, cost: np.ndarray) -> bool:
    shape, best = shape_of(found, margin=MARGIN), np.flatnonzero(cost <= 0)
    match shape.kind:
        case ShapeKind.FLAT:
            return bool((cost <= MARGIN).all())
        case ShapeKind.FALLS:
            return bool(best.max() < shape.start)
        case ShapeKind.RISES:
            return bool(best.min() >= shape.start)
        case ShapeKind.BETWEEN:
            return bool(best.min() >= shape.start and best.max() <= shape.end)
        case ShapeKind.DIPS:
            at = shape.start
            return bool(truth[:at].max() > truth[at] < truth[at + 1 :].max())
        case _:
            return True


def rate(shape: str, noise: str, levels: int, replicates: int, draws: int = DRAWS) -> float:
    """The share of sweeps whose answer says something false.

    Where all intervals hold the truth, nothing is false (a test below), so only the others are
    read in words.
    """
    y = sweeps(shape, noise, levels, replicates, draws)
    truth = truths(levels)[shape]
    _, low, high, _ = bounds(y)
    d = truth[:, None] - truth[None, :]
    missed = np.flatnonzero(((d < low) | (d > high)).any(axis=(1, 2)))
    return sum(false(all_pairs(y[at]), truth) for at in missed) / draws


def sweeps(shape: str, noise: str, levels: int, replicates: int, draws: int) -> np.ndarray:
    """y (draws, levels, replicates): replicates have offsets of their own, which levels share."""
    rng = np.random.default_rng([levels, replicates, *f"{shape}/{noise}".encode()])
    offsets = 3.0 * rng.normal(size=(draws, 1, replicates))
    noises = np.array([NOISES[noise](rng, (levels, replicates)) for _ in range(draws)])
    return truths(levels)[shape][:, None] + noises + offsets


@pytest.mark.parametrize("noise", NOISES)
def test_the_answer_says_something_false_in_at_most_5_of_100_sweeps(noise):
    """Over all shapes together; each alone within its draws' error."""
    rates = [rate(shape, noise, 4, n) for shape, n in product(truths(4), (3, 5, 10))]
    assert np.mean(rates) <= 0.05
    assert max(rates) <= 0.05 + 4.5 * math.sqrt(0.05 * 0.95 / DRAWS)


@pytest.mark.parametrize("shape", truths(4))
def test_nothing_is_false_where_all_intervals_hold_the_truth(shape):
    """Every statement is true of each vector of means inside all intervals."""
    truth = truths(4)[shape]
    d = truth[:, None] - truth[None, :]
    for y in sweeps(shape, "grows with the level", 4, 5, 60):
        found = all_pairs(y)
        held = bool(((d >= found.low) & (d <= found.high)).all())
        assert not (held and false(found, truth))


def test_the_check_finds_what_is_false():
    """A table that beats the truly best level, or a level of the plateau, is found out."""
    truth = truths(4)["plateau and cliff"]
    sure = truth[:, None] + 0.01 * np.random.default_rng(1).normal(size=(4, 10))
    assert not false(all_pairs(sure), truth)
    assert false(all_pairs(sure - [[4.0], [0], [0], [0]]), truth)
    assert false(all_pairs(-sure), truth)


def table() -> Iterator[str]:
    """A row a noise, a column a number of replicates: the mean rate, and the worst in brackets."""
    yield f"| law | {' | '.join(f'n = {n}' for n in REPLICATES)} |"
    yield f"|---|{'---|' * len(REPLICATES)}"
    for noise in NOISES:
        cells = []
        for n in REPLICATES:
            rates = [rate(s, noise, a, n) for a in LEVELS for s in truths(a)]
            cells.append(f"{100 * np.mean(rates):.1f} ({100 * max(rates):.1f})")
        yield f"| {noise} | {' | '.join(cells)} |"


if __name__ == "__main__":
    for line in table():
        print(line, flush=True)
