"""Expected share of batches without a class, over the axis of the response curve."""

from __future__ import annotations

from typing import Any

from sweeper.analysis.factors import show
from sweeper.analysis.view import SweepView
from sweeper.analysis.wording import share as in_percent
from sweeper.analysis.wording import where
from sweeper.drawing.figure import (
    DASHES,
    MARKERS,
    Figure,
    Mark,
    Section,
    axis,
    level_look,
    numbers,
    text,
)
from sweeper.drawing.table import Table
from sweeper.topics.base import Topic
from sweeper.topics.missed_batches import text as said
from sweeper.topics.missed_batches.estimate import MINORITY, MissedBatches, build, rows

MOST = 6  # classes drawn: the rarest and some in between
MOST_ROWS = 400


def section(view: SweepView) -> Section | None:
    one = view.of(build)
    if one is None:
        return None
    intro = (
        "A step learns of a class only if its batch holds a sample of it. This is what the class "
        "sizes alone predict, on the axis of the response curve; it is counted, not estimated. "
        f"{said.absence(one)}"
    )
    return Section(
        "absence",
        "Batches that miss the minority",
        intro,
        (_minority(one), _classes(one)),
        (("The numbers", table(one)),),
        "panels two",
        said.absence(one) or "How often a batch holds no sample of a class.",
    )


def _minority(one: MissedBatches) -> Figure:
    levels = one.by.levels if one.by else (None,)
    names = [f"{one.by.name} {show(level)}" if one.by else MINORITY for level in levels]
    data = [
        _line(one, MINORITY, by=level, label=label, look=level_look(at))
        for at, (level, label) in enumerate(zip(levels, names, strict=True))
    ]
    return Figure(
        "absence",
        "expected share of batches without any minority sample",
        f"Expected share of batches without any minority sample over {one.x.name}. The table below "
        "holds the same numbers.",
        data,
        _layout(one),
        tuple(Mark(label, **level_look(at)) for at, label in enumerate(names)) if one.by else (),
    )


def _classes(one: MissedBatches) -> Figure:
    """Single classes at the first level of the second factor: for the train ratio, the strongest.

    From the most to the least frequent, at most six.
    """
    by = one.by.levels[0] if one.by else None
    last = len(one.classes) - 1
    drawn = sorted({round(last * part / (MOST - 1)) for part in range(MOST)})
    looks = [
        {"colour": "@ink", "dash": DASHES[place], "symbol": MARKERS[place]}
        for place in range(len(drawn))
    ]  # colours are those of levels, and classes are none
    samples = [one.of(one.classes[at], by=by)[0].samples for at in drawn]
    names = [
        f"class {one.classes[at]} ({size:.0f})" for at, size in zip(drawn, samples, strict=True)
    ]
    held = f" {where(one.by, by)}" if one.by else ""
    return Figure(
        "absence-classes",
        f"expected share of batches without a class{held}",
        f"Expected share of batches without a class over {one.x.name}{held}, by class. The table "
        "below holds the same numbers.",
        [
            _line(one, one.classes[at], by=by, label=label, look=look)
            for at, label, look in zip(drawn, names, looks, strict=True)
        ],
        _layout(one),
        tuple(Mark(label, **look) for label, look in zip(names, looks, strict=True)),
    )


def _layout(one: MissedBatches) -> dict[str, Any]:
    return {
        "xaxis": axis(one.x),
        "yaxis": {"title": {"text": "batches without it (%)"}, "range": [-3, 103]},
    }


def _line(
    one: MissedBatches, name: str, *, by: Any, label: str, look: dict[str, Any]
) -> dict[str, Any]:
    shares = one.of(name, by=by)
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "showlegend": False,
        "name": text(label),
        "x": numbers([one.x.position(share.x) for share in shares]),
        "y": numbers([100 * share.without for share in shares]),
        "hovertemplate": "%{y:.3g} %<extra>%{fullData.name}</extra>",
        "line": {"color": look["colour"], "dash": look["dash"], "width": 2},
        "marker": {"color": look["colour"], "symbol": look["symbol"], "size": 8},
    }


def table(one: MissedBatches) -> Table:
    by = [one.by.name] if one.by else []
    rows = [
        (
            share.name,
            *([show(share.by)] if one.by else []),
            show(share.x),
            f"{share.batch:.0f}",
            f"{share.samples:.0f} of {share.total:.0f}",
            in_percent(share.without),
            in_percent(share.with_replacement),
        )
        for share in one.shares
    ]
    left = f"The first {MOST_ROWS} of {len(rows)} rows. " if len(rows) > MOST_ROWS else ""
    head = [
        "class",
        *by,
        one.x.name,
        "batch",
        "training samples",
        "batches without it",
        "if drawn with replacement",
    ]
    return Table(
        "Expected share of full batches without a class",
        tuple(head),
        tuple(rows[:MOST_ROWS]),
        frozenset(range(1, len(head))),
        left + "Batches are drawn without replacement (hypergeometric). With replacement it would "
        "be (1 - p) to the power of the batch size, with p the share of the class.",
    )


TOPIC = Topic(section, short="Batches", tables={"absence": (build, rows)})
