"""Runs a sweep: reads the data, opens the database, takes the lease, and drives Ray to the end."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import optuna

from sweeper import search
from sweeper.engine import (
    checkpoint_paths,
    cluster,
    compatibility,
    data_facts,
    evaluations,
    launch_changes,
    provenance,
)
from sweeper.engine.cells import CellMaker, Cells, Planned
from sweeper.engine.context import Request, Session
from sweeper.engine.exits import LastResort, set_down, without_database
from sweeper.engine.heartbeat import Heartbeat
from sweeper.engine.interrupts import Interrupts, StopNow
from sweeper.engine.launch_changes import LaunchChanges
from sweeper.engine.launching import Launch, agrees
from sweeper.engine.obedience import Obedience
from sweeper.engine.own import prepared
from sweeper.engine.plugins import load as load_plugins
from sweeper.engine.progress import Event, Progress
from sweeper.engine.raywatch import Watch
from sweeper.engine.start_from import start_of
from sweeper.engine.tuning import TunedCells
from sweeper.errors import DatabaseLost, LeaseLost, StoreError, SweeperError
from sweeper.spec import ADAPTIVE, Spec
from sweeper.states import RunState
from sweeper.store import dialects
from sweeper.store import lease as leases
from sweeper.store.records import Lease, NewCell, NewSweep, Sweep
from sweeper.store.store import Store
from sweeper.store.study import Study
from sweeper.trainables import Trainable

__all__ = ["Event", "Outcome", "Progress", "launch"]

COMPLETE, WITH_FAILURES, HALTED, INTERRUPTED = 0, 3, 4, 130
BRIEF = 300  # characters


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a launch ended."""

    exit_code: int
    sweep: str
    message: str
    answer: tuple[str, ...] = ()  # the report's, and what it rests on; empty before the sweep ends


def launch(
    spec: Spec,
    *,
    storage: str,
    ray_address: str | None = None,
    plugins: Sequence[Path] = (),
    on_event: Callable[[Event], None] = lambda event: None,
    yes: bool = True,
    new_data: bool = False,
    trainer: Trainable | None = None,
    command: str = "",
) -> Outcome:
    """Runs what is missing of a sweep, and returns how that ended.

    Args:
        yes: asks no questions.
        new_data: agrees to data that differ from those of the last launch.
        trainer: the training function, if no plug-in file defines it.
        command: the command that continues the sweep, for messages; default the command line.

    Raises:
        InputError: the data, the database or the cluster cannot be used.
        HeldError: another driver has the sweep.
        LeaseLost: another driver has taken it over.
    """
    command = command or _command(sys.argv)
    cluster.prepare()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with (
        Interrupts() as interrupts,
        LastResort(interrupts, say=on_event, command=command) as last,
    ):
        try:
            with interrupts.breaking():  # loading may take long, and nothing has begun
                loaded = load_plugins(plugins)
                _check(spec, ray_address, say=on_event)
                spec, source = _read(spec, trainer, storage=storage, say=on_event)
        except StopNow:
            message = f"interrupted before anything was started. Continue with: {command}"
            return Outcome(exit_code=INTERRUPTED, sweep=spec.name, message=message)
        request = Request(
            spec=spec,
            storage=storage,
            ray_address=ray_address,
            plugins=loaded,
            say=on_event,
            interrupts=interrupts,
            yes=yes,
            command=command,
        )
        return _launch(request, source, last, new_data=new_data)


class _Source(NamedTuple):
    """Where a sweep's cells come from.

    Attributes:
        cells: None: adaptive, made once the study is open.
        first: the first cells.
    """

    maker: CellMaker
    cells: Cells | None
    first: list[NewCell]


def _check(spec: Spec, ray_address: str | None, *, say: Callable[[Event], None]) -> None:
    """All checks that need no data."""
    search.check(spec)
    cluster.check(ray_address)
    checkpoint_paths.check()
    if remark := checkpoint_paths.remark(ray_address):
        say(remark)
    for warning in spec.warnings:
        say(warning)


def _read(
    spec: Spec, trainer: Trainable | None, *, storage: str, say: Callable[[Event], None]
) -> tuple[Spec, _Source]:
    """Reads the data; returns the spec with its number of evaluations, and its cells."""
    spec, maker = prepared(spec, trainer, before=evaluations.stored(storage, spec.name))
    cells, first = _cells(spec, maker, say=say)
    for note in data_facts.said(maker.facts):
        say(note)
    return spec, _Source(maker, cells, first)


def _launch(request: Request, source: _Source, last: LastResort, *, new_data: bool) -> Outcome:
    """Opens the database, takes the lease, and runs what is missing."""
    interrupts, spec = request.interrupts, request.spec
    with Store.open(request.storage, create=True) as store:
        store.attend(lambda: interrupts.count >= 2)
        start = start_of(spec, source.maker, store)
        if start is not None:
            request.say(f"starting from {len(start.cells)} finished cells of '{start.sweep}'")
            request = replace(request, start=start)
        sweep, changed = _sweep(store, spec, source.maker, source.first)
        no = _disagreed(changed, interrupts, request.say, yes=request.yes, agreed=new_data)
        if no:
            return Outcome(exit_code=INTERRUPTED, sweep=spec.name, message=no)
        lease = store.acquire(sweep.id, leases.here())
        last.record = partial(set_down, store, lease, "stopped by a signal")
        if again := store.retry_asked(lease, spec.name):
            request.say(f"{again} failed runs are tried again, as the service asks")
        plan = {**source._asdict(), "changed": changed.text}
        return _ended(request, store, lease, plan)


def _cells(
    spec: Spec, maker: CellMaker, *, say: Callable[[str], None]
) -> tuple[Cells | None, list[NewCell]]:
    """The source of cells, and its first cells: every check before anything is made."""
    if spec.search.method in ADAPTIVE:
        maker.facts_of(spec.config_for({}))
        return None, []
    cells = TunedCells(spec, maker, say=say) if spec.nuisance else Planned(spec, maker)
    return cells, cells.first()


def _sweep(
    store: Store, spec: Spec, maker: CellMaker, first: Sequence[NewCell]
) -> tuple[Sweep, LaunchChanges]:
    """The sweep's row, made if needed, and what has changed since its last launch."""
    layout = maker.layout
    sweep = store.create_sweep(
        NewSweep(
            name=spec.name,
            question=spec.question,
            spec_text=spec.text,
            spec=spec.model_dump(mode="json"),
            layout=layout,
            facts=maker.facts,
            provenance=provenance.collect(trainer=maker.version),
        )
    )
    cells = store.cells(sweep.id)
    shown = {cell.hash for cell in cells if not cell.hidden}
    same = not shown or any(one.hash in shown for one in first)
    changed = launch_changes.look(spec, sweep, maker.facts, trainer=maker.version, same_cells=same)
    changed.check_decisions()
    compatibility.check(spec, sweep, has_cells=bool(cells))
    if sweep.layout != layout:
        raise StoreError(
            f"sweep '{spec.name}' in this database is about other classes, metrics or splits "
            f"({changed.text}); give this one another name"
        )
    return sweep, changed


def _disagreed(
    changed: LaunchChanges,
    interrupts: Interrupts,
    say: Callable[[str], None],
    *,
    yes: bool,
    agreed: bool,
) -> str:
    """Why a launch on other data does not begin; empty if it may.

    Raises:
        InputError: the user has not agreed, and cannot be asked.
    """
    ask = not yes and not agreed and sys.stdin.isatty()
    changed.check_data(agreed=agreed or ask)
    if not changed.data:
        return ""
    say(f"{changed.text} since the last launch: {changed.data}")
    if not ask:
        return ""
    try:
        answer = interrupts.ask("Hide the cells of the old data, and run everything again? [y/N] ")
    except StopNow:
        return "interrupted before anything was started"
    return "" if agrees(answer) else "nothing was started: the answer was not to use the new data"


def _ended(request: Request, store: Store, lease: Lease, plan: dict[str, Any]) -> Outcome:
    """Runs the launch under its lease, and ends this process if Ray has ended."""
    code = 1
    try:
        outcome = _held(request, store, lease, plan)
        code = outcome.exit_code
    except SweeperError as error:
        code = error.exit_code
        raise
    finally:
        cluster.leave(code)
    return outcome


def _held(request: Request, store: Store, lease: Lease, plan: dict[str, Any]) -> Outcome:
    """Runs the launch under its lease, which is always given back."""
    try:
        with (
            Heartbeat(partial(store.beat, lease), say=request.say) as heartbeat,
            Obedience(store.database, request.spec.name, request.interrupts, request.crew),
            closing(_study(request, store, lease)) as study,
        ):
            session = Session(
                request=request,
                store=store,
                lease=lease,
                heartbeat=heartbeat,
                study=study,
                sweep=_renewed(request.spec, store, lease, plan["maker"]),
                **plan,
            )
            return _run(session)
    except DatabaseLost as error:  # the next launch ends what could not be ended
        message = without_database(error, store, lease, command=request.command)
        asked = request.interrupts.count >= 2 and not request.interrupts.fault
        code = INTERRUPTED if asked else error.exit_code
        return Outcome(exit_code=code, sweep=request.spec.name, message=message)
    finally:
        _release(store, lease)


def _release(store: Store, lease: Lease) -> None:
    try:
        store.release(lease)
    except SweeperError:
        # Another driver has it, or it expires: the error with the reason is already raised.
        return


def _study(request: Request, store: Store, lease: Lease) -> Study:
    spec, asked = request.spec, len(store.cells(lease.sweep_id))
    # With the same seed, a relaunched sampler repeats its suggestions.
    seed = (spec.search.seed + asked) % 2**32
    seeded = spec.model_copy(update={"search": spec.search.model_copy(update={"seed": seed})})
    return Study(
        request.storage,
        spec.name,
        objective=spec.objective.metric,
        direction=spec.objective.direction,
        also=[(one.metric, one.direction) for one in spec.goals[1:]],
        constraints=spec.bounds,
        start=request.start,
        sampler=search.sampler(seeded, say=request.say),
        say=request.say,
        attend=store.attend_to,
    )


def _run(session: Session) -> Outcome:
    launch, answer = Launch(session), ()
    try:
        launch.prepare()
        if launch.missing():
            with _watched(session, launch):
                launch.run()
        launch.settle()
        answer = _write_note(session)
    except StopNow:
        launch.abandon("the driver was stopped")
    except LeaseLost:
        raise
    except BaseException as error:
        _abandon(session, launch, error)
        raise
    launch.show()
    if launch.conductor is not None:
        launch.save_hours()
    outcome = _outcome(session, launch)
    ended = outcome.exit_code in (COMPLETE, WITH_FAILURES)
    return replace(outcome, answer=answer) if ended else outcome


def _watched(session: Session, launch: Launch) -> Watch:
    """Keeps the driver from waiting for a Ray that has ended."""

    def tell(process: str) -> None:
        session.request.interrupts.insist(f"Ray has ended by itself ({process})")

    return Watch(cluster.ended, tell=tell, take_over=lambda: _end_here(session, launch))


def _end_here(session: Session, launch: Launch) -> None:
    """Records the results and ends the process, whose main thread waits in Ray's client."""
    code = SweeperError.exit_code
    try:
        launch.abandon("Ray has ended")
        outcome = _outcome(session, launch)
        _release(session.store, session.lease)
        code = outcome.exit_code
        session.request.say(outcome.message)
    except SweeperError as error:
        session.request.say(str(error))
    finally:
        cluster.end(code)  # as Ray itself would do, after a minute


def _abandon(session: Session, launch: Launch, error: BaseException) -> None:
    try:
        launch.abandon(f"the driver failed: {type(error).__name__}")
        _set_state(session, "interrupted", brief(error))
    except SweeperError:
        return  # the database is unreachable; the next launch ends what is open


def brief(error: BaseException) -> str:
    """An error in a line: its class, and the beginning of its text."""
    first = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first}"[:BRIEF]


def _write_note(session: Session) -> tuple[str, ...]:
    """Writes the sweep's summary to its study, and returns the answer in lines.

    A failure does not end the sweep.
    """
    # Statistics take seconds to import, and the driver needs them only here.
    from sweeper.analysis.frames import load
    from sweeper.analysis.view import view_of
    from sweeper.topics.headline.note import note
    from sweeper.topics.headline.text import lead

    try:
        view = view_of(load(session.store, session.spec.name))
        session.study.set_note(note(view))
        said = lead(view)
        return tuple(line for line in (said.headline, said.basis) if line)
    except LeaseLost:
        raise
    except Exception as error:  # noqa: BLE001  the numbers are safe, whatever is wrong here
        session.request.say(f"the study has no new note: {type(error).__name__}: {error}")
        return ()


def _renewed(spec: Spec, store: Store, lease: Lease, maker: CellMaker) -> Sweep:
    """The sweep's row, updated to this launch."""
    store.update_sweep(
        lease,
        question=spec.question,
        facts=maker.facts,
        spec_text=spec.text,
        spec=spec.model_dump(mode="json"),
        state="running",
        state_reason="",
    )
    sweep = store.sweep(spec.name)
    assert sweep is not None  # noqa: S101  this driver holds its lease
    return sweep


def _set_state(session: Session, state: str, reason: str) -> None:
    try:
        session.store.update_sweep(session.lease, state=state, state_reason=reason)
    except LeaseLost:
        return


def _outcome(session: Session, launch: Launch) -> Outcome:
    counts, name = launch.tracker.counts(), session.spec.name
    total = sum(counts.values()) + launch.awaited().runs
    done = f"{counts[RunState.COMPLETE]} of {total} runs are complete"
    if launch.staged and launch.staged.text:
        done += f"; {launch.staged.text}"
    if launch.halted:
        _set_state(session, "halted", launch.halted)
        return Outcome(exit_code=HALTED, sweep=name, message=f"halted: {launch.halted}; {done}")
    if launch.stopped or launch.left():
        why = _why(session, launch)
        _set_state(session, "interrupted", why)
        message = f"interrupted: {why}; {done}. Continue with: {session.request.command}"
        code = SweeperError.exit_code if session.request.interrupts.fault else INTERRUPTED
        return Outcome(exit_code=code, sweep=name, message=message)
    failed = counts[RunState.FAILED]
    _set_state(session, "complete", f"{failed} runs failed" if failed else "")
    unpicked = len(session.cells.unpicked) if isinstance(session.cells, TunedCells) else 0
    if failed or unpicked:
        message = f"{done}, {failed} failed; the report names them"
        if unpicked:
            message += f"; {unpicked} cells have no candidate to report"
        return Outcome(exit_code=WITH_FAILURES, sweep=name, message=message)
    return Outcome(exit_code=COMPLETE, sweep=name, message=done)


def _why(session: Session, launch: Launch) -> str:
    """Why a launch ended before its sweep did."""
    if launch.declined:
        return "not started: the answer was no"
    if session.request.interrupts.count:
        interrupts = session.request.interrupts
        return interrupts.fault or interrupts.reason or "stopped by a signal"
    return "the launch ended with runs left"  # without a known reason


def _command(arguments: Sequence[str]) -> str:
    """The command line of this process, without passwords and without agreements."""
    words = ["sweeper", *(word for word in arguments[1:] if word != "--new-data")]
    return shlex.join(_without_password(word) for word in words)


def _without_password(word: str) -> str:
    option, equals, url = word.partition("=") if word.startswith("-") else ("", "", word)
    try:
        return option + equals + dialects.masked(url)
    except StoreError:  # not a database's address
        return word
