"""Ray Tune's hook: a searcher that hands out jobs, one a trial."""

from __future__ import annotations

from typing import Any, Protocol

from ray.tune.search import Searcher

from sweeper.engine.messages import Job, ProbeJob


class Source(Protocol):
    """Where jobs come from."""

    def next_job(self, trial_id: str) -> Job | ProbeJob | None:
        """The next job for this trial; None while there is none, but may be later."""
        ...

    def exhausted(self) -> bool:
        """Whether there will never be another job."""
        ...

    def trial_over(self, trial_id: str) -> None:
        """The trial has ended without an error; one that was lost is reported elsewhere."""
        ...


class JobSearcher(Searcher):
    """O(1) a trial. Keeps no results: they go through the callback, which gets the last one too.

    Attributes:
        over: whether the source has nothing more. Tune is never told so: it would let go of its
            workers, and another source may follow.
    """

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._source = source
        self.over = False

    def suggest(self, trial_id: str) -> Any:
        job = self._source.next_job(trial_id)
        self.over = job is None and self._source.exhausted()
        return None if job is None else {"job": job}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        if not error:
            self._source.trial_over(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the database is the only state, and Tune's files are never read."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, for the same reason."""
