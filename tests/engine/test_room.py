"""Where workers find room, and when a node is used no more; the nodes are what Ray would say."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from sweeper.engine import room
from sweeper.engine.room import Node, Room, Shape

ONE = Shape(cpus=1)


def node(id: str, *, host: str = "", alive: bool = True, **resources: float) -> dict[str, Any]:
    """A node in the form that `ray.nodes` returns."""
    return {"NodeID": id, "NodeManagerHostname": host or id, "Alive": alive, "Resources": resources}


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch):
    """Makes a room that has looked at these nodes."""

    def look(*nodes: dict[str, Any], shape: Shape = ONE, most: int | None = None) -> Room:
        monkeypatch.setattr(room.ray, "nodes", lambda: list(nodes))
        made = Room(shape, most=most)
        made.look()
        return made

    return look


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (Shape(cpus=1), 8),
        (Shape(cpus=3), 2),
        (Shape(cpus=0.1), 80),
        (Shape(cpus=1, gpus=1), 2),
        (Shape(cpus=1, gpus=0.5), 4),
        (Shape(cpus=4, gpus=0.5), 2),
    ],
)
def test_a_node_has_room_for_as_many_as_fit_by_each_resource(looked, shape, expected) -> None:
    """A head that offers no processors has none, and a dead node neither."""
    found = looked(
        node("head", memory=1e9),
        node("a", CPU=8.0, GPU=2.0),
        node("b", alive=False, CPU=8.0),
        shape=shape,
    )
    assert found.total == expected


def test_what_two_gpus_have_left_is_room_for_nobody(looked) -> None:
    """Two shares of 0.4 fit on each, and none on a fifth of both."""
    assert looked(node("a", CPU=8.0, GPU=2.0), shape=Shape(cpus=1, gpus=0.4)).total == 4
    assert looked(node("a", CPU=8.0, GPU=2.0), shape=Shape(cpus=1, gpus=0.3333)).total == 6


@pytest.mark.parametrize(
    ("nodes", "most", "expected"),
    [
        ([{"CPU": 8.0, "GPU": 1.0}], None, (1, 4)),
        ([{"CPU": 8.0, "GPU": 1.0}, {"CPU": 64.0}], None, (1, 4)),
        ([{"CPU": 8.0, "GPU": 1.0}, {"CPU": 8.0, "GPU": 2.0}], None, (3, 2)),
        ([{"CPU": 4.0, "GPU": 4.0}], None, (4, 1)),
        ([{"CPU": 64.0, "GPU": 2.0}], 6, (2, 3)),
        ([{"CPU": 64.0, "GPU": 2.0}], 1, (2, 1)),
        ([{"CPU": 64.0}], None, (0, 1)),
    ],
)
def test_a_gpu_is_shared_by_no_more_than_have_cores(looked, nodes, most, expected) -> None:
    """Workers of two cores: Ray fills a GPU first, so more of them would leave one idle."""
    listed = [node(f"n{at}", **resources) for at, resources in enumerate(nodes)]
    found = looked(*listed, shape=Shape(cpus=2, gpus=1), most=most)
    assert (found.gpus, found.most_per_gpu) == expected


def test_workers_of_another_shape_find_other_room(looked) -> None:
    """What is known against a node stays known."""
    found = looked(node("a", CPU=8.0, GPU=1.0), node("b", CPU=8.0, GPU=1.0), shape=Shape(cpus=1))
    [b] = [one for one in found.free(Counter(a=8)) if one.name == "b"][:1]
    found.strike(b, "no data", final=True)
    found.reshape(Shape(cpus=1, gpus=0.25))
    assert (found.total, found.gpus) == (4, 1)


def test_there_are_at_most_as_many_workers_as_asked_for(looked) -> None:
    """And fewer, where the nodes have less room."""
    nodes = [node("a", CPU=4.0), node("b", CPU=4.0)]
    assert [looked(*nodes, most=most).total for most in (3, 8, 20)] == [3, 8, 8]


def test_the_emptiest_node_comes_first(looked) -> None:
    """Workers are spread: a node that dies takes few of them with it."""
    found = looked(node("a", CPU=3.0), node("b", CPU=2.0))
    assert [one.name for one in found.free(Counter())] == ["a", "b", "a", "b", "a"]
    assert [one.name for one in found.free(Counter(a=2))] == ["b", "b", "a"]


def test_nodes_of_one_host_are_told_apart(looked) -> None:
    """Their name is what the user reads in messages and attempts."""
    found = looked(node("0123456789", host="x", CPU=1.0), node("abcdefghij", host="x", CPU=1.0))
    assert {one.name for one in found.free(Counter())} == {"x (012345)", "x (abcdef)"}


def test_a_node_is_used_no_more_after_two_failures_or_one_that_will_not_pass(looked) -> None:
    """The message comes once; when no other node is left, a message has the reasons."""
    found = looked(node("a", CPU=1.0), node("b", CPU=1.0), node("head"))
    a, b = found.free(Counter())
    assert found.strike(a, "no data") == ""
    assert found.usable(a)
    assert found.strike(a, "no data") == "node a is no longer used: no data"
    assert found.strike(a, "no data") == ""
    assert (found.total, found.hopeless) == (1, "")
    assert "trainer 2" in found.strike(b, "trainer 2 instead of 3", final=True)
    assert found.total == 0
    assert found.hopeless == "no node can do the work: a: no data; b: trainer 2 instead of 3"


def test_while_no_node_has_room_there_is_hope(looked) -> None:
    """One may join: a cluster that is still starting is waited for."""
    found = looked(node("head"))
    assert found.hopeless == ""
    assert str(found) == "1 node with room for 0 of 1 CPU"
    assert not found.lives(Node(id="gone", name="gone", slots=1))
