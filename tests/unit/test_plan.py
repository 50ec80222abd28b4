"""The order of runs and the make-up of packs: balanced at every moment, never left to chance."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeper import plan
from sweeper.plan import Price
from sweeper.states import RunState
from sweeper.store.records import Cell, NewPack, Run
from trainers.config import Config


def cell(number: int, factors: dict[str, Any], *, replicates: int, config: Any = None) -> Cell:
    return Cell(
        id=number,
        sweep_id=1,
        hash=str(number),
        role="report",
        factors=factors,
        config=config or Config().model_dump(mode="json"),
        class_counts=(5, 5),
        replicates=tuple(range(replicates)),
        mirrored=False,
        hidden=False,
    )


def run(number: int, of: int, replicate: int, state: RunState = RunState.PENDING) -> Run:
    return Run(
        id=number, cell_id=of, replicate=replicate, state=state, epoch=0, value=None, ending=None,
        error="", seconds=0.0,
    )  # fmt: skip


def runs_of(cells: list[Cell]) -> list[Run]:
    pairs = [(one.id, replicate) for one in cells for replicate in one.replicates]
    return [run(number, *pair) for number, pair in enumerate(pairs)]


def factorial(shape: list[int], *, replicates: int) -> list[Cell]:
    combinations = product(*map(range, shape))
    return [
        cell(number, dict(zip("abcd", combination, strict=False)), replicates=replicates)
        for number, combination in enumerate(combinations)
    ]


def sized(sizes: list[int], *, replicates: int) -> list[Cell]:
    """Cells of one batch size each: one pack key a cell."""
    return [
        cell(
            number,
            {"train.batch_size": size},
            replicates=replicates,
            config=Config.model_validate({"train": {"batch_size": size}}).model_dump(mode="json"),
        )
        for number, size in enumerate(sizes)
    ]


def price(one: Cell, seconds: dict[int, float], steps: int = 100) -> tuple[str, Price]:
    key = plan.pack_key(one.config)
    return key, Price(key=key, seconds_per_step=seconds, form="folded", steps_per_run=steps)


@settings(max_examples=60)
@given(st.lists(st.integers(2, 5), min_size=1, max_size=3), st.integers(1, 3))
def test_every_prefix_is_balanced_over_levels_and_replicates(
    shape: list[int], replicates: int
) -> None:
    """Stopped at any moment, no level of any factor is more than two runs ahead of another."""
    cells = factorial(shape, replicates=replicates)
    seen: dict[str, Counter[int]] = {
        name: Counter(dict.fromkeys(range(size), 0))
        for name, size in zip("abcd", shape, strict=False)
    }
    per_cell: Counter[int] = Counter(dict.fromkeys((one.id for one in cells), 0))
    for one in plan.order_runs(cells, runs_of(cells)):
        per_cell[one.cell_id] += 1
        assert max(per_cell.values()) - min(per_cell.values()) <= 1
        for name, counts in seen.items():
            counts[cells[one.cell_id].factors[name]] += 1
            assert max(counts.values()) - min(counts.values()) <= 2


@settings(max_examples=40)
@given(st.lists(st.integers(2, 4), min_size=2, max_size=3), st.randoms(use_true_random=False))
def test_an_unbalanced_rest_is_balanced_by_shares(shape: list[int], random: Any) -> None:
    """When only some runs are missing, each level comes along in proportion to what it needs."""
    cells = factorial(shape, replicates=1)
    some = [one for one in cells if random.random() < 0.6] or cells
    total = {name: Counter(one.factors[name] for one in some) for name in some[0].factors}
    seen = {name: Counter(dict.fromkeys(counts, 0)) for name, counts in total.items()}
    ordered = plan.order_runs(cells, [run(one.id, one.id, 0) for one in some])
    for done, one in enumerate(ordered, start=1):
        for name, counts in seen.items():
            counts[cells[one.cell_id].factors[name]] += 1
            for level, number in counts.items():
                assert abs(number - done * total[name][level] / len(some)) <= 2.5


@settings(max_examples=40)
@given(st.lists(st.integers(2, 4), min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_the_order_holds_every_run_once_and_depends_on_nothing_else(
    shape: list[int], random: Any
) -> None:
    """Runs in any order give one order: a plan made again is the same plan."""
    cells = factorial(shape, replicates=2)
    runs = runs_of(cells)
    shuffled = random.sample(runs, len(runs))
    ordered = plan.order_runs(cells, runs)
    assert plan.order_runs(cells, shuffled) == ordered
    assert sorted(one.id for one in ordered) == [one.id for one in runs]


def test_replicates_come_one_after_the_other() -> None:
    """Cells are compared within replicates, so an unfinished replicate is at most one."""
    cells = sized([2, 8, 32], replicates=2)
    assert [one.replicate for one in plan.order_runs(cells, runs_of(cells))] == [0, 0, 0, 1, 1, 1]


def test_tuning_replicates_count_downwards() -> None:
    """-1 comes before -2, as 0 before 1."""
    cells = sized([2, 8], replicates=1)
    runs = [run(i, i % 2, -1 - i // 2) for i in range(4)]
    assert [one.replicate for one in plan.order_runs(cells, runs)] == [-1, -1, -2, -2]


def test_a_thousand_cells_are_ordered_in_no_time() -> None:
    """The window keeps the cost of a place constant."""
    cells = factorial([10, 10, 10], replicates=1)
    ordered = plan.order_runs(cells, runs_of(cells))
    first = Counter(cells[one.cell_id].factors["a"] for one in ordered[:100])
    assert set(first.values()) == {10}


@pytest.mark.parametrize(
    ("seconds", "available", "cap", "best"),
    [
        ({1: 4.0, 5: 8.0, 10: 20.0}, 20, 100, 5),
        ({1: 4.0, 5: 8.0, 10: 20.0}, 4, 100, 4),
        ({1: 4.0, 5: 8.0, 10: 12.0}, 20, 5, 5),
        ({1: 4.0, 5: 8.0, 10: 12.0}, 20, 100, 10),
        ({1: 1.0, 5: 6.0}, 20, 100, 1),
        ({1: 1.0, 2: 2.0}, 20, 100, 1),
        ({5: 1.0}, 2, 100, 1),
    ],
)
def test_the_cheapest_k_is_the_one_of_least_seconds_a_run(
    seconds: dict[int, float], available: int, cap: int, best: int
) -> None:
    """Never more than there are runs, but as many where that pays; of equals the smaller."""
    one = Price(key="k", seconds_per_step=seconds, form="folded", steps_per_run=1)
    assert plan.best_k(one, available, cap) == best


def test_prices_between_measurements_are_read_off_a_line() -> None:
    """And held beyond the ends: nothing is known there."""
    one = Price(key="k", seconds_per_step={5: 2.0, 1: 1.0}, form="folded", steps_per_run=10)
    assert [one.seconds(k) for k in (1, 3, 5, 9)] == [10.0, 15.0, 20.0, 20.0]


def test_a_price_survives_json() -> None:
    """It is kept in the database with the plan."""
    one = Price(key="k", seconds_per_step={1: 0.5, 10: 2.0}, form="folded", steps_per_run=7)
    assert Price.read(json.loads(json.dumps(one.dump()))) == one
    measured = replace(one, memory={1: 7, 10: 8}, context=2, device_memory=90)
    assert Price.read(json.loads(json.dumps(measured.dump()))) == measured


def test_a_price_of_an_earlier_sweeper_lacks_the_memory() -> None:
    """It is read all the same: a sweep goes on with the numbers it has."""
    one = Price(key="k", seconds_per_step={1: 0.5}, form="folded", steps_per_run=7)
    saved = one.dump()
    for newer in ("memory", "context", "device_memory"):
        del saved[newer]
    assert Price.read(saved) == one


def test_a_pack_shares_one_key_and_every_run_is_in_one() -> None:
    """Runs of different batch sizes cannot be one model."""
    cells = sized([2, 8, 32], replicates=5)
    runs = runs_of(cells)
    prices = dict(price(one, {1: 4.0, 5: 8.0}) for one in cells)
    made = plan.packs(plan.order_runs(cells, runs), cells, prices, pack="auto")
    owner = {one.id: one.cell_id for one in runs}
    assert sorted(number for pack in made for number in pack.run_ids) == [one.id for one in runs]
    for pack in made:
        assert {plan.pack_key(cells[owner[one]].config) for one in pack.run_ids} == {pack.key}
        assert (pack.form, pack.seconds, len(pack.run_ids)) == ("folded", 800.0, 5)


@pytest.mark.parametrize(
    ("number", "pack", "sizes"),
    [(5, 4, [2, 3]), (10, 4, [3, 3, 4]), (4, 4, [4]), (3, 1, [1, 1, 1]), (2, 8, [2])],
)
def test_parts_are_few_and_even(number: int, pack: int, sizes: list[int]) -> None:
    """4 + 1 would leave one worker with four fifths of the work."""
    cells = sized([2], replicates=number)
    made = plan.packs(plan.order_runs(cells, runs_of(cells)), cells, {}, pack=pack)
    assert sorted(len(one.run_ids) for one in made) == sizes


def test_without_a_price_auto_packs_nothing() -> None:
    """K is never assumed."""
    cells = sized([2], replicates=3)
    made = plan.packs(plan.order_runs(cells, runs_of(cells)), cells, {}, pack="auto")
    assert [len(one.run_ids) for one in made] == [1, 1, 1]


def test_no_worker_is_left_without_a_pack() -> None:
    """Eight workers are better served by eight small packs than by two large ones."""
    cells = sized([2], replicates=8)
    prices = dict([price(cells[0], {1: 4.0, 2: 5.0, 4: 6.0, 8: 7.0})])
    runs = plan.order_runs(cells, runs_of(cells))
    for workers, packs in ((1, 1), (2, 2), (4, 4), (8, 8)):
        assert len(plan.packs(runs, cells, prices, pack="auto", workers=workers)) == packs


def test_a_pack_is_made_smaller_where_one_worker_would_wait_for_another() -> None:
    """Packs of 12, 7, 5 and 4 s on two workers end at 16 s; the last in two parts, at about 14."""
    cells = sized([2, 8, 32, 128], replicates=5)
    whole = dict(zip([2, 8, 32, 128], [12.0, 7.0, 5.0, 4.0], strict=True))
    prices = dict(
        price(one, {1: s / 4, 5: s}, steps=1)
        for one in cells
        for s in [whole[one.factors["train.batch_size"]]]
    )
    runs = plan.order_runs(cells, runs_of(cells))
    for workers, expected in ((1, {2: [5], 8: [5], 32: [5], 128: [5]}),
                              (2, {2: [5], 8: [5], 32: [5], 128: [2, 3]})):  # fmt: skip
        made = plan.packs(runs, cells, prices, pack="auto", workers=workers)
        sizes = {
            one.factors["train.batch_size"]: sorted(
                len(pack.run_ids) for pack in made if pack.key == plan.pack_key(one.config)
            )
            for one in cells
        }
        assert sizes == expected
    asked = plan.packs(runs, cells, prices, pack=5, workers=2)
    assert [len(pack.run_ids) for pack in asked] == [5] * 4


def test_a_pack_stays_whole_where_its_parts_would_cost_more_than_waiting() -> None:
    """Two packs of 10 s and one of 6 s that would be 5.9 s in each of two parts."""
    cells = sized([2, 8, 32], replicates=2)
    prices = dict(
        price(one, {1: s1, 2: s2}, steps=1)
        for one, (s1, s2) in zip(cells, [(9.9, 10.0), (9.9, 10.0), (5.9, 6.0)], strict=True)
    )
    runs = plan.order_runs(cells, runs_of(cells))
    made = plan.packs(runs, cells, prices, pack="auto", workers=2)
    assert [len(pack.run_ids) for pack in made] == [2, 2, 2]


def test_a_pruned_sweep_keeps_cells_whole() -> None:
    """A pruner judges the mean over replicates: they must reach an epoch together."""
    cells = [cell(i, {"train.lr": i}, replicates=3) for i in range(5)]
    runs = runs_of(cells)
    owner = {one.id: one.cell_id for one in runs}
    ordered = plan.order_runs(cells, runs)
    for size, expected in ((1, 5), (3, 5), (7, 3), (15, 1)):
        made = plan.packs(ordered, cells, {}, pack=size, whole_cells=True)
        assert len(made) == expected
        homes = Counter(number for pack in made for number in {owner[i] for i in pack.run_ids})
        assert set(homes.values()) == {1}


def test_the_longest_pack_of_a_block_starts_first() -> None:
    """Small batches take longest; started last they would be waited for alone."""
    cells = sized([128, 2, 32, 8], replicates=1)
    prices = dict(
        price(one, {1: 0.01}, steps=1000 // one.factors["train.batch_size"]) for one in cells
    )
    made = plan.packs(plan.order_runs(cells, runs_of(cells)), cells, prices, pack="auto")
    seconds = [one.seconds for one in made]
    assert seconds == sorted(seconds, reverse=True)
    assert len(set(seconds)) == 4


def test_blocks_of_packs_stay_balanced() -> None:
    """Longest first holds within a block only: small batches do not all come before large ones."""
    cells = sized([2, 8, 32, 128], replicates=20)
    prices = dict(
        price(one, {1: 0.01}, steps=1000 // one.factors["train.batch_size"]) for one in cells
    )
    made = plan.packs(plan.order_runs(cells, runs_of(cells)), cells, prices, pack=1)
    for start in range(0, len(made), 8):
        counts = Counter(one.key for one in made[start : start + 8])
        assert set(counts.values()) == {2}


@settings(max_examples=60)
@given(
    st.lists(st.integers(1, 9), min_size=2, max_size=12, unique=True),
    st.integers(1, 3),
    st.integers(1, 9),
    st.integers(1, 4),
    st.integers(1, 6),
)
def test_the_first_packs_of_all_cells_come_before_any_second(
    sizes: list[int], each: int, replicates: int, pack: int, workers: int
) -> None:
    """Else the first block of packs would be of small batches, and nothing could be compared."""
    cells = [
        replace(one, id=number)
        for number, one in enumerate(
            one for one in sized(sizes, replicates=replicates) for _ in range(each)
        )
    ]
    prices = dict(
        price(one, {1: 1.0}, steps=1000 // one.factors["train.batch_size"]) for one in cells
    )
    runs = runs_of(cells)
    owner = {one.id: one.cell_id for one in runs}
    ordered = plan.order_runs(cells, runs)
    made = plan.packs(ordered, cells, prices, pack=pack, workers=workers)
    seen: set[int] = set()
    for one in made:
        held = {owner[number] for number in one.run_ids}
        assert held - seen or len(seen) == len(cells)
        seen |= held


@pytest.mark.parametrize(("workers", "expected"), [(1, 10.0), (2, 6.0), (3, 4.0), (9, 4.0)])
def test_the_estimate_follows_the_workers(workers: int, expected: float) -> None:
    """By hand: 4, 3, 1, 2 seconds, each started on the first free worker."""
    packs = [NewPack(key="k", run_ids=(i,), form="", seconds=s) for i, s in enumerate([4, 3, 1, 2])]
    assert plan.estimate(packs, workers=workers) == expected


def test_nothing_to_run_is_no_pack_and_no_time() -> None:
    """A finished sweep is launched again."""
    assert plan.order_runs([], []) == []
    assert plan.packs([], [], {}, pack="auto") == []
    assert plan.estimate([], workers=2) == 0.0
