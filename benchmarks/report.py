"""What a report of a large sweep costs, beside Optuna's own frame and importance.

Synthetic numbers of 10,000 runs x 100 epochs x 10 classes (2,000 cells of 5 replicates) are put
into a real database, each epoch's as Sweeper keeps them, and mirrored into Optuna's tables. Then,
each in a process of its own: Sweeper's frames, statistics and page; the command `sweeper status`,
its start included; `Study.trials_dataframe()` and `optuna.importance.get_param_importances()` on
the same study (one trial a cell).

Aims: the page in under 20 s and 1.5 GB, growth linear, `status` in under 2 s, and frames sooner
than Optuna's frame. docs/performance.md has what was seen.

    python benchmarks/report.py                      # 10,000 and 2,500 runs, SQLite
    python benchmarks/report.py --runs 10000 --postgres
    python benchmarks/report.py --runs 100000 --epochs 20      # once: takes some minutes
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
CLASSES, REPLICATES = 10, 5
ROWS_AT_ONCE = 5000
LEVELS: dict[str, list[Any]] = {
    "train.batch_size": [2, 4, 8, 16, 32, 64, 128, 256],
    "data.imbalance.train_ratio": [1.0, 0.2, 0.1, 0.05, 0.02],
    "train.width": [0.25, 0.5, 1.0, 2.0, 4.0],
    "train.smoothing.minority": [0.0, 0.05, 0.1, 0.2, 0.3],
    "train.sam.radius": [0.0, 0.05],
}  # fmt: skip
FURTHER = "train.weight_decay"  # has a level for each further 10,000 runs


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One thing done in a process of its own: seconds by part, and the process's peak memory."""

    what: str
    database: str
    runs: int
    seconds: dict[str, float]
    peak_mb: float
    page_mb: float = 0.0


def timed(seconds: dict[str, float], part: str, work: Callable[[], Any]) -> Any:
    """The result of `work`, its seconds noted."""
    began = time.perf_counter()
    result = work()
    seconds[part] = time.perf_counter() - began
    return result


def peak_mb() -> float:
    """The most memory of this process, or of a command that it ran."""
    who = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    return max(resource.getrusage(one).ru_maxrss for one in who) / 1e3


# --- the database


def levels_for(runs: int) -> dict[str, list[Any]]:
    """The factors and their levels, enough for so many runs."""
    most = REPLICATES * math.prod(len(levels) for levels in LEVELS.values())
    further = [step * 1e-5 for step in range(math.ceil(runs / most))]
    return {**LEVELS, FURTHER: further} if further[1:] else LEVELS


def fill(url: str, runs: int, epochs: int) -> None:
    """A finished sweep of so many runs, and its Optuna study."""
    from sweeper.store import Store
    from sweeper.store.study import Study

    levels = levels_for(runs)
    combinations = list(itertools.product(*levels.values()))[: runs // REPLICATES]
    named = [dict(zip(levels, one, strict=True)) for one in combinations]
    cells = [_cell(at, factors, epochs) for at, factors in enumerate(named)]
    rng = np.random.default_rng(0)
    with Store.open(url, create=True) as store:
        sweep = store.create_sweep(_sweep(levels, epochs))
        lease = store.acquire(sweep.id, {"host": "benchmark", "pid": 1})
        store.add_cells(lease, cells)
        store.database.write(lambda connection: _finish(connection, sweep, rng, epochs))
        store.update_sweep(lease, state="complete")
        study = Study(url, sweep.name, objective="minority_accuracy", direction="maximize")
        study.sync(store, lease, sweep)
        study.close()
        store.release(lease)


def _sweep(levels: dict[str, list[Any]], epochs: int) -> Any:
    from sweeper.store.records import NewSweep
    from trainers.metrics import layout

    classes = [f"class {at}" for at in range(CLASSES)]
    spec = {
        "name": "large", "question": "How does it grow?", "version": 1,
        "scientific": levels, "nuisance": {}, "replicates": REPLICATES,
        "budget": {"unit": "epochs"}, "data": {"dataset": "digits"}, "train": {"epochs": epochs},
        "objective": {"metric": "minority_accuracy", "direction": "maximize", "split": "val"},
        "search": {"method": "factorial", "trials": None, "seed": 0}, "pruner": {"method": "none"},
    }  # fmt: skip
    counts = {"train": [500] * CLASSES, "val": [100] * CLASSES, "test": [100] * CLASSES}
    return NewSweep(
        name="large", question="How does it grow?", spec_text="name: large\n", spec=spec,
        layout=tuple(layout(tuple(classes))), provenance={},
        facts={"fingerprint": "00" * 32, "kind": "image", "classes": classes,
               "shape": [1, 8, 8], "counts": counts},
    )  # fmt: skip


def _cell(at: int, factors: dict[str, Any], epochs: int) -> Any:
    from sweeper.store.records import NewCell

    ratio = factors["data.imbalance.train_ratio"]
    config = {
        "data": {"dataset": "digits", "imbalance": {"train_ratio": ratio}},
        "train": {"epochs": epochs, "steps": None, "batch_size": factors["train.batch_size"]},
    }
    counts = tuple(int(500 * ratio ** (c / (CLASSES - 1))) for c in range(CLASSES))
    return NewCell(hash=f"{at:064x}", role="report", factors=factors, config=config,
                   class_counts=counts, replicates=tuple(range(REPLICATES)))  # fmt: skip


def _finish(connection: Any, sweep: Any, rng: np.random.Generator, epochs: int) -> None:
    """Every run complete, with the numbers of every epoch: what a driver's many writes leave."""
    from sqlalchemy import insert, select, update

    from sweeper.states import Ending, RunState
    from sweeper.store.tables import CellTable, ObservationTable, RunTable

    runs = connection.execute(select(RunTable.id, RunTable.cell_id)).all()
    cells = connection.execute(select(CellTable.id, CellTable.factors)).all()
    truth = {cell: _truth(factors) for cell, factors in cells}
    connection.execute(
        update(RunTable).values(state=RunState.COMPLETE, ending=Ending.COMPLETE, epoch=epochs,
                                value=0.5, seconds=10.0)
    )  # fmt: skip
    connection.execute(update(CellTable).values(open_runs=0))
    rise = 1 - np.exp(-np.arange(1, epochs + 1) / 25.0)
    waiting: list[dict[str, Any]] = []
    for run, cell in runs:
        end = truth[cell] + rng.normal(0, 0.02, len(sweep.layout))
        noise = rng.normal(0, 0.005, (epochs, len(sweep.layout)))
        numbers = np.clip(end * rise[:, None] + noise, 0, 1).astype("<f4")
        waiting += [
            {"run_id": run, "epoch": epoch + 1, "step": 10 * (epoch + 1), "numbers": row.tobytes()}
            for epoch, row in enumerate(numbers)
        ]
        if len(waiting) >= ROWS_AT_ONCE:
            connection.execute(insert(ObservationTable), waiting)
            waiting.clear()
    if waiting:
        connection.execute(insert(ObservationTable), waiting)


def _truth(factors: dict[str, Any]) -> float:
    imbalance = -np.log10(factors["data.imbalance.train_ratio"])
    return 0.9 - 0.01 * np.log2(factors["train.batch_size"]) * (1 + imbalance)


# --- what is measured


def page(url: str) -> tuple[dict[str, float], float]:
    """Sweeper: frames, statistics, page."""
    from sweeper.analysis.frames import load
    from sweeper.analysis.view import view_of
    from sweeper.report import page as pages
    from sweeper.store import Store
    from sweeper.topics.registry import sections

    seconds: dict[str, float] = {}
    with Store.open(url, create=False) as store:
        frames = timed(seconds, "frames", lambda: load(store, "large"))
    timed(seconds, "statistics", lambda: sections(view_of(frames)))
    text = timed(seconds, "page", lambda: pages.html(frames))
    seconds["page"] -= seconds["statistics"]  # it computes them again
    return seconds, len(text.encode()) / 1e6


def status(url: str) -> tuple[dict[str, float], float]:
    """The command, its start included."""
    words = [str(Path(sys.executable).with_name("sweeper")), "status", "--storage", url]
    seconds: dict[str, float] = {}
    timed(seconds, "status", lambda: subprocess.run(words, check=True, stdout=subprocess.DEVNULL))
    return seconds, 0.0


def optuna_frame(url: str) -> tuple[dict[str, float], float]:
    """Optuna: every trial as a frame, and the importance of each parameter."""
    import optuna

    seconds: dict[str, float] = {}
    study = optuna.load_study(study_name="large", storage=url)
    timed(seconds, "frames", study.trials_dataframe)
    timed(seconds, "importance", lambda: optuna.importance.get_param_importances(study))
    return seconds, 0.0


WAYS = {"sweeper": page, "status": status, "optuna": optuna_frame}


def child(way: str, url: str, runs: int) -> Measured:
    """One way in a process of its own, so that memory is its own."""
    words = [sys.executable, __file__, "--way", way, "--storage", url, "--runs", str(runs)]
    done = subprocess.run(words, check=True, capture_output=True, text=True, cwd=HERE.parent)
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def measure(url: str, runs: int, epochs: int) -> Iterator[Measured]:
    """Fills the database and measures each way on it."""
    began = time.perf_counter()
    fill(url, runs, epochs)
    print(f"{_kind(url)}, {runs} runs: filled in {time.perf_counter() - began:.0f} s", flush=True)
    for way in WAYS:
        yield child(way, url, runs)


def _kind(url: str) -> str:
    return url.split(":")[0].split("+")[0]


def show(found: list[Measured]) -> None:
    """A table; the ratio is Optuna's seconds for its frame over ours."""
    print(
        f"\n{'database':12}{'runs':>7} {'what':9}{'total s':>9}{'peak MB':>9}{'page MB':>9}  parts"
    )
    for one in found:
        parts = ", ".join(f"{part} {seconds:.1f} s" for part, seconds in one.seconds.items())
        total = sum(one.seconds.values())
        print(f"{one.database:12}{one.runs:>7} {one.what:9}{total:>9.1f}{one.peak_mb:>9.0f}"
              f"{one.page_mb:>9.2f}  {parts}")  # fmt: skip
    print()
    for (database, runs), group in itertools.groupby(found, lambda one: (one.database, one.runs)):
        by = {one.what: one for one in group}
        ratio = by["optuna"].seconds["frames"] / by["sweeper"].seconds["frames"]
        print(f"{database}, {runs} runs: Optuna's frame takes {ratio:.2f} x the time of Sweeper's")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, nargs="*", default=[2500, 10000])
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--storage", default="", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.way:
        seconds, size = WAYS[asked.way](asked.storage)
        one = Measured(what=asked.way, database=_kind(asked.storage), runs=asked.runs[0],
                       seconds=seconds, peak_mb=peak_mb(), page_mb=size)  # fmt: skip
        print(json.dumps(asdict(one)))
        return
    found: list[Measured] = []
    for runs in asked.runs:
        with tempfile.TemporaryDirectory() as folder:
            found += measure(f"sqlite:///{folder}/report.db", runs, asked.epochs)
        if asked.postgres:
            from benchmarks.overhead import postgres

            with postgres() as url:
                found += measure(url, runs, asked.epochs)
    show(found)


if __name__ == "__main__":
    main()
