"""Runs simulations: the template once, then one sweep a seed, from its launch to its check."""

from __future__ import annotations

import gc
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import optuna

from sweeper.design import pack_key
from sweeper.engine import data_facts
from sweeper.engine.cells import CellMaker, Planned
from sweeper.plan import Price
from sweeper.spec import Spec, parse
from sweeper.store import Store, dialects
from sweeper.store.records import NewCell, NewSweep
from sweeper.store.study import Study
from tests.simulation import checker
from tests.simulation.drivers import Driver, Plot, Setting
from tests.simulation.gate import Gate
from tests.simulation.training import FORMS
from tests.simulation.world import Faults, World, recorded

SPEC = """
name: simulated
data: {{dataset: digits}}
train: {{epochs: {epochs}, batch_size: 32, evaluations: {evaluations}}}
scientific:
  train.lr: {levels}
replicates: {replicates}
resources: {{workers: 2, pack: {replicates}}}
"""
# In turn, by the seed. One diverges in each; in the second, rounds lie between two evaluations.
SWEEPS: tuple[dict[str, Any], ...] = (
    {"epochs": 3, "evaluations": 3, "levels": [0.01, 0.1, 0.8], "replicates": 2},
    {"epochs": 4, "evaluations": 2, "levels": [0.1, 0.8], "replicates": 3},
)
FACTS: dict[str, Any] = {
    "fingerprint": "played",
    "kind": "image",
    "classes": ["a", "b"],
    "shape": [1, 8, 8],
    "cardinalities": [],
    "left_out": {},
    "columns": None,
    "labels": {},
    "counts": {"train": [64, 64], "val": [8, 8], "test": [8, 8]},
    "repeats": {"train": 0, "val": 0, "test": 0, "val_in_train": 0, "test_in_others": 0},
}
SIZE = "3 cells x 2 replicates x 3 epochs or 2 x 3 x 4, 2 workers on 2 nodes"
MEMORY = Path("/dev/shm")  # noqa: S108  a memory file system, where there is one
PROGRESS = 3000.0  # seconds within which a sweep is done once nothing goes wrong any more


class Result(NamedTuple):
    """What came of a simulation."""

    digest: str  # of all that has happened
    launches: int
    attempts: int


@contextmanager
def stage() -> Iterator[Stage]:
    """A folder in memory, with a template in it."""
    where = str(MEMORY) if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="sweeper-simulation-", dir=where) as folder:
        found = Stage(Path(folder))
        thresholds = gc.get_threshold()
        gc.freeze()  # what is there stays there: a third of the time went into looking at it
        gc.set_threshold(100_000, 50, 50)
        try:
            yield found
        finally:
            gc.set_threshold(*thresholds)
            gc.unfreeze()


class Stage:
    """Where the simulations of one process run.

    Attributes:
        world: of the last one.
        path: its database.
    """

    world: World

    def __init__(self, folder: Path) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.path = folder / "sweep.db"
        self._gate = Gate(dialects.connect(dialects.parse(f"sqlite:///{self.path}")))
        self._settings = [
            self._setting(folder / f"template-{number}.db", parse(SPEC.format(**sweep)))
            for number, sweep in enumerate(SWEEPS)
        ]

    def _setting(self, template: Path, spec: Spec) -> Setting:
        maker = CellMaker(spec)
        with mock.patch.object(data_facts, "inspect", return_value=FACTS):
            length = _make(template, spec, maker)
        return Setting(
            spec=spec,
            maker=maker,
            template=template,
            path=self.path,
            length=length,
            gate=self._gate,
        )

    def simulate(self, seed: int, faults: Faults | None = None) -> Result:
        """The simulation of a seed, checked; with these faults, or with those that it draws.

        Raises:
            Broken: a promise was not kept.
            Stuck: the sweep was not done in time.
        """
        world, turn = World(seed, faults), seed % len(SWEEPS)
        self.world, setting, sweep = world, self._settings[turn], SWEEPS[turn]
        for file in self.path.parent.glob(f"{self.path.name}*"):
            file.unlink()
        shutil.copyfile(setting.template, self.path)
        plot = Plot(setting, world)
        with recorded(world), plot.played():
            try:
                self._play(world, plot)
            finally:
                plot.close()
            apart = sweep["epochs"] // sweep["evaluations"]
            made = checker.check(
                self.path,
                epochs=list(range(apart, sweep["epochs"] + 1, apart)),
                attempts=setting.spec.limits.attempts,
                failed=world.failed,
            )
        return Result(digest=world.digest(), launches=len(plot.drivers), attempts=made)

    def _play(self, world: World, plot: Plot) -> None:
        observer = plot.process("observer")
        observer.spared = True
        watching = checker.Observer(world, plot.open(), plot)
        world.start(observer, watching.watch)
        plot.trouble()
        plot.start("driver", Driver.launch)
        world.run(until=world.faults.until + PROGRESS)


def broken(stage: Stage, seed: int, faults: Faults | None = None) -> str:
    """The promise that is broken in a seed's simulation; empty when none is."""
    try:
        stage.simulate(seed, faults)
    except Exception as error:  # noqa: BLE001  the engine's own checks count as well
        return f"{type(error).__name__}: {error}"
    return ""


def first_broken(
    stage: Stage, seeds: Iterable[int], faults: Faults | None = None
) -> tuple[int, str] | None:
    """The first seed that breaks a promise, and which; None if none does."""
    for seed in seeds:
        if found := broken(stage, seed, faults):
            return seed, found
    return None


def _make(path: Path, spec: Spec, maker: CellMaker) -> int:
    """The template: a sweep with its cells, prices and studies, and nothing run.

    Returns:
        how many numbers a round has.
    """
    cells = Planned(spec, maker).first()
    layout = tuple(data_facts.layout(maker.facts))
    url = f"sqlite:///{path}"
    with Store.open(url, create=True) as store:
        sweep = store.create_sweep(
            NewSweep(
                name=spec.name,
                question="",
                spec_text=spec.text,
                spec=spec.model_dump(mode="json"),
                layout=layout,
                facts=maker.facts,
                provenance={},
            )
        )
        lease = store.acquire(sweep.id, {"host": "template", "pid": 1})
        store.add_cells(lease, cells)
        store.save_prices(lease, {"prices": {one.key: one.dump() for one in map(_price, cells)}})
        study = Study(
            url, spec.name, objective=spec.objective.metric, direction=spec.objective.direction
        )
        with closing(study):
            study.sync(store, lease, sweep)
        store.release(lease)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(checker.HISTORY)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return len(layout)


def _price(cell: NewCell) -> Price:
    return Price(
        key=pack_key(cell.config),
        seconds_per_step={1: 0.1, 2: 0.15},
        form=FORMS[0],
        steps_per_run=30,
    )
