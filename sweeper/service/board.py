"""The queue as people see it: state, place, what a sweep waits for, and when it should start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sweeper.service.deciding import MANY
from sweeper.service.fair import FairPolicy, QueueEntry, Supply, forecast
from sweeper.store.service_records import Grant, State, Submission, SubmissionStanding, Usage

GUESS_S = 60.0  # for a run of which nothing is known


class Board:
    """All submissions with what has become of them, at one moment.

    Args:
        room: of the cluster; None: no supervisor has ever led.
    """

    def __init__(
        self,
        submissions: Sequence[Submission],
        standings: Mapping[int, SubmissionStanding],
        grants: Mapping[str, Grant],
        usage: Mapping[str, Usage],
        *,
        now: float,
        room: Supply | None,
        policy: FairPolicy | None = None,
    ) -> None:
        self._submissions, self._standings, self._grants = submissions, standings, grants
        self._usage, self._now, self._room = usage, now, room
        self._policy = policy or FairPolicy()
        self._starts = self._foreseen()
        order = sorted(self._starts.items(), key=lambda one: one[1])
        self._positions = {name: place for place, (name, _) in enumerate(order, 1)}

    def rows(self) -> list[dict[str, Any]]:
        """A row for each submission, those that run or wait first, in their order."""
        rows = [self.row(one) for one in self._submissions]
        return sorted(rows, key=_place)

    def row(self, one: Submission) -> dict[str, Any]:
        """A submission, without its spec."""
        standing = self._standings.get(one.id)
        grant = self._grants.get(one.name)
        fresh = standing is None or standing.generation < one.generation
        state = State.QUEUED if standing is None or fresh else standing.state
        reason = "" if standing is None or fresh else standing.reason
        return {
            "name": one.name,
            "owner": one.owner,
            "priority": str(one.priority),
            "state": str(state),
            "reason": reason or ("waits for the supervisor to look" if fresh else ""),
            "wanted": str(one.wanted),
            "generation": one.generation,
            "position": self._positions.get(one.name),
            "starts_in_s": _rounded(self._starts.get(one.name)),
            "workers": grant.workers if grant else 0,
            "runs": one.needs.runs,
            "after": one.after,
            "window": list(one.window),
            "submitted_at": one.created_at,
        }

    def _foreseen(self) -> dict[str, float]:
        if self._room is None:
            return {}
        entries = [entry for one in self._submissions if (entry := self._entry(one))]
        usage = {owner: used.recent for owner, used in self._usage.items()}
        return forecast(
            entries, room=self._room, usage=usage, weights={}, now=self._now, policy=self._policy
        )

    def _entry(self, one: Submission) -> QueueEntry | None:
        standing, needs = self._standings.get(one.id), one.needs
        if standing is not None and standing.generation == one.generation and standing.settled:
            return None
        grant = self._grants.get(one.name)
        seconds = needs.seconds or GUESS_S * needs.runs
        if grant is not None and grant.workers:
            done = (self._now - grant.since) * grant.workers
            seconds = max(seconds - done, seconds / 10)
        return QueueEntry(
            name=one.name,
            owner=one.owner,
            priority=one.priority,
            since=one.created_at,
            worker=Supply(needs.cpus, needs.gpus),
            most=needs.workers or MANY,
            cost=needs.cost,
            workers=grant.workers if grant else 0,
            granted_at=grant.since if grant else 0.0,
            seconds=max(seconds, 1.0),
        )


ORDER = {State.RUNNING: 0, State.STOPPING: 0, State.QUEUED: 1}


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    first = ORDER.get(State(row["state"]), 2)
    position = row["position"] or 0
    return (first, position if first < 2 else -row["submitted_at"], row["name"])


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
