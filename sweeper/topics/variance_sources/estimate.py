"""Where an error bar comes from: the runs, the test examples, or single answers (statistics 2.7).

The interval over replicates holds for this test set. On new data the test examples are drawn anew
as well, so the outer interval counts both. Letters: e a test example, c a class, r a replicate.

A measure is a sum of class recalls, so u[e, r] is the weight of e's class times the answer (1
right, 0 wrong), for a difference the one level's less the other's, and the number of replicate r
is y[r] = sum over c of mean over c's examples of u[e, r]. Examples are drawn within classes:

    V_run = var over r of y[r] / R
    V_ex  = sum over c of var over e of mean_r u / n_c
    V_res = sum over c of residual mean square of c / (n_c R)
    V     = max(V_run + V_ex - V_res, V_run, V_ex)

The classes share the runs, so V_run is taken of their sum. Degrees of freedom by Satterthwaite.
The outer interval is never drawn narrower than the inner one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sweeper.analysis import student
from sweeper.analysis.bits import Answers, answers, by_class, weights
from sweeper.analysis.comparable import Comparison
from sweeper.analysis.effects import as_written
from sweeper.analysis.factors import Factor, drawn_order
from sweeper.analysis.intervals import LEAST, LEVEL, Estimate, mean_interval, rounding
from sweeper.analysis.measures import POINTS, Measure
from sweeper.analysis.view import SweepView
from sweeper.topics.differences import estimate as differences_of
from sweeper.topics.differences.estimate import Effect
from sweeper.topics.subset_variance import estimate as draws

DOMINATES = 0.5  # of the outer variance: more replicates will hardly help


@dataclass(frozen=True)
class Sources:
    """The variance of a mean over runs and test examples, in the measure's unit squared.

    Attributes:
        runs, examples, residual: V_run, V_ex and V_res of the module.
        total, df: V and its degrees of freedom.
        floor: what stays of V however many replicates there are.
        examples_df: degrees of freedom of V_ex.
    """

    runs: float
    examples: float
    residual: float
    total: float
    df: float
    floor: float
    examples_df: float

    @property
    def shares(self) -> tuple[float, float, float]:
        """Parts of the outer variance: runs, test examples, single answers; NaN without any.

        Runs shrink with more replicates, test examples with a larger test set, single answers
        (one run's luck with one example) with either.
        """
        parts = (max(self.runs - self.residual, 0.0), self.floor, self.residual)
        whole = sum(parts)
        first, second, third = (one / whole if whole > 0 else math.nan for one in parts)
        return first, second, third


def sources(
    u: NDArray[np.float64], *, starts: NDArray[np.int64], used: NDArray[np.bool_]
) -> Sources:
    """The variance components of u (N, R), examples sorted by class, R at least two.

    `used` (C,) are the classes that count; one that has a single example makes all NaN.
    """
    replicates, n = u.shape[1], np.diff(starts)
    label, means = np.repeat(np.arange(len(n)), n), by_class(u, starts=starts)
    row, grand = u.mean(axis=1), means.mean(axis=1)
    of_ex = np.bincount(label, (row - grand[label]) ** 2, minlength=len(n))
    residual = u - row[:, None] - means[label] + grand[label, None]
    of_res = np.bincount(label, (residual**2).sum(axis=1), minlength=len(n))
    free, runs, n = n[used] - 1.0, replicates - 1, n[used].astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        of_ex = of_ex[used] / free / n
        of_res = of_res[used] / (free * runs) / (n * replicates)
    of_runs = _variance(means[used].sum(axis=0)) / replicates
    return _put_together(of_runs, of_ex, of_res, free=free, runs=runs)


def _variance(y: NDArray[np.float64]) -> float:
    """0 where the spread is no more than rounding."""
    found = float(y.var(ddof=1))
    return 0.0 if math.sqrt(found) <= rounding(np.abs(y).max(initial=0.0)) else found


def _put_together(
    of_runs: float,
    of_ex: NDArray[np.float64],
    of_res: NDArray[np.float64],
    *,
    free: NDArray[np.float64],
    runs: int,
) -> Sources:
    examples, residual = float(of_ex.sum()), float(of_res.sum())
    both = of_runs + examples - residual
    total = max(both, of_runs, examples)
    squares = float((of_ex**2 / free).sum())
    examples_df = _ratio(examples**2, squares)
    if total == of_runs:
        df = float(runs)
    elif total == examples:
        df = examples_df
    else:
        answers = float((of_res**2 / (free * runs)).sum())
        df = _ratio(total**2, of_runs**2 / runs + squares + answers)
    return Sources(
        of_runs, examples, residual, total, df, max(examples - residual, 0.0), examples_df
    )


def _ratio(above: float, below: float) -> float:
    return above / below if below > 0 else math.nan


@dataclass(frozen=True)
class Bar:
    """One number with both intervals: a cell's mean, or a level's difference from the reference.

    Attributes:
        cell: of a mean; None of a difference.
        where: what is held of a difference, in words.
        inner: over replicates, for this test set.
        outer: over replicates and test examples, for new data.
        floor: half-width of the outer interval after endless replicates.
        examples: test examples that count in it.
        smallest: the class that has fewest of them, and how many.
    """

    measure: Measure
    cell: int | None
    factor: Factor | None
    held: Factor | None
    at: Any
    level: Any
    reference: Any
    inner: Estimate
    outer: Estimate
    sources: Sources
    floor: float
    examples: int
    smallest: tuple[str, int]
    where: str = ""

    @property
    def fades(self) -> bool:
        """Whether it differs from 0 on this test set and may not on new data."""
        clear = self.inner.known and self.inner.low * self.inner.high > 0
        return clear and not (self.outer.known and self.outer.low * self.outer.high > 0)


@dataclass(frozen=True)
class SourceShare:
    """The parts of several error bars of one measure together: of their summed variances.

    Attributes:
        of: the cells' means, or the differences of the axis over all other factors.
        now, endless: half-widths of the widest outer interval, and of it after endless replicates.
        examples: the fewest test examples behind one of them.
    """

    measure: Measure
    of: Literal["means", "differences"]
    bars: int
    parts: tuple[float, float, float]  # runs, test examples, single answers
    now: float
    endless: float
    examples: int

    @property
    def of_test_set(self) -> bool:
        """Whether the test set gives most of the error, so that replicates hardly help."""
        return self.parts[1] >= DOMINATES


@dataclass(frozen=True)
class VarianceSources:
    """Error bars taken apart, of every measure that is a sum of recalls.

    Attributes:
        thing: what an example of the test split is, in the plural.
        left_out: titles of the measures that are none.
        without: complete runs of the cells looked at that have no usable record of answers.
        redrawn: whether each replicate trains on a subset of its own.
    """

    cells: tuple[Bar, ...]
    differences: tuple[Bar, ...]
    shares: tuple[SourceShare, ...]
    thing: str
    left_out: tuple[str, ...]
    without: int
    redrawn: bool


def bar(
    u: NDArray[np.float64],
    *,
    known: Answers,
    used: NDArray[np.bool_],
    measure: Measure,
    family: int = 1,
    told: Estimate | None = None,
    **what: Any,
) -> Bar:
    """Both intervals of a sum of class means, u (N, R) in the measure's unit, `used` as above.

    `told` is the interval over replicates that the report has elsewhere, by its own rule.
    """
    inner = mean_interval(by_class(u, starts=known.starts)[used].sum(axis=0), family=family)
    inner = told if told is not None and told.n == inner.n else inner
    least = min(np.flatnonzero(used), key=lambda c: known.support[c])
    smallest = (known.classes[least], int(known.support[least]))
    split = Sources(*[math.nan] * 7)
    if inner.n >= LEAST:
        split = sources(u, starts=known.starts, used=used)
    return Bar(
        measure=measure,
        inner=inner,
        outer=_outer(inner, split, smallest=smallest),
        sources=split,
        floor=_half(split.floor, df=split.examples_df, family=family),
        examples=int(known.support[used].sum()),
        smallest=smallest,
        **what,
    )


def _half(variance: float, *, df: float, family: int) -> float:
    """Half the width of an interval; 0 without variance, NaN where the variance is unknown."""
    if not variance > 0:
        return variance
    return float(student.quantile(1 - (1 - LEVEL) / (2 * family), df)) * math.sqrt(variance)


def _outer(inner: Estimate, split: Sources, *, smallest: tuple[str, int]) -> Estimate:
    """The interval for new data; `sd` is such that sd / sqrt(n) is its standard error."""
    value, n, family = inner.value, inner.n, inner.family
    many = f", simultaneous over {family} comparisons (Bonferroni)" if family > 1 else ""
    told = split.total > 0 and math.isfinite(split.df)
    free = f", {split.df:.3g} df (Satterthwaite)" if told else ""
    method = f"{LEVEL:.0%} t interval over {n} replicates and the test examples{free}{many}"
    if told:
        error = math.sqrt(split.total)
        half = _half(split.total, df=split.df, family=family)
        p = float(2 * student.tail(abs(value) / error, split.df))
        if inner.known:
            half, p = max(half, (inner.high - inner.low) / 2), max(p, inner.p)
        return Estimate(
            value, value - half, value + half, error * math.sqrt(n), n, p, family, method
        )
    if n < LEAST:
        note = f"n = {n}"
    elif smallest[1] < 2:
        note = f"class {smallest[0]} has one test example"
    else:
        note = "all answers are equal"
    return Estimate(value, math.nan, math.nan, math.nan, n, math.nan, family, method, note)


def build(view: SweepView) -> VarianceSources | None:
    """The anatomy of every cell and of every difference of the report; None without bits."""
    known = answers(view.frames)
    if known is None or view.comparable.comparison is Comparison.NOTHING:
        return None
    parts = _Parts(view, known)
    listed = [one for one in view.measures if parts.linear(one)]
    if not listed:
        return None
    means = tuple(one for measure in listed for one in parts.cells(measure))
    differences = tuple(_differences(view, parts, listed))
    image = view.frames.sweep.facts.get("kind") == "image"
    return VarianceSources(
        cells=means,
        differences=differences,
        shares=tuple(_shares(view, listed, means=means, differences=differences)),
        thing="test images" if image else "test examples",
        left_out=tuple(one.title for one in view.measures if one not in listed),
        without=parts.without(),
        redrawn=draws.redrawn(view),
    )


def _shares(
    view: SweepView, listed: Sequence[Measure], *, means: Sequence[Bar], differences: Sequence[Bar]
) -> Iterator[SourceShare]:
    """The shares of the means, then of the axis's overall differences, where there are any."""
    overall = [one for one in differences if one.factor is view.x and one.held is None]
    for measure in listed:
        for of, bars in (("means", means), ("differences", overall)):
            known = [one for one in bars if one.measure == measure and one.outer.known]
            if not known:
                continue
            each = [one.sources for one in known]
            amounts = [
                sum(max(one.runs - one.residual, 0.0) for one in each),
                sum(one.floor for one in each),
                sum(one.residual for one in each),
            ]
            first, second, third = (one / (sum(amounts) or math.nan) for one in amounts)
            widest = max(known, key=lambda one: one.outer.high - one.outer.low)
            yield SourceShare(
                measure,
                "means" if of == "means" else "differences",
                len(known),
                (first, second, third),
                (widest.outer.high - widest.outer.low) / 2,
                widest.floor,
                min(one.examples for one in known),
            )


def _differences(view: SweepView, parts: _Parts, listed: Sequence[Measure]) -> Iterator[Bar]:
    """The primary differences first, over the replicates that the report has them of."""
    found = view.of(differences_of.build)
    for effect in (*found.primary, *found.exploratory):
        if effect.measure in listed:
            yield from parts.against(effect)


class _Parts:
    """The arrays u of cells and levels, over complete blocks of replicates."""

    def __init__(self, view: SweepView, known: Answers) -> None:
        self.view, self.known = view, known
        self.factors = view.frames.cells["factors"].to_dict()
        cells = view.frames.cells
        self.counts = {
            cell: None if drawn_order(config) else counts
            for cell, config, counts in zip(
                cells.index, cells["config"], cells["class_counts"], strict=True
            )
        }
        self.label = known.label

    def linear(self, measure: Measure) -> bool:
        return all(self._weights(measure, cell) is not None for cell in self.view.comparable.cells)

    def without(self) -> int:
        """Complete runs without usable bits."""
        y = self.view.responses[self.view.objective.name]
        complete = int(np.isfinite(y.to_numpy(dtype=float)).sum())
        return max(complete - sum(len(self.known.right.get(cell, ())) for cell in y.index), 0)

    def _weights(self, measure: Measure, cell: int) -> NDArray[np.float64] | None:
        return weights(measure, class_counts=self.counts[cell], support=self.known.support)

    def _used(self, cells: Sequence[int], measure: Measure) -> NDArray[np.bool_]:
        """(C,) the classes that count in a measure of these cells."""
        found = [self._weights(measure, cell) for cell in cells]
        return np.any([one != 0 for one in found if one is not None], axis=0)

    def cells(self, measure: Measure) -> Iterator[Bar]:
        for cell in self.view.comparable.cells:
            seen = sorted(self.known.right.get(cell, ()))
            if seen:
                yield bar(
                    self._mean([cell], seen, measure),
                    known=self.known,
                    used=self._used([cell], measure),
                    measure=measure,
                    cell=cell,
                    factor=None,
                    held=None,
                    at=None,
                    level=None,
                    reference=None,
                )

    def against(self, effect: Effect) -> Iterator[Bar]:
        factor, measure = effect.factor, effect.measure
        groups = self._groups(effect)
        base = groups[factor.reference]
        for one in effect.differences:
            cells = groups[one.level]
            seen = self._shared([*base, *cells], one.by_replicate)
            if not seen:
                continue
            yield bar(
                self._mean(cells, seen, measure) - self._mean(base, seen, measure),
                known=self.known,
                used=self._used([*base, *cells], measure),
                measure=measure,
                family=one.estimate.family,
                cell=None,
                factor=factor,
                held=effect.held,
                at=effect.at,
                level=one.level,
                reference=factor.reference,
                where=effect.where,
                told=one.estimate,
            )

    def _groups(self, effect: Effect) -> dict[Any, list[int]]:
        """The compared cells of each level, in the order of the levels."""
        path, held = effect.factor.path, dict(self.view.held)
        if effect.held is not None:
            held[effect.held.path] = effect.at
        held.pop(path, None)
        groups: dict[Any, list[int]] = {level: [] for level in effect.factor.levels}
        for cell in self.view.comparable.compared:
            levels = self.factors[cell]
            if held.items() <= levels.items():
                groups[levels.get(path)].append(cell)
        return groups

    def _shared(self, cells: Sequence[int], replicates: Iterable[int]) -> list[int]:
        """Those of `replicates` of which all these cells have answers."""
        known = [set(self.known.right.get(one, ())) for one in cells]
        return sorted(set(replicates).intersection(*known))

    def _mean(
        self, cells: Sequence[int], replicates: Sequence[int], measure: Measure
    ) -> NDArray[np.float64]:
        """u (N, R) of the mean over cells, in points."""
        total = np.zeros((len(self.label), len(replicates)))
        for cell in cells:
            found = self._weights(measure, cell)
            if found is None:
                raise ValueError(f"{measure.name} is no sum of recalls")
            right = np.stack([self.known.right[cell][r] for r in replicates], axis=1)
            total += (POINTS / len(cells) * found)[self.label, None] * right
        return total


def rows(found: VarianceSources | None) -> pd.DataFrame:
    """Every error bar as a row: both intervals, the shares, and what they rest on."""
    bars = (*found.differences, *found.cells) if found else ()
    listed = [_row(one) for one in bars]
    return as_written(pd.DataFrame(listed), rows=listed, columns=["at", "level", "reference"])


def _row(one: Bar) -> dict[str, Any]:
    runs, examples, single = one.sources.shares
    return {
        "kind": "mean" if one.factor is None else "difference",
        "measure": one.measure.name,
        "unit": one.measure.unit,
        "cell": one.cell,
        "factor": one.factor.path if one.factor else None,
        "held": one.held.path if one.held else None,
        "at": one.at,
        "level": one.level,
        "reference": one.reference,
        "estimate": one.inner.value,
        "n": one.inner.n,
        "family": one.inner.family,
        "low_this_test_set": one.inner.low,
        "high_this_test_set": one.inner.high,
        "method_this_test_set": one.inner.method,
        "low_new_data": one.outer.low,
        "high_new_data": one.outer.high,
        "method_new_data": one.outer.method,
        "df": one.sources.df,
        "share_runs": runs,
        "share_test_set": examples,
        "share_single_answers": single,
        "half_width_endless_replicates": one.floor,
        "test_examples": one.examples,
        "smallest_class": one.smallest[0],
        "smallest_class_examples": one.smallest[1],
        "note": one.outer.note or one.inner.note,
    }
