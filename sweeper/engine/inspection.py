"""Checks what the nodes of a joined cluster can do: an actor without processors asks each."""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from sweeper.engine import checkpoint_paths, cluster, data_facts, nodes
from sweeper.engine.cells import CellMaker
from sweeper.spec import ADAPTIVE, Spec
from trainers.config import ConfigError
from trainers.data_config import DataConfig
from trainers.folders import opened

ANSWER_SECONDS = 120.0  # a node may have to import torch and to read large data
CLOCK_SECONDS = 5.0
TOOL_SECONDS = 30.0
ASKED = 3  # questions to a clock; the fastest answer counts
CONTENT = b"written by sweeper doctor"


@dataclass(frozen=True, kw_only=True)
class NodeFindings:
    """The findings about a node.

    Attributes:
        wrong: a sentence for each problem that keeps it from working.
        notes: a sentence for each other finding.
        clock: seconds by which its clock is ahead of this machine's; None without an answer.
        reach: seconds of a question and its answer.
    """

    name: str
    cpus: float
    gpus: float
    cards: tuple[str, ...] = ()
    data: str = ""
    checkpoints: str = ""
    clock: float | None = None
    reach: float | None = None
    wrong: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        return "wrong" if self.wrong else "note" if self.notes else "ok"

    @property
    def works(self) -> bool:
        """Whether packs can train there."""
        return self.cpus > 0


class Witness:
    """Runs on a node, and reports about it."""

    def facts(self) -> dict[str, str]:
        return nodes.facts()

    def cards(self) -> list[str]:
        return cards()

    def clock(self) -> float:
        return time.time()

    def fingerprint(self, config: str) -> str:
        """The fingerprint of the data, or, after a blank, why they cannot be read."""
        try:
            return data_facts.inspect(DataConfig.model_validate_json(config))["fingerprint"]
        except ConfigError as error:
            return f" {error}"

    def write(self, place: str, name: str) -> str:
        """Writes a file; returns why it cannot, or an empty text."""
        try:
            opened(place).write(name, CONTENT)
        except OSError as error:
            return str(error)
        return ""

    def read(self, place: str, name: str) -> str:
        """Why another node's file cannot be read; empty if it can."""
        try:
            return "" if opened(place).read(name) == CONTENT else "has another content"
        except OSError as error:
            return str(error)

    def remove(self, place: str, name: str) -> str:
        """Removes a file; returns why it cannot, or an empty text."""
        try:
            opened(place).remove(name)
        except OSError as error:
            return str(error)
        return ""


@dataclass(kw_only=True)
class _Asked:
    """A node, its actor, and what is known so far."""

    node: NodeFindings
    actor: Any
    file: str = field(default_factory=lambda: f"doctor-{uuid.uuid4().hex}")


def fingerprints(spec: Spec) -> dict[str, str]:
    """A spec's data on this machine: data block as JSON -> fingerprint.

    Raises:
        SpecError: they cannot be read.
    """
    from sweeper.design import designs

    if spec.trainer is not None:
        return {}  # its own function reads the data
    maker = CellMaker(spec)
    found = (
        [spec.config_for({})]
        if spec.search.method in ADAPTIVE
        else (design.config for design in designs(spec))
    )
    for config in found:
        maker.facts_of(config)
    return maker.fingerprints


def examine(
    address: str, *, spec: Spec | None, storage: str, say: Callable[[str], None]
) -> list[NodeFindings]:
    """Examines every living node of the cluster at `address`.

    Raises:
        InputError: the cluster, the data or the folder of checkpoints cannot be used.
    """
    cluster.check(address)
    checkpoint_paths.check()
    data = fingerprints(spec) if spec is not None else {}
    with cluster.started(address=address, cpus=0, gpus=0, say=say):
        asked = [_ask(node, number) for node, number in _living()]
        for examined in asked:
            _look(examined, data)
        working = [
            examined for examined in asked if examined.node.works and not examined.node.wrong
        ]
        if checkpoint_paths.VARIABLE in os.environ:
            _exchange(working, base=checkpoint_paths.of(storage).base)
        elif len(working) > 1:
            for examined in working:
                examined.node = replace(
                    examined.node, checkpoints="own", notes=(checkpoint_paths.EACH_NODE_ITS_OWN,)
                )
        return [examined.node for examined in asked]


def cards() -> list[str]:
    """Each GPU with its memory, from NVIDIA's tool; empty without that tool. MPS is named."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total,memory.used", "--format=csv,noheader"]
    try:
        listed = subprocess.run(  # noqa: S603  fixed words
            query, check=True, capture_output=True, text=True, timeout=TOOL_SECONDS
        )
    except (OSError, subprocess.SubprocessError):
        return []
    rows = (line.split(", ") for line in listed.stdout.splitlines())
    mps = ", shared by MPS" if nodes.mps_runs() else ""
    return [f"{name} {total}, {used} used{mps}" for name, total, used in rows]


def as_dict(node: NodeFindings) -> dict[str, Any]:
    """A node as a JSON value."""
    return {"state": node.state, **asdict(node)}


def drift(sent: float, theirs: float, received: float) -> tuple[float, float]:
    """How much a clock is ahead, and the seconds that the question took."""
    return theirs - (sent + received) / 2, received - sent


def _living() -> list[tuple[NodeFindings, str]]:
    """Each living node with its number in Ray, by name."""
    import ray

    found = []
    for listed in filter(lambda listed: listed["Alive"], ray.nodes()):
        name = f"{listed['NodeManagerHostname']} ({listed['NodeManagerAddress']})"
        cpus, gpus = (listed["Resources"].get(kind, 0.0) for kind in ("CPU", "GPU"))
        found.append((NodeFindings(name=name, cpus=cpus, gpus=gpus), listed["NodeID"]))
    return sorted(found, key=lambda listed: (listed[0].name, listed[1]))


def _ask(node: NodeFindings, number: str) -> _Asked:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(number, soft=False)
    actor = ray.remote(num_cpus=0)(Witness).options(scheduling_strategy=there).remote()
    return _Asked(node=node, actor=actor)


def _look(one: _Asked, data: Mapping[str, str]) -> None:
    """Checks versions, GPUs, clock and data of a node; a failing node reports its failure."""
    from ray.exceptions import RayError

    node, actor = one.node, one.actor
    try:
        facts, found = _answers([actor.facts.remote(), actor.cards.remote()])
        clock, reach = _clock(actor)
        keys = list(data) if node.works else []
        read = _answers([actor.fingerprint.remote(key) for key in keys])
    except RayError as error:
        one.node = replace(node, wrong=(_brief(error),))
        return
    faults = [_wrong_data(there, data[key]) for key, there in zip(keys, read, strict=True)]
    wrong = [*nodes.differences(nodes.facts(), facts), *_wrong_cards(node, found), *faults]
    if abs(clock) > CLOCK_SECONDS + reach:
        wrong.append(f"its clock is {clock:+.0f} s off this machine's: synchronise both by NTP")
    one.node = replace(
        node,
        cards=tuple(found),
        clock=clock,
        reach=reach,
        wrong=tuple(filter(None, wrong)),
        data="" if not keys else "wrong" if any(faults) else "ok",
    )


def _answers(references: list[Any]) -> list[Any]:
    import ray

    return ray.get(references, timeout=ANSWER_SECONDS)


def _clock(actor: Any) -> tuple[float, float]:
    """The clock's difference and the question's seconds, from the fastest of some questions."""
    found = []
    for _ in range(ASKED):
        sent = time.time()
        (theirs,) = _answers([actor.clock.remote()])
        found.append(drift(sent, theirs, time.time()))
    return min(found, key=lambda one: one[1])


def _wrong_cards(node: NodeFindings, found: Sequence[str]) -> list[str]:
    if node.gpus <= len(found):
        return []
    return [f"Ray counts {node.gpus:g} GPUs, and nvidia-smi shows {len(found)}"]


def _wrong_data(there: str, here: str) -> str:
    if there.startswith(" "):
        return f"the data cannot be read:{there}"
    return "" if there == here else f"the data differ: {there} instead of {here}"


def _exchange(working: Sequence[_Asked], *, base: str) -> None:
    """Each node writes a file to the folder of checkpoints, and the next node reads it."""
    faults = {
        examined.file: _answered(examined.actor.write.remote(base, examined.file))
        for examined in working
    }
    for examined, other in zip(working, [*working[1:], *working[:1]], strict=True):
        if faults[examined.file]:
            _mark(examined, f"cannot write checkpoints: {faults[examined.file]}")
        elif fault := _answered(examined.actor.read.remote(base, other.file)):
            _mark(examined, f"does not find the checkpoints of {other.node.name}: {fault}")
        else:
            examined.node = replace(examined.node, checkpoints="ok")
    for examined in working:
        _answered(examined.actor.remove.remote(base, examined.file))


def _answered(reference: Any) -> str:
    """A witness's answer, or why there is none."""
    import ray
    from ray.exceptions import RayError

    try:
        return ray.get(reference, timeout=ANSWER_SECONDS)
    except RayError as error:
        return _brief(error)


def _brief(error: Exception) -> str:
    """The last line of an error from a node: the exception that was raised there."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"does not answer: {lines[-1].strip()}"


def _mark(one: _Asked, text: str) -> None:
    one.node = replace(one.node, checkpoints="wrong", wrong=(*one.node.wrong, text))
