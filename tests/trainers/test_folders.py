"""Folders on a disk and on shared storage: a file is there whole or not at all."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem

from trainers import checkpoint, folders


@pytest.fixture(params=["path", "file", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty folder of each kind, which is not made yet."""
    name = uuid.uuid4().hex
    return {
        "path": str(tmp_path / name),
        "file": f"file://{tmp_path}/{name}",
        "memory": f"memory://{name}",
    }[request.param]


def test_what_is_written_is_read_listed_and_removed(place: str) -> None:
    """Every kind of folder does the same; nothing temporary stays."""
    folder = folders.opened(place)
    assert folder.names() == []
    folder.write("a.bin", b"one")
    folder.write("a.bin", b"two")
    folder.write("b.bin", b"")
    assert sorted(folders.opened(place).names()) == ["a.bin", "b.bin"]
    assert (folder.read("a.bin"), folder.read("b.bin")) == (b"two", b"")
    folder.remove("a.bin")
    folder.remove("a.bin")
    assert folder.names() == ["b.bin"]
    folder.clear()
    folder.clear()
    assert folder.names() == []


def test_a_file_that_is_not_there_is_not_found(place: str) -> None:
    """A reader can distinguish it from a storage that fails."""
    with pytest.raises(FileNotFoundError):
        folders.opened(place).read("a.bin")


def test_trying_out_leaves_nothing(place: str) -> None:
    """The check before a launch writes, reads and removes a file."""
    folders.try_out(place)
    assert folders.opened(place).names() == []


def tensors(value: float) -> dict[str, torch.Tensor]:
    return {"parameters": torch.full((3, 2), value)}


def test_checkpoints_on_shared_storage_are_kept_as_on_a_disk(place: str) -> None:
    """The last two, later rounds removed, the newest whole one found."""
    for round in (1, 2, 5, 3):
        checkpoint.save(place, round, tensors(float(round)), {"round": round})
    names = sorted(folders.opened(place).names())
    assert names == ["round-00000002.safetensors", "round-00000003.safetensors"]
    folders.opened(place).write(names[-1], b"broken")
    found = checkpoint.latest(place)
    assert found is not None
    assert (found[0], found[2]) == (2, {"round": 2})
    assert torch.equal(found[1]["parameters"], tensors(2.0)["parameters"])


@pytest.mark.parametrize("method", ["pipe_file", "mv"])
def test_a_write_that_fails_at_any_step_leaves_the_old_file(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The storage's own error becomes an OSError of one line, and no part of a file stays."""
    folder = folders.opened(f"memory://{uuid.uuid4().hex}")
    folder.write("a.bin", b"old")
    whole = getattr(MemoryFileSystem, method)

    def fail(storage: Any, path: str, value: Any, **options: Any) -> None:
        if method == "pipe_file":
            whole(storage, path, value[:1], **options)
        raise RuntimeError("the server\nis gone")

    monkeypatch.setattr(MemoryFileSystem, method, fail)
    with pytest.raises(OSError, match=r"memory://.*: the server is gone"):
        folder.write("a.bin", b"new")
    monkeypatch.undo()
    assert folder.names() == ["a.bin"]
    assert folder.read("a.bin") == b"old"


@pytest.mark.parametrize("error", [RuntimeError("the server is gone"), FileNotFoundError("bucket")])
def test_a_storage_that_does_not_answer_is_an_error_not_an_empty_folder(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pack must not start again because of a network that fails for a second."""
    folder = folders.opened(f"memory://{uuid.uuid4().hex}")

    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(MemoryFileSystem, "ls", fail)
    if isinstance(error, FileNotFoundError):
        assert folder.names() == []
    else:
        with pytest.raises(OSError, match="the server is gone"):
            folder.names()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://bucket/a", "s3:// needs the package s3fs: pip install s3fs, on every node"),
        ("gs://bucket", "gs:// needs the package gcsfs: pip install gcsfs, on every node"),
        ("s4://bucket", "s4:// is not known; s3://, gs:// or a path are"),
        ("file://folder", "write file:///folder"),
        ("sftp://me:word@host/a", "a password in the URL would be sent to every node"),
        ("simplecache::s3://bucket", "chained URLs (::) are not supported"),
        ("file:///folder", ""),
        ("memory://folder", ""),
    ],
)
def test_a_url_that_cannot_be_used_is_explained_without_asking_a_server(
    url: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line names the package or the form that is missing."""
    for package in ("s3fs", "gcsfs"):  # whatever is installed here
        monkeypatch.setitem(sys.modules, package, None)
    found = folders.fault(url)
    assert found.startswith(said)
    assert bool(found) == bool(said)


def test_a_user_in_the_url_is_not_shown() -> None:
    """Messages go to logs that others read."""
    assert folders.without_user("sftp://me:word@host/a/b") == "sftp://host/a/b"
    assert folders.without_user("s3://bucket/a@b") == "s3://bucket/a@b"
