"""Played nodes, workers and network: a pool for the conductor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sweeper.engine.messages import Job, Message, Refusal
from sweeper.engine.worker_pool import JobSource
from sweeper.states import Ending
from tests.simulation.training import FORMS, Disk, Training
from tests.simulation.world import Process, Thread, World

NOTICED = 30.0  # seconds until a pool hears that a node is gone, at most
SILENT = 60.0  # seconds without a word after which a worker is given up
TURN_SECONDS = 1.0  # between two ticks, when nobody says anything


class Worker:
    """A played worker process, of one pool."""

    def __init__(self, pool: WorkerPool, node: str, number: int) -> None:
        self.pool, self.node, self.id = pool, node, f"{pool.owner.name}/w{number}"
        self.dead, self.dead_at = False, 0.0
        self.ending = Ending.CRASHED  # what a pool finds that it has died of
        self.attempts: list[int] = []  # of the job that it was given last
        self.stopped_until = 0.0
        self.heard_at = pool.world.now
        self.training: Training | None = None
        self.coming: Job | None = None  # on its way to the worker
        self.began = 0.0

    # --- what the driver does to it

    def drop(self, runs: Sequence[int]) -> None:
        self.pool.owner.check()
        training = self.training
        if training is not None:
            self._soon(lambda: self.training is training and training.drop(runs))

    def save_now(self, *, timeout: float, give_up: Callable[[], bool]) -> bool:
        self.pool.owner.check()
        world, until = self.pool.world, self.pool.world.now + timeout
        training, done = self.training, list[bool]()
        self._soon(lambda: done.append(self._save(training)))
        while not done and world.now < until and not give_up():
            world.sleep(0.2)
        return bool(done and done[0])

    def leave(self) -> None:
        raise AssertionError("the simulated crew never shrinks")

    def kill(self) -> None:
        self.pool.owner.check()
        self._soon(self.die)

    def _soon(self, work: Callable[[], Any]) -> None:
        """Happens between two rounds, unless the worker is dead by then."""
        delay = self.pool.network.delay()
        wait = max(delay, self.stopped_until - self.pool.world.now)
        self.pool.world.at(wait, lambda: None if self.dead else work())

    # --- what it does by itself

    def holds(self, run: int) -> bool:
        """Whether the run is open in its job, or in the job that is on its way."""
        coming = [] if self.coming is None else [member.run for member in self.coming.members]
        return run in coming or (self.training is not None and run in self.training.open)

    def die(self, ending: Ending = Ending.CRASHED) -> None:
        if not self.dead:
            self.ending = ending
            self.dead, self.dead_at = True, self.pool.world.now
            self.pool.world.say(self.id, "worker is dead")
            self._fails(ending)

    def _fails(self, ending: Ending) -> None:
        self.pool.world.failed |= {(attempt, str(ending)) for attempt in self.attempts}

    def _save(self, training: Training | None) -> bool:
        if training is None or training.emptied or self.pool.world.chance(self.pool.faults.disk):
            return False
        training.save()
        return True

    def take(self, job: Job) -> None:
        """Begins a job with its first round."""
        self.attempts = [member.attempt for member in job.members]
        self.coming = job
        self._soon(lambda: self._begin(job))

    def _begin(self, job: Job) -> None:
        self.began, self.coming = self.pool.world.now, None
        self.training = Training(job, self.pool.disk, length=self.pool.length)
        self._round()

    def go_on(self) -> None:
        """Does the next round."""
        self._soon(self._round)

    def _round(self) -> None:
        world, faults, training = self.pool.world, self.pool.faults, self.training
        if training is None:
            return
        seconds = world.dice.uniform(0.5, 4.0)
        if world.chance(faults.stopped_worker):
            self.stopped_until = world.now + world.dice.uniform(1, 200)
            world.say(self.id, f"stopped until {self.stopped_until:.1f}")
        if world.chance(faults.crash):
            world.at(seconds, self.die)
            return
        wait = seconds + max(0.0, self.stopped_until - world.now)
        world.at(wait, lambda: self._finish(training))

    def _finish(self, training: Training) -> None:
        world, faults = self.pool.world, self.pool.faults
        if self.dead or self.training is not training:
            return
        spent = world.now - self.began
        if not training.round and world.chance(faults.refusal):
            other = FORMS[training.job.form == FORMS[0]]
            refusal = Refusal(text="a layer is wrong", form=other)
            self._say(training.say(self.node, spent, (), done=True, refusal=refusal))
        elif world.chance(faults.failure):
            ending = world.dice.choice((Ending.ERROR, Ending.OUT_OF_MEMORY))
            failure = (ending, "raised in a round")
            self._fails(ending)
            self._say(training.say(self.node, spent, (), done=True, failure=failure))
        else:
            members, done = training.step()
            if not done and world.dice.random() < 0.5:
                self._save(training)
            self._say(training.say(self.node, spent, members, done=done))

    def _say(self, message: Message) -> None:
        if message.done:
            self.training = None
        self.pool.network.send(self, message)


class Network:
    """Carries messages from workers to their driver: late, twice, out of order, or not at all."""

    def __init__(self, world: World, deliver: Callable[[Worker, Message, int], None]) -> None:
        self._world, self._deliver, self._sent = world, deliver, 0

    def delay(self) -> float:
        """Seconds that a word takes."""
        world, faults = self._world, self._world.faults
        late = world.dice.expovariate(1 / faults.late_seconds) if world.chance(faults.late) else 0.0
        return 0.01 + late

    def send(self, worker: Worker, message: Message) -> None:
        world, faults = self._world, self._world.faults
        self._sent += 1
        number, copies = self._sent, 1 + world.chance(faults.doubled)
        if world.chance(faults.lost):
            world.say(worker.id, f"message of round {message.reached.round} is lost")
            copies = 0
        for copy in range(copies):
            wait = self.delay() + (world.dice.expovariate(1 / 5.0) if copy else 0.0)
            world.at(wait, lambda: self._deliver(worker, message, number))


class WorkerPool:
    """The workers of one driver, in the place of `sweeper.engine.worker_pool.WorkerPool`.

    Args:
        owner: the driver's process; its workers die with it.
        room: how many workers there may be.
        length: of a round's numbers.
    """

    def __init__(
        self, world: World, owner: Process, nodes: Nodes, disk: Disk, *, room: int, length: int
    ) -> None:
        self.world, self.owner, self.nodes, self.disk = world, owner, nodes, disk
        self.faults, self.length, self.room = world.faults, length, room
        self.network = Network(world, self._take)
        self._made = 0
        self._workers: list[Worker] = []
        self._inbox: list[tuple[Worker, Message, int]] = []
        self._heard: set[int] = set()
        self._busy: set[Worker] = set()
        self._listening: Thread | None = None
        self.hardware: set[str] = set()
        nodes.pools.append(self)

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Ray is shut down, or has lost its driver: the workers die."""
        if self in self.nodes.pools:
            self.nodes.pools.remove(self)
        for worker in self.alive():
            self.world.at(self.world.dice.uniform(0, 3), worker.die)

    def alive(self) -> list[Worker]:
        """The workers that live."""
        return [worker for worker in self._workers if not worker.dead]

    def holds(self, run: int) -> bool:
        """Whether a living worker has a job that the run is open in."""
        return any(worker.holds(run) for worker in self.alive())

    def wait(self, tick: Callable[[], None]) -> None:
        """Returns once a node is up."""
        while not self.nodes.up():
            tick()
            self.world.sleep(1.0)

    def run(self, events: JobSource) -> None:
        """Runs jobs until the source is exhausted."""
        self._listening = self.world.thread()
        while True:
            events.tick()
            self._replace(events)
            self._hand_out(events)
            if events.exhausted() and not self._busy:
                return
            if not self._inbox:
                self.world.sleep(TURN_SECONDS)
            self._hear(events)

    # --- the steps of the loop

    def _take(self, worker: Worker, message: Message, number: int) -> None:
        if not self.owner.dead:
            self._inbox.append((worker, message, number))
            if self._listening is not None:
                self.world.wake(self._listening)

    def _replace(self, events: JobSource) -> None:
        """Gives up workers that are dead or silent, and makes others on nodes that are up."""
        now, up = self.world.now, self.nodes.up()
        for worker in list(self._workers):
            known = worker.dead and now >= worker.dead_at + self.nodes.notice(worker.node)
            if known:
                self._give_up(worker, worker.ending, events)
            elif worker in self._busy and now - worker.heard_at > SILENT:
                self._give_up(worker, Ending.SILENT, events)
        while up and len(self._workers) < min(self.room, events.wanted()):
            self._made += 1
            self._workers.append(Worker(self, self.world.dice.choice(up), self._made))

    def _give_up(self, worker: Worker, ending: Ending, events: JobSource) -> None:
        self._workers.remove(worker)
        worker.kill()
        if worker in self._busy:
            self._busy.remove(worker)
            self.world.say(worker.id, f"given up: {ending}")
            events.lost(worker, ending, "it is gone")

    def _hand_out(self, events: JobSource) -> None:
        for worker in self._workers:
            if events.draining:
                return
            if worker not in self._busy and not worker.dead:
                job = events.next_job(worker)
                if job is None:
                    return
                assert isinstance(job, Job)  # the prices are in the template
                self._busy.add(worker)
                worker.heard_at = self.world.now
                self.world.say(worker.id, f"gets pack {job.pack} ({len(job.members)} runs)")
                worker.take(job)

    def _hear(self, events: JobSource) -> None:
        inbox, self._inbox = self._inbox, []
        for worker, message, number in inbox:
            again = number in self._heard
            self._heard.add(number)
            self.world.say(worker.id, _short(message) + (" again" if again else ""))
            if not again:
                worker.heard_at = self.world.now
            events.message(worker, message)
            if again or worker not in self._busy:
                continue
            if message.done or events.draining:
                self._busy.remove(worker)
            else:
                worker.go_on()


def _short(message: Message) -> str:
    word = f"says round {message.reached.round} of pack {message.pack}"
    word += f" {message.failure[0]}" if message.failure else ""
    word += " refused" if message.refusal else ""
    return word + (" done" if message.done else "")


class Nodes:
    """The machines that workers are on; each comes back some time after it has died."""

    def __init__(self, world: World, names: Sequence[str]) -> None:
        self._world = world
        self._up = list(names)
        self._notice = dict.fromkeys(names, 0.0)
        self.pools: list[WorkerPool] = []

    def up(self) -> list[str]:
        return self._up

    def notice(self, node: str) -> float:
        """Seconds until a pool hears of a dead worker there."""
        return 1.0 if node in self._up else self._notice[node]

    def kill_one(self) -> None:
        """A node dies with all its workers."""
        if not self._up:
            return
        node = self._world.dice.choice(self._up)
        self._up.remove(node)
        self._notice[node] = self._world.dice.uniform(0, NOTICED)
        self._world.say(node, "node is dead")
        for pool in self.pools:
            for worker in pool.alive():
                if worker.node == node:
                    worker.die(Ending.NODE_LOST)
        self._world.at(self._world.dice.uniform(1, 120), lambda: self._back(node))

    def _back(self, node: str) -> None:
        self._up.append(node)
        self._world.say(node, "node is up")
