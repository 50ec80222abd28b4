"""A finished cell as an Optuna trial: the content of the trial, and its rows in Optuna's tables.

The rows are written in bulk through Optuna's own table definitions: its `add_trial` sends two
queries for every intermediate value, and cannot replace a trial whose cell got further replicates.
`tests/contract/test_mirror.py` reads every trial back through Optuna.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from statistics import fmean, stdev
from struct import unpack_from
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.storages._rdb import models  # not public: kept in this file and `study.py`
from optuna.trial import TrialState as OptunaState
from sqlalchemy import Connection, delete, insert, select

from sweeper.spec.goals import Constraint
from sweeper.states import RunState, TrialState, trial_state
from sweeper.store import distributions as optuna_distributions
from sweeper.store.reads import chunks
from sweeper.store.records import Cell, Key, Observations, Run

HASH = "sweeper:cell"  # user attribute: the cell that a trial mirrors
HIDDEN = "sweeper:hidden"  # user attribute: the spec no longer has the cell
START = "sweeper:start_from"  # user attribute: the other sweep and its cell, of a start
FOREIGN = "sweeper:foreign"  # user attribute: the former state of a trial that others have added
# System attribute: the excess over each bound, which Optuna and its dashboard read. Optuna 5 writes
# an attribute for each constraint, which version 0.21 of its dashboard does not know.
CONSTRAINTS = "constraints"
ASKED = "sweeper:asked"  # system attribute: a sampler chose the parameters, so they stay


@dataclass(frozen=True, kw_only=True)
class Mirrored:
    """The content of a trial.

    Attributes:
        values: one for each objective; empty for a failed cell.
        curve: epoch -> mean of the objective over the replicates; empty with several objectives,
            for which Optuna has no intermediate values.
        constraints: the excess over each bound.
    """

    state: TrialState
    values: tuple[float, ...]
    curve: dict[int, float]
    attributes: dict[str, Any]
    started: float | None
    ended: float | None
    constraints: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StudyNumbers:
    """The numbers that a study shows.

    Attributes:
        also: further objectives.
        constraints: each with the place of its metric.
    """

    layout: Sequence[Key]
    objective: Key
    also: Sequence[Key] = ()
    constraints: Sequence[tuple[Key, Constraint]] = ()


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """A cell with the results of its wanted runs; `observed` by run, in order of epochs."""

    cell: Cell
    runs: Sequence[Run]
    observed: Mapping[int, Sequence[Observations]]
    started: float | None
    ended: float | None


def describe(result: CellResult, wanted: StudyNumbers) -> Mirrored:
    """Makes the trial of a finished cell.

    COMPLETE: the mean of each objective over the complete replicates. PRUNED: the last mean of the
    replicates that were still compared. FAIL: exit reasons and the first error's text. A hidden
    cell is FAIL whatever it reached, so that nothing compares with it or learns from it.
    """
    if result.cell.hidden:
        return _hidden(result)
    complete = [run for run in result.runs if run.value is not None]
    state = trial_state(run.state for run in result.runs)
    values = tuple(_mean(result, complete, wanted, key) for key in wanted.also)
    if state is TrialState.COMPLETE and not (complete and all(map(math.isfinite, values))):
        state = TrialState.FAIL
    shown = complete if state is TrialState.COMPLETE else _compared(result.runs)
    curve = {} if wanted.also else _curve(result, shown, wanted)
    attributes = {HASH: result.cell.hash, **_counts(result.runs)}
    constraints: dict[str, float] = {}
    if state is TrialState.COMPLETE:
        values = (fmean(run.value for run in complete if run.value is not None), *values)
        attributes |= _spread(complete)
        if result.cell.role == "report":  # selection never shows the test split
            attributes |= _tested(result, complete, wanted.layout)
        for key, bound in wanted.constraints:
            constraints[bound.text] = bound.excess(_mean(result, complete, wanted, key))
        attributes |= {"excess": constraints} if constraints else {}
    elif state is TrialState.PRUNED and curve:
        values = (curve[max(curve)],)
        attributes["pruned_epoch"] = max(curve)
    else:
        values = ()
    return Mirrored(
        state=state,
        values=values,
        curve=curve,
        attributes=attributes,
        constraints=tuple(constraints.values()),
        started=result.started,
        ended=result.ended,
    )


def marked(trial: Mirrored, sweep: str) -> Mirrored:
    """The trial as one of another sweep: no cell of this sweep owns it."""
    rest = {key: value for key, value in trial.attributes.items() if key != HASH}
    start = {"sweep": sweep, "cell": trial.attributes[HASH]}
    return replace(trial, attributes={START: start, **rest})


def _mean(result: CellResult, runs: Sequence[Run], wanted: StudyNumbers, key: Key) -> float:
    """The mean of a number at the runs' last evaluations; NaN if a run lacks it."""
    if key not in wanted.layout or not runs:
        return math.nan
    offset = 4 * list(wanted.layout).index(key)
    last = [result.observed[run.id][-1].numbers for run in runs if result.observed.get(run.id)]
    found = [unpack_from("<f", numbers, offset)[0] for numbers in last]
    return fmean(found) if len(found) == len(runs) else math.nan


def _hidden(result: CellResult) -> Mirrored:
    return Mirrored(
        state=TrialState.FAIL,
        values=(),
        curve={},
        attributes={HASH: result.cell.hash, HIDDEN: True, **_counts(result.runs)},
        started=result.started,
        ended=result.ended,
    )


def _compared(runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run.state is not RunState.FAILED and run.epoch > 0]


def _curve(result: CellResult, runs: Sequence[Run], wanted: StudyNumbers) -> dict[int, float]:
    """Means at the epochs that all `runs` have: at other epochs they would be of fewer runs."""
    if wanted.objective not in wanted.layout or not runs:
        return {}
    offset = 4 * list(wanted.layout).index(wanted.objective)
    values: dict[int, list[float]] = {}
    for run in runs:
        for seen in result.observed.get(run.id, ()):
            values.setdefault(seen.epoch, []).append(unpack_from("<f", seen.numbers, offset)[0])
    return {epoch: fmean(some) for epoch, some in values.items() if len(some) == len(runs)}


def _counts(runs: Sequence[Run]) -> dict[str, Any]:
    failed = [run for run in runs if run.state is RunState.FAILED]
    counts: dict[str, Any] = {"seconds": round(sum(run.seconds for run in runs), 3)}
    if failed:
        counts["failed"] = {str(run.replicate): str(run.ending) for run in failed}
        counts["error"] = next((run.error for run in failed if run.error), "")[:2000]
    return counts


def _spread(complete: Sequence[Run]) -> dict[str, Any]:
    values = [run.value for run in complete if run.value is not None]
    n = len(values)
    return {
        "n": n,
        "standard_error": stdev(values) / math.sqrt(n) if n > 1 else None,
        "replicates": {str(run.replicate): run.value for run in complete},
    }


def _tested(result: CellResult, complete: Sequence[Run], layout: Sequence[Key]) -> dict[str, Any]:
    """Means of the overall metrics on the test split at the last epoch, for display only."""
    last = [result.observed[run.id][-1].numbers for run in complete if result.observed.get(run.id)]
    means = {}
    for place, (split, metric, target) in enumerate(layout):
        if split == "test" and target == "" and last:
            mean = fmean(unpack_from("<f", numbers, 4 * place)[0] for numbers in last)
            means[f"test_{metric}"] = mean if math.isfinite(mean) else None
    return means


def disown(connection: Connection, study_id: int, *, owned: Collection[int]) -> list[int]:
    """Ends finished trials that belong to no cell as FAIL; returns their numbers, in order.

    Then neither the best trial nor a sampler counts them. Their former state becomes an attribute.
    """
    table = models.TrialModel.__table__
    counted = table.c.state.in_([OptunaState.COMPLETE, OptunaState.PRUNED])
    query = select(table.c.trial_id, table.c.number, table.c.state)
    rows = connection.execute(query.where(table.c.study_id == study_id, counted)).all()
    foreign = {row.trial_id: row for row in rows if row.number not in owned}
    for ids in chunks(list(foreign)):
        values = _values(connection, ids)
        _insert(
            connection,
            models.TrialUserAttributeModel,
            [
                {
                    "trial_id": id,
                    "key": FOREIGN,
                    "value_json": json.dumps(
                        {"state": foreign[id].state.name, "value": values.get(id)}
                    ),
                }
                for id in ids
            ],
        )
        of_them = models.TrialValueModel.__table__.c.trial_id.in_(ids)
        connection.execute(delete(models.TrialValueModel).where(of_them))  # as Optuna does
        query = table.update().where(table.c.trial_id.in_(ids))
        connection.execute(query.values(state=OptunaState.FAIL))
    return sorted(row.number for row in foreign.values())


def _values(connection: Connection, trial_ids: Sequence[int]) -> dict[int, float | None]:
    """The objective of each trial, None if it is not finite."""
    table = models.TrialValueModel.__table__.c
    query = select(table.trial_id, table.value).where(table.trial_id.in_(trial_ids))
    return {row.trial_id: row.value for row in connection.execute(query)}


def number_next(connection: Connection, study_id: int) -> int:
    """The number of the study's next trial; numbers rise with ids."""
    trials = models.TrialModel.__table__.c
    last = select(trials.number).where(trials.study_id == study_id)
    number = connection.execute(last.order_by(trials.trial_id.desc()).limit(1)).scalar()
    return 0 if number is None else number + 1


def write(
    connection: Connection,
    study_id: int,
    mirrored: Sequence[tuple[Cell, Mirrored]],
    distributions: Mapping[str, BaseDistribution],
) -> dict[int, int]:
    """Writes trials and replaces existing ones: cell -> trial number."""
    there = _existing(connection, study_id, mirrored)
    asked = _asked(connection, list(there.values()))
    _clear(connection, list(there.values()), keep_params=asked)
    made = _make(connection, study_id, [m for c, m in mirrored if c.id not in there])
    numbers, ids = {}, {}
    for cell, _ in mirrored:
        if cell.id in there:
            ids[cell.id], numbers[cell.id] = there[cell.id], cell.optuna_number
        else:
            ids[cell.id], numbers[cell.id] = made.pop(0)
    _update(connection, [(ids[cell.id], trial) for cell, trial in mirrored if cell.id in there])
    _fill(
        connection, [(ids[cell.id], cell, trial) for cell, trial in mirrored], distributions, asked
    )
    return numbers


def _existing(
    connection: Connection, study_id: int, mirrored: Sequence[tuple[Cell, Mirrored]]
) -> dict[int, int]:
    numbers = {c.optuna_number: c.id for c, _ in mirrored if c.optuna_number is not None}
    if not numbers:
        return {}
    trials = models.TrialModel.__table__.c
    rows = connection.execute(
        select(trials.number, trials.trial_id).where(
            trials.study_id == study_id, trials.number.in_(numbers)
        )
    )
    return {numbers[row.number]: row.trial_id for row in rows}


def _asked(connection: Connection, trial_ids: Sequence[int]) -> frozenset[int]:
    """Trials whose parameters a sampler chose: marked, or without a cell yet."""
    if not trial_ids:
        return frozenset()
    system = models.TrialSystemAttributeModel.__table__
    user = models.TrialUserAttributeModel.__table__
    marked = _with(connection, system, trial_ids, ASKED)
    return frozenset((set(trial_ids) - _with(connection, user, trial_ids, HASH)) | marked)


def _with(connection: Connection, table: Any, trial_ids: Sequence[int], key: str) -> set[int]:
    query = select(table.c.trial_id).where(table.c.trial_id.in_(trial_ids), table.c.key == key)
    return set(connection.execute(query).scalars())


def _clear(
    connection: Connection, trial_ids: Sequence[int], *, keep_params: frozenset[int]
) -> None:
    if not trial_ids:
        return
    for model in (
        models.TrialValueModel,
        models.TrialUserAttributeModel,
        models.TrialIntermediateValueModel,
    ):
        table = model.__table__
        connection.execute(delete(table).where(table.c.trial_id.in_(trial_ids)))
    system = models.TrialSystemAttributeModel.__table__
    of_them = (system.c.trial_id.in_(trial_ids), system.c.key == CONSTRAINTS)
    connection.execute(delete(system).where(*of_them))
    table, chosen = models.TrialParamModel.__table__, set(trial_ids) - keep_params
    connection.execute(delete(table).where(table.c.trial_id.in_(chosen)))


def _make(
    connection: Connection, study_id: int, mirrored: Sequence[Mirrored]
) -> list[tuple[int, int]]:
    if not mirrored:
        return []
    table = models.TrialModel.__table__
    first = number_next(connection, study_id)
    rows = [
        {"study_id": study_id, "number": number, **_state(trial)}
        for number, trial in enumerate(mirrored, first)
    ]
    query = insert(table).returning(table.c.trial_id, sort_by_parameter_order=True)
    ids = connection.execute(query, rows).scalars().all()
    return list(zip(ids, range(first, first + len(ids)), strict=True))


def _update(connection: Connection, mirrored: Sequence[tuple[int, Mirrored]]) -> None:
    table = models.TrialModel.__table__
    for trial_id, trial in mirrored:
        query = table.update().where(table.c.trial_id == trial_id)
        connection.execute(query.values(**_state(trial)))


def _state(trial: Mirrored) -> dict[str, Any]:
    return {
        "state": OptunaState[trial.state.value],
        "datetime_start": _naive_utc(trial.started),
        "datetime_complete": _naive_utc(trial.ended),
    }


def _naive_utc(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)


def _fill(
    connection: Connection,
    mirrored: Sequence[tuple[int, Cell, Mirrored]],
    distributions: Mapping[str, BaseDistribution],
    asked: frozenset[int],
) -> None:
    texts = optuna_distributions.to_json(distributions)
    params, values, attributes, curves, bounds = [], [], [], [], []
    for trial_id, cell, trial in mirrored:
        key = {"trial_id": trial_id}
        if trial_id not in asked:
            params += [
                {
                    **key,
                    "param_name": name,
                    "distribution_json": texts[name],
                    "param_value": optuna_distributions.value_of(level, distributions[name]),
                }
                for name, level in cell.factors.items()
            ]
        for at, number in enumerate(trial.values):
            value, kind = models.TrialValueModel.value_to_stored_repr(number)
            values.append({**key, "objective": at, "value": value, "value_type": kind})
        if trial.constraints:
            listed = json.dumps(trial.constraints)
            bounds.append({**key, "key": CONSTRAINTS, "value_json": listed})
        attributes += [
            {**key, "key": name, "value_json": json.dumps(value)}
            for name, value in trial.attributes.items()
        ]
        curves += [{**key, **_point(epoch, value)} for epoch, value in sorted(trial.curve.items())]
    _insert(connection, models.TrialParamModel, params)
    _insert(connection, models.TrialValueModel, values)
    _insert(connection, models.TrialUserAttributeModel, attributes)
    _insert(connection, models.TrialIntermediateValueModel, curves)
    _insert(connection, models.TrialSystemAttributeModel, bounds)
    _mark_asked(connection, asked)


def _mark_asked(connection: Connection, asked: frozenset[int]) -> None:
    if not asked:
        return
    table = models.TrialSystemAttributeModel.__table__
    new = asked - _with(connection, table, list(asked), ASKED)
    rows = [{"trial_id": id, "key": ASKED, "value_json": "true"} for id in sorted(new)]
    _insert(connection, models.TrialSystemAttributeModel, rows)


def _point(epoch: int, value: float) -> dict[str, Any]:
    stored, kind = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr(value)
    return {"step": epoch, "intermediate_value": stored, "intermediate_value_type": kind}


def _insert(connection: Connection, model: Any, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(insert(model.__table__), rows)
