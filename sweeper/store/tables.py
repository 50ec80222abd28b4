"""The `sweeper_*` tables, in the same database as Optuna's.

Times are seconds since 1970 by the database's own clock (`clock`), never the driver's. Every query
on a hot path has its index here: a driver's cost must not grow with the number of runs.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    Double,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy import Enum as EnumColumn
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.sql.functions import FunctionElement

from sweeper.states import Ending, RunState

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


def _words(enum: type[RunState] | type[Ending]) -> EnumColumn:
    """A text column with an enum's values, checked on writing and reading."""
    return EnumColumn(
        enum,
        native_enum=False,
        length=32,
        values_callable=lambda members: [m.value for m in members],
    )


class StoredTable(DeclarativeBase):
    """The base of all tables; the migrations must produce its `metadata`."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012
        str: Text(),
        float: Double(),
        dict[str, Any]: JSON(none_as_null=True),
        list[Any]: JSON(none_as_null=True),
        RunState: _words(RunState),
        Ending: _words(Ending),
    }


class SweepTable(StoredTable):
    """A sweep; `lease_epoch` is the highest epoch ever given, in case the lease row is deleted."""

    __tablename__ = "sweeper_sweep"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(512), unique=True)
    question: Mapped[str]
    spec_text: Mapped[str]
    spec: Mapped[dict[str, Any]]
    layout: Mapped[list[Any]]
    facts: Mapped[dict[str, Any]]
    provenance: Mapped[dict[str, Any]]
    prices: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(32))
    state_reason: Mapped[str]
    lease_epoch: Mapped[int]
    created_at: Mapped[float]
    updated_at: Mapped[float]


class LeaseTable(StoredTable):
    """The right to write to a sweep; `token` names the call that took it, for an unknown commit."""

    __tablename__ = "sweeper_lease"
    sweep_id: Mapped[int] = mapped_column(
        ForeignKey("sweeper_sweep.id"), primary_key=True, autoincrement=False
    )
    epoch: Mapped[int]
    held: Mapped[bool]
    holder: Mapped[dict[str, Any]]
    token: Mapped[str] = mapped_column(String(32))
    beat_at: Mapped[float]


class CellTable(StoredTable):
    """A configuration. `open_runs` counts its unfinished runs, so that the mirror finds finished
    cells without reading the others.
    """

    __tablename__ = "sweeper_cell"
    __table_args__ = (
        UniqueConstraint("sweep_id", "role", "hash"),
        Index(None, "sweep_id", "mirrored", "open_runs"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    sweep_id: Mapped[int] = mapped_column(ForeignKey("sweeper_sweep.id"))
    role: Mapped[str] = mapped_column(String(32))
    hash: Mapped[str] = mapped_column(String(128))
    factors: Mapped[dict[str, Any]]
    config: Mapped[dict[str, Any]]
    class_counts: Mapped[list[Any]]
    replicates: Mapped[list[Any]]
    optuna_number: Mapped[int | None]
    mirrored: Mapped[bool]
    hidden: Mapped[bool]
    open_runs: Mapped[int]


class RunTable(StoredTable):
    """A training run. Attempts up to number `forgiven` no longer count towards its failure."""

    __tablename__ = "sweeper_run"
    __table_args__ = (UniqueConstraint("cell_id", "replicate"), Index(None, "sweep_id", "state"))
    id: Mapped[int] = mapped_column(primary_key=True)
    sweep_id: Mapped[int] = mapped_column(ForeignKey("sweeper_sweep.id"))
    cell_id: Mapped[int] = mapped_column(ForeignKey("sweeper_cell.id"))
    replicate: Mapped[int]
    state: Mapped[RunState]
    epoch: Mapped[int]
    value: Mapped[float | None]
    ending: Mapped[Ending | None]
    error: Mapped[str]
    seconds: Mapped[float]
    forgiven: Mapped[int]


class PackTable(StoredTable):
    """Runs that train together; (`token`, `position`) identifies a pack of a call."""

    __tablename__ = "sweeper_pack"
    __table_args__ = (UniqueConstraint("sweep_id", "position"), Index(None, "token"))
    id: Mapped[int] = mapped_column(primary_key=True)
    sweep_id: Mapped[int] = mapped_column(ForeignKey("sweeper_sweep.id"))
    position: Mapped[int]
    key: Mapped[str]
    form: Mapped[str] = mapped_column(String(64))
    run_ids: Mapped[list[Any]]
    seconds: Mapped[float]
    dissolved: Mapped[bool]
    token: Mapped[str] = mapped_column(String(32))


class AttemptTable(StoredTable):
    """An attempt at a run; made before it is dispatched."""

    __tablename__ = "sweeper_attempt"
    __table_args__ = (UniqueConstraint("run_id", "number"), Index(None, "sweep_id", "ended_at"))
    id: Mapped[int] = mapped_column(primary_key=True)
    sweep_id: Mapped[int] = mapped_column(ForeignKey("sweeper_sweep.id"))
    run_id: Mapped[int] = mapped_column(ForeignKey("sweeper_run.id"))
    pack_id: Mapped[int] = mapped_column(ForeignKey("sweeper_pack.id"))
    number: Mapped[int]
    lease_epoch: Mapped[int]
    node: Mapped[str]
    device: Mapped[str]
    started_at: Mapped[float]
    ended_at: Mapped[float | None]
    from_epoch: Mapped[int]
    seconds: Mapped[float]
    ending: Mapped[Ending | None]
    error: Mapped[str]


class ObservationTable(StoredTable):
    """All numbers of a run at an epoch: float32, little-endian, in the sweep's layout."""

    __tablename__ = "sweeper_observation"
    run_id: Mapped[int] = mapped_column(
        ForeignKey("sweeper_run.id"), primary_key=True, autoincrement=False
    )
    epoch: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    step: Mapped[int]
    numbers: Mapped[bytes] = mapped_column(LargeBinary())


class PredictionTable(StoredTable):
    """Which test examples a complete run predicts correctly, a bit each (`records.Predictions`)."""

    __tablename__ = "sweeper_prediction"
    run_id: Mapped[int] = mapped_column(
        ForeignKey("sweeper_run.id"), primary_key=True, autoincrement=False
    )
    bits: Mapped[bytes] = mapped_column(LargeBinary())


class StageTable(StoredTable):
    """Decisions about a sweep's replicates, in order (`records.Sweep.stages`)."""

    __tablename__ = "sweeper_stage"
    sweep_id: Mapped[int] = mapped_column(
        ForeignKey("sweeper_sweep.id"), primary_key=True, autoincrement=False
    )
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    body: Mapped[dict[str, Any]]


class clock(FunctionElement[float]):
    """The database's own time, in seconds since 1970."""

    type = Double()
    inherit_cache = True


@compiles(clock, "sqlite")
def _sqlite_clock(*_: object, **__: object) -> str:
    # unixepoch('subsec') needs SQLite 3.42; julianday is exact to a millisecond in all versions.
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(clock, "postgresql")
def _postgresql_clock(*_: object, **__: object) -> str:
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)"
