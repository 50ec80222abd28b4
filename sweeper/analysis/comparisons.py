"""Every cell against every other within replicates: which cells screening keeps (statistics 2.5).

Comparisons with the best (Hsu 1984): the cell that is truly best stays with at least 95 %, whatever
the variances. A cell that is dropped need not be worse, so no verdict comes from here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweeper.analysis import student
from sweeper.analysis.intervals import LEAST, LEVEL, rounding


@dataclass(frozen=True)
class Contests:
    """Arrays (..., a, a): at [j, k], cell k against cell j, within replicates that have both."""

    mean: NDArray[np.float64]
    n: NDArray[np.int64]
    p: NDArray[np.float64]  # one-sided, that k is the better; NaN without an interval

    def beats(self) -> NDArray[np.bool_]:
        """Whether k beats j: t above T(1 - .05 / (a - 1), R - 1)."""
        return self.p < (1 - LEVEL) / max(self.p.shape[-1] - 1, 1)


def contests(y: NDArray[np.float64], *, direction: str = "maximize") -> Contests:
    """Every cell of y (..., a, R) against every other, each pair with its own variance.

    Fewer than three replicates, or differences without any variance, give no p.
    """
    sign = 1.0 if direction == "maximize" else -1.0
    d = sign * (y[..., None, :, :] - y[..., :, None, :])
    seen = np.isfinite(d)
    n = seen.sum(axis=-1)
    d = np.where(seen, d, 0.0)
    mean = d.sum(axis=-1) / np.maximum(n, 1)
    squares = np.where(seen, (d - mean[..., None]) ** 2, 0.0).sum(axis=-1)
    sd = np.sqrt(squares / np.maximum(n - 1, 1))
    sure = (n >= LEAST) & (sd > rounding(np.abs(d).max(axis=-1, initial=0.0)))
    t = mean * np.sqrt(n) / np.where(sure, sd, 1.0)
    p = np.where(sure, student.tail(t, np.maximum(n - 1, 1)), np.nan)
    return Contests(np.where(n > 0, mean, np.nan), n, p)


def kept(y: NDArray[np.float64], *, direction: str = "maximize") -> NDArray[np.bool_]:
    """Which cells (..., a) no other cell beats."""
    return np.asarray(~contests(y, direction=direction).beats().any(axis=-1))
