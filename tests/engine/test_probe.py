"""What the probe measures, on trainers whose steps take what a test says."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from sweeper.engine import probe, worker
from sweeper.engine.probe import Place, Question
from trainers.config import Config

CONFIG = Config.model_validate({"data": {"dataset": "digits"}, "train": {"epochs": 2}})
PLACE = Place(threads=1, device="cpu")


class Clock:
    """Trainers of K members: a step takes K seconds, and ten times as long while it is noisy."""

    def __init__(self, noisy: range) -> None:
        self.noisy, self.asked = noisy, 0

    def trainer(self, k: int) -> Any:
        def time_steps(steps: int) -> float:
            self.asked += 1
            return k * (10.0 if self.asked in self.noisy else 1.0)

        return SimpleNamespace(time_steps=time_steps)


@pytest.mark.parametrize("start", range(1, 9))
def test_a_moment_of_noise_changes_no_price(start) -> None:
    """Timings of one K are apart in time, so a busy neighbour never spoils them all."""
    clock = Clock(range(start, start + 4))
    found = probe.seconds_per_step({k: clock.trainer(k) for k in (1, 5, 10, 20)})
    assert found == {1: 1.0, 5: 5.0, 10: 10.0, 20: 20.0}


def test_a_pack_that_finds_no_room_is_left_out(monkeypatch) -> None:
    """The smaller ones have a price, and K is chosen among them."""

    class Large:
        def __init__(self, data: Any, members: Any, *, device: str, form: str) -> None:
            if len(members) > 5:
                raise MemoryError
            self.steps = 7

        def time_steps(self, steps: int) -> float:
            return 1.0

    monkeypatch.setattr(worker, "TRAINER", Large)
    monkeypatch.setattr(worker, "pin_threads", lambda count: None)  # of this process
    question = Question(
        key="k", config=CONFIG.model_dump(mode="json"), ks=(1, 5, 10, 20), steps_per_run=7
    )
    price = probe.measure(question, PLACE)
    assert price.seconds_per_step == {1: 1.0, 5: 1.0}
    assert price.steps_per_run == 7


class Hanging:
    """Stands for Ray: tasks that never answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import ray

        self.cancelled: list[object] = []
        task = SimpleNamespace(remote=lambda one, place: object())
        monkeypatch.setattr(ray, "remote", lambda **options: lambda function: task)
        monkeypatch.setattr(ray, "wait", self.wait)
        monkeypatch.setattr(ray, "cancel", lambda one, *, force: self.cancelled.append(one))

    def wait(self, waiting: list[object], *, timeout: float) -> tuple[list[object], list[object]]:
        time.sleep(0.01)
        return [], waiting


def ask(**more: Any) -> list[Any]:
    question = Question(key="k", config={}, ks=(1,), steps_per_run=1)
    return probe.measure_there([question], PLACE, cpus=1, gpus=0, **more)


def test_a_probe_that_hangs_is_given_up_when_asked(monkeypatch) -> None:
    """Whoever presses Ctrl-C need not wait for it."""
    ray, asked = Hanging(monkeypatch), iter([False, False, True])
    assert ask(give_up=lambda: next(asked)) == []
    assert len(ray.cancelled) == 1


def test_a_first_probe_that_never_answers_is_given_up(monkeypatch) -> None:
    """Without a price each run gets a pack of its own, which is better than no sweep."""
    ray = Hanging(monkeypatch)
    monkeypatch.setattr(probe, "PATIENCE_SECONDS", 0.05)
    assert ask() == []
    assert len(ray.cancelled) == 1
