"""The table of cells."""

from __future__ import annotations

import math

import pandas as pd

from sweeper.analysis.factors import name_of, show
from sweeper.analysis.measures import words
from sweeper.analysis.stopping_text import plain
from sweeper.analysis.view import SweepView
from sweeper.analysis.wording import number
from sweeper.drawing.figure import Section, folds
from sweeper.drawing.table import HASH, MOST_ROWS, Table, seconds, span, tabulate
from sweeper.topics.base import Topic
from sweeper.topics.cells.estimate import build


def section(view: SweepView) -> Section | None:
    if not len(view.of(build)):  # of the reported ones none is there yet
        return None
    intro = "`sweeper diff` and the hashes of two cells: what sets them apart."
    made = table(view)
    finding = f"{len(made.rows)} cells: levels, means, samples and times."
    return Section("cells", "Cells", intro, tables=folds(("", made)), finding=finding)


def _place(view: SweepView, row: pd.Series) -> list[int]:
    """The order of a cell by its levels: cells were added as their nuisance was picked.

    A level that was left out of the comparisons comes last.
    """
    known = [(one.levels, row[one.path]) for one in view.factors]
    return [levels.index(level) if level in levels else len(levels) for levels, level in known]


def table(view: SweepView) -> Table:
    """The table of cells on the objective (statistics 2.1)."""
    spec = view.frames.sweep.spec
    scientific = list(view.frames.question.factors)
    nuisance = list(spec.get("nuisance") or {})
    counts, hashes = view.frames.cells["class_counts"], view.frames.cells["hash"]
    found = view.of(build)
    shown = found[found["measure"] == view.objective.name]
    rows = []
    known = _known if view.to_come else str
    ordered = sorted((row for _, row in shown.iterrows()), key=lambda row: _place(view, row))
    for row in ordered[:MOST_ROWS]:
        unit = view.objective.unit
        seen = counts[row["cell"]]
        rows.append(
            [
                str(row["cell"]),
                hashes[row["cell"]][:HASH],
                *[show(row[path]) for path in (*scientific, *nuisance)],
                f"{row['complete']} of {row['runs']}",
                *[known(number(row[one], unit=unit)) for one in ("mean", "sd")],
                known(span(row["low"], row["high"], unit=unit)),
                *[known(number(row[one], unit=unit)) for one in ("min", "median", "max")],
                str(sum(seen)),
                known(_whole(row["updates"])),
                known(seconds(row["seconds"])),
                row["why"] or "none",
            ]
        )
    head = [
        "cell",
        "hash",
        *[name_of(path) for path in scientific],
        *[f"{name_of(path)} (picked)" for path in nuisance],
        "runs",
        "mean",
        "sd",
        "95 % interval",
        "min",
        "median",
        "max",
        "training samples",
        "updates",
        "median time",
        "failed or pruned",
    ]
    if view.frames.own_trainer:  # which reports neither
        unknown = {head.index(name) for name in ("training samples", "updates")}
        head, *rows = (
            [one for at, one in enumerate(row) if at not in unknown] for row in (head, *rows)
        )
    unit = "%" if view.objective.unit == "points" else "its own unit"
    return tabulate(
        f"Cells: {words(view.objective.name)} on the test split, in {unit}",
        head=head,
        rows=rows,
        words_in=0,
        note=_left_out(len(shown))
        + "95 % t interval over the complete replicates of the cell, on its own; test set "
        "fixed. "
        + ("Picked values were chosen on val, on replicates of their own. " if nuisance else "")
        + plain(view.rule),
    )


def _left_out(rows: int) -> str:
    if rows <= MOST_ROWS:
        return ""
    return f"The first {MOST_ROWS} of {rows} cells; `sweeper export` has all. "


def _known(text: str) -> str:
    """A number; nothing where it waits for runs."""
    return "" if text == "n/a" else text


def _whole(value: float) -> str:
    return f"{value:.0f}" if math.isfinite(value) else "n/a"


TOPIC = Topic(section, early=True, tables={"summary": (build, lambda table: table)})
