"""A finished sweep is added whole or not at all, on both databases."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from sqlalchemy import Connection

from sweeper.errors import StoreError
from sweeper.states import Ending, RunState
from sweeper.store import Store, finished
from sweeper.store.finished import Finished, FinishedAttempt, FinishedPack, FinishedRun
from sweeper.store.records import NewCell, NewSweep

LAYOUT = (("test", "accuracy", ""), ("train", "loss", ""))


def made(name: str = "foreign", *, mark: str = "1", cells: int = 3) -> Finished:
    """Cells of two runs, of which the second of each failed; each run has a pack of its own."""
    sweep = NewSweep(
        name=name,
        question="",
        spec_text="",
        spec={"name": name, "scientific": {"x": [1, 2]}, "search": {"method": "factorial"}},
        layout=LAYOUT,
        facts={},
        provenance={"imported": {"id": mark}},
    )
    runs = []
    for at in range(2 * cells):
        lost = bool(at % 2)
        ending = Ending.DIVERGED if lost else Ending.COMPLETE
        runs.append(
            FinishedRun(
                cell=at // 2,
                replicate=at % 2,
                state=RunState.FAILED if lost else RunState.COMPLETE,
                epoch=2,
                value=None if lost else float(at),
                ending=ending,
                seconds=5.0,
                attempts=(FinishedAttempt(pack=at, seconds=5.0, ending=ending),),
                observations=tuple((e, 10 * e, struct.pack("<2f", at, e)) for e in (1, 2)),
                correct=None if lost else bytes([at]),
            )
        )
    return Finished(
        sweep=sweep,
        cells=[
            NewCell(
                hash=f"{at:064x}",
                role="report",
                factors={"x": at},
                config={"trainer": "imported", "data": {}, "train": {"x": at}},
                class_counts=(),
                replicates=(0, 1),
            )
            for at in range(cells)
        ],
        runs=runs,
        packs=[FinishedPack(key="k", runs=(at,), seconds=5.0) for at in range(2 * cells)],
    )


def test_every_row_comes_back_in_order(store: Store) -> None:
    """Cells, runs, packs, attempts, numbers and bits belong together as they were given."""
    new = made()
    sweep = finished.add(store, new)
    assert (sweep.name, sweep.state, sweep.holder) == ("foreign", "complete", None)
    cells = store.cells(sweep.id)
    assert [cell.factors for cell in cells] == [{"x": 0}, {"x": 1}, {"x": 2}]
    runs = store.runs(sweep.id)
    places = {cell.id: at for at, cell in enumerate(cells)}
    assert [(places[r.cell_id], r.replicate, r.state, r.value, r.ending) for r in runs] == [
        (r.cell, r.replicate, r.state, r.value, r.ending) for r in new.runs
    ]
    assert [pack.run_ids for pack in store.packs(sweep.id)] == [(run.id,) for run in runs]
    packs = [pack.id for pack in store.packs(sweep.id)]
    attempts = store.attempts(sweep.id)
    assert [(one.run_id, one.pack_id) for one in attempts] == list(
        zip([run.id for run in runs], packs, strict=True)
    )
    seen = list(store.observations(sweep.id, last_only=False))
    assert [(one.run_id, one.epoch, one.step) for one in seen] == [
        (run.id, epoch, 10 * epoch) for run in runs for epoch in (1, 2)
    ]
    assert [one.numbers for one in seen] == [
        packed for run in new.runs for _, _, packed in run.observations
    ]
    assert [one.bits for one in store.predictions(sweep.id)] == [b"\0", b"\2", b"\4"]


def test_a_commit_that_is_unknown_adds_nothing_twice(store: Store) -> None:
    """The same import again finds itself; another of that name is refused."""
    first = finished.add(store, made())
    assert finished.add(store, made()).id == first.id
    assert len(store.runs(first.id)) == 6
    with pytest.raises(StoreError, match="a sweep 'foreign' is in this database already"):
        finished.add(store, made(mark="2"))


def test_an_error_in_the_middle_leaves_nothing(
    opened: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One transaction: sweep, cells, runs and numbers, or none of them."""
    store = opened()

    def broken(connection: Connection, *_: object) -> None:
        raise RuntimeError("no")

    with monkeypatch.context() as patch:
        patch.setattr(finished, "_add_numbers", broken)
        with pytest.raises(RuntimeError, match="no"):
            finished.add(store, made())
    assert store.sweeps() == []
    assert finished.add(store, made()).state == "complete"


def test_open_runs_stay_open(store: Store) -> None:
    """A sweep that was cut off has pending runs, which its cells count."""
    new = made(cells=1)
    waiting = FinishedRun(
        cell=0,
        replicate=0,
        state=RunState.PENDING,
        epoch=0,
        ending=None,
        attempts=(),
        observations=(),
    )
    cut = Finished(sweep=new.sweep, state="interrupted", cells=new.cells, runs=[waiting], packs=())
    sweep = finished.add(store, cut)
    assert sweep.state == "interrupted"
    assert store.counts(sweep.id)[RunState.PENDING] == 1
