"""The screening of many cells: each with the rule that dropped it, or with its fresh replicates."""

from __future__ import annotations

from sweeper.analysis import words_screening
from sweeper.analysis.answer import Answer
from sweeper.analysis.factors import name_of, show
from sweeper.analysis.frames import Frames
from sweeper.analysis.measures import words
from sweeper.analysis.screening import Row, Screened
from sweeper.analysis.verdicts import number
from sweeper.report.drawing import Section
from sweeper.report.tables import MOST_ROWS, Table

METHOD = (
    "A cell went on to fresh replicates unless another beat it on the validation split within the "
    "screening replicates (one-sided paired t, Bonferroni). "
)


def section(frames: Frames, found: Answer) -> Section | None:
    del frames
    one = found.screened
    if one is None:
        return None
    told = [words_screening.headline(one), words_screening.leader(one), METHOD.strip(),
            words_screening.EXPLORATORY]  # fmt: skip
    tables = (("The numbers", table(one)),) if one.rows else ()
    return Section("screening", "Which cells screening left", " ".join(filter(None, told)),
                   tables=tables)  # fmt: skip


def table(one: Screened) -> Table:
    """Every cell, those that looked best in screening first."""
    paths = list(dict.fromkeys(path for row in one.rows for path in row.levels))
    unit = "%" if one.measure.unit == "points" else "its own unit"
    head = [*map(name_of, paths), "screening", "in screening (val)", "n (val)", "each replicate",
            "fresh mean (test)", "95 % interval", "n (test)", "may be the best"]  # fmt: skip
    more = f"The first {MOST_ROWS} of {len(one.rows)} cells; `sweeper export` has all. "
    return Table(
        f"Screening: {words(one.measure.name)}, in {unit}", tuple(head),
        tuple(_cells(one, row, paths) for row in one.rows[:MOST_ROWS]),
        frozenset(range(len(paths) + 1, len(head) - 1)),
        (more if len(one.rows) > MOST_ROWS else "")
        + f"In screening: the mean over {one.screen} replicates, which flatters whoever looks best "
        f"and so has no interval. Fresh: a t interval over {one.confirm} replicates that the "
        "screening has not seen, each on its own, test set fixed. May be the best: no other cell "
        "that was left beats it on the fresh replicates.",
    )  # fmt: skip


def _cells(one: Screened, row: Row, paths: list[str]) -> tuple[str, ...]:
    unit, fresh = one.measure.unit, row.fresh
    sure = {None: "n/a", True: "yes", False: "no"}[row.may_be_best]
    values = ", ".join(number(value, unit=unit) for value in row.values) or "n/a"
    low, high = (fresh.low, fresh.high) if fresh and fresh.known else (None, None)
    return (
        *[show(row.levels[path]) if path in row.levels else "n/a" for path in paths],
        words_screening.fate(row), number(row.mean, unit=unit), str(len(row.values)), values,
        number(fresh.value, unit=unit) if fresh else "n/a",
        f"{number(low, unit=unit)} to {number(high, unit=unit)}" if low is not None
        and high is not None else "n/a",
        str(fresh.n) if fresh else "0", sure,
    )  # fmt: skip
