"""Observers: what is measured of a run beside its metrics; a file for each.

Letters: K members, M samples observed, C classes, G groups of classes.

An observer changes nothing of the training: it sees the weights and statistics that are evaluated,
and draws its samples from streams of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from trainers import catalogue
from trainers.config import TrainConfig
from trainers.groups import GROUPS, class_groups
from trainers.pack import PackedNetworks
from trainers.streams import generator

# (split, metric) -> (K, C + G + 1): a number for each class, each group, and all classes.
Numbers = Mapping[tuple[str, str], Tensor]


@dataclass(frozen=True)
class Sampled:
    """Samples of a split that an observer looks at, sorted by class.

    Attributes:
        x: (K, M, ...), normalised; each member has its own samples.
        labels: (M,), equal for all members.
    """

    x: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Observed:
    """K networks as they are evaluated, with the data of their runs.

    Attributes:
        pack: the networks.
        counts: training samples of each class.
        labels: split -> (N,) or (K, N), the classes of the samples that may be drawn.
        samples: the normalised samples (K, M, ...) at places (K, M) of a split's `labels`.
        enter: converts normalised samples to the layout of the pack's form.
        replicates, fingerprint: what names the streams of random numbers.
    """

    pack: PackedNetworks
    counts: Sequence[int]
    labels: Mapping[str, Tensor]
    samples: Callable[[str, Tensor], Tensor]
    enter: Callable[[Tensor], Tensor]
    replicates: Sequence[int]
    fingerprint: str

    def draw(self, split: str, most: int) -> Sampled:
        """Draws up to `most` samples of each class, the same at each evaluation of a run."""
        labels = self.labels[split].cpu().numpy()
        rows = np.broadcast_to(labels, (self.pack.members, labels.shape[-1]))
        places = np.stack(
            [_drawn(row, most, self.source(split, member)) for member, row in enumerate(rows)]
        )
        index = torch.from_numpy(places).to(self.pack.parameters.data.device)
        own = torch.from_numpy(rows[0][places[0]]).to(index.device)
        return Sampled(self.samples(split, index), own)

    def source(self, name: str, member: int) -> np.random.Generator:
        """A member's stream of random numbers for observers."""
        return generator(self.fingerprint, self.replicates[member], f"observe {name}")

    def logits(self, features: Tensor) -> Tensor:
        """Logits (K, M, C) of features (K, M, width)."""
        return self.pack.head(features)

    def features(self, x: Tensor) -> Tensor:
        """Features (K, M, width) of normalised samples (K, M, ...)."""
        return self.pack.body(self.enter(x))

    @cached_property
    def membership(self) -> Tensor:
        """(C + G + 1, C) bool: the classes of each target, in the order of `Numbers`."""
        classes = len(self.counts)
        groups = class_groups([int(count) for count in self.counts])
        rows = torch.zeros(classes + len(GROUPS) + 1, classes, dtype=torch.bool)
        rows[:classes] = torch.eye(classes, dtype=torch.bool)
        for row, group in enumerate(GROUPS, start=classes):
            rows[row, list(groups[group])] = True
        rows[-1] = True
        return rows.to(self.pack.parameters.data.device)


class Observer(Protocol):
    """An observer, an entry of kind `observer`, whose `metrics` and `splits` say what it gives.

    Attributes:
        at_end: whether it looks only at the end of a run, not at each evaluation.
    """

    at_end: bool

    def __init__(self, train: TrainConfig) -> None: ...

    def observe(self, seen: Observed) -> Numbers:
        """The numbers of each split and metric of its entry; NaN where there is none."""
        ...


class Observers:
    """The observers of a run, in the order of the spec."""

    def __init__(self, train: TrainConfig) -> None:
        self._all = [
            (entry, entry.load()(train))
            for entry in (catalogue.get("observer", name) for name in train.observe)
        ]

    def __bool__(self) -> bool:
        return bool(self._all)

    def numbers(self, seen: Observed, *, end: bool) -> Tensor:
        """All numbers (K, L) float32 in the order of `metrics.layout`; NaN where none was due."""
        targets = len(seen.membership)
        nothing = seen.pack.parameters.data.new_full((seen.pack.members, targets), torch.nan)
        parts: list[Tensor] = []
        for entry, observer in self._all:
            found = observer.observe(seen) if end or not observer.at_end else {}
            parts += [found.get(key, nothing).float() for key in entry.observed()]
        return torch.cat(parts, dim=1)


def _drawn(labels: np.ndarray, most: int, source: np.random.Generator) -> np.ndarray:
    """Places of up to `most` samples of each class, class by class."""
    keys = source.random(len(labels))
    order = np.argsort(keys, kind="stable")
    return np.concatenate([_first(order, labels, c, most) for c in range(int(labels.max()) + 1)])


def _first(order: np.ndarray, labels: np.ndarray, label: int, most: int) -> np.ndarray:
    return order[labels[order] == label][:most]


def pieces(total: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` that cover `total`."""
    return (slice(at, min(at + size, total)) for at in range(0, total, size))
