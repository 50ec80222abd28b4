"""Averages of a pack's weights, which are evaluated instead of the last weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from trainers.hyper import Hyper
from trainers.optimizers import of_members
from trainers.pack import PackedNetworks
from trainers.state import Kept, State


class Averages:
    """An exponential moving average (EMA), or stochastic weight averaging (SWA).

    EMA: after update t, average <- d average + (1 - d) weights, with d = min(decay,
    (1 + t) / (10 + t)), so that the drawn start is soon forgotten. SWA: the equal average of the
    weights at the end of each epoch after `start`; before, the weights themselves (Izmailov et al.
    2018, arXiv 1803.05407, algorithm 1). Running norm statistics are averaged in the same way.
    """

    def __init__(self, pack: PackedNetworks, hyper: Hyper, *, steps: int, epoch_steps: int) -> None:
        """Args: steps: the updates of the run; epoch_steps: those of an epoch."""
        config = hyper.first.average
        self._method, self._epoch_steps = config.method, epoch_steps
        self._start = round(config.start * steps)
        self._decays = hyper.values("average.decay")
        self._now = {} if config.method == "none" else pack.state
        self._kept = {name: Kept(k.tensor.clone(), k.layout) for name, k in self._now.items()}

    @property
    def state(self) -> State:
        """The averages, by name."""
        return {f"average.{name}": kept for name, kept in self._kept.items()}

    def after_update(self, step: int) -> None:
        """Takes the weights into the average; `step` is the number of updates made."""
        if self._method == "ema":
            warm = (1.0 + step) / (10.0 + step)
            self._mix([1.0 - min(decay, warm) for decay in self._decays])
        elif self._method == "swa" and step % self._epoch_steps == 0 and self._taken(step):
            self._mix([1.0 / self._taken(step)])

    def _taken(self, step: int) -> int:
        """How many weights the average has after a number of updates."""
        if self._method != "swa":
            return step
        return max(0, step // self._epoch_steps - self._start // self._epoch_steps)

    def _mix(self, shares: list[float]) -> None:
        """average <- average + share (weights - average), a share for each member or for all."""
        for name, kept in self._kept.items():
            share = of_members(shares, kept.layout, kept.tensor)
            kept.tensor.lerp_(self._now[name].tensor, share)

    @contextmanager
    def in_place(self, step: int) -> Iterator[None]:
        """A context in which the pack has the averages; afterwards its own numbers, to the bit.

        After so few updates that nothing is averaged yet, the pack keeps its own numbers.
        """
        if not self._taken(step):
            yield
            return
        own = {name: kept.tensor.clone() for name, kept in self._now.items()}
        for name, kept in self._now.items():
            kept.tensor.copy_(self._kept[name].tensor)
        try:
            yield
        finally:
            for name, kept in self._now.items():
                kept.tensor.copy_(own[name])
