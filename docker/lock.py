#!/usr/bin/env python3
"""Writes each package that the image installs with its version and hash, for this platform.

    python docker/lock.py > docker/requirements.lock

Run it with the Python, on the processor and in the system of the image, for example inside the
base image. Options go to pip, such as --extra-index-url with PyTorch's own index of builds for
processors. The file holds names, versions and hashes, no addresses.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BUILD = "hatchling"  # what builds Sweeper itself


def main(options: list[str]) -> None:
    """Asks pip what it would install, and prints it."""
    words = ["install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    asked = subprocess.run(  # noqa: S603  our own words and the caller's
        [
            sys.executable,
            "-m",
            "pip",
            *words,
            "-c",
            "constraints.txt",
            *options,
            BUILD,
            ".[service]",
        ],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    system = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    print(f"# Made by docker/lock.py for {system}; use it with pip install --require-hashes.")
    for line in lines(json.loads(asked.stdout)):
        print(line)


def lines(report: dict[str, Any]) -> Iterator[str]:
    """The packages of pip's report but Sweeper itself, by name."""
    for package in sorted(report["install"], key=lambda each: each["metadata"]["name"].lower()):
        name, version = package["metadata"]["name"], package["metadata"]["version"]
        info = package["download_info"]
        if "dir_info" in info:  # Sweeper itself, which is built from its folder
            continue
        yield f"{name}=={version} --hash=sha256:{info['archive_info']['hashes']['sha256']}"


if __name__ == "__main__":
    main(sys.argv[1:])
