"""`sweeper doctor --ray-address`: each node's row says what is wrong with it, and why."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sweeper.engine import data_facts, inspection, nodes
from sweeper.engine.inspection import NodeFindings, Witness
from trainers.data_config import DataConfig

DIGITS = DataConfig(dataset="digits", max_per_class=20)
KEY = data_facts.load_key(DIGITS)


@pytest.fixture(autouse=True)
def _without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Witnesses answer at once, in this process."""
    monkeypatch.setattr(inspection, "_answers", list)
    monkeypatch.setattr(inspection, "_answered", str)
    monkeypatch.setattr(inspection, "_clock", lambda actor: (actor.clock.remote(), 0.001))


def asked(name: str = "one", *, gpus: float = 0, cpus: float = 1, **says: Any) -> Any:
    """A node that reports the given facts, and this machine's facts for the rest."""
    witness = Witness()
    methods = {
        word: SimpleNamespace(remote=getattr(witness, word))
        for word in ("facts", "cards", "clock", "fingerprint", "write", "read", "remove")
    }
    methods["clock"] = SimpleNamespace(remote=lambda: 0.0)
    methods["cards"] = SimpleNamespace(remote=lambda: [])
    methods |= {
        word: SimpleNamespace(remote=lambda *_, value=value: value) for word, value in says.items()
    }
    node = NodeFindings(name=name, cpus=cpus, gpus=gpus)
    return inspection._Asked(node=node, actor=SimpleNamespace(**methods))


def looked(one: Any, data: dict[str, str]) -> NodeFindings:
    inspection._look(one, data)
    return one.node


@pytest.fixture(scope="module")
def here() -> dict[str, str]:
    return {KEY: data_facts.inspect(DIGITS)["fingerprint"]}


def test_a_node_like_this_machine_is_right(here: dict[str, str]) -> None:
    """Its data are read there, from the spec's block alone."""
    found = looked(asked(), here)
    assert (found.state, found.data, found.wrong) == ("ok", "ok", ())


@pytest.mark.parametrize(
    ("says", "sentence"),
    [
        ({"facts": {**nodes.facts(), "trainer": "2"}}, "trainer 2 instead of"),
        ({"fingerprint": "other"}, "the data differ: other instead of"),
        ({"fingerprint": " data.path: no such file"}, "the data cannot be read: data.path: no"),
        ({"clock": 60.0}, "its clock is +60 s off this machine's"),
    ],
)
def test_each_difference_is_told_and_makes_the_node_wrong(
    says: dict[str, Any], sentence: str, here: dict[str, str]
) -> None:
    """One sentence names what the node has, and what is expected."""
    found = looked(asked(**says), here)
    assert found.state == "wrong"
    assert [line for line in found.wrong if line.startswith(sentence)]


def test_a_gpu_that_ray_counts_and_the_node_does_not_show_is_wrong() -> None:
    """A container without the cards would fail every pack."""
    assert looked(asked(gpus=2, cards=["A 80 GiB"]), {}).wrong == (
        "Ray counts 2 GPUs, and nvidia-smi shows 1",
    )
    assert looked(asked(gpus=1, cards=["A 80 GiB"]), {}).cards == ("A 80 GiB",)


def test_a_gpu_that_mps_shares_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only with it do workers that share a GPU compute at once."""
    listed = SimpleNamespace(stdout="A, 80 GiB, 1 GiB\n")
    monkeypatch.setattr(inspection.subprocess, "run", lambda *_, **__: listed)
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    assert inspection.cards() == ["A 80 GiB, 1 GiB used"]
    (tmp_path / "control").touch()
    assert inspection.cards() == ["A 80 GiB, 1 GiB used, shared by MPS"]


def test_a_node_that_trains_nothing_needs_no_data(here: dict[str, str]) -> None:
    """A head with 0 processors is compared, and reads nothing."""
    found = looked(asked(cpus=0, fingerprint="other"), here)
    assert (found.state, found.data) == ("ok", "")


def test_each_node_reads_what_another_has_written(tmp_path: Path) -> None:
    """A folder that only one machine has is found out, and no file stays."""
    working = [asked("one"), asked("two")]
    inspection._exchange(working, base=str(tmp_path))
    assert [one.node.checkpoints for one in working] == ["ok", "ok"]
    assert list(tmp_path.iterdir()) == []

    lonely = asked("two", read="no such file")
    inspection._exchange([asked("one"), lonely], base=str(tmp_path))
    assert lonely.node.wrong == ("does not find the checkpoints of one: no such file",)
    full = asked(write="no space left")
    inspection._exchange([full], base=str(tmp_path))
    assert full.node.wrong == ("cannot write checkpoints: no space left",)


def test_the_difference_of_clocks_does_not_count_the_way() -> None:
    """The node is asked between sending and receiving."""
    assert inspection.drift(10.0, 11.0, 12.0) == (0.0, 2.0)
    assert inspection.drift(10.0, 31.0, 12.0) == (20.0, 2.0)


def test_a_node_is_plain_data() -> None:
    """`--json` prints all that the table and its lines show."""
    found = looked(asked(facts={**nodes.facts(), "torch": "1"}), {})
    told = json.loads(json.dumps(inspection.as_dict(found)))
    assert (told["state"], told["name"]) == ("wrong", "one")
    assert told["wrong"][0].startswith("torch 1 instead of")
