"""`.ci/secrets`, the first half of `make audit`: what it finds, and that there is nothing here."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCAN = ROOT / ".ci" / "secrets"
# Put together here, so that this file has none of them.
SECRETS = {
    "key": "-----BEGIN RSA " + "PRIVATE KEY-----",
    "cloud": "AKIA" + "ABCDEFGH" * 2,
    "hub": "ghp_" + "a1B2" * 9,
    "address": "postgresql://me:" + "hunter2@db.example/x",
    "setting": "api_key = '" + "a1B2" * 8 + "'",
}


def scanned(folder: Path) -> tuple[int, str]:
    done = subprocess.run([SCAN], cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_in_a_file_of_git_is_found_by_its_place(kind: str, tmp_path: Path) -> None:
    """File and line, and not the secret itself, which logs would keep."""
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / "notes.txt").write_text(f"nothing here\n{SECRETS[kind]}\n")
    assert scanned(tmp_path) == (0, ""), "not a file of git's yet"
    subprocess.run(["git", "add", "."], cwd=tmp_path, check=True)
    assert scanned(tmp_path) == (1, "notes.txt:2: looks like a secret\n")


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no clone")
def test_there_is_no_secret_here() -> None:
    """Every file of the repository."""
    assert scanned(ROOT) == (0, "")
