"""Several sweeps in words: whether they agree, by how much they differ, what is a task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sweeper.analysis.factors import show
from sweeper.analysis.intervals import LEAST
from sweeper.analysis.measures import words
from sweeper.analysis.wording import capitalised, joined, number, plural
from sweeper.topics.across.estimate import TASKS, Across
from sweeper.topics.best_levels.estimate import Level, LevelComparison
from sweeper.topics.several.estimate import Claimed, Several, SharedFactor, unit_of


def headline(found: Several) -> str:
    """Whether the sweeps agree on which level of the main factor to take."""
    return " ".join(agreement(found, found.shared[0]))


def more(found: Several) -> list[str]:
    """What goes with the headline."""
    main = found.shared[0]
    told = [conditions(main), firmness(main), *budgets(found, main)]
    return [one for one in told if one]


def agreement(found: Several, shared: SharedFactor) -> Iterator[str]:
    """Which levels may be best in all sweeps, and which are beaten in all."""
    if shared.condition:
        yield f"{capitalised(shared.name)} is a condition, not a choice: no level of it is best."
        return
    settled = _settled(shared)
    silent = [one.name for one in found.members if one.name not in settled]
    if not settled:
        yield f"None of the {len(found.members)} sweeps compares levels of {shared.name}."
        return
    tested = [_values(one.levels) for one in settled.values()]
    common = [level for level in tested[0] if all(level in levels for levels in tested)]
    if not common:
        yield f"The sweeps have no level of {shared.name} in common."
        return
    best = {name: [v for v in _values(one.best) if v in common] for name, one in settled.items()}
    yield _best(found, shared, best, common)
    lost = [level for level in common if not any(level in levels for levels in best.values())]
    if lost and len(lost) < len(common):
        verb = "is" if len(lost) == 1 else "are"
        yield f"{capitalised(_named(shared, lost))} {verb} beaten {_all(len(best))}."
    if silent:
        yield f"No comparison in {joined(silent)}."


def _settled(shared: SharedFactor) -> dict[str, LevelComparison]:
    """The comparisons that have intervals and are not withheld, by sweep."""
    return {name: one for name, one in shared.found.items() if one.n >= LEAST and not one.withheld}


def _values(levels: Sequence[Level]) -> list[Any]:
    return [one.value for one in levels]


def _best(
    found: Several, shared: SharedFactor, best: Mapping[str, list[Any]], common: Sequence[Any]
) -> str:
    """Levels that may be best in every sweep, or how the sweeps differ."""
    everywhere = [level for level in common if all(level in levels for levels in best.values())]
    told = {name: _may(shared, levels, [name]) for name, levels in best.items()}
    if len(best) == 1:
        name, text = next(iter(told.items()))
        return f"Only {name} compares levels: {text}."
    if len(everywhere) == len(common):
        return f"No sweep rules out any of {_named(shared, common)}."
    if everywhere:
        text = f"{capitalised(_may(shared, everywhere, list(best)))} {_all(len(best))}"
        return f"{text}{_besides(best, everywhere)}."
    budgets = {one.name: one.budget for one in found.members if one.name in best}
    same = len({shared.found[name].condition for name in best}) == 1
    if same and found.tasks == 1 and len(set(budgets.values())) == len(best):
        parts = [f"{text} at {budgets[name]}" for name, text in told.items()]
        return f"Which {shared.name} to take depends on the budget: {'; '.join(parts)}."
    parts = [f"{text} in {name}" for name, text in told.items()]
    return f"The sweeps do not agree: {'; '.join(parts)}."


def _besides(best: Mapping[str, list[Any]], everywhere: Sequence[Any]) -> str:
    """`; 4 and 16 also in a, 256 also in b`: levels that only some sweeps leave."""
    more = {
        name: [show(level) for level in levels if level not in everywhere]
        for name, levels in best.items()
    }
    told = [f"{joined(levels)} also in {name}" for name, levels in more.items() if levels]
    return f"; {', '.join(told)}" if told else ""


def _may(shared: SharedFactor, levels: Sequence[Any], sweeps: Sequence[str]) -> str:
    """`batch size 2 is best`, where these sweeps leave no other; else that levels may be."""
    if not levels:
        return f"none of the shared levels of {shared.name} may be best"
    own = [shared.found[name] for name in sweeps]
    sole = all(len(one.best) == 1 and not one.pairs.suggestive for one in own)
    return f"{_named(shared, levels)} {'is' if sole else 'may be'} best"


def _named(shared: SharedFactor, levels: Sequence[Any]) -> str:
    """`batch sizes 2 and 8`."""
    name = plural(shared.name) if len(levels) > 1 else shared.name
    return f"{name} {joined([show(one) for one in levels])}"


def conditions(shared: SharedFactor) -> str:
    """Where the levels are compared, if the data of the sweeps have a condition."""
    where = {name: one.condition for name, one in _settled(shared).items()}
    if not any(where.values()):
        return ""
    if len(set(where.values())) == 1:
        return f"Levels are compared at {next(iter(where.values()))}."
    told = [f"{one or 'none'} in {name}" for name, one in where.items()]
    return f"Levels are compared under different conditions: {joined(told)}."


def badge(row: Claimed) -> str:
    """What a sweep says of a level, in a word or two."""
    one = row.level
    if one is None or row.found is None or row.found.n < LEAST:
        return "points only" if one is not None else "no comparison"
    if row.found.withheld:
        return "withheld"
    word = "beaten" if one.beaten else "may be best" if one.open else "best"
    if not one.beaten and not one.open and len(row.found.best) > 1:
        word = "about equal to the best"
    return f"suggests {word}" if row.found.pairs.suggestive and word != "may be best" else word


def firmness(shared: SharedFactor) -> str:
    few = [name for name, one in shared.found.items() if one.pairs.suggestive]
    if not few:
        return ""
    return f"With fewer than five replicates a verdict is at best suggestive: {', '.join(few)}."


def budgets(found: Several, shared: SharedFactor) -> Iterator[str]:
    """What counts as a task, and over how many."""
    if found.tasks < len(found.members):
        yield (
            f"{len(found.members)} sweeps of {_sets(found.tasks)}: sweeps of the same data "
            "stand side by side and count as one task."
        )
    most = max((len(one.tasks) for one in shared.over.values()), default=0)
    if found.tasks > 1 and most < TASKS:
        yield f"An interval over data sets needs {TASKS} of them under one unit of the budget."


def over(shared: SharedFactor) -> str:
    """How the sections on tasks are to be read."""
    told = [text for unit, one in shared.over.items() if (text := _levels(one, unit))]
    told += [
        f"By {unit_of(unit)}, Kendall's W of the rankings over {len(one.tasks)} data sets is "
        f"{one.agreement:.2f} (1: all rank the levels alike, 0: no agreement)."
        for unit, one in shared.over.items()
        if one.agreement == one.agreement and len(one.factor.levels) > 2
    ]
    return " ".join(told)


def profiles(found: Several, shared: SharedFactor) -> str:
    """What the profiles show, and what their score is; empty where there are none."""
    if all(one.profiles is None for one in shared.over.values()):
        return ""
    measure = found.measure
    lowest = measure.direction == "minimize"
    unit = " in %" if measure.unit == "points" else ""
    return (
        f"A performance profile says of each level on how many data sets its mean {measure.title} "
        f"is at or {'below' if lowest else 'above'} a score: every data set counts once, however "
        f"many replicates it has. The score is the {measure.title} on the test split{unit} as it "
        f"is, not scaled: a hard data set lies to the {'right' if lowest else 'left'} for all "
        "levels. Profiles describe; they have no interval."
    )


def _levels(one: Across, unit: str) -> str:
    """The levels that differ from the reference over data sets, where there are enough of them."""
    name, known = (
        one.factor.name,
        [(row, row.difference) for row in one.standings if row.difference and row.difference.known],
    )
    sure = [
        f"{show(row.level)} ({number(change.value, unit=one.measure.unit, signed=True)})"
        for row, change in known
        if change.low > 0 or change.high < 0
    ]
    if not known:
        return ""
    start = f"Over {len(one.tasks)} data sets, by {unit_of(unit)},"
    if not sure:
        return f"{start} no level of {name} is told from {show(one.factor.reference)}."
    verb = "differs" if len(sure) == 1 else "differ"
    return f"{start} {name} {joined(sure)} {verb} from {show(one.factor.reference)}."


def method(found: Several) -> str:
    """A paragraph for a paper."""
    text = (
        f"We compared {len(found.members)} sweeps of {_sets(found.tasks)} on "
        f"{words(found.measure.name)}. The data set was the unit of every statement over sweeps "
        "(Agarwal et al., 2021): replicates were never pooled over data sets, sweeps of the same "
        "data under several budgets counted once, and what was taken over data sets was taken for "
        "each unit of the budget by itself."
    )
    if any(len(one.tasks) >= TASKS for factor in found.shared for one in factor.over.values()):
        text += " Mean differences over data sets have paired t intervals, adjusted by Holm."
    return text


def _sets(count: int) -> str:
    return "1 data set" if count == 1 else f"{count} data sets"


def _all(count: int) -> str:
    if count == 1:
        return "there"
    return "in both sweeps" if count == 2 else f"in all {count} sweeps"
