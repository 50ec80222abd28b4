"""A finished sweep of a training function of the user's own, in a database, without Ray."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import sweeper
from sweeper.engine.cells import Planned
from sweeper.engine.own import OwnMaker
from sweeper.states import Ending
from sweeper.store import Store
from sweeper.store.records import End, NewPack, NewSweep, Report
from sweeper.trainables import Replicate, Reported, Reporter, Trainable

SPEC: dict[str, Any] = {
    "name": "own",
    "question": "Does the size matter?",
    "trainer": "mine",
    "objective": {"metric": "reward", "direction": "maximize"},
    "scientific": {"size": [1.0, 2.0, 4.0], "kind": ["a", "b"]},
    "replicates": 4,
}


def mine(config: Any, replicate: Any, report: Any) -> None:
    """Rewards far above 1, by size and class; the number of epochs differs from run to run."""
    luck = replicate.generator("luck").normal(0, 1)
    for epoch in range(2 + replicate.number % 3):
        value = 30 * config["size"] + luck + epoch + 5 * (config["kind"] == "b")
        both = {"reward": value, "share": [0.5, value / 1000]}
        report(epoch, val=both, test=both, train={"loss": 1 / (1 + epoch)})


def fill(storage: str, **changes: Any) -> None:
    """Trains every run here and records it as a driver would."""
    spec = sweeper.load_spec({**SPEC, **changes})
    maker = OwnMaker(spec, Trainable("mine", mine, "1"), before=None)
    spec = maker.spec
    with Store.open(storage, create=True) as store:
        sweep = store.create_sweep(
            NewSweep(
                name=spec.name,
                question=spec.question,
                spec_text=spec.text,
                spec=spec.model_dump(mode="json"),
                layout=maker.layout,
                facts=maker.facts,
                provenance={"trainer": maker.version, "spec_file": ""},
            )
        )
        lease = store.acquire(sweep.id, {"host": "h", "pid": 1})
        cells = {c.id: c for c in store.add_cells(lease, Planned(spec, maker).first())}
        runs = store.runs(sweep.id)
        new = [NewPack(key="k", run_ids=(run.id,), form="", seconds=0.0) for run in runs]
        for pack, run in zip(store.add_packs(lease, new), runs, strict=True):
            attempts = store.begin(lease, pack.id, [run.id])
            config = cells[run.cell_id].config["train"]
            reports = _reports(config, run.replicate, maker.layout, (run.id, attempts[run.id]))
            store.record(lease, reports, max_attempts=1)
        store.update_sweep(lease, state="complete")
        store.release(lease)


def _reports(
    config: Mapping[str, Any], replicate: int, layout: Any, ids: tuple[int, int]
) -> list[Report]:
    seen: list[Reported] = []
    mine(config, Replicate(replicate), Reporter(seen.append, layout=layout))
    found = []
    for one in seen:
        last = one is seen[-1]
        numbers = np.array([one.numbers[key] for key in layout], "<f4").tobytes()
        value = one.numbers["val", "reward", ""]
        found.append(
            Report(
                run_id=ids[0],
                attempt_id=ids[1],
                epoch=one.epoch + 1,
                step=one.epoch + 1,
                numbers=numbers,
                seconds=0.1 * (one.epoch + 1),
                end=End(ending=Ending.COMPLETE, value=value) if last else None,
            )
        )
    return found
