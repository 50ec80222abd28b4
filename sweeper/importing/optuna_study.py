"""A study of Optuna, of a database or of a journal file."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import create_engine, inspect
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from sweeper.errors import InputError, nearest
from sweeper.importing.columns import Columns, plain
from sweeper.importing.source import Source
from sweeper.store.dialects import masked

JOURNALS = (".log", ".journal")
VALUE, NUMBER, STATE, SECONDS, STEP = "value", "number", "state", "seconds", "step"
SAMPLER = (
    "Optuna does not record its sampler: the settings are taken as chosen one after another "
    "(search: tpe). If they were drawn at random, import the study with --search random."
)


def read(where: str, name: str = "") -> Source:
    """The trials of a study.

    Args:
        where: the address of a database, or a journal file.
        name: of the study; empty: the only one there.

    Raises:
        InputError: there is no such study, or it has several objectives.
    """
    label = masked(where) if "://" in where else where
    storage = _storage(where, label)
    try:
        study = optuna.load_study(study_name=_chosen(storage, label, name), storage=storage)
        if len(study.directions) > 1:
            raise InputError(f"{label}: study {study.study_name!r} has several objectives")
        trials = [one for one in study.trials if one.params]
        metric = next(iter(study.metric_names or ()), VALUE)
        direction = study.direction.name.lower()
    finally:
        storage.remove_session()
    if not trials:
        raise InputError(f"{label}: study {study.study_name!r} has no trials with parameters")
    stepped = _stepped(trials)
    frame = pd.DataFrame(row for one in trials for row in _rows(one, metric, stepped=stepped))
    params = dict.fromkeys(f"params_{key}" for one in trials for key in one.params)
    return Source(
        kind="Optuna study",
        name=study.study_name,
        frame=frame,
        where=lambda at: f"trial {frame[NUMBER][at]}",
        digest=hashlib.sha256(frame.to_csv(index=False).encode()).hexdigest(),
        known=Columns(
            factors={plain(column): column for column in params},
            metrics={plain(metric): metric},
            run=NUMBER,
            epoch=STEP if stepped else "",
            state=STATE,
            seconds=SECONDS,
        ),
        direction=direction,
        search="tpe",
        remarks=(SAMPLER,),
    )


def _storage(where: str, label: str) -> BaseStorage:
    """Optuna's storage, of which nothing is written.

    Raises:
        InputError: it does not exist, or is not Optuna's.
    """
    if "://" not in where:
        return JournalStorage(JournalFileBackend(where))
    try:
        url = make_url(where)
        if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
            raise InputError(f"{label}: no such file")
        engine = create_engine(url)
        with engine.connect() as connection:
            tables = inspect(connection).has_table("studies")
        engine.dispose()
        if not tables:
            raise InputError(f"{label}: is no database of Optuna's")
        return RDBStorage(where.replace("{", "{{").replace("}", "}}"), skip_table_creation=True)
    except (SQLAlchemyError, ImportError, RuntimeError, ValueError) as error:
        line = str(error).splitlines()[0]
        raise InputError(f"{label}: cannot be read by Optuna: {line}") from error


def _chosen(storage: BaseStorage, label: str, name: str) -> str:
    names = [one.study_name for one in storage.get_all_studies()]
    if name and name not in names:
        raise InputError(f"--study {name}: {label} has no such study{nearest(name, names)}")
    if not name and len(names) != 1:
        listed = ", ".join(sorted(names)[:20])
        raise InputError(f"{label}: has {len(names)} studies; name one with --study: {listed}")
    return name or names[0]


def _stepped(trials: list[FrozenTrial]) -> bool:
    """Whether each complete trial reported steps, of which the last is its value."""
    complete = [one for one in trials if one.state is TrialState.COMPLETE]
    return bool(complete) and all(
        one.last_step is not None and one.intermediate_values[one.last_step] == one.value
        for one in complete
    )


def _rows(trial: FrozenTrial, metric: str, *, stepped: bool) -> Iterator[dict[str, Any]]:
    """A row for the trial, or for each of its steps."""
    plain_attributes = {
        key: value
        for key, value in trial.user_attrs.items()
        if isinstance(value, str | int | float | bool)
    }
    row = {
        NUMBER: trial.number,
        STATE: trial.state.name.lower(),
        SECONDS: trial.duration.total_seconds() if trial.duration else math.nan,
        **{f"params_{key}": value for key, value in trial.params.items()},
        **{f"user_attrs_{key}": value for key, value in plain_attributes.items()},
    }
    if stepped and trial.intermediate_values:
        for step, value in sorted(trial.intermediate_values.items()):
            yield {**row, STEP: step, metric: value}
        return
    last = trial.intermediate_values.get(trial.last_step) if trial.last_step is not None else None
    value = trial.value if trial.state is TrialState.COMPLETE else last
    yield {**row, **({STEP: 0} if stepped else {}), metric: math.nan if value is None else value}
