"""Where a sweep ran: the lock of the environment, the workers' hardware, in JSON and in words."""

import re
from dataclasses import replace

import numpy
import planted

from sweeper.analysis.frames import load
from sweeper.engine import nodes, provenance
from sweeper.report.archive import clean
from sweeper.report.manifest import manifest
from sweeper.report.manifest import provenance as in_words


def test_the_environment_lists_each_distribution_once():
    """Name and version, sorted; the numpy that is imported is in it."""
    lock = provenance.lock()
    assert f"numpy=={numpy.__version__}" in lock
    assert lock == sorted(set(lock), key=str.lower)
    assert provenance.collect(trainer="3")["lock"] == lock


def test_hardware_is_no_fact_that_must_be_equal():
    """Two nodes may have other processors; the versions must agree."""
    here = nodes.facts()
    assert re.search(r"\d+ cores, \d+ GiB$", here["hardware"])
    assert nodes.differences(here, here | {"hardware": "another"}) == []


def test_the_manifest_has_the_lock_and_the_workers():
    """Whole for programs; for readers the number of packages, and the hardware."""
    plan = planted.plan(replicates=2)
    frames = load(planted.Memory(plan), plan.sweep.name)
    made = {
        "lock": ["a==1", "b==2"],
        "workers": ["CPU X, 8 cores, 31 GiB"],
        "seconds_alone": {"k": 2.0},
    }
    kept = clean(replace(frames, sweep=replace(frames.sweep, provenance=made)))
    trained = manifest(kept, b"")["trained_with"]
    assert (trained["lock"], trained["workers"]) == (made["lock"], made["workers"])
    words = dict(in_words(kept, manifest(kept, b"")["data"]))
    assert words["lock"].startswith("2 packages (sha256 ")
    assert words["workers"] == "CPU X, 8 cores, 31 GiB"
    assert "seconds_alone" not in words
