"""A thousand sweeps that arrive at a small cluster: our rules, and a retry ladder as the peer.

Everything from one seed, on a virtual clock. A sweep has work in worker seconds, and uses at most
so many workers. The peer is a "queue" that is none: a sweep that finds no worker free asks again
after 15 s, 30 s, 60 s ... at most 10 minutes, and takes what is free at that moment.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count, islice
from statistics import mean, median

from sweeper.service.fair import (
    HOUR,
    ArrivalStream,
    FairPolicy,
    QueueEntry,
    Supply,
    arrival_streams,
    forecast,
    shares,
)
from sweeper.store.service_records import Priority

OWNERS = {"ann": 0.4, "bob": 0.3, "cem": 0.2, "dai": 0.1}  # their parts of the arrivals
CLASSES = {Priority.HIGH: 0.1, Priority.NORMAL: 0.7, Priority.LOW: 0.2}
WORKERS = 16
START_SECONDS = 10.0  # from grant to the first round
ROUND_SECONDS = 30.0  # until a worker that others need has finished its round
STEP = 60.0  # seconds between two looks without an event; the supervisor takes 2
LADDER = (15.0, 600.0)


@dataclass(frozen=True)
class Arrival:
    at: float
    entry: QueueEntry


@dataclass
class Course:
    """What became of the arrivals.

    Attributes:
        waited: seconds from submission to first start, by name.
        inversions: starts while an earlier sweep of the same owner and class, or any of a higher
            class, waited that could have started there.
        foreseen: seconds to the start as forecast at submission, by name.
    """

    waited: dict[str, float] = field(default_factory=dict)
    ended: dict[str, float] = field(default_factory=dict)
    inversions: int = 0
    preemptions: int = 0
    foreseen: dict[str, float] = field(default_factory=dict)

    def quantile(self, share: float) -> float:
        ordered = sorted(self.waited.values())
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]

    def mean(self) -> float:
        return mean(self.waited.values())

    def error(self, names: Iterable[str], *, above: float = 60.0) -> float:
        """The median relative error of the forecasts for those that waited for longer."""
        errors = [
            abs(self.foreseen[name] - self.waited[name]) / self.waited[name]
            for name in names
            if self.waited[name] > above
        ]
        return median(errors) if errors else 0.0


def arrivals(
    seed: int, *, number: int = 1000, load: float = 0.9, hours: float = 1.0
) -> list[Arrival]:
    """Sweeps of some owners, in the order of their submission.

    Args:
        load: of the cluster, on the average.
        hours: of work in a sweep, on the average, of one worker.
    """
    return list(islice(endless(random.Random(seed), load=load, hours=hours), number))


def endless(
    dice: random.Random, *, load: float, hours: float = 1.0, at: float = 0.0, prefix: str = "s"
) -> Iterator[Arrival]:
    """The same without end, from a time on."""
    gap = hours * HOUR / (WORKERS * load)
    for index in count():
        at += dice.expovariate(1 / gap)
        [owner] = dice.choices(list(OWNERS), list(OWNERS.values()))
        [priority] = dice.choices(list(CLASSES), list(CLASSES.values()))
        work = hours * HOUR * dice.lognormvariate(-0.5, 1.0)  # the mean of the factor is 1
        entry = QueueEntry(
            name=f"{prefix}{index}",
            owner=owner,
            priority=priority,
            since=at,
            worker=Supply(1.0),
            most=dice.choice((1, 2, 4, 8)),
            seconds=work,
        )
        yield Arrival(at, entry)


def until_start(
    name: str,
    entries: Iterable[QueueEntry],
    usage: Mapping[str, float],
    now: float,
    *,
    load: float,
    seed: int,
) -> float:
    """Seconds until a sweep starts in one possible future: sweeps come at random, as they do.

    Rounds end at once here, and sweeps work from their start on.
    """
    policy, live, used, at = FairPolicy(), {one.name: one for one in entries}, dict(usage), now
    coming = endless(random.Random(seed), load=load, at=now, prefix="n")
    new = next(coming)
    while True:
        while new.at <= at:
            live[new.entry.name], new = new.entry, next(coming)
        given = shares(
            live.values(), room=Supply(WORKERS), usage=used, weights={}, now=at, policy=policy
        )
        if name in given:
            return at - now
        for one in list(live.values()):
            workers = given.get(one.name, 0)
            if workers != one.workers:
                since = at if workers and not one.workers else one.granted_at
                live[one.name] = replace(one, workers=workers, granted_at=since)
        ends = [live[it].seconds / live[it].workers for it in given]
        step = max(min([new.at - at, policy.min_run_s, *ends]), 1e-3)
        for one in [live[it] for it in given]:
            used[one.owner] = used.get(one.owner, 0.0) + step * one.workers
            left = one.seconds - step * one.workers
            if left <= 1e-6:
                del live[one.name]
            else:
                live[one.name] = replace(one, seconds=left)
        at += step


def ours(
    listed: list[Arrival],
    *,
    policy: FairPolicy | None = None,
    noise: float = 0.2,
    seed: int = 0,
    foresee: bool = True,
    seen: Callable[[Arrival, list[QueueEntry], dict[str, float]], None] | None = None,
) -> Course:
    """The course under Sweeper's rules.

    Args:
        seen: called at each arrival, with the sweeps there are and what their owners have used.
        noise: the estimates of a sweep's time are wrong by such a factor, on a log scale.
    """
    policy, course, dice = policy or FairPolicy(), Course(), random.Random(seed)
    queue, live, usage = list(reversed(listed)), dict[str, QueueEntry](), dict[str, float]()
    wrong = {one.entry.name: dice.lognormvariate(0.0, noise) for one in listed}
    starting: dict[str, float] = {}  # seconds until a started sweep works
    at = 0.0

    def decide() -> None:
        given = shares(
            live.values(), room=Supply(WORKERS), usage=usage, weights={}, now=at, policy=policy
        )
        busy = sum(one.workers for one in live.values())
        for name in sorted(live):
            one, workers = live[name], given.get(name, 0)
            if workers and not one.workers:
                late = ROUND_SECONDS * (busy + workers > WORKERS)  # others must leave first
                _note_start(course, one, live.values(), given, at, policy, late=late)
                starting[name] = START_SECONDS + late
            course.preemptions += bool(one.workers and not workers)
            granted = at if workers and not one.workers else one.granted_at
            live[name] = replace(one, workers=workers, granted_at=granted)

    while queue or live:
        while queue and queue[-1].at <= at:
            one = queue.pop().entry
            live[one.name] = one
            if foresee:
                guessed = [
                    replace(other, seconds=other.seconds * wrong[other.name])
                    for other in live.values()
                ]
                if seen is not None:
                    seen(Arrival(at, one), guessed, dict(usage))
                soon = forecast(
                    guessed, room=Supply(WORKERS), usage=usage, weights={}, now=at,
                    policy=policy, arriving=_arriving(listed, at),
                )  # fmt: skip
                course.foreseen[one.name] = soon[one.name]
        decide()
        step = STEP if live else queue[-1].at - at
        step = min([step, *([queue[-1].at - at] if queue else ()), *_ends(live, starting)])
        step = max(step, 1e-3)
        for name, one in list(live.items()):
            if not one.workers:
                continue
            usage[one.owner] = usage.get(one.owner, 0.0) + step * one.workers
            lost = min(starting.get(name, 0.0), step)
            starting[name] = starting.get(name, 0.0) - lost
            left = one.seconds - (step - lost) * one.workers
            live[name] = replace(one, seconds=left)
            if left <= 1e-6:
                course.ended[name] = at + step
                del live[name]
        for owner in usage:
            usage[owner] *= 0.5 ** (step / policy.half_life_s)
        at += step
    return course


def _arriving(listed: list[Arrival], now: float) -> dict[Priority, ArrivalStream]:
    """The sweeps that the last day has seen."""
    window = min(max(now, HOUR), 24 * HOUR)
    lately = [(one.entry, 1) for one in listed if now - window < one.at <= now]
    return arrival_streams(lately, window_s=window)


def _ends(live: dict[str, QueueEntry], starting: dict[str, float]) -> Iterator[float]:
    for name, one in live.items():
        if one.workers:
            yield starting.get(name, 0.0) + one.seconds / one.workers


def _note_start(
    course: Course,
    one: QueueEntry,
    live: Iterable[QueueEntry],
    given: Mapping[str, int],
    at: float,
    policy: FairPolicy,
    *,
    late: float = 0.0,
) -> None:
    if one.name in course.waited:
        return  # it goes on after it was drained
    course.waited[one.name] = at + late - one.since
    rank = one.rank(at, policy)
    course.inversions += any(
        other.name not in course.waited
        and other.name not in given
        and (
            other.rank(at, policy) < rank
            or (
                other.rank(at, policy) == rank
                and other.owner == one.owner
                and other.since < one.since
            )
        )
        for other in live
    )


def ladder(listed: list[Arrival]) -> Course:
    """The course under the retry ladder."""
    course, free, count = Course(), WORKERS, 0
    policy = FairPolicy(ageing_s=float("inf"))
    waiting: dict[str, QueueEntry] = {}
    events: list[tuple[float, int, str, QueueEntry, float]] = []

    def push(at: float, kind: str, entry: QueueEntry, number: float) -> None:
        nonlocal count
        count += 1
        heapq.heappush(events, (at, count, kind, entry, number))

    for one in listed:
        push(one.at, "ask", one.entry, LADDER[0])
    while events:
        at, _, kind, entry, number = heapq.heappop(events)
        if kind == "end":
            free += int(number)
            course.ended[entry.name] = at
            continue
        waiting[entry.name] = entry
        if not free:
            push(at + number, "ask", entry, min(2 * number, LADDER[1]))
            continue
        del waiting[entry.name]
        _note_start(course, entry, waiting.values(), {}, at, policy)
        workers = min(free, entry.most)
        free -= workers
        push(at + START_SECONDS + entry.seconds / workers, "end", entry, workers)
    return course


def by_class(
    course: Course, listed: list[Arrival], of: Callable[[list[float]], float]
) -> dict[str, float]:
    """A summary of the waiting times of each priority class."""
    return {
        str(priority): of(
            [course.waited[one.entry.name] for one in listed if one.entry.priority is priority]
        )
        for priority in Priority
    }
