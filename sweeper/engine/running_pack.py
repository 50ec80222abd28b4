"""A pack on a worker, and when the worker is given up."""

from __future__ import annotations

from dataclasses import dataclass, field

from sweeper.engine.messages import PackProgress
from sweeper.engine.worker_pool import Worker
from sweeper.spec.models import Limits
from sweeper.states import Ending
from sweeper.store.records import End, Pack, Report

ROUNDS_IN_A_HANG = 10  # a worker that takes as long as this many rounds for one does not progress


@dataclass(kw_only=True)
class RunningPack:
    """A pack on a worker; times come from the conductor.

    Attributes:
        job: its number; a message with another number is about another job.
        attempts: open run -> attempt.
        heard: when its last round ended, or when it began.
        killed_for: why the worker was ended, if it was.
        leaving: runs whose cell was stopped elsewhere; they end with the next evaluation.
    """

    pack: Pack
    job: int
    attempts: dict[int, int]
    worker: Worker
    began: float
    heard: float
    reached: PackProgress = field(default_factory=PackProgress)
    killed_for: Ending | None = None
    killed_text: str = ""
    leaving: set[int] = field(default_factory=set)

    def ends(self, ending: Ending, error: str) -> list[Report]:
        """The same end for every open attempt."""
        end = End(ending=ending, error=error)
        return [
            Report(run_id=run, attempt_id=attempt, node=self.worker.node, end=end)
            for run, attempt in self.attempts.items()
        ]

    def overdue(self, limits: Limits, now: float, *, price: float) -> str:
        """Why the pack is given up; empty if it is not.

        Args:
            price: the expected seconds of the whole pack; 0 if unknown.
        """
        if limits.run_seconds is not None and now - self.began > limits.run_seconds:
            return f"longer than limits.run_seconds ({limits.run_seconds:g} s)"
        waited = now - self.heard
        hang = max(limits.hang_seconds, ROUNDS_IN_A_HANG * price / self.reached.rounds)
        if not self.reached.round:
            first = max(limits.loading_seconds, hang)
            return f"no first round after {waited:.0f} s" if waited > first else ""
        return f"no progress for {waited:.0f} s, but its worker is alive" if waited > hang else ""
