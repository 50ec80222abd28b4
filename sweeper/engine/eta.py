"""How long a sweep still takes: the packs' prices, corrected by what packs have taken so far."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import fmean, stdev

UNKNOWN_FACTOR = 2.0  # before anything was measured, a price is good to this factor
LEAST_SPREAD = 0.05


@dataclass
class Eta:
    """Keeps sums, so that asking costs the same whatever the number of packs."""

    workers: int
    queued_seconds: float = 0.0  # priced
    queued_unpriced: int = 0
    _ratios: list[float] = field(default_factory=list)
    _seconds: list[float] = field(default_factory=list)

    def queued(self, price: float, *, sign: int = 1) -> None:
        """A pack came to the queue (+1) or left it (-1)."""
        if price > 0:
            self.queued_seconds += sign * price
        else:
            self.queued_unpriced += sign

    def finished(self, *, price: float, seconds: float) -> None:
        """A pack has ended after so long; the last 200 count."""
        self._seconds = [*self._seconds[-199:], seconds]
        if price > 0 and seconds > 0:
            self._ratios = [*self._ratios[-199:], seconds / price]

    def price(self, price: float) -> float | None:
        """What a pack is expected to take."""
        if price > 0:
            return price * self._ratio
        return fmean(self._seconds) if self._seconds else None

    def left(self, running: float | None) -> tuple[float, float, float] | None:
        """Seconds left, at least and at most; None while nothing is known.

        `running` is what running packs still need, in seconds.
        """
        unpriced = self.price(0.0) if self.queued_unpriced > 0 else 0.0
        if unpriced is None or running is None:
            return None
        work = (
            max(self.queued_seconds, 0.0) * self._ratio + self.queued_unpriced * unpriced + running
        )
        seconds = work / self.workers
        if not self._seconds:
            return seconds, seconds / UNKNOWN_FACTOR, seconds * UNKNOWN_FACTOR
        spread = max(2 * self._spread, LEAST_SPREAD)
        return seconds, seconds / (1 + spread), seconds * (1 + spread)

    @property
    def _ratio(self) -> float:
        return fmean(self._ratios) if self._ratios else 1.0

    @property
    def _spread(self) -> float:
        """Relative standard error of what a pack takes; of a single one, as a price is good."""
        seen = self._ratios or self._seconds
        if len(seen) < 2:
            return (UNKNOWN_FACTOR - 1) / 2
        return stdev(seen) / math.sqrt(len(seen)) / fmean(seen) if fmean(seen) > 0 else 0.0
