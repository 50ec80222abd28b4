"""What the draw of the training subset adds to the spread of runs: two sweeps side by side.

One draws a subset anew in each replicate, the other keeps replicate 0's (`data.imbalance.draw:
fixed`), so that only initialisation and order differ there. Letters: s2 the variance over
replicates, pooled over the cells that both sweeps have.

    share of the draw = 1 - s2(fixed) / s2(redrawn)

The interval is F's for a ratio of variances with R - 1 degrees of freedom each. Both sweeps share
initialisations, and so do the cells of a replicate: the one makes it wide, the other would make
more degrees of freedom too many, so that it covers at least as often as it says.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sweeper.analysis.intervals import LEAST, LEVEL
from sweeper.analysis.measures import Measure
from sweeper.analysis.view import SweepView
from trainers.config import leaves
from trainers.data_config import PLACES

DRAW = "draw"  # in the block `data.imbalance` of a configuration; there if it is fixed


@dataclass(frozen=True)
class Draw:
    """The spread of runs with the subset redrawn, and with one subset for all.

    Attributes:
        redrawn, fixed: pooled standard deviations over replicates, in the measure's unit.
        share: of the runs' variance that the draw gives, within 0 and 1; NaN without any.
        n: replicates of the sweep that has fewer.
        cells: that both sweeps have, with LEAST replicates or more in each.
    """

    one: str
    two: str
    measure: Measure
    redrawn: float
    fixed: float
    share: float
    low: float
    high: float
    n: int
    cells: int

    @property
    def method(self) -> str:
        return (
            f"{LEVEL:.0%} F interval of a ratio of two variances over {self.n} replicates, pooled "
            f"over {self.cells} cells with the degrees of freedom of one"
        )


def split(
    redrawn: Sequence[NDArray[np.float64]], fixed: Sequence[NDArray[np.float64]]
) -> tuple[float, float, float, float, float]:
    """Pooled sds, the share of the draw, and its interval, of cells' numbers over replicates."""
    (wide, wide_df), (narrow, narrow_df) = _pooled(redrawn), _pooled(fixed)
    if not wide > 0:
        return math.sqrt(wide), math.sqrt(narrow), math.nan, math.nan, math.nan
    ratio, tail = narrow / wide, (1 - LEVEL) / 2
    ends = [ratio / float(stats.f.ppf(p, narrow_df, wide_df)) for p in (tail, 1 - tail)]
    share, low, high = (min(max(1 - one, 0.0), 1.0) for one in (ratio, *ends))
    return math.sqrt(wide), math.sqrt(narrow), share, low, high


def _pooled(cells: Sequence[NDArray[np.float64]]) -> tuple[float, int]:
    """The mean variance, each cell alike, and the degrees of freedom of the smallest cell."""
    return float(np.mean([y.var(ddof=1) for y in cells])), min(len(y) for y in cells) - 1


def redrawn(view: SweepView) -> bool:
    """Whether each replicate of the sweep trains on a subset of its own."""
    ways = [config["data"]["imbalance"] for config in _configs(view) if config["data"]]
    return any(one["profile"] != "natural" and DRAW not in one for one in ways)


def build(looks: Sequence[tuple[str, SweepView]]) -> tuple[Draw, ...]:
    """Every pair of sweeps that differ in how they draw, and in nothing else that is not tuned."""
    return tuple(
        found
        for one, wide in looks
        for two, narrow in looks
        if redrawn(wide)
        and all(DRAW in each["data"].get("imbalance", {}) for each in _configs(narrow))
        for found in _pair(one, wide, two=two, fixed=narrow)
    )


def _configs(view: SweepView) -> list[Any]:
    return list(view.frames.cells["config"].loc[list(view.comparable.cells)])


def _pair(one: str, wide: SweepView, *, two: str, fixed: SweepView) -> Iterator[Draw]:
    of_wide, of_fixed = _named(wide), _named(fixed)
    both = [(cell, of_fixed[key]) for key, cell in of_wide.items() if key in of_fixed]
    for measure in wide.measures if both else ():
        if measure not in fixed.measures:
            continue
        pairs = [(_numbers(wide, measure, a), _numbers(fixed, measure, b)) for a, b in both]
        pairs = [(a, b) for a, b in pairs if min(len(a), len(b)) >= LEAST]
        if pairs:
            found = split([a for a, _ in pairs], [b for _, b in pairs])
            n = min(len(y) for pair in pairs for y in pair)
            yield Draw(one, two, measure, *found, n, len(pairs))


def _named(view: SweepView) -> dict[str, int]:
    """The cells by all that is fixed of them but the draw: configuration, budget, data."""
    sweep, configs = view.frames.sweep, view.frames.cells["config"]
    places = (f"data.{key}" for key in PLACES)
    free = {*(sweep.spec.get("nuisance") or {}), f"data.imbalance.{DRAW}", *places}
    common = [sweep.spec.get("budget", {}).get("unit"), sweep.facts.get("fingerprint")]
    return {
        repr(
            (
                common,
                sorted(
                    (key, repr(value)) for key, value in leaves(configs[cell]) if key not in free
                ),
            )
        ): cell
        for cell in view.comparable.cells
    }


def _numbers(view: SweepView, measure: Measure, cell: int) -> NDArray[np.float64]:
    y = view.responses[measure.name].loc[cell].to_numpy(dtype=float)
    return y[np.isfinite(y)]
