"""A response curve as a small static SVG, which needs no script and no network."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape, unescape
from typing import Any

from sweeper.drawing.figure import SHAPES, STROKES, Figure
from sweeper.drawing.themes import COLOURS, resolved

WIDTH, HEIGHT = 520, 320
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 12, 56
LINE = 18  # of the legend
TICKS = 6


@dataclass(frozen=True)
class _Plane:
    """From numbers to places in the picture."""

    x: tuple[float, float]
    y: tuple[float, float]

    def across(self, value: float) -> float:
        part = (value - self.x[0]) / (self.x[1] - self.x[0])
        return LEFT + part * (WIDTH - LEFT - RIGHT)

    def down(self, value: float) -> float:
        part = (value - self.y[0]) / (self.y[1] - self.y[0])
        return HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)


def svg(figure: Figure) -> str:
    """The figure's lines, marks and error bars, with axes and legend."""
    data, layout = resolved(figure.data), resolved(figure.layout)
    across, down = layout.get("xaxis", {}), layout.get("yaxis", {})
    plane = _Plane(_range(across, data, "x"), _range(down, data, "y"))
    height = HEIGHT + LINE * len(figure.legend)
    inner = [*_axes(plane, across, down), *(part for one in data for part in _trace(plane, one))]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'role="img" aria-label="{escape(figure.alt)}" font-family="sans-serif" font-size="12">'
        f'<rect width="{WIDTH}" height="{height}" fill="{COLOURS["paper"]}"/>'
        f"{''.join(inner)}{''.join(_legend(figure))}</svg>"
    )


def _range(axis: dict[str, Any], data: Sequence[dict[str, Any]], side: str) -> tuple[float, float]:
    """The axis' own range, or that of the numbers with some room."""
    if axis.get("range") is not None:
        low, high = map(float, axis["range"])
        return low, high
    seen = [float(v) for one in data for v in one.get(side) or () if isinstance(v, int | float)]
    low, high = (min(seen), max(seen)) if seen else (0.0, 1.0)
    room = 0.06 * (high - low) or 1.0
    return low - room, high + room


def _axes(plane: _Plane, across: dict[str, Any], down: dict[str, Any]) -> Iterator[str]:
    bottom, soft = HEIGHT - BOTTOM, COLOURS["soft"]
    for value, label in _ticks(down, plane.y):
        y = plane.down(value)
        yield f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{COLOURS["grid"]}"/>'
        yield _text(LEFT - 6, y + 4, label, anchor="end", colour=soft)
    for value, label in _ticks(across, plane.x):
        yield _text(plane.across(value), bottom + 18, label, colour=soft)
    middle = (LEFT + WIDTH - RIGHT) / 2
    yield _text(middle, bottom + 38, across.get("title", {}).get("text", ""))
    turned = f'transform="rotate(-90 14 {(TOP + bottom) / 2:.0f})"'
    yield _text(14, (TOP + bottom) / 2, down.get("title", {}).get("text", ""), more=turned)


def _ticks(axis: dict[str, Any], span: tuple[float, float]) -> Iterator[tuple[float, str]]:
    if axis.get("tickvals") is not None:
        yield from zip(axis["tickvals"], axis.get("ticktext", ()), strict=False)
        return
    step = _step((span[1] - span[0]) / TICKS)
    at = math.ceil(span[0] / step) * step
    while at <= span[1]:
        yield at, f"{at:.6g}"
        at += step


def _step(rough: float) -> float:
    """1, 2 or 5 times a power of ten, not below `rough`."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(one * power for one in (1, 2, 5, 10) if one * power >= rough)


def _text(
    x: float, y: float, text: str, *, anchor: str = "middle", colour: str = "", more: str = ""
) -> str:
    """Text of plotly's, whose signs are escaped already."""
    inner = escape(unescape(str(text)), quote=False)
    fill = colour or COLOURS["ink"]
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}" {more}>{inner}</text>'
    )


def _trace(plane: _Plane, trace: dict[str, Any]) -> Iterator[str]:
    """A scatter trace; a value that is missing leaves a gap."""
    xs, ys = trace.get("x") or (), trace.get("y") or ()
    places = [
        None if x is None or y is None else (plane.across(x), plane.down(y))
        for x, y in zip(xs, ys, strict=True)
    ]
    mode, opacity = trace.get("mode", "markers"), trace.get("opacity", 1.0)
    if "lines" in mode:
        yield _line(places, trace.get("line", {}), opacity)
    if bars := trace.get("error_y"):
        yield from _bars(plane, places, ys, bars)
    if "text" in mode:
        for place, said in zip(places, trace.get("text", ()), strict=False):
            if place is not None and said:
                yield _text(place[0] + 4, place[1] - 4, said, anchor="start")
    if "markers" in mode:
        marker = trace.get("marker", {})
        faint = opacity * marker.get("opacity", 1.0)
        for at, place in enumerate(places):
            if place is not None:
                yield _mark(place, lambda key, usual, at=at: _of(marker.get(key, usual), at), faint)


def _of(value: Any, at: int) -> Any:
    return value[at] if isinstance(value, list) else value


def _line(places: Sequence[tuple[float, float] | None], line: dict[str, Any], faint: float) -> str:
    parts, pen = [], "M"
    for place in places:
        if place is not None:
            parts.append(f"{pen}{place[0]:.1f} {place[1]:.1f}")
        pen = "M" if place is None else "L"
    dash = STROKES.get(line.get("dash", "solid"), "9 4")
    return (
        f'<path d="{"".join(parts)}" fill="none" stroke="{line.get("color", COLOURS["ink"])}" '
        f'stroke-width="{line.get("width", 2)}" stroke-dasharray="{dash}" opacity="{faint}"/>'
    )


def _bars(
    plane: _Plane,
    places: Sequence[tuple[float, float] | None],
    ys: Sequence[float | None],
    bars: dict[str, Any],
) -> Iterator[str]:
    up, under = bars.get("array", ()), bars.get("arrayminus", bars.get("array", ()))
    for place, y, more, less in zip(places, ys, up, under, strict=True):
        if place is None or y is None or more is None or less is None:
            continue
        x, top, low = place[0], plane.down(y + more), plane.down(y - less)
        yield (
            f'<path d="M{x - 4:.1f} {top:.1f}h8M{x:.1f} {top:.1f}V{low:.1f}M{x - 4:.1f} '
            f'{low:.1f}h8" stroke="{bars.get("color", COLOURS["ink"])}" stroke-width="1.5"/>'
        )


def _mark(place: tuple[float, float], look: Callable[[str, Any], Any], faint: float) -> str:
    symbol, tone = str(look("symbol", "circle")), look("color", COLOURS["ink"])
    is_open = symbol.endswith("-open")
    shape = SHAPES.get(symbol.removesuffix("-open"), SHAPES["circle"])
    fill = "none" if is_open else tone
    scale = float(look("size", 6)) / 9
    return (
        f'<path d="{shape}" transform="translate({place[0]:.1f} {place[1]:.1f}) '
        f'scale({scale:.2f})" fill="{fill}" stroke="{tone}" opacity="{faint:.2f}"/>'
    )


def _legend(figure: Figure) -> Iterator[str]:
    for at, mark in enumerate(figure.legend):
        y, tone = HEIGHT + LINE * at, resolved({"color": mark.colour})["color"]
        if mark.dash:
            yield f'<path d="M{LEFT} {y}h28" stroke="{tone}" stroke-width="2" stroke-dasharray="{mark.stroke}"/>'  # noqa: E501
        yield f'<path d="{mark.shape}" transform="translate({LEFT + 14} {y})" fill="{tone}"/>'
        yield _text(LEFT + 36, y + 4, mark.label, anchor="start")
