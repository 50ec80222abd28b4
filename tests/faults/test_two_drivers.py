"""Two drivers for one sweep: the first runs it, the second names the first."""

from __future__ import annotations

import json
import os
import shutil

import history
import pytest
from places import SPEC, ended

from sweeper.store import Store
from sweeper.store.lease import here


def test_11_the_second_of_two_drivers_is_refused(place, undisturbed) -> None:
    """It exits 5 and names host, pid and the age of the last beat; the first is undisturbed."""
    shutil.copy(undisturbed, place.folder / "sweep.db")
    before = history.numbers(place.storage, "faults")
    with Store.open(place.storage, create=False) as store:
        [sweep] = store.sweeps()
        first = store.acquire(sweep.id, here())
        code, output = place.run()
        assert code == 5, output
        line = " ".join(output.split())
        assert f"pid {os.getpid()}" in line
        assert os.uname().nodename in line
        assert "last beat" in line
        store.update_sweep(first, state="complete")  # it still may
        store.release(first)
    assert history.numbers(place.storage, "faults") == before


def test_12_the_same_spec_from_another_folder_is_the_same_sweep(place, undisturbed) -> None:
    """The database and the name identify a sweep, not the working folder."""
    place.storage = f"sqlite:///{undisturbed}"
    before = history.numbers(place.storage, "faults")
    elsewhere = place.folder / "elsewhere"
    elsewhere.mkdir()
    code, output = ended(place.start(cwd=elsewhere))
    assert code == 0, output
    attempts = history.check(place.storage, "faults", rounds=3)
    assert all(a.number == 1 for a in attempts)
    assert history.numbers(place.storage, "faults") == before


@pytest.mark.soak
def test_46_an_edited_spec_adds_what_is_new_and_hides_what_is_gone(place) -> None:
    """Levels added are new cells, levels removed are hidden and kept, replicates add runs only."""
    spec = SPEC.replace("[16, 32, 64]", "[16, 32]")
    place.write_spec(spec)
    place.finish()
    before = history.numbers(place.storage, "faults")
    place.write_spec(spec.replace("[16, 32]", "[32, 64]").replace("replicates: 2", "replicates: 3"))
    code, output = place.run()
    assert code == 0, output
    assert "1 cells are new, 1 are hidden" in " ".join(output.split())
    after = history.numbers(place.storage, "faults")
    assert {key: after[key] for key in before} == before
    with Store.open(place.storage, create=False) as store:
        [sweep] = store.sweeps()
        cells, runs = store.cells(sweep.id), store.runs(sweep.id)
        hidden = {c.factors["train.batch_size"] for c in cells if c.hidden}
        of_size = {
            c.factors["train.batch_size"]: sorted(r.replicate for r in runs if r.cell_id == c.id)
            for c in cells
        }
        attempts = store.attempts(sweep.id)
    assert hidden == {16}
    assert of_size == {16: [0, 1], 32: [0, 1, 2], 64: [0, 1, 2]}, json.dumps(of_size)
    assert all(a.number == 1 for a in attempts), "something was trained twice"
