"""Changing test examples, in a sentence."""

from __future__ import annotations

from sweeper.analysis.factors import show
from sweeper.topics.prediction_changes.estimate import PredictionChanges


def finding(one: PredictionChanges, *, thing: str) -> str:
    """`From batch size 2 to 128, 54 test images are lost and 15 gained.`"""
    return changes(one, thing=thing).partition(". Between")[0] + "."


def changes(one: PredictionChanges, *, thing: str) -> str:
    """`From 2 to 128, 54 test images are lost and 15 gained; about 57 would change by luck.`"""
    where = f"at {one.held.name} {show(one.at)}, " if one.held is not None else ""
    text = (
        f"{where}from {one.factor.name} {show(one.low)} to {show(one.high)}, {one.lost} {thing} "
        f"are lost and {one.gained} gained. Between two repeats of one level, about "
        f"{round(one.chance)} would change by luck."
    )
    return text[:1].upper() + text[1:]
