"""The watch over a local Ray: when it speaks, and when it takes over."""

from __future__ import annotations

import threading

from sweeper.engine.interrupts import Interrupts
from sweeper.engine.raywatch import Watch

PATIENCE = 30.0  # seconds for what must happen


class Scene:
    """A Ray that can be ended, and what the watch said and did."""

    def __init__(self, *, grace: float) -> None:
        self.process = ""
        self.said: list[str] = []
        self.told, self.taken = threading.Event(), threading.Event()
        self.watch = Watch(
            lambda: self.process, tell=self._tell, take_over=self.taken.set, look=0.01, grace=grace
        )

    def _tell(self, process: str) -> None:
        self.said.append(process)
        self.told.set()


def test_a_ray_that_lives_is_left_alone() -> None:
    """As long as no process has ended nothing is said, and leaving ends the watch."""
    scene = Scene(grace=0.0)
    with scene.watch:
        assert not scene.told.wait(0.2)
    assert not scene.taken.is_set()


def test_a_driver_that_comes_round_is_not_taken_over() -> None:
    """It is told once which process has ended, and leaves by itself."""
    scene = Scene(grace=PATIENCE)
    with scene.watch:
        scene.process = "raylet"
        assert scene.told.wait(PATIENCE)
    assert (scene.said, scene.taken.is_set()) == (["raylet"], False)


def test_a_driver_that_is_caught_is_taken_over() -> None:
    """Its main thread does not leave: the watch does the rest."""
    scene = Scene(grace=0.01)
    with scene.watch:
        scene.process = "gcs_server"
        assert scene.taken.wait(PATIENCE)
    assert scene.said == ["gcs_server"]


def test_a_fault_stops_at_once_and_is_kept_only_where_nobody_asked() -> None:
    """Who has asked the driver to stop is told that, not what ended Ray."""
    alone, asked = Interrupts(), Interrupts()
    asked.count = 1
    for one in (alone, asked):
        one.insist("Ray has ended")
    assert (alone.count, alone.fault) == (2, "Ray has ended")
    assert (asked.count, asked.fault) == (2, "")
