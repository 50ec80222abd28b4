"""The answer in short sentences, for the page and for the note on the study."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from sweeper.analysis import imported, stopping_text
from sweeper.analysis.comparable import Comparison
from sweeper.analysis.factors import RATIO, Factor, name_of, show
from sweeper.analysis.frames import Frames
from sweeper.analysis.intervals import Estimate
from sweeper.analysis.measures import goal, words
from sweeper.analysis.verdicts import (
    MARGIN,
    Verdict,
    Word,
    basis,
    needed_sentence,
    no_interval,
    slope_sentence,
)
from sweeper.analysis.view import SweepView
from sweeper.analysis.wording import FIXED, capitalised, joined, number
from sweeper.states import RunState
from sweeper.topics.cells import estimate as cells
from sweeper.topics.differences import estimate as differences
from sweeper.topics.differences.estimate import Effect
from sweeper.topics.failures import estimate as failures
from sweeper.topics.fairness import estimate as fairness
from sweeper.topics.fairness.estimate import Claim
from sweeper.topics.screening import estimate as screening
from sweeper.topics.screening import text as screening_text
from sweeper.topics.screening.estimate import Screened
from sweeper.topics.trends import estimate as trends
from sweeper.topics.trends.estimate import Dependence, Slope
from sweeper.topics.tuning_curve import estimate as tuning_curve
from sweeper.topics.tuning_curve import text as tuning_text
from trainers.notes import notes

OWN_TRAINER = (
    "The trainer is a function of your own ({}), which reports no class counts and no single "
    "answers: class groups, trade-offs, missed batches, variance sources and changed predictions "
    "are left out."
)
DESCRIBED = "A description of the cells, not a test."
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
    """The answer in one breath: the trend where the axis has one, else its levels."""
    screened = view.of(screening.build)
    if screened is not None:
        return _screened(screened)
    if view.comparable.comparison is Comparison.NOTHING:
        return Lead(f"There is nothing to compare. {view.comparable.reasons[-1]}")
    if view.comparable.comparison is Comparison.SCATTER:
        return _description(view) if view.of(tuning_curve.build) is None else _tuned(view)
    slope = next((one for one in view.of(trends.build).slopes if one.factor is view.x), None)
    if slope is not None:
        return replace(_trend(slope, by=view.by), claim=_claim_of(view, slope.factor))
    effect = next(one for one in view.of(differences.build).primary if one.factor is view.x)
    line = _levels(effect)
    text = " ".join(_grouped(line.marks, named="", reference=show(effect.factor.reference)))
    more = tuple(one for one in (_withheld(effect), _settling(line.marks)) if one)
    return Lead(
        f"{capitalised(effect.measure.title)}: {text}",
        more,
        line.marks,
        line.basis,
        line.badge,
        line.tone,
        _claim_of(view, effect.factor),
    )


def _claim_of(view: SweepView, factor: Factor) -> Claim | None:
    found = view.of(fairness.build)
    return found.claim(factor.path) if found else None


def _trend(one: Slope, *, by: Factor | None) -> Lead:
    estimate, verdict, unit = one.overall.estimate, one.verdict, one.measure.unit
    text = slope_sentence(
        estimate, verdict=verdict, subject=one.measure.title, step=one.factor.step, unit=unit
    )
    label = "over all levels" if by is not None else f"per {one.factor.step}"
    marks = [Mark(label, estimate, unit, verdict)]
    more = [needed_sentence(verdict)]
    if one.interaction is not None and by is not None:
        more.append(_interaction(one, by))
        marks += _interaction_marks(one, by)
    basis_text = f"Change in {one.measure.title} per {one.factor.step}; {_joint_basis(marks)}."
    return Lead(
        text,
        tuple(one for one in more if one),
        tuple(marks),
        basis_text,
        clearness(verdict, estimate),
        str(verdict.word),
    )


def clearness(verdict: Verdict, estimate: Estimate) -> str:
    """How firm a trend is, in two words."""
    match verdict.word:
        case Word.BETTER | Word.WORSE:
            how = "suggestive" if verdict.suggestive else "clear"
            return f"{how} {'rise' if estimate.value > 0 else 'fall'}"
        case _:
            return verdict.badge


def _interaction_marks(one: Slope, by: Factor) -> list[Mark]:
    change, verdict = one.interaction, one.interaction_verdict
    if change is None or verdict is None:
        return []
    plain = Verdict(Word.UNKNOWN)
    marks = [
        Mark(f"{by.name} {show(line.at)}", line.estimate, one.measure.unit, plain)
        for line in one.lines
    ]
    label = f"{show(change.strong)} minus {show(change.weak)}"
    return [*marks, Mark(label, change.estimate, one.measure.unit, verdict)]


def _interaction(one: Slope, by: Factor) -> str:
    """Whether the trend depends on the second factor, in a sentence or two."""
    change, verdict = one.interaction, one.interaction_verdict
    if change is None or verdict is None:
        return ""
    weak, strong = (
        next(line.estimate for line in one.lines if line.at == level)
        for level in (change.weak, change.strong)
    )
    ends = f"{by.name} {show(change.strong)}{_imbalance(by)} than at {show(change.weak)}"
    pair = f"{by.name} {show(change.strong)} and {show(change.weak)}"
    start = "the runs suggest that " if verdict.suggestive else ""
    match verdict.word:
        case Word.BETTER | Word.WORSE:
            if _sure_sign(weak) * _sure_sign(strong) < 0:
                sizes = " and ".join(
                    number(line.value, unit=one.measure.unit, signed=True)
                    for line in (strong, weak)
                )
                return capitalised(f"{start}the trends at {pair} go opposite ways ({sizes}).")
            how = "stronger" if abs(strong.value) > abs(weak.value) else "weaker"
            return capitalised(f"{start}the trend is {how} at {ends}.")
        case Word.EQUIVALENT:
            return capitalised(f"{start}the trends at {pair} differ by less than would matter.")
        case Word.UNDECIDED:
            more = needed_sentence(verdict)
            return f"Whether the trends at {pair} differ is undecided. {more}".strip()
        case Word.WITHHELD:
            return f"Whether the trends at {pair} differ is withheld as well."
        case _:
            why = no_interval(change.estimate)
            return f"Whether the trends at {pair} differ cannot be said: {why}."


def _sure_sign(line: Estimate) -> int:
    """1 or -1 where the interval excludes 0, else 0."""
    return (line.low > 0) - (line.high < 0)


def _imbalance(by: Factor) -> str:
    return " (the stronger imbalance)" if by.path == RATIO else ""


def _description(view: SweepView) -> Lead:
    """A sweep whose cells were drawn one by one: what was seen, and no test."""
    best = _best_row(view)
    if best is None:
        return Lead("There is nothing to report yet.")
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
    return Lead(
        f"{superlative} mean {words(view.objective.name)} among the cells tried: "
        f"{_cell_in_words(view, best)}.",
        tuple(more),
        basis=DESCRIBED,
        badge="descriptive",
    )


def _tuned(view: SweepView) -> Lead:
    """A random search whose settings ran once: what tuning reaches at each level."""
    found = view.of(tuning_curve.build)
    assert found is not None  # noqa: S101  the caller looked
    more = tuple(tuning_text.more(found))
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
    """The findings below the first screen, the most important first."""
    if not view.grid or view.x is None:
        return []
    found, primary = view.of(trends.build), view.of(differences.build).primary
    slopes = [one for one in found.slopes if one.factor is view.x]
    told = [_dependence(found.dependence)] if found.dependence else []
    if slopes:
        told += [_primary(view, one) for one in primary if one.factor is view.x]
    if len(slopes) > 1:
        told.append(_groups(slopes))
    return told + [_primary(view, one) for one in primary if one.factor is not view.x]


def _primary(view: SweepView, one: Effect) -> Line:
    return replace(_levels(one), claim=_claim_of(view, one.factor))


def _levels(one: Effect) -> Line:
    """Each level against the reference, in a few short sentences."""
    unit, reference = one.measure.unit, show(one.factor.reference)
    marks = tuple(
        Mark(show(difference.level), difference.estimate, unit, verdict)
        for difference, verdict in zip(one.differences, one.verdicts, strict=True)
    )
    words_used = {str(verdict.word) for verdict in one.verdicts}
    tone = words_used.pop() if len(words_used) == 1 else "mixed"
    named = "" if one.factor.scale == "category" else f"{one.factor.name} "
    text = " ".join(_grouped(marks, named=named, reference=reference))
    text, withheld = capitalised(text) if named else text, _withheld(one)
    return Line(
        f"{capitalised(one.factor.name)}: each level against {reference}",
        f"{withheld} {text} {_settling(marks)}".strip(),
        _levels_basis(one),
        marks,
        one.verdicts[0].badge if len(marks) == 1 or withheld else "",
        tone,
    )


def _settling(marks: Sequence[Mark]) -> str:
    """What would decide the undecided ones; empty when all are decided."""
    return stopping_text.settling([(mark.label, mark.verdict) for mark in marks])


def _withheld(one: Effect) -> str:
    """Why the verdicts on a factor's levels are withheld; empty when they are not."""
    why = next((verdict.why for verdict in one.verdicts if verdict.word is Word.WITHHELD), "")
    return f"Withheld: {why}." if why else ""


def _grouped(marks: tuple[Mark, ...], *, named: str, reference: str) -> Iterator[str]:
    """`batch size 2 (+3.4 points) is materially better than 8.` and so on, one a verdict."""
    groups: dict[tuple[str, str], list[str]] = {}
    for mark in marks:
        size = f"{number(mark.estimate.value, unit=mark.unit, signed=True)} {mark.unit}".strip()
        groups.setdefault(_claim(mark.verdict), []).append(f"{mark.label} ({size})")
    for at, ((claim, word), levels) in enumerate(groups.items()):
        verb, rest = claim.split(" ", 1)
        verb = {"is": "are", "seems": "seem", "has": "have"}[verb] if len(levels) > 1 else verb
        start, end = (named, f" {word} {reference}") if at == 0 else ("", "")
        yield f"{start}{joined(levels)} {verb} {rest}{end}."


def _claim(verdict: Verdict) -> tuple[str, str]:
    """The verdict on one level in words, and the word before the reference."""
    seems = "seems" if verdict.suggestive else "is"
    much = "materially " if verdict.material else ""
    match verdict.word:
        case Word.BETTER | Word.WORSE:
            return f"{seems} {much}{verdict.word}", "than"
        case Word.EQUIVALENT:
            return f"{seems} about equal", "to"
        case Word.UNDECIDED:
            return "is undecided", "against"
        case _:
            return "has no verdict", "against"


def _levels_basis(one: Effect) -> str:
    marks = [
        Mark("", difference.estimate, "", Verdict(Word.UNKNOWN)) for difference in one.differences
    ]
    return f"Paired differences in {one.measure.title}; {_joint_basis(marks)}."


def _joint_basis(marks: Sequence[Mark]) -> str:
    """What several intervals rest on."""
    ns = sorted({mark.estimate.n for mark in marks})
    if len(ns) == 1 and len({mark.estimate.known for mark in marks}) == 1:
        return basis(marks[0].estimate)
    family = max(mark.estimate.family for mark in marks)
    many = f", simultaneous over {family}" if family > 1 else ""
    rule = next((f" ({mark.estimate.rule})" for mark in marks if mark.estimate.rule), "")
    span = f"{ns[0]} to {ns[-1]}" if len(ns) > 1 else f"{ns[0]}"
    return f"95{FIXED}% t{FIXED}intervals{rule}, n{FIXED}={FIXED}{span} replicates{many}"


def _dependence(one: Dependence) -> Line:
    """Whether the effect of each level depends on the second factor."""
    unit, by = one.measure.unit, one.by
    marks = tuple(
        Mark(show(level), estimate, unit, verdict)
        for level, estimate, verdict in zip(one.levels, one.estimates, one.verdicts, strict=True)
    )
    text = (
        f"Each level's difference from {show(one.reference)} at {by.name} {show(one.strong)}"
        f"{_imbalance(by)}, minus the same at {show(one.weak)}; {goal(one.measure)}. "
        f"{_settling(marks)}"
    ).strip()
    heading = (
        "Does it grow with the imbalance?"
        if by.path == RATIO
        else (f"Does it depend on {by.name}?")
    )
    basis_text = f"Differences of paired differences; {_joint_basis(marks)}."
    return Line(heading, text, basis_text, marks, "", "")


def _groups(slopes: list[Slope]) -> Line:
    """The same trend for the other groups of classes: exploratory."""
    marks = tuple(
        Mark(one.measure.title, one.overall.estimate, one.measure.unit, one.verdict)
        for one in slopes
    )
    step = slopes[0].factor.step
    text = f"The change with each {step}, for the objective and for the other groups of classes."
    return Line(
        "Who gains, who pays",
        text,
        f"{_joint_basis(marks)}, each on its own.",
        marks,
        "exploratory",
        "",
    )


def progress(frames: Frames) -> str:
    """`12 of 40 runs finished`; empty when all have."""
    runs = frames.reported_runs
    ended = int(runs["state"].isin([RunState.COMPLETE, RunState.PRUNED, RunState.FAILED]).sum())
    return "" if ended == len(runs) else f"{ended} of {len(runs)} runs finished"


def caveats(view: SweepView) -> list[str]:
    """What a reader must know before believing anything."""
    told = list(view.comparable.reasons)
    if view.comparable.comparison is Comparison.NOTHING:
        told.pop()  # the headline says it
    told += notes(view.frames.sweep.facts)
    if view.frames.foreign:
        told += imported.caveats(view.frames)
    elif view.frames.own_trainer:
        told.append(OWN_TRAINER.format(view.frames.own_trainer))
    runs = view.frames.reported_runs
    told += stopping_text.plan(view.frames.sweep, replicates=runs["replicate"].nunique())
    failed = int((runs["state"] == RunState.FAILED).sum())
    pruned = int((runs["state"] == RunState.PRUNED).sum())
    if failed:
        told.append(f"{failed} of {len(runs)} runs failed; they are named below.")
    if pruned:
        told.append(f"{pruned} of {len(runs)} runs were pruned (stopped early); they are not used.")
    dropped = {
        r for one in view.of(differences.build).primary for d in one.differences for r in d.dropped
    }
    if dropped and view.grid:
        told.append(
            "Comparisons use only replicates that have every run they need; "
            f"{len(dropped)} of {len(set(runs['replicate']))} replicates lack some."
        )
    told += _collapse_words(view)
    told += _changes(
        view,
        [one.effect for one in view.of(differences.build).with_failures],
        "If failed runs counted at chance level",
    )
    told += _changes(
        view, view.of(differences.build).without_collapsed, "Without the collapsed runs"
    )
    return told


def _changes(view: SweepView, again: Sequence[Effect], when: str) -> Iterator[str]:
    """The primary verdicts that another treatment of bad runs would change."""
    changed = []
    for second in again:
        first = next(
            (
                one
                for one in view.of(differences.build).primary
                if one.factor.path == second.factor.path
            ),
            None,
        )
        before = _words_of(first) if first is not None else {}
        changed += [
            f"{second.factor.name} {show(difference.level)} "
            f"({'too few left' if after.word is Word.UNKNOWN else after.badge})"
            for difference, after in zip(second.differences, second.verdicts, strict=True)
            if before.get((difference.level, difference.reference)) is not after.word
        ]
    if changed:
        yield f"{when}, these verdicts would change: {', '.join(changed)}."


def _words_of(effect: Effect) -> dict[tuple[Any, Any], Word]:
    """The verdict's word of each level and its reference."""
    pairs = zip(effect.differences, effect.verdicts, strict=True)
    return {(one.level, one.reference): verdict.word for one, verdict in pairs}


def _collapse_words(view: SweepView) -> Iterator[str]:
    counts = Counter(one.measure.title for one in view.of(failures.build).collapses)
    if counts:
        listed = joined([f"{count} in {title}" for title, count in counts.items()])
        yield f"Some runs collapsed (at chance, or far below their cell): {listed}. They are kept."


def _best_row(view: SweepView) -> pd.Series | None:
    """The cell with the best mean; that mean is biased upwards (winner's curse)."""
    if not len(view.of(cells.build)):
        return None
    rows = view.of(cells.build)[view.of(cells.build)["measure"] == view.objective.name].dropna(
        subset=["mean"]
    )
    if not len(rows):
        return None
    lowest = view.objective.direction == "minimize"
    means = rows["mean"].to_numpy(dtype=float)
    return rows.iloc[int(means.argmin() if lowest else means.argmax())]


def _cell_in_words(view: SweepView, row: pd.Series) -> str:
    """`91.2 % at batch size 8, width 2`."""
    levels = ", ".join(f"{factor.name} {show(row[factor.path])}" for factor in view.factors)
    size = number(row["mean"], unit=view.objective.unit)
    sign = f"{FIXED}%" if view.objective.unit == "points" else ""
    return f"{size}{sign} at {levels}"
