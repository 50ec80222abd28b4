"""Single answers: which test example each run has right, in arrays that analyses can use.

Letters: N test examples, C classes, R replicates. Examples are sorted by class; within a class
they keep the data set's order.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweeper.analysis.frames import Frames
from sweeper.analysis.measures import REPORTED, Measure
from sweeper.states import RunState
from trainers.groups import minority_and_majority

MOST_LABELS = 64_000_000  # bytes unpacked: a text that claims more is damaged
EXACT = 1e-6  # recalls are recorded as float32


@dataclass(frozen=True)
class Answers:
    """What the complete runs of a sweep have right.

    Attributes:
        example: (N,) place of each example in the test split.
        starts: (C + 1,) class c holds the examples from starts[c] to starts[c + 1].
        right: cell -> replicate -> (N,) of 0 and 1, uint8.
        foreign: runs left out, whose bits do not give the recalls that they recorded: they were
            measured on another test split.
    """

    classes: tuple[str, ...]
    example: NDArray[np.int64]
    starts: NDArray[np.int64]
    right: dict[int, dict[int, NDArray[np.uint8]]]
    foreign: int

    @property
    def support(self) -> NDArray[np.int64]:
        """(C,) test examples of each class."""
        return np.diff(self.starts)

    @property
    def label(self) -> NDArray[np.int64]:
        """(N,) the class of each example."""
        return np.repeat(np.arange(len(self.support)), self.support)


def answers(frames: Frames) -> Answers | None:
    """The single answers of the reported cells; None where none, or no labels, are recorded."""
    classes = tuple(map(str, frames.sweep.facts.get("classes", ())))
    labels = unpack_labels(frames.sweep.facts)
    runs = frames.reported_runs
    runs = runs[(runs["state"] == RunState.COMPLETE) & runs.index.isin(frames.correct.index)]
    if labels is None or not len(runs) or labels.max(initial=0) >= len(classes):
        return None
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], np.arange(len(classes) + 1))
    found = _unpacked(frames.correct["bits"].loc[list(runs.index)], order=order)
    same = _reproduced(frames, found, classes=classes, starts=starts)
    right: dict[int, dict[int, NDArray[np.uint8]]] = {}
    for run, cell, replicate in zip(runs.index, runs["cell"], runs["replicate"], strict=True):
        if run in same:
            right.setdefault(int(cell), {})[int(replicate)] = found[run]
    return Answers(classes, order, starts, right, len(runs) - len(same)) if right else None


def unpack_labels(facts: Mapping[str, Any]) -> NDArray[np.int64] | None:
    """The test labels (N,) that `trainers.data.dataset.pack_labels` wrote; None if none can be."""
    text = (facts.get("labels") or {}).get("test")
    if not isinstance(text, str):
        return None
    try:
        raw = zlib.decompressobj().decompress(bytes.fromhex(text), MOST_LABELS)
        return np.frombuffer(raw, dtype="<u2").astype(np.int64)
    except (ValueError, zlib.error):
        return None


def sorted_by_class(frames: Frames) -> Frames:
    """The same frames with the test examples sorted by class.

    Every analysis gives the same. What is left of the labels is how many test examples each class
    has; which example is of which class, and which a run has right, can no longer be told.
    """
    labels = unpack_labels(frames.sweep.facts)
    if labels is None or bool((np.diff(labels) >= 0).all()):
        return frames
    order = np.argsort(labels, kind="stable")
    texts = {"test": zlib.compress(labels[order].astype("<u2").tobytes(), 9).hex()}
    facts = {**frames.sweep.facts, "labels": texts}
    bits = frames.correct["bits"].copy()
    for run, right in _unpacked(bits, order=order).items():
        bits[run] = np.packbits(right, bitorder="little").tobytes()
    return replace(
        frames, sweep=replace(frames.sweep, facts=facts), correct=frames.correct.assign(bits=bits)
    )


def _unpacked(bits: Any, *, order: NDArray[np.int64]) -> dict[Any, NDArray[np.uint8]]:
    """Run -> (N,) by class; runs of another number of test examples are left out."""
    size = -(-len(order) // 8)
    return {
        run: np.unpackbits(np.frombuffer(one, dtype=np.uint8), bitorder="little")[order]
        for run, one in bits.items()
        if len(one) == size
    }


def _reproduced(
    frames: Frames,
    found: Mapping[Any, NDArray[np.uint8]],
    *,
    classes: Sequence[str],
    starts: NDArray[np.int64],
) -> set[Any]:
    """The runs whose recalls, as recorded, follow from their bits."""
    keys = [(REPORTED, "recall", f"class:{name}") for name in classes]
    there = np.diff(starts) > 0
    told = [c for c, key in enumerate(keys) if key in frames.numbers.columns and there[c]]
    wanted = frames.numbers[[keys[c] for c in told]].reindex(list(found)).to_numpy(dtype=float)
    return {
        run
        for (run, right), recorded in zip(found.items(), wanted, strict=True)
        if np.allclose(
            by_class(right[:, None].astype(float), starts=starts)[told, 0],
            recorded,
            rtol=0,
            atol=EXACT,
        )
    }


def by_class(u: NDArray[np.float64], *, starts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Means (C, R) of u (N, R) over each class's examples; NaN for a class without any."""
    means, n = np.full((len(starts) - 1, u.shape[1]), np.nan), np.diff(starts)
    there = n > 0
    if there.any():
        means[there] = np.add.reduceat(u, starts[:-1][there], axis=0) / n[there, None]
    return means


def weights(
    measure: Measure, *, class_counts: Sequence[int] | None, support: NDArray[np.int64]
) -> NDArray[np.float64] | None:
    """What each class's recall counts for in a measure (C,); None if it is no sum of recalls.

    Classes without test examples are left out, as in the metric itself. Overall accuracy weighs
    classes by their test examples. Without `class_counts`, as where each replicate draws which
    classes are rare, no class belongs to a group.
    """
    if class_counts is None and measure.name not in ("accuracy", "balanced_accuracy"):
        return None
    minority, majority = minority_and_majority(class_counts or support.tolist())
    there = support > 0

    def mean_of(members: Sequence[int]) -> NDArray[np.float64]:
        one = np.zeros(len(support))
        one[list(members)] = 1.0
        one *= there
        return one / one.sum() if one.any() else one * np.nan

    match measure.name:
        case "accuracy":
            found = support / max(support.sum(), 1)
        case "balanced_accuracy":
            found = mean_of(range(len(support)))
        case "minority_accuracy":
            found = mean_of(minority)
        case "majority_accuracy":
            found = mean_of(majority)
        case "gap" if measure.unit == "points" and measure.key[1] == "minority_accuracy":
            found = mean_of(minority) - mean_of(majority)
        case _:
            return None
    return found if np.isfinite(found).all() else None
