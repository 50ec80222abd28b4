"""The tables of the page: a number's interval, method and n stand beside it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from sweeper.analysis.answer import Answer, Dependence, Effect, Slope
from sweeper.analysis.factors import combination, name_of, show
from sweeper.analysis.frames import Frames
from sweeper.analysis.measures import Measure, words
from sweeper.analysis.trend import Trend
from sweeper.analysis.verdicts import Verdict, duration, interval, number
from sweeper.analysis.words_precision import plain
from sweeper.report.scrub import scrub
from sweeper.states import RunState

MOST_ROWS = 400  # of the table of cells
HASH = 12  # digits of a cell's hash


@dataclass(frozen=True)
class Table:
    """Cells are text; `numeric` columns stand to the right."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int] = frozenset()
    note: str = ""


def _table(
    caption: str,
    *,
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    words_in: int,
    note: str = "",
) -> Table:
    """A table whose first `words_in` columns are words and the rest numbers."""
    right = frozenset(range(words_in, len(head)))
    return Table(caption, tuple(head), tuple(tuple(row) for row in rows), right, note)


def _range(low: float, high: float, *, unit: str) -> str:
    if not (math.isfinite(low) and math.isfinite(high)):
        return "n/a"
    return f"{number(low, unit=unit)} to {number(high, unit=unit)}"


def curve(found: Answer, *, measures: Sequence[Measure]) -> Table | None:
    """The numbers of the response curve."""
    if found.x is None or not len(found.curve):
        return None
    by = [found.by.name] if found.by else []
    rows = []
    for measure in measures:
        for _, row in found.curve[found.curve["measure"] == measure.name].iterrows():
            level = [show(row["by"])] if found.by else []
            rows.append([
                measure.title, *level, show(row["x"]), str(row["n"]),
                number(row["mean"], unit=measure.unit), number(row["sd"], unit=measure.unit),
                _range(row["low"], row["high"], unit=measure.unit),
                *[number(row[part], unit=measure.unit) for part in ("min", "median", "max")],
            ])  # fmt: skip
    head = ["measure", *by, found.x.name, "n", "mean", "sd", "95 % interval", "min", "median",
            "max"]  # fmt: skip
    return _table(
        "The response curve in numbers", head=head, rows=rows, words_in=1,
        note="95 % t interval of the mean over n replicates, each on its own; test split, the test "
        f"set held fixed. {plain(found.rule)}".rstrip(),
    )  # fmt: skip


def heat(found: Answer) -> Table | None:
    """The numbers of the heat map: the change from the reference level, and the mean."""
    if found.x is None or found.by is None or not len(found.curve):
        return None
    unit = found.objective.unit
    rows = found.curve[found.curve["measure"] == found.objective.name]
    mean = {(row["by"], row["x"]): row["mean"] for _, row in rows.iterrows()}
    lines = [
        [show(by), *[_heat(mean[by, x], mean[by, found.x.reference], unit) for x in found.x.levels]]
        for by in found.by.levels
    ]
    return _table(
        f"Change in {found.objective.title} from {found.x.name} {show(found.x.reference)} "
        "(the mean in brackets)",
        head=[found.by.name, *[f"{found.x.name} {show(x)}" for x in found.x.levels]],
        rows=lines, words_in=1,
        note="Differences of the means over all complete runs of each field; intervals are in the "
        "table of differences.",
    )  # fmt: skip


def _heat(mean: float, base: float, unit: str) -> str:
    return f"{number(mean - base, unit=unit, signed=True)} ({number(mean, unit=unit)})"


def training(frames: Frames, found: Answer) -> Table | None:
    """The ends of the training curves: means over complete runs at the last epoch."""
    if found.x is None or not len(frames.curves):
        return None
    runs = frames.reported_runs
    complete = runs[(runs["state"] == RunState.COMPLETE) & runs["cell"].isin(found.gate.cells)]
    last = frames.curves.drop_duplicates("run", keep="last").set_index("run")
    last = last.reindex(complete.index)
    axes = [one for one in (found.by, found.x) if one is not None]
    keys = [combination(frames.cells["factors"][cell], paths=[one.path for one in axes])
            for cell in complete["cell"]]  # fmt: skip
    unit = found.objective.unit
    scale = 100.0 if unit == "points" else 1.0
    losses = ["train_loss", "val_loss"] if frames.split == "val" else ["train_loss"]
    rows = []
    for key in sorted(set(keys), key=lambda one: [str(part) for part in one]):
        here = last[[one == key for one in keys]]
        rows.append([
            *[show(level) for level in key], str(len(here)),
            number(scale * here["objective"].mean(), unit=unit),
            *[number(here[one].mean(), unit="") for one in losses],
        ])  # fmt: skip
    head = [*[one.name for one in axes], "runs",
            f"{words(found.objective.name)} on {frames.split}",
            *[one.replace("_", " ") for one in losses]]  # fmt: skip
    return _table("Training curves at the last epoch", head=head, rows=rows, words_in=0)


def differences(found: Answer) -> Table | None:
    """Every paired difference, primary ones first."""
    rows = [_difference_row(one, at) for one in (*found.effects, *found.effects_at)
            for at in range(len(one.differences))]  # fmt: skip
    if not rows:
        return None
    head = ["measure", "factor", "at", "level", "against", "n", "difference", "interval",
            "family", "p (Holm)", "p (signs)", "better in", "r", "verdict"]  # fmt: skip
    table = _table(
        "Paired differences", head=head, rows=rows, words_in=5,
        note="t intervals of the differences within replicates, simultaneous over the family "
        f"(Bonferroni){_unit(found)}. Rows of the objective over all other factors are the primary "
        "family; all others are exploratory. p (signs): exact, by flipping the signs of the "
        "replicates' differences, each on its own, from six replicates on. "
        "r: correlation of the two levels over replicates. An "
        "undecided row says about how many more replicates would decide a change of the size "
        f"seen, and the time for them here. {found.rule.method()}".rstrip(),
    )  # fmt: skip
    return Table(table.caption, table.head, table.rows, table.numeric - {len(head) - 1}, table.note)


def _unit(found: Answer) -> str:
    return ", in points" if found.objective.unit == "points" else ", in the measure's own unit"


def _difference_row(effect: Effect, at: int) -> list[str]:
    one, verdict, unit = effect.differences[at], effect.verdicts[at], effect.measure.unit
    return [
        effect.measure.title, effect.factor.name, effect.where,
        show(one.level), show(one.reference),
        str(one.estimate.n), number(one.estimate.value, unit=unit, signed=True),
        interval(one.estimate, unit=unit), str(one.estimate.family), p_value(one.p_holm),
        p_value(one.p_sign),
        f"{one.improves:.0%}" if math.isfinite(one.improves) else "n/a",
        f"{one.correlation:.2f}" if math.isfinite(one.correlation) else "n/a",
        verdict.badge + _needed(verdict),
    ]  # fmt: skip


def _needed(verdict: Verdict) -> str:
    """` (about 9 more would decide, about 40 min: replicates=14)`; nothing where it is decided."""
    price = verdict.price
    if price is None:
        return f" (about {verdict.needed} would decide)" if verdict.needed else ""
    took = f", about {duration(price.seconds)}" if price.seconds is not None else ""
    setting = price.command.partition(" --set ")[2]
    return f" (about {price.more} more would decide{took}: {setting})"


def p_value(p: float) -> str:
    if not math.isfinite(p):
        return "n/a"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def slopes(found: Answer) -> Table | None:
    """Slopes over all, by line, and the interaction."""
    rows = [row for one in found.slopes for row in _slope_rows(one)]
    rows += _dependence_rows(found.dependence)
    if not rows:
        return None
    return _table(
        "Slopes and interaction in numbers", words_in=3, rows=rows,
        head=["measure", "per", "at", "n", "change", "95 % interval", "family", "p"],
        note="A slope is fitted in each replicate; the t interval is over replicates, simultaneous "
        f"over the family where that is not 1{_unit(found)}. {found.rule.method()}".rstrip(),
    )  # fmt: skip


def _dependence_rows(one: Dependence | None) -> list[list[str]]:
    if one is None:
        return []
    at, unit = f"{one.by.name} {show(one.strong)} minus {show(one.weak)}", one.measure.unit
    return [
        [one.measure.title, f"{show(level)} against {show(one.reference)}", at, str(estimate.n),
         number(estimate.value, unit=unit, signed=True), interval(estimate, unit=unit),
         str(estimate.family), p_value(estimate.p)]
        for level, estimate in zip(one.levels, one.estimates, strict=True)
    ]  # fmt: skip


def _slope_rows(one: Slope) -> list[list[str]]:
    def row(at: str, line: Trend | Any) -> list[str]:
        estimate, unit = line.estimate, one.measure.unit
        return [one.measure.title, one.factor.step, at, str(estimate.n),
                number(estimate.value, unit=unit, signed=True), interval(estimate, unit=unit),
                str(estimate.family), p_value(estimate.p)]  # fmt: skip

    rows = [row("mean over all", one.overall)]
    rows += [row(show(line.at), line) for line in one.lines]
    if one.interaction is not None:
        at = f"{show(one.interaction.strong)} minus {show(one.interaction.weak)}"
        rows.append(row(at, one.interaction))
    return rows


def _place(found: Answer, row: pd.Series) -> list[int]:
    """Of a cell by its levels: cells were added as their nuisance was picked."""
    return [one.levels.index(row[one.path]) for one in found.factors]


def cells(frames: Frames, found: Answer) -> Table:
    """The table of cells on the objective (statistics 2.1)."""
    spec = frames.sweep.spec
    scientific = list(spec.get("scientific", {}))
    nuisance = list(spec.get("nuisance") or {})
    counts, hashes = frames.cells["class_counts"], frames.cells["hash"]
    shown = found.cells[found.cells["measure"] == found.objective.name]
    rows = []
    ordered = sorted((row for _, row in shown.iterrows()), key=lambda row: _place(found, row))
    for row in ordered[:MOST_ROWS]:
        unit = found.objective.unit
        seen = counts[row["cell"]]
        rows.append([
            str(row["cell"]), hashes[row["cell"]][:HASH],
            *[show(row[path]) for path in (*scientific, *nuisance)],
            f"{row['complete']} of {row['runs']}", number(row["mean"], unit=unit),
            number(row["sd"], unit=unit), _range(row["low"], row["high"], unit=unit),
            number(row["min"], unit=unit), number(row["median"], unit=unit),
            number(row["max"], unit=unit), str(sum(seen)), _whole(row["updates"]),
            seconds(row["seconds"]),
            row["why"] or "none",
        ])  # fmt: skip
    head = ["cell", "hash", *[name_of(path) for path in scientific],
            *[f"{name_of(path)} (picked)" for path in nuisance],
            "runs", "mean", "sd", "95 % interval", "min", "median", "max",
            "training samples", "updates", "median time", "failed or pruned"]  # fmt: skip
    unit = "%" if found.objective.unit == "points" else "its own unit"
    return _table(
        f"Cells: {words(found.objective.name)} on the test split, in {unit}",
        head=head, rows=rows, words_in=0,
        note=_left_out(len(shown))
        + "95 % t interval over the complete replicates of the cell, on its own; test set "
        "fixed. "
        + ("Picked values were chosen on val, on replicates of their own. " if nuisance else "")
        + plain(found.rule),
    )  # fmt: skip


def _left_out(rows: int) -> str:
    if rows <= MOST_ROWS:
        return ""
    return f"The first {MOST_ROWS} of {rows} cells; `sweeper export` has all. "


def _whole(value: float) -> str:
    return f"{value:.0f}" if math.isfinite(value) else "n/a"


def seconds(value: float) -> str:
    if not math.isfinite(value):
        return "n/a"
    if value < 120:
        return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"
    return f"{value / 60:.1f} min" if value < 7200 else f"{value / 3600:.1f} h"


def failures(frames: Frames, found: Answer) -> Table | None:
    """Each failed or pruned run by name, with its reason."""
    runs = frames.reported_runs
    ended = runs[runs["state"].isin([RunState.FAILED, RunState.PRUNED])]
    if not len(ended):
        return None
    rows = [_failure_row(frames, found, run) for _, run in ended.iterrows()]
    return _table(
        "Failed and pruned runs", rows=rows, words_in=99,
        head=["cell", "levels", "replicate", "state", "reason", "when", "message"],
    )  # fmt: skip


def _failure_row(frames: Frames, found: Answer, run: pd.Series) -> list[str]:
    levels = frames.cells["factors"][run["cell"]]
    named = ", ".join(f"{one.name} {show(levels.get(one.path))}" for one in found.factors)
    last = [line for line in (run["error"] or "").strip().splitlines() if line.strip()]
    message = scrub(last[-1])[:300] if last else ""
    reason, when = str(run["ending"]).replace("_", " "), reached(frames, run["epoch"])
    return [
        str(run["cell"]),
        named,
        str(run["replicate"]),
        str(run["state"]),
        reason,
        when,
        message,
    ]


def reached(frames: Frames, epoch: int) -> str:
    """Where a run ended: `at epoch 7`, or `after evaluation 2` under a step budget."""
    by_steps = frames.sweep.spec["budget"]["unit"] == "steps"
    return f"after evaluation {epoch}" if by_steps else f"at epoch {epoch}"


def collapses(found: Answer) -> Table | None:
    """Each collapsed run by name."""
    if not found.collapses:
        return None
    rows = [
        [str(one.cell), str(one.replicate), one.measure.title,
         *[number(part, unit=one.measure.unit) for part in (one.value, one.mean, one.without)]]
        for one in found.collapses[:MOST_ROWS]
    ]  # fmt: skip
    return _table(
        "Collapsed runs", rows=rows, words_in=3,
        head=["cell", "replicate", "measure", "value", "mean of the cell",
              "mean of its runs that did not collapse"],
        note="At or below chance, or 5 robust standard deviations worse than the median of the "
        "cell. They are kept in every mean.",
    )  # fmt: skip


def shares(found: Answer) -> Table | None:
    """The share of failed runs a cell, where any run failed."""
    if not any(one.failed for one in found.failures):
        return None
    rows = [[str(one.cell), f"{one.failed} of {one.ended}", f"{one.low:.0%} to {one.high:.0%}"]
            for one in found.failures]  # fmt: skip
    return _table(
        "Share of runs that fail", head=["cell", "failed", "95 % interval"], rows=rows, words_in=1,
        note="Exact (Clopper-Pearson), each on its own; one-sided where none failed.",
    )  # fmt: skip


def with_failures(found: Answer) -> Table | None:
    """The primary differences with failed runs at chance level."""
    rows = [_difference_row(one.effect, at) for one in found.with_failures
            for at in range(len(one.effect.differences))]  # fmt: skip
    if not rows:
        return None
    keep = (1, 3, 4, 5, 6, 7, 8, 13)
    head = ["factor", "level", "against", "n", "difference", "interval", "family", "verdict"]
    return _table(
        "The same differences, failed runs counted at chance level", head=head, words_in=3,
        rows=[[row[at] for at in keep] for row in rows],
        note=f"{found.with_failures[0].filled} failed runs filled in; else as above: paired t "
        f"intervals, simultaneous over the family{_unit(found)}. If a verdict differs from the one "
        "above, failures matter to it.",
    )  # fmt: skip
