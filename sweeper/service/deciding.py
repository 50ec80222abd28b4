"""What the supervisor does next: wishes and facts in, starts, grants and standings out. Pure.

Nothing is remembered between two decisions but what the database holds, so a supervisor that takes
the lead over decides the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sweeper.service.fair import FairPolicy, QueueEntry, Supply, shares
from sweeper.service.limits import Allowance
from sweeper.store.leading import Scene
from sweeper.store.service_records import (
    Command,
    DriverStart,
    Grant,
    State,
    Submission,
    SubmissionStanding,
    Verb,
    WantedState,
)

FIRST_WAIT_S, LONGEST_WAIT_S = 5.0, 300.0  # before the next start after one that failed
MOST_FAILURES = 5  # starts in a row without progress
NO_PROGRESS = "no progress"  # how the reason of such a drain begins
MANY = 1_000_000  # workers: a sweep without a limit of its own
COMPLETE, BAD_INPUT, WITH_FAILURES, HALTED, HELD, AWAY, INTERRUPTED = 0, 2, 3, 4, 5, 6, 130
# Ends that are no failure of the sweep: it was asked to stop, found another driver, or no cluster.
UNFAILED = frozenset({INTERRUPTED, HELD, AWAY})
FINISHED = frozenset({State.COMPLETE, State.FAILURES})
SETTLING = {COMPLETE: State.COMPLETE, WITH_FAILURES: State.FAILURES}
STATES = {WantedState.STOPPED: State.STOPPED, WantedState.CANCELLED: State.CANCELLED}


@dataclass(frozen=True, kw_only=True)
class Site:
    """What the decision takes from outside the database.

    Attributes:
        room: of the cluster, for workers.
        epoch: of the leader.
        minute: of the day, in the server's time.
        stalled: running sweeps that are to be drained because they record nothing, with the reason.
    """

    room: Supply
    epoch: int
    minute: int = 0
    policy: FairPolicy = field(default_factory=FairPolicy)
    stalled: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(kw_only=True)
class NextSteps:
    """What to store, and which drivers to start; all of it at once."""

    standings: list[SubmissionStanding] = field(default_factory=list[SubmissionStanding])
    grants: list[Grant] = field(default_factory=list[Grant])
    withdrawn: list[str] = field(default_factory=list[str])
    starts: list[Submission] = field(default_factory=list[Submission])
    done: dict[int, str] = field(default_factory=dict[int, str])
    events: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])

    @property
    def empty(self) -> bool:
        """Whether there is nothing to store."""
        return not (self.standings or self.grants or self.withdrawn or self.done or self.events)


def decide(scene: Scene, site: Site) -> NextSteps:
    """Compares what is wanted with what is, for every submission that is not settled."""
    return _Deciding(scene, site).decision()


def until_open_s(window: Sequence[str], second: float) -> float:
    """The seconds until a daily window opens; 0 inside it, and without a window.

    Args:
        second: of the day.
    """
    if not window:
        return 0.0
    start, end = (3600 * int(at[:2]) + 60 * int(at[3:]) for at in window)
    inside = start <= second < end if start <= end else second >= start or second < end
    return 0.0 if inside else (start - second) % 86400


class _Deciding:
    """One decision in the making."""

    def __init__(self, scene: Scene, site: Site) -> None:
        self._scene, self._site = scene, site
        self._found = NextSteps()
        self._now: dict[str, SubmissionStanding] = {}
        self._entries: list[QueueEntry] = []
        self._live = [one for one in scene.submissions if is_live(scene, one)]
        self._running = {one.name: one for one in self._live}

    def decision(self) -> NextSteps:
        for one in self._scene.submissions:
            self._stand(one, *self._judge(one))
        self._share()
        self._tidy()
        for command in self._scene.commands:
            self._answer(command)
        return self._found

    # --- each submission by itself

    def _judge(self, one: Submission) -> tuple[State, str]:
        """Its state and the reason; notes an entry if it runs or waits for workers alone."""
        if one.name in self._running:
            return self._judge_live(one)
        ends = [d for d in self._drivers(one) if d.generation == one.generation and d.ended_at]
        last = ends[-1] if ends else None
        if last is not None and last.exit_code in SETTLING:
            return SETTLING[last.exit_code], last.error
        if one.wanted is not WantedState.RUNNING:
            return STATES[one.wanted], ""
        if last is not None and last.exit_code == HALTED:
            return State.HALTED, last.error
        if last is not None and (last.exit_code == BAD_INPUT or _stalled(last)):
            return State.ATTENTION, last.error
        failed = _failures(ends)
        if last is not None and failed >= MOST_FAILURES:
            return State.ATTENTION, f"{failed} starts without progress; the last: {last.error}"
        waits = self._held_back(one, last, _failures(ends, uncounted=UNFAILED - {AWAY}))
        if not waits:
            self._entries.append(self._entry(one, grant=None))
        return State.QUEUED, waits

    def _judge_live(self, one: Submission) -> tuple[State, str]:
        if one.wanted is not WantedState.RUNNING:
            return State.STOPPING, "its driver finishes the round"
        grant = self._scene.grants.get(one.name)
        started = [d for d in self._drivers(one) if d.ended_at is None]
        if started and started[-1].generation < one.generation:
            self._drain(one, "it starts again, as was asked for")
            return State.RUNNING, "starts again after the round"
        if one.name in self._site.stalled:
            self._drain(one, self._site.stalled[one.name])
            return State.RUNNING, f"is asked to end: {self._site.stalled[one.name]}"
        if spent := self._allowance(one.owner).exhausted():
            self._drain(one, spent)
            return State.RUNNING, f"finishes the round: {spent}"
        if self._out_of_hours(one):
            self._drain(one, f"its hours are over until {one.window[0]}")
            return State.RUNNING, "finishes the round: its hours are over"
        self._entries.append(self._entry(one, grant=grant or Grant(sweep=one.name, workers=1)))
        return State.RUNNING, ""

    def _held_back(self, one: Submission, last: DriverStart | None, failed: int) -> str:
        """What it waits for besides workers; empty if for nothing else.

        Args:
            failed: the last starts in a row after which the next one waits.
        """
        if one.after and (text := self._after(one)):
            return text
        if self._out_of_hours(one):
            return f"waits for its hours, {one.window[0]} to {one.window[1]}"
        if last is not None and failed and last.ended_at is not None:
            again = last.ended_at + min(FIRST_WAIT_S * 2 ** (failed - 1), LONGEST_WAIT_S)
            if again > self._scene.now:
                seconds = again - self._scene.now
                return f"starts again in {seconds:.0f} s, after: {last.error or 'no word'}"
        return self._over_limit(one)

    def _after(self, one: Submission) -> str:
        scene = self._scene
        before = next((other for other in scene.submissions if other.name == one.after), None)
        if before is not None:
            return f"waits for {one.after} to finish"
        standing = scene.ended.get(one.after)
        if standing is None or standing.state in FINISHED:
            return ""
        return f"waits for {one.after}, which is {standing.state}"

    def _out_of_hours(self, one: Submission) -> bool:
        return until_open_s(one.window, 60.0 * self._site.minute) > 0

    def _over_limit(self, one: Submission) -> str:
        owner = self._scene.owners.get(one.owner)
        if owner is None:
            return ""
        running = sum(other.owner == one.owner for other in self._live)
        running += sum(e.owner == one.owner and not e.workers for e in self._entries)
        if owner.most_sweeps is not None and running >= owner.most_sweeps:
            return f"waits for another sweep of {one.owner}: {owner.most_sweeps} at a time"
        return self._allowance(one.owner).exhausted()

    def _allowance(self, owner: str) -> Allowance:
        return allowance(self._scene, owner)

    def _entry(self, one: Submission, *, grant: Grant | None) -> QueueEntry:
        needs = one.needs
        return QueueEntry(
            name=one.name,
            owner=one.owner,
            priority=one.priority,
            since=one.created_at,
            worker=Supply(needs.cpus, needs.gpus),
            most=needs.workers or MANY,
            cost=needs.cost,
            workers=0 if grant is None else max(grant.workers, 1),
            granted_at=0.0 if grant is None else grant.since,
            seconds=needs.seconds,
        )

    def _drivers(self, one: Submission) -> Sequence[DriverStart]:
        return self._scene.drivers.get(one.id, ())

    # --- workers

    def _share(self) -> None:
        site, scene = self._site, self._scene
        named = {one.name: one for one in scene.submissions}
        given = shares(
            self._entries,
            room=site.room.less_all(self._leaving()),
            usage={owner: usage.recent for owner, usage in scene.usage.items()},
            weights={owner: limits.weight for owner, limits in scene.owners.items()},
            now=scene.now,
            policy=site.policy,
            caps=(caps := self._caps()),
        )
        has = Counter[str]()
        for entry in self._entries:
            has[entry.owner] += given.get(entry.name, 0)
        free = site.room
        for other in self._live:
            free = free.less(_worker(other), self._held(other))
        for entry in self._entries:
            one, number = named[entry.name], given.get(entry.name, 0)
            if entry.workers:
                if number:
                    held = self._held(one)
                    number = min(number, held + free.times(entry.worker))
                    free = free.less(entry.worker, max(number - held, 0))
                    self._grant(one, number)
                else:
                    self._drain(one, self._makes_room(given, named))
            elif number:
                number = min(number, free.times(entry.worker))
                if number:
                    free = free.less(entry.worker, number)
                    self._grant(one, number)
                    self._found.starts.append(one)
                    self._stand(one, State.RUNNING, "starts")
                else:
                    self._stand(one, State.QUEUED, "next; others finish their round first")
            elif not site.room.fits(entry.worker):
                self._stand(one, State.QUEUED, f"no room: a worker needs {entry.worker}")
            elif has[one.owner] >= caps.get(one.owner, MANY):
                most = scene.owners[one.owner].most_workers
                self._stand(one, State.QUEUED, f"waits for workers of {one.owner}: {most} at most")
            else:
                self._stand(one, State.QUEUED, "waits for workers that others use")

    def _caps(self) -> dict[str, int]:
        """The most workers of each owner, without those that drivers hold that are to end."""
        found = {
            name: limits.most_workers
            for name, limits in self._scene.owners.items()
            if limits.most_workers is not None
        }
        staying = {entry.name for entry in self._entries}
        for one in self._live:
            if one.owner in found and one.name not in staying:
                found[one.owner] = max(0, found[one.owner] - self._held(one))
        return found

    def _leaving(self) -> Iterable[tuple[Supply, int]]:
        """What drivers hold that are to end and have not ended."""
        staying = {entry.name for entry in self._entries}
        for one in self._live:
            if one.name not in staying:
                yield _worker(one), self._held(one)

    def _held(self, one: Submission) -> int:
        """The workers that a driver may use, or still uses after it was given fewer.

        A worker ends its round first, so what a sweep loses is free some looks later.
        """
        grant, fact = self._scene.grants.get(one.name), self._scene.sweeps.get(one.name)
        return max(1, grant.workers if grant else 1, fact.busy if fact else 0)

    def _makes_room(self, given: Mapping[str, int], named: Mapping[str, Submission]) -> str:
        first = next((e.name for e in self._entries if e.name in given and not e.workers), "")
        if not first:
            return "preempted: it makes room for others"
        other = named[first]
        return f"preempted: it makes room for {first} ({other.owner}, {other.priority})"

    def _grant(self, one: Submission, workers: int) -> None:
        old = self._scene.grants.get(one.name)
        if old is None or (old.workers, old.reason, old.epoch) != (workers, "", self._site.epoch):
            self._found.grants.append(Grant(sweep=one.name, workers=workers))

    def _drain(self, one: Submission, reason: str) -> None:
        """Asks a driver to make room; until it has ended, what it had is not given on."""
        old = self._scene.grants.get(one.name)
        if old is not None and old.reason and old.epoch == self._site.epoch:
            return
        held = max(1, old.workers if old else 1)
        self._found.grants.append(Grant(sweep=one.name, workers=held, reason=reason))
        if old is not None and not old.reason:
            self._found.events.append((one.name, "drain", reason))

    # --- what is stored

    def _stand(self, one: Submission, state: State, reason: str) -> None:
        settled = state not in (State.QUEUED, State.RUNNING, State.STOPPING)
        new = SubmissionStanding(
            submission_id=one.id,
            generation=one.generation,
            state=state,
            reason=reason,
            settled=settled,
        )
        self._now[one.name] = new

    def _tidy(self) -> None:
        """Keeps of the standings those that change, and of the grants those that are in use."""
        old = self._scene.standings
        named = {one.name: one for one in self._scene.submissions}
        for name, new in self._now.items():
            before = old.get(new.submission_id)
            if before is None or _changed(before, new):
                self._found.standings.append(new)
                if new.state is not (State.QUEUED if before is None else before.state):
                    self._found.events.append((name, str(new.state), new.reason))
        started = {one.name for one in self._found.starts}
        keep = started | self._running.keys()
        self._found.withdrawn = sorted(self._scene.grants.keys() - keep)
        assert keep <= named.keys()  # noqa: S101  only submissions are live or started

    def _answer(self, command: Command) -> None:
        """Marks a command as done once the facts are as it wanted them."""
        name, standing = command.sweep, self._now.get(command.sweep)
        fact = self._scene.sweeps.get(name)
        if standing is None:  # settled before, or never submitted
            if command.verb is not Verb.RETRY and not (fact and fact.alive):
                self._found.done[command.id] = "done"
        elif command.verb in (Verb.STOP, Verb.CANCEL):
            if standing.settled:
                self._found.done[command.id] = str(standing.state)
        elif command.verb is not Verb.RETRY and (
            standing.settled or standing.state is State.RUNNING
        ):
            self._found.done[command.id] = str(standing.state)


def allowance(scene: Scene, owner: str) -> Allowance:
    """What an owner has used, and may use."""
    return Allowance(owner=owner, limits=scene.owners.get(owner), used=scene.usage.get(owner))


def is_live(scene: Scene, one: Submission) -> bool:
    """Returns whether a driver of the submission runs, or may run, as far as known."""
    fact = scene.sweeps.get(one.name)
    if fact is not None and fact.alive:
        return True
    return any(driver.ended_at is None for driver in scene.drivers.get(one.id, ()))


def _failures(ends: Sequence[DriverStart], *, uncounted: Container[int | None] = UNFAILED) -> int:
    """The last starts in a row that failed without progress; one with progress counts as one."""
    count = 0
    for one in reversed(ends):
        if one.exit_code in uncounted:
            continue
        count += 1
        if one.progressed:
            break
    return count


def _stalled(last: DriverStart) -> bool:
    """Returns whether a driver was drained because it recorded nothing, and recorded nothing."""
    drained = last.exit_code == INTERRUPTED and last.error.startswith(NO_PROGRESS)
    return drained and not last.progressed


def _changed(before: SubmissionStanding, new: SubmissionStanding) -> bool:
    """Returns whether a standing says something new; seconds in a reason do not count."""
    same = (before.generation, before.state) == (new.generation, new.state)
    return not same or _words(before.reason) != _words(new.reason)


def _words(reason: str) -> list[str]:
    return [word for word in reason.split() if not word.isdigit()]


def _worker(one: Submission) -> Supply:
    return Supply(one.needs.cpus, one.needs.gpus)
