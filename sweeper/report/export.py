"""A sweep's numbers and the report's statistics as tables, each in Parquet and in CSV."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pandas as pd

from sweeper.analysis.factors import column, show
from sweeper.analysis.frames import Frames, Reads, load
from sweeper.analysis.view import view_of
from sweeper.errors import InputError
from sweeper.files import replacing
from sweeper.topics.registry import TOPICS

FORMATS = ("parquet", "csv")
ALWAYS = ("summary", "differences", "slopes")


def export(store: Reads, name: str, out: Path, *, force: bool = False) -> list[Path]:
    """Write the sweep `name` as tables into the folder `out`; returns the files.

    Raises:
        InputError: `out` is a file, cannot be written, or holds one of the tables already (`force`
            replaces these).
        StoreError: there is no such sweep.
    """
    tables = tables_of(load(store, name))
    files = [out / f"{table}.{kind}" for table in tables for kind in FORMATS]
    _check(out, files=files, force=force)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for table, frame in tables.items():
            for kind in FORMATS:
                _write(frame, out / f"{table}.{kind}", kind=kind)
    except OSError as error:
        raise InputError(f"--out {out}: cannot be written: {error.strerror}") from error
    return files


def _check(out: Path, *, files: list[Path], force: bool) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: is a file; name a folder")
    taken = [file.name for file in files if os.path.lexists(file)]
    if taken and not force:
        raise InputError(f"--out {out}: holds {taken[0]} already; --force replaces it")


def _write(frame: pd.DataFrame, file: Path, *, kind: str) -> None:
    with replacing(file) as temporary:
        if kind == "parquet":
            frame.to_parquet(temporary, index=False)
        else:
            frame.to_csv(temporary, index=False)


def tables_of(frames: Frames) -> dict[str, pd.DataFrame]:
    """The tables: what was recorded, then what was made of it.

    cells and runs: one row each, tuning cells included (`role`). final: the numbers of complete
    runs at their last epoch, of every split, metric and target. curves: objective and losses by
    epoch. attempts. summary: n, mean, sd, interval a cell and measure. differences, slopes: the
    report's tests. best: the levels that may be the best. anova, or importance where the cells are
    no grid: what each factor explains. anatomy: each mean and difference with its interval for this
    test set and for new data. examples: the test examples that change along the axis. correct:
    which test examples each run has right, as hexadecimal digits, the lowest bit first.
    tuning: every tuning point. fairness: the conditions of each claim. classes: recall by class and
    level. exchange: both accuracies of each cell, and the prices at which it may be best. absence:
    batches without a class. steps: those to a target. screening: every cell that was screened, and
    what its fresh replicates say. stages: what was decided about the replicates.
    """
    recorded = {
        "cells": _cells(frames),
        "runs": frames.runs.reset_index(),
        "final": frames.final,
        "curves": frames.curves,
        "attempts": frames.attempts.reset_index(),
    }
    if len(frames.correct):
        recorded["correct"] = frames.correct["bits"].map(bytes.hex).reset_index()
    if frames.sweep.stages:
        recorded["stages"] = pd.DataFrame(frames.sweep.stages)
    return {name: flat(frame) for name, frame in {**recorded, **_made(frames)}.items()}


def _made(frames: Frames) -> dict[str, pd.DataFrame]:
    """The tables of the topics; an empty one is left out unless every export has it."""
    view = view_of(frames)
    made = {
        name: pd.DataFrame(rows(view.of(build)))
        for topic in TOPICS
        for name, (build, rows) in topic.tables.items()
    }
    return {name: frame for name, frame in made.items() if len(frame) or name in ALWAYS}


def _cells(frames: Frames) -> pd.DataFrame:
    """One column a factor, numbers as numbers, the rest as JSON."""
    cells = frames.cells
    paths = dict.fromkeys(path for factors in cells["factors"] for path in factors)
    factors = {path: column(cells, path=path) for path in paths}
    kept = cells.drop(columns=["factors", "sweep_id"])
    return kept.assign(**factors).reset_index()


def flat(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns that both formats can hold: one type a column, nothing nested."""
    return frame.apply(_flat_column) if len(frame.columns) else frame


def _flat_column(values: pd.Series) -> pd.Series:
    if values.dtype != object:
        return values
    kinds = {type(value) for value in values if value is not None and value == value}
    if kinds <= {int, float}:
        return pd.to_numeric(values)
    if len(kinds) == 1 and kinds <= {bool, str}:
        return values
    return values.map(_as_text)


def _as_text(value: Any) -> str | None:
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, sort_keys=True, default=str)
    if value is None or value != value:
        return None
    return show(value) if not hasattr(value, "isoformat") else value.isoformat()
