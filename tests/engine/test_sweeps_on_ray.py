"""Whole sweeps on a real Ray with a trainer that plays a part: what runs, and what follows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import acting
import history
import optuna
import pytest
from optuna_dashboard import _note as dashboard_note
from places import Place

from sweeper.states import Ending, RunState
from sweeper.store import Store
from sweeper.store.records import Cell, Run


@pytest.fixture
def make_place(tmp_path: Path) -> Iterator[Callable[[str], Place]]:
    made: list[Place] = []

    def make(spec: str) -> Place:
        made.append(Place(tmp_path / f"place-{len(made)}", spec))
        return made[-1]

    yield make
    for one in made:
        one.close()


def run(place: Place, *, code: int = 0, plugin: Path | None = None, **part) -> str:
    plugin = plugin or acting.write(place.folder, **part)
    found, output = place.run("--plugin", str(plugin))
    assert found == code, output
    place.assert_no_process_left()
    return output


def cells(place: Place) -> list[tuple[Cell, list[Run]]]:
    with Store.open(place.storage, create=False) as store:
        [sweep] = store.sweeps()
        runs = store.runs(sweep.id)
        return [(c, [r for r in runs if r.cell_id == c.id]) for c in store.cells(sweep.id)]


TUNING = """
name: tuning
data: {dataset: digits}
train: {epochs: 2, batch_size: 32}
scientific:
  train.batch_size: [16, 32]
nuisance:
  train.lr: {low: 0.001, high: 1.0, log: true, trials: 4}
replicates: 3
tuning_replicates: 2
resources: {workers: 2, pack: 4}
"""


@pytest.mark.soak
def test_nuisances_are_tuned_on_replicates_that_are_not_reported(make_place) -> None:
    """Each scientific cell reports its best candidate on fresh replicates, in the main study."""
    place = make_place(TUNING)
    run(place, best=0.1)
    found = cells(place)
    tuning = [(c, r) for c, r in found if c.role == "tuning"]
    report = [(c, r) for c, r in found if c.role == "report"]
    assert len(tuning) == 2 * 4
    assert all([r.replicate for r in runs] == [-1, -2] for _, runs in tuning)
    assert sorted(c.factors["train.batch_size"] for c, _ in report) == [16, 32]
    for cell, runs in report:
        assert cell.factors["train.lr"] == pytest.approx(0.1)
        assert [r.replicate for r in runs] == [0, 1, 2]
        for one in runs:
            assert one.value == pytest.approx(
                acting.value(cell.factors["train.lr"], replicate=one.replicate, rounds=2), abs=1e-6
            )
    names = optuna.study.get_all_study_names(storage=place.storage)
    assert sorted(names) == ["tuning", "tuning.tuning"]
    history.check(place.storage, "tuning", rounds=2)
    again = run(place, best=0.1)
    assert "runs to do" not in again, "a finished sweep has nothing to do"


@pytest.mark.soak
def test_a_cell_that_no_candidate_is_worth_is_told(make_place) -> None:
    """Exit 3 and an event at every launch; a report would merely lack the cell."""
    spec = TUNING.replace("trials: 4", "trials: 2").replace("replicates: 3", "replicates: 1")
    place = make_place(spec)
    plugin = acting.write(place.folder)
    # Every candidate of the larger batch size diverges.
    plugin.write_text(
        plugin.read_text().replace(
            'fault = FAULTS.get(lr, "")',
            "fault = 'diverge' if member.config.train.batch_size == 32 else ''",
        )
    )
    for _ in range(2):
        output = " ".join(run(place, code=3, plugin=plugin).split())
        assert "train.batch_size=32: no candidate has a value" in output
        assert "1 cells have no candidate to report" in output
    assert [c.factors["train.batch_size"] for c, _ in cells(place) if c.role == "report"] == [16]


SCREENED = """
name: many
data: {dataset: digits}
train: {epochs: 2, batch_size: 32}
scientific:
  train.lr: [0.001, 0.3, 0.1, 1.0]
nuisance:
  train.momentum: [0.5, 0.9]
reference: {train.lr: 0.001}
replicates: {screen: 3, confirm: 4, keep: 1}
resources: {workers: 2, pack: 4}
"""


ANSWER = "Screening left 2 of 4 cells; on fresh replicates one of them may be the best"


def test_many_cells_are_screened_and_the_best_reported_afresh(make_place) -> None:
    """Tuned, screened, then the best and the reference on replicates of their own; a study each.

    The launch ends with its answer, and the study has it as its note.
    """
    place = make_place(SCREENED)
    place.environment["WITH_ANSWER"] = "1"
    output = " ".join(run(place).split())
    assert "screening with 3 replicates left 2 of 4 cells" in output
    assert ANSWER in output
    found = {role: {c.factors["train.lr"]: tuple(r.replicate for r in runs)
                    for c, runs in cells(place) if c.role == role}
             for role in ("screening", "report")}  # fmt: skip
    assert found["screening"] == dict.fromkeys((0.001, 0.3, 0.1, 1.0), (0, 1, 2))
    assert found["report"] == dict.fromkeys((0.001, 0.1), (3, 4, 5, 6))
    names = optuna.study.get_all_study_names(storage=place.storage)
    assert sorted(names) == ["many", "many.screening", "many.tuning"]
    study = optuna.load_study(study_name="many", storage=place.storage)
    assert ANSWER in str(dashboard_note.get_note(study))
    best = study.best_trial
    fresh = [acting.value(0.1, replicate=r, rounds=2) for r in (3, 4, 5, 6)]
    assert best.value == pytest.approx(sum(fresh) / 4, abs=1e-6)
    history.check(place.storage, "many", rounds=2)


ADAPTIVE = """
name: adaptive
data: {dataset: digits}
train: {epochs: 2, batch_size: 32}
scientific:
  train.lr: {low: 0.001, high: 1.0, log: true}
search: {method: tpe, trials: 8}
replicates: 2
resources: {workers: 2, pack: 2}
"""


def test_an_adaptive_search_goes_on_where_it_stopped(make_place) -> None:
    """A sampler receives every finished cell; more trials add cells, and none twice."""
    place = make_place(ADAPTIVE)
    run(place)
    assert len(cells(place)) == 8
    place.write_spec(ADAPTIVE.replace("trials: 8", "trials: 10"))
    run(place)
    found = cells(place)
    assert len({c.hash for c, _ in found}) == 10
    assert all(r.state is RunState.COMPLETE for _, runs in found for r in runs)
    history.check(place.storage, "adaptive", rounds=2)
    study = optuna.load_study(study_name="adaptive", storage=place.storage)
    numbers = {c.optuna_number for c, _ in found}
    assert numbers == {t.number for t in study.trials}


@pytest.mark.soak
def test_an_adaptive_search_of_few_points_ends_when_it_has_them_all(make_place) -> None:
    """A sampler that can only repeat itself is not asked for ever."""
    spec = ADAPTIVE.replace("{low: 0.001, high: 1.0, log: true}", "[0.01, 0.1, 1.0]")
    place = make_place(spec)
    run(place)
    assert sorted(c.factors["train.lr"] for c, _ in cells(place)) == [0.01, 0.1, 1.0]


PRUNED = """
name: pruned
data: {dataset: digits}
train: {epochs: 9, batch_size: 32}
scientific:
  train.lr: [0.1, 0.001, 0.003, 1.0, 0.9, 0.8]
pruner: {method: asha, reduction: 3}
replicates: 2
resources: {workers: 1, pack: 4}
"""


@pytest.mark.soak
def test_pruned_cells_stop_as_a_whole_and_the_best_one_ends(make_place) -> None:
    """A cell is pruned at one round, all replicates; Optuna sees it PRUNED."""
    place = make_place(PRUNED)
    run(place)
    ends = {}
    for cell, runs in cells(place):
        assert len({(r.state, r.epoch) for r in runs}) == 1
        ends[cell.factors["train.lr"]] = (runs[0].state, runs[0].epoch)
    assert ends[0.1] == (RunState.COMPLETE, 9)
    pruned = [lr for lr, end in ends.items() if end[0] is RunState.PRUNED]
    assert len(pruned) >= 3
    assert all(ends[lr][1] < 9 for lr in pruned)
    study = optuna.load_study(study_name="pruned", storage=place.storage)
    states = {t.params["train.lr"]: t.state.name for t in study.trials}
    assert {lr: states[lr] for lr in pruned} == dict.fromkeys(pruned, "PRUNED")


POISON = """
name: poison
data: {dataset: digits}
train: {epochs: 2, batch_size: 32}
scientific:
  train.lr: [0.01, 0.1, 1.0]
replicates: 1
resources: {workers: 1, pack: 3}
"""


def test_a_poisoned_cell_is_given_up_and_its_pack_mates_are_not(make_place) -> None:
    """Three attempts, the last one alone; then FAILED, exit 3, and the others complete."""
    place = make_place(POISON)
    output = run(place, code=3, faults={0.1: "raise"})
    assert "1 failed" in output
    states = {c.factors["train.lr"]: runs[0] for c, runs in cells(place)}
    assert states[0.1].state is RunState.FAILED
    assert states[0.1].ending is Ending.ERROR
    assert states[0.01].state is states[1.0].state is RunState.COMPLETE
    with Store.open(place.storage, create=False) as store:
        [sweep] = store.sweeps()
        tried = [a for a in store.attempts(sweep.id) if a.run_id == states[0.1].id]
    assert len(tried) == 3


SPY = """
import json, os, ray
from pathlib import Path
seen = {{"environment": dict(os.environ), "jobs": None}}
if ray.is_initialized():
    from ray._private.worker import global_worker
    seen["jobs"] = str(global_worker.gcs_client.get_all_job_info())
Path({folder!r}, f"seen-{{os.getpid()}}.json").write_text(json.dumps(seen))
"""
SECRET = "open-sesame"  # noqa: S105  of no database


def test_workers_cannot_read_where_the_database_is(make_place, monkeypatch) -> None:
    """Neither the URL nor a password reaches a worker: not by its environment, not by Ray's tables.

    By default, Ray gives every worker its driver's command line.
    """
    place = make_place(POISON)
    place.storage += f"?password={SECRET}"
    monkeypatch.setenv("SWEEPER_STORAGE", place.storage)
    monkeypatch.setenv("PGPASSWORD", SECRET)
    plugin = acting.write(place.folder)
    plugin.write_text(plugin.read_text() + SPY.format(folder=str(place.folder)))
    run(place, plugin=plugin)
    seen = [json.loads(p.read_text()) for p in place.folder.glob("seen-*.json")]
    workers = [one for one in seen if one["jobs"] is not None]
    assert len(seen) == len(workers) + 1, "of all that have seen it the driver alone"
    assert workers
    for one in workers:
        assert "entrypoint" in one["jobs"], "Ray tells it otherwise now: this test sees nothing"
        assert SECRET not in json.dumps(one)
        assert "sweep.db" not in one["jobs"]
        assert "SWEEPER_STORAGE" not in one["environment"]


HOPELESS = """
name: hopeless
data: {dataset: digits}
train: {epochs: 2, batch_size: 32}
scientific:
  train.lr: {low: 0.001, high: 1.0, log: true, levels: 40}
replicates: 1
resources: {workers: 1, pack: 1}
limits: {failures: 4}
"""


@pytest.mark.soak
def test_a_sweep_in_which_everything_fails_halts(make_place) -> None:
    """Exit 4 after a few cells, with the reason; not forty times three attempts."""
    from sweeper.spec import parse
    from sweeper.spec.factors import grid

    levels = grid(parse(HOPELESS).scientific["train.lr"]) or ()
    place = make_place(HOPELESS)
    output = run(place, code=4, faults=dict.fromkeys(levels, "raise"))
    assert "4 cells in a row ended with error" in " ".join(output.split())
    with Store.open(place.storage, create=False) as store:
        [sweep] = store.sweeps()
        assert sweep.state == "halted"
        assert len(store.attempts(sweep.id)) <= 8
    history.check_nobody_runs(place.storage, "hopeless")
