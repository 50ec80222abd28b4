"""Where a cluster has room for workers, and which of its nodes cannot do the work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import ray

from sweeper.spec import Spec

STRIKES = 2  # failures of a node before it is no longer used


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The resources of a worker."""

    cpus: float
    gpus: float = 0.0

    @property
    def bundle(self) -> dict[str, float]:
        """In Ray's words."""
        return {"CPU": self.cpus, "GPU": self.gpus} if self.gpus else {"CPU": self.cpus}

    def __str__(self) -> str:
        gpus = f" and {self.gpus:g} GPU" if self.gpus else ""
        return f"{self.cpus:g} CPU{gpus}"


@dataclass(frozen=True, kw_only=True)
class Terms:
    """The resources of workers, and how long they may be silent.

    Attributes:
        most: the most workers; None: as many as there is room for.
        silent_seconds: time without a sign of life before a worker is replaced.
        wait_seconds: how long to wait while no node has room for a worker.
        joined: whether the cluster may be shared, and nodes come and go.
    """

    shape: Shape
    most: int | None = None
    silent_seconds: float = 60.0
    wait_seconds: float = 600.0
    joined: bool = False


def terms(spec: Spec, *, joined: bool) -> Terms:
    """The terms of a sweep's workers."""
    limits, resources = spec.limits, spec.resources
    return Terms(
        shape=Shape(cpus=resources.cpus, gpus=resources.gpus_while_timing),
        most=resources.workers,
        silent_seconds=limits.silent_seconds,
        wait_seconds=limits.wait_seconds,
        joined=joined,
    )


@dataclass(frozen=True, kw_only=True)
class Node:
    """A living node; `name` is its host, made unique if two have the same."""

    id: str
    name: str
    slots: int  # workers that fit on it if it is empty
    cpus: float = 0.0
    gpus: int = 0


def _times(part: float, whole: float) -> int:
    return int(whole / part + 1e-9)


class Room:
    """The nodes at the last check, and their failures."""

    def __init__(self, shape: Shape, *, most: int | None) -> None:
        self.shape, self._most = shape, most
        self._nodes: dict[str, Node] = {}
        self._strikes = Counter[str]()
        self._unfit: dict[str, str] = {}  # node -> its name and the reason

    def look(self) -> None:
        """Asks Ray for the living nodes and their resources."""
        living = [listed for listed in ray.nodes() if listed["Alive"]]
        names = Counter(listed["NodeManagerHostname"] for listed in living)
        self._nodes = {}
        for listed in living:
            id, host = listed["NodeID"], listed["NodeManagerHostname"]
            name = host if names[host] == 1 else f"{host} ({id[:6]})"
            there = listed["Resources"]
            cpus, gpus = there.get("CPU", 0.0), int(there.get("GPU", 0.0))
            slots = self._slots(cpus, gpus)
            self._nodes[id] = Node(id=id, name=name, slots=slots, cpus=cpus, gpus=gpus)

    def _slots(self, cpus: float, gpus: int) -> int:
        by_cpus, share = _times(self.shape.cpus, cpus), self.shape.gpus
        if not share:
            return by_cpus
        # A worker's share is of one GPU: what two of them have left does not add up.
        by_gpus = gpus * _times(share, 1.0) if share <= 1 else _times(share, gpus)
        return min(by_cpus, by_gpus)

    def reshape(self, shape: Shape) -> None:
        """Looks again, for workers of another shape; what is known of the nodes stays."""
        self.shape = shape
        self.look()

    @property
    def gpus(self) -> int:
        """The GPUs of the nodes that may be used."""
        return sum(node.gpus for node in self._usable())

    @property
    def most_per_gpu(self) -> int:
        """The most workers on a GPU for which each node has cores, and which are asked for.

        Ray fills a GPU before it uses the next one, so more of them would leave a GPU idle.
        """
        found = [
            _times(self.shape.cpus, node.cpus) // node.gpus for node in self._usable() if node.gpus
        ]
        if self._most is not None and found:
            found.append(self._most // self.gpus)
        return max(1, min(found, default=1))

    def lives(self, node: Node) -> bool:
        """Returns whether the node was alive at the last check."""
        return node.id in self._nodes

    def usable(self, node: Node) -> bool:
        """Returns whether the node has no known fault."""
        return node.id not in self._unfit

    @property
    def total(self) -> int:
        """The number of workers that there is room for, at most the requested number."""
        room = sum(node.slots for node in self._usable())
        return room if self._most is None else min(room, self._most)

    def free(self, taken: Mapping[str, int]) -> Iterator[Node]:
        """Nodes for further workers, the emptiest first; `taken` counts the workers on each."""
        places = [
            (number, node)
            for node in self._usable()
            for number in range(taken[node.id], node.slots)
        ]
        return (node for _, node in sorted(places, key=lambda one: one[0]))

    def _usable(self) -> Iterator[Node]:
        return (node for node in self._nodes.values() if self.usable(node))

    def strike(self, node: Node, why: str, *, final: bool = False) -> str:
        """Notes a node's failure; returns a sentence once the node is no longer used."""
        self._strikes[node.id] += 1
        if node.id in self._unfit or not (final or self._strikes[node.id] >= STRIKES):
            return ""
        self._unfit[node.id] = f"{node.name}: {why}"
        return f"node {node.name} is no longer used: {why}"

    @property
    def hopeless(self) -> str:
        """Why no living node can do the work; empty while one may, or none lives."""
        if not any(node.slots for node in self._nodes.values()) or any(
            node.slots for node in self._usable()
        ):
            return ""
        against = [self._unfit[id] for id in self._nodes if id in self._unfit]
        return "no node can do the work: " + "; ".join(against)

    def __str__(self) -> str:
        slots = sum(node.slots for node in self._nodes.values())
        nodes = len(self._nodes)
        return f"{nodes} node{'s' * (nodes != 1)} with room for {slots} of {self.shape}"
