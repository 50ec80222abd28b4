"""The answer in short sentences: the first screen of the page, and the note on the study."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from sweeper.analysis.answer import Answer, Effect, Slope
from sweeper.analysis.comparable import Reading
from sweeper.analysis.factors import Factor, show
from sweeper.analysis.frames import Frames
from sweeper.analysis.intervals import Estimate
from sweeper.analysis.measures import Measure, words
from sweeper.analysis.verdicts import (
    Verdict,
    Word,
    basis,
    interval,
    needed_sentence,
    number,
    slope_sentence,
)
from sweeper.states import RunState


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
    tone: str  # better, worse, equivalent, undecided, unknown
    exploratory: bool = False


def lines(found: Answer) -> list[Line]:
    """What the sweep says, the most important first."""
    if found.gate.reading is not Reading.PAIRED or found.x is None:
        return []
    told = list(_of_x(found, found.x))
    told += [_levels(one) for one in found.effects if one.factor is not found.x]
    return told


def _of_x(found: Answer, x: Factor) -> Iterator[Line]:
    slopes = [one for one in found.slopes if one.factor is x]
    if slopes and len(x.levels) > 2:
        yield _slope(slopes[0])
    yield from (_levels(one) for one in found.effects if one.factor is x)
    if slopes and slopes[0].interaction is not None and found.by is not None:
        yield _interaction(slopes[0], found.by)
    if len(slopes) > 1:
        yield _groups(slopes)


def _slope(one: Slope) -> Line:
    estimate, verdict, unit = one.overall.estimate, one.verdict, one.measure.unit
    text = slope_sentence(
        estimate, verdict=verdict, subject=one.measure.title, step=one.factor.step, unit=unit
    )
    detail = needed_sentence(verdict)
    label = f"per {one.factor.step}"
    return Line(
        f"Trend with {one.factor.name}", f"{text} {detail}".strip(), basis(estimate),
        (Mark(label, estimate, unit, verdict),), verdict.badge, str(verdict.word),
    )  # fmt: skip


def _levels(one: Effect) -> Line:
    """Each level against the reference, in one sentence."""
    unit = one.measure.unit
    marks = tuple(
        Mark(show(difference.level), difference.estimate, unit, verdict)
        for difference, verdict in zip(one.differences, one.verdicts, strict=True)
    )
    groups: dict[str, list[str]] = {}
    for mark in marks:
        size = number(mark.estimate.value, unit=unit, signed=True)
        groups.setdefault(mark.verdict.badge, []).append(f"{mark.label} ({size})")
    listed = "; ".join(f"{badge}: {', '.join(levels)}" for badge, levels in groups.items())
    reference = show(one.factor.reference)
    text = f"Against {one.factor.name} {reference}, in {unit or one.measure.title}: {listed}."
    worst = min((one.estimate.n for one in one.differences), default=0)
    family = one.differences[0].estimate if one.differences else None
    tones = Counter(str(verdict.word) for verdict in one.verdicts)
    tone = tones.most_common(1)[0][0] if len(tones) == 1 else "mixed"
    return Line(
        f"{_title(one.factor.name)}: levels against {reference}", text,
        basis(family) if family and worst == family.n else f"95 % t intervals, n from {worst}",
        marks, "" if tone == "mixed" else one.verdicts[0].badge, tone,
    )  # fmt: skip


def _interaction(one: Slope, by: Factor) -> Line:
    change, verdict = one.interaction, one.interaction_verdict
    assert change is not None
    assert verdict is not None
    found = {line.at: line for line in one.lines}
    weak, strong = found[change.weak].estimate, found[change.strong].estimate
    unit = one.measure.unit
    text = (
        f"With {by.name} {show(change.strong)} the change with each {one.factor.step} is "
        f"{number(strong.value, unit=unit, signed=True)} {unit}, with {show(change.weak)} it is "
        f"{number(weak.value, unit=unit, signed=True)}. {_grows(verdict, strong, change.estimate)}"
    )
    marks = (
        Mark(f"{by.name} {show(change.weak)}", weak, unit, Verdict(Word.UNKNOWN)),
        Mark(f"{by.name} {show(change.strong)}", strong, unit, Verdict(Word.UNKNOWN)),
        Mark("difference of the two", change.estimate, unit, verdict),
    )
    badge = {Word.BETTER: "differs", Word.WORSE: "differs"}.get(verdict.word, verdict.badge)
    badge = f"suggests it {badge}" if verdict.suggestive and badge == "differs" else badge
    heading = (
        "Does it grow with the imbalance?"
        if by.path.endswith("train_ratio")
        else f"Does it depend on {by.name}?"
    )
    return Line(heading, text, basis(change.estimate), marks, badge, str(verdict.word))


def _grows(verdict: Verdict, strong: Estimate, change: Estimate) -> str:
    """Whether the two slopes differ, in a sentence."""
    match verdict.word:
        case Word.BETTER | Word.WORSE:
            same = strong.value * change.value > 0
            start = "The runs suggest that the" if verdict.suggestive else "The"
            return f"{start} effect is {'stronger' if same else 'weaker'} in the former."
        case Word.EQUIVALENT:
            return "The two differ by less than would matter."
        case Word.UNDECIDED:
            more = needed_sentence(verdict)
            return f"Whether they differ is undecided. {more}".strip()
        case _:
            return "There are too few replicates to say whether they differ."


def _groups(slopes: list[Slope]) -> Line:
    """The same trend for the other groups of classes: exploratory."""
    marks = tuple(
        Mark(one.measure.title, one.overall.estimate, one.measure.unit, one.verdict)
        for one in slopes
    )
    rest = [
        f"{mark.label} {number(mark.estimate.value, unit=mark.unit, signed=True)}"
        for mark in marks[1:]
    ]
    step = slopes[0].factor.step
    text = f"With each {step}: {'; '.join(rest)} (in {slopes[0].measure.unit or 'its unit'})."
    return Line("Who gains, who pays", text, basis(marks[0].estimate), marks, "exploratory",
                "undecided", exploratory=True)  # fmt: skip


def progress(frames: Frames) -> str:
    """`12 of 40 runs finished`; empty when all have."""
    runs = frames.reported_runs
    ended = int(runs["state"].isin([RunState.COMPLETE, RunState.PRUNED, RunState.FAILED]).sum())
    return "" if ended == len(runs) else f"{ended} of {len(runs)} runs finished"


def caveats(frames: Frames, *, found: Answer) -> list[str]:
    """What a reader must know before believing anything."""
    told = list(found.gate.reasons)
    runs = frames.reported_runs
    failed = int((runs["state"] == RunState.FAILED).sum())
    pruned = int((runs["state"] == RunState.PRUNED).sum())
    if failed:
        told.append(f"{failed} of {len(runs)} runs failed; they are named below.")
    if pruned:
        told.append(f"{pruned} of {len(runs)} runs were pruned (stopped early); they are not used.")
    dropped = {r for one in found.effects for d in one.differences for r in d.dropped}
    if dropped and found.gate.reading is Reading.PAIRED:
        told.append(
            "Comparisons use only replicates that have every run they need; "
            f"{len(dropped)} of {len(set(runs['replicate']))} replicates lack some."
        )
    told += _collapse_words(found)
    return told


def _collapse_words(found: Answer) -> Iterator[str]:
    counts = Counter(one.measure.title for one in found.collapses)
    for title, count in counts.items():
        runs = "1 run" if count == 1 else f"{count} runs"
        yield f"{runs} collapsed in {title} (at chance, or far below their cell); they are kept."


def about(measure: Measure) -> str:
    return "higher is better" if measure.direction == "maximize" else "lower is better"


def headline(found: Answer) -> str:
    """The first sentence of the report."""
    told = lines(found)
    if told:
        return told[0].text
    if found.gate.reading is Reading.NOTHING:
        return "There is nothing to report yet."
    best = best_cell(found)
    if best is None:
        return "There is nothing to report yet."
    return f"Highest mean {words(found.objective.name)} among the cells tried: {best}."


def best_cell(found: Answer) -> str | None:
    """The cell with the best mean, in words; the winner's mean flatters itself."""
    rows = found.cells[found.cells["measure"] == found.objective.name] if len(found.cells) else []
    rows = rows.dropna(subset=["mean"]) if len(rows) else rows  # pyright: ignore
    if not len(rows):
        return None
    order = rows["mean"] if found.objective.direction == "minimize" else -rows["mean"]  # pyright: ignore
    row = rows.loc[order.idxmin()]  # pyright: ignore
    levels = ", ".join(f"{factor.name} {show(row[factor.path])}" for factor in found.factors)
    size = number(row["mean"], unit=found.objective.unit)
    return f"{size} {found.objective.unit} at {levels}".strip()


def mark_text(mark: Mark) -> str:
    """`+3.7 points (+2.3 to +5.1)`."""
    value = number(mark.estimate.value, unit=mark.unit, signed=True)
    return f"{value} {mark.unit} ({interval(mark.estimate, unit=mark.unit)})".replace("  ", " ")


def _title(text: str) -> str:
    return text[:1].upper() + text[1:]
