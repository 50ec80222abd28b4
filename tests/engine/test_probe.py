"""What the probe measures, on trainers of a given speed, and which workers it waits for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from sweeper.engine import kept_timings, probe, timing, worker
from sweeper.engine.interrupts import StopNow
from sweeper.engine.messages import BadConfig, ProbeJob, Timing
from sweeper.engine.probe import ProbeConditions, ProbeJobs, Question
from sweeper.engine.progress import Probing
from sweeper.errors import InputError
from sweeper.states import Ending
from trainers import gpu, weight_files
from trainers.config import Config

CONFIG = Config.model_validate({"data": {"dataset": "digits"}, "train": {"epochs": 2}})


class Clock:
    """Trainers of K members: a step takes K seconds, and ten times as long while it is noisy."""

    def __init__(self, noisy: range) -> None:
        self.noisy, self.asked = noisy, 0

    def trainer(self, k: int) -> Any:
        def time_steps(steps: int) -> tuple[float, float]:
            self.asked += 1
            return k * (10.0 if self.asked in self.noisy else 1.0), 0.25

        return SimpleNamespace(time_steps=time_steps)


@pytest.mark.parametrize("start", range(1, 9))
def test_a_moment_of_noise_changes_no_price(start) -> None:
    """Timings of one K are apart in time, so a busy neighbour never spoils them all."""
    clock = Clock(range(start, start + 4))
    found = timing.seconds_per_step({k: clock.trainer(k) for k in (1, 5, 10, 20)})
    assert found == {k: (float(k), 0.25) for k in (1, 5, 10, 20)}


def question(key: str, *ks: int) -> Question:
    return Question(key=key, config=CONFIG.model_dump(mode="json"), ks=ks, what=f"kind {key}")


def job(key: str, *ks: int) -> ProbeJob:
    config = CONFIG.model_dump(mode="json")
    return ProbeJob(key=key, config=config, ks=ks, threads=1, device="cpu")


class Large:
    """A trainer of which no more than five find room."""

    def __init__(self, data: Any, members: Any, *, device: str, form: str) -> None:
        if len(members) > 5:
            raise MemoryError
        self.steps = 7

    def time_steps(self, steps: int) -> tuple[float, float]:
        return 0.75, 0.25


def test_a_pack_that_finds_no_room_is_left_out(monkeypatch) -> None:
    """The smaller K have a price, and K is chosen among them."""
    monkeypatch.setattr(worker, "TRAINER", Large)
    found = worker.time_packs(job("k", 1, 5, 10, 20))
    assert isinstance(found, Timing)
    assert found.seconds_per_step == {1: 1.0, 5: 1.0}
    assert found.steps_per_run == 7
    assert found.evaluation == 0.25


def test_a_kind_of_runs_that_cannot_be_timed_has_no_price(monkeypatch) -> None:
    """Its runs will say what is wrong with it; the worker lives on."""
    monkeypatch.setattr(worker, "TRAINER", Large)
    assert worker.time_packs(job("k", 10)) is None


class Measured:
    """Measures one timing again and again; how often it was asked."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> Timing:
        self.times += 1
        seconds = {1: 0.5, 10: 2.0}
        return Timing(
            key="k", seconds_per_step=seconds, form="folded", steps_per_run=7, evaluation=0.1
        )


@pytest.fixture
def guards(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ends the processes in which the worker checks layers."""
    made: dict[int, Any] = {}
    monkeypatch.setattr(worker, "_guards", made)
    yield
    for guard in made.values():
        guard.close()


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of kept timings, empty."""
    monkeypatch.setenv("SWEEPER_CACHE", str(tmp_path))
    return tmp_path / "timings"


def test_a_second_launch_need_not_time_packs_again(cached: Path) -> None:
    """The same kind of runs, on this machine; the numbers are those measured, to the type."""
    measured = Measured()
    found = [kept_timings.kept(job("k", 1, 10), measured, data="a") for _ in range(3)]
    assert found[0] == found[1] == found[2]
    assert measured.times == 1


def test_another_kind_of_runs_is_timed(cached: Path, tmp_path: Path) -> None:
    """Another key, other numbers of members, other data, and a plug-in that was edited."""
    measured, plugin = Measured(), tmp_path / "plugin.py"
    plugin.write_text("A = 1")
    edited = replace(job("k", 1, 10), plugins=(str(plugin),))
    for one, data in (
        (job("k", 1, 10), "a"),
        (job("other", 1, 10), "a"),
        (job("k", 1, 5), "a"),
        (job("k", 1, 10), "b"),
        (edited, "a"),
    ):
        kept_timings.kept(one, measured, data=data)
    plugin.write_text("A = 2")
    kept_timings.kept(edited, measured, data="a")
    assert measured.times == 6


@pytest.mark.parametrize("spoil", ["old", "from the future", "damaged", "of another version"])
def test_a_timing_that_cannot_be_trusted_is_taken_again(cached: Path, spoil: str) -> None:
    measured = Measured()
    kept_timings.kept(job("k", 1, 10), measured)
    [file] = cached.iterdir()
    saved = json.loads(file.read_text())
    if spoil == "old":
        saved["at"] -= 8 * 86400
    elif spoil == "from the future":
        saved["at"] += 3600
    elif spoil == "of another version":
        saved["timing"]["unknown"] = 1
    file.write_text("{" if spoil == "damaged" else json.dumps(saved))
    kept_timings.kept(job("k", 1, 10), measured)
    assert measured.times == 2


def test_memory_is_kept_with_a_timing(cached: Path) -> None:
    """By K as a number, though JSON has only texts as keys."""
    measured = replace(Measured()(), memory={1: 7, 10: 8}, context=2, device_memory=90)
    assert [kept_timings.kept(job("k", 1), lambda: measured) for _ in range(2)] == [measured] * 2


class Card:
    """A GPU of 1,000 bytes, 50 of them PyTorch's context, under the names of `torch.cuda`."""

    def __init__(self) -> None:
        self.held = self.cached = self.peak = 0

    def take(self, count: int) -> None:
        fresh = max(0, count - self.cached)
        self.cached, self.held = self.cached + fresh - count, self.held + count
        self.peak = max(self.peak, self.memory_reserved())

    def give(self, count: int) -> None:
        self.held, self.cached = self.held - count, self.cached + count

    def memory_reserved(self) -> int:
        return self.held + self.cached

    def max_memory_reserved(self) -> int:
        return self.peak

    def reset_peak_memory_stats(self) -> None:
        self.peak = self.memory_reserved()

    def empty_cache(self) -> None:
        self.cached = 0

    def mem_get_info(self) -> tuple[int, int]:
        return 1000 - 50 - self.memory_reserved(), 1000


class OnCard:
    """A trainer of K that keeps 10 bytes a member, and takes as much again for a step."""

    def __init__(self, card: Card, k: int) -> None:
        self.card, self.size = card, 10 * k
        self.me = self  # so that only the collector of cycles finds it
        card.take(self.size)

    def time_steps(self, steps: int) -> None:
        self.card.take(self.size)
        self.card.give(self.size)

    def __del__(self) -> None:
        self.card.give(self.size)


def test_the_memory_of_each_k_is_measured_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the K before it has left does not count, in whatever order; in the end all is free."""
    card = Card()
    for name in (
        "memory_reserved",
        "max_memory_reserved",
        "reset_peak_memory_stats",
        "empty_cache",
        "mem_get_info",
    ):
        monkeypatch.setattr(torch.cuda, name, getattr(card, name))
    found = gpu.memory([20, 1, 5], lambda k: OnCard(card, k))
    assert found == ({20: 400, 1: 20, 5: 100}, 50, 1000)
    assert card.memory_reserved() == 0


@pytest.mark.usefixtures("guards")
def test_a_worker_keeps_its_timings(cached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plug-in's trainer is always timed: what it does is not known."""
    first = worker.time_packs(job("k", 1))
    assert isinstance(first, Timing)
    assert worker.time_packs(job("k", 1)) == first
    assert len(list(cached.iterdir())) == 1
    monkeypatch.setattr(worker, "TRAINER", Large)
    found = worker.time_packs(job("k", 1))
    assert isinstance(found, Timing)
    assert found.seconds_per_step == {1: 1.0}


class Actor:
    """A worker; whether it has been killed."""

    def __init__(self, name: str) -> None:
        self.id, self.killed = name, False

    def kill(self) -> None:
        self.killed = True


def worker_named(name: str) -> Any:
    return Actor(name)


def asked(*keys: str, **more: Any) -> tuple[ProbeJobs, dict[str, Any]]:
    """Questions, each with a worker of its own that has begun to answer."""
    plain = {"check": lambda: None, "tell": lambda event: None}
    place = ProbeConditions(threads=1, device="cpu", fingerprints={})
    asking = ProbeJobs([question(key, 1) for key in keys], place, **(plain | more))
    workers: dict[str, Any] = {key: Actor(key) for key in (*keys, "more")}
    for key in keys:
        assert asking.next_job(workers[key]) is not None
    assert asking.next_job(workers["more"]) is None
    return asking, workers


def answer(asking: ProbeJobs, key: str) -> None:
    found = Timing(
        key=key, seconds_per_step={1: 1.0}, form="folded", steps_per_run=1, evaluation=0.1
    )
    asking.message(worker_named(key), found)


def test_the_probe_ends_when_all_have_answered_or_died() -> None:
    """A worker that dies, and one that has no answer, cost the price of their key alone."""
    asking, _ = asked("a", "b", "c")
    answer(asking, "a")
    asking.lost(worker_named("b"), Ending.CRASHED, "died")
    assert not asking.exhausted()
    asking.message(worker_named("c"), None)
    assert asking.exhausted()
    assert [price.key for price in asking.prices] == ["a"]


def test_a_configuration_that_no_run_can_have_ends_the_launch() -> None:
    """What only the built network shows is bad input too: one line, before any run."""
    asking, _ = asked("a", "b")
    with pytest.raises(InputError, match="does not fit the network"):
        asking.message(worker_named("a"), BadConfig(text="does not fit the network"))


@pytest.mark.usefixtures("guards")
def test_a_worker_says_that_a_network_cannot_be_built(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    save_file({"stem.weight": torch.zeros(2)}, file)
    data = {"dataset": "digits", "max_per_class": 20}
    train = {"width": 0.25, "epochs": 1, "weights": weight_files.pinned(str(file))}
    config = Config.model_validate({"data": data, "train": train})
    job = ProbeJob(key="k", config=config.model_dump(mode="json"), ks=(1,), threads=1, device="cpu")
    answer = worker.time_packs(job)
    assert isinstance(answer, BadConfig)
    assert answer.text.startswith("train.weights: ")
    assert "its layer 'stem.weight' has the shape 2, and the network's" in answer.text


def test_the_probe_says_what_it_does() -> None:
    """Which kinds of runs are being timed, and how many are done: it may take a minute."""
    said: list[Any] = []
    asking, _ = asked("a", "b", "c", tell=said.append)
    assert said[0] == Probing(done=0, total=3, now=("kind a",))
    assert said[-1] == Probing(done=0, total=3, now=("kind a", "kind b", "kind c"))
    answer(asking, "b")
    assert said[-1] == Probing(done=1, total=3, now=("kind a", "kind c"))
    asking.lost(worker_named("a"), Ending.CRASHED, "died")
    answer(asking, "c")
    assert said[-1] == Probing(done=3, total=3, now=())


def test_a_probe_that_hangs_is_left_at_once_when_asked() -> None:
    """Whoever presses Ctrl-C need not wait for it, nor for the end of its worker."""

    def check() -> None:
        raise StopNow

    asking, _ = asked("a", check=check)
    with pytest.raises(StopNow):
        asking.tick()


def test_a_first_probe_that_never_answers_is_given_up(monkeypatch) -> None:
    """Without a price each run gets a pack of its own, which is better than no sweep."""
    monkeypatch.setattr(probe, "PATIENCE_SECONDS", -1.0)
    asking, workers = asked("a")
    asking.tick()
    assert asking.exhausted()
    assert workers["a"].killed


def test_those_who_are_late_cost_only_their_own_price(monkeypatch) -> None:
    """Whoever has answered within the limit is not asked again; the rest are ended."""
    monkeypatch.setattr(probe, "LIMIT_SECONDS", -1.0)
    asking, workers = asked("a", "b")
    answer(asking, "a")
    asking.tick()
    assert (workers["a"].killed, workers["b"].killed) == (False, True)
    assert [price.key for price in asking.prices] == ["a"]
