"""Times a few steps of packs of K members, for each pack key: what `plan` chooses K by."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sweeper.engine import endings, plugins, worker
from sweeper.plan import Price
from sweeper.states import Ending
from trainers.config import Config

FORM = "folded"
OUT_OF_MEMORY = (Ending.OUT_OF_MEMORY, Ending.HOST_OUT_OF_MEMORY)
KEY_SECONDS = 0.25  # of steps, for each K
SWEEPS = 3  # over the Ks of a key
LIMIT_SECONDS = 60.0  # for all keys; the rest take the price of the nearest key
PATIENCE_SECONDS = 300.0  # for the first key: data may have to be fetched, or a worker may hang


@dataclass(frozen=True, kw_only=True)
class Question:
    """What to measure for one pack key."""

    key: str
    config: dict[str, Any]  # of one of its cells
    ks: tuple[int, ...]
    steps_per_run: int


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where it is measured: as the workers will train."""

    threads: int
    device: str
    plugins: tuple[str, ...] = ()


def question(
    key: str, config: dict[str, Any], *, samples: int, replicates: int, available: int
) -> Question:
    """K in 1, the replicates (or 5), 10 and 20, as far as there are runs to fill them.

    The replicates are measured even when there are fewer: what lies between is read off.
    """
    least = replicates if replicates > 1 else 5
    sizes = {1, least, 10, 20}
    return Question(
        key=key,
        config=config,
        ks=tuple(sorted(k for k in sizes if k <= max(available, least))),
        steps_per_run=steps(Config.model_validate(config), samples=samples),
    )


def steps(config: Config, *, samples: int) -> int:
    """Updates of one run on so many training samples."""
    train = config.train
    if train.steps is not None:
        return train.steps
    return train.epochs * max(1, math.ceil(samples / train.batch_size))


def measure(question: Question, place: Place) -> Price:
    """Seconds of a step for each K, in this process, on the data that runs would see.

    Without the largest K where they do not all find room.
    """
    worker.pin_threads(place.threads)
    plugins.load(place.plugins)
    ks = question.ks
    while True:
        try:
            return _price(question, ks, device=place.device)
        except Exception as error:
            if len(ks) == 1 or endings.of_exception(error)[0] not in OUT_OF_MEMORY:
                raise
        gc.collect()  # the trainers that the exception held
        ks = ks[:-1]


def _price(question: Question, ks: Sequence[int], *, device: str) -> Price:
    config = Config.model_validate(question.config)
    data = worker.dataset(config.data)
    trainers = {}
    for k in ks:
        members = [worker.PackMember(config, replicate) for replicate in range(k)]
        trainers[k] = worker.trainer_class()(data, members, device=device, form=FORM)
    updates = max(int(trainer.steps) for trainer in trainers.values())
    return Price(question.key, seconds_per_step(trainers), FORM, updates)


def seconds_per_step(trainers: Mapping[int, Any]) -> dict[int, float]:
    """The least of several short timings of each K, taken in turn.

    So a neighbour that is busy for a moment hits every K, and for none of them all its timings.
    """
    counts = {k: _steps_in(KEY_SECONDS / SWEEPS, trainer) for k, trainer in trainers.items()}
    timings = [
        {k: float(trainer.time_steps(counts[k])) for k, trainer in trainers.items()}
        for _ in range(SWEEPS)
    ]
    return {k: min(timing[k] for timing in timings) for k in trainers}


def _steps_in(seconds: float, trainer: Any) -> int:
    return min(20, max(2, int(seconds / max(trainer.time_steps(1), 1e-6))))


def measure_there(
    questions: Sequence[Question],
    place: Place,
    *,
    cpus: float,
    gpus: float,
    give_up: Callable[[], bool] = lambda: False,
) -> list[Price]:
    """Prices, measured in Ray's workers, several at a time, each with what a worker gets.

    A key whose probe fails gets no price here: its runs will say what is wrong with it. None has
    one when nobody answers, or when `give_up` says so.
    """
    import ray

    task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0)(measure)
    waiting = [task.remote(one, place) for one in questions]
    found: list[Price] = []
    began = time.monotonic()
    while waiting and not give_up():
        if time.monotonic() - began > (LIMIT_SECONDS if found else PATIENCE_SECONDS):
            break
        ready, waiting = ray.wait(waiting, timeout=0.2)
        found += _answers(ready)
    for reference in waiting:
        ray.cancel(reference, force=True)
    return found


def _answers(references: Sequence[Any]) -> Iterator[Price]:
    import ray
    from ray.exceptions import RayError

    for reference in references:
        try:
            yield ray.get(reference)
        except RayError:
            continue


def borrow(key: str, config: Config, *, samples: int, priced: Mapping[str, Config],
           prices: Mapping[str, Price]) -> Price | None:  # fmt: skip
    """For a key that was not probed, the price of the one that is most like it."""
    if not priced:
        return None
    nearest = min(priced, key=lambda one: _distance(config, priced[one]))
    return replace(prices[nearest], key=key, steps_per_run=steps(config, samples=samples))


def _distance(a: Config, b: Config) -> float:
    def logs(x: float, y: float) -> float:
        return abs(math.log2(x / y))

    unlike = [
        a.data.dataset != b.data.dataset,
        a.data.path != b.data.path,
        a.train.model != b.train.model,
        a.train.depth != b.train.depth,
        (a.train.sam.radius > 0) != (b.train.sam.radius > 0),
        (a.train.ssl.weight > 0) != (b.train.ssl.weight > 0),
        a.train.augmentation != b.train.augmentation,
    ]
    return (
        logs(a.train.batch_size, b.train.batch_size)
        + 2 * logs(a.train.width, b.train.width)
        + 3 * sum(unlike)
    )
