"""Real drivers, started as processes and killed by pid."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from places import SPEC, Place
from servers import NoServer, Server, postgresql_server
from supervised import Scene, driver, played


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


@pytest.fixture
def server() -> Iterator[Server]:
    """A PostgreSQL that a test may stop and start again."""
    try:
        with postgresql_server() as one:
            yield one
    except NoServer as reason:
        pytest.skip(str(reason))


@pytest.fixture
def small_drivers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets drivers be small programs, which find this tree."""
    root = str(Path(__file__).parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    played(monkeypatch, driver())


@pytest.fixture
def scene(tmp_path: Path, small_drivers: None) -> Iterator[Scene]:
    """A supervisor that is stepped by hand, and its database."""
    found = Scene(tmp_path)
    yield found
    found.close()
