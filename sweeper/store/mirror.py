"""The transactions of the Optuna mirror: reads our tables, writes Optuna's rows.

A transaction may run more than once, so this module keeps no state: its findings are returned as a
`View`, for the caller to keep after the commit.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.storages._rdb import models  # not public: see `trials`
from optuna.study import StudyDirection
from optuna.trial import TrialState as OptunaState
from sqlalchemy import Connection, bindparam, delete, exists, func, insert, select, update

from sweeper.errors import StoreError
from sweeper.spec.goals import Constraint
from sweeper.states import TrialState
from sweeper.store import dialects, reads, trials
from sweeper.store import distributions as levels
from sweeper.store.records import Cell, Key, Observations, Run, Sweep
from sweeper.store.store import ENDINGS
from sweeper.store.tables import AttemptTable, CellTable, RunTable

CHUNK = 50  # cells a transaction
OURS = "sweeper:sweep"  # study attribute: the sweep that owns the study
DISTRIBUTIONS = "sweeper:distributions"
BOUNDS = "sweeper:constraints"
METRIC_NAMES = "study:metric_names"  # the attribute that `set_metric_names` writes
NOTE_VERSION, NOTE, NOTE_LENGTH = "dashboard:note_ver", "dashboard:note_str:", 2045


@dataclass(frozen=True, kw_only=True)
class Start:
    """Finished cells of another sweep, which become trials for the sampler to learn from.

    Attributes:
        layout: of the other sweep's numbers.
        cells: each with its level of every factor of this sweep.
        distributions: those under which this sweep's sampler is asked.
    """

    sweep: str
    layout: Sequence[Key]
    cells: Sequence[tuple[Cell, Mapping[str, Any]]]
    distributions: Mapping[str, BaseDistribution]


@dataclass(frozen=True, kw_only=True)
class MirroredSweep:
    """The sweep to mirror, and the properties of its study.

    Attributes:
        also: further objectives, with their directions.
    """

    sweep: Sweep
    objective: str
    direction: StudyDirection
    also: tuple[tuple[str, StudyDirection], ...] = ()
    constraints: tuple[Constraint, ...] = ()
    start: Start | None = None

    @property
    def wanted(self) -> trials.StudyNumbers:
        """Where the objectives and the constrained metrics stand in the sweep's layout."""
        split = self.sweep.objective_split
        return trials.StudyNumbers(
            layout=self.sweep.layout,
            objective=(split, self.objective, ""),
            also=tuple((split, metric, "") for metric, _ in self.also),
            constraints=tuple(((split, one.metric, ""), one) for one in self.constraints),
        )

    @property
    def titles(self) -> list[str]:
        """The names of the study's values; they warn of the test split."""
        on_test = " on the test split" if self.sweep.objective_split == "test" else ""
        return [metric + on_test for metric in (self.objective, *(one for one, _ in self.also))]

    @property
    def bounds(self) -> list[str]:
        return [one.text for one in self.constraints]

    def study_name(self, role: str) -> str:
        return self.sweep.name + ENDINGS[role]


@dataclass(frozen=True, kw_only=True)
class View:
    """A role's study as the database has it."""

    study_id: int
    distributions: dict[str, BaseDistribution]


Views = dict[str, View]  # by role
Foreign = dict[str, list[int]]  # numbers of trials that belong to no cell, by study


def catch_up(connection: Connection, target: MirroredSweep) -> tuple[Views, Foreign]:
    """Makes the studies, and clears the marks of cells that the studies lack or show wrongly.

    Trials that others have added are marked failed.
    """
    cells = _cells(connection, CellTable.sweep_id == target.sweep.id)
    views: Views = {}
    foreign: Foreign = {}
    for role in ENDINGS:
        mine = [cell for cell in cells if cell.role == role]
        if mine or role == "report":
            views[role] = _open(connection, target, role)
            there = _hashes(connection, views[role].study_id)
            lost = {
                cell.id
                for cell in mine
                if cell.mirrored and cell.optuna_number is not None and cell.hash not in there
            }
            _unmirror(connection, list(lost), optuna_number=None)
            owned = [c.optuna_number for c in mine if not c.hidden and not c.mirrored]
            _fail_orphans(connection, views[role].study_id, owned)
            known = {cell.optuna_number for cell in mine if cell.optuna_number is not None}
            known -= {cell.optuna_number for cell in mine if cell.id in lost}
            study_id, name = views[role].study_id, target.study_name(role)
            if role == "report" and target.start is not None:
                known |= _started(connection, target, target.start, study_id)
            foreign[name] = trials.disown(connection, study_id, owned=known)
    return views, foreign


def _started(
    connection: Connection, target: MirroredSweep, start: Start, study_id: int
) -> set[int]:
    """Adds the other sweep's cells as marked trials, if they are missing; returns their numbers."""
    trial, attribute = models.TrialModel.__table__, models.TrialUserAttributeModel.__table__
    query = (
        select(trial.c.number, attribute.c.value_json)
        .join(trial, trial.c.trial_id == attribute.c.trial_id)
        .where(trial.c.study_id == study_id, attribute.c.key == trials.START)
    )
    marks = {number: json.loads(text) for number, text in connection.execute(query).all()}
    there = {mark["cell"] for mark in marks.values()}
    new = {cell.id: (cell, point) for cell, point in start.cells if cell.hash not in there}
    numbers = replace(target.wanted, layout=start.layout)
    described = [
        (result.cell, trials.describe(result, numbers))
        for result in _results(connection, [cell for cell, _ in new.values()])
    ]
    made = trials.write(
        connection,
        study_id,
        [
            (
                replace(cell, factors=dict(new[cell.id][1]), optuna_number=None),
                trials.marked(one, start.sweep),
            )
            for cell, one in described
            if one.state is TrialState.COMPLETE
        ],
        start.distributions,
    )
    return {*marks, *made.values()}


def is_behind(connection: Connection, sweep_id: int) -> bool:
    """Returns whether a finished cell is not mirrored."""
    return bool(_finished(connection, sweep_id, limit=1))


def mirror(connection: Connection, target: MirroredSweep, views: Views) -> tuple[int, Views]:
    """Mirrors up to `CHUNK` finished cells; returns how many, and the studies as they are now."""
    cells = _finished(connection, target.sweep.id, limit=CHUNK)
    views = dict(views)
    for role in dict.fromkeys(cell.role for cell in cells):
        mine = [cell for cell in cells if cell.role == role]
        view = views.get(role)
        if view is None or not all(_covers(view.distributions, cell) for cell in mine):
            view = views[role] = _open(connection, target, role)
        _mirror_role(connection, target, view, mine)
    return len(cells), views


def set_note(connection: Connection, study_id: int, markdown: str) -> None:
    """Writes a note as optuna-dashboard does, in pieces, with a rising version."""
    table = models.StudySystemAttributeModel.__table__
    mine = table.c.study_id == study_id
    query = select(table.c.value_json).where(mine, table.c.key == NOTE_VERSION)
    version = int(connection.execute(query).scalar() or 0) + 1
    connection.execute(delete(table).where(mine, table.c.key.startswith(NOTE, autoescape=True)))
    pieces = {
        f"{NOTE}{place}": markdown[start : start + NOTE_LENGTH]
        for place, start in enumerate(range(0, len(markdown), NOTE_LENGTH))
    }
    attributes = {NOTE_VERSION: version, **pieces}
    _set_attributes(connection, models.StudySystemAttributeModel, study_id, attributes)


def _open(connection: Connection, target: MirroredSweep, role: str) -> View:
    """The role's study, made if needed, with distributions of all levels of its cells."""
    study_id = _ensure_study(connection, target, role)
    distributions = _distributions(connection, target.sweep, role)
    texts = levels.to_json(distributions)
    known = _attribute(connection, study_id, DISTRIBUTIONS)
    bounds = json.loads(_attribute(connection, study_id, BOUNDS) or "[]")
    if known is not None and (json.loads(known) != texts or bounds != target.bounds):
        mirrored = select(CellTable.id).where(
            CellTable.sweep_id == target.sweep.id, CellTable.role == role, CellTable.mirrored
        )
        _unmirror(connection, connection.execute(mirrored).scalars().all())
    user = {
        OURS: target.sweep.name,
        "question": target.sweep.question,
        "role": role,
        "split": target.sweep.objective_split,
        DISTRIBUTIONS: texts,
        BOUNDS: target.bounds,
    }
    _set_attributes(connection, models.StudyUserAttributeModel, study_id, user)
    system = {METRIC_NAMES: target.titles}
    _set_attributes(connection, models.StudySystemAttributeModel, study_id, system)
    return View(study_id=study_id, distributions=distributions)


def _ensure_study(connection: Connection, target: MirroredSweep, role: str) -> int:
    table, name = models.StudyModel.__table__, target.study_name(role)
    found = connection.execute(select(table.c.study_id).where(table.c.study_name == name)).scalar()
    if found is not None:
        if _attribute(connection, found, OURS) != json.dumps(target.sweep.name):
            raise StoreError(
                f"the database has an Optuna study '{name}' that is not Sweeper's; "
                "give the sweep another name, or another database"
            )
        return found
    made = insert(table).values(study_name=name).returning(table.c.study_id)
    study_id = connection.execute(made).scalar_one()
    connection.execute(
        insert(models.StudyDirectionModel.__table__),
        [
            {"study_id": study_id, "direction": direction, "objective": at}
            for at, direction in enumerate((target.direction, *(way for _, way in target.also)))
        ],
    )
    return study_id


def _distributions(connection: Connection, sweep: Sweep, role: str) -> dict[str, BaseDistribution]:
    query = select(CellTable.factors).where(CellTable.sweep_id == sweep.id, CellTable.role == role)
    factors = connection.execute(query.order_by(CellTable.id)).scalars().all()
    return levels.of_cells(sweep.spec, factors)


def _covers(distributions: Mapping[str, BaseDistribution], cell: Cell) -> bool:
    """Returns whether the study's distributions include the cell's levels."""
    return all(
        name in distributions and levels.contains(distributions[name], level)
        for name, level in cell.factors.items()
    )


def _mirror_role(
    connection: Connection, target: MirroredSweep, view: View, cells: Sequence[Cell]
) -> None:
    _lock_study(connection, view.study_id)
    mirrored = [
        (
            result.cell,
            trials.describe(result, target.wanted),
        )
        for result in _results(connection, cells)
    ]
    numbers = trials.write(connection, view.study_id, mirrored, view.distributions)
    query = update(CellTable).where(CellTable.id == bindparam("key"))
    connection.execute(
        query.values(optuna_number=bindparam("number"), mirrored=True),
        [{"key": cell_id, "number": number} for cell_id, number in numbers.items()],
    )


def _finished(connection: Connection, sweep_id: int, *, limit: int) -> list[Cell]:
    """Cells whose wanted runs have all ended and that are not mirrored."""
    has_runs = exists().where(RunTable.cell_id == CellTable.id)
    mine = (CellTable.sweep_id == sweep_id, ~CellTable.mirrored, CellTable.open_runs == 0)
    return _cells(connection, *mine, has_runs, limit=limit)


def _cells(connection: Connection, *conditions: Any, limit: int | None = None) -> list[Cell]:
    query = select(CellTable.__table__).where(*conditions).order_by(CellTable.id).limit(limit)
    return [reads.cell(row) for row in connection.execute(query)]


def _results(connection: Connection, cells: Sequence[Cell]) -> list[trials.CellResult]:
    runs: dict[int, list[Run]] = {cell.id: [] for cell in cells}
    by_id = {cell.id: cell for cell in cells}
    query = select(RunTable.__table__).where(RunTable.cell_id.in_(runs))
    for row in connection.execute(query.order_by(RunTable.cell_id, RunTable.replicate)):
        if by_id[row.cell_id].wants(run := reads.run(row)):
            runs[run.cell_id].append(run)
    observed: dict[int, list[Observations]] = {}
    for some in reads.chunks([run.id for own in runs.values() for run in own]):
        for numbers in reads.observations(connection, some, last_only=False):
            observed.setdefault(numbers.run_id, []).append(numbers)
    times = _times(connection, list(runs))
    return [
        trials.CellResult(
            cell=cell,
            runs=runs[cell.id],
            observed=observed,
            started=times.get(cell.id, (None, None))[0],
            ended=times.get(cell.id, (None, None))[1],
        )
        for cell in cells
    ]


def _times(
    connection: Connection, cell_ids: Sequence[int]
) -> dict[int, tuple[float | None, float | None]]:
    """The start of each cell's first attempt and the end of its last."""
    first, last = func.min(AttemptTable.started_at), func.max(AttemptTable.ended_at)
    query = (
        select(RunTable.cell_id, first, last)
        .join(AttemptTable, AttemptTable.run_id == RunTable.id)
        .where(RunTable.cell_id.in_(cell_ids))
        .group_by(RunTable.cell_id)
    )
    return {row[0]: (row[1], row[2]) for row in connection.execute(query)}


def _unmirror(connection: Connection, cell_ids: Sequence[int], **values: Any) -> None:
    for some in reads.chunks(cell_ids):
        query = update(CellTable).where(CellTable.id.in_(some))
        connection.execute(query.values(mirrored=False, **values))


def _hashes(connection: Connection, study_id: int) -> set[str]:
    """The hashes of the cells that have a trial in the study."""
    trial, attribute = models.TrialModel.__table__, models.TrialUserAttributeModel.__table__
    query = (
        select(attribute.c.value_json)
        .join(trial, trial.c.trial_id == attribute.c.trial_id)
        .where(trial.c.study_id == study_id, attribute.c.key == trials.HASH)
    )
    return {json.loads(text) for text in connection.execute(query).scalars()}


def _fail_orphans(connection: Connection, study_id: int, owned: Iterable[int | None]) -> None:
    """Ends open trials without an open cell: a driver died between asking and adding."""
    table, kept = models.TrialModel.__table__, set(owned)
    open_states = [OptunaState.RUNNING, OptunaState.WAITING]
    running = (table.c.study_id == study_id, table.c.state.in_(open_states))
    rows = connection.execute(select(table.c.trial_id, table.c.number).where(*running)).all()
    for some in reads.chunks([row.trial_id for row in rows if row.number not in kept]):
        query = table.update().where(table.c.trial_id.in_(some))
        connection.execute(
            query.values(state=OptunaState.FAIL, datetime_complete=table.c.datetime_start)
        )


def _attribute(connection: Connection, study_id: int, key: str) -> str | None:
    table = models.StudyUserAttributeModel.__table__.c
    query = select(table.value_json).where(table.study_id == study_id, table.key == key)
    return connection.execute(query).scalar()


def _set_attributes(
    connection: Connection, model: Any, study_id: int, values: Mapping[str, Any]
) -> None:
    query = dialects.upsert(
        connection, model.__table__, keys=("study_id", "key"), changes=("value_json",)
    )
    rows = [
        {"study_id": study_id, "key": key, "value_json": json.dumps(value)}
        for key, value in values.items()
    ]
    connection.execute(query, rows)


def _lock_study(connection: Connection, study_id: int) -> None:
    # Optuna numbers a new trial under the same lock. SQLite's transaction locks everything anyway.
    table = models.StudyModel.__table__.c
    connection.execute(select(table.study_id).where(table.study_id == study_id).with_for_update())
