"""Several sweeps in words: whether they agree, by how much they differ, what is a task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sweeper.analysis.factors import show
from sweeper.analysis.measures import words
from sweeper.analysis.verdicts import Word
from sweeper.analysis.wording import FIXED, capitalised, interval, joined, number
from sweeper.topics.across.estimate import TASKS, Across
from sweeper.topics.several.estimate import Claimed, Gap, Several, SharedFactor, unit_of

OPEN = {Word.UNDECIDED: "undecided", Word.WITHHELD: "withheld", Word.UNKNOWN: "without a verdict"}


def headline(found: Several) -> str:
    """Whether the sweeps agree on the main factor."""
    return " ".join(agreement(found, found.shared[0]))


def more(found: Several) -> list[str]:
    """What goes with the headline."""
    main = found.shared[0]
    told = [sizes(main.gaps, unit=found.measure.unit), firmness(main), *budgets(found, main)]
    return [one for one in told if one]


def agreement(found: Several, shared: SharedFactor) -> Iterator[str]:
    """A sentence for the trend, or one for each level and its reference."""
    kinds = dict.fromkeys((one.level, one.reference) for one in shared.rows if _told(one))
    if not kinds:
        yield f"None of the {len(found.members)} sweeps has a verdict on {shared.name}."
    for kind in kinds:
        rows = [one for one in shared.rows if (one.level, one.reference) == kind]
        yield _agreement(found, shared, rows)


def _told(row: Claimed) -> bool:
    return bool(row.step) or row.level is not None or row.reference is not None


def _agreement(found: Several, shared: SharedFactor, rows: Sequence[Claimed]) -> str:
    decided: dict[str, list[Claimed]] = {}
    for one in rows:
        if one.verdict.word not in OPEN:
            decided.setdefault(_clause(found, shared, one), []).append(one)
    if not decided:
        subject = _subject(found, shared, rows[0])
        return capitalised(f"{_none(len(rows))} {subject}: {_open(rows)}.")
    if len(decided) > 1:
        return _apart(decided, rows)
    [(clause, agreed)] = decided.items()
    rest = _open(rows)
    if not rest:
        return capitalised(f"{_all(len(rows))} {clause}{_by(found, agreed)}.")
    return f"In {len(agreed)} of {len(rows)} sweeps {clause}{_by(found, agreed)}; {rest}."


def _apart(decided: dict[str, list[Claimed]], rows: Sequence[Claimed]) -> str:
    rest = _open(rows)
    tail = f"; {rest}" if rest else ""
    units = {clause: {one.member.unit for one in agreed} for clause, agreed in decided.items()}
    exclusive = sum(map(len, units.values())) == len(set().union(*units.values()))
    if exclusive and _one_task(list(decided.values())):
        parts = [
            f"by {joined([unit_of(one) for one in sorted(of)])} {clause}"
            for clause, of in units.items()
        ]
        return f"The verdict depends on the budget: {', '.join(parts)}{tail}."
    parts = [f"{clause} in {_named(agreed)}" for clause, agreed in decided.items()]
    return f"The sweeps do not agree: {'; '.join(parts)}{tail}."


def _one_task(groups: Sequence[Sequence[Claimed]]) -> bool:
    """Whether some data set is in every group: else data set and budget change together."""
    tasks = [{one.member.task for one in group} for group in groups]
    return bool(set.intersection(*tasks))


def _clause(found: Several, shared: SharedFactor, row: Claimed) -> str:
    """`minority accuracy falls with batch size`, `mixup is better than none`."""
    if row.step:
        if row.verdict.word is Word.EQUIVALENT:
            return f"{found.measure.title} hardly changes with {shared.name}"
        verb = "rises" if row.estimate.value > 0 else "falls"
        return f"{found.measure.title} {verb} with {shared.name}"
    level = _level(shared, row)
    if row.verdict.word is Word.EQUIVALENT:
        return f"{level} is about equal to {show(row.reference)}"
    return f"{level} is {row.verdict.word} than {show(row.reference)}"


def _subject(found: Several, shared: SharedFactor, row: Claimed) -> str:
    if row.step:
        return f"tells whether {found.measure.title} changes with {shared.name}"
    return f"tells {_level(shared, row)} from {show(row.reference)}"


def _level(shared: SharedFactor, row: Claimed) -> str:
    return f"{shared.name} {show(row.level)}"


def _by(found: Several, rows: Sequence[Claimed]) -> str:
    """`, by 0.6 to 2.6 points with each doubling of batch size`, where all have one step."""
    if (
        not found
        or len({one.step for one in rows}) > 1
        or any(one.verdict.word is Word.EQUIVALENT for one in rows)
    ):
        return ""
    unit, at = found.measure.unit, sorted(abs(one.estimate.value) for one in rows)
    ends = [number(one, unit=unit) for one in (at[0], at[-1])]
    span = ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"
    step = f" with each {rows[0].step}" if rows[0].step else ""
    return f", by {span} {unit}".rstrip() + step


def _open(rows: Sequence[Claimed]) -> str:
    """`undecided in 1 (b)`; empty when all are decided."""
    parts = []
    for word, said in OPEN.items():
        of = [one for one in rows if one.verdict.word is word]
        if of:
            parts.append(f"{said} in {_named(of)}")
    return ", ".join(parts)


def _named(rows: Sequence[Claimed]) -> str:
    return f"{len(rows)} ({', '.join(one.member.name for one in rows)})"


def sizes(gaps: Sequence[Gap], *, unit: str) -> str:
    """Whether the trends differ in size; never that they do not."""
    known = [one for one in gaps if one.estimate.known]
    if not known:
        return ""
    sure = [one for one in known if one.estimate.low > 0 or one.estimate.high < 0]
    many = f", simultaneous over {len(gaps)} pairs" if len(gaps) > 1 else ""
    if not sure:
        return f"The sizes do not differ by more than chance explains{many}; this is no proof."
    most = max(sure, key=lambda one: abs(one.estimate.value))
    size = f"{number(most.estimate.value, unit=unit, signed=True)} {unit}".strip()
    return (
        f"The sizes differ by more than chance: {most.one} minus {most.two} is {size} "
        f"({interval(most.estimate, unit=unit)}; 95{FIXED}%{FIXED}t interval{many}; exploratory)."
    )


def firmness(shared: SharedFactor) -> str:
    few = dict.fromkeys(one.member.name for one in shared.rows if one.verdict.suggestive)
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
        "each unit of the budget by itself. Trends of two sweeps were compared by t intervals over "
        "replicates, paired where both used the same data and Welch's otherwise, simultaneous over "
        "pairs (Bonferroni)."
    )
    if any(len(one.tasks) >= TASKS for factor in found.shared for one in factor.over.values()):
        text += " Mean differences over data sets have paired t intervals, adjusted by Holm."
    return text


def _sets(count: int) -> str:
    return "1 data set" if count == 1 else f"{count} data sets"


def _all(count: int) -> str:
    return "in both sweeps" if count == 2 else f"in all {count} sweeps"


def _none(count: int) -> str:
    return "neither sweep" if count == 2 else f"none of the {count} sweeps"
