"""The status of a sweep: its state, its runs, and what will follow."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from sweeper.plan import awaited
from sweeper.spec import ADAPTIVE
from sweeper.states import FINISHED, RunState

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sweeper.store.records import Cell, Sweep
    from sweeper.store.store import Store

MOST_RUNS = 20_000  # of a sweep that is read whole to say its answer, in some seconds
# What stands for the result of `so_far` then.
UNTOLD: dict[str, Any] = {
    "answer": "",
    "best": "",
    "seconds_left": None,
    "seconds_left_low": None,
    "seconds_left_high": None,
}


def sweep_status(store: Store, sweep: Sweep) -> dict[str, Any]:
    """A sweep's status, as in `status --json` with what `so_far` adds unless it is `untold`."""
    endings = store.endings(sweep.id)
    states, failures = Counter[RunState](), Counter[str]()
    for (state, ending), count in endings.items():
        states[state] += count
        if state is RunState.FAILED:
            failures[str(ending)] += count
    roles = store.roles(sweep.id)
    return {
        "name": sweep.name,
        "question": sweep.question,
        "state": sweep.state,
        "reason": sweep.state_reason,
        "holder": sweep.holder,
        "created_at": sweep.created_at,
        "updated_at": sweep.updated_at,
        "cells": roles,
        "runs": {str(state): states[state] for state in RunState},
        "awaited": _awaited(store, sweep, roles),
        "failures": dict(sorted(failures.items())),
        "untold": untold(sweep.name, sum(states.values())),
        "decided": sweep.stages[-1]["text"] if sweep.stages else "",
    }


def untold(name: str, runs: int) -> str:
    """Why the answer is left out of a status; empty if it is not."""
    if runs <= MOST_RUNS:
        return ""
    return f"{runs:,} runs are too many to say the answer here; `sweeper report {name}` has it"


def _awaited(store: Store, sweep: Sweep, roles: Collection[str]) -> int:
    adaptive = sweep.spec["search"]["method"] in ADAPTIVE
    if sweep.state == "complete" or not (adaptive or "tuning" in roles):
        return 0  # no run can follow, so nothing is read
    cells = {cell.id: cell for cell in store.cells(sweep.id) if not cell.hidden}
    open_or_valued = {
        run.cell_id
        for run in store.runs(sweep.id)
        if run.cell_id in cells
        and cells[run.cell_id].wants(run)
        and (run.state not in FINISHED or run.value is not None)
    }
    return following(sweep, list(cells.values()), eligible=open_or_valued)


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
