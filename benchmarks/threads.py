"""An update on several threads against the same update on one: packs, and ordinary PyTorch.

A line has the images, the batch size, members K, milliseconds by the clock of the pack on one
thread and how many times as fast it is on more, and the same of ordinary updates. So many cores
must be idle.

    python benchmarks/threads.py [--threads 2] [--members 1,3] [--seconds 4] [--only 8x8,table]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from packs import SHAPES, config, noise, ordinary, packed, timed
from turns import become_a_worker

from trainers.forms import FORMS


def on(threads: int, update: Callable[[], object]) -> Callable[[], object]:
    """The update, with so many threads."""

    def run() -> None:
        torch.set_num_threads(threads)
        update()

    return run


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--members", default="1,3")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--only", default=",".join(SHAPES))
    given = parser.parse_args()
    become_a_worker()
    best, counts = next(iter(FORMS)), (1, given.threads)
    for name in given.only.split(","):
        shape, batches = SHAPES[name]
        dataset = noise(shape)
        for batch in batches:
            for members in map(int, given.members.split(",")):
                pack = packed(dataset, config(shape, batch), members, best)
                alone = ordinary(shape, batch)
                updates = {"pack": pack, "ordinary": alone}  # so that both ways of each start cold
                ways = {
                    f"{way} {n}": on(n, update) for n in counts for way, update in updates.items()
                }
                took = timed(ways, given.seconds, time.perf_counter)
                parts = "   ".join(
                    part(way, took[f"{way} 1"], took[f"{way} {given.threads}"], given.threads)
                    for way in ("pack", "ordinary")
                )
                print(f"{name:8} batch {batch:3}  K={members:<3}  {parts}", flush=True)


def part(way: str, one: float, more: float, threads: int) -> str:
    """One side of a line."""
    return f"{way} {1e3 * one:7.2f} ms on one, {one / more:4.2f} x on {threads}"


if __name__ == "__main__":
    main()
