"""A driver's cost does not grow with the sweep: guarded by query plans, not by the clock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from store_samples import Plan, planned

from sweeper.states import Ending
from sweeper.store import Store
from sweeper.store.leading import Leading
from sweeper.store.study import Study

# SQLite's words for reading a table or an index from end to end.
WHOLE = "SCAN "


@contextmanager
def _statements(store: Store) -> Iterator[set[str]]:
    """Collects what is sent to the database, with the parameters in place as NULL."""
    sent: set[str] = set()

    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.add(statement)

    event.listen(store.database.engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(store.database.engine, "before_cursor_execute", note)


def _plan_of(store: Store, statement: str) -> list[str]:
    unknown = (None,) * statement.count("?")

    def explain(connection: Any) -> list[str]:
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", unknown)
        return [row[3] for row in rows if row[3] != "SCAN CONSTANT ROW"]

    return store.database.read(explain)


@pytest.fixture
def plan(tmp_path: Path) -> Iterator[Plan]:
    with Store.open(f"sqlite:///{tmp_path}/a.db", create=True) as store:
        yield planned(store)


def test_no_statement_of_a_runs_life_reads_a_whole_table(plan: Plan, tmp_path: Path) -> None:
    """Beginning, recording, failing, the heart-beat and the mirror find their rows by index."""
    study = Study(
        f"sqlite:///{tmp_path}/a.db", "digits", objective="accuracy", direction="maximize"
    )
    study.sync(plan.store, plan.lease, plan.sweep)
    with _statements(plan.store) as sent:
        plan.begin()
        plan.store.beat(plan.lease)
        plan.record(plan.report(plan.run_ids[0], value=None, ending=Ending.ERROR))
        plan.begin([plan.run_ids[0]])
        plan.record(*[plan.report(run, epoch=2, ending=Ending.COMPLETE) for run in plan.run_ids])
        study.sync(plan.store, plan.lease, plan.sweep)
        plan.store.counts(plan.sweep.id)
    study.close()
    sent = {one for one in sent if one.split()[0] in {"SELECT", "UPDATE", "DELETE"}}
    assert len(sent) > 10
    scans = {one: _plan_of(plan.store, one) for one in sent}
    assert {one: steps for one, steps in scans.items() if any(WHOLE in s for s in steps)} == {}


def test_a_look_at_the_queue_reads_no_specs(plan: Plan) -> None:
    """Only an index of the submissions is read as a whole, however long the specs are."""
    with _statements(plan.store) as sent:
        Leading(plan.store.database).scene()
    lines = [line for one in sent if one.startswith("SELECT") for line in _plan_of(plan.store, one)]
    whole = [line for line in lines if line.startswith(f"{WHOLE}sweeper_submission")]
    assert whole
    assert all("USING COVERING INDEX" in line for line in whole)
