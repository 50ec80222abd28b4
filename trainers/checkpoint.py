"""Checkpoints: tensors and JSON in one safetensors file, whole or not there. Nothing is unpickled.

They lie in a folder on a disk or on shared storage (`trainers.folders`). The last two are kept, so
that a file broken by a full disk or a lost node leaves the one before it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from trainers import folders
from trainers.folders import Folder

if TYPE_CHECKING:  # whoever only asks for a checkpoint that is not there needs no torch
    from torch import Tensor

KEPT = 2
NAME = re.compile(r"round-(\d{8})\.safetensors")

Checkpoint = tuple[int, "dict[str, Tensor]", dict[str, Any]]


def save(
    place: str | Path, round: int, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]
) -> str:
    """Keeps a round's state; returns the file's name. Older rounds but one go, and later ones.

    `place` is a path or a URL (`trainers.folders`).

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    folder = folders.opened(place)
    name = f"round-{round:08d}.safetensors"
    folder.write(name, _encode(tensors, meta))
    # Later rounds are left over from before this run went back to an earlier one.
    rounds = _rounds(folder)
    later = [old for number, old in rounds if number > round]
    older = [old for number, old in rounds if number <= round]
    for old in later + older[KEPT:]:
        folder.remove(old)
    return name


def latest(place: str | Path, *, at_most: int | None = None) -> Checkpoint | None:
    """The newest whole checkpoint, not beyond round `at_most`: its round, tensors and meta.

    Raises:
        OSError: the folder cannot be read.
    """
    folder = folders.opened(place)
    for round, name in _rounds(folder):
        if at_most is not None and round > at_most:
            continue
        try:
            found = _decode(folder.read(name))
        except FileNotFoundError:  # a worker that was replaced may still remove it
            continue
        if found is not None:
            return round, *found
    return None


def _rounds(folder: Folder) -> list[tuple[int, str]]:
    """Checkpoints of a folder, newest first."""
    found = [(NAME.fullmatch(name), name) for name in folder.names()]
    return sorted(((int(m[1]), name) for m, name in found if m), reverse=True)


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
