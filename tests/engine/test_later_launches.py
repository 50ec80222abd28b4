"""What a later launch of a sweep finds, keeps and refuses; no Ray: nothing is left to run."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from stages import SPEC, staged

from sweeper.design import design, pack_key
from sweeper.engine import compatibility, data_facts, driver, worker
from sweeper.engine.adaptive import Adaptive
from sweeper.engine.cells import CellMaker, Planned
from sweeper.engine.launching import Launch
from sweeper.engine.messages import Job, JobMember
from sweeper.errors import SpecError
from sweeper.spec import Spec, load, parse
from sweeper.states import Ending
from sweeper.store import Store
from sweeper.store.records import Cell, Lease, NewSweep, Sweep

TPE = """
name: staged
data: {dataset: digits}
train: {epochs: 3, batch_size: 32}
scientific:
  train.lr: {low: 0.01, high: 1.0, log: true}
  train.weight_decay: [0.0, 0.1]
search: {method: tpe, trials: 8}
replicates: 2
"""


def url(folder: Path) -> str:
    return f"sqlite:///{folder}/staged.db"


def run_it(folder: Path, spec: str = SPEC) -> None:
    """An earlier launch: every run of the spec complete, the lease given back."""
    with staged(folder, spec) as stage:
        job = stage.begin()
        for round in (1, 2):
            stage.say(job, round)
        stage.say(job, 3, end=Ending.COMPLETE)
        stage.store.release(Lease(sweep_id=stage.sweep_id, epoch=1))


def the_sweep(folder: Path) -> Sweep:
    with Store.open(url(folder), create=False) as store:
        [sweep] = store.sweeps()
        return sweep


def the_cells(folder: Path) -> list[Cell]:
    with Store.open(url(folder), create=False) as store:
        return store.cells(the_sweep(folder).id)


def launch(folder: Path, spec: str = SPEC) -> driver.Outcome:
    return driver.launch(parse(spec), storage=url(folder))


def test_a_factor_stated_later_at_its_value_belongs_to_the_old_cells(tmp_path) -> None:
    """Equal configurations: nothing runs again, and their cells have the levels of the new spec."""
    run_it(tmp_path)
    wider = SPEC.replace("[0.01, 0.1]", "[0.01, 0.1]\n  train.momentum: [0.9, 0.95]").replace(
        "replicates: 2", "replicates: 1"
    )
    with staged(tmp_path, wider) as stage:
        cells = stage.store.cells(stage.sweep_id)
        assert [sorted(c.factors) for c in cells] == [["train.lr", "train.momentum"]] * 4
        assert len(stage.runs()) == 2 * 2 + 2 * 1
        assert {m.config["train"]["momentum"] for m in stage.begin().members} == {0.95}


def test_a_launch_with_fewer_replicates_has_nothing_to_do(tmp_path) -> None:
    """Half a cell's runs are done: asked for that half only, it is complete."""
    with staged(tmp_path) as stage:
        job = stage.begin()
        stage.say(job, 1)
        lease = Lease(sweep_id=stage.sweep_id, epoch=1)
        firsts = [m for m in job.members if m.replicate == 0]
        stage.hand.dropped += [m.run for m in job.members if m.replicate == 1]
        stage.say(job, 3, end=Ending.COMPLETE)
        assert len(firsts) == 2
        stage.store.release(lease)
    outcome = launch(tmp_path, SPEC.replace("replicates: 2", "replicates: 1"))
    assert (outcome.exit_code, outcome.message) == (0, "2 of 2 runs are complete")
    assert all(cell.mirrored for cell in the_cells(tmp_path))


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (SPEC, SPEC + "objective: loss\n", "objective.metric: 'loss'"),
        (TPE, TPE.replace("[0.0, 0.1]", "[0.0, 0.1, 0.2]"), "scientific.train.weight_decay"),
        (TPE, TPE.replace("high: 1.0", "high: 2.0"), "scientific.train.lr"),
        (SPEC, SPEC + "search: {method: tpe, trials: 2}\n", "search.method: 'tpe'"),
    ],
    ids=["objective", "level", "range", "search"],
)
def test_what_would_mix_numbers_is_refused_before_anything_starts(
    tmp_path, before: str, after: str, said: str
) -> None:
    """One line that says what to do; the sweep stays as it was."""
    _with_a_cell(tmp_path, before)
    as_it_was = the_sweep(tmp_path)
    with pytest.raises(SpecError) as refused:
        launch(tmp_path, after)
    assert said in str(refused.value)
    assert "give this spec another name" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert the_sweep(tmp_path) == as_it_was


def _with_a_cell(folder: Path, text: str) -> None:
    spec = parse(text)
    maker = CellMaker(spec)
    cell, _ = maker.make_anyway(_some_design(spec), number=None)
    with Store.open(url(folder), create=True) as store:
        layout = tuple(data_facts.layout(maker.facts))
        sweep = store.create_sweep(
            NewSweep(
                name=spec.name, question="", spec_text=text, spec=spec.model_dump(mode="json"),
                layout=layout, facts=maker.facts, provenance={},
            )
        )  # fmt: skip
        lease = store.acquire(sweep.id, {"host": "elsewhere", "pid": 1})
        store.add_cells(lease, [cell])
        store.release(lease)


def _some_design(spec: Spec) -> Any:
    return design(spec, {"train.lr": 0.1, "train.weight_decay": 0.1})


def test_more_trials_are_no_change_of_an_adaptive_search(tmp_path) -> None:
    """Only what Optuna cannot go on with is refused."""
    _with_a_cell(tmp_path, TPE)
    more = parse(TPE.replace("trials: 8", "trials: 9").replace("tpe", "gp"))
    compatibility.check(more, the_sweep(tmp_path), has_cells=True)


def test_a_launch_that_runs_nothing_leaves_the_provenance(tmp_path) -> None:
    """The versions and the machine named are those that the numbers come from."""
    run_it(tmp_path)
    before = the_sweep(tmp_path)
    outcome = launch(tmp_path, SPEC + "question: And now?\n")
    after = the_sweep(tmp_path)
    assert outcome.exit_code == 0
    assert after.provenance == before.provenance
    assert (after.question, after.state) == ("And now?", "complete")


def test_a_signal_after_the_last_round_interrupts_nothing(tmp_path, monkeypatch) -> None:
    """Everything was done: the sweep is complete, and the exit code says so."""
    run_it(tmp_path)
    renewed = driver._renewed

    def signalled(*given: Any) -> Sweep:
        signal.raise_signal(signal.SIGTERM)
        return renewed(*given)

    monkeypatch.setattr(driver, "_renewed", signalled)
    assert launch(tmp_path).exit_code == 0
    assert the_sweep(tmp_path).state == "complete"


@pytest.mark.parametrize(
    ("launched", "count", "why"),
    [
        ({"declined": True}, 0, "not started: the answer was no"),
        ({}, 1, "stopped by a signal"),
        ({}, 0, "the launch ended with runs left"),
    ],
)
def test_an_interrupted_sweep_says_what_interrupted_it(launched, count, why) -> None:
    """A user who answers no gets no message about a signal."""
    launch: Any = SimpleNamespace(**{"declined": False, **launched})
    request = SimpleNamespace(interrupts=SimpleNamespace(count=count, fault="", reason=""))
    session: Any = SimpleNamespace(request=request)
    assert driver._why(session, launch) == why


def test_an_adaptive_search_says_when_it_has_further_cells() -> None:
    """A search that was stopped between two questions is not complete."""
    spec = parse(TPE)
    adaptive = Adaptive(spec, CellMaker(spec), None, tell=lambda: None, unusable=lambda *a: None)  # pyright: ignore[reportArgumentType]
    assert adaptive.unasked()
    new = CellMaker(spec).make_anyway(design(spec, {"train.lr": 0.1}), number=None)[0]
    adaptive.knows(replace(new, hash=str(number)) for number in range(8))
    assert not adaptive.unasked()


DATA = """
name: staged
data: {dataset: npz, path: numbers.npz}
train: {epochs: 3, batch_size: 8}
scientific:
  train.lr: [0.01, 0.1]
replicates: 2
resources: {workers: 1, pack: 4}
"""


def _folder(place: Path) -> Path:
    place.mkdir()
    _write(place, np.random.default_rng(0).integers(0, 256, (80, 8, 8)))
    (place / "spec.yaml").write_text(DATA)
    return place


def _write(place: Path, images: np.ndarray) -> None:
    x, y = images.astype(np.uint8), np.repeat(np.arange(2), 40)
    np.savez(place / "numbers.npz", x_train=x, y_train=y, x_test=x, y_test=y)


def test_a_sweep_goes_on_from_another_folder(tmp_path, monkeypatch) -> None:
    """The content identifies the data: same cells, same packs, same checkpoints, new path."""
    seen = []
    for place in (_folder(tmp_path / "one"), _folder(tmp_path / "two")):
        monkeypatch.chdir(tmp_path)
        spec = load(place / "spec.yaml")
        maker = CellMaker(spec)
        new = Planned(spec, maker).first()
        with Store.open(url(tmp_path), create=True) as store:
            sweep = store.create_sweep(
                NewSweep(
                    name="staged", question="", spec_text="", spec={}, layout=(),
                    facts=maker.facts, provenance={},
                )
            )  # fmt: skip
            lease = store.acquire(sweep.id, {"host": "elsewhere", "pid": 1})
            cells = store.add_cells(lease, new)
            store.release(lease)
        assert {c.config["data"]["path"] for c in cells} == {str(place / "numbers.npz")}
        seen.append(([c.id for c in cells], pack_key(cells[0].config), _job(cells, maker).identity))
    assert seen[0] == seen[1]


def _job(cells: list[Cell], maker: CellMaker) -> Job:
    members = tuple(JobMember(run=c.id, attempt=1, replicate=0, config=c.config) for c in cells)
    return Job(
        pack=1, members=members, form="folded", threads=1, device="cpu", checkpoint_dir="",
        checkpoint_seconds=1.0, fingerprints=maker.fingerprints,
    )  # fmt: skip


def test_other_data_are_other_cells(tmp_path) -> None:
    """The same path with other content: nothing of it is continued."""
    place = _folder(tmp_path / "one")
    before = [c.hash for c in Planned(*_made(place)).first()]
    _write(place, np.random.default_rng(1).integers(0, 256, (80, 8, 8)))
    worker._datasets.clear()  # kept by path, within one process
    assert not set(before) & {c.hash for c in Planned(*_made(place)).first()}


def _made(place: Path) -> tuple[Spec, CellMaker]:
    spec = load(place / "spec.yaml")
    return spec, CellMaker(spec)


def test_paths_of_overrides_are_from_here(tmp_path, monkeypatch) -> None:
    """What is typed on the command line is meant from where it is typed."""
    place = _folder(tmp_path / "one")
    monkeypatch.chdir(tmp_path)
    assert load("one/spec.yaml").data.path == str(place / "numbers.npz")
    spec = load("one/spec.yaml", ["data.path=other.npz", "data.test_path=/a/b.npz"])
    assert (spec.data.path, spec.data.test_path) == (str(tmp_path / "other.npz"), "/a/b.npz")
    assert parse(DATA).data.path == "numbers.npz", "a text lies nowhere"


def test_cells_are_hidden_before_a_sampler_looks_at_the_study(tmp_path, monkeypatch) -> None:
    """Another budget hides every cell of before: none of them is learnt from, not even once."""
    run_it(tmp_path)
    hidden: list[list[bool]] = []

    def mirror(launch: Launch) -> None:
        cells = launch.session.store.cells(launch.session.sweep.id)
        hidden.append([cell.hidden for cell in cells])

    monkeypatch.setattr(Launch, "mirror", mirror)
    with staged(tmp_path, SPEC.replace("epochs: 3", "epochs: 4")):
        assert hidden == [[True, True, False, False]]
