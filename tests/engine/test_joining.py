"""Joining a cluster: who may join, the one line that others get, and no file or process left.

The cluster is a real `ray start --head` with token authentication, on this machine.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from clusters import free_port
from command import TINY, environment, sweeper
from patience import HANG, MOMENT, eventually

from sweeper.engine import cluster, joining
from sweeper.errors import InputError

TOKEN, OTHER = "a" * 64, "b" * 64
LISTENING = """
import json, psutil
from sweeper.engine import cluster
with cluster.started(address=None, cpus=1, gpus=0):
    me = psutil.Process()
    all = [c for p in [me, *me.children(recursive=True)] for c in p.net_connections("inet")]
    print(json.dumps(sorted({c.laddr.ip for c in all if c.status == "LISTEN"})))
"""

SEEN = """
import os, sys, ray
from sweeper.engine import cluster
with cluster.started(address=sys.argv[1], cpus=1, gpus=0, say=sys.stderr.write):
    print(ray.get(ray.remote(lambda: os.environ.get("SWEEPER_JOB_DATA_ROOT")).remote()))
"""


def token_in(folder: Path, token: str, mode: int = 0o600) -> str:
    """A file with a token."""
    path = folder / "token"
    path.write_text(token)
    path.chmod(mode)
    return str(path)


def answers(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def head() -> Iterator[str]:
    """The address of a cluster that asks for TOKEN."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    port = free_port()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "ray.scripts.scripts",
            "start",
            "--head",
            "--block",
            "--num-cpus=1",
            f"--port={port}",
            f"--temp-dir={folder}",
            "--include-dashboard=false",
            "--disable-usage-stats",
        ],
        env=environment(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=token_in(folder, TOKEN)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        eventually(lambda: answers(port), "the head never listened", process=process)
        yield f"127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=HANG)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a spec and a home without anything."""
    (tmp_path / "tiny.yaml").write_text(TINY)
    (tmp_path / "home").mkdir()
    return tmp_path


def refused(place: Path, address: str, **variables: str) -> list[str]:
    """The lines of a launch that must be refused and leave nothing."""
    done = sweeper(
        "launch",
        "tiny.yaml",
        "--yes",
        "--ray-address",
        address,
        cwd=place,
        HOME=str(place / "home"),
        **variables,
    )
    assert done.returncode == 2, done.stderr
    assert not list(place.glob("sweeper.db*"))
    assert not list((place / "home").rglob("auth_token"))
    return done.stderr.splitlines()


@pytest.mark.slow
def test_a_cluster_is_joined_with_its_token_and_no_other(head: str, place: Path) -> None:
    """Without a token and with a wrong one: one line, the word token, and no database."""
    [line] = refused(place, head)
    assert "there is no token to join with" in line
    [line] = refused(place, head, RAY_AUTH_TOKEN=OTHER)
    assert f"'{head}' refuses the token of this process: set RAY_AUTH_TOKEN_PATH" in line
    right = {"RAY_AUTH_TOKEN_PATH": token_in(place, TOKEN)}
    joining.check(head, environment(**right))


@pytest.mark.slow
def test_doctor_shows_each_node_of_a_cluster_and_what_is_wrong(head: str, place: Path) -> None:
    """A row a node; 1 where something is wrong, such as a folder that cannot be written."""
    token = {"RAY_AUTH_TOKEN": TOKEN}
    words = ["doctor", "tiny.yaml", "--ray-address", head, "--json"]
    told = sweeper(*words, cwd=place, SWEEPER_CHECKPOINTS=str(place / "shared"), **token)
    assert told.returncode == 0, told.stdout + told.stderr
    (node,) = json.loads(told.stdout)["nodes"]
    assert (node["state"], node["data"], node["checkpoints"]) == ("ok", "ok", "ok")
    assert abs(node["clock"]) < node["reach"] + 5
    told = sweeper(*words[:-1], cwd=place, SWEEPER_CHECKPOINTS="/proc/none", **token)
    assert told.returncode == 1
    assert "cannot write checkpoints: [Errno 2] No such file or directory" in told.stdout


def seen(head: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """What a worker of the cluster sees of its job's variables, and what was said on stderr."""
    return subprocess.run(
        [sys.executable, "-c", SEEN, head],
        env=environment(**variables),
        check=False,
        capture_output=True,
        text=True,
        timeout=HANG,
    )


@pytest.mark.slow
def test_workers_of_a_cluster_are_told_the_jobs_data_root(head: str, place: Path) -> None:
    """They were started before the job, with an environment of their own."""
    done = seen(head, RAY_AUTH_TOKEN_PATH=token_in(place, TOKEN), SWEEPER_DATA_ROOT=str(place))
    assert done.stdout.strip() == str(place), done.stderr
    assert "can be read by others" not in done.stderr


@pytest.mark.slow
def test_a_token_file_that_others_can_read_is_warned_of(head: str, place: Path) -> None:
    """The file is named with the command that mends it, by a launch that is not refused."""
    [line] = refused(place, head, RAY_AUTH_TOKEN_PATH=token_in(place, OTHER, 0o644))
    assert "refuses the token" in line
    readable = token_in(place, TOKEN, 0o644)
    done = seen(head, RAY_AUTH_TOKEN_PATH=readable, SWEEPER_DATA_ROOT=str(place))
    assert f"can be read by others: chmod 600 {readable}" in done.stderr
    assert done.stdout.strip() == str(place)


def test_a_port_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Something listens there that is no Ray, or a Ray that hangs."""
    monkeypatch.setattr(joining, "JOIN_SECONDS", MOMENT)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        with pytest.raises(InputError, match="did not let this process in within 1 s"):
            joining.check(address, environment(RAY_AUTH_TOKEN=TOKEN))


def test_auto_without_a_ray_says_so() -> None:
    """As Ray's client ends where it finds none."""
    with pytest.raises(InputError, match="'auto' finds no Ray on this machine: start one"):
        joining.judge("auto", {"kind": "ConnectionError", "text": "Could not find any"})


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"RAY_AUTH_TOKEN_PATH": "/nowhere"}, "/nowhere: cannot be read: No such file"),
        ({"RAY_AUTH_TOKEN_PATH": "/dev/null"}, "/dev/null: is not a file"),
        ({"RAY_AUTH_TOKEN_PATH": "EMPTY"}, "is empty"),
        ({"HOME": "/nonexistent"}, "there is no token to join with"),
    ],
)
def test_a_token_that_cannot_be_had_is_told_of(
    tmp_path: Path, monkeypatch, variables, says
) -> None:
    """Before Ray's client, which would end the process, is asked anything."""
    monkeypatch.setenv("HOME", "/nonexistent")
    empty = token_in(tmp_path, "\n")
    found = {key: empty if value == "EMPTY" else value for key, value in variables.items()}
    with pytest.raises(InputError, match=says):
        joining.token_file(found)


def test_a_local_ray_is_reached_from_this_machine_alone(tmp_path: Path) -> None:
    """Every port of every process is on the loopback address, and no token is in a file."""
    done = subprocess.run(
        [sys.executable, "-c", LISTENING],
        env=environment(HOME=str(tmp_path)),
        check=False,
        capture_output=True,
        text=True,
        timeout=HANG,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found
    assert set(found) <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
    assert not list(tmp_path.rglob("auth_token"))


def test_ray_without_tokens_needs_an_agreement() -> None:
    """The variable alone is inherited from anywhere; the option is typed."""
    joining.check_mode({}, allowed=False)
    joining.check_mode({"RAY_AUTH_MODE": "token"}, allowed=False)
    joining.check_mode({"RAY_AUTH_MODE": "disabled"}, allowed=True)
    with pytest.raises(InputError, match="agree with --allow-unauthenticated-ray"):
        joining.check_mode({"RAY_AUTH_MODE": "disabled"}, allowed=False)
    with pytest.raises(InputError, match="'tokn': unset it, or write token"):
        joining.check_mode({"RAY_AUTH_MODE": "tokn"}, allowed=True)


def test_the_process_that_tries_gets_no_database_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """As no worker gets it."""
    monkeypatch.setenv("SWEEPER_STORAGE", "postgresql://me:secret@host/x")
    seen: list[dict[str, str]] = []
    monkeypatch.setattr(joining, "check", lambda address, found: seen.append(dict(found)))
    cluster.check("host:6379")
    assert "SWEEPER_STORAGE" not in seen[0]
    assert os.environ["SWEEPER_STORAGE"]
