"""What a number of replicates can find: power of paired differences, and its inverse (3.1)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from scipy import optimize, stats

from sweeper.analysis import student
from sweeper.analysis.frames import Frames
from sweeper.analysis.intervals import LEAST, LEVEL
from sweeper.analysis.pairs import all_pairs
from sweeper.analysis.stopping import families

POWER = 0.8


def power(d: float, *, n: int, family: int = 1, shares: int = 1) -> float:
    """How often n paired differences (mean d, sd 1) give an interval that misses 0.

    Two-sided at `.05 / (family shares)`: noncentral t with n - 1 df and noncentrality `d sqrt(n)`.
    """
    critical = student.quantile(1 - (1 - LEVEL) / (2 * family * shares), n - 1)
    centre = d * math.sqrt(n)
    # The other tail by symmetry: the law's own lower tail is lost in rounding.
    above = stats.nct.sf(critical, n - 1, centre)
    return float(above + stats.nct.sf(critical, n - 1, -centre))


def smallest(*, n: int, family: int = 1, shares: int = 1, wanted: float = POWER) -> float:
    """The smallest d (in sd of the differences) that is found with this power; NaN below three."""
    if n < LEAST:
        return math.nan
    rough = student.quantile(1 - (1 - LEVEL) / (2 * family * shares), n - 1) / math.sqrt(n)

    def short(d: float) -> float:
        return power(d, n=n, family=family, shares=shares) - wanted

    return float(optimize.root_scalar(short, bracket=(0.0, 2 * rough + 4.0), xtol=1e-6).root)


def smallest_of_target(
    half_width: float, *, start: int, family: int = 1, wanted: float = POWER
) -> float:
    """The smallest change that a Stein interval of this half-width leaves 0 out for, as often.

    The final mean less the truth over `s0 / sqrt(N)` is t with n0 - 1 df, whatever the spread is:
    `h (1 + t(wanted) / T)`, wherever the cap lets N be what the first stage asks for.
    """
    tail = (1 - LEVEL) / (2 * family)
    wide, near = student.quantile([1 - tail, wanted], start - 1)
    return float(half_width * (1 + near / wide))


@dataclass(frozen=True)
class Pilot:
    """The spread of one factor's paired differences so far: of the noisiest pair."""

    sd: float  # in the measure's unit
    n: int


def pilots(frames: Frames) -> Mapping[str, Pilot]:
    """Factor -> pilot, from the runs that a sweep has; a factor without three blocks has none."""
    found: dict[str, Pilot] = {}
    for one in families(frames):
        pairs = all_pairs(one.y.to_numpy(float))
        sd = float(pairs.sd.max(initial=0.0))
        if pairs.n >= LEAST and sd > 0:
            found[one.factor] = Pilot(sd, pairs.n)
    return found
