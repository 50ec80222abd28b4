"""The watch over a local Ray: when it speaks, and when it takes over."""

from __future__ import annotations

import threading

from patience import HANG, eventually

from sweeper.engine.interrupts import Interrupts
from sweeper.engine.raywatch import Watch


class Scene:
    """A stand-in for Ray that can be ended, and a record of what the watch reported and did."""

    def __init__(self, *, grace: float) -> None:
        self.process, self.looks = "", 0
        self.said: list[str] = []
        self.told, self.taken = threading.Event(), threading.Event()
        self.watch = Watch(
            self._ended, tell=self._tell, take_over=self.taken.set, look=0.01, grace=grace
        )

    def _ended(self) -> str:
        self.looks += 1
        return self.process

    def _tell(self, process: str) -> None:
        self.said.append(process)
        self.told.set()


def test_a_ray_that_lives_is_left_alone() -> None:
    """While Ray lives, the watch reports nothing, and leaving ends the watch."""
    scene = Scene(grace=0.0)
    with scene.watch:
        eventually(lambda: scene.looks > 5, "the watch never looks")
    assert not scene.told.is_set()
    assert not scene.taken.is_set()


def test_a_driver_that_comes_round_is_not_taken_over() -> None:
    """The driver learns once which process has ended, and stops by itself."""
    scene = Scene(grace=HANG)
    with scene.watch:
        scene.process = "raylet"
        assert scene.told.wait(HANG)
    assert (scene.said, scene.taken.is_set()) == (["raylet"], False)


def test_a_driver_that_is_caught_is_taken_over() -> None:
    """Its main thread does not leave: the watch does the rest."""
    scene = Scene(grace=0.01)
    with scene.watch:
        scene.process = "gcs_server"
        assert scene.taken.wait(HANG)
    assert scene.said == ["gcs_server"]


def test_a_fault_stops_at_once_and_is_kept_only_where_nobody_asked() -> None:
    """After a request to stop, the message is about the request, not about Ray's end."""
    alone, asked = Interrupts(), Interrupts()
    asked.count = 1
    for one in (alone, asked):
        one.insist("Ray has ended")
    assert (alone.count, alone.fault) == (2, "Ray has ended")
    assert (asked.count, asked.fault) == (2, "")
