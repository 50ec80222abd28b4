"""Trains a pack with the user's own function: a trainer of the same methods as `PackTrainer`.

Each member's function runs in a thread of its own and stops at each report until the next round is
asked for. Members of a pack take turns; nothing is fused.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, NamedTuple

import numpy as np

from sweeper import trainables
from sweeper.engine import kept
from sweeper.engine.messages import OwnTrainer
from sweeper.spec.own import epochs_in
from sweeper.trainables import Replicate, Reported, Reporter, ReportError, Trainable

PATIENCE_SECONDS = 10.0  # for a function that is stopped to clean up


class Stopped(BaseException):
    """Raised inside a function whose run has ended. Not an Exception: nothing should handle it."""


class Result(NamedTuple):
    """The result of one member in one round: the used fields of `trainers.loop.RoundResult`."""

    member: int
    numbers: np.ndarray
    finite: bool
    correct: bytes | None = None


@dataclass
class FunctionRounds:
    """The rounds of a function, of which a report ends each.

    Attributes:
        expected: how many rounds the configuration speaks of; 0 where it does not.
        done: rounds that have been reported.
        ended: whether the functions have returned.
        fresh: whether the last round brought a report.
        reports: the reports of a member so far.
    """

    expected: int
    done: int = 0
    ended: bool = False
    fresh: bool = False
    reports: int = 0

    @property
    def rounds(self) -> int:
        """How many there are, as far as it is known: one more than done where it is not."""
        return self.done if self.ended else max(self.expected, self.done + 1)

    def epoch(self, round: int) -> int:
        """What is recorded at the end of a round: the number of epochs done."""
        return round

    def evaluation(self, round: int) -> int:
        """Which evaluation the round ended with; 0 where the function only returned."""
        return self.reports if self.fresh and round == self.done else 0

    def before_next(self, epoch: int) -> int:
        """The last round whose checkpoint may be used where this epoch is recorded."""
        return epoch


class FunctionTrainer:
    """Trains the members of a pack with a function.

    Attributes:
        round: epochs done, which is the last epoch reported plus 1.
        alive: places of the members that still train.
    """

    def __init__(
        self,
        function: Trainable,
        members: Sequence[tuple[Mapping[str, Any], int]],
        *,
        own: OwnTrainer,
    ) -> None:
        self._function, self._members, self._own = function, tuple(members), own
        self.alive = list(range(len(members)))
        self.timetable = FunctionRounds(expected=min(epochs_in(config) for config, _ in members))
        self._runs: dict[int, FunctionCall] = {}
        self._last: dict[int, Reported] = {}
        self._ahead: dict[int, Reported | None] = {}
        self._start: dict[int, tuple[int, Any]] = {}  # after which epoch, with which state

    @property
    def round(self) -> int:
        return self.timetable.done

    step = round  # a function says nothing of updates

    def train_round(self) -> list[Result]:
        """Goes on to the next report of each member; the last numbers once all have returned."""
        table = self.timetable
        said = self._ahead or self._advance()
        self._ahead = {}
        if self._over(said):
            table.fresh, table.ended = False, True
            return [self._result(member) for member in self.alive]
        self._last |= {member: one for member, one in said.items() if one is not None}
        table.done, table.fresh = self._last[self.alive[0]].epoch + 1, True
        table.reports += 1
        finite = all(self._last[member].finite for member in self.alive)
        if table.done == table.expected and finite:
            self._ahead = self._advance()  # mostly the end, which then goes with these numbers
            if self._over(self._ahead):
                table.ended = True
        return [self._result(member) for member in self.alive]

    def _advance(self) -> dict[int, Reported | None]:
        return {member: self._running(member).advance() for member in self.alive}

    def _running(self, member: int) -> FunctionCall:
        if member not in self._runs:
            config, replicate = self._members[member]
            after, state = self._start.get(member, (-1, None))
            self._runs[member] = FunctionCall(
                self._function,
                config,
                Replicate(replicate, self._own.fingerprint, state),
                layout=self._own.layout,
                after=after,
            )
        return self._runs[member]

    def _over(self, said: Mapping[int, Reported | None]) -> bool:
        """Whether the functions have returned.

        Raises:
            ReportError: they have reported nothing, or not the same epochs.
        """
        epochs = {None if one is None else one.epoch for one in said.values()}
        if len(epochs) > 1:
            raise ReportError(
                f"trainer {self._own.name!r}: replicates of a cell that are judged together must "
                "report the same epochs"
            )
        if epochs == {None} and not self._last:
            raise ReportError(f"trainer {self._own.name!r}: it has ended without a report")
        return epochs == {None}

    def _result(self, member: int) -> Result:
        one = self._last[member]
        row = np.array([one.numbers[key] for key in self._own.layout], dtype=np.float32)
        return Result(member, row, one.finite)

    def drop(self, member: int) -> None:
        """Ends the function of a member."""
        self.alive.remove(member)
        self._ahead.pop(member, None)
        if member in self._runs:
            self._runs.pop(member).close()

    def close(self) -> None:
        """Ends the functions that have not returned."""
        for run in self._runs.values():
            run.close()

    def state(self) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Tensors and JSON to go on from; None if a function keeps no state, or is already ahead.

        What a function has passed is its own, and changes as it goes on.
        """
        if any(one is not None for one in self._ahead.values()):
            return None
        last = {member: self._last.get(member) for member in self.alive}
        tensors: dict[str, Any] = {}
        members: dict[str, Any] = {}
        for member, one in last.items():
            if one is None or one.state is None:
                return None
            numbers = [[*key, value] for key, value in one.numbers.items()]
            form = kept.packed(one.state, tensors, at=f"{member}")
            members[str(member)] = {"epoch": one.epoch, "numbers": numbers, "state": form}
        meta = {"alive": self.alive, "reports": self.timetable.reports, "members": members}
        return tensors, meta

    def load_state(self, tensors: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
        """Goes on from what `state` gave."""
        self.alive = list(meta["alive"])
        for member in self.alive:
            one = meta["members"][str(member)]
            numbers = {(a, b, c): float(value) for a, b, c, value in one["numbers"]}
            self._last[member] = Reported(one["epoch"], numbers, None)
            self._start[member] = one["epoch"], kept.unpacked(one["state"], tensors)
        self.timetable.reports = meta["reports"]
        self.timetable.done = max(one.epoch for one in self._last.values()) + 1


class FunctionCall:
    """One call of a function, in a thread that waits at each report."""

    def __init__(
        self,
        function: Trainable,
        config: Mapping[str, Any],
        replicate: Replicate,
        *,
        layout: Sequence[trainables.Key],
        after: int,
    ) -> None:
        self._go: SimpleQueue[bool] = SimpleQueue()
        self._said: SimpleQueue[Reported | BaseException | None] = SimpleQueue()
        self._call = (function, dict(config), replicate)
        self._report = Reporter(self._take, layout=layout, after=after)
        self._thread = threading.Thread(target=self._main, name="sweeper-function", daemon=True)
        self._thread.start()

    def advance(self) -> Reported | None:
        """Waits for the next report; None once the function has returned.

        Raises:
            Exception: what the function raised.
        """
        self._go.put(True)
        said = self._said.get()
        if isinstance(said, Exception):
            raise said
        if isinstance(said, BaseException):  # such as SystemExit, which would end the worker
            raise RuntimeError(f"the function raised {type(said).__name__}: {said}") from said
        return said

    def close(self) -> None:
        """Ends the function at the report where it waits."""
        if self._thread.is_alive():
            self._go.put(False)
            self._thread.join(PATIENCE_SECONDS)

    def _main(self) -> None:
        function, config, replicate = self._call
        said: BaseException | None = None
        try:
            if self._go.get():
                function(config, replicate, self._report)
        except Stopped:
            return
        except BaseException as error:  # noqa: BLE001  the function is the user's; `advance` raises it
            said = error
        self._said.put(said)

    def _take(self, reported: Reported) -> None:
        kept.packed(reported.state, {}, at="0")  # what cannot be kept is an error at the report
        self._said.put(reported)
        if not self._go.get():
            raise Stopped
