"""From an interval to a word, and to a sentence (statistics 2.12). Never "no effect"."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sweeper.analysis.intervals import FIRM, LEAST, Estimate, replicates_needed
from sweeper.analysis.wording import FIXED, duration

MANY = 200  # more replicates than this are not offered: nobody would run them
MARGIN = 1.0  # percentage points: less than this does not matter


class Word(StrEnum):
    """The verdict that an interval allows."""

    BETTER = "better"
    WORSE = "worse"
    EQUIVALENT = "equivalent"  # within the margin, either way
    UNDECIDED = "undecided"
    UNKNOWN = "unknown"  # no interval
    WITHHELD = "withheld"  # the comparison is not fair


@dataclass(frozen=True)
class Price:
    """What it would take to decide: further replicates, the time for them here, the command."""

    more: int
    replicates: int  # of every cell, then
    seconds: float | None
    command: str
    beyond: bool = False  # the planned looks, which have spent all of the error


@dataclass(frozen=True)
class Verdict:
    """A word, how firm it is, and what more it would take."""

    word: Word
    suggestive: bool = False  # too few replicates to be firm
    needed: int | None = None  # replicates that would about decide it
    why: str = ""  # it is withheld
    price: Price | None = None  # of what is needed, where the sweep tells it

    @property
    def badge(self) -> str:
        """Two or three words for a label."""
        word = {Word.EQUIVALENT: "about equal", Word.UNKNOWN: "points only"}.get(
            self.word, str(self.word)
        )
        return f"suggests {word}" if self.suggestive else word


def judge(estimate: Estimate, *, direction: str, margin: float | None = MARGIN) -> Verdict:
    """The verdict on a difference with this interval.

    `margin` is in the estimate's unit. Without one (a loss has no natural margin) nothing is
    called equivalent.
    """
    if not estimate.known:
        return Verdict(Word.UNKNOWN)
    few = estimate.n < FIRM
    sign = 1.0 if direction == "maximize" else -1.0
    low, high = sorted((sign * estimate.low, sign * estimate.high))
    if low > 0:
        return Verdict(Word.BETTER, suggestive=few)
    if high < 0:
        return Verdict(Word.WORSE, suggestive=few)
    if margin is not None and -margin <= low and high <= margin:
        return Verdict(Word.EQUIVALENT, suggestive=few)
    return Verdict(Word.UNDECIDED, needed=replicates_needed(estimate))


def withhold(verdict: Verdict, *, why: str) -> Verdict:
    """No verdict, where the comparison is not fair; what has no interval stays as it is."""
    return verdict if verdict.word is Word.UNKNOWN else Verdict(Word.WITHHELD, why=why)


def no_interval_at(n: int) -> str:
    """Why `n` replicates give no interval."""
    return f"n{FIXED}={FIXED}{n}, too few replicates for an interval"


def cost_of(price: Price) -> str:
    """`: about 40 min; sweeper launch batch_size --set replicates=14.`"""
    took = f"about {duration(price.seconds)}; " if price.seconds is not None else ""
    beyond = " (beyond the planned looks: a hint, no verdict)" if price.beyond else ""
    return f": {took}`{price.command}`{beyond}."


def needed_in_brackets(verdict: Verdict) -> str:
    """` (about 9 more would decide, about 40 min: replicates=14)`; nothing where it is decided."""
    price = verdict.price
    if price is None:
        return f" (about {verdict.needed} would decide)" if verdict.needed else ""
    took = f", about {duration(price.seconds)}" if price.seconds is not None else ""
    setting = price.command.partition(" --set ")[2]
    return f" (about {price.more} more would decide{took}: {setting})"


def caution(n: int, *, everywhere: bool = True) -> str:
    """What a small n means, in a sentence; empty from five replicates on."""
    here = "" if everywhere else " in some comparisons"
    if n < LEAST:
        return (
            f"n = {n}{here}: with fewer than {LEAST} replicates there are points, but no intervals."
        )
    if n < FIRM:
        return f"n = {n}{here}: with fewer than {FIRM} replicates a verdict is at best suggestive."
    return ""
