"""A virtual clock, and what goes wrong: everything from one seed, in one thread.

A played process has threads (greenlets). One that waits hands over to the scheduler, which lets
the next thing that is due happen and sets the clock to its moment: no time passes in truth.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import greenlet

from sweeper.store.lease import EXPIRY

EPOCH = 1_800_000_000.0  # the database's clock at the start, in seconds since 1970
LATENCY = 0.003  # seconds before a transaction begins, on the average


class Killed(BaseException):
    """The process is dead: whatever it still tries comes to nothing."""


class Stuck(AssertionError):
    """The sweep did not come to its end in the time allowed."""


class Thread(greenlet.greenlet):
    """One thread of a played process."""

    process: Process
    naps: int  # how often it has waited: who wakes it means this one time

    def __init__(self, process: Process, work: Callable[[], Any]) -> None:
        super().__init__(work)
        self.process, self.naps = process, 0


@dataclass(eq=False)
class Process:
    """A played process. Its threads stand still until `stopped_until`."""

    name: str
    host: str
    pid: int
    started: str
    spared: bool = False  # nothing goes wrong for it
    dead: bool = False
    stopped_until: float = 0.0
    cut_off_until: float = 0.0  # from the database
    reading: bool = False  # the transaction that it is in
    threads: list[Thread] = field(default_factory=list)

    @property
    def holder(self) -> dict[str, Any]:
        """The machine and the process, as in `lease.here()`."""
        return {"host": self.host, "pid": self.pid, "started": self.started, "machine": self.host}

    def check(self) -> None:
        """Called wherever the process does something that others can see.

        Raises:
            Killed: it is dead.
        """
        if self.dead:
            raise Killed(self.name)


@dataclass(frozen=True, kw_only=True)
class Faults:
    """How often each thing goes wrong in a simulation, and until when."""

    until: float  # seconds; nothing goes wrong after it
    statement_kill: float = 0.0  # chance that the process dies at a statement
    unknown: float = 0.0  # chance that a commit happens and an error is raised
    refused: float = 0.0  # chance that a commit does not happen
    slow: float = 0.0  # chance that a statement takes its time
    slow_seconds: float = 0.0
    stop: float = 0.0  # chance that the process is stopped at a statement (SIGSTOP)
    stop_every: float = 0.0  # seconds between stops of a driver at any moment
    partition_every: float = 0.0  # seconds between partitions, on the average; 0: none
    partition_seconds: float = 0.0
    full_disk_every: float = 0.0
    full_disk_seconds: float = 0.0
    jump_every: float = 0.0  # of the database's clock
    jump_seconds: float = 0.0
    driver_death_every: float = 0.0
    rival_every: float = 0.0  # somebody else launches the same sweep
    signal_every: float = 0.0
    ray_death_every: float = 0.0
    node_death_every: float = 0.0
    crash: float = 0.0  # chance that a round kills its worker
    stopped_worker: float = 0.0  # chance that a worker is stopped in a round
    failure: float = 0.0  # chance that a round raises: an error, or no memory
    refusal: float = 0.0  # chance that a worker refuses a pack's form
    lost: float = 0.0  # chance that a message is lost
    doubled: float = 0.0
    late: float = 0.0
    late_seconds: float = 0.0
    disk: float = 0.0  # chance that a checkpoint cannot be written


def drawn(dice: random.Random) -> Faults:
    """Faults for one simulation: some kinds, each more or less often."""

    def chance(low: float, high: float, *, of: float = 0.5) -> float:
        return low * (high / low) ** dice.random() if dice.random() < of else 0.0

    return Faults(
        until=dice.uniform(20, 150),
        statement_kill=chance(0.0005, 0.02, of=0.6),
        unknown=chance(0.005, 0.2),
        refused=chance(0.005, 0.2),
        slow=chance(0.0005, 0.02),
        slow_seconds=chance(0.1, 60, of=1),
        stop=chance(0.0002, 0.005),
        stop_every=chance(10, 100),
        partition_every=chance(10, 100),
        partition_seconds=chance(1, 200, of=1),
        full_disk_every=chance(20, 100, of=0.3),
        full_disk_seconds=chance(1, 100, of=1),
        jump_every=chance(10, 100, of=0.3),
        jump_seconds=chance(1, 7200, of=1),
        driver_death_every=chance(10, 100),
        rival_every=chance(5, 60),
        signal_every=chance(20, 200, of=0.3),
        ray_death_every=chance(20, 200, of=0.3),
        node_death_every=chance(10, 100),
        crash=chance(0.01, 0.2),
        stopped_worker=chance(0.01, 0.1),
        failure=chance(0.01, 0.15),
        refusal=chance(0.01, 0.1, of=0.3),
        lost=chance(0.01, 0.1),
        doubled=chance(0.05, 0.5),
        late=chance(0.05, 0.5),
        late_seconds=chance(0.5, 60, of=1),
        disk=chance(0.05, 0.5),
    )


def _thread() -> Thread:
    me = greenlet.getcurrent()
    assert isinstance(me, Thread)
    return me


class World:
    """The clock, the dice, what is due, and the log of one simulation.

    Attributes:
        now: seconds since the start, on the clock that never jumps.
        jumped: seconds that the database's clock is ahead of it.
        failed: how the trainings of attempts have ended in truth: (attempt, ending).
    """

    def __init__(self, seed: int, faults: Faults | None = None) -> None:
        self.seed, self.now, self.jumped = seed, 0.0, 0.0
        self.dice = random.Random(seed)
        self.faults = faults or drawn(self.dice)
        self.log: list[str] = []
        self.failed: set[tuple[int, str]] = set()
        self._due: list[tuple[float, int, Callable[[], Any]]] = []
        self._order = itertools.count()
        self._hub = greenlet.getcurrent()
        self._dead: list[Process] = []
        self._hampered = self._hampered_until = 0.0
        self.over = self.disk_full = False

    # --- time

    @property
    def troubled(self) -> bool:
        """Whether things go wrong at this time."""
        return self.now < self.faults.until

    def wall(self) -> float:
        """Seconds since 1970 by the database's clock."""
        return EPOCH + self.now + self.jumped

    @property
    def hampered(self) -> float:
        """Seconds until now in which a driver could not get on: each second counts once."""
        return self._hampered - max(0.0, self._hampered_until - self.now)

    def hampers(self, seconds: float) -> None:
        """Says that a driver cannot get on for so many seconds from now on."""
        until = self.now + seconds
        self._hampered += max(0.0, until - max(self.now, self._hampered_until))
        self._hampered_until = max(self._hampered_until, until)

    def at(self, seconds: float, work: Callable[[], Any]) -> None:
        """Lets `work` happen after so many seconds."""
        heapq.heappush(self._due, (self.now + seconds, next(self._order), work))

    def every(self, seconds: float, work: Callable[[], Any]) -> None:
        """Lets `work` happen again and again while things go wrong, about as often as that."""
        if seconds:
            wait = self.dice.expovariate(1 / seconds)
            self.at(wait, lambda: self._again(seconds, work))

    def _again(self, seconds: float, work: Callable[[], Any]) -> None:
        if self.troubled:
            work()
            self.every(seconds, work)

    def chance(self, probability: float) -> bool:
        """Whether a thing of this chance goes wrong now."""
        return bool(probability) and self.troubled and self.dice.random() < probability

    def run(self, *, until: float) -> None:
        """Lets everything happen until `over`.

        Raises:
            Stuck: it has not come to that in time.
        """
        while not self.over:
            if not self._due:
                raise Stuck(f"nothing is due any more at {self.now:.1f} s")
            moment, _, work = heapq.heappop(self._due)
            if moment > until:
                raise Stuck(f"not complete after {until:.0f} s")
            self.now = max(self.now, moment)
            work()

    # --- processes and their threads

    def start(self, process: Process, work: Callable[[], Any]) -> Thread:
        """A new thread of a process, which begins at once."""

        def whole() -> None:
            try:
                process.check()
                work()
            except Killed:
                return

        thread = Thread(process, whole)
        thread.parent = self._hub
        process.threads.append(thread)
        self.at(0.0, thread.switch)
        return thread

    def sleep(self, seconds: float) -> None:
        """Waits in the current thread, or until `wake`; longer where its process is stopped.

        Raises:
            Killed: the process has died meanwhile.
        """
        me = _thread()
        me.process.check()
        self._wait(me, seconds)
        while me.process.stopped_until > self.now:
            self._wait(me, me.process.stopped_until - self.now)
        me.process.check()

    def _wait(self, me: Thread, seconds: float) -> None:
        me.naps += 1
        nap = me.naps
        self.at(seconds, lambda: self._resume(me, nap))
        self._hub.switch()

    def hamper(self, seconds: float) -> None:
        """Waits as `sleep`, because of what has gone wrong."""
        self.hampers(seconds)
        self.sleep(seconds)

    def stop(self, process: Process) -> float:
        """Stops a process (SIGSTOP) for so many seconds, where it next waits."""
        lasts = self.dice.uniform(1, 150)
        process.stopped_until = max(process.stopped_until, self.now + lasts)
        self.hampers(min(lasts, EXPIRY))  # then its lease is gone, and readers know
        self.say(process.name, f"stopped for {lasts:.1f} s")
        return lasts

    def wake(self, thread: Thread) -> None:
        """Ends the sleep that a thread is in."""
        nap = thread.naps
        self.at(0.0, lambda: self._resume(thread, nap))

    @staticmethod
    def _resume(thread: Thread, nap: int) -> None:
        if thread.naps == nap and not thread.dead:
            thread.switch()

    def kill(self, process: Process) -> None:
        """Ends a process at once: what it holds is let go of."""
        if process.dead:
            return
        process.dead = True
        self.say(process.name, "is dead")
        self._dead.append(process)
        self.at(0.0, self.bury)

    def bury(self) -> None:
        """Ends the threads of dead processes, which ends their transactions."""
        while self._dead:
            for thread in self._dead.pop().threads:
                if thread and not thread.dead:
                    thread.throw(Killed)

    @staticmethod
    def thread() -> Thread:
        """The current thread."""
        return _thread()

    @staticmethod
    def here() -> Process:
        """The process of the current thread."""
        return _thread().process

    # --- the log

    def say(self, who: str, what: str) -> None:
        self.log.append(f"{self.now:9.3f}  {who:<10} {what}")

    def digest(self) -> str:
        """Equal for two simulations in which the same has happened."""
        return hashlib.sha256("\n".join(self.log).encode()).hexdigest()[:16]


class Lock:
    """Held by one thread at a time, which may enter it again; waits on the virtual clock."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._owner: greenlet.greenlet | None = None
        self._depth = 0

    def acquire(self, timeout: float = math.inf) -> bool:
        """Whether it was there to be had in so many seconds."""
        me, until = greenlet.getcurrent(), self._world.now + timeout
        while self._owner not in (None, me):
            if self._world.now >= until:
                return False
            self._world.sleep(0.05)
        self._owner, self._depth = me, self._depth + 1
        return True

    def release(self) -> None:
        self._depth -= 1
        if not self._depth:
            self._owner = None

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


@contextmanager
def recorded(world: World) -> Iterator[None]:
    """Puts the seed and the way to run it alone into whatever goes wrong inside."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"seed {world.seed}: python -m tests.simulation --seed {world.seed}")
        raise
