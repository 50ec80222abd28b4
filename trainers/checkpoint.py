"""Checkpoints: tensors and JSON in one safetensors file, written whole. Nothing is unpickled.

They are files of a folder on a disk or on shared storage (`trainers.folders`). The last two are
kept, so that one is left if the newest is damaged by a full disk or a lost node.
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

if TYPE_CHECKING:  # a check for a missing checkpoint must not import torch
    from torch import Tensor

KEPT = 2
NAME = re.compile(r"round-(\d{8})\.safetensors")

Checkpoint = tuple[int, "dict[str, Tensor]", dict[str, Any]]


def save(
    place: str | Path, round: int, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]
) -> str:
    """Saves the state of a round, removes older rounds except one and all later ones.

    Args:
        place: a path or a URL (`trainers.folders`).

    Returns:
        The file's name.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    folder = folders.opened(place)
    name = f"round-{round:08d}.safetensors"
    folder.write(name, _encode(tensors, meta))
    # Later rounds were written before this run went back to an earlier round.
    rounds = _rounds(folder)
    later = [old for number, old in rounds if number > round]
    older = [old for number, old in rounds if number <= round]
    for old in later + older[KEPT:]:
        folder.remove(old)
    return name


def latest(place: str | Path, *, at_most: int | None = None) -> Checkpoint | None:
    """Returns the newest undamaged checkpoint up to round `at_most`: round, tensors and metadata.

    Raises:
        OSError: the folder cannot be read.
    """
    folder = folders.opened(place)
    for round, name in _rounds(folder):
        if at_most is not None and round > at_most:
            continue
        try:
            found = _decode(folder.read(name))
        except FileNotFoundError:  # a worker that was replaced may still remove files
            continue
        if found is not None:
            return round, *found
    return None


def _rounds(folder: Folder) -> list[tuple[int, str]]:
    """The rounds with a checkpoint in the folder, newest first."""
    found = [(NAME.fullmatch(name), name) for name in folder.names()]
    return sorted(((int(m[1]), name) for m, name in found if m), reverse=True)


def _encode(tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> bytes:
    from safetensors.torch import save as serialise

    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(meta, sort_keys=True)
    return serialise(whole, metadata={"meta": text, "sha256": _digest(whole, text)})


def _decode(content: bytes) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Returns tensors and metadata, or None if the content is damaged."""
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
