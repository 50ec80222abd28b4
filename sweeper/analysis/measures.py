"""What is measured: the objective, and the same for all, majority and minority classes.

Everything reported is read on the `test` split; `val` serves selection only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from sweeper.analysis.frames import Frames
from sweeper.states import RunState
from sweeper.store.records import Key
from trainers.config import OBJECTIVES

REPORTED = "test"
UNBOUNDED = frozenset({"loss"})
POINTS = 100.0  # a share in percentage points


@dataclass(frozen=True)
class Measure:
    """A number of a run, in the unit in which it is reported.

    `key` is its place in the layout; `minus` another key that is taken from it.
    """

    name: str
    title: str
    key: Key
    unit: str  # "points" (percentage points), or "" as it comes
    direction: Literal["maximize", "minimize"]
    role: Literal["objective", "group", "contrast"] = "group"
    minus: Key | None = None

    @property
    def bounded(self) -> bool:
        """Whether it lies between 0 and 100 points."""
        return self.unit == "points" and self.minus is None


def words(metric: str) -> str:
    """`minority_accuracy` is "minority accuracy"."""
    return metric.replace("macro_f1", "macro F1").replace("_", " ")


def objective(spec: dict[str, Any]) -> Measure:
    """The spec's objective, on the reported split."""
    metric = spec["objective"]["metric"]
    direction = spec["objective"].get("direction", "maximize")
    share = spec["objective"].get("unit") == "share" or metric in OBJECTIVES.keys() - UNBOUNDED
    unit = "points" if share else ""
    title = words(metric)
    return Measure(metric, title, (REPORTED, metric, ""), unit, direction, "objective")


def measures(frames: Frames) -> tuple[Measure, ...]:
    """The objective first, then minority, majority and all classes, then minority - majority.

    Only what the sweep's layout has; the objective is not listed twice.
    """
    first = objective(frames.sweep.spec)
    wanted = (
        _loss_like(first) if first.name in ("loss", "calibration_error") else _accuracies(first)
    )
    have = set(frames.sweep.layout)
    listed = [one for one in wanted if one.key in have and (one.minus is None or one.minus in have)]
    return (first, *[one for one in listed if one.name != first.name])


def _accuracies(first: Measure) -> list[Measure]:
    def of(metric: str, title: str) -> Measure:
        return Measure(metric, title, (REPORTED, metric, ""), "points", "maximize")

    minority, majority = (REPORTED, "minority_accuracy", ""), (REPORTED, "majority_accuracy", "")
    return [
        of("minority_accuracy", "minority accuracy"),
        of("majority_accuracy", "majority accuracy"),
        of("balanced_accuracy", "balanced accuracy"),
        Measure(
            "gap", "minority minus majority", minority, "points", "maximize", "contrast", majority
        ),
    ]


def _loss_like(first: Measure) -> list[Measure]:
    metric, unit = first.name, first.unit

    def of(group: str) -> Measure:
        title = f"{words(metric)} of the {group}"
        return Measure(
            f"{group} {metric}", title, (REPORTED, metric, f"group:{group}"), unit, "minimize"
        )

    minority, majority = of("minority"), of("majority")
    gap = Measure(
        "gap", "minority minus majority", minority.key, unit, "minimize", "contrast", majority.key
    )
    return [minority, majority, gap]


def values(frames: Frames, *, measure: Measure) -> pd.Series:
    """The measure of each complete run, in its unit; index `run`. Not finite is NaN."""
    factor = POINTS if measure.unit == "points" else 1.0
    numbers = frames.numbers
    if measure.key not in numbers.columns:
        return pd.Series(np.nan, index=numbers.index)
    series = numbers[measure.key]
    if measure.minus is not None:
        series = series - numbers[measure.minus]
    return (series * factor).where(np.isfinite(series))


def responses(frames: Frames, *, measure: Measure, cells: Sequence[int]) -> pd.DataFrame:
    """y[i, r]: index cell, columns the planned replicates, NaN where no run is complete."""
    runs = frames.reported_runs
    runs = runs[runs["cell"].isin(cells)]
    complete = runs[runs["state"] == RunState.COMPLETE]
    numbers = values(frames, measure=measure).reindex(complete.index)
    long = pd.DataFrame(
        {"cell": complete["cell"], "replicate": complete["replicate"], "y": numbers}
    )
    wide = long.pivot(index="cell", columns="replicate", values="y")
    planned = sorted(set(runs["replicate"]))
    return wide.reindex(index=pd.Index(cells, name="cell"), columns=planned)


def goal(measure: Measure) -> str:
    """Which way is better."""
    return "higher is better" if measure.direction == "maximize" else "lower is better"
