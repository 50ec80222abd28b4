"""Ray Tune's loop over packs: the one place that touches Tune's developer interface.

`tune.run` keeps every trial for its final analysis (27 kB a trial, and 80 MB more at the end of
5,000) and looks for result files that we do not write. So we drive its controller ourselves, as
`tune.run` does, and let go of trials that have ended: memory stays flat.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import ray
from ray import tune
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.tune import Stopper, TuneError
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Experiment, Trial
from ray.tune.search import ConcurrencyLimiter
from ray.tune.search.search_generator import SearchGenerator

from sweeper.engine.messages import Job, Message
from sweeper.engine.searcher import PackSearcher, Source
from sweeper.engine.worker import PackTrainable

T = TypeVar("T")
NEVER = 1_000_000_000  # seconds
ENDED_KEPT = 64


class Worker:
    """The actor that runs a trial; a message to it is handled between two rounds."""

    def __init__(self, trial: Trial) -> None:
        self._actor: Any = trial.temporary_state.ray_actor  # not public; nowhere else

    def __eq__(self, other: object) -> bool:
        """Whether both are the same process; it outlives a trial."""
        return isinstance(other, Worker) and bool(self._actor == other._actor)

    def __hash__(self) -> int:
        return hash(self._actor)

    def drop(self, runs: Sequence[int]) -> None:
        """Leaves these members out from the next round on."""
        if self._actor is not None:
            self._actor.drop.remote(list(runs))

    def save_now(self, *, timeout: float, give_up: Callable[[], bool]) -> bool:
        """Writes a checkpoint; whether it was written in time."""
        if self._actor is None:
            return False
        reference, until = self._actor.save_now.remote(), time.monotonic() + timeout
        while time.monotonic() < until and not give_up():
            ready, _ = ray.wait([reference], timeout=0.2)
            if ready:
                return True
        return False

    def kill(self) -> None:
        """Ends the worker's process, whatever it does."""
        if self._actor is not None:
            ray.kill(self._actor, no_restart=True)


class Events(Source, Protocol):
    """What the loop tells the driver, all in one thread."""

    draining: bool  # every trial is to end after its current round

    def tick(self) -> None:
        """Called several times a second; may raise to leave the loop."""
        ...

    def trial_started(self, trial_id: str, worker: Worker) -> None: ...

    def trial_message(self, trial_id: str, message: Message, worker: Worker) -> None: ...

    def trial_lost(self, trial_id: str, text: str) -> None:
        """Its worker has died, or could not be reached."""
        ...


class _Kept:
    """The first error of our own code that Tune has caught; it would tell of it in a text.

    A store that does not answer must end the launch as what it is, not as a failure of a trial.
    """

    def __init__(self) -> None:
        self.error: Exception | None = None

    def call(self, inner: Callable[..., T], *args: Any) -> T:
        """The result of `inner`; keeps what it raises."""
        try:
            return inner(*args)
        except Exception as error:
            self.error = self.error or error
            raise

    def step(self, controller: TuneController) -> None:
        """One step of the controller.

        Raises:
            whatever our own code has raised inside it.
        """
        try:
            controller.step()
        except TuneError:
            if self.error is None:
                raise
        if self.error is not None:
            raise self.error


class _Relay(tune.Callback):
    """Tune's callbacks get every result, the last one included; a searcher does not."""

    def __init__(self, events: Events, kept: _Kept) -> None:
        self._events, self._kept = events, kept

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        self._kept.call(self._events.trial_started, trial.trial_id, Worker(trial))

    def on_trial_result(
        self,
        iteration: int,
        trials: list[Trial],
        trial: Trial,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        message = result["message"]
        self._kept.call(self._events.trial_message, trial.trial_id, message, Worker(trial))

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        path = trial.error_file
        text = Path(path).read_text(errors="replace") if path else ""
        self._kept.call(self._events.trial_lost, trial.trial_id, text)


class _Guarded:
    """The source of packs, its errors kept."""

    def __init__(self, source: Source, kept: _Kept) -> None:
        self._source, self._kept = source, kept

    def next_job(self, trial_id: str) -> Job | None:
        return self._kept.call(self._source.next_job, trial_id)

    def exhausted(self) -> bool:
        return self._source.exhausted()

    def trial_over(self, trial_id: str) -> None:
        self._kept.call(self._source.trial_over, trial_id)


class _Drain(Stopper):
    """Ends each trial after its current round once the driver drains."""

    def __init__(self, events: Events) -> None:
        self._events = events

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return self._events.draining

    def stop_all(self) -> bool:
        return False

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles it into its own state file, which nothing reads


def run(events: Events, *, workers: int, cpus: float, gpus: float) -> None:
    """Runs packs until the source is exhausted, `workers` at a time.

    Whatever `events` raise leaves the loop at once; actors then die with Ray's shutdown.
    """
    kept = _Kept()
    scratch = tempfile.mkdtemp(prefix="sweeper-tune-")
    try:
        controller = _controller(events, kept, scratch, workers=workers, cpus=cpus, gpus=gpus)
        while not controller.is_finished():
            events.tick()
            if events.draining:
                _stop_waiting(controller)
            kept.step(controller)
            _let_go(controller)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _controller(
    events: Events, kept: _Kept, scratch: str, *, workers: int, cpus: float, gpus: float
) -> TuneController:
    resources = tune.PlacementGroupFactory([{"CPU": cpus, "GPU": gpus} if gpus else {"CPU": cpus}])
    experiment = Experiment(
        "sweep",
        PackTrainable,
        num_samples=sys.maxsize,
        storage_path=scratch,
        resources_per_trial=resources,
        stop=_Drain(events),
        trial_dirname_creator=lambda trial: trial.trial_id,
    )
    # Without the limiter Tune keeps a single trial pending.
    search = SearchGenerator(
        ConcurrencyLimiter(PackSearcher(_Guarded(events, kept)), max_concurrent=workers)
    )
    controller = TuneController(
        search_alg=search,
        callbacks=[_Relay(events, kept)],
        stopper=experiment.stopper,
        reuse_actors=True,
        storage=experiment.storage,
        checkpoint_period=NEVER,
    )
    _every_loss_is_one(controller._actor_manager)
    search.add_configurations([experiment])
    controller.update_max_pending_trials()
    return controller


def _every_loss_is_one(manager: Any) -> None:
    """Lets Tune's manager of actors take every error of Ray for the loss of an actor.

    It knows two classes of them and raises at others, such as the one of a worker that Ray has
    killed because the node had no memory left: the whole sweep would end with that worker.
    """
    told = manager._actor_task_failed

    def tell(*, tracked_actor_task: Any, exception: Exception) -> None:
        known = isinstance(exception, RayActorError | RayTaskError)
        if isinstance(exception, RayError) and not known:
            exception = RayActorError(error_msg=str(exception))
        told(tracked_actor_task=tracked_actor_task, exception=exception)

    manager._actor_task_failed = tell


def _stop_waiting(controller: TuneController) -> None:
    """Trials that have no worker yet have no round to finish."""
    for trial in list(controller.get_trials()):
        if trial.status == Trial.PENDING and trial.temporary_state.ray_actor is None:
            controller.stop_trial(trial)


def _let_go(controller: TuneController) -> None:
    """Forgets ended trials, which Tune keeps for files that we never write."""
    trials = controller.get_trials()
    if len(trials) < ENDED_KEPT:
        return
    ended = {trial for trial in trials if trial.is_finished()}
    trials[:] = [trial for trial in trials if trial not in ended]
    controller.get_live_trials().difference_update(ended)
    for kept in (
        controller._stopped_trials,
        controller._failed_trials,
        controller._trials_to_cache,
    ):
        kept.difference_update(ended)
    for trial in ended:
        controller._trial_metadata.pop(trial.trial_id, None)
