"""Times ways of doing something against each other, in turns."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

import torch

Name = TypeVar("Name", bound=Hashable)
Clock = Callable[[], float]

# As in the workers of a launch: without them the tensors of an update take new pages each time.
ALLOCATION = {
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
}


def become_a_worker() -> None:
    """Starts this program again if it lacks a worker's settings of memory; takes one thread."""
    if ALLOCATION.items() - os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ALLOCATION)
    torch.set_num_threads(1)


def seconds(way: Callable[[], object], times: int, clock: Clock = time.thread_time) -> float:
    """Seconds for each of so many calls, one after the other; of the thread, unless told."""
    start = clock()
    for _ in range(times):
        way()
    return (clock() - start) / times


def least(
    ways: Mapping[Name, Callable[[], object]],
    *,
    turns: int,
    times: Mapping[Name, int],
    clock: Clock = time.thread_time,
) -> dict[Name, float]:
    """The least seconds of a call, over turns in which every way runs so many times.

    A slow moment of the machine meets all ways; the calls of a turn share their caches, as the
    updates of a training do.
    """
    for way in ways.values():
        way()
    taken = [
        {name: seconds(way, times[name], clock) for name, way in ways.items()} for _ in range(turns)
    ]
    return {name: min(turn[name] for turn in taken) for name in ways}
