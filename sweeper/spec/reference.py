"""Makes the reference of the spec from the models: JSON Schema for editors, Markdown for people."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sweeper.spec.factors import Levels, NamedCell, NuisanceRange, Range
from sweeper.spec.models import Looks, Screen, SpecFile, Target
from sweeper.spec.phrases import accepts, block, keys
from trainers.catalogue import KEYS, entries, parameters
from trainers.config import TrainConfig

_HEAD = """# The spec file

<!-- Made by `sweeper.spec.markdown()`; edit the models in sweeper/spec and trainers/config.py. -->

One YAML 1.2 file states one question. Unknown keys, tags and keys given twice are errors; numbers
such as `1e-3` are numbers, and `on` and `no` are text. `--set KEY=VALUE` overrides one key, for
example `--set train.epochs=5` or `--set scientific.train.batch_size=[2,8]`. A block whose
description says so may be written as one word, the value of its first key: `search: factorial`.

A factor is a dotted path into `data.imbalance` or `train` with

- a list of levels, `[2, 8, 32]`;
- a range, `{low: 0.01, high: 1.0, log: true}`, with `step` or `levels` if a grid is needed;
- `{levels: [...], when: {other.factor: level}}`, a list that applies only under a condition.

Factors that `when` joins are compared as one factor, "method", whose levels are their combinations.
`compare` names the cells instead, beside scientific factors or alone.
"""


def json_schema() -> dict[str, Any]:
    """Returns the JSON Schema (2020-12) of a spec file."""
    schema = SpecFile.model_json_schema()
    train = schema["$defs"]["TrainConfig"]
    train["additionalProperties"] = False
    for name, inner in parameters().items():
        described = {"description": keys(TrainConfig)[name].description}
        train["properties"][name] = inner.model_json_schema() | described
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def markdown() -> str:
    """Returns the text of docs/spec.md."""
    parts = [_HEAD, *_section("Top level", SpecFile)]
    forms = {
        "A factor's range": Range,
        "A factor's levels with a condition": Levels,
        "A nuisance factor's range": NuisanceRange,
        "A named cell of `compare`": NamedCell,
        "Replicates to a precision": Target,
        "Replicates by planned looks": Looks,
        "Screening of many cells": Screen,
    }
    for title, model in forms.items():
        parts += _section(title, model)
    return "\n".join([*parts, *_names()])


def _names() -> Iterator[str]:
    """A table of the catalogue: every name that a key of `train` accepts."""
    yield "\n## Names\n\nWhat comes with Sweeper; a `--plugin` file may add more.\n"
    yield "| key | name | what | for |\n|---|---|---|---|"
    for kind, key in KEYS.items():
        for name, entry in entries(kind).items():
            needs = [f"`{other}: {value}`" for other, value in entry.needs.items()]
            uses = [" and ".join(f"{one}s" for one in entry.data), *needs]
            yield f"| `{key}` | `{name}` | {_cell(entry.meaning)} | {', '.join(uses)} |"


def _section(title: str, model: type[BaseModel], path: str = "") -> Iterator[str]:
    yield f"\n## {title}\n\n{inspect.getdoc(model)}\n"
    yield "| key | what | default | meaning |\n|---|---|---|---|"
    for name, field in keys(model).items():
        meaning = _cell(field.description or "")
        cells = (f"`{name}`", _cell(accepts(field)), _default(field), meaning)
        yield f"| {' | '.join(cells)} |"
    for name, field in keys(model).items():
        if inner := block(field.annotation):
            yield from _section(f"`{path}{name}`", inner, f"{path}{name}.")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default_factory is not None or block(field.annotation):
        return ""
    return f"`{json.dumps(field.default)}`"
