"""The batch script for Slurm, with stand-ins for `srun`, `scontrol` and `ray`; once with Ray."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from patience import HANG

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "deploy" / "slurm" / "sweep.sbatch"
URL = "postgresql://me:secret@host/sweeps"
SRUN = 'while [ "$1" != bash ]; do echo "$1" >>"$LOG/srun"; shift; done; exec "$@"'
RAY = (
    'echo "$@" >>"$LOG/ray"; env >"$LOG/environment"\n'
    'while [ "$1" != -- ]; do shift; done; shift; exec "$@"'
)


@dataclass
class Site:
    """A folder with a virtual environment of stand-ins, and what they noted."""

    folder: Path

    def program(self, name: str, text: str) -> None:
        path = self.folder / "venv" / "bin" / name
        path.write_text(f"#!/bin/bash\n{text}\n", "utf-8")
        path.chmod(0o755)

    def start(self, *words: str, **more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", str(SCRIPT), *words],
            cwd=self.folder,
            env=self.environment() | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *words: str, **more: str) -> tuple[int, str]:
        with self.start(*words, **more) as process:
            output, _ = process.communicate(timeout=HANG)
        return process.returncode, output

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "VENV": str(self.folder / "venv"),
            "STORAGE_FILE": str(self.folder / "storage"),
            "TMPDIR": str(self.folder / "tmp"),
            "LOG": str(self.folder),
            "HEAD_ADDRESS": "192.0.2.7",
            "SLURM_JOB_ID": "7",
            "SLURM_NNODES": "2",
            "SLURM_CPUS_ON_NODE": "4",
            "SWEEPER_STORAGE": "of the shell that submitted the job",
        }

    def noted(self, name: str) -> str:
        path = self.folder / name
        return path.read_text("utf-8") if path.exists() else ""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "tmp").mkdir()
    (tmp_path / "venv" / "bin" / "activate").write_text('PATH="$VENV/bin:$PATH"\n')
    (tmp_path / "storage").write_text(f"{URL}\n")
    made = Site(tmp_path)
    made.program("srun", SRUN)
    made.program("ray", RAY)
    made.program("scontrol", 'echo "$@" >>"$LOG/scontrol"')
    made.program("python", f'exec {sys.executable} "$@"')
    made.program("sweeper", 'echo "$@"; echo "$SWEEPER_STORAGE $SWEEPER_RAY_ADDRESS"')
    return made


def test_the_driver_runs_once_on_the_first_node_with_the_options_given(site: Site) -> None:
    """One task a node starts Ray; spec and options reach `sweeper launch` unchanged."""
    code, output = site.run("my spec.yaml", "--set", "train.epochs=1")
    assert code == 0, output
    address = "192.0.2.7:20007"
    told = f"launch --yes my spec.yaml --set train.epochs=1\n{URL} {address}\n"
    assert output == told
    assert "--nodes=2\n--ntasks-per-node=1\n--cpus-per-task=4\n" in site.noted("srun")
    assert f"symmetric-run --address {address} --min-nodes 2" in site.noted("ray")
    assert list((site.folder / "tmp").iterdir()) == []


def test_ray_gets_a_token_and_not_the_database(site: Site) -> None:
    """What Ray starts inherits its environment; the driver alone reads the address from a file."""
    site.run("mine.yaml")
    environment = dict(
        line.split("=", 1) for line in site.noted("environment").splitlines() if "=" in line
    )
    assert environment["RAY_AUTH_MODE"] == "token"
    assert len(environment["RAY_AUTH_TOKEN"]) == 64
    assert "SWEEPER_STORAGE" not in environment
    assert "secret" not in site.noted("ray")


@pytest.mark.parametrize("ends_with", [0, 1, 3, 130])
def test_the_job_ends_as_the_launch_does(site: Site, ends_with: int) -> None:
    """Without a signal before the time limit nothing is queued again."""
    site.program("sweeper", f"exit {ends_with}")
    assert site.run("mine.yaml")[0] == ends_with
    assert site.noted("scontrol") == ""


@pytest.mark.parametrize(
    ("sent", "queued"), [(signal.SIGUSR1, "requeue 7\n"), (signal.SIGTERM, "")]
)
def test_a_signal_stops_the_driver_and_the_time_limit_queues_the_job_again(
    site: Site, sent: signal.Signals, queued: str
) -> None:
    """The driver saves and ends with 130; a job that somebody has stopped is not queued again."""
    site.program(
        "sweeper",
        "trap 'echo saved; exit 130' TERM\necho ready\nwhile :; do sleep 0.01; done",
    )
    with site.start("mine.yaml") as job:
        assert job.stdout is not None
        assert job.stdout.readline() == "ready\n"
        job.send_signal(sent)
        assert job.stdout.readline() == "saved\n"
        assert job.wait(timeout=HANG) == 130
    assert site.noted("scontrol") == queued


def test_a_ray_that_does_not_start_fails_the_job(site: Site) -> None:
    """`ray symmetric-run` prints the reason and ends with 0."""
    site.program("ray", "exit 0")
    code, output = site.run("mine.yaml")
    assert code == 1
    assert "the driver was never started" in output


def test_what_is_missing_is_named_before_anything_starts(site: Site) -> None:
    """The spec, and the file with the database's URL."""
    code, output = site.run()
    assert code != 0
    assert "name a spec file" in output
    (site.folder / "storage").unlink()
    code, output = site.run("mine.yaml")
    assert code == 2
    assert "storage is missing" in output
    assert site.noted("ray") == ""


def test_the_script_asks_slurm_for_whole_nodes_and_a_warning() -> None:
    """`ray symmetric-run` ends every Ray of this user on a node: no other job may be there."""
    asked = [line for line in SCRIPT.read_text("utf-8").splitlines() if line.startswith("#SBATCH")]
    for option in ("--exclusive", "--ntasks-per-node=1", "--signal=B:USR1@300", "--requeue"):
        assert f"#SBATCH {option}" in asked
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing() -> None:
    """Quoting and unset variables."""
    scripts = [ROOT / "docker" / name for name in ("sweeper-env", "sweeper-driver", "pin")]
    ran = subprocess.run(
        ["shellcheck", str(SCRIPT), *map(str, scripts)],
        capture_output=True,
        text=True,
        timeout=HANG,
    )
    assert ran.stdout == ""


SPEC = """
name: on-slurm
question: Does a job run a sweep?
data: {dataset: digits, max_per_class: 20}
train: {model: resnet, depth: 8, width: 0.25, epochs: 1, lr: 0.05}
scientific:
  train.batch_size: [16, 32]
replicates: 1
resources: {workers: 1}
"""


@pytest.mark.soak
def test_a_job_of_one_node_runs_a_sweep_with_the_real_ray(site: Site) -> None:
    """Process numbers of its own: `ray symmetric-run` ends every Ray that it can see."""
    apart = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if subprocess.run([*apart, "true"], capture_output=True).returncode:
        pytest.skip("process numbers of its own need more rights than this user has")
    (site.folder / "spec.yaml").write_text(SPEC, "utf-8")
    database = site.folder / "sweep.db"
    (site.folder / "storage").write_text(f"sqlite:///{database}\n")
    site.program("srun", SRUN.replace("exec", f"exec {shlex.join(apart)}"))
    site.program("ray", f'exec {Path(sys.executable).parent}/ray "$@"')
    code = "from sweeper.cli import main; main()"
    site.program("sweeper", f'exec {sys.executable} -c "{code}" "$@"')
    job = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_NNODES": "1", "HEAD_ADDRESS": "127.0.0.1"}
    ended, output = site.run("spec.yaml", **job)
    assert ended == 0, output
    assert "2 of 2 runs are complete" in output
    assert not Path(f"/tmp/ray-{job['SLURM_JOB_ID']}").exists()  # noqa: S108
