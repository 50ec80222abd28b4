"""Times a few steps of packs of K members, in the worker that will train such packs."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweeper.engine import endings
from sweeper.engine.messages import ProbeJob, Timing
from sweeper.states import Ending

OUT_OF_MEMORY = (Ending.OUT_OF_MEMORY, Ending.HOST_OUT_OF_MEMORY)
KEY_SECONDS = 0.15  # of steps, for each K
SWEEPS = 3  # over the Ks of a key


@dataclass(frozen=True, kw_only=True)
class Suited:
    """How packs of a key are computed on this node; the fields of `Timing` of these names."""

    form: str
    threads: int
    findings: tuple[str, ...] = ()


def measure(job: ProbeJob, build: Callable[[int], Any], *, suited: Suited) -> Timing:
    """Seconds of a step for each K, on the data of the runs; `build` makes a trainer of K.

    The largest K are left out if there is not enough memory.
    """
    ks = job.ks
    while True:
        try:
            return _timing(job.key, ks, build, suited)
        except Exception as error:
            if len(ks) == 1 or endings.of_exception(error)[0] not in OUT_OF_MEMORY:
                raise
        gc.collect()  # the trainers that the exception held
        ks = ks[:-1]


def fastest(timings: Iterable[Timing]) -> Timing:
    """The timing of the form that takes least for a run of the largest pack that all can train."""
    found = list(timings)
    k = min(max(timing.seconds_per_step) for timing in found)
    return min(found, key=lambda timing: timing.seconds_per_step[k])


def _timing(key: str, ks: Sequence[int], build: Callable[[int], Any], suited: Suited) -> Timing:
    trainers = {k: build(k) for k in ks}
    updates = max(int(trainer.steps) for trainer in trainers.values())
    seconds = seconds_per_step(trainers)
    _, evaluations = seconds[max(ks)]
    return Timing(
        key=key,
        seconds_per_step={k: sum(both) for k, both in seconds.items()},
        steps_per_run=updates,
        **vars(suited),
        evaluation=evaluations / sum(seconds[max(ks)]),
    )


def seconds_per_step(trainers: Mapping[int, Any]) -> dict[int, tuple[float, float]]:
    """The least of several short timings of each K, in turn: update, and evaluations.

    A busy neighbour then slows every K a little, instead of all timings of one.
    """
    counts = {k: _steps_in(KEY_SECONDS / SWEEPS, trainer) for k, trainer in trainers.items()}
    timings = [
        {k: trainer.time_steps(counts[k]) for k, trainer in trainers.items()} for _ in range(SWEEPS)
    ]
    return {k: min((timing[k] for timing in timings), key=sum) for k in trainers}


def _steps_in(seconds: float, trainer: Any) -> int:
    return min(20, max(1, int(seconds / max(sum(trainer.time_steps(1)), 1e-6))))
