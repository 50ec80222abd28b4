"""Numbers, intervals, shares and lists as a reader sees them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sweeper.analysis.factors import RATIO, Factor, show
from sweeper.analysis.intervals import Estimate

FIXED = "\N{NO-BREAK SPACE}"


def number(value: float, *, unit: str = "points", signed: bool = False) -> str:
    """A number for a reader: one decimal for points, three significant digits otherwise."""
    if not math.isfinite(value):
        return "n/a"
    text = f"{value:.1f}" if unit == "points" else f"{value:.3g}"
    if float(text) == 0 and abs(value) >= 0.001:  # an interval that misses 0 must not show it
        text = f"{value:.2g}"
    text = "0" + text[2:] if float(text) == 0 and text.startswith("-") else text
    if signed and float(text) > 0:
        text = f"+{text}"
    return text.replace("-", "\N{MINUS SIGN}")


def interval(estimate: Estimate, *, unit: str = "points", signed: bool = True) -> str:
    """`-2.8 to -1.4`, or why there is none."""
    if not estimate.known:
        return f"no interval ({estimate.note})"
    low = number(estimate.low, unit=unit, signed=signed)
    return f"{low} to {number(estimate.high, unit=unit, signed=signed)}"


def duration(seconds: float) -> str:
    """A time as one says it: `45 s`, `40 min`, `3.5 h`."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def where(held: Factor | None, at: object) -> str:
    """`at train ratio 0.05 (the strongest imbalance)`."""
    if held is None:
        return ""
    why = " (the strongest imbalance)" if held.path == RATIO else ""
    return f"at {held.name} {show(at)}{why}"


def share(value: float) -> str:
    """A share as a percentage that does not hide small ones."""
    if 0 < value < 0.0005:
        return f"under 0.05{FIXED}%"
    digits = ".1f" if value < 0.1 else ".0f"
    return f"{100 * value:{digits}}{FIXED}%"


SMALL = 0.005  # a share that would be written as 0 %


def percent(share: float) -> str:
    """`62 %`; a little is `under 1 %`, and a share that there is none of `n/a`."""
    if not math.isfinite(share):
        return "n/a"
    if 0 < share < SMALL:
        return f"under 1{FIXED}%"
    return f"{share:.0%}".replace("%", f"{FIXED}%")


def plural(name: str) -> str:
    """`batch sizes`, `SSL losses`, `smoothings of the minority`."""
    head, of, rest = name.partition(" of ")
    if head.endswith(("s", "x", "ch", "sh")):
        head += "es"
    elif head.endswith("y") and head[-2:-1] not in ("a", "e", "o", "u"):
        head = f"{head[:-1]}ies"
    else:
        head += "s"
    return f"{head}{of}{rest}"


def joined(parts: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)


def capitalised(text: str) -> str:
    """The text with its first letter in upper case, the rest as it is."""
    return text[:1].upper() + text[1:]
