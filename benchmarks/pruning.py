"""Compares pruners on the same recorded curves: what each saves, and how often it loses the best.

24 cells of digits (exponential, train ratio 0.1) at random learning rates and batch sizes, 5
replicates each, are trained to their end once by `sweeper launch`, 12 evaluations a run. Then each
pruner sees these curves in 40 random orders of the cells, four cells at a time, through the
engine's own `Pruning`. All numbers of a table come from the same curves.

    python benchmarks/pruning.py FOLDER

FOLDER holds the database; the same command continues where an earlier one was stopped. Training
saved is a share of all epochs. Seen on 30 November 2026: docs/search.md.
"""

from __future__ import annotations

import argparse
import random
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import optuna

from sweeper import search
from sweeper.engine.pruning import pruning_of
from sweeper.engine.recorder import index_of
from sweeper.spec import Spec, parse
from sweeper.store import Store

SPEC = """\
name: curves
question: Which learning rate and batch size serve the minority best?
data: {dataset: digits, imbalance: {profile: exponential, train_ratio: 0.1}}
train: {width: 0.25, epochs: 12, evaluations: 12}
scientific:
  train.lr: {low: 0.003, high: 3.0, log: true}
  train.batch_size: [8, 32, 128]
search: {method: random, trials: 24}
replicates: 5
objective: minority_accuracy
resources: {workers: 1}
"""
PRUNERS = {
    "none": "none",
    "asha": "asha",
    "hyperband": "hyperband",
    "median": "median",
    "wilcoxon": "wilcoxon",
    "wilcoxon, p 0.04": "{method: wilcoxon, p: 0.04}",
}
ORDERS, AT_ONCE = 40, 4

Curves = dict[int, dict[int, list[float]]]  # cell -> replicate -> value at each evaluation


@dataclass(frozen=True)
class Seen:
    """What a pruner did with one order of the cells; shares of training all of them."""

    trained: float
    stopped: float
    lost: bool
    worse: float  # the best finished cell's final mean, in points behind the best of all


def train(folder: Path) -> None:
    """Launches the spec by the real command."""
    (folder / "curves.yaml").write_text(SPEC, "utf-8")
    code = "from sweeper.cli import main; main()"
    words = ["launch", "curves.yaml", "--yes", "--storage", "sqlite:///curves.db"]
    subprocess.run([sys.executable, "-c", code, *words], cwd=folder, check=True)


def read(folder: Path) -> Curves:
    """The objective on val of every run at every evaluation."""
    found: Curves = {}
    with Store.open(f"sqlite:///{folder / 'curves.db'}", create=False) as store:
        [sweep] = store.sweeps()
        runs = {run.id: run for run in store.runs(sweep.id)}
        place = index_of(sweep.layout, ("val", "minority_accuracy", ""))
        for rows in store.curves(sweep.id, [place]):
            for run_id, _epoch, _step, number in rows:
                run = runs[run_id]
                curve = found.setdefault(run.cell_id, {}).setdefault(run.replicate, [])
                curve.append(struct.unpack("<f", number)[0])
    lengths = {len(curve) for cell in found.values() for curve in cell.values()}
    assert len(lengths) == 1, "a run has failed"
    return found


def simulate(spec: Spec, curves: Curves, order: list[int]) -> Seen:
    """Runs the cells in this order, `AT_ONCE` at a time, one evaluation after another."""
    pruning = pruning_of(search.pruner(spec), direction="maximize")
    length = len(next(iter(next(iter(curves.values())).values())))
    final = {cell: fmean(curve[-1] for curve in runs.values()) for cell, runs in curves.items()}
    waiting, running = list(order), dict[int, int]()
    trained, stopped = 0, set[int]()
    while waiting or running:
        while waiting and len(running) < AT_ONCE:
            running[waiting.pop(0)] = 0
        for cell in list(running):
            running[cell] += 1
            trained += 1
            evaluation = running[cell]
            stop = [
                pruning.see(
                    cell,
                    group="report",
                    replicate=one,
                    evaluation=evaluation,
                    value=curve[evaluation - 1],
                    of=list(curves[cell]),
                )
                for one, curve in curves[cell].items()
            ]
            if evaluation == length or any(stop):
                early = evaluation < length
                stopped |= {cell} if early else set()
                pruning.end(cell, value=None if early else final[cell], pruned=early)
                del running[cell]
    best, left = max(final.values()), [final[cell] for cell in order if cell not in stopped]
    return Seen(
        trained=trained / (length * len(order)),
        stopped=len(stopped) / len(order),
        lost=max(left) < best,
        worse=100 * (best - max(left)),
    )


def main() -> None:
    """Trains, simulates, and prints a table."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    train(folder)
    curves = read(folder)
    orders = [random.Random(seed).sample(list(curves), len(curves)) for seed in range(ORDERS)]
    print("| pruner | training saved | runs stopped | best cell lost | worse, points |")
    print("|---|---|---|---|---|")
    for name, text in PRUNERS.items():
        spec = parse(SPEC + f"pruner: {text}\n")
        seen = [simulate(spec, curves, order) for order in orders]
        shares = (1 - fmean(one.trained for one in seen), fmean(one.stopped for one in seen))
        lost = fmean(one.lost for one in seen)
        worse = fmean(one.worse for one in seen)
        print(f"| {name} | {shares[0]:.0%} | {shares[1]:.0%} | {lost:.0%} | {worse:.2f} |")


if __name__ == "__main__":
    main()
