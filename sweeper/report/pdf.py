"""A report's figures as small vector PDFs and its main tables in LaTeX, for a paper.

Needs matplotlib, which is no dependency of Sweeper's: `pip install 'sweeper[figures]'`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from html import unescape
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeper.analysis.frames import Frames
from sweeper.analysis.view import SweepView, view_of
from sweeper.drawing.figure import Figure, Mark
from sweeper.drawing.table import Table
from sweeper.drawing.themes import COLOURS, DIVERGING, LEVELS, RAMP
from sweeper.errors import InputError
from sweeper.files import replacing
from sweeper.report import archive as carry
from sweeper.report import sheet
from sweeper.topics.cells import section as cells
from sweeper.topics.differences import section as differences
from sweeper.topics.registry import sections

if TYPE_CHECKING:
    from matplotlib.axes import Axes

A4 = (8.27, 11.69)  # inches
EDGE = 0.07  # of the page's width
LETTER = 0.58  # the average width of a letter, as a part of its size
INCHES = (3.5, 2.6)  # one column of a paper
ROW = 0.2  # inches of a heat map's or a list's row
MARKERS = {
    "circle": "o", "square": "s", "diamond": "D", "triangle-up": "^", "cross": "P", "x": "X",
    "star": "*", "hexagon": "h", "line-ew": "_", "arrow-up": "^",
    "arrow-down": "v",
}  # fmt: skip
DASHES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-.", "longdash": (0, (8, 3)),
          "longdashdot": (0, (8, 3, 2, 3))}  # fmt: skip
STYLE: dict[Any, Any] = {
    "font.size": 8, "axes.titlesize": 8, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.labelsize": 8, "xtick.labelsize": 7, "ytick.labelsize": 7, "legend.fontsize": 7,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "axes.axisbelow": True, "grid.color": COLOURS["grid"], "grid.linewidth": 0.6,
    "axes.linewidth": 0.6, "pdf.fonttype": 42,
}  # fmt: skip
MISSING = "--figures pdf needs matplotlib, which is not installed: pip install 'sweeper[figures]'"


def check() -> None:
    """Whether figures can be drawn here.

    Raises:
        InputError: matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise InputError(MISSING) from error


def write(frames: Frames, folder: Path) -> list[Path]:
    """Each figure of the page as FIGURE.pdf, and tables.tex; files of before are replaced.

    Raises:
        InputError: matplotlib is not installed, or the folder cannot be written.
    """
    check()
    frames = carry.clean(frames)
    view = view_of(frames)
    drawn = [one for _, part in sections(view) for one in part.figures]
    try:
        folder.mkdir(exist_ok=True)
        files = [_file(folder, f"{_safe(one.id)}.pdf", _pdf(one)) for one in drawn]
        return [*files, _file(folder, "tables.tex", lambda path: _tex(path, view))]
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror}") from error


def write_sheet(frames: Frames, path: Path) -> Path:
    """The sheet of a sweep on one A4 page.

    Raises:
        InputError: matplotlib is not installed, or the file cannot be written.
    """
    check()
    made = sheet.sheet_of(view_of(carry.clean(frames)))
    try:
        return _file(path.parent, path.name, lambda target: _draw_sheet(made, target))
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error


def _safe(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name)[:100]


def _file(folder: Path, name: str, make: Callable[[Path], None]) -> Path:
    with replacing(path := folder / name) as temporary:
        make(temporary)
    return path


# --- figures -------------------------------------------------------------------------------------


def _pdf(figure: Figure) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        import matplotlib as mpl
        from matplotlib.figure import Figure as Canvas

        with mpl.rc_context(STYLE):
            canvas = Canvas(figsize=_size(figure), layout="constrained")
            draw(canvas.add_subplot(), figure)
            canvas.savefig(path, format="pdf", metadata={"CreationDate": None})

    return make


def _size(figure: Figure) -> tuple[float, float]:
    width, height = INCHES
    kinds = {trace.get("type") for trace in figure.data}
    if "heatmap" in kinds:
        return width, 1.0 + ROW * 1.6 * len(figure.data[0]["z"])
    if figure.layout.get("yaxis", {}).get("type") == "category":
        return width, 1.0 + ROW * len(_categories(figure, "y"))
    return width, height + 0.12 * (len(figure.legend) > 3)


def draw(axes: Axes, figure: Figure) -> None:
    """A figure's traces on matplotlib's axes."""
    places = {side: {one: at for at, one in enumerate(_categories(figure, side))} for side in "xy"}
    for trace in figure.data:
        kind = {"heatmap": _heat, "bar": _bar}.get(trace.get("type", ""), _scatter)
        kind(axes, trace, places)
    for side in "xy":
        _axis(axes, figure.layout.get(f"{side}axis", {}), side=side, places=places[side])
    axes.set_title(_plain(figure.title[:1].upper() + figure.title[1:]), wrap=True)
    if figure.legend:
        axes.legend(
            handles=[_handle(one) for one in figure.legend],
            frameon=False,
            ncols=min(len(figure.legend), 3),
            loc="upper center",
            bbox_to_anchor=(0.5, -0.22),
        )


def _categories(figure: Figure, side: str) -> list[str]:
    """The words of an axis in their order; empty for a numeric one."""
    given = figure.layout.get(f"{side}axis", {})
    seen = [v for trace in figure.data for v in trace.get(side) or () if isinstance(v, str)]
    if given.get("type") != "category" and not seen:
        return []
    return list(dict.fromkeys([*given.get("categoryarray", ()), *seen]))


def _values(trace: dict[str, Any], side: str, places: dict[str, dict[str, int]]) -> np.ndarray:
    return _numbers(places[side].get(one, one) for one in trace.get(side) or ())


def _numbers(values: Iterable[Any]) -> np.ndarray:
    return np.array([np.nan if one is None else one for one in values], dtype=float)


def _scatter(axes: Axes, trace: dict[str, Any], places: dict[str, dict[str, int]]) -> None:
    x, y, mode = _values(trace, "x", places), _values(trace, "y", places), trace.get("mode", "")
    line, marker = trace.get("line", {}), trace.get("marker", {})
    alpha = trace.get("opacity", 1.0)
    if trace.get("fill") == "toself":
        axes.fill(x, y, color=_colour(trace.get("fillcolor")), alpha=alpha, linewidth=0)
        return
    if "lines" in mode:
        dash = DASHES[line.get("dash", "solid")]
        axes.plot(
            x,
            y,
            color=_colour(line.get("color")),
            alpha=alpha,
            linestyle=dash,
            linewidth=0.6 * line.get("width", 2),
        )
    if "markers" in mode or not mode:
        _marks(axes, x, y, marker, alpha=alpha * marker.get("opacity", 1.0))
    for side in "xy":
        if bars := trace.get(f"error_{side}"):
            size = np.clip([_numbers(bars[key]) for key in ("arrayminus", "array")], 0, None)
            both = (size, None) if side == "x" else (None, size)
            axes.errorbar(
                x,
                y,
                xerr=both[0],
                yerr=both[1],
                fmt="none",
                elinewidth=0.9,
                capsize=2,
                ecolor=_colour(bars.get("color") or marker.get("color")),
            )
    if "text" in mode:
        for left, top, said in zip(x, y, trace.get("text", ()), strict=False):
            axes.annotate(
                _plain(said), (left, top), xytext=(3, 3), textcoords="offset points", fontsize=6
            )


def _marks(axes: Axes, x: np.ndarray, y: np.ndarray, marker: dict[str, Any], alpha: float) -> None:
    """Marks of one look, or of one look each."""
    looks: dict[tuple[Any, Any, float], list[int]] = {}
    for at in range(len(x)):
        look = (
            _of(marker.get("symbol", "circle"), at),
            _of(marker.get("color", "@ink"), at),
            _of(marker.get("size", 6), at),
        )
        looks.setdefault(look, []).append(at)
    for (symbol, colour, size), where in looks.items():
        is_open = str(symbol).endswith("-open")
        shape = MARKERS.get(str(symbol).removesuffix("-open"), "o")
        tone = _colour(colour)
        face = "none" if is_open and shape != "_" else tone
        axes.plot(
            x[where],
            y[where],
            linestyle="none",
            marker=shape,
            markersize=0.5 * size,
            markerfacecolor=face,
            markeredgecolor=tone,
            markeredgewidth=0.6,
            alpha=alpha,
            zorder=3,
        )


def _of(value: Any, at: int) -> Any:
    return value[at] if isinstance(value, list | tuple) else value


def _bar(axes: Axes, trace: dict[str, Any], places: dict[str, dict[str, int]]) -> None:
    """Bars, stacked on those of before in this figure."""
    x, y = _values(trace, "x", places), _values(trace, "y", places)
    lying = trace.get("orientation") == "h"
    at, size = (y, x) if lying else (x, y)
    ends: dict[float, float] = axes.__dict__.setdefault("_sweeper_ends", {})
    start = np.array([ends.get(float(one), 0.0) for one in at])
    tone = [
        _colour(_of(trace.get("marker", {}).get("color", "@level0"), one)) for one in range(len(at))
    ]
    if lying:
        axes.barh(at, size, left=start, color=tone, height=0.65)
    else:
        axes.bar(at, size, bottom=start, color=tone, width=0.65)
    ends.update({float(one): float(s + w) for one, s, w in zip(at, start, size, strict=True)})


def _heat(axes: Axes, trace: dict[str, Any], places: dict[str, dict[str, int]]) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    z = np.array([_numbers(row) for row in trace["z"]])
    scale = DIVERGING[::-1] if trace.get("reversescale") else DIVERGING
    colours = LinearSegmentedColormap.from_list("diverging", scale)
    axes.imshow(
        z,
        cmap=colours,
        vmin=trace.get("zmin"),
        vmax=trace.get("zmax"),
        aspect="auto",
        origin="lower",
    )
    axes.grid(visible=False)
    for i, row in enumerate(trace.get("text", ())):
        for j, said in enumerate(row):
            axes.text(j, i, _plain(said), ha="center", va="center", fontsize=6)


def _axis(axes: Axes, given: dict[str, Any], *, side: str, places: dict[str, int]) -> None:
    one = axes.xaxis if side == "x" else axes.yaxis
    one.set_label_text(_plain(given.get("title", {}).get("text", "")))
    if places:
        one.set_ticks([*places.values()], [_plain(name) for name in places])
    elif given.get("tickvals") is not None:
        one.set_ticks(given["tickvals"], [_plain(name) for name in given.get("ticktext", ())])
    elif given.get("type") == "log":
        one.axes.set(**{f"{side}scale": "log"})
    limits = axes.set_xlim if side == "x" else axes.set_ylim
    if given.get("range") is not None and given.get("type") != "log":
        limits(*given["range"])
    if given.get("zeroline"):
        (axes.axvline if side == "x" else axes.axhline)(0, color=COLOURS["soft"], linewidth=0.8)
    if given.get("autorange") == "reversed":
        one.set_inverted(True)


def _handle(mark: Mark) -> Any:
    from matplotlib.lines import Line2D

    tone, shape = _colour(mark.colour), MARKERS.get(mark.symbol, "o")
    return Line2D(
        [],
        [],
        color=tone,
        marker=shape,
        markersize=4,
        label=_plain(mark.label),
        linestyle=DASHES.get(mark.dash, "none"),
        linewidth=1.2,
    )


def _colour(token: Any) -> str:
    """A colour token of the page, in its light theme."""
    name = str(token or "@ink").removeprefix("@")
    if name.startswith("ramp:"):
        from matplotlib.colors import LinearSegmentedColormap, to_hex

        return to_hex(LinearSegmentedColormap.from_list("ramp", RAMP)(float(name[5:])))
    if name.startswith("level"):
        return LEVELS[int(name[5:]) % len(LEVELS)]
    return COLOURS.get(name, name if name.startswith("#") else COLOURS["ink"])


def _plain(text: Any) -> str:
    """Without plotly's marks, and without mathematics in a level's name."""
    bare = re.sub(r"</?b>", "", str(text).replace("<br>", "\n"))
    return unescape(bare).replace("$", r"\$")


# --- the sheet -----------------------------------------------------------------------------------


def _draw_sheet(made: sheet.Sheet, path: Path) -> None:
    """Words from the top down, the figure and the table side by side, words again."""
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    answer, *rest = sheet.texts(made).items()
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=A4)
        top = _words(canvas, [made.question], 0.95, size=15, bold=True)
        top = _titled(canvas, *answer, top - 0.01, size=11)
        if made.figure is not None:
            draw(canvas.add_axes((0.13, top - 0.27, 0.36, 0.22)), made.figure)
        if made.table is not None:
            left = 0.55 if made.figure is not None else EDGE
            _grid(canvas.add_axes((left, top - 0.33, 1 - EDGE - left, 0.31)), made.table)
        top -= 0.37
        for title, told in rest:
            top = _titled(canvas, title, told, top, size=9)
        canvas.savefig(path, format="pdf", metadata={"CreationDate": None})


def _titled(canvas: Any, title: str, told: Sequence[str], top: float, *, size: float) -> float:
    """A heading and its sentences; returns where they end, as a part of the page's height."""
    top = _words(canvas, [title], top, size=8, bold=True)
    return _words(canvas, told, top, size=size) - 0.012


def _words(
    canvas: Any, told: Sequence[str], top: float, *, size: float, bold: bool = False
) -> float:
    """Sentences, wrapped to the page's width by an average width of letters."""
    letters = int((1 - 2 * EDGE) * A4[0] * 72 / (LETTER * size))
    for line in (line for one in told for line in wrap(_plain(one).replace("`", ""), letters)):
        canvas.text(EDGE, top, line, fontsize=size, weight="bold" if bold else "normal", va="top")
        top -= 1.35 * size / 72 / A4[1]
    return top


def _grid(axes: Axes, table: Table) -> None:
    axes.axis("off")
    axes.set_title(_plain(table.caption), fontsize=8)
    cells = [[_plain(cell) for cell in row] for row in table.rows]
    head = ["\n".join(wrap(_plain(name), 9)) for name in table.head]
    drawn = axes.table(cells, colLabels=head, loc="upper center", edges="horizontal")
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(7)
    drawn.auto_set_column_width(list(range(len(head))))
    for (row, _), cell in drawn.get_celld().items():
        cell.set_linewidth(0.4)
        cell.set_height(0.11 if row == 0 else 0.065)


# --- tables --------------------------------------------------------------------------------------


def _tex(path: Path, view: SweepView) -> None:
    listed = [("cells", cells.table(view)), ("effects", differences.table(view))]
    parts = [latex(_slim(one), label=label) for label, one in listed if one is not None]
    path.write_text("% needs \\usepackage{booktabs}\n\n" + "\n\n".join(parts) + "\n", "utf-8")


def _slim(table: Table) -> Table:
    """The columns that a paper has room for."""
    left_out = (
        "cell",
        "hash",
        "min",
        "median",
        "max",
        "training samples",
        "median time",
        "failed or pruned",
        "r",
        "better in",
        "family",
        "updates",
        "p (signs)",
    )
    kept = [at for at, name in enumerate(table.head) if name not in left_out]
    return Table(
        table.caption,
        tuple(table.head[at] for at in kept),
        tuple(tuple(row[at] for at in kept) for row in table.rows),
        frozenset(new for new, at in enumerate(kept) if at in table.numeric),
        table.note,
    )


def latex(table: Table, *, label: str) -> str:
    """A booktabs table."""
    columns = "".join("r" if at in table.numeric else "l" for at in range(len(table.head)))
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_escape(table.caption)}. "
        rf"{_escape(table.note)}}}",
        rf"\label{{tab:{label}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _row(table.head),
        r"\midrule",
        *[_row(row) for row in table.rows],
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines)


def _row(values: Sequence[str]) -> str:
    return " & ".join(map(_escape, values)) + r" \\"


SIGNS = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "\N{MINUS SIGN}": "$-$", "\xa0": "~",
    "\n": " ",
}  # fmt: skip


def _escape(text: str) -> str:
    return "".join(SIGNS.get(sign, sign) for sign in text)
