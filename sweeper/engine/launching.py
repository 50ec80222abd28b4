"""One launch under the lease: what is there, what is missing, and Ray for the rest of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain

from sweeper import search
from sweeper.design import design
from sweeper.engine import cluster, places, precision, probe, provenance
from sweeper.engine.adaptive import Adaptive
from sweeper.engine.board import Board
from sweeper.engine.cells import REPORT, Cells, Maker
from sweeper.engine.conductor import Conductor, Hands, Settings
from sweeper.engine.heartbeat import Heartbeat
from sweeper.engine.interrupts import Interrupts, StopNow
from sweeper.engine.packing import Packer
from sweeper.engine.precision import Asking, Staged
from sweeper.engine.probe import Place, Question
from sweeper.engine.progress import Awaited, Best, Event, snapshot
from sweeper.engine.pruning import Pruning, group_of
from sweeper.engine.recorder import index_of, value_at
from sweeper.engine.screening import Screened
from sweeper.engine.trials import Crew
from sweeper.plan import Price
from sweeper.spec import Screen, Spec
from sweeper.states import Ending, RunState
from sweeper.store.records import Cell, End, Lease, NewCell, Pack, Report, Sweep
from sweeper.store.store import Store
from sweeper.store.study import Study

PROGRESS_SECONDS = 0.5
HOURS_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Under:
    """A launch that has the lease."""

    spec: Spec
    maker: Maker
    cells: Cells | None  # None: adaptive, made once the study is open
    first: Sequence[NewCell]
    store: Store
    lease: Lease
    storage: str
    ray_address: str | None
    plugins: tuple[str, ...]
    on_event: Callable[[Event], None]
    interrupts: Interrupts
    yes: bool = True  # do not ask before starting
    changed: str = "the spec has changed"  # since the last launch, if cells come and go


@dataclass(frozen=True, kw_only=True)
class Given(Under):
    """What a launch starts from."""

    sweep: Sweep
    study: Study
    heartbeat: Heartbeat
    confirm: Callable[[str, float], bool]
    clock: Callable[[], float] = field(default=time.monotonic)


class Launch:
    """Reads the board from the database, plans what is missing, and runs it."""

    def __init__(self, given: Given) -> None:
        self.given = given
        self.board = Board()
        self.best = Best(given.spec, self.board)
        self.conductor: Conductor | None = None
        self.packer: Packer | None = None
        self.halted = ""
        self._checkpoints = places.of(given.storage)
        self._trouble = ""  # of the heart-beat, as last told
        self._began = given.clock()
        self.stopped = self.declined = False
        self._provenance = given.sweep.provenance  # of the last launch that ran anything
        self._hours_before = float(self._provenance.get("hours", 0.0))
        self._shown_at = self._saved_at = self._began
        self.objective = index_of(
            given.sweep.layout, (given.sweep.objective_split, given.spec.objective.metric, "")
        )
        self.cells: Cells = given.cells if given.cells is not None else self._adaptive()
        self.staged = self._staged()
        self.cells = self.staged or self.cells
        self._pruning = self._make_pruning()

    # --- what is there

    def prepare(self) -> None:
        """Takes over, adds what the spec has and the database has not, hides the rest."""
        given = self.given
        given.store.reclaim(given.lease)
        before = given.store.cells(given.sweep.id)
        kept = self._known() if given.cells is None else []
        self._failures = given.store.failures(given.sweep.id)
        first = self.staged.extended(given.first) if self.staged else given.first
        self.add_cells([*kept, *first])
        self._follow_up()
        mine = {(cell.role, cell.hash) for cell in self.board.cells.values()}
        given.store.hide_cells(given.lease, mine)
        # Only now: a hidden cell's trial is to end before a sampler looks at the study.
        self.mirror()
        self._say_changes(before)
        self._load_packs()
        self._replay()

    def missing(self) -> bool:
        """Whether anything is left to run, as far as is known now."""
        if any(not run.finished for run in self.board.runs.values()):
            return True
        new = self.cells.more(1)
        if new:
            self.add_cells(new)
        return bool(new)

    def left(self) -> bool:
        """Whether the sweep is unfinished: a run is open, or a sampler has further cells."""
        return any(not run.finished for run in self.board.runs.values()) or self.cells.unasked()

    def add_cells(self, new: Sequence[NewCell]) -> list[Cell]:
        """Cells that the database gets now, if it has not got them."""
        cells = self.given.store.add_cells(self.given.lease, new)
        self._take(new, cells)
        return cells

    def _take(self, new: Sequence[NewCell], cells: Sequence[Cell]) -> None:
        runs = self.given.store.runs_of([cell.id for cell in cells])
        wanted = [(cell, one.replicates) for one, cell in zip(new, cells, strict=True)]
        self.board.add(wanted, runs, failures=self._failures)

    def _follow_up(self) -> None:
        """Cells that follow from the ones that have finished before."""
        done = [cell for cell in self.board.cells.values() if self.board.finished(cell.id)]
        for cell in done:
            self.best.see(cell.id)
            new = self.cells.after(cell, {cell.hash: self.board.values(cell.id)})
            if new:
                self.add_cells(new)

    def _say_changes(self, before: Sequence[Cell]) -> None:
        had = {(cell.role, cell.hash) for cell in before if not cell.hidden}
        has = {(cell.role, cell.hash): cell for cell in self.board.cells.values()}
        added = [cell for key, cell in has.items() if key not in had]
        gone = had - set(has)
        if had and (added or gone):
            self.given.on_event(
                f"{self.given.changed}: {len(added)} cells are new, {len(gone)} are hidden"
            )
            for cell in added[:20]:
                levels = ", ".join(f"{name}={level}" for name, level in cell.factors.items())
                self.given.on_event(f"  new: {levels}")

    def _load_packs(self) -> None:
        """Open packs go on as they are; one that holds a run no longer asked for is packed anew."""
        self._open: list[Pack] = []
        for pack in self.given.store.packs(self.given.sweep.id):
            if pack.dissolved or not self.board.open_runs(pack):
                continue
            if all(run in self.board.runs for run in pack.run_ids):
                self.board.add_packs([pack])
                self._open.append(pack)
            else:
                self.given.store.dissolve(self.given.lease, pack.id)
                self._checkpoints.remove(self.given.sweep.id, pack=pack.id)

    def _make_pruning(self) -> Pruning | None:
        spec = self.given.spec
        if spec.pruner.method == "none":
            return None
        return Pruning(search.pruner(spec), direction=spec.objective.direction)

    def _replay(self) -> None:
        """Shows the pruner what earlier launches have seen."""
        pruning, board = self._pruning, self.board
        if pruning is None:
            return
        evaluations = Counter[int]()  # of each run, none of which is left out
        for epoch, run_id, value in sorted(self._seen(), key=lambda one: one[:2]):
            run = board.runs[run_id]
            if value is None and run.state is RunState.FAILED:
                continue  # it diverged here, and nobody was asked
            evaluations[run_id] += 1
            pruning.see(
                run.cell_id,
                group=group_of(board.cells[run.cell_id], self.given.spec.scientific),
                run=run.id,
                evaluation=evaluations[run_id],
                value=value,
                of=[r.id for r in board.of_cell[run.cell_id] if r.valued_at(epoch)],
            )
        for cell in board.cells.values():
            if board.finished(cell.id):
                states = {run.state for run in board.of_cell[cell.id]}
                pruned = RunState.PRUNED in states
                pruning.end(cell.id, value=board.mean(cell.id), pruned=pruned)

    def _seen(self) -> Iterator[tuple[int, int, float | None]]:
        """(epoch, run, objective) of every evaluation recorded."""
        curves = self.given.store.curves(self.given.sweep.id, [self.objective])
        for run_id, epoch, _step, value in chain.from_iterable(curves):
            if run_id in self.board.runs:
                yield epoch, run_id, value_at(value, 0)

    # --- adaptive search

    def _adaptive(self) -> Adaptive:
        given = self.given
        return Adaptive(
            given.spec,
            given.maker,
            given.study,
            tell=self.mirror,
            unusable=self._unusable,
        )

    def _staged(self) -> Staged | None:
        given = self.given
        if given.spec.precision is None:
            return None
        asking = Asking(
            spec=given.spec, maker=given.maker, board=self.board, store=given.store,
            lease=given.lease, sweep=given.sweep, say=given.on_event,
        )  # fmt: skip
        kind = Screened if isinstance(given.spec.precision, Screen) else Staged
        return kind(asking, self.cells)

    def _known(self) -> list[NewCell]:
        """The cells that earlier launches asked for and that are still of this spec."""
        spec, found = self.given.spec, []
        for cell in self.given.store.cells(self.given.sweep.id):
            if cell.role != REPORT or not set(cell.factors) <= set(spec.scientific):
                continue
            new, _ = self.given.maker.make_anyway(
                design(spec, cell.factors), number=cell.optuna_number
            )
            if new.hash == cell.hash:
                found.append(new)
        assert isinstance(self.cells, Adaptive)  # noqa: S101  the caller looked
        self.cells.knows(cell.hash for cell in found)
        return found

    def _unusable(self, cell: NewCell, reason: str) -> None:
        """A cell that cannot run ends at once; the sampler is told so."""
        [made] = self.add_cells([cell])
        end = End(ending=Ending.BAD_CONFIG, error=reason)
        reports = [Report(run_id=r.id, attempt_id=0, end=end) for r in self.board.of_cell[made.id]]
        attempts = self.given.spec.limits.attempts
        states = self.given.store.record(self.given.lease, reports, max_attempts=attempts)
        for run, state in states.items():
            self.board.move(run, state)

    # --- running

    def run(self) -> None:
        """Runs everything that is missing.

        Raises:
            SpecError: the cluster has no GPU, and the spec asks for one.
            StopNow: asked twice to stop.
            LeaseLost: another driver has taken the sweep over.
        """
        spec = self.given.spec
        self._provenance = provenance.collect()
        self._provenance["spec_file"] = provenance.spec_file(spec.source)
        self.save_hours()
        asked, address = spec.resources.workers or 1, self.given.ray_address
        self.given.on_event(f"joining Ray at {address}" if address else "starting Ray")
        with cluster.started(
            address=address,
            cpus=asked * spec.resources.cpus,
            gpus=asked * spec.resources.gpus,
            listen=self.given.interrupts.listen,
        ) as capacity:
            workers = self._workers(capacity)
            self._check_interrupted()
            with Crew(workers=workers, cpus=spec.resources.cpus, gpus=spec.resources.gpus) as crew:
                self._run(crew, workers)

    def _run(self, crew: Crew, workers: int) -> None:
        packer = self._packer(crew, workers)
        self.conductor = self.make_conductor(packer, workers)
        self.conductor.enqueue(self._open)
        self._check_interrupted()
        self.conductor.enqueue(packer.pack(self.board.unpacked()))
        self.declined = not self._confirmed()
        if not self.declined:
            crew.run(self.conductor)
        self.halted = self.conductor.halted

    def mirror(self) -> None:
        """Lets the Optuna view catch up with every finished cell."""
        self.given.study.sync(self.given.store, self.given.lease, self.given.sweep)

    def settle(self) -> None:
        """The Optuna view as it stays once this driver is gone."""
        given = self.given
        given.study.settle(given.store, given.lease, given.sweep)
        if given.spec.precision is None and not self.left():
            precision.keep_fixed(given.spec, given.store, given.lease, stages=given.sweep.stages)

    def _workers(self, capacity: cluster.Capacity) -> int:
        resources = self.given.spec.resources
        if resources.gpus > capacity.gpus:
            raise self.given.spec.problem(
                "resources.gpus", resources.gpus, f"the cluster has {capacity.gpus:g}"
            )
        if resources.cpus > capacity.cpus:
            raise self.given.spec.problem(
                "resources.cpus", resources.cpus, f"the cluster has {capacity.cpus:g}"
            )
        return cluster.workers(resources, capacity)

    @property
    def _place(self) -> Place:
        return Place.of(self.given.spec.resources, self.given.plugins)

    def _packer(self, crew: Crew, workers: int) -> Packer:
        given = self.given
        packer = Packer(given.spec, given.store, given.lease, self.board, workers=workers)
        runs = self.board.unpacked()
        packer.price(list(self.board.cells.values()), runs, probe_keys=partial(self._probe, crew))
        self._check_interrupted()
        return packer

    def _probe(self, crew: Crew, questions: Sequence[Question]) -> list[Price]:
        tell, check = self.given.on_event, self._check_interrupted
        return probe.measure_there(questions, self._place, crew, tell=tell, check=check)

    def make_conductor(self, packer: Packer, workers: int) -> Conductor:
        """The loop's inside, for this launch."""
        given, place = self.given, self._place
        self.packer = packer
        hours = given.spec.limits.hours
        hands = Hands(
            spec=given.spec,
            store=given.store,
            lease=given.lease,
            board=self.board,
            cells=self.cells,
            packer=packer,
            pruning=self._pruning,
            fingerprints=lambda: given.maker.fingerprints,
            add_cells=self.add_cells,
            mirror=self.mirror,
            watch=self._watch,
            cell_finished=self.best.see,
            impatient=lambda: given.interrupts.count >= 2,
            say=given.on_event,
            clock=given.clock,
        )
        settings = Settings(
            workers=workers,
            threads=place.threads,
            device=place.device,
            plugins=place.plugins,
            checkpoints=self._checkpoints,
            objective=self.objective,
        )
        left = None if hours is None else hours - self._hours_before
        return Conductor(hands, settings, hours_left=left)

    def _confirmed(self) -> bool:
        assert self.conductor is not None  # noqa: S101
        awaited = self.awaited()
        left = self.conductor.eta.left(0.0, awaited=awaited.price)
        runs = sum(not run.finished for run in self.board.runs.values())
        text = f"{runs + awaited.runs} runs to do"
        text += f", the first {runs}" if awaited.runs else ""
        text += f" in {len(self.board.packs)} packs"
        if self.staged and self.staged.may_follow():
            text += f", and up to {self.staged.may_follow()} more by the plan for replicates"
        return self.given.confirm(text, left[0] if left else 0.0)

    def _check_interrupted(self) -> None:
        if self.given.interrupts.count:
            raise StopNow

    def _watch(self) -> None:
        given, conductor = self.given, self.conductor
        assert conductor is not None  # noqa: S101
        self._check_heartbeat()
        if given.interrupts.count >= 2:
            raise StopNow
        if given.interrupts.count and not conductor.draining:
            given.on_event("finishing the current round; once more stops at once")
            conductor.drain()
        now = given.clock()
        if now - self._shown_at >= PROGRESS_SECONDS:
            self._shown_at = now
            self.show()
        if now - self._saved_at >= HOURS_SECONDS:
            self._saved_at = now
            self.save_hours()

    def _check_heartbeat(self) -> None:
        trouble = self.given.heartbeat.check()
        if trouble and trouble != self._trouble:
            self.given.on_event(f"the lease could not be renewed, trying again: {trouble}")
        self._trouble = trouble

    def show(self) -> None:
        """Tells whoever watches where things stand."""
        if self.conductor is not None:
            awaited = self.awaited()
            running = self.conductor.running_seconds()
            left = self.conductor.eta.left(running, awaited=awaited.price)
            more = self.staged.may_follow() if self.staged else 0
            self.given.on_event(
                snapshot(self.board, self.best, left, awaited=awaited, may_follow=more)
            )

    def awaited(self) -> Awaited:
        """The runs that are sure to follow, such as those of what tuning picks."""
        cells, replicates = self.cells.awaited(), len(self.given.maker.replicates[REPORT])
        price = (0.0, 0)
        if self.packer is not None:
            price = self.packer.foresee(cells, replicates=replicates)
        count = sum(cells.values())
        return Awaited(cells=count, runs=count * replicates, price=price)

    def save_hours(self) -> None:
        """Keeps how long the sweep has run, all launches together, for `limits.hours`."""
        hours = self._hours_before + (self.given.clock() - self._began) / 3600
        with_hours = {**self._provenance, "hours": round(hours, 4)}
        self.given.store.update_sweep(self.given.lease, provenance=with_hours)

    def abandon(self, why: str) -> None:
        """Ends what is open, after anything went wrong: nothing stays RUNNING."""
        self.stopped = True
        if self.conductor is not None:
            self.conductor.cancel_all(why)
