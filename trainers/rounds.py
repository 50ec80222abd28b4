"""The rounds in which a run is trained, and after which of them it is evaluated. No torch.

A trainer hears and says nothing within a round, so rounds are short: an epoch at most. Evaluation
may cost as much as an epoch, so it comes after some rounds only, and after the last in any case.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

from trainers.batches import batch_sizes
from trainers.check import check
from trainers.config import Config, ConfigError

POINTS = 10  # evaluations, where nobody says how many
FEWEST = 3
DEAREST = 4  # evaluations are a fifth of the work when training is four times as much
ROUND_SAMPLES = 1000  # a round of a step budget has so many, where an epoch is smaller
BACKWARD = 2  # forward passes that a backward pass costs


@dataclass(frozen=True)
class Timetable:
    """A run's rounds, counted from 1, and which of them end with an evaluation.

    Attributes:
        points: the rounds that end with an evaluation, rising; the last is the run's last.
        ends: the number of updates made by each of them.
        by_epochs: whether a round is an epoch, so that it counts as one; under a step budget the
            evaluations are what is counted.
    """

    points: tuple[int, ...]
    ends: tuple[int, ...]
    by_epochs: bool

    @classmethod
    def of(cls, config: Config, *, evaluations: int, samples: int) -> Timetable:
        """The rounds of a run on so many training samples, evaluated so often at equal shares."""
        train, size = config.train, config.train.batch_size
        epoch_steps = len(batch_sizes(samples, size))
        shares = _shares(config.budget, min(evaluations, config.budget))
        if train.steps is None:
            return cls(shares, tuple(epoch * epoch_steps for epoch in shares), True)
        longest = max(epoch_steps, ROUND_SAMPLES // size)
        parts = (-(-(end - start) // longest) for start, end in pairwise((0, *shares)))
        return cls(tuple(accumulate(parts)), shares, False)

    @property
    def rounds(self) -> int:
        """How many there are."""
        return self.points[-1]

    @property
    def steps(self) -> int:
        """Updates of the whole run."""
        return self.ends[-1]

    def end(self, round: int) -> int:
        """The updates made by the end of a round."""
        at = bisect_left(self.points, round)
        first, start = (self.points[at - 1], self.ends[at - 1]) if at else (0, 0)
        return start + (round - first) * (self.ends[at] - start) // (self.points[at] - first)

    def evaluation(self, round: int) -> int:
        """Which evaluation the round ends with, counted from 1; 0 where it ends without."""
        done = bisect_right(self.points, round)
        return done if done and self.points[done - 1] == round else 0

    def epoch(self, round: int) -> int:
        """What has been reached by the end of a round, as it is recorded: epochs or evaluations."""
        return round if self.by_epochs else bisect_right(self.points, round)

    def before_next(self, epoch: int) -> int:
        """The last round before the evaluation that follows a recorded epoch.

        Whoever goes on from there, or from before, repeats that evaluation and skips none.
        """
        done = bisect_right(self.points, epoch) if self.by_epochs else epoch
        return self.points[done] - 1 if done < len(self.points) else self.rounds


def _shares(whole: int, parts: int) -> tuple[int, ...]:
    return tuple(part * whole // parts for part in range(1, parts + 1))


def chosen(configs: Iterable[Config], facts: Mapping[str, Any], *, least: int = FEWEST) -> int:
    """How often runs of these configurations are evaluated, all the same number of times.

    Ten times, or less often where that would be more than a fifth of the work, but `least` times,
    as far as there are epochs or steps. The work is counted in forward passes of samples, so the
    number is the same on any machine. A configuration that cannot run has no say.

    Args:
        facts: `Dataset.facts` of their data.
    """
    training = evaluating = 0
    longest = 1
    for config in configs:
        with suppress(ConfigError):
            counts = check(config, facts)
            training += _training(config, sum(counts))
            evaluating += _evaluating(config, facts, sum(counts))
            longest = max(longest, config.budget)
    fitting = training // (DEAREST * evaluating) if evaluating else POINTS
    return min(max(min(fitting, POINTS), least), longest)


def _training(config: Config, samples: int) -> int:
    """Forward passes of samples, those that its backward passes cost included."""
    train = config.train
    views = 2 * train.ssl.batch_multiple if train.ssl.weight > 0 else 0
    passes = (2 if train.sam.radius > 0 else 1) * (1 + views) * (1 + BACKWARD)
    if train.steps is None:
        return passes * train.epochs * samples
    return passes * train.steps * samples // len(batch_sizes(samples, train.batch_size))


def _evaluating(config: Config, facts: Mapping[str, Any], samples: int) -> int:
    """Forward passes of one evaluation: both splits, and the subset for clean statistics."""
    train, counts = config.train, facts["counts"]
    clean = train.norm == "batch" and train.norm_statistics == "clean"
    judged = sum(sum(counts.get(split) or ()) for split in ("val", "test"))
    return judged + clean * samples
