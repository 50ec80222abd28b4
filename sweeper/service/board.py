"""The queue as people see it: state, place, what a sweep waits for, and when it should start."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from sweeper.service.deciding import MANY, until_open_s
from sweeper.service.fair import (
    HOUR,
    ArrivalStream,
    FairPolicy,
    QueueEntry,
    Supply,
    arrival_streams,
    forecast,
)
from sweeper.store.service_records import RANKS, Needs, Owner, Priority, State, Usage

DAY_S = 24 * HOUR
WINDOW_S = DAY_S  # in which new sweeps are counted
NEAR = 15  # waiting sweeps of an owner and a class whose starts are foreseen one by one
GUESS_S = 60.0  # for a run of which nothing is known


class Board:
    """The submissions with what has become of them, at one moment.

    Args:
        listed: rows of `Wishes.listing`.
        room: of the cluster; None: no supervisor has ever led.
        owners: shares and limits.
    """

    def __init__(
        self,
        listed: Sequence[Mapping[str, Any]],
        usage: Mapping[str, Usage],
        *,
        now: float,
        room: Supply | None,
        policy: FairPolicy | None = None,
        owners: Mapping[str, Owner] | None = None,
    ) -> None:
        self._listed, self._now = listed, now
        near, far = _split(listed)
        self._starts: dict[str, float] = {}
        if room is not None:
            entries = [self._entry(one) for one in near]
            self._starts = forecast(
                entries,
                room=room,
                usage={owner: used.recent for owner, used in usage.items()},
                weights={name: one.weight for name, one in (owners or {}).items()},
                caps={
                    name: one.most_workers
                    for name, one in (owners or {}).items()
                    if one.most_workers is not None
                },
                now=now,
                policy=policy or FairPolicy(),
                arriving=self._arriving(),
            )
            self._starts |= _behind(far, entries, after=self._starts, room=room)
            self._wait_for_hours_and_others()
        order = sorted(self._starts.items(), key=lambda one: one[1])
        self._positions = {name: place for place, (name, _) in enumerate(order, 1)}

    @property
    def names(self) -> set[str]:
        """The names of all submissions."""
        return {one["name"] for one in self._listed}

    def unsettled(self, owner: str) -> int:
        """How many sweeps of an owner wait or run."""
        return sum(one["owner"] == owner and not one["settled"] for one in self._listed)

    def planned_s(self, owner: str) -> float:
        """What an owner's sweeps that wait or run will still use, as far as it is known."""
        some = [one for one in self._listed if one["owner"] == owner and not one["settled"]]
        entries = [self._entry(one) for one in some if _parsed(one["needs"])["seconds"]]
        return sum(one.seconds * one.cost for one in entries)

    def rows(self, *, skip: int = 0, most: int | None = None) -> list[dict[str, Any]]:
        """A row for each submission, those that run or wait first, in their order."""
        ordered = sorted(self._listed, key=self._place)
        return [self.row(one) for one in ordered[skip : None if most is None else skip + most]]

    def _place(self, one: Mapping[str, Any]) -> tuple[float, float]:
        first = ORDER.get(one["state"] or State.QUEUED, 2)
        position = self._positions.get(one["name"], 0)
        return (first, position if first < 2 else -one["created_at"])

    def row(self, one: Mapping[str, Any]) -> dict[str, Any]:
        """A submission, without its spec."""
        name, state = one["name"], one["state"]
        return {
            "name": name,
            "owner": one["owner"],
            "priority": one["priority"],
            "state": state or State.QUEUED.value,
            "reason": UNSEEN if state is None else one["reason"],
            "wanted": one["wanted"],
            "generation": one["generation"],
            "position": self._positions.get(name),
            "starts_in_s": self._starts.get(name),
            "workers": one["workers"] or 0,
            "needs": _parsed(one["needs"]),
            "after": one["after"],
            "window": _parsed(one["window"]),
            "submitted_at": one["created_at"],
        }

    def _wait_for_hours_and_others(self) -> None:
        """Moves the starts of sweeps that wait for their hours, or for another sweep to finish."""
        local, named = time.localtime(self._now), {one["name"]: one for one in self._listed}
        second = 3600 * local.tm_hour + 60 * local.tm_min + local.tm_sec
        held = [one for one in self._listed if one["after"] or _parsed(one["window"])]
        for one in sorted(held, key=lambda one: one["created_at"]):  # after names an earlier one
            if one["name"] not in self._starts or one["workers"]:
                continue
            start = self._starts[one["name"]]
            before = named.get(one["after"])
            if before is not None and not before["settled"]:
                entry = self._entry(before)
                ends = self._starts.get(before["name"], 0.0) + entry.seconds / (entry.workers or 1)
                start = max(start, ends)
            start += until_open_s(_parsed(one["window"]), (second + start) % DAY_S)
            self._starts[one["name"]] = start

    def _arriving(self) -> dict[Priority, ArrivalStream]:
        """The submissions of the last day, as they were when they came."""
        after = self._now - WINDOW_S
        lately = [one for one in self._listed if one["created_at"] > after]
        first = min((one["created_at"] for one in lately), default=self._now)
        kinds = Counter((one["priority"], one["needs"]) for one in lately)
        like = {(one["priority"], one["needs"]): one for one in lately}
        return arrival_streams(
            [(self._entry({**like[kind], "workers": 0}), n) for kind, n in kinds.items()],
            window_s=max(self._now - first, HOUR),
        )

    def _entry(self, one: Mapping[str, Any]) -> QueueEntry:
        needs, workers = Needs(**_parsed(one["needs"])), one["workers"] or 0
        seconds = needs.seconds or GUESS_S * needs.runs
        if workers:
            seconds = max(seconds - (self._now - one["since"]) * workers, seconds / 10)
        return QueueEntry(
            name=one["name"],
            owner=one["owner"],
            priority=Priority(one["priority"]),
            since=one["created_at"],
            worker=Supply(needs.cpus, needs.gpus),
            most=needs.workers or MANY,
            cost=needs.cost,
            workers=workers,
            granted_at=one["since"] or 0.0,
            seconds=max(seconds, 1.0),
        )


@lru_cache(1000)
def _parsed(text: str) -> Any:
    """The value of a JSON text, of which there are few different ones; nobody changes it."""
    return json.loads(text)


def _split(
    listed: Iterable[Mapping[str, Any]],
) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """Those that run, with the first that wait of each owner and class, and the rest."""
    near, far, counts = list[Mapping[str, Any]](), list[Mapping[str, Any]](), Counter[Any]()
    for one in listed:
        if one["settled"]:
            continue
        place = (one["priority"], one["owner"])
        counts[place] += 1
        (near if one["workers"] or counts[place] <= NEAR else far).append(one)
    return near, far


def _behind(
    far: Iterable[Mapping[str, Any]],
    near: Sequence[QueueEntry],
    *,
    after: Mapping[str, float],
    room: Supply,
) -> dict[str, float]:
    """When sweeps far behind start: as if they were as long as those before them."""
    if not near:
        return {}
    mean = sum(one.seconds for one in near) / len(near)
    step = mean / max(1, room.times(near[0].worker))
    ordered = sorted(far, key=lambda one: (RANKS[one["priority"]], one["created_at"]))
    last = max(after.values(), default=0.0)
    return {one["name"]: last + step * place for place, one in enumerate(ordered, 1)}


UNSEEN = "waits for the supervisor to look"
ORDER = {State.RUNNING: 0, State.STOPPING: 0, State.QUEUED: 1}
