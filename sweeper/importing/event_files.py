"""Event files of TensorBoard: the scalars of each run by step, and its hyperparameters.

Each folder below the one that is named is a run. Its hyperparameters are those that were logged
for TensorBoard's HPARAMS page, those of a file `hparams.yaml` (Lightning) or `params.json` (Ray),
or those in its name, such as `lr=0.1,seed=2`.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from google.protobuf.message import DecodeError
from tensorboardX.crc32c import crc32c
from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
from tensorboardX.proto.plugin_hparams_pb2 import (
    HParamsPluginData,  # pyright: ignore[reportAttributeAccessIssue]
)

from sweeper.errors import InputError
from sweeper.importing.columns import Columns, rank
from sweeper.importing.folders import flat, json_of, yaml_of
from sweeper.importing.source import Source, digest_of
from sweeper.importing.splits import SPLITS

FILES = "*tfevents*"
SESSION = "_hparams_/session_start_info"
PAIR = re.compile(r"([A-Za-z_][\w.]*)=([^,=/]+?)(?=[,/]|_\d{4}-\d\d-\d\d|$)")
MASK = 0xA282EAD8  # of checksums in event files
SETTINGS = "config/"


@dataclass
class Logged:
    """What the event files of a run hold.

    Attributes:
        numbers: tag -> step -> value; the last value of a step counts.
        seconds: step -> time since the first event.
    """

    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    numbers: dict[str, dict[int, float]] = field(default_factory=dict[str, dict[int, float]])
    seconds: dict[int, float] = field(default_factory=dict[int, float])


def read(folder: Path, objective: str = "") -> Source:
    """The runs of a log folder: a row for each step at which the objective was logged.

    Args:
        objective: its tag; empty: the likeliest by name.

    Raises:
        InputError: no run has logged the objective, or a file cannot be read.
    """
    files = {one.relative_to(folder).as_posix(): one for one in sorted(folder.rglob(FILES))}
    runs: dict[str, Logged] = {}
    for name, path in files.items():
        parts = name.split("/")[:-1]
        run = runs.setdefault(parts[0] if parts else ".", Logged())
        _add(run, path, inner="/".join(parts[1:]))
    for name, run in runs.items():
        run.settings = {**_written(name, folder / name), **run.settings}
    tags = sorted({tag for run in runs.values() for tag in run.numbers}, key=rank)
    chosen = objective or next(iter(tags), "")
    rows = [row for name, run in runs.items() for row in _rows(name, run, chosen)]
    if chosen not in tags:
        listed = ", ".join(tags[:20])
        raise InputError(f"{folder}: no run has logged {chosen!r}; there are: {listed or 'none'}")
    frame = pd.DataFrame(rows)
    return Source(
        kind="TensorBoard folder",
        name=folder.resolve().name,
        frame=frame,
        where=lambda at: f"{frame['run'][at]}, step {frame['step'][at]}",
        digest=digest_of(files),
        known=Columns(run="run", epoch="step", seconds="seconds"),
    )


def _rows(name: str, run: Logged, objective: str) -> Iterator[dict[str, Any]]:
    """A row for each step of the objective, with the latest value of every other tag."""
    settings = {f"{SETTINGS}{key}": value for key, value in run.settings.items()}
    steps = sorted(run.numbers.get(objective, {}))
    latest = {tag: _latest(values, steps) for tag, values in run.numbers.items()}
    for at, step in enumerate(steps):
        numbers = {tag: values[at] for tag, values in latest.items() if values[at] is not None}
        yield {"run": name, "step": step, "seconds": run.seconds[step], **settings, **numbers}


def _latest(values: Mapping[int, float], steps: list[int]) -> list[float | None]:
    """The last value at or before each step; None before the first."""
    known = sorted(values)
    places = np.searchsorted(known, steps, side="right")
    return [values[known[at - 1]] if at else None for at in places]


def _written(name: str, folder: Path) -> dict[str, Any]:
    """The hyperparameters in a run's name, and in the files beside its events."""
    found: dict[str, Any] = {key: _typed(value) for key, value in PAIR.findall(name)}
    for file, reader in (("params.json", json_of), ("hparams.yaml", yaml_of)):
        if (folder / file).is_file():
            found = flat(reader(folder / file), "")
    return found


def _typed(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, int | float | bool) else text


# --- events


def _add(run: Logged, path: Path, *, inner: str) -> None:
    """Adds the events of one file, of a folder `inner` inside the run's own.

    Keras writes `train` and `validation` folders with equal tags, so such a name goes before the
    tag. The folder in which a writer notes hyperparameters has its final metrics again.
    """
    prefix = f"{inner}/" if inner.lower() in SPLITS else ""
    first: float | None = None
    started = False
    for event in _events(path):
        first = event.wall_time if first is None else first
        run.seconds.setdefault(event.step, event.wall_time - first)
        for value in event.summary.value:
            if value.tag == SESSION:
                run.settings |= _session(value.metadata.plugin_data.content)
                started = bool(inner)
            elif (number := _scalar(value)) is not None and not started:
                run.numbers.setdefault(prefix + value.tag, {})[event.step] = number


def _events(path: Path) -> Iterator[Any]:
    """The events of a file, as far as it is whole: a run that was killed leaves half of the last.

    A record is its length, the checksum of the length, the event, and the checksum of the event.

    Raises:
        InputError: it cannot be read, or is damaged.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    at = 0
    while at + 12 <= len(data):
        length, check = struct.unpack_from("<QI", data, at)
        if check != _masked(crc32c(data[at : at + 8])):
            raise InputError(f"{path}: is damaged, or no event file of TensorBoard's")
        body = data[at + 12 : at + 12 + length]
        if len(body) < length:
            return
        try:
            yield Event.FromString(body)
        except DecodeError as error:
            raise InputError(f"{path}: is damaged: {error}") from error
        at += 16 + length


def _masked(check: int) -> int:
    return (((check >> 15) | (check << 17)) + MASK) & 0xFFFFFFFF


def _scalar(value: Any) -> float | None:
    """The number of a summary; None for pictures, texts and histograms."""
    if value.HasField("simple_value"):
        return float(value.simple_value)
    if not value.HasField("tensor") or value.metadata.plugin_data.plugin_name != "scalars":
        return None
    tensor = value.tensor
    listed = [*tensor.float_val, *tensor.double_val]
    if not listed and tensor.tensor_content:
        kind = "<f8" if len(tensor.tensor_content) == 8 else "<f4"
        listed = list(np.frombuffer(tensor.tensor_content, kind))
    return float(listed[0]) if listed else None


def _session(content: bytes) -> dict[str, Any]:
    """The hyperparameters that were logged for the HPARAMS page."""
    info = HParamsPluginData.FromString(content).session_start_info
    found: dict[str, Any] = {}
    for name, value in info.hparams.items():
        kind = value.WhichOneof("kind")
        if kind in ("number_value", "string_value", "bool_value"):
            found[name] = getattr(value, kind)
    return found
