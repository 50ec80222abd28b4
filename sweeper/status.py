"""The status of a sweep: its state, its runs, and what will follow."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from sweeper.plan import awaited
from sweeper.spec import ADAPTIVE
from sweeper.states import FINISHED, RunState

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sweeper.store.records import Cell, Run, Sweep
    from sweeper.store.store import Store


def sweep_status(store: Store, sweep: Sweep) -> dict[str, Any]:
    """A sweep's status, as in `status --json`."""
    cells = [cell for cell in store.cells(sweep.id) if not cell.hidden]
    shown = {cell.id: cell for cell in cells}
    runs = [
        run
        for run in store.runs(sweep.id)
        if run.cell_id in shown and shown[run.cell_id].wants(run)
    ]
    states = Counter(run.state for run in runs)
    endings = Counter(str(run.ending) for run in runs if run.state is RunState.FAILED)
    return {
        "name": sweep.name,
        "question": sweep.question,
        "state": sweep.state,
        "reason": sweep.state_reason,
        "holder": sweep.holder,
        "created_at": sweep.created_at,
        "updated_at": sweep.updated_at,
        "cells": dict(sorted(Counter(cell.role for cell in cells).items())),
        "runs": {str(state): states.get(state, 0) for state in RunState},
        "awaited": _awaited(sweep, cells, runs),
        "failures": dict(sorted(endings.items())),
        "decided": sweep.stages[-1]["text"] if sweep.stages else "",
    }


def _awaited(sweep: Sweep, cells: Sequence[Cell], runs: Sequence[Run]) -> int:
    open_or_valued = {
        run.cell_id for run in runs if run.state not in FINISHED or run.value is not None
    }
    return following(sweep, cells, eligible=open_or_valued)


def following(sweep: Sweep, cells: Sequence[Cell], *, eligible: Collection[int]) -> int:
    """The number of runs that will follow: of tuning's picks, or of a sampler's cells.

    Args:
        cells: the visible ones.
        eligible: the cells with a run that is open, or complete with a value.
    """
    if sweep.state == "complete":
        return 0
    search, first = sweep.spec["search"], sweep.spec.get("replicates", 0)
    if isinstance(first, dict):
        first = first.get("start") or first.get("screen") or first["looks"][0]
    found = awaited(
        cells,
        scientific=sweep.spec.get("scientific", {}),
        trials=search["trials"] if search["method"] in ADAPTIVE else None,
        eligible=lambda cell: cell.id in eligible,
    )
    return len(found) * first
