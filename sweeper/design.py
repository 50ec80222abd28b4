"""Turns factors into cells: which configurations run, in a fixed order, and their identity.

Pure: the same spec gives the same cells on any machine, and a spec with more trials or more levels
keeps its cells.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

import trainers.config
from sweeper.spec import Level, NuisanceRange, Spec
from sweeper.spec import factors as f
from sweeper.spec.own import OwnConfig, read
from trainers.config import Config


@dataclass(frozen=True)
class Design:
    """A cell: the level of every factor that applies to it, and the whole configuration."""

    factors: dict[str, Any]
    config: Config


def designs(spec: Spec) -> Iterator[Design]:
    """The scientific cells of a factorial, random or Sobol sweep, without repeats.

    Raises:
        ValueError: the search is adaptive, so that its cells are asked for one by one.
    """
    return (design(spec, point) for point in _points(spec))


def design(spec: Spec, values: Mapping[str, Level]) -> Design:
    """The cell at these levels; factors whose condition is false are left out."""
    levels = f.active(spec.scientific, values)
    return Design(levels, spec.config_for(levels))


def candidates(spec: Spec, cell: Design) -> list[Design]:
    """The nuisance candidates of a cell, equal for every cell; the cell itself if there are none.

    One nuisance factor: its levels, evenly over its range. Several: Sobol points, as many as the
    largest number of trials.
    """
    if not spec.nuisance:
        return [cell]
    return [
        Design({**cell.factors, **point}, spec.config_for({**cell.factors, **point}))
        for point in _nuisance_points(spec)
    ]


def count(spec: Spec) -> int:
    """The number of scientific cells; does not build a factorial."""
    match spec.search.method:
        case "factorial":
            return f.count(spec.scientific)
        case "random" | "qmc":
            return sum(1 for _ in _points(spec))
        case _:
            return spec.search.trials or 0


def untried(
    spec: Spec, tried: Sequence[Mapping[str, Level]], *, seed: int
) -> Iterator[dict[str, Level]]:
    """Points without a cell yet, at random: all of them where every factor has levels.

    Args:
        tried: the factors of each cell.
        seed: another seed gives another order.
    """
    known = {frozenset(levels.items()) for levels in tried}
    points: Iterable[dict[str, Level]]
    if whole(spec) is None:
        search = spec.search.model_copy(update={"method": "random", "seed": seed, "trials": 16})
        points = _sampled(spec.model_copy(update={"search": search}))
    else:
        every = list(f.assignments(spec.scientific, spec.scientific))
        order = np.random.Generator(np.random.Philox(key=seed)).permutation(len(every))
        points = (every[int(at)] for at in order)
    yield from (point for point in points if frozenset(point.items()) not in known)


def whole(spec: Spec) -> int | None:
    """The number of points of the search space; None if a factor is a range, or there are many."""
    if any(f.size(one) is None for one in spec.scientific.values()):
        return None
    points = f.count(spec.scientific)
    return points if points <= f.MAX_CELLS else None


def cell_hash(config: Config, budget: str, fingerprint: str, trainer_version: str) -> str:
    """A cell's identity: the SHA-256 of the resolved configuration, budget unit, data and trainer.

    The data's fingerprint identifies them, not their path.
    """
    parts = [config.identity(), budget, fingerprint, trainer_version]
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def pack_key(config: Config | Mapping[str, Any]) -> str:
    """Short and equal for configurations whose runs one pack can train together."""
    config = config if isinstance(config, Config) else read(config)
    own = isinstance(config, OwnConfig)
    text = f"own {config.trainer}" if own else trainers.config.pack_key(config)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _points(spec: Spec) -> Iterator[dict[str, Level]]:
    match spec.search.method:
        case "factorial":
            return f.assignments(spec.scientific, spec.scientific)
        case "random" | "qmc":
            return islice(_sampled(spec), spec.search.trials)
        case _:
            raise ValueError("the cells of an adaptive search are asked for one by one")


def _sampled(spec: Spec) -> Iterator[dict[str, Level]]:
    """Distinct points in the order they are drawn; fewer than requested if there are no more."""
    seen: set[tuple[tuple[str, Level], ...]] = set()
    for row in _uniforms(spec):
        values = {name: f.pick(spec.scientific[name], u) for name, u in row.items()}
        point = f.active(spec.scientific, values)
        key = tuple(point.items())
        if key not in seen:
            seen.add(key)
            yield point


def _uniforms(spec: Spec) -> Iterator[dict[str, float]]:
    """Up to 64 rows of numbers in [0, 1) for each trial; the extra rows replace repeats."""
    names, seed = list(spec.scientific), spec.search.seed
    rows = 64 * (spec.search.trials or 0)
    draw = _sobol if spec.search.method == "qmc" else _random
    for row in draw(len(names), rows, seed):
        yield dict(zip(names, row, strict=True))


def _random(dimensions: int, rows: int, seed: int) -> Iterator[list[float]]:
    generator = np.random.Generator(np.random.Philox(key=seed))
    for _ in range(rows):
        yield generator.random(dimensions).tolist()


def _sobol(dimensions: int, rows: int, seed: int) -> Iterator[list[float]]:
    """Scrambled Sobol points: the first n are the same for any `rows`."""
    # Imported here because it takes a second and only Sobol needs it.
    from scipy.stats import qmc  # pyright: ignore[reportMissingTypeStubs]

    sampler: Any = qmc.Sobol(dimensions, scramble=True, rng=seed)
    drawn, block = 0, 6
    while drawn < rows:
        # Blocks of 64, 64, 128, 256 ...: the total stays a power of two, as Sobol points need.
        points: list[list[float]] = sampler.random_base2(block).tolist()
        yield from points
        block = block if drawn == 0 else block + 1
        drawn += len(points)


def _nuisance_points(spec: Spec) -> list[dict[str, Level]]:
    factors = spec.nuisance
    if len(factors) == 1:
        [(name, factor)] = factors.items()
        return [{name: level} for level in f.grid(factor) or ()]
    trials = max(_trials(factor) for factor in factors.values())
    rows = islice(_sobol(len(factors), trials, 0), trials)
    points = [
        {name: f.pick(factors[name], u) for name, u in zip(factors, row, strict=True)}
        for row in rows
    ]
    return _distinct(points)


def _trials(factor: tuple[Level, ...] | NuisanceRange) -> int:
    return factor.trials if isinstance(factor, NuisanceRange) else len(factor)


def _distinct(points: Iterable[dict[str, Level]]) -> list[dict[str, Level]]:
    return list({tuple(point.items()): point for point in points}.values())
