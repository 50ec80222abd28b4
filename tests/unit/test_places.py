"""Where checkpoints lie, and what is refused before anything is made."""

from __future__ import annotations

import threading
import uuid
from pathlib import Path

import pytest

from sweeper.engine import checkpoint_paths
from sweeper.errors import InputError
from trainers import folders

STORAGE = "postgresql://me:secret@host/database"


def test_checkpoints_at_a_url_lie_below_it_and_are_removed() -> None:
    """A pack's folder goes, the rest stays."""
    base = f"memory://{uuid.uuid4().hex}"
    found = checkpoint_paths.of(STORAGE, environment={checkpoint_paths.VARIABLE: f"{base}/"})
    assert found.base == base
    assert found.root.startswith(f"{base}/")
    for pack in (1, 2):
        folders.opened(found.of_pack(1, pack=pack)).write("round", b"state")
    found.remove(1, pack=1)
    assert folders.opened(found.of_pack(1, pack=1)).names() == []
    assert folders.opened(found.of_pack(1, pack=2)).names() == ["round"]


def test_a_path_and_no_variable_ask_nobody(tmp_path: Path) -> None:
    """Folders are made when the first checkpoint is written."""
    checkpoint_paths.check({})
    checkpoint_paths.check({checkpoint_paths.VARIABLE: str(tmp_path / "new")})
    checkpoint_paths.check({checkpoint_paths.VARIABLE: f"file://{tmp_path}/new"})
    assert list(tmp_path.iterdir()) == []


def test_a_url_that_works_is_accepted_and_left_empty() -> None:
    """The check writes a file, reads it and removes it."""
    base = f"memory://{uuid.uuid4().hex}"
    checkpoint_paths.check({checkpoint_paths.VARIABLE: base})
    assert folders.opened(base).names() == []


def test_a_url_that_cannot_be_used_is_refused_by_its_variable() -> None:
    """One line: the variable, the URL without a password, the fix."""
    with pytest.raises(InputError) as refused:
        checkpoint_paths.check({checkpoint_paths.VARIABLE: "sftp://me:word@host/a"})
    assert str(refused.value).startswith("SWEEPER_CHECKPOINTS: 'sftp://host/a': a password")
    assert "word@" not in str(refused.value)


def test_a_storage_that_fails_or_hangs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client of a storage may try again for minutes; a launch says so within its limit."""
    environment = {checkpoint_paths.VARIABLE: "memory://somewhere"}

    def fail(place: str) -> None:
        raise OSError(f"{place}: access denied")

    monkeypatch.setattr(folders, "try_out", fail)
    with pytest.raises(InputError, match=r"'memory://somewhere': .*access denied"):
        checkpoint_paths.check(environment)
    let_go = threading.Event()
    monkeypatch.setattr(folders, "try_out", lambda _: let_go.wait())
    with pytest.raises(InputError, match=r"no answer within 0.01 s"):
        checkpoint_paths.check(environment, limit=0.01)
    let_go.set()


def test_a_joined_cluster_without_a_named_place_is_told_of_once() -> None:
    """A pack that is tried again on another node starts again there, and the launch says so."""
    said = checkpoint_paths.remark("head:6379", {})
    assert said.startswith("SWEEPER_CHECKPOINTS is not set: each node keeps checkpoints")
    assert "tried again on another node starts again" in said
    assert checkpoint_paths.remark(None, {}) == ""
    assert checkpoint_paths.remark("head:6379", {checkpoint_paths.VARIABLE: "/shared"}) == ""
