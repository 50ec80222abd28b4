"""The keys of `resources`."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, field_validator

from trainers.blocks import Block

Positive: TypeAlias = Annotated[float, Field(gt=0.0)]


class Resources(Block):
    """The resources of a worker, and the number of workers."""

    cpus: Positive = Field(default=1.0, description="CPU cores a worker.")
    gpus: Annotated[float, Field(ge=0.0, le=64.0)] | Literal["auto"] = Field(
        default=0.0,
        description="GPUs a worker; a fraction shares a GPU, above 1 whole numbers. auto: as many "
        "workers share a GPU as its memory has room for, by a short probe.",
    )
    workers: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        default=None, description="Number of workers; null: as many as the cluster has room for."
    )
    threads: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = Field(
        default="auto",
        description="CPU threads a worker; auto: by the size of a step, at most one for each core.",
    )
    pack: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = Field(
        default="auto",
        description="Runs trained together as one model; auto: the cheapest in a short probe.",
    )

    @field_validator("gpus")
    @classmethod
    def _whole_over_one(cls, value: float | Literal["auto"]) -> float | Literal["auto"]:
        if value != "auto" and value > 1 and value != int(value):
            raise ValueError("above 1 the number of GPUs must be whole")
        return value

    @property
    def on_gpu(self) -> bool:
        """Whether runs train on a GPU."""
        return self.gpus != 0

    @property
    def gpus_while_timing(self) -> float:
        """GPUs of a worker that times packs: with `auto` a whole one, whose memory it measures."""
        return 1.0 if self.gpus == "auto" else self.gpus
