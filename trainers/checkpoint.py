"""Checkpoints: tensors and JSON in one safetensors file, whole or not there. Nothing is unpickled.

A file is written aside, synced, renamed, and its folder synced; the last two are kept, so that a
file broken by a full disk or a lost node leaves the one before it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

if TYPE_CHECKING:  # whoever only asks for a checkpoint that is not there needs no torch
    from torch import Tensor

KEPT = 2
NAME = re.compile(r"round-(\d{8})\.safetensors")

Checkpoint = tuple[int, "dict[str, Tensor]", dict[str, Any]]


def save(
    directory: Path, round: int, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]
) -> Path:
    """Keeps a round's state; returns the file. Older rounds but one are removed, and later ones.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"round-{round:08d}.safetensors"
    _replace(path, _encode(tensors, meta))
    # Later rounds are left over from before this run went back to an earlier one.
    later = [old for number, old in _rounds(directory) if number > round]
    older = [old for number, old in _rounds(directory) if number <= round]
    for old in later + older[KEPT:]:
        old.unlink(missing_ok=True)
    return path


def latest(directory: Path, *, at_most: int | None = None) -> Checkpoint | None:
    """The newest whole checkpoint, not beyond round `at_most`: its round, tensors and meta."""
    for round, path in _rounds(directory):
        if at_most is not None and round > at_most:
            continue
        found = _decode(path.read_bytes())
        if found is not None:
            return round, *found
    return None


def _rounds(directory: Path) -> list[tuple[int, Path]]:
    """Checkpoints of a folder, newest first."""
    found = [(NAME.fullmatch(path.name), path) for path in directory.glob("round-*.safetensors")]
    return sorted(((int(m[1]), path) for m, path in found if m), reverse=True)


def _encode(tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> bytes:
    from safetensors.torch import save as serialise

    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(meta, sort_keys=True)
    return serialise(whole, metadata={"meta": text, "sha256": _digest(whole, text)})


def _decode(content: bytes) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and meta, or None where the content is not what was written."""
    from safetensors.torch import load

    try:
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        noted = header["__metadata__"]
        tensors = load(content)
        whole = _digest(tensors, noted["meta"]) == noted["sha256"]
    except (SafetensorError, ValueError, KeyError, TypeError):
        return None
    return (tensors, json.loads(noted["meta"])) if whole else None


def _digest(tensors: Mapping[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().data)
    return digest.hexdigest()


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
