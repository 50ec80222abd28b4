"""The rounds of a run's training, and the rounds that end with an evaluation. No torch.

A trainer neither receives nor sends messages within a round, so a round is an epoch at most. An
evaluation may cost as much as an epoch, so only some rounds end with one; the last always does.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

from trainers.batches import batch_sizes
from trainers.check import check, chosen_entries
from trainers.config import Config, ConfigError

POINTS = 10  # evaluations, if the spec does not set them
FEWEST = 3
DEAREST = 4  # evaluations are a fifth of the work when training is four times as much
ROUND_SAMPLES = 1000  # samples of a round under a step budget, if an epoch is smaller
BACKWARD = 2  # a backward pass costs as much as this many forward passes


@dataclass(frozen=True)
class Timetable:
    """A run's rounds, counted from 1, and which of them end with an evaluation.

    Attributes:
        points: the rounds that end with an evaluation, rising; the last is the run's last.
        ends: the number of updates made by the end of each of them.
        by_epochs: whether a round is an epoch; under a step budget evaluations are counted instead.
    """

    points: tuple[int, ...]
    ends: tuple[int, ...]
    by_epochs: bool

    @classmethod
    def of(cls, config: Config, *, evaluations: int, samples: int) -> Timetable:
        """The rounds of a run on `samples` training samples, with evaluations at equal shares."""
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
        """The number of rounds."""
        return self.points[-1]

    @property
    def steps(self) -> int:
        """The updates of the whole run."""
        return self.ends[-1]

    def end(self, round: int) -> int:
        """The updates made by the end of a round."""
        at = bisect_left(self.points, round)
        first, start = (self.points[at - 1], self.ends[at - 1]) if at else (0, 0)
        return start + (round - first) * (self.ends[at] - start) // (self.points[at] - first)

    def evaluation(self, round: int) -> int:
        """The number of the evaluation that ends the round, from 1; 0 if none does."""
        done = bisect_right(self.points, round)
        return done if done and self.points[done - 1] == round else 0

    def epoch(self, round: int) -> int:
        """The recorded progress at the end of a round: epochs or evaluations."""
        return round if self.by_epochs else bisect_right(self.points, round)

    def before_next(self, epoch: int) -> int:
        """The last round before the evaluation that follows a recorded epoch.

        A run that continues from there, or from earlier, repeats that evaluation and skips none.
        """
        done = bisect_right(self.points, epoch) if self.by_epochs else epoch
        return self.points[done] - 1 if done < len(self.points) else self.rounds


def timetable(config: Config, facts: Mapping[str, Any], *, samples: int) -> Timetable:
    """The timetable of a run of `samples` training samples; chooses its evaluations if need be."""
    number = config.train.evaluations or chosen([config], facts)
    return Timetable.of(config, evaluations=number, samples=samples)


def _shares(whole: int, parts: int) -> tuple[int, ...]:
    return tuple(part * whole // parts for part in range(1, parts + 1))


def chosen(configs: Iterable[Config], facts: Mapping[str, Any], *, least: int = FEWEST) -> int:
    """The number of evaluations of runs of these configurations, equal for all.

    Ten, or fewer if they would be more than a fifth of the work, but at least `least`, within the
    number of epochs or steps. The work is counted in forward passes of samples, so the number is
    the same on any machine. Configurations that cannot run are ignored.

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
    """Forward passes of samples in training; a backward pass counts as BACKWARD of them."""
    train = config.train
    passes = {entry.kind: entry.passes for entry in chosen_entries(train)}
    views = passes.get("ssl", 0) * train.ssl.batch_multiple
    with_views = 1.0 if train.ssl.joint else train.ssl.pretraining
    forwards = passes.get("sharpness", 1) * (1 + with_views * views) * (1 + BACKWARD)
    if train.steps is None:
        return round(forwards * train.epochs * samples)
    return int(forwards * train.steps * samples // len(batch_sizes(samples, train.batch_size)))


def _evaluating(config: Config, facts: Mapping[str, Any], samples: int) -> int:
    """Forward passes of an evaluation: both splits, and the subset for clean statistics."""
    train, counts = config.train, facts["counts"]
    clean = train.norm == "batch" and train.norm_statistics == "clean"
    judged = sum(sum(counts.get(split) or ()) for split in ("val", "test"))
    return judged + clean * samples
