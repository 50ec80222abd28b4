"""Where the samples of a split lie while packs train: on the device, or on this machine.

Letters: K members, S samples of a chunk.
"""

from __future__ import annotations

import warnings
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

SHARE_OF_DEVICE = 0.25  # of a GPU's free memory, for a split that lies there


class SampleSource(Protocol):
    """The samples of a split."""

    x: Tensor

    def take(self, index: Tensor) -> Tensor:
        """The samples at (K, S), on the device: (K, S, ...)."""
        ...

    def expect(self, index: Tensor) -> None:
        """Says which samples are taken next, so that they can be fetched meanwhile."""
        ...


class Resident:
    """Samples on the device."""

    def __init__(self, x: Tensor) -> None:
        self.x = x

    def take(self, index: Tensor) -> Tensor:
        return self.x[index]

    def expect(self, index: Tensor) -> None:
        del index  # they are there


class Fetched:
    """Samples in this machine's memory or files; a thread fetches those that are expected."""

    def __init__(self, x: Tensor, device: torch.device) -> None:
        self.x, self._device = x, device
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sweeper-samples")
        self._expected: tuple[Tensor, Future[Tensor]] | None = None

    def take(self, index: Tensor) -> Tensor:
        wanted, expected = index.cpu(), self._expected
        self._expected = None
        if expected is not None and torch.equal(expected[0], wanted):
            found = expected[1].result()
        else:
            found = self._fetch(wanted)
        return found.to(self._device, non_blocking=True)

    def expect(self, index: Tensor) -> None:
        wanted = index.cpu()
        self._expected = wanted, self._thread.submit(self._fetch, wanted)

    def _fetch(self, index: Tensor) -> Tensor:
        found = self.x[index]
        return found.pin_memory() if self._device.type == "cuda" else found


def source(array: np.ndarray, device: torch.device) -> SampleSource:
    """The samples of an array: on the device if they fit there, unless the array is a file."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        x = torch.from_numpy(array)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        fits = x.nbytes <= SHARE_OF_DEVICE * free
    else:
        fits = not isinstance(array, np.memmap)
    return Resident(x.to(device)) if fits else Fetched(x, device)
