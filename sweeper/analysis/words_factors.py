"""Which levels and which factors matter, in short sentences: best levels, exact table, model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from sweeper.analysis.anova import Anova
from sweeper.analysis.anova import Effect as Explained
from sweeper.analysis.best import Against, BestSet
from sweeper.analysis.factors import show
from sweeper.analysis.importance import Importance
from sweeper.analysis.intervals import LEAST
from sweeper.analysis.verdicts import FIXED

SMALL = 0.005  # a share that would be written as 0 %


def best_levels(one: BestSet) -> str:
    """`Batch sizes 2 and 8 cannot be told apart at the top; 32 and 128 are beaten.`"""
    text = _set(one)
    start = f"at {one.held.name} {show(one.at)}, " if one.held is not None else ""
    start += "as tuned, " if one.withheld else ""
    start += "the runs suggest that " if one.suggestive else ""
    return _title(f"{start}{text}.")


def _set(one: BestSet) -> str:
    name, many = one.factor.name, plural(one.factor.name)
    top, beaten = [show(level) for level in one.kept], [show(level) for level in one.beaten]
    if one.n < LEAST:
        return f"no level of {name} is left out: n{FIXED}={FIXED}{one.n}, too few to tell any apart"
    if not beaten:
        return f"no {name} is beaten: {_and(top)} cannot be told apart at the top"
    lost = f"{_and(beaten)} {'is' if len(beaten) == 1 else 'are'} beaten"
    if len(top) == 1:
        return f"only {name} {top[0]} is not beaten by another level; {lost}"
    return f"{many} {_and(top)} cannot be told apart at the top; {lost}"


def separating(one: BestSet) -> str:
    """What would separate two of the best levels: the pair that is nearest to it; may be empty."""
    known = [tie for tie in one.ties if tie.needed is not None]
    if not known:
        return ""
    pair = min(known, key=_needed)
    return (
        f"About {pair.needed} replicates would separate {show(pair.ahead)} from "
        f"{show(pair.behind)}, if they differ by as much as was seen."
    )


def _needed(tie: Against) -> int:
    return tie.needed or 0


def explained(one: Anova) -> Iterator[str]:
    """What each factor explains, what stands out from the noise, and what the noise is."""
    seen = sorted((e for e in one.effects if e.share >= SMALL), key=lambda e: -e.share)
    if not seen:
        yield "Nothing that the factors do stands out from the noise."
        return
    parts = [f"{e.name} {percent(e.share)}" for e in seen]
    yield f"Of what the factors explain: {_and(parts)}."
    start = "The runs suggest that " if one.suggestive else ""
    sure = [e.name for e in one.effects if e.clear]
    unsure = [e.name for e in one.effects if not e.clear]
    if sure:
        verb = "stands" if len(sure) == 1 else "stand"
        yield _title(f"{start}{_and(sure)} {verb} out from the noise.")
    if unsure:
        yield f"Undecided: {_and(unsure)}."
    yield (
        f"Within a replicate, the factors make {percent(one.explained)} of the variance of a run; "
        "the rest is noise."
    )


def caution(one: Anova) -> str:
    """Where the verdict depends on equal variances; may be empty."""
    changed = [e for e in one.effects if _leans_on_equal_variances(e)]
    if not changed:
        return ""
    names = _and([e.name for e in changed])
    return f"Only if all cells had the same noise, these would stand out as well: {names}."


def _leans_on_equal_variances(one: Explained) -> bool:
    return one.p_adjusted < one.alpha and not one.clear


def important(one: Importance) -> Iterator[str]:
    """Which factor the model leans on most, and how good the model is."""
    first, unit = one.shares[0], "of the model's variance"
    yield (
        f"{_title(first.factor.name)} matters most: {percent(first.alone)} {unit} alone, "
        f"{percent(first.total)} with its interactions."
    )
    rest = [f"{share.factor.name} {percent(share.total)}" for share in one.shares[1:]]
    if rest:
        yield f"With their interactions: {_and(rest)}."
    yield (
        f"This is what a {one.model} says that was fitted to {one.cells} cells. It predicts "
        f"{percent(one.r2)} of the variance of cells that it has not seen. There is no interval."
    )


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


def _and(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _title(text: str) -> str:
    return text[:1].upper() + text[1:]
