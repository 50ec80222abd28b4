"""Changes of cells, their runs and attempts; inside the caller's transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from sweeper.states import FINISHED, UNCOUNTED, Ending, RunState
from sweeper.store import dialects, reads
from sweeper.store.reads import chunks
from sweeper.store.recording import Changes, Ledger, OpenAttempt, OpenRun
from sweeper.store.records import Cell, NewCell, Report
from sweeper.store.tables import (
    AttemptTable,
    CellTable,
    ObservationTable,
    PredictionTable,
    RunTable,
    clock,
)

CellKey: TypeAlias = tuple[str, str]  # role and hash: a cell's identity in its sweep
# Ends that do not count towards a run's failure, so that earlier ones need not be counted.
_HARMLESS = UNCOUNTED | {Ending.COMPLETE, Ending.PRUNED}


def add(connection: Connection, sweep_id: int, cells: Sequence[NewCell]) -> list[Cell]:
    """See `Store.add_cells`."""
    wanted = _merged(cells)
    there = _find(connection, sweep_id, wanted)
    made = _make(connection, sweep_id, [new for key, new in wanted.items() if key not in there])
    states = _states(connection, [cell.id for cell in there.values()])
    _add_runs(
        connection,
        sweep_id,
        [(cell, set(states.get(cell.id, ()))) for cell in (*there.values(), *made.values())],
        wanted,
    )
    renewed = {
        key: _renewed(connection, cell, wanted[key], states.get(cell.id, {}))
        for key, cell in there.items()
    }
    found = made | renewed
    return [found[cell.role, cell.hash] for cell in cells]


def hide(connection: Connection, sweep_id: int, kept: frozenset[CellKey]) -> None:
    """See `Store.hide_cells`."""
    rows = connection.execute(
        select(CellTable.id, CellTable.role, CellTable.hash).where(
            CellTable.sweep_id == sweep_id, ~CellTable.hidden
        )
    ).all()
    # No wanted run is left. Optuna needs an update only if it has a trial of the cell.
    known = CellTable.optuna_number.is_not(None)
    for some in chunks([row.id for row in rows if (row.role, row.hash) not in kept]):
        query = update(CellTable).where(CellTable.id.in_(some))
        connection.execute(query.values(hidden=True, open_runs=0, mirrored=~known))


def reopen(connection: Connection, cell_ids: Iterable[int]) -> None:
    """Adds an open run for each mention of a cell, and marks the cell for a new mirror."""
    rows = [{"key": cell_id, "more": count} for cell_id, count in Counter(cell_ids).items()]
    if rows:
        query = update(CellTable).where(CellTable.id == bindparam("key"))
        more = CellTable.open_runs + bindparam("more")
        connection.execute(query.values(open_runs=more, mirrored=False), rows)


def record(
    connection: Connection, sweep_id: int, reports: Sequence[Report], max_attempts: int
) -> dict[int, RunState]:
    """See `Store.record`."""
    run_ids = list(dict.fromkeys(report.run_id for report in reports))
    failing = {
        report.run_id for report in reports if report.end and report.end.ending not in _HARMLESS
    }
    ledger = Ledger(
        _open_runs(connection, sweep_id, run_ids, failing),
        _open_attempts(connection, [report.attempt_id for report in reports]),
        max_attempts=max_attempts,
    )
    for report in reports:
        ledger.apply(report)
    _write(connection, ledger.changes)
    return {run_id: ledger.runs[run_id].state for run_id in run_ids}


def _merged(cells: Sequence[NewCell]) -> dict[CellKey, NewCell]:
    """Each cell once, with the replicates of all mentions in order: 0, 1 ... -1, -2 ..."""
    found: dict[CellKey, NewCell] = {}
    for cell in cells:
        first = found.get((cell.role, cell.hash), cell)
        both = sorted({*first.replicates, *cell.replicates}, key=lambda r: (r < 0, abs(r)))
        found[cell.role, cell.hash] = replace(first, replicates=tuple(both))
    return found


def _find(
    connection: Connection, sweep_id: int, wanted: Collection[CellKey]
) -> dict[CellKey, Cell]:
    found = {}
    for some in chunks([key[1] for key in wanted]):
        query = select(CellTable.__table__).where(
            CellTable.sweep_id == sweep_id, CellTable.hash.in_(some)
        )
        for row in connection.execute(query):
            if (row.role, row.hash) in wanted:
                found[row.role, row.hash] = reads.cell(row)
    return found


def _make(connection: Connection, sweep_id: int, new: Sequence[NewCell]) -> dict[CellKey, Cell]:
    if not new:
        return {}
    rows = [
        {
            **vars(cell),
            "sweep_id": sweep_id,
            "mirrored": False,
            "hidden": False,
            "open_runs": len(cell.replicates),
        }
        for cell in new
    ]
    query = insert(CellTable).returning(CellTable.id, sort_by_parameter_order=True)
    ids = connection.execute(query, rows).scalars().all()
    return {
        (cell.role, cell.hash): Cell(
            **vars(cell), id=made, sweep_id=sweep_id, mirrored=False, hidden=False
        )
        for made, cell in zip(ids, new, strict=True)
    }


def _states(connection: Connection, cell_ids: Sequence[int]) -> dict[int, dict[int, RunState]]:
    """The runs of cells: cell -> replicate -> state."""
    found: dict[int, dict[int, RunState]] = {}
    for some in chunks(cell_ids):
        query = select(RunTable.cell_id, RunTable.replicate, RunTable.state)
        for row in connection.execute(query.where(RunTable.cell_id.in_(some))):
            found.setdefault(row.cell_id, {})[row.replicate] = row.state
    return found


def _add_runs(
    connection: Connection,
    sweep_id: int,
    cells: Sequence[tuple[Cell, set[int]]],
    wanted: Mapping[CellKey, NewCell],
) -> None:
    runs = [
        _run(sweep_id, cell.id, replicate)
        for cell, has in cells
        for replicate in wanted[cell.role, cell.hash].replicates
        if replicate not in has
    ]
    if runs:
        connection.execute(insert(RunTable), runs)


def _renewed(
    connection: Connection, cell: Cell, new: NewCell, states: Mapping[int, RunState]
) -> Cell:
    """The cell as requested now, marked for the mirror if Optuna shows something else."""
    shown = cell.factors == new.factors and cell.replicates == new.replicates and not cell.hidden
    if shown and cell.config == new.config:
        return cell
    values: dict[str, Any] = {
        "factors": new.factors,
        "config": new.config,
        "replicates": new.replicates,
        "mirrored": cell.mirrored and shown,
        "hidden": False,
    }
    still_open = sum(states.get(replicate) not in FINISHED for replicate in new.replicates)
    query = update(CellTable).where(CellTable.id == cell.id)
    connection.execute(query.values(**values, open_runs=still_open))
    return replace(cell, **values)


def _run(sweep_id: int, cell_id: int, replicate: int) -> dict[str, Any]:
    return {
        "sweep_id": sweep_id,
        "cell_id": cell_id,
        "replicate": replicate,
        "state": RunState.PENDING,
        "epoch": 0,
        "error": "",
        "seconds": 0.0,
        "forgiven": 0,
    }


def _open_runs(
    connection: Connection, sweep_id: int, run_ids: Sequence[int], failing: set[int]
) -> dict[int, OpenRun]:
    failed: dict[int, int] = {}
    for some in chunks(list(failing)):
        failed |= reads.failures(connection, AttemptTable.run_id.in_(some))
    found = {}
    for some in chunks(run_ids):
        query = select(RunTable.__table__).where(
            RunTable.id.in_(some), RunTable.sweep_id == sweep_id
        )
        for row in connection.execute(query):
            found[row.id] = reads.record(OpenRun, row, counted=failed.get(row.id, 0))
    return found


def _open_attempts(connection: Connection, attempt_ids: Sequence[int]) -> dict[int, OpenAttempt]:
    found = {}
    for some in chunks(attempt_ids):
        query = select(AttemptTable.__table__).where(AttemptTable.id.in_(some))
        for row in connection.execute(query):
            found[row.id] = reads.record(OpenAttempt, row, ended_now=False)
    return found


def _write(connection: Connection, changes: Changes) -> None:
    for run_id, epoch in changes.cuts.items():
        connection.execute(
            delete(ObservationTable).where(
                ObservationTable.run_id == run_id, ObservationTable.epoch > epoch
            )
        )
    numbers = [
        {"run_id": run_id, "epoch": epoch, "step": step, "numbers": vector}
        for (run_id, epoch), (step, vector) in changes.numbers.items()
    ]
    if numbers:
        query = dialects.upsert(
            connection, ObservationTable, keys=("run_id", "epoch"), changes=("step", "numbers")
        )
        connection.execute(query, numbers)
    predictions = [{"run_id": run_id, "bits": bits} for run_id, bits in changes.correct.items()]
    if predictions:
        query = dialects.upsert(connection, PredictionTable, keys=("run_id",), changes=())
        connection.execute(query, predictions)
    _write_attempts(connection, changes)
    _write_runs(connection, changes)


def _write_attempts(connection: Connection, changes: Changes) -> None:
    ended = [_new(row, ATTEMPT) for row in changes.attempts.values() if row.ended_now]
    alive = [_new(row, ATTEMPT) for row in changes.attempts.values() if not row.ended_now]
    if ended:
        connection.execute(_END_ATTEMPT, ended)
    if alive:
        connection.execute(_CHANGE_ATTEMPT, alive)


def _write_runs(connection: Connection, changes: Changes) -> None:
    rows = [_new(row, RUN) for row in changes.runs.values()]
    if rows:
        connection.execute(_CHANGE_RUN, rows)
    done = [{"key": key, "less": count} for key, count in Counter(changes.finished).items()]
    if done:
        connection.execute(_CLOSE_RUNS, done)


ATTEMPT = ("node", "device", "from_epoch", "seconds", "ending", "error")
RUN = ("state", "epoch", "value", "ending", "error", "seconds")


def _new(row: OpenRun | OpenAttempt, names: Sequence[str]) -> dict[str, Any]:
    return {"key": row.id, **{f"new_{name}": getattr(row, name) for name in names}}


def _bound(names: Sequence[str]) -> dict[str, Any]:
    # An UPDATE's own parameters are named after its columns, so these need other names.
    return {name: bindparam(f"new_{name}") for name in names}


# Built once: building a statement costs as much as running it.
_CHANGE_ATTEMPT = (
    update(AttemptTable).where(AttemptTable.id == bindparam("key")).values(**_bound(ATTEMPT))
)
_END_ATTEMPT = _CHANGE_ATTEMPT.values(ended_at=clock())
_CHANGE_RUN = update(RunTable).where(RunTable.id == bindparam("key")).values(**_bound(RUN))
_CLOSE_RUNS = (
    update(CellTable)
    .where(CellTable.id == bindparam("key"))
    .values(open_runs=CellTable.open_runs - bindparam("less"), mirrored=False)
)
