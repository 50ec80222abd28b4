"""The sections of the page, in their order.

A topic has a file of its own with `section(frames, found) -> Section | None`; it imports `Section`
from `drawing`, and its builder has a line in SECTIONS. None: there is nothing to show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sweeper.analysis import words
from sweeper.analysis.answer import Answer
from sweeper.analysis.comparable import Reading
from sweeper.analysis.frames import Frames
from sweeper.report import (
    absence,
    anatomy,
    anova,
    best,
    classes,
    efficiency,
    examples,
    exchange,
    fairness,
    figures,
    importance,
    screening,
    tables,
    training,
)  # fmt: skip
from sweeper.report.drawing import Figure, Section
from sweeper.report.tables import Table

THE_NUMBERS = "The numbers"

CUT = " An arrow at 0 or 100 marks an interval that would go on beyond it."

Builder = Callable[[Frames, Answer], Section | None]


def folds(*listed: tuple[str, Table | None]) -> tuple[tuple[str, Table], ...]:
    """The tables that there are."""
    return tuple((label, table) for label, table in listed if table is not None)


def drawn(listed: Iterable[Figure | None]) -> tuple[Figure, ...]:
    """The figures that there are."""
    return tuple(one for one in listed if one is not None)


def response(frames: Frames, found: Answer) -> Section | None:
    del frames
    panels = figures.response(found)
    if not panels:
        return None
    over = ", ".join(one.name for one in found.others)
    averaged = f" The curve is the mean over {over}." if over else ""
    intro = (
        "Filled marks are means over replicates, bars their 95 % t intervals (each on its own, "
        "test set fixed), open marks single replicates; the line between levels is drawn, not "
        "estimated. All numbers are from the test split; "
        f"{words.about(found.objective)} for {found.objective.title}.{averaged}"
    ) + (CUT if any(_is_cut(panel) for panel in panels) else "")
    behind = folds((THE_NUMBERS, tables.curve(found, measures=found.measures)))
    return Section("response", "Response curve", intro, tuple(panels), behind, "panels")


def _is_cut(panel: Figure) -> bool:
    symbols = [str(trace.get("marker", {}).get("symbol")) for trace in panel.data]
    return any(one.startswith("arrow-") for one in symbols)


def differences(frames: Frames, found: Answer) -> Section | None:
    del frames
    figure = figures.differences(found)
    if figure is None:
        return None
    intro = (
        "Each mark is the mean difference from the reference within replicates; open marks are "
        "single replicates, joined by thin lines where they are few. "
        "An interval that misses 0 is a difference. Intervals are simultaneous "
        "over the levels."
    )
    behind = folds(
        (THE_NUMBERS, tables.differences(found)),
        ("With failures counted at chance level", tables.with_failures(found)),
    )
    return Section("differences", "Against the reference level", intro, (figure,), behind)


def interaction(frames: Frames, found: Answer) -> Section | None:
    del frames
    figure, slopes = figures.heatmap(found), tables.slopes(found)
    if figure is None and slopes is None:
        return None
    intro = (
        "Each field: the change from the reference level of its row (bold) and the mean itself. "
        "Rows that look alike mean that the factors do not interact."
        if figure
        else ""
    )
    label = "Trends and interaction in numbers" if figure else ""
    behind = folds((THE_NUMBERS, tables.heat(found)), (label, slopes))
    return Section("interaction", "Trends and interaction", intro, drawn([figure]), behind)


def scatter(frames: Frames, found: Answer) -> Section | None:
    del frames
    if found.gate.reading is not Reading.SCATTER:
        return None
    panels = figures.scatter(found)
    if not panels:
        return None
    intro = (
        "Each mark is one cell: its mean over replicates on the test split, with a 95 % t interval "
        "where it has at least three. The other factors vary from mark to mark; this describes, "
        "it does not test."
    )
    title = "The cells, factor by factor"
    return Section("scatter", title, intro, tuple(panels), layout="panels two")


def training_curves(frames: Frames, found: Answer) -> Section | None:
    panels = training.training(frames, found)
    if not panels:
        return None
    where = {
        "val": "on the validation split, which serves selection only",
        "test": "on the test split, for the data have no validation split; nothing was selected",
    }
    intro = (
        "Lines are means over complete runs, shades the range of their replicates. These are read "
        f"{where[frames.split]}."
    )
    behind = folds((THE_NUMBERS, tables.training(frames, found)))
    return Section("training", "Training curves", intro, tuple(panels), behind, "panels two")


def cells(frames: Frames, found: Answer) -> Section | None:
    if not len(found.cells):  # of the reported ones none is there yet
        return None
    intro = "`sweeper diff` and the hashes of two cells: what sets them apart."
    return Section("cells", "Cells", intro, tables=folds(("", tables.cells(frames, found))))


def failures(frames: Frames, found: Answer) -> Section | None:
    listed, collapsed = tables.failures(frames, found), tables.collapses(found)
    if listed is None and collapsed is None:
        return None
    behind = folds(
        ("", listed),
        ("Collapsed runs" if listed else "", collapsed),
        ("Share of runs that fail, by cell", tables.shares(found)),
    )
    return Section("failures", "Failures, pruned and collapsed runs", "", tables=behind)


def sections(frames: Frames, found: Answer) -> list[Section]:
    """Those of the page that have something to show."""
    built = (build(frames, found) for build in SECTIONS)
    return [one for one in built if one is not None]


SECTIONS: tuple[Builder, ...] = (
    screening.section,
    response,
    differences,
    best.section,
    classes.section,
    exchange.section,
    anatomy.section,
    absence.section,
    examples.section,
    training_curves,
    interaction,
    anova.section,
    importance.section,
    fairness.section,
    efficiency.section,
    scatter,
    cells,
    failures,
)
# Their names in the list of contents, where the title is too long for one line of them all.
SHORT = {
    "screening": "Screening",
    "response": "Response",
    "differences": "Differences",
    "best": "Best levels",
    "classes": "Classes",
    "exchange": "Exchange",
    "absence": "Batches",
    "anatomy": "Error bars",
    "examples": "Examples",
    "training": "Training",
    "interaction": "Trends",
    "explained": "Factors",
    "importance": "Factors",
    "fairness": "Fairness",
    "efficiency": "Steps",
    "scatter": "By factor",
    "failures": "Failures",
}
