"""The files in docker/: who gets which secret, what limits each container, and what the scripts do.

Nothing here needs a container runtime.
"""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from patience import HANG
from ruamel.yaml import YAML

from sweeper.cli.inputs import unknown_variables

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
SERVICES: dict[str, Any] = YAML(typ="safe").load(DOCKER / "compose.yaml")["services"]
RUN_TASKS = ("head", "worker")
OURS = sorted(set(SERVICES) - {"postgres"})


@pytest.mark.parametrize("name", RUN_TASKS)
def test_where_tasks_run_there_is_no_way_into_the_database(name: str) -> None:
    """Any task with the cluster's token can print all that its container has."""
    service = SERVICES[name]
    assert service["secrets"] == ["ray_token"]
    assert not [volume for volume in service["volumes"] if volume.startswith("socket:")]
    assert "postgres" not in str(service["environment"]).lower()


def test_the_driver_has_a_container_and_a_user_of_its_own() -> None:
    """Its Ray node is the head's, whose tasks are another user and cannot read its processes."""
    driver, head = SERVICES["driver"], SERVICES["head"]
    assert driver["secrets"] == ["ray_token", "postgres_password"]
    for service in (driver, head):
        assert (service["network_mode"], service["pid"]) == ("service:pod", "service:pod")
        assert "ray:/tmp/ray" in service["volumes"]
    assert driver["user"] == "1001:1000"
    assert "user" not in head
    assert "USER sweeper" in (DOCKER / "Dockerfile").read_text("utf-8")
    assert "--num-cpus=0" in head["command"]


def test_the_database_is_on_no_network() -> None:
    """Only containers that mount the folder of its socket reach it."""
    assert SERVICES["postgres"]["network_mode"] == "none"
    holders = {name for name, one in SERVICES.items() if "socket:" in str(one.get("volumes"))}
    assert holders == {"postgres", "driver", "dashboard"}


@pytest.mark.parametrize("name", SERVICES)
def test_each_container_is_limited(name: str) -> None:
    """Memory, processes, logs, rights; a root that cannot be written; a check of its health."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert service["logging"]["options"]["max-size"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == ("on-failure" if name == "driver" else "unless-stopped")
    assert "healthcheck" in service or name == "pod"


@pytest.mark.parametrize("name", OURS)
def test_our_containers_have_no_capabilities(name: str) -> None:
    """And write to memory and volumes only."""
    assert SERVICES[name]["cap_drop"] == ["ALL"]
    assert SERVICES[name]["tmpfs"]


def test_driver_and_workers_share_checkpoints_and_data() -> None:
    """A run goes on from its checkpoint on any worker, and all read the same files."""
    for name in ("driver", "worker"):
        service = SERVICES[name]
        assert f"checkpoints:{service['environment']['SWEEPER_CHECKPOINTS']}" in service["volumes"]
        assert "./data:/data:ro" in service["volumes"]


def test_the_files_set_no_variable_that_would_be_warned_of() -> None:
    """Every SWEEPER_* that the containers set is one that Sweeper reads."""
    files = ("compose.yaml", "sweeper-env", "sweeper-driver")
    text = "".join((DOCKER / name).read_text("utf-8") for name in files)
    names = set(re.findall(r"SWEEPER_[A-Z_]+", text))
    assert names
    assert unknown_variables(dict.fromkeys(names, "x")) == []


def fake(folder: Path, name: str, text: str) -> dict[str, str]:
    """An environment in which a script stands for a program."""
    script = folder / name
    script.write_text(f"#!/bin/sh\n{text}\n", "utf-8")
    script.chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


@pytest.mark.parametrize("script", ["sweeper-env", "sweeper-driver", "pin"])
def test_each_script_is_a_shell_script(script: str) -> None:
    """`sh -n` reads it without running it."""
    subprocess.run(["sh", "-n", str(DOCKER / script)], check=True)
    assert os.access(DOCKER / script, os.X_OK)


@pytest.mark.parametrize(
    ("code", "ends_with"), [(0, 0), (1, 1), (2, 0), (3, 0), (4, 0), (5, 5), (130, 130)]
)
def test_the_driver_is_started_again_only_where_that_helps(
    code: int, ends_with: int, tmp_path: Path
) -> None:
    """`restart: on-failure` looks at the exit code: bad input would fail for ever."""
    environment = fake(tmp_path, "sweeper", f'echo "$@"; exit {code}')
    ran = subprocess.run(
        [str(DOCKER / "sweeper-driver"), "mine.yaml"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=HANG,
    )
    assert ran.stdout == "launch --yes mine.yaml\n"
    assert ran.returncode == ends_with
    assert (f"launch ended with {code} and is not started again" in ran.stderr) == (
        code in (2, 3, 4)
    )


def test_a_stop_reaches_the_launch_and_waits_for_it(tmp_path: Path) -> None:
    """`docker compose stop driver` finishes the round, as SIGTERM to a launch does."""
    text = "trap 'echo saved; exit 130' TERM\necho ready\nwhile :; do sleep 0.01; done"
    with subprocess.Popen(
        [str(DOCKER / "sweeper-driver"), "mine.yaml"],
        env=fake(tmp_path, "sweeper", text),
        stdout=subprocess.PIPE,
        text=True,
    ) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "ready\n"
        driver.send_signal(signal.SIGTERM)
        assert driver.stdout.readline() == "saved\n"
        assert driver.wait(timeout=HANG) == 130


def test_pinning_writes_the_digests_and_keeps_other_lines(tmp_path: Path) -> None:
    """Compose reads them from .env; a second run replaces them."""
    digest = f"sha256:{'a' * 64}"
    environment = fake(
        tmp_path,
        "docker",
        f'case "$1" in image) echo "somewhere/${{5%%:*}}@{digest}";; esac',
    )
    script = tmp_path / "pin"
    script.write_bytes((DOCKER / "pin").read_bytes())
    (tmp_path / ".env").write_text("SPEC=/specs/mine.yaml\nPYTHON_IMAGE=old\n")
    for _ in range(2):
        subprocess.run(["sh", str(script)], env=environment, check=True, capture_output=True)
    assert sorted((tmp_path / ".env").read_text().splitlines()) == [
        f"POSTGRES_IMAGE=postgres:18@{digest}",
        f"PYTHON_IMAGE=python:3.11-slim@{digest}",
        "SPEC=/specs/mine.yaml",
    ]


def locker() -> Any:
    found = importlib.util.spec_from_file_location("lock", DOCKER / "lock.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_locking_keeps_names_versions_and_hashes_only() -> None:
    """The lock has no addresses, and Sweeper itself is not among the packages."""
    hashes = {"archive_info": {"hashes": {"sha256": "abc"}}, "url": "https://host/b.whl"}
    report = {
        "install": [
            {"metadata": {"name": "Beta", "version": "2"}, "download_info": hashes},
            {"metadata": {"name": "alpha", "version": "1"}, "download_info": hashes},
            {"metadata": {"name": "sweeper", "version": "0"}, "download_info": {"dir_info": {}}},
        ]
    }
    assert list(locker().lines(report)) == [
        "alpha==1 --hash=sha256:abc",
        "Beta==2 --hash=sha256:abc",
    ]


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def bare(requirement: str) -> str:
    return plain(re.split(r"[\[<>=!~]", requirement)[0])


def test_the_lock_file_holds_each_dependency_at_the_version_of_the_constraints() -> None:
    """An image has the versions of the tests, a new one too; of extras, the service's alone."""
    text = (DOCKER / "requirements.lock").read_text("utf-8")
    assert "://" not in text
    entries = [line for line in text.splitlines() if not line.startswith("#")]
    matches = [re.fullmatch(r"(\S+)==(\S+) --hash=sha256:[0-9a-f]{64}", one) for one in entries]
    locked = {plain(match[1]): match[2] for match in matches if match}
    assert len(locked) == len(entries)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    extras = project["project"]["optional-dependencies"]
    needed = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    service = {bare(requirement) for requirement in extras["service"]}
    assert {bare(requirement) for requirement in needed} | service <= set(locked)
    others = {bare(requirement) for extra in extras.values() for requirement in extra} - service
    assert others & set(locked) == set()
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    wanted = {plain(name): version for name, version in pinned.items()}
    assert {name: v for name, v in locked.items() if wanted.get(name, v) != v} == {}
    assert "--require-hashes" in (DOCKER / "Dockerfile").read_text("utf-8")
