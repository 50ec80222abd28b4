"""Estimates a sweep's remaining time: the packs' prices, corrected by the packs so far."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from statistics import fmean, stdev

UNKNOWN_FACTOR = 2.0  # before any measurement, the error factor of a price
BEGUN_FACTOR = 1.5  # before a pack has ended
LEAST_SPREAD = 0.05
REMEMBERED = 200  # packs that have ended


@dataclass(frozen=True)
class Seen:
    """The time that a pack has taken so far.

    Attributes:
        price: the estimate for the whole pack in seconds; 0 without a price.
        share: the part of the pack that this attempt has trained.
        seconds: the time that this took.
    """

    price: float
    share: float
    seconds: float


@dataclass
class Eta:
    """Keeps sums, so that an estimate costs the same for any number of packs.

    Attributes:
        workers: their number now.
    """

    workers: Callable[[], int]
    queued_seconds: float = 0.0  # with a price
    queued_unpriced: int = 0
    _ended: deque[Seen] = field(default_factory=lambda: deque[Seen](maxlen=REMEMBERED))
    _running: dict[str, Seen] = field(default_factory=dict)

    def queued(self, price: float, *, sign: int = 1) -> None:
        """Notes a pack that entered the queue (+1) or left it (-1)."""
        if price > 0:
            self.queued_seconds += sign * price
        else:
            self.queued_unpriced += sign

    def round(self, worker: str, seen: Seen) -> None:
        """Notes that a running pack has ended a round."""
        self._running[worker] = seen

    def over(self, worker: str, *, whole: bool) -> None:
        """Notes that a pack no longer runs; remembers how long a whole pack took."""
        seen = self._running.pop(worker, None)
        if whole and seen is not None and seen.share > 0:
            self._ended.append(seen)

    def price(self, price: float) -> float | None:
        """The expected time of a pack; None while unknown."""
        if price > 0:
            return price * self._ratio
        share = sum(pack.share for pack in self._all())
        return sum(pack.seconds for pack in self._all()) / share if share > 0 else None

    def left(
        self, running: float | None, *, awaited: tuple[float, int] = (0.0, 0)
    ) -> tuple[float, float, float] | None:
        """The remaining seconds, at least and at most; None while unknown.

        Args:
            running: the seconds that running packs still need.
            awaited: prices of the packs that will follow, and the number of packs without a price.
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
        """Actual over estimated seconds, of all rounds so far."""
        seen = [pack for pack in self._all() if pack.price > 0 and pack.share > 0]
        foretold = sum(pack.price * pack.share for pack in seen)
        return sum(pack.seconds for pack in seen) / foretold if foretold > 0 else 1.0

    @property
    def _factor(self) -> float:
        """The error factor of the remaining time, from twice the standard error of the ratio."""
        if not self._ended:
            begun = any(pack.share > 0 for pack in self._running.values())
            return BEGUN_FACTOR if begun else UNKNOWN_FACTOR
        ratios = [pack.seconds / (pack.share * (pack.price or 1.0)) for pack in self._ended]
        if len(ratios) < 2 or not fmean(ratios) > 0:
            return BEGUN_FACTOR
        error = stdev(ratios) / math.sqrt(len(ratios)) / fmean(ratios)
        return 1 + max(2 * error, LEAST_SPREAD)
