"""The colours of figures outside the page, and a figure as plain plotly data in these colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sweeper.drawing.figure import Figure

HEIGHT = 360
COLOURS = {
    "ink": "#1d232b", "soft": "#56606c", "grid": "#e6e9ed", "paper": "#ffffff", "heat": "#14181d",
}  # fmt: skip
LEVELS = ("#0072b2", "#8a7a00", "#3a9bd1", "#5d6b7a", "#004a78", "#ad9b2f", "#1d232b", "#8791a0")
RAMP = ("#2a0a5e", "#6b3fc4", "#a8329a", "#d4558f", "#e58bb4")
DIVERGING = ("#ee9c62", "#f6f6f4", "#6fc7b0")


def colour(token: Any) -> Any:
    """The colour that a token of the page has in its light theme; what is no token stays."""
    name = str(token)
    if not name.startswith("@"):
        return token
    name = name[1:]
    if name.startswith("ramp:"):
        return mixed(RAMP, float(name[5:]))
    if name.startswith("level"):
        return LEVELS[int(name[5:]) % len(LEVELS)]
    if name == "diverging":
        return [[at / (len(DIVERGING) - 1), one] for at, one in enumerate(DIVERGING)]
    return COLOURS.get(name, COLOURS["ink"])


def mixed(stops: Sequence[str], part: float) -> str:
    """The colour at a place between 0 and 1 of a ramp."""
    at = min(max(part, 0.0), 1.0) * (len(stops) - 1)
    low = min(int(at), len(stops) - 2)
    pairs = zip(_channels(stops[low]), _channels(stops[low + 1]), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * (at - low)):02x}" for a, b in pairs)


def _channels(colour: str) -> list[int]:
    return [int(colour[at : at + 2], 16) for at in (1, 3, 5)]


def resolved(value: Any, key: str = "") -> Any:
    """A copy without tokens. Only what names a colour is a token: a level may be called `@ink`."""
    if isinstance(value, str):
        return colour(value) if "color" in key else value
    if isinstance(value, list | tuple):
        return [resolved(one, key if "color" in key else "") for one in value]
    if isinstance(value, dict):
        return {name: resolved(one, str(name)) for name, one in value.items()}
    return value


def plain(figure: Figure) -> dict[str, Any]:
    """Data and layout as plotly takes them."""
    layout = resolved(figure.layout)
    for side in ("xaxis", "yaxis"):
        layout[side] = _axis(layout.get(side, {}))
    whole = {
        "title": {"text": figure.title, "font": {"size": 14}},
        "height": layout.get("height", HEIGHT),
        "paper_bgcolor": COLOURS["paper"],
        "plot_bgcolor": COLOURS["paper"],
        "font": {"color": COLOURS["ink"]},
        "showlegend": bool(figure.legend),
        **layout,
    }
    return {"data": resolved(figure.data), "layout": whole}


def _axis(given: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in given.items() if key != "scale"}  # the page's own
    return {"gridcolor": COLOURS["grid"], "zeroline": False, "automargin": True, **kept}
