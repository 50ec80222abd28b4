"""Writes workers' results: ends at once, the rounds between at most once a second."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import numpy as np

from sweeper.engine.messages import MemberResult, Message
from sweeper.engine.run_tracker import RunTracker
from sweeper.states import UNCOUNTED, Ending, RunState
from sweeper.store.records import End, Key, Lease, Report
from sweeper.store.store import Store

BATCH_SECONDS = 1.0


class Recorder:
    """Holds reports back, passes them to the store, and updates the runs in memory."""

    def __init__(
        self,
        store: Store,
        lease: Lease,
        tracker: RunTracker,
        *,
        max_attempts: int,
        on_cell: Callable[[int], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._lease, self._tracker = store, lease, tracker
        self._max_attempts, self._on_cell, self._clock = max_attempts, on_cell, clock
        self._held: list[Report] = []
        self._held_since = 0.0

    def add(self, reports: Sequence[Report]) -> None:
        """Adds reports; writes everything held if one of them is an end."""
        if not reports:
            return
        if not self._held:
            self._held_since = self._clock()
        self._held.extend(reports)
        if any(report.end is not None for report in reports):
            self.flush()

    def tick(self) -> None:
        """Writes reports that were held for long enough."""
        if self._held and self._clock() - self._held_since >= BATCH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Writes everything held, in one transaction."""
        reports, self._held = self._held, []
        if not reports:
            return
        states = self._store.record(self._lease, reports, max_attempts=self._max_attempts)
        finished = [cell for report in reports for cell in self._note(report, states)]
        for cell in finished:
            self._on_cell(cell)

    def _note(self, report: Report, states: dict[int, RunState]) -> list[int]:
        run = self._tracker.runs.get(report.run_id)
        if run is None:
            return []
        if report.reaches:
            run.epoch = report.epoch
        if report.end is None:
            return []
        run.ending, run.value = report.end.ending, report.end.value
        run.failures += report.end.ending not in UNCOUNTED
        return [run.cell_id] if self._tracker.move(run.id, states[run.id]) else []


def reports_of(
    message: Message, *, members: Sequence[MemberResult], objective: int
) -> list[Report]:
    """A message as reports; `objective` is the index of the objective in the numbers."""
    return [
        Report(
            run_id=member.run,
            attempt_id=member.attempt,
            epoch=message.reached.epoch,
            step=message.reached.step,
            numbers=member.numbers,
            seconds=message.seconds,
            from_epoch=message.from_epoch,
            node=message.node,
            device=message.device,
            end=None
            if member.end is None
            else End(
                ending=member.end,
                value=value_at(member.numbers, objective)
                if member.end is Ending.COMPLETE
                else None,
                error=member.error,
                correct=member.correct,
            ),
        )
        for member in members
    ]


def value_at(numbers: bytes | None, index: int) -> float | None:
    """A number of a round; None if it is missing or not finite."""
    if numbers is None:
        return None
    value = float(np.frombuffer(numbers, dtype="<f4")[index])
    return value if math.isfinite(value) else None


def index_of(layout: Sequence[Key], key: Key) -> int:
    """The index of a number in a round's numbers."""
    return [tuple(one) for one in layout].index(key)
