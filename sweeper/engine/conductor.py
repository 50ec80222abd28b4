"""The driver's loop from inside: hands out packs, handles messages, decides what follows.

Everything here runs in one thread, between two answers of workers. The database holds the truth;
every launch rebuilds the run tables in memory and the queue from it.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from sweeper.engine.cells import Cells
from sweeper.engine.checkpoint_paths import Checkpoints
from sweeper.engine.circuit_breaker import CircuitBreaker
from sweeper.engine.context import Session
from sweeper.engine.messages import Job, JobMember, MemberResult, Message, PackProgress, Refusal
from sweeper.engine.packing import Packer
from sweeper.engine.probe import ProbeConditions
from sweeper.engine.pruning import Pruning, group_of
from sweeper.engine.recorder import Recorder, reports_of, value_at
from sweeper.engine.run_tracker import RunTracker, TrackedRun
from sweeper.engine.running_pack import RunningPack
from sweeper.engine.worker_pool import STALL_SECONDS, Worker
from sweeper.errors import EngineError
from sweeper.eta import Eta, Seen
from sweeper.states import Ending, RunState
from sweeper.store.records import Cell, End, NewCell, Pack, Report

LOG = logging.getLogger(__name__)
SAVE_SECONDS = 20.0  # for a checkpoint, when the driver stops
MIRROR_SECONDS = 2.0


class Host(Protocol):
    """The launch that the loop serves."""

    tracker: RunTracker
    cells: Cells
    packer: Packer
    pruning: Pruning | None
    place: ProbeConditions
    checkpoints: Checkpoints
    objective: int  # its index in a round's numbers

    def add_cells(self, new: Sequence[NewCell]) -> list[Cell]: ...

    def mirror(self) -> None:
        """Brings the Optuna view up to date."""
        ...

    def watch(self) -> None:
        """Called at each tick: lease, signals, progress."""
        ...

    def cell_finished(self, cell_id: int) -> None: ...


class Conductor:
    """Serves jobs (`worker_pool.JobSource`) for one launch.

    Args:
        workers: the number of workers that there may be now.
        hours_left: of the sweep's limit; None without a limit.
    """

    def __init__(
        self,
        session: Session,
        host: Host,
        *,
        workers: Callable[[], int],
        hours_left: float | None,
    ) -> None:
        self.draining, self.halted = False, ""
        self.eta = Eta(workers)
        self.running_packs: dict[str, RunningPack] = {}
        self._session, self._host, self._workers = session, host, workers
        self._clock, self._spec = session.request.clock, session.spec
        self._tracker = host.tracker
        self._queue: deque[int] = deque()
        limits = self._spec.limits
        self._breaker = CircuitBreaker(failures=limits.failures, attempts=limits.attempts)
        self._recorder = Recorder(
            session.store,
            session.lease,
            host.tracker,
            max_attempts=limits.attempts,
            on_cell=self._cell_finished,
            clock=self._clock,
        )
        self._until = None if hours_left is None else self._clock() + 3600 * hours_left
        self._mirror_due = False
        self._mirrored_at = self._ticked_at = self._clock()
        self._said: set[str] = set()
        self._silences = Counter[int]()  # by run

    # --- the source of packs

    def enqueue(self, packs: Sequence[Pack], *, first: bool = False) -> None:
        """Puts packs at the end of the queue, or each before all others."""
        for pack in packs:
            self.eta.queued(pack.seconds)
            (self._queue.appendleft if first else self._queue.append)(pack.id)

    def wanted(self) -> int:
        """The number of useful workers; all possible ones while a sampler has further cells."""
        jobs = len(self._queue) + len(self.running_packs)
        return max(jobs, self._workers()) if self._host.cells.unasked() else jobs

    def next_job(self, worker: Worker) -> Job | None:
        if self.draining:
            return None
        if not self._queue:
            self._more_cells()
        while self._queue:
            pack = self._tracker.packs.get(self._queue.popleft())
            if pack is None:
                continue
            self.eta.queued(pack.seconds, sign=-1)
            open_runs = self._tracker.open_runs(pack)
            if open_runs:
                return self._begin(worker, pack, open_runs)
        return None

    def exhausted(self) -> bool:
        return self.draining or not (self._queue or self.running_packs)

    def _more_cells(self) -> None:
        wanted = self._workers() - len(self.running_packs)
        new = self._host.cells.more(wanted)
        if new:
            self._take_in(new, idle=wanted)

    def _take_in(self, new: Sequence[NewCell], *, idle: int = 1) -> None:
        self._host.add_cells(new)
        # Workers that have packs of their own need none of these, so there is no reason to split
        # them.
        self.enqueue(self._host.packer.pack(self._tracker.unpacked(), workers=max(idle, 1)))

    def _begin(self, worker: Worker, pack: Pack, open_runs: Sequence[TrackedRun]) -> Job:
        ids = [run.id for run in open_runs]
        attempts = self._session.store.begin(self._session.lease, pack.id, ids)
        for run in ids:
            self._tracker.move(run, RunState.RUNNING)
        job = self._job(pack, attempts)
        now = self._clock()
        self.running_packs[worker.id] = RunningPack(
            pack=pack,
            job=job.number,
            attempts=dict(attempts),
            worker=worker,
            began=now,
            heard=now,
        )
        fields = {"pack": pack.id, "runs": ids, "worker": worker.id}
        LOG.debug(
            "pack %d, runs %s: to %s on %s", pack.id, ids, worker.id, worker.node, extra=fields
        )
        return job

    def _job(self, pack: Pack, attempts: dict[int, int]) -> Job:
        runs = [self._tracker.runs[run] for run in pack.run_ids if run in self._tracker.runs]
        place = self._host.place
        folder = self._host.checkpoints.of_pack(self._session.lease.sweep_id, pack=pack.id)
        return Job(
            pack=pack.id,
            members=tuple(
                JobMember(
                    run=run.id,
                    attempt=attempts.get(run.id, 0),
                    replicate=run.replicate,
                    config=self._tracker.cells[run.cell_id].config,
                )
                for run in runs
            ),
            drops={run.id: run.left_by for run in runs if run.finished},
            recorded=min(run.epoch for run in runs if not run.finished),
            form=pack.form or "folded",
            threads=self._host.packer.threads(pack) or place.threads,
            device=place.device,
            checkpoint_dir=str(folder),
            checkpoint_seconds=self._spec.limits.checkpoint_seconds,
            fingerprints=self._session.maker.fingerprints,
            plugins=place.plugins,
            own=self._session.maker.own,
        )

    def _forget(self, pack: Pack) -> None:
        """Removes the checkpoints of a pack that will not continue."""
        self._host.checkpoints.remove(self._session.lease.sweep_id, pack=pack.id)

    # --- what workers say

    def tick(self) -> None:
        self._host.watch()
        now = self._clock()
        self._forgive(now)
        self._recorder.tick()
        if self._mirror_due and now - self._mirrored_at >= MIRROR_SECONDS:
            self.mirror()
        if not self.draining and self._until is not None and now >= self._until:
            self.halt(f"the limit of {self._spec.limits.hours:g} hours is reached")
        self._end_overdue(now)

    def _forgive(self, now: float) -> None:
        """Ignores silence while the driver was stopped, because it did not read messages then."""
        gap, self._ticked_at = now - self._ticked_at, now
        if gap > STALL_SECONDS:
            for running in self.running_packs.values():
                running.heard += gap

    def mirror(self) -> None:
        """Brings the Optuna view up to date."""
        self._host.mirror()
        self._mirror_due, self._mirrored_at = False, self._clock()

    def drain(self) -> None:
        """Hands out no further pack; running packs end after their round."""
        self.draining = True

    def halt(self, reason: str) -> None:
        """Drains, because the sweep cannot go on."""
        self.halted = self.halted or reason
        self.drain()

    def message(self, worker: Worker, message: Message) -> None:
        """Handles a round; ignores a message about a job that the worker no longer has."""
        running = self.running_packs.get(worker.id)
        if running is None or message.job != running.job:
            return
        if message.failure is not None:
            self._failed(worker, *message.failure)
        elif message.unfit:
            self._failed(worker, Ending.NODE_UNFIT, f"{worker.node}: {message.unfit}")
        elif message.refusal is not None:
            self._refused(worker, message.refusal)
        else:
            self._round(running, message)

    def _round(self, running: RunningPack, message: Message) -> None:
        worker, reached = running.worker, message.reached
        if reached.round <= running.reached.round and not message.done:
            return  # a repeated delivery: a pack never goes back
        running.reached, running.heard = reached, self._clock()
        share = (reached.round - message.from_epoch) / reached.rounds
        self.eta.round(worker.id, Seen(running.pack.seconds, share, message.seconds))
        self._say_once(message.note)
        members = tuple(m for m in message.members if running.attempts.get(m.run) == m.attempt)
        if reached.evaluation:
            members = self._pruned(running, members)
        self._recorder.add(reports_of(message, members=members, objective=self._host.objective))
        self._judge(running, members)
        if message.done or not running.attempts:
            self._done(running)
        elif self.draining:
            self._stop(running)
            self._cancel(running, "the driver was asked to stop")
        elif self._session.request.crew.under(len(self.running_packs)):
            self._stop(running)
            worker.leave()
            self._recorder.add(running.ends(Ending.PREEMPTED, "its worker was given to others"))
            self.enqueue([running.pack], first=True)

    def _stop(self, running: RunningPack) -> None:
        """Takes a pack from its worker between two rounds, and saves it."""
        interrupts = self._session.request.interrupts
        self._recorder.flush()
        running.worker.save_now(timeout=SAVE_SECONDS, give_up=lambda: interrupts.count >= 2)
        del self.running_packs[running.worker.id]
        self.eta.over(running.worker.id, whole=False)

    def lost(self, worker: Worker, ending: Ending, error: str) -> None:
        """Ends the attempts of a lost worker; its pack goes back to the queue."""
        running = self.running_packs.get(worker.id)
        if running is None:
            return
        if running.killed_for is not None:
            ending, error = running.killed_for, running.killed_text
        if ending is Ending.SILENT:
            self._silences.update(list(running.attempts))
            if any(self._silences[run] > 1 for run in running.attempts):
                ending = Ending.TIMEOUT  # a second time in a row: the run itself may be the cause
        self._failed(worker, ending, error)

    def cancel_all(self, why: str) -> None:
        """Ends every open attempt; its runs may be tried again without a count."""
        for running in list(self.running_packs.values()):
            self._cancel(running, why)
        self.running_packs.clear()
        self._recorder.flush()

    def _cancel(self, running: RunningPack, why: str) -> None:
        interrupts = self._session.request.interrupts
        ending = Ending.PREEMPTED if interrupts.preempted else Ending.CANCELLED
        self._recorder.add(running.ends(ending, interrupts.reason or why))

    def _pruned(
        self, running: RunningPack, members: tuple[MemberResult, ...]
    ) -> tuple[MemberResult, ...]:
        """The members, with those of stopped cells marked as ended."""
        pruning, reached = self._host.pruning, running.reached
        if pruning is None:
            return members
        ended = {m.run for m in members if m.end is not None}
        stopped = {
            self._tracker.runs[m.run].cell_id
            for m in members
            if m.end is None
            and m.run not in running.leaving
            and self._should_stop(pruning, reached, m, ended)
        }
        members = tuple(
            m.ended(Ending.PRUNED)
            if m.end is None
            and (m.run in running.leaving or self._tracker.runs[m.run].cell_id in stopped)
            else m
            for m in members
        )
        gone = [m.run for m in members if m.end is Ending.PRUNED]
        if gone:
            running.worker.drop(gone)
        self._prune_elsewhere(stopped, but={m.run for m in members})
        return members

    def _should_stop(
        self, pruning: Pruning, reached: PackProgress, member: MemberResult, ended: set[int]
    ) -> bool:
        cell = self._tracker.cells[self._tracker.runs[member.run].cell_id]
        runs = self._tracker.of_cell[cell.id]
        if any(run.state is RunState.COMPLETE for run in runs):
            return False  # it has a value, and further replicates only make it more exact
        return pruning.see(
            cell.id,
            group=group_of(cell, self._spec.scientific),
            replicate=self._tracker.runs[member.run].replicate,
            evaluation=reached.evaluation,
            value=value_at(member.numbers, self._host.objective),
            of=[
                run.replicate
                for run in runs
                if run.valued_at(reached.epoch) and run.id not in ended
            ],
        )

    def _prune_elsewhere(self, cells: Collection[int], *, but: Collection[int]) -> None:
        """Ends the other open runs of stopped cells.

        Waiting runs end at once. Running ones end with their pack's next evaluation: a step's
        arithmetic depends on the members that take part, so they must leave at the recorded epoch.
        """
        runs = {r.id for cell in cells for r in self._tracker.of_cell[cell] if r.id not in but}
        self._end_waiting(runs)
        for running in self.running_packs.values():
            running.leaving |= runs & running.attempts.keys()

    def _end_waiting(self, runs: Collection[int]) -> None:
        """Ends runs of stopped cells that no worker has."""
        end = End(ending=Ending.PRUNED)
        self._recorder.add(
            [
                Report(run_id=run, attempt_id=0, end=end)
                for run in sorted(runs)
                if self._tracker.runs[run].state is RunState.PENDING
            ]
        )

    def end_stopped(self) -> None:
        """Ends the remaining runs of cells that an earlier launch had stopped."""
        runs = self._tracker.runs.values()
        pruned = {run.cell_id for run in runs if run.state is RunState.PRUNED}
        self._end_waiting({run.id for run in runs if run.cell_id in pruned})

    def _say_once(self, note: str) -> None:
        if note and note not in self._said:
            self._said.add(note)
            self._session.request.say(note)

    def _judge(self, running: RunningPack, members: Sequence[MemberResult]) -> None:
        """Removes members that have ended; a round in which only some members fail is a success."""
        ended = [member for member in members if member.end is not None]
        for member in ended:
            attempt = running.attempts.pop(member.run, None)
            fields = {"run": member.run, "attempt": attempt, "pack": running.pack.id}
            LOG.info("run %d ended: %s %s", member.run, member.end, member.error, extra=fields)
        failed = [m for m in ended if m.end not in (Ending.COMPLETE, Ending.PRUNED)]
        if len(failed) == len(members):
            for member in failed:
                assert member.end is not None  # noqa: S101  they have ended
                self._break(member.end, [member.run], member.error)
        elif ended:
            self._breaker.success()

    def _break(self, ending: Ending, runs: Sequence[int], error: str) -> None:
        self._breaker.failure(ending, self._tracker.cells_of(runs), error)
        if self._breaker.tripped:
            self.halt(self._breaker.tripped)

    def _done(self, running: RunningPack) -> None:
        del self.running_packs[running.worker.id]
        self.eta.over(running.worker.id, whole=True)
        if running.attempts:  # the worker reported the pack as done without an end for these runs
            self._recorder.add(running.ends(Ending.ERROR, "the worker left this run out"))
            self._again(running, Ending.ERROR)
        else:
            self._forget(running.pack)

    def _failed(self, worker: Worker, ending: Ending, error: str) -> None:
        running = self.running_packs.pop(worker.id)
        fields = {"pack": running.pack.id, "runs": list(running.attempts), "worker": worker.id}
        LOG.warning(
            "pack %d on %s ended: %s: %s", running.pack.id, worker.id, ending, error, extra=fields
        )
        self.eta.over(worker.id, whole=False)
        self._recorder.add(running.ends(ending, error))
        self._end_waiting(running.leaving)
        self._break(ending, list(running.attempts), error)
        self._again(running, ending)

    def _again(self, running: RunningPack, ending: Ending) -> None:
        """Queues the open runs again: as the same pack or, if that may help, as smaller packs."""
        pack = running.pack
        open_runs = self._tracker.open_runs(pack)
        if not open_runs:
            self._forget(pack)
            return
        k = self._smaller(len(pack.run_ids), open_runs, ending)
        if k is None:
            self.enqueue([pack])
            return
        self._split(pack, open_runs, k=k)

    def _split(
        self, pack: Pack, open_runs: Sequence[TrackedRun], *, k: int, form: str | None = None
    ) -> None:
        self._session.store.dissolve(self._session.lease, pack.id)
        self._tracker.dissolve(pack.id)
        self._forget(pack)
        self.enqueue(self._host.packer.split(pack, open_runs, k=k, form=form))

    def _refused(self, worker: Worker, refusal: Refusal) -> None:
        """Handles a node that computes the pack's form wrongly: its runs continue in the next form.

        Raises:
            EngineError: no form is correct there.
        """
        if not refusal.form:
            raise EngineError(refusal.text)
        running = self.running_packs.pop(worker.id)
        pack = running.pack
        self._say_once(refusal.text)
        self._recorder.add(running.ends(Ending.CANCELLED, refusal.text))
        self._end_waiting(running.leaving)
        self._recorder.flush()
        self._host.packer.change_form(pack.key, refusal.form, refusal.text)
        self._split(pack, self._tracker.open_runs(pack), k=len(pack.run_ids), form=refusal.form)

    def _smaller(self, k: int, open_runs: Sequence[TrackedRun], ending: Ending) -> int | None:
        """The pack size of the next try: 1 before the last attempt, half after out of memory."""
        if k == 1:
            return None
        last = self._spec.limits.attempts - 1
        if last > 0 and any(run.failures >= last for run in open_runs):
            return 1
        return k // 2 if ending in (Ending.OUT_OF_MEMORY, Ending.HOST_OUT_OF_MEMORY) else None

    def _end_overdue(self, now: float) -> None:
        """Ends workers whose pack exceeds the spec's time limits, or makes no progress."""
        for running in self.running_packs.values():
            price = self.eta.price(running.pack.seconds) or 0.0
            text = running.overdue(self._spec.limits, now, price=price)
            if text and running.killed_for is None:
                running.killed_for, running.killed_text = Ending.TIMEOUT, text
                running.worker.kill()

    # --- what follows from the end of a cell

    def _cell_finished(self, cell_id: int) -> None:
        cell, tracker = self._tracker.cells[cell_id], self._tracker
        self._mirror_due = True
        self._host.cell_finished(cell_id)
        if self._host.pruning is not None:
            states = {run.state for run in tracker.of_cell[cell_id]}
            self._host.pruning.end(
                cell_id, value=tracker.mean(cell_id), pruned=RunState.PRUNED in states
            )
        new = self._host.cells.after(cell, {cell.hash: tracker.values(cell_id)})
        if new:
            self._take_in(new)

    def running_seconds(self) -> float | None:
        """The seconds that running packs still need; None while unknown."""
        left = 0.0
        for running in self.running_packs.values():
            price = self.eta.price(running.pack.seconds)
            if price is None:
                return None
            left += price * max(0.0, 1 - running.reached.round / running.reached.rounds)
        return left
