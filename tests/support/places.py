"""A place with a spec and a database, and the real processes that work there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from patience import HANG, eventually

from sweeper.store import Store

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tests" / "faults" / "disturbed.py"
MARK = "MARK_OF_A_TEST"

SPEC = """
name: faults
question: Does it survive?
data: {dataset: digits, max_per_class: 20, imbalance: {profile: exponential, train_ratio: 0.3}}
train: {model: resnet, depth: 8, width: 0.25, epochs: 3, lr: 0.05}
scientific:
  train.batch_size: [16, 32, 64]
replicates: 2
resources: {workers: 1, pack: 2}
limits: {checkpoint_seconds: 0.01}
"""


@dataclass
class Place:
    """A folder with a spec and a database, and the processes that work there."""

    folder: Path
    spec_text: str = SPEC
    storage: str = ""
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    environment: dict[str, str] = field(default_factory=dict)  # further variables
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.storage = self.storage or f"sqlite:///{self.folder}/sweep.db"
        self.write_spec(self.spec_text)

    def write_spec(self, text: str) -> None:
        (self.folder / "spec.yaml").write_text(text)

    def start(
        self, *more: str, point: str = "never", verb: str = "launch", cwd: Path | None = None
    ) -> subprocess.Popen[str]:
        """A `sweeper` process that dies at `point`."""
        words = [verb, *([str(self.folder / "spec.yaml"), "--yes"] if verb == "launch" else [])]
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT), point, *words, "--storage", self.storage, *more],
            cwd=cwd or self.folder,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # the group that a shell or `timeout` would give it
        )
        self.processes.append(process)
        return process

    def run(self, *more: str, point: str = "never", verb: str = "launch") -> tuple[int, str]:
        """The exit code and the output of a whole run."""
        process = self.start(*more, point=point, verb=verb)
        return ended(process)

    def killed_at(self, point: str) -> None:
        """Runs a driver that must die at that point, and take its workers with it."""
        code, output = self.run(point=point)
        assert code == -signal.SIGKILL, output
        self.assert_no_process_left()

    def finish(self) -> None:
        """Launches again, which must do all that is missing."""
        code, output = self.run()
        assert code == 0, output

    def ours(self) -> list[psutil.Process]:
        """Living processes of this place: drivers, Ray, workers."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.mark and process.status() != "zombie":
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def workers(self) -> list[psutil.Process]:
        """Ray's actor processes that train packs."""
        return [p for p in self.ours() if "PackWorker" in _title(p)]

    def assert_no_process_left(self) -> None:
        """Nothing computes on after its driver has gone."""
        eventually(lambda: not self.ours(), "processes outlive their driver")

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            MARK: self.mark,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")]),
            "OMP_NUM_THREADS": "1",
            **self.environment,
        }

    def close(self) -> None:
        for process in self.ours():
            process.kill()
        for process in self.processes:
            process.wait(timeout=HANG)
            if process.stdout is not None:
                process.stdout.close()


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Its exit code and its output, when it has ended."""
    output, _ = process.communicate(timeout=HANG)
    return process.returncode, output


def rounds_recorded(place: Place) -> int:
    """Observations in the database by now; 0 while there is none."""
    try:
        with Store.open(place.storage, create=False) as store:
            [sweep] = store.sweeps()
            return sum(1 for _ in store.observations(sweep.id, last_only=False))
    except Exception:  # noqa: BLE001  the database may be half made
        return 0
