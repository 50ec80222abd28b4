"""`sweeper.launch`: how a launch's end comes back, with an engine that plays a part."""

from __future__ import annotations

from typing import Any

import planted
import pytest

import sweeper
from sweeper.engine import driver
from sweeper.engine.driver import Outcome
from sweeper.store import Store


def ending(monkeypatch: pytest.MonkeyPatch, code: int) -> dict[str, Any]:
    """Lets the engine end with an exit code; what it was given."""
    given: dict[str, Any] = {}

    def launch(spec: Any, **options: Any) -> Outcome:
        given.update(options, spec=spec)
        options["on_event"]("starting Ray")
        return Outcome(exit_code=code, sweep="batch-size-digits", message="it has ended so")

    monkeypatch.setattr(driver, "launch", launch)
    return given


@pytest.fixture
def storage(tmp_path: Any) -> str:
    """A database with the sweep."""
    url = f"sqlite:///{tmp_path}/sweeper.db"
    with Store.open(url, create=True) as store:
        planted.fill(store, planted.plan())
    return url


@pytest.mark.parametrize("code", [0, 3])
def test_a_sweep_that_has_ended_is_returned(
    storage: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], code: int
) -> None:
    """Also where runs failed, which the message counts; it asks nothing."""
    given = ending(monkeypatch, code)
    sweep = sweeper.launch("batch_size", storage=storage, set={"train.epochs": 2})
    assert sweep.name == "batch-size-digits"
    assert given["spec"].train.epochs == 2
    assert given.get("yes", True)
    assert capfd.readouterr().err == "starting Ray\nit has ended so\n"


@pytest.mark.parametrize(
    ("code", "error"),
    [(130, KeyboardInterrupt), (4, sweeper.SweepHalted), (1, sweeper.EngineError)],
)
def test_an_end_before_the_end_is_raised(
    storage: str, monkeypatch: pytest.MonkeyPatch, code: int, error: type[BaseException]
) -> None:
    """With the message that the command prints, and the way to go on."""
    given = ending(monkeypatch, code)
    with pytest.raises(error, match="it has ended so"):
        sweeper.launch("batch_size", storage=storage, progress=False)
    assert given["command"] == "the same call of sweeper.launch"


def test_without_progress_nothing_is_shown(
    storage: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """For scripts."""
    ending(monkeypatch, 0)
    sweeper.launch("batch_size", storage=storage, progress=False)
    assert capfd.readouterr() == ("", "")


def test_what_cannot_be_used_is_refused_before_the_engine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Database, cluster and spec; the lines are those of the command line."""
    given = ending(monkeypatch, 0)
    with pytest.raises(sweeper.InputError, match=r"write sqlite:///x\.db"):
        sweeper.launch("batch_size", storage="x.db")
    with pytest.raises(sweeper.InputError, match="ray-address"):
        sweeper.launch("batch_size", ray_address="ray://head:10001")
    with pytest.raises(sweeper.InputError, match="no such file, and no shipped space"):
        sweeper.launch("batch_sizes")
    assert given == {}


def test_a_function_that_is_passed_names_the_trainer(
    storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that its factors are free, whatever the spec's text says."""
    given = ending(monkeypatch, 0)

    @sweeper.trainable(version=1)
    def mine(config: Any, replicate: Any, report: Any) -> None: ...

    spec = {"name": "own", "scientific": {"a": [1, 2]}, "objective": "accuracy"}
    sweeper.launch(spec, trainer=mine, storage=storage, progress=False)
    assert given["spec"].trainer == "mine"
    assert given["trainer"] is mine
