"""A planted sweep whose runs have observed numbers, beside its metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import planted

TARGETS = ("class:0", "group:minority", "group:majority", "group:head", "")
MARGIN, VARIANCE, SQUARE, NOISE = (
    "logit_margin",
    "gradient_variance",
    "gradient_square",
    "gradient_noise",
)
METRICS = (("test", MARGIN), *(("train", one) for one in (NOISE, VARIANCE, SQUARE)))
EFFECT = {2: 0.6, 8: 0.3, 32: 0.0, 128: -0.4}  # of the batch size on the minority's margin


def watched(*, effect: Mapping[int, float] = EFFECT, **spec: object) -> planted.Plan:
    """A planted sweep whose runs have observed numbers, with more keys of its spec."""
    plan = planted.plan(levels={planted.BATCH: [2, 8, 32, 128]}, replicates=6)
    keys = tuple((split, one, target) for split, one in METRICS for target in TARGETS)
    source = np.random.default_rng(5)
    numbers = {}
    for (cell, replicate), own in plan.numbers.items():
        batch = plan.cells[cell].factors[planted.BATCH]
        extra = source.normal(0.0, 0.05, (len(own), len(keys)))
        for at, (_, metric, target) in enumerate(keys):
            if metric == MARGIN:
                extra[:, at] += effect[batch] * (target == "group:minority") + 0.2 * replicate
            else:
                extra[:, at] += 2.0 if metric == VARIANCE else 0.5
        numbers[cell, replicate] = np.concatenate([own, extra.astype(own.dtype)], axis=1)
    layout = (*plan.layout, *keys)
    sweep = replace(plan.sweep, layout=layout, spec={**plan.sweep.spec, **spec})
    return replace(plan, sweep=sweep, numbers=numbers, layout=layout)
