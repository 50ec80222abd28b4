"""Real drivers, started as processes and killed by pid."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from places import Place


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """An empty place; everything in it is gone afterwards."""
    one = Place(tmp_path / "place")
    yield one
    one.close()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The database of a sweep that nothing happened to."""
    one = Place(tmp_path_factory.mktemp("undisturbed"))
    one.finish()
    yield one.folder / "sweep.db"
    one.close()
