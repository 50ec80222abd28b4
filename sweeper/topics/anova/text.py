"""What each factor explains, in short sentences."""

from __future__ import annotations

from collections.abc import Iterator

from sweeper.analysis.view import SweepView
from sweeper.analysis.wording import SMALL, capitalised, joined, percent
from sweeper.topics.anova.estimate import Anova, build
from sweeper.topics.anova.estimate import Explained as Explained


def explained(one: Anova) -> Iterator[str]:
    """What each factor explains, what stands out from the noise, and what the noise is."""
    seen = sorted((e for e in one.effects if e.share >= SMALL), key=lambda e: -e.share)
    if not seen:
        yield "Nothing that the factors do stands out from the noise."
        return
    parts = [f"{e.name} {percent(e.share)}" for e in seen]
    yield f"Of what the factors explain: {joined(parts)}."
    start = "The runs suggest that " if one.suggestive else ""
    sure = [e.name for e in one.effects if e.clear]
    unsure = [e.name for e in one.effects if not e.clear]
    if sure:
        verb = "stands" if len(sure) == 1 else "stand"
        yield capitalised(f"{start}{joined(sure)} {verb} out from the noise.")
    if unsure:
        yield f"Undecided: {joined(unsure)}."
    yield (
        f"Within a replicate, the factors make {percent(one.explained)} of the variance of a run; "
        "the rest is noise."
    )


def caution(one: Anova) -> str:
    """Where the verdict depends on equal variances; may be empty."""
    changed = [e for e in one.effects if _leans_on_equal_variances(e)]
    if not changed:
        return ""
    names = joined([e.name for e in changed])
    return f"Only if all cells had the same noise, these would stand out as well: {names}."


def _leans_on_equal_variances(one: Explained) -> bool:
    return one.p_adjusted < one.alpha and not one.clear


def methods(view: SweepView) -> Iterator[str]:
    """The sentences for the methods paragraph; none where the page shows nothing of it."""
    if isinstance(view.of(build), Anova):
        yield (
            "Effects in the factorial analysis of variance are reported with intervals from the "
            "noncentral F distribution (Steiger, 2004); p values of interactions control the "
            "false discovery rate (Benjamini and Hochberg, 1995)."
        )
