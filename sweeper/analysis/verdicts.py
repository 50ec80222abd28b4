"""From an interval to a word, and to a sentence (statistics 2.12). Never "no effect"."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from sweeper.analysis.intervals import FIRM, LEAST, Estimate, replicates_needed
from sweeper.analysis.wording import FIXED, duration, number

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
    """A word, whether it matters, how firm it is, and what more it would take."""

    word: Word
    material: bool = False  # beyond the margin
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
        word = f"materially {word}" if self.material else word
        return f"suggests {word}" if self.suggestive else word


def judge(
    estimate: Estimate, *, direction: str, margin: float | None = MARGIN, span: float = 1.0
) -> Verdict:
    """The verdict on a change with this interval.

    `margin` is in the estimate's unit times `span`: a slope is judged by what it amounts to over
    the whole range of its factor, which is `span` steps long. Without a margin (a loss has no
    natural one) nothing is called material or equivalent.
    """
    if not estimate.known:
        return Verdict(Word.UNKNOWN)
    few = estimate.n < FIRM
    sign = 1.0 if direction == "maximize" else -1.0
    low, high = sorted((sign * estimate.low * span, sign * estimate.high * span))
    if low > 0:
        return Verdict(Word.BETTER, material=_beyond(low, margin), suggestive=few)
    if high < 0:
        return Verdict(Word.WORSE, material=_beyond(-high, margin), suggestive=few)
    if margin is not None and -margin < low and high < margin:
        return Verdict(Word.EQUIVALENT, suggestive=few)
    return Verdict(Word.UNDECIDED, needed=replicates_needed(estimate))


def withhold(verdict: Verdict, *, why: str) -> Verdict:
    """No verdict, where the comparison is not fair; what has no interval stays as it is."""
    return verdict if verdict.word is Word.UNKNOWN else Verdict(Word.WITHHELD, why=why)


def _beyond(nearest_to_zero: float, margin: float | None) -> bool:
    return margin is not None and nearest_to_zero > margin


def basis(estimate: Estimate) -> str:
    """What an interval rests on, in brackets after a sentence."""
    if not estimate.known:
        return f"n{FIXED}={FIXED}{_replicates(estimate.n)}, no interval"
    many = f", simultaneous over {estimate.family}" if estimate.family > 1 else ""
    rule = f" ({estimate.rule})" if estimate.rule else ""
    return f"95{FIXED}%{FIXED}t interval{rule}, n{FIXED}={FIXED}{estimate.n} replicates{many}"


def _replicates(n: int) -> str:
    return f"{n} replicate" if n == 1 else f"{n} replicates"


def slope_sentence(
    estimate: Estimate, *, verdict: Verdict, subject: str, step: str, unit: str
) -> str:
    """`Minority accuracy falls by 2.1 points with each doubling of batch size.`"""
    size = f"{number(abs(estimate.value), unit=unit)} {unit}".strip()
    verb = "rises" if estimate.value > 0 else "falls"
    start = "The runs suggest that " if verdict.suggestive else ""
    match verdict.word:
        case Word.BETTER | Word.WORSE:
            text = f"{start}{subject} {verb} by {size} with each {step}"
        case Word.EQUIVALENT:
            change = number(estimate.value, unit=unit, signed=True)
            text = (
                f"{start}{subject} hardly changes over the range of levels "
                f"({f'{change} {unit}'.strip()} with each {step})"
            )
        case Word.UNDECIDED:
            text = (
                f"Undecided: {subject} {verb} by {size} with each {step}, but the interval holds 0"
            )
        case Word.UNKNOWN:
            if not math.isfinite(estimate.value):
                return f"No replicate is complete at all levels: no trend of {subject} can be told."
            seen = (
                f"{verb} by {size} with each {step}"
                if abs(estimate.value) > 1e-9
                else "does not change"
            )
            text = (
                f"No verdict: over {_replicates(estimate.n)} {subject} {seen}; "
                f"{no_interval(estimate)}"
            )
        case Word.WITHHELD:
            text = f"Withheld: {verdict.why}. As tuned, {subject} {verb} by {size} with each {step}"
        case _:
            assert_never(verdict.word)
    return text[0].upper() + text[1:] + "."


def no_interval(estimate: Estimate) -> str:
    """Why there is no interval, in words."""
    if estimate.n < LEAST:
        return "too few replicates for an interval"
    return f"{estimate.note}, which gives no interval"


def needed_sentence(verdict: Verdict) -> str:
    """What would decide it; empty when it is decided."""
    if verdict.word is not Word.UNDECIDED or verdict.needed is None:
        return ""
    if verdict.price is None:
        return f"About {verdict.needed} replicates would decide a change of this size."
    if verdict.price.more > MANY:
        return f"A change this small would take about {verdict.price.more:,} more replicates."
    return (
        f"About {verdict.price.more} more replicates would decide a change of this size"
        f"{cost_of(verdict.price)}"
    )


def cost_of(price: Price) -> str:
    """`: about 40 min; sweeper launch batch_size --set replicates=14.`"""
    took = f"about {duration(price.seconds)}; " if price.seconds is not None else ""
    beyond = " (beyond the planned looks: a hint, no verdict)" if price.beyond else ""
    return f": {took}`{price.command}`{beyond}."


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
