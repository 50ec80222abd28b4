"""Training functions of the user's own: the decorator, what a function gets, what it may report.

A function trains one run and reports numbers; the rest (cells, replicates, pairing, pruning,
retries, the database, the report) is Sweeper's. See docs/python.md.
"""

from __future__ import annotations

import hashlib
import inspect
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, NamedTuple, cast, overload

import numpy as np

from sweeper.errors import InputError, nearest
from sweeper.spec.own import IMPORTED
from trainers.streams import generator

SPLITS = ("train", "val", "test")
DIGITS = 12  # of a hash
_METRIC = re.compile(r"[A-Za-z]\w{0,99}")

Key = tuple[str, str, str]  # split, metric, target
Body = Callable[[dict[str, Any], "Replicate", "Reporter"], object]


class ReportError(ValueError):
    """A report that cannot be recorded. Trying again would give the same."""


@dataclass(frozen=True)
class Trainable:
    """A training function.

    Attributes:
        name: what a spec calls it, under `trainer:`.
        function: takes the configuration, the replicate and `report`.
        stated: the version that the user gave; empty where the source is the version.
        data: absolute paths of files or folders that it reads.
    """

    name: str
    function: Body
    stated: str = ""
    data: tuple[str, ...] = ()

    def __call__(self, config: dict[str, Any], replicate: Replicate, report: Reporter) -> object:
        return self.function(config, replicate, report)

    @property
    def version(self) -> str:
        """What tells this function from a changed one: `version=`, or a hash of its source.

        Raises:
            InputError: the source cannot be read, and no version is given.
        """
        return self.stated or source(self.function, name=self.name)


@overload
def trainable(function: Body, /) -> Trainable: ...
@overload
def trainable(
    *, name: str = "", version: str | int = "", data: str | Path | Sequence[str | Path] = ()
) -> Callable[[Body], Trainable]: ...
def trainable(
    function: Body | None = None,
    /,
    *,
    name: str = "",
    version: str | int = "",
    data: str | Path | Sequence[str | Path] = (),
) -> Trainable | Callable[[Body], Trainable]:
    """Makes a training function known by its name, as a decorator.

    Args:
        name: what a spec calls it [the function's name].
        version: another version makes new cells [a hash of the source: the function's own and
            that of the functions, classes and constants of its file that it uses].
        data: files or folders that the function reads. A change of their content is noticed. Paths
            are from the folder of the function's file; of a notebook's function, from the working
            directory.
    """

    def made(body: Body) -> Trainable:
        paths = [data] if isinstance(data, str | Path) else list(data)
        folder = _folder(body)
        one = Trainable(
            name or body.__name__, body, str(version), tuple(str(folder / path) for path in paths)
        )
        if one.name == IMPORTED:
            raise InputError(f"trainer {IMPORTED!r} stands for imported runs; choose another name")
        TRAINABLES[one.name] = one
        return one

    return made if function is None else made(function)


def _folder(function: Body) -> Path:
    """The folder of the function's file; the working directory where it has no file."""
    path = Path(function.__code__.co_filename) if isinstance(function, FunctionType) else Path()
    return path.resolve().parent if path.is_file() else Path.cwd()


def named(name: str) -> Trainable:
    """The training function of that name.

    Raises:
        InputError: no file that was loaded defines it.
    """
    if name not in TRAINABLES:
        tail = nearest(name, TRAINABLES) or "; name its file with --plugin FILE"
        raise InputError(f"trainer: {name!r} is not defined by @sweeper.trainable{tail}")
    return TRAINABLES[name]


# --- which function it is


def source(function: Callable[..., object], *, name: str) -> str:
    """A hash of the function's source and of what it uses of its own file.

    Raises:
        InputError: the source cannot be read.
    """
    digest = hashlib.sha256()
    try:
        for line in sorted(_sources(function)):
            digest.update(f"{line}\0".encode())
    except (OSError, TypeError) as error:
        raise InputError(
            f"trainer {name!r}: its source cannot be read; write @sweeper.trainable(version=1)"
        ) from error
    return f"source {digest.hexdigest()[:DIGITS]}"


def _sources(function: Callable[..., object]) -> Iterator[str]:
    """The sources of the function and of the functions, classes and constants that it names."""
    todo: list[Any] = [function]
    seen: set[int] = set()
    while todo:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield inspect.getsource(one)
        for part in vars(one).values() if isinstance(one, type) else [one]:
            for key, value in _used(part):
                if isinstance(value, FunctionType | type):
                    todo += [value] if value.__module__ == one.__module__ else []
                elif isinstance(value, str | int | float | bool | tuple | None):
                    yield f"{key} = {value!r}"


def _used(function: object) -> Iterator[tuple[str, object]]:
    """The global names that a function uses, functions inside it included, with their values."""
    if isinstance(function, FunctionType):
        for name in sorted(_names(function.__code__)):
            if name in function.__globals__ and not name.startswith("__"):
                yield name, function.__globals__[name]


def _names(code: CodeType) -> set[str]:
    inner = (one for one in code.co_consts if isinstance(one, CodeType))
    return set(code.co_names).union(*map(_names, inner))


def fingerprint(paths: Iterable[str]) -> tuple[str, dict[str, str]]:
    """A hash of the files' contents, and the hash of each by the last part of its path.

    Raises:
        InputError: a file cannot be read.
    """
    files: dict[str, str] = {}
    for path in map(Path, paths):
        try:
            files[path.name] = _content(path)
        except OSError as error:
            raise InputError(f"data={str(path)!r}: cannot be read: {error.strerror}") from error
    text = "\0".join(f"{name}={digest}" for name, digest in sorted(files.items()))
    return hashlib.sha256(text.encode()).hexdigest(), files


def _content(path: Path) -> str:
    """The hash of a file, or of all files in a folder with their names."""
    digest = hashlib.sha256()
    inside = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
    for one in inside:
        name = one.relative_to(path).as_posix()
        with one.open("rb") as file:
            digest.update(f"{name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\0".encode())
    return digest.hexdigest()[:DIGITS]


# --- what a function gets


@dataclass(frozen=True)
class Replicate:
    """One replicate: cells that share it are compared in pairs, so they draw the same numbers.

    Attributes:
        number: 0, 1, 2 ...; below 0 of runs that only tune.
        data: the fingerprint of the data; a part of each seed.
        state: what this run has kept with its last report before it was interrupted; None where it
            begins anew.
    """

    number: int
    data: str = ""
    state: Any = field(default=None, compare=False)

    def seed(self, name: str, epoch: int = 0) -> int:
        """A seed of 32 bits for one purpose, such as `seed("init")`: the same for every cell."""
        return int(self.generator(name, epoch).integers(2**32))

    def generator(self, name: str, epoch: int = 0) -> np.random.Generator:
        """A NumPy generator for one purpose, such as `generator("order", epoch)`."""
        return generator(self.data, self.number, name, epoch)


class Reported(NamedTuple):
    """One report of a function, checked.

    Attributes:
        epoch: as it was reported, counted from 0.
        numbers: by split, metric and target, which is "" or `class:NAME`.
        state: what goes on from here; None where nothing is kept.
    """

    epoch: int
    numbers: dict[Key, float]
    state: Any

    @property
    def finite(self) -> bool:
        """Whether all numbers over all classes are; else the run has diverged."""
        return all(math.isfinite(v) for (_, _, target), v in self.numbers.items() if not target)


class Reporter:
    """What a training function calls after each epoch.

    Args:
        take: gets each report; it may raise to end the function.
        layout: the numbers that each report must have; None: whatever the first report has.
        after: the last epoch that an earlier attempt has reported.
    """

    def __init__(
        self, take: Callable[[Reported], None], *, layout: Sequence[Key] | None, after: int = -1
    ) -> None:
        self._take, self._layout, self._epoch = take, layout, after

    def __call__(
        self, epoch: int | np.integer[Any], *, state: Any = None, **splits: Mapping[str, Any]
    ) -> None:
        """Reports one epoch.

        Args:
            epoch: counted from 0; each must be above the one before.
            state: what the function needs to go on from here: tensors, NumPy arrays and JSON
                values, in dictionaries and lists. After an interruption `replicate.state` has it.
            splits: `val=`, `test=` and `train=`, each `{metric: number}`; or, for single classes,
                `{metric: [number, ...]}` or `{metric: {class: number}}`. `val` serves tuning,
                pruning and choices; `test` is for the report only.

        Raises:
            ReportError: it cannot be recorded.
        """
        if isinstance(epoch, bool) or not isinstance(epoch, int | np.integer) or epoch < 0:
            raise ReportError(f"report: epoch {epoch!r} must be a whole number from 0 on")
        if epoch <= self._epoch:
            raise ReportError(
                f"report: epoch {epoch} comes after epoch {self._epoch}; epochs must rise, and a "
                "function that was interrupted goes on from replicate.state"
            )
        numbers = _numbers(splits)
        self._layout = self._layout or tuple(numbers)
        self._check(numbers)
        self._epoch = int(epoch)
        self._take(Reported(int(epoch), numbers, state))

    def _check(self, numbers: Mapping[Key, float]) -> None:
        expected, got = set(self._layout or ()), set(numbers)
        for keys, what in ((expected - got, "lacks"), (got - expected, "has the new")):
            if keys:
                split, metric, target = sorted(keys)[0]
                of = f" of {target}" if target else ""
                raise ReportError(
                    f"report: {what} {split} {metric}{of}; the first report of the sweep says what "
                    "each report has"
                )


def _numbers(splits: Mapping[str, object]) -> dict[Key, float]:
    """All numbers of a report, by split, metric and target."""
    numbers: dict[Key, float] = {}
    for split in splits:
        if split not in SPLITS:
            raise ReportError(f"report: {split!r} is no split{nearest(split, SPLITS)}")
    for split in SPLITS:
        metrics = splits.get(split, {})
        if not isinstance(metrics, Mapping):
            raise ReportError(f"report: {split} must be a dictionary such as {{'accuracy': 0.9}}")
        for metric, value in cast("Mapping[str, object]", metrics).items():
            if not _METRIC.fullmatch(str(metric)):
                raise ReportError(f"report: {metric!r} is no name of a metric: letters, digits, _")
            for target, one in _by_target(value):
                numbers[split, str(metric), target] = _number(one, f"{split} {metric}")
    if not numbers:
        raise ReportError("report: has no numbers, such as val={'accuracy': 0.9}")
    return numbers


def _by_target(value: Any) -> Iterator[tuple[str, object]]:
    """A number for all classes, or a number for each class."""
    if isinstance(value, Mapping):
        for name, one in cast("Mapping[object, object]", value).items():
            yield f"class:{name}", one
    elif isinstance(value, list | tuple) or getattr(value, "ndim", 0) == 1:
        for at, one in enumerate(value):
            yield f"class:{at}", one
    else:
        yield "", value


def _number(value: Any, what: str) -> float:
    try:
        if isinstance(value, str | bytes):
            raise TypeError
        return float(value)
    except (TypeError, ValueError) as error:
        raise ReportError(f"report: {what} is {value!r}, which is no number") from error


TRAINABLES: dict[str, Trainable] = {}
