"""Ray Tune's loop over jobs: the one place that touches Tune's developer interface.

`tune.run` keeps every trial for its final analysis (27 kB a trial, and 80 MB more at the end of
5,000) and looks for result files that we do not write. So we drive its controller ourselves, as
`tune.run` does, and let go of trials that have ended: memory stays flat. It also ends its workers
when it has nothing to run; ours go on from the probe to the packs, because starting one and
importing torch takes seconds.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import ray
from ray import tune
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.tune import Stopper, TuneError
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Experiment, Trial
from ray.tune.search import ConcurrencyLimiter
from ray.tune.search.search_generator import SearchGenerator

from sweeper.engine.messages import Job, ProbeJob
from sweeper.engine.searcher import JobSearcher, Source
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

    def trial_message(self, trial_id: str, message: Any, worker: Worker) -> None:
        """What its worker says of a job of this source."""
        ...

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

    def __init__(self, crew: Crew) -> None:
        self._crew = crew

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        self._crew.call(self._crew.events.trial_started, trial.trial_id, Worker(trial))

    def on_trial_result(
        self,
        iteration: int,
        trials: list[Trial],
        trial: Trial,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        message, tell = result["message"], self._crew.events.trial_message
        self._crew.call(tell, trial.trial_id, message, Worker(trial))

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        path = trial.error_file
        text = Path(path).read_text(errors="replace") if path else ""
        self._crew.call(self._crew.events.trial_lost, trial.trial_id, text)


class _Jobs:
    """The source of jobs, its errors kept."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew

    def next_job(self, trial_id: str) -> Job | ProbeJob | None:
        return self._crew.call(self._crew.events.next_job, trial_id)

    def exhausted(self) -> bool:
        return self._crew.events.exhausted()

    def trial_over(self, trial_id: str) -> None:
        self._crew.call(self._crew.events.trial_over, trial_id)


class _Drain(Stopper):
    """Ends each trial after its current round once the driver drains."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return self._crew.events.draining

    def stop_all(self) -> bool:
        return False

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles it into its own state file, which nothing reads


class Crew:
    """So many workers, which live until Ray is shut down and run what one source after another has.

    Attributes:
        events: of the source that has them now.
    """

    events: Events

    def __init__(self, *, workers: int, cpus: float, gpus: float) -> None:
        self._kept = _Kept()
        self.call = self._kept.call
        self._searcher = JobSearcher(_Jobs(self))
        self._scratch = tempfile.mkdtemp(prefix="sweeper-tune-")
        self._controller = self._start(
            workers, {"CPU": cpus, "GPU": gpus} if gpus else {"CPU": cpus}
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._scratch, ignore_errors=True)

    def run(self, events: Events) -> None:
        """Runs jobs until the source is exhausted.

        Whatever `events` raise leaves the loop at once, and the crew is of no more use.
        """
        self.events, self._searcher.over = events, False
        controller = self._controller
        while not (self._searcher.over and all(t.is_finished() for t in controller.get_trials())):
            events.tick()
            if events.draining:
                _stop_waiting(controller)
            self._kept.step(controller)
            _let_go(controller)

    def _start(self, workers: int, bundle: dict[str, float]) -> TuneController:
        resources = tune.PlacementGroupFactory([bundle])
        experiment = Experiment(
            "sweep",
            PackTrainable,
            num_samples=sys.maxsize,
            storage_path=self._scratch,
            resources_per_trial=resources,
            stop=_Drain(self),
            trial_dirname_creator=lambda trial: trial.trial_id,
        )
        # Without the limiter Tune keeps a single trial pending.
        limited = ConcurrencyLimiter(self._searcher, max_concurrent=workers)
        search = SearchGenerator(limited)
        controller = _Controller(
            search_alg=search,
            callbacks=[_Relay(self)],
            stopper=experiment.stopper,
            reuse_actors=True,
            storage=experiment.storage,
            checkpoint_period=NEVER,
        )
        _every_loss_is_one(controller._actor_manager)
        controller._actor_cache.increase_max(resources, workers)  # keep them when all are idle
        search.add_configurations([experiment])
        controller.update_max_pending_trials()
        return controller


class _Controller(TuneController):
    """Never sleeps for want of a job: ticks go on."""

    def _update_trial_queue(self, blocking: bool = False, timeout: int = 600) -> bool:
        return super()._update_trial_queue(blocking=False)


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
