"""Whole launches whose cells come from a searcher of Ray Tune, pruned by one of its schedulers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import acting
import pytest
from places import Place

from sweeper.states import RunState
from sweeper.store import Store

RATES = [0.1, 0.09, 0.001, 0.002, 0.11]
SPEC = """
name: tune
data: {dataset: digits}
train: {epochs: 4, batch_size: 32}
scientific:
  train.lr: {low: 0.001, high: 1.0, log: true}
search: {method: tune, trials: 5}
pruner: tune
replicates: 2
resources: {workers: 1, pack: 2}
"""
PLUGIN = """
from sweeper import tunes


def searcher(space, metric, mode, seed):
    import json
    from pathlib import Path
    from ray.tune.search import Searcher

    class Listed(Searcher):
        rates = {rates!r}

        def suggest(self, trial_id):
            return {{"train.lr": self.rates.pop(0)}} if self.rates else Searcher.FINISHED

        def on_trial_complete(self, trial_id, result=None, error=False):
            with Path({told!r}).open("a") as file:
                file.write(json.dumps([int(trial_id), result[metric]]) + chr(10))

    return Listed()


def scheduler(metric, mode):
    from ray.tune.schedulers import AsyncHyperBandScheduler

    return AsyncHyperBandScheduler(grace_period=2, reduction_factor=2, max_t=8)


tunes.SEARCHER, tunes.SCHEDULER = searcher, scheduler
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    found = Place(tmp_path / "place", SPEC)
    yield found
    found.close()


def test_a_launch_follows_a_searcher_and_a_scheduler_of_tune(place: Place) -> None:
    """Cells are the suggested ones, bad ones stop early, and the searcher hears the values."""
    told, plugin = place.folder / "told", place.folder / "tune_plugin.py"
    plugin.write_text(PLUGIN.format(rates=RATES, told=str(told)))
    part = acting.write(place.folder)
    code, output = place.run("--plugin", str(part), "--plugin", str(plugin))
    assert code == 0, output
    with Store.open(place.storage, create=False) as store:
        [sweep] = store.sweeps()
        found = store.cells(sweep.id)
        runs = store.runs(sweep.id)
    assert [cell.factors["train.lr"] for cell in found] == RATES
    pruned = {
        cell.factors["train.lr"]
        for cell in found
        for run in runs
        if run.cell_id == cell.id and run.state is RunState.PRUNED
    }
    # At round 2 each must reach the median of those before; 0.11 is above it, the third is not.
    assert pruned == {0.09, 0.001, 0.002}
    heard = dict(json.loads(line) for line in told.read_text().splitlines())
    number = {cell.factors["train.lr"]: cell.optuna_number for cell in found}
    best = [acting.value(0.1, replicate=r, rounds=4) for r in (0, 1)]
    assert heard[number[0.1]] == pytest.approx(sum(best) / 2, abs=1e-6)
    assert heard.keys() == {number[rate] for rate in RATES[:4]}


def test_tune_without_a_plugin_ends_before_anything_is_made(place: Place) -> None:
    """One line, exit code 2, and no database."""
    code, output = place.run()
    [line] = output.strip().splitlines()
    assert code == 2
    assert line.endswith(
        "spec.yaml:7: search.method: 'tune': needs a file given by --plugin that sets "
        "sweeper.tunes.SEARCHER"
    )
    assert not list(place.folder.glob("*.db*"))
