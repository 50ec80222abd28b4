"""Real training that diverges, or stands still."""

from __future__ import annotations

import json
import math

import history
import numpy as np
import pytest
from places import SPEC, Place

from sweeper.states import Ending, RunState
from sweeper.store import Store

# A million diverges in the first round; a billionth never moves, which is no failure.
DIVERGING = (
    SPEC.replace("train.batch_size: [16, 32, 64]", "train.lr: [1.0e-9, 0.05, 1.0e+6, 1.0e+30]")
    .replace("epochs: 3", "epochs: 3, batch_size: 16")
    .replace("replicates: 2", "replicates: 1")
    .replace("pack: 2", "pack: 4")
)


def test_22_and_24_a_diverging_member_leaves_its_pack_and_the_rest_go_on(place) -> None:
    """NaN at the first steps, an infinite loss, a gradient of nothing: only the first two end."""
    diverge(place)
    with Store.open(place.storage, create=False) as store:
        [sweep] = store.sweeps()
        of_cell = {c.id: c.factors["train.lr"] for c in store.cells(sweep.id)}
        runs = {of_cell[r.cell_id]: r for r in store.runs(sweep.id)}
        assert len(store.packs(sweep.id)) == 1
    for lr in (1e6, 1e30):
        assert runs[lr].state is RunState.FAILED
        assert runs[lr].ending is Ending.DIVERGED
        assert runs[lr].epoch == 1
    for lr in (1e-9, 0.05):
        assert runs[lr].state is RunState.COMPLETE
        assert runs[lr].epoch == 3
        value = runs[lr].value
        assert value is not None
        assert math.isfinite(value)


def diverge(place: Place) -> None:
    """Runs the sweep of which two runs diverge."""
    place.write_spec(DIVERGING)
    code, output = place.run()
    assert code == 3, output


def of_loss(place: Place) -> int:
    """The place of the training loss among a round's numbers."""
    with Store.open(place.storage, create=False) as store:
        [sweep] = store.sweeps()
        return [tuple(key) for key in sweep.layout].index(("train", "loss", ""))


# How far runs of other compositions have drifted apart by round, relatively: float32 sums in
# another order, amplified by each step.
DRIFT = {1: 1e-3, 2: 1e-2, 3: 3e-2}


@pytest.mark.soak
def test_22_a_survivor_trains_as_without_the_diverging_members(place, make_place) -> None:
    """Its training loss is its own; tests/trainers/test_loop.py shows the same of one trainer."""
    diverge(place)
    index = of_loss(place)
    alone = make_place(
        "alone",
        DIVERGING.replace("[1.0e-9, 0.05, 1.0e+6, 1.0e+30]", "[0.05, 0.06]"),
    )
    alone.finish()
    key = (json.dumps(["report", {"train.lr": 0.05}]), 0)
    ours, theirs = (
        {
            round: np.frombuffer(packed, dtype="<f4")[index]
            for round, packed in history.numbers(one.storage, "faults")[key].items()
        }
        for one in (place, alone)
    )
    assert set(ours) == set(theirs) == set(DRIFT)
    for round, drift in DRIFT.items():
        assert ours[round] == pytest.approx(theirs[round], rel=drift)


FLAT = """
from trainers.catalogue import Entry, add


class Flat:
    def __init__(self, hyper, counts):
        pass

    def __call__(self, logits, targets, progress):
        return (0 * logits).sum(-1) + 1


add(Entry("loss", "flat", Flat))
"""


@pytest.mark.soak
def test_24_a_gradient_of_nothing_is_no_failure(make_place) -> None:
    """A loss that is flat teaches nothing, and that is a result: complete, finite, every round."""
    spec = DIVERGING.replace("[1.0e-9, 0.05, 1.0e+6, 1.0e+30]", "[0.05, 0.1]")
    place = make_place("flat", spec.replace("epochs: 3", "epochs: 3, loss: flat"))
    plugin = place.folder / "flat.py"
    plugin.write_text(FLAT)
    code, output = place.run("--plugin", str(plugin))
    assert code == 0, output
    history.check(place.storage, "faults", rounds=3)
    index = of_loss(place)
    for rounds in history.numbers(place.storage, "faults").values():
        losses = [np.frombuffer(packed, dtype="<f4")[index] for packed in rounds.values()]
        assert np.isfinite(losses).all()
