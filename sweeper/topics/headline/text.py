"""The answer in short sentences, for the page and for the note on the study."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from sweeper.analysis.comparable import Comparison
from sweeper.analysis.factors import Factor, name_of, show
from sweeper.analysis.frames import Frames
from sweeper.analysis.intervals import Estimate
from sweeper.analysis.measures import words
from sweeper.analysis.verdicts import MARGIN, Verdict, Word
from sweeper.analysis.view import SweepView
from sweeper.analysis.wording import FIXED, capitalised, joined, number
from sweeper.states import RunState
from sweeper.topics.best_levels import estimate as best_levels
from sweeper.topics.best_levels import text as levels_text
from sweeper.topics.best_levels.estimate import Level, LevelComparison
from sweeper.topics.cells import estimate as cells
from sweeper.topics.fairness import estimate as fairness
from sweeper.topics.fairness.estimate import Claim
from sweeper.topics.goals import estimate as goals
from sweeper.topics.goals import text as goals_text
from sweeper.topics.headline import unfinished
from sweeper.topics.headline.answerable import collapsed, unanswerable
from sweeper.topics.response import estimate as response
from sweeper.topics.screening import estimate as screening
from sweeper.topics.screening import text as screening_text
from sweeper.topics.screening.estimate import Screened
from sweeper.topics.tuning_curve import estimate as tuning_curve
from sweeper.topics.tuning_curve import text as tuning_text

DESCRIBED = "A description of the cells, not a test."
SO_FAR = "A description of the runs that are complete, not a test."
SCREENED = "95 % t intervals over fresh replicates, each on its own."


@dataclass(frozen=True)
class Mark:
    """An estimate to draw beside its sentence."""

    label: str
    estimate: Estimate
    unit: str
    verdict: Verdict


@dataclass(frozen=True)
class Line:
    """One thing that the report says: a heading, sentences, and the estimates behind them."""

    heading: str
    text: str
    basis: str
    marks: tuple[Mark, ...]
    badge: str
    tone: str  # better, worse, or anything else
    claim: Claim | None = None  # how fair the comparison is, of primary findings


@dataclass(frozen=True)
class Lead:
    """The first screen: the headline, what goes with it, and its estimates."""

    headline: str
    more: tuple[str, ...] = ()
    marks: tuple[Mark, ...] = ()
    basis: str = ""
    badge: str = ""
    tone: str = ""
    claim: Claim | None = None


def lead(view: SweepView) -> Lead:
    """The answer in one breath: which level to take, and what the others cost."""
    if view.to_come:
        more = tuple(unfinished.more(view))
        basis = SO_FAR if view.replicates else ""
        return Lead(unfinished.headline(view), more, basis=basis, badge="so far")
    screened = view.of(screening.build)
    if screened is not None:
        return _screened(screened)
    if view.comparable.comparison is Comparison.NOTHING:
        return Lead(f"There is nothing to compare. {view.comparable.reasons[-1]}")
    if view.comparable.comparison is Comparison.SCATTER:
        return _description(view) if view.of(tuning_curve.build) is None else _tuned(view)
    found = best_levels.question(view)
    if found is None:
        return _conditions_only(view)
    cannot = unanswerable(view)
    if cannot:
        return Lead(cannot, basis=levels_text.basis(found), badge="cannot answer", tone="worse")
    first = collapsed(view)  # the headline says it first
    return Lead(
        f"{first} {levels_text.answer(found)}".strip(),
        (*levels_text.more(found), *goals_text.first_alone(view)),
        tuple(_mark(found, one) for one in found.levels),
        levels_text.basis(found),
        levels_text.badge(found),
        _tone(found),
        _claim_of(view, found.factor),
    )


def _tone(found: LevelComparison) -> str:
    """The colour of the badge: green where the question is settled."""
    return "" if found.open or found.withheld else "better"


def _mark(found: LevelComparison, one: Level) -> Mark:
    """A level's change against the best."""
    word = Word.WORSE if one.beaten else Word.UNDECIDED if one.open else Word.BETTER
    word = word if one.cost.known and not found.withheld else Word.UNKNOWN
    return Mark(show(one.value), one.cost, found.measure.unit, Verdict(word))


def _claim_of(view: SweepView, factor: Factor) -> Claim | None:
    found = view.of(fairness.build)
    return found.claim(factor.path) if found else None


def _conditions_only(view: SweepView) -> Lead:
    """A sweep that varies only what the data are like: its means, and no choice among them."""
    x, objective = view.x, view.objective
    rows = view.of(response.build).curve
    if x is None or not len(rows):
        return Lead("There is nothing to report yet.")
    rows = rows[rows["measure"] == objective.name]
    sign = f"{FIXED}%" if objective.bounded else ""
    by = view.by
    told = [
        f"{number(row['mean'], unit=objective.unit)}{sign} at {x.name} {show(row['x'])}"
        + (f", {by.name} {show(row['by'])}" if by else "")
        for _, row in rows.iterrows()
    ]
    text = f"{capitalised(objective.title)}: {joined(told)}."
    more = f"{capitalised(x.name)} is a condition, not a choice, so no level of it is best."
    return Lead(text, (more,), basis=DESCRIBED, badge="descriptive")


def _description(view: SweepView) -> Lead:
    """A sweep whose cells were drawn one by one: what was seen, and no test."""
    rows = _means(view)
    if not len(rows):
        return Lead("There is nothing to report yet.")
    bounds = goals.constraints_of(view.frames.sweep.spec)
    within = rows[
        goals.satisfied(view.frames, bounds, cells=list(rows["cell"])).all(axis=1).to_numpy()
    ]
    named = joined([one.text for one in bounds])
    if not len(within):
        return Lead(
            f"No cell tried satisfies {named}: none is recommended.",
            basis=DESCRIBED,
            badge="none satisfies",
        )
    best = _best_of(view, within)
    if view.guessing is not None and best["mean"] <= view.guessing + MARGIN:
        return _at_chance(view, best=best["mean"], chance=view.guessing)
    more = ["The best of many cells looks better than it is: run it afresh before you rely on it."]
    ranked = [
        f"{name_of(path)} {number(rho, unit='', signed=True)}"
        for path, rho in cells.ranks(view).items()
    ]
    if ranked:
        more.append(f"Rank correlation with the objective over the cells: {', '.join(ranked)}.")
    superlative = "Lowest" if view.objective.direction == "minimize" else "Highest"
    among = f"the cells that satisfy {named}" if bounds else "the cells tried"
    return Lead(
        f"{superlative} mean {words(view.objective.name)} among {among}: "
        f"{_cell_in_words(view, best)}.",
        (*more, *goals_text.first_alone(view)),
        basis=DESCRIBED,
        badge="descriptive",
    )


def _tuned(view: SweepView) -> Lead:
    """A random search whose settings ran once: what tuning reaches at each level."""
    found = view.of(tuning_curve.build)
    assert found is not None  # noqa: S101  the caller looked
    more = (*tuning_text.more(found), *goals_text.apart_from_bounds(view))
    return Lead(tuning_text.headline(found), more, basis=tuning_text.BASIS, badge="random search")


def _screened(one: Screened) -> Lead:
    """Many cells, of which a few were trained afresh."""
    more = tuple(text for text in (screening_text.leader(one),) if text)
    basis = SCREENED if any(row.fresh for row in one.rows) else ""
    return Lead(screening_text.headline(one), more, basis=basis)


def _at_chance(view: SweepView, *, best: float, chance: float) -> Lead:
    """No cell learned: which of them is the highest says nothing."""
    highest, guessing = (f"{number(one)}{FIXED}%" for one in (best, chance))
    text = (
        f"No cell left chance: the highest mean {words(view.objective.name)} among the cells "
        f"tried is {highest}, and guessing gives {guessing}."
    )
    return Lead(text, basis=DESCRIBED, badge="at chance")


def lines(view: SweepView) -> list[Line]:
    """The other choices, each with its answer; the question itself is the headline."""
    if not view.grid or view.to_come or unanswerable(view):
        return []
    return [
        _line(view, one) for one in view.of(best_levels.build) if one.factor is not view.question
    ]


def _line(view: SweepView, found: LevelComparison) -> Line:
    told = [levels_text.answer(found), *levels_text.more(found)]
    return Line(
        f"Which {found.factor.name} to take",
        " ".join(told),
        levels_text.basis(found),
        tuple(_mark(found, one) for one in found.levels),
        levels_text.badge(found),
        _tone(found),
        _claim_of(view, found.factor),
    )


def progress(frames: Frames) -> str:
    """`12 of 40 runs finished`; empty when all have."""
    runs = frames.reported_runs
    ended = int(runs["state"].isin([RunState.COMPLETE, RunState.PRUNED, RunState.FAILED]).sum())
    return "" if ended == len(runs) else f"{ended} of {len(runs)} runs finished"


def _means(view: SweepView) -> pd.DataFrame:
    """The mean objective of each cell."""
    rows = view.of(cells.build)
    return (
        rows[rows["measure"] == view.objective.name].dropna(subset=["mean"]) if len(rows) else rows
    )


def _best_of(view: SweepView, rows: pd.DataFrame) -> pd.Series:
    """The cell with the best mean; that mean is biased upwards (winner's curse)."""
    lowest = view.objective.direction == "minimize"
    means = rows["mean"].to_numpy(dtype=float)
    return rows.iloc[int(means.argmin() if lowest else means.argmax())]


def _cell_in_words(view: SweepView, row: pd.Series) -> str:
    """`91.2 % at batch size 8, width 2`."""
    levels = ", ".join(f"{factor.name} {show(row[factor.path])}" for factor in view.factors)
    size = number(row["mean"], unit=view.objective.unit)
    sign = f"{FIXED}%" if view.objective.unit == "points" else ""
    return f"{size}{sign} at {levels}"
