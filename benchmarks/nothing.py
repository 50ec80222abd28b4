"""A plug-in: a trainer that does nothing, so that what is left is Sweeper's own cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sweeper.engine import data_facts, worker
from trainers.rounds import Timetable


@dataclass(frozen=True)
class Result:
    """As trainers.loop.RoundResult."""

    member: int
    round: int
    step: int
    numbers: np.ndarray | None
    finite: bool


class Nothing:
    """Has the methods of trainers.loop.PackTrainer; every number it reports is 0.5."""

    def __init__(self, dataset: Any, members: Sequence[Any], *, device: str, form: str) -> None:
        config = members[0].config
        self.timetable = Timetable.of(
            config, evaluations=config.evaluations, samples=config.train.batch_size
        )
        self.round = self.step = 0
        self.steps = self.timetable.rounds
        self.alive = list(range(len(members)))
        self._numbers = np.full(len(data_facts.layout(dataset.facts)), 0.5, dtype=np.float32)

    def train_round(self) -> list[Result]:
        self.round += 1
        self.step += 1
        numbers = self._numbers if self.timetable.evaluation(self.round) else None
        return [Result(m, self.round, self.step, numbers, True) for m in self.alive]

    def drop(self, member: int) -> None:
        self.alive.remove(member)

    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return {}, {"round": self.round, "alive": self.alive}

    def load_state(self, tensors: dict[str, Any], meta: dict[str, Any]) -> None:
        self.round, self.alive = meta["round"], list(meta["alive"])

    def time_steps(self, steps: int) -> tuple[float, float]:
        return 1e-6, 0.0


worker.TRAINER = Nothing
