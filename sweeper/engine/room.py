"""Where a cluster has room for workers, and which of its nodes cannot do the work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import ray

STRIKES = 2  # failures of a node before it is used no more


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The resources that one worker needs."""

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
class Node:
    """A node that lives; `name` is its host, told apart where two have the same."""

    id: str
    name: str
    slots: int  # workers that it has room for, were nothing else on it


class Room:
    """The nodes as last looked at, and what is known against them."""

    def __init__(self, shape: Shape, *, most: int | None) -> None:
        self.shape, self._most = shape, most
        self._nodes: dict[str, Node] = {}
        self._strikes = Counter[str]()
        self._unfit: dict[str, str] = {}  # node -> its name and why

    def look(self) -> None:
        """Asks Ray which nodes live, and what each of them has."""
        living = [one for one in ray.nodes() if one["Alive"]]
        names = Counter(one["NodeManagerHostname"] for one in living)
        self._nodes = {}
        for one in living:
            id, host = one["NodeID"], one["NodeManagerHostname"]
            name = host if names[host] == 1 else f"{host} ({id[:6]})"
            self._nodes[id] = Node(id=id, name=name, slots=self._slots(one["Resources"]))

    def _slots(self, resources: Mapping[str, float]) -> int:
        wanted = self.shape.bundle.items()
        return min(int(resources.get(name, 0.0) / amount + 1e-9) for name, amount in wanted)

    def lives(self, node: Node) -> bool:
        """Whether the node was there when last looked."""
        return node.id in self._nodes

    def usable(self, node: Node) -> bool:
        """Whether nothing is known against the node."""
        return node.id not in self._unfit

    @property
    def total(self) -> int:
        """How many workers there is room for, at most as many as asked for."""
        room = sum(node.slots for node in self._usable())
        return room if self._most is None else min(room, self._most)

    def free(self, taken: Mapping[str, int]) -> Iterator[Node]:
        """Nodes for further workers, the emptiest first; `taken` counts those that each has."""
        places = [
            (number, node)
            for node in self._usable()
            for number in range(taken[node.id], node.slots)
        ]
        return (node for _, node in sorted(places, key=lambda one: one[0]))

    def _usable(self) -> Iterator[Node]:
        return (node for node in self._nodes.values() if self.usable(node))

    def strike(self, node: Node, why: str, *, final: bool = False) -> str:
        """Notes that a node could not do the work; a sentence once it is used no more."""
        self._strikes[node.id] += 1
        if node.id in self._unfit or not (final or self._strikes[node.id] >= STRIKES):
            return ""
        self._unfit[node.id] = f"{node.name}: {why}"
        return f"node {node.name} is not used any more: {why}"

    @property
    def hopeless(self) -> str:
        """Why no node that lives can do the work; empty while one may, or none lives."""
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
