"""How many batches hold no sample of a class: often most of what a curve over batch size shows.

Of N training samples, n of them of the class, a batch of B is drawn without replacement, so the
share of batches without the class is hypergeometric, C(N - n, B) / C(N, B); were each sample drawn
anew, it would be (1 - n / N)^B.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

from sweeper.analysis.factors import BATCH_SIZE, RATIO, Factor
from sweeper.analysis.view import SweepView

MINORITY = "the minority"


@dataclass(frozen=True)
class Share:
    """One class, or the minority as a whole, at a level of the axis and of the second factor."""

    name: str
    x: Any
    by: Any
    samples: float  # of the class
    total: float
    batch: float
    without: float  # share of full batches without it, as they are drawn
    with_replacement: float


@dataclass(frozen=True)
class Absence:
    """The shares along the axis; classes by frequency, the most frequent first.

    An expectation from the class sizes, not an estimate: it has no interval.
    """

    x: Factor
    by: Factor | None
    classes: tuple[str, ...]
    shares: tuple[Share, ...]  # of the minority first, then of each class

    def of(self, name: str, *, by: Any) -> tuple[Share, ...]:
        """Along the axis."""
        return tuple(one for one in self.shares if one.name == name and one.by == by)


def build(view: SweepView) -> Absence | None:
    """The shares; None where neither batch size nor class sizes vary along the figure."""
    x, by = view.x, view.by
    drawn = {one.path for one in (x, by) if one is not None}
    if not view.grid or x is None or not drawn & {BATCH_SIZE, RATIO}:
        return None
    names = [str(one) for one in view.frames.sweep.facts.get("classes", ())]
    cells = view.frames.cells.loc[list(view.gate.compared)]
    counts = np.array([list(one) for one in cells["class_counts"]], dtype=float)
    if not len(names) or counts.shape != (len(cells), len(names)):
        return None
    batches = [float(config["train"].get("batch_size", 0)) for config in cells["config"]]
    keys = [(one.get(x.path), one.get(by.path) if by else None) for one in cells["factors"]]
    shares = [
        one
        for group, level in _grid(x, by)
        for one in _at(
            names,
            [at for at, key in enumerate(keys) if key == (group, level)],
            counts=counts,
            batches=np.array(batches),
            x=group,
            by=level,
        )
    ]
    shares.sort(key=lambda one: one.name != MINORITY)
    order = np.argsort(-counts.mean(axis=0), kind="stable")
    return Absence(x, by, tuple(names[c] for c in order), tuple(shares))


def _grid(x: Factor, by: Factor | None) -> list[tuple[Any, Any]]:
    return [(one, level) for level in (by.levels if by else (None,)) for one in x.levels]


def _at(
    names: Sequence[str],
    at: Sequence[int],
    *,
    counts: NDArray[np.float64],
    batches: NDArray[np.float64],
    x: Any,
    by: Any,
) -> list[Share]:
    """The shares over the cells `at`, whose means are taken where other factors vary too."""
    if not at:
        return []
    own, size = counts[at], batches[at]
    total = own.sum(axis=1)
    members = np.array([minority(row) for row in own])
    groups = [(MINORITY, (own * members).sum(axis=1))]
    groups += [(name, own[:, c]) for c, name in enumerate(names)]
    return [
        Share(
            name,
            x,
            by,
            float(n.mean()),
            float(total.mean()),
            float(size.mean()),
            float(without(n, total=total, batch=size).mean()),
            float(with_replacement(n, total=total, batch=size).mean()),
        )
        for name, n in groups
    ]


def minority(counts: ArrayLike) -> NDArray[np.bool_]:
    """Which classes are the minority: the last third by count, at least one; ties by label."""
    counts = np.asarray(counts, dtype=float)
    ranked = np.argsort(-counts, kind="stable")
    members = np.zeros(len(counts), dtype=bool)
    members[ranked[-max(1, len(counts) // 3) :]] = True
    return members


def without(n: ArrayLike, *, total: ArrayLike, batch: ArrayLike) -> NDArray[np.float64]:
    """C(total - n, batch) / C(total, batch); a batch larger than the data is all of them."""
    n, total = np.asarray(n, dtype=float), np.asarray(total, dtype=float)
    batch = np.minimum(np.asarray(batch, dtype=float), total)
    rest = total - n
    possible = rest >= batch
    safe = np.where(possible, rest, batch)
    log = gammaln(safe + 1) - gammaln(safe - batch + 1)
    log = log - gammaln(total + 1) + gammaln(total - batch + 1)
    return np.where(possible, np.exp(np.minimum(log, 0.0)), 0.0)


def with_replacement(n: ArrayLike, *, total: ArrayLike, batch: ArrayLike) -> NDArray[np.float64]:
    """(1 - n / total)^batch."""
    n, total = np.asarray(n, dtype=float), np.asarray(total, dtype=float)
    return (1.0 - n / np.maximum(total, 1.0)) ** np.asarray(batch, dtype=float)


def rows(found: Absence | None) -> list[dict[str, Any]]:
    """Each share as a row."""
    return [
        {
            "class": one.name,
            "x": one.x,
            "by": one.by,
            "samples": one.samples,
            "total": one.total,
            "batch": one.batch,
            "without": one.without,
            "with_replacement": one.with_replacement,
        }
        for one in (found.shares if found else ())
    ]
