"""Importance by a model, in short sentences."""

from __future__ import annotations

from collections.abc import Iterator

from sweeper.analysis.view import SweepView
from sweeper.analysis.wording import capitalised, joined, percent
from sweeper.topics.importance.estimate import Importance, build


def important(one: Importance) -> Iterator[str]:
    """Which factor the model leans on most, and how good the model is."""
    first, unit = one.shares[0], "of the model's variance"
    yield (
        f"{capitalised(first.factor.name)} matters most: {percent(first.alone)} {unit} alone, "
        f"{percent(first.total)} with its interactions."
    )
    rest = [f"{share.factor.name} {percent(share.total)}" for share in one.shares[1:]]
    if rest:
        yield f"With their interactions: {joined(rest)}."
    yield (
        f"This is what a {one.model} says that was fitted to {one.cells} cells. It predicts "
        f"{percent(one.r2)} of the variance of cells that it has not seen. There is no interval."
    )


def methods(view: SweepView) -> Iterator[str]:
    """The sentences for the methods paragraph; none where the page shows nothing of it."""
    found = view.of(build)
    if isinstance(found, Importance):
        yield (
            "Importance is model-based and has no interval: first-order and total Sobol indices "
            f"(Saltelli et al., 2010) of a {found.model} of the cells' means, which predicts "
            f"{100 * found.r2:.0f} % of the variance of cells that it was not fitted to."
        )
