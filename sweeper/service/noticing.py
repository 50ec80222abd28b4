"""What is worth a message while a sweep runs: failures of a new kind, no progress, little budget.

Each notice has a key, so that it is given once, however many supervisors find it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sweeper.service.deciding import NO_PROGRESS
from sweeper.service.limits import Allowance
from sweeper.store.outbox import BUDGET, FAILURE, QUIET
from sweeper.store.service_records import Notice, Submission
from sweeper.store.service_watch import SweepWork

MOST_ERROR = 300  # characters of an error


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a running sweep may record nothing.

    Attributes:
        notice_s: until a message.
        stop_s: until it is drained; it needs attention then.
    """

    notice_s: float = 3600.0
    stop_s: float = 4 * 3600.0

    @classmethod
    def of_hours(cls, hours: float) -> Patience:
        """So many hours until a message, and four times as many until it is drained."""
        return cls(notice_s=3600 * hours, stop_s=4 * 3600 * hours)


@dataclass(kw_only=True)
class Watchman:
    """Watches the sweeps that run.

    A supervisor that takes the lead over waits again for the whole time.
    """

    patience: Patience = field(default_factory=Patience)
    _since: dict[str, tuple[int, float]] = field(default_factory=dict[str, tuple[int, float]])

    def notices(
        self,
        live: Sequence[Submission],
        work: Mapping[str, SweepWork],
        *,
        now: float,
        allowances: Mapping[str, Allowance] | None = None,
    ) -> list[Notice]:
        """What there is to say now; the same again as long as it holds.

        Args:
            allowances: of the owners.
        """
        used = allowances or {}
        before, self._since = self._since, {}
        for one in live:
            rounds = work[one.name].rounds if one.name in work else 0
            old = before.get(one.name)
            same = old is not None and old[0] == rounds
            self._since[one.name] = old if old is not None and same else (rounds, now)
        return [
            notice
            for one in live
            for notice in (
                *_failures(one, work.get(one.name)),
                *self._quiet(one, now),
                *_budget(one, used.get(one.owner)),
            )
        ]

    def stalled(self, now: float) -> dict[str, str]:
        """Sweeps that have recorded nothing for too long, with the reason to drain them."""
        return {
            name: f"{NO_PROGRESS} for {_spoken(now - since)}"
            for name, (_, since) in self._since.items()
            if now - since >= self.patience.stop_s
        }

    def _quiet(self, one: Submission, now: float) -> Iterator[Notice]:
        rounds, since = self._since[one.name]
        if now - since >= self.patience.notice_s:
            yield Notice(
                sweep=one.name,
                what=QUIET,
                why=f"it runs, and has recorded nothing for {_spoken(self.patience.notice_s)}",
                key=f"quiet:{one.id}:{rounds}",
            )


def _failures(one: Submission, work: SweepWork | None) -> Iterator[Notice]:
    for reason, error in sorted(work.failures.items()) if work else ():
        line = " ".join(error.split())[:MOST_ERROR]
        yield Notice(
            sweep=one.name,
            what=FAILURE,
            why=f"{reason}: {line}" if line else reason,
            key=f"failure:{one.id}:{reason}",
        )


def _budget(one: Submission, allowance: Allowance | None) -> Iterator[Notice]:
    for limit, text in allowance.nearly() if allowance else ():
        yield Notice(sweep=one.name, what=BUDGET, why=text, key=f"budget:{one.id}:{limit}")


def _spoken(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{seconds / 60:.0f} min"
