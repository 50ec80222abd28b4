"""The data inside a report: exact, small, clean of paths and hosts, and safe to read."""

import base64
import io
import re
import zipfile

import numpy as np
import pandas as pd
import planted
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeper.analysis import bits
from sweeper.analysis.frames import load
from sweeper.analysis.view import view_of
from sweeper.errors import InputError
from sweeper.report import archive as carry
from sweeper.report import page
from sweeper.states import Ending
from sweeper.store.store import Store
from sweeper.topics.prediction_changes import estimate as prediction_changes
from sweeper.topics.variance_sources import estimate as variance_sources

ERROR = "Traceback\n  File /home/alice/train.py\nOSError: /mnt/alice/x.npz at sqlite://bighost/a"


def frames(**settings):
    plan = planted.plan(**settings)
    return load(planted.Memory(plan), plan.sweep.name)


def same(one, two):
    assert one.sweep == two.sweep
    for name in carry.TABLES:
        pd.testing.assert_frame_equal(getattr(one, name), getattr(two, name))


@pytest.mark.parametrize(
    "settings",
    [
        {"failures": {(3, 1): (Ending.DIVERGED, "nan"), (7, 4): (Ending.PRUNED, "")}},
        {"replicates": 1, "failures": {(cell, 0): (None, "") for cell in range(8)}},
        {"levels": {"train.augmentation": ["none", "<b>\u2028"], "train.width": [None, 0.5, True]}},
    ],
)
def test_frames_come_back_as_they_were(settings):
    """Every value and type, of whole, empty and oddly typed sweeps; the bytes as well."""
    one = carry.clean(frames(**settings))
    block = carry.dump(one)
    same(one, carry.read(block))
    assert carry.dump(carry.read(block)) == block


def test_frames_of_a_real_database_come_back_as_they_were(tmp_path):
    """Times, attempts and packs included."""
    plan = planted.plan(replicates=3, failures={(2, 1): (Ending.DIVERGED, ERROR)})
    with Store.open(f"sqlite:///{tmp_path / 'sweeper.db'}", create=True) as store:
        one = carry.clean(load(store, planted.fill(store, plan)))
    assert len(one.attempts)
    assert len(one.packs)
    same(one, carry.read(carry.dump(one)))


def test_any_numbers_come_back_as_they_were():
    """float32 values are stored as such, others in full; NaN and infinities as well."""
    plain = frames(replicates=2)

    @given(st.lists(st.floats(), min_size=len(plain.runs), max_size=len(plain.runs)))
    @settings(max_examples=12)
    def check(values):
        one = carry.clean(plain)
        one.runs["value"] = values
        same(one, carry.read(carry.dump(one)))

    check()


def test_no_path_host_or_user_is_in_the_data():
    """Unpacked and searched as text: spec, configurations, errors, provenance, nodes."""
    plan = planted.plan(
        replicates=2,
        spec_text="data: {path: /home/alice/secret/x.npz}\n",
        failures={(1, 1): (Ending.ERROR, ERROR)},
        provenance={"hostname": "bighost", "git": "abc", "note": "in /home/alice/x"},
    )
    plan.sweep.spec["data"]["path"] = "/home/alice/secret/x.npz"
    for one in plan.cells:
        one.config["data"]["path"] = "C:\\Users\\alice\\x.npz"
    block = carry.dump(carry.clean(load(planted.Memory(plan), plan.sweep.name)))
    with zipfile.ZipFile(io.BytesIO(block)) as archive:
        seen = archive.read("sweep.json").decode()
    found = carry.read(block)
    seen += " ".join(str(getattr(found, name).to_dict()) for name in carry.TABLES)
    for secret in ("alice", "bighost", "/home", "/mnt", "Users"):
        assert secret not in seen
    assert "x.npz" in seen


def test_no_label_of_the_test_split_is_in_the_data():
    """Examples are sorted by class, which leaves the classes' sizes; every analysis is the same."""
    plan = planted.with_answers(planted.plan(epochs=2), examples=20)
    kept = load(planted.Memory(plan), plan.sweep.name)
    labels, gone = (bits.unpack_labels(one.sweep.facts) for one in (kept, carry.clean(kept)))
    assert labels is not None
    assert (np.diff(labels) < 0).any()
    np.testing.assert_array_equal(gone, np.sort(labels))
    before, after = view_of(kept), view_of(carry.clean(kept))
    assert after.of(variance_sources.build) == before.of(variance_sources.build) is not None
    sizes = [
        [
            (len(c.gained), len(c.lost), c.chance)
            for one in found.of(prediction_changes.build)
            for c in one.classes
        ]
        for found in (before, after)
    ]
    assert sizes[0] == sizes[1]
    assert any(gained for gained, _, _ in sizes[0])


def test_the_data_open_with_common_tools():
    """A zip file of Parquet files: pandas reads them without Sweeper."""
    text = page.html(frames(replicates=2))
    [block] = re.findall(r'<script type="application/zip" id="data">([^<]*)<', text)
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(block))) as archive:
        assert archive.testzip() is None
        runs = pd.read_parquet(io.BytesIO(archive.read("runs.parquet")))
    assert len(runs) == 16
    assert set(runs["state"]) == {"complete"}


def test_the_page_depends_on_its_data_alone():
    """Made twice from the same sweep, and once more from its own data: the same text."""
    one, two = page.html(frames()), page.html(frames())
    assert one == two
    [block] = re.findall(r'id="data">([^<]*)<', one)
    assert page.remake(base64.b64decode(block)) == one


def test_a_node_is_named_nowhere(tmp_path):
    """Not of an attempt, nor in an error that quotes it."""
    plan = planted.plan(replicates=2, failures={(2, 1): (Ending.ERROR, "node-1 ran out of disk")})
    with Store.open(f"sqlite:///{tmp_path / 'sweeper.db'}", create=True) as store:
        found = load(store, planted.fill(store, plan))
    assert "node-1" in str(found.attempts.to_dict())
    found = carry.read(carry.dump(carry.clean(found)))
    assert "node-1" not in str(found.attempts.to_dict()) + str(found.runs.to_dict())
    assert "… ran out of disk" in set(found.runs["error"])


def zipped(**files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name.replace("_", "."), data)
    return out.getvalue()


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"PK\x03\x04",
        zipped(sweep_json="{}"),
        zipped(sweep_json="[" * 100_000),
        zipped(sweep_json='{"format": 2, "sweep": {}}'),
        zipped(sweep_json=b"0" * (carry.MOST_TEXT + 1)),
    ],
    ids=["empty", "cut", "bare", "deep", "newer", "bomb"],
)
def test_what_is_no_such_data_is_refused_in_one_line(block):
    """Whatever a hostile page holds: one sentence."""
    with pytest.raises(InputError, match="its data"):
        carry.read(block)


def test_any_damage_is_refused_or_read():
    """A byte changed anywhere never ends in another error."""
    block = carry.dump(carry.clean(frames(replicates=2)))

    @given(st.integers(0, len(block) - 1), st.integers(1, 255))
    @settings(max_examples=150)
    def check(at, change):
        damaged = bytearray(block)
        damaged[at] ^= change
        try:
            carry.read(bytes(damaged))
        except InputError as error:
            assert "\n" not in str(error)  # noqa: PT017  either is right

    check()
