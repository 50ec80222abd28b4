"""Decides on plain values what a report changes; the store writes it in one transaction.

Only an open attempt can change its run. A result of an attempt that has ended already (its worker
was given up, another attempt followed) is marked SUPERSEDED and its numbers are ignored, so that a
curve never mixes two attempts. For the same reason an epoch that a later attempt records again (a
run that restarted from a checkpoint) removes all later epochs.

An attempt itself never goes back. Its training time grows with each round, so a report with less
training time than before was delayed or repeated, and removes nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from sweeper import states
from sweeper.states import FINISHED, UNCOUNTED, Ending, RunState
from sweeper.store.records import End, Report

LONGEST_TEXT = 20_000


@dataclass(kw_only=True)
class OpenRun:
    """A run's row while reports are applied. `counted` is the number of earlier failed attempts."""

    id: int
    cell_id: int
    state: RunState
    epoch: int
    value: float | None
    ending: Ending | None
    error: str
    seconds: float
    counted: int


@dataclass(kw_only=True)
class OpenAttempt:
    """An attempt's row while reports are applied."""

    id: int
    run_id: int
    node: str
    device: str
    from_epoch: int
    seconds: float
    ending: Ending | None
    error: str
    ended_now: bool = False


@dataclass(kw_only=True)
class Changes:
    """The changes to write; keys make writing them twice the same as writing them once."""

    runs: dict[int, OpenRun] = field(default_factory=dict)
    attempts: dict[int, OpenAttempt] = field(default_factory=dict)
    numbers: dict[tuple[int, int], tuple[int, bytes]] = field(default_factory=dict)
    cuts: dict[int, int] = field(default_factory=dict)  # run -> last epoch that stays
    finished: list[int] = field(default_factory=list)  # the cell of each run that finished
    correct: dict[int, bytes] = field(default_factory=dict)  # of each run that became complete


class Ledger:
    """Applies reports, in order, to their rows."""

    def __init__(
        self, runs: dict[int, OpenRun], attempts: dict[int, OpenAttempt], *, max_attempts: int
    ) -> None:
        self.runs, self.attempts, self.max_attempts = runs, attempts, max_attempts
        self.changes = Changes()

    def apply(self, report: Report) -> None:
        """Applies a report.

        Raises:
            ValueError: the run or attempt does not exist, or the attempt is another run's.
        """
        run = self.runs.get(report.run_id)
        if run is None:
            raise ValueError(f"there is no run {report.run_id}")
        if report.attempt_id == 0:
            self._end_without_attempt(run, report)
            return
        attempt = self.attempts.get(report.attempt_id)
        if attempt is None or attempt.run_id != run.id:
            raise ValueError(f"run {run.id} has no attempt {report.attempt_id}")
        if attempt.ending is not None:
            self._late(run, attempt, report)
            return
        self._progress(run, attempt, report)
        if report.end is not None:
            self._end(run, attempt, report.end)

    def _progress(self, run: OpenRun, attempt: OpenAttempt, report: Report) -> None:
        self.changes.runs[run.id] = run
        self.changes.attempts[attempt.id] = attempt
        attempt.node = attempt.node if report.node is None else clean(report.node)
        attempt.device = attempt.device if report.device is None else clean(report.device)
        attempt.from_epoch = attempt.from_epoch if report.from_epoch is None else report.from_epoch
        late = report.seconds < attempt.seconds
        spent = max(0.0, report.seconds - attempt.seconds)
        attempt.seconds, run.seconds = attempt.seconds + spent, run.seconds + spent
        if report.reaches:
            self._reach(run, report, late=late)
        if report.numbers is not None:
            self.changes.numbers[run.id, report.epoch] = (report.step, report.numbers)

    def _reach(self, run: OpenRun, report: Report, *, late: bool) -> None:
        if late:
            run.epoch = max(run.epoch, report.epoch)
            return
        if report.epoch < run.epoch:
            self.changes.cuts[run.id] = min(report.epoch, self.changes.cuts.get(run.id, run.epoch))
            stale = [key for key in self.changes.numbers if key[0] == run.id]
            for key in stale:
                if key[1] > report.epoch:
                    del self.changes.numbers[key]
        run.epoch = report.epoch

    def _end(self, run: OpenRun, attempt: OpenAttempt, end: End) -> None:
        attempt.ending, attempt.error = end.ending, clean(end.error)
        attempt.ended_now = True
        run.counted += end.ending not in UNCOUNTED
        self._move(run, states.after(end.ending, run.counted, self.max_attempts), end)

    def _end_without_attempt(self, run: OpenRun, report: Report) -> None:
        """Ends a run without attempts: its cell was pruned, or its configuration cannot be used."""
        if report.end is None or run.state in FINISHED:
            return
        self.changes.runs[run.id] = run
        self._move(run, states.after(report.end.ending, 0, self.max_attempts), report.end)

    def _move(self, run: OpenRun, new: RunState, end: End) -> None:
        run.state = states.move(run.state, new)
        run.ending, run.error = end.ending, clean(end.error)
        if new is RunState.COMPLETE:
            run.value = finite(end.value)
            if end.correct is not None:
                self.changes.correct[run.id] = end.correct
        if new in FINISHED:
            self.changes.finished.append(run.cell_id)

    def _late(self, run: OpenRun, attempt: OpenAttempt, report: Report) -> None:
        if report.end is None or report.end.ending is attempt.ending:
            return  # recorded before: the commit was unknown, or the message came twice
        if report.end.ending in (Ending.COMPLETE, Ending.PRUNED):
            attempt.ending = Ending.SUPERSEDED
            self.changes.attempts[attempt.id] = attempt


def clean(text: str) -> str:
    """`text` in a form that both databases accept: no NUL, no lone surrogate, limited length."""
    whole = text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
    return whole if len(whole) <= LONGEST_TEXT else whole[:LONGEST_TEXT] + " ..."


def finite(value: float | None) -> float | None:
    """`value` as a float; None if it is missing or not finite."""
    return float(value) if value is not None and math.isfinite(value) else None
