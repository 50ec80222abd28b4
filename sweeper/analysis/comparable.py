"""Which cells may be compared, and in which way (statistics 2.0)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pandas as pd

from sweeper.analysis.factors import Factor, column, combination, factor, name_of, show
from sweeper.analysis.frames import Frames, last_epoch
from sweeper.states import FINISHED, RunState


class Comparison(StrEnum):
    """How a sweep's cells can be read."""

    PAIRED = "paired"  # levels repeat over a grid: differences within replicates
    SCATTER = "scatter"  # cells drawn or chosen one by one: a picture, no test
    NOTHING = "nothing"  # no complete run, or no factor


LOST = frozenset({RunState.PRUNED, RunState.FAILED})


@dataclass(frozen=True)
class Comparable:
    """The reported cells, which comparison they allow, and why no stronger one.

    `compared` are those whose levels enter comparisons and trends.
    """

    comparison: Comparison
    cells: tuple[int, ...]
    reasons: tuple[str, ...]
    compared: tuple[int, ...] = ()


def scientific(frames: Frames, *, cells: Sequence[int]) -> tuple[Factor, ...]:
    """The factors of the question that take more than one level in `cells`, in the spec's order."""
    kept, asked = frames.cells.loc[list(cells)], frames.question
    found = [
        factor(path, written=written, cells=kept, named=asked.reference)
        for path, written in asked.factors.items()
    ]
    return tuple(one for one in found if len(one.levels) > 1)


def comparable_cells(frames: Frames) -> Comparable:
    """What may be compared in this sweep.

    One budget, one data set, one checkpoint rule (the last epoch of the budget), a grid in which
    each level meets the same levels of the other factors. What does not fit is left out by name;
    without a grid there is no paired comparison at all.
    """
    cells, paths = frames.reported, list(frames.question.factors)
    kept, reasons = (cells, []) if _set_apart(frames, paths) else _one_budget(cells, paths=paths)
    kept, more = _full_length(frames, cells=kept)
    reasons += more
    usable = tuple(int(cell) for cell in kept.index)
    runs = frames.reported_runs
    states = set(runs[runs["cell"].isin(usable)]["state"])
    if RunState.COMPLETE not in states:
        why = "No run has finished yet."
        if states and states <= FINISHED:
            why = "No run is complete: all failed or were pruned."
        return Comparable(Comparison.NOTHING, usable, (*reasons, why))
    varied = [path for path in paths if len(set(column(kept, path=path))) > 1]
    if not varied:
        return Comparable(
            Comparison.NOTHING, usable, (*reasons, "No factor takes more than one level.")
        )
    why = _no_grid(kept, paths=varied, method=frames.sweep.spec["search"]["method"])
    if why:
        return Comparable(Comparison.SCATTER, usable, (*reasons, why), usable)
    compared, more = whole_levels(frames, cells=usable, paths=varied)
    reasons += more
    if len(compared) < 2:
        why = "No factor keeps two levels that have complete runs."
        return Comparable(Comparison.NOTHING, usable, (*reasons, why))
    return Comparable(Comparison.PAIRED, usable, tuple(reasons), compared)


def whole_levels(
    frames: Frames,
    *,
    cells: Sequence[int],
    paths: Sequence[str],
    lost: Collection[RunState] = LOST,
) -> tuple[tuple[int, ...], list[str]]:
    """The cells of a grid without the levels that hold a lost cell, and which levels those are.

    A cell is lost when all its runs ended in `lost`: no replicate is complete at its levels, so it
    would take away whatever is compared across them. The level with the largest share of lost
    cells goes first; of equal ones, of the factor with the most levels, else the last in the spec.
    """
    factors, told = frames.cells["factors"], []
    kept = {cell: factors[cell] for cell in cells}
    gone = _lost(frames, cells=cells, states=lost)
    while not gone.keys().isdisjoint(kept):
        path, level = _emptiest(kept, gone=gone, paths=paths)
        out = [cell for cell, levels in kept.items() if levels.get(path) == level]
        told.append(f"{name_of(path)} {show(level)}: {_fate(out, gone=gone)}")
        kept = {cell: levels for cell, levels in kept.items() if cell not in out}
    reason = f"Left out of comparisons and trends: {'; '.join(told)}."
    return tuple(kept), [reason] if told else []


def _lost(
    frames: Frames, *, cells: Sequence[int], states: Collection[RunState]
) -> dict[int, frozenset[RunState]]:
    """The cells all of whose runs ended in `states`, with the states they ended in."""
    runs = frames.reported_runs
    ended = {cell: frozenset(group) for cell, group in runs.groupby("cell")["state"]}
    return {cell: ended[cell] for cell in cells if cell in ended and ended[cell] <= set(states)}


def _emptiest(
    kept: Mapping[int, Mapping[str, Any]], *, gone: Collection[int], paths: Sequence[str]
) -> tuple[str, Any]:
    """The level, as path and value, with the largest share of its cells in `gone`."""
    ranked = []
    for place, path in enumerate(paths):
        totals = Counter(factors.get(path) for factors in kept.values())
        lost = Counter(factors.get(path) for cell, factors in kept.items() if cell in gone)
        for level, count in lost.items():
            ranked.append(((count / totals[level], len(totals), place), path, level))
    _, path, level = max(ranked, key=lambda one: one[0])
    return path, level


def _fate(cells: Sequence[int], *, gone: Mapping[int, frozenset[RunState]]) -> str:
    """`pruned`, or `1 of 2 cells pruned`."""
    states = {state for cell in cells for state in gone.get(cell, ())}
    how = " or ".join(sorted(states, reverse=True))
    count = sum(cell in gone for cell in cells)
    return how if count == len(cells) else f"{count} of {len(cells)} cells {how}"


def budget(config: dict[str, Any]) -> tuple[str, int]:
    """A cell's budget: unit and amount."""
    if "trainer" in config:  # a function of the user's own, whose epochs may not be stated
        return "epochs", config["train"].get("epochs", 0)
    steps = config["train"].get("steps")
    return ("steps", steps) if steps is not None else ("epochs", config["train"]["epochs"])


def _set_apart(frames: Frames, paths: Sequence[str]) -> bool:
    """Whether the budget of imported runs is a factor, which they vary on purpose."""
    return frames.foreign and "epochs" in paths


def _one_budget(cells: pd.DataFrame, *, paths: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
    """The cells of the most usual budget and data set."""
    keys = [json.dumps([budget(one), _data(one, varied=paths)]) for one in cells["config"]]
    counts = Counter(keys)
    if len(counts) <= 1:
        return cells, []
    usual = counts.most_common(1)[0][0]
    kept = cells[[key == usual for key in keys]]
    unit, amount = json.loads(usual)[0]
    left_out = len(cells) - len(kept)
    reason = (
        f"{left_out} cells of another budget or data set are left out of every comparison; "
        f"compared are the {len(kept)} cells of {amount} {unit}."
    )
    return kept, [reason]


def _data(config: dict[str, Any], *, varied: Sequence[str]) -> dict[str, Any]:
    """The data block without what the spec varies on purpose."""
    return {
        key: value
        for key, value in config["data"].items()
        if not any(path == f"data.{key}" or path.startswith(f"data.{key}.") for path in varied)
    }


def _full_length(frames: Frames, *, cells: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Cells whose complete runs all reached the last epoch of the budget."""
    if frames.own_trainer:
        return cells, []  # a function may end when it likes
    runs = frames.reported_runs
    complete = runs[(runs["state"] == RunState.COMPLETE) & runs["cell"].isin(cells.index)]
    expected = complete["cell"].map(cells["config"].map(last_epoch))
    short = set(complete["cell"][complete["epoch"] != expected])
    if not short:
        return cells, []
    reason = f"{len(short)} cells hold runs that ended at another epoch than their budget's last."
    return cells[~cells.index.isin(list(short))], [f"{reason} They are left out."]


def _no_grid(cells: pd.DataFrame, *, paths: Sequence[str], method: str) -> str:
    """Why levels cannot be compared in pairs; empty when they can."""
    if method != "factorial":
        return (
            f"The cells of this sweep were drawn by {method}: they differ in several factors at "
            "once, so there is no paired comparison. The figures describe; they do not test."
        )
    seen = Counter(combination(one, paths=paths) for one in cells["factors"])
    size = 1
    for path in paths:
        size *= len(set(column(cells, path=path)))
    if len(seen) == size and set(seen.values()) == {1}:
        return ""
    return (
        f"The cells do not form a grid ({len(seen)} of {size} combinations): levels meet different "
        "levels of the other factors, so there is no paired comparison."
    )
