"""How long a sweep still takes: the packs' prices, corrected by what packs have taken so far."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from statistics import fmean, stdev

UNKNOWN_FACTOR = 2.0  # before anything was measured, a price is good to this factor
BEGUN_FACTOR = 1.5  # before a pack has ended
LEAST_SPREAD = 0.05
REMEMBERED = 200  # packs that have ended


@dataclass(frozen=True)
class Seen:
    """What a pack has taken so far.

    Attributes:
        price: seconds foretold for the whole pack; 0 without a price.
        share: of the pack, trained by this attempt.
        seconds: that this took.
    """

    price: float
    share: float
    seconds: float


@dataclass
class Eta:
    """Keeps sums, so that asking costs the same whatever the number of packs.

    Attributes:
        workers: how many there are now.
    """

    workers: Callable[[], int]
    queued_seconds: float = 0.0  # priced
    queued_unpriced: int = 0
    _ended: deque[Seen] = field(default_factory=lambda: deque[Seen](maxlen=REMEMBERED))
    _running: dict[str, Seen] = field(default_factory=dict)

    def queued(self, price: float, *, sign: int = 1) -> None:
        """A pack came to the queue (+1) or left it (-1)."""
        if price > 0:
            self.queued_seconds += sign * price
        else:
            self.queued_unpriced += sign

    def round(self, worker: str, seen: Seen) -> None:
        """A running pack has ended a round."""
        self._running[worker] = seen

    def over(self, worker: str, *, whole: bool) -> None:
        """A pack runs no longer; what a whole one took is remembered."""
        seen = self._running.pop(worker, None)
        if whole and seen is not None and seen.share > 0:
            self._ended.append(seen)

    def price(self, price: float) -> float | None:
        """What a pack is expected to take; None while nothing is known."""
        if price > 0:
            return price * self._ratio
        share = sum(one.share for one in self._all())
        return sum(one.seconds for one in self._all()) / share if share > 0 else None

    def left(
        self, running: float | None, *, awaited: tuple[float, int] = (0.0, 0)
    ) -> tuple[float, float, float] | None:
        """Seconds left, at least and at most; None while nothing is known.

        Args:
            running: what running packs still need, in seconds.
            awaited: prices of the packs that will follow, and how many of them have none.
        """
        count = self.queued_unpriced + awaited[1]
        unpriced = self.price(0.0) if count > 0 else 0.0
        if unpriced is None or running is None:
            return None
        priced = max(self.queued_seconds, 0.0) + awaited[0]
        seconds = (priced * self._ratio + count * unpriced + running) / self.workers()
        return seconds, seconds / self._factor, seconds * self._factor

    def _all(self) -> Iterable[Seen]:
        return (*self._ended, *self._running.values())

    @property
    def _ratio(self) -> float:
        """Seconds taken over seconds foretold, of all rounds that have been seen."""
        seen = [one for one in self._all() if one.price > 0 and one.share > 0]
        foretold = sum(one.price * one.share for one in seen)
        return sum(one.seconds for one in seen) / foretold if foretold > 0 else 1.0

    @property
    def _factor(self) -> float:
        """How far off the seconds left may be: by twice the standard error of the ratio."""
        if not self._ended:
            begun = any(one.share > 0 for one in self._running.values())
            return BEGUN_FACTOR if begun else UNKNOWN_FACTOR
        ratios = [one.seconds / (one.share * (one.price or 1.0)) for one in self._ended]
        if len(ratios) < 2 or not fmean(ratios) > 0:
            return BEGUN_FACTOR
        error = stdev(ratios) / math.sqrt(len(ratios)) / fmean(ratios)
        return 1 + max(2 * error, LEAST_SPREAD)
