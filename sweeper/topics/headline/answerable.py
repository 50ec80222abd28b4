"""Whether the sweep can answer its question at all: no chance level, no ceiling, trained enough."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from sweeper.analysis.factors import Factor, show
from sweeper.analysis.verdicts import MARGIN
from sweeper.analysis.view import SweepView
from sweeper.analysis.wording import FIXED, capitalised, joined, number
from sweeper.states import RunState
from sweeper.topics.failures.estimate import collapse_flags
from trainers.catalogue import Kind, entries

MOST = 0.5  # more than this share of the runs at chance or at the ceiling: no answer
# Keys of `train` at whose levels training losses do not compare, and the kinds of such blocks.
SHIFTING = ("augmentation", "augmentation_chance", "augmentation_strength", "class_weights",
            "dropout", "loss", "smoothing", "stochastic_depth")  # fmt: skip
HARDER: tuple[Kind, ...] = ("augmentation", "loss")
TWICE = 2.0  # a level whose final training loss is this much higher is under-trained


def unanswerable(view: SweepView) -> str:
    """Why this sweep cannot answer its question, and what would; empty if it can."""
    y = _runs(view)
    if not len(y) or view.objective.unit != "points" or view.objective.direction != "maximize":
        return ""
    title, total = view.objective.title, len(y)
    low = int((y <= view.guessing + MARGIN).sum()) if view.guessing is not None else 0
    high = int((y >= 100.0 - MARGIN).sum()) if view.objective.bounded else 0
    if low > MOST * total and view.guessing is not None:
        return (
            f"This sweep cannot answer its question: in {low} of {total} runs {title} is at "
            f"chance ({number(view.guessing)}{FIXED}%) or below. {_why_low(view)}"
        )
    if high > MOST * total:
        return (
            f"This sweep cannot answer its question: in {high} of {total} runs {title} is at its "
            f"ceiling (within {MARGIN:g} point of 100{FIXED}%). Harder data, a stronger imbalance "
            "or a smaller budget would tell the levels apart."
        )
    return ""


def _runs(view: SweepView) -> np.ndarray:
    """The objective of every complete run, in points, where the question asks."""
    y = view.responses[view.objective.name]
    numbers = y.loc[[one for one in _asked(view) if one in y.index]].to_numpy(dtype=float).ravel()
    return numbers[np.isfinite(numbers)]


def _asked(view: SweepView) -> list[int]:
    """The cells at the condition in question."""
    factors, held = view.frames.cells["factors"], view.held.items()
    return [one for one in view.comparable.cells if held <= factors[one].items()]


def _why_low(view: SweepView) -> str:
    """The likely reasons and the way out: updates, and samples of the smallest class."""
    updates, fewest = _updates(view), _fewest(view)
    seen = [f"runs made {updates:,.0f} updates" if updates else ""]
    seen.append(f"the smallest class has {fewest:,} training samples" if fewest else "")
    known = [one for one in seen if one]
    facts = f"{capitalised(joined(known))}. " if known else ""
    return f"{facts}A larger budget or more samples of the rare classes would help."


def _updates(view: SweepView) -> float:
    """The median number of updates of the complete runs in question; 0 where none is recorded."""
    runs, ends = view.frames.reported_runs, _steps(view)
    ends = ends[runs.loc[ends.index, "cell"].isin(_asked(view)).to_numpy()]
    return float(ends.median()) if len(ends) else 0.0


def _steps(view: SweepView) -> pd.Series:
    runs = view.frames.reported_runs
    complete = runs.index[runs["state"] == RunState.COMPLETE]
    curves = view.frames.curves
    return curves[curves["run"].isin(complete)].groupby("run")["step"].max()


def _fewest(view: SweepView) -> int:
    """The training samples of the smallest class at the condition in question; 0: unknown."""
    counts = view.frames.cells["class_counts"]
    return min((min(counts[cell], default=0) for cell in _asked(view)), default=0)


def collapsed(view: SweepView) -> str:
    """Levels of the question at which some runs collapsed and others did not; empty if none did.

    Paired t intervals hold their level less often there (statistics 5, the limit).
    """
    factor = view.question
    if factor is None:
        return ""
    flags = collapse_flags(view, view.objective)
    seen = view.responses[view.objective.name].notna()
    factors, held = view.frames.cells["factors"].to_dict(), view.held.items()
    at_level: dict[object, list[int]] = defaultdict(list)
    for one in view.comparable.compared:
        if held <= factors[one].items():
            at_level[factors[one].get(factor.path)].append(one)
    told = []
    for level in factor.levels:
        cells = at_level[level]
        count, runs = int(flags.loc[cells].to_numpy().sum()), int(seen.loc[cells].to_numpy().sum())
        if 0 < count < runs:
            told.append(f"{count} of {runs} runs at {factor.name} {show(level)}")
    return f"{joined(told)} collapsed, so intervals may be too sure." if told else ""


def undertrained(view: SweepView) -> Iterator[str]:
    """Levels of a choice that were trained less far than others: loss over twice the lowest."""
    for factor in view.choices if view.grid else ():
        if _changes_loss(factor.path):
            continue
        losses = _losses(view, factor)
        best = min(losses.values(), default=0.0)
        far = [level for level, loss in losses.items() if best > 0 and loss > TWICE * best]
        if far:
            verb = "is" if len(far) == 1 else "are"
            yield (
                f"{capitalised(factor.name)} {joined([show(one) for one in far])} {verb} "
                "under-trained: its final training loss is more than twice the lowest level's"
                f"{_updates_by_level(view, factor)}. A longer budget may change the answer."
            ).replace("its final", "its final" if len(far) == 1 else "their final")


def _changes_loss(path: str) -> bool:
    """Whether a key of `train` changes what the training loss is taken of, or what it weighs."""
    name = path.split(".")[1] if path.startswith("train.") else ""
    owned = [one.name for kind in HARDER for one in entries(kind).values() if one.parameters]
    return name in SHIFTING or name in owned


def _losses(view: SweepView, factor: Factor) -> dict[object, float]:
    """The mean final training loss of each level, where the question asks."""
    curves = view.frames.curves
    if "train_loss" not in curves.columns or not len(curves):
        return {}
    last = curves.sort_values("epoch").groupby("run")["train_loss"].last()
    return _by_level(view, factor, last)


def _updates_by_level(view: SweepView, factor: Factor) -> str:
    steps = _by_level(view, factor, _steps(view))
    if len(set(steps.values())) < 2:
        return ""
    told = joined([f"{count:,.0f} at {show(level)}" for level, count in steps.items()])
    return f" (updates: {told})"


def _by_level(view: SweepView, factor: Factor, values: pd.Series) -> dict[object, float]:
    """The mean of a number of each run over the levels of a factor; empty if a level has none.

    Levels whose runs train no network, such as trees, are left out.
    """
    runs = view.frames.reported_runs
    runs = runs[runs["state"] == RunState.COMPLETE]
    factors, held = view.frames.cells["factors"], view.held.items()
    asked = [cell for cell in view.comparable.compared if held <= factors[cell].items()]
    networks = [cell for cell in asked if _is_network(view.frames.cells["config"][cell])]
    named = {factors[cell].get(factor.path) for cell in networks}
    found: dict[object, list[float]] = {level: [] for level in factor.levels if level in named}
    for run, cell in zip(runs.index, runs["cell"], strict=True):
        if cell in networks and run in values.index:
            found[factors[cell].get(factor.path)].append(float(values[run]))
    means = {level: float(np.mean(one)) for level, one in found.items() if one}
    whole = len(means) == len(found) and np.isfinite(list(means.values())).all()
    return means if whole else {}


def _is_network(config: Mapping[str, Any]) -> bool:
    model = entries("model").get(config.get("train", {}).get("model", ""))
    return model is None or model.made is not None
