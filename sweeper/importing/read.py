"""Finds what a path or an address is, and reads it; the doors of the command and of Python."""

from __future__ import annotations

from pathlib import Path

from sweeper.errors import InputError
from sweeper.importing import folders, optuna_study, tables
from sweeper.importing.source import Source
from sweeper.report import page

EVENTS = "*tfevents*"  # in the name of each event file of TensorBoard's
FORMATS = (
    "a table (.csv, .tsv, .jsonl, .json, .parquet), a report of Sweeper's (.html), "
    "an archive of sweeper archive (.sweep.zip), "
    "a study of Optuna's (sqlite:///FILE, another address, or a journal .log), "
    "a folder of Ray Tune's, MLflow's or TensorBoard's"
)


def source_of(what: str, *, study: str = "", objective: str = "") -> Source:
    """The table of runs behind a path.

    Args:
        study: of an Optuna storage.
        objective: the column of the first metric, where it is given.

    Raises:
        InputError: it is not there, of no known format, or cannot be read.
    """
    path = Path(what)
    if "://" in what or (path.is_file() and path.suffix.lower() in optuna_study.JOURNALS):
        return optuna_study.read(what, study)
    if study:
        raise InputError("--study is for a study of Optuna's: an address, or a journal file")
    if not path.exists():
        raise InputError(f"{what}: no such file or folder")
    if path.is_file() and path.suffix.lower() in tables.KINDS:
        return tables.read(path)
    if path.is_dir() and folders.is_mlflow(path):
        return folders.mlflow(path)
    if path.is_dir() and folders.is_ray(path):
        return folders.ray_tune(path)
    if path.is_dir() and next(path.rglob(EVENTS), None) is not None:
        # Imported here because it takes a second and only event files need it.
        from sweeper.importing import event_files

        return event_files.read(path, objective)
    raise InputError(f"{what}: is of no format that can be imported; valid: {FORMATS}")


def is_report(what: str) -> bool:
    """Whether it is a page of `sweeper report`."""
    return page.is_report(Path(what))
