"""The noise that runs are simulated with: mean 0, unit scale, and what it does to a sweep.

A law maps (generator, shape (..., levels, R)) to noise of that shape. Every replicate has an offset
that all its levels share, as in a real sweep; it is large, so that what forgets to pair is found.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

DROP = 10.0  # sds that a collapsed run lies below the others
Law = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def normal(rng, shape):
    return rng.normal(size=shape)


def skewed(rng, shape):
    """Beta(18, 2), an accuracy near 0.9, by its own sd."""
    return (rng.beta(18, 2, shape) - 0.9) / math.sqrt(18 * 2 / (20**2 * 21))


def recall(rng, shape):
    """A recall over 20 samples: right 18 times on average."""
    return (rng.binomial(20, 0.9, shape) - 18) / math.sqrt(20 * 0.9 * 0.1)


def unequal(rng, shape):
    """Variances that fall from 4 to 1 over the levels, as small batches are noisier."""
    return rng.normal(size=shape) * np.geomspace(2, 1, shape[-2])[:, None]


def autocorrelated(rng, shape):
    """AR(0.7) over the levels: near batch sizes err alike."""
    e = rng.normal(size=shape)
    for i in range(1, shape[-2]):
        e[..., i, :] = 0.7 * e[..., i - 1, :] + math.sqrt(1 - 0.7**2) * e[..., i, :]
    return e


def random_slopes(rng, shape):
    """Every replicate has a slope of its own."""
    steps = np.linspace(-1, 1, shape[-2])[:, None]
    return rng.normal(size=shape) + steps * rng.normal(size=(*shape[:-2], 1, shape[-1]))


def collapsing(share: float) -> Law:
    """A share of the runs falls by ten sds; the truth of a mean is that of all runs."""

    def law(rng, shape):
        return rng.normal(size=shape) - DROP * ((rng.random(shape) < share) - share)

    return law


LAWS: dict[str, Law] = {
    "normal": normal,
    "Beta(18, 2)": skewed,
    "recall of 20": recall,
    "variances 4 to 1": unequal,
    "AR(0.7)": autocorrelated,
    "random slopes": random_slopes,
    "5 % collapse": collapsing(0.05),
    "15 % collapse": collapsing(0.15),
}


def sweeps(rng, *, law: str, truth: np.ndarray, draws: int, replicates: int) -> np.ndarray:
    """y (draws, levels, R): the truth of each level, the replicates' offsets, and noise."""
    shape = (draws, len(truth), replicates)
    offsets = 3 * rng.normal(size=(draws, 1, replicates))
    return truth[:, None] + offsets + LAWS[law](rng, shape)
