"""How many runs a sweep will have is known from its start, and what they will take."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sweeper.cli.show import status_remarks, status_row
from sweeper.design import pack_key
from sweeper.engine import driver
from sweeper.engine.cells import CellMaker
from sweeper.engine.launching import Launch
from sweeper.engine.packing import Packer
from sweeper.engine.run_tracker import RunTracker
from sweeper.engine.tuning import TunedCells
from sweeper.plan import Price, awaited
from sweeper.spec import parse
from sweeper.status import sweep_status
from sweeper.store.records import Cell, Lease, NewCell
from sweeper.store.store import Store

SPEC = """
name: known
data: {dataset: digits}
train: {epochs: 3, evaluations: 3, batch_size: 32}
scientific:
  train.batch_size: [16, 32, 64]
nuisance:
  train.lr: [0.01, 0.1]
tuning_replicates: 2
replicates: 5
"""


def there(new: list[NewCell]) -> list[Cell]:
    return [
        Cell(**vars(cell), id=number, sweep_id=1, mirrored=False, hidden=False)
        for number, cell in enumerate(new)
    ]


def following(cells: list[Cell], ended: Collection[int] = ()) -> list[Cell | None]:
    """What follows if the cells with these numbers have ended, each without a value."""
    return awaited(
        cells,
        scientific=["train.batch_size"],
        trials=None,
        eligible=lambda cell: cell.id not in ended,
    )


def test_the_number_of_runs_stays_as_tuning_goes_on() -> None:
    """Each pick takes the place of what was awaited: 12 + 15 runs from first to last."""
    spec = parse(SPEC)
    tuned = TunedCells(spec, CellMaker(spec))
    candidates = there(tuned.first())
    cells, totals = list(candidates), []
    for candidate in candidates:
        totals.append(sum(len(cell.replicates) for cell in cells) + 5 * len(following(cells)))
        cells += there(tuned.after(candidate, {candidate.hash: [0.5]}))
    assert totals == [27] * 6
    assert not following(cells)


def test_a_cell_whose_candidates_all_failed_is_not_awaited() -> None:
    """Its pick would have no value to rest on; one open candidate is enough to wait for."""
    spec = parse(SPEC)
    cells = there(TunedCells(spec, CellMaker(spec)).first())
    assert len(following(cells, ended={0})) == 3
    assert len(following(cells, ended={0, 1})) == 2


def test_what_follows_has_the_pack_key_of_its_candidates() -> None:
    """So its price is that of the candidates, which differ in the learning rate alone."""
    spec = parse(SPEC)
    cells = there(TunedCells(spec, CellMaker(spec)).first())
    keys = [pack_key(cell.config) for cell in following(cells) if cell is not None]
    assert sorted(keys) == sorted({pack_key(cell.config) for cell in cells})


def test_an_adaptive_search_awaits_the_trials_that_it_has_not_asked_for() -> None:
    """Which cells they will be, nobody knows."""
    spec = parse(SPEC)
    cells = there(TunedCells(spec, CellMaker(spec)).first())[:3]
    levels = ["train.batch_size"]
    found = awaited(cells, scientific=levels, trials=8, eligible=lambda cell: True)
    assert found == [None] * 5


def test_a_plan_without_tuning_awaits_nothing() -> None:
    """All of its cells are there."""
    spec = parse(SPEC)
    cells = [
        replace(cell, role="report") for cell in there(TunedCells(spec, CellMaker(spec)).first())
    ]
    assert following(cells) == []


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"a": 3}, (3 * 5 * 2.0, 0)),  # K = 5: 0.1 s a step, 100 steps, five runs
        ({"": 2}, (2 * 5 * 2.0, 0)),
        ({}, (0.0, 0)),
    ],
)
def test_awaited_runs_have_a_price(keys: dict[str, int], expected: tuple[float, int]) -> None:
    """As packs of one cell's replicates; of cells that nobody knows, the mean of what is known."""
    price = Price("a", {1: 0.03, 5: 0.1, 20: 0.1}, "folded", 100)
    assert packer(SPEC, {"a": price}).foresee(keys, replicates=5) == pytest.approx(expected)


def test_awaited_runs_of_packs_of_a_given_size_have_a_price_too() -> None:
    """20 runs at once take 0.1 s a step, a run of them 100 / 20 steps of that."""
    price = Price("a", {20: 0.1}, "folded", 100)
    fixed = packer(SPEC + "resources: {pack: 20}\n", {"a": price})
    assert fixed.foresee({"a": 3}, replicates=5) == pytest.approx((3 * 5 * 0.5, 0))


def test_awaited_packs_without_a_price_are_counted() -> None:
    """The time that others have taken stands for theirs."""
    fixed = packer(SPEC + "resources: {pack: 4}\n", {})
    assert fixed.foresee({"a": 3}, replicates=5) == (0.0, 4)


def packer(text: str, prices: dict[str, Price]) -> Packer:
    class Kept:
        def prices(self, sweep_id: int) -> dict[str, Any]:
            return {"prices": {key: price.dump() for key, price in prices.items()}}

    kept: Any = Kept()
    return Packer(parse(text), kept, Lease(sweep_id=1, epoch=1), RunTracker(), workers=lambda: 2)


def test_status_counts_what_waits_for_tuning(tmp_path: Path, monkeypatch: Any) -> None:
    """As the launch does: 27 runs, though the database holds the candidates alone."""
    url = f"sqlite:///{tmp_path}/a.db"
    monkeypatch.setattr(Launch, "missing", lambda self: False)
    outcome = driver.launch(parse(SPEC), storage=url)
    assert "0 of 27 runs are complete" in outcome.message
    with Store.open(url, create=False) as store:
        [sweep] = store.sweeps()
        status = sweep_status(store, sweep)
    assert status["awaited"] == 15
    row = status_row(status)
    assert (row[3], row[-1]) == ("0 of 27", "27")
    assert list(status_remarks(status)) == ["the launch ended with runs left"]


def test_status_counts_what_a_sampler_has_not_asked_for(tmp_path: Path, monkeypatch: Any) -> None:
    """Six trials of two replicates are twelve runs, before any is there."""
    url = f"sqlite:///{tmp_path}/a.db"
    monkeypatch.setattr(Launch, "missing", lambda self: False)
    driver.launch(parse(SAMPLED), storage=url)
    with Store.open(url, create=False) as store:
        [sweep] = store.sweeps()
        assert status_row(sweep_status(store, sweep))[3] == "0 of 12"


SAMPLED = """
name: sampled
data: {dataset: digits}
train: {epochs: 3, batch_size: 32}
scientific:
  train.lr: {low: 0.01, high: 1.0, log: true}
search: {method: tpe, trials: 6}
replicates: 2
"""
