"""A sweep with a known truth: a planted curve, interaction and failures, as records of a store.

`plan(...)` is pure and seeded; `Memory(plan)` reads like a store; `fill(store, plan)` writes the
same into a real one.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any

import numpy as np

from sweeper.states import Ending, RunState
from sweeper.store.records import (
    Attempt,
    Cell,
    End,
    Key,
    NewCell,
    NewPack,
    NewSweep,
    Observations,
    Pack,
    Predictions,
    Report,
    Run,
    Sweep,
)  # fmt: skip
from trainers.data.dataset import pack_labels
from trainers.groups import class_groups

BATCH = "train.batch_size"
RATIO = "data.imbalance.train_ratio"
WHEN = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
CLASSES = tuple(str(digit) for digit in range(10))
OVERALL = ("accuracy", "balanced_accuracy", "minority_accuracy", "majority_accuracy", "macro_f1",
           "worst_class_accuracy", "loss", "calibration_error")  # fmt: skip
GROUPS = ("minority", "majority", "head", "medium", "tail")

Truth = Callable[[Mapping[str, Any]], float]


def layout(classes: Sequence[str] = CLASSES) -> tuple[Key, ...]:
    keys: list[Key] = []
    for split in ("train", "val", "test"):
        keys += [(split, "recall", f"class:{name}") for name in classes]
        keys += [(split, metric, f"group:{group}") for group in GROUPS
                 for metric in ("accuracy", "loss", "calibration_error")]  # fmt: skip
        keys += [(split, metric, "") for metric in OVERALL]
    return tuple(keys)


def headline(factors: Mapping[str, Any]) -> float:
    """Minority accuracy: 0.93 at batch 2; each doubling costs 0.6 points, 2.6 under imbalance."""
    doublings = math.log2(factors.get(BATCH, 2)) - 1
    ratio = factors.get(RATIO, 1.0)
    slope = 0.006 + 0.020 * (ratio < 1)
    return 0.93 - 0.10 * (ratio < 1) - slope * doublings


def flat(factors: Mapping[str, Any]) -> float:
    """The null: no factor does anything."""
    del factors
    return 0.8


@dataclass(frozen=True)
class Plan:
    sweep: NewSweep
    cells: list[NewCell]
    epochs: int
    numbers: dict[tuple[int, int], np.ndarray]  # (cell, replicate) -> (epochs, L)
    endings: dict[tuple[int, int], tuple[Ending | None, str]]  # None: not run yet
    layout: tuple[Key, ...] = field(repr=False)
    correct: dict[tuple[int, int], bytes] = field(default_factory=dict)  # (cell, replicate) -> bits


def plan(
    *,
    name: str = "batch-size-digits",
    question: str = "Do small batches serve the minority classes, and more so under imbalance?",
    levels: Mapping[str, Any] | None = None,
    cells: Sequence[Mapping[str, Any]] | None = None,
    truth: Truth = headline,
    replicates: int = 5,
    noise: float = 0.012,
    epochs: int = 6,
    method: str = "factorial",
    metric: str = "minority_accuracy",
    failures: Mapping[tuple[int, int], tuple[Ending | None, str]] | None = None,
    classes: Sequence[str] = CLASSES,
    spec_text: str | None = None,
    provenance: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Plan:
    """Every run's numbers; a replicate's offset is shared by all cells, as in a real sweep."""
    levels = levels or {BATCH: [2, 8, 32, 128], RATIO: [1.0, 0.05]}
    grid = [dict(zip(levels, one, strict=True)) for one in itertools.product(*levels.values())]
    combos = [dict(one) for one in cells] if cells is not None else grid
    keys, rng = layout(classes), np.random.default_rng(seed)
    offsets = rng.normal(0, noise, replicates)
    numbers = {
        (at, r): _numbers(truth(one) + offsets[r] + rng.normal(0, noise), epochs, keys, rng)
        for at, one in enumerate(combos)
        for r in range(replicates)
    }
    spec = _spec(name, question, levels, replicates, epochs, method, metric)
    sweep = NewSweep(
        name=name, question=question, spec=spec, layout=keys,
        spec_text=spec_text or f"name: {name}\nreplicates: {replicates}\n",
        facts={"fingerprint": "5f" * 32, "kind": "image", "classes": list(classes),
               "shape": [1, 8, 8], "counts": {"train": [108] * len(classes),
                                              "val": [19] * len(classes),
                                              "test": [45] * len(classes)}},
        provenance=dict(provenance or {"versions": {"sweeper": "0.1.0", "torch": "2.10.0"},
                                       "git": "79ddc1e", "hardware": {"cpus": 2, "gpus": []}}),
    )  # fmt: skip
    records = [_cell(at, one, replicates, epochs, len(classes)) for at, one in enumerate(combos)]
    return Plan(sweep, records, epochs, numbers, dict(failures or {}), keys)


def _spec(name, question, levels, replicates, epochs, method, metric) -> dict[str, Any]:
    direction = "minimize" if metric in ("loss", "calibration_error") else "maximize"
    return {
        "name": name, "question": question, "version": 1,
        "scientific": {path: dict(values) if isinstance(values, Mapping) else list(values)
                       for path, values in levels.items()},
        "nuisance": {"train.lr": {"low": 0.01, "high": 1.0, "log": True, "trials": 6}},
        "replicates": replicates, "budget": {"unit": "epochs"},
        "data": {"dataset": "digits"}, "train": {"epochs": epochs},
        "objective": {"metric": metric, "direction": direction, "split": "val"},
        "search": {"method": method, "trials": None, "seed": 0}, "pruner": {"method": "none"},
    }  # fmt: skip


def _cell(at: int, factors: dict[str, Any], replicates: int, epochs: int, classes: int) -> NewCell:
    ratio = factors.get(RATIO, 1.0)
    counts = tuple(int(100 * ratio ** (c / (classes - 1))) for c in range(classes))
    config = {
        "data": {"dataset": "digits", "path": None,
                 "imbalance": {"profile": "exponential", "train_ratio": ratio}},
        "train": {"epochs": epochs, "steps": None, "evaluations": 10,
                  "batch_size": factors.get(BATCH, 32)},
    }  # fmt: skip
    return NewCell(
        hash=f"{at:064x}", role="report", factors={**factors, "train.lr": 0.1 / (1 + at % 3)},
        config=config, class_counts=counts, replicates=tuple(range(replicates)),
    )  # fmt: skip


def _numbers(minority: float, epochs: int, keys: Sequence[Key], rng) -> np.ndarray:
    """A learning curve that ends at `minority`, for every key of the layout."""
    rise = 1 - 0.75 * np.exp(-3.0 * np.arange(1, epochs + 1) / epochs) + 0.75 * np.exp(-3.0)
    majority = min(0.5 * minority + 0.5, 0.99)
    ends = np.array([majority, minority, (minority + majority) / 2])
    which, losses, shift = _kinds(tuple(keys))
    path = np.clip(ends[which] * rise[:, None], 0, 1)
    path = np.where(losses, 2.5 * (1 - path) + shift, path)
    wobble = rng.normal(0, 0.01, (len(keys), epochs)).T.copy()
    wobble[-1] = 0.0
    return np.clip(path + wobble, 0, None).astype("<f4")


@cache
def _kinds(keys: tuple[Key, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each column: whose accuracy it follows, whether it is a loss, and what lies on top."""
    which, losses, shift = [], [], []
    for split, metric, target in keys:
        both = metric == "balanced_accuracy" or (target == "" and "_accuracy" not in metric)
        which.append(2 if both else int("minority" in metric + target))
        losses.append(metric in ("loss", "calibration_error"))
        shift.append(0.1 if split != "train" else 0.0)
    return np.array(which), np.array(losses), np.array(shift)


def with_answers(
    one: Plan, *, examples: int = 45, hard: float = 2.0, runs: float = 0.3, seed: int = 1
) -> Plan:
    """The plan with single answers: each test example has its difficulty, each run its luck.

    The chance of a right answer is sigmoid(logit p + difficulty + luck); p is the class's test
    recall as planned before, `hard` and `runs` the sds of the two. All test accuracies of the last
    epoch are made anew from the answers.
    """
    rng = np.random.default_rng(seed)
    classes = one.sweep.facts["classes"]
    labels = rng.permutation(np.repeat(np.arange(len(classes)), examples))
    difficulty = rng.normal(0, hard, len(labels))
    numbers, correct = {}, {}
    for key, matrix in one.numbers.items():
        groups = class_groups(one.cells[key[0]].class_counts)
        p = np.array([_end(one, matrix, c in groups["minority"]) for c in range(len(classes))])
        score = np.log(p / (1 - p))[labels] + difficulty + rng.normal(0, runs)
        right = rng.random(len(labels)) < 1 / (1 + np.exp(-score))
        correct[key] = np.packbits(right, bitorder="little").tobytes()
        recall = np.array([right[labels == c].mean() for c in range(len(classes))])
        numbers[key] = _answered(one, matrix, recall, right.mean(), groups)
    facts = one.sweep.facts | {"labels": {"test": pack_labels(labels)}}
    facts["counts"] = facts["counts"] | {"test": [examples] * len(classes)}
    return replace(one, sweep=replace(one.sweep, facts=facts), numbers=numbers, correct=correct)


def _end(one: Plan, matrix: np.ndarray, minority: bool) -> float:
    """What a class's recall was to be at the end."""
    name = "minority_accuracy" if minority else "majority_accuracy"
    return float(np.clip(matrix[-1, one.layout.index(("test", name, ""))], 0.02, 0.98))


def _answered(one: Plan, matrix: np.ndarray, recall: np.ndarray, accuracy: float, groups) -> Any:
    made = matrix.copy()
    values = {("recall", f"class:{name}"): recall[c]
              for c, name in enumerate(one.sweep.facts["classes"])}  # fmt: skip
    for group in GROUPS:
        mean = recall[list(groups[group])].mean() if groups[group] else np.nan
        values |= {("accuracy", f"group:{group}"): mean, (f"{group}_accuracy", ""): mean}
    values |= {("accuracy", ""): accuracy, ("balanced_accuracy", ""): recall.mean(),
               ("worst_class_accuracy", ""): recall.min()}  # fmt: skip
    for (metric, target), value in values.items():
        if ("test", metric, target) in one.layout:
            made[-1, one.layout.index(("test", metric, target))] = value
    return made


def with_tuning(
    one: Plan,
    rates: Sequence[float],
    *,
    truth: Callable[[Mapping[str, Any], float], float],
    replicates: int = 1,
    noise: float = 0.0,
    seed: int = 2,
) -> Plan:
    """Tuning cells for each combination of factors: `truth(factors, rate)` is their value on val.

    The best rate is the one that the cell is reported with.
    """
    rng, numbers, tuning = np.random.default_rng(seed), dict(one.numbers), []
    best = [max(rates, key=partial(truth, cell.factors)) for cell in one.cells]
    reported = [
        replace(cell, factors={**cell.factors, "train.lr": rate})
        for cell, rate in zip(one.cells, best, strict=True)
    ]
    for cell in reported:
        for rate in rates:
            at = len(reported) + len(tuning)
            tried = {**cell.factors, "train.lr": rate}
            tuning.append(
                replace(
                    cell,
                    hash=f"{at:064x}",
                    role="tuning",
                    factors=tried,
                    replicates=tuple(-1 - r for r in range(replicates)),
                )
            )
            for r in tuning[-1].replicates:
                value = truth(cell.factors, rate) + rng.normal(0, noise)
                numbers[at, r] = _numbers(value, one.epochs, one.layout, rng)
    return replace(one, cells=[*reported, *tuning], numbers=numbers)  # fmt: skip


RATES = (0.01, 0.1, 1.0)


def tuned(factors: Mapping[str, Any], rate: float) -> float:
    """Best at 0.1, inside the range."""
    return headline(factors) - 0.02 * abs(math.log10(rate) + 1)


def everything(**settings: Any) -> Plan:
    """A tuned grid with single answers and lost runs: it fills every section that a grid can."""
    lost = {(3, 1): (Ending.DIVERGED, "nan"), (5, 3): (Ending.PRUNED, "")}
    few = {"levels": {BATCH: [2, 8, 32], RATIO: [1.0, 0.05]}, "replicates": 4, "failures": lost}
    return with_answers(with_tuning(plan(**{**few, **settings}), RATES, truth=tuned), examples=20)


def scattered(**settings: Any) -> Plan:
    """Cells that are no grid, with single answers: the sections that a grid has not."""
    cells = [{BATCH: 2 ** (1 + at % 8), "train.width": 1 + (5 * at % 16) / 8} for at in range(16)]
    levels = {BATCH: [2], "train.width": [1.0]}
    made = {"cells": cells, "levels": levels, "method": "qmc", "replicates": 3, "truth": sloping}
    return with_answers(plan(**{**made, **settings}), examples=400, hard=1.0, runs=0.1)


def searched(**settings: Any) -> Plan:
    """A random search of two batch sizes and of widths, a run each: what a tuning curve is of."""
    widths = np.random.default_rng(4).uniform(0.5, 2.0, 20).round(2)
    cells = [{BATCH: (8, 64)[at % 2], "train.width": float(w)} for at, w in enumerate(widths)]
    levels = {BATCH: [8, 64], "train.width": [0.5]}
    made = {"cells": cells, "levels": levels, "method": "random", "replicates": 1, "epochs": 2}
    return plan(**{**made, **settings})


def sloping(factors: Mapping[str, Any]) -> float:
    """Falls by 5 points a doubling, so that a model of a few cells can see it."""
    return 0.95 - 0.05 * math.log2(factors[BATCH])


def with_recalls(
    one: Plan,
    recall: Callable[[Mapping[str, Any], int], float],
    *,
    noise: float = 0.01,
    seed: int = 3,
) -> Plan:
    """The last epoch's recall on test of each class is `recall(factors, class)` plus noise."""
    rng, numbers = np.random.default_rng(seed), {}
    for (cell, replicate), matrix in one.numbers.items():
        numbers[cell, replicate] = matrix = matrix.copy()
        for label, name in enumerate(one.sweep.facts["classes"]):
            column = one.layout.index(("test", "recall", f"class:{name}"))
            matrix[-1, column] = recall(one.cells[cell].factors, label) + rng.normal(0, noise)
    return replace(one, numbers=numbers)


def elsewhere(one: Plan, *, data: str = "", steps: int | None = None) -> Plan:
    """The plan on other data, known by its name, or under a budget of so many steps."""
    facts, spec, cells = one.sweep.facts, dict(one.sweep.spec), list(one.cells)
    if data:
        facts = {**facts, "fingerprint": hashlib.sha256(data.encode()).hexdigest()}
        spec["data"] = {**spec["data"], "dataset": data}
    if steps is not None:
        spec["budget"] = {"unit": "steps"}
        cells = [replace(cell, config={**cell.config, "train": {
            **cell.config["train"], "steps": steps, "evaluations": one.epochs,
        }}) for cell in cells]  # fmt: skip
    return replace(one, sweep=replace(one.sweep, facts=facts, spec=spec), cells=cells)


@dataclass(frozen=True)
class Memory:
    """A plan that reads like a store."""

    plan: Plan

    def sweep(self, name: str) -> Sweep | None:
        return self.sweeps()[0] if name == self.plan.sweep.name else None

    def sweeps(self) -> list[Sweep]:
        return [Sweep(**vars(self.plan.sweep), id=1, created_at=WHEN, updated_at=WHEN,
                      state="complete", state_reason="", holder=None)]  # fmt: skip

    def cells(self, sweep_id: int) -> list[Cell]:
        return [Cell(**vars(one), id=at + 1, sweep_id=sweep_id, mirrored=True, hidden=False)
                for at, one in enumerate(self.plan.cells)]  # fmt: skip

    def runs(self, sweep_id: int) -> list[Run]:
        return [_run(self.plan, at, cell, r) for at, (cell, r) in enumerate(self.plan.numbers)]

    def packs(self, sweep_id: int) -> list[Pack]:
        return []

    def attempts(self, sweep_id: int) -> list[Attempt]:
        return []

    def predictions(self, sweep_id: int) -> list[Predictions]:
        cells = {run.id: (run.cell_id - 1, run.replicate) for run in self.runs(sweep_id)
                 if run.state is RunState.COMPLETE}  # fmt: skip
        return [Predictions(run_id=run, bits=self.plan.correct[key])
                for run, key in cells.items() if key in self.plan.correct]  # fmt: skip

    def observations(self, sweep_id: int, *, last_only: bool) -> Iterator[Observations]:
        for run, matrix in zip(self.runs(sweep_id), self.plan.numbers.values(), strict=True):
            epochs = range(1, run.epoch + 1)
            for epoch in epochs[-1:] if last_only else epochs:
                yield Observations(run.id, epoch, 10 * epoch, matrix[epoch - 1].tobytes())

    def curves(self, sweep_id: int, at: Sequence[int]) -> Iterator[Sequence[Sequence[Any]]]:
        for one in self.observations(sweep_id, last_only=False):
            numbers = [one.numbers[4 * place :][:4] for place in at]
            yield [(one.run_id, one.epoch, one.step, *numbers)]


def _run(one: Plan, at: int, cell: int, replicate: int) -> Run:
    key = (cell, replicate)
    ending, error = one.endings.get(key, (Ending.COMPLETE, ""))
    state = state_of(ending)
    metric = one.sweep.spec["objective"]["metric"]
    value = None
    if state is RunState.COMPLETE:
        value = float(one.numbers[key][-1, one.layout.index(("val", metric, ""))])
    return Run(id=at + 1, cell_id=cell + 1, replicate=replicate, state=state,
               epoch=epoch_of(one, ending), value=value, ending=ending, error=error,
               seconds=2.0 + 0.1 * at)  # fmt: skip


def state_of(ending: Ending | None) -> RunState:
    if ending is None:
        return RunState.PENDING
    known = {Ending.COMPLETE: RunState.COMPLETE, Ending.PRUNED: RunState.PRUNED}
    return known.get(ending, RunState.FAILED)


def epoch_of(one: Plan, ending: Ending | None) -> int:
    if ending is None:
        return 0
    return one.epochs if ending is Ending.COMPLETE else max(1, one.epochs // 2)


def fill(store: Any, one: Plan) -> str:
    """Write a plan into a real store, as a driver would; returns the sweep's name."""
    sweep = store.create_sweep(one.sweep)
    lease = store.acquire(sweep.id, {"host": "h", "pid": 1})
    cells = store.add_cells(lease, one.cells)
    place = {cell.id: at for at, cell in enumerate(cells)}
    runs = {run.id: (place[run.cell_id], run.replicate) for run in store.runs(sweep.id)}
    todo = [run for run, key in runs.items() if one.endings.get(key, (1, ""))[0] is not None]
    pack = store.add_packs(
        lease, [NewPack(key="k", run_ids=tuple(todo), form="folded", seconds=1.0)]
    )[0]
    attempts = store.begin(lease, pack.id, todo)
    reports = [report for run in todo for report in _reports(one, runs[run], run, attempts[run])]
    store.record(lease, reports, max_attempts=1)
    store.update_sweep(lease, state="complete")
    store.release(lease)
    return one.sweep.name


def _reports(one: Plan, key: tuple[int, int], run: int, attempt: int) -> Iterator[Report]:
    ending, error = one.endings.get(key, (Ending.COMPLETE, ""))
    last = epoch_of(one, ending)
    at = one.layout.index(("val", one.sweep.spec["objective"]["metric"], ""))
    for epoch in range(1, last + 1):
        numbers = one.numbers[key][epoch - 1]
        end = None
        if epoch == last:
            assert ending is not None
            value = float(numbers[at]) if ending is Ending.COMPLETE else None
            end = End(ending=ending, value=value, error=error, correct=one.correct.get(key))
        yield Report(run_id=run, attempt_id=attempt, epoch=epoch, step=10 * epoch,
                     numbers=numbers.tobytes(), seconds=0.1 * epoch, from_epoch=0,
                     node="node-1", device="cpu", end=end)  # fmt: skip


RADIUS, ASYMMETRY = "train.sam.radius", "train.sam.asymmetry"
METHODS = (
    "SAM radius 0",
    "SAM radius 0.2 with SAM asymmetry 0",
    "SAM radius 0.2 with SAM asymmetry 1",
)


def methods(
    *,
    beside: Mapping[str, Sequence[Any]] | None = None,
    reference: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Plan:
    """SGD, SAM and SAM-A, an asymmetry where the radius is above 0, at the levels `beside`."""
    beside = beside or {RATIO: [1.0, 0.05]}
    nested = ({RADIUS: 0.0}, {RADIUS: 0.2, ASYMMETRY: 0.0}, {RADIUS: 0.2, ASYMMETRY: 1.0})
    grid = [dict(zip(beside, one, strict=True)) for one in itertools.product(*beside.values())]
    depends = {"levels": [0.0, 1.0], "when": {RADIUS: [0.2]}}
    levels = {RADIUS: [0.0, 0.2], ASYMMETRY: depends, **beside}
    cells = [{**one, **other} for one in nested for other in grid]
    made = {"levels": levels, "cells": cells, "truth": leaning, "replicates": 6}
    one = plan(**{**made, **settings})
    spec = {**one.sweep.spec, "reference": dict(reference or {})}
    return replace(one, sweep=replace(one.sweep, spec=spec))


def leaning(factors: Mapping[str, Any]) -> float:
    """SAM gains 8 points, and leaning to the minority 10 more where the data are imbalanced."""
    rare = factors.get(RATIO, 0.05) < 1
    gain = 0.4 * factors[RADIUS] + 0.1 * factors.get(ASYMMETRY, 0.0) * rare
    return 0.6 - 0.2 * rare + gain
