"""The keys that `--set` changed, beside the text of the spec."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from sweeper.errors import SpecError
from sweeper.spec import Spec, parse
from sweeper.store.records import Sweep
from trainers.builtin import ENTRIES
from trainers.config import TrainConfig
from trainers.data_config import PLACES

BY_FACTOR = frozenset({"scientific", "nuisance", "reference"})  # factors are told whole
PLANS = frozenset({"replicates"})  # a number or a block: told whole


def overridden(sweep: Sweep) -> dict[str, tuple[str, str]]:
    """Key -> its value in the text of the spec and as it ran, both as JSON.

    Nothing where the text is no spec of today's, or has keys of a plug-in: a report must not depend
    on what is loaded. Only keys that both have are compared: the other ones came or went with a
    version.
    """
    try:
        spec = parse(sweep.spec_text)
    except SpecError:
        return {}
    if spec.trainer is None and _has_keys_of_plugins(spec):
        return {}
    written = spec.model_dump(mode="json")
    left_out = {f"data.{key}" for key in PLACES}  # made whole when read, and never shown
    if written["train"].get("evaluations", 0) is None:  # chosen by the launch
        left_out.add("train.evaluations")
    if written.get("trainer") is not None:  # decided by what was reported
        left_out.add("objective.split")
    before, now = dict(_flat(written)), dict(_flat(sweep.spec))
    both = {key: (_json(before[key]), _json(now[key])) for key in before if key in now}
    return {key: two for key, two in both.items() if key not in left_out and two[0] != two[1]}


def _has_keys_of_plugins(spec: Spec) -> bool:
    """Whether a spec has keys of `train` that do not come with Sweeper."""
    cells = (path for one in spec.compare for path in one.levels)
    factors = (*spec.scientific, *spec.nuisance, *cells)
    named = {path.split(".")[1] for path in factors if path.startswith("train.")}
    owned = {entry.name for entry in ENTRIES if entry.parameters is not None}
    return not {*(spec.train.model_extra or {}), *named} <= {*TrainConfig.model_fields, *owned}


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        whole = prefix.startswith(tuple(BY_FACTOR)) or (not prefix and key in PLANS)
        if isinstance(value, Mapping) and not whole:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
