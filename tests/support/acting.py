"""A trainer that plays a part, as a plug-in file: its numbers follow a formula, its faults a list.

The value of a run at round r is `1 - |log10(lr) - log10(best)| / 4 + replicate / 1000 + r / 1e4`,
so that a test knows what every cell must be worth. A fault is named by the learning rate of the
run it befalls.

Rounds may be held: each from a number on waits until a test lets them go.
"""

from __future__ import annotations

import json
from math import log10
from pathlib import Path

import history
import numpy as np

SOURCE = '''
import faulthandler, math, os, sys, time
from pathlib import Path
import numpy as np
from sweeper.engine import data_facts, worker
from trainers.rounds import Timetable

FAULTS, BEST, SECONDS, FOLDER = {faults!r}, {best!r}, {seconds!r}, Path({folder!r})


class Result:
    def __init__(self, member, round, numbers, finite):
        self.member, self.round, self.step = member, round, round
        self.numbers, self.finite = numbers, finite


class Acting:
    def __init__(self, dataset, members, *, device, form):
        self.members, config = list(members), members[0].config
        number = config.train.evaluations
        self.timetable = Timetable.of(config, evaluations=number, samples=config.train.batch_size)
        self.round = self.step = 0
        self.steps = self.timetable.rounds
        self.alive = list(range(len(members)))
        self.length = len(data_facts.layout(dataset.facts))

    def train_round(self):
        self.round += 1
        self.step = self.round
        time.sleep(SECONDS)
        return [self._one(member) for member in self.alive]

    def _one(self, index):
        member = self.members[index]
        lr = member.config.train.lr
        fault = FAULTS.get(lr, "")
        if fault and self._now(fault, lr):
            strike(fault)
        value = 1 - abs(math.log10(lr) - math.log10(BEST)) / 4
        value += member.replicate / 1000 + self.round / 1e4
        finite = fault != "diverge" or self.round < 2
        numbers = np.full(self.length, value if finite else np.nan, dtype=np.float32)
        if not self.timetable.evaluation(self.round):
            numbers = None
        return Result(index, self.round, numbers, finite)

    def _now(self, fault, lr):
        """Faults that end in 'once' strike a single time, whatever process they strike in."""
        if not fault.endswith("once"):
            return True
        mark = FOLDER / f"struck-{{lr}}"
        try:
            mark.touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def drop(self, member):
        assert len(self.alive) > 1
        self.alive.remove(member)

    def state(self):
        import torch
        return {{"round": torch.tensor([self.round])}}, {{"round": self.round, "alive": self.alive}}

    def load_state(self, tensors, meta):
        self.round, self.alive = meta["round"], list(meta["alive"])

    def time_steps(self, steps):
        return 1e-3, 1e-4


def strike(fault):
    kind = fault.removesuffix(" once")
    if kind == "raise":
        raise ValueError("the part demands it")
    if kind == "out of memory":
        raise type("OutOfMemoryError", (RuntimeError,), {{}})("CUDA out of memory")
    if kind == "exit":
        sys.exit(7)
    if kind == "os exit":
        os._exit(7)
    if kind == "segfault":
        faulthandler._sigsegv()
    if kind == "abort":
        os.abort()
    if kind == "overflow":
        def deep(n):
            return deep(n + 1) + 1
        deep(0)
    if kind == "stack overflow":
        faulthandler._stack_overflow()
    if kind == "hang":
        time.sleep(1e6)


worker.TRAINER = Acting
'''


def write(
    folder: Path,
    *,
    faults: dict[float, str] | None = None,
    best: float = 0.1,
    seconds: float = 0.0,
) -> Path:
    """The plug-in file; `seconds` is what a round takes."""
    path = folder / "acting_plugin.py"
    path.write_text(
        SOURCE.format(faults=faults or {}, best=best, seconds=seconds, folder=str(folder))
    )
    return path


HELD = """
import time
from pathlib import Path
from sweeper.engine import worker

FOLDER, ROUNDS = Path({folder!r}), {rounds!r}


class Held(worker.trainer_class("resnet")):
    def train_round(self):
        if self.round >= ROUNDS:
            (FOLDER / "held").touch()
        while self.round >= ROUNDS and not (FOLDER / "let-go").exists():
            time.sleep(0.02)
        return super().train_round()


worker.TRAINER = Held
"""


class Hold:
    """Holds every run, of a plug-in's trainer or of the real one, after so many rounds.

    Attributes:
        plugin: what holds, to be named after the trainer's own plug-in.
    """

    def __init__(self, folder: Path, *, rounds: int) -> None:
        self.plugin, self._folder = folder / "holding_plugin.py", folder
        self.plugin.write_text(HELD.format(folder=str(folder), rounds=rounds))

    def holds(self) -> bool:
        """Whether a run has got there."""
        return (self._folder / "held").exists()

    def let_go(self) -> None:
        """Lets all of them go on, now and later."""
        (self._folder / "let-go").touch()


def value(lr: float, *, replicate: int, rounds: int, best: float = 0.1) -> float:
    """What a run must be worth after so many rounds."""
    return 1 - abs(log10(lr) - log10(best)) / 4 + (replicate / 1000 + rounds / 1e4)


def check_numbers(url: str, name: str, *, runs: int) -> None:
    """Checks that every number of so many runs equals the formula of the trainer, to the bit."""
    found = history.numbers(url, name)
    assert len(found) == runs
    for (factors, replicate), rounds in found.items():
        lr = json.loads(factors)[1]["train.lr"]
        for round, packed in rounds.items():
            expected = np.float32(value(lr, replicate=replicate, rounds=round))
            assert set(np.frombuffer(packed, dtype="<f4")) == {expected}
