"""Grants, starts and changes of leader under faults that are drawn from a seed."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.service import deciding, drivers
from tests.simulation.supervising import WORK, SupervisedWorld

SEEDS, SOAKED = 6, 300


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that nobody knows is taken for dead at once, and a failed one starts again at once.

    So two drivers of a sweep start in turn as often as can be.
    """
    monkeypatch.setattr(drivers, "GRACE_S", 0.0)
    monkeypatch.setattr(deciding, "FIRST_WAIT_S", 0.0)
    monkeypatch.setattr(deciding, "MOST_FAILURES", 1000)  # drivers crash by chance here


def simulate(folder: Path, seed: int) -> SupervisedWorld:
    """A seed's world, when every sweep has finished."""
    world = SupervisedWorld(folder, seed)
    try:
        world.run()
        assert set(world.done.values()) == {WORK}
        for name in world.done:
            assert all(one.done_at is not None for one in world.wishes.commands(name)), name
        for one in world.processes:
            assert one.returncode in (0, 5, 130, -9)
        assert sum(one.returncode == 0 for one in world.processes) >= len(world.done)
        return world
    finally:
        world.store.close()


@pytest.mark.slow
def test_grants_and_starts_survive_changes_of_leader(tmp_path: Path) -> None:
    """Never more workers than there are, no order of a leader that was replaced, and an end."""
    worlds = [simulate(tmp_path, seed) for seed in range(SEEDS)]
    assert sum(world.changes for world in worlds) >= SEEDS
    ends = [one.returncode for world in worlds for one in world.processes]
    assert {0, 5, 130, -9} <= set(ends)


@pytest.mark.soak
@pytest.mark.parametrize("part", range(10))
def test_grants_and_starts_survive_many_more_changes(tmp_path: Path, part: int) -> None:
    """Three hundred seeds in all."""
    for seed in range(SEEDS + part, SOAKED, 10):
        simulate(tmp_path, seed)
