"""Loads the executor's library by ctypes.

The library itself is plain C++: programs in `program.hpp`, their passes in `passes.hpp`, the
kernels in `convolution.hpp` and `norms.hpp`, sums and updates of flat tensors in `flat.hpp`, its
threads in `team.hpp`.
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


# The level in use, and the threads of the executor while PyTorch's operations have one.
_USED: ContextVar[tuple[str, int] | None] = ContextVar("used", default=None)


@contextmanager
def used(level: str) -> Iterator[None]:
    """A context of passes at a level, in which PyTorch's sums have one order: it has one thread.

    They are of small tensors here; the executor keeps its threads.
    """
    if _USED.get() is not None:
        yield
        return
    threads = torch.get_num_threads()
    token = _USED.set((level, threads))
    if threads > 1:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        _USED.reset(token)
        if threads > 1:
            torch.set_num_threads(threads)


def level_used() -> str | None:
    """The level in use."""
    found = _USED.get()
    return found[0] if found else None


def threads() -> int:
    """The threads of the executor."""
    found = _USED.get()
    return found[1] if found else torch.get_num_threads()


@cache
def available() -> tuple[str, ...]:
    """The levels that this processor has and that were built, the best first."""
    wanted = os.environ.get(VARIABLE, "")
    return tuple(
        level for level in levels() if wanted in ("", level) and _runs_here(level) and _loads(level)
    )


def _runs_here(level: str) -> bool:
    has = torch.backends.cpu.get_cpu_capability()
    return {"avx512": has == "AVX512", "avx2": has in ("AVX2", "AVX512")}.get(level, True)


def _loads(level: str) -> bool:
    """Whether there is a library for this system; one of another C library does not load."""
    try:
        library(level)
    except OSError:
        return False
    return True


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


class MatrixOfLibrary(ctypes.Structure):
    """`SweeperMatrix` of executor.cpp."""

    _fields_ = [
        ("at", ctypes.c_void_p),
        ("member", ctypes.c_int64),
        ("row", ctypes.c_int64),
        ("column", ctypes.c_int64),
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
        ("add_scaled", None, [pointer] * 4),
        ("sgd", None, [pointer] * 5 + [number] * 2),
        ("adamw", None, [pointer] * 6 + [number]),
        ("product", None, [number] * 5 + [pointer] * 3),
    ):
        function = getattr(made, f"sweeper_{name}")
        function.restype, function.argtypes = result, arguments
    return made
