"""Everything that changes while a pack trains: tensors by name.

Parameters, norm statistics, the optimizer's buffers, averages, target networks and queues are all
kept here, so that a checkpoint, a resume and the departure of a member treat them alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from trainers.layout import Layout


@dataclass(frozen=True)
class Kept:
    """A flat tensor that training changes in place, and where each member's numbers lie in it."""

    tensor: Tensor
    layout: Layout


State = Mapping[str, Kept]


def tensors(state: State) -> dict[str, Tensor]:
    """The tensors by name; no copies."""
    return {name: kept.tensor for name, kept in state.items()}


def select(state: State, keep: Sequence[int]) -> dict[str, Tensor]:
    """Copies of some members' numbers, by position."""
    return {name: kept.layout.select(kept.tensor, keep) for name, kept in state.items()}


def load(state: State, values: Mapping[str, Tensor]) -> None:
    """Copies the values into the state.

    Raises:
        ValueError: the names or the shapes are others.
    """
    own = {name: tuple(kept.tensor.shape) for name, kept in state.items()}
    other = {name: tuple(value.shape) for name, value in values.items()}
    if own != other:
        odd = sorted(name for name in own.keys() | other if own.get(name) != other.get(name))
        raise ValueError(f"the state has other tensors than this pack: {', '.join(odd)}")
    for name, kept in state.items():
        kept.tensor.copy_(values[name])
