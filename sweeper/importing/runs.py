"""A table as runs: every check is made here, and what is wrong is refused with its row.

Nothing is stored before all of it is right.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from sweeper.analysis.factors import show
from sweeper.drawing.redact import scrub
from sweeper.errors import nearest
from sweeper.importing import blocks, rows, splits
from sweeper.importing.columns import Columns, names_of
from sweeper.importing.rows import ForeignRun, Rules
from sweeper.importing.source import Source
from sweeper.spec.factors import Level
from sweeper.spec.rules import OWN_NAME
from sweeper.store.records import Key


@dataclass(frozen=True)
class Runs:
    """All runs of a table.

    Attributes:
        layout: where each metric of `columns.metrics` is read, in their order.
        paired: whether a column has the replicate; else repeats are independent of each other.
        budget: the last epoch of every complete run; 0 where they differ by a factor, or where
            the table has no epochs.
        fixed: values that all runs share.
        remarks: what a reader of the report must know.
    """

    runs: tuple[ForeignRun, ...]
    layout: tuple[Key, ...]
    objective: Key
    paired: bool
    budget: int
    fixed: dict[str, Level]
    remarks: tuple[str, ...]


def read(source: Source, columns: Columns, rules: Rules) -> Runs:
    """The runs of a table.

    Raises:
        InputError: a column is not there, or a row contradicts another or lacks a number.
    """
    check_columns(source, columns)
    layout, objective, remarks = splits.layout(columns)
    found, remarks = _ended(source, columns, remarks)
    found, budget = blocks.budget(source, columns, found, rules)
    found, paired, more = blocks.replicates(source, columns, found)
    remarks += [*more, *blocks.gaps(source, columns), *source.remarks]
    fixed = {name: rows.level(source.frame[one].iloc[0]) for name, one in columns.fixed.items()}
    return Runs(
        runs=tuple(found),
        layout=layout,
        objective=objective,
        paired=paired,
        budget=budget,
        fixed={name: level for name, level in fixed.items() if _harmless(level)},
        remarks=tuple(remarks),
    )


def _harmless(level: Level) -> bool:
    """Whether a value that all runs share may be kept: no path, address or missing value."""
    return level is not None and (not isinstance(level, str) or scrub(level) == level)


def _ended(
    source: Source, columns: Columns, remarks: list[str]
) -> tuple[list[ForeignRun], list[str]]:
    """The runs that have ended, and the remarks with the number of the others."""
    found, waiting = [], 0
    for name, mine in rows.groups(source, columns):
        ended = rows.state(source, columns, mine)
        if ended is None:
            waiting += 1
        else:
            found.append(rows.run_of(source, columns, name, mine, ended))
    if not found:
        raise source.problem("no run has ended")
    if waiting:
        total = waiting + len(found)
        remarks = [*remarks, f"{waiting} of {total} runs had not ended and are left out."]
    return found, remarks


def check_columns(source: Source, columns: Columns) -> None:
    """Returns if every column that is named exists and can have its role.

    Raises:
        InputError: it does not.
    """
    frame = source.frame
    for option, column in columns.named():
        if column not in frame:
            raise source.problem(
                f"{option} {column}: no such column{nearest(column, names_of(frame))}"
            )
    for name, column in columns.factors.items():
        if not OWN_NAME.fullmatch(name):
            raise source.problem(
                f"--factor {name}: a name has letters, digits and _, joined by dots; "
                f"write --factor NAME={column}"
            )
    for name, column in columns.metrics.items():
        values = frame[column]
        if not pd.api.types.is_numeric_dtype(values):
            row = _first_text(values)
            raise source.problem(
                f"--metric {name}: column {column!r} has {values[row]!r}, not a number", row=row
            )
    _check_something(source, columns)


def _first_text(values: pd.Series) -> int:
    numbers = pd.to_numeric(values, errors="coerce")
    wrong = values.index[numbers.isna() & values.notna()]
    return int(wrong[0]) if len(wrong) else int(values.index[0])


def _check_something(source: Source, columns: Columns) -> None:
    if not columns.metrics:
        raise source.problem("no column looks like a metric; name it with --metric COLUMN")
    if not columns.factors:
        raise source.problem("no column looks like a factor; name it with --factor COLUMN")
    for name, column in columns.factors.items():
        if source.frame[column].map(str).nunique() < 2:
            level = rows.level(source.frame[column].iloc[0])
            raise source.problem(f"--factor {name}: has one level, {show(level)}; leave it out")
