"""What a complete run has right of the test split: kept with its end, once, or not at all."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import inspect
from store_samples import Plan, planned

from sweeper.states import Ending, RunState
from sweeper.store import Store, cells, schema

BITS = bytes([0b101, 0, 255])


def kept(plan: Plan) -> dict[int, bytes]:
    return {one.run_id: one.bits for one in plan.store.predictions(plan.sweep.id)}


def test_bits_come_back_with_their_run(plan: Plan) -> None:
    """By run, as they came; a run that brought none is left out, as is another sweep's."""
    first, second, third, _ = plan.run_ids
    plan.begin()
    plan.record(
        plan.report(second, ending=Ending.COMPLETE, correct=b""),
        plan.report(first, ending=Ending.COMPLETE, correct=BITS),
        plan.report(third, ending=Ending.COMPLETE),
    )
    assert [(one.run_id, one.bits) for one in plan.store.predictions(plan.sweep.id)] == [
        (first, BITS),
        (second, b""),
    ]
    assert plan.store.predictions(planned(plan.store, name="other").sweep.id) == []


def test_bits_are_written_with_the_end_or_not_at_all(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction that fails leaves the run open and no bits behind."""
    run = plan.run_ids[0]
    plan.begin([run])
    good = plan.report(run, ending=Ending.COMPLETE, correct=BITS)

    def fails(*_: object) -> None:
        raise RuntimeError("the bits are in, the run's row is not")

    with monkeypatch.context() as patch:
        patch.setattr(cells, "_write_runs", fails)
        with pytest.raises(RuntimeError, match="the bits are in"):
            plan.record(good)
    assert (kept(plan), plan.run(run).state) == ({}, RunState.RUNNING)
    plan.record(good)
    assert (kept(plan), plan.run(run).state) == ({run: BITS}, RunState.COMPLETE)


@pytest.mark.parametrize("ending", [one for one in Ending if one is not Ending.COMPLETE])
def test_a_run_that_is_not_complete_keeps_no_bits(plan: Plan, ending: Ending) -> None:
    """However it ended: its predictions are those of another budget, or of a broken network."""
    plan.begin()
    plan.record(plan.report(plan.run_ids[0], ending=ending, correct=BITS))
    assert kept(plan) == {}


def test_a_result_that_comes_again_changes_no_bits(plan: Plan) -> None:
    """The message twice, or an attempt's that was given up: the first result stays."""
    run = plan.run_ids[0]
    late = plan.begin([run])[run]
    plan.record(plan.report(run, value=None, ending=Ending.NODE_LOST))
    plan.begin([run])
    first = plan.report(run, ending=Ending.COMPLETE, correct=BITS)
    plan.record(first)
    plan.record(first)
    plan.record(plan.report(run, ending=Ending.COMPLETE, correct=b"\1", attempt_id=late))
    plan.record(plan.report(run, ending=Ending.COMPLETE, correct=b"\2"))
    assert kept(plan) == {run: BITS}


@pytest.fixture
def old(
    store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], tuple[Plan, Path]]:
    """Makes a database with the first schema, in which two runs are complete."""

    def make() -> tuple[Plan, Path]:
        scripts = tmp_path / "first"
        shutil.copytree(schema.SCRIPTS, scripts)
        for script in (scripts / "versions").glob("000[2-9]*.py"):
            script.unlink()
        with monkeypatch.context() as patch:
            patch.setattr(schema, "SCRIPTS", scripts)
            patch.setattr(schema, "REVISIONS", ("0001",))
            plan = planned(Store.open(store_url, create=True))
        for run in plan.run_ids[:2]:
            plan.finish(run)
        plan.store.close()
        return plan, tmp_path / "sweeper.db"

    return make


def test_an_old_database_is_upgraded_by_a_launch(
    old: Callable[[], tuple[Plan, Path]], opened: Callable[..., Store]
) -> None:
    """Its runs stay as they are, without bits; those that end now bring theirs."""
    plan, _ = old()
    plan.store = opened()
    assert plan.store.counts(plan.sweep.id)[RunState.COMPLETE] == 2
    assert kept(plan) == {}
    run = plan.run_ids[2]
    plan.begin([run])
    plan.record(plan.report(run, ending=Ending.COMPLETE, correct=BITS))
    assert kept(plan) == {run: BITS}


def test_an_old_database_is_looked_at_as_it_is(
    old: Callable[[], tuple[Plan, Path]], opened: Callable[..., Store]
) -> None:
    """Who only looks changes nothing, so that a report of a read-only file works as before."""
    plan, path = old()
    if path.exists():
        path.chmod(stat.S_IREAD)
    plan.store = opened(create=False)
    tables = plan.store.database.read(lambda connection: inspect(connection).get_table_names())
    assert "sweeper_prediction" not in tables
    assert kept(plan) == {}
    assert len(list(plan.store.observations(plan.sweep.id, last_only=True))) == 2
    assert list(path.parent.glob("*.backup-*")) == []
