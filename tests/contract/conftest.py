"""Each test of the contract runs over SQLite and over a real PostgreSQL, a fresh database each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import NoServer, Server, postgresql_server
from store_samples import Plan, planned

from sweeper.store import Store


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """A running PostgreSQL, started once a session."""
    try:
        with postgresql_server() as server:
            yield server
    except NoServer as reason:
        pytest.skip(str(reason))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/sweeper.db"
    return request.getfixturevalue("postgresql").emptied_database()


@pytest.fixture
def opened(store_url: str) -> Iterator[Callable[..., Store]]:
    """Opens stores on the same database, as different drivers would; closes them afterwards."""
    stores: list[Store] = []

    def open_store(**options: Any) -> Store:
        stores.append(Store.open(store_url, **{"create": True, **options}))
        return stores[-1]

    yield open_store
    for store in stores:
        store.close()


@pytest.fixture
def store(opened: Callable[..., Store]) -> Store:
    return opened()


@pytest.fixture
def plan(store: Store) -> Plan:
    """A sweep of two cells and two replicates, planned as one pack, nothing begun."""
    return planned(store)
