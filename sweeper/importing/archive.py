"""Sweeper's own archive: the data inside a report, as the sweeps that they were.

A report has every number of the last epoch, and of earlier epochs the objective and the losses.
"""

from __future__ import annotations

import hashlib
import math
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sweeper.analysis.frames import Frames, drawn_numbers
from sweeper.report import archive
from sweeper.report.verify import block_of
from sweeper.states import FINISHED, Ending, RunState
from sweeper.store.finished import Finished, FinishedAttempt, FinishedPack, FinishedRun
from sweeper.store.records import NewCell, NewSweep

KIND = "Sweeper report"
CUT_OFF = "the report was made while the sweep was running"


def read(path: Path) -> list[Finished]:
    """The sweeps inside a report.

    Raises:
        InputError: it is no report of Sweeper's, or its data cannot be read.
    """
    block = block_of(path)
    blocks = archive.split(block) if archive.holds_several(block) else [block]
    return [_finished(archive.read(one), file=path.name, block=one) for one in blocks]


def renamed(one: Finished, name: str) -> Finished:
    """The same sweep under another name."""
    sweep = one.sweep
    return replace(one, sweep=replace(sweep, name=name, spec={**sweep.spec, "name": name}))


def _finished(frames: Frames, *, file: str, block: bytes) -> Finished:
    sweep = frames.sweep
    known = {"from": KIND, "file": file, "sha256": hashlib.sha256(block).hexdigest()}
    imported = {**known, **frames.imported, "id": uuid.uuid4().hex}
    cut = sweep.state == "running"
    cells = {int(cell): at for at, cell in enumerate(frames.cells.index)}
    packs = {int(pack): at for at, pack in enumerate(frames.packs.index)}
    runs = {int(run): at for at, run in enumerate(frames.runs.index)}
    return Finished(
        sweep=NewSweep(
            name=sweep.name,
            question=sweep.question,
            spec_text=sweep.spec_text,
            spec=sweep.spec,
            layout=sweep.layout,
            facts=sweep.facts,
            provenance={**sweep.provenance, "imported": imported},
        ),
        state="interrupted" if cut else sweep.state,
        state_reason=CUT_OFF if cut else sweep.state_reason,
        cells=[_cell(row) for _, row in frames.cells.iterrows()],
        hidden=frozenset(cells[int(cell)] for cell in frames.cells.index[frames.cells["hidden"]]),
        runs=_runs(frames, cells=cells, packs=packs),
        packs=[_pack(row, runs=runs) for _, row in frames.packs.iterrows()],
        stages=sweep.stages,
    )


def _cell(row: pd.Series) -> NewCell:
    return NewCell(
        hash=str(row["hash"]),
        role=str(row["role"]),
        factors=dict(row["factors"]),
        config=dict(row["config"]),
        class_counts=tuple(row["class_counts"]),
        replicates=tuple(row["replicates"]),
    )


def _pack(row: pd.Series, *, runs: dict[int, int]) -> FinishedPack:
    """A pack without the runs that the report has left out."""
    kept = tuple(runs[run] for run in row["run_ids"] if run in runs)
    return FinishedPack(
        key=str(row["key"]), form=str(row["form"]), runs=kept, seconds=float(row["seconds"])
    )


def _runs(frames: Frames, *, cells: dict[int, int], packs: dict[int, int]) -> list[FinishedRun]:
    tries = dict(list(frames.attempts.groupby("run_id")))
    curves = dict(list(frames.curves.groupby("run")))
    rows = [row for _, row in frames.runs.iterrows()]
    return [
        _run(
            frames,
            run,
            row,
            cell=cells[int(row["cell"])],
            attempts=[_attempt(one, packs) for _, one in tries[run].iterrows()]
            if run in tries
            else [],
            curve=curves.get(run, frames.curves.iloc[:0]),
        )
        for run, row in zip(map(int, list(frames.runs.index)), rows, strict=True)
    ]


def _run(
    frames: Frames,
    run: int,
    row: pd.Series,
    *,
    cell: int,
    attempts: Sequence[FinishedAttempt],
    curve: pd.DataFrame,
) -> FinishedRun:
    state = RunState(row["state"])
    over = state in FINISHED
    return FinishedRun(
        cell=cell,
        replicate=int(row["replicate"]),
        state=state if over else RunState.PENDING,
        epoch=int(row["epoch"]),
        value=_number(row["value"]),
        ending=_ending(row["ending"]),
        error=str(row["error"] or ""),
        seconds=float(row["seconds"]),
        attempts=tuple(attempts),
        observations=_observations(frames, run, row, curve),
        correct=frames.correct["bits"][run] if run in frames.correct.index else None,
    )


def _observations(
    frames: Frames, run: int, row: pd.Series, curve: pd.DataFrame
) -> tuple[tuple[int, int, bytes], ...]:
    """The curve's numbers at each epoch, and all that are known at the last."""
    layout = frames.sweep.layout
    matrix = np.full((len(curve), len(layout)), np.nan, dtype="<f4")
    for name, key in drawn_numbers(frames.sweep).items():
        matrix[:, layout.index(key)] = curve[name].to_numpy()
    epochs = curve["epoch"].to_numpy()
    if run in frames.numbers.index and len(epochs) and epochs[-1] == row["epoch"]:
        last = frames.numbers.loc[run]
        for key, value in zip(frames.numbers.columns, last, strict=True):
            matrix[-1, layout.index(tuple(key))] = value
    return tuple(
        (int(epoch), int(step), numbers.tobytes())
        for epoch, step, numbers in zip(epochs, curve["step"], matrix, strict=True)
    )


def _attempt(row: pd.Series, packs: dict[int, int]) -> FinishedAttempt:
    return FinishedAttempt(
        pack=packs[int(row["pack_id"])],
        number=int(row["number"]),
        device=str(row["device"]),
        started_at=_moment(row["started_at"]),
        ended_at=_moment(row["ended_at"]),
        from_epoch=int(row["from_epoch"]),
        seconds=float(row["seconds"]),
        ending=_ending(row["ending"]) or Ending.CANCELLED,
        error=str(row["error"] or ""),
    )


def _moment(value: Any) -> float | None:
    return None if pd.isna(value) or not isinstance(value, datetime) else value.timestamp()


def _ending(value: Any) -> Ending | None:
    return Ending(value) if isinstance(value, str) and value else None


def _number(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
