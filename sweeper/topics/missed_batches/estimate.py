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
from scipy import stats

from sweeper.analysis.factors import BATCH_SIZE, RATIO, Factor, drawn_order
from sweeper.analysis.view import SweepView
from trainers.groups import minority_and_majority

MINORITY = "the minority"


@dataclass(frozen=True)
class BatchShare:
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
class MissedBatches:
    """The shares along the axis; classes by frequency, the most frequent first.

    An expectation from the class sizes, not an estimate: it has no interval.
    """

    x: Factor
    by: Factor | None
    classes: tuple[str, ...]
    shares: tuple[BatchShare, ...]  # of the minority first, then of each class

    def of(self, name: str, *, by: Any) -> tuple[BatchShare, ...]:
        """Along the axis."""
        return tuple(one for one in self.shares if one.name == name and one.by == by)


def build(view: SweepView) -> MissedBatches | None:
    """The shares; None where neither batch size nor class sizes vary along the figure."""
    x, by = view.x, view.by
    drawn = {one.path for one in (x, by) if one is not None}
    if not view.grid or x is None or not drawn & {BATCH_SIZE, RATIO}:
        return None
    names = [str(one) for one in view.frames.sweep.facts.get("classes", ())]
    cells = view.frames.cells.loc[list(view.comparable.compared)]
    if any(drawn_order(config) for config in cells["config"]):
        names = [f"of size rank {place}" for place in range(1, len(names) + 1)]
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
    return MissedBatches(x, by, tuple(names[c] for c in order), tuple(shares))


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
) -> list[BatchShare]:
    """The shares over the cells `at`, whose means are taken where other factors vary too."""
    if not at:
        return []
    own, size = counts[at], batches[at]
    total = own.sum(axis=1)
    minority = [row[list(minority_and_majority(row)[0])].sum() for row in own]
    groups = [(MINORITY, np.array(minority))]
    groups += [(name, own[:, c]) for c, name in enumerate(names)]
    return [
        BatchShare(
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


def without(n: ArrayLike, *, total: ArrayLike, batch: ArrayLike) -> NDArray[np.float64]:
    """C(total - n, batch) / C(total, batch); a batch larger than the data is all of them."""
    n, total = np.asarray(n, dtype=float), np.asarray(total, dtype=float)
    return stats.hypergeom.pmf(0, total, n, np.minimum(np.asarray(batch, dtype=float), total))


def with_replacement(n: ArrayLike, *, total: ArrayLike, batch: ArrayLike) -> NDArray[np.float64]:
    """(1 - n / total)^batch."""
    n, total = np.asarray(n, dtype=float), np.asarray(total, dtype=float)
    return (1.0 - n / np.maximum(total, 1.0)) ** np.asarray(batch, dtype=float)


def rows(found: MissedBatches | None) -> list[dict[str, Any]]:
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
