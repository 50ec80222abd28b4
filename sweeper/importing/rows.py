"""The rows of each run: its levels, how it ended, and its numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from sweeper.importing.columns import Columns, words
from sweeper.importing.source import Source
from sweeper.spec.factors import Level
from sweeper.states import Ending, RunState

# What a column says of how a run ended; None: it has not ended.
STATES: dict[str, tuple[RunState, Ending] | None] = {
    **dict.fromkeys(
        ("complete", "completed", "finished", "terminated", "success", "succeeded", "done", "ok",
         "false", "0", "no", "3"),
        (RunState.COMPLETE, Ending.COMPLETE),
    ),
    **dict.fromkeys(("pruned", "stopped"), (RunState.PRUNED, Ending.PRUNED)),
    **dict.fromkeys(("true", "1", "yes", "nan", "diverged"), (RunState.FAILED, Ending.DIVERGED)),
    **dict.fromkeys(
        ("fail", "failed", "crashed", "error", "errored", "killed", "4"),
        (RunState.FAILED, Ending.ERROR),
    ),
    **dict.fromkeys(("running", "pending", "queued", "waiting", "scheduled", "paused"), None),
}  # fmt: skip
ENDED_WELL = frozenset({"completed", "complete", "converged", "done", "finished", "ok", "success"})
OPPOSITE = {"true": "false", "false": "failed", "1": "0", "0": "failed"}


@dataclass(frozen=True)
class Rules:
    """What the user has decided about doubtful runs.

    Attributes:
        pruned: takes runs that end before the others as stopped early; else they are refused.
    """

    pruned: bool = False


@dataclass(frozen=True)
class ForeignRun:
    """One run.

    Attributes:
        row: the index of its last row in the table.
        epochs: (E,) from 1 on, rising.
        numbers: (E, L) in the order of the layout.
    """

    row: int
    name: str
    factors: dict[str, Level]
    replicate: int
    state: RunState
    ending: Ending
    seconds: float
    epochs: np.ndarray = field(repr=False)
    numbers: np.ndarray = field(repr=False)


def groups(source: Source, columns: Columns) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of each run, by rising epoch, with the run's name.

    Raises:
        InputError: an epoch is no whole number, or is there twice.
    """
    frame = source.frame
    if not columns.epoch:
        if columns.run:
            _once(source, frame, [columns.run], f"run {{0}} is there twice ({columns.run})")
        for at in frame.index:
            name = str(frame[columns.run][at]) if columns.run else ""
            yield name, frame.loc[[at]]
        return
    epochs = frame[columns.epoch]
    whole = pd.to_numeric(epochs, errors="coerce")
    wrong = epochs.index[whole.isna() | (whole != np.floor(whole)) | (whole < 0)]
    if len(wrong):
        value = epochs[wrong[0]]
        raise source.problem(
            f"--epoch {columns.epoch}: {value!r} is no whole number from 0 on", row=int(wrong[0])
        )
    if not columns.run:
        text = f"--epoch {columns.epoch} needs the column that names the run; add --run COLUMN"
        raise source.problem(text)
    frame = frame.assign(**{columns.epoch: whole.astype(np.int64)})
    _once(
        source, frame, [columns.run, columns.epoch], "run {0} has epoch {1} twice; is --run right?"
    )
    frame = frame[_measured(frame, columns)]
    ordered = frame.sort_values(columns.epoch, kind="stable")
    for name, rows in ordered.groupby(columns.run, sort=False):
        yield str(name), rows


def _measured(frame: pd.DataFrame, columns: Columns) -> pd.Series:
    """The rows with a number, and the last row of a run that has none.

    Loggers write a row for each step, of which few have the metrics that are asked for.
    """
    known = frame[list(columns.metrics.values())].notna().any(axis=1)
    empty = ~known.groupby(frame[columns.run]).transform("any")
    return known | (empty & ~frame.duplicated([columns.run], keep="last"))


def _once(source: Source, frame: pd.DataFrame, by: Sequence[str], text: str) -> None:
    """Returns if no two rows have the same values.

    Raises:
        InputError: names the second row and the first.
    """
    for column in by:
        empty = frame.index[frame[column].isna()]
        if len(empty):
            raise source.problem(f"column {column!r} is empty", row=int(empty[0]))
    twice = frame.index[frame.duplicated(list(by))]
    if len(twice):
        values = [frame[column][twice[0]] for column in by]
        same = (frame[list(by)] == values).all(axis=1)
        first = source.where(int(frame.index[same][0]))
        raise source.problem(f"{text.format(*values)} (first in {first})", row=int(twice[0]))


def state(source: Source, columns: Columns, rows: pd.DataFrame) -> tuple[RunState, Ending] | None:
    """How a run ended; None if it has not.

    Raises:
        InputError: the word is not known.
    """
    if not columns.state:
        return RunState.COMPLETE, Ending.COMPLETE
    last = int(rows.index[-1])
    value = rows[columns.state][last]
    if pd.isna(value):
        raise source.problem(f"--state {columns.state}: is empty", row=last)
    number = isinstance(value, float | np.floating)
    word = f"{value:g}" if number else str(value).strip().lower().rpartition(".")[2]
    if words(columns.state) & ENDED_WELL:  # a column of truth values that are true of good ends
        word = OPPOSITE.get(word, word)
    if word not in STATES:
        raise source.problem(
            f"--state {columns.state}: {value!r} is not known; valid: finished, pruned, failed, "
            "diverged, running, true, false",
            row=last,
        )
    return STATES[word]


def run_of(
    source: Source,
    columns: Columns,
    name: str,
    rows: pd.DataFrame,
    ended: tuple[RunState, Ending],
) -> ForeignRun:
    """One run, whose factors must be the same in all of its rows.

    Raises:
        InputError: a factor changes, or a number is missing in a run that is complete.
    """
    last = int(rows.index[-1])
    for factor, column in columns.factors.items() if len(rows) > 1 else ():
        levels = rows[column].map(str)
        if levels.nunique() > 1:
            odd = int(levels.index[levels != levels.iloc[0]][0])
            raise source.problem(
                f"run {name}: factor {factor} is {levels[odd]} here and {levels.iloc[0]} in "
                f"{source.where(int(levels.index[0]))}",
                row=odd,
            )
    numbers = rows[list(columns.metrics.values())].to_numpy(dtype=np.float64)
    state, ending = ended
    if state is RunState.COMPLETE:
        _check_numbers(source, columns, rows, numbers)
        if not np.isfinite(numbers[-1]).all():
            state, ending = RunState.FAILED, Ending.DIVERGED
    epochs = rows[columns.epoch].to_numpy(dtype=np.int64) if columns.epoch else np.array([1])
    kept = ~np.isnan(numbers).all(axis=1)
    levels = {factor: level(rows[column][last]) for factor, column in columns.factors.items()}
    return ForeignRun(
        row=last,
        name=name,
        factors={factor: level for factor, level in levels.items() if level is not None},
        replicate=0,
        state=state,
        ending=ending,
        seconds=_seconds(columns, rows),
        epochs=epochs[kept],
        numbers=numbers[kept],
    )


def _check_numbers(
    source: Source, columns: Columns, rows: pd.DataFrame, numbers: np.ndarray
) -> None:
    missing = np.argwhere(np.isnan(numbers))
    if len(missing):
        at, metric = missing[0]
        column = list(columns.metrics.values())[metric]
        raise source.problem(
            f"{column} is missing; leave the metric out, or name the column of how runs ended "
            "with --state",
            row=list(rows.index)[at],
        )


def _seconds(columns: Columns, rows: pd.DataFrame) -> float:
    """The largest time that the run has; 0 where none can be read."""
    if not columns.seconds:
        return 0.0
    values = pd.to_numeric(rows[columns.seconds], errors="coerce")
    most = float(values.max())
    return most if math.isfinite(most) and most >= 0 else 0.0


def level(value: Any) -> Level:
    """A value of the table as the level of a factor; None where it is missing."""
    if isinstance(value, list | dict):
        return json.dumps(value, sort_keys=True)
    if value is None or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        number = float(value)
        return int(number) if number.is_integer() and abs(number) < 2**53 else number
    return str(value)
