"""A sweep whose trainer is the user's own function: killed, it goes on like any other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import history
import numpy as np
import pytest

from sweeper.states import RunState
from sweeper.store import Store
from sweeper.trainables import Replicate, Reported, Reporter, fingerprint

EPOCHS = 9
SPEC = """
name: own
trainer: walk
fixed: {epochs: 9}
objective: {metric: height, direction: maximize}
scientific:
  step.size: [1.0, 2.0]
replicates: 2
resources: {workers: 1}
limits: {checkpoint_seconds: 0.0001}
"""
PLUGIN = """
import numpy as np
import sweeper


@sweeper.trainable(version=1)
def walk(config, replicate, report):
    state = replicate.state or {"epoch": -1, "height": np.zeros(2)}
    height = state["height"].copy()
    for epoch in range(state["epoch"] + 1, config["epochs"]):
        height += config["step.size"] * replicate.generator("step", epoch).random(2)
        report(epoch, val={"height": height[0]}, test={"height": height[1]},
               state={"epoch": epoch, "height": height})
"""


def plugin(folder: Path, text: str = PLUGIN) -> Path:
    path = folder / "walk.py"
    path.write_text(text)
    return path


def walked(size: float, number: int) -> list[bytes]:
    """The numbers of each epoch, from the function called by itself."""
    namespace: dict[str, Any] = {}
    exec(PLUGIN, namespace)  # noqa: S102
    seen: list[Reported] = []
    config = {"epochs": EPOCHS, "step.size": size}
    replicate = Replicate(number, fingerprint(())[0])
    namespace["walk"](config, replicate, Reporter(seen.append, layout=None))
    return [np.array([*one.numbers.values()], "<f4").tobytes() for one in seen]


@pytest.mark.soak
def test_7_an_own_trainer_goes_on_from_what_it_kept(make_place) -> None:
    """Its driver is killed at epoch 7; the next launch ends the sweep with the same numbers."""
    place = make_place("own", SPEC)
    file = plugin(place.folder)
    code, output = place.run("--plugin", str(file), point="between two evaluations")
    assert code == -9, output
    place.assert_no_process_left()
    code, output = place.run("--plugin", str(file))
    assert code == 0, output
    attempts = history.check(place.storage, "own", rounds=EPOCHS)
    assert max(one.from_epoch for one in attempts) in (6, 7), "it began anew"
    for (factors, replicate), found in history.numbers(place.storage, "own").items():
        [_, levels] = json.loads(factors)
        assert [found[epoch] for epoch in sorted(found)] == walked(levels["step.size"], replicate)


@pytest.mark.soak
def test_a_pruner_stops_cells_of_an_own_trainer(make_place) -> None:
    """Replicates of a cell are judged together, so they are trained side by side."""
    spec = SPEC.replace("[1.0, 2.0]", "[4.0, 3.0, 2.0, 1.0]")
    place = make_place("pruned", f"{spec}pruner: {{method: median, startup: 1}}\n")
    code, output = place.run("--plugin", str(plugin(place.folder)))
    assert code == 0, output
    with Store.open(place.storage, create=False) as store:
        [sweep] = store.sweeps()
        cells = {cell.id: cell.factors["step.size"] for cell in store.cells(sweep.id)}
        states: dict[float, set[RunState]] = {}
        for run in store.runs(sweep.id):
            states.setdefault(cells[run.cell_id], set()).add(run.state)
    assert states[4.0] == {RunState.COMPLETE}
    assert states[1.0] == {RunState.PRUNED}


@pytest.mark.soak
def test_a_changed_function_makes_new_cells(make_place) -> None:
    """As another version of Sweeper's trainer does; a changed data file is refused first."""
    place = make_place("changed", SPEC.replace("epochs: 9", "epochs: 1"))
    code, output = place.run("--plugin", str(plugin(place.folder)))
    assert code == 0, output
    other = plugin(place.folder, PLUGIN.replace("version=1", "version=2"))
    code, output = place.run("--plugin", str(other))
    assert code == 0, output
    assert "the trainer has changed (version walk 1 to walk 2): 2 cells are new" in output
