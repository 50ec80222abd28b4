"""The mapping in words: what is shown before anything is stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from sweeper.analysis.factors import show
from sweeper.importing.columns import Columns, names_of
from sweeper.importing.runs import Runs
from sweeper.importing.source import Source
from sweeper.importing.sweep import split_of
from sweeper.spec import Spec
from sweeper.spec.factors import Range
from sweeper.states import RunState

MOST_SHOWN = 8  # levels in a line


def lines(source: Source, columns: Columns, runs: Runs, spec: Spec) -> Iterator[str]:
    """The role of each column, what the sweep will be, and the same as options."""
    rows = "row" if len(source.frame) == 1 else "rows"
    yield f"{source.name}: {source.kind}, {len(source.frame)} {rows}"
    for role, column, text in _roles(columns, runs, spec):
        yield f"  {role:<10} {column:<20} {text}".rstrip()
    unused = [one for one in names_of(source.frame) if one not in columns.used]
    unused = [one for one in unused if one not in columns.fixed.values()]
    if columns.fixed:
        yield f"  {'same in all':<31} {', '.join(columns.fixed)}"
    if unused:
        yield f"  {'not used':<31} {', '.join(unused)}"
    yield from (f"  {remark}" for remark in runs.remarks)
    yield f"as sweep '{spec.name}': {_size(runs, spec)}"
    yield f"the same as options: {' '.join(columns.options())}"


def _roles(columns: Columns, runs: Runs, spec: Spec) -> Iterator[tuple[str, str, str]]:
    """Each role, its column, and what it means."""
    yield "run", columns.run or "(each row)", f"{len(runs.runs)} runs"
    if columns.epoch:
        ends = sorted({int(one.epochs[-1]) for one in runs.runs if len(one.epochs)})
        until = f"{ends[0]} to {ends[-1]}" if len(ends) > 1 else str(ends[0])
        yield "epoch", columns.epoch, f"each run is read at its last epoch ({until} epochs)"
    if columns.replicate or not runs.paired:
        used = "cells are compared within a replicate" if runs.paired else "repeats are independent"
        yield "replicate", columns.replicate or "(none)", used
    for name, column in columns.factors.items():
        yield "factor", column, _levels(name, column, spec)
    for at, (name, column) in enumerate(columns.metrics.items()):
        yield "metric", column, _metric(at, name, runs, spec)
    if columns.state:
        yield "state", columns.state, _states(runs)
    if columns.seconds:
        yield "seconds", columns.seconds, "the time of a run"


def _levels(name: str, column: str, spec: Spec) -> str:
    factor = spec.scientific[name]
    called = "" if name == column else f"as {name}: "
    if isinstance(factor, Range):
        log = ", logarithmic" if factor.log else ""
        return f"{called}{show(factor.low)} to {show(factor.high)}{log}"
    levels = factor if isinstance(factor, tuple) else factor.levels
    shown = ", ".join(map(show, levels[:MOST_SHOWN]))
    more = f" and {len(levels) - MOST_SHOWN} more" if len(levels) > MOST_SHOWN else ""
    return f"{called}{shown}{more}"


def _metric(at: int, name: str, runs: Runs, spec: Spec) -> str:
    split, metric, _ = runs.layout[at]
    if metric != runs.objective[1] or split != split_of(runs.layout):
        return f"{metric} on {split}"
    better = "higher" if spec.objective.direction == "maximize" else "lower"
    share = ", a share" if spec.objective.unit == "share" else ""
    return f"the objective: {better} is better{share}"


def _states(runs: Runs) -> str:
    counts = Counter(
        "complete" if one.state is RunState.COMPLETE else str(one.ending) for one in runs.runs
    )
    return ", ".join(f"{count} {word}" for word, count in counts.most_common())


def _size(runs: Runs, spec: Spec) -> str:
    cells = len({str(sorted(one.factors.items())) for one in runs.runs})
    drawn = spec.search.method
    how = "a grid" if drawn == "factorial" else f"no grid; taken as search: {drawn}"
    return f"{cells} cells ({how}), {len(runs.runs)} runs"
