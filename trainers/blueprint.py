"""What a network declares while it is built: its parameters, batch norms and constants.

Letters: O outputs, I inputs, C channels, K members.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

Kind = Literal["convolution", "linear", "bias", "channels", "free"]
Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


@dataclass(frozen=True)
class Parameter:
    """A parameter of one member.

    `shape` is (O, kh, kw, I) of a convolution, (I, O) of a linear layer, (O,) of its bias, and (C,)
    of parameters of channels. A `free` one has any shape, and its view is (K, *shape).
    """

    name: str
    kind: Kind
    shape: tuple[int, ...]
    draw: Draw
    decays: bool

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass
class Blueprint:
    """What a network declares while it is built: parameters, and batch norms with channels.

    Attributes:
        start: draws several parameters at once, by name; they are not drawn one by one.
        constants: numbers that come from the data and that training leaves as they are, by name;
            a saved model has them, and its blueprint is made with them.
        random: whether training passes draw numbers of their own, so that batches need keys.
        head: how the names of the last layer's parameters begin.
    """

    parameters: list[Parameter] = field(default_factory=list)
    norms: dict[str, int] = field(default_factory=dict)
    start: Callable[[np.random.Generator], Mapping[str, np.ndarray]] | None = None
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    random: bool = False
    head: str = "head."

    def add(
        self, name: str, kind: Kind, shape: tuple[int, ...], draw: Draw, *, decays: bool = False
    ) -> str:
        """Declares a parameter and returns its name."""
        self.parameters.append(Parameter(name, kind, shape, draw, decays))
        return name

    def constant(self, name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """Declares a constant and returns it; makes it unless the blueprint has it already."""
        if name not in self.constants:
            self.constants[name] = make()
        return self.constants[name]
