"""A factor over several sweeps: its differences, how alike its levels rank, and the data sets."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from sweeper.analysis.effects import Difference
from sweeper.analysis.factors import show
from sweeper.analysis.intervals import Estimate
from sweeper.analysis.wording import interval, number
from sweeper.drawing.figure import Figure, Section, axis_look, count, level_look, numbers, text
from sweeper.drawing.table import Table
from sweeper.topics.across.estimate import ADOPT, Across, SideBySide, TaskedLevel
from sweeper.topics.performance_profiles import section as profiles
from sweeper.topics.several import text as said
from sweeper.topics.several.estimate import Several, SharedFactor, unit_of

ROW = 27  # pixels
LONGEST = 26  # characters of a sweep's name beside an axis


def section(found: Several, shared: SharedFactor, *, at: int) -> Section | None:
    side = shared.side
    if side is None:
        return None
    ranked = len(side.factor.levels) > 2
    drawn = [forest(found, shared, side, at=at)]
    drawn += [ranks(side, at=at)] if ranked and len(side.means) > 2 else []
    drawn += _profiles(found, shared, at=at)
    folds = [("The differences", differences(side))]
    folds += [("Each pair of trends", gaps(shared, unit=side.measure.unit))] if shared.gaps else []
    folds += [("Rank correlations", correlations(side))] if ranked else []
    folds += [
        (f"Over data sets, by {unit_of(unit)}", tasks(one, unit=unit))
        for unit, one in shared.over.items()
    ]
    folds += [
        (f"Performance profiles, by {unit_of(unit)}", told)
        for unit, one in shared.over.items()
        if (told := profiles.table(one, unit=unit)) is not None
    ]
    intro = [
        f"Differences from {shared.name} {show(side.factor.reference)} within each sweep, with "
        "intervals over its own replicates, simultaneous over the levels; open marks are single "
        "replicates.",
        *(said.agreement(found, shared) if at else ()),
        said.over(shared),
        said.profiles(found, shared),
    ]
    title = f"{shared.name[0].upper()}{shared.name[1:]}, sweep by sweep"
    return Section(f"factor-{at}", title, " ".join(filter(None, intro)), tuple(drawn), tuple(folds))


def _profiles(found: Several, shared: SharedFactor, *, at: int) -> Iterator[Figure]:
    """One a unit of the budget that has enough data sets."""
    x = found.members[0].view.x
    for place, (unit, one) in enumerate(shared.over.items()):
        drawn = profiles.figure(
            one,
            unit=unit,
            name=f"profile-{at}-{place}",
            ordered=x is not None and x.path == shared.path,
        )
        if drawn is not None:
            yield drawn


# --- figures -------------------------------------------------------------------------------------


def forest(found: Several, shared: SharedFactor, side: SideBySide, *, at: int) -> Figure:
    """One row a sweep and level; over enough tasks, their mean."""
    factor, ticks, data = side.factor, {}, []
    axis = found.members[0].view.x
    place = 0
    for level in factor.levels:
        if level == factor.reference:
            continue
        ticks[-place] = f"<b>{text(shared.name)} {text(show(level))}</b>"
        where = factor.levels.index(level)
        look = (
            axis_look(where, count=len(factor.levels))
            if axis is not None and axis.path == factor.path
            else level_look(where)
        )
        for name, rows in side.differences.items():
            place += 1
            ticks[-place] = text(_short(name))
            one = next(row for row in rows if row.level == level)
            data += _row(name, one, y=-place, look=look, unit=side.measure.unit)
        for unit, over in shared.over.items():
            mean = _over(over, level)
            if mean is not None:
                place += 1
                ticks[-place] = f"mean of {mean.n}, by {unit_of(unit)}"
                data.append(_mean(mean, y=-place, unit=side.measure.unit))
        place += 1
    ns = [one.estimate.n for rows in side.differences.values() for one in rows]
    reference = f"{shared.name} {show(factor.reference)}"
    return Figure(
        f"forest-{at}",
        f"{side.measure.title}: difference from {reference} ({count(ns)})",
        f"Paired differences in {side.measure.title} from {reference}, one row a sweep and level. "
        "The table below holds the same numbers.",
        data,
        {
            "xaxis": {
                "title": {
                    "text": f"{side.measure.unit or 'difference'} against "
                    f"{text(show(factor.reference))}"
                },
                "zeroline": True,
                "rangemode": "tozero",
            },
            "yaxis": {
                "tickvals": list(ticks),
                "ticktext": list(ticks.values()),
                "showgrid": False,
                "range": [-place + 0.3, 0.7],
            },
            "height": ROW * (place + 1) + 80,
        },
    )


def _row(
    name: str, one: Difference, *, y: float, look: dict[str, Any], unit: str
) -> list[dict[str, Any]]:
    """A difference with its interval, and its replicates."""
    each, estimate = list(one.by_replicate.values()), one.estimate
    raw = {
        "type": "scatter",
        "mode": "markers",
        "showlegend": False,
        "name": text(name),
        "x": numbers(each),
        "y": [y - 0.24] * len(each),
        "text": [f"replicate {r}" for r in one.by_replicate],
        "hovertemplate": "%{x:+.3f}<br>%{text}<extra>%{fullData.name}</extra>",
        "marker": {
            "color": look["colour"],
            "symbol": f"{look['symbol']}-open",
            "size": 5,
            "opacity": 0.6,
        },
    }
    mean = {
        "type": "scatter",
        "mode": "markers",
        "showlegend": False,
        "name": text(name),
        "x": numbers([estimate.value]),
        "y": [y],
        "error_x": _bar(estimate, look["colour"]),
        "text": [f"{text(show(one.level))}: {_said(estimate, unit)}"],
        "hovertemplate": "%{text}<extra>%{fullData.name}</extra>",
        "marker": {"color": look["colour"], "symbol": look["symbol"], "size": 9},
    }
    return [raw, mean]


def _mean(one: Estimate, *, y: float, unit: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "showlegend": False,
        "name": "mean of data sets",
        "x": numbers([one.value]),
        "y": [y],
        "error_x": _bar(one, "@ink"),
        "text": [_said(one, unit, of="data sets")],
        "hovertemplate": "%{text}<extra>%{fullData.name}</extra>",
        "marker": {"color": "@ink", "symbol": "diamond", "size": 11},
    }


def _bar(one: Estimate, colour: str) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "color": colour,
        "thickness": 1.8,
        "width": 4,
        "array": numbers([one.high - one.value]),
        "arrayminus": numbers([one.value - one.low]),
    }


def _said(one: Estimate, unit: str, *, of: str = "") -> str:
    size = f"{number(one.value, unit=unit, signed=True)} {unit}".strip()
    return f"{size} ({interval(one, unit=unit)}), n = {one.n} {of}".strip()


def _over(one: Across, level: Any) -> Estimate | None:
    """The difference over tasks, where it has an interval."""
    found = next((row.difference for row in one.standings if row.level == level), None)
    return found if found is not None and found.known else None


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}"


def ranks(side: SideBySide, *, at: int) -> Figure:
    """The rank correlation of the levels' means, for every pair of sweeps."""
    names = list(side.means)
    known = {frozenset(pair): rho for *pair, rho in side.correlations}
    rho = [[known.get(frozenset((one, two)), math.nan) for two in names] for one in names]
    labels = [
        ["" if one == two else _rho(known[frozenset((one, two))]) for two in names] for one in names
    ]
    shown = [text(_short(one)) for one in names]
    return Figure(
        f"ranks-{at}",
        f"Do the sweeps rank the levels of {side.factor.name} alike",
        f"Spearman's rank correlation of the means of the levels of {side.factor.name}, for every "
        "pair of sweeps; the table below holds the same numbers.",
        [
            {
                "type": "heatmap",
                "z": [numbers(row) for row in rho],
                "zmin": -1,
                "zmax": 1,
                "x": shown,
                "y": shown,
                "text": labels,
                "texttemplate": "%{text}",
                "hovertemplate": "%{y}, %{x}: %{text}<extra></extra>",
                "xgap": 3,
                "ygap": 3,
                "colorscale": "@diverging",
                "colorbar": {"title": {"text": "rank<br>correlation"}, "thickness": 12},
            }
        ],
        {
            "xaxis": {"type": "category", "showgrid": False},
            "yaxis": {"type": "category", "showgrid": False, "autorange": "reversed"},
            "height": 150 + 44 * len(names),
        },
    )


# --- tables --------------------------------------------------------------------------------------


def _table(
    caption: str,
    head: Sequence[str],
    rows: Iterator[tuple[str, ...]],
    *,
    words: int,
    note: str = "",
) -> Table:
    return Table(caption, tuple(head), tuple(rows), frozenset(range(words, len(head))), note)


def differences(side: SideBySide) -> Table:
    unit = side.measure.unit
    rows = (
        (
            name,
            show(one.level),
            show(one.reference),
            str(one.estimate.n),
            number(one.estimate.value, unit=unit, signed=True),
            interval(one.estimate, unit=unit),
            str(one.estimate.family),
            number(one.p_adjusted, unit=""),
        )
        for name, listed in side.differences.items()
        for one in listed
    )
    return _table(
        f"Differences in {side.measure.title}, sweep by sweep",
        (
            "sweep",
            side.factor.name,
            "against",
            "n",
            "difference",
            "95 % interval",
            "family",
            "p (adjusted)",
        ),
        rows,
        words=3,
        note="Levels that all sweeps have. Intervals are over the replicates of the sweep.",
    )


def gaps(shared: SharedFactor, *, unit: str) -> Table:
    rows = (
        (
            one.one,
            one.two,
            str(one.estimate.n),
            number(one.estimate.value, unit=unit, signed=True),
            interval(one.estimate, unit=unit),
            str(one.estimate.family),
        )
        for one in shared.gaps
    )
    return _table(
        f"Trends along {shared.name}, one sweep minus another",
        ("sweep", "minus", "n", "difference of slopes", "95 % interval", "family"),
        rows,
        words=2,
        note="Paired where both sweeps use the same data, Welch's t otherwise (n: the fewer); "
        "simultaneous over all pairs; exploratory.",
    )


def correlations(side: SideBySide) -> Table:
    rows = ((one, two, _rho(rho)) for one, two, rho in side.correlations)
    return _table(
        "Spearman's rank correlation of the levels' means",
        ("sweep", "and", "rho"),
        rows,
        words=2,
        note="A description: over so few levels it has no useful interval.",
    )


def _rho(value: float) -> str:
    return f"{value:.2f}".replace("-", "\N{MINUS SIGN}") if math.isfinite(value) else "n/a"


def tasks(one: Across, *, unit: str) -> Table:
    """Every level over the data sets of one budget unit."""
    head = [
        "level",
        "interquartile mean",
        "mean difference",
        "95 % interval",
        "p (Holm)",
        "p (Wilcoxon)",
        "beats the reference",
        "95 % interval",
        "worth adopting",
    ]
    rows = (_standing(row, unit=one.measure.unit) for row in one.standings)
    return _table(
        f"{one.factor.name} over {len(one.tasks)} data sets, by {unit_of(unit)}",
        head,
        rows,
        words=1,
        note=f"Of {', '.join(one.tasks)}: one sweep a data set. The interquartile mean describes; "
        "intervals are over data sets and need five. 'Beats the reference': the probability that "
        "a run of this level is better than one of the reference; worth adopting when its interval "
        f"lies above 0.5 and itself above {ADOPT:g}.",
    )


def _standing(row: TaskedLevel, *, unit: str) -> tuple[str, ...]:
    change, wins = row.difference, row.wins
    if change is None or wins is None:
        return (show(row.level), number(row.iqm, unit=unit), "reference", *[""] * 6)
    known = change.known
    return (
        show(row.level),
        number(row.iqm, unit=unit),
        number(change.value, unit=unit, signed=True),
        interval(change, unit=unit),
        number(row.p_holm, unit="") if known else "n/a",
        number(row.p_wilcoxon, unit=""),
        number(wins.value, unit=""),
        interval(wins, unit="", signed=False),
        ("yes" if row.adopt else "no") if known else "n/a",
    )
