"""What a reader must know before believing the answer, in short sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from sweeper.analysis import imported, stopping_text
from sweeper.analysis.comparable import Comparison
from sweeper.analysis.factors import show
from sweeper.analysis.verdicts import Word
from sweeper.analysis.view import SweepView
from sweeper.analysis.wording import joined
from sweeper.states import RunState
from sweeper.topics.differences import estimate as differences
from sweeper.topics.differences.estimate import Effect
from sweeper.topics.failures import estimate as failures
from sweeper.topics.headline.answerable import undertrained
from trainers.notes import notes

OWN_TRAINER = (
    "The trainer is a function of your own ({}), which reports no class counts and no single "
    "answers: class groups, trade-offs, missed batches, variance sources and changed predictions "
    "are left out."
)


def caveats(view: SweepView) -> list[str]:
    """What a reader must know before believing anything."""
    told = list(view.comparable.reasons)
    runs = view.frames.reported_runs
    seen = view.to_come and (runs["state"] == RunState.COMPLETE).any()
    if view.comparable.comparison is Comparison.NOTHING and not seen:
        told.pop()  # the headline says it
    told += notes(view.frames.sweep.facts)
    if view.frames.foreign:
        told += imported.caveats(view.frames)
    elif view.frames.own_trainer:
        told.append(OWN_TRAINER.format(view.frames.own_trainer))
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
    if dropped and view.grid and not view.to_come:
        told.append(
            "Comparisons use only replicates that have every run they need; "
            f"{len(dropped)} of {len(set(runs['replicate']))} replicates lack some."
        )
    told += undertrained(view)
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
    counts = Counter(one.measure for one in view.of(failures.build).collapses)
    if counts:
        listed = [
            f"{count} of {int(view.responses[measure.name].notna().to_numpy().sum())} in "
            f"{measure.title}"
            for measure, count in counts.items()
        ]
        yield (
            f"Some runs collapsed (at chance, or far below their cell): {joined(listed)}. They are "
            "kept."
        )
