"""Screening: which of many cells go on to fresh replicates, and what these say (statistics 3.3c).

A few replicates of every cell are read on `val`, and nothing else is made of them: the mean of
whichever looked best is too high, and stays so when further replicates are added to it. So the
cells that are left are trained again on replicates that the screening has not seen, and only those
are reported. The cells of the screening have a role of their own in the database, by which every
other analysis passes them over.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sweeper.analysis import comparisons, student
from sweeper.analysis.frames import Frames
from sweeper.analysis.intervals import LEVEL
from sweeper.analysis.stopping import Decision
from sweeper.states import RunState

SCREENING = "screening"  # the role of its cells
KEPT, REFERENCE, BEATEN, BEYOND, FAILED = "kept", "reference", "beaten", "beyond keep", "failed"
Levels = Mapping[str, Any]  # of the scientific factors


# --- the rule


def survivors(
    y: NDArray[np.float64], *, direction: str = "maximize", keep: int | None = None
) -> NDArray[np.bool_]:
    """Which cells of y (a, R) no other beats (2.5), and of these the `keep` with the best mean.

    Without `keep`, the cell that is truly best is left in at least 95 of 100 screenings. A cell
    without any number never is.
    """
    ran = np.asarray(np.isfinite(y).any(axis=-1))
    left = np.where(comparisons.kept(y, direction=direction), ran, False)
    left = left if left.any() else ran.copy()  # a circle, where replicates are missing
    if keep is not None:
        order = np.argsort(-_goodness(y, direction=direction), kind="stable")
        left[order[left[order]][keep:]] = False
    return left


def lead_needed(*, cells: int, replicates: int) -> float:
    """The lead, in sds of the paired difference, by which one cell beats another."""
    share = (1 - LEVEL) / max(cells - 1, 1)
    return float(-student.quantile(share, replicates - 1)) / math.sqrt(replicates)


def _goodness(y: NDArray[np.float64], *, direction: str) -> NDArray[np.float64]:
    """The mean of each cell over what it has, higher is better; -inf where it has nothing."""
    seen = np.isfinite(y)
    total = np.where(seen, y, 0.0).sum(axis=-1) * (1.0 if direction == "maximize" else -1.0)
    return np.where(seen.any(axis=-1), total / np.maximum(seen.sum(axis=-1), 1), -math.inf)


# --- the decision


@dataclass(frozen=True)
class Fate:
    """The result of screening for one cell, as it is stored with the sweep.

    Attributes:
        values: the objective on val of each complete replicate, as recorded.
        lost: replicates that are not complete.
        fate: kept; reference (it stays, though it is not among the best); beaten; beyond keep; or
            failed.
        by: the cell that beats it most clearly; None where none does.
    """

    levels: Levels
    values: Sequence[float]
    lost: int
    fate: str
    by: Levels | None

    @property
    def stays(self) -> bool:
        return self.fate in (KEPT, REFERENCE)


def decide(frames: Frames) -> Decision:
    """Which cells are left, once every screening run has ended."""
    facts = [{**asdict(one), "stays": one.stays} for one in fates(frames)]
    return decision(frames.sweep.spec["replicates"], facts)


def decision(plan: Mapping[str, Any], facts: Sequence[Mapping[str, Any]]) -> Decision:
    """What is kept of a screening: a row a cell, and the plan in a sentence."""
    left = sum(one["stays"] for one in facts)
    text = (
        f"screening with {plan['screen']} replicates left {left} of {len(facts)} cells, and only "
        f"their {plan['confirm']} fresh replicates are reported"
    )
    return Decision(plan["screen"], "screened", text, 0.0, tuple(facts))


def fates(frames: Frames) -> list[Fate]:
    """The result for every cell, in the order of the cells."""
    spec = frames.sweep.spec
    direction, keep = spec["objective"]["direction"], spec["replicates"]["keep"]
    reference = spec.get("reference") or {}
    cells = frames.cells[(frames.cells["role"] == SCREENING) & ~frames.cells["hidden"].astype(bool)]
    levels = [{p: one[p] for p in spec["scientific"] if p in one} for one in cells["factors"]]
    y = _values(frames, cells)
    left, by = survivors(y, direction=direction, keep=keep), _beaten_by(y, direction=direction)
    found = []
    for at, mine in enumerate(levels):
        seen = y[at][np.isfinite(y[at])]
        refers = bool(reference) and reference.items() <= mine.items()
        fate = _fate(left=bool(left[at]), ran=len(seen) > 0, refers=refers, beaten=by[at] >= 0)
        ahead = levels[by[at]] if by[at] >= 0 and fate != KEPT else None
        found.append(Fate(mine, seen.tolist(), y.shape[1] - len(seen), fate, ahead))
    return found


def _values(frames: Frames, cells: pd.DataFrame) -> NDArray[np.float64]:
    """The objective on val as it was recorded, (a, R); NaN where no run is complete."""
    runs = frames.runs[frames.runs["cell"].isin(cells.index)]
    numbers = runs["value"].astype(float).where(runs["state"] == RunState.COMPLETE)
    long = pd.DataFrame({"cell": runs["cell"], "r": runs["replicate"], "y": numbers})
    wide = long.pivot(index="cell", columns="r", values="y").reindex(index=cells.index)
    return wide.to_numpy(dtype=float)


def _beaten_by(y: NDArray[np.float64], *, direction: str) -> NDArray[np.int64]:
    """The place of the cell that beats each most clearly; -1 where none does."""
    found = comparisons.contests(y, direction=direction)
    beats = found.beats()
    return np.where(beats.any(axis=-1), np.where(beats, found.p, 2.0).argmin(axis=-1), -1)


def _fate(*, left: bool, ran: bool, refers: bool, beaten: bool) -> str:
    if left:
        return KEPT
    if not ran:
        return FAILED
    if refers:
        return REFERENCE
    return BEATEN if beaten else BEYOND


# --- the report
