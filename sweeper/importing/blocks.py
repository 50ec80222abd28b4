"""Which runs may be compared: those of one budget, in blocks of one replicate each."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from sweeper.analysis.factors import show
from sweeper.importing.columns import Columns
from sweeper.importing.rows import ForeignRun, Rules, level
from sweeper.importing.source import Source
from sweeper.spec.factors import Level
from sweeper.states import Ending, RunState

LARGEST = 2**31 - 1  # of a replicate's number


def budget(
    source: Source, columns: Columns, runs: list[ForeignRun], rules: Rules
) -> tuple[list[ForeignRun], int]:
    """The runs, and the epochs that all complete runs have; 0 where a factor sets them.

    Epochs are counted from 1 on.

    Raises:
        InputError: complete runs end at different epochs, and no factor says so.
    """
    first = min((int(one.epochs[0]) for one in runs if len(one.epochs)), default=1)
    if first == 0:
        runs = [replace(one, epochs=one.epochs + 1) for one in runs]
    if not columns.epoch:
        return runs, 0
    ends = Counter(int(one.epochs[-1]) for one in runs if one.state is RunState.COMPLETE)
    if len(ends) <= 1 or _set_by_a_factor(columns, runs):
        return runs, next(iter(ends), 0) if len(ends) == 1 else 0
    whole = max(ends) if rules.pruned else ends.most_common(1)[0][0]
    odd = [one for one in runs if one.state is RunState.COMPLETE and one.epochs[-1] != whole]
    if rules.pruned:
        pruned = {id(one) for one in odd}
        return [
            replace(one, state=RunState.PRUNED, ending=Ending.PRUNED) if id(one) in pruned else one
            for one in runs
        ], whole
    raise source.problem(
        f"run {odd[0].name} ends at epoch {odd[0].epochs[-1] - (first == 0)} and most runs at "
        f"{whole - (first == 0)}: runs of mixed budgets are not compared; --short pruned takes the "
        "shorter ones as stopped early, --state COLUMN says how each run ended",
        row=odd[0].row,
    )


def _set_by_a_factor(columns: Columns, runs: Sequence[ForeignRun]) -> bool:
    """Whether a factor is the number of epochs of each complete run, or one epoch off."""
    complete = [one for one in runs if one.state is RunState.COMPLETE]
    for name in columns.factors:
        levels = [one.factors.get(name) for one in complete]
        if all(isinstance(level, int) and not isinstance(level, bool) for level in levels):
            pairs = zip(levels, complete, strict=True)
            if len({int(level or 0) - int(one.epochs[-1]) for level, one in pairs}) == 1:
                return True
    return False


def replicates(
    source: Source, columns: Columns, runs: list[ForeignRun]
) -> tuple[list[ForeignRun], bool, list[str]]:
    """The runs with their replicates, whether these pair the cells, and remarks.

    Raises:
        InputError: a cell has a replicate twice.
    """
    sizes = Counter(cell_key(one.factors) for one in runs)
    if max(sizes.values()) == 1 and not _one_replicate(source, columns, runs):
        return runs, False, ["No setting was run twice: how much repeated runs differ is unknown."]
    if not columns.replicate:
        return _shuffled(runs), False, [UNPAIRED]
    numbers = _numbered(source.frame[columns.replicate])
    seen: dict[tuple[str, int], ForeignRun] = {}
    found = []
    for one in runs:
        value = source.frame[columns.replicate][one.row]
        if pd.isna(value):
            raise source.problem(f"replicate {columns.replicate} is missing", row=one.row)
        made = replace(one, replicate=numbers[value])
        before = seen.setdefault((cell_key(one.factors), made.replicate), made)
        if before is not made:
            levels = ", ".join(f"{name} {show(level)}" for name, level in one.factors.items())
            raise source.problem(
                f"{levels}: replicate {value} is there twice (first in {source.where(before.row)})",
                row=one.row,
            )
        found.append(made)
    return found, True, []


UNPAIRED = (
    "No column names the replicate: repeated runs are taken as independent, and are matched "
    "between cells at random. They share no luck, so differences are known less exactly than by "
    "paired runs."
)


def _one_replicate(source: Source, columns: Columns, runs: Sequence[ForeignRun]) -> bool:
    """Whether all runs have the same replicate, so that single runs share it."""
    if not columns.replicate:
        return False
    return len({str(source.frame[columns.replicate][one.row]) for one in runs}) == 1


def _numbered(values: pd.Series) -> dict[Any, int]:
    """The replicate's number for each value: itself, or its place in the order of values."""
    levels = sorted(values.dropna().unique(), key=lambda one: (str(type(one)), one))
    plain_numbers = [level(one) for one in levels]
    if all(isinstance(one, int) and 0 <= one <= LARGEST for one in plain_numbers):
        return {
            level: int(number or 0) for level, number in zip(levels, plain_numbers, strict=True)
        }
    return {level: at for at, level in enumerate(levels)}


def _shuffled(runs: list[ForeignRun]) -> list[ForeignRun]:
    """Repeats numbered in an order that has nothing to do with their results.

    A table may be sorted by its results. Numbered in its order, the best runs of all cells would
    meet, and differences would look more exact than they are.
    """

    def mixed(one: ForeignRun) -> bytes:
        return hashlib.sha256(f"{one.name}\0{one.row}".encode()).digest()

    count: Counter[str] = Counter()
    numbers: dict[int, int] = {}
    for one in sorted(runs, key=mixed):
        key = cell_key(one.factors)
        numbers[one.row] = count[key]
        count[key] += 1
    return [replace(one, replicate=numbers[one.row]) for one in runs]


def cell_key(factors: Mapping[str, Level]) -> str:
    """Equal for equal levels."""
    return json.dumps(factors, sort_keys=True)


def gaps(source: Source, columns: Columns) -> list[str]:
    """A remark where the runs' numbers have gaps: runs that left no row."""
    if not columns.run or not columns.epoch:
        return []
    values = source.frame[columns.run]
    if not pd.api.types.is_integer_dtype(values):
        return []
    known = set(values)
    low, high = min(known), max(known)
    missing = high - low + 1 - len(known)
    if low not in (0, 1) or not 0 < missing < len(known):
        return []
    return [
        f"{missing} of the runs {low} to {high} have no row: they may have failed before their "
        "first number, and the table does not say at which settings."
    ]
