"""Cells, their runs, and what reports do to them; inside the caller's transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from sweeper.states import UNCOUNTED, Ending, RunState
from sweeper.store import dialects, reads
from sweeper.store.reads import chunks
from sweeper.store.recording import Changes, Ledger, OpenAttempt, OpenRun
from sweeper.store.records import Cell, NewCell, Report
from sweeper.store.tables import AttemptTable, CellTable, ObservationTable, RunTable, clock

# Endings that are not held against a run, so that nobody has to count those before.
_HARMLESS = UNCOUNTED | {Ending.COMPLETE, Ending.PRUNED}


def add(connection: Connection, sweep_id: int, cells: Sequence[NewCell]) -> list[Cell]:
    """See `Store.add_cells`."""
    wanted: dict[tuple[str, str], NewCell] = {}
    replicates: dict[tuple[str, str], set[int]] = {}
    for cell in cells:
        wanted.setdefault((cell.role, cell.hash), cell)
        replicates.setdefault((cell.role, cell.hash), set()).update(cell.replicates)
    there = _find(connection, sweep_id, wanted)
    new = [_row(sweep_id, cell) for key, cell in wanted.items() if key not in there]
    if new:
        connection.execute(insert(CellTable), new)
    there = _find(connection, sweep_id, wanted)
    _add_runs(connection, sweep_id, [(there[key], replicates[key]) for key in wanted])
    found = _find(connection, sweep_id, wanted)
    return [found[cell.role, cell.hash] for cell in cells]


def hide(connection: Connection, sweep_id: int, kept: frozenset[str]) -> None:
    """See `Store.hide_cells`."""
    rows = connection.execute(
        select(CellTable.id, CellTable.hash).where(
            CellTable.sweep_id == sweep_id, ~CellTable.hidden
        )
    ).all()
    for some in chunks([row.id for row in rows if row.hash not in kept]):
        connection.execute(update(CellTable).where(CellTable.id.in_(some)).values(hidden=True))


def reopen(connection: Connection, cell_ids: Iterable[int]) -> None:
    """One further open run for each mention of a cell, which is to be mirrored anew."""
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


def _find(
    connection: Connection, sweep_id: int, wanted: dict[tuple[str, str], NewCell]
) -> dict[tuple[str, str], Cell]:
    found = {}
    for some in chunks([key[1] for key in wanted]):
        query = select(CellTable.__table__).where(
            CellTable.sweep_id == sweep_id, CellTable.hash.in_(some)
        )
        for row in connection.execute(query):
            found[row.role, row.hash] = reads.cell(row)
    return found


def _row(sweep_id: int, cell: NewCell) -> dict[str, Any]:
    return {
        "sweep_id": sweep_id,
        "role": cell.role,
        "hash": cell.hash,
        "factors": cell.factors,
        "config": cell.config,
        "class_counts": list(cell.class_counts),
        "replicates": [],
        "optuna_number": cell.optuna_number,
        "mirrored": False,
        "hidden": False,
        "open_runs": 0,
    }


def _add_runs(
    connection: Connection, sweep_id: int, cells: Sequence[tuple[Cell, set[int]]]
) -> None:
    runs, changed = [], []
    for cell, wanted in cells:
        missing = sorted(wanted - set(cell.replicates), key=lambda r: (r < 0, abs(r)))
        if not missing and not cell.hidden:
            continue
        runs += [_run(sweep_id, cell.id, replicate) for replicate in missing]
        replicates = [*cell.replicates, *missing]
        changed.append(
            {"key": cell.id, "all": replicates, "more": len(missing),
             "still": cell.mirrored and not missing}
        )  # fmt: skip
    if runs:
        connection.execute(insert(RunTable), runs)
    if changed:
        query = update(CellTable).where(CellTable.id == bindparam("key"))
        connection.execute(
            query.values(
                replicates=bindparam("all"),
                open_runs=CellTable.open_runs + bindparam("more"),
                mirrored=bindparam("still"),
                hidden=False,
            ),
            changed,
        )


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
    failed = _failed_attempts(connection, list(failing))
    found = {}
    for some in chunks(run_ids):
        query = select(RunTable.__table__).where(
            RunTable.id.in_(some), RunTable.sweep_id == sweep_id
        )
        for row in connection.execute(query):
            found[row.id] = OpenRun(
                id=row.id,
                cell_id=row.cell_id,
                state=row.state,
                epoch=row.epoch,
                value=row.value,
                ending=row.ending,
                error=row.error,
                seconds=row.seconds,
                counted=failed.get(row.id, 0),
            )
    return found


def _failed_attempts(connection: Connection, run_ids: Sequence[int]) -> dict[int, int]:
    """How many attempts of each run count already towards its failure."""
    found: dict[int, int] = {}
    for some in chunks(run_ids):
        query = (
            select(AttemptTable.run_id, func.count())
            .join(RunTable, RunTable.id == AttemptTable.run_id)
            .where(AttemptTable.run_id.in_(some), AttemptTable.ending.is_not(None))
            .where(AttemptTable.ending.not_in(UNCOUNTED), AttemptTable.number > RunTable.forgiven)
            .group_by(AttemptTable.run_id)
        )
        found |= {row[0]: row[1] for row in connection.execute(query)}
    return found


def _open_attempts(connection: Connection, attempt_ids: Sequence[int]) -> dict[int, OpenAttempt]:
    found = {}
    for some in chunks(attempt_ids):
        query = select(AttemptTable.__table__).where(AttemptTable.id.in_(some))
        for row in connection.execute(query):
            found[row.id] = OpenAttempt(
                id=row.id,
                run_id=row.run_id,
                node=row.node,
                device=row.device,
                from_epoch=row.from_epoch,
                seconds=row.seconds,
                ending=row.ending,
                error=row.error,
            )
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
    _write_attempts(connection, changes)
    _write_runs(connection, changes)


def _write_attempts(connection: Connection, changes: Changes) -> None:
    ended = [_attempt(row) for row in changes.attempts.values() if row.ended_now]
    alive = [_attempt(row) for row in changes.attempts.values() if not row.ended_now]
    if ended:
        connection.execute(_END_ATTEMPT, ended)
    if alive:
        connection.execute(_CHANGE_ATTEMPT, alive)


def _write_runs(connection: Connection, changes: Changes) -> None:
    rows = [
        {
            "key": row.id,
            "new_state": row.state,
            "new_epoch": row.epoch,
            "new_value": row.value,
            "new_ending": row.ending,
            "new_error": row.error,
            "new_seconds": row.seconds,
        }
        for row in changes.runs.values()
    ]
    if rows:
        connection.execute(_CHANGE_RUN, rows)
    done = [{"key": key, "less": count} for key, count in Counter(changes.finished).items()]
    if done:
        connection.execute(_CLOSE_RUNS, done)


def _attempt(row: OpenAttempt) -> dict[str, Any]:
    return {
        "key": row.id,
        "new_node": row.node,
        "new_device": row.device,
        "new_from_epoch": row.from_epoch,
        "new_seconds": row.seconds,
        "new_ending": row.ending,
        "new_error": row.error,
    }


def _bound(*names: str) -> dict[str, Any]:
    # An UPDATE's own parameters are named like its columns: these need names of their own.
    return {name: bindparam(f"new_{name}") for name in names}


# Made once: building a statement costs as much as running it.
_CHANGE_ATTEMPT = (
    update(AttemptTable)
    .where(AttemptTable.id == bindparam("key"))
    .values(**_bound("node", "device", "from_epoch", "seconds", "ending", "error"))
)
_END_ATTEMPT = _CHANGE_ATTEMPT.values(ended_at=clock())
_CHANGE_RUN = (
    update(RunTable)
    .where(RunTable.id == bindparam("key"))
    .values(**_bound("state", "epoch", "value", "ending", "error", "seconds"))
)
_CLOSE_RUNS = (
    update(CellTable)
    .where(CellTable.id == bindparam("key"))
    .values(open_runs=CellTable.open_runs - bindparam("less"), mirrored=False)
)
