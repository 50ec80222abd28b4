"""Studies of Optuna, written by Optuna itself, become sweeps."""

from __future__ import annotations

import json
import sqlite3
import warnings
from pathlib import Path

import optuna
import pytest
from foreign import Imports
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

DATABASE = "sqlite:///studies.db"


def study(storage: object = DATABASE, *, name: str = "mine", steps: int = 0) -> optuna.Study:
    """A study of 12 random trials, of which trial 3 failed and trial 4 was pruned."""
    made = optuna.create_study(
        study_name=name,
        storage=storage,  # pyright: ignore[reportArgumentType]
        direction="maximize",
        sampler=optuna.samplers.RandomSampler(seed=0),
    )

    def objective(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("lr", 1e-3, 1.0, log=True)
        units = trial.suggest_categorical("units", [8, 16])
        trial.set_user_attr("seed", 7)
        value = 0.5 + 0.1 * lr + units / 100
        for step in range(steps):
            trial.report(value - (steps - 1 - step) / 10, step)
        if trial.number == 3:
            raise ArithmeticError
        if trial.number == 4:
            raise optuna.TrialPruned
        return value

    made.optimize(objective, n_trials=12, catch=[ArithmeticError])
    return made


@pytest.fixture(autouse=True)
def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def test_a_study_in_sqlite_becomes_a_sweep(imports: Imports) -> None:
    """Each trial is a run with its parameters, value and state, by Optuna's own reading."""
    trials = study().trials
    before = Path("studies.db").read_bytes()
    code, out, err = imports.run("import", DATABASE, "--yes", "--search", "random")
    assert (code, out) == (0, "mine\n"), err
    found = imports.rows(
        "SELECT c.factors, r.state, r.value FROM sweeper_run r "
        "JOIN sweeper_cell c ON c.id = r.cell_id ORDER BY r.id"
    )
    kept = [(json.loads(factors), state, value) for factors, state, value in found]
    words = {"COMPLETE": "complete", "FAIL": "failed", "PRUNED": "pruned"}
    assert [one[0] for one in kept] == [dict(trial.params) for trial in trials]
    assert [one[1] for one in kept] == [words[trial.state.name] for trial in trials]
    for (_, state, value), trial in zip(kept, trials, strict=True):
        assert value == (pytest.approx(trial.value, rel=1e-6) if state == "complete" else None)
    assert Path("studies.db").read_bytes() == before
    [(spec,)] = imports.rows("SELECT spec FROM sweeper_sweep")
    tree = json.loads(spec)
    assert tree["objective"]["direction"] == "maximize"
    assert tree["search"]["method"] == "random"
    assert tree["scientific"]["units"] == [16, 8] or tree["scientific"]["units"] == [8, 16]


def test_reported_steps_become_curves(imports: Imports) -> None:
    """Where each trial ends at its value, its steps are its epochs."""
    study(steps=3)
    assert imports.run("import", DATABASE, "--yes")[0] == 0
    counts = imports.rows("SELECT epoch, count(*) FROM sweeper_observation GROUP BY epoch")
    assert counts == [(1, 12), (2, 12), (3, 12)]


def test_a_journal_file_is_read_without_unpickling(
    imports: Imports, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A journal is text; Optuna unpickles snapshots of other journals only."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study(JournalStorage(JournalFileBackend("journal.log")))
    import pickle

    def never(*_: object) -> None:
        raise AssertionError("unpickled")

    monkeypatch.setattr(pickle, "loads", never)
    code, _, err = imports.run("import", "journal.log", "--yes")
    assert code == 0, err
    assert imports.rows("SELECT count(*) FROM sweeper_run") == [(12,)]


def test_the_sampler_is_not_known_and_the_page_says_so(imports: Imports) -> None:
    """Optuna stores no sampler; trials of an adaptive one are no random sample."""
    study()
    assert imports.run("import", DATABASE, "--yes")[0] == 0
    assert "Optuna does not record its sampler" in imports.page("mine")


def test_a_storage_that_cannot_be_used_is_refused(imports: Imports) -> None:
    """Missing, not Optuna's, without or with too many studies; no file is made."""
    study(name="a")
    study(name="b")
    with sqlite3.connect("other.db") as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()
    for words, line in (
        (("sqlite:///none.db",), "sqlite:///none.db: no such file"),
        (("sqlite:///other.db",), "sqlite:///other.db: is no database of Optuna's"),
        ((DATABASE,), "sqlite:///studies.db: has 2 studies; name one with --study: a, b"),
        (
            (DATABASE, "--study", "c"),
            "--study c: sqlite:///studies.db has no such study; valid: a, b",
        ),
    ):
        code, _, err = imports.run("import", *words, "--yes")
        assert (code, err) == (2, f"sweeper: {line}\n")
    assert not Path("none.db").exists()
    assert not imports.stored


def test_two_objectives_are_refused(imports: Imports) -> None:
    """A sweep has one objective."""
    made = optuna.create_study(
        study_name="two", storage=DATABASE, directions=["maximize", "minimize"]
    )
    made.optimize(lambda trial: (trial.suggest_float("x", 0, 1), 0.0), n_trials=2)
    code, _, err = imports.run("import", DATABASE, "--yes")
    assert (code, err) == (2, "sweeper: sqlite:///studies.db: study 'two' has several objectives\n")
