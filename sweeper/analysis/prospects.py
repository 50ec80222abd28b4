"""How likely further replicates are to put another level first."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from sweeper.analysis import student
from sweeper.analysis.intervals import LEAST

DRAWS = 20_000
SEED = 20261


def overtaken(y: pd.DataFrame, *, more: int, direction: str) -> float | None:
    """The chance that another level leads after `more` further replicates.

    The mean of future replicates, given those of now, is multivariate t around their mean, with
    the spread of the present replicates (the reference prior for a normal mean and covariance).
    With two levels the chance is exact; with more it is simulated with a fixed seed.

    Args:
        y: y[level, replicate]; replicates without every level do not count.
        direction: of the objective: maximize or minimize.

    Returns:
        None with fewer than three complete replicates, with one level, or without a spread.
    """
    table = y.dropna(axis=1).to_numpy(dtype=float) * (1 if direction == "maximize" else -1)
    levels, n = table.shape
    if n < LEAST or levels < 2:
        return None
    if more <= 0:
        return 0.0
    means = table.mean(axis=1)
    first = int(means.argmax())
    gaps = table[first] - np.delete(table, first, axis=0)  # the lead, by replicate
    if not (gaps.std(axis=1) > 0).any():
        return None
    scale = math.sqrt(1 / n + 1 / more) * more / (n + more)
    if levels == 2:
        spread = float(gaps.std(ddof=1))
        return float(student.tail(float(gaps.mean()) / (scale * spread), n - 1))
    return float((_final(gaps, scale) < 0).any(axis=1).mean())


def _final(gaps: np.ndarray, scale: float) -> np.ndarray:
    """Draws of the final leads: (DRAWS, levels - 1)."""
    n = gaps.shape[1]
    rng = np.random.default_rng(SEED)
    residuals = (gaps - gaps.mean(axis=1, keepdims=True)) / math.sqrt(n - 1)
    wide = rng.normal(size=(DRAWS, n)) @ residuals.T
    narrow = np.sqrt(rng.chisquare(n - 1, DRAWS) / (n - 1))
    return gaps.mean(axis=1) + scale * wide / narrow[:, None]
