"""Folders that Ray Tune and MLflow write: text alone is read, never what is pickled beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from ruamel.yaml import YAML, YAMLError

from sweeper.errors import InputError
from sweeper.importing.columns import Columns
from sweeper.importing.source import Source, digest_of

RESULTS, PROGRESS, PARAMS, ERROR = "result.json", "progress.csv", "params.json", "error.txt"
# What Ray Tune adds to each report; `time_total_s` is the time of the trial.
ADDED = frozenset({
    "checkpoint_dir_name", "date", "done", "episodes_total", "experiment_id", "experiment_tag",
    "hostname", "iterations_since_restore", "node_ip", "pid", "should_checkpoint",
    "time_since_restore", "time_this_iter_s", "timestamp", "timesteps_since_restore",
    "timesteps_total", "trial_id", "warmup_time",
})  # fmt: skip
DEEPEST = 3  # folders between the one that is named and a trial
META = "meta.yaml"
STATUS = {"1": "running", "2": "scheduled", "3": "finished", "4": "failed", "5": "killed"}


def is_ray(folder: Path) -> bool:
    """Whether Ray Tune wrote the folder."""
    return any(_below(folder, RESULTS)) or any(_below(folder, PROGRESS))


def is_mlflow(folder: Path) -> bool:
    """Whether it is a file store of MLflow's, or an experiment in it."""
    return any(path.parent.joinpath("metrics").is_dir() for path in _below(folder, META))


def _below(folder: Path, name: str) -> Iterator[Path]:
    for depth in range(DEEPEST + 1):
        yield from sorted(folder.glob("/".join(["*"] * depth + [name])))


def ray_tune(folder: Path) -> Source:
    """The trials of Ray Tune's result folder: a row for each report.

    Raises:
        InputError: a file cannot be read, or no trial has reported.
    """
    rows: list[dict[str, Any]] = []
    places: list[str] = []
    files: dict[str, Path] = {}
    trials = {path.parent for name in (RESULTS, PROGRESS) for path in _below(folder, name)}
    for trial in sorted(trials):
        state = "failed" if (trial / ERROR).exists() else "complete"
        file = trial / RESULTS if (trial / RESULTS).is_file() else trial / PROGRESS
        label = trial.relative_to(folder).as_posix()
        files[f"{label}/{file.name}"] = file
        config = flat(json_of(trial / PARAMS), "config/") if (trial / PARAMS).is_file() else {}
        reports = list(_results(file)) or [(0, {})]
        for line, report in reports:
            rows.append({"trial": label, "state": state, **config, **report})
            places.append(f"{label}/{file.name}: line {line}" if line else label)
    return _source(
        "Ray Tune folder",
        folder,
        rows,
        places,
        files,
        epoch="training_iteration",
        seconds="time_total_s",
        run="trial",
    )


def _results(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The reports of a trial, with their lines."""
    try:
        if file.name == PROGRESS:
            if not file.stat().st_size:
                return
            table: list[Any] = pd.read_csv(file).to_dict("records")
            listed = enumerate(table, 2)
        else:
            lines = enumerate(file.read_text("utf-8").splitlines(), 1)
            listed = ((number, json.loads(line)) for number, line in lines if line.strip())
        for number, tree in listed:
            config = flat(tree.pop("config", {}), "config/")
            report = flat(tree, "")
            kept = {key: one for key, one in report.items() if key not in ADDED}
            yield number, {**config, **kept}
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{file}: cannot be read: {error}") from error


def mlflow(folder: Path) -> Source:
    """The runs of MLflow's file store: a row for each step at which a metric was logged.

    Raises:
        InputError: a file cannot be read, or there are no runs.
    """
    rows: list[dict[str, Any]] = []
    places: list[str] = []
    files: dict[str, Path] = {}
    for meta in _below(folder, META):
        run = meta.parent
        about = yaml_of(meta) if (run / "metrics").is_dir() else {}
        if not about or about.get("lifecycle_stage") == "deleted":
            continue
        label = run.relative_to(folder).as_posix()
        status = str(about.get("status", "3"))
        base: dict[str, Any] = {
            "run": label,
            "state": STATUS.get(status, status),
            "duration_s": _duration(about),
            **{f"params/{one.name}": _typed(one) for one in sorted((run / "params").glob("*"))},
        }
        steps: dict[int, dict[str, float]] = {}
        for file in sorted(path for path in (run / "metrics").rglob("*") if path.is_file()):
            name = f"metrics/{file.relative_to(run / 'metrics').as_posix()}"
            files[f"{label}/{name}"] = file
            for step, value in _logged(file):
                steps.setdefault(step, {})[name] = value
        for step, numbers in sorted(steps.items()) or [(0, {})]:
            rows.append({**base, "step": step, **numbers})
            places.append(f"{label}, step {step}")
    return _source(
        "MLflow folder", folder, rows, places, files, epoch="step", seconds="duration_s", run="run"
    )


def _logged(file: Path) -> Iterator[tuple[int, float]]:
    """The steps and values of a metric's file: `timestamp value step` in each line."""
    for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
        try:
            parts = line.split()
            yield (int(parts[2]) if len(parts) > 2 else 0), float(parts[1])
        except (IndexError, ValueError) as error:
            raise InputError(f"{file}: line {number}: is no `timestamp value step`") from error


def _duration(about: Mapping[str, Any]) -> float:
    start, end = about.get("start_time"), about.get("end_time")
    return (end - start) / 1000 if isinstance(start, int) and isinstance(end, int) else math.nan


def _typed(file: Path) -> Any:
    """A parameter, which MLflow stores as text: a number or a truth value where it is one."""
    text = file.read_text("utf-8").strip()
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"True": True, "False": False}.get(text, text)


def _source(
    kind: str,
    folder: Path,
    rows: list[dict[str, Any]],
    places: list[str],
    files: Mapping[str, Path],
    *,
    run: str,
    epoch: str,
    seconds: str,
) -> Source:
    """The rows as a source; of runs that log once, each row is a run."""
    if not rows:
        raise InputError(f"{folder}: has no run with a result")
    frame = pd.DataFrame(rows)
    if epoch not in frame:
        raise InputError(f"{folder}: no run has reported a number")
    frame[epoch] = frame[epoch].fillna(0).astype("int64")
    several = bool(frame.duplicated([run]).any())
    known = Columns(
        run=run,
        epoch=epoch if several else "",
        state="state",
        seconds=seconds if seconds in frame else "",
    )
    return Source(
        kind=kind,
        name=folder.resolve().name,
        frame=frame,
        where=lambda at: places[at],
        digest=digest_of(files),
        known=known,
    )


def flat(tree: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The values of nested blocks, by names joined with `/`."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}/")
        else:
            found[f"{prefix}{key}"] = value
    return found


def json_of(path: Path) -> dict[str, Any]:
    """The block in a JSON file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        tree = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    return tree if isinstance(tree, dict) else {}


def yaml_of(path: Path) -> dict[str, Any]:
    """The block in a YAML file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        tree = YAML(typ="safe", pure=True).load(path.read_text("utf-8"))
    except (OSError, ValueError, YAMLError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    return dict(tree) if isinstance(tree, Mapping) else {}
