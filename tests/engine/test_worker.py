"""What a worker does when something on its node is wrong; no Ray, the trainer plays a part."""

from __future__ import annotations

import errno
import uuid
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem

from sweeper.engine import data_facts, worker
from sweeper.engine.messages import Job, JobMember, Message
from sweeper.engine.worker import PackWorker
from sweeper.states import Ending
from trainers import checkpoint
from trainers.config import Config, ConfigError
from trainers.rounds import Timetable

CONFIG = Config.model_validate(
    {"data": {"dataset": "digits"}, "train": {"epochs": 4, "evaluations": 4}}
)


class Part:
    """A trainer whose members are worth nothing and never fail."""

    def __init__(self, data: Any, members: Any, *, device: str, form: str) -> None:
        config = members[0].config
        number = config.train.evaluations
        self.timetable = Timetable.of(config, evaluations=number, samples=128)
        self.round = self.step = 0
        self.alive = list(range(len(members)))

    def train_round(self) -> list[Any]:
        self.round += 1
        numbers = np.zeros(2, "f4") if self.timetable.evaluation(self.round) else None
        return [SimpleNamespace(member=k, finite=True, numbers=numbers) for k in self.alive]

    def drop(self, member: int) -> None:
        self.alive.remove(member)

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        return {"round": torch.tensor([self.round])}, {"round": self.round, "alive": self.alive}

    def load_state(self, tensors: Any, meta: dict[str, Any]) -> None:
        self.round, self.alive = meta["round"], list(meta["alive"])


@pytest.fixture(autouse=True)
def played(monkeypatch) -> None:
    monkeypatch.setattr(worker, "TRAINER", Part)
    monkeypatch.setattr(worker, "pin_threads", lambda count: None)  # of this process


def job(folder: Path | str, **changes: Any) -> Job:
    """Two runs of one pack."""
    config = CONFIG.model_dump(mode="json")
    members = tuple(
        JobMember(run=run, attempt=run, replicate=run, config=config) for run in (11, 12)
    )
    facts = data_facts.inspect(CONFIG.data)
    given: dict[str, Any] = {
        "pack": 1,
        "members": members,
        "form": "folded",
        "threads": 1,
        "device": "cpu",
        "checkpoint_dir": str(folder),
        "checkpoint_seconds": 0.0,
        "fingerprints": {data_facts.load_key(CONFIG.data): facts["fingerprint"]},
    }
    return Job(**(given | changes))


def begin(job: Job) -> PackWorker:
    made = PackWorker()
    made._begin(job)
    return made


def step(one: PackWorker) -> Message:
    message, done = one.step()
    assert isinstance(message, Message)
    assert done == message.done
    return message


def test_a_pack_goes_on_from_its_checkpoint(tmp_path) -> None:
    """Rounds that were recorded are not trained again."""
    first = begin(job(tmp_path))
    step(first)
    step(first)
    again = step(begin(job(tmp_path, recorded=2)))
    assert (again.from_epoch, again.reached.round) == (2, 3)


def test_a_pack_goes_on_from_a_checkpoint_on_shared_storage() -> None:
    """The folder may be a URL, which another node reads too."""
    place = f"memory://{uuid.uuid4().hex}"
    first = begin(job(place))
    step(first)
    step(first)
    again = step(begin(job(place, recorded=2)))
    assert (again.from_epoch, again.reached.round, again.note) == (2, 3, "")


def test_a_pack_starts_again_where_no_checkpoint_can_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A storage that fails costs work, never a run; one line says so."""
    place = f"memory://{uuid.uuid4().hex}"
    step(begin(job(place)))

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("access denied")

    monkeypatch.setattr(MemoryFileSystem, "ls", fail)
    again = step(begin(job(place, recorded=1, checkpoint_seconds=1e9)))
    assert (again.from_epoch, again.reached.round) == (0, 1)
    assert again.note.startswith("no checkpoint can be read on ")
    assert again.note.endswith(f"{place}: access denied; it starts again")


SPARSE = {"epochs": 6, "evaluations": 2}  # at epochs 3 and 6


def sparse(folder: Path, **changes: Any) -> Job:
    """The same runs, evaluated twice in six epochs."""
    given = job(folder, **changes)
    train = {**CONFIG.model_dump(mode="json")["train"], **SPARSE}
    config = {**CONFIG.model_dump(mode="json"), "train": train}
    return replace(given, members=tuple(replace(m, config=config) for m in given.members))


def test_a_round_without_an_evaluation_says_how_far_it_is(tmp_path) -> None:
    """Progress, checkpoints and ends do not wait for numbers."""
    one = begin(sparse(tmp_path))
    said = [step(one) for _ in range(6)]
    assert [m.reached.round for m in said] == [m.reached.epoch for m in said] == [1, 2, 3, 4, 5, 6]
    assert [m.reached.evaluation for m in said] == [0, 0, 1, 0, 0, 2]
    assert {m.reached.rounds for m in said} == {6}
    having = [m.reached.round for m in said if all(one.numbers for one in m.members)]
    lacking = [m.reached.round for m in said if not any(one.numbers for one in m.members)]
    assert (having, lacking) == ([3, 6], [1, 2, 4, 5])


@pytest.mark.parametrize(
    ("trained", "recorded", "goes_on_from"),
    [
        (2, 0, 2),  # before the first evaluation: nothing is missing
        (5, 3, 5),  # between two: what was evaluated is recorded
        (3, 0, 2),  # the evaluation of epoch 3 was never recorded: it is repeated
        (4, 0, 0),  # the two checkpoints kept lie beyond it
    ],
)
def test_a_pack_goes_on_between_two_evaluations_and_skips_none(
    tmp_path, trained: int, recorded: int, goes_on_from: int
) -> None:
    """A checkpoint is used up to what the database has, or to just before what it lacks."""
    first = begin(sparse(tmp_path))
    for _ in range(trained):
        step(first)
    second = begin(sparse(tmp_path, recorded=recorded))
    rest = [step(second) for _ in range(6 - goes_on_from)]
    assert rest[0].from_epoch == goes_on_from
    evaluated = [m.reached.epoch for m in rest if m.reached.evaluation]
    assert evaluated == [epoch for epoch in (3, 6) if epoch > recorded]
    assert [m.done for m in rest] == [False] * (5 - goes_on_from) + [True]


def test_a_run_that_is_tried_again_never_goes_on_without_itself(tmp_path) -> None:
    """A checkpoint written after it had left lacks its weights: the pack starts afresh."""
    first = begin(job(tmp_path))
    step(first)
    first.drop([12])
    step(first)
    again = step(begin(job(tmp_path, recorded=2)))
    assert (again.from_epoch, again.reached.round) == (0, 1)
    assert [m.run for m in again.members] == [11, 12]
    without = step(begin(job(tmp_path, recorded=2, drops={12: 1})))
    assert [m.run for m in without.members] == [11]


def test_a_checkpoint_in_which_a_run_took_part_too_long_is_not_used(tmp_path) -> None:
    """It was to leave after epoch 3: the steps that followed would have other last bits."""
    first = begin(sparse(tmp_path))
    for _ in range(5):
        step(first)
    longer = step(begin(sparse(tmp_path, recorded=3, drops={12: 6})))
    assert longer.from_epoch == 5
    again = step(begin(sparse(tmp_path, recorded=3, drops={12: 3})))
    assert again.from_epoch == 0


def test_a_checkpoint_that_cannot_be_written_ends_nothing(tmp_path, monkeypatch) -> None:
    """A full disk costs the checkpoint, not the pack; the next one is tried."""
    one, writes = begin(job(tmp_path)), []

    def full(*args: Any) -> None:
        writes.append(args[1])
        if len(writes) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "save", full)
    said = [step(one) for _ in range(4)]
    assert [m.failure for m in said] == [None] * 4
    assert "No space left on device" in said[0].note
    assert writes == [1, 2, 3]
    assert [m.end for m in said[-1].members] == [Ending.COMPLETE] * 2


def test_no_room_for_the_last_checkpoint_is_no_error_either(tmp_path, monkeypatch) -> None:
    """The driver that asks for it must hear an answer."""

    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "save", full)
    one = begin(job(tmp_path, checkpoint_seconds=1000.0))
    step(one)
    assert one.save_now() == 0


def test_what_is_wrong_with_a_node_is_not_held_against_the_run(tmp_path, monkeypatch) -> None:
    """Data missing here, or other data: another node may have them, so it is tried again."""
    other = dict.fromkeys(job(tmp_path).fingerprints, "another")
    said = step(begin(job(tmp_path, fingerprints=other)))
    assert "another" in said.unfit
    assert said.failure is None

    def missing(config: Any, fingerprints: Any) -> None:
        raise ConfigError("data.path", "table.csv", "no such file")

    given = job(tmp_path)
    monkeypatch.setattr(worker, "dataset", missing)
    said = step(begin(given))
    assert "no such file" in said.unfit
    assert said.failure is None


def test_a_configuration_that_cannot_run_is_given_up_at_once(tmp_path, monkeypatch) -> None:
    """The trainer's own refusal would be the same on every node."""

    def refuses(*args: Any, **kwargs: Any) -> None:
        raise ConfigError("train.depth", 9, "is none")

    monkeypatch.setattr(worker, "TRAINER", refuses)
    failure = step(begin(job(tmp_path))).failure
    assert failure is not None
    assert failure[0] is Ending.BAD_CONFIG


def test_a_driver_keeps_no_data(monkeypatch) -> None:
    """It needs their facts alone, for hours, beside workers that have the arrays."""
    monkeypatch.setattr(worker, "_datasets", OrderedDict())
    assert data_facts.inspect(CONFIG.data)["kind"] == "image"
    assert not worker._datasets
