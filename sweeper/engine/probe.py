"""Lets the workers time packs of K members for each pack key; `plan` chooses K by these times."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from sweeper.engine.messages import Answer, BadConfig, ProbeJob, Refusal
from sweeper.engine.progress import Event, Probing
from sweeper.engine.worker_pool import Worker, WorkerPool
from sweeper.errors import EngineError, InputError
from sweeper.plan import Price
from sweeper.spec import Resources
from sweeper.states import Ending
from trainers.compiled.build import lacking
from trainers.config import Config, switches

LIMIT_SECONDS = 60.0  # for all keys; the rest use the price of the nearest key
PATIENCE_SECONDS = 300.0  # for the first key: data may have to be downloaded, or a worker may hang


@dataclass(frozen=True, kw_only=True)
class Question:
    """What to measure for a pack key."""

    key: str
    config: dict[str, Any]  # of one of its cells
    ks: tuple[int, ...]
    what: str = ""  # the levels that its cells share, for display


@dataclass(frozen=True, kw_only=True)
class ProbeConditions:
    """The conditions of the measurement: as the workers will train."""

    threads: int  # the most, unless the spec sets the number
    device: str
    auto_threads: bool = True
    fingerprints: dict[str, str]  # as in `Job`
    plugins: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, resources: Resources, plugins: tuple[str, ...], fingerprints: dict[str, str]
    ) -> ProbeConditions:
        """A worker with these resources, with at most one thread for each of its cores."""
        asked = resources.threads
        return cls(
            threads=max(1, int(resources.cpus)) if asked == "auto" else asked,
            auto_threads=asked == "auto",
            device="cuda" if resources.on_gpu else "cpu",
            fingerprints=fingerprints,
            plugins=plugins,
        )


def question(
    key: str,
    config: dict[str, Any],
    *,
    replicates: int,
    available: int,
    what: str = "",
    pack: int | Literal["auto"] = "auto",
) -> Question:
    """K = 1, the replicates (or 5), 10 and 20, as far as there are enough runs.

    The replicates are measured even if there are fewer runs, for interpolation. If the spec sets
    the number of runs in a pack, only that number is measured.
    """
    if pack != "auto":
        return Question(key=key, config=config, ks=(min(pack, max(available, 1)),), what=what)
    least = replicates if replicates > 1 else 5
    sizes = {1, least, 10, 20}
    ks = tuple(sorted(k for k in sizes if k <= max(available, least)))
    return Question(key=key, config=config, ks=ks, what=what)


def measure_there(
    questions: Sequence[Question],
    place: ProbeConditions,
    pool: WorkerPool,
    *,
    tell: Callable[[Event], None],
    check: Callable[[], None] = lambda: None,
) -> list[Price]:
    """Prices, measured by the workers that will train.

    A key whose probe fails gets no price: its runs will report the error. There is no price if no
    worker answers. `check` is called meanwhile, and may raise to leave at once.

    Raises:
        EngineError: no form computes a key's layers correctly.
        InputError: no run can have a key's configuration.
    """
    tell(f"checking and timing packs for {len(questions)} kinds of runs")
    asking = ProbeJobs(questions, place, tell=tell, check=check)
    pool.run(asking)
    for line in (findings(asking.prices), lacking() if place.device == "cpu" else ""):
        if line:
            tell(line)
    return asking.prices


def findings(prices: Iterable[Price]) -> str:
    """A line about the forms that are wrong somewhere; empty if all are correct."""
    lines = [price.findings[0] for price in prices if price.findings]
    more = f" (and for {len(lines) - 1} other kinds of runs)" if lines[1:] else ""
    return lines[0] + more if lines else ""


class ProbeJobs:
    """A `worker_pool.JobSource` with a question a job. Ends workers that answer too late."""

    def __init__(
        self,
        questions: Sequence[Question],
        place: ProbeConditions,
        *,
        tell: Callable[[Probing], None],
        check: Callable[[], None],
    ) -> None:
        self.draining = False
        self.prices: list[Price] = []
        self._waiting, self._total = deque(questions), len(questions)
        self._place, self._tell, self._check = place, tell, check
        self._asked: dict[str, tuple[Worker, str]] = {}  # by worker, with the question
        self._began = time.monotonic()

    def wanted(self) -> int:
        return len(self._waiting) + len(self._asked)

    def next_job(self, worker: Worker) -> ProbeJob | None:
        if self.draining or not self._waiting:
            return None
        question = self._waiting.popleft()
        self._asked[worker.id] = worker, question.what
        self._say()
        return ProbeJob(
            key=question.key, config=question.config, ks=question.ks, **vars(self._place)
        )

    def _say(self) -> None:
        now = tuple(what for _, what in self._asked.values() if what)
        done = self._total - len(self._waiting) - len(self._asked)
        self._tell(Probing(done=done, total=self._total, now=now))

    def _over(self, worker: Worker) -> None:
        if self._asked.pop(worker.id, None) is not None:
            self._say()

    def exhausted(self) -> bool:
        return self.draining or not (self._waiting or self._asked)

    def tick(self) -> None:
        self._check()
        limit = LIMIT_SECONDS if self.prices else PATIENCE_SECONDS
        if time.monotonic() - self._began > limit:
            self.draining = True
            for worker, _ in self._asked.values():
                worker.kill()

    def message(self, worker: Worker, message: Answer) -> None:
        self._over(worker)
        if isinstance(message, BadConfig):
            raise InputError(message.text)
        if isinstance(message, Refusal):
            raise EngineError(message.text)
        if message is not None:
            self.prices.append(Price(**vars(message)))

    def lost(self, worker: Worker, ending: Ending, error: str) -> None:
        self._over(worker)


def borrow(
    key: str,
    config: Config,
    *,
    samples: int,
    priced: Mapping[str, Config],
    prices: Mapping[str, Price],
) -> Price | None:
    """The price of the most similar key, for a key that was not probed."""
    if not priced:
        return None
    nearest = min(priced, key=lambda one: _distance(config, priced[one]))
    return replace(prices[nearest], key=key, steps_per_run=steps(config, samples=samples))


def steps(config: Config, *, samples: int) -> int:
    """The updates of a run on this number of training samples."""
    train = config.train
    if train.steps is not None:
        return train.steps
    return train.epochs * max(1, math.ceil(samples / train.batch_size))


def _distance(a: Config, b: Config) -> float:
    def logs(x: float, y: float) -> float:
        return abs(math.log2(x / y))

    unlike = [
        a.data.dataset != b.data.dataset,
        a.data.path != b.data.path,
        a.train.model != b.train.model,
        a.train.depth != b.train.depth,
        *(on != switches(b)[name] for name, on in switches(a).items()),
        a.train.augmentation != b.train.augmentation,
    ]
    return (
        logs(a.train.batch_size, b.train.batch_size)
        + 2 * logs(a.train.width, b.train.width)
        + 3 * sum(unlike)
    )
