"""A sweep's rows in another database, and a database that was restored, over both dialects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection
from store_samples import HOLDER, Plan, new_sweep, planned

from sweeper.errors import LeaseLost
from sweeper.states import Ending
from sweeper.store import Store, rows
from sweeper.store.leading import Leading
from sweeper.store.restored import STEP, raise_leases

Tables = dict[rows.Table, list[list[rows.Row]]]


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Store]:
    """A database with a sweep, one of its runs complete."""
    (tmp_path / "source").mkdir()
    with Store.open(f"sqlite:///{tmp_path}/source/s.db", create=True) as found:
        plan = planned(found)
        plan.begin(plan.run_ids[:2])
        plan.record(plan.report(plan.run_ids[0], epoch=4, seconds=2.5, ending=Ending.COMPLETE))
        yield found


def taken(store: Store, name: str) -> Tables:
    sweep = store.sweep(name)
    assert sweep is not None

    def read(connection: Connection) -> Tables:
        return {table: list(rows.chunks(connection, table, sweep.id)) for table in rows.TABLES}

    return store.database.read(read)


def given(store: Store, tables: Tables, name: str) -> None:
    store.database.write(lambda connection: rows.add(connection, tables, name))


def test_rows_are_the_same_in_another_database(source: Store, store: Store) -> None:
    """In an empty one with their ids; numbers, texts and times are exact. Twice is once."""
    tables = taken(source, "digits")
    for _ in range(2):
        given(store, tables, "digits")
    assert taken(store, "digits") == tables
    assert sum(len(part) for parts in tables.values() for part in parts) > 10


def test_rows_move_behind_those_that_are_there(source: Store, store: Store) -> None:
    """And what is made later has ids behind them: PostgreSQL's own count goes on."""
    planned(store, name="first")
    given(store, taken(source, "digits"), "second")
    store.create_sweep(new_sweep("third"))
    planned(store, name="fourth")
    found = taken(store, "second")[rows.TABLES[2]][0]
    before = taken(store, "first")[rows.TABLES[2]][0]
    after = taken(store, "fourth")[rows.TABLES[2]][0]
    assert max(one["id"] for one in before) < min(one["id"] for one in found)
    assert max(one["id"] for one in found) < min(one["id"] for one in after)
    assert [one["replicate"] for one in found] == [one["replicate"] for one in before]


def test_after_a_restore_nobody_of_before_can_write(opened: Callable[..., Store]) -> None:
    """Drivers and supervisors of the time before, and of the time after the backup."""
    store = opened()
    plan: Plan = planned(store)
    leading = Leading(store.database)
    lead = leading.take(HOLDER)
    found = raise_leases(store.database, who="test")
    assert (found.sweeps, found.tokens) == (1, 0)
    with pytest.raises(LeaseLost):
        store.beat(plan.lease)
    with pytest.raises(LeaseLost):
        leading.beat(lead)
    assert store.acquire(plan.lease.sweep_id, HOLDER).epoch == plan.lease.epoch + STEP + 1
    assert leading.take(HOLDER).epoch == lead.epoch + STEP + 1
    assert raise_leases(store.database, who="test").sweeps == 1
