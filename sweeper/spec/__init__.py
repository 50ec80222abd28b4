"""Reads a spec: a YAML file that states the question, checked before anything starts."""

from sweeper.spec.factors import MAX_CELLS, Level, Levels, NuisanceRange, Range
from sweeper.spec.load import Spec, load, parse
from sweeper.spec.models import (
    COMPARE,
    METHOD,
    Budget,
    Limits,
    Looks,
    Objective,
    Pruner,
    Screen,
    Search,
    SpecFile,
    Target,
)
from sweeper.spec.reference import json_schema, markdown
from sweeper.spec.resources import Resources
from sweeper.spec.samplers import ADAPTIVE

__all__ = [
    "ADAPTIVE",
    "COMPARE",
    "MAX_CELLS",
    "METHOD",
    "Budget",
    "Level",
    "Levels",
    "Limits",
    "Looks",
    "NuisanceRange",
    "Objective",
    "Pruner",
    "Range",
    "Resources",
    "Screen",
    "Search",
    "Spec",
    "SpecFile",
    "Target",
    "json_schema",
    "load",
    "markdown",
    "parse",
]
