"""Sweeper: hyperparameter sensitivity under class imbalance.

The door for Python and notebooks, described in docs/python.md. Importing it loads neither torch nor
Ray.
"""

# pyright: reportUnsupportedDunderAll=false
from __future__ import annotations

from importlib import import_module
from typing import Any

from sweeper.errors import (
    EngineError,
    HeldError,
    InputError,
    SpecError,
    StoreError,
    SweeperError,
    SweepHalted,
)

__version__ = "0.2.0"

# Names whose modules are imported when they are first used; __init__.pyi has their types.
_LATER = {
    "Spec": "sweeper.spec",
    "Sweep": "sweeper.sweeps",
    "connect": "sweeper.service.client",
    "launch": "sweeper.api",
    "load_spec": "sweeper.api",
    "open": "sweeper.api",
    "trainable": "sweeper.trainables",
}

__all__ = [
    "EngineError",
    "HeldError",
    "InputError",
    "Spec",
    "SpecError",
    "StoreError",
    "Sweep",
    "SweepHalted",
    "SweeperError",
    "__version__",
    "connect",
    "launch",
    "load_spec",
    "open",
    "trainable",
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'sweeper' has no attribute {name!r}")
    return getattr(import_module(_LATER[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
