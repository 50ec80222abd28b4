"""Which levels may be the best, in short sentences."""

from __future__ import annotations

from collections.abc import Iterator

from sweeper.analysis.factors import show
from sweeper.analysis.intervals import LEAST
from sweeper.analysis.view import SweepView
from sweeper.analysis.wording import FIXED, capitalised, joined, plural
from sweeper.topics.best_levels.estimate import Against, BestSet, build


def best_levels(one: BestSet) -> str:
    """`Batch sizes 2 and 8 cannot be told apart at the top; 32 and 128 are beaten.`"""
    text = _set(one)
    start = f"at {one.held.name} {show(one.at)}, " if one.held is not None else ""
    start += "as tuned, " if one.withheld else ""
    start += "the runs suggest that " if one.suggestive else ""
    return capitalised(f"{start}{text}.")


def _set(one: BestSet) -> str:
    name, many = one.factor.name, plural(one.factor.name)
    top, beaten = [show(level) for level in one.kept], [show(level) for level in one.beaten]
    if one.n < LEAST:
        return f"no level of {name} is left out: n{FIXED}={FIXED}{one.n}, too few to tell any apart"
    if not beaten:
        return f"no {name} is beaten: {joined(top)} cannot be told apart at the top"
    lost = f"{joined(beaten)} {'is' if len(beaten) == 1 else 'are'} beaten"
    if len(top) == 1:
        return f"only {name} {top[0]} is not beaten by another level; {lost}"
    return f"{many} {joined(top)} cannot be told apart at the top; {lost}"


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


def methods(view: SweepView) -> Iterator[str]:
    """The sentences for the methods paragraph; none where the page shows nothing of it."""
    if view.of(build) and view.replicates >= LEAST:
        yield (
            "A level counts as possibly best unless another beats it in a one-sided paired t test "
            "(comparisons with the best; Hsu, 1984)."
        )
