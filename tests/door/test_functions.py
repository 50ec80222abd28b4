"""A function in a worker: rounds, ends, what it keeps, and how it goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sweeper.engine import kept
from sweeper.engine.functions import FunctionTrainer, Stopped
from sweeper.engine.messages import Job, JobMember, Message, OwnTrainer
from sweeper.engine.worker import PackWorker
from sweeper.states import Ending
from sweeper.trainables import ReportError, Trainable, fingerprint
from trainers import checkpoint

LAYOUT = (("val", "score", ""), ("test", "score", ""))
MARK = fingerprint(())[0]


def score(epoch: int, weight: float) -> dict[str, Any]:
    return {"val": {"score": weight + epoch}, "test": {"score": -weight - epoch}}


def walking(config: Any, replicate: Any, report: Any) -> None:
    """A sum that grows by a draw of each epoch, and is kept."""
    kept_before = replicate.state or {"epoch": -1, "sum": np.zeros(1)}
    total = kept_before["sum"].copy()
    for epoch in range(kept_before["epoch"] + 1, config["epochs"]):
        total += replicate.generator("step", epoch).random() + config["x"]
        report(epoch, **score(epoch, total[0]), state={"epoch": epoch, "sum": total})


def trainer(function: Callable[..., Any], *configs: Any, layout: Any = LAYOUT) -> FunctionTrainer:
    own = OwnTrainer(name="f", layout=layout, fingerprint=MARK)
    members = [(config, replicate) for replicate, config in enumerate(configs)]
    return FunctionTrainer(Trainable("f", function), members, own=own)


def through(made: FunctionTrainer) -> list[list[list[float]]]:
    """The numbers of every member in every round, until the functions have returned."""
    rounds = []
    while made.round < made.timetable.rounds:
        rounds.append([result.numbers.tolist() for result in made.train_round()])
    return rounds


def test_each_report_is_a_round_and_the_last_one_is_the_end() -> None:
    """With `epochs` in the configuration, the last report ends the run."""
    made = trainer(walking, {"epochs": 3, "x": 1.0})
    rounds = []
    while made.round < made.timetable.rounds:
        made.train_round()
        rounds.append((made.round, made.timetable.evaluation(made.round), made.timetable.rounds))
    assert rounds == [(1, 1, 3), (2, 2, 3), (3, 3, 3)]


def test_without_a_number_of_epochs_the_end_repeats_the_last_numbers() -> None:
    """Nobody knows that a report is the last before the function returns; no evaluation is new."""

    def two(config: Any, replicate: Any, report: Any) -> None:
        for epoch in range(2):
            report(epoch, **score(epoch, 0.0))

    made = trainer(two, {})
    first, second, end = (made.train_round()[0].numbers.tolist() for _ in range(3))
    assert [first, second, end] == [[0, 0], [1, -1], [1, -1]]
    assert made.round == made.timetable.rounds == 2
    assert made.timetable.evaluation(2) == 0


def test_members_take_turns_with_the_numbers_of_each_alone() -> None:
    """Replicates that are judged together are trained as each would be by itself."""
    configs = {"epochs": 3, "x": 1.0}, {"epochs": 3, "x": 1.0}
    together = through(trainer(walking, *configs))
    alone = through(trainer(walking, configs[0]))
    assert [one[0] for one in together] == [one[0] for one in alone]
    assert together[0][0] != together[0][1], "replicates draw their own numbers"


def test_members_must_report_the_same_epochs() -> None:
    """Else a pruner would compare what cannot be compared."""
    made = trainer(walking, {"epochs": 1, "x": 1.0}, {"epochs": 2, "x": 1.0})
    with pytest.raises(ReportError, match="must report the same epochs"):
        through(made)


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_it_goes_on_from_what_it_kept(rounds: int, tmp_path: Path) -> None:
    """Through a real checkpoint, at any round, the numbers are those of an undisturbed run."""
    config = {"epochs": 4, "x": 0.5}
    whole = through(trainer(walking, config))
    made = trainer(walking, config)
    before = [[one.numbers.tolist() for one in made.train_round()] for _ in range(rounds)]
    found = made.state()
    assert found is not None
    checkpoint.save(tmp_path, made.round, *found)
    made.close()
    saved = checkpoint.latest(tmp_path)
    assert saved is not None
    again = trainer(walking, config)
    again.load_state(saved[1], saved[2])
    assert again.round == rounds
    assert before + through(again) == whole


def test_a_run_that_was_killed_between_its_last_report_and_its_end_ends() -> None:
    """The function has nothing to do any more; its last numbers were kept."""
    config = {"epochs": 2, "x": 0.5}
    made = trainer(walking, config)
    rounds = through(made)
    made = trainer(walking, config)
    for _ in range(2):
        made.train_round()
    found = made.state()
    assert found is not None
    again = trainer(walking, config)
    again.load_state(*found)
    assert through(again) == [rounds[-1]]


def test_nothing_is_kept_of_a_function_that_is_already_ahead() -> None:
    """Reports more often than `epochs` allows, and changes the array that it has passed."""

    def longer(config: Any, replicate: Any, report: Any) -> None:
        total = np.zeros(1)
        for epoch in range(3):
            total += 1
            report(epoch, **score(epoch, 0.0), state={"total": total})

    made = trainer(longer, {"epochs": 1})
    made.train_round()
    assert made.state() is None
    made.train_round()
    found = made.state()
    assert found is not None
    assert [one.tolist() for one in found[0].values()] == [[2.0]]


def test_a_function_that_keeps_nothing_has_no_checkpoint() -> None:
    """It starts again."""

    def plain(config: Any, replicate: Any, report: Any) -> None:
        report(0, **score(0, 0.0))

    made = trainer(plain, {})
    made.train_round()
    assert made.state() is None


@pytest.mark.parametrize("how", ["drop", "close"])
def test_a_function_that_is_stopped_cleans_up(how: str) -> None:
    """What stands in `finally` or behind `with` runs, and no thread is left."""
    seen: list[str] = []

    def careful(config: Any, replicate: Any, report: Any) -> None:
        try:
            report(0, **score(0, 0.0))
            seen.append("went on")
        except Exception:  # noqa: BLE001  as a user may write
            seen.append("caught")
        finally:
            seen.append("cleaned up")

    made = trainer(careful, {}, {})
    made.train_round()
    threads = [run._thread for run in made._runs.values()]
    made.drop(0) if how == "drop" else made.close()
    assert seen == ["cleaned up"] * (1 if how == "drop" else 2)
    made.close()
    assert not any(thread.is_alive() for thread in threads)


def test_a_function_that_has_not_begun_can_be_stopped() -> None:
    """It is never called."""
    made = trainer(walking, {"epochs": 1, "x": 0.0})
    run = made._running(0)
    run.close()
    assert not run._thread.is_alive()
    assert issubclass(Stopped, BaseException)


# --- what is kept


def test_all_that_a_training_loop_keeps_comes_back() -> None:
    """Models and optimizers of PyTorch, arrays, texts, numbers, dictionaries with whole keys."""
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(2)).sum().backward()
    optimizer.step()
    value = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "coef": np.arange(6.0).reshape(2, 3).T,
        "scalar": np.array(2.5),
        "n": np.int64(3),
        "texts": ["a", None, True, 1.5],
        "pair": (1, 2),
        "empty": {},
    }
    tensors: dict[str, Any] = {}
    form = kept.packed(value, tensors, at="0")
    back = kept.unpacked(form, kept.copied(tensors))
    assert back["optimizer"]["param_groups"] == optimizer.state_dict()["param_groups"]
    momentum = optimizer.state_dict()["state"][0]["momentum_buffer"]
    assert torch.equal(back["optimizer"]["state"][0]["momentum_buffer"], momentum)
    assert torch.equal(back["model"]["weight"], model.weight)
    assert np.array_equal(back["coef"], value["coef"])
    assert (back["scalar"].shape, float(back["scalar"])) == ((), 2.5)
    assert (back["n"], back["texts"], back["pair"], back["empty"]) == (
        3,
        ["a", None, True, 1.5],
        (1, 2),
        {},
    )


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"model": torch.nn.Linear(1, 1)}, "state at model is a Linear"),
        ({"a": [np.array(["x"])]}, "state at a.0 is an array of <U1"),
        ({(1, 2): 3}, "the key (1, 2) is neither a text nor a number"),
        (object(), "state at its top is a object"),
    ],
)
def test_what_cannot_be_kept_is_named(value: Any, reason: str) -> None:
    """Nothing is pickled, so a whole model cannot be kept."""
    with pytest.raises(ReportError) as caught:
        kept.packed(value, {}, at="0")
    assert reason in str(caught.value)


# --- in a worker


def job(function: Callable[..., Any], folder: Path, **changes: Any) -> Job:
    own = OwnTrainer(name="f", function=Trainable("f", function), layout=LAYOUT, fingerprint=MARK)
    config = {"trainer": "f", "data": {}, "train": {"epochs": 3, "x": 0.5}}
    whole: dict[str, Any] = {
        "pack": 1,
        "members": (JobMember(run=5, attempt=7, replicate=0, config=config),),
        "form": "folded",
        "threads": 1,
        "device": "cpu",
        "checkpoint_dir": str(folder),
        "checkpoint_seconds": 0.0,
        "fingerprints": {},
        "own": own,
    }
    return Job(**{**whole, **changes})


def messages(one: Job) -> list[Message]:
    worker, found, done = PackWorker(), [], False
    message, done = worker.take(one)
    found.append(message)
    while not done:
        message, done = worker.step()
        found.append(message)
    assert all(isinstance(one, Message) for one in found)
    return found  # pyright: ignore[reportReturnType]


@pytest.fixture(autouse=True)
def unpinned(monkeypatch: pytest.MonkeyPatch) -> None:
    from sweeper.engine import worker

    monkeypatch.setattr(worker, "pin_threads", lambda count: None)  # of this process


def test_a_worker_reports_each_epoch_and_the_end(tmp_path: Path) -> None:
    """In the order of the layout, with a checkpoint between."""
    found = messages(job(walking, tmp_path))
    assert [one.reached.epoch for one in found] == [1, 2, 3]
    assert [one.members[0].end for one in found] == [None, None, Ending.COMPLETE]
    numbers = np.frombuffer(found[-1].members[0].numbers or b"", "<f4")
    assert numbers[0] == -numbers[1]
    assert checkpoint.latest(tmp_path) is not None


def test_a_worker_goes_on_from_a_checkpoint_that_is_recorded(tmp_path: Path) -> None:
    """Not from a later state: its numbers would be missing."""
    whole = messages(job(walking, tmp_path / "whole"))
    worker = PackWorker()
    worker.take(job(walking, tmp_path / "cut"))
    worker.step()
    again = messages(job(walking, tmp_path / "cut", recorded=1))
    assert again[0].from_epoch == 1
    assert [one.members[0].numbers for one in again] == [
        one.members[0].numbers for one in whole[1:]
    ]


def failing(how: str) -> Callable[..., Any]:
    def function(config: Any, replicate: Any, report: Any) -> None:
        if how == "nothing":
            return
        if how == "exit":
            raise SystemExit(3)
        if how == "raise":
            raise ValueError("the function's own")
        report(0, val={"score": float("nan") if how == "nan" else 1.0}, test={"score": 1.0})
        if how == "other":
            report(1, val={"other": 1.0}, test={"score": 1.0})

    return function


@pytest.mark.parametrize(
    ("how", "ending", "text"),
    [
        ("nothing", Ending.BAD_CONFIG, "it has ended without a report"),
        ("other", Ending.BAD_CONFIG, "lacks val score"),
        ("exit", Ending.ERROR, "the function raised SystemExit: 3"),
        ("raise", Ending.ERROR, "the function's own"),
    ],
)
def test_a_function_that_fails_ends_its_run_with_a_reason(
    how: str, ending: Ending, text: str, tmp_path: Path
) -> None:
    """What would be the same again is not tried again."""
    last = messages(job(failing(how), tmp_path))[-1]
    assert last.failure is not None
    assert last.failure[0] is ending
    assert text in last.failure[1]


def test_a_report_that_is_not_finite_ends_the_run_as_diverged(tmp_path: Path) -> None:
    """As a loss of Sweeper's trainer that is not finite."""
    [message] = messages(job(failing("nan"), tmp_path))
    assert message.members[0].end is Ending.DIVERGED


def test_a_node_without_the_function_or_its_files_is_unfit(tmp_path: Path) -> None:
    """The run is not at fault, and goes to another node."""
    unknown = OwnTrainer(name="unheard of", layout=LAYOUT, fingerprint=MARK)
    [message] = messages(job(walking, tmp_path, own=unknown))
    assert "'unheard of' is not defined" in message.unfit
    file = tmp_path / "x.csv"
    file.write_text("1")
    changed = OwnTrainer(
        name="f",
        function=Trainable("f", walking),
        layout=LAYOUT,
        files=(str(file),),
        fingerprint="another",
    )
    [message] = messages(job(walking, tmp_path, own=changed))
    assert "are not what the driver read" in message.unfit
