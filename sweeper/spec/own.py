"""The configuration of a run that a training function of the user's own trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import Strict, model_serializer

from sweeper.spec.factors import Level
from trainers.config import Config

IMPORTED = "imported"  # the trainer of runs that others made, which `sweeper import` has read
Fixed: TypeAlias = Level | Annotated[tuple[Level, ...], Strict(False)]


class OwnConfig(Config):
    """The values that the function `trainer` gets; the blocks of Sweeper's trainer do not count."""

    trainer: str
    values: dict[str, Fixed]

    @model_serializer
    def _dump(self) -> dict[str, Any]:
        listed = (tuple, list)
        values = {k: [*v] if isinstance(v, listed) else v for k, v in self.values.items()}
        return {"trainer": self.trainer, "data": {}, "train": values}

    def identity(self) -> dict[str, Any]:
        return self.model_dump(mode="json")

    @property
    def budget(self) -> int:
        """The epochs in a whole number `epochs`; 0 where there is none."""
        return epochs_in(self.values)

    @property
    def evaluations(self) -> int:
        return self.budget


def epochs_in(values: Mapping[str, Any]) -> int:
    """The epochs that values speak of, in a whole number `epochs`; 0 where there is none."""
    epochs = values.get("epochs")
    return epochs if isinstance(epochs, int) and not isinstance(epochs, bool) else 0


def read(tree: Mapping[str, Any]) -> Config:
    """The configuration that was stored as JSON."""
    if "trainer" in tree:
        return OwnConfig(trainer=tree["trainer"], values=dict(tree["train"]))
    return Config.model_validate(tree)
