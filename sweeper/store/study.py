"""The Optuna view of a sweep: a study, with a trial for each finished cell, made from our tables.

Trials and the cell's `mirrored` mark are written in one transaction, under the lease, after the
results have been committed. So a killed driver leaves a whole trial or none, and the next driver
catches up. Tuning cells are in a separate study, so that values of different replicates are never
compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from sqlalchemy import Engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from sweeper.errors import StoreError
from sweeper.spec.goals import Constraint
from sweeper.store import dialects, mirror
from sweeper.store.database import patiently
from sweeper.store.dialects import Address
from sweeper.store.mirror import MirroredSweep, Start, Views
from sweeper.store.records import Lease, Sweep
from sweeper.store.store import Store

T = TypeVar("T")
SHOWN = 10  # trial numbers in a line


class Study:
    """The mirror of one sweep. Call `sync` first: it makes the study, under the lease.

    Args:
        url: the store's database.
        name: the sweep's name.
        objective: the metric's name; its values become the intermediate values, on `val`, or on
            `test` if the data have no validation split.
        direction: maximize or minimize.
        also: further objectives, each with its direction.
        constraints: bounds on the means of metrics, read on the objective's split.
        start: finished cells of another sweep, for the sampler.
        sampler: answers `ask`.
        patience: seconds of retries of `ask` when the database is lost or busy.
        say: receives a message about trials that others have added.
        attend: receives the engine of Optuna's connections before they are used.
    """

    def __init__(
        self,
        url: str,
        name: str,
        *,
        objective: str,
        direction: str,
        also: Sequence[tuple[str, str]] = (),
        constraints: Sequence[Constraint] = (),
        start: Start | None = None,
        sampler: optuna.samplers.BaseSampler | None = None,
        patience: float = 60.0,
        say: Callable[[str], None] = lambda text: None,
        attend: Callable[[Engine], None] = lambda engine: None,
    ) -> None:
        self.name, self.objective = name, objective
        self._say = say
        self._direction = StudyDirection[direction.upper()]
        self._also = tuple((metric, StudyDirection[way.upper()]) for metric, way in also)
        self._constraints, self._start = tuple(constraints), start
        self._sampler, self._patience = sampler, patience
        self._address = dialects.parse(url)
        self._storage = _storage(self._address)
        attend(self._storage.engine)
        self._study: optuna.Study | None = None
        self._under: tuple[Store, Lease] | None = None
        self._views: Views = {}

    def __repr__(self) -> str:
        return f"Study({self.name!r}, {self._address.label})"

    def close(self) -> None:
        self._storage.remove_session()
        self._storage.engine.dispose()

    def sync(self, store: Store, lease: Lease, sweep: Sweep) -> int:
        """Mirrors every finished cell that is not mirrored yet; returns how many.

        The first call also makes the studies, mirrors again what is missing or has other levels
        now, and fails trials that belong to no cell.

        Raises:
            LeaseLost: another driver has the sweep.
            StoreError: a study of that name belongs to others.
        """
        target = MirroredSweep(
            sweep=sweep,
            objective=self.objective,
            direction=self._direction,
            also=self._also,
            constraints=self._constraints,
            start=self._start,
        )
        if self._under != (store, lease):
            self._views, foreign = store.fenced(lease, lambda c: mirror.catch_up(c, target))
            self._under = (store, lease)
            self._study = None  # Optuna's object never reads a finished trial twice
            for name, numbers in foreign.items():
                self._name(name, numbers)
        total = 0
        while store.database.read(lambda c: mirror.is_behind(c, sweep.id)):
            views = self._views
            done, self._views = store.fenced(lease, lambda c: mirror.mirror(c, target, views))  # noqa: B023
            total += done
        return total

    def _name(self, study: str, numbers: Sequence[int]) -> None:
        """Reports the trials that others have added."""
        if numbers:
            shown = ", ".join(map(str, numbers[:SHOWN])) + (" ..." if numbers[SHOWN:] else "")
            self._say(
                f"study '{study}' has {len(numbers)} finished trials that are not Sweeper's "
                f"({shown}): marked failed, so that the best trial and the sampler ignore them"
            )

    def settle(self, store: Store, lease: Lease, sweep: Sweep) -> int:
        """Runs a first `sync` again: at the end, no trial without a cell stays RUNNING."""
        self._under = None
        return self.sync(store, lease, sweep)

    def ask(
        self,
        distributions: Mapping[str, BaseDistribution],
        *,
        fixed: Mapping[str, Any] | None = None,
    ) -> tuple[int, dict[str, Any]]:
        """Returns a new RUNNING trial's number and the parameters that the sampler chose.

        The trial has the parameters in `fixed` as they are, and the sampler chooses the others.

        Optuna's own write cannot carry the lease's epoch, so the lease is checked before and after.
        A driver that has lost it makes no cell of the trial, and the next `sync` or `settle` of the
        new driver ends the trial.

        Raises:
            LeaseLost: another driver has the sweep.
            ValueError: `sync` was not called before.
        """
        if self._under is None:
            raise ValueError("call sync first: it says under which lease to ask")
        store, lease = self._under
        store.beat(lease)
        asked = self._asked(distributions, fixed or {})
        store.beat(lease)
        return asked

    def _asked(
        self, distributions: Mapping[str, BaseDistribution], fixed: Mapping[str, Any]
    ) -> tuple[int, dict[str, Any]]:
        def once() -> tuple[int, dict[str, Any]]:
            if fixed:
                # Optuna gives a waiting trial before it asks the sampler.
                self.study.enqueue_trial(dict(fixed), skip_if_exists=False)
            trial = self.study.ask(fixed_distributions=dict(distributions))
            return trial.number, dict(trial.params)

        assert self._under is not None  # noqa: S101  `ask` has looked
        return patiently(
            lambda: _unwrapped(once),
            address=self._address,
            patience=self._patience,
            give_up=self._under[0].database.give_up,
        )

    def set_note(self, markdown: str) -> None:
        """Shows a text on the study's page in the dashboard, in place of an earlier text.

        Raises:
            ValueError: `sync` was not called before.
        """
        if self._under is None:
            raise ValueError("call sync first: it says under which lease to write")
        store, lease = self._under
        study_id = self._views["report"].study_id
        store.fenced(lease, lambda connection: mirror.set_note(connection, study_id, markdown))

    @property
    def study(self) -> optuna.Study:
        """Optuna's study of the report cells, for reading."""
        if self._study is None:
            self._study = optuna.load_study(
                study_name=self.name, storage=self._storage, sampler=self._sampler
            )
        return self._study


@contextmanager
def storage_of(url: str) -> Iterator[RDBStorage]:
    """Optuna's storage on the database at `url`, closed at the end."""
    storage = _storage(dialects.parse(url))
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _storage(address: Address) -> RDBStorage:
    """Optuna's storage on the same database; makes Optuna's tables if they are missing.

    Its connections are opened for each use, so none is stale after a restart of the server.
    """
    url = address.url.render_as_string(hide_password=False)
    wait = {"timeout": 30} if address.dialect == "sqlite" else dialects.server_arguments(address)
    arguments = {"poolclass": NullPool, "connect_args": wait, "hide_parameters": True}
    try:
        storage = _unwrapped(
            # Optuna formats the URL.
            lambda: RDBStorage(url.replace("{", "{{").replace("}", "}}"), engine_kwargs=arguments)
        )
    except DBAPIError as error:
        raise dialects.explain(address, error.orig) from error
    except RuntimeError as error:
        raise StoreError(
            f"{address.label}: Optuna's tables are of another version of Optuna; "
            "`optuna storage upgrade` brings them up to date"
        ) from error
    if address.path is None:
        event.listen(storage.engine, "connect", dialects.prepare_server)
    return storage


def _unwrapped(work: Callable[[], T]) -> T:
    """Returns the result of `work`; replaces Optuna's error by the database's error inside it."""
    try:
        return work()
    except StorageInternalError as error:
        if isinstance(error.__cause__, DBAPIError):
            raise error.__cause__ from error
        raise
