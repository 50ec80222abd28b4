"""The list of all sweeps of a database: states, progress, and answers of those that have ended."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from sweeper.drawing.redact import scrub
from sweeper.errors import SweeperError
from sweeper.so_far import ENDED, so_far
from sweeper.states import FINISHED, RunState
from sweeper.status import untold
from sweeper.store.glance import Within, newest
from sweeper.store.reads import Reader
from sweeper.store.records import Sweep
from sweeper.store.store import Store

SHOWN = 50  # sweeps of a page, the newest first
AT_ONCE = 3  # answers that are computed for one page; the others follow with later ones


@dataclass(frozen=True)
class SweepLine:
    """One line of the list.

    Attributes:
        answer: the report's headline once the sweep has ended; empty before.
        beat: seconds since the driver's last beat; None without a driver.
    """

    name: str
    question: str
    state: str
    reason: str
    done: int
    failed: int
    running: int
    total: int
    answer: str
    beat: float | None

    @property
    def ended(self) -> int:
        return self.done + self.failed


class Listing:
    """The lines of the list; answers of sweeps that have ended are computed once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._answers: dict[tuple[int, object], str] = {}

    def page(self, *, skip: int = 0) -> tuple[list[SweepLine], int]:
        """Some lines, the newest sweep first, and how many sweeps there are."""
        chosen, total, counts = self._store.database.read(lambda c: _counted(c, skip))
        todo = AT_ONCE
        for sweep in chosen:
            if sweep.state in ENDED and todo and _key(sweep) not in self._answers:
                runs = sum(counts[sweep.id].values())
                self._answers[_key(sweep)] = untold(sweep.name, runs) or self._answer(sweep)
                todo -= 1
        return [self._entry(sweep, counts[sweep.id]) for sweep in chosen], total

    def _answer(self, sweep: Sweep) -> str:
        try:
            return str(so_far(self._store, sweep.name)["answer"])
        except SweeperError as error:
            return scrub(str(error))

    def _entry(self, sweep: Sweep, states: dict[RunState, int]) -> SweepLine:
        return SweepLine(
            name=sweep.name,
            question=sweep.question,
            state=sweep.state,
            reason=scrub(sweep.state_reason),
            done=states[RunState.COMPLETE],
            failed=sum(states[one] for one in FINISHED) - states[RunState.COMPLETE],
            running=states[RunState.RUNNING],
            total=sum(states.values()),
            answer=self._answers.get(_key(sweep), ""),
            beat=sweep.holder["age"] if sweep.alive and sweep.holder else None,
        )


def _counted(
    connection: Connection, skip: int
) -> tuple[list[Sweep], int, dict[int, dict[RunState, int]]]:
    chosen, total = newest(connection, skip=skip, most=SHOWN)
    reader = Reader(Within(connection))
    return chosen, total, {sweep.id: reader.counts(sweep.id) for sweep in chosen}


def _key(sweep: Sweep) -> tuple[int, object]:
    return sweep.id, sweep.updated_at
