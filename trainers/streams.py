"""Named random streams: the only source of randomness in a run. Needs numpy only, never torch.

A stream's name is (data fingerprint, replicate, name, epoch), and never the cell, the worker, the
batch size, the pack or the time. So cells that share a replicate share their subset,
initialisation, order and draws, and differ only by what their factors change.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np


def generator(fingerprint: str, replicate: int, stream: str, epoch: int = 0) -> np.random.Generator:
    """A Philox generator whose key is the SHA-256 of the four names; equal names, equal draws."""
    name = json.dumps([fingerprint, replicate, stream, epoch]).encode()
    return np.random.Generator(np.random.Philox(key=_key(name)))


def _key(name: bytes) -> np.ndarray:
    """128 bits of the name's hash, in Philox's form: shape (2,), uint64."""
    return np.frombuffer(hashlib.sha256(name).digest()[:16], dtype="<u8").copy()


def uniform(
    fingerprint: str, replicate: int, stream: str, *, epoch: int, samples: int, width: int
) -> np.ndarray:
    """An epoch's draws for every sample of the pool: (samples, width) float32 in [0, 1).

    Index the rows by pool index. A width of 0 draws nothing. Columns are drawn one after the
    other, so a sample's first draws do not depend on the width: `flip_crop+mixup` flips and crops
    as `flip_crop` does.
    """
    if width == 0:
        return np.empty((samples, 0), dtype=np.float32)
    source = generator(fingerprint, replicate, stream, epoch)
    return source.random((width, samples), dtype=np.float32).T


def order(
    fingerprint: str, replicate: int, subset: np.ndarray, *, epoch: int, samples: int
) -> np.ndarray:
    """The epoch's order of a subset of the pool: its indices, sorted by a key of each pool sample.

    The key belongs to the sample, so two samples keep their order in every subset.
    """
    keys = generator(fingerprint, replicate, "order", epoch).random(samples)
    return subset[np.argsort(keys[subset], kind="stable")]
