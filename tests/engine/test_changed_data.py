"""Data that differ from what the last launch read: reported, and never mixed without a request."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweeper.cli.app import run
from sweeper.engine import data_facts, driver, launch_changes, worker
from sweeper.engine.cells import CellMaker, Planned
from sweeper.engine.context import Request
from sweeper.engine.interrupts import Interrupts, StopNow
from sweeper.errors import InputError
from sweeper.spec import load
from sweeper.store import Store
from sweeper.store.records import Lease, NewSweep
from trainers import identity

SPEC = """
name: changing
data: {dataset: npz, path: numbers.npz}
train: {model: resnet, epochs: 3, batch_size: 8, evaluations: 3}
scientific:
  train.lr: [0.01, 0.1]
replicates: 2
"""


def write(folder: Path, *, of_the_second: int = 40, seed: int = 0) -> None:
    """Two classes, 40 images of the first; as many to test on."""
    y = np.repeat(np.arange(2), (40, of_the_second))
    x, z = np.random.default_rng(seed).integers(0, 256, (2, len(y), 8, 8)).astype(np.uint8)
    np.savez(folder / "numbers.npz", x_train=x, y_train=y, x_test=z, y_test=y)
    worker._datasets.clear()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sweep in a database, with its cells, as an earlier launch has left it."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    (tmp_path / "spec.yaml").write_text(SPEC)
    leave(tmp_path)
    return tmp_path


def leave(folder: Path, *, trainer: str | None = None, plan: Any = None) -> None:
    """Makes the database; `plan` is one that has decided something already."""
    (folder / "sweeper.db").unlink(missing_ok=True)
    spec = load(folder / "spec.yaml")
    maker = CellMaker(spec)
    cells = Planned(spec, maker).first()
    with Store.open("sqlite:///sweeper.db", create=True) as store:
        sweep = store.create_sweep(
            NewSweep(
                name=spec.name, question="", spec_text=spec.text, spec=spec.model_dump(mode="json"),
                layout=tuple(data_facts.layout(maker.facts)), facts=maker.facts,
                provenance={"trainer": trainer or identity.version()},
            )
        )  # fmt: skip
        lease = store.acquire(sweep.id, {"host": "elsewhere", "pid": 1})
        store.add_cells(lease, cells)
        if plan is not None:
            store.add_stage(lease, number=0, body={"plan": plan, "ended": "", "wanted": 2})
        store.release(lease)


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What has changed of each sweep that would be driven; no Ray is started."""
    seen: list[str] = []

    def ended(request: Request, store: Store, lease: Lease, plan: dict[str, Any]) -> driver.Outcome:
        seen.append(plan["changed"])
        store.release(lease)
        return driver.Outcome(exit_code=0, sweep=request.spec.name, message="")

    monkeypatch.setattr(driver, "_ended", ended)
    return seen


def rows(folder: Path) -> list[str]:
    """Everything that the database holds."""
    with sqlite3.connect(folder / "sweeper.db") as connection:
        found = list(connection.iterdump())
    connection.close()
    return found


@pytest.mark.parametrize("more", [[], ["--yes"]])
def test_without_agreement_nothing_begins(
    folder: Path, begun: list[str], capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    """Exit code 2 and one line: what has changed, the samples then and now, and how to agree.

    --yes agrees to a price, not to this.
    """
    write(folder, of_the_second=30)
    before = rows(folder)
    assert run(["launch", "spec.yaml", *more]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "sweep 'changing': the data file has changed since its last launch: " in line
    assert "(1 40 to 30)" in line
    assert "--new-data hides the cells of the old data and runs everything again" in line
    assert "spec has changed" not in line
    assert not begun
    assert rows(folder) == before


def test_new_data_agrees(
    folder: Path, begun: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The message has the number of samples, and the cause of new and hidden cells."""
    write(folder, of_the_second=30)
    assert run(["launch", "spec.yaml", "--yes", "--new-data"]) == 0
    assert "the data file has changed since the last launch" in capsys.readouterr().err
    assert begun == ["the data file has changed"]


@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [
        ("y\n", 0, ""),
        ("\n", 130, "nothing was started: the answer was not to use the new data"),
        (StopNow, 130, "interrupted before anything was started"),
    ],
)
def test_somebody_at_a_terminal_is_asked(
    folder: Path,
    begun: list[str],
    monkeypatch: pytest.MonkeyPatch,
    answer: Any,
    code: int,
    message: str,
) -> None:
    """What is not a yes changes nothing."""

    def ask(self: Interrupts, question: str) -> str:
        assert question == "Hide the cells of the old data, and run everything again? [y/N] "
        if isinstance(answer, str):
            return answer
        raise answer

    monkeypatch.setattr(Interrupts, "ask", ask)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    write(folder, seed=1)
    before, said = rows(folder), []
    outcome = driver.launch(
        load("spec.yaml"), storage="sqlite:///sweeper.db", yes=False, on_event=said.append
    )
    assert (outcome.exit_code, outcome.message) == (code, message)
    assert "test 80 samples as before, but with other content" in said[0]
    assert bool(begun) == (code == 0)
    assert code == 0 or rows(folder) == before


def test_the_same_data_in_another_place_are_no_change(folder: Path, begun: list[str]) -> None:
    """The content identifies the data."""
    (folder / "moved.npz").write_bytes((folder / "numbers.npz").read_bytes())
    assert run(["launch", "spec.yaml", "--set", "data.path=moved.npz"]) == 0
    assert begun


def test_other_data_by_the_spec_are_the_specs_change(folder: Path, begun: list[str]) -> None:
    """A user who writes another rule into the spec has already agreed."""
    assert run(["launch", "spec.yaml", "--set", "data.max_per_class=20"]) == 0
    assert begun == ["the spec has changed"]


def test_both_are_said_where_both_have_changed(folder: Path, begun: list[str]) -> None:
    """Neither hides behind the other."""
    write(folder, seed=1)
    assert run(["launch", "spec.yaml", "--new-data", "--set", "train.epochs=4"]) == 0
    expected = "the data file has changed and the spec has changed"
    assert begun == [expected]


@pytest.mark.parametrize(
    ("trainer", "versions"), [("2", "version 2 to"), ("", "an earlier version to version")]
)
def test_another_trainer_is_said_to_be_one(
    folder: Path, begun: list[str], monkeypatch: pytest.MonkeyPatch, trainer: str, versions: str
) -> None:
    """New cells of the same spec and data: the numbers are made in another way."""
    now = identity.version()
    with monkeypatch.context() as patch:
        patch.setattr("trainers.identity.VERSION", trainer)
        leave(folder, trainer=trainer)
    if not trainer:  # as before the version was kept
        with Store.open("sqlite:///sweeper.db", create=False) as store:
            [sweep] = store.sweeps()
            lease = store.acquire(sweep.id, {"host": "elsewhere", "pid": 1})
            store.update_sweep(lease, provenance={"python": "3.11"})
            store.release(lease)
    assert run(["launch", "spec.yaml"]) == 0
    assert begun == [f"the trainer has changed ({versions} {now})"]


def test_what_was_decided_by_the_old_data_does_not_hold_for_new_ones(
    folder: Path,
    begun: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A plan that has looked at numbers needs another name, also with --new-data.

    So it does when the trainer has changed.
    """
    (folder / "spec.yaml").write_text(SPEC.replace("replicates: 2", "replicates: {looks: [5, 9]}"))
    leave(folder, plan={"looks": [5, 9]})
    write(folder, seed=1)
    assert run(["launch", "spec.yaml", "--new-data"]) == 2
    assert "its replicates were decided by earlier numbers; give" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        patch.setattr("trainers.identity.VERSION", "2")
        leave(folder, trainer="2", plan={"looks": [5, 9]})
    assert run(["launch", "spec.yaml", "--yes"]) == 2
    assert "the trainer has changed (version 2 to " in capsys.readouterr().err
    assert not begun


def test_other_classes_are_said_with_their_cause(
    folder: Path, begun: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Numbers of other classes cannot lie in one sweep."""
    with np.load("numbers.npz") as old:
        names = {key: old[key] if key[0] == "x" else old[key] + 1 for key in old.files}
    np.savez("numbers.npz", **names)  # pyright: ignore[reportArgumentType]
    worker._datasets.clear()
    assert run(["launch", "spec.yaml", "--new-data"]) == 2
    error = capsys.readouterr().err
    assert "is about other classes, metrics or splits (the data file has changed)" in error


def test_many_classes_are_not_all_listed() -> None:
    """A thousand classes are no line."""
    names = [f"c{number}" for number in range(20)]
    old, new = ({"classes": names, "counts": {"train": [n] * 20}} for n in (5, 4))
    text = launch_changes.counted(old, new)
    assert text.startswith("train 100 to 80 samples (c0 5 to 4, ")
    assert text.endswith("c5 5 to 4, 14 more classes)")


def test_a_command_that_goes_on_agrees_to_no_further_change() -> None:
    """Whoever pastes it has not seen the next change."""
    said = driver._command(["sweeper", "launch", "a.yaml", "--new-data", "--yes"])
    assert said == "sweeper launch a.yaml --yes"


def test_agreeing_without_a_change_changes_nothing(folder: Path, begun: list[str]) -> None:
    """The flag is for one launch, and harmless in others."""
    assert run(["launch", "spec.yaml", "--new-data"]) == 0
    assert begun == ["the spec has changed"]  # unsaid: no cell is new


def test_the_engine_refuses_by_itself(folder: Path, begun: list[str]) -> None:
    """Also where it is called without the command line."""
    write(folder, seed=1)
    with pytest.raises(InputError, match="--new-data"):
        driver.launch(load("spec.yaml"), storage="sqlite:///sweeper.db")
