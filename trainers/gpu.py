"""What a GPU needs beyond a processor: settings of its libraries, and the choice of a form."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from trainers.forms import DEFAULT, GPU_FORMS

# The most that an update may differ from that of the form DEFAULT, as a share of its length: sums
# have other orders, and bfloat16 has 8 bits.
MOST_APART = {"bfloat16": 0.05, "tf32": 0.005}
MOST_APART_OTHERWISE = 0.001


def settle(precision: str) -> None:
    """Chooses what PyTorch leaves to the library: no TF32 unless asked, and kernels that repeat.

    Kernels are not chosen by timing, so the same pack runs the same kernels again.
    """
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True


def right_forms(build: Callable[[str], Any]) -> list[str]:
    """The forms for GPUs whose first update is that of the form DEFAULT, which comes first.

    Args:
        build: makes a `PackTrainer` of a form.
    """
    expected, precision = _first_update(build(DEFAULT))
    most = MOST_APART.get(precision, MOST_APART_OTHERWISE)
    found = [DEFAULT]
    for form in GPU_FORMS:
        if form != DEFAULT:
            moved, _ = _first_update(build(form))
            apart = torch.linalg.vector_norm(moved - expected, dim=1)
            if bool((apart <= most * torch.linalg.vector_norm(expected, dim=1)).all()):
                found.append(form)
    return found


class PackMemory(NamedTuple):
    """Bytes of a GPU: by K what a pack takes at the most, of its process besides, and in all."""

    memory: dict[int, int]
    context: int
    device_memory: int


def memory(ks: Iterable[int], build: Callable[[int], Any]) -> PackMemory:
    """Measures packs of these K, which `build` makes."""
    return PackMemory(peaks(ks, build), *beside())


def peaks(ks: Iterable[int], build: Callable[[int], Any]) -> dict[int, int]:
    """Bytes that PyTorch reserves at the most for a pack of K, by K, each alone in this process.

    Args:
        build: makes a `PackTrainer` of K members.
    """
    found: dict[int, int] = {}
    for k in ks:
        release()
        torch.cuda.reset_peak_memory_stats()
        build(k).time_steps(1)
        found[k] = torch.cuda.max_memory_reserved()
    release()
    return found


def beside() -> tuple[int, int]:
    """Bytes that this process takes of its GPU beside PyTorch's, and bytes of the whole GPU.

    If other processes use the GPU, their bytes count too: then fewer are thought to fit.
    """
    free, total = torch.cuda.mem_get_info()
    return total - free - torch.cuda.memory_reserved(), total


def release() -> None:
    """Gives back what PyTorch keeps of the GPU's memory for later, which other processes need."""
    gc.collect()
    torch.cuda.empty_cache()


def _first_update(trainer: Any) -> tuple[Tensor, str]:
    """How the first update moves each member's parameters, (K, P) float64; and the precision."""
    layout, data = trainer.pack.parameters.layout, trainer.pack.parameters.data
    before = data.double()
    trainer.update(next(iter(trainer.feed.batches(0, 1))))
    moved = layout.split(data.double() - before)
    return torch.cat(list(moved.values()), dim=1), trainer.config.train.precision
