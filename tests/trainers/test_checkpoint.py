"""Checkpoints: whole or not there, and the one before where the last is broken."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from trainers import checkpoint, files

META = {"round": 3, "alive": [0, 2]}


def tensors(value: float = 1.0) -> dict[str, torch.Tensor]:
    return {"parameters": torch.full((3, 2), value), "steps": torch.arange(4)}


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    """Tensors to the bit, meta as it was."""
    checkpoint.save(tmp_path, 3, tensors(0.1), META)
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert (found[0], found[2]) == (3, META)
    assert all(torch.equal(found[1][name], value) for name, value in tensors(0.1).items())


def test_a_folder_without_checkpoints_has_none(tmp_path: Path) -> None:
    """A run that has not begun starts from its draw."""
    assert checkpoint.latest(tmp_path) is None
    assert checkpoint.latest(tmp_path / "missing") is None


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    """Disk use does not grow with the rounds, and nothing temporary stays."""
    for round in range(5):
        checkpoint.save(tmp_path, round, tensors(), META)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "round-00000003.safetensors", "round-00000004.safetensors"
    ]  # fmt: skip


def test_rounds_that_were_not_recorded_do_not_count(tmp_path: Path) -> None:
    """Who has recorded two rounds goes on from the second, whatever was saved beyond."""
    for round in (2, 3):
        checkpoint.save(tmp_path, round, tensors(float(round)), META)
    found = checkpoint.latest(tmp_path, at_most=2)
    assert found is not None
    assert found[0] == 2
    assert checkpoint.latest(tmp_path, at_most=1) is None


def test_a_run_that_went_back_outlives_its_later_rounds(tmp_path: Path) -> None:
    """Rounds left over from before a restart do not push out those that are saved now."""
    for round in (5, 6, 1):
        checkpoint.save(tmp_path, round, tensors(float(round)), META)
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert found[0] == 1


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip(content: bytes) -> bytes:
    return content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]


def flip_meta(content: bytes) -> bytes:
    return content.replace(b'\\"round\\": 3', b'\\"round\\": 7')


@pytest.mark.parametrize("breaking", [cut, flip, flip_meta, lambda _: b"", lambda _: b"\xff" * 99])
def test_a_broken_file_gives_way_to_the_one_before(tmp_path: Path, breaking) -> None:
    """A file cut short, changed by a bit, or empty is never loaded."""
    checkpoint.save(tmp_path, 2, tensors(2.0), META)
    last = tmp_path / checkpoint.save(tmp_path, 3, tensors(3.0), META)
    whole = last.read_bytes()
    last.write_bytes(breaking(whole))
    assert last.read_bytes() != whole
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert found[0] == 2
    last.unlink()


def test_a_failed_write_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is reported, and neither harms what was there nor leaves a part behind."""
    checkpoint.save(tmp_path, 1, tensors(), META)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(tmp_path, 2, tensors(), META)
    assert [p.name for p in tmp_path.iterdir()] == ["round-00000001.safetensors"]


def test_other_tools_can_read_it(tmp_path: Path) -> None:
    """The file is plain safetensors: no pickle, nothing around it."""
    name = checkpoint.save(tmp_path, 1, tensors(), META)
    with safe_open(tmp_path / name, framework="pt") as file:
        assert set(file.keys()) == {"parameters", "steps"}
