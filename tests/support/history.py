"""What must be true of a sweep's history, whatever has happened to its drivers and workers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from statistics import fmean

import optuna
import pytest

from sweeper.states import UNCOUNTED, Ending, RunState
from sweeper.store import Store
from sweeper.store.records import Attempt, Run

RETRIED = UNCOUNTED | {Ending.CRASHED, Ending.TIMEOUT}  # how an attempt before the last may end
Numbers = dict[tuple[str, int], dict[int, bytes]]


def numbers(url: str, name: str) -> Numbers:
    """Every number of every run: (factors, replicate) -> epoch -> packed numbers."""
    with Store.open(url, create=False) as store:
        sweep = store.sweep(name)
        assert sweep is not None
        factors = {c.id: json.dumps([c.role, c.factors]) for c in store.cells(sweep.id)}
        of_run = {r.id: (factors[r.cell_id], r.replicate) for r in store.runs(sweep.id)}
        found: Numbers = {key: {} for key in of_run.values()}
        for one in store.observations(sweep.id, last_only=False):
            found[of_run[one.run_id]][one.epoch] = one.numbers
        return found


def answers(url: str, name: str) -> dict[tuple[str, int], bytes]:
    """Which test examples every complete run has right: (factors, replicate) -> bits."""
    with Store.open(url, create=False) as store:
        sweep = store.sweep(name)
        assert sweep is not None
        factors = {c.id: json.dumps([c.role, c.factors]) for c in store.cells(sweep.id)}
        of_run = {r.id: (factors[r.cell_id], r.replicate) for r in store.runs(sweep.id)}
        return {of_run[one.run_id]: one.bits for one in store.predictions(sweep.id)}


def check(
    url: str, name: str, *, rounds: int = 0, epochs: Sequence[int] = (), like: str = ""
) -> list[Attempt]:
    """A finished sweep without failures: every run recorded complete exactly once.

    Each has numbers at `epochs`, or at 1 to `rounds`.

    Returns:
        the attempts, for what a test wants to know besides.
    """
    with Store.open(url, create=False) as store:
        sweep = store.sweep(name)
        assert sweep is not None
        assert sweep.state == "complete"
        assert sweep.holder is None
        runs, attempts = store.runs(sweep.id), store.attempts(sweep.id)
        assert Counter((r.cell_id, r.replicate) for r in runs).most_common(1)[0][1] == 1
        for run in runs:
            _check_run(run, [a for a in attempts if a.run_id == run.id])
        _check_mirror(url, name, store, sweep.id)
    for of_run in numbers(url, name).values():
        assert sorted(of_run) == list(epochs or range(1, rounds + 1))
    if like:
        assert numbers(url, name) == numbers(like, name)
        assert answers(url, name) == answers(like, name)
    return attempts


def check_nobody_runs(url: str, name: str) -> None:
    """Once a driver has stopped by itself, nothing is RUNNING and no attempt is open."""
    with Store.open(url, create=False) as store:
        sweep = store.sweep(name)
        assert sweep is not None
        assert sweep.holder is None
        assert store.counts(sweep.id)[RunState.RUNNING] == 0
        assert all(a.ended_at is not None for a in store.attempts(sweep.id))


def _check_run(run: Run, attempts: list[Attempt]) -> None:
    assert run.state is RunState.COMPLETE, run
    assert [a.number for a in attempts] == list(range(1, len(attempts) + 1))
    assert all(a.ended_at is not None and a.ending is not None for a in attempts)
    assert [a.ending for a in attempts].count(Ending.COMPLETE) == 1
    assert attempts[-1].ending is Ending.COMPLETE
    assert all(a.ending in RETRIED for a in attempts[:-1])
    epochs = [a.lease_epoch for a in attempts]
    assert epochs == sorted(epochs)


def _check_mirror(url: str, name: str, store: Store, sweep_id: int) -> None:
    """Optuna has one trial a cell, with the mean over its replicates."""
    trials = _trials(url, name)
    by_cell = {t.user_attrs["sweeper:cell"]: t for t in trials}
    cells = [c for c in store.cells(sweep_id) if c.role == "report" and not c.hidden]
    assert len(trials) == len(by_cell) == len(cells)
    runs = store.runs(sweep_id)
    for cell in cells:
        values = [r.value for r in runs if r.cell_id == cell.id and r.value is not None]
        trial = by_cell[cell.hash]
        assert trial.state is optuna.trial.TrialState.COMPLETE
        assert trial.value == pytest.approx(fmean(values), abs=1e-12)


def _trials(url: str, name: str) -> list[optuna.trial.FrozenTrial]:
    storage = optuna.storages.RDBStorage(url.replace("postgresql:", "postgresql+psycopg:"))
    try:
        return optuna.load_study(study_name=name, storage=storage).trials
    finally:
        storage.remove_session()
        storage.engine.dispose()
