"""SAM and SAM-A: the gradient a radius uphill.

Letters: K members, P parameters of one member, B samples, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from trainers.hyper import Hyper
from trainers.parameters import Parameters
from trainers.steps import Passes

if TYPE_CHECKING:
    from trainers.feed import Batch
    from trainers.pack import LossTerms

NORM_EPSILON = 1e-12
# The longest ascent of the plain normaliser, in radii.
LONGEST = 5.0
ASCENT = "ascent"


class SAMStep:
    """SAM-A: takes gradients a radius uphill, where uphill favours small classes.

    A sample of class c has weight a_c = (n_max / n_c)^asymmetry in the ascent, and 1 elsewhere.
    With asymmetry 0 this is SAM (Foret et al. 2021), bit for bit.

    `weighted` follows the authors' code: eps = rho g_a / |g_a|, g_a the gradient of the weighted
    mean loss of the batch. `plain` is the literal "larger step": eps = rho g_a / |g|, with a scaled
    to mean 1 over the training samples, and at most 5 rho long.

    `sam.weighted` moves the weights to the descent, or to both passes.
    """

    def __init__(self, parameters: Parameters, hyper: Hyper, counts: Sequence[int]) -> None:
        self.radius = hyper.tensor("sam.radius")
        self.plain = hyper.first.sam.normaliser == "plain"
        self._two_gradients = self.plain and hyper.any("sam.asymmetry")
        rows = [
            class_weights(counts, asymmetry, to_mean_one=self.plain)
            for asymmetry in hyper.values("sam.asymmetry")
        ]
        self.of_classes: Mapping[str, Tensor] = {ASCENT: torch.stack(rows).to(parameters.data)}
        self._ascent_weighted = hyper.first.sam.weighted != "descent"
        self._descent_weighted = hyper.first.sam.weighted != "ascent"
        self._home = torch.empty_like(parameters.data)

    def gradient(self, passes: Passes, batch: Batch) -> tuple[Tensor, LossTerms]:
        """The gradient at the end of the ascent."""
        terms = passes.terms(batch)
        unweighted = passes.gradient(terms.objective, again=True) if self._two_gradients else None
        weights = batch.of_samples[ASCENT]
        tilted = passes.gradient(self._objective(terms, weights, weighted=self._ascent_weighted))
        self._climb(passes.parameters, tilted, unweighted)
        there = passes.terms(batch, first=False)
        grad = passes.gradient(self._objective(there, weights, weighted=self._descent_weighted))
        passes.parameters.data.copy_(self._home)
        return grad, terms

    def _objective(self, terms: LossTerms, weights: Tensor, *, weighted: bool) -> Tensor:
        if not weighted:
            return terms.objective
        return terms.plus_ssl(self.mean_loss(terms.losses, weights))

    def direction(self, parameters: Parameters, grad: Tensor) -> tuple[Tensor, Tensor]:
        """The way uphill, (K P,), and what a radius is divided by, (K,); may overwrite `grad`."""
        return grad, parameters.layout.norms(grad)

    def mean_loss(self, losses: Tensor, weights: Tensor) -> Tensor:
        """The ascent's loss of each member, from (K, B) losses and sample weights: (K,)."""
        if self.plain:
            return (weights * losses).mean(1)
        return (weights * losses).sum(1) / weights.sum(1)

    def _climb(self, parameters: Parameters, tilted: Tensor, unweighted: Tensor | None) -> None:
        """Moves the parameters uphill by g_a, `tilted`; overwrites it and `unweighted`, g."""
        layout = parameters.layout
        tilted, length = self.direction(parameters, tilted)
        factors = self.radius / (length + NORM_EPSILON)
        if unweighted is not None:
            _, plain_length = self.direction(parameters, unweighted)
            literal = self.radius / (plain_length + NORM_EPSILON)
            factors = torch.minimum(literal, LONGEST * factors)
        self._home.copy_(parameters.data)
        layout.add_scaled_(parameters.data, tilted, factors)


def class_weights(counts: Sequence[int], asymmetry: float, *, to_mean_one: bool) -> Tensor:
    """(n_max / n_c)^asymmetry, (C,) float64; scaled to mean 1 over the samples if asked."""
    sizes = torch.tensor(counts, dtype=torch.float64)
    weights = (sizes.max() / sizes.clamp(min=1)) ** asymmetry
    return weights * sizes.sum() / (weights * sizes).sum() if to_mean_one else weights
