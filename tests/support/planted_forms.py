"""Plug-in files that bring forms which compute wrongly, before or in place of the right ones."""

from __future__ import annotations

from pathlib import Path

_FILE = """
import os
from trainers.fused import FORMS, Folded

class Bent(Folded):
    def convolution(self, x, weight, bias, **more):
        bent = weight * 1.4 - (weight * 0.4).detach()  # the same numbers, another gradient
        return super().convolution(x, bent, bias, **more)

class Deadly(Folded):
    def pooled(self, x, members):
        os.abort()

right = dict(FORMS)
FORMS.clear()
FORMS.update({forms})
"""


def bent_first(folder: Path) -> Path:
    """A form with a wrong weight gradient is preferred; the right ones follow."""
    return _written(folder, "{'bent': Bent(), **right}")


def deadly_first(folder: Path) -> Path:
    """A form that kills its process is preferred; the right ones follow."""
    return _written(folder, "{'deadly': Deadly(), **right}")


def all_wrong(folder: Path) -> Path:
    """No form is right."""
    return _written(folder, "{'bent': Bent(), 'deadly': Deadly()}")


def _written(folder: Path, forms: str) -> Path:
    path = folder / "forms.py"
    path.write_text(_FILE.replace("{forms}", forms))
    return path
