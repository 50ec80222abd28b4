"""A Ray cluster of several nodes on this machine: raylets on loopback that ask for a token."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psutil
from patience import HANG, eventually
from places import ROOT, Place

TOKEN = "c" * 64
NODE = "NODE_OF_A_TEST"


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@dataclass
class Node:
    """The processes of one node, known by a variable that they inherit."""

    name: str
    process: subprocess.Popen[str]

    def processes(self) -> list[psutil.Process]:
        """Those that live."""
        found = []
        for one in psutil.process_iter():
            try:
                if one.environ().get(NODE) == self.name and one.status() != "zombie":
                    found.append(one)
            except psutil.Error:
                continue
        return found

    def workers(self) -> list[psutil.Process]:
        """Those that train packs."""
        return [one for one in self.processes() if "PackWorker" in _title(one)]

    def die(self) -> None:
        """As when the machine loses its power."""
        while left := self.processes():
            for one in left:
                with suppress(psutil.NoSuchProcess):  # it ended with its parent
                    one.kill()
        self.process.wait(timeout=HANG)


def _title(one: psutil.Process) -> str:
    try:
        return " ".join(one.cmdline())
    except psutil.Error:
        return ""


@dataclass
class Cluster:
    """A head that offers no processors, as in our compose file, and the nodes that join it.

    Attributes:
        jobs: the port of the server that takes submitted jobs (with `ray[default]`); 0: none.
    """

    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="c-", dir="/tmp")))
    port: int = field(default_factory=free_port)
    jobs: int = 0
    nodes: list[Node] = field(default_factory=list)

    def __enter__(self) -> Self:
        (self.folder / "token").write_text(TOKEN)
        (self.folder / "token").chmod(0o600)
        self.start_head()
        return self

    def start_head(self) -> None:
        """Starts the head; a second time after it has died."""
        self.head = self._start(
            [
                "--head",
                "--num-cpus=0",
                f"--include-dashboard={self.jobs > 0}",
                f"--dashboard-port={self.jobs}",
                f"--port={self.port}",
                f"--temp-dir={self.folder}/r",
            ]
        )

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            node.die()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What lets a driver in."""
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.folder / "token")}

    def join(
        self, *, cpus: int = 1, more: Mapping[str, str] | None = None, shell: str = ""
    ) -> Node:
        """A further node; `shell` is run before it, in its own view of the file systems."""
        return self._start([f"--address={self.address}", f"--num-cpus={cpus}"], more, shell)

    def _start(
        self, words: Sequence[str], more: Mapping[str, str] | None = None, shell: str = ""
    ) -> Node:
        name = f"{self.port}-{len(self.nodes)}"
        command = [
            sys.executable,
            "-m",
            "ray.scripts.scripts",
            "start",
            "--block",
            "--object-store-memory=80000000",
            "--disable-usage-stats",
            *words,
        ]
        if shell:
            command = ["unshare", "--mount", "sh", "-c", f'{shell} && exec "$@"', "sh", *command]
        with (self.folder / f"{name}.log").open("w") as log:
            process = subprocess.Popen(
                command,
                env={
                    **os.environ,
                    **self.environment,
                    "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")]),
                    "OMP_NUM_THREADS": "1",
                    NODE: name,
                    **(more or {}),
                },
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        self.nodes.append(Node(name, process))
        # One after another: two that start at once on one machine take each other's files.
        file = self.folder / f"{name}.log"
        eventually(
            lambda: "will now block forever" in file.read_text(),
            "a node never starts",
            process=process,
        )
        return self.nodes[-1]


def launch(place: Place, cluster: Cluster, *more: str) -> subprocess.Popen[str]:
    """A driver that joins the cluster."""
    return place.start("--ray-address", cluster.address, *more)
