"""The states of runs and attempts: which moves there are, and what follows from an ending."""

from __future__ import annotations

from itertools import product

import pytest

from sweeper.states import (
    FINAL,
    FINISHED,
    MOVES,
    UNCOUNTED,
    Ending,
    RunState,
    TrialState,
    after,
    move,
    trial_state,
)

# Written out, so that a change of the table is a change of this test.
LEGAL = {
    ("pending", "running"),
    ("pending", "pruned"),
    ("pending", "failed"),
    ("running", "pending"),
    ("running", "complete"),
    ("running", "pruned"),
    ("running", "failed"),
    ("failed", "pending"),
}


@pytest.mark.parametrize(("old", "new"), list(product(RunState, RunState)))
def test_only_the_legal_moves_are_made(old: RunState, new: RunState) -> None:
    """Any other move is our own mistake, and raises an error."""
    if (old.value, new.value) in LEGAL:
        assert move(old, new) is new
    else:
        with pytest.raises(ValueError, match=f"a run cannot go from {old} to {new}"):
            move(old, new)


def test_every_state_has_its_moves() -> None:
    """A state without an entry would be a KeyError on the day it is reached."""
    assert set(MOVES) == set(RunState)


@pytest.mark.parametrize("state", [RunState.COMPLETE, RunState.PRUNED])
def test_a_finished_run_never_changes(state: RunState) -> None:
    """Results are recorded once and never lost; only a failure may be retried, on request."""
    assert MOVES[state] == frozenset()


@pytest.mark.parametrize("attempts", [1, 2, 3, 9])
@pytest.mark.parametrize("ending", list(Ending))
def test_the_ending_decides_where_the_run_goes(ending: Ending, attempts: int) -> None:
    """Three tries: reasons that repeat themselves end the run, reasons of the cluster do not."""
    expected = {
        "complete": "complete",
        "pruned": "pruned",
        "diverged": "failed",
        "bad_config": "failed",
        "cancelled": "pending",
        "preempted": "pending",
        "node_lost": "pending",
        "node_unfit": "pending",
        "silent": "pending",
        "superseded": "pending",
    }.get(ending.value, "pending" if attempts < 3 else "failed")
    assert after(ending, attempts, 3) == expected


@pytest.mark.parametrize("ending", list(Ending))
def test_every_ending_is_a_legal_move_of_a_running_run(ending: Ending) -> None:
    """`after` never asks for what `move` refuses."""
    assert after(ending, 1, 1) in MOVES[RunState.RUNNING]


def test_no_reason_is_both_final_and_uncounted() -> None:
    """One would retry for ever what the other gives up at once."""
    assert not FINAL & UNCOUNTED


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ("", "RUNNING"),
        ("pending", "RUNNING"),
        ("running complete", "RUNNING"),
        ("complete failed pending", "RUNNING"),
        ("pruned running", "RUNNING"),
        ("complete", "COMPLETE"),
        ("complete complete", "COMPLETE"),
        ("complete failed", "COMPLETE"),
        ("pruned", "PRUNED"),
        ("pruned failed", "PRUNED"),
        ("pruned complete", "PRUNED"),
        ("failed", "FAIL"),
        ("failed failed", "FAIL"),
    ],
)
def test_a_cell_follows_from_its_runs(runs: str, expected: str) -> None:
    """A sweep is not shown as ended while a run is open, nor as running when no run is open."""
    assert trial_state(map(RunState, runs.split())) == expected


def test_states_are_the_words_of_database_and_optuna() -> None:
    """The names are stored: a new name needs a migration."""
    assert [str(state) for state in RunState] == [
        "pending", "running", "complete", "pruned", "failed",
    ]  # fmt: skip
    assert [str(state) for state in TrialState] == ["RUNNING", "COMPLETE", "PRUNED", "FAIL"]
    assert {RunState.COMPLETE, RunState.PRUNED, RunState.FAILED} == FINISHED


def test_trial_states_are_optunas() -> None:
    """The mirror hands them over by name."""
    from optuna.trial import TrialState as Theirs

    assert {state.name for state in TrialState} <= {state.name for state in Theirs}
