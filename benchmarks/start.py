"""Seconds from `sweeper launch` to the first recorded epoch, beside Ray's own start.

Each is timed in processes of their own, in turns: bare Ray is `import ray`, `ray.init` with two
processors, and the first answer of an actor; Sweeper is the command as a user types it, on a
database that does not exist yet, until the database has an epoch's numbers. The cache holds what
earlier turns have checked (arithmetic); the first turn is not counted. An epoch itself takes a
twentieth of a second here.

Aim: at most 2 s beyond bare Ray.

    python benchmarks/start.py [--turns 5]
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from statistics import median

SPEC = """
name: start
data: {dataset: digits}
train: {epochs: 20, evaluations: 20, lr: 0.1}
scientific: {train.batch_size: [128, 256]}
replicates: 5
resources: {workers: 2}
"""
RAY = """
import os, secrets
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
import ray
ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)

@ray.remote(num_cpus=1)
class Actor:
    def answer(self):
        return 1

print(ray.get(Actor.remote().answer.remote()), flush=True)
"""
PATIENCE_SECONDS, LOOK_SECONDS = 120.0, 0.02


def ray(folder: Path) -> float:
    """Until the actor's answer is printed."""
    began = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-c", RAY], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"1\n"
        took = time.perf_counter() - began
    return took


def sweeper(folder: Path) -> float:
    """Until an epoch is recorded."""
    file, spec = folder / "start.db", folder / "start.yaml"
    spec.write_text(SPEC, encoding="utf-8")
    command = [str(Path(sys.executable).with_name("sweeper")), "launch", str(spec), "--yes"]
    began = time.perf_counter()
    with subprocess.Popen(
        [*command, "--storage", f"sqlite:///{file}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        while not recorded(file):
            if process.poll() is not None or time.perf_counter() - began > PATIENCE_SECONDS:
                sys.exit(f"the launch ended with {process.poll()}, without an epoch")
            time.sleep(LOOK_SECONDS)
        took = time.perf_counter() - began
        process.wait()
    return took


def recorded(file: Path) -> bool:
    """Whether the database has an epoch's numbers; it may still be empty, or busy."""
    if not file.exists():
        return False
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        try:
            return bool(connection.execute("SELECT 1 FROM sweeper_observation LIMIT 1").fetchone())
        except sqlite3.OperationalError:
            return False


def timed(way: Callable[[Path], float]) -> float:
    """One start, with files of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return way(Path(folder))


def main() -> None:
    """Prints medians and their difference."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ways = {"bare Ray": ray, "Sweeper": sweeper}
    turns = [{name: timed(way) for name, way in ways.items()} for _ in range(given.turns + 1)][1:]
    found = {name: [turn[name] for turn in turns] for name in ways}
    for name, seconds in found.items():
        listed = ", ".join(f"{one:.2f}" for one in seconds)
        print(f"{name:9} {median(seconds):6.2f} s   ({listed})")
    beyond = median(turn["Sweeper"] - turn["bare Ray"] for turn in turns)
    print(f"Sweeper beyond bare Ray: {beyond:.2f} s (aim: 2)")


if __name__ == "__main__":
    main()
