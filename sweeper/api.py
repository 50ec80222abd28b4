"""The door for Python and notebooks: load a spec, launch a sweep, open a sweep.

The command line uses the same functions. What is heavy is imported inside them, so that
`import sweeper` loads neither torch nor Ray.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from sweeper import lookup
from sweeper.errors import EngineError, SpecError, SweepHalted
from sweeper.lookup import DEFAULT_STORAGE

if TYPE_CHECKING:
    from rich.console import Console

    from sweeper.engine.driver import Outcome
    from sweeper.spec import Spec
    from sweeper.sweeps import Sweep
    from sweeper.trainables import Trainable

Source: TypeAlias = "Spec | str | os.PathLike[str] | Mapping[str, Any]"
SAME = "the same call of sweeper.launch"


def load_spec(
    source: Source,
    *,
    set: Mapping[str, Any] | Sequence[str] = (),
    plugins: Sequence[str | os.PathLike[str]] = (),
) -> Spec:
    """Returns a checked spec.

    Args:
        source: a spec file, the name of a shipped space, a dictionary, YAML text, or a spec.
        set: values to put in the place of others, by dotted key: `{"train.epochs": 5}`; or
            `KEY=VALUE` texts, as after `--set`.
        plugins: Python files that run first, because they may add keys to the spec.

    Raises:
        SpecError: a line for each thing that is wrong.
        InputError: there is no such file or shipped space, or a plug-in cannot be run.
    """
    from sweeper import spec as specs

    _run_plugins(plugins)

    overrides = _overrides(set)
    if isinstance(source, specs.Spec):
        return source.overridden(overrides)
    if isinstance(source, Mapping):
        return specs.parse(_yaml(source), "<dict>", overrides, folder=os.getcwd())
    if isinstance(source, str) and "\n" in source:
        return specs.parse(source, "<text>", overrides, folder=os.getcwd())
    return specs.load(lookup.find_spec(os.fspath(source)), overrides)


def _run_plugins(plugins: Sequence[str | os.PathLike[str]]) -> None:
    if plugins:
        from sweeper.engine import cluster
        from sweeper.engine.plugins import load

        cluster.prepare()  # a plug-in may import Ray
        load(os.fspath(one) for one in plugins)


def _overrides(set: Mapping[str, Any] | Sequence[str]) -> list[str]:
    if isinstance(set, Mapping):
        return [f"{key}={json.dumps(value)}" for key, value in set.items()]
    return list(set)


def _yaml(tree: Mapping[str, Any]) -> str:
    """The dictionary as the text of a spec file, which the report prints."""
    from io import StringIO

    from ruamel.yaml import YAML

    writer, text = YAML(), StringIO()
    try:
        plain = json.loads(json.dumps(tree))  # tuples become lists
    except TypeError as error:
        raise SpecError(f"<dict>: {error}; use texts, numbers, lists and dictionaries") from error
    writer.dump(plain, text)
    return text.getvalue()


def launch(
    spec: Source,
    *,
    storage: str = DEFAULT_STORAGE,
    set: Mapping[str, Any] | Sequence[str] = (),
    trainer: Trainable | None = None,
    ray_address: str | None = None,
    allow_unauthenticated_ray: bool = False,
    plugins: Sequence[str | os.PathLike[str]] = (),
    new_data: bool = False,
    progress: bool = True,
) -> Sweep:
    """Runs what is missing of a sweep, and returns the sweep; the same call again goes on.

    It blocks until the sweep has ended. Ctrl-C (in a notebook: interrupt) finishes the round and
    raises KeyboardInterrupt; a second one stops at once.

    Args:
        spec: as `load_spec` takes it.
        storage: the database: `sqlite:///FILE` or `postgresql://...`.
        set: as `load_spec` takes it.
        trainer: a training function (`@sweeper.trainable`) in the place of Sweeper's trainer.
        ray_address: the address of a Ray cluster to join; else Ray is started here.
        allow_unauthenticated_ray: agrees to a Ray that asks for no token (unsafe).
        plugins: Python files that add parts, data or trainers; they run before the spec is read.
        new_data: agrees to data that have changed since the last launch: all cells run again.
        progress: shows progress on standard error.

    Raises:
        InputError: the spec, the data, the database or the cluster cannot be used.
        HeldError: another process runs this sweep.
        SweepHalted: the sweep stopped itself; the message says why.
        EngineError: Ray or the database failed.
    """
    lookup.check_storage(storage)
    lookup.check_ray(ray_address, allow_open=allow_unauthenticated_ray)
    loaded = load_spec(spec, set=[*_overrides(set), *_named(trainer)], plugins=plugins)
    from sweeper.live import Display

    drive, console = _engine(), _console(quiet=not progress)
    with Display(loaded.name, console=console) as display:
        outcome = drive(
            loaded,
            storage=storage,
            ray_address=ray_address,
            plugins=[Path(one) for one in plugins],
            on_event=display.show,
            new_data=new_data,
            trainer=trainer,
            command=SAME,
        )
    _check(outcome)
    console.print(outcome.message, markup=False, highlight=False)
    return open(outcome.sweep, storage=storage)


def _engine() -> Callable[..., Outcome]:
    """The launch of the engine, whose imports complain of missing widgets in a notebook."""
    logging.getLogger("ray.widgets.util").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "IProgress not found")
        from sweeper.engine.driver import launch as drive
    return drive


def _console(*, quiet: bool) -> Console:
    """Standard error; in a notebook line by line, because a live picture needs a terminal."""
    from rich.console import Console

    lines = False if "ipykernel" in sys.modules else None
    return Console(stderr=True, force_jupyter=False, force_terminal=lines, quiet=quiet)


def _named(trainer: Trainable | None) -> list[str]:
    """The key of the spec that names a training function."""
    return [] if trainer is None else [f"trainer={json.dumps(trainer.name)}"]


def _check(outcome: Outcome) -> None:
    """Returns when the sweep has ended by itself."""
    match outcome.exit_code:
        case 130:
            raise KeyboardInterrupt(outcome.message)
        case 4:
            raise SweepHalted(outcome.message)
        case 1:
            raise EngineError(outcome.message)
        case _:  # complete, perhaps with failed runs, which the message counts
            return


def open(name: str | None = None, *, storage: str = DEFAULT_STORAGE) -> Sweep:
    """Returns a sweep of a database; without a name, the only one there.

    Raises:
        InputError: there is no such database or sweep, or several sweeps and no name.
    """
    from sweeper.store.store import Store
    from sweeper.sweeps import Sweep

    lookup.check_storage(storage)
    with Store.open(storage, create=False) as store:
        return Sweep(lookup.find_sweep(store, name).name, storage=storage)
