"""A launch under its lease: finds what exists and what is missing, and runs the rest with Ray."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain

import numpy as np

from sweeper import search
from sweeper.design import design, pack_key
from sweeper.engine import checkpoint_paths, cluster, precision, probe, provenance, sharing
from sweeper.engine.adaptive import Adaptive
from sweeper.engine.cells import REPORT, Cells
from sweeper.engine.conductor import Conductor
from sweeper.engine.context import Session
from sweeper.engine.interrupts import StopNow
from sweeper.engine.packing import Packer
from sweeper.engine.precision import PlanContext, Staged
from sweeper.engine.probe import ProbeConditions, Question
from sweeper.engine.progress import Awaited, Best, snapshot
from sweeper.engine.pruning import Pruning, group_of, pruning_of
from sweeper.engine.recorder import index_of, value_at
from sweeper.engine.room import terms
from sweeper.engine.run_tracker import RunTracker
from sweeper.engine.screening import ScreenedCells
from sweeper.engine.worker_pool import WorkerPool
from sweeper.plan import Price, awaited
from sweeper.spec import ADAPTIVE, Screen
from sweeper.states import Ending, RunState
from sweeper.store.records import Cell, End, NewCell, Pack, Report

ASK_ABOVE_SECONDS = 3600.0
PROGRESS_SECONDS = 0.5
HOURS_SECONDS = 60.0


def agrees(answer: str) -> bool:
    """Returns whether an answer to a yes-or-no question is yes."""
    return answer.strip().lower() in {"y", "yes"}


class Launch:
    """Loads the sweep from the database, plans what is missing, and runs it."""

    def __init__(self, session: Session) -> None:
        self.session, self.request, self.spec = session, session.request, session.spec
        self.tracker = RunTracker()
        self.best = Best(self.spec, self.tracker, bounded=self._bounded)
        self.conductor: Conductor | None = None
        self.place = ProbeConditions.of(
            self.spec.resources, self.request.plugins, session.maker.fingerprints
        )
        self.halted = ""
        self.checkpoints = checkpoint_paths.of(self.request.storage)
        self._began = self.request.clock()
        self.stopped = self.declined = False
        self._provenance = session.sweep.provenance  # of the last launch that ran anything
        self._hours_before = float(self._provenance.get("hours", 0.0))
        self._shown_at = self._saved_at = self._began
        self._limit: int | None = None  # of workers, at the last tick
        self.objective = index_of(
            session.sweep.layout, (session.sweep.objective_split, self.spec.objective.metric, "")
        )
        self.cells: Cells = self._adaptive() if session.cells is None else session.cells
        self.staged = self._staged()
        self.cells = self.staged or self.cells
        self.pruning = self._make_pruning()

    # --- what is there

    def prepare(self) -> None:
        """Adds the spec's cells that the database lacks, hides the others, loads runs and packs."""
        session = self.session
        before = session.store.cells(session.sweep.id)
        kept = self._known() if session.cells is None else []
        self._failures = session.store.failures(session.sweep.id)
        first = self.staged.extended(session.first) if self.staged else session.first
        self.add_cells([*kept, *first])
        self._follow_up()
        mine = {(cell.role, cell.hash) for cell in self.tracker.cells.values()}
        session.store.hide_cells(session.lease, mine)
        # Only now, so that a hidden cell's trial has ended before a sampler reads the study.
        self.mirror()
        self._say_changes(before)
        self._load_packs()
        self._replay()

    def missing(self) -> bool:
        """Returns whether anything is left to run, as far as known."""
        if any(not run.finished for run in self.tracker.runs.values()):
            return True
        new = self.cells.more(1)
        if new:
            self.add_cells(new)
        return bool(new)

    def left(self) -> bool:
        """Whether the sweep is unfinished: a run is open, or a sampler has further cells."""
        return any(not run.finished for run in self.tracker.runs.values()) or self.cells.unasked()

    def add_cells(self, new: Sequence[NewCell]) -> list[Cell]:
        """Adds cells to the database and to memory, if they are new."""
        cells = self.session.store.add_cells(self.session.lease, new)
        self._take(new, cells)
        return cells

    def _take(self, new: Sequence[NewCell], cells: Sequence[Cell]) -> None:
        runs = self.session.store.runs_of([cell.id for cell in cells])
        wanted = [(cell, one.replicates) for one, cell in zip(new, cells, strict=True)]
        self.tracker.add(wanted, runs, failures=self._failures)

    def _follow_up(self) -> None:
        """Adds the cells that follow from cells of earlier launches that have finished."""
        done = [cell for cell in self.tracker.cells.values() if self.tracker.finished(cell.id)]
        for cell in done:
            self.best.see(cell.id)
            new = self.cells.after(cell, {cell.hash: self.tracker.values(cell.id)})
            if new:
                self.add_cells(new)

    def _bounded(self, cell_id: int) -> list[float]:
        """The mean of each constraint's metric over a cell's complete runs."""
        sweep, split = self.session.sweep, self.session.sweep.objective_split
        places = [index_of(sweep.layout, (split, one.metric, "")) for one in self.spec.bounds]
        runs = [r.id for r in self.tracker.of_cell[cell_id] if r.state is RunState.COMPLETE]
        ends = self.session.store.last_observations(runs)
        values = np.array([[value_at(one.numbers, place) for one in ends] for place in places])
        return [float(mean) for mean in values.astype(float).mean(axis=1)]

    def _say_changes(self, before: Sequence[Cell]) -> None:
        had = {(cell.role, cell.hash) for cell in before if not cell.hidden}
        has = {(cell.role, cell.hash): cell for cell in self.tracker.cells.values()}
        added = [cell for key, cell in has.items() if key not in had]
        gone = had - set(has)
        if had and (added or gone):
            self.request.say(
                f"{self.session.changed}: {len(added)} cells are new, {len(gone)} are hidden"
            )
            for cell in added[:20]:
                levels = ", ".join(f"{name}={level}" for name, level in cell.factors.items())
                self.request.say(f"  new: {levels}")

    def _load_packs(self) -> None:
        """Open packs continue unchanged; a pack with a run that is not wanted is packed again."""
        self._open: list[Pack] = []
        for pack in self.session.store.packs(self.session.sweep.id):
            if pack.dissolved or not self.tracker.open_runs(pack):
                continue
            if all(run in self.tracker.runs for run in pack.run_ids):
                self.tracker.add_packs([pack])
                self._open.append(pack)
            else:
                self.session.store.dissolve(self.session.lease, pack.id)
                self.checkpoints.remove(self.session.sweep.id, pack=pack.id)

    def _make_pruning(self) -> Pruning | None:
        spec = self.spec
        if spec.pruner.method == "none":
            return None
        return pruning_of(search.pruner(spec), direction=spec.objective.direction)

    def _replay(self) -> None:
        """Shows the pruner the evaluations of earlier launches."""
        pruning, tracker = self.pruning, self.tracker
        if pruning is None:
            return
        evaluations = Counter[int]()  # by run
        for epoch, run_id, value in sorted(self._seen(), key=lambda one: one[:2]):
            run = tracker.runs[run_id]
            if value is None and run.state is RunState.FAILED:
                continue  # the run diverged here, and the pruner was not asked
            evaluations[run_id] += 1
            pruning.see(
                run.cell_id,
                group=group_of(tracker.cells[run.cell_id], self.spec.scientific),
                replicate=run.replicate,
                evaluation=evaluations[run_id],
                value=value,
                of=[r.replicate for r in tracker.of_cell[run.cell_id] if r.valued_at(epoch)],
            )
        for cell in tracker.cells.values():
            if tracker.finished(cell.id):
                states = {run.state for run in tracker.of_cell[cell.id]}
                pruned = RunState.PRUNED in states
                pruning.end(cell.id, value=tracker.mean(cell.id), pruned=pruned)

    def _seen(self) -> Iterator[tuple[int, int, float | None]]:
        """(epoch, run, objective) of every recorded evaluation."""
        curves = self.session.store.curves(self.session.sweep.id, [self.objective])
        for run_id, epoch, _step, value in chain.from_iterable(curves):
            if run_id in self.tracker.runs:
                yield epoch, run_id, value_at(value, 0)

    # --- adaptive search

    def _adaptive(self) -> Adaptive:
        session = self.session
        return Adaptive(
            self.spec,
            session.maker,
            session.study,
            tell=self.mirror,
            unusable=self._unusable,
            say=self.request.say,
        )

    def _staged(self) -> Staged | None:
        session = self.session
        if self.spec.precision is None:
            return None
        context = PlanContext(
            spec=self.spec,
            maker=session.maker,
            tracker=self.tracker,
            store=session.store,
            lease=session.lease,
            sweep=session.sweep,
            say=self.request.say,
        )
        kind = ScreenedCells if isinstance(self.spec.precision, Screen) else Staged
        return kind(context, self.cells)

    def _known(self) -> list[NewCell]:
        """The cells that earlier launches asked for and that still fit this spec."""
        spec, found = self.spec, []
        for cell in self.session.store.cells(self.session.sweep.id):
            if cell.role != REPORT or not set(cell.factors) <= set(spec.scientific):
                continue
            new, _ = self.session.maker.make_anyway(
                design(spec, cell.factors), number=cell.optuna_number
            )
            if new.hash == cell.hash:
                found.append(new)
        assert isinstance(self.cells, Adaptive)  # noqa: S101  the caller looked
        self.cells.knows(found)
        return found

    def _unusable(self, cell: NewCell, reason: str) -> None:
        """Ends a cell that cannot run at once, and reports that to the sampler."""
        [made] = self.add_cells([cell])
        end = End(ending=Ending.BAD_CONFIG, error=reason)
        reports = [
            Report(run_id=r.id, attempt_id=0, end=end) for r in self.tracker.of_cell[made.id]
        ]
        attempts = self.spec.limits.attempts
        states = self.session.store.record(self.session.lease, reports, max_attempts=attempts)
        for run, state in states.items():
            self.tracker.move(run, state)

    # --- running

    def run(self) -> None:
        """Runs everything that is missing.

        Raises:
            SpecError: the cluster has no GPU, and the spec asks for one.
            StopNow: a second request to stop.
            LeaseLost: another driver has taken the sweep over.
        """
        spec = self.spec
        self._provenance = provenance.collect(trainer=self.session.maker.version)
        self._provenance["spec_file"] = provenance.spec_file(spec.source)
        self.save_hours()
        asked, address = spec.resources.workers or 1, self.request.ray_address
        self.request.say(f"joining Ray at {address}" if address else "starting Ray")
        with cluster.started(
            address=address,
            cpus=asked * spec.resources.cpus,
            gpus=asked * spec.resources.gpus_while_timing,
            say=self.request.say,
            listen=self.request.interrupts.listen,
        ) as capacity:
            self._check_interrupted()
            if address is None:
                sharing.check(spec, capacity)
            wanted = terms(spec, joined=address is not None)
            crew = self.request.crew
            with self.request.make_pool(
                wanted, say=self.request.say, limit=lambda: crew.limit
            ) as pool:
                self._run(pool)

    def _run(self, pool: WorkerPool) -> None:
        pool.wait(self._check)
        packer = self._packer(pool)
        self._settle_shares(pool, packer)
        self.conductor = self.make_conductor(packer, lambda: pool.room)
        self.conductor.end_stopped()
        self.conductor.enqueue(self._open)
        self._check_interrupted()
        self.conductor.enqueue(packer.pack(self.tracker.unpacked()))
        self.declined = not self._confirmed()
        try:
            if not self.declined:
                pool.run(self.conductor)
        finally:
            self._provenance["workers"] = sorted(filter(None, pool.hardware))
            self._provenance["seconds_alone"] = packer.alone()
        self.halted = self.conductor.halted

    def mirror(self) -> None:
        """Adds every finished cell to the Optuna view."""
        self.session.study.sync(self.session.store, self.session.lease, self.session.sweep)

    def cell_finished(self, cell_id: int) -> None:
        """Handles a cell whose runs have all ended."""
        self.best.see(cell_id)

    def settle(self) -> None:
        """Brings the Optuna view to its final state for this driver."""
        session = self.session
        session.study.settle(session.store, session.lease, session.sweep)
        if self.spec.precision is None and not self.left():
            precision.keep_fixed(
                self.spec, session.store, session.lease, stages=session.sweep.stages
            )

    def _packer(self, pool: WorkerPool) -> Packer:
        session, tracker = self.session, self.tracker
        packer = Packer(self.spec, session.store, session.lease, tracker, workers=lambda: pool.room)
        packer.price(
            list(tracker.cells.values()), tracker.unpacked(), probe_keys=partial(self._probe, pool)
        )
        self._check_interrupted()
        return packer

    def _settle_shares(self, pool: WorkerPool, packer: Packer) -> None:
        resources = self.spec.resources
        if resources.on_gpu:
            sharing.settle(
                pool,
                resources,
                [*self._open, *packer.planned(self.tracker.unpacked())],
                packer.prices,
                later=len(self._awaited_cells()),
                here=self.request.ray_address is None,
                say=self.request.say,
            )

    def _probe(self, pool: WorkerPool, questions: Sequence[Question]) -> list[Price]:
        tell, check = self.request.say, self._check
        return probe.measure_there(questions, self.place, pool, tell=tell, check=check)

    def make_conductor(self, packer: Packer, workers: Callable[[], int]) -> Conductor:
        """Makes the inside of the loop for this launch."""
        self.packer, hours = packer, self.spec.limits.hours
        left = None if hours is None else hours - self._hours_before
        return Conductor(self.session, self, workers=workers, hours_left=left)

    def _confirmed(self) -> bool:
        assert self.conductor is not None  # noqa: S101
        following = self.awaited()
        left = self.conductor.eta.left(0.0, awaited=following.price)
        runs = sum(not run.finished for run in self.tracker.runs.values())
        text = f"{runs + following.runs} runs to do"
        text += f", the first {runs}" if following.runs else ""
        text += f" in {len(self.tracker.packs)} packs"
        if self.staged and self.staged.may_follow():
            text += f", and up to {self.staged.may_follow()} more by the plan for replicates"
        self.request.say(text)
        return self._agreed(left[0] if left else 0.0)

    def _agreed(self, seconds: float) -> bool:
        """Asks before a long sweep, if a user can answer."""
        if self.request.yes or seconds < ASK_ABOVE_SECONDS or not sys.stdin.isatty():
            return True
        answer = self.request.interrupts.ask(f"about {seconds / 3600:.1f} h. Start? [y/N] ")
        return agrees(answer)

    def _check(self) -> None:
        """Called while the probe runs or a worker is awaited."""
        self._check_interrupted()
        self.session.heartbeat.check()

    def _check_interrupted(self) -> None:
        if self.request.interrupts.count:
            raise StopNow

    def watch(self) -> None:
        """Checks the lease and signals, and shows progress from time to time."""
        conductor = self.conductor
        assert conductor is not None  # noqa: S101
        self.session.heartbeat.check()
        if self.request.interrupts.count >= 2:
            raise StopNow
        if self.request.interrupts.count and not conductor.draining:
            reason = self.request.interrupts.reason
            said = f"{reason}: " if reason else ""
            self.request.say(f"{said}finishing the current round; a second signal stops at once")
            conductor.drain()
        before, self._limit = self._limit, self.request.crew.limit
        if before is not None and self._limit is not None and self._limit < before:
            self.request.say(f"workers from now on: {max(1, self._limit)}")
        now = self.request.clock()
        if now - self._shown_at >= PROGRESS_SECONDS:
            self._shown_at = now
            self.show()
        if now - self._saved_at >= HOURS_SECONDS:
            self._saved_at = now
            self.save_hours()

    def show(self) -> None:
        """Shows the current progress."""
        if self.conductor is not None:
            following = self.awaited()
            running = self.conductor.running_seconds()
            left = self.conductor.eta.left(running, awaited=following.price)
            more = self.staged.may_follow() if self.staged else 0
            self.request.say(
                snapshot(self.tracker, self.best, left, awaited=following, may_follow=more)
            )

    def awaited(self) -> Awaited:
        """The runs that will certainly follow, such as those after tuning."""
        cells, replicates = self._awaited_cells(), len(self.session.maker.replicates[REPORT])
        price = (0.0, 0)
        if self.conductor is not None:
            keys = Counter("" if cell is None else pack_key(cell.config) for cell in cells)
            price = self.packer.foresee(keys, replicates=replicates)
        return Awaited(cells=len(cells), runs=len(cells) * replicates, price=price)

    def _awaited_cells(self) -> list[Cell | None]:
        spec, tracker = self.spec, self.tracker
        if spec.search.method in ADAPTIVE and not self.cells.unasked():
            return []  # the sampler has no further cells, maybe before all trials
        return awaited(
            tracker.cells.values(),
            scientific=spec.scientific,
            trials=spec.search.trials if spec.search.method in ADAPTIVE else None,
            eligible=lambda cell: not tracker.finished(cell.id) or bool(tracker.values(cell.id)),
        )

    def save_hours(self) -> None:
        """Stores the running time over all launches, for `limits.hours`."""
        hours = self._hours_before + (self.request.clock() - self._began) / 3600
        with_hours = {**self._provenance, "hours": round(hours, 4)}
        self.session.store.update_sweep(self.session.lease, provenance=with_hours)

    def abandon(self, why: str) -> None:
        """Ends what is open after a failure: nothing stays RUNNING."""
        self.stopped = True
        if self.conductor is not None:
            self.conductor.cancel_all(why)
