"""Which level to take, what the others cost, the shape and the price, in short sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from sweeper.analysis import held, stopping_text
from sweeper.analysis.factors import show
from sweeper.analysis.intervals import LEAST
from sweeper.analysis.pairs import ShapeKind
from sweeper.analysis.verdicts import Verdict, Word, no_interval_at
from sweeper.analysis.view import SweepView
from sweeper.analysis.wording import FIXED, capitalised, joined, number, plural
from sweeper.topics.best_levels.estimate import (
    BrokenLevel,
    Elsewhere,
    Level,
    LevelComparison,
    build,
)

MOST_NAMED = 12  # levels in a sentence
UNNAMED = frozenset({None, True, False, "none"})  # levels that say nothing without their factor


def answer(one: LevelComparison) -> str:
    """`At train ratio 0.05, take batch size 2 or 8: they cannot be told apart at the top.`"""
    start = f"at {one.condition}, " if one.condition else ""
    if one.unmet:
        named = joined(
            list(dict.fromkeys(text for level in one.broken for text in level.constraints))
        )
        mean = f"by its mean on {one.split}"
        return capitalised(
            f"{start}no {one.factor.name} satisfies {named} {mean}: none is recommended."
        )
    if one.withheld:
        start = f"withheld: {one.withheld}. As tuned, {start}"
    return capitalised(" ".join([f"{start}{_take(one)}.", *costs(one), *breaking(one)]))


def _take(one: LevelComparison) -> str:
    name, top = one.factor.name, _listed(one, one.best, "or")
    suggest = one.pairs.suggestive
    if one.broken and len(one.levels) == 1:
        return f"take {top}, which alone is within the bounds"
    if one.n < LEAST:
        return f"no {name} can be ruled out: {no_interval_at(one.n)}"
    if not one.beaten and not one.open:
        verb = "the runs suggest that any" if suggest else "any"
        return f"{verb} {name} will do: {_listed(one, one.best, 'and')} are {_equal(one)}"
    if not one.beaten:
        every = _listed(one, one.best, "and")
        return f"no {name} can be ruled out: {every} cannot be told apart"
    verb = "the runs suggest" if suggest else "take"
    if len(one.best) == 1:
        return f"{verb} {top}"
    why = "they cannot be told apart at the top" if one.open else f"they are {_equal(one)}"
    return f"{verb} {top}: {why}"


def _equal(one: LevelComparison) -> str:
    return f"about equal, all within {size(one, one.margin or 0.0)} of the best"


def size(one: LevelComparison, value: float) -> str:
    """A size in the measure's unit: `1 point`, `4.6 points`, `0.021`."""
    unit = one.measure.unit
    if unit == "points" and value == 1:
        return "1 point"
    return f"{number(value, unit=unit)} {unit}".strip()


def _listed(one: LevelComparison, levels: Sequence[Level | BrokenLevel], word: str) -> str:
    """`batch size 2, 8 or 32`, or `batch size 2, 8, 32 and 990 more`.

    Words that say nothing alone keep the factor's name.
    """
    bare = any(level.value in UNNAMED for level in levels)
    name = one.factor.name
    shown = [f"{name} {show(level.value)}" if bare else show(level.value) for level in levels]
    if len(shown) > MOST_NAMED:
        shown = [*shown[: MOST_NAMED - 1], f"{len(shown) - MOST_NAMED + 1:,} more"]
    text = joined(shown).replace(" and ", f" {word} ") if word == "or" else joined(shown)
    return text if bare else f"{name} {text}"


def costs(one: LevelComparison) -> Iterator[str]:
    """`128 costs 29.5 to 84.4 points of minority accuracy (95 %, all at once, n = 5).`"""
    if not one.beaten:
        return
    parts = [_cost(one, level, first=at == 0) for at, level in enumerate(one.beaten[:MOST_NAMED])]
    if more := len(one.beaten) - len(parts):
        parts.append(f"{more:,} more levels cost something")
    yield capitalised(f"{joined(parts)} (95{FIXED}%, all at once, n{FIXED}={FIXED}{one.n}).")


def breaking(one: LevelComparison) -> Iterator[str]:
    """`Batch size 2 breaks majority_accuracy >= 0.9 by its mean on val, and is left out.`"""
    for text in dict.fromkeys(text for level in one.broken for text in level.constraints):
        levels = [level for level in one.broken if text in level.constraints]
        many = len(levels) > 1
        yield capitalised(
            f"{_listed(one, levels, 'and')} {'break' if many else 'breaks'} {text} by "
            f"{'their means' if many else 'its mean'} on {one.split}, and "
            f"{'are' if many else 'is'} left out."
        )


def _cost(one: LevelComparison, level: Level, *, first: bool) -> str:
    unit, title = one.measure.unit, one.measure.title
    least, most = level.standing.least, level.standing.most
    span = f"{number(least, unit=unit)} to {number(most, unit=unit)}"
    if not math.isfinite(most):
        span = f"at least {number(least, unit=unit)}"
    amount = f"{span} {unit}".strip()
    small = one.margin is not None and most <= one.margin
    name = named(one, level)
    if one.measure.direction == "minimize":
        text = f"{name} raises {title} by {amount}" if first else f"{name} by {amount}"
    else:
        text = f"{name} costs {amount}" + (f" of {title}" if first else "")
    return f"{text}, less than matters" if small else text


def named(one: LevelComparison, level: Level) -> str:
    """A level as a sentence names it."""
    text = show(level.value)
    bare = level.value in UNNAMED
    return f"{one.factor.name} {text}" if bare else text


def shape(one: LevelComparison) -> str:
    """`Minority accuracy falls from batch size 128 on, at the latest.`; empty if not decided."""
    found, name = one.shape, one.factor.name
    title = one.measure.title if one.pairs.suggestive else capitalised(one.measure.title)
    if found is None or one.withheld or len(one.levels) < 3:
        return ""
    start = "The runs suggest: " if one.pairs.suggestive else ""
    lower = one.measure.direction == "minimize"
    falls, rises = ("rises", "falls") if lower else ("falls", "rises")
    match found.kind:
        case ShapeKind.FALLS if found.start == one.levels[-1].value:
            return f"{start}{title} {falls} at {name} {show(found.start)}, if not before."
        case ShapeKind.FALLS:
            return f"{start}{title} {falls} from {name} {show(found.start)} on, at the latest."
        case ShapeKind.RISES:
            return f"{start}{title} {rises} at least up to {name} {show(found.start)}."
        case ShapeKind.BETWEEN if found.start == found.end:
            return f"{start}{title} is best at {name} {show(found.start)}, worse on both sides."
        case ShapeKind.BETWEEN:
            ends = f"{show(found.start)} and {show(found.end)}"
            return f"{start}{title} is best between {name} {ends}, worse on both sides."
        case ShapeKind.DIPS:
            worst = "peaks" if lower else "dips"
            return f"{start}{title} has no simple shape: it {worst} at {name} {show(found.start)}."
        case _:
            return ""


def behind(one: LevelComparison) -> str:
    """How far the levels that may be best can lie behind the best; empty where they are settled."""
    known = [level for level in one.open if math.isfinite(level.standing.most)]
    if not known or one.withheld:
        return ""
    most = max(level.standing.most for level in known)
    who = "Any of them" if len(one.best) > 2 else "Either"
    lead = min(one.best, key=lambda level: level.standing.mean)
    word = "lowest" if one.measure.direction == "minimize" else "highest"
    return (
        f"{who} may be up to {size(one, most)} behind the best; {named(one, lead)} has the {word} "
        "mean."
    )


def elsewhere(one: LevelComparison) -> str:
    """`At train ratio 1 the means of any two differ by at most 1.6 points.`"""
    told = [_elsewhere(one, here) for here in one.elsewhere]
    return capitalised(f"{'; '.join(told)}.") if told else ""


def _elsewhere(one: LevelComparison, here: Elsewhere) -> str:
    allowed = ""
    if math.isfinite(here.most):
        allowed = f" (the intervals allow {number(here.most, unit=one.measure.unit)}"
        allowed += f", n{FIXED}={FIXED}{here.n})" if here.n != one.n else ")"
    many = plural(one.factor.name)
    return (
        f"at {here.factor.name} {show(here.at)} the means of any two {many} differ by at most "
        f"{size(one, here.spread)}{allowed}"
    )


def settling(one: LevelComparison) -> str:
    """What would settle the levels that are open, and its price; empty where nothing is open."""
    priced = [level for level in one.open if level.need is not None]
    if not priced or one.withheld or one.n < LEAST:
        return ""
    cheapest = min(priced, key=lambda level: level.need.replicates if level.need else 0)
    need = cheapest.need
    assert need is not None  # noqa: S101  filtered above
    verdict = Verdict(Word.UNDECIDED, needed=need.replicates, price=cheapest.price)
    goal = f"show {named(one, cheapest)} about equal to the best, if it is"
    if not need.equal:
        goal = f"separate {named(one, cheapest)} from the best, for a difference of the size seen"
    return stopping_text.price(verdict, goal=goal)


def more(one: LevelComparison) -> list[str]:
    """What goes with the answer."""
    told = [shape(one), behind(one), settling(one), elsewhere(one)]
    return [text for text in told if text]


def basis(one: LevelComparison) -> str:
    """What the answer rests on."""
    where = f" at {one.condition}" if one.condition else ""
    if one.pairs.told < LEAST:
        return f"{capitalised(one.measure.title)}{where}; n{FIXED}={FIXED}{one.n}, no interval."
    rule = f" ({one.pairs.rule})" if one.pairs.rule else ""
    family = one.pairs.family
    many = f", all {family} pairs at once" if family > 1 else ""
    return (
        f"Change against the best level in {one.measure.title}{where}; 95{FIXED}% paired t "
        f"intervals{rule}{many}, n{FIXED}={FIXED}{one.n} replicates."
    )


def badge(one: LevelComparison) -> str:
    """How far the question is answered, in a word or two."""
    if one.unmet:
        return "none satisfies"
    if one.withheld:
        return "withheld"
    if one.n < LEAST:
        return "points only"
    ruled_out = f"{len(one.beaten)} of {len(one.levels)} ruled out"
    word = "decided" if not one.open else ruled_out if one.beaten else "undecided"
    return f"suggestive: {word}" if one.pairs.suggestive and word != "undecided" else word


def methods(view: SweepView) -> Iterator[str]:
    """The sentences for the methods paragraph; none where the page shows nothing of it."""
    if view.of(build) and view.replicates >= LEAST:
        yield (
            "Levels were compared within replicates by paired t intervals that hold jointly with "
            "at least 95 % confidence (Bonferroni over all pairs, own variance for each). A level "
            "is beaten if it is worse than another by such an interval; best levels, costs and "
            "shape follow from these intervals alone. "
            f"{held.of_comparisons(view.replicates)}"
        )
