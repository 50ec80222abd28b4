"""The workers of a sweep: plain Ray actors, as many as the cluster has room for at the time.

Our own loop asks each worker for one round after another. It starts workers on nodes that join, and
replaces workers that are lost or silent. Who is charged for a loss depends on what the cluster says
of the node: Ray may raise an error for a call that has run, and for a node that is only slow.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, Protocol, Self

import ray
from ray.autoscaler.sdk import request_resources
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sweeper.engine import cluster, endings, nodes
from sweeper.engine.messages import Job, Message, ProbeJob
from sweeper.engine.room import Node, Room, Shape, Terms
from sweeper.engine.worker import BEATS, PackWorker
from sweeper.errors import EngineError
from sweeper.states import Ending

LOG = logging.getLogger(__name__)
LISTEN_SECONDS = 0.1  # between two ticks, if no message comes
LOOK_SECONDS = 2.0  # between two checks of a joined cluster's nodes
BEATS_IN_SILENCE = 6  # beats that a worker may miss before it counts as silent
STALL_SECONDS = 5.0  # after a slower loop, silence of the workers proves nothing
ASK_SECONDS = 30.0  # for a node's answer to whether it lives
IDLE_SECONDS = 60.0  # before an idle worker is given back to a shared cluster
SAY_SECONDS = 30.0  # between two lines about a wait


class Worker(Protocol):
    """A worker process, as seen by the source of jobs; it reads messages when its round ends."""

    @property
    def id(self) -> str: ...

    @property
    def node(self) -> str:
        """The node's name, for display."""
        ...

    def drop(self, runs: Sequence[int]) -> None:
        """Leaves these members out from the next round on."""
        ...

    def save_now(self, *, timeout: float, give_up: Callable[[], bool]) -> bool:
        """Writes a checkpoint; returns whether it was written in time."""
        ...

    def leave(self) -> None:
        """Ends its job after the round that it has just reported."""
        ...

    def kill(self) -> None:
        """Ends the worker's process, whatever it does."""
        ...


class JobSource(Protocol):
    """A source of jobs; all its methods are called in one thread."""

    draining: bool  # no further job, and no job continues after its current round

    def tick(self) -> None:
        """Called several times a second; may raise to leave the loop."""
        ...

    def wanted(self) -> int:
        """The number of useful workers: for waiting jobs and for those in work."""
        ...

    def next_job(self, worker: Worker) -> Job | ProbeJob | None:
        """The next job for this worker; None if there is none yet."""
        ...

    def exhausted(self) -> bool:
        """Returns whether there will never be another job."""
        ...

    def message(self, worker: Worker, message: Any) -> None:
        """Receives a worker's message about its job, after each round."""
        ...

    def lost(self, worker: Worker, ending: Ending, error: str) -> None:
        """Receives the loss of a worker that ended before its job was done."""
        ...


class PooledWorker:
    """A worker of the pool, from its first call to its end."""

    def __init__(self, number: int, actor: Any, home: Node, *, now: float) -> None:
        self.id, self.home, self._actor = f"worker {number}", home, actor
        self.call: Any = actor.hello.remote()  # its last request; None while it is idle
        self.beat: Any = None  # a requested sign of life
        self.ready = self.busy = self.killed = False
        self.changed_at = self.heard_at = now
        self.trouble = ""  # why it is lost, until its node has answered
        self.question: Any = None

    @property
    def node(self) -> str:
        return self.home.name

    @property
    def awaited(self) -> list[Any]:
        """The pending answers of Ray."""
        return [one for one in (self.call, self.beat, self.question) if one is not None]

    def take(self, job: Job | ProbeJob) -> None:
        """Begins a job; the answer is the message of its first round."""
        self.busy, self.call = True, self._actor.take.remote(job)

    def go_on(self) -> None:
        """Begins the next round."""
        self.call = self._actor.step.remote()

    def ask_for_a_beat(self) -> None:
        self.beat = self._actor.beat.options(concurrency_group=BEATS).remote()

    def drop(self, runs: Sequence[int]) -> None:
        self._actor.drop.remote(list(runs))

    def save_now(self, *, timeout: float, give_up: Callable[[], bool]) -> bool:
        reference, until = self._actor.save_now.remote(), time.monotonic() + timeout
        while time.monotonic() < until and not give_up():
            ready, _ = ray.wait([reference], timeout=0.2)
            if ready:
                return True
        return False

    def leave(self) -> None:
        self.busy = False

    def kill(self) -> None:
        self.killed = True
        ray.kill(self._actor, no_restart=True)


class WorkerPool:
    """Workers that live until Ray is shut down, and serve one source of jobs after another.

    Args:
        say: shows the user a sentence.
        limit: how many workers there may be now; None: as many as there is room for. A worker
            above it ends after its job.
    """

    def __init__(
        self,
        terms: Terms,
        *,
        say: Callable[[str], None],
        limit: Callable[[], int | None] = lambda: None,
    ) -> None:
        self._terms, self._say, self._limit = terms, say, limit
        self._room = Room(terms.shape, most=terms.most)
        self._workers: dict[str, PooledWorker] = {}
        self._numbers, self._here = count(1), nodes.facts()
        self.hardware: set[str] = set()  # of the nodes whose workers were used
        remote: Any = ray.remote  # Ray's types lack the keywords
        self._actor = remote(concurrency_groups={BEATS: 1})(PackWorker)
        self._looked_at = self._said_at = float("-inf")
        self._turned_at = self._ready_at = time.monotonic()
        self._requested: list[dict[str, float]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._requested and not cluster.ended():
            request_resources(bundles=[])

    @property
    def room(self) -> int:
        """The number of workers that are possible now, at least one."""
        return max(1, self._allowed)

    @property
    def _allowed(self) -> int:
        """The number of workers that there may be and that there is room for."""
        limit = self._limit()
        return self._room.total if limit is None else min(self._room.total, limit)

    @property
    def cards(self) -> tuple[int, int]:
        """The number of GPUs, and the most workers that may share one."""
        return self._room.gpus, self._room.most_per_gpu

    def reshape(self, shape: Shape) -> None:
        """Ends the workers, all of them idle; those that follow have this shape."""
        for worker in list(self._workers.values()):
            self._let_go(worker)
        self._terms = replace(self._terms, shape=shape)
        self._room.reshape(shape)

    def wait(self, tick: Callable[[], None]) -> None:
        """Returns once a worker exists; calls `tick` meanwhile, which may raise.

        Raises:
            EngineError: none came in time, or no node can do the work.
        """
        self.run(_Waiting(self, tick))

    @property
    def anybody(self) -> bool:
        """Returns whether a worker exists."""
        return any(worker.ready for worker in self._workers.values())

    def run(self, source: JobSource) -> None:
        """Runs jobs until the source is exhausted.

        An exception from `source` leaves the loop at once, and the pool is no longer usable.

        Raises:
            EngineError: no node had room for a worker in time, or none can do the work.
        """
        while True:
            source.tick()
            self._look()
            self._grow(source.wanted())
            self._hand_out(source)
            if source.exhausted() and not any(w.busy for w in self._workers.values()):
                return
            self._listen(source)
            self._watch_over(source)

    # --- nodes and workers

    def _look(self) -> None:
        """Checks the nodes; those of a local Ray never change."""
        now = time.monotonic()
        if now - self._looked_at < (LOOK_SECONDS if self._terms.joined else float("inf")):
            return
        self._looked_at = now
        self._room.look()

    def _grow(self, wanted: int) -> None:
        missing = min(wanted, self._allowed) - len(self._workers)
        taken = Counter(worker.home.id for worker in self._workers.values())
        for node, _ in zip(self._room.free(taken), range(missing), strict=False):
            worker = self._new(node)
            self._workers[worker.id] = worker
        if wanted and not self.anybody:
            self._wait()
        else:
            self._ready_at = time.monotonic()
        self._request(wanted)

    def _new(self, node: Node) -> PooledWorker:
        shape, affinity = self._terms.shape, NodeAffinitySchedulingStrategy(node.id, soft=False)
        actor = self._actor.options(
            num_cpus=shape.cpus, num_gpus=shape.gpus, scheduling_strategy=affinity
        )
        worker = PooledWorker(next(self._numbers), actor.remote(), node, now=time.monotonic())
        LOG.debug("%s starts on %s", worker.id, node.name)
        return worker

    def _request(self, wanted: int) -> None:
        """Asks an autoscaler for the useful number of workers, if the spec limits their number."""
        most = self._terms.most
        asked = min(wanted, most) if self._terms.joined and most is not None else 0
        bundles = [self._terms.shape.bundle] * asked
        if bundles != self._requested:
            self._requested = bundles
            request_resources(bundles=bundles)

    def _wait(self) -> None:
        """While there is no worker: reports the wait, and gives up at the limit.

        Raises:
            EngineError: no node had room for one in time, or none can do the work.
        """
        if self._room.hopeless:
            raise EngineError(self._room.hopeless)
        now, limit = time.monotonic(), self._terms.wait_seconds
        waited, shape = now - self._ready_at, self._terms.shape
        if waited > limit:
            raise EngineError(
                f"no worker could be started for {limit:g} s: the cluster has {self._room}; "
                f"a worker needs {shape} (resources), and limits.wait_seconds is {limit:g}"
            )
        if waited > LOOK_SECONDS and now - self._said_at > SAY_SECONDS and self._terms.joined:
            self._said_at = now
            self._say(f"waiting for a worker ({shape}): the cluster has {self._room}")

    def _strike(self, worker: PooledWorker, why: str, *, final: bool = False) -> None:
        if text := self._room.strike(worker.home, why, final=final):
            self._say(text)

    def _let_go(self, worker: PooledWorker) -> None:
        self._workers.pop(worker.id, None)
        LOG.debug("%s ends", worker.id)
        if not worker.killed:
            worker.kill()

    # --- jobs

    def _hand_out(self, source: JobSource) -> None:
        for worker in list(self._workers.values()):
            if source.draining or sum(w.busy for w in self._workers.values()) >= self._allowed:
                return
            idle = worker.ready and worker.call is None and not worker.killed
            if idle and worker.question is None and self._room.usable(worker.home):
                job = source.next_job(worker)
                if job is None:
                    return
                worker.take(job)

    def _listen(self, source: JobSource) -> None:
        """Handles every answer that has come, or waits a moment for one."""
        whose = {one: worker for worker in self._workers.values() for one in worker.awaited}
        if not whose:
            time.sleep(LISTEN_SECONDS)
            return
        ready, _ = ray.wait(list(whose), timeout=LISTEN_SECONDS)
        if ready and len(whose) > 1:
            ready, _ = ray.wait(list(whose), num_returns=len(whose), timeout=0)
        for reference in ready:
            worker = whose[reference]
            if worker.id in self._workers:
                self._hear(worker, reference, source)

    def _hear(self, worker: PooledWorker, reference: Any, source: JobSource) -> None:
        try:
            answer: Any = ray.get(reference)
        except RayError as error:
            self._hear_error(worker, reference, error, source)
            return
        worker.heard_at = time.monotonic()
        if reference is worker.beat:
            worker.beat = None
        elif reference is worker.question:
            self._lose(worker, *endings.of_ray(worker.trouble), source=source)
        elif not worker.ready:
            self._welcome(worker, answer)
        else:
            self._take_in(worker, *answer, source=source)

    def _welcome(self, worker: PooledWorker, there: dict[str, str]) -> None:
        worker.call, worker.ready, worker.changed_at = None, True, worker.heard_at
        wrong = nodes.differences(self._here, there)
        if wrong:
            self._strike(worker, ", ".join(wrong), final=True)
            self._let_go(worker)
        else:
            self.hardware.add(there.get("hardware", ""))

    def _take_in(
        self, worker: PooledWorker, message: Any, done: bool, *, source: JobSource
    ) -> None:
        worker.call, worker.changed_at = None, worker.heard_at
        if isinstance(message, Message) and message.unfit:
            self._strike(worker, message.unfit)
        worker.busy = not done
        source.message(worker, message)
        if worker.busy and worker.killed:
            self._lose(worker, Ending.CANCELLED, "its worker was ended", source=source)
        elif worker.busy and not source.draining:
            worker.go_on()
        else:
            worker.busy = False
            if worker.killed:
                self._let_go(worker)

    # --- losses

    def _hear_error(
        self, worker: PooledWorker, reference: Any, error: RayError, source: JobSource
    ) -> None:
        """Handles the error with which a lost worker's calls end."""
        text = str(error)
        if reference is worker.question:
            self._lose(worker, Ending.NODE_LOST, worker.trouble, source=source)
        elif not worker.ready:
            self._not_started(worker, text)
        elif isinstance(error, RayTaskError) and not isinstance(error, RayActorError):
            self._lose(worker, Ending.ERROR, text[-endings.LAST_CHARACTERS :], source=source)
        elif worker.question is None:
            self._ask_node(worker, text, source)

    def _not_started(self, worker: PooledWorker, text: str) -> None:
        self._room.look()
        if self._room.lives(worker.home) and not worker.killed:
            self._strike(
                worker, f"a worker does not start: {text.strip().splitlines()[-1].strip()}"
            )
        self._let_go(worker)

    def _ask_node(self, worker: PooledWorker, text: str, source: JobSource) -> None:
        """Charges a loss at once if its cause is known; otherwise asks the node."""
        ending, error = endings.of_ray(text)
        self._room.look()
        if not self._room.lives(worker.home):
            self._lose(worker, Ending.NODE_LOST, error, source=source)
        elif worker.killed or ending is not Ending.CRASHED or self._is_here(worker.home):
            self._lose(worker, ending, error, source=source)
        else:
            affinity = NodeAffinitySchedulingStrategy(worker.home.id, soft=False)
            worker.call = worker.beat = None
            worker.trouble, worker.changed_at = text, time.monotonic()
            worker.question = _lives.options(scheduling_strategy=affinity).remote()

    def _is_here(self, node: Node) -> bool:
        return ray.get_runtime_context().get_node_id() == node.id

    def _lose(self, worker: PooledWorker, ending: Ending, error: str, *, source: JobSource) -> None:
        self._let_go(worker)
        if worker.busy:
            worker.busy = False
            source.lost(worker, ending, error)

    def _watch_over(self, source: JobSource) -> None:
        """Ends silent workers, and workers whose nodes are lost or do not need them."""
        now = time.monotonic()
        stalled, self._turned_at = now - self._turned_at > STALL_SECONDS, now
        spare = len(self._workers) - source.wanted()
        for worker in list(self._workers.values()):
            if stalled:
                worker.heard_at = now
            if not self._room.lives(worker.home):
                text = worker.trouble or "its node has died"
                self._lose(worker, Ending.NODE_LOST, text, source=source)
            elif worker.question is not None:
                if now - worker.changed_at > ASK_SECONDS:
                    self._lose(worker, Ending.NODE_LOST, worker.trouble, source=source)
            elif worker.ready:
                self._check_silence(worker, now, source)
                spare -= self._give_back(worker, now, spare)

    def _check_silence(self, worker: PooledWorker, now: float, source: JobSource) -> None:
        limit, silent = self._terms.silent_seconds, now - worker.heard_at
        if silent > limit and worker.beat is not None:
            text = f"a worker on {worker.node} has given no sign of life for {silent:.0f} s"
            self._say(f"{text}; it is replaced")
            self._lose(worker, Ending.SILENT, text, source=source)
        elif worker.beat is None and silent >= limit / BEATS_IN_SILENCE:
            worker.ask_for_a_beat()

    def _give_back(self, worker: PooledWorker, now: float, spare: int) -> bool:
        """Ends an idle worker whose node is unfit, or shared and not needed; returns if it did."""
        idle = self._terms.joined and now - worker.changed_at > IDLE_SECONDS and spare > 0
        idle = idle or len(self._workers) > max(1, self._allowed)
        if worker.busy or (self._room.usable(worker.home) and not idle):
            return False
        self._let_go(worker)
        return True


class _Waiting:
    """A source without jobs that wants a worker, until there is one."""

    draining = False

    def __init__(self, pool: WorkerPool, tick: Callable[[], None]) -> None:
        self._pool, self.tick = pool, tick

    def wanted(self) -> int:
        return 1

    def next_job(self, worker: Worker) -> None:
        return None

    def exhausted(self) -> bool:
        return self._pool.anybody

    def message(self, worker: Worker, message: Any) -> None:
        """Never called: there are no jobs."""

    def lost(self, worker: Worker, ending: Ending, error: str) -> None:
        """Never called, for the same reason."""


@ray.remote(num_cpus=0, max_retries=0)
def _lives() -> bool:
    return True
