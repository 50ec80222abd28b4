"""The states of runs and attempts, and the only moves between them.

A run is PENDING until an attempt holds it, RUNNING while one does, and ends COMPLETE, PRUNED or
FAILED. An attempt that ends without finishing its run has a reason, which decides whether the run
is tried again. A cell's Optuna trial follows from its runs.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class RunState(StrEnum):
    """The state of a run."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"


class Ending(StrEnum):
    """How an attempt ended."""

    COMPLETE = "complete"
    PRUNED = "pruned"
    DIVERGED = "diverged"  # a loss or an output was not finite
    OUT_OF_MEMORY = "out_of_memory"  # the accelerator's
    HOST_OUT_OF_MEMORY = "host_out_of_memory"
    CRASHED = "crashed"  # the worker process died: exit, signal, abort
    NODE_LOST = "node_lost"
    NODE_UNFIT = "node_unfit"  # its node lacks what the work needs, such as the data
    SILENT = "silent"  # the worker process gave no sign of life
    PREEMPTED = "preempted"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"  # the driver stopped or died; proves nothing about the run
    BAD_CONFIG = "bad_config"
    ERROR = "error"  # an exception in the trainer
    SUPERSEDED = "superseded"  # another attempt's result was recorded first


class TrialState(StrEnum):
    """The state of a cell's trial in Optuna, by Optuna's names."""

    RUNNING = "RUNNING"
    COMPLETE = "COMPLETE"
    PRUNED = "PRUNED"
    FAIL = "FAIL"


FINISHED = frozenset({RunState.COMPLETE, RunState.PRUNED, RunState.FAILED})

MOVES: dict[RunState, frozenset[RunState]] = {
    RunState.PENDING: frozenset({RunState.RUNNING, RunState.PRUNED, RunState.FAILED}),
    RunState.RUNNING: frozenset({RunState.PENDING, *FINISHED}),
    RunState.COMPLETE: frozenset(),
    RunState.PRUNED: frozenset(),
    RunState.FAILED: frozenset({RunState.PENDING}),  # only when the user asks for a retry
}

# Another try would end the same way.
FINAL = frozenset({Ending.DIVERGED, Ending.BAD_CONFIG})
# These prove nothing about the run, so it is tried again and they are not counted.
UNCOUNTED = frozenset(
    {
        Ending.CANCELLED,
        Ending.PREEMPTED,
        Ending.NODE_LOST,
        Ending.NODE_UNFIT,
        Ending.SILENT,  # the engine gives the second in a row another reason
        Ending.SUPERSEDED,
    }
)
# What a run can fail for.
FAILURES = frozenset(Ending) - UNCOUNTED - {Ending.COMPLETE, Ending.PRUNED}


def move(old: RunState, new: RunState) -> RunState:
    """Returns `new`, if a run may go there from `old`.

    Raises:
        ValueError: the move is not in `MOVES`; a finished run never changes.
    """
    if new not in MOVES[old]:
        raise ValueError(f"a run cannot go from {old} to {new}")
    return new


def after(ending: Ending, counted_attempts: int, max_attempts: int) -> RunState:
    """The state of a run after an attempt ends.

    `counted_attempts` counts the attempts that ended for a reason outside `UNCOUNTED`, this one
    included.
    """
    if ending is Ending.COMPLETE:
        return RunState.COMPLETE
    if ending is Ending.PRUNED:
        return RunState.PRUNED
    if ending in FINAL:
        return RunState.FAILED
    if ending in UNCOUNTED:
        return RunState.PENDING
    return RunState.FAILED if counted_attempts >= max_attempts else RunState.PENDING


def trial_state(runs: Iterable[RunState]) -> TrialState:
    """A cell's trial state from the states of its runs.

    COMPLETE if every run ended, at least one is complete and none was pruned. A cell is pruned as a
    whole, so one pruned run makes it PRUNED. FAIL if all failed.
    """
    states = set(runs)
    if not states or states - FINISHED:
        return TrialState.RUNNING
    if RunState.PRUNED in states:
        return TrialState.PRUNED
    return TrialState.COMPLETE if RunState.COMPLETE in states else TrialState.FAIL
