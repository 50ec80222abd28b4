"""Checks a spec that somebody has sent, in a process with limits of its own.

The text is foreign: it may be built to use up time or memory. The process is forked from a server
that has loaded what checks need, so a check takes milliseconds; it has no database and no network
to lose, and returns JSON.
"""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from sweeper.errors import InputError, SpecError, SweeperError
from sweeper.service.registered import Registry, resolved
from sweeper.store.service_records import Needs

MOST_BYTES = 100_000  # of a spec
MOST_OVERRIDES = 100
CPU_SECONDS = 5
WAIT_SECONDS = 15.0
MEMORY_BYTES = 4 << 30  # of addresses, most of which libraries reserve and never use
# Keys that name files of the server.
FILES = frozenset({"path", "test_path", "labels", "test_labels", "weights"})


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What a sweep is, and takes."""

    name: str
    question: str
    cells: int
    runs: int
    needs: Needs
    dataset: str = ""
    model: str = ""
    epochs: float = 1.0
    hours: float | None = None  # the limit of all launches together
    warnings: tuple[str, ...] = ()
    text: str = ""  # of the spec, with registered data in the place of their name


class Checker:
    """Checks specs; threads may share it.

    Args:
        plugins: Python files of the server's owner, which specs may use.
        registry: data sets of the server's owner, which specs may name.
    """

    def __init__(self, plugins: Sequence[Path] = (), registry: Registry | None = None) -> None:
        self._registry = {name: dict(block) for name, block in (registry or {}).items()}
        self._context = get_context("forkserver")
        self._context.set_forkserver_preload(["sweeper.service.checking", *PRELOADED])
        self._plugins = [os.fspath(path) for path in plugins]

    def check(self, text: str, overrides: Sequence[str], *, stored: bool = False) -> Checked:
        """Returns what the spec asks for.

        Args:
            stored: the text is one that the service has accepted before.

        Raises:
            SpecError: a line for each problem.
            InputError: it is too large, or takes too long to check.
        """
        if len(text.encode()) > MOST_BYTES or len(overrides) > MOST_OVERRIDES:
            raise InputError(
                f"the spec is too large: at most {MOST_BYTES} bytes and {MOST_OVERRIDES} --set"
            )
        receive, send = self._context.Pipe(duplex=False)
        child = self._context.Process(
            target=_answer,
            args=(text, list(overrides), self._plugins, self._registry, stored, send),
            daemon=True,
        )
        with receive:
            child.start()
            send.close()
            found = self._received(receive)
            child.join(1.0)
            child.kill()
        if found is None:
            raise InputError(
                f"the spec takes more than {CPU_SECONDS} s or too much memory to check; "
                "make it smaller, or run it by sweeper launch"
            )
        if "lines" in found:
            raise SpecError(*found["lines"])
        parts = {"needs": Needs(**found["needs"]), "warnings": tuple(found["warnings"])}
        return Checked(**{**found, **parts})

    def _received(self, receive: Connection) -> dict[str, Any] | None:
        if not receive.poll(WAIT_SECONDS):
            return None
        try:
            return json.loads(receive.recv_bytes(16 * MOST_BYTES))
        except (EOFError, OSError):
            return None  # it was ended by its limits


PRELOADED = ("sweeper.spec", "sweeper.design", "sweeper.search")


def _answer(
    text: str,
    overrides: list[str],
    plugins: list[str],
    registry: Registry,
    stored: bool,
    send: Connection,
) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    try:
        found: dict[str, Any] = asdict(examine(text, overrides, plugins, registry, stored=stored))
    except SweeperError as error:
        found = {"lines": error.lines}
    with send:
        send.send_bytes(json.dumps(found).encode())


def examine(
    text: str,
    overrides: Sequence[str],
    plugins: Sequence[str] = (),
    registry: Registry | None = None,
    *,
    stored: bool = False,
) -> Checked:
    """Checks a spec in this process.

    Raises:
        SpecError: a line for each problem.
    """
    from sweeper import search
    from sweeper.design import candidates, count, designs
    from sweeper.spec import ADAPTIVE, parse

    if plugins:
        from sweeper.engine.plugins import load

        load(plugins)
    text, given = resolved(text, registry or {}, stored=stored)
    spec = parse(text, "spec", overrides)
    search.check(spec)
    _refuse_files(spec.model_dump(mode="json"), given)
    resources, gpus = spec.resources, spec.resources.gpus
    if gpus == "auto":
        reason = "the service grants a share that is known before: write it, such as 0.25"
        raise spec.problem("resources.gpus", gpus, reason)
    if spec.trainer is not None and not plugins:
        raise SpecError(f"spec: trainer: {spec.trainer!r}: no plug-in of this server defines it")
    cells, tried = count(spec), 0
    if spec.nuisance and spec.search.method not in ADAPTIVE:
        tried = sum(len(candidates(spec, design)) for design in designs(spec))
    runs = cells * spec.replicates + tried * spec.tuning_replicates
    needs = Needs(
        workers=min(resources.workers, runs) if resources.workers else runs,
        cpus=resources.cpus,
        gpus=gpus,
        runs=runs,
    )
    config = spec.config_for({})
    return Checked(
        name=spec.name,
        dataset=str(config.data.dataset),
        model=str(config.train.model),
        epochs=float(config.train.epochs),
        hours=spec.limits.hours,
        question=spec.question,
        cells=cells,
        runs=runs,
        needs=needs,
        warnings=tuple(spec.warnings),
        text=text,
    )


def _refuse_files(tree: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raises if a spec names a file of the server, as a value or as a factor.

    Args:
        given: the registered data, which may name files.

    Raises:
        SpecError: it does.
    """
    for block in ("data", "train"):
        for key in sorted(FILES & (tree.get(block) or {}).keys()):
            allowed = (None, given.get(key)) if block == "data" else (None,)
            if tree[block][key] not in allowed:
                raise _named(f"{block}.{key}", tree[block][key])
    for part in ("scientific", "nuisance"):
        for key, levels in (tree.get(part) or {}).items():
            if key.rpartition(".")[2] in FILES:
                raise _named(key, levels)


def _named(key: str, value: object) -> SpecError:
    return SpecError(
        f"spec: {key}: {value!r}: a spec that is sent to a service names no files of it; use "
        "data: {registered: NAME}"
    )
