"""Chooses the step of a configuration."""

from __future__ import annotations

from collections.abc import Sequence

from trainers import catalogue
from trainers.hyper import Hyper
from trainers.parameters import Parameters
from trainers.steps import Step
from trainers.steps.accumulated import Accumulated
from trainers.steps.class_normalised import ClassNormalised
from trainers.steps.plain import Plain


def step_of(hyper: Hyper, parameters: Parameters, counts: Sequence[int]) -> Step:
    """The step that a configuration asks for."""
    train = hyper.first
    if hyper.any("sam.radius"):
        step = catalogue.get("sharpness", train.sam.method).load()(parameters, hyper, counts)
    elif train.gradient == "class_normalised":
        step = ClassNormalised()
    else:
        step = Plain()
    if train.accumulation == 1:
        return step
    return Accumulated(step, train.accumulation, batch_size=train.batch_size)
