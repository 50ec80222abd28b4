"""Plug-in files that bring forms which compute wrongly, before or in place of the right ones."""

from __future__ import annotations

from pathlib import Path

_FILE = """
import os
from trainers.forms import FORMS
from trainers.fused import Folded

class Bent(Folded):
    def convolution(self, x, weight, bias, **more):
        bent = weight * 1.4 - (weight * 0.4).detach()  # the same numbers, another gradient
        return super().convolution(x, bent, bias, **more)

def bent(x):
    return x * 1.001 - (x * 0.001).detach()  # the same numbers, another gradient

class AllBent(Folded):
    def convolution(self, x, weight, bias, **more):
        return super().convolution(bent(x), weight, bias, **more)
    def batch_norm(self, x, weight, bias, **more):
        return super().batch_norm(x, bent(weight), bias, **more)
    def linear(self, x, weight, bias):
        return super().linear(bent(x), weight, bias)
    def pooled(self, x, members):
        return super().pooled(bent(x), members)
    def max_pooled(self, x):
        return super().max_pooled(bent(x))
    def layer_norm(self, x, weight, bias, epsilon):
        return super().layer_norm(bent(x), weight, bias, epsilon)
    def attention(self, x, **more):
        return super().attention(bent(x), **more)

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


def all_bent(folder: Path) -> Path:
    """A form is wrong in every kind of layer of networks for images."""
    return _written(folder, "{'bent': AllBent(), **right}")


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
