"""Runs a sweep: reads the data, opens the database, takes the lease, and drives Ray until done."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import optuna

from sweeper import search
from sweeper.engine import changes, cluster, evaluations, places, provenance, since, worker
from sweeper.engine.cells import Cells, Maker, Planned
from sweeper.engine.heartbeat import Heartbeat
from sweeper.engine.interrupts import Interrupts, StopNow
from sweeper.engine.launching import Given, Launch, Under
from sweeper.engine.plugins import load as load_plugins
from sweeper.engine.progress import Event, Progress
from sweeper.engine.raywatch import Watch
from sweeper.engine.since import Since
from sweeper.engine.tuning import Tuned
from sweeper.errors import LeaseLost, StoreError, SweeperError
from sweeper.spec import ADAPTIVE, Spec
from sweeper.states import RunState
from sweeper.store import dialects
from sweeper.store import lease as leases
from sweeper.store.records import Lease, NewCell, NewSweep, Sweep
from sweeper.store.store import Store
from sweeper.store.study import Study

__all__ = ["Event", "Outcome", "Progress", "launch"]

COMPLETE, WITH_FAILURES, HALTED, INTERRUPTED = 0, 3, 4, 130
ASK_ABOVE_SECONDS = 3600.0
BRIEF = 300  # characters


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a launch ended."""

    exit_code: int
    sweep: str
    message: str


def launch(
    spec: Spec,
    *,
    storage: str,
    ray_address: str | None = None,
    plugins: Sequence[Path] = (),
    on_event: Callable[[Event], None] = lambda event: None,
    yes: bool = True,
    new_data: bool = False,
) -> Outcome:
    """Runs what is missing of a sweep, and says how that ended.

    Args:
        yes: asks nothing.
        new_data: agrees that the data are not what the last launch read.

    Raises:
        InputError: the data, the database or the cluster cannot be used.
        HeldError: another driver has the sweep.
        LeaseLost: another driver has taken it over.
    """
    cluster.prepare()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with Interrupts() as interrupts:
        try:
            with interrupts.breaking():  # data may take long to load, and nothing is begun
                loaded = load_plugins(plugins)
                cluster.check(ray_address, say=on_event)
                places.check()
                if remark := places.remark(ray_address):
                    on_event(remark)
                for warning in spec.warnings:
                    on_event(warning)
                maker = Maker(spec)
                before = evaluations.stored(storage, spec.name)
                spec = evaluations.decided(spec, maker, before=before)
                cells, first = _cells(spec, maker, say=on_event)
                for note in worker.notes(maker.facts):
                    on_event(note)
        except StopNow:
            message = f"interrupted before anything was begun. Go on with: {_command(sys.argv)}"
            return Outcome(exit_code=INTERRUPTED, sweep=spec.name, message=message)
        with Store.open(storage, create=True) as store:
            store.database.give_up = lambda: interrupts.count >= 2
            sweep, changed = _sweep(store, spec, maker, first)
            if no := _disagreed(changed, interrupts, on_event, yes=yes, agreed=new_data):
                return Outcome(exit_code=INTERRUPTED, sweep=spec.name, message=no)
            lease = store.acquire(sweep.id, leases.here())
            given = Under(
                spec=spec, maker=maker, cells=cells, first=first, store=store, lease=lease,
                storage=storage, ray_address=ray_address, plugins=loaded, on_event=on_event,
                interrupts=interrupts, yes=yes, changed=changed.text,
            )  # fmt: skip
            return _ended(given)


def _cells(
    spec: Spec, maker: Maker, *, say: Callable[[str], None]
) -> tuple[Cells | None, list[NewCell]]:
    """Where cells come from, and the first of them: every check before anything is made."""
    if spec.search.method in ADAPTIVE:
        maker.facts_of(spec.config_for({}))
        return None, []
    cells = Tuned(spec, maker, say=say) if spec.nuisance else Planned(spec, maker)
    return cells, cells.first()


def _sweep(store: Store, spec: Spec, maker: Maker, first: Sequence[NewCell]) -> tuple[Sweep, Since]:
    """The sweep's row, made if need be, and what has changed since it was last launched."""
    layout = tuple(worker.layout(maker.facts))
    sweep = store.create_sweep(
        NewSweep(
            name=spec.name,
            question=spec.question,
            spec_text=spec.text,
            spec=spec.model_dump(mode="json"),
            layout=layout,
            facts=maker.facts,
            provenance=provenance.collect(),
        )
    )
    cells = store.cells(sweep.id)
    shown = {cell.hash for cell in cells if not cell.hidden}
    same = not shown or any(one.hash in shown for one in first)
    changed = since.look(spec, sweep, maker.facts, trainer=worker.version(), same_cells=same)
    changed.check_decisions()
    changes.check(spec, sweep, has_cells=bool(cells))
    if sweep.layout != layout:
        raise StoreError(
            f"sweep '{spec.name}' in this database is about other classes, metrics or splits "
            f"({changed.text}); give this one another name"
        )
    return sweep, changed


def _disagreed(
    changed: Since,
    interrupts: Interrupts,
    say: Callable[[str], None],
    *,
    yes: bool,
    agreed: bool,
) -> str:
    """Why a launch on other data does not begin; empty where nothing speaks against it.

    Raises:
        InputError: nobody has agreed, and nobody can be asked.
    """
    ask = not yes and not agreed and sys.stdin.isatty()
    changed.check_data(agreed=agreed or ask)
    if not changed.data:
        return ""
    say(f"{changed.text} since the last launch: {changed.data}")
    if not ask:
        return ""
    try:
        answer = interrupts.ask("Hide the cells of the old data, and run all anew? [y/N] ")
    except StopNow:
        return "interrupted before anything was begun"
    return "" if _agrees(answer) else "nothing was begun: the answer was not to use the new data"


def _agrees(answer: str) -> bool:
    return answer.strip().lower() in {"y", "yes"}


def _ended(under: Under) -> Outcome:
    """The launch under its lease, and the end of this process where Ray is in its way."""
    code = 1
    try:
        outcome = _held(under)
        code = outcome.exit_code
    except SweeperError as error:
        code = error.exit_code
        raise
    finally:
        cluster.leave(code)
    return outcome


def _held(under: Under) -> Outcome:
    """The launch under its lease, which is given back whatever happens."""
    store, lease = under.store, under.lease
    try:
        with Heartbeat(lambda: store.beat(lease)) as heartbeat, closing(_study(under)) as study:
            return _run(under, heartbeat, study)
    except SweeperError as error:
        interrupts = under.interrupts
        if isinstance(error, LeaseLost) or interrupts.count < 2 or interrupts.fault:
            raise
        # Who asks twice does not wait for a database either; the next launch ends what is open.
        message = f"interrupted: {error}. Go on with: {_command(sys.argv)}"
        return Outcome(exit_code=INTERRUPTED, sweep=under.spec.name, message=message)
    finally:
        _release(store, lease)


def _release(store: Store, lease: Lease) -> None:
    try:
        store.release(lease)
    except SweeperError:
        # Another driver's by now, or it expires: the error that says why is on its way.
        return


def _study(under: Under) -> Study:
    spec, asked = under.spec, len(under.store.cells(under.lease.sweep_id))
    # Seeded as before, the sampler of a second launch would say again what the first one's said.
    seed = (spec.search.seed + asked) % 2**32
    seeded = spec.model_copy(update={"search": spec.search.model_copy(update={"seed": seed})})
    return Study(
        under.storage,
        spec.name,
        objective=spec.objective.metric,
        direction=spec.objective.direction,
        sampler=search.sampler(seeded),
        say=under.on_event,
    )


def _run(under: Under, heartbeat: Heartbeat, study: Study) -> Outcome:
    launch = Launch(
        Given(
            **vars(under),
            sweep=_renewed(under),
            study=study,
            heartbeat=heartbeat,
            confirm=partial(_confirm, under),
        )
    )
    try:
        launch.prepare()
        if launch.missing():
            with _watched(under, launch):
                launch.run()
        launch.settle()
        _write_note(under, study)
    except StopNow:
        launch.abandon("the driver was stopped")
    except LeaseLost:
        raise
    except BaseException as error:
        _abandon(under, launch, error)
        raise
    launch.show()
    if launch.conductor is not None:
        launch.save_hours()
    return _outcome(under, launch)


def _watched(under: Under, launch: Launch) -> Watch:
    """Sees to it that the driver does not wait for a Ray that is gone."""

    def tell(process: str) -> None:
        under.interrupts.insist(f"Ray has ended by itself ({process})")

    return Watch(cluster.ended, tell=tell, take_over=lambda: _end_here(under, launch))


def _end_here(under: Under, launch: Launch) -> None:
    """Records what there is and ends the process, whose main thread is caught in Ray's client."""
    code = SweeperError.exit_code
    try:
        launch.abandon("Ray has ended")
        outcome = _outcome(under, launch)
        _release(under.store, under.lease)
        code = outcome.exit_code
        under.on_event(outcome.message)
    except SweeperError as error:
        under.on_event(str(error))
    finally:
        cluster.end(code)  # as Ray itself would do, after a minute


def _abandon(under: Under, launch: Launch, error: BaseException) -> None:
    try:
        launch.abandon(f"the driver failed: {type(error).__name__}")
        _set_state(under, "interrupted", brief(error))
    except SweeperError:
        return  # the database is away; the next launch ends what is open


def brief(error: BaseException) -> str:
    """An error in a line: its class, and how its text begins."""
    first = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first}"[:BRIEF]


def _write_note(under: Under, study: Study) -> None:
    """Puts the sweep's summary on its study; a sweep never fails for it."""
    # Statistics take seconds to import, and only here does the driver need them.
    from sweeper.analysis.frames import load
    from sweeper.analysis.note import note

    try:
        study.set_note(note(load(under.store, under.spec.name)))
    except LeaseLost:
        raise
    except Exception as error:  # noqa: BLE001  the numbers are safe, whatever is wrong here
        under.on_event(f"the study has no new note: {type(error).__name__}: {error}")


def _renewed(under: Under) -> Sweep:
    """The sweep's row, as this launch states it."""
    store, spec = under.store, under.spec
    store.update_sweep(
        under.lease,
        question=spec.question,
        facts=under.maker.facts,
        spec_text=spec.text,
        spec=spec.model_dump(mode="json"),
        state="running",
        state_reason="",
    )
    sweep = store.sweep(spec.name)
    assert sweep is not None  # noqa: S101  this driver holds its lease
    return sweep


def _confirm(under: Under, text: str, seconds: float) -> bool:
    """Asks before a long sweep, when there is somebody to ask."""
    under.on_event(text)
    if under.yes or seconds < ASK_ABOVE_SECONDS or not sys.stdin.isatty():
        return True
    answer = under.interrupts.ask(f"about {seconds / 3600:.1f} h. Start? [y/N] ")
    return _agrees(answer)


def _set_state(under: Under, state: str, reason: str) -> None:
    try:
        under.store.update_sweep(under.lease, state=state, state_reason=reason)
    except LeaseLost:
        return


def _outcome(under: Under, launch: Launch) -> Outcome:
    counts, name = launch.board.counts(), under.spec.name
    total = sum(counts.values()) + launch.awaited().runs
    done = f"{counts[RunState.COMPLETE]} of {total} runs are complete"
    if launch.staged and launch.staged.text:
        done += f"; {launch.staged.text}"
    if launch.halted:
        _set_state(under, "halted", launch.halted)
        return Outcome(exit_code=HALTED, sweep=name, message=f"halted: {launch.halted}; {done}")
    if launch.stopped or launch.left():
        why = _why(under, launch)
        _set_state(under, "interrupted", why)
        message = f"interrupted: {why}; {done}. Go on with: {_command(sys.argv)}"
        code = SweeperError.exit_code if under.interrupts.fault else INTERRUPTED
        return Outcome(exit_code=code, sweep=name, message=message)
    failed = counts[RunState.FAILED]
    _set_state(under, "complete", f"{failed} runs failed" if failed else "")
    unpicked = len(under.cells.unpicked) if isinstance(under.cells, Tuned) else 0
    if failed or unpicked:
        message = f"{done}, {failed} failed; the report names them"
        if unpicked:
            message += f"; {unpicked} cells have no candidate to report"
        return Outcome(exit_code=WITH_FAILURES, sweep=name, message=message)
    return Outcome(exit_code=COMPLETE, sweep=name, message=done)


def _why(under: Under, launch: Launch) -> str:
    """Why a launch ended before its sweep did."""
    if launch.declined:
        return "the answer was not to start"
    if under.interrupts.count:
        return under.interrupts.fault or "stopped by a signal"
    return "the launch ended with runs left"  # and no reason: told as it is


def _command(arguments: Sequence[str]) -> str:
    """The command line that started this, without a password, and agreeing to nothing further."""
    words = ["sweeper", *(word for word in arguments[1:] if word != "--new-data")]
    return shlex.join(_without_password(word) for word in words)


def _without_password(word: str) -> str:
    option, equals, url = word.partition("=") if word.startswith("-") else ("", "", word)
    try:
        return option + equals + dialects.masked(url)
    except StoreError:  # no address of a database
        return word
