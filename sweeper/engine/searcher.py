"""Ray Tune's hook: a searcher that hands out packs, one a trial."""

from __future__ import annotations

from typing import Any, Protocol

from ray.tune.search import Searcher

from sweeper.engine.messages import Job


class Source(Protocol):
    """Where packs come from."""

    def next_job(self, trial_id: str) -> Job | None:
        """The next pack for this trial; None while there is none, but may be later."""
        ...

    def exhausted(self) -> bool:
        """Whether there will never be another pack."""
        ...

    def trial_over(self, trial_id: str) -> None:
        """The trial has ended without an error; one that was lost is reported elsewhere."""
        ...


class PackSearcher(Searcher):
    """O(1) a trial. Keeps no results: they go through the callback, which gets the last one too."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._source = source

    def suggest(self, trial_id: str) -> Any:
        job = self._source.next_job(trial_id)
        if job is not None:
            return {"job": job}
        return Searcher.FINISHED if self._source.exhausted() else None

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        if not error:
            self._source.trial_over(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the database is the only state, and Tune's files are never read."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, for the same reason."""
