"""Performance profiles (2.11): of each level, the share of tasks on which it does so well.

A task's score is the mean over its replicates, so that tasks are counted and never replicates: the
average-score distribution of Agarwal et al. 2021. A description: it has no interval.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Profiles:
    """The scores of all levels on the tasks that have every level.

    Attributes:
        scores: of each level, a task's score after the other, in the order of `tasks`.
        lowest: whether a low score is the better one.
    """

    tasks: tuple[str, ...]
    scores: dict[Any, tuple[float, ...]]
    lowest: bool

    @property
    def thresholds(self) -> list[float]:
        """All scores that there are, ascending: a profile steps nowhere else."""
        return sorted({one for scores in self.scores.values() for one in scores})

    def shares(self, level: Any, *, at: ArrayLike) -> NDArray[np.float64]:
        """The share of tasks on which `level` is at least as good as each threshold (n,)."""
        scores, tau = np.array(self.scores[level]), np.asarray(at, dtype=float)[:, None]
        return ((scores <= tau) if self.lowest else (scores >= tau)).mean(axis=1)


def profiles(y: Mapping[str, pd.DataFrame], *, lowest: bool, least: int) -> Profiles | None:
    """The profiles of y[task][level, r]; None where fewer than `least` tasks have every level.

    Means are over the replicates that have every level.
    """
    whole = {name: one.dropna(axis=1) for name, one in y.items()}
    means = {name: one.mean(axis=1) for name, one in whole.items() if one.shape[1]}
    if len(means) < least:
        return None
    levels = next(iter(means.values())).index
    scores = {
        level: tuple(float(one.iloc[place]) for one in means.values())
        for place, level in enumerate(levels)
    }
    return Profiles(tuple(means), scores, lowest)
