"""Loads the executor's library by ctypes.

The library itself is plain C++: programs in `program.hpp`, their passes in `passes.hpp`, the
kernels in `convolution.hpp` and `norms.hpp`, sums and updates of flat tensors in `flat.hpp`.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

import torch

from trainers.compiled.build import levels, library_of

VARIABLE = "SWEEPER_EXECUTOR"  # the only level to use, or `none`


# Threads of the executor while PyTorch's own operations have one, see `alone`.
_THREADS: ContextVar[int | None] = ContextVar("threads", default=None)


@contextmanager
def alone() -> Iterator[None]:
    """A context in which PyTorch computes with one thread, so that its sums have one order.

    They are of small tensors here; the executor keeps its threads.
    """
    threads = torch.get_num_threads()
    if threads == 1 or _THREADS.get() is not None:
        yield
        return
    token = _THREADS.set(threads)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        _THREADS.reset(token)


def threads() -> int:
    """The threads of the executor."""
    return _THREADS.get() or torch.get_num_threads()


@cache
def available() -> tuple[str, ...]:
    """The levels that this processor has and that were built, the best first."""
    wanted = os.environ.get(VARIABLE, "")
    return tuple(
        level
        for level in levels()
        if wanted in ("", level) and _runs_here(level) and library_of(level).exists()
    )


def _runs_here(level: str) -> bool:
    has = torch.backends.cpu.get_cpu_capability()
    return {"avx512": has == "AVX512", "avx2": has in ("AVX2", "AVX512")}.get(level, True)


class PassOfLibrary(ctypes.Structure):
    """`SweeperPass` of executor.cpp."""

    _fields_ = [
        ("members", ctypes.c_int64),
        ("training", ctypes.c_int64),
        ("parameters", ctypes.c_void_p),
        ("input", ctypes.c_void_p),
        ("input_member", ctypes.c_int64),
        ("input_row", ctypes.c_int64),
        ("mean", ctypes.c_void_p),
        ("var", ctypes.c_void_p),
        ("batch_mean", ctypes.c_void_p),
        ("batch_var", ctypes.c_void_p),
        ("outputs", ctypes.c_void_p),
        ("output_member", ctypes.c_void_p),
        ("output_row", ctypes.c_void_p),
        ("grads", ctypes.c_void_p),
        ("gradient", ctypes.c_void_p),
        ("input_gradient", ctypes.c_void_p),
    ]


class FlatOfLibrary(ctypes.Structure):
    """`SweeperFlat` of executor.cpp."""

    _fields_ = [
        ("members", ctypes.c_int64),
        ("threads", ctypes.c_int64),
        ("count", ctypes.c_int64),
        ("blocks", ctypes.c_void_p),
    ]


@cache
def library(level: str) -> ctypes.CDLL:
    """The library of a level that is available."""
    made = ctypes.CDLL(str(library_of(level)))
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    for name, result, arguments in (
        ("plan", pointer, [pointer, number, pointer, number, pointer, number, number]),
        ("discard", None, [pointer]),
        ("kept", number, [pointer]),
        ("forward", None, [pointer, pointer, pointer, number]),
        ("backward", None, [pointer, pointer, pointer, number]),
        ("norms", None, [pointer] * 3),
        ("scale", None, [pointer] * 3),
        ("sgd", None, [pointer] * 5 + [number] * 2),
        ("adamw", None, [pointer] * 6 + [number]),
    ):
        function = getattr(made, f"sweeper_{name}")
        function.restype, function.argtypes = result, arguments
    return made
