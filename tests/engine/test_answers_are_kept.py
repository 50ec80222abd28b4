"""Real networks, from the trainer to the analysis: which test examples each run has right."""

from __future__ import annotations

from pathlib import Path

from sweeper.analysis import bits
from sweeper.analysis.frames import load
from sweeper.analysis.view import view_of
from sweeper.states import RunState
from sweeper.store import Store
from sweeper.topics.variance_sources import estimate as variance_sources
from trainers.data import load as load_data
from trainers.data_config import DataConfig


def test_every_complete_run_brings_its_answers_into_the_report(undisturbed: Path) -> None:
    """Each run's bits give the recalls that it recorded, in the data set's own order of labels."""
    with Store.open(f"sqlite:///{undisturbed}", create=False) as store:
        frames = load(store, "faults")
        kept = {one.run_id for one in store.predictions(frames.sweep.id)}
    complete = frames.runs.index[frames.runs["state"] == RunState.COMPLETE]
    assert kept == set(complete)
    assert len(kept) == 6
    labels = load_data(DataConfig(dataset="digits", max_per_class=20)).y["test"]
    assert bits.unpack_labels(frames.sweep.facts).tolist() == labels.tolist()  # pyright: ignore
    known = bits.answers(frames)
    assert known is not None
    assert known.foreign == 0
    found = view_of(frames)
    sources = found.of(variance_sources.build)
    assert sources is not None
    assert sources.without == 0
    assert all(bar.outer.n == 2 for bar in sources.differences)
