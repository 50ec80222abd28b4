"""Who gets how many workers, and when a waiting sweep will start: pure, the same everywhere.

1. **Class first.** A sweep of a higher priority goes before every sweep of a lower one. Each
   `ageing_s` since its submission raises a sweep by one class, so none waits for ever.
2. **Fair between owners.** Within a class each next worker goes to the owner who has used least:
   worker seconds with a half-life, plus `horizon_s` for each worker that the owner gets now, by
   the owner's weight; none beyond the owner's limit of workers.
3. **First come.** Within an owner the sweep that was submitted first takes what it can use.

A sweep that waits keeps its place, whatever the time: nothing is drawn, and nobody asks again after
a pause. A running sweep keeps one worker for `min_run_s`, then it may be drained for others.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from sweeper.store.service_records import Priority

HOUR = 3600.0


@dataclass(frozen=True, kw_only=True)
class FairPolicy:
    """The numbers of the rules above, in seconds."""

    half_life_s: float = 24 * HOUR
    horizon_s: float = HOUR
    ageing_s: float = 24 * HOUR
    min_run_s: float = 600.0


class Supply(NamedTuple):
    """Processors and GPUs: of the cluster, of a worker, or free."""

    cpus: float
    gpus: float = 0.0

    def fits(self, worker: Supply) -> bool:
        """Returns whether a worker has room here."""
        return worker.cpus <= self.cpus + 1e-9 and _taken(worker.gpus) <= self.gpus + 1e-9

    def less(self, worker: Supply, number: int = 1) -> Supply:
        """The rest beside so many workers."""
        gpus = self.gpus - number * _taken(worker.gpus)
        return Supply(self.cpus - number * worker.cpus, gpus)

    def less_all(self, held: Iterable[tuple[Supply, int]]) -> Supply:
        """The rest beside workers of several kinds."""
        left = self
        for worker, number in held:
            left = left.less(worker, number)
        return left

    def times(self, worker: Supply) -> int:
        """How many such workers have room here."""
        parts = [(self.cpus, worker.cpus), (self.gpus, _taken(worker.gpus))]
        return max(0, min(int(have / each + 1e-9) for have, each in parts if each > 0))

    def __str__(self) -> str:
        gpus = f" and {self.gpus:g} GPU" if self.gpus else ""
        return f"{self.cpus:g} CPU{gpus}"


def _taken(share: float) -> float:
    """What a worker's share takes of the GPUs: what is left of one is no part of another's share.

    Of a GPU two workers with 0.4 use all: a third one finds no room, on any number of GPUs.
    """
    return 1 / int(1 / share + 1e-9) if 0 < share < 1 else share


@dataclass(frozen=True, kw_only=True)
class QueueEntry:
    """A sweep that runs or waits for nothing but workers.

    Attributes:
        since: when it was submitted.
        most: the workers that it can use.
        workers: those that it has now; 0: it waits.
        granted_at: since when it has any.
        seconds: of one worker's time that are left, as estimated.
    """

    name: str
    owner: str
    priority: Priority
    since: float
    worker: Supply
    most: int
    cost: float = 1.0
    workers: int = 0
    granted_at: float = 0.0
    seconds: float = 0.0

    def rank(self, now: float, policy: FairPolicy) -> int:
        """Its class now, 0 for the first: a day of age raises it by one."""
        return max(0, self.priority.rank - int((now - self.since) // policy.ageing_s))


@dataclass
class _Owner:
    """An owner's sweeps in one class, first come first."""

    score: float  # what the owner has used, by weight
    step: float  # what a worker adds to it
    name: str
    waiting: list[QueueEntry] = field(default_factory=list)
    at: int = 0  # the sweep that gets the next worker

    def __lt__(self, other: _Owner) -> bool:
        mine, theirs = self.waiting[self.at], other.waiting[other.at]
        return (self.score, mine.since, mine.name) < (other.score, theirs.since, theirs.name)


class Shares:
    """Hands out workers one by one, in the order of the rules.

    Args:
        usage: recent worker seconds of each owner.
        weights: of owners; 1 where there is none.
        caps: the most workers of an owner.
    """

    def __init__(
        self,
        entries: Iterable[QueueEntry],
        *,
        free: Supply,
        usage: Mapping[str, float],
        weights: Mapping[str, float],
        now: float,
        policy: FairPolicy,
        caps: Mapping[str, int] | None = None,
    ) -> None:
        self.given: dict[str, int] = {}
        self._caps, self._has = caps or {}, dict[str, int]()
        self.free, self._policy = free, policy
        self._weights = weights
        self._used = dict(usage)
        ranked: dict[int, dict[str, _Owner]] = {}
        for entry in sorted(entries, key=lambda one: (one.since, one.name)):
            owners = ranked.setdefault(entry.rank(now, policy), {})
            owner = owners.get(entry.owner)
            if owner is None:
                owner = owners[entry.owner] = _Owner(
                    0.0, policy.horizon_s / weights.get(entry.owner, 1.0), entry.owner
                )
            owner.waiting.append(entry)
        self._classes = [list(ranked[rank].values()) for rank in sorted(ranked)]

    def protect(self, entries: Iterable[QueueEntry], now: float) -> None:
        """Leaves one worker to each sweep that has run for less than the minimum."""
        for entry in sorted(entries, key=lambda one: (one.granted_at, one.name)):
            young = entry.workers and now - entry.granted_at < self._policy.min_run_s
            if young and self.free.fits(entry.worker):
                self._give(entry)

    def hand_out(self) -> dict[str, int]:
        """Gives every worker that fits; returns the number for each sweep that has any."""
        for owners in self._classes:
            heap = [self._scored(owner) for owner in owners]
            heapq.heapify(heap)
            while heap:
                owner = heap[0]
                if not self._next(owner):
                    heapq.heappop(heap)
                    continue
                entry = owner.waiting[owner.at]
                self._give(entry)
                owner.score += owner.step * entry.cost
                if self.given[entry.name] >= entry.most:
                    owner.at += 1
                if owner.at < len(owner.waiting):
                    heapq.heapreplace(heap, owner)
                else:
                    heapq.heappop(heap)
        return self.given

    def _scored(self, owner: _Owner) -> _Owner:
        weight = self._weights.get(owner.name, 1.0)
        owner.score = self._used.get(owner.name, 0.0) / weight
        return owner

    def _next(self, owner: _Owner) -> bool:
        """Moves on to the owner's first sweep that has room for a worker and can use it."""
        cap = self._caps.get(owner.name)
        if self.free.cpus <= 0 or (cap is not None and self._has.get(owner.name, 0) >= cap):
            return False
        while owner.at < len(owner.waiting):
            entry = owner.waiting[owner.at]
            if self.given.get(entry.name, 0) < entry.most and self.free.fits(entry.worker):
                return True
            owner.at += 1
        return False

    def _give(self, entry: QueueEntry) -> None:
        self.given[entry.name] = self.given.get(entry.name, 0) + 1
        self._has[entry.owner] = self._has.get(entry.owner, 0) + 1
        self.free = self.free.less(entry.worker)
        # A worker of a higher class counts in a lower one too.
        self._used[entry.owner] = (
            self._used.get(entry.owner, 0.0) + self._policy.horizon_s * entry.cost
        )


def shares(
    entries: Iterable[QueueEntry],
    *,
    room: Supply,
    usage: Mapping[str, float],
    weights: Mapping[str, float],
    now: float,
    policy: FairPolicy,
    caps: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """The number of workers that each sweep should have; those that should have none are left out.

    Running sweeps get no more than the rules give them, but for their first `min_run_s`.
    """
    listed = list(entries)
    found = Shares(
        listed, free=room, usage=usage, weights=weights, now=now, policy=policy, caps=caps
    )
    found.protect(listed, now)
    return found.hand_out()


# --- when a waiting sweep will start

NEWCOMER, LAST_USE = "\0", 1e18  # the owner of sweeps that will come, and what it has used
AHEAD = 20  # sweeps of an owner in a class that are looked at one by one
EVENTS = 200  # ends of sweeps that are foreseen one by one
MOST_TAKEN = 0.9  # of the cluster, by sweeps that will come, as far as anybody can foresee


@dataclass(frozen=True)
class ArrivalStream:
    """The new sweeps of a class as they have come lately, alike and at equal distances.

    Attributes:
        seconds: of a worker's time, in each.
        most: workers that each can use.
    """

    gap_s: float
    seconds: float
    most: int
    worker: Supply

    def share(self, room: Supply) -> float:
        """The share of the cluster that they take."""
        return self.seconds / self.gap_s / max(1, room.times(self.worker))


def forecast(
    entries: Iterable[QueueEntry],
    *,
    room: Supply,
    usage: Mapping[str, float],
    weights: Mapping[str, float],
    now: float,
    policy: FairPolicy,
    caps: Mapping[str, int] | None = None,
    arriving: Mapping[Priority, ArrivalStream] | None = None,
) -> dict[str, float]:
    """Seconds until each waiting sweep starts.

    The rules are played forward: a sweep ends when its estimated time is used, the next one gets
    its workers. Sweeps far behind are added up instead: the work before them, by the workers there
    are. New sweeps of higher classes will come meanwhile and go first; they are played too, as if
    they came as lately. A sweep that no node has room for is left out.

    Args:
        arriving: the new sweeps of each class, as they came lately.
    """
    able = [one for one in entries if room.fits(one.worker)]
    near, far = _split(able, now, policy)
    running = {one.name: one for one in near}
    used, found, at = dict(usage), dict[str, float](), now
    waiting = {one.name for one in near if not one.workers}
    coming = _Newcomers(arriving or {}, now)
    used[NEWCOMER] = LAST_USE
    for _ in range(EVENTS):
        if not waiting:
            break
        lowest = max(running[name].rank(at, policy) for name in waiting)
        running |= coming.until(at, before=lowest)
        given = shares(
            running.values(), room=room, usage=used, weights=weights, now=at, policy=policy,
            caps=caps,
        )  # fmt: skip
        for name, workers in given.items():
            found.setdefault(name, at - now)
            waiting.discard(name)
            one = running[name]
            if workers != one.workers:
                granted = one.granted_at if one.workers else at
                running[name] = replace(one, workers=workers, granted_at=granted)
        for name, one in running.items():
            if one.workers and name not in given:
                running[name] = replace(one, workers=0)
        step = min(_next_change(running.values(), at, policy), coming.next_at(before=lowest) - at)
        step = max(step, 1e-3)
        for name in given:
            one = running[name]
            work = step * one.workers
            used[one.owner] = used.get(one.owner, 0.0) + work * one.cost
            if one.seconds - work <= 1e-6:
                del running[name]
            else:
                running[name] = replace(one, seconds=one.seconds - work)
        used = {owner: it * 0.5 ** (step / policy.half_life_s) for owner, it in used.items()}
        at += step
    left = [running[name] for name in waiting]
    taken = {one: stream.share(room) for one, stream in (arriving or {}).items()}
    found |= _added_up([*left, *far], at - now, room, now, policy, taken)
    return {one.name: found[one.name] for one in able if not one.workers}


def arrival_streams(
    lately: Iterable[tuple[QueueEntry, int]], *, window_s: float
) -> dict[Priority, ArrivalStream]:
    """The new sweeps of each class, as they have come in so many seconds.

    Args:
        lately: sweeps, each with how many came like it.
    """
    found: dict[Priority, list[tuple[QueueEntry, int]]] = {}
    for one, number in lately:
        found.setdefault(one.priority, []).append((one, number))
    return {priority: _stream(some, window_s) for priority, some in found.items()}


def _stream(some: Sequence[tuple[QueueEntry, int]], window_s: float) -> ArrivalStream:
    count = sum(number for _, number in some)
    most = sum(one.most * number for one, number in some) / count
    return ArrivalStream(
        gap_s=window_s / count,
        seconds=sum(one.seconds * number for one, number in some) / count,
        most=max(1, round(most)),
        worker=some[0][0].worker,
    )


class _Newcomers:
    """The sweeps that will come and go before some that wait, if they come as lately.

    They have no owner who has used little, so they go after every sweep of their own class.
    """

    def __init__(self, streams: Mapping[Priority, ArrivalStream], now: float) -> None:
        self._streams, self._number = streams, 0
        self._next = {one: now + stream.gap_s for one, stream in streams.items()}

    def next_at(self, *, before: int) -> float:
        """When the next one comes that goes before a class."""
        soon = (at for one, at in self._next.items() if one.rank < before)
        return min(soon, default=float("inf"))

    def until(self, at: float, *, before: int) -> dict[str, QueueEntry]:
        """Those that have come until then and go before a class."""
        found: dict[str, QueueEntry] = {}
        for priority, stream in self._streams.items():
            while priority.rank < before and (since := self._next[priority]) <= at:
                self._next[priority] += stream.gap_s
                self._number += 1
                name = f"{NEWCOMER}{self._number}"
                found[name] = QueueEntry(
                    name=name, owner=NEWCOMER, priority=priority, since=since,
                    worker=stream.worker, most=stream.most, seconds=stream.seconds,
                )  # fmt: skip
        return found


def _split(
    entries: Iterable[QueueEntry], now: float, policy: FairPolicy
) -> tuple[list[QueueEntry], list[QueueEntry]]:
    """Those that run or come soon, and the rest."""
    near: list[QueueEntry] = []
    far: list[QueueEntry] = []
    counts: dict[tuple[int, str], int] = {}
    for one in sorted(entries, key=lambda one: one.since):
        place = (one.rank(now, policy), one.owner)
        counts[place] = counts.get(place, 0) + 1
        (near if one.workers or counts[place] <= AHEAD else far).append(one)
    return near, far


def _next_change(running: Iterable[QueueEntry], at: float, policy: FairPolicy) -> float:
    """Seconds until a sweep ends, or may be drained; at most a quarter of the horizon."""
    ends = [one.seconds / one.workers for one in running if one.workers]
    young = (one.granted_at + policy.min_run_s - at for one in running if one.workers)
    changes = [*ends, *(left for left in young if left > 0), policy.horizon_s / 4]
    return max(min(changes), 1e-3)


def _added_up(
    entries: Iterable[QueueEntry],
    start: float,
    room: Supply,
    now: float,
    policy: FairPolicy,
    taken: Mapping[Priority, float],
) -> dict[str, float]:
    """Starts by the work before a sweep, with the workers that new sweeps before it leave."""
    found, at = dict[str, float](), start
    left = [
        1 - min(sum(share for one, share in taken.items() if one.rank < rank), MOST_TAKEN)
        for rank in range(len(Priority))
    ]
    ranked = ((one.rank(now, policy), one) for one in entries)
    for rank, one in sorted(ranked, key=lambda pair: (pair[0], pair[1].since)):
        found[one.name] = at
        workers = max(1.0, room.cpus // one.worker.cpus if one.worker.cpus else one.most)
        at += one.seconds / workers / left[rank]
    return found
