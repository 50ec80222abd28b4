"""How many runs a sweep will have is known from its start, and what they will take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sweeper.cli.show import status_remarks, status_row
from sweeper.design import pack_key
from sweeper.engine import driver
from sweeper.engine.adaptive import Adaptive
from sweeper.engine.cells import CellMaker, Planned
from sweeper.engine.launching import Launch
from sweeper.engine.packing import Packer
from sweeper.engine.run_tracker import RunTracker
from sweeper.engine.tuning import Tuned
from sweeper.plan import Price
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


def test_the_number_of_runs_stays_as_tuning_goes_on() -> None:
    """Each pick takes the place of what was awaited: 12 + 15 runs from first to last."""
    spec = parse(SPEC)
    maker = CellMaker(spec)
    tuned = Tuned(spec, maker)
    first = tuned.first()
    runs = sum(len(cell.replicates) for cell in first)
    totals = [runs + 5 * sum(tuned.awaited().values())]
    for cell in there(first):
        picks = tuned.after(cell, {cell.hash: [0.5]})
        runs += sum(len(pick.replicates) for pick in picks)
        totals.append(runs + 5 * sum(tuned.awaited().values()))
    assert totals == [27] * 7
    assert not tuned.awaited()


def test_what_follows_is_known_by_its_pack_key() -> None:
    """So its price is that of the candidates, which differ in the learning rate alone."""
    spec = parse(SPEC)
    tuned = Tuned(spec, CellMaker(spec))
    keys = {pack_key(cell.config) for cell in tuned.first()}
    assert tuned.awaited() == dict.fromkeys(keys, 1)


def test_an_adaptive_search_has_as_many_cells_as_it_was_given() -> None:
    """Which ones, nobody knows."""
    spec = parse("name: a\nscientific:\n  train.lr: {low: 0.01, high: 1.0, log: true}\n"
                 "search: {method: tpe, trials: 8}\n")  # fmt: skip
    nothing: Any = None
    search = Adaptive(spec, nothing, nothing, tell=nothing, unusable=nothing)
    assert search.awaited() == {"": 8}
    search.knows(["a", "b", "c"])
    assert search.awaited() == {"": 5}


def test_a_plan_without_tuning_awaits_nothing() -> None:
    """All of its cells are there."""
    spec = parse(SPEC)
    assert Planned(spec, CellMaker(spec)).awaited() == {}


@pytest.mark.parametrize(
    ("awaited", "expected"),
    [
        ({"a": 3}, (3 * 5 * 2.0, 0)),  # K = 5: 0.1 s a step, 100 steps, five runs
        ({"": 2}, (2 * 5 * 2.0, 0)),
        ({}, (0.0, 0)),
    ],
)
def test_awaited_runs_have_a_price(awaited: dict[str, int], expected: tuple[float, int]) -> None:
    """As packs of one cell's replicates; of cells that nobody knows, the mean of what is known."""
    price = Price("a", {1: 0.03, 5: 0.1, 20: 0.1}, "folded", 100)
    assert packer(SPEC, {"a": price}).foresee(awaited, replicates=5) == pytest.approx(expected)


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
