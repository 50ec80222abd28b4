"""Real drivers, started as processes and killed by pid."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from places import SPEC, Place
from servers import NoServer, Server, postgresql_server


@pytest.fixture
def make_place(tmp_path: Path) -> Iterator[Callable[..., Place]]:
    """Makes places by name; every process of theirs is gone afterwards."""
    made: list[Place] = []

    def make(name: str = "place", spec: str = SPEC, *, storage: str = "") -> Place:
        made.append(Place(tmp_path / name, spec, storage))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def place(make_place: Callable[..., Place]) -> Place:
    """A place with the common spec."""
    return make_place()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The database of a sweep that nothing happened to."""
    one = Place(tmp_path_factory.mktemp("undisturbed"))
    try:
        one.finish()
        yield one.folder / "sweep.db"
    finally:
        one.close()


@pytest.fixture
def server() -> Iterator[Server]:
    """A PostgreSQL that a test may stop and start again."""
    try:
        with postgresql_server() as one:
            yield one
    except NoServer as reason:
        pytest.skip(str(reason))
