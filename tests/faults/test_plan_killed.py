"""A plan for replicates outlives its driver: what was decided stands, and is decided once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import acting
import history
import pytest
from places import Place

from sweeper.store import Store

SPEC = """
name: planned
data: {dataset: digits}
train: {epochs: 2, batch_size: 32}
scientific:
  train.lr: [0.01, 0.1]
replicates: {target: 0.02, max: 12, start: 4}
resources: {workers: 2, pack: 4}
"""
OFFSET = "value += member.replicate / 1000"
NOISE = "value += 0.02 * math.sin(7 * member.replicate * (1 + 9 * lr))"


def at(make_place: Callable[..., Place], name: str) -> tuple[Place, list[str]]:
    """A place, and the trainer whose differences have a spread."""
    place = make_place(name, SPEC)
    plugin = acting.write(place.folder)
    text = plugin.read_text()
    assert OFFSET in text
    plugin.write_text(text.replace(OFFSET, NOISE))
    return place, ["--plugin", str(plugin)]


def decided(place: Place) -> tuple[list[dict[str, Any]], list[Any]]:
    """The stages, and what every run is worth."""
    with Store.open(place.storage, create=False) as store:
        [sweep] = store.sweeps()
        runs = sorted((r.cell_id, r.replicate, r.value, r.state) for r in store.runs(sweep.id))
        return sweep.stages, runs


@pytest.mark.soak
def test_a_driver_killed_between_a_decision_and_its_replicates(make_place) -> None:
    """The next launch adds what was decided, and ends as if nothing had happened."""
    whole, plugin = at(make_place, "whole")
    code, output = whole.run(*plugin)
    assert code == 0, output
    stages, runs = decided(whole)
    assert [one["ended"] for one in stages] == ["", "target"]
    wanted = stages[0]["wanted"]
    assert 4 < wanted < 12
    assert len(runs) == 2 * wanted
    text = " ".join(output.split())
    assert f"target of 2 points reached with {wanted} replicates" in text
    assert "up to 16 more by the plan" in text

    cut, plugin = at(make_place, "cut")
    code, output = cut.run(*plugin, point="after a decision, before what follows")
    assert code == -9, output
    cut.assert_no_process_left()
    assert decided(cut)[0] == stages[:1]
    assert len(decided(cut)[1]) == 2 * 4, "nothing has followed yet"
    code, output = cut.run(*plugin)
    assert code == 0, output
    assert decided(cut) == (stages, runs)
    history.check(cut.storage, "planned", rounds=2)
