"""A driver that is killed loses nothing: the same command again does what is missing, once."""

from __future__ import annotations

import os
from pathlib import Path

import history
import pytest
from places import SPEC, Place

from sweeper.states import Ending, RunState
from sweeper.store import Store
from sweeper.store.records import Attempt

ROUNDS = 3


def like(undisturbed: Path) -> str:
    return f"sqlite:///{undisturbed}"


def attempts_of(place: Place) -> list[Attempt]:
    with Store.open(place.storage, create=False) as store:
        [sweep] = store.sweeps()
        return store.attempts(sweep.id)


def complete(place: Place) -> set[int]:
    """The runs that are."""
    with Store.open(place.storage, create=False) as store:
        [sweep] = store.sweeps()
        return {r.id for r in store.runs(sweep.id) if r.state is RunState.COMPLETE}


def test_killed_at_each_point_in_turn(place, undisturbed) -> None:
    """Three drivers of one sweep die, each a step later; the fourth ends it with the same numbers.

    What was not committed is trained again; what was is not.
    """
    place.killed_at("before the first run")
    assert attempts_of(place) == []
    place.killed_at("inside the commit")
    assert complete(place) == set()
    place.killed_at("after the commit, before the mirror")
    done = complete(place)
    assert done
    tried = [a for a in attempts_of(place) if a.run_id in done]
    place.finish()
    attempts = history.check(place.storage, "faults", rounds=ROUNDS, like=like(undisturbed))
    assert [a for a in attempts if a.run_id in done] == tried
    assert Ending.CANCELLED in {a.ending for a in attempts}


@pytest.mark.soak
def test_1_killed_before_the_first_run(place, undisturbed) -> None:
    """A sweep whose driver died before any run began is run whole by the next."""
    place.killed_at("before the first run")
    with Store.open(place.storage, create=False) as store:
        [sweep] = store.sweeps()
        assert store.attempts(sweep.id) == []
    place.finish()
    attempts = history.check(place.storage, "faults", rounds=ROUNDS, like=like(undisturbed))
    assert all(a.number == 1 for a in attempts)


@pytest.mark.soak
def test_2_killed_between_dispatch_and_first_report(place, undisturbed) -> None:
    """Runs that were handed out and never heard of again are cancelled and run again."""
    place.killed_at("between dispatch and first report")
    place.finish()
    attempts = history.check(place.storage, "faults", rounds=ROUNDS, like=like(undisturbed))
    assert Ending.CANCELLED in {a.ending for a in attempts}


@pytest.mark.soak
def test_3_killed_between_result_and_commit(place, undisturbed) -> None:
    """A result that was not committed never was: its run is trained again, to the same numbers."""
    place.killed_at("between result and commit")
    place.finish()
    history.check(place.storage, "faults", rounds=ROUNDS, like=like(undisturbed))


@pytest.mark.soak
def test_4_killed_inside_the_commit(place, undisturbed) -> None:
    """A transaction that was cut leaves nothing of itself behind."""
    place.killed_at("inside the commit")
    with Store.open(place.storage, create=False) as store:
        [sweep] = store.sweeps()
        assert store.counts(sweep.id)[RunState.COMPLETE] == 0
    place.finish()
    history.check(place.storage, "faults", rounds=ROUNDS, like=like(undisturbed))


@pytest.mark.soak
def test_5_killed_after_the_commit_before_the_mirror(place, undisturbed) -> None:
    """What was committed is never trained again, and the Optuna view catches up once."""
    place.killed_at("after the commit, before the mirror")
    with Store.open(place.storage, create=False) as store:
        [sweep] = store.sweeps()
        done = {r.id for r in store.runs(sweep.id) if r.state is RunState.COMPLETE}
    assert done
    place.finish()
    attempts = history.check(place.storage, "faults", rounds=ROUNDS, like=like(undisturbed))
    assert all(a.number == 1 for a in attempts if a.run_id in done)


def test_6_killed_while_the_report_is_written(place, undisturbed) -> None:
    """An old report stays whole until the new report is whole."""
    place.storage = like(undisturbed)
    page = place.folder / "page.html"
    code, output = place.run("--out", str(page), verb="report")
    assert code == 0, output
    before = page.read_bytes()
    code, output = place.run(
        "--out", str(page), "--force", verb="report", point="while the report is written"
    )
    assert code == -9, output
    assert page.read_bytes() == before


SPARSE = SPEC.replace("epochs: 3", "epochs: 9, evaluations: 3").replace("[16, 32, 64]", "[16, 64]")


@pytest.mark.soak
def test_7_killed_between_two_evaluations(make_place) -> None:
    """It goes on from the checkpoint of that round, and no evaluation is left out or differs."""
    whole, cut = make_place("whole", SPARSE), make_place("cut", SPARSE)
    whole.finish()
    cut.killed_at("between two evaluations")
    cut.finish()
    attempts = history.check(cut.storage, "faults", epochs=[3, 6, 9], like=whole.storage)
    assert max(a.from_epoch for a in attempts) in (6, 7), "it began anew"


SEEDS = range(int(os.environ.get("KILL_SEEDS", "5")))  # 50 before a release
KILLS = 3


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.soak
def test_7_killed_at_random_points_until_done(place, undisturbed, seed) -> None:
    """Whenever drivers are killed, the sweep goes on, and ends with the same numbers."""
    codes = []
    for kill in range(KILLS):
        code, output = place.run(point=f"seed {seed}.{kill}")
        assert code in (0, -9), output
        codes.append(code)
        place.assert_no_process_left()
    assert -9 in codes, "no driver was ever killed: the points are too late"
    place.finish()
    history.check(place.storage, "faults", rounds=ROUNDS, like=like(undisturbed))
