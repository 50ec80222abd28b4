"""What a screening left, and what the fresh replicates say of it, in short sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeper.analysis.factors import name_of, show
from sweeper.analysis.measures import words
from sweeper.analysis.screening import BEATEN, BEYOND, FAILED
from sweeper.analysis.wording import FIXED, interval, number
from sweeper.topics.screening.estimate import Screened, ScreenedCell

MOST = 4  # cells that are named in a sentence
EXPLORATORY = (
    "Screening numbers are exploratory: points without an interval, and no verdict rests on them."
)


def levels(one: Mapping[str, Any]) -> str:
    """`batch size 8, learning rate 0.1`."""
    return ", ".join(f"{name_of(path)} {show(level)}" for path, level in one.items())


def headline(found: Screened) -> str:
    """The answer in a sentence or two."""
    if not found.rows:
        return "Screening goes on: nothing is reported before the fresh replicates."
    left, tops = found.left, [one for one in found.left if one.may_be_best]
    kept = f"Screening left {len(left)} of {len(found.rows)} cells"
    if not any(one.fresh for one in left):
        return f"{kept}; no fresh replicate is complete yet."
    if not tops:
        return f"{kept}; their fresh replicates are too few to tell them apart."
    named = "; ".join(_fresh(found, one) for one in tops[:MOST])
    rest = f"; and {len(tops) - MOST} more" if len(tops) > MOST else ""
    title = words(found.measure.name)
    if len(left) == 1:
        return f"{kept}: {named}, in {title}."
    which = "one of them" if len(tops) == 1 else f"{len(tops)} of them"
    return f"{kept}; on fresh replicates {which} may be the best for {title}: {named}{rest}."


def _fresh(found: Screened, one: ScreenedCell) -> str:
    if one.fresh is None:
        return levels(one.levels)
    unit = found.measure.unit
    sign = f"{FIXED}%" if unit == "points" else ""
    size = f"{number(one.fresh.value, unit=unit)}{sign}"
    return f"{levels(one.levels)} with {size} ({interval(one.fresh, unit=unit, signed=False)})"


def leader(found: Screened) -> str:
    """That the cell which looked best in screening is not among the best afresh."""
    first = found.rows[0] if found.rows else None
    if first is None or first.fresh is None or first.may_be_best is not False:
        return ""
    return f"Another beats the cell that led in screening: {_fresh(found, first)}."


def fate(one: ScreenedCell) -> str:
    """What became of a cell, and by which rule."""
    if one.fate == BEATEN and one.by is not None:
        return f"beaten by {levels(one.by)}"
    if one.by is not None:
        return f"stays as the reference; beaten by {levels(one.by)}"
    said = {BEYOND: "beyond the number to keep", FAILED: "no run complete"}
    return said.get(one.fate, "stays" if one.fate == "kept" else "stays as the reference")
